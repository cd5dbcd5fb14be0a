"""Sealed objects too large for memory: sealed piece by piece into a file, and opened piece by piece as they are read.

The format is that of `security.sealed_format`, so `security.sealing` opens such a file too, and this opens what that
sealed. Opening reads the whole encrypted file once, since its sender signed the SHA-256 of it; nothing of it is
decrypted before that holds. What is read afterwards must be what was hashed then, chunk by chunk: a file that is
changed while it is open is found out too, whoever changed it.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.certificates import Certificate, Trust
from security.context import Context
from security.errors import SealBroken
from security.identity import Identity
from security.keys import KEY_BYTES
from security.private_files import private_file
from security.sealed_core import (
    CHUNK_BYTES,
    PREFIX_BYTES,
    TAG_BYTES,
    Body,
    authenticate,
    front_of,
    keys_of,
    nonce,
    require_zone,
)
from security.sealed_format import MAX_FRONT, front_length, parsed

_ENCRYPTED_BYTES = CHUNK_BYTES + TAG_BYTES
KEPT_CHUNKS = 32
"""Decrypted chunks that an open file keeps in memory, those that were read last."""


def seal_file(
    file: Path,
    pieces: Iterable[bytes | memoryview],
    *,
    sender: Identity,
    recipients: Sequence[Certificate],
    context: Context,
) -> None:
    """Seal a body that comes in pieces into a file, whole or not at all; see `sealing.seal`.

    Takes twice the body's size of disk for a moment: what lies before the body is known only when the body is over.

    Raises:
        ValueError: no recipients, or `context.sender` is not the sender.
        SecurityError: a recipient's certificate is malformed or not for sealing.
        OSError: the file cannot be written.
    """
    if context.sender != sender.party:
        raise ValueError(f"context.sender is '{context.sender}' but the sender is '{sender.party}'")
    dek, prefix = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(PREFIX_BYTES)
    cipher, digest, length = AESGCM(keys_of(dek, context)[0]), hashlib.sha256(), 0
    with private_file(file) as out, tempfile.TemporaryFile(dir=file.parent) as body:
        for number, (chunk, last) in enumerate(_chunks(pieces)):
            encrypted = cipher.encrypt(nonce(prefix, number, last=last), chunk, None)
            digest.update(encrypted)
            body.write(encrypted)
            length += len(chunk)
        front = front_of(
            dek,
            prefix=prefix,
            ciphertext=digest.digest(),
            length=length,
            sender=sender,
            recipients=recipients,
            context=context,
        )
        out.write(front)
        body.seek(0)
        shutil.copyfileobj(body, out, CHUNK_BYTES)


def replace_front(file: Path, make: Callable[[bytes, Body], bytes | None]) -> None:
    """Put something else before a sealed file's body, for other recipients or signers, whole or not at all.

    Takes the file's size of disk for a moment. What follows the new front is what was hashed, chunk by chunk.

    Args:
        file: the sealed object.
        make: gets what lies before the body, and the body; returns what shall lie there, or None to leave the file.

    Raises:
        SealBroken: not a sealed object, or its body changed meanwhile.
        OSError: the file cannot be read or written.
    """
    with file.open("rb") as stream:
        front = stream.read(MAX_FRONT)
        front = front[: front_length(front)]
        encrypted = _Encrypted(os.dup(stream.fileno()), len(front))
        made = make(front, Body(encrypted.length, encrypted.sha256))
        if made is None:
            return
        with private_file(file) as out:
            out.write(made)
            for number in range(encrypted.count):
                out.write(encrypted.chunk(number)[0])


class SealedFile:
    """A sealed object whose body lies in a file, which is closed when nobody holds this. For several threads."""

    def __init__(self, encrypted: "_Encrypted", prefix: bytes, length: int, cipher: AESGCM) -> None:
        """Use `open`."""
        self._encrypted, self._prefix, self._cipher = encrypted, prefix, cipher
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.length = length
        """Of the body, in bytes."""

    @classmethod
    def open(
        cls, file: Path, *, recipient: Identity, trust: Trust, context: Context, sender: str, at: datetime
    ) -> Self:
        """Open what `sender` sealed to `recipient` for exactly this `context`; see `sealing.open_sealed`.

        Raises:
            SealBroken: it cannot be opened, whatever the cause.
            OSError: the file cannot be read.
            ValueError: `at` has no time zone.
        """
        require_zone(at)
        with file.open("rb") as stream:
            front = stream.read(MAX_FRONT)
            parts = parsed(front)
            encrypted = _Encrypted(os.dup(stream.fileno()), len(front) - len(parts.body))
        opened: Self | None = None
        try:
            body = Body(encrypted.length, encrypted.sha256)
            core, dek = authenticate(parts, recipient, trust=trust, context=context, sender=sender, at=at, body=body)
            opened = cls(encrypted, core["prefix"], core["length"], AESGCM(keys_of(dek, context)[0]))
        except (OSError, MemoryError):
            raise
        except Exception:  # noqa: BLE001, S110 - one error for every other cause, raised below without a trace of it
            pass
        if opened is None:
            raise SealBroken
        return opened

    def read(self, start: int, count: int) -> bytes:
        """Return `count` bytes of the body from `start` on.

        Raises:
            SealBroken: the file has changed since it was opened.
            ValueError: so many bytes are not there.
            OSError: the file cannot be read.
        """
        if start < 0 or count < 0 or start + count > self.length:
            raise ValueError(f"bytes {start} to {start + count} of {self.length}")
        if count == 0:
            return b""
        first, last = start // CHUNK_BYTES, (start + count - 1) // CHUNK_BYTES
        whole = b"".join(self._chunk(number) for number in range(first, last + 1))
        return whole[start - first * CHUNK_BYTES :][:count]

    def _chunk(self, number: int) -> bytes:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            encrypted, last = self._encrypted.chunk(number)
            plain: bytes | None = None
            with contextlib.suppress(InvalidTag):
                plain = self._cipher.decrypt(nonce(self._prefix, number, last=last), encrypted, None)
            if plain is None:
                raise SealBroken
            self._kept[number] = plain
            if len(self._kept) > KEPT_CHUNKS:
                self._kept.popitem(last=False)
            return plain


class _Encrypted:
    """The encrypted chunks of an open file, which stay what they were when all of it was hashed.

    Attributes:
        length: of all chunks, in bytes.
        count: of chunks.
    """

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor, self._start = descriptor, start
        weakref.finalize(self, os.close, descriptor)
        self.length = os.fstat(descriptor).st_size - start
        self.count = -(-self.length // _ENCRYPTED_BYTES)
        self._digests: list[bytes] = []

    def sha256(self) -> bytes:
        """Read all of it once, note the SHA-256 of each chunk, and return that of the whole."""
        whole = hashlib.sha256()
        self._digests = []
        for number in range(self.count):
            chunk = self._read(number)
            whole.update(chunk)
            self._digests.append(hashlib.sha256(chunk).digest())
        return whole.digest()

    def chunk(self, number: int) -> tuple[bytes, bool]:
        """Return a chunk, and whether it is the last one; `sha256` comes first.

        Raises:
            SealBroken: it is not what it was.
        """
        chunk = self._read(number)
        if hashlib.sha256(chunk).digest() != self._digests[number]:
            raise SealBroken
        return chunk, number == self.count - 1

    def _read(self, number: int) -> bytes:
        return os.pread(self._descriptor, _ENCRYPTED_BYTES, self._start + number * _ENCRYPTED_BYTES)


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[tuple[bytes, bool]]:
    """Yield a body in chunks of `CHUNK_BYTES`, the last marked and maybe shorter; at least one."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            yield bytes(memoryview(waiting)[:CHUNK_BYTES]), False
            del waiting[:CHUNK_BYTES]
    yield bytes(waiting), True
