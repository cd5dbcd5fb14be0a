"""The enclave process of one hospital: ``python -m core.diagnosis.enclave --party north.serving``.

It alone opens its party's serving keys, listens on a loopback port of the system's choice, says in a file of the
runtime folder how it is reached, and writes nothing else: before it takes the first request it gives up files, network
and other programs (`core.diagnosis.confinement`). With ``--listen HOST:PORT`` it is a service of its own
on the hospital's machine, which the app reaches over TLS 1.3 with both parties' certificates (`security.party_tls`);
there is no way to listen to other machines without that. It is a process boundary that a TEE could carry; by
itself it protects against other users and a stolen disk, not against the machine's administrator.
"""

import argparse
import json
import logging
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from core.clock import SystemClock
from core.diagnosis.confinement import confine
from core.diagnosis.hardening import end_with, harden
from core.diagnosis.measurement import measure
from core.diagnosis.operations import Enclave
from core.diagnosis.wire import MAX_IMAGE_BYTES, receive_frame, send_frame
from core.errors import HemaSealError, SettingsError
from core.imaging.decode import decode_upload, encode_png
from core.log_lines import begin_log
from core.settings import Mode, Settings, host_and_port
from security.authority import CRL_FILE
from security.certificates import Trust
from security.errors import CertificateRefused, SecurityError
from security.identity import Identity, load_root
from security.keys import KeyStore, MasterKey
from security.party_tls import tls_context
from security.selftest import run_self_test

HOST = "127.0.0.1"
IDLE_S = 30.0
HANDSHAKE_S = 5.0
"""So long a stranger may hold one of the places."""
MAX_CONNECTIONS = 32

_LOG = logging.getLogger("hemaseal.enclave")


@dataclass(frozen=True)
class Address:
    """How an enclave is reached; what its file in the run directory holds.

    Attributes:
        party: the enclave's party.
        port: loopback port.
        pid: process id.
        measurement: what the process states about itself (the signed hello counts, not this file).
    """

    party: str
    port: int
    pid: int
    measurement: str

    @classmethod
    def read(cls, path: Path) -> "Address | None":
        """Return the address in a file, or None if there is none that can be read."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{self.pid}")
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(path)


def address_file(settings: Settings, party: str) -> Path:
    """Return the file in which an enclave says how it is reached."""
    return settings.run_dir / f"enclave-{party}.json"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS
    allow_reuse_address = True

    def __init__(self, enclave: Enclave, place: tuple[str, int] = (HOST, 0), tls: ssl.SSLContext | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, _Handler)
        self.enclave = enclave
        self.tls = tls
        self.slots = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002
        """Turn away connections above the limit; the thread that serves one gives its slot back."""
        return self.slots.acquire(blocking=False)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log the kind of error only: a traceback could quote what a request held."""
        _LOG.info("connection ended: %s", type(sys.exception()).__name__)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._connection() as connection:
            connection.settimeout(IDLE_S)
            while (frame := receive_frame(connection)) is not None:
                send_frame(connection, self.server.enclave.answer(frame))

    def _connection(self) -> socket.socket:
        """Return the connection, over TLS once it is known that the app is at its other end."""
        if self.server.tls is None:
            return self.request
        self.request.settimeout(HANDSHAKE_S)
        connection = self.server.tls.wrap_socket(self.request, server_side=True)
        try:
            self.server.enclave.admission.check_caller(connection)
        except CertificateRefused:
            connection.close()
            raise
        return connection

    def finish(self) -> None:
        self.server.slots.release()


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="python -m core.diagnosis.enclave", description=__doc__)
    made.add_argument("--party", required=True, help="party name, for example north.serving")
    made.add_argument("--listen", metavar="HOST:PORT", help="be a service for an app on another machine, over TLS")
    made.add_argument("--parent", type=int, help="process id with which this process ends")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run until a stop request, SIGTERM, or the end of the parent process."""
    started = time.time() - _age_s()
    options = parser().parse_args(arguments)
    begin_log()
    allowed = harden()
    cv2.setNumThreads(1)
    run_self_test()
    decode_upload(encode_png(np.zeros((8, 8, 3), np.uint8)), max_bytes=2**20, max_pixels=64)  # loads the decoders
    settings = Settings()
    try:
        place = host_and_port(options.listen) if options.listen else None
        identity, trust, tls = _open_keys(settings, options.party, serve_others=place is not None)
    except (HemaSealError, SecurityError) as error:
        sys.exit(error.public_text if isinstance(error, HemaSealError) else str(error))
    stopping, path = threading.Event(), address_file(settings, options.party)

    def stop() -> None:
        _leave(path)  # first, so that whoever asked for the end finds no enclave any more
        stopping.set()

    measurement = measure().sha256
    enclave = Enclave(
        identity,
        trust,
        clock=SystemClock(),
        measurement=measurement,
        max_bytes=MAX_IMAGE_BYTES,
        max_pixels=settings.max_pixels,
        on_stop=stop,
    )
    try:
        server = _Server(enclave, place or (HOST, 0), tls)
    except OSError as error:
        sys.exit(f"cannot listen at {options.listen or HOST}: {error.strerror}")
    with server:
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        signal.signal(signal.SIGINT, lambda *_: stopping.set())
        if options.parent is not None:
            end_with(options.parent)
        if place is None:
            Address(options.party, server.server_address[1], os.getpid(), measurement).write(path)
        allowed |= confine(settings.run_dir)
        enclave.protections = tuple(name for name, is_on in allowed.items() if is_on)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        enclave.start_s = time.time() - started
        _LOG.info("%s ready in %.2f s: %s", options.party, enclave.start_s, ", ".join(enclave.protections))
        where = "" if place is None else f" at {place[0]}:{server.server_address[1]}"
        print(f"ready{where}", flush=True)  # noqa: T201  whoever started it waits for this line
        stopping.wait()
        server.shutdown()
    _leave(path)
    return 0


def _leave(path: Path) -> None:
    """Be found no more: remove the address file, unless it is another process's already."""
    own = Address.read(path)
    if own is not None and own.pid == os.getpid():
        path.unlink(missing_ok=True)


def _open_keys(settings: Settings, party: str, *, serve_others: bool) -> tuple[Identity, Trust, ssl.SSLContext | None]:
    """Open this party's keys and forget the master key, in the environment of the process too.

    Where there is a revocation list in its folder, as an enrolment leaves one, it holds from the first connection on.

    Raises:
        SettingsError: in production the master key is not in the environment.
        SecurityError: key, certificate or root is missing, or does not open under this master key; the list is damaged.
    """
    if settings.mode is Mode.PRODUCTION and settings.master_key is None:
        raise SettingsError("HEMASEAL_MASTER_KEY is required in production")
    secret = settings.master_key.get_secret_value() if settings.master_key else None
    store = KeyStore(settings.keys_dir, party, MasterKey.load(secret=secret, file=settings.master_key_file))
    os.environ.pop("HEMASEAL_MASTER_KEY", None)
    settings.master_key = None
    tls = tls_context(store, server=True) if serve_others else None
    known = store.folder / CRL_FILE
    return Identity.load(store), Trust(load_root(store), known.read_bytes() if known.exists() else None), tls


def _age_s() -> float:
    """Seconds since this process was started (0 where the system does not tell)."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[19])
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return uptime - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
