"""Second readings: another doctor of the hospital reads a reviewed case and signs what they conclude, too.

A request is outstanding while its `live_key` is set: until it is read and confirms the review or, where it does not,
until an amendment is signed. A reading that does not confirm puts the case back among those to review, ahead of others.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, exists, select
from sqlmodel.sql.expression import SelectOfScalar

from core.errors import RecordDamaged, ReviewRefused
from core.services import audit
from core.services.app import APP_PARTY, Actor, App
from core.services.authorise import Action
from core.services.case_access import care_hospital, case_for
from core.services.context import display_name
from core.services.mail_outbox import MailKind, tell_doctors
from core.services.review_records import ReviewView, open_statement, read_chain, seal_and_sign
from core.services.texts import is_showable
from core.services.vault import key_of
from core.studies import STUDIES_BY_CODE
from db.engine import session_scope
from db.models import Case, CaseReview, CaseStatus, SecondReading
from db.types import new_id
from security.context import Context, Purpose

__all__ = ["Outstanding", "SecondReadingView", "ask", "second_readings_of", "sign_second"]

MIN_REASON = 5
MAX_TEXT = 2000


class Outstanding(StrEnum):
    """What a case still waits for."""

    TO_READ = "to_read"
    DIFFERS = "differs"


@dataclass(frozen=True, kw_only=True)
class SecondReadingView:
    """A request and, once it was read, the verified reading.

    Attributes:
        id: the request.
        asked_by: how the doctor who asked is addressed; "" where the study asks for it.
        asked_at: UTC.
        outstanding: whether it waits to be read, or for an amendment.
        may_read: whether the reader of this view may sign it: they have not signed the review in force.
        reader: how the second reader is addressed; "" before.
        review: the review that was read, None before.
        conclusion: class index; None before, or where the reader could not decide.
        reason: why, for the record.
        signed_at: UTC; None before.
        confirms: whether both conclude the same.
    """

    id: str
    asked_by: str
    asked_at: datetime
    outstanding: bool
    may_read: bool
    reader: str = ""
    review: str | None = None
    conclusion: int | None = None
    reason: str = ""
    signed_at: datetime | None = None
    confirms: bool = False


def ask(app: App, actor: Actor, case_id: str) -> None:
    """Ask for a second reading of the review in force.

    Raises:
        ReviewRefused: there is no review yet, or a second reading is outstanding already.
        RecordDamaged: the case or a review was changed from outside.
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the case's hospital.
    """
    try:
        with session_scope(app.engine) as session:
            case = case_for(app, session, actor, case_id, Action.ASK_SECOND_READING, lock=True)
            if _review_in_force(app, session, case) is None:
                raise ReviewRefused("sign a review first, then ask for the second reading")
            if live_row(session, case.id) is not None:
                raise ReviewRefused("a second reading is outstanding already")
            _request(app, session, case, by=actor.user_id)
            audit.append(app, session, actor, "review.second-ask", object_id=case.id)
    except IntegrityError as error:
        raise ReviewRefused("a second reading is outstanding already") from error


def sign_second(app: App, actor: Actor, case_id: str, *, conclusion: int | None, reason: str) -> SecondReadingView:
    """Sign the second reading that is asked for.

    Args:
        app: the application.
        actor: a doctor of the case's hospital, another than who signed the review in force.
        case_id: the case.
        conclusion: the class index concluded; None to say that it cannot be decided.
        reason: why, for the record.

    Raises:
        ReviewRefused: none is asked for, one's own review, or incomplete.
        RecordDamaged: the case or a review was changed from outside.
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the case's hospital.
    """
    reason = reason.replace("\r\n", "\n").strip()
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.SIGN_SECOND_READING, lock=True)
        row, review = live_row(session, case.id), _review_in_force(app, session, case)
        if row is None or row.signed_at is not None or review is None:
            raise ReviewRefused("no second reading is asked for; open the case again")
        if session.get_one(CaseReview, review.id).doctor_id == actor.user_id:
            raise ReviewRefused("you signed the review: another doctor of the hospital reads it a second time")
        study = STUDIES_BY_CODE[case.study_code]
        if conclusion is not None and not 0 <= conclusion < len(study.classes):
            raise ReviewRefused("choose what you conclude")
        if not MIN_REASON <= len(reason) <= MAX_TEXT:
            raise ReviewRefused(f"write the reason, at most {MAX_TEXT} characters")
        if not is_showable(reason):
            raise ReviewRefused("the text has characters that cannot be shown")
        now = app.clock.now()
        statement = {
            "doctor": actor.user_id,
            "of": review.id,
            "conclusion": conclusion,
            "reason": reason,
            "signed_at": now.isoformat(),
        }
        key = key_of(app, session, case.patient_id)
        signed = seal_and_sign(app, case, row.id, key, statement, context=second_reading_context(case, row.id))
        row.reader_id, row.body, row.signature, row.signed_at = actor.user_id, signed.body, signed.signature, now
        confirms = conclusion is not None and conclusion == review.conclusion
        if confirms:
            row.live_key = None
        elif case.status is CaseStatus.REVIEWED:  # one that was referred since waits for the program's answer
            case.status = CaseStatus.ANSWERED
        session.flush()
        audit.append(app, session, actor, "review.second-sign", object_id=case.id, details={"reading": row.id})
        return _view(app, session, case, row, chain=[review], actor=actor)


def second_readings_of(app: App, actor: Actor, case_id: str) -> list[SecondReadingView]:
    """Return the second readings of a case, asked for and signed, the newest first.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the case's hospital.
        RecordDamaged: a reading or a review was changed from outside.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_SECOND_READING)
        found = readings_of(app, session, actor, case)
        audit.append(app, session, actor, "review.second-read", object_id=case.id, details={"readings": len(found)})
        return found


