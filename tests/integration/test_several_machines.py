"""Enclaves on other machines: found by the settings, reached over TLS alone, passed over while they do not answer."""

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from core.clock import SystemClock
from core.diagnosis import remote
from core.diagnosis.bundle import ServingModel
from core.diagnosis.client import EnclaveClient
from core.diagnosis.measurement import measure
from core.diagnosis.remote import RemoteEnclave
from core.errors import EnclaveUnavailable, MeasurementRefused, MemberRefused, SettingsError
from core.evaluation.throwaway import accounts_installation
from core.services import approvals, cases, node_health
from core.services.app import Actor, App, check_settings, load_master_key
from core.services.case_reading import own_cases, view_pictures
from core.services.case_records import CaseStatus
from core.services.members import RevocationReason, revoke_certificate
from core.services.models import install
from core.services.node_health import EnclaveState
from core.settings import Settings, host_and_port
from db.engine import read_scope, session_scope
from db.models import CertificateRecord
from security.authority import CRL_FILE, CertificateAuthority
from security.keys import KeyStore, KeyUse
from security.party_tls import tls_context
from tests.conftest import Installation
from tests.faults.proxy import Proxy
from tests.integration.machines import Machine, app_with, machines, shipped_model, upload
from tests.integration.page_support import draw, words

NORTH = "north.serving"
ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def model(installation: Installation) -> ServingModel:
    """The shipped model."""
    return shipped_model(installation)


