"""A doctor's worklist: the cases of the own hospital, the most urgent first, narrowed by what a doctor looks for.

What the database can tell (state, study, age) narrows there; what is sealed (answer, name) only after it was opened.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, case, func
from sqlmodel import Session, col, exists, or_, select

from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import case_for
from core.services.case_reading import ListedCase, listed_cases
from core.services.case_records import Outcome
from core.services.hospital_cases import count_up_to, is_of, newest
from core.services.messages import unread_counts
from core.services.second_readings import Outstanding, has_outstanding, outstanding_cases, outstanding_of
from core.studies import STUDIES
from db.engine import read_scope, session_scope
from db.models import Case, CaseReview, CaseStatus

__all__ = ["Narrowing", "WorklistFilter", "counts", "history", "worklist"]


class WorklistFilter(StrEnum):
    """Which cases a worklist shows, by what a doctor has to do with them."""

    OPEN = "open"
    SECOND = "second"
    DEFERRED = "deferred"
    REVIEWED = "reviewed"
    WAITING = "waiting"
    ALL = "all"


MOST_REVIEWED = 100
"""So many reviewed cases are listed, the newest."""
MOST_COUNTED = 1000
"""A state's count stops here."""
MOST_NUMBERED = 1000
"""So many cases of all hospitals may begin with the number that somebody looks for."""
_NUMBER = re.compile("[0-9a-f]{4,8}")
_ANSWERED = col(Case.status) == CaseStatus.ANSWERED
_REVIEWED = col(Case.status) == CaseStatus.REVIEWED
_WAITING = col(Case.status) == CaseStatus.WAITING
_DIFFERS = has_outstanding(Outstanding.DIFFERS)
_OUTSTANDING = col(Case.id).in_(outstanding_cases())
_DEFERRED = and_(exists().where(col(CaseReview.case_id) == col(Case.id)), ~_DIFFERS)
"""Any other signature takes a case from the answered ones."""
_STATES: Mapping[WorklistFilter, tuple[ColumnElement[bool], ...]] = {
    WorklistFilter.OPEN: (and_(_ANSWERED, ~_DEFERRED),),
    WorklistFilter.SECOND: (_OUTSTANDING,),
    WorklistFilter.DEFERRED: (and_(_ANSWERED, _DEFERRED),),
    WorklistFilter.REVIEWED: (_REVIEWED,),
    WorklistFilter.WAITING: (_WAITING,),
    WorklistFilter.ALL: (_ANSWERED, _WAITING, _REVIEWED),
}
"""Each state in parts that have no case in common and that an index finds."""


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """What else a doctor looks for; each default leaves everything.

    Attributes:
        search: part of a patient's name or of a case number.
        study: name of a study.
        outcome: what the program says.
        older_than: sent at least so long ago.
        unread: with messages that nobody of the hospital has opened.
        referred: referred to this hospital.
    """

    search: str = ""
    study: str = ""
    outcome: Outcome | None = None
    older_than: timedelta | None = None
    unread: bool = False
    referred: bool = False


_EVERYTHING = Narrowing()


def worklist(
    app: App, actor: Actor, *, only: WorklistFilter = WorklistFilter.OPEN, narrowed: Narrowing = _EVERYTHING
) -> list[ListedCase]:
    """Return the cases of a doctor's hospital, the most urgent first: all that are open, and the newest reviewed ones.

    Raises:
        NotAuthorised: not a doctor.
    """
    with session_scope(app.engine) as session:
        _authorise(app, session, actor)
        cases = _cases(app, session, actor, only, narrowed)
        unread = unread_counts(session, actor, [case.id for case in cases])
        second = outstanding_of(session, [case.id for case in cases])
        listed = [
            replace(entry, unread=unread.get(entry.case.id, 0), second=second.get(entry.case.id))
            for entry in listed_cases(app, session, cases, for_patient=False)
        ]
        listed = [entry for entry in listed if _matches(entry, narrowed)]
        details = {"cases": len(listed), "only": only.value}
        audit.append(app, session, actor, "worklist.read", object_id=actor.hospital_id or "", details=details)
    return sorted(listed, key=_urgency)


