"""The enclave as a real process: what it answers, what it refuses, and that it comes back."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.diagnosis.approvals import Approvals
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import seal_model
from core.diagnosis.client import EnclaveAnswer, EnclaveClient, SealedModel
from core.diagnosis.enclave import MAX_CONNECTIONS, Address, address_file
from core.diagnosis.measurement import measure, measure_with_model
from core.diagnosis.predictor import Predictor
from core.diagnosis.result import DiagnosisResult
from core.diagnosis.squares import CROP_PX
from core.diagnosis.supervisor import EnclaveSupervisor, log_file
from core.diagnosis.wire import (
    APP,
    MAX_IMAGE_BYTES,
    REPLIES,
    REQUEST_ID_BYTES,
    REQUESTS,
    Code,
    Operation,
    Request,
    crops_context,
    image_context,
    receive_frame,
    reply_context,
    request_context,
    result_context,
    send_frame,
    view_context,
)
from core.errors import (
    CheckpointRefused,
    EnclaveBusy,
    EnclaveUnavailable,
    HemaSealError,
    ImageBroken,
    MemberRefused,
    NoModel,
    RecordDamaged,
)
from core.imaging.decode import decode_upload, encode_png
from core.settings import ROOT, Settings
from security.authority import CertificateAuthority, RevocationReason
from security.certificates import Trust
from security.context import Context
from security.errors import SealBroken
from security.identity import Identity
from security.keys import KeyStore, MasterKey
from security.sealing import open_sealed, seal
from security.signing import sign, verify
from tests.serving import RUN, model_of, untrained

NORTH, SOUTH, NODE = "north.serving", "south.serving", "north.training"
AUTHORITY = "authority"
PARTIES = (AUTHORITY, APP, NORTH, SOUTH, NODE, "east.serving")


@dataclass(frozen=True)
class Installation:
    """Keys of all parties, with the real time: enclave processes live in it."""

    settings: Settings
    authority: CertificateAuthority
    identities: dict[str, Identity]
    trust: Trust
    approvals: Approvals

    def sealed_image(self, *, recipient: str = NORTH, case_id: str = "case-1", data: bytes | None = None) -> bytes:
        """Seal an image as the app does."""
        return seal(
            encode_png(PIXELS) if data is None else data,
            sender=self.identities[APP],
            recipients=[self.identities[recipient].sealing_certificate],
            context=image_context(study="leukemia", case_id=case_id),
        )

    def open(self, sealed: bytes, context: Context) -> bytes:
        """Open what an enclave sealed for the app."""
        return open_sealed(
            sealed,
            recipient=self.identities[APP],
            trust=self.trust,
            context=context,
            sender=context.sender,
            at=datetime.now(UTC),
        )


PIXELS = np.random.default_rng(0).integers(0, 256, (120, 130, 3), np.uint8)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation with the keys of six parties."""
    return make_installation(tmp_path_factory.mktemp("house"))


def make_installation(folder: Path) -> Installation:
    settings = Settings(data_dir=folder, master_key=None)
    master = MasterKey.load(secret=None, file=settings.master_key_file, create=True)
    now = datetime.now(UTC)
    authority = CertificateAuthority.create(KeyStore(settings.keys_dir, "authority", master), now)
    identities = {
        party: Identity.enrol(KeyStore(settings.keys_dir, party, master), authority, now=now) for party in PARTIES
    }
    approved = Approvals().approving(measure(), number=1, at=now).signed(identities[AUTHORITY])
    return Installation(settings, authority, identities, Trust(authority.root), approved)


@pytest.fixture(scope="module")
def supervisor(house: Installation) -> Iterator[EnclaveSupervisor]:
    """Starts the enclaves of two hospitals when they are asked for; all end with this module."""
    supervisor = EnclaveSupervisor(house.settings, [NORTH, SOUTH])
    yield supervisor
    supervisor.stop_all()


