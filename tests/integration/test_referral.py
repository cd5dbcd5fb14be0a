"""Referral with real enclaves: the new hospital opens and answers, the former one cannot; all of it or nothing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import func, select

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.diagnosis.client import EnclaveClient
from core.diagnosis.supervisor import EnclaveSupervisor
from core.errors import (
    ConsentMissing,
    DataErased,
    EnclaveUnavailable,
    HemaSealError,
    MemberRefused,
    NotAuthorised,
    NotFound,
    RecordDamaged,
    ReferralRefused,
)
from core.evaluation.respond import SHIPPED_MODEL
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import answering, audit, referral
from core.services.answering import ImageOfCase, view
from core.services.app import Actor, App
from core.services.case_reading import own_cases, read_case, view_pictures, worklist
from core.services.case_records import CaseStatus
from core.services.cases import retry_waiting, submit
from core.services.consents import ConsentPurpose, withdraw_consent
from core.services.erasure import erase
from core.services.members import revoke_certificate
from core.services.models import install
from core.services.referral import refer
from core.services.reviews import Decision, reviews_of, sign_review
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Blob, Case
from security.errors import SealBroken
from security.keys import KeyUse
from security.sealing import front_length
from tests.conftest import Installation
from tests.integration.clinic import hospital_id
from tests.integration.vault_support import opened_image, sealed_image, stored_objects

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def model(installation: Installation) -> ServingModel:
    """The shipped model."""
    settings = Settings(data_dir=installation.data_dir, database_url="", master_key=None)
    return load_checkpoint(SHIPPED_MODEL, settings=settings, at=FixedClock().now())


@pytest.fixture(scope="module")
def enclaves(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that says how the enclaves of north and east are reached; started once for this file."""
    data_dir = tmp_path_factory.mktemp("enclaves") / "data"
    shutil.copytree(installation.data_dir / "keys", data_dir / "keys")
    shutil.copy(installation.data_dir / "master.key", data_dir / "master.key")
    shutil.copy(installation.database, data_dir / "hemaseal.db")
    app = App.start(Settings(data_dir=data_dir, database_url="", master_key=None), clock=FixedClock())
    supervisor = EnclaveSupervisor(app.settings, ["north.serving", "east.serving"])
    try:
        for party in supervisor.parties:
            supervisor.ensure(party, identity=app.identity, trust=app.trust())
        yield app.settings.run_dir
    finally:
        supervisor.stop_all()
        app.engine.dispose()


@pytest.fixture
def clinic(app: App, model: ServingModel, enclaves: Path) -> Iterator[App]:
    """The application with the shipped model in service and the enclaves of this file."""
    with session_scope(app.engine) as session:
        install(app, session, model)
    app.settings.run_dir.symlink_to(enclaves)
    yield app
    app.supervisor.stop_all()


def pictures(count: int) -> list[bytes]:
    seeds = range(7, 7 + count)
    return [encode_png(generate_cell(np.random.default_rng(seed), blast=True, style=STYLES["north"])) for seed in seeds]


def uploaded(app: App, patient: Actor, count: int = 1) -> str:
    case = submit(app, patient, files=pictures(count), study="leukemia", preferred=hospital_id(app, "north"))
    assert case.status is CaseStatus.ANSWERED
    return case.id


def to_east(app: App, actor: Actor, case_id: str) -> None:
    refer(app, actor, case_id, hospital_id=hospital_id(app, "east"))


