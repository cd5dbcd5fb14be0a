"""Starts enclave processes when they are needed, starts dead ones again, and ends those it started.

Enclaves that the settings name on other machines are found there instead (`core.diagnosis.remote`).
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from core.diagnosis.approvals import Approvals
from core.diagnosis.client import EnclaveClient
from core.diagnosis.enclave import Address, address_file
from core.diagnosis.measurement import measure
from core.diagnosis.remote import RemoteEnclave, ReplicaView
from core.diagnosis.wire import Reply
from core.errors import EnclaveBusy, EnclaveUnavailable, MemberRefused
from core.settings import ROOT, Settings
from security.certificates import Trust
from security.identity import Identity
from security.keys import KeyStore
from security.party_tls import tls_context

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
HELLO_TIMEOUT_S = 10.0
"""Who does not even say what it is in this time hangs."""
TURNED_AWAY_S = 0.2
"""After this one that was turned away asks once more: an enclave that died at that moment refuses the connection."""
LOOK_TIMEOUT_S = 1.0
"""Who only looks does not wait for one that is busy."""
_READY = b"ready"


class EnclaveSupervisor:
    """Keeps one process per party. Several supervisors, of several apps, share the processes of one data directory."""

    def __init__(self, settings: Settings, parties: Sequence[str], *, store: KeyStore | None = None) -> None:
        """Start nothing yet.

        Args:
            settings: data directory, master key and limits that the processes get; enclaves on other machines.
            parties: serving parties, for example ``north.serving``.
            store: the app's, as whom enclaves on other machines are reached; without it there are none.

        Raises:
            SettingsError: the addresses of enclaves cannot be read.
            KeyMissing: the app's key does not open.
        """
        self.parties = tuple(parties)
        self._settings = settings
        self._measurement = measure().sha256
        self._locks = {party: threading.Lock() for party in self.parties}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._busy_since: dict[str, float] = {}
        self._remote: dict[str, RemoteEnclave] = {}
        if store is not None and settings.remote_enclaves:
            tls, patience_s = tls_context(store, server=False), settings.enclave_timeout_s
            for party, places in settings.remote_enclaves.items():
                self._remote[party] = RemoteEnclave(party, places, tls=tls, patience_s=patience_s)

    def ensure(self, party: str, *, identity: Identity, trust: Trust, approvals: Approvals) -> EnclaveClient:
        """Return a client of a running enclave of `party`, started now if need be; of one elsewhere, if any answers.

        Args:
            party: one of `parties`, or a party that was enrolled since.
            identity: the app's.
            trust: the authority's root and newest revocation list.
            approvals: the measurements that the authority has approved.

        Raises:
            EnclaveUnavailable: unknown party, or the process did not start.
            EnclaveBusy: it runs, and serves as many as it can.
            MeasurementRefused: the installed code is not approved; no process of it is started, and one that runs ends.
            MemberRefused: the enclave's certificate is revoked, expired or another party's.
        """
        if party in self._remote:
            return self._remote[party].ensure(identity=identity, trust=trust, approvals=approvals)
        if party not in self._locks:  # perhaps a hospital that was admitted since
            if not (self._settings.keys_dir / party).is_dir():
                raise EnclaveUnavailable(party)
            self._locks.setdefault(party, threading.Lock())
        with self._locks[party]:
            reach = partial(EnclaveClient, identity=identity, trust=trust, approvals=approvals, party=party)
            client = self._running(party, reach, approvals)
            if client is not None:
                return client
            self._settings.run_dir.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._settings.run_dir / f"enclave-{party}.lock", timeout=START_TIMEOUT_S)
            try:
                with lock:
                    client = self._running(party, reach, approvals)
                    if client is None:
                        self._measurement = measure().sha256
                        approvals.require(self._measurement)
                        self._start(party)
                        client = self._running(party, reach, approvals)
            except Timeout as error:
                raise EnclaveUnavailable(party) from error
        if client is None:
            raise EnclaveUnavailable(party)
        return client

    def hello(self, party: str, *, identity: Identity, trust: Trust, approvals: Approvals) -> Reply | None:
        """Return what a party's process says of itself, None if none runs; nothing is started, ended or loaded.

        Raises:
            EnclaveUnavailable: it has an address and does not answer.
            MemberRefused: its certificate is revoked, expired or another party's.
        """
        address = Address.read(address_file(self._settings, party))
        if address is None:
            return None
        reach = partial(EnclaveClient, party=party, timeout_s=LOOK_TIMEOUT_S)
        return reach(address.port, identity=identity, trust=trust, approvals=approvals).hello()

    def replicas(
        self, party: str, *, identity: Identity, trust: Trust, approvals: Approvals
    ) -> tuple[ReplicaView, ...]:
        """Return how the replicas of a party's enclave on other machines are; empty if it is one of this machine."""
        remote = self._remote.get(party)
        return () if remote is None else remote.look(identity=identity, trust=trust, approvals=approvals)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The parties whose enclaves are on other machines."""
        return tuple(self._remote)

    def is_silent(self, party: str) -> bool:
        """Whether a party's enclave on other machines is known not to answer now. One of this machine is started."""
        return party in self._remote and self._remote[party].is_silent()

    def running(self) -> dict[str, int]:
        """Return party -> process id of the enclaves that have an address file (which they remove when they end)."""
        found = {party: Address.read(address_file(self._settings, party)) for party in self.parties}
        return {party: address.pid for party, address in found.items() if address is not None}

    def stop(self, party: str, *, identity: Identity, trust: Trust) -> None:
        """End a party's process if one runs here; the next question starts it again, with the keys that it has then."""
        address = Address.read(address_file(self._settings, party))
        if address is None:
            return
        reach = partial(EnclaveClient, approvals=Approvals(), party=party, timeout_s=HELLO_TIMEOUT_S)
        try:
            reach(address.port, identity=identity, trust=trust).stop()
        except (EnclaveUnavailable, MemberRefused):
            _kill(address)

    def stop_all(self) -> None:
        """End the processes that this supervisor started, and wait for them."""
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def _running(self, party: str, reach: Callable[..., EnclaveClient], approvals: Approvals) -> EnclaveClient | None:
        """Return a client if an enclave of the installed, approved code answers; another, or one that hangs, ends.

        One that turns everybody away hangs once it has done so for longer than any request may take.
        """
        address = Address.read(address_file(self._settings, party))
        if address is None:
            return None
        patience_s = self._settings.enclave_timeout_s
        client = reach(address.port, timeout_s=patience_s)
        try:
            stated = _hello(reach(address.port, timeout_s=HELLO_TIMEOUT_S)).measurement
            self._busy_since.pop(party, None)
            if stated != self._measurement:
                self._measurement = measure().sha256  # the installation was updated since this supervisor was made
            if stated == self._measurement and approvals.find(stated) is not None:
                return client
            client.stop()
        except EnclaveBusy:
            now = time.monotonic()
            if now - self._busy_since.setdefault(party, now) < patience_s:
                raise
            _kill(address)
        except EnclaveUnavailable:
            _kill(address)
        self._busy_since.pop(party, None)
        return None

    def _start(self, party: str) -> None:
        """Start the process and wait until it says that it listens.

        Raises:
            EnclaveUnavailable: it ended, or said nothing in time; its log file says why.
        """
        dead = self._children.pop(party, None)
        if dead is not None:
            dead.kill()
            dead.wait()
        command = [sys.executable, "-m", "core.diagnosis.enclave", "--party", party, "--parent", str(os.getpid())]
        log = self._settings.run_dir / f"enclave-{party}.log"
        with log.open("ab") as errors:
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        if child.stdout is None:
            raise EnclaveUnavailable(party)
        with child.stdout as output:
            readable, _, _ = select.select([output], [], [], START_TIMEOUT_S)
            said = output.readline() if readable else b""
        if said.strip() != _READY:
            child.kill()
            child.wait()
            raise EnclaveUnavailable(party)
        self._children[party] = child

    def _environment(self) -> dict[str, str]:
        """What the process gets to know: no database, no other secret than the master key it opens its folder with."""
        settings = self._settings
        environment = {
            "HEMASEAL_MODE": settings.mode.value,
            "HEMASEAL_DATA_DIR": str(settings.data_dir.resolve()),
            "HEMASEAL_RUNTIME_DIR": str(settings.run_dir.resolve()),
            "HEMASEAL_MAX_PIXELS": str(settings.max_pixels),
            "HEMASEAL_MAX_UPLOAD_BYTES": str(settings.max_upload_bytes),
        }
        for name in ("PATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT"):
            with suppress(KeyError):
                environment[name] = os.environ[name]
        if settings.master_key is not None:
            environment["HEMASEAL_MASTER_KEY"] = settings.master_key.get_secret_value()
        return environment


def _hello(client: EnclaveClient) -> Reply:
    """Return what an enclave says of itself, asked twice if it turns the first request away."""
    try:
        return client.hello()
    except EnclaveBusy:
        time.sleep(TURNED_AWAY_S)
        return client.hello()


def _kill(address: Address) -> None:
    """End the process of an address file that answers nobody, if it still is that enclave."""
    with suppress(OSError):
        words = Path(f"/proc/{address.pid}/cmdline").read_bytes().split(b"\0")
        if b"core.diagnosis.enclave" in words and address.party.encode() in words:
            os.kill(address.pid, signal.SIGKILL)


def log_file(settings: Settings, party: str) -> Path:
    """Return the log file of an enclave (times and kinds of events, nothing that a request held)."""
    return settings.run_dir / f"enclave-{party}.log"
