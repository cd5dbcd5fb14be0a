"""The parties' machines in the worker's process, some of which fail: what is asked and answered is noted here."""

import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from core.learning.orders import AGGREGATION, RunOptions
from core.learning.run_events import FailureCode
from federated.answering import Answering
from federated.dbstore import Switches
from federated.hosting import Hosting
from federated.messages import MAX_MESSAGE_BYTES, Header
from federated.messages import Kind as MessageKind
from federated.node import TrainingNode
from federated.transport.base import Delivery
from federated.transport.inprocess import InProcessHost
from federated.worker import Worker
from security.encoding import Reader, decode
from tests.faults.plan import DEADLINE_S, Kind, Note, What
from tests.federation import SLUGS


class Witness(Protocol):
    """Who is told what happens, and may make it go wrong."""

    def pass_by(self, note: Note) -> Note:
        """Take a note."""
        ...

    def strikes(self, note: Note) -> Kind | None:
        """Tell which fault of a party happens here."""
        ...


class Machines(InProcessHost):
    """The parties' machines, some of which fail."""

    saboteur: "Witness"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._away: dict[str, int] = {}  # party -> the last round for which it is away

    def _deliver(self, party: str, data: bytes) -> Delivery:
        header = _header_of(data)
        if party in self._away:
            if header.round <= self._away[party]:
                return Delivery(party=party, failure=FailureCode.DROPPED_OUT)
            del self._away[party]
            self._restart(party)
        if self._is_down(party):
            return super()._deliver(party, data)
        before = self.saboteur.pass_by(note_of(What.ASKED, header, party))
        if (kind := self.saboteur.strikes(before)) is not None:
            self._fail(kind, header, party)
            if kind is not Kind.NODE_HANGS:
                return Delivery(party=party, failure=FailureCode.DROPPED_OUT)
        delivery = super()._deliver(party, data)
        replied = delivery.data is not None and _header_of(delivery.data).kind == MessageKind.REPLY
        after = self.saboteur.pass_by(note_of(What.ANSWERED, header, party, reply=replied))
        if (kind := self.saboteur.strikes(after)) is not None:
            self._fail(kind, header, party)
            return Delivery(party=party, failure=FailureCode.DROPPED_OUT)
        return delivery

    def _fail(self, kind: Kind, header: Header, party: str) -> None:
        if kind is Kind.NODE_HANGS:
            self._lines.now = lambda: time.monotonic() + 2 * DEADLINE_S
            while not self._lines.given_up():
                threading.Event().wait(0.01)
        elif kind is Kind.NODE_RESTART:
            self._restart(party)
        elif kind is Kind.NODE_BACK:
            self._away[party] = header.round
        elif kind in {Kind.NODE_AWAY, Kind.TWO_AWAY}:
            self._away[party] = 10**6
        if kind is Kind.TWO_AWAY:
            slug = SLUGS[(SLUGS.index(party.partition(".")[0]) + 1) % len(SLUGS)]
            self._away[f"{slug}.training"] = 10**6

    def _restart(self, party: str) -> None:
        """Put a party that has just opened its keys in the place of the one that is gone."""
        self._parties[party] = RememberingWorker.bring_up_again(party)


class RememberingWorker(Worker):
    """Remembers how its parties were brought up."""

    _last: "tuple[RememberingWorker, Hosting, str, RunOptions, Switches]"

    def _nodes(self, run: str, options: RunOptions, hosting: Hosting, switches: Switches) -> Iterator[TrainingNode]:
        RememberingWorker._last = (self, hosting, run, options, switches)
        return super()._nodes(run, options, hosting, switches)

    @staticmethod
    def bring_up_again(party: str) -> Answering:
        """Open a party's keys and data set anew."""
        worker, hosting, run, options, switches = RememberingWorker._last
        if party == AGGREGATION:
            return hosting.aggregation()
        return next(node for node in Worker._nodes(worker, run, options, hosting, switches) if node.party == party)


def _header_of(message: bytes) -> Header:
    return Header.parse(decode(Reader(message).field(limit=MAX_MESSAGE_BYTES))[1])


def note_of(what: What, header: Header, party: str, *, reply: bool = False) -> Note:
    return Note(what=what, run_round=header.round, attempt=header.attempt, step=header.step, party=party, reply=reply)