def test_a_referred_case_is_answered_anew_and_the_former_hospital_is_out(
    clinic: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = uploaded(clinic, patient, 2)
    sign_review(clinic, doctor, case, decision=Decision.DEFER, reason="another laboratory")
    with pytest.raises(NotAuthorised):
        read_case(clinic, doctor_east, case)
    before, sealed = stored_objects(clinic, case)[0], sealed_image(clinic, case)

    to_east(clinic, doctor, case)

    entry = own_cases(clinic, patient)[0]
    assert (entry.case.status, entry.case.hospital.slug, entry.case.summary) == (CaseStatus.WAITING, "east", None)
    assert "referred to it, as you allowed" in entry.case.routing_reason
    assert not entry.is_out_of_reach
    assert retry_waiting(clinic, doctor_east) == 1
    detail = read_case(clinic, doctor_east, case)
    assert [result.answered_by for result in detail.results] == ["east.serving"] * 2
    assert view_pictures(clinic, doctor_east, case, image=1).with_heat_map is not None
    assert [review.reason for review in reviews_of(clinic, doctor_east, case)] == ["another laboratory"]
    for act in (read_case, view_pictures, reviews_of):
        with pytest.raises(NotAuthorised):
            act(clinic, doctor, case)
    assert case not in {listed.case.id for listed in worklist(clinic, doctor)}

    after, handed = stored_objects(clinic, case)[0], sealed_image(clinic, case)
    assert after[-1000:] == before[-1000:]
    assert handed[front_length(handed) :] == sealed[front_length(sealed) :]
    which = ImageOfCase(case_id=case, study=LEUKEMIA, number=0, images=2)
    with pytest.raises(RecordDamaged):
        view(clinic, which=which, slug="north", sealed_image=handed)
    assert view(clinic, which=which, slug="north", sealed_image=sealed)  # the control: its own object it could open


@ON_SQLITE
def test_the_former_key_does_not_open_the_new_object_and_the_log_tells_of_it(
    clinic: App, patient: Actor, authority: Actor
) -> None:
    case = uploaded(clinic, patient)
    assert opened_image(clinic, case)
    blobs = _count(clinic)
    to_east(clinic, patient, case)
    assert opened_image(clinic, case, slug="east")
    for slug in ("north", "south"):
        with pytest.raises(SealBroken):
            opened_image(clinic, case, slug=slug)
    assert _count(clinic) == blobs - 1  # the former answer
    entry = audit.list_entries(clinic, authority, action="case.refer")[0]
    north, east = hospital_id(clinic, "north"), hospital_id(clinic, "east")
    assert (entry.actor, entry.object_id) == (patient.user_id, case)
    assert entry.details == {"from": north, "to": east, "images": 1}
    with pytest.raises(ReferralRefused):
        to_east(clinic, patient, case)


def _count(app: App) -> int:
    with read_scope(app.engine) as session:
        return session.exec(select(func.count()).select_from(Blob)).one()


@ON_SQLITE
@pytest.mark.parametrize("purpose", [ConsentPurpose.REFERRAL, ConsentPurpose.DIAGNOSIS])
def test_without_the_patients_consent_nothing_is_referred(
    clinic: App, patient: Actor, doctor: Actor, purpose: ConsentPurpose
) -> None:
    case = uploaded(clinic, patient)
    withdraw_consent(clinic, patient, purpose)
    _is_refused(clinic, doctor, case, ConsentMissing)


@ON_SQLITE
def test_strangers_unknown_hospitals_and_revoked_enclaves_are_refused(
    clinic: App, patient: Actor, strangers: list[Actor], authority: Actor
) -> None:
    case = uploaded(clinic, patient)
    for stranger in strangers:
        _is_refused(clinic, stranger, case, NotAuthorised)
    with pytest.raises(NotFound):
        refer(clinic, patient, case, hospital_id="0" * 32)
    serial = clinic.certificate_of("east.serving", KeyUse.SEAL).serial
    revoke_certificate(clinic, authority, serial, "keyCompromise")
    _is_refused(clinic, patient, case, MemberRefused)


def _is_refused(app: App, actor: Actor, case_id: str, error: type[HemaSealError]) -> None:
    before = stored_objects(app, case_id)
    with pytest.raises(error):
        to_east(app, actor, case_id)
    assert stored_objects(app, case_id) == before
    with read_scope(app.engine) as session:
        case = session.get_one(Case, case_id)
        assert (case.status, case.hospital_id) == (CaseStatus.ANSWERED, hospital_id(app, "north"))


@ON_SQLITE
def test_an_enclave_that_hands_over_something_else_changes_nothing(
    clinic: App, patient: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, other = uploaded(clinic, patient), uploaded(clinic, patient)
    real = EnclaveClient.hand_over
    foreign = clinic.certificate_of("south.serving", KeyUse.SEAL)
    wrong_image = sealed_image(clinic, other)
    cheats: list[Callable[..., bytes]] = [
        lambda _self, **_options: b"",
        lambda self, **options: real(self, **{**options, "to": foreign}),
        lambda self, **options: real(self, **{**options, "case_id": other, "sealed_image": wrong_image}),
    ]
    for cheat in cheats:
        with monkeypatch.context() as patch:
            patch.setattr(EnclaveClient, "hand_over", cheat)
            _is_refused(clinic, patient, case, RecordDamaged)
    to_east(clinic, patient, case)


@ON_SQLITE
def test_an_enclave_hands_over_to_enclaves_of_other_hospitals_only(clinic: App, patient: Actor) -> None:
    case = uploaded(clinic, patient)
    client = clinic.supervisor.ensure("north.serving", identity=clinic.identity, trust=clinic.trust())
    options = {"case_id": case, "study": LEUKEMIA.name, "sealed_image": sealed_image(clinic, case)}
    for party in ("app", "authority", "north.training", "north.serving"):
        with pytest.raises(EnclaveUnavailable):
            client.hand_over(**options, to=clinic.certificate_of(party, KeyUse.SEAL))  # type: ignore[arg-type]
    with pytest.raises(RecordDamaged):
        client.hand_over(
            **{**options, "case_id": "0" * 32},  # type: ignore[arg-type]
            to=clinic.certificate_of("east.serving", KeyUse.SEAL),
        )


@ON_SQLITE
def test_what_changes_while_the_enclaves_are_at_work_is_not_overwritten(
    clinic: App, patient: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = uploaded(clinic, patient), uploaded(clinic, patient), uploaded(clinic, patient)
    real = answering.hand_over

    def meanwhile(act: Callable[[], object]) -> Callable[..., bytes]:
        def hand_over(*arguments: object, **options: object) -> bytes:
            handed = real(*arguments, **options)  # type: ignore[arg-type]
            monkeypatch.undo()
            act()
            return handed

        return hand_over

    monkeypatch.setattr(referral, "hand_over", meanwhile(lambda: to_east(clinic, patient, first)))
    with pytest.raises(ReferralRefused):
        to_east(clinic, patient, first)
    assert opened_image(clinic, first, slug="east")

    monkeypatch.setattr(
        referral, "hand_over", meanwhile(lambda: withdraw_consent(clinic, patient, ConsentPurpose.REFERRAL))
    )
    _is_refused(clinic, patient, second, ConsentMissing)

    monkeypatch.setattr(referral, "_NEEDED", (ConsentPurpose.DIAGNOSIS,))
    monkeypatch.setattr(referral, "hand_over", meanwhile(lambda: erase(clinic, patient, password="hemaseal-demo")))
    with pytest.raises((NotFound, DataErased)):
        to_east(clinic, patient, third)
