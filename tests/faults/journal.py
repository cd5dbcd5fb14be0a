"""A journal that outlives a killed process: one line at a time, straight to the file."""

import json
import os
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock

from tests.faults.plan import Note, What


class Journal:
    """Writes notes of one process; several processes may write into one file."""

    def __init__(self, file: Path) -> None:
        self._line = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._counts: Counter[What] = Counter()
        self._lock = Lock()

    def note(self, note: Note) -> Note:
        """Write a note, with its time, process and number; returns it complete."""
        with self._lock:
            self._counts[note.what] += 1
            full = replace(note, at=time.monotonic(), pid=os.getpid(), order=self._counts[note.what])
            os.write(self._line, (json.dumps(asdict(full)) + "\n").encode())
        return full


def has_struck(file: Path) -> bool:
    """Tell whether a journal notes that the fault has happened."""
    return file.exists() and f'"what": "{What.HERE}"'.encode() in file.read_bytes()


def read(file: Path) -> list[Note]:
    """Return the notes of a journal in the order in which they were written."""
    if not file.exists():
        return []
    notes = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines() if line.endswith("}")]
    return [Note(**{**note, "what": What(note["what"])}) for note in notes]
