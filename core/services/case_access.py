"""How a person stands to a case, looked up in the database, and the one way to get at a case's row."""

from sqlmodel import Session

from core.errors import NotFound, RecordDamaged
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise, note_refusal
from core.services.genuine import is_genuine
from db.models import Case, Role


def relation_to(actor: Actor, case: Case) -> Relation:
    """Return the relation: one's own case as its patient, one's hospital's case as a doctor, or none of these.

    A fallback hospital has no say in a case before it has answered it.
    """
    if actor.role is Role.PATIENT and case.patient_id == actor.user_id:
        return Relation.OWN_CASE
    if actor.hospital_id is not None and actor.hospital_id in {case.hospital_id, case.answered_by_hospital_id}:
        return Relation.OWN_HOSPITAL
    return Relation.ANY


def case_for(app: App, session: Session, actor: Actor, case_id: str, action: Action, *, lock: bool = False) -> Case:
    """Return the case if this person may do `action` to it; `lock` keeps others from changing it until the commit.

    Raises:
        NotFound: there is no such case.
        RecordDamaged: who may see it was changed from outside; the refusal is in the audit log.
        NotAuthorised: it is not for this person; the refusal is in the audit log.
    """
    case = session.get(Case, case_id, with_for_update=lock)
    if case is None:
        raise NotFound
    if not is_genuine(app, case):
        note_refusal(app, session, actor, action, object_id=case.id, details={"reason": "changed-outside"})
        raise RecordDamaged
    authorise(app, session, actor, action, relation_to(actor, case), object_id=case.id)
    return case


def care_hospital(case: Case) -> str:
    """Return the id of the hospital whose doctors care for a case: who answered, else who was asked."""
    return case.answered_by_hospital_id or case.hospital_id
