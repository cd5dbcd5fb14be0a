"""An installation in which a patient is in the care of hospital north, and everybody who might want to know."""

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NoReturn

from sqlmodel import SQLModel, select

from core.clock import FixedClock
from core.errors import EnclaveUnavailable
from core.services import availability
from core.services.accounts import ConsentPurpose, Profile, Role, new_user
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.consents import record_consents
from core.services.demo import DEMO_PASSWORD
from core.services.sessions import actor_of, check_password, redeem_code, session_actor
from core.services.weekly_pattern import WeeklyPattern
from core.settings import Settings
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Hospital, User
from tests.conftest import Installation
from tests.integration.clinic import offered_slots, stored_case, stored_request
from tests.integration.runs_support import give_data, queue_run

COUNTERS = frozenset({"audit_entry", "audit_head", "rate_limit", "sign_in_failures"})
"""Tables in which a refused act may leave something."""


@dataclass(frozen=True)
class World:
    """An installation in which the patient is in the care of hospital north.

    Attributes:
        app: the application.
        people: everybody who tries, by name.
        case: the patient's case, answered at hospital north.
        free_slot: a time that the doctor offers.
        appointment: the patient's, with the doctor.
        referral: the doctor's open request to refer the case to hospital east.
        pattern: the doctor's weekly times.
        absence: days on which the doctor is away.
        dataset: hospital north's.
        run: a queued run of three hospitals, hospital east not among them.
        hospital: id of hospital north.
        serial: a certificate of hospital north.
        somebody: id of an account that none of `people` has.
    """

    app: App
    people: dict[str, Actor]
    case: str
    free_slot: str
    appointment: str
    referral: str
    pattern: str
    absence: str
    dataset: str
    run: str
    hospital: str
    serial: str
    somebody: str


class NoEnclaves:
    """In place of the supervisor: an act that is allowed comes this far and no further."""

    def is_silent(self, _party: str) -> bool:
        """Keep no hospital from being chosen."""
        return False

    def __getattr__(self, name: str) -> NoReturn:
        """Answer nothing, whatever is asked."""
        raise EnclaveUnavailable


def build_world(installation: Installation, data_dir: Path) -> World:
    """Return the world, in a folder that is not there yet; its engine is the caller's to dispose of."""
    shutil.copytree(installation.data_dir / "keys", data_dir / "keys")
    shutil.copy(installation.data_dir / "master.key", data_dir / "master.key")
    shutil.copy(installation.database, data_dir / "hemaseal.db")
    settings = Settings(data_dir=data_dir, database_url="", master_key=None, uploads_per_hour=10**6)
    app = App.start(settings, clock=FixedClock())
    vars(app)["supervisor"] = NoEnclaves()
    with read_scope(app.engine) as session:
        north = session.exec(select(Hospital).where(Hospital.slug == "north")).one()
        serial = session.exec(
            select(CertificateRecord.serial).where(CertificateRecord.party == "north.training")
        ).first()
        somebody = session.exec(select(User.id).where(User.username == "demo-doctor-west")).one()
    _add(app, "colleague", Role.DOCTOR, north.id)
    _add(app, "other-patient", Role.PATIENT, None)
    demo = ("patient", "doctor", "doctor-east", "hospital", "hospital-east", "authority")
    people = {name: _sign_in(app, f"demo-{name}") for name in demo}
    people |= {name: _sign_in(app, name) for name in ("colleague", "other-patient")}
    case = stored_case(app, people["patient"])
    first, second = offered_slots(app, people["doctor"])
    plan = _plan(app, people["doctor"])
    sets = give_data(app, slugs=("north", "south", "west"))
    return World(
        app=app,
        people=people,
        case=case,
        free_slot=second,
        appointment=book(app, people["patient"], case_id=case, slot_id=first).id,
        referral=stored_request(app, people["doctor"], case, "east"),
        pattern=plan.patterns[0].id,
        absence=plan.absences[0].id,
        dataset=sets[0],
        run=queue_run(app, people["authority"], sets),
        hospital=north.id,
        serial=serial or "",
        somebody=somebody,
    )


def _plan(app: App, doctor: Actor) -> availability.Plan:
    """Give the doctor weekly times and an absence, far from the offered slots."""
    friday = date(2026, 1, 16)
    pattern = WeeklyPattern(
        weekday=4, start_minute=540, end_minute=570, minutes=30, capacity=1, zone="UTC", first_day=friday
    )
    availability.add_pattern(app, doctor, pattern)
    availability.add_absence(app, doctor, first_day=friday, last_day=friday, zone="UTC")
    return availability.plan(app, doctor)


def _add(app: App, name: str, role: Role, hospital_id: str | None) -> None:
    person = Profile(name)
    user = new_user(
        app, username=name, password=DEMO_PASSWORD, role=role, profile=person, hospital_id=hospital_id, rounds=4
    )
    with session_scope(app.engine) as session:
        session.add(user)
        session.flush()
        if role is Role.PATIENT:
            record_consents(app, session, actor_of(app, user), ConsentPurpose)


def _sign_in(app: App, username: str) -> Actor:
    return session_actor(app, redeem_code(app, check_password(app, username, DEMO_PASSWORD)))


def stored(app: App) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table but the `COUNTERS`."""
    tables = [table for table in SQLModel.metadata.sorted_tables if table.name not in COUNTERS]
    with app.engine.connect() as connection:
        return {table.name: [tuple(row) for row in connection.execute(table.select())] for table in tables}
