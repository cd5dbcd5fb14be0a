"""Names the files that hold what must not be found: ``python -m tests.faults.chaos.in_clear FOLDER...``.

In a process of its own: whoever opens a SQLite file and closes it again loses all locks that the process has on it.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.chaos.pictures import WORDS, marks
from tests.faults.chaos.place import NAME
from tests.secrets_search import found_in_clear

_PIECE, _OVERLAP = 2**25, 2**12


def is_in_clear(held: bytes) -> bool:
    """Whether some bytes hold a mark of a picture, words of a message or note, or a name, also in hex or base64."""
    return any(mark in held for mark in marks()) or bool(found_in_clear(held, long=[], texts=[WORDS, NAME]))


def main() -> None:
    """Print the names of the files below some folders that hold any of it."""
    for top in sys.argv[1:]:
        for folder, _, names in os.walk(top):  # which takes no offence at a folder that has gone
            for file in (Path(folder, name) for name in names):
                if file.is_file() and any(map(is_in_clear, _pieces(file))):
                    sys.stdout.write(f"{file}\n")


def _pieces(file: Path) -> Iterator[bytes]:
    """Return a file's bytes in overlapping pieces; one that goes away meanwhile has none."""
    try:
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                yield piece
                if len(piece) == _PIECE:
                    stream.seek(-_OVERLAP, 1)
    except FileNotFoundError:
        return


if __name__ == "__main__":
    main()
