"""One hospital's enclave on other machines: its replicas, which of them answer, and since when each does or does not.

A replica is asked what it is (`EnclaveClient.hello`, signed) before it is used, and again once that is some seconds
old; requests in between cost nothing more. One that does not answer, runs what is not approved or whose certificate
does not hold is passed over, and is asked again after a while, beside what goes on. Nothing is started or ended here:
that is for whoever runs the hospital's machine. What is known is this process's own.
"""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.clock import SystemClock
from core.diagnosis.approvals import Approvals
from core.diagnosis.client import EnclaveClient
from core.diagnosis.wire import Reply
from core.errors import EnclaveUnavailable, HemaSealError, MeasurementRefused

HELLO_TIMEOUT_S = 2.0
"""Who does not say what it is in this time is passed over."""
FRESH_S = 5.0
"""So long it is believed that a replica that has answered would do so again."""
AGAIN_S = 5.0
"""After this one that did not is asked again, and names are resolved again."""


class EnclaveState(StrEnum):
    """What an enclave is doing."""

    ANSWERS = "answers"
    ASLEEP = "asleep"
    SILENT = "silent"
    NOT_APPROVED = "not-approved"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class ReplicaView:
    """How a replica was when it was asked last.

    Attributes:
        party: the hospital's enclave.
        address: host and port.
        state: what became of it.
        since: when that began, as far as this process has seen; None if it was never asked.
        measurement: what it said that it runs (hex); "" if it has said nothing.
        models: how many models it held.
        memory_mib: its largest memory.
    """

    party: str
    address: str
    state: EnclaveState
    since: datetime | None
    measurement: str
    models: int
    memory_mib: float


