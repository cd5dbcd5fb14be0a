"""Carries the letters of one exchange over Flower's grid, and the answers back, until all are in or nobody waits."""

import logging
import time
from collections.abc import Callable

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from core.learning.run_events import FailureCode
from federated.transport.flower import records
from federated.transport.flower.lines import END, MOST_BYTES, Line, LineEnded, Parcel
from federated.transport.flower.roster import Roster

log = logging.getLogger(__name__)

_POLL_S = 0.2
_ROSTER_S = 2.0
_AT_ONCE = 4
"""Answers that are fetched at once at most, so that many members need no more memory than a few."""


class Carrier:
    """Joins the coordinator's line with the grid."""

    def __init__(
        self,
        grid: Grid,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask the nodes whose they are.

        Args:
            grid: sends and receives messages.
            clock: tells seconds.
            sleep: waits between two looks at the grid.
        """
        self._grid = grid
        self._clock = clock
        self._sleep = sleep
        self._roster = Roster(grid, clock=clock)
        self._refreshed = float("-inf")
        self.refresh()

    def refresh(self) -> None:
        """Look at who is there, at most every other second."""
        if self._clock() - self._refreshed >= _ROSTER_S:
            self._roster.refresh()
            self._refreshed = self._clock()

    def carry(self, line: Line) -> None:
        """Play one exchange with the coordinator at the other end of `line`; ends early when it hangs up."""
        try:
            ttl = line.receive_seconds()
            waiting: dict[str, bytes] = {}
            sent: dict[str, tuple[str, int]] = {}
            refused: list[Parcel] = []
            while (parcel := line.receive()) != END:
                waiting[parcel.party] = parcel.data
                refused += self._send(waiting, sent, ttl)
            while waiting or sent or refused:
                refused += self._send(waiting, sent, ttl)
                for parcel in [*refused, *self._unreachable(waiting), *self._received(sent), *self._lost(sent)]:
                    line.send(parcel)
                refused = []
                if line.has_ended():
                    return
                if waiting or sent:
                    self._sleep(_POLL_S)
                    self.refresh()
        except LineEnded:
            log.info("the coordinator waits no longer")

    def _send(self, waiting: dict[str, bytes], sent: dict[str, tuple[str, int]], ttl: float) -> list[Parcel]:
        """Send the letters of parties that have a node; move them from `waiting` to `sent` (message -> party, node).

        Returns:
            Parcels for the letters that Flower did not take.
        """
        refused, parties = [], self._roster.parties
        for party in [party for party in waiting if party in parties]:
            content = records.letter(waiting.pop(party))
            message = Message(content, dst_node_id=parties[party], message_type=MessageType.QUERY, ttl=ttl)
            number = next(iter(self._grid.push_messages([message])), None)
            if number:
                sent[number] = party, parties[party]
            else:
                log.warning("Flower does not take the letter to %s", party)
                refused.append(_failed(party))
        return refused

    def _unreachable(self, waiting: dict[str, bytes]) -> list[Parcel]:
        """Give up on parties that no node works for."""
        gone = [party for party in waiting if not self._roster.is_expected(party) and party not in self._roster.parties]
        for party in gone:
            del waiting[party]
            log.warning("no SuperNode works for %s", party)
        return [_failed(party) for party in gone]

    def _received(self, sent: dict[str, tuple[str, int]]) -> list[Parcel]:
        """Fetch a few answers that have come."""
        parcels = []
        for start in range(0, len(sent), _AT_ONCE):
            for message in self._grid.pull_messages(list(sent)[start : start + _AT_ONCE]):
                party, _ = sent.pop(message.metadata.reply_to_message_id, ("", 0))
                if party:
                    parcels.append(_parcel(party, message))
            if parcels:
                break
        return parcels

    def _lost(self, sent: dict[str, tuple[str, int]]) -> list[Parcel]:
        """Give up on nodes that Flower does not see any more."""
        lost = [number for number, (_, node) in sent.items() if node not in self._roster.online]
        return [_failed(sent.pop(number)[0]) for number in lost]


def _parcel(party: str, message: Message) -> Parcel:
    if message.has_error():
        log.warning("Flower has no answer of %s: %s", party, message.error.reason)
        return _failed(party)
    data, failure = records.data_of(message.content), records.failure_of(message.content)
    if len(data) > MOST_BYTES or failure not in {"", *FailureCode}:
        log.warning("the node of %s sends no answer", party)
        return _failed(party)
    return Parcel(party=party, data=data, failure=failure)


def _failed(party: str) -> Parcel:
    return Parcel(party=party, failure=FailureCode.DROPPED_OUT.value)
