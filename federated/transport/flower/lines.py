"""Parcels over a local (Unix domain) socket, between a process of Flower and a process that holds keys.

The file system decides who may use a line: the socket lies in a folder that its owner opens to Flower's account.
"""

import fcntl
import os
import select
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MOST_BYTES = 2**30
"""Largest letter or answer; more is not read."""

_SIZES = struct.Struct("!HHQ")
_SECONDS = struct.Struct("!d")
_PIECE = 2**20


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One letter, or one answer to it.

    Attributes:
        party: to whom, or from whom; empty in the parcel that ends a list of letters.
        data: the letter or the answer; empty where there is none.
        failure: why there is no answer (a `FailureCode`), or empty.
    """

    party: str
    data: bytes = b""
    failure: str = ""


END = Parcel(party="")


class LineEnded(Exception):
    """The other end is gone, or what it says is no parcel."""


class Line:
    """One connection. A context manager that closes it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def to(cls, path: Path) -> Self:
        """Connect to the process that listens at `path`.

        Raises:
            LineEnded: nobody listens there.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            raise LineEnded(f"nobody listens at {path}") from error
        return cls(connection)

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Hang up."""
        self._connection.close()

    def send(self, parcel: Parcel, *, until: float | None = None) -> None:
        """Send a parcel.

        Args:
            parcel: what.
            until: moment of `time.monotonic` after which to give up; None to wait as long as it takes.

        Raises:
            LineEnded: the other end is gone.
            TimeoutError: `until` has come.
        """
        party, failure = parcel.party.encode(), parcel.failure.encode()
        self._write(_SIZES.pack(len(party), len(failure), len(parcel.data)) + party + failure, until)
        self._write(parcel.data, until)

    def receive(self, *, until: float | None = None) -> Parcel:
        """Wait for a parcel; arguments and errors as of `send`."""
        lengths = _SIZES.unpack(self._read(_SIZES.size, until))
        if lengths[2] > MOST_BYTES:
            raise LineEnded("larger than any letter")
        party, failure, data = (self._read(length, until) for length in lengths)
        try:
            return Parcel(party=party.decode(), data=data, failure=failure.decode())
        except UnicodeDecodeError:
            raise LineEnded("not a parcel") from None

    def send_seconds(self, seconds: float) -> None:
        """Send a duration; errors as of `send`."""
        self._write(_SECONDS.pack(seconds), None)

    def receive_seconds(self) -> float:
        """Wait for a duration; errors as of `receive`."""
        (seconds,) = _SECONDS.unpack(self._read(_SECONDS.size, None))
        return float(seconds)

    def has_ended(self) -> bool:
        """Whether the other end, which has nothing more to say, has hung up."""
        try:
            readable, _, _ = select.select([self._connection], [], [], 0)
            return bool(readable) and self._connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True

    def _write(self, data: bytes, until: float | None) -> None:
        view = memoryview(data)
        with _losses():
            while view:
                self._connection.settimeout(_left(until))
                view = view[self._connection.send(view[:_PIECE]) :]

    def _read(self, length: int, until: float | None) -> bytes:
        data = bytearray()
        with _losses():
            while len(data) < length:
                self._connection.settimeout(_left(until))
                piece = self._connection.recv(min(_PIECE, length - len(data)))
                if not piece:
                    raise LineEnded("the other end has hung up")
                data += piece
        return bytes(data)


class _losses:  # noqa: N801 - reads as the statement that it is
    """Turns errors of a socket into `LineEnded`; a timeout stays one."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Translate."""
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise LineEnded("the other end has hung up") from error


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Listener:
    """Listens at a path, for this account and its group only, and alone. A context manager.

    Beside the socket lies a file ``….pid`` with this process's number, locked for as long as it listens.
    """

    def __init__(self, path: Path) -> None:
        """Take the path over from a process that ended without clearing it.

        Raises:
            OSError: another process listens there, the folder is missing, or the path is too long for a socket.
        """
        self._path = path
        self._lock = pid_file(path).open("a+", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock.truncate(0)
            self._lock.write(f"{os.getpid()}\n")
            self._lock.flush()
            path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o117)
            try:
                self._socket.bind(str(path))
            finally:
                os.umask(before)
            self._socket.listen()
        except BlockingIOError:
            self._lock.close()
            raise OSError(f"another process listens at {path}") from None

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
        self._lock.close()

    @property
    def is_wanted(self) -> bool:
        """Whether the socket is still in its folder: who removes it ends the listening."""
        return self._path.exists()

    def accept(self, *, wait_s: float) -> Line | None:
        """Return the next connection, or None if none came in time."""
        self._socket.settimeout(wait_s)
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return None
        return Line(connection)


def pid_file(path: Path) -> Path:
    """Return where the process that listens at `path` writes its number."""
    return path.with_name(f"{path.name}.pid")
