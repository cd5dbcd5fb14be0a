"""What an enclave and its client make of the authority's list of approved measurements, whoever else is deceived."""

import dataclasses
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.diagnosis.approvals import Approvals
from core.diagnosis.client import EnclaveClient
from core.diagnosis.enclave import Address, address_file
from core.diagnosis.measurement import CODE, FILES, Measurement, measure
from core.diagnosis.operations import Enclave
from core.diagnosis.supervisor import EnclaveSupervisor
from core.diagnosis.wire import (
    APP,
    REPLIES,
    REQUEST_ID_BYTES,
    REQUESTS,
    Code,
    Operation,
    Reply,
    Request,
    reply_context,
    request_context,
)
from core.errors import MeasurementRefused
from core.settings import ROOT
from security.certificates import Trust
from security.context import Context, Purpose
from security.signing import sign, verify
from tests.integration.test_enclave import AUTHORITY, NORTH, Installation, make_installation

OTHER = Measurement("ab" * 32, ("numpy 1",))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return make_installation(tmp_path_factory.mktemp("approval"))


@pytest.fixture
def enclave(house: Installation) -> Enclave:
    """The operations of an enclave of the installed code, in this process; it has heard of no list yet."""
    return Enclave(
        house.identities[NORTH],
        house.trust,
        clock=SystemClock(),
        measurement=measure().sha256,
        max_bytes=10**6,
        max_pixels=10**6,
    )


def told(house: Installation, enclave: Enclave, approvals: bytes, op: Operation = Operation.VIEW) -> Reply:
    """Ask an enclave for something, with a list of approvals, and return its verified reply."""
    app = house.identities[APP]
    request_id = secrets.token_bytes(REQUEST_ID_BYTES)
    request = Request(
        op=op,
        party=NORTH,
        at=datetime.now(UTC),
        reply_to=app.sealing_certificate.der,
        approvals=approvals,
        case_id="case-1",
        study="leukemia",
    )
    envelope = sign(REQUESTS.encode(request), signer=app, context=request_context(request_id))
    context = reply_context(request_id, NORTH)
    answer = enclave.answer(request_id + envelope)
    return REPLIES.decode(verify(answer, trust=house.trust, context=context, party=NORTH, at=datetime.now(UTC)))


