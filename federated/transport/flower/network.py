"""Flower on one machine: starts a SuperLink with TLS and its SuperNodes, submits the run, and ends all that it started.

On several machines each of these commands runs where docs/how-to/several-machines.md says; here they are written out.
"""

import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.clock import Clock
from federated.transport.flower.lines import pid_file
from security.authority import CertificateAuthority

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = Path(__file__).resolve().parent / "bundle"
HOST = "127.0.0.1"

_START_S = 60.0
_END_S = 10.0
_LOOK_S = 0.2
_NOT_PASSED_ON = ("FLWR_", "HEMASEAL_", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
"""Nobody gets this installation's settings; without compiled modules each message takes 2 s longer."""


class FlowerFailed(Exception):
    """A process of Flower did not start, or ended; the message names its log."""


@dataclass(kw_only=True)
class Network:
    """SuperLink and SuperNodes on the loopback interface. A context manager that leaves no process behind.

    Attributes:
        folder: for certificates, logs and Flower's own files; short, since sockets lie in it.
        binaries: folder of ``flower-superlink``, ``flower-supernode`` and ``flwr``.
        authority: issues the SuperLink's certificate.
        clock: tells the certificate's times.
        port: of the SuperLink, chosen by `__enter__`.
    """

    folder: Path
    binaries: Path
    authority: CertificateAuthority
    clock: Clock
    port: int = 0
    _running: list[tuple[str, "subprocess.Popen[bytes]"]] = field(default_factory=list)
    _logs: list[IO[bytes]] = field(default_factory=list)

    @property
    def post(self) -> Path:
        """Socket of the server app."""
        return self.folder / "flower.sock"

    def socket_of(self, party: str) -> Path:
        """Socket of a party's own process."""
        return self.folder / f"{party}.sock"

    def __enter__(self) -> Self:
        """Start the SuperLink.

        Raises:
            FlowerFailed: it did not answer within a minute.
        """
        self.port = free_port()
        root, certificate, key = self._certify()
        arguments = ["--host", HOST, "--port", str(self.port), "--disable-runtime-dependency-installation"]
        tls = ["--ssl-ca-certfile", str(root), "--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
        try:
            self._start("superlink", [*self._command("flower-superlink"), *arguments, *tls])
            self._await_superlink(root)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """End everything."""
        self.close()

    def supernode(self, party: str) -> None:
        """Start a SuperNode for a party whose own process answers at `socket_of`."""
        config = f"party='{party}' socket='{self.socket_of(party)}'"
        arguments = ["--superlink", f"{HOST}:{self.port}", "--root-certificates", str(self.folder / "root.crt")]
        local = ["--host", HOST, "--port", str(free_port()), "--node-config", config]
        self._start(party, [*self._command("flower-supernode"), *arguments, *local])

    def submit(self) -> None:
        """Start the run that carries letters, and wait until its server app listens at `post`.

        Raises:
            FlowerFailed: it did not start.
        """
        home = self.folder / "home-submit"
        home.mkdir()
        root = self.folder / "root.crt"
        text = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{HOST}:{self.port}"\n'
        (home / "config.toml").write_text(f'{text}root-certificates = "{root}"\n', encoding="utf-8")
        command = [*self._command("flwr"), "run", str(BUNDLE), "here", "--run-config", f"socket='{self.post}'"]
        submitted = subprocess.run(command, env=self._environment(home), capture_output=True, text=True, check=False)
        if submitted.returncode:
            raise FlowerFailed(f"`flwr run` failed: {submitted.stdout}{submitted.stderr}")
        self._await("the server app", self.post.exists)

    def close(self) -> None:
        """End all processes that this object started, the last one first, and wait until they are gone."""
        self._end_server_app()
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for _, process in reversed(self._running):
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _end_group(process.pid)
        self._running.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()

    def kill(self, name: str) -> None:
        """End one process with its children at once, as a machine that loses its power does."""
        for known, process in self._running:
            if known == name:
                _end_group(process.pid)
                process.wait()

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process of another kind, to be ended with the others."""
        self._start(name, command, {**_own_environment(), **environment})

    def await_all(self, paths: Sequence[Path]) -> None:
        """Wait until sockets are there.

        Raises:
            FlowerFailed: one did not come, or a process ended.
        """
        for path in paths:
            self._await(str(path), path.exists)

    def _end_server_app(self) -> None:
        """End the one process that the SuperLink started in a session of its own, while it can still report its end."""
        self.post.unlink(missing_ok=True)
        if pid_file(self.post).exists():
            pid, ends = int(pid_file(self.post).read_text(encoding="ascii")), time.monotonic() + _END_S
            while _is_alive(pid) and time.monotonic() < ends:
                time.sleep(_LOOK_S)
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)

    def _start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        self._logs.append(log)
        process = subprocess.Popen(
            command,
            env=environment or self._environment(self.folder / f"home-{name}"),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running.append((name, process))

    def _command(self, name: str) -> list[str]:
        return [str(self.binaries / name)]

    def _environment(self, home: Path) -> dict[str, str]:
        own = _own_environment()
        return {
            **own,
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_HOME": str(home),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "PATH": f"{self.binaries}{os.pathsep}{own.get('PATH', '')}",
            "PYTHONPATH": str(ROOT),
        }

    def _certify(self) -> tuple[Path, Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.authority.issue_tls(key.public_key(), hosts=[HOST, "localhost"], now=self.clock.now())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        paths = self.folder / "root.crt", self.folder / "superlink.crt", self.folder / "superlink.key"
        for path, content in zip(paths, (self.authority.root.pem, certificate.pem, pem), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        return paths

    def _await_superlink(self, root: Path) -> None:
        trust = ssl.create_default_context(cafile=str(root))

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"https://{HOST}:{self.port}/health", context=trust, timeout=2):
                    return True
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False

        self._await("the SuperLink", answers)

    def _await(self, what: str, is_there: Callable[[], bool]) -> None:
        ends = time.monotonic() + _START_S
        while not is_there():
            for name, process in self._running:
                if process.poll() is not None:
                    raise FlowerFailed(f"{name} ended; see {self.folder / name}.log")
            if time.monotonic() > ends:
                raise FlowerFailed(f"{what} did not answer within {_START_S:.0f} s; see the logs in {self.folder}")
            time.sleep(_LOOK_S)


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end_group(pid: int) -> None:
    """Kill what is left of a process's group: Flower's helpers see a second late that their parent is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
