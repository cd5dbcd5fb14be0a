"""Moving a case to another hospital: its images are sealed for that one's enclave alone, bodies as they were.

The enclave that can open the images wraps their keys for the other one, the app signs it and tries it there; only then
is anything changed. The new hospital answers anew, with its own enclave, so the former answer leaves the case; signed
reviews and messages stay. The former hospital keeps no access. What it, or a backup under the patient's key, has seen
before stays seen. Whether the patient agrees is asked in `core.services.referrals`, which moves cases by this.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlmodel import Session

from core.errors import NotFound, ReferralRefused
from core.learning.orders import serving_party
from core.services import audit
from core.services.answering import ImageOfCase, hand_over
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.case_access import care_hospital, case_for
from core.services.case_objects import ObjectKind, image_rows, replace_recipients, sealed_objects
from core.services.genuine import change
from core.services.routing import RoutingDecision
from core.services.vault import key_of
from core.studies import STUDIES_BY_CODE
from db.blobs import delete_blob
from db.engine import read_scope, session_scope
from db.models import Case, CaseStatus, Hospital
from security.certificates import Certificate
from security.keys import KeyUse

Check = Callable[[Session, Case], str]
"""Says in a transaction where a case may go (the id of a hospital), or raises."""
Settle = Callable[[Session, Case], None]
"""Writes down, in the transaction that moves a case, that it was moved."""


@dataclass(frozen=True)
class _Plan:
    """What was found when a move began: who hands over to whom, and what."""

    holder: str
    holder_slug: str
    recipient_id: str
    recipient: Certificate
    study_code: str
    sealed: list[bytes] = field(repr=False)


def move_case(app: App, actor: Actor, case_id: str, action: Action, *, check: Check, settle: Settle) -> None:
    """Move a case; it waits for the new hospital's answer afterwards, which `core.services.cases.retry_waiting` gets.

    Args:
        app: the application.
        actor: who asks for it; the policy is asked for `action`.
        case_id: the case.
        action: what they do by it.
        check: called before the enclaves work, and again in the transaction that changes the case.
        settle: called in that transaction, after the case was changed.

    Raises:
        NotFound: there is no such case or hospital.
        NotAuthorised: it is not this person's.
        ReferralRefused: the case is there already, or somebody else has just changed it.
        EnclaveUnavailable, MemberRefused: one of the two enclaves does not answer, or its certificate does not hold.
        RecordDamaged, CheckpointRefused, ImageBroken: a stored image was changed, or the new enclave cannot open it.
    """
    with read_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, action)
        plan = _plan(app, session, case, check(session, case))
    study, images = STUDIES_BY_CODE[plan.study_code], len(plan.sealed)
    handed = [
        hand_over(
            app,
            which=ImageOfCase(case_id=case_id, study=study, number=number, images=images),
            slug=plan.holder_slug,
            to=plan.recipient,
            sealed_image=sealed,
        )
        for number, sealed in enumerate(plan.sealed)
    ]
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, action, lock=True)
        if _plan(app, session, case, check(session, case)) != plan:
            raise ReferralRefused
        _move(app, session, case, handed, plan.recipient_id)
        settle(session, case)
        details: audit.Details = {"from": plan.holder, "to": plan.recipient_id, "images": images}
        audit.append(app, session, actor, "case.refer", object_id=case_id, details=details)


def _plan(app: App, session: Session, case: Case, hospital_id: str) -> _Plan:
    holder, to = session.get_one(Hospital, care_hospital(case)), session.get(Hospital, hospital_id)
    if to is None or not to.is_active:
        raise NotFound
    if to.id == holder.id:
        raise ReferralRefused("it is there already")
    app.certificate_of(serving_party(to.slug), KeyUse.SIGN, session)  # without it no answer comes back
    recipient = app.certificate_of(serving_party(to.slug), KeyUse.SEAL, session)
    key = key_of(app, session, case.patient_id)
    sealed = sealed_objects(session, case.id, ObjectKind.IMAGE, key=key)
    return _Plan(holder.id, holder.slug, to.id, recipient, case.study_code, sealed)


def _move(app: App, session: Session, case: Case, handed: list[bytes], hospital_id: str) -> None:
    """Exchange the images' recipients and let the case wait at the new hospital, without the former answer."""
    key, former = key_of(app, session, case.patient_id), []
    for row, sealed in zip(image_rows(session, case.id), handed, strict=True):
        replace_recipients(session, row, sealed, key=key)
        if row.result_blob_id is not None:
            former.append(row.result_blob_id)
            row.result_blob_id = None
    change(app, case, hospital_id=hospital_id, fallback_hospital_id=None, answered_by_hospital_id=None)
    case.routing = RoutingDecision.from_json(case.routing).after_referral(hospital_id).to_json()
    case.status, case.answered_at, case.checkpoint_id, case.summary = CaseStatus.WAITING, None, None, None
    session.flush()
    for blob_id in former:
        delete_blob(session, blob_id)
