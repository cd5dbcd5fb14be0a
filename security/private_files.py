"""Files that only their owner reads (0600), written whole or not at all, also when the machine stops half-way."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def private_file(file: Path, *, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Let a file be written; it has its name only once all is on the disk, and never when writing ended early.

    Until then it lies beside it as ``.NAME.`` and something random.

    Args:
        file: where; folders that are missing are made.
        exclusive: refuse to take another file's place.

    Raises:
        FileExistsError: `exclusive`, and there is such a file.
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if exclusive:
            os.link(name, file)
        else:
            Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)


def write_private(file: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write a file whole or not at all; see `private_file`."""
    with private_file(file, exclusive=exclusive) as stream:
        stream.write(data)
