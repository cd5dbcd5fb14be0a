"""Sealed objects too large for memory: sealed piece by piece into a file, and opened piece by piece as they are read.

The format is that of `security.sealed_format`, so `security.sealing` opens such a file too, and this opens what that
sealed. Opening reads the whole encrypted file once, since its sender signed the SHA-256 of it; nothing of it is
decrypted before that holds. What is read afterwards is decrypted then, each chunk under its own tag, which binds it to
its place in this one object: a file that is changed while it is open is found out too.
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
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

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
    Measured,
    authenticate,
    core_of,
    keys_of,
    nonce,
    require_zone,
    signed_parts,
    wrapped_for,
)
from security.sealed_format import MAX_FRONT, Sealed

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
    body_key, commitment = keys_of(dek, context)
    cipher, digest, length = AESGCM(body_key), hashlib.sha256(), 0
    with private_file(file) as out, tempfile.TemporaryFile(dir=file.parent) as body:
        for number, (chunk, last) in enumerate(_chunks(pieces)):
            encrypted = cipher.encrypt(nonce(prefix, number, last=last), chunk, None)
            digest.update(encrypted)
            body.write(encrypted)
            length += len(chunk)
        core = core_of(
            sender=sender.party,
            context=context,
            ciphertext=digest.digest(),
            length=length,
            prefix=prefix,
            commitment=commitment,
        )
        block = wrapped_for(dek, recipients, core, context)
        out.write(signed_parts(core, block, memoryview(b""), signer=sender, context=context).front())
        body.seek(0)
        shutil.copyfileobj(body, out, CHUNK_BYTES)


class SealedFile:
    """A sealed object whose body lies in a file, which is closed when nobody holds this. For several threads."""

    def __init__(self, descriptor: int, start: int, prefix: bytes, length: int, cipher: AESGCM) -> None:
        """Use `open`."""
        self._descriptor, self._start, self._prefix, self._cipher = descriptor, start, prefix, cipher
        weakref.finalize(self, os.close, descriptor)
        self._count = max(1, -(-length // CHUNK_BYTES))
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
        opened: Self | None = None
        with file.open("rb") as stream:
            front = stream.read(MAX_FRONT)
            with contextlib.suppress(Exception):  # one error for every cause, raised below without a trace of it
                parts = Sealed.parse(front)
                start = len(front) - len(parts.body)
                core, dek = authenticate(
                    parts,
                    recipient,
                    trust=trust,
                    context=context,
                    sender=sender,
                    at=at,
                    body=_measured(stream, start),
                )
                body_key, _ = keys_of(dek, context)
                opened = cls(os.dup(stream.fileno()), start, core["prefix"], core["length"], AESGCM(body_key))
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
        first, last = start // CHUNK_BYTES, max(start, start + count - 1) // CHUNK_BYTES
        whole = b"".join(self._chunk(number) for number in range(first, last + 1))
        return whole[start - first * CHUNK_BYTES :][:count]

    def _chunk(self, number: int) -> bytes:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            size = CHUNK_BYTES + TAG_BYTES
            encrypted = os.pread(self._descriptor, size, self._start + number * size)
            plain: bytes | None = None
            with contextlib.suppress(InvalidTag):
                plain = self._cipher.decrypt(
                    nonce(self._prefix, number, last=number == self._count - 1), encrypted, None
                )
            if plain is None:
                raise SealBroken
            self._kept[number] = plain
            if len(self._kept) > KEPT_CHUNKS:
                self._kept.popitem(last=False)
            return plain


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[tuple[bytes, bool]]:
    """Yield a body in chunks of `CHUNK_BYTES`, the last marked and maybe shorter; at least one."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            yield bytes(memoryview(waiting)[:CHUNK_BYTES]), False
            del waiting[:CHUNK_BYTES]
    yield bytes(waiting), True


def _measured(stream: BinaryIO, start: int) -> Measured:
    """Measure an encrypted body that begins at `start` of a file."""
    stream.seek(start)
    digest, length = hashlib.sha256(), 0
    while piece := stream.read(CHUNK_BYTES):
        digest.update(piece)
        length += len(piece)
    return Measured(length, digest.digest())