@pytest.fixture(scope="module")
def sealed_model(house: Installation, serving_model: ServingModel) -> SealedModel:
    """The model, sealed by the authority for both enclaves."""
    recipients = [house.identities[party].sealing_certificate for party in (NORTH, SOUTH)]
    sealed = seal_model(serving_model, sender=house.identities[AUTHORITY], recipients=recipients)
    return SealedModel(checkpoint_id="model-1", study="leukemia", run=RUN, sender=AUTHORITY, sealed=sealed)


@pytest.fixture
def north(house: Installation, supervisor: EnclaveSupervisor, sealed_model: SealedModel) -> EnclaveClient:
    """A client of a running enclave that has the model."""
    client = supervisor.ensure(NORTH, identity=house.identities[APP], trust=house.trust, approvals=house.approvals)
    client.load_model(sealed_model)
    return client


def ask(client: EnclaveClient, sealed_image: bytes, supply: Callable[[], SealedModel] | None = None) -> EnclaveAnswer:
    return client.diagnose(
        case_id="case-1", study="leukemia", checkpoint_id="model-1", sealed_image=sealed_image, supply=supply
    )


def client_at(house: Installation, port: int, *, trust: Trust | None = None) -> EnclaveClient:
    app = house.identities[APP]
    return EnclaveClient(port, identity=app, trust=trust or house.trust, approvals=house.approvals, party=NORTH)


def raw_request(house: Installation, *, at: datetime | None = None, party: str = NORTH) -> bytes:
    return REQUESTS.encode(
        Request(
            op=Operation.HELLO,
            party=party,
            at=at or datetime.now(UTC),
            reply_to=house.identities[APP].sealing_certificate.der,
        )
    )


