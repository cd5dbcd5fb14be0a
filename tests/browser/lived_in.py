"""An installation in which people have worked: each page has something to show, and every act went by the services.

What is there: cases that are open, signed, read a second time and referred; messages; appointments to come and
cancelled; weekly times and an absence; a finished federated run (learned by `SoftmaxLearner`, without TensorFlow); a
small evaluation (`tests.kept_evaluation`).
"""

import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from sqlmodel import select

from core.clock import SystemClock
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import (
    appointments,
    availability,
    cases,
    messages,
    referrals,
    reviews,
    second_readings,
    slots,
    weekly_pattern,
)
from core.services.accounts import Role
from core.services.app import Actor, App
from core.services.case_reading import own_cases
from core.services.demo import DEMO_PLACE
from core.services.reviews import Decision
from core.services.runs import AggregationMode, start_run
from core.services.sessions import actor_of
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Hospital, User
from federated.worker import Worker
from tests.integration.runs_support import give_data, softmax
from tests.kept_evaluation import keep_evaluation

PEOPLE = {
    Role.PATIENT: "demo-patient",
    Role.DOCTOR: "demo-doctor",
    Role.HOSPITAL: "demo-hospital",
    Role.AUTHORITY: "demo-authority",
}
"""Who works in each role."""
CASES = 5
ROUNDS = 3


@dataclass(frozen=True)
class Workers:
    """Those who have worked here."""

    patient: Actor
    doctor: Actor
    second: Actor
    east: Actor
    authority: Actor

    @classmethod
    def of(cls, app: App) -> "Workers":
        """Find the demo's people."""
        names = ("demo-patient", "demo-doctor", "demo-doctor-second", "demo-doctor-east", "demo-authority")
        with read_scope(app.engine) as session:
            return cls(*(actor_of(app, session.exec(select(User).where(User.username == one)).one()) for one in names))


def live_in(settings: Settings) -> None:
    """Let people work for a while in a demo installation with contents."""
    app = App.start(settings)
    try:
        people = Workers.of(app)
        sent = [_send(app, people.patient, seed) for seed in range(CASES)]
        _talk(app, people, sent[0])
        _review(app, people, sent)
        _meet(app, people, sent[1])
        _refer(app, people, sent)
        _plan(app, people.doctor)
        _train(app, people.authority)
        with tempfile.TemporaryDirectory() as cells:
            keep_evaluation(settings.evaluation_dir / "20260107-090000-leukemia", Path(cells) / "cells")
    finally:
        app.supervisor.stop_all()
        app.engine.dispose()


def cell(seed: int, *, blast: bool = True) -> bytes:
    """A synthetic cell of hospital north's stain, as PNG."""
    return encode_png(generate_cell(np.random.default_rng(seed), blast=blast, style=STYLES["north"]))


def _hospital(app: App, slug: str) -> str:
    with read_scope(app.engine) as session:
        return session.exec(select(Hospital.id).where(Hospital.slug == slug)).one()


def _send(app: App, patient: Actor, seed: int) -> str:
    case = cases.submit(
        app,
        patient,
        files=[cell(seed, blast=seed % 3 != 1)],
        study=LEUKEMIA.name,
        place=DEMO_PLACE,
        preferred=_hospital(app, "north"),
        allow_fallback=True,
    )
    assert case.summary is not None, "no enclave answered"
    return case.id


def _talk(app: App, people: Workers, case_id: str) -> None:
    messages.send(app, people.patient, case_id, "Shall I bring my older results along?")
    messages.send(app, people.doctor, case_id, "Yes, please, and a list of your medicines.")
    messages.send(app, people.patient, case_id, "Thank you.")


def _review(app: App, people: Workers, sent: list[str]) -> None:
    """One case agreed with and read again by a colleague who differs, one put off."""
    note = "We would like to see you soon to repeat the test."
    reviews.sign_review(app, people.doctor, sent[0], decision=Decision.AGREE, reason="Coarse chromatin.", note=note)
    second_readings.ask(app, people.doctor, sent[0])
    second_readings.sign_second(app, people.second, sent[0], conclusion=0, reason="Smudge cells only in my view.")
    reviews.sign_review(app, people.doctor, sent[1], decision=Decision.DEFER, reason="A sharper image is on its way.")


def _meet(app: App, people: Workers, case_id: str) -> None:
    """One appointment to come, one cancelled."""
    free = slots.free_slots(app, people.patient, case_id)
    first = appointments.book(app, people.patient, case_id=case_id, slot_id=free[0].id)
    appointments.cancel(app, people.patient, first.id)
    appointments.book(app, people.doctor, case_id=case_id, slot_id=free[3].id)


def _refer(app: App, people: Workers, sent: list[str]) -> None:
    """One request open, one declined, one agreed to."""
    east, why = _hospital(app, "east"), "They see more of these and have a second microscope."
    for case_id, answer in ((sent[2], None), (sent[3], referrals.decline), (sent[4], referrals.accept)):
        asked = referrals.ask(app, people.doctor, case_id, hospital_id=east, reason=why)
        if answer is not None:
            answer(app, people.patient, asked.id)
    assert len(own_cases(app, people.patient)) == len(sent)


def _plan(app: App, doctor: Actor) -> None:
    """Weekly times and an absence."""
    today = app.clock.now().date()
    pattern = weekly_pattern.WeeklyPattern(
        weekday=2, start_minute=960, end_minute=1020, minutes=30, capacity=2, zone="Europe/Berlin", first_day=today
    )
    availability.add_pattern(app, doctor, pattern)
    away: date = today + timedelta(days=40)
    availability.add_absence(app, doctor, first_day=away, last_day=away + timedelta(days=7), zone="Europe/Berlin")


def _train(app: App, authority: Actor) -> None:
    """A blind run over tiny data sets, from order to exported model."""
    start_run(
        app,
        authority,
        study=LEUKEMIA.name,
        mode=AggregationMode.BLIND,
        rounds=ROUNDS,
        dataset_ids=give_data(app),
    )
    worker = Worker(app.settings, clock=SystemClock(), learner_for=softmax)
    try:
        assert worker.run_one()
    finally:
        worker.close()
