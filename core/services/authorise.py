"""The one gate that every service passes: may this person do this, given how they stand to the object?

The policy is a table in `security.policy`. A refusal undoes what the transaction held and is written to the audit log.
"""

from sqlmodel import Session

from core.errors import NotAuthorised
from core.services import audit_log
from core.services.app import Actor, App
from db.engine import session_scope
from security.policy import Action, Relation, is_allowed

__all__ = ["Action", "Relation", "authorise", "note_refusal"]


def authorise(
    app: App, session: Session, actor: Actor, action: Action, relation: Relation, *, object_id: str = ""
) -> None:
    """Let the act go on, or refuse it.

    Args:
        app: the application.
        session: the caller's transaction (writing or reading); rolled back when the act is refused.
        actor: who asks.
        action: what they want to do.
        relation: how they stand to the object; computed by the caller from the database, never from the request.
        object_id: id of the object, for the audit log.

    Raises:
        NotAuthorised: the policy does not allow it.
    """
    if is_allowed(actor.role.value, action, relation):
        return
    note_refusal(app, session, actor, action, object_id=object_id, details={"relation": relation.value})
    raise NotAuthorised


def note_refusal(
    app: App, session: Session, actor: Actor, action: Action, *, object_id: str, details: audit_log.Details
) -> None:
    """Undo what the caller's transaction held, and write the refusal to the audit log in one of its own."""
    session.rollback()
    with session_scope(app.engine) as own:
        refused = audit_log.Outcome.REFUSED
        act = f"refused.{action.value}"
        audit_log.append(app, own, actor, act, object_id=object_id, outcome=refused, details=details)
