"""The vault: a key-encryption key for each patient, in files apart from the database and from its backups.

What the database holds of a patient is wrapped under that patient's key: records as a whole, of a sealed object the
front with everything that leads to its DEK (the body is never encrypted again). Destroying one file therefore destroys
the patient's data wherever copies of the database lie, whoever's private keys are at hand.

A key is random, derived from nothing. Its file has a random name, is encrypted under a key derived from the master key
and bound to its name and owner, so that an exchanged file does not open. A mark stays where a key was destroyed: a file
that is put back later opens nothing here. Both can be told from others' without the database, so that who can write
that brings about no destruction. Overwriting reaches the blocks of plain disks only, not what flash memory,
copying file systems and snapshots keep: whoever has those and the master key has the key.
"""

import contextlib
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from security.context import Context, Purpose
from security.encoding import Reader, expect_header, framed, header
from security.errors import KeyDestroyed, KeyMissing, SealBroken
from security.keys import KEY_BYTES, MasterKey, SecretHandle, hkdf
from security.private_files import write_private
from security.records import RecordCipher
from security.sealed_format import front_length

VERSION = 1
SUITE = "HEMASEAL-VAULT/HKDF-SHA256/AES-256-GCM"
PARTY = "vault"
NAME_BYTES = 16
MAX_FRONT = 2**20 + 2**14  # the longest block of recipients, and the certificates and signatures around it
_NAME = re.compile(rf"[0-9a-f]{{{2 * NAME_BYTES}}}")


@dataclass(frozen=True)
class VaultKey:
    """A patient's key by its name in the vault; `digest` (SHA-256 of its encrypted file, hex) names it in the log."""

    name: str
    digest: str


class Vault(SecretHandle):
    """The folder of the keys (0700), a file each (0600).

    Attributes:
        folder: where they lie; never part of a backup of the database.
    """

    __slots__ = ("_files", "folder")

    def __init__(self, folder: Path, master: MasterKey) -> None:
        self.folder = folder
        self._files = RecordCipher(hkdf(master.passphrase_for(PARTY), info=b"hemaseal/vault"))

    def create(self, owner: str) -> VaultKey:
        """Make the key of a patient under a new random name."""
        name = secrets.token_hex(NAME_BYTES)
        data = self._files.seal(secrets.token_bytes(KEY_BYTES), context=_file_context(name, owner))
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._file(name), data, exclusive=True)
        _sync(self.folder)
        return VaultKey(name, hashlib.sha256(data).hexdigest())

    def open(self, name: str, owner: str) -> RecordCipher:
        """Return what seals and opens under a patient's key.

        Raises:
            KeyDestroyed: it was destroyed.
            KeyMissing: there is none, or its file was changed or exchanged, or is under another master key.
        """
        if self.is_destroyed(name):
            raise KeyDestroyed
        try:
            return RecordCipher(self._files.open(self._file(name).read_bytes(), context=_file_context(name, owner)))
        except (OSError, SealBroken, ValueError):
            raise KeyMissing(f"the vault's key {name} is missing or does not open") from None

    def is_destroyed(self, name: str) -> bool:
        """Whether the key was destroyed, or its destruction has begun: it opens nothing any more."""
        return self._mark(name).exists()

    def was_destroyed(self, name: str, owner: str) -> bool:
        """Whether the key was destroyed as this owner's; the mark says so itself, whatever a database claims."""
        try:
            self._marked(name, owner)
        except KeyMissing:
            return False
        return True

    def names_of(self, owner: str) -> list[str]:
        """Return the names of all keys of a patient that are here, also of those that no database knows any more."""
        found = []
        for file in sorted(self.folder.glob("*.kek")):
            with contextlib.suppress(OSError, SealBroken):
                self._files.open(file.read_bytes(), context=_file_context(file.stem, owner))
                found.append(file.stem)
        return found

    def destroy(self, name: str, owner: str) -> str:
        """Destroy a key for ever, and return the SHA-256 (hex) of its encrypted file. Safe to repeat after any stop.

        The mark is on the disk before the file is touched, so that a destruction that was begun is always finished.

        Raises:
            KeyMissing: there is no such key of this owner, or its file was lost without being destroyed.
        """
        file = self._file(name)
        if not self.is_destroyed(name):
            try:
                data = file.read_bytes()
                self._files.open(data, context=_file_context(name, owner))
            except (OSError, SealBroken):
                raise KeyMissing(f"the vault's key {name} is missing or another owner's") from None
            digest = hashlib.sha256(data).hexdigest()
            mark = self._files.seal(digest.encode(), context=_mark_context(name, owner))
            write_private(self._mark(name), mark, exclusive=False)
            _sync(self.folder)
        digest = self._marked(name, owner)
        with contextlib.suppress(FileNotFoundError):
            with file.open("r+b") as stream:
                stream.write(secrets.token_bytes(file.stat().st_size))
                stream.flush()
                os.fsync(stream.fileno())
            file.unlink()
        _sync(self.folder)
        return digest

    def _marked(self, name: str, owner: str) -> str:
        try:
            return self._files.open(self._mark(name).read_bytes(), context=_mark_context(name, owner)).decode()
        except (OSError, SealBroken):
            raise KeyMissing(f"the vault's key {name} was not destroyed as this owner's") from None

    def _file(self, name: str) -> Path:
        return self.folder / f"{_checked(name)}.kek"

    def _mark(self, name: str) -> Path:
        return self.folder / f"{_checked(name)}.destroyed"


