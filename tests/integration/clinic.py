"""What the clinic's tests share: cases in the database as an upload and its answer leave them, but without enclaves."""

from datetime import UTC, datetime, timedelta

from sqlmodel import select

from core.services.accounts import Profile, Role, new_user
from core.services.app import Actor, App
from core.services.case_records import CaseSummary, Outcome, seal_summary
from core.services.genuine import stamp
from core.services.referral_records import seal_request
from core.services.referrals import TEXT_VERSION
from core.services.routing import Reason, RoutingDecision
from core.services.sessions import actor_of
from core.services.slots import offer, own_slots
from core.services.vault import key_for_new_case, key_of, note_key
from core.studies import LEUKEMIA
from db.blobs import put_blob
from db.engine import read_scope, session_scope
from db.models import Case, CaseImage, CaseReferral, CaseStatus, Hospital
from db.types import new_id

POSITIVE = CaseSummary(Outcome.POSITIVE, 1, 0.91, 0.91, 0.5)
NEGATIVE = CaseSummary(Outcome.NEGATIVE, 0, 0.04, 0.96, 0.5)
UNCERTAIN = CaseSummary(Outcome.UNCERTAIN, 1, 0.55, 0.55, 0.5)


def hospital_id(app: App, slug: str = "north") -> str:
    with read_scope(app.engine) as session:
        return session.exec(select(Hospital.id).where(Hospital.slug == slug)).one()


def new_patients(app: App, count: int) -> list[Actor]:
    """Register so many patients, who may do nothing but have cases."""
    made = [
        new_user(
            app,
            username=f"patient-{number}",
            password="quite long enough",
            role=Role.PATIENT,
            profile=Profile(f"Patient {number}"),
            rounds=4,
        )
        for number in range(count)
    ]
    with session_scope(app.engine) as session:
        session.add_all(made)
        session.flush()
        return [actor_of(app, user) for user in made]


def stored_case(
    app: App,
    patient: Actor,
    summary: CaseSummary | None = POSITIVE,
    *,
    slug: str = "north",
    fallback: str | None = None,
) -> str:
    """Put a case into the database; without a summary it waits. Returns its id."""
    chosen, other = hospital_id(app, slug), hospital_id(app, fallback) if fallback else None
    decision = RoutingDecision(
        hospital_id=chosen, fallback_id=other, reason=Reason.PREFERRED, distance_km=None, open_cases=0, candidates=4
    )
    case_id, now = new_id(), app.clock.now()
    with session_scope(app.engine) as session:
        key, made = key_for_new_case(app, session, patient.user_id)
        case = Case(
            id=case_id,
            patient_id=patient.user_id,
            study_code=LEUKEMIA.code,
            status=CaseStatus.WAITING if summary is None else CaseStatus.ANSWERED,
            hospital_id=chosen,
            fallback_hospital_id=other,
            answered_by_hospital_id=None if summary is None else chosen,
            routing=decision.to_json(),
            summary=None if summary is None else seal_summary(key, case_id, summary),
            created_at=now,
            answered_at=None if summary is None else now,
        )
        session.add(stamp(app, case))
        session.flush()
        image = put_blob(session, b"sealed elsewhere", "image", app.clock)
        session.add(CaseImage(case_id=case_id, number=0, image_blob_id=image.id))
        if made is not None:
            note_key(app, session, patient.user_id, made)
    return case_id


def stored_request(app: App, doctor: Actor, case_id: str, slug: str, reason: str = "They see more of these.") -> str:
    """Put a doctor's open request to refer a case into the database, as with a model in service; returns its id."""
    with session_scope(app.engine) as session:
        case = session.get_one(Case, case_id)
        row = CaseReferral(
            id=new_id(),
            case_id=case_id,
            doctor_id=doctor.user_id,
            from_hospital_id=case.hospital_id,
            to_hospital_id=hospital_id(app, slug),
            live_key=case_id,
            body=b"",
            text_version=TEXT_VERSION,
            asked_at=app.clock.now(),
        )
        row.body = seal_request(row, reason, key=key_of(app, session, case.patient_id))
        session.add(stamp(app, row))
    return row.id


def offered_slots(app: App, doctor: Actor, count: int = 2) -> list[str]:
    """Let a doctor offer half hours from 12 January 2026, 09:00 UTC; returns the ids of all that are live."""
    first, half = datetime(2026, 1, 12, 9, 0, tzinfo=UTC), timedelta(minutes=30)
    offer(app, doctor, [(first + half * n, first + half * (n + 1)) for n in range(count)])
    return [slot.id for slot in own_slots(app, doctor)]
