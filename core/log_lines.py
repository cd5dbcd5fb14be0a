"""The one form of the lines that processes write into log files, and how they are read: UTC, level, logger, text."""

import logging
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["LogLine", "begin_log", "read_log"]

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) ([A-Z]+) ([\w.]+): (.*)")


@dataclass(frozen=True)
class LogLine:
    """One line: when, how grave (a level of `logging`), which logger, and what."""

    at: datetime
    level: int
    logger: str
    text: str


def begin_log() -> None:
    """Write log lines of this process to its standard error; whoever started it names the file."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", _TIME)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def read_log(path: Path, *, most_bytes: int) -> list[LogLine]:
    """Return the lines at the end of a log file, oldest first; what has another form, as a traceback has, is left out.

    A file that is not there has no lines.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most_bytes))
            text = file.read(most_bytes).decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line for one in text.splitlines() if (line := _line(one)) is not None]


def _line(text: str) -> LogLine | None:
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    at, level, logger, words = found.groups()
    number = logging.getLevelNamesMapping().get(level)
    if number is None:
        return None
    return LogLine(datetime.strptime(at, _TIME).replace(tzinfo=UTC), number, logger, words)
