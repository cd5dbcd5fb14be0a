"""Referral with real enclaves: asked, agreed to, handed over; the former hospital is out; all of it or nothing."""

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
from core.evaluation.throwaway import SHIPPED_MODEL
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import answering, audit, cases, referral
from core.services.answering import ImageOfCase, view
from core.services.app import Actor, App
from core.services.approvals import in_force
from core.services.case_reading import own_cases, read_case, view_pictures
from core.services.case_records import CaseStatus
from core.services.cases import retry_waiting, submit
from core.services.consents import ConsentPurpose, give_consent, withdraw_consent
from core.services.erasure import erase
from core.services.members import revoke_certificate
from core.services.models import install
from core.services.referrals import TEXT_VERSION, ReferralStatus, accept, ask, bring_back, decline, referrals, take_back
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.worklist import worklist
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Blob, Case, CaseReferral
from security.errors import SealBroken
from security.keys import KeyUse
from security.sealed_format import front_length
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
            supervisor.ensure(party, identity=app.identity, trust=app.trust(), approvals=in_force(app))
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


REASON = "They have seen many more of these cells."


def uploaded(app: App, patient: Actor, count: int = 1) -> str:
    case = submit(app, patient, files=pictures(count), study="leukemia", preferred=hospital_id(app, "north"))
    assert case.status is CaseStatus.ANSWERED
    return case.id


def asked(app: App, doctor: Actor, case_id: str, slug: str = "east") -> str:
    """Let a doctor ask the patient whether hospital `slug` may look; returns the request."""
    return ask(app, doctor, case_id, hospital_id=hospital_id(app, slug), reason=REASON).id