@pytest.fixture(scope="module")
def _pair(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    with machines(installation, tmp_path_factory.mktemp("machines"), NORTH, NORTH) as made:
        yield made


@pytest.fixture
def pair(_pair: list[Machine]) -> list[Machine]:
    """Two machines of hospital north with a replica of its enclave each, both up."""
    for machine in _pair:
        if not machine.is_up:
            machine.start()
    return _pair


@pytest.fixture
def forgetful(pair: list[Machine]) -> Iterator[None]:
    """What they hear of revocations and withdrawals they shall not remember in the next test."""
    yield
    for machine in pair:
        machine.kill()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once whoever did not answer."""
    monkeypatch.setattr(remote, "AGAIN_S", 0.0)


@pytest.fixture
def clinic(app: App, model: ServingModel, pair: list[Machine]) -> Iterator[App]:
    """The application with the shipped model in service and north's enclave on two other machines."""
    with session_scope(app.engine) as session:
        install(app, session, model)
    made = app_with(app, *pair)
    yield made
    made.supervisor.stop_all()


def parts(app: App) -> dict[str, Any]:
    return {"identity": app.identity, "trust": app.trust(), "approvals": approvals.in_force(app)}


def reached(app: App, *places: tuple[str, int]) -> RemoteEnclave:
    """Return north's enclave at these places, of which nothing is known yet."""
    store = KeyStore(app.settings.keys_dir, "app", load_master_key(app.settings))
    return RemoteEnclave(NORTH, places, tls=tls_context(store, server=False), patience_s=5)


def states(app: App, person: Actor) -> list[EnclaveState]:
    return [one.state for one in node_health.health(app, person).replicas]


@ONE_ENGINE
def test_a_case_is_answered_by_a_machine_that_has_one_key_folder_and_no_database(
    clinic: App, patient: Actor, doctor: Actor, hospital: Actor
) -> None:
    view = upload(clinic, patient)
    assert (view.status, view.answered_by and view.answered_by.slug) == (CaseStatus.ANSWERED, "north")
    assert clinic.supervisor.running() == {}, "no process of north is started here"
    assert view_pictures(clinic, doctor, view.id).original.startswith(b"\x89PNG")
    found = node_health.health(clinic, hospital)
    assert found.enclave is EnclaveState.ANSWERS
    assert found.memory_mib > 0
    assert [one.state for one in found.replicas] == [EnclaveState.ANSWERS] * 2
    assert {one.measurement for one in found.replicas} == {measure().sha256}


@ONE_ENGINE
def test_requests_take_turns_and_a_replica_that_is_known_to_be_good_is_not_asked_what_it_is(
    clinic: App, pair: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [clinic.supervisor.ensure(NORTH, **parts(clinic)) for _ in range(4)]
    monkeypatch.setattr(EnclaveClient, "hello", lambda _self: pytest.fail("asked again"))
    clients += [clinic.supervisor.ensure(NORTH, **parts(clinic)) for _ in range(4)]
    assert {client.port for client in clients} == {machine.port for machine in pair}


@ONE_ENGINE
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Landlock and seccomp are Linux's")
def test_an_enclave_that_listens_to_others_gives_up_what_one_beside_the_app_does(app: App, pair: list[Machine]) -> None:
    far = app_with(app, pair[0]).supervisor.ensure(NORTH, **parts(app)).hello()
    near = app.supervisor.ensure("east.serving", **parts(app)).hello()
    app.supervisor.stop_all()
    assert far.protections == near.protections
    assert {"no_core", "not_dumpable", "calls"} <= set(far.protections)


@ONE_ENGINE
def test_when_a_replica_dies_the_other_answers_and_it_comes_back_by_itself(
    clinic: App, patient: Actor, hospital: Actor, pair: list[Machine]
) -> None:
    assert states(clinic, hospital) == [EnclaveState.ANSWERS] * 2
    before = node_health.health(clinic, hospital).replicas
    pair[0].kill()
    assert [upload(clinic, patient).status for _ in range(3)] == [CaseStatus.ANSWERED] * 3
    found = node_health.health(clinic, hospital)
    assert [one.state for one in found.replicas] == [EnclaveState.SILENT, EnclaveState.ANSWERS]
    assert found.enclave is EnclaveState.ANSWERS
    assert found.replicas[0].since is not None
    assert before[0].since is not None
    assert found.replicas[0].since > before[0].since
    assert found.replicas[1].since == before[1].since
    pair[0].start()
    assert states(clinic, hospital) == [EnclaveState.ANSWERS] * 2


@ONE_ENGINE
def test_a_replica_that_hangs_is_passed_over(app: App, pair: list[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are taken, and nothing ever comes back: as behind a network that drops what passes."""
    monkeypatch.setattr(remote, "HELLO_TIMEOUT_S", 0.3)
    hanging, other = host_and_port(pair[0].place), host_and_port(pair[1].place)
    with Proxy(*hanging) as line:
        enclave = reached(app, ("127.0.0.1", line.port), other)
        assert [one.state for one in enclave.look(**parts(app))] == [EnclaveState.ANSWERS] * 2
        line.silence()
        monkeypatch.setattr(remote, "FRESH_S", 0.0)
        assert {enclave.ensure(**parts(app)).port for _ in range(3)} == {other[1]}


@ONE_ENGINE
def test_when_all_die_a_case_waits_and_is_answered_once_one_is_back(
    clinic: App, patient: Actor, hospital: Actor, pair: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    for machine in pair:
        machine.kill()
    case = upload(clinic, patient)
    assert case.status is CaseStatus.WAITING
    assert states(clinic, hospital) == [EnclaveState.SILENT] * 2
    assert node_health.health(clinic, hospital).enclave is EnclaveState.SILENT
    assert cases.retry_waiting(clinic, patient) == 0
    with monkeypatch.context() as patch:
        patch.setattr(remote, "AGAIN_S", 60.0)  # nobody is asked again for now: routing knows
        assert clinic.supervisor.is_silent(NORTH)
        elsewhere = upload(clinic, patient, prefer=None)
        assert elsewhere.answered_by is not None
        assert elsewhere.answered_by.slug != "north"
    pair[1].start()
    assert cases.retry_waiting(clinic, patient) == 1
    assert {one.case.id: one.case.status for one in own_cases(clinic, patient)}[case.id] is CaseStatus.ANSWERED


@ONE_ENGINE
@pytest.mark.usefixtures("forgetful")
def test_a_machine_whose_program_is_not_approved_gets_no_picture(
    clinic: App, patient: Actor, hospital: Actor, authority: Actor
) -> None:
    assert [one.state for one in approvals.overview(clinic, authority).elsewhere] == [EnclaveState.ANSWERS] * 2
    approvals.withdraw(clinic, authority, measure().sha256)
    assert upload(clinic, patient).status is CaseStatus.WAITING
    with pytest.raises(MeasurementRefused):
        clinic.supervisor.ensure(NORTH, **parts(clinic))
    assert node_health.health(clinic, hospital).enclave is EnclaveState.NOT_APPROVED
    seen = approvals.overview(clinic, authority).elsewhere
    assert {(one.party, one.state, one.measurement) for one in seen} == {
        (NORTH, EnclaveState.NOT_APPROVED, measure().sha256)
    }


@ONE_ENGINE
@pytest.mark.usefixtures("forgetful")
def test_a_machine_whose_certificate_is_revoked_hears_nothing(
    clinic: App, patient: Actor, hospital: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_scope(clinic.engine) as session:
        use = col(CertificateRecord.key_use) == KeyUse.SIGN.value
        serial = session.exec(select(CertificateRecord.serial).where(CertificateRecord.party == NORTH, use)).one()
    case = upload(clinic, patient)
    assert case.status is CaseStatus.ANSWERED
    revoke_certificate(clinic, authority, serial, RevocationReason.KEY_COMPROMISE.value)
    with pytest.raises(MemberRefused):
        clinic.supervisor.ensure(NORTH, **parts(clinic)).view(
            case_id=case.id, study="leukemia", sealed_image=b"never sent"
        )
    monkeypatch.setattr(remote, "FRESH_S", 0.0)
    assert states(clinic, hospital) == [EnclaveState.REFUSED] * 2


@ONE_ENGINE
def test_another_hospitals_machine_in_its_place_is_found_out_before_anything_is_said(
    app: App, installation: Installation, tmp_path: Path
) -> None:
    with machines(installation, tmp_path / "east", "east.serving") as (east,), pytest.raises(MemberRefused):
        reached(app, host_and_port(east.place)).ensure(**parts(app))


@ONE_ENGINE
def test_whoever_is_not_the_app_is_told_nothing(app: App, pair: list[Machine], tmp_path: Path) -> None:
    """Without TLS, without a certificate, with another party's, as the app of another root."""
    place = host_and_port(pair[0].place)
    with socket.create_connection(place, timeout=10) as plain:
        plain.sendall(b"\0\0\0\x10" + bytes(16))
        assert heard(plain) in {b"", b"\x15"}, "nothing, or that this is no TLS"
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    master, now = load_master_key(app.settings), SystemClock().now()
    training = KeyStore(app.settings.keys_dir, "north.training", master)
    false = KeyStore(tmp_path, "app", master)
    office = CertificateAuthority.create(KeyStore(tmp_path, "authority", master), now)
    made = office.issue(false.create(KeyUse.SIGN).public_key, party="app", use=KeyUse.SIGN, now=now)
    false.write("sign.crt", made.pem)
    other_root = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other_root.check_hostname, other_root.verify_mode = False, ssl.CERT_NONE
    false.lend_to(other_root, "sign.crt")
    for context in (stranger, other_root, tls_context(training, server=False)):
        with socket.create_connection(place, timeout=10) as raw, context.wrap_socket(raw) as connection:
            assert heard(connection) == b""
    old = tls_context(training, server=False)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with socket.create_connection(place, timeout=10) as raw, pytest.raises(OSError, match=r"(?i)alert|version|eof"):
        old.wrap_socket(raw)


@ONE_ENGINE
def test_an_app_that_was_revoked_before_a_machine_was_enrolled_is_told_nothing_by_it(
    app: App, installation: Installation, tmp_path: Path
) -> None:
    office = CertificateAuthority.open(KeyStore(app.settings.keys_dir, "authority", load_master_key(app.settings)))
    revoked = [(app.identity.signing_certificate.serial, app.clock.now(), RevocationReason.KEY_COMPROMISE.value)]
    late = Machine(installation, tmp_path / "late", NORTH)
    late.keep(CRL_FILE, office.revocation_list(revoked, number=99, now=app.clock.now()))
    late.start()
    try:
        with pytest.raises(EnclaveUnavailable):
            app_with(app, late).supervisor.ensure(NORTH, **parts(app))
    finally:
        late.kill()


def heard(connection: socket.socket) -> bytes:
    """Return the first byte that comes after a request, none where the other side ends the connection."""
    try:
        connection.sendall(b"\0\0\0\x10" + bytes(16))
        return connection.recv(1)
    except (ConnectionError, ssl.SSLError):
        return b""


@ONE_ENGINE
def test_a_listener_on_the_line_hears_neither_which_case_nor_which_study(
    app: App, model: ServingModel, pair: list[Machine], patient: Actor
) -> None:
    """A request in clear on the same line is the control."""
    with session_scope(app.engine) as session:
        install(app, session, model)
    spoken: list[bytes] = []
    with Proxy(*host_and_port(pair[0].place), heard=spoken.append) as line:
        named = f"{NORTH}=127.0.0.1:{line.port}"
        case = upload(replace(app, settings=app.settings.model_copy(update={"enclaves": named})), patient)
        said = b"".join(spoken)
        with pytest.raises(EnclaveUnavailable):
            EnclaveClient(line.port, party=NORTH, **parts(app)).hello()
    assert case.status is CaseStatus.ANSWERED
    assert len(said) > 10_000
    secrets = [word.encode() for word in (case.id, "leukemia", NORTH, "urn:hemaseal", "hello")]
    assert [word for word in secrets if word in said] == []
    assert {NORTH.encode(), b"hello"} <= {word for word in secrets if word in b"".join(spoken)}


@ONE_ENGINE
def test_pages_show_each_machine_and_since_when_it_is_as_it_is(
    clinic: App, monkeypatch: pytest.MonkeyPatch, pair: list[Machine]
) -> None:
    from pages._ui import state  # noqa: PLC0415  imports Streamlit
    from pages._ui.times import NOTHING  # noqa: PLC0415  so does this

    monkeypatch.setattr(state, "app", lambda: clinic)
    pair[1].kill()
    node = draw(clinic, "hospital/node", "demo-hospital")
    assert not node.exception
    assert f"`{pair[0].place}` ✓ answers since" in words(node)
    assert f"`{pair[1].place}` ✕ does not answer since" in words(node)
    page = draw(clinic, "authority/enclaves", "demo-authority")
    assert not page.exception
    (table,) = [one.value for one in page.dataframe if "Address" in one.value.columns]
    assert table[["Enclave", "Address", "State", "Approval"]].to_numpy().tolist() == [
        [NORTH, pair[0].place, "✓ answers", "1"],
        [NORTH, pair[1].place, "✕ does not answer", NOTHING],
    ]


@ONE_ENGINE
@pytest.mark.parametrize(
    "named",
    ["north=enclave:7443", "north.serving", "north.serving=enclave", "north.serving=:1", "north.serving=h:99999"],
)
def test_an_address_that_cannot_be_read_ends_the_start(settings: Settings, named: str) -> None:
    with pytest.raises(SettingsError, match="expected"):
        check_settings(settings.model_copy(update={"enclaves": named}))


@ONE_ENGINE
def test_several_addresses_of_a_party_are_its_replicas(settings: Settings) -> None:
    named = "north.serving=a:1, north.serving=[::1]:2,east.serving=b:3,"
    found = settings.model_copy(update={"enclaves": named}).remote_enclaves
    assert found == {"north.serving": (("a", 1), ("::1", 2)), "east.serving": (("b", 3),)}


@ONE_ENGINE
def test_all_addresses_of_a_name_are_replicas_also_while_nobody_knows_it_and_a_name_never_known_is_a_silent_one(
    app: App, pair: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"enclave-north": ["127.0.0.1", "127.0.0.2", "127.0.0.1"]}

    def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host.startswith("enclave") and host not in known:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known.get(host, [host])]

    port = host_and_port(pair[0].place)[1]
    named, typo = (reached(app, (name, port)) for name in ("enclave-north", "enclave..north"))
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        seen = {one.address: one.state for one in named.look(**parts(app))}
        assert seen == {f"127.0.0.1:{port}": EnclaveState.ANSWERS, f"127.0.0.2:{port}": EnclaveState.SILENT}
        known["enclave-north"] = ["127.0.0.1"]
        assert [one.address for one in named.look(**parts(app))] == [f"127.0.0.1:{port}"]
        known.clear()
        assert {one.address: one.state for one in named.look(**parts(app))} == {
            f"127.0.0.1:{port}": EnclaveState.ANSWERS
        }
    with pytest.raises(EnclaveUnavailable):
        typo.ensure(**parts(app))
    assert [(one.address, one.state) for one in typo.look(**parts(app))] == [
        (f"enclave..north:{port}", EnclaveState.SILENT)
    ]


@ONE_ENGINE
def test_those_who_come_while_a_name_is_looked_up_for_the_first_time_wait_for_it_and_later_ones_do_not(
    app: App, pair: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = host_and_port(pair[0].place)
    enclave, given = reached(app, place), parts(app)
    looked_up, go_on, found = threading.Event(), threading.Event(), socket.getaddrinfo

    def resolve(*which: Any, **more: Any) -> Any:
        looks_up = "type" in more  # a connection asks too, in another way
        if looks_up and threading.current_thread() is not threading.main_thread() and not looked_up.is_set():
            looked_up.set()
            go_on.wait(30)
        return found(*which, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(enclave.ensure, **given)
        assert looked_up.wait(30)
        others = [pool.submit(enclave.ensure, **given) for _ in range(2)]
        assert not wait(others, 0.2).done
        go_on.set()
        assert {one.result(30).port for one in (first, *others)} == {place[1]}
        looked_up.clear()
        go_on.clear()
        monkeypatch.setattr(remote, "AGAIN_S", 0.0)
        late = pool.submit(enclave.ensure, **given)
        assert looked_up.wait(30)
        monkeypatch.undo()
        monkeypatch.setattr(enclave, "_resolved_at", 0.0)
        assert pool.submit(enclave.ensure, **given).result(30).port == place[1]
        assert not late.done()
        go_on.set()


@ONE_ENGINE
@pytest.mark.parametrize("why", ["of another root", "expired"])
def test_a_certificate_that_does_not_hold_is_refused_and_not_taken_for_silence(
    app: App, tmp_path: Path, why: str
) -> None:
    master, now = load_master_key(app.settings), SystemClock().now()
    office = CertificateAuthority.open(KeyStore(app.settings.keys_dir, "authority", master))
    if why == "of another root":
        office = CertificateAuthority.create(KeyStore(tmp_path, "authority", master), now)
    store = KeyStore(tmp_path, NORTH, master)
    begin = now - timedelta(days=10) if why == "expired" else now
    shown = office.issue(store.create(KeyUse.SIGN).public_key, party=NORTH, use=KeyUse.SIGN, now=begin, days=5)
    store.write("sign.crt", shown.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    store.lend_to(context, "sign.crt")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def show() -> None:
            for _ in range(2):
                with suppress(OSError), server.accept()[0] as line:
                    context.wrap_socket(line, server_side=True).close()

        threading.Thread(target=show, daemon=True).start()
        enclave = reached(app, server.getsockname())
        assert [one.state for one in enclave.look(**parts(app))] == [EnclaveState.REFUSED]
        with pytest.raises(MemberRefused):
            enclave.ensure(**parts(app))


def test_a_service_that_cannot_start_says_why(installation: Installation, tmp_path: Path) -> None:
    machine = Machine(installation, tmp_path, NORTH)
    assert "HEMASEAL_MASTER_KEY is required in production" in machine.refusal(HEMASEAL_MODE="production")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        machine.port = taken.getsockname()[1]
        assert machine.refusal().splitlines()[-1] == f"cannot listen at {machine.place}: Address already in use"
    machine.keep("sign.p8", b"no key")
    assert "has no signing key" in machine.refusal()


def test_a_throw_away_installation_touches_neither_the_runtime_folder_nor_the_machines_of_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it would find enclaves that do not know it, and end them as ones that hang."""
    monkeypatch.setenv("HEMASEAL_RUNTIME_DIR", str(tmp_path / "real"))
    monkeypatch.setenv("HEMASEAL_ENCLAVES", f"{NORTH}=host:7443")
    with accounts_installation(tmp_path / "thrown away") as app:
        assert app.settings.run_dir.is_relative_to(tmp_path / "thrown away")
        assert app.supervisor.elsewhere == ()