def readings_of(app: App, session: Session, actor: Actor, case: Case) -> list[SecondReadingView]:
    """Return the second readings of a case, the newest first. Authorises nothing and writes nothing.

    Raises:
        RecordDamaged: a reading or a review was changed from outside.
    """
    about = select(SecondReading).where(SecondReading.case_id == case.id)
    rows = session.exec(about.order_by(col(SecondReading.asked_at).desc(), col(SecondReading.id))).all()
    chain = _chain(app, session, case) if rows else []
    return [_view(app, session, case, row, chain=chain, actor=actor) for row in rows]


def outstanding_of(session: Session, case_ids: Collection[str]) -> dict[str, Outstanding]:
    """Return, by case, what second readings still ask for. Authorises nothing."""
    live = col(SecondReading.live_key).in_(case_ids)
    rows = session.exec(select(SecondReading.case_id, SecondReading.signed_at).where(live)).all()
    return {case_id: Outstanding.TO_READ if at is None else Outstanding.DIFFERS for case_id, at in rows}


def outstanding_cases() -> SelectOfScalar[str]:
    """Return the query for the ids of all cases for which something is outstanding."""
    return select(SecondReading.case_id).where(col(SecondReading.live_key).is_not(None))


def has_outstanding(what: Outstanding) -> ColumnElement[bool]:
    """Return the condition that a case waits for this."""
    signed = col(SecondReading.signed_at).is_not(None)
    return exists().where(
        and_(col(SecondReading.live_key) == col(Case.id), signed if what is Outstanding.DIFFERS else ~signed)
    )


def after_review(app: App, session: Session, case: Case, *, decided: bool) -> None:
    """Settle, inside the caller's transaction, what a newly signed review means for second readings.

    An amendment answers a reading that did not confirm the review before it; and a study can ask for the first reading.
    """
    row = live_row(session, case.id)
    if row is not None and row.signed_at is not None:
        row.live_key = None
    any_yet = select(SecondReading.id).where(SecondReading.case_id == case.id)
    asks = STUDIES_BY_CODE[case.study_code].second_reader and decided
    if asks and session.exec(any_yet).first() is None:
        _request(app, session, case, by=None)


def live_row(session: Session, case_id: str) -> SecondReading | None:
    """Return the request that is outstanding for a case. Authorises nothing."""
    return session.exec(select(SecondReading).where(SecondReading.live_key == case_id)).first()


def second_reading_context(case: Case, reading_id: str) -> Context:
    """Return what seal and signature of a second reading bind."""
    study = STUDIES_BY_CODE[case.study_code]
    return Context(purpose=Purpose.SECOND_READING, study=study.name, sender=APP_PARTY, object_id=reading_id)


def _request(app: App, session: Session, case: Case, *, by: str | None) -> None:
    now = app.clock.now()
    session.add(SecondReading(id=new_id(), case_id=case.id, asked_by=by, asked_at=now, live_key=case.id))
    session.flush()
    reviewers = session.exec(select(CaseReview.doctor_id).where(CaseReview.live_key == case.id)).all()
    tell_doctors(app, session, care_hospital(case), MailKind.SECOND_READING_ASKED, but={*reviewers, by or ""})


def _chain(app: App, session: Session, case: Case) -> list[ReviewView]:
    rows = session.exec(select(CaseReview).where(CaseReview.case_id == case.id)).all()
    return read_chain(app, session, case, rows, for_patient=False)


def _review_in_force(app: App, session: Session, case: Case) -> ReviewView | None:
    chain = _chain(app, session, case)
    return chain[0] if chain else None


def _view(
    app: App, session: Session, case: Case, row: SecondReading, *, chain: Collection[ReviewView], actor: Actor
) -> SecondReadingView:
    """Return a request as it stands, its reading verified; `chain` are the reviews of the case, the newest first."""
    signers = {review.id: session.get_one(CaseReview, review.id).doctor_id for review in chain}
    asked = SecondReadingView(
        id=row.id,
        asked_by=display_name(app, session, row.asked_by) if row.asked_by else "",
        asked_at=row.asked_at,
        outstanding=row.live_key is not None,
        may_read=row.signed_at is None and next(iter(signers.values()), "") != actor.user_id,
    )
    if row.signed_at is None or row.body is None or row.signature is None or row.reader_id is None:
        return asked
    stated = open_statement(
        app,
        session,
        case,
        body=row.body,
        signature=row.signature,
        context=second_reading_context(case, row.id),
    )
    said = stated["review"], stated["case"], stated["doctor"], stated["signed_at"]
    if said != (row.id, row.case_id, row.reader_id, row.signed_at.isoformat()) or stated["of"] not in signers:
        raise RecordDamaged
    read = next(review for review in chain if review.id == stated["of"])
    return SecondReadingView(
        **{
            **vars(asked),
            "may_read": False,
            "reader": display_name(app, session, row.reader_id),
            "review": read.id,
            "conclusion": stated["conclusion"],
            "reason": stated["reason"],
            "signed_at": row.signed_at,
            "confirms": stated["conclusion"] is not None and stated["conclusion"] == read.conclusion,
        }
    )