def test_a_referred_case_is_answered_anew_and_the_former_hospital_is_out(
    clinic: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = uploaded(clinic, patient, 2)
    sign_review(clinic, doctor, case, decision=Decision.DEFER, reason="another laboratory")
    with pytest.raises(NotAuthorised):
        read_case(clinic, doctor_east, case)
    before, sealed = stored_objects(clinic, case)[0], sealed_image(clinic, case)

    request = asked(clinic, doctor, case)
    assert read_case(clinic, doctor, case).case.hospital.slug == "north"  # asking moves nothing
    with pytest.raises(NotAuthorised):
        read_case(clinic, doctor_east, case)
    accept(clinic, patient, request)

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
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    case = uploaded(clinic, patient)
    assert opened_image(clinic, case)
    blobs = _count(clinic)
    request = asked(clinic, doctor, case)
    accept(clinic, patient, request)
    assert opened_image(clinic, case, slug="east")
    for slug in ("north", "south"):
        with pytest.raises(SealBroken):
            opened_image(clinic, case, slug=slug)
    assert _count(clinic) == blobs - 1  # the former answer
    entry = audit.list_entries(clinic, authority, action="case.refer")[0]
    north, east = hospital_id(clinic, "north"), hospital_id(clinic, "east")
    assert (entry.actor, entry.object_id) == (patient.user_id, case)
    assert entry.details == {"from": north, "to": east, "images": 1}
    agreed = audit.list_entries(clinic, authority, action="referral.accept")[0]
    assert (agreed.actor, agreed.object_id) == (patient.user_id, case)
    assert agreed.details == {"to": east, "text": TEXT_VERSION}
    with pytest.raises(ReferralRefused):
        accept(clinic, patient, request)


def _count(app: App) -> int:
    with read_scope(app.engine) as session:
        return session.exec(select(func.count()).select_from(Blob)).one()


@ON_SQLITE
def test_who_no_longer_agrees_to_the_diagnosis_is_not_referred(clinic: App, patient: Actor, doctor: Actor) -> None:
    case = uploaded(clinic, patient)
    request = asked(clinic, doctor, case)
    withdraw_consent(clinic, patient, ConsentPurpose.DIAGNOSIS)
    _is_refused(clinic, patient, request, ConsentMissing)


@ON_SQLITE
def test_strangers_and_the_doctor_who_asks_cannot_agree_in_the_patients_place(
    clinic: App, patient: Actor, doctor: Actor, strangers: list[Actor], authority: Actor
) -> None:
    case = uploaded(clinic, patient)
    request = asked(clinic, doctor, case)
    for stranger in (*strangers, doctor):
        _is_refused(clinic, stranger, request, NotAuthorised)
        for act in (decline, bring_back):
            with pytest.raises(NotAuthorised):
                act(clinic, stranger, request)
    for stranger in strangers:
        with pytest.raises(NotAuthorised):
            take_back(clinic, stranger, request)
    with pytest.raises(NotFound):
        accept(clinic, patient, "0" * 32)
    serial = clinic.certificate_of("east.serving", KeyUse.SEAL).serial
    revoke_certificate(clinic, authority, serial, "keyCompromise")
    _is_refused(clinic, patient, request, MemberRefused)


def _is_refused(app: App, actor: Actor, request: str, error: type[HemaSealError]) -> None:
    with read_scope(app.engine) as session:
        case_id = session.get_one(CaseReferral, request).case_id
    before = stored_objects(app, case_id)
    with pytest.raises(error):
        accept(app, actor, request)
    assert stored_objects(app, case_id) == before
    with read_scope(app.engine) as session:
        case = session.get_one(Case, case_id)
        assert (case.status, case.hospital_id) == (CaseStatus.ANSWERED, hospital_id(app, "north"))
        assert session.get_one(CaseReferral, request).status is ReferralStatus.ASKED


def _standing(app: App, actor: Actor) -> list[tuple[ReferralStatus, bool]]:
    return [(view.status, view.stands) for view in referrals(app, actor)]


def test_a_referral_is_brought_back_and_the_other_hospital_is_out_again(
    clinic: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = uploaded(clinic, patient)
    request = asked(clinic, doctor, case)
    accept(clinic, patient, request)
    assert retry_waiting(clinic, patient) == 1
    assert [(view.stands, view.reason) for view in referrals(clinic, doctor_east)] == [(True, REASON)]
    sign_review(clinic, doctor_east, case, decision=Decision.DEFER, reason="another smear is needed")
    onward = asked(clinic, doctor_east, case, "south")

    bring_back(clinic, patient, request)

    assert retry_waiting(clinic, patient) == 1
    assert [result.answered_by for result in read_case(clinic, doctor, case).results] == ["north.serving"]
    assert [review.reason for review in reviews_of(clinic, doctor, case)] == ["another smear is needed"]
    for act in (read_case, view_pictures, reviews_of):
        with pytest.raises(NotAuthorised):
            act(clinic, doctor_east, case)
    assert opened_image(clinic, case)
    with pytest.raises(SealBroken):
        opened_image(clinic, case, slug="east")
    for again in (accept, bring_back):
        with pytest.raises(ReferralRefused):
            again(clinic, patient, request)
    with pytest.raises(ReferralRefused):  # asked by a hospital that has the case no longer
        accept(clinic, patient, onward)
    assert _standing(clinic, doctor) == [(ReferralStatus.BROUGHT_BACK, False)]
    assert _standing(clinic, doctor_east) == [(ReferralStatus.TAKEN_BACK, False)]


@ON_SQLITE
def test_a_case_that_went_on_is_not_brought_back_over_the_head_of_the_third_hospital(
    clinic: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = uploaded(clinic, patient)
    first = asked(clinic, doctor, case)
    accept(clinic, patient, first)
    second = asked(clinic, doctor_east, case, "north")
    accept(clinic, patient, second)
    with pytest.raises(ReferralRefused):
        bring_back(clinic, patient, first)
    received = next(view for view in referrals(clinic, doctor_east) if view.id == first)
    assert (received.stands, received.reason) == (False, "")  # who has the case no longer reads no reasons
    bring_back(clinic, patient, second)
    assert opened_image(clinic, case, slug="east")


@ON_SQLITE
def test_an_enclave_that_hands_over_something_else_changes_nothing(
    clinic: App, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, other = uploaded(clinic, patient), uploaded(clinic, patient)
    request = asked(clinic, doctor, case)
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
            _is_refused(clinic, patient, request, RecordDamaged)
    accept(clinic, patient, request)


@ON_SQLITE
def test_an_enclave_hands_over_to_enclaves_of_other_hospitals_only(clinic: App, patient: Actor) -> None:
    case = uploaded(clinic, patient)
    client = clinic.supervisor.ensure(
        "north.serving", identity=clinic.identity, trust=clinic.trust(), approvals=in_force(clinic)
    )
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
    clinic: App, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [uploaded(clinic, patient) for _ in range(4)]
    requests = [asked(clinic, doctor, case) for case in cases]
    real = answering.hand_over

    def meanwhile(act: Callable[[], object]) -> None:
        def hand_over(*arguments: object, **options: object) -> bytes:
            handed = real(*arguments, **options)  # type: ignore[arg-type]
            monkeypatch.undo()
            act()
            return handed

        monkeypatch.setattr(referral, "hand_over", hand_over)

    meanwhile(lambda: accept(clinic, patient, requests[0]))
    with pytest.raises(ReferralRefused):
        accept(clinic, patient, requests[0])
    assert opened_image(clinic, cases[0], slug="east")

    meanwhile(lambda: take_back(clinic, doctor, requests[1]))
    with pytest.raises(ReferralRefused):
        accept(clinic, patient, requests[1])
    assert opened_image(clinic, cases[1])

    meanwhile(lambda: withdraw_consent(clinic, patient, ConsentPurpose.DIAGNOSIS))
    _is_refused(clinic, patient, requests[2], ConsentMissing)
    give_consent(clinic, patient, ConsentPurpose.DIAGNOSIS)

    meanwhile(lambda: erase(clinic, patient, password="hemaseal-demo"))
    with pytest.raises((NotFound, DataErased)):
        accept(clinic, patient, requests[3])


@ON_SQLITE
def test_an_answer_of_the_former_hospital_that_comes_after_the_case_was_moved_is_not_taken(
    clinic: App, patient: Actor, doctor: Actor, doctor_east: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    north = hospital_id(clinic, "north")
    with monkeypatch.context() as patch:
        patch.setattr(cases, "ask", silent)
        case = submit(clinic, patient, files=pictures(1), study="leukemia", preferred=north).id
    request = asked(clinic, doctor, case)

    def slow(app: App, question: answering.Question) -> list[answering.Answer]:
        answers = answering.ask(app, question)
        accept(app, patient, request)
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(cases, "ask", slow)
        assert retry_waiting(clinic, doctor) == 0
    with pytest.raises(NotAuthorised):
        read_case(clinic, doctor, case)
    assert retry_waiting(clinic, doctor_east) == 1
    assert read_case(clinic, doctor_east, case).results[0].answered_by == "east.serving"


def silent(*_what: object) -> None:
    raise EnclaveUnavailable
