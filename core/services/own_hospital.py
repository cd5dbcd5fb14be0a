"""The hospital that a person administers, once the policy lets them do to it what they ask."""

from sqlmodel import Session

from core.errors import NotAuthorised
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from db.models import Hospital

__all__ = ["own_hospital"]


def own_hospital(app: App, session: Session, actor: Actor, action: Action, *, object_id: str = "") -> Hospital:
    """Authorise an act on the actor's own hospital and return it.

    Args:
        app: the application.
        session: the caller's transaction.
        actor: who asks.
        action: what they want to do; the policy grants it to whose own hospital it is.
        object_id: id of what it is done to, for the audit log.

    Raises:
        NotAuthorised: the policy does not allow it, or the actor belongs to no hospital.
    """
    hospital = session.get(Hospital, actor.hospital_id) if actor.hospital_id else None
    relation = Relation.ANY if hospital is None else Relation.OWN_HOSPITAL
    authorise(app, session, actor, action, relation, object_id=object_id)
    if hospital is None:
        raise NotAuthorised
    return hospital
