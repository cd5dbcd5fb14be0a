"""A study whose models serve with encrypted heads, the whole way: promotion, upload, enclave, key holder, pages.

No shipped study is of that kind, so the app's process takes the leukemia study for one. Enclaves, which are processes
of their own, need not be told: they do what the model that they are given asks for.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlmodel import select

from core.clock import SystemClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import open_model
from core.diagnosis.encrypted_head import KERNEL, HeadSecret
from core.diagnosis.encrypted_operations import KEYHOLDER
from core.errors import CheckpointRefused, ImageRefused
from core.imaging.decode import encode_png
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.imaging.synthetic_field import generate_field
from core.learning.weights import decode_weights
from core.services import encrypted_keyholder as keyholder
from core.services.app import Actor, App, load_master_key
from core.services.authority import authority_office
from core.services.case_reading import read_case, view_pictures
from core.services.case_records import CaseStatus, CaseView
from core.services.cases import retry_waiting, submit
from core.services.models import install, model_in_service, roll_back
from core.studies import LEUKEMIA, STUDIES, STUDIES_BY_CODE, Inference
from db.engine import read_scope, session_scope
from db.models import EncryptedHeadRecord
from security.encrypted_inference.head import HeadKey
from security.identity import Identity
from security.keys import KeyStore
from tests.integration.clinic import hospital_id
from tests.integration.page_support import draw, words
from tests.integration.test_parties import reachable, secrets_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HIDDEN = replace(LEUKEMIA, inference=Inference.ENCRYPTED_HEAD)


@pytest.fixture
def hidden_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDIES, HIDDEN.name, HIDDEN)
    monkeypatch.setitem(STUDIES_BY_CODE, HIDDEN.code, HIDDEN)


@pytest.fixture
def clinic(app: App, hidden_study: None, backbone_model: ServingModel) -> Iterator[App]:
    """The application with a model in service whose head only the key holder reads."""
    with session_scope(app.engine) as session, authority_office(app.settings, app.clock) as office:
        office.enrol(session, KEYHOLDER, days=3650)  # the enclaves' time is the real one
    with session_scope(app.engine) as session:
        install(app, session, backbone_model)
    yield app
    app.supervisor.stop_all()


def cell() -> bytes:
    return encode_png(generate_cell(np.random.default_rng(7), blast=True, style=STYLES["north"]))


def upload(app: App, actor: Actor, *files: bytes) -> CaseView:
    return submit(app, actor, files=files or (cell(),), study=HIDDEN.name, preferred=hospital_id(app))


def spent(app: App) -> list[int]:
    with read_scope(app.engine) as session:
        return list(session.exec(select(EncryptedHeadRecord.spent)).all())


def test_a_case_is_answered_in_hundredths_and_without_a_heat_map(clinic: App, patient: Actor, doctor: Actor) -> None:
    view = upload(clinic, patient, cell(), cell())
    assert view.status is CaseStatus.ANSWERED
    assert {"enclave.infer", "enclave.encrypted_head", "enclave.keyholder"} <= set(view.stages_ms)
    assert spent(clinic) == [2]
    detail = read_case(clinic, doctor, view.id)
    assert not detail.problem
    assert len(detail.results) == 2
    for result in detail.results:
        assert result.heat_map_png == b""
        assert sum(result.probabilities) == pytest.approx(1)
    assert detail.results[0].probabilities == detail.results[1].probabilities
    pictures = view_pictures(clinic, doctor, view.id)
    assert (pictures.is_undrawn, pictures.is_blank, pictures.with_heat_map) == (True, False, None)


def test_the_pages_say_that_there_is_no_heat_map(clinic: App, served: App, patient: Actor) -> None:
    case = upload(clinic, patient).id
    for page, username, said in (
        ("doctor/case", "demo-doctor", "There is no heat map"),
        ("patient/results", "demo-patient", "part of the program stays encrypted"),
    ):
        tab = draw(served, page, username, address={"case": case}, **{f"result_numbers_{case}": True})
        assert not tab.exception
        assert said in words(tab)


def test_the_app_keeps_nothing_of_the_key_holder(clinic: App, patient: Actor) -> None:
    assert upload(clinic, patient).status is CaseStatus.ANSWERED
    held = secrets_of(clinic)
    assert held["identities"] == {"app"}
    assert held["stores"] == {"app"}
    assert not any(isinstance(item, HeadKey | HeadSecret) for item in reachable(clinic))


def test_what_is_sealed_for_the_enclaves_holds_no_head(clinic: App, backbone_model: ServingModel) -> None:
    with read_scope(clinic.engine) as session:
        served = model_in_service(clinic, session, HIDDEN)
    node = Identity.load(KeyStore(clinic.settings.keys_dir, "north.serving", load_master_key(clinic.settings)))
    model = open_model(
        served.sealed,
        recipient=node,
        trust=clinic.trust(),
        study=HIDDEN.name,
        run=served.run,
        sender=served.sender,
        at=SystemClock().now(),
    )
    kernel = decode_weights(backbone_model.weights or b"")[0][KERNEL]
    assert model.weights is None
    for form in (kernel, np.ascontiguousarray(kernel.T)):
        assert form.tobytes() not in model.encode() + served.head


def test_an_earlier_model_serves_again_with_the_head_that_it_had(
    clinic: App, patient: Actor, authority: Actor, backbone_model: ServingModel
) -> None:
    with read_scope(clinic.engine) as session:
        first = model_in_service(clinic, session, HIDDEN)
    with session_scope(clinic.engine) as session:
        install(clinic, session, backbone_model)
    assert upload(clinic, patient).status is CaseStatus.ANSWERED
    assert roll_back(clinic, authority, HIDDEN.name) == first.checkpoint_id
    with read_scope(clinic.engine) as session:
        assert model_in_service(clinic, session, HIDDEN).head == first.head
    assert upload(clinic, patient).status is CaseStatus.ANSWERED
    assert sorted(spent(clinic)) == [1, 1]


def test_a_case_waits_when_the_models_answers_are_used_up(
    clinic: App, patient: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyholder, "LIFETIME", 0)
    assert upload(clinic, patient).status is CaseStatus.WAITING
    assert spent(clinic) == [0]
    monkeypatch.setattr(keyholder, "LIFETIME", 1)
    assert retry_waiting(clinic, patient) == 1


def test_a_case_waits_without_the_key_holder(clinic: App, patient: Actor) -> None:
    shutil.move(clinic.settings.keys_dir / KEYHOLDER, clinic.settings.data_dir / "away")
    assert upload(clinic, patient).status is CaseStatus.WAITING


def test_a_field_of_cells_is_refused_before_it_is_stored(clinic: App, patient: Actor) -> None:
    field = generate_field(
        np.random.default_rng(2), kinds=[CellKind.NEUTROPHIL] * 6, style=STYLES["north"], height=480, width=640
    )
    with pytest.raises(ImageRefused, match="one cell"):
        upload(clinic, patient, encode_png(field.pixels))


def test_a_whole_network_is_not_put_into_service(app: App, hidden_study: None, serving_model: ServingModel) -> None:
    with pytest.raises(CheckpointRefused), session_scope(app.engine) as session:
        install(app, session, serving_model)
