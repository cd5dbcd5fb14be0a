"""What can go wrong, where, and how a seed chooses: every fault is drawn from what an undisturbed run did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from core.learning.orders import AGGREGATION, AggregationMode


class What(StrEnum):
    """What a worker's process notes in its journal."""

    SENT = "sent"
    ASKED = "asked"
    ANSWERED = "answered"
    WRITE = "write"
    COMMIT = "commit"
    LEDGER = "ledger"
    HERE = "here"


class Kind(StrEnum):
    """Kinds of fault. All but the node's own happen to the whole worker, in which all parties of the demo live."""

    KILLED = "worker killed at a message"
    KILLED_IN_WRITE = "worker killed before a write"
    KILLED_IN_COMMIT = "worker killed before a commit"
    KILLED_AFTER_COMMIT = "worker killed after a commit"
    MACHINE_RESTART = "machine restarted, lease in the future"
    STOPPED = "worker asked to end"
    KILLED_TWICE = "worker killed, and its successor too"
    TWO_WORKERS = "two workers of one installation"
    TAKEN_OVER = "worker gone for good, another host takes over"
    STALLED = "worker stalled past its lease, then back"
    NODE_CRASH = "party fails at a step"
    NODE_RESTART = "party restarts and has lost its memory"
    NODE_HANGS = "node hangs past the deadline"
    NODE_AWAY = "party away for good"
    NODE_BACK = "party away for a round"
    TWO_AWAY = "two members away for good"
    LEDGER_TORN = "worker killed in the middle of a ledger line"
    DISK_FULL = "ledger's disk full once"
    DISK_STAYS_FULL = "ledger's disk full until the worker restarts"
    OUTAGE = "database away for 3 s"
    DATABASE_LATE = "worker killed, database away when it starts"
    LONG_OUTAGE = "database away for 30 s"
    NETWORK_STALL = "database's network silent for 3 s"
    LOST_REPLY = "database's replies lost, then connections"


ONLY_MYSQL = frozenset({Kind.NETWORK_STALL, Kind.LOST_REPLY, Kind.DATABASE_LATE})
AT_WRITES = {
    Kind.KILLED_IN_WRITE: What.WRITE,
    Kind.KILLED_IN_COMMIT: What.COMMIT,
    Kind.KILLED_AFTER_COMMIT: What.COMMIT,
    Kind.LEDGER_TORN: What.LEDGER,
    Kind.DISK_FULL: What.LEDGER,
    Kind.DISK_STAYS_FULL: What.LEDGER,
}
AT_ANSWERS = frozenset(
    {Kind.NODE_CRASH, Kind.NODE_RESTART, Kind.NODE_HANGS, Kind.NODE_AWAY, Kind.NODE_BACK, Kind.TWO_AWAY}
)
DEADLINE_S = 3600.0
"""Of a training, by a clock that only a hanging node moves: a slow machine makes nobody late."""
FEW = frozenset({Kind.LONG_OUTAGE})
"""Kinds that take half a minute each; one in so many of the others."""
FEW_IN = 40


@dataclass(frozen=True, kw_only=True)
class Note:
    """One line of a journal.

    Attributes:
        what: what happened.
        at: seconds of the machine's monotonic clock.
        pid: process.
        run_round: number of the round.
        attempt: id of the attempt.
        step: step of the protocol.
        party: who was asked.
        reply: whether an answer was a reply (and no refusal or absence).
        order: the event's number among those of its kind and process, from 1.
    """

    what: What
    at: float = 0.0
    pid: int = 0
    run_round: int = 0
    attempt: str = ""
    step: str = ""
    party: str = ""
    reply: bool = False
    order: int = 0

    def is_at(self, other: "Note") -> bool:
        """Whether two notes are about the same point of a run, whichever attempt."""
        mine = (self.what, self.run_round, self.step, self.party)
        return mine == (other.what, other.run_round, other.step, other.party)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        number: its place in the plan.
        kind: what goes wrong.
        mode: aggregation mode of the run.
        mysql: on MySQL or MariaDB, else on SQLite.
        at: where: a message, or the `order`-th write of its kind.
        next: what happens to the worker that is started next.
    """

    number: int
    kind: Kind
    mode: AggregationMode
    mysql: bool
    at: Note
    next: "Fault | None" = None


def draw(
    count: int,
    *,
    seed: int,
    journals: Mapping[AggregationMode, Sequence[Note]],
    weights: Sequence[float],
    mysql: bool,
    only: Kind | None = None,
) -> list[Fault]:
    """Choose faults: kinds in turn, modes by weight, databases by chance, points uniformly over what a run did.

    Args:
        count: how many.
        seed: fixes them.
        journals: of an undisturbed run of each mode.
        weights: of the modes, in the order of `journals`.
        mysql: whether a MySQL or MariaDB server is there.
        only: one kind, or None for all.
    """
    rng = np.random.default_rng(seed)
    often = [kind for kind in Kind if kind not in FEW and (mysql or kind not in ONLY_MYSQL)]
    few = [kind for kind in Kind if kind in FEW]
    share = np.asarray(weights) / np.sum(weights)
    faults = []
    turns: list[Kind] = []
    for number in range(count):
        if only is not None:
            kind = only
        elif number % FEW_IN == FEW_IN - 1:
            kind = few[number // FEW_IN % len(few)]
        else:
            turns = turns or [often[i] for i in rng.permutation(len(often))]
            kind = turns.pop()
        mode = list(journals)[int(rng.choice(len(share), p=share))]
        points = _points(kind, journals[mode])
        on_mysql = mysql and (kind in ONLY_MYSQL or bool(rng.integers(2)))
        at = int(rng.integers(len(points)))
        fault = Fault(number=number, kind=kind, mode=mode, mysql=on_mysql, at=points[at])
        if kind is Kind.KILLED_TWICE:
            later = points[int(rng.integers(at, len(points)))]
            fault = replace(fault, next=replace(fault, kind=Kind.KILLED, at=later))
        faults.append(fault)
    return faults


def _points(kind: Kind, journal: Sequence[Note]) -> list[Note]:
    """Where in a run a kind of fault can happen."""
    if kind in AT_WRITES:
        return [note for note in journal if note.what is AT_WRITES[kind]]
    if kind is Kind.NODE_HANGS:
        return [note for note in journal if note.what is What.ASKED]
    if kind is Kind.TWO_AWAY:
        return [note for note in journal if note.what is What.ASKED and note.party != AGGREGATION]
    if kind in AT_ANSWERS:
        return [note for note in journal if note.what in {What.ASKED, What.ANSWERED}]
    return [note for note in journal if note.what in {What.SENT, What.ASKED, What.ANSWERED}]