def wrap_front(sealed: bytes, *, key: RecordCipher, context: Context) -> bytes:
    """Return a sealed object with its front wrapped under a patient's key; the body stays as it is.

    Args:
        sealed: what `security.sealing.seal` returned.
        key: the patient's key.
        context: which object of whom this is; the wrapping binds it.

    Raises:
        SealBroken: not a sealed object.
    """
    length = front_length(sealed)
    return b"".join((wrapped_front(sealed[:length], key=key, context=context), memoryview(sealed)[length:]))


def wrapped_front(front: bytes, *, key: RecordCipher, context: Context) -> bytes:
    """Return the front of a sealed object (its first `front_length` bytes) as it is stored before its body."""
    return header(VERSION, SUITE) + framed(key.seal(front, context=context))


def unwrap_front(stored: bytes, *, key: RecordCipher, context: Context) -> bytes:
    """Return the sealed object that `wrap_front` wrapped; of one that is cut off within its body, what there is.

    Raises:
        SealBroken: not wrapped, changed, under another key, or for another context.
    """
    wrapped, body = _parts(stored)
    return b"".join((key.open(wrapped, context=context), body))


def wrapped_length(stored: bytes) -> int:
    """Return how many bytes of a stored object the wrapped front takes.

    Raises:
        SealBroken: not wrapped.
    """
    return len(stored) - len(_parts(stored)[1])


def _parts(stored: bytes) -> tuple[bytes, memoryview]:
    parts: tuple[bytes, memoryview] | None = None
    with contextlib.suppress(ValueError):
        reader = Reader(stored)
        expect_header(reader, VERSION, SUITE)
        parts = reader.field(limit=MAX_FRONT), reader.rest()
    if parts is None:
        raise SealBroken
    return parts


def _file_context(name: str, owner: str) -> Context:
    return Context(purpose=Purpose.VAULT_KEY, study="", sender=PARTY, object_id=f"{name}/{owner}")


def _mark_context(name: str, owner: str) -> Context:
    return Context(purpose=Purpose.VAULT_KEY, study="", sender=PARTY, object_id=f"{name}/{owner}/destroyed")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise KeyMissing(f"a name of {2 * NAME_BYTES} hex digits expected, got {name!r}")
    return name


def _sync(folder: Path) -> None:
    """Bring the folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
