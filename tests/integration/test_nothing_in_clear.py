"""After a patient's whole story the database holds no pixel, weight, text or diagnosis that could be read."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services.accounts import register_patient
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.case_records import CaseStatus
from core.services.cases import submit
from core.services.consents import ConsentPurpose
from core.services.messages import send
from core.services.models import install
from core.services.reviews import Decision, sign_review
from core.services.slots import free_slots, offer
from db.blobs import put_blob
from db.engine import session_scope
from tests.integration.clinic import hospital_id
from tests.secrets_search import contents, found_in_clear, names_of_diagnoses, pieces, weights_of

NAME, EMAIL = "Story patient of this test", "story.patient@example.invalid"
MESSAGE = "Should I bring the older smears along?"
REASON, NOTE = "chromatin too coarse for that label", "Nothing to worry about before we meet."


@pytest.fixture
def clinic(app: App, serving_model: ServingModel) -> Iterator[App]:
    """The application with a model in service and enclaves of its own."""
    with session_scope(app.engine) as session:
        install(app, session, serving_model)
    yield app
    app.supervisor.stop_all()


def story(app: App, clock: FixedClock, doctor: Actor, picture: bytes) -> Actor:
    """Register, upload, review, write to each other, book."""
    patient = register_patient(
        app,
        username="story",
        password="a long enough password",
        display_name=NAME,
        email=EMAIL,
        city="Oslo, Norway",
        consents=list(ConsentPurpose),
    )
    case = submit(app, patient, files=[picture], study="leukemia", preferred=hospital_id(app), place="Oslo, Norway")
    assert case.status is CaseStatus.ANSWERED
    sign_review(app, doctor, case.id, decision=Decision.DEFER, reason=REASON, note=NOTE)
    send(app, patient, case.id, MESSAGE)
    begin = clock.now() + timedelta(days=1)
    offer(app, doctor, [(begin, begin + timedelta(minutes=30))])
    book(app, patient, case_id=case.id, slot_id=free_slots(app, patient, case.id)[0].id)
    return patient


def test_after_the_story_the_database_holds_nothing_in_clear(
    clinic: App, clock: FixedClock, doctor: Actor, serving_model: ServingModel
) -> None:
    pixels = generate_cell(np.random.default_rng(11), blast=True, style=STYLES["north"])
    picture = encode_png(pixels)

    patient = story(clinic, clock, doctor, picture)

    held = contents(clinic.engine)
    assert patient.user_id.encode() in held
    long = [pixels.tobytes(), picture, *weights_of(serving_model)]
    assert not found_in_clear(held, long=long, texts={NAME, EMAIL, MESSAGE, REASON, NOTE} | names_of_diagnoses())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_search_finds_what_is_not_sealed(app: App, clock: FixedClock) -> None:
    picture = encode_png(generate_cell(np.random.default_rng(11), blast=True, style=STYLES["north"]))
    with session_scope(app.engine) as session:
        put_blob(session, picture, "image", clock)

    found = found_in_clear(contents(app.engine), long=[picture], texts=[NAME])

    assert found == list(pieces(picture))
