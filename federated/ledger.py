"""What a party has answered already: no step of an attempt is done twice, and no round summed in two ways."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from core.learning.run_events import FailureCode
from federated.failures import Refused


class Ledger(Protocol):
    """Remembers the steps that a party has begun to answer."""

    def claim(self, attempt: str, step: str) -> None:
        """Note that the step is being answered, before anything of the answer exists.

        Raises:
            Refused: with `FailureCode.REPLAYED`, it was claimed before.
        """
        ...

    def settle(self, run: str, round_number: int, members: Sequence[str]) -> None:
        """Note whose figures a round sums up, before the sum is given out: that of fewer would tell the rest's.

        Raises:
            Refused: with `FailureCode.ROSTER`, another attempt of the round summed up others.
        """
        ...

    def settled(self, run: str, round_number: int) -> tuple[str, ...]:
        """Return the members that a round was settled on, sorted; empty if it was not."""
        ...


class MemoryLedger:
    """A ledger that lives as long as its party's object: for simulations."""

    def __init__(self) -> None:
        self._claimed: set[tuple[str, str]] = set()
        self._rosters: dict[tuple[str, str], str] = {}

    def claim(self, attempt: str, step: str) -> None:
        """See `Ledger.claim`."""
        if (attempt, step) in self._claimed:
            raise Refused(FailureCode.REPLAYED)
        self._claimed.add((attempt, step))

    def settle(self, run: str, round_number: int, members: Sequence[str]) -> None:
        """See `Ledger.settle`."""
        roster = ",".join(sorted(members))
        if self._rosters.setdefault((run, str(round_number)), roster) != roster:
            raise Refused(FailureCode.ROSTER)

    def settled(self, run: str, round_number: int) -> tuple[str, ...]:
        """See `Ledger.settled`."""
        roster = self._rosters.get((run, str(round_number)), "")
        return tuple(roster.split(",")) if roster else ()


class FileLedger(MemoryLedger):
    """A ledger in a file of the party's own folder: one line per step or roster, on disk before it counts."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        if file.exists():
            for line in file.read_text(encoding="ascii").splitlines():
                match line.split(" "):
                    case [attempt, step]:
                        self._claimed.add((attempt, step))
                    case [run, number, roster, "settled"]:  # the last word tells that the line is whole
                        self._rosters[run, number] = roster

    def claim(self, attempt: str, step: str) -> None:
        """See `Ledger.claim`."""
        super().claim(attempt, step)
        self._write(f"{attempt} {step}")

    def settle(self, run: str, round_number: int, members: Sequence[str]) -> None:
        """See `Ledger.settle`."""
        if not self.settled(run, round_number):  # written first: what a full disk has not taken binds nobody
            self._write(f"{run} {round_number} {','.join(sorted(members))} settled")
        super().settle(run, round_number, members)

    def _write(self, line: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._file.exists()
        with self._file.open("a", encoding="ascii") as file:
            file.write(f"\n{line}\n")  # the first line break ends a line that a crash may have torn
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self._file.parent)


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file outlive a loss of power, where the system lets folders be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
