"""HMAC-SHA256 (RFC 2104) under a secret of the app: of rows that say who somebody is, and of secrets kept as hashes.

Whoever can write the database, but has not this key, can neither make such a row nor change one unnoticed; an older
state of the same row still holds.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from security.encoding import encode
from security.keys import KEY_BYTES, SecretHandle, hkdf

INFO = b"hemaseal/row-mac"


class RowMac(SecretHandle):
    """Makes and checks tags under a key of its own, derived from a 256-bit secret (HKDF-SHA256, RFC 5869)."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a secret of {KEY_BYTES} bytes expected, got {len(secret)}")
        self._key = hkdf(secret, info=INFO)

    def tag(self, kind: str, fields: Mapping[str, Any]) -> str:
        """Return the tag (64 hex digits) of a row of this kind: over canonical CBOR of kind and fields."""
        return hmac.new(self._key, encode([kind, dict(fields)]), hashlib.sha256).hexdigest()

    def holds(self, tag: str, kind: str, fields: Mapping[str, Any]) -> bool:
        """Whether `tag` is the tag of these fields; any text may be asked about."""
        return hmac.compare_digest(tag.encode("utf-8", "replace"), self.tag(kind, fields).encode())

    def digest(self, kind: str, secret: str) -> str:
        """Return the keyed hash (64 hex digits) under which a token or code is looked up."""
        return hmac.new(self._key, encode([kind, secret.encode("utf-8", "replace")]), hashlib.sha256).hexdigest()
