"""AES-256-GCM for the fields that the app keeps for itself: profiles, summaries, messages. One key, no recipients.

Every record gets its own key and nonce, HKDF-SHA256 from 24 random bytes, so that the number of records under one
long-lived key is not bounded by the 96-bit nonce (NIST SP 800-38D 8.3).
"""

import contextlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.context import Context
from security.encoding import Reader, encode, expect_header, header
from security.errors import SealBroken
from security.keys import KEY_BYTES, NONCE_BYTES, SecretHandle, hkdf

VERSION = 1
SUITE = "HEMASEAL-RECORD/HKDF-SHA256/AES-256-GCM"
SALT_BYTES = 24


class RecordCipher(SecretHandle):
    """Seals and opens small records under one 256-bit key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {KEY_BYTES} bytes expected, got {len(key)}")
        self._key = key

    def seal(self, data: bytes, *, context: Context) -> bytes:
        """Return the encrypted record, bound to `context` (81 bytes longer than `data`)."""
        salt = secrets.token_bytes(SALT_BYTES)
        cipher, nonce = self._derive(salt, context)
        return b"".join((header(VERSION, SUITE), salt, cipher.encrypt(nonce, data, None)))

    def open(self, data: bytes, *, context: Context) -> bytes:
        """Return the record in clear.

        Raises:
            SealBroken: damaged, changed, under another key, or for another context.
        """
        reader = Reader(data)
        opened: bytes | None = None
        with contextlib.suppress(
            InvalidTag, ValueError
        ):  # raised below, so that the error carries no trace of its cause
            expect_header(reader, VERSION, SUITE)
            cipher, nonce = self._derive(bytes(reader.take(SALT_BYTES)), context)
            opened = cipher.decrypt(nonce, reader.rest(), None)
        if opened is None:
            raise SealBroken
        return opened

    def _derive(self, salt: bytes, context: Context) -> tuple[AESGCM, bytes]:
        material = hkdf(self._key, salt=salt, info=encode([SUITE, context.encode()]), length=KEY_BYTES + NONCE_BYTES)
        return AESGCM(material[:KEY_BYTES]), material[KEY_BYTES:]
