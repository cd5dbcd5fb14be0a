"""Step 6: from a patient's upload to a booked appointment, by the services that pages call."""

import secrets
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlmodel import select

from core.errors import AppointmentRefused, EnclaveUnavailable, NotFound
from core.evaluation.demonstration.journal import Say
from core.evaluation.demonstration.outcome import Outcome, Picture, Table
from core.evaluation.throwaway import serving_installation
from core.imaging.decode import encode_png
from core.imaging.synthetic import STYLES, generate_cell
from core.services import appointments, cases, demo, slots
from core.services.app import Actor, App
from core.services.sessions import actor_of
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Role, User

_STAGES = ("decode", "gate", "route", "seal", "store", "enclave", "record", "total")
PATIENT = "demo-patient"


def demo_patient(app: App) -> Actor:
    """Return the demo patient of an installation.

    Raises:
        NotFound: there is none, or the account is closed.
    """
    with read_scope(app.engine) as session:
        user = session.exec(select(User).where(User.username == PATIENT)).first()
        if user is None or not (user.is_demo and user.is_active and user.role is Role.PATIENT):
            raise NotFound("demo patient")
        return actor_of(app, user)


def upload_to_booking(app: App, patient: Actor, *, rng: np.random.Generator) -> tuple[Outcome, str]:
    """Send a synthetic picture as a patient, and book the first free time that suits; returns the appointment too.

    Raises:
        EnclaveUnavailable: no enclave answered; the case is stored and waits.
        AppointmentRefused: no doctor of the hospital has a free time.
        HemaSealError: whatever the services raise.
    """
    style = STYLES["north"]
    pixels = generate_cell(rng, blast=True, style=style)
    png = encode_png(pixels)
    began = time.perf_counter()
    case = cases.submit(app, patient, files=[png], study=LEUKEMIA.name, place=demo.DEMO_PLACE)
    took = time.perf_counter() - began
    if case.summary is None:
        raise EnclaveUnavailable
    booked = _book(app, patient, case.id)
    summary = case.summary
    probability = f"{summary.positive_probability:.0%}"
    timings = tuple((name.capitalize(), f"{case.stages_ms[name]:.0f} ms") for name in _STAGES if name in case.stages_ms)
    outcome = Outcome(
        headline=f"An answer after {took:.2f} s, and an appointment at {booked.hospital}.",
        as_told=booked.case_id == case.id,
        facts=(
            ("Case", case.number),
            ("Sent to", f"{case.hospital.name}. {case.routing_reason}"),
            ("Preliminary answer", f"{summary.outcome.value}; probability of a leukemic cell {probability}"),
            ("Appointment", f"{booked.starts_at:%A %d %B %Y, %H:%M} UTC with {booked.doctor}"),
        ),
        pictures=(
            Picture(caption="The picture that was sent", alt="Synthetic picture of a blast", group="upload", png=png),
        ),
        tables=(Table(title="Where the time of the upload went", columns=("Stage", "Duration"), rows=timings),),
    )
    return outcome, booked.id


def _book(app: App, patient: Actor, case_id: str) -> appointments.AppointmentView:
    """Book the first free time."""
    free = slots.free_slots(app, patient, case_id, limit=1)
    if not free:
        raise AppointmentRefused("there is no free time now")
    return appointments.book(app, patient, case_id=case_id, slot_id=free[0].id)


def show_booking(say: Say) -> Outcome:
    """Do it in a throw-away installation, for the command line: keys, database, enclaves and accounts of its own."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-present-") as folder:
        say("setting up an installation", 0.1)
        with serving_installation(Path(folder) / "var") as app:
            demo.offer_times(app)
            say("sending the picture", 0.8)
            return upload_to_booking(app, demo_patient(app), rng=np.random.default_rng(secrets.randbits(64)))[0]
