"""Doctors' reviews: agree, override or defer, signed and never changed. An amendment is a new review beside the old."""

from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from core.errors import ReviewRefused
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.case_access import case_for
from core.services.case_records import CaseSummary, Outcome, open_summary
from core.services.mail_outbox import MailKind, note_mail
from core.services.review_records import Decision, ReviewView, new_review, read_chain
from core.services.second_readings import MAX_TEXT, MIN_REASON, after_review
from core.services.texts import is_showable
from core.services.vault import key_of
from core.studies import STUDIES_BY_CODE, Study
from db.engine import session_scope
from db.models import CaseReview, CaseStatus, Role

__all__ = ["Decision", "ReviewView", "reviews_of", "sign_review"]


def sign_review(
    app: App,
    actor: Actor,
    case_id: str,
    *,
    decision: Decision,
    conclusion: int | None = None,
    reason: str = "",
    note: str = "",
    amends: str | None = None,
) -> ReviewView:
    """Sign a review of an answered case.

    Args:
        app: the application.
        actor: a doctor of the case's hospital.
        case_id: the case.
        decision: agree with the program's label, override it, or defer.
        conclusion: the class index chosen; only for an override.
        reason: why, for the record; required unless the doctor agrees.
        note: plain words for the patient; may be empty.
        amends: id of the review in force that this one replaces; None for the first.

    Raises:
        ReviewRefused: incomplete, not answered yet, or `amends` is not the review in force.
        RecordDamaged: the case or an earlier review was changed from outside.
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the case's hospital.
    """
    reason, note = (text.replace("\r\n", "\n").strip() for text in (reason, note))
    try:
        with session_scope(app.engine) as session:
            case = case_for(app, session, actor, case_id, Action.SIGN_REVIEW, lock=True)
            summary = open_summary(app, session, case)
            if summary is None:
                raise ReviewRefused("the program has not answered yet")
            study = STUDIES_BY_CODE[case.study_code]
            chosen = _conclusion(study, summary, decision, conclusion, reason=reason, note=note)
            rows = session.exec(select(CaseReview).where(CaseReview.case_id == case.id)).all()
            earlier = read_chain(app, session, case, rows, for_patient=False)
            if (earlier[0].id if earlier else None) != amends:
                raise ReviewRefused("somebody signed a review of this case in the meantime; read it first")
            for old in rows:
                old.live_key = None
            session.flush()
            row = new_review(
                app,
                case,
                key_of(app, session, case.patient_id),
                doctor_id=actor.user_id,
                hospital_id=actor.hospital_id or "",
                program=summary,
                decision=decision,
                conclusion=chosen,
                reason=reason,
                note=note,
                amends=amends,
            )
            session.add(row)
            case.status = CaseStatus.ANSWERED if decision is Decision.DEFER else CaseStatus.REVIEWED
            session.flush()
            note_mail(app, session, case.patient_id, MailKind.DOCTOR_SIGNED)
            after_review(app, session, case, decided=decision is not Decision.DEFER)
            details = {"review": row.id, "amends": amends}  # never the decision: others read the log
            audit.append(app, session, actor, "review.sign", object_id=case.id, details=details)
            return read_chain(app, session, case, [*rows, row], for_patient=False)[0]
    except IntegrityError as error:
        raise ReviewRefused("somebody signed a review of this case in the meantime; read it first") from error


def reviews_of(app: App, actor: Actor, case_id: str) -> list[ReviewView]:
    """Return all reviews of a case, the newest first; to its patient without the reasons.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: neither the patient nor a doctor of the case's hospital.
        RecordDamaged: a review was changed or is missing.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_REVIEW)
        rows = session.exec(select(CaseReview).where(CaseReview.case_id == case.id)).all()
        audit.append(app, session, actor, "review.read", object_id=case.id, details={"reviews": len(rows)})
        return read_chain(app, session, case, rows, for_patient=actor.role is Role.PATIENT)


def _conclusion(
    study: Study, summary: CaseSummary, decision: Decision, conclusion: int | None, *, reason: str, note: str
) -> int | None:
    """Return the class index that the review concludes, or refuse what is incomplete or contradicts itself."""
    if max(len(reason), len(note)) > MAX_TEXT:
        raise ReviewRefused(f"at most {MAX_TEXT} characters each")
    if not is_showable(reason + note):
        raise ReviewRefused("the text has characters that cannot be shown")
    if decision is not Decision.AGREE and len(reason) < MIN_REASON:
        raise ReviewRefused("write the reason")
    if decision is Decision.DEFER:
        return None
    if decision is Decision.AGREE:
        if summary.outcome is Outcome.UNCERTAIN:
            raise ReviewRefused("the program was uncertain, so there is nothing to agree with: conclude or defer")
        return summary.label_index
    if conclusion is None or not 0 <= conclusion < len(study.classes):
        raise ReviewRefused("choose what you conclude")
    if conclusion == summary.label_index and summary.outcome is not Outcome.UNCERTAIN:
        raise ReviewRefused("that is what the program says: agree with it, or conclude something else")
    return conclusion
