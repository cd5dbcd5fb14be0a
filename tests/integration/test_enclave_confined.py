"""What an enclave process has given up, what it leaves behind, and that a case in its hands survives it."""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from core.diagnosis.bundle import ServingModel
from core.diagnosis.client import EnclaveClient
from core.imaging.decode import Pixels, encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services.app import Actor, App
from core.services.approvals import in_force
from core.services.audit import list_entries
from core.services.case_records import CaseStatus
from core.services.cases import submit
from core.services.models import install
from core.settings import ROOT
from db.engine import session_scope
from tests.integration.clinic import hospital_id
from tests.secrets_search import pieces

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Landlock and seccomp are Linux's")

PROBE = """
import os, socket, subprocess, sys, threading
from pathlib import Path
from core.diagnosis.confinement import confine

own, other = Path(sys.argv[1]), Path(sys.argv[2])
(own / "address").write_text("here")
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
peer = socket.create_connection(listening.getsockname())
print(sorted(name for name, is_on in confine(own).items() if is_on))

def attempt(name, act):
    try:
        act()
    except OSError:
        print("refused", name)
    else:
        print("allowed", name)

forbidden = {
    "write a file": lambda: (own / "image.png").write_bytes(b"x"),
    "append to a file": lambda: (own / "address").open("a"),
    "make a folder": lambda: (own / "folder").mkdir(),
    "name a file anew": lambda: (own / "address").rename(other / "address"),
    "write to shared memory": lambda: Path("/dev/shm/hemaseal-probe").write_bytes(b"x"),
    "read keys": lambda: (other / "key").read_bytes(),
    "read another process": lambda: Path(f"/proc/{os.getppid()}/mem").open("rb"),
    "delete elsewhere": lambda: (other / "key").unlink(),
    "connect": lambda: socket.create_connection(listening.getsockname()),
    "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "speak to a local socket": lambda: socket.socket(socket.AF_UNIX),
    "start a program": lambda: subprocess.run([sys.executable, "-c", ""]),
    "become a program": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
}
for name, act in forbidden.items():
    attempt(name, act)
late = threading.Thread(target=attempt, args=("write from a later thread", forbidden["write a file"]))
late.start()
late.join()
attempt("serve who connected", lambda: listening.accept()[0].send(b"x"))
import sqlite3
attempt("import late", lambda: sqlite3.sqlite_version)
attempt("remove its address", lambda: (own / "address").unlink())
"""


@linux
def test_a_confined_process_can_carry_nothing_out(tmp_path: Path) -> None:
    own, other = tmp_path / "run", tmp_path / "keys"
    own.mkdir()
    other.mkdir()
    (other / "key").write_text("secret")
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, str(own), str(other)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, *lines = probe.stdout.splitlines()
    if first != "['calls', 'files', 'tcp']":
        pytest.skip(f"this system takes away only {first}")
    allowed = [line.removeprefix("allowed ") for line in lines if line.startswith("allowed")]
    assert allowed == ["serve who connected", "import late", "remove its address"]
    assert sum(line.startswith("refused") for line in lines) == 14
    assert (other / "key").read_text() == "secret"


@pytest.fixture
def clinic(app: App, serving_model: ServingModel) -> Iterator[App]:
    """The application with a model in service and enclaves of its own."""
    with session_scope(app.engine) as session:
        install(app, session, serving_model)
    yield app
    app.supervisor.stop_all()


def picture(seed: int = 11) -> bytes:
    return encode_png(generate_cell(np.random.default_rng(seed), blast=True, style=STYLES["north"]))


def enclave_of(app: App) -> EnclaveClient:
    return app.supervisor.ensure("north.serving", identity=app.identity, trust=app.trust(), approvals=in_force(app))


TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  they are searched, not used


