"""Who looked at a patient's data: the acts of others on one's own cases, from the audit log and in plain words.

An entry names what it is about by an id: a case, an appointment, the account; or, where somebody read a list, the
hospital or doctor whose list it was. What stands in a list is not written down, so it says that one's own may be in it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from core.services import audit
from core.services.app import APP_PARTY, Actor, App
from core.services.audit_rows import begins, concerns
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import care_hospital
from core.services.context import display_name
from core.services.genuine import is_genuine
from db.engine import session_scope
from db.models import Appointment, AuditEntry, Case, Hospital, Role, Slot, User
from security.audit import Entry, decode_entry

PAGE = 200
_TOGETHER = timedelta(hours=1)
_CLOCKS = timedelta(hours=1)  # by how much the clocks of the processes that write the log may differ
_REFUSED = "refused."
_HOSPITALS = {"case.submit": ("hospital",), "case.refer": ("from", "to")}  # which details are ids of hospitals
_LISTS = frozenset({"worklist.read", "message.list", "slot.list", "appointment.list", "referral.list"})
_ON_ACCOUNT = frozenset(  # what else is written of it: the owner's own acts, set-up
    {"account.active", "account.find", "account.sessions", "account.unlock", "mail.send", "presentation.book"}
)
WORDS: Mapping[str, str] = {
    "image.view": "Looked at your picture",
    "result.read": "Read the result of your picture",
    "review.read": "Read what doctors have signed about your picture",
    "review.sign": "Signed an assessment of your picture",
    "report.read": "Made a report (PDF) on your picture",
    "report.fhir": "Took your result out in the format of hospital systems (FHIR)",
    "review.second-ask": "Asked another doctor for a second opinion about your picture",
    "review.second-read": "Read the second opinions about your picture",
    "review.second-sign": "Signed a second opinion about your picture",
    "message.read": "Read your messages",
    "message.send": "Wrote to you",
    "case.answer": "Examined your picture by program",
    "case.retry": "Had your picture examined again",
    "case.history": "Looked at the list of your other pictures at the hospital",
    "case.refer": "Referred your picture to another hospital",
    "referral.ask": "Asked you whether another hospital may look at your picture",
    "referral.take-back": "Took back the question whether another hospital may look at your picture",
    "referral.read": "Read what you were asked about another hospital, and your answer",
    "account.active": "Closed your account, or opened it again",
    "account.find": "Looked up your account by its user name, without seeing what is in it",
    "account.sessions": "Signed you out in all browsers",
    "account.unlock": "Let you sign in again before a pause after wrong passwords was over",
    "appointment.book": "Booked an appointment for you",
    "appointment.change": "Moved your appointment",
    "appointment.cancel": "Cancelled your appointment",
    "appointment.read": "Looked when your appointment is",
    "appointment.calendar": "Saved your appointment in a calendar",
    "mail.send": "Sent you an e-mail that something is new",
    "presentation.book": "Acted in your name, as the demo patient, in a presentation",
    "presentation.cancel": "Cancelled your appointment, as the demo patient, in a presentation",
    "worklist.read": "Looked through the hospital's list of pictures, which yours may have been in",
    "referral.list": "Looked through the hospital's list of referrals, which yours may have been in",
    "message.list": "Looked through the hospital's list of messages, which yours may have been in",
    "slot.list": "Looked at the own calendar, which your appointment may have been in",
    "appointment.list": "Looked at the own appointments, which yours may have been among",
}
OTHER = "Did something else that concerns your data"
_TRIED: Mapping[str, str] = {
    "image.view": "Tried to look at your picture, and was not let",
    "result.read": "Tried to read your result, and was not let",
    "message.read": "Tried to read your messages, and was not let",
}
TRIED = "Tried something with your data, and was not let"
FAILED: Mapping[str, str] = {
    "case.answer": "Could not examine your picture",
    "mail.send": "Could not send you an e-mail, and gave up",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """One act of somebody else, or the same one several times within an hour.

    Attributes:
        time: when (the last time), UTC.
        who: the doctor's name as it is shown elsewhere, else what they are to the patient.
        place: name of their hospital, or "".
        what: in plain words.
        case: short number of the case, or "".
        times: how often.
    """

    time: datetime
    who: str
    place: str
    what: str
    case: str
    times: int = 1


@dataclass(frozen=True)
class Accesses:
    """A page of acts, the newest first.

    Attributes:
        acts: what was done.
        before: ask for entries before this one for the next page; None where there are no more.
    """

    acts: list[Access]
    before: int | None


def accesses(app: App, actor: Actor, *, before: int | None = None) -> Accesses:
    """Return what others did with one's own data, the newest first; that one looked becomes an entry, too.

    Args:
        app: the application.
        actor: the patient.
        before: as `Accesses.before` said.

    Raises:
        NotAuthorised: not a patient.
    """
    with session_scope(app.engine) as session:
        relation = Relation.SELF if actor.role is Role.PATIENT else Relation.ANY
        authorise(app, session, actor, Action.READ_ACCESS_LOG, relation, object_id=actor.user_id)
        mine = _Mine.of(app, session, actor)
        place = col(AuditEntry.number)
        statement = select(place, col(AuditEntry.entry)).where(
            concerns(mine.ids),
            place >= _first_number(session, mine.since),
            *([] if before is None else [place < before]),
        )
        rows = session.exec(statement.order_by(place.desc()).limit(PAGE)).all()
        people = _People(app, session)
        acts = [
            people.access(entry, mine.case_numbers.get(entry.object, ""))
            for entry in (decode_entry(row) for _, row in rows)
            if entry.actor != actor.user_id and mine.concerned_by(entry)
        ]
        audit.append(app, session, actor, "access.read", object_id=actor.user_id, details={"entries": len(acts)})
    return Accesses(_together(acts), rows[-1][0] if len(rows) == PAGE else None)


@dataclass(frozen=True)
class _Mine:
    """What belongs to a patient, by the ids under which the log knows it.

    Attributes:
        since: when the first of it was made.
        case_numbers: own cases with their short numbers; appointments, with those of their cases.
        lists: hospitals and doctors in whose lists a patient may stand, each since when.
        ids: all ids to look for.
    """

    since: datetime
    case_numbers: dict[str, str]
    lists: dict[str, datetime]
    ids: list[str]

    @classmethod
    def of(cls, app: App, session: Session, actor: Actor) -> "_Mine":
        cases = session.exec(select(Case).where(Case.patient_id == actor.user_id).order_by(col(Case.created_at))).all()
        cases = [case for case in cases if is_genuine(app, case)]
        booked = session.exec(
            select(Appointment, Slot.doctor_id)
            .join(Slot, col(Slot.id) == col(Appointment.slot_id))
            .where(Appointment.patient_id == actor.user_id)
            .order_by(col(Appointment.created_at))
        ).all()
        numbers = {case.id: f"{case.id[:4]}-{case.id[4:8]}".upper() for case in cases}
        lists: dict[str, datetime] = {}
        for case in cases:
            for hospital in (case.hospital_id, care_hospital(case)):
                lists.setdefault(hospital, case.created_at)
        for hospital, since in _earlier_hospitals(session, numbers):
            lists.setdefault(hospital, since)
        for row, doctor in booked:
            lists.setdefault(doctor, row.created_at)
        own = numbers | {row.id: numbers.get(row.case_id or "", "") for row, _ in booked}
        made = session.get_one(User, actor.user_id).created_at
        return cls(made, own, lists, [*own, *lists, actor.user_id])

    def concerned_by(self, entry: Entry) -> bool:
        """Whether an entry that names one of the ids is about this patient: in a list, only since one stands in it."""
        if entry.object in self.lists:
            return entry.action in _LISTS and entry.time >= self.lists[entry.object]
        return entry.object in self.case_numbers or entry.action in _ON_ACCOUNT


class _People:
    """Who acted, as a patient may know them."""

    def __init__(self, app: App, session: Session) -> None:
        self._app, self._session = app, session
        self._known: dict[tuple[str, str], tuple[str, str]] = {}

    def access(self, entry: Entry, case: str) -> Access:
        key = entry.actor, entry.role
        if key not in self._known:
            self._known[key] = self._party(entry.actor) if entry.role == "party" else self._person(entry.actor)
        who, place = self._known[key]
        return Access(time=entry.time, who=who, place=place, what=words_for(entry), case=case)

    def _person(self, user_id: str) -> tuple[str, str]:
        user = self._session.get(User, user_id)
        if user is None or not is_genuine(self._app, user):
            return "Somebody unknown", ""
        hospital = self._session.get(Hospital, user.hospital_id) if user.hospital_id else None
        place = hospital.name if hospital else ""
        if user.role is Role.DOCTOR:
            return display_name(self._app, self._session, user.id), place
        strangers = {Role.PATIENT: "Another patient", Role.HOSPITAL: "The hospital's administration"}
        return strangers.get(user.role, "The trusted authority"), place

    def _party(self, party: str) -> tuple[str, str]:
        slug, _, part = party.partition(".")
        hospital = self._session.exec(select(Hospital).where(Hospital.slug == slug)).first() if part else None
        if hospital is not None:
            return "The hospital's protected computer", hospital.name
        return ("This program" if party == APP_PARTY else "A part of this program"), ""


def words_for(entry: Entry) -> str:
    """Return what an entry says, in words for a patient."""
    if entry.outcome == audit.Outcome.REFUSED:
        return _TRIED.get(entry.action.removeprefix(_REFUSED), TRIED)
    if entry.outcome == audit.Outcome.FAILED:
        return FAILED.get(entry.action, OTHER)
    return WORDS.get(entry.action, OTHER)


def _together(acts: list[Access]) -> list[Access]:
    """Return the acts with the same ones that follow each other within an hour as one."""
    found: list[Access] = []
    for act in acts:
        last = found[-1] if found else None
        if last is not None and replace(last, time=act.time, times=1) == act and last.time - act.time < _TOGETHER:
            found[-1] = replace(last, times=last.times + 1)
        else:
            found.append(act)
    return found


def _earlier_hospitals(session: Session, cases: Collection[str]) -> Iterator[tuple[str, datetime]]:
    """Yield the hospitals to which cases were sent or referred, and when, as the log has it: a case forgets them."""
    about = begins("case."), concerns(cases)
    for row in session.exec(select(col(AuditEntry.entry)).where(*about).order_by(col(AuditEntry.number))).all():
        entry = decode_entry(row)
        for name in entry.details.keys() & _HOSPITALS.get(entry.action, ()):
            yield str(entry.details[name]), entry.time


def _first_number(session: Session, since: datetime) -> int:
    """Return the number of an entry near the first one after a time: entries are in order, so halving finds it."""
    low, high = 1, session.exec(select(AuditEntry.number).order_by(col(AuditEntry.number).desc()).limit(1)).one()
    while low < high:
        middle = (low + high) // 2
        entry = session.exec(select(AuditEntry.entry).where(AuditEntry.number == middle)).first()
        if entry is None:
            return 1
        if decode_entry(entry).time < since - _CLOCKS:
            low = middle + 1
        else:
            high = middle
    return low
