"""The one gate that every service passes: may this person do this, given how they stand to the object?

The policy is a table in `security.policy`. Its acts of `STEP_UP` need a code of the second factor too, entered in this
browser a short while ago (`step_up`). A refusal undoes what the transaction held and is written to the audit log.
"""

from sqlmodel import Session

from core.errors import HemaSealError, NotAuthorised, SecondFactorMissing, StepUpNeeded
from core.services import audit_log
from core.services.app import Actor, App
from core.services.genuine import is_genuine
from db.engine import session_scope
from db.models import User, UserSession
from security.policy import STEP_UP, Action, Relation, is_allowed

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
        StepUpNeeded: it needs a code of the account's second factor first.
        SecondFactorMissing: it needs a second factor, and the account has none.
    """
    refusal: HemaSealError | None = None
    details: audit_log.Details = {"relation": relation.value}
    if not is_allowed(actor.role.value, action, relation):
        refusal = NotAuthorised()
    elif action in STEP_UP:
        refusal = _step_up_refusal(app, session, actor)
        details = {"reason": "second-factor"}
    if refusal is not None:
        note_refusal(app, session, actor, action, object_id=object_id, details=details)
        raise refusal


def _step_up_refusal(app: App, session: Session, actor: Actor) -> HemaSealError | None:
    """Return why this browser is not stepped up, or None when it is, or when it need not be."""
    user = session.get(User, actor.user_id)
    if user is None or not is_genuine(app, user):
        return NotAuthorised()
    if not user.second_factor:
        return SecondFactorMissing() if app.settings.second_factor_required else None
    row = session.get(UserSession, actor.session) if actor.session else None
    stands = (
        row is not None
        and is_genuine(app, row)
        and row.user_id == actor.user_id
        and row.revoked_at is None
        and row.stepped_up_until is not None
        and row.stepped_up_until > app.clock.now()
    )
    return None if stands else StepUpNeeded()


def note_refusal(
    app: App, session: Session, actor: Actor, action: Action, *, object_id: str, details: audit_log.Details
) -> None:
    """Undo what the caller's transaction held, and write the refusal to the audit log in one of its own."""
    session.rollback()
    with session_scope(app.engine) as own:
        refused = audit_log.Outcome.REFUSED
        act = f"refused.{action.value}"
        audit_log.append(app, own, actor, act, object_id=object_id, outcome=refused, details=details)