def exchange(house: Installation, client: EnclaveClient, request_id: bytes, envelope: bytes) -> Code:
    """Send one frame and return the code of the (verified) reply."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        send_frame(connection, request_id, envelope)
        answer = receive_frame(connection)
    assert answer is not None
    context = reply_context(request_id.ljust(REQUEST_ID_BYTES, b"\0"), client.party)
    payload = verify(answer, trust=house.trust, context=context, party=client.party, at=datetime.now(UTC))
    return REPLIES.decode(payload).code


def test_a_case_is_answered_as_the_predictor_would_sealed_for_the_app_alone(
    house: Installation, north: EnclaveClient, serving_model: ServingModel
) -> None:
    answer = ask(north, house.sealed_image())
    context = result_context(study="leukemia", case_id="case-1", party=NORTH)
    result = DiagnosisResult.decode(house.open(answer.sealed, context))
    expected = Predictor(serving_model).predict(PIXELS)
    assert result.probabilities == pytest.approx(expected.probabilities)
    assert (result.case_id, result.checkpoint_id, result.answered_by) == ("case-1", "model-1", NORTH)
    assert (result.outcome, result.label_index) == (expected.outcome, expected.label_index)
    assert result.weights_sha256 == serving_model.manifest.weights_sha256
    assert result.measurement == measure_with_model(measure().sha256, serving_model.manifest.litert_sha256)
    assert result.heat_map_png.startswith(b"\x89PNG")
    assert set(answer.stages_ms) == {"open", "decode", "split", "preprocess", "infer", "heat_map", "seal"}
    with pytest.raises(SealBroken):
        house.open(answer.sealed, result_context(study="leukemia", case_id="case-2", party=NORTH))


def test_a_view_returns_the_very_pixels_sealed_for_the_app(house: Installation, north: EnclaveClient) -> None:
    sealed = north.view(case_id="case-1", study="leukemia", sealed_image=house.sealed_image())
    picture = house.open(sealed, view_context(study="leukemia", case_id="case-1", party=NORTH))
    limits = {"max_bytes": 10**7, "max_pixels": 10**6}
    np.testing.assert_array_equal(decode_upload(picture, **limits).pixels, PIXELS)


def test_squares_of_a_picture_come_beside_each_other_mirrored_beyond_its_border(
    house: Installation, north: EnclaveClient
) -> None:
    boxes = ((0, 0, 40), (-10, 90, 40))
    sealed = north.crops(case_id="case-1", study="leukemia", sealed_image=house.sealed_image(), boxes=boxes)
    strip = house.open(sealed, crops_context(study="leukemia", case_id="case-1", party=NORTH))
    pixels = decode_upload(strip, max_bytes=10**7, max_pixels=10**6).pixels
    assert pixels.shape == (CROP_PX, 2 * CROP_PX, 3)
    expected = cv2.resize(PIXELS[:40, :40], (CROP_PX, CROP_PX), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(pixels[:, :CROP_PX], expected)
    with pytest.raises(SealBroken):
        house.open(sealed, view_context(study="leukemia", case_id="case-1", party=NORTH))


@pytest.mark.parametrize("box", [(0, 0, 0), (500, 0, 40), (0, -39, 40), (0, 0, 10**6)])
def test_a_square_outside_of_the_picture_is_refused(
    house: Installation, north: EnclaveClient, box: tuple[int, int, int]
) -> None:
    with pytest.raises(ImageBroken):
        north.crops(case_id="case-1", study="leukemia", sealed_image=house.sealed_image(), boxes=(box,))


def test_an_image_opens_only_as_the_one_of_as_many_that_it_was_sealed_as(
    house: Installation, north: EnclaveClient
) -> None:
    context = image_context(study="leukemia", case_id="case-1", image=1, images=3)
    sealed = seal(
        encode_png(PIXELS),
        sender=house.identities[APP],
        recipients=[house.identities[NORTH].sealing_certificate],
        context=context,
    )
    assert north.view(case_id="case-1", study="leukemia", sealed_image=sealed, image=1, images=3)
    for image, images in ((0, 3), (1, 2), (0, 1)):
        with pytest.raises(RecordDamaged):
            north.view(case_id="case-1", study="leukemia", sealed_image=sealed, image=image, images=images)


def test_the_largest_picture_that_is_stored_can_be_viewed(house: Installation, north: EnclaveClient) -> None:
    png = encode_png(np.random.default_rng(0).integers(0, 256, (4570, 4570, 3), np.uint8))
    assert MAX_IMAGE_BYTES - 2**18 < len(png) <= MAX_IMAGE_BYTES
    sealed = north.view(case_id="case-1", study="leukemia", sealed_image=house.sealed_image(data=png))
    assert house.open(sealed, view_context(study="leukemia", case_id="case-1", party=NORTH)) == png


def test_it_says_what_it_is_and_how_long_it_took_to_start(house: Installation, north: EnclaveClient) -> None:
    hello = north.hello()
    assert hello.measurement == measure().sha256
    assert hello.models == ("model-1",)
    assert hello.start_s > 0
    assert hello.rss_mb > 0
    assert f"{NORTH} ready in {hello.start_s:.2f} s" in log_file(house.settings, NORTH).read_text()


def test_a_replayed_request_is_refused(house: Installation, north: EnclaveClient) -> None:
    request_id = secrets.token_bytes(REQUEST_ID_BYTES)
    envelope = sign(raw_request(house), signer=house.identities[APP], context=request_context(request_id))
    assert exchange(house, north, request_id, envelope) is Code.OK
    assert exchange(house, north, request_id, envelope) is Code.REQUEST_REFUSED


def test_a_request_signed_for_another_id_is_refused(house: Installation, north: EnclaveClient) -> None:
    signed_for, sent_as = secrets.token_bytes(REQUEST_ID_BYTES), secrets.token_bytes(REQUEST_ID_BYTES)
    envelope = sign(raw_request(house), signer=house.identities[APP], context=request_context(signed_for))
    assert exchange(house, north, sent_as, envelope) is Code.REQUEST_REFUSED


def test_a_request_signed_by_anybody_but_the_app_is_refused(
    house: Installation, north: EnclaveClient, tmp_path: Path
) -> None:
    request_id = secrets.token_bytes(REQUEST_ID_BYTES)
    of_member = Context(purpose=request_context(request_id).purpose, study="", sender=NODE, object_id=request_id.hex())
    envelope = sign(raw_request(house), signer=house.identities[NODE], context=of_member)
    assert exchange(house, north, request_id, envelope) is Code.REQUEST_REFUSED
    impostor = make_installation(tmp_path).identities[APP]
    envelope = sign(raw_request(house), signer=impostor, context=request_context(request_id))
    assert exchange(house, north, request_id, envelope) is Code.REQUEST_REFUSED


def test_an_old_request_and_one_for_another_hospital_are_refused(house: Installation, north: EnclaveClient) -> None:
    for payload in (
        raw_request(house, at=datetime.now(UTC) - timedelta(seconds=61)),
        raw_request(house, at=datetime.now(UTC) + timedelta(seconds=90)),
        raw_request(house, party=SOUTH),
    ):
        request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        envelope = sign(payload, signer=house.identities[APP], context=request_context(request_id))
        assert exchange(house, north, request_id, envelope) is Code.REQUEST_REFUSED


def test_garbage_is_refused_and_does_no_harm(house: Installation, north: EnclaveClient) -> None:
    for junk in (b"", b"short", secrets.token_bytes(500)):
        assert exchange(house, north, junk[:REQUEST_ID_BYTES], junk[REQUEST_ID_BYTES:]) is Code.REQUEST_REFUSED
    with socket.create_connection(("127.0.0.1", north.port), timeout=10) as connection:
        connection.sendall(b"\xff\xff\xff\xff")
        assert connection.recv(1) == b""
    request_id = secrets.token_bytes(REQUEST_ID_BYTES)
    envelope = sign(b"not a request", signer=house.identities[APP], context=request_context(request_id))
    assert exchange(house, north, request_id, envelope) is Code.REQUEST_REFUSED
    assert north.hello().code is Code.OK


def test_an_image_sealed_for_another_hospital_or_case_or_changed_is_not_opened(
    house: Installation, north: EnclaveClient
) -> None:
    changed = bytearray(house.sealed_image())
    changed[-1] ^= 1
    for sealed in (house.sealed_image(recipient=SOUTH), house.sealed_image(case_id="case-2"), bytes(changed), b""):
        with pytest.raises(RecordDamaged):
            ask(north, sealed)
        with pytest.raises(RecordDamaged):
            north.view(case_id="case-1", study="leukemia", sealed_image=sealed)


def test_a_sealed_file_that_is_no_image_is_an_answer_not_a_crash(house: Installation, north: EnclaveClient) -> None:
    for data in (b"text", encode_png(PIXELS)[:400]):
        with pytest.raises(ImageBroken):
            ask(north, house.sealed_image(data=data))


def test_a_model_for_another_run_or_hospital_changed_or_not_sealed_by_the_authority_is_refused(
    house: Installation, north: EnclaveClient, sealed_model: SealedModel, serving_model: ServingModel
) -> None:
    foreign = seal_model(
        serving_model,
        sender=house.identities[AUTHORITY],
        recipients=[house.identities["east.serving"].sealing_certificate],
    )
    by_app = seal_model(
        serving_model, sender=house.identities[APP], recipients=[house.identities[NORTH].sealing_certificate]
    )
    by_node = seal_model(
        serving_model, sender=house.identities[NODE], recipients=[house.identities[NORTH].sealing_certificate]
    )
    other = seal_model(
        model_of(untrained(3)),
        sender=house.identities[AUTHORITY],
        recipients=[house.identities[NORTH].sealing_certificate],
    )
    changed = bytearray(sealed_model.sealed)
    changed[len(changed) // 2] ^= 1
    attempts = [
        SealedModel(checkpoint_id="m", study="leukemia", run="other-run", sender=AUTHORITY, sealed=sealed_model.sealed),
        SealedModel(checkpoint_id="m", study="leukemia", run=RUN, sender=AUTHORITY, sealed=bytes(changed)),
        SealedModel(checkpoint_id="m", study="leukemia", run=RUN, sender=AUTHORITY, sealed=foreign),
        SealedModel(checkpoint_id="m", study="leukemia", run=RUN, sender=APP, sealed=by_app),
        SealedModel(checkpoint_id="m", study="leukemia", run=RUN, sender=NODE, sealed=by_node),
        SealedModel(checkpoint_id="model-1", study="leukemia", run=RUN, sender=AUTHORITY, sealed=other),
    ]
    for attempt in attempts:
        with pytest.raises(CheckpointRefused):
            north.load_model(attempt)
    assert north.hello().models == ("model-1",)


def test_a_killed_enclave_is_started_again_and_asks_for_its_model(
    house: Installation, supervisor: EnclaveSupervisor, north: EnclaveClient, sealed_model: SealedModel
) -> None:
    before = north.hello().pid
    os.kill(before, signal.SIGKILL)
    client = supervisor.ensure(NORTH, identity=house.identities[APP], trust=house.trust, approvals=house.approvals)
    assert client.hello().pid != before
    with pytest.raises(NoModel):
        ask(client, house.sealed_image())
    answer = ask(client, house.sealed_image(), supply=lambda: sealed_model)
    assert answer.sealed
    with pytest.raises(EnclaveUnavailable):
        EnclaveClient(
            north.port, identity=house.identities[APP], trust=house.trust, approvals=house.approvals, party=NORTH
        ).hello()


def test_two_apps_share_one_process(house: Installation, supervisor: EnclaveSupervisor) -> None:
    second = EnclaveSupervisor(house.settings, [NORTH, SOUTH])
    found: list[int] = []

    def start(supervisor: EnclaveSupervisor) -> None:
        client = supervisor.ensure(SOUTH, identity=house.identities[APP], trust=house.trust, approvals=house.approvals)
        found.append(client.hello().pid)

    threads = [threading.Thread(target=start, args=(one,)) for one in (supervisor, second, supervisor, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert log_file(house.settings, SOUTH).read_text().count("ready in") == 1
    second.stop_all()


def test_many_threads_may_ask_at_once(house: Installation, north: EnclaveClient) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(north, house.sealed_image()).sealed)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    context = result_context(study="leukemia", case_id="case-1", party=NORTH)
    results = [DiagnosisResult.decode(house.open(sealed, context)) for sealed in answers]
    assert len({result.probabilities for result in results}) == 1
    assert len(results) == 8


def test_an_enclave_that_serves_as_many_as_it_can_says_so_and_is_not_ended(
    house: Installation, supervisor: EnclaveSupervisor, north: EnclaveClient
) -> None:
    before = north.hello().pid
    as_app: dict[str, Any] = {
        "identity": house.identities[APP],
        "trust": house.trust,
        "approvals": house.approvals,
    }
    with ExitStack() as crowd:
        for _ in range(MAX_CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", north.port)))
        with pytest.raises(EnclaveBusy):
            supervisor.ensure(NORTH, **as_app)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # it needs a moment to see that they have gone
        with suppress(EnclaveBusy):
            assert supervisor.ensure(NORTH, **as_app).hello().pid == before
            return
    pytest.fail("it turns everybody away")


def test_an_enclave_that_turns_everybody_away_for_longer_than_a_request_may_take_is_started_anew(
    house: Installation, supervisor: EnclaveSupervisor, north: EnclaveClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = north.hello().pid
    as_app: dict[str, Any] = {
        "identity": house.identities[APP],
        "trust": house.trust,
        "approvals": house.approvals,
    }
    monkeypatch.setattr(house.settings, "enclave_timeout_s", 0.0)
    with ExitStack() as crowd:
        for _ in range(MAX_CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", north.port)))
        client = supervisor.ensure(NORTH, **as_app)
    assert EnclaveClient(client.port, party=NORTH, **as_app).hello().pid != before


def test_an_unknown_hospital_has_no_enclave(house: Installation, supervisor: EnclaveSupervisor) -> None:
    with pytest.raises(EnclaveUnavailable):
        supervisor.ensure("west.serving", identity=house.identities[APP], trust=house.trust, approvals=house.approvals)


def test_an_enclave_without_keys_does_not_start(house: Installation) -> None:
    supervisor = EnclaveSupervisor(house.settings, ["west.serving"])
    with pytest.raises(EnclaveUnavailable):
        supervisor.ensure("west.serving", identity=house.identities[APP], trust=house.trust, approvals=house.approvals)
    assert supervisor.running() == {}


def test_it_ends_with_its_parent_and_never_imports_tensorflow(tmp_path: Path, serving_model: ServingModel) -> None:
    house = make_installation(tmp_path / "own")
    sealed = seal_model(
        serving_model,
        sender=house.identities[AUTHORITY],
        recipients=[house.identities[NORTH].sealing_certificate],
    )
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watched = ("--parent", str(parent.pid))
    with (tmp_path / "imports.txt").open("wb") as imports:
        enclave = subprocess.Popen(
            [*(sys.executable, "-X", "importtime", "-m", "core.diagnosis.enclave"), *("--party", NORTH), *watched],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HEMASEAL_DATA_DIR": str(house.settings.data_dir)},
            stdout=subprocess.PIPE,
            stderr=imports,
        )
    assert enclave.stdout is not None
    with enclave.stdout:
        assert enclave.stdout.readline().strip() == b"ready"
    address = Address.read(address_file(house.settings, NORTH))
    assert address is not None
    client = EnclaveClient(
        address.port, identity=house.identities[APP], trust=house.trust, approvals=house.approvals, party=NORTH
    )
    client.load_model(SealedModel(checkpoint_id="model-1", study="leukemia", run=RUN, sender=AUTHORITY, sealed=sealed))
    ask(client, house.sealed_image())
    parent.kill()
    parent.wait()
    assert parent.stdin is not None
    parent.stdin.close()
    assert enclave.wait(timeout=20) == 0
    assert not address_file(house.settings, NORTH).exists()
    imported = {
        line.rsplit("|", 1)[1].strip() for line in (tmp_path / "imports.txt").read_text().splitlines() if "|" in line
    }
    assert "ai_edge_litert.interpreter" in imported
    heavy = {name.split(".")[0] for name in imported} & {"tensorflow", "keras", "streamlit", "sqlalchemy", "db"}
    assert not heavy


def test_a_revoked_party_is_refused_from_the_first_request_that_brings_the_news(
    tmp_path: Path, serving_model: ServingModel
) -> None:
    house = make_installation(tmp_path)
    app = house.identities[APP]
    supervisor = EnclaveSupervisor(house.settings, [NORTH])
    try:
        client = supervisor.ensure(NORTH, identity=app, trust=house.trust, approvals=house.approvals)
        authority = house.identities[AUTHORITY]
        sealed = seal_model(serving_model, sender=authority, recipients=[house.identities[NORTH].sealing_certificate])
        model = SealedModel(checkpoint_id="model-1", study="leukemia", run=RUN, sender=AUTHORITY, sealed=sealed)
        client.load_model(model)

        def revoking(*identities: Identity, number: int) -> Trust:
            now = datetime.now(UTC)
            revoked = [
                (one.signing_certificate.serial, now, RevocationReason.KEY_COMPROMISE.value) for one in identities
            ]
            return house.trust.with_crl(house.authority.revocation_list(revoked, number=number, now=now))

        informed = client_at(house, client.port, trust=revoking(authority, number=1))
        informed.hello()
        with pytest.raises(CheckpointRefused):
            client.load_model(model)  # this client still has the old list; the enclave keeps the newer one
        distrusting = client_at(house, client.port, trust=revoking(authority, house.identities[NORTH], number=2))
        with pytest.raises(MemberRefused):
            distrusting.hello()
        last = client_at(house, client.port, trust=revoking(authority, app, number=3))
        with pytest.raises(HemaSealError, match="request-refused"):
            last.hello()
    finally:
        supervisor.stop_all()
