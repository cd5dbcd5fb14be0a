"""What people noted of what they did and were told, outside of the installation that told them."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO


class Did(StrEnum):
    """What was done (noted before) or told (noted after)."""

    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    FOUND = "found"
    BOOKING = "booking"
    BOOKED = "booked"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SIGNING = "signing"
    SIGNED = "signed"
    WRITING = "writing"
    WROTE = "wrote"
    ORDERING = "ordering"
    ORDERED = "ordered"
    LOOKING = "looking"
    REFUSED = "refused"
    BROKEN = "broken"
    HERE = "here"


@dataclass(frozen=True)
class Line:
    """One note.

    Attributes:
        what: what was done or told.
        who: name of the account.
        key: what it is about: an upload, a slot, a case.
        id: what the installation calls what came of it.
        words: how an upload stood, or how a refusal was called.
        at: seconds since 1970, by the machine's clock.
    """

    what: Did
    who: str
    key: str = ""
    id: str = ""
    words: str = ""
    at: float = 0.0


def say(line: Line) -> None:
    """Hand a line to whoever keeps the diary, in one piece: it outlives the process that said it."""
    full = asdict(line) | {"at": time.time()}
    os.write(1, (json.dumps(full) + "\n").encode("ascii"))


def keep(said: IO[bytes], file: Path) -> None:
    """Write down, each on the disk before the next, what a process says until its end; a torn line was not said."""
    with said, file.open("ab") as diary:
        for line in said:
            if line.endswith(b"\n"):
                diary.write(line)
                diary.flush()
                os.fsync(diary.fileno())


def read(file: Path) -> list[Line]:
    """Return all lines in the order in which they were said."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [Line(**{**line, "what": Did(line["what"])}) for line in lines]


def accepted(lines: Sequence[Line]) -> dict[str, Line]:
    """Return upload -> the line in which its patient learned that it had been accepted."""
    return {line.key: line for line in lines if line.what in {Did.UPLOADED, Did.FOUND}}
