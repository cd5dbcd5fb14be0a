"""Which SuperNode works for which party: the nodes are asked, and what they say decides only where letters go.

A wrong claim gains nothing: an answer counts when the party's key has signed it. The first node that claims a party has
it for as long as Flower sees the node; a second one that claims it meanwhile gets no letters, so that nobody who joins
later can cut a hospital off.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from federated.transport.flower import records

log = logging.getLogger(__name__)

JOINING_S = 60.0
"""How long after the start a party that no node has claimed is waited for."""
ANSWER_S = 120.0
"""How long a node may take to say whose it is; then it is asked again, but nobody waits for it any more."""


@dataclass
class _Node:
    """One SuperNode: when it was first seen, when and how it was asked last."""

    seen: float
    asked: float
    question: str


class Roster:
    """The nodes that Flower sees, and their parties."""

    def __init__(self, grid: Grid, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nobody.

        Args:
            grid: Flower's view of the nodes.
            clock: tells seconds.
        """
        self._grid = grid
        self._clock = clock
        self._joined_by = clock() + JOINING_S
        self._nodes: dict[int, _Node] = {}
        self._claims: dict[int, str] = {}

    @property
    def parties(self) -> dict[str, int]:
        """Party -> id of its node: of those that claim it, the one that did so first."""
        parties: dict[str, int] = {}
        for node, party in self._claims.items():
            parties.setdefault(party, node)
        return parties

    @property
    def online(self) -> frozenset[int]:
        """The nodes that Flower saw last."""
        return frozenset(self._nodes)

    def is_expected(self, party: str) -> bool:
        """Whether a party without a node may still get one: it is early, or a new node has not said whose it is."""
        now = self._clock()
        silent = any(node not in self._claims and now - one.seen < ANSWER_S for node, one in self._nodes.items())
        return party not in self._claims.values() and (now < self._joined_by or silent)

    def refresh(self) -> None:
        """Forget the nodes that are gone, ask those that are new, and hear what the asked ones say."""
        online, now = set(self._grid.get_node_ids()), self._clock()
        self._nodes = {node: one for node, one in self._nodes.items() if node in online}
        self._claims = {node: party for node, party in self._claims.items() if node in online}
        for node in sorted(online):
            known = self._nodes.get(node)
            if known is None or (node not in self._claims and now - known.asked >= ANSWER_S):
                seen = now if known is None else known.seen
                self._nodes[node] = _Node(seen=seen, asked=now, question=self._ask(node))
        questions = {one.question: node for node, one in self._nodes.items() if node not in self._claims}
        for message in self._grid.pull_messages(list(questions)) if questions else ():
            node = questions.get(message.metadata.reply_to_message_id)
            if node is not None and not message.has_error():
                self._hear(node, records.party_of(message.content))

    def _ask(self, node: int) -> str:
        question = Message(records.question(), dst_node_id=node, message_type=MessageType.QUERY, ttl=ANSWER_S)
        return next(iter(self._grid.push_messages([question])), "")

    def _hear(self, node: int, party: str) -> None:
        holder = self.parties.get(party)
        self._claims[node] = party
        if holder is None:
            log.info("SuperNode %d works for %s", node, party)
        else:
            log.warning("SuperNode %d claims %s, which SuperNode %d has: no letters for it", node, party, holder)
