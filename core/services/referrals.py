"""Referral to another hospital: a doctor asks, the patient says yes or no to that one request, and can bring it back.

Nothing moves unless the patient agrees; the yes is a consent for one case and one hospital, and it moves the case.
Bringing it back withdraws that consent: the pictures are sealed for the former hospital again.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, or_, select

from core.errors import ConsentMissing, MemberRefused, NoModel, NotFound, RecordDamaged, ReferralRefused
from core.learning.orders import serving_party
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.candidates import candidates, served_model
from core.services.case_access import care_hospital, case_for
from core.services.case_records import HospitalRef
from core.services.consents import ConsentPurpose, has_consent
from core.services.genuine import change, stamp
from core.services.mail_outbox import MailKind, tell_doctors
from core.services.rate_limits import REFERRALS, spend
from core.services.referral import move_case
from core.services.referral_records import ReferralStatus, ReferralView, open_request, seal_request, views_of
from core.services.texts import clean
from core.services.vault import key_of
from core.studies import STUDIES_BY_CODE
from db.engine import read_scope, session_scope
from db.models import Case, CaseReferral, Hospital, Role
from db.types import new_id
from security.keys import KeyUse

__all__ = [
    "ReferralStatus",
    "ReferralView",
    "accept",
    "ask",
    "bring_back",
    "decline",
    "destinations",
    "news_count",
    "referrals",
    "referrals_of",
    "take_back",
]

TEXT_VERSION = "2026-2"
MIN_REASON, MAX_REASON = 10, 1000
MAX_LISTED = 200
_ANSWERS = (ReferralStatus.ACCEPTED, ReferralStatus.DECLINED, ReferralStatus.BROUGHT_BACK)


def destinations(app: App, actor: Actor, case_id: str) -> list[HospitalRef]:
    """Return the hospitals to which a case can be referred now: they have the model, a doctor, valid certificates.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the hospital that cares for it.
    """
    with read_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.ASK_REFERRAL)
        return _destinations(app, session, case)


def ask(app: App, actor: Actor, case_id: str, *, hospital_id: str, reason: str) -> ReferralView:
    """Ask the patient of a case whether another hospital may look at it.

    Args:
        app: the application.
        actor: a doctor of the hospital that cares for the case.
        case_id: the case.
        hospital_id: one of `destinations`.
        reason: why, in words for the patient; `MIN_REASON` to `MAX_REASON` characters.

    Raises:
        InvalidInput: the reason is too short or too long, or has characters that cannot be shown.
        ReferralRefused: the patient is asked already, or that hospital cannot look at the case now.
        TooOften: this case was asked about too often in a day.
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the hospital that cares for it.
        DataErased: the patient asked for erasure.
    """
    body = clean(reason, most=MAX_REASON, least=MIN_REASON)
    with read_scope(app.engine) as session:
        _require_destination(app, session, case_for(app, session, actor, case_id, Action.ASK_REFERRAL), hospital_id)
    spend(app, REFERRALS, case_id)
    try:
        with session_scope(app.engine) as session:
            case = case_for(app, session, actor, case_id, Action.ASK_REFERRAL, lock=True)
            _require_destination(app, session, case, hospital_id)
            row = CaseReferral(
                id=new_id(),
                case_id=case.id,
                doctor_id=actor.user_id,
                from_hospital_id=care_hospital(case),
                to_hospital_id=hospital_id,
                live_key=case.id,
                body=b"",
                text_version=TEXT_VERSION,
                asked_at=app.clock.now(),
            )
            row.body = seal_request(row, body, key=key_of(app, session, case.patient_id))
            session.add(stamp(app, row))
            session.flush()
            audit.append(app, session, actor, "referral.ask", object_id=case.id, details={"to": hospital_id})
            return views_of(app, session, [row])[0]
    except IntegrityError as error:
        raise ReferralRefused("the patient is asked already and has not answered yet") from error


def take_back(app: App, actor: Actor, referral_id: str) -> None:
    """Take a request back that the patient has not answered yet.

    Raises:
        NotFound: there is no such request.
        NotAuthorised: not a doctor of the hospital that cares for the case.
        ReferralRefused: it was answered in the meantime.
        RecordDamaged: the request was changed from outside.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, _case_of(session, referral_id), Action.ASK_REFERRAL, lock=True)
        row = _open_row(app, session, referral_id, case)
        _end(app, row, ReferralStatus.TAKEN_BACK)
        audit.append(app, session, actor, "referral.take-back", object_id=case.id)


