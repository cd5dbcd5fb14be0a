"""What members state to each other through the cloud: short signed envelopes, bound to run, round, attempt and sum.

A member reads others' statements only by `read`, which verifies signature, certificate, sender and place.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Protocol, Self

from pydantic import Field

from core.learning.run_events import FailureCode
from federated.failures import Refused
from federated.messages import Header, PrivacyStatement, Wire
from federated.notary import Notary
from security.context import Context, Purpose
from security.encoding import decode, encode

Sha256 = Annotated[bytes, Field(min_length=32, max_length=32)]
Coin = Annotated[bytes, Field(min_length=32, max_length=32)]
HASH_BYTES = 16
Point = Annotated[bytes, Field(min_length=65, max_length=65)]


class Checker(Protocol):
    """Whoever checks signatures: a party's `Notary`, or an auditor without any key."""

    @property
    def study(self) -> str:
        """Code of the study that what it checks is bound to."""
        ...

    def verify(self, envelope: bytes, context: Context) -> bytes:
        """See `Notary.verify`."""
        ...


SHA256_BYTES = 32
PAIR_BYTES = 2 * SHA256_BYTES


class Label(StrEnum):
    """The two sums of a round."""

    UPDATE = "update"
    FIGURES = "figures"


class Statement(Wire):
    """Base of what is signed."""

    def sign(self, notary: Notary, header: Header, label: Label) -> bytes:
        """Return this statement signed by `notary`'s party for the place of `header`."""
        return notary.sign(encode(self.model_dump()), self._context(notary.study, notary.party, header, label))

    @classmethod
    def read(cls, envelope: bytes, *, notary: Checker, sender: str, header: Header, label: Label) -> Self:
        """Return what `sender` stated.

        Raises:
            SignatureBroken: changed, or stated elsewhere.
            CertificateRefused: the sender's certificate does not hold.
            Refused: with `MESSAGE`, signed but not such a statement.
        """
        payload = notary.verify(envelope, cls._context(notary.study, sender, header, label))
        try:
            return cls.parse(decode(payload))
        except ValueError:
            raise Refused(FailureCode.MESSAGE) from None

    @classmethod
    def _context(cls, study: str, sender: str, header: Header, label: Label) -> Context:
        return place(study, sender, header, label, f"statement/{cls.__name__.lower()}")


class Advert(Statement):
    """A member's public keys of one sum: uncompressed P-256 points."""

    mask_key: Point
    transport_key: Point


class Dealing(Statement):
    """Commitments: to both shares of each holder (of mask key, of own-mask seed), and to the seed itself.

    `commitments` holds the holders' pairs one after the other, each SHA-256.
    """

    holders: list[str]
    commitments: bytes
    seed: Sha256

    @classmethod
    def to(cls, pairs: Mapping[str, bytes], *, seed: bytes) -> Self:
        """Return the dealing with these pairs of commitments by holder."""
        return cls(holders=list(pairs), commitments=b"".join(pairs.values()), seed=seed)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {holder: place for place, holder in enumerate(self.holders)}

    def of(self, holder: str) -> bytes:
        """Return both commitments to a holder's shares, one after the other; empty, which nothing meets, without."""
        start = PAIR_BYTES * self._places.get(holder, len(self.holders))
        return self.commitments[start : start + PAIR_BYTES]


class Upload(Statement):
    """A masked vector: SHA-256 and number of its words, the weights that it is a difference from, privacy spent."""

    sha256: Sha256
    words: int = Field(ge=1)
    base_sha256: str = Field(max_length=64)
    privacy: PrivacyStatement | None = None


class Agreement(Statement):
    """The survivors (`survivors_sha256`), and a commitment to a random value."""

    survivors: Sha256
    coin: Sha256


class Sum(Statement):
    """The coordinator's word for the unreduced sum (SHA-256 of its bytes) over these survivors."""

    sha256: Sha256
    survivors: Sha256


class Digest(Statement):
    """The hash of the member's own vector at a point, both as `encoded`; its `Upload`'s privacy once more."""

    point: bytes
    digest: bytes
    privacy: PrivacyStatement | None = None


def place(study: str, sender: str, header: Header, label: Label, what: str) -> Context:
    """Return the context of something that belongs to one sum of one attempt."""
    return Context(
        purpose=Purpose.FEDERATED_MESSAGE,
        study=study,
        sender=sender,
        object_id=f"blind/{label}/{what}",
        run=header.run,
        round=header.round,
        attempt=header.attempt,
    )


def encoded(value: int) -> bytes:
    """Return a point or a hash as it travels: 16 bytes, big endian."""
    return value.to_bytes(HASH_BYTES)


def survivors_sha256(survivors: Mapping[str, bytes]) -> bytes:
    """Return the name of a survivor set: SHA-256 of its canonical encoding."""
    return hashlib.sha256(encode(dict(survivors))).digest()


def coin_sha256(coin: bytes, context: Context) -> bytes:
    """Return the commitment to a random value of 32 bytes."""
    return hashlib.sha256(encode([context.encode(), coin])).digest()


def seed_sha256(seed: bytes, context: Context) -> bytes:
    """Return the commitment to an own-mask seed of 32 random bytes."""
    return hashlib.sha256(encode([context.encode(), seed])).digest()
