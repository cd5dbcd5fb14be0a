"""Which faults come when: drawn from a seed, kinds in turns, some of them at the same time."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

GAP_S = (1.0, 7.0)
LASTS_S = (2.0, 20.0)
SKEWS_S = (-172_800, -7_200, -60, 60, 7_200, 172_800)


class Kind(StrEnum):
    """Kinds of fault."""

    APP_KILLED = "app killed"
    APP_HANGS = "app hangs"
    APP_CLOCK = "app's clock wrong"
    WORKER_KILLED = "worker killed"
    WORKER_HANGS = "worker hangs"
    WORKER_CLOCK = "worker's clock wrong"
    ENCLAVE_KILLED = "enclave killed"
    ENCLAVE_HANGS = "enclave hangs"
    NODE_AWAY = "node away"
    NODE_LATE = "node late"
    NODE_RESTARTS = "node restarts"
    DATABASE_AWAY = "database away"
    DISK_FULL = "disk full"


NODE_KINDS = frozenset({Kind.NODE_AWAY, Kind.NODE_LATE, Kind.NODE_RESTARTS})


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        number: its place in the schedule.
        kind: what goes wrong.
        at_s: when it begins, in seconds since the schedule's begin.
        for_s: how long it lasts; of a killed app, how long it stays away.
        draw: from 0 to 1: which of several enclaves or nodes.
        skew_s: how wrong a clock goes.
    """

    number: int
    kind: Kind
    at_s: float
    for_s: float
    draw: float
    skew_s: int

    @property
    def ends_s(self) -> float:
        """When it ends."""
        return self.at_s + self.for_s

    def __str__(self) -> str:
        """One line, from which it can be told again."""
        wrong = f" by {self.skew_s:+} s" if self.kind in {Kind.APP_CLOCK, Kind.WORKER_CLOCK} else ""
        return f"#{self.number} {self.kind}{wrong}, {self.at_s:.1f} to {self.ends_s:.1f} s"


def draw(
    seed: int, seconds: float, *, gap_s: tuple[float, float] = GAP_S, lasts_s: tuple[float, float] = LASTS_S
) -> list[Fault]:
    """Return the faults of so many seconds, all over by then; no two of one kind at a time.

    Args:
        seed: fixes them.
        seconds: how long faults go on.
        gap_s: from one begin to the next, the shortest and the longest.
        lasts_s: how long one lasts, likewise.
    """
    rng = np.random.default_rng(seed)
    faults: list[Fault] = []
    turns: list[Kind] = []
    at = 0.0
    while True:
        at += float(rng.uniform(*gap_s))
        if at + lasts_s[0] > seconds:
            return faults
        turns = turns or [list(Kind)[place] for place in rng.permutation(len(Kind))]
        kind = turns.pop()
        lasts = min(float(rng.uniform(*lasts_s)), seconds - at)
        fault = Fault(len(faults) + 1, kind, at, lasts, float(rng.uniform()), int(rng.choice(SKEWS_S)))
        alike = NODE_KINDS if kind in NODE_KINDS else {kind}
        if not any(other.kind in alike and other.ends_s > at for other in faults):
            faults.append(fault)