def decline(app: App, actor: Actor, referral_id: str) -> None:
    """Say no to a request: everything stays as it is.

    Raises:
        NotFound: there is no such request.
        NotAuthorised: it is not about a case of this patient.
        ReferralRefused: it was taken back or answered in the meantime.
        RecordDamaged: the request was changed from outside.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, _case_of(session, referral_id), Action.ANSWER_REFERRAL, lock=True)
        row = _open_row(app, session, referral_id, case)
        change(app, row, status=ReferralStatus.DECLINED)
        row.answered_at, row.live_key = app.clock.now(), None
        audit.append(app, session, actor, "referral.decline", object_id=case.id)


def accept(app: App, actor: Actor, referral_id: str) -> None:
    """Agree to a request: the case moves to the other hospital, or nothing at all is changed.

    Raises:
        NotFound: there is no such request, or that hospital no longer takes part.
        NotAuthorised: it is not about a case of this patient.
        ReferralRefused: it was taken back or answered in the meantime, or the case was changed.
        ConsentMissing: no consent that the images are analysed at all.
        RecordDamaged: the request was changed from outside.
        EnclaveUnavailable, MemberRefused, CheckpointRefused, ImageBroken: as in `core.services.referral.move_case`.
    """

    def check(session: Session, case: Case) -> str:
        if not has_consent(session, case.patient_id, ConsentPurpose.DIAGNOSIS):
            raise ConsentMissing("for a referral")
        return _open_row(app, session, referral_id, case).to_hospital_id

    def settle(session: Session, case: Case) -> None:
        row = session.get_one(CaseReferral, referral_id)
        change(app, row, status=ReferralStatus.ACCEPTED)
        row.answered_at, row.live_key = app.clock.now(), None
        tell_doctors(app, session, row.to_hospital_id, MailKind.NEW_CASE)
        details = {"to": row.to_hospital_id, "text": row.text_version}
        audit.append(app, session, actor, "referral.accept", object_id=case.id, details=details)

    with read_scope(app.engine) as session:
        case_id = _case_of(session, referral_id)
    move_case(app, actor, case_id, Action.ANSWER_REFERRAL, check=check, settle=settle)


def bring_back(app: App, actor: Actor, referral_id: str) -> None:
    """Withdraw a consent that was used: the case goes back to the hospital that had it, or nothing at all is changed.

    Raises:
        NotFound: there is no such request, or the former hospital no longer takes part.
        NotAuthorised: it is not about a case of this patient.
        ReferralRefused: the case is not where this request brought it.
        RecordDamaged: the request was changed from outside.
        EnclaveUnavailable, MemberRefused, CheckpointRefused, ImageBroken: as in `core.services.referral.move_case`.
    """

    def check(session: Session, case: Case) -> str:
        row = _row_of(app, session, referral_id, case)
        if row.status is not ReferralStatus.ACCEPTED or care_hospital(case) != row.to_hospital_id:
            raise ReferralRefused("the pictures are not there any more")
        return row.from_hospital_id

    def settle(session: Session, case: Case) -> None:
        _end(app, session.get_one(CaseReferral, referral_id), ReferralStatus.BROUGHT_BACK)
        waiting = select(CaseReferral).where(CaseReferral.live_key == case.id).with_for_update()
        for row in session.exec(waiting).all():  # asked by the hospital that the case leaves
            with suppress(RecordDamaged):
                _end(app, row, ReferralStatus.TAKEN_BACK)
        audit.append(app, session, actor, "referral.bring-back", object_id=case.id)

    with read_scope(app.engine) as session:
        case_id = _case_of(session, referral_id)
    move_case(app, actor, case_id, Action.ANSWER_REFERRAL, check=check, settle=settle)


def referrals(app: App, actor: Actor) -> list[ReferralView]:
    """Return the requests about one's own cases, or those that one's hospital has sent or received; the newest first.

    A hospital sees what it has received only once the patient has agreed, and answers to its own requests count as
    seen from now on. The reason of a request is for the patient, its sender, and whoever has the case now.

    Raises:
        NotAuthorised: neither a patient nor a doctor.
    """
    with session_scope(app.engine) as session:
        mine = _mine(app, session, actor)
        newest = select(CaseReferral).join(Case, col(Case.id) == col(CaseReferral.case_id)).where(mine)
        rows = session.exec(newest.order_by(col(CaseReferral.asked_at).desc()).limit(MAX_LISTED)).all()
        found = [_without_reason(view, actor) for view in views_of(app, session, rows)]
        for row in rows:
            if row.from_hospital_id == actor.hospital_id and row.status in _ANSWERS and row.seen_at is None:
                row.seen_at = app.clock.now()
        whose = actor.hospital_id or actor.user_id
        audit.append(app, session, actor, "referral.list", object_id=whose, details={"referrals": len(found)})
    return found


def referrals_of(app: App, actor: Actor, case_id: str) -> list[ReferralView]:
    """Return the requests about a case that were not taken back, the newest first.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the hospital that cares for it.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_REFERRALS)
        about = select(CaseReferral).where(
            CaseReferral.case_id == case.id, CaseReferral.status != ReferralStatus.TAKEN_BACK
        )
        rows = session.exec(about.order_by(col(CaseReferral.asked_at).desc())).all()
        audit.append(app, session, actor, "referral.read", object_id=case.id, details={"referrals": len(rows)})
        return views_of(app, session, rows)