def approving(house: Installation, *measurements: Measurement, number: int) -> Approvals:
    listed = Approvals()
    for one in measurements:
        listed = listed.approving(one, number=number, at=datetime.now(UTC))
    return listed.signed(house.identities[AUTHORITY])


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which one line of an enclave's code was changed."""
    folder = tmp_path_factory.mktemp("changed")
    for name in ("core", "security"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    target = folder / "core" / "diagnosis" / "heatmap.py"
    target.write_text(target.read_text() + "\nEXTRA = 1\n")
    return folder


def test_one_changed_byte_of_code_or_of_fitted_numbers_is_another_measurement(tmp_path: Path) -> None:
    for name in CODE:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    assert measure(tmp_path) == measure()
    seen = {measure().sha256}
    for changed in ("core/diagnosis/operations.py", "security/sealing.py", "core/imaging/looks.safetensors"):
        file = tmp_path / changed
        file.write_bytes(file.read_bytes() + b" ")
        assert measure(tmp_path).libraries == measure().libraries
        seen.add(measure(tmp_path).sha256)
    (tmp_path / "core/imaging/new.py").write_text("")
    seen.add(measure(tmp_path).sha256)
    assert len(seen) == 5


def test_another_version_of_a_library_is_another_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    before = measure()
    monkeypatch.setattr("core.diagnosis.measurement.version", lambda name: "0" if name == "numpy" else "1")
    after = measure()
    assert after.code_sha256 == before.code_sha256
    assert "numpy 0" in after.libraries
    assert after.sha256 != before.sha256


@contextmanager
def running(house: Installation, folder: Path) -> Iterator[Address]:
    """An enclave process of the code in `folder`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "core.diagnosis.enclave", "--party", NORTH, "--parent", str(os.getpid())],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HEMASEAL_DATA_DIR": str(house.settings.data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        address = Address.read(address_file(house.settings, NORTH))
        assert address is not None
        yield address
    finally:
        process.kill()
        process.communicate()


def test_an_enclave_of_changed_code_states_another_measurement_and_is_refused_by_client_and_supervisor(
    house: Installation, changed: Path
) -> None:
    app = house.identities[APP]
    which = {"case_id": "case-1", "study": "leukemia", "sealed_image": house.sealed_image()}
    with running(house, changed) as address:
        client = EnclaveClient(address.port, identity=app, trust=house.trust, approvals=house.approvals, party=NORTH)
        stated = client.hello().measurement
        assert stated == measure(changed).sha256 != measure().sha256
        with pytest.raises(MeasurementRefused, match=stated[:16]) as refused:
            client.view(**which)  # type: ignore[arg-type]
        assert refused.value.code == "ENC-MEASURE"
        supervisor = EnclaveSupervisor(house.settings, [NORTH])
        try:
            reached = supervisor.ensure(NORTH, identity=app, trust=house.trust, approvals=house.approvals)
            assert reached.hello().pid != address.pid
            assert reached.view(**which)  # type: ignore[arg-type]
        finally:
            supervisor.stop_all()


def test_no_process_of_code_that_is_not_approved_is_started_and_one_that_runs_is_ended(house: Installation) -> None:
    app = house.identities[APP]
    supervisor = EnclaveSupervisor(house.settings, [NORTH])
    try:
        supervisor.ensure(NORTH, identity=app, trust=house.trust, approvals=house.approvals)
        pid = supervisor.running()[NORTH]
        withdrawn = house.approvals.withdrawing([measure().sha256], number=2).signed(house.identities[AUTHORITY])
        with pytest.raises(MeasurementRefused, match="withdrawn"):
            supervisor.ensure(NORTH, identity=app, trust=house.trust, approvals=withdrawn)
        os.waitpid(pid, 0)  # returns once it has ended
        assert supervisor.running() == {}
    finally:
        supervisor.stop_all()


def test_an_enclave_does_nothing_for_an_app_that_shows_no_approval_but_says_what_it_is_and_ends(
    house: Installation, enclave: Enclave
) -> None:
    for op in Operation:
        reply = told(house, enclave, b"", op)
        harmless = op in {Operation.HELLO, Operation.STOP}
        assert reply.code is (Code.OK if harmless else Code.NOT_APPROVED), op
        assert reply.measurement == measure().sha256


def test_an_enclave_that_is_not_on_the_list_does_nothing(house: Installation, enclave: Enclave) -> None:
    assert told(house, enclave, approving(house, OTHER, number=1).envelope).code is Code.NOT_APPROVED
    assert told(house, enclave, approving(house, OTHER, measure(), number=2).envelope).code is Code.IMAGE_SEAL


def test_an_enclave_that_heard_of_a_withdrawal_believes_no_older_list(house: Installation, enclave: Enclave) -> None:
    older = approving(house, measure(), number=4)
    newer = older.withdrawing([measure().sha256], number=5).signed(house.identities[AUTHORITY])
    assert told(house, enclave, older.envelope).code is Code.IMAGE_SEAL
    assert told(house, enclave, newer.envelope).code is Code.NOT_APPROVED
    assert told(house, enclave, older.envelope).code is Code.NOT_APPROVED
    assert told(house, enclave, b"").code is Code.NOT_APPROVED


def test_a_list_that_somebody_else_signed_or_changed_is_refused(
    house: Installation, enclave: Enclave, tmp_path: Path
) -> None:
    listed = Approvals().approving(measure(), number=9, at=datetime.now(UTC))
    genuine = listed.signed(house.identities[AUTHORITY]).envelope
    context = Context(purpose=Purpose.MEASUREMENT, study="", sender=AUTHORITY, object_id="enclaves")
    payload = verify(genuine, trust=house.trust, context=context, party=AUTHORITY, at=datetime.now(UTC))
    of_app = sign(payload, signer=house.identities[APP], context=dataclasses.replace(context, sender=APP))
    stranger = listed.signed(make_installation(tmp_path).identities[AUTHORITY]).envelope
    flipped = [genuine[:at] + bytes([genuine[at] ^ 1]) + genuine[at + 1 :] for at in range(0, len(genuine), 7)]
    for forged in (of_app, stranger, genuine[:-1], genuine + b"\0", *flipped):
        assert told(house, enclave, forged).code is Code.REQUEST_REFUSED
        with pytest.raises(MeasurementRefused):
            Approvals.read(forged, trust=house.trust, at=datetime.now(UTC))
    assert told(house, enclave, genuine).code is Code.IMAGE_SEAL


def test_a_list_of_a_revoked_or_expired_authority_is_refused(house: Installation) -> None:
    now, signer = datetime.now(UTC), house.identities[AUTHORITY]
    envelope = house.approvals.envelope
    assert Approvals.read(envelope, trust=house.trust, at=now) == house.approvals
    revoked = [(signer.signing_certificate.serial, now, "keyCompromise")]
    crl = house.authority.revocation_list(revoked, number=1, now=now)
    for trust, at in ((Trust(house.authority.root, crl), now), (house.trust, now + timedelta(days=500))):
        with pytest.raises(MeasurementRefused):
            Approvals.read(envelope, trust=trust, at=at)
