"""What a clinic's lists cost as cases pile up: each list of the product against the number of stored cases.

    python -m benchmarks.clinic_growth --json FILE [--sizes 1000,10000,100000,1000000]
        [--repetitions 5] [--database mysql+pymysql://…/EMPTY_SCHEMA]

Definitions. A generator fills an installation of four hospitals: one case each five minutes, up to now; a patient for
ten cases, at most 10,000; hospitals by turns. All are answered; the newest 200 wait for a review, the others are
reviewed as doctors do it, sealed and signed. Every 20th case has a message, the newest ten of which nobody has opened.
The log has three entries for each case: sent, answered, signed. Pictures are left out: no list reads them. Each list is
asked through its service, with the entry that the look costs in the log; figures are milliseconds, medians of
`--repetitions` after one look that is not counted. The exponent is the slope of a line through the logarithms of time
and cases. The bar is 100 ms at 1,000,000 cases.
"""

import json
import os
import platform
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sqlalchemy import insert
from sqlmodel import Session, SQLModel, select

from benchmarks import audit_log
from benchmarks.line_chart import fit
from core.evaluation.throwaway import accounts_installation
from core.services import access_log, audit, messages, node_health, notices, worklist
from core.services.accounts import Profile, Role, new_user
from core.services.app import APP_PARTY, Actor, App
from core.services.case_reading import own_cases
from core.services.case_records import CaseSummary, Outcome, seal_summary
from core.services.genuine import stamp
from core.services.review_records import Decision, new_review
from core.services.routing import Reason, RoutingDecision
from core.services.sessions import actor_of
from core.services.vault import key_of, make_key
from core.services.worklist import Narrowing, WorklistFilter
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Case, CaseMessage, CaseReview, CaseStatus, Hospital, User
from db.types import new_id
from security.audit import Entry
from security.records import RecordCipher

BAR_MS = 100.0
APART = timedelta(minutes=5)
OPEN, UNREAD, MESSAGE_EACH = 200, 10, 20
CASES_PER_PATIENT, MOST_PATIENTS = 10, 10_000
BATCH = 2000
SUMMARIES = (
    CaseSummary(Outcome.POSITIVE, 1, 0.91, 0.91, 0.5),
    CaseSummary(Outcome.UNCERTAIN, 1, 0.55, 0.55, 0.5),
    CaseSummary(Outcome.NEGATIVE, 0, 0.04, 0.96, 0.5),
)


@dataclass(frozen=True)
class Clinic:
    """Who asks, and what for.

    Attributes:
        patient, doctor, hospital, authority: one of each role; patient and doctor have cases in common.
        case: an old, reviewed case of theirs.
        number: its short number, as people would look for it.
    """

    patient: Actor
    doctor: Actor
    hospital: Actor
    authority: Actor
    case: str
    number: str


def person(app: App, username: str) -> Actor:
    """Return a demo account."""
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == username)).one())


def patients(app: App, count: int) -> list[Actor]:
    """Register patients, each with a key in the vault."""
    found: list[Actor] = []
    for first in range(0, count, BATCH):
        with session_scope(app.engine) as session:
            for number in range(first, min(first + BATCH, count)):
                user = new_user(
                    app,
                    username=f"patient-{number}",
                    password=secrets.token_hex(),
                    role=Role.PATIENT,
                    profile=Profile(f"Patient {number}"),
                    rounds=4,
                )
                session.add(user)
                session.flush()
                make_key(app, session, user.id)
                found.append(actor_of(app, user))
    return found