def news_count(app: App, actor: Actor) -> int:
    """Return how many requests wait for this patient's answer, or how many answers this hospital has not seen.

    Only a number, so not a read of patient data.

    Raises:
        NotAuthorised: neither a patient nor a doctor.
    """
    with read_scope(app.engine) as session:
        mine = _mine(app, session, actor)
        news: ColumnElement[bool] = col(CaseReferral.status) == ReferralStatus.ASKED
        if actor.role is not Role.PATIENT:
            sent, answered = CaseReferral.from_hospital_id == actor.hospital_id, col(CaseReferral.status).in_(_ANSWERS)
            news = col(CaseReferral.seen_at).is_(None) & sent & answered
        joined = select(func.count()).select_from(CaseReferral).join(Case, col(Case.id) == col(CaseReferral.case_id))
        return session.exec(joined.where(mine, news)).one()


def _without_reason(view: ReferralView, actor: Actor) -> ReferralView:
    """Leave the reason out for a hospital that received the case and has it no longer."""
    may_read = actor.role is Role.PATIENT or view.sender.id == actor.hospital_id or view.stands
    return view if may_read else replace(view, reason="")


def _mine(app: App, session: Session, actor: Actor) -> ColumnElement[bool]:
    is_patient = actor.role is Role.PATIENT
    relation = Relation.SELF if is_patient else Relation.OWN_HOSPITAL if actor.hospital_id else Relation.ANY
    authorise(app, session, actor, Action.READ_REFERRALS, relation, object_id=actor.hospital_id or actor.user_id)
    if is_patient:
        return col(Case.patient_id) == actor.user_id
    received = (col(CaseReferral.to_hospital_id) == actor.hospital_id) & (
        col(CaseReferral.status) == ReferralStatus.ACCEPTED
    )
    return or_(col(CaseReferral.from_hospital_id) == actor.hospital_id, received)


def _destinations(app: App, session: Session, case: Case) -> list[HospitalRef]:
    try:
        model = served_model(app, session, STUDIES_BY_CODE[case.study_code])
    except NoModel:
        return []
    able = [one.hospital_id for one in candidates(session, model, now=app.clock.now())[0] if one.has_model]
    rows = session.exec(select(Hospital).where(col(Hospital.id).in_(able)).order_by(Hospital.name)).all()
    holds = partial(_certificates_hold, app, session)
    return [HospitalRef(r.id, r.slug, r.name, r.city) for r in rows if r.id != care_hospital(case) and holds(r.slug)]


def _certificates_hold(app: App, session: Session, slug: str) -> bool:
    try:
        for use in (KeyUse.SIGN, KeyUse.SEAL):
            app.certificate_of(serving_party(slug), use, session)
    except MemberRefused:
        return False
    return True


def _require_destination(app: App, session: Session, case: Case, hospital_id: str) -> None:
    if hospital_id not in {known.id for known in _destinations(app, session, case)}:
        raise ReferralRefused("that hospital cannot look at it now")


def _case_of(session: Session, referral_id: str) -> str:
    row = session.get(CaseReferral, referral_id)
    if row is None:
        raise NotFound
    return row.case_id


def _row_of(app: App, session: Session, referral_id: str, case: Case) -> CaseReferral:
    """Return a request as it was made, locked until the commit.

    Raises:
        RecordDamaged: it was changed from outside.
    """
    row = session.get_one(CaseReferral, referral_id, with_for_update=True, populate_existing=True)
    open_request(app, session, row, case)
    return row


def _open_row(app: App, session: Session, referral_id: str, case: Case) -> CaseReferral:
    row = _row_of(app, session, referral_id, case)
    if row.status is not ReferralStatus.ASKED or care_hospital(case) != row.from_hospital_id:
        raise ReferralRefused("it was answered or taken back in the meantime")
    return row


def _end(app: App, row: CaseReferral, status: ReferralStatus) -> None:
    change(app, row, status=status)
    row.ended_at, row.live_key = app.clock.now(), None