def written_since(start: float) -> Iterator[Path]:
    """Yield the files in which a process might leave something, written since `start`: temporary ones and cores."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    cores = Path(pattern).parent if pattern.startswith("/") else ROOT
    for folder in {tempfile.gettempdir(), *TEMPORARY}:
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith("pytest-")]
            yield from _fresh(Path(place), names, start)
    yield from _fresh(cores, [entry.name for entry in cores.iterdir() if entry.name.startswith("core")], start)


def _fresh(place: Path, names: list[str], start: float) -> Iterator[Path]:
    for name in names:
        with suppress(OSError):
            path = place / name
            if path.is_file() and path.stat().st_mtime >= start:
                yield path


def secret_pieces(cell: Pixels) -> dict[str, list[bytes]]:
    """Return short pieces of a picture, as pixels in either order of colours and as the file that is sealed."""
    forms = {"pixels": cell.tobytes(), "turned": cell[..., ::-1].tobytes(), "file": encode_png(cell)}
    return {name: list(pieces(data)) for name, data in forms.items()}


def found(held: bytes, secret: dict[str, list[bytes]]) -> dict[str, int]:
    return {name: sum(piece in held for piece in parts) for name, parts in secret.items()}


def mappings(pid: int) -> list[tuple[int, int, str, int, str]]:
    """Return begin, end, permissions, inode and name of every mapping of a process (root's to read)."""
    listed = []
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        begin, end = (int(edge, 16) for edge in span.split("-"))
        listed.append((begin, end, rights, int(inode), name[0] if name else ""))
    return listed


def memory(pid: int) -> bytes:
    """Return all that a process has written in its memory and a core of it would hold, as root reads it."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as held:
        for begin, end, rights, _, _ in mappings(pid):
            if rights.startswith("rw"):
                with suppress(OSError):
                    held.seek(begin)
                    parts.append(held.read(end - begin))
    return b"\0".join(parts)


@linux
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_enclave_leaves_no_plaintext_in_files_swap_or_core(clinic: App, patient: Actor) -> None:
    start, folder = time.time(), clinic.settings.data_dir
    cell = generate_cell(np.random.default_rng(11), blast=True, style=STYLES["north"])
    secret = secret_pieces(cell)
    before = {path for path in folder.rglob("*") if path.is_file()}
    case = submit(clinic, patient, files=[encode_png(cell)], study="leukemia", preferred=hospital_id(clinic))
    assert case.status is CaseStatus.ANSWERED
    said = enclave_of(clinic).hello()
    assert {"no_core", "not_dumpable"} <= set(said.protections)
    status = Path(f"/proc/{said.pid}/status").read_text(encoding="ascii")
    assert re.search(r"VmSwap:\s+0 kB", status)
    assert re.search(r"Seccomp:\s+2", status) or "calls" not in said.protections
    limits = Path(f"/proc/{said.pid}/limits").read_text(encoding="ascii")
    assert re.search(r"Max core file size\s+0\s+0", limits)
    os.kill(said.pid, signal.SIGABRT)
    _wait_for_end(said.pid)
    own = [path for path in folder.rglob("*") if path.is_file()]
    assert all(path in before or path.suffix != ".png" for path in own)
    for path in [*own, *written_since(start)]:
        with suppress(OSError):  # somebody else's, gone by now
            assert not any(found(path.read_bytes(), secret).values()), path


@linux
def test_the_search_of_files_finds_a_picture_that_is_left_in_clear() -> None:
    cell = generate_cell(np.random.default_rng(12), blast=True, style=STYLES["north"])
    start = time.time() - 1
    with tempfile.NamedTemporaryFile() as left:
        left.write(encode_png(cell))
        left.flush()
        hits = [path for path in written_since(start) if path.name == Path(left.name).name]
        assert [found(path.read_bytes(), secret_pieces(cell))["file"] > 0 for path in hits] == [True] * len(hits)
        assert hits


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into an enclave")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_root_finds_no_picture_in_open_files_mapped_files_or_the_memory_of_an_enclave_that_has_answered(
    clinic: App, patient: Actor
) -> None:
    cell = generate_cell(np.random.default_rng(11), blast=True, style=STYLES["north"])
    secret = secret_pieces(cell)
    submit(clinic, patient, files=[encode_png(cell)], study="leukemia", preferred=hospital_id(clinic))
    pid = enclave_of(clinic).hello().pid
    shared = [name for _, _, rights, inode, name in mappings(pid) if rights[1] == "w" and rights[3] == "s" and inode]
    assert shared == []  # what is written there reaches the disk without any swap
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        if handle.is_file():
            assert not any(found(handle.read_bytes(), secret).values()), handle.readlink()
    smaps = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8")
    assert {int(kb) for kb in re.findall(r"^Swap:\s+(\d+) kB", smaps, re.MULTILINE)} == {0}
    held = found(memory(pid), {name: parts[::5] for name, parts in secret.items()})
    assert held["file"] == 0
    assert held["pixels"] + held["turned"] <= len(secret["pixels"][::5]) // 10  # libraries free, unwiped


@linux
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_pages_may_be_locked_none_of_an_enclave_can_be_swapped_out(clinic: App) -> None:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, endless)
    except (ValueError, OSError):
        pytest.skip("this system does not let pages be locked")
    try:
        said = enclave_of(clinic).hello()
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
    assert "locked" in said.protections
    status = Path(f"/proc/{said.pid}/status").read_text(encoding="ascii")
    sizes = {name: int(kb) for name, kb in re.findall(r"(VmLck|VmSize):\s+(\d+) kB", status)}
    assert sizes["VmLck"] > sizes["VmSize"] // 2


@linux
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_case_in_the_hands_of_an_enclave_that_fails_is_asked_about_once_more(
    clinic: App, patient: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch, blow: signal.Signals
) -> None:
    monkeypatch.setattr("core.diagnosis.supervisor.HELLO_TIMEOUT_S", 2.0)
    clinic.settings.enclave_timeout_s = 8.0
    honest = EnclaveClient.diagnose
    struck: list[int] = []

    def diagnose(client: EnclaveClient, **what: object) -> object:
        if not struck:
            struck.append(client.hello().pid)
            os.kill(struck[0], blow)
        return honest(client, **what)  # type: ignore[arg-type]

    monkeypatch.setattr(EnclaveClient, "diagnose", diagnose)
    case = submit(clinic, patient, files=[picture()], study="leukemia", preferred=hospital_id(clinic))
    assert case.status is CaseStatus.ANSWERED
    assert enclave_of(clinic).hello().pid != struck[0]
    _wait_for_end(struck[0])
    answers = [entry for entry in list_entries(clinic, authority) if entry.action == "case.answer"]
    assert len(answers) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_enclave_that_fails_every_time_leaves_the_case_waiting(
    clinic: App, patient: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = EnclaveClient.diagnose
    struck: list[int] = []

    def diagnose(client: EnclaveClient, **what: object) -> object:
        struck.append(client.hello().pid)
        os.kill(struck[-1], signal.SIGKILL)
        return honest(client, **what)  # type: ignore[arg-type]

    monkeypatch.setattr(EnclaveClient, "diagnose", diagnose)
    case = submit(clinic, patient, files=[picture()], study="leukemia", preferred=hospital_id(clinic))
    assert case.status is CaseStatus.WAITING
    assert len(set(struck)) == 2


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} goes on")