class Generator:
    """Fills an installation.

    Args:
        app: the application, with the demo's accounts and no case.
        count: how many cases.
    """

    def __init__(self, app: App, count: int) -> None:
        self._app, self._count, self._now = app, count, app.clock.now()
        with read_scope(app.engine) as session:
            self._hospitals = dict(session.exec(select(Hospital.slug, Hospital.id).order_by(Hospital.slug)).all())
        suffixes = {"north": "", "east": "-east", "south": "-south", "west": "-west"}
        self._doctors = {key: person(app, f"demo-doctor{suffixes[slug]}") for slug, key in self._hospitals.items()}
        self._people = patients(app, min(max(count // CASES_PER_PATIENT, 1), MOST_PATIENTS))
        self._stored: list[tuple[str, str, str]] = []

    def fill(self) -> Clinic:
        """Write everything, and return who may look at it."""
        for first in range(0, self._count, BATCH):
            with session_scope(self._app.engine) as session:
                for table, rows in self._rows(session, range(first, min(first + BATCH, self._count))):
                    session.connection().execute(insert(table), rows)
        audit_log.fill(self._app, self._entries())
        north = self._hospitals["north"]
        case, patient = next((case, patient) for case, patient, hospital in self._stored if hospital == north)
        return Clinic(
            next(one for one in self._people if one.user_id == patient),
            self._doctors[north],
            person(self._app, "demo-hospital"),
            person(self._app, "demo-authority"),
            case,
            f"{case[:4]}-{case[4:8]}".upper(),
        )

    def _rows(self, session: Session, numbers: range) -> Iterator[tuple[type[SQLModel], list[dict[str, object]]]]:
        """Yield the rows of some cases, table by table."""
        rows: dict[type[SQLModel], list[dict[str, object]]] = {Case: [], CaseReview: [], CaseMessage: []}
        ids = list(self._doctors)
        for number in numbers:
            patient, hospital = self._people[number % len(self._people)], ids[number % len(ids)]
            key, summary = key_of(self._app, session, patient.user_id), SUMMARIES[number % len(SUMMARIES)]
            case = self._case(number, patient, hospital, summary, key)
            rows[Case].append(case.model_dump())
            if case.status is CaseStatus.REVIEWED:
                review = new_review(
                    self._app,
                    case,
                    key,
                    doctor_id=self._doctors[hospital].user_id,
                    hospital_id=hospital,
                    program=summary,
                    decision=Decision.AGREE,
                    conclusion=summary.label_index,
                    reason="",
                    note="",
                    amends=None,
                )
                rows[CaseReview].append(review.model_dump())
            if number % MESSAGE_EACH == 0:
                opened = None if number >= self._count - UNREAD * MESSAGE_EACH else case.created_at
                message = CaseMessage(
                    case_id=case.id,
                    sender_id=patient.user_id,
                    body=b"no list opens it",
                    sent_at=case.created_at,
                    read_at=opened,
                )
                rows[CaseMessage].append(message.model_dump())
            self._stored.append((case.id, patient.user_id, hospital))
        yield from ((table, some) for table, some in rows.items() if some)

    def _case(self, number: int, patient: Actor, hospital: str, summary: CaseSummary, key: RecordCipher) -> Case:
        case_id, at = new_id(), self._now - (self._count - number) * APART
        route = RoutingDecision(
            hospital_id=hospital,
            fallback_id=None,
            reason=Reason.PREFERRED,
            distance_km=None,
            open_cases=0,
            candidates=len(self._doctors),
        )
        case = Case(
            id=case_id,
            patient_id=patient.user_id,
            study_code=LEUKEMIA.code,
            status=CaseStatus.ANSWERED if number >= self._count - OPEN else CaseStatus.REVIEWED,
            hospital_id=hospital,
            answered_by_hospital_id=hospital,
            routing=route.to_json(),
            summary=seal_summary(key, case_id, summary),
            created_at=at,
            answered_at=at,
        )
        return stamp(self._app, case)

    def _entries(self) -> Iterator[Entry]:
        """Yield three entries for each case."""
        number = 0
        for case, patient, hospital in self._stored:
            for actor, role, action in (
                (patient, "patient", "case.submit"),
                (APP_PARTY, "party", "case.answer"),
                (self._doctors[hospital].user_id, "doctor", "review.sign"),
            ):
                number += 1
                yield Entry(
                    number=number, time=self._now, actor=actor, role=role, action=action, object=case, outcome="done"
                )


def lists(app: App, clinic: Clinic) -> dict[str, Callable[[], object]]:
    """Return each list of the product, by name."""
    doctor = clinic.doctor
    return {
        "doctor: worklist, to review": lambda: worklist.worklist(app, doctor),
        "doctor: worklist, reviewed": lambda: worklist.worklist(app, doctor, only=WorklistFilter.REVIEWED),
        "doctor: search for a case number": lambda: worklist.worklist(
            app, doctor, only=WorklistFilter.ALL, narrowed=Narrowing(search=clinic.number)
        ),
        "doctor: counts beside the filters": lambda: worklist.counts(app, doctor),
        "doctor: history of a patient": lambda: worklist.history(app, doctor, clinic.case),
        "doctor: messages": lambda: messages.conversations(app, doctor),
        "doctor: what is new": lambda: notices.notices(app, doctor),
        "patient: own cases": lambda: own_cases(app, clinic.patient),
        "patient: who looked": lambda: access_log.accesses(app, clinic.patient),
        "hospital: health of the node": lambda: node_health.health(app, clinic.hospital),
        "authority: log, the newest": lambda: audit.list_entries(app, clinic.authority),
        "authority: log, of one case": lambda: audit.list_entries(app, clinic.authority, object_id=clinic.case),
        "authority: log, of one person": lambda: audit.list_entries(
            app, clinic.authority, person=clinic.patient.user_id
        ),
        "authority: log, one act": lambda: audit.list_entries(app, clinic.authority, action="worklist."),
    }


def times(app: App, clinic: Clinic, repetitions: int) -> dict[str, float]:
    """Return milliseconds of each list."""
    found = {}
    for name, ask in lists(app, clinic).items():
        ask()
        took = []
        for _ in range(repetitions):
            begun = time.perf_counter()
            ask()
            took.append((time.perf_counter() - begun) * 1e3)
        found[name] = round(statistics.median(took), 2)
    return found


def exponents(sizes: list[int], found: list[dict[str, float]]) -> dict[str, float]:
    """Return, by list, by which power of the number of cases its time grows."""
    x = [float(np.log(size)) for size in sizes]
    return {name: round(fit(x, [float(np.log(one[name])) for one in found]).slope, 2) for name in found[0]}


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    sizes: Annotated[str, typer.Option(help="Numbers of cases.")] = "1000,10000,100000,1000000",
    repetitions: Annotated[int, typer.Option(min=1)] = 5,
    database: Annotated[str, typer.Option(help="An empty MySQL schema, for one size; without it SQLite files.")] = "",
) -> None:
    """Fill, ask, and print a table."""
    wanted, found = [int(size) for size in sizes.split(",")], list[dict[str, float]]()
    if database and len(wanted) > 1:
        raise typer.BadParameter("a MySQL schema takes one size")
    for size in wanted:
        with (
            tempfile.TemporaryDirectory(prefix="hemaseal-growth-") as name,
            accounts_installation(Path(name) / "var", database_url=database) as app,
        ):
            begun = time.perf_counter()
            clinic = Generator(app, size).fill()
            print(f"{size:,} cases in {time.perf_counter() - begun:.0f} s", flush=True)
            found.append(times(app, clinic, repetitions))
    slopes = exponents(wanted, found) if len(wanted) > 1 else {}
    answer = {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "engine": "mysql" if database else "sqlite",
        "load": os.getloadavg()[0],
        "cases": wanted,
        "milliseconds": found,
        "exponents": slopes,
    }
    out.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    print("| list | " + " | ".join(f"{size:,}" for size in wanted) + " | exponent |")
    print("|---" * (len(wanted) + 2) + "|")
    for name in found[0]:
        print(f"| {name} | " + " | ".join(f"{one[name]:.1f}" for one in found) + f" | {slopes.get(name, '')} |")


if __name__ == "__main__":
    typer.run(main)