class _Replica:
    """What is known of one address. Threads that ask at once overwrite each other's news, of which all are true."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.state = EnclaveState.SILENT
        self.since: datetime | None = None
        self.said: Reply | None = None
        self.refusal: HemaSealError = EnclaveUnavailable(host)
        self.asked_at = self.answered_at = -float("inf")

    @property
    def answers(self) -> bool:
        return self.state is EnclaveState.ANSWERS

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.asked_at >= AGAIN_S

    def is_good(self, approvals: Approvals) -> bool:
        """Whether it need not be asked what it is before it is used."""
        is_fresh = self.answers and time.monotonic() - self.answered_at < FRESH_S
        return is_fresh and self.said is not None and approvals.find(self.said.measurement) is not None

    def note(self, state: EnclaveState, said: Reply | None) -> None:
        if state is not self.state or self.since is None:
            self.since = SystemClock().now()
        self.state, self.said = state, said


class RemoteEnclave:
    """Reaches the replicas of one party. For several threads.

    What its methods take as `parts` is what `EnclaveClient` takes: ``identity`` (the app's), ``trust``, ``approvals``.
    """

    def __init__(
        self, party: str, places: Sequence[tuple[str, int]], *, tls: ssl.SSLContext, patience_s: float
    ) -> None:
        """Ask nobody yet.

        Args:
            party: whose enclave it is.
            places: hosts and ports; of a name with several addresses each is a replica.
            tls: opens connections as the app.
            patience_s: how long a request may take.
        """
        self.party = party
        self._places = tuple(places)
        self._tls = tls
        self._patience_s = patience_s
        self._replicas: dict[tuple[str, int], _Replica] = {}
        self._stands_for: dict[tuple[str, int], list[tuple[str, int]]] = {}
        self._resolved_at = -float("inf")
        self._resolving = threading.Lock()
        self._turns = itertools.count()

    def ensure(self, **parts: Any) -> EnclaveClient:
        """Return a client of a replica that answers, another one each time.

        Raises:
            EnclaveUnavailable: none does, or (`EnclaveBusy`) serves as many as it can.
            MemberRefused, MeasurementRefused: none does, and that is why the last one was passed over.
        """
        known = self._known()
        good = [one for one in known if one.answers]
        first = next(self._turns) % max(len(good), 1)
        others = [one for one in known if not one.answers]
        for one in (*good[first:], *good[:first], *(one for one in others if one.is_due)):
            if not one.is_good(parts["approvals"]):
                self._look(one, parts)
            if one.answers:
                for silent in (other for other in others if other.is_due):
                    silent.asked_at = time.monotonic()  # so that nobody else asks it too
                    threading.Thread(target=self._look, args=(silent, parts), daemon=True).start()
                return self._client(one, parts, self._patience_s)
        refusal = known[-1].refusal
        raise type(refusal)(refusal.detail) from refusal

    def look(self, **parts: Any) -> tuple[ReplicaView, ...]:
        """Return how the replicas are; those of which nothing new is known are asked, all at once."""
        known = self._known()
        due = [one for one in known if one.is_due and not one.is_good(parts["approvals"])]
        if due:
            with ThreadPoolExecutor(len(due)) as pool:
                list(pool.map(lambda one: self._look(one, parts), due))
        return tuple(self._view(one) for one in known)

    def is_silent(self) -> bool:
        """Whether none is known to answer and none is about to be asked again: routing passes the hospital over."""
        known = self._replicas.values()
        return bool(known) and not any(one.answers or one.is_due for one in known)

    def _known(self) -> list[_Replica]:
        """Return the replicas by what the names stand for now.

        While one thread looks names up the others go on with what is known, or wait where nothing is yet.
        """
        if self._is_due and self._resolving.acquire(blocking=not self._replicas):
            try:
                if self._is_due:
                    self._resolve()
            finally:
                self._resolving.release()
        return list(self._replicas.values())

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._resolved_at >= AGAIN_S

    def _resolve(self) -> None:
        """Look all names up; one that nobody knows now stands for what it stood for, or else for itself."""
        for place in self._places:
            self._stands_for[place] = _addresses(*place) or self._stands_for.get(place) or [place]
        found = [address for place in self._places for address in self._stands_for[place]]
        self._replicas = {address: self._replicas.get(address) or _Replica(*address) for address in found}
        self._resolved_at = time.monotonic()

    def _look(self, one: _Replica, parts: dict[str, Any]) -> None:
        """Ask a replica what it is, and note what came of it."""
        one.asked_at = time.monotonic()
        said = None
        try:
            said = self._client(one, parts, HELLO_TIMEOUT_S).hello()
            parts["approvals"].require(said.measurement)
        except HemaSealError as error:
            one.refusal = error
            one.note(state_of(error), said)
        else:
            one.answered_at = time.monotonic()
            one.note(EnclaveState.ANSWERS, said)

    def _client(self, one: _Replica, parts: dict[str, Any], timeout_s: float) -> EnclaveClient:
        return EnclaveClient(
            one.port,
            host=one.host,
            party=self.party,
            tls=self._tls,
            timeout_s=timeout_s,
            on_silence=self._doubt,
            **parts,
        )

    def _doubt(self) -> None:
        """Ask each replica what it is before it is used again: what befell one may have befallen all."""
        for one in self._known():
            one.answered_at = -float("inf")

    def _view(self, one: _Replica) -> ReplicaView:
        said = one.said
        return ReplicaView(
            party=self.party,
            address=f"[{one.host}]:{one.port}" if ":" in one.host else f"{one.host}:{one.port}",
            state=one.state,
            since=one.since,
            measurement=said.measurement if said else "",
            models=len(said.models) if said else 0,
            memory_mib=said.rss_mb if said else 0.0,
        )


def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    """Return what a name stands for now; nothing where nobody knows it, or it can be no name."""
    try:
        return [(str(found[4][0]), port) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def state_of(error: HemaSealError) -> EnclaveState:
    """Return what an enclave is doing that was asked in vain."""
    if isinstance(error, EnclaveUnavailable):
        return EnclaveState.SILENT
    return EnclaveState.NOT_APPROVED if isinstance(error, MeasurementRefused) else EnclaveState.REFUSED
