"""What set-up puts into a demo, on both databases: times that are refilled, and that stay withdrawn once withdrawn."""

from datetime import timedelta

import pytest
from sqlmodel import col, select

from core.clock import FixedClock
from core.services import demo, models
from core.services.app import Actor, App
from core.services.candidates import served_model
from core.services.slots import own_slots, withdraw
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import CheckpointStatus, Slot
from db.seed import DEMO_HOSPITALS
from security.keys import KeyUse

PER_DAY = len(demo.TIMES_OF_DAY)


def _times(app: App, doctor: Actor) -> list[Slot]:
    with read_scope(app.engine) as session:
        return list(session.exec(select(Slot).where(Slot.doctor_id == doctor.user_id).order_by(col(Slot.starts_at))))


def test_demo_doctors_offer_times_on_the_working_days_of_two_weeks(app: App, doctor: Actor) -> None:
    assert demo.offer_times(app) == 5 * (10 * PER_DAY - 3)  # three of the first day are past at nine o'clock
    times = _times(app, doctor)
    assert times[0].starts_at == app.clock.now() + timedelta(minutes=30)
    assert times[-1].starts_at < app.clock.now() + timedelta(days=demo.DAYS_AHEAD)
    assert all(time.starts_at.weekday() in demo.WORKING_DAYS for time in times)
    assert len(own_slots(app, doctor)) == len(times)


def test_times_are_refilled_as_days_go_by_and_never_doubled(app: App, doctor: Actor, clock: FixedClock) -> None:
    demo.offer_times(app)
    assert demo.offer_times(app) == 0
    before = len(_times(app, doctor))
    clock.advance(timedelta(days=7))
    assert demo.offer_times(app) == 5 * 5 * PER_DAY
    assert len(_times(app, doctor)) == before + 5 * PER_DAY


def test_after_a_long_pause_times_begin_today_again(app: App, doctor: Actor, clock: FixedClock) -> None:
    demo.offer_times(app)
    clock.advance(timedelta(days=70))
    assert demo.offer_times(app) == 5 * (10 * PER_DAY - 3)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_time_that_was_withdrawn_is_not_offered_again(app: App, doctor: Actor) -> None:
    demo.offer_times(app)
    slots = own_slots(app, doctor)
    for slot in slots[-5:]:
        withdraw(app, doctor, slot.id)
    assert demo.offer_times(app) == 0
    assert len(own_slots(app, doctor)) == len(slots) - 5


def test_the_shipped_model_is_put_into_service_once_for_every_enclave(app: App, authority: Actor) -> None:
    lines: list[str] = []
    demo.install_model(app, lines.append, study=LEUKEMIA)
    assert lines == ["Shipped model for “White blood cell” in service, sealed for the enclaves of all hospitals"]
    (model,) = models.list_models(app, authority)
    assert (model.status, model.verified, model.problem) == (CheckpointStatus.IN_SERVICE, True, "")
    with read_scope(app.engine) as session:
        served = served_model(app, session, LEUKEMIA)
    enclaves = {app.certificate_of(f"{slug}.serving", KeyUse.SEAL).serial for slug, *_ in DEMO_HOSPITALS}
    assert enclaves < served.readers