def counts(app: App, actor: Actor) -> dict[WorklistFilter, int]:
    """Return how many cases of the hospital are in each state, `MOST_COUNTED` for so many or more.

    These are only numbers, so not a read of patient data.

    Raises:
        NotAuthorised: not a doctor.
    """
    with read_scope(app.engine) as session:
        _authorise(app, session, actor)
        outstanding = select(func.count()).select_from(Case).where(_OUTSTANDING, is_of(actor.hospital_id))
        found: dict[ColumnElement[bool], int] = {_OUTSTANDING: session.exec(outstanding).one()}
        for part in {part for parts in _STATES.values() for part in parts} - found.keys():
            found[part] = count_up_to(session, MOST_COUNTED, actor.hospital_id, part)
    return {state: min(MOST_COUNTED, sum(found[part] for part in parts)) for state, parts in _STATES.items()}


def _cases(app: App, session: Session, actor: Actor, only: WorklistFilter, narrowed: Narrowing) -> list[Case]:
    """Return the cases in a state, of the reviewed ones the newest and those whose number is looked for."""
    which, found = _stored(app, narrowed), list[Case]()
    for part in _STATES[only]:
        if part is _OUTSTANDING:
            found += session.exec(select(Case).where(part, *which, is_of(actor.hospital_id))).all()
        else:
            most = MOST_REVIEWED if part is _REVIEWED else None
            found += newest(session, actor.hospital_id, part, *which, limit=most)
    begin = narrowed.search.strip().casefold().replace("-", "")
    if _NUMBER.fullmatch(begin):
        like_it = select(Case.id).where(col(Case.id) >= begin, col(Case.id) < f"{begin}g").limit(MOST_NUMBERED)
        in_state = case((or_(*_STATES[only]), 1), else_=0) == 1  # not as it is: there is an index for each state
        wanted = col(Case.id).in_(select(like_it.subquery().c.id)), is_of(actor.hospital_id), in_state
        found += session.exec(select(Case).where(*wanted, *which)).all()
    return list({case.id: case for case in found}.values())


def history(app: App, actor: Actor, case_id: str) -> list[ListedCase]:
    """Return the patient's other cases that this doctor's hospital cares for, the newest first.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: not a doctor of the case's hospital.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_HISTORY)
        others = col(Case.patient_id) == case.patient_id, col(Case.id) != case.id
        listed = listed_cases(
            app, session, newest(session, actor.hospital_id, *others, limit=MOST_REVIEWED), for_patient=False
        )
        audit.append(app, session, actor, "case.history", object_id=case.id, details={"cases": len(listed)})
    return listed


def _urgency(entry: ListedCase) -> tuple[bool, bool, tuple[int, float, datetime]]:
    """Sorts damaged cases first, then those whose readings differ, then by the program's answer and age."""
    return not entry.is_damaged, entry.second is not Outstanding.DIFFERS, entry.case.urgency


def _authorise(app: App, session: Session, actor: Actor) -> None:
    relation = Relation.OWN_HOSPITAL if actor.hospital_id else Relation.ANY
    authorise(app, session, actor, Action.READ_WORKLIST, relation, object_id=actor.hospital_id or "")


def _stored(app: App, narrowed: Narrowing) -> list[ColumnElement[bool]]:
    """Return the conditions that need nothing to be opened."""
    found: list[ColumnElement[bool]] = []
    if narrowed.study:
        found.append(col(Case.study_code) == (STUDIES[narrowed.study].code if narrowed.study in STUDIES else ""))
    if narrowed.older_than is not None:
        found.append(col(Case.created_at) <= app.clock.now() - narrowed.older_than)
    return found


def _matches(entry: ListedCase, narrowed: Narrowing) -> bool:
    summary, text = entry.case.summary, narrowed.search.strip().casefold()
    return (
        (narrowed.outcome is None or (summary is not None and summary.outcome is narrowed.outcome))
        and (not narrowed.unread or entry.unread > 0)
        and (not narrowed.referred or entry.case.is_referred)
        and (text in entry.case.patient_name.casefold() or text in entry.case.number.casefold())
    )
