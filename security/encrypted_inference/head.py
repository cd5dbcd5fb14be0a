"""A linear head under exponential EC-ElGamal on P-256: what travels of it, and the key that reads its logits.

Each class k has a key y_k with Y_k = y_k G. A row of weights w_1 .. w_K is encrypted under one random r as
(r G, w_1 G + r Y_1, ..., w_K G + r Y_K): several keys, one r (Kurosawa, PKC 2002; Bellare et al., IEEE TIT 2007),
which is as safe as one r for each under the decisional Diffie-Hellman assumption and nearly halves points and work.
Sums of rows are rows of sums, so a node multiplies rows by features without reading any (`evaluation`).

What decrypts are the exact integers ``q @ weights + bias``. The key holder learns these logits and nothing of the
features beyond them, since the node re-randomises. A node that chooses its queries learns the head from the answers:
`classes` independent numbers in each, so ``features + 1`` exact answers are the whole head. Rounded probabilities make
that coarse, a cap on answers makes it short; neither makes it impossible. Nothing proves that a node asked about an
image's features, and the backbone is not hidden.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from security.encoding import decode, encode
from security.encrypted_inference.logarithm import logarithm
from security.encrypted_inference.points import (
    ENCODED_BYTES,
    ORDER,
    Point,
    decode_points,
    encode_point,
    of_number,
    random_scalar,
    times,
)
from security.errors import CiphertextRefused, KeyMissing
from security.keys import KEY_BYTES, SecretHandle, hkdf

VERSION = 1
SUITE = "HEMASEAL-HEAD/EC-ELGAMAL-P256"
MAX_FEATURES = 4096
MAX_CLASSES = 64
MAX_FEATURE = 255
"""Features are whole numbers from 0 to this."""
MAX_BIAS = 2**31 - 1
_SCALAR_BYTES = 48  # 128 bits more than the order has: a scalar's bias is below 2^-127

Row = tuple[Point, ...]
"""One point of randomness, then one for each class."""


@dataclass(frozen=True, eq=False)
class EncryptedHead:
    """What a node gets of a head. Weights, bias and ranges are not in it.

    Attributes:
        keys: the public keys Y_k, one for each class.
        rows: the encrypted weights of each feature, then the encrypted bias.
    """

    keys: Row = field(repr=False)
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def features(self) -> int:
        """How many features it takes."""
        return len(self.rows) - 1

    @property
    def classes(self) -> int:
        """How many logits it gives."""
        return len(self.keys)

    def encode(self) -> bytes:
        """Return the canonical CBOR of this head."""
        return encode(
            {
                "suite": SUITE,
                "version": VERSION,
                "features": self.features,
                "classes": self.classes,
                "keys": b"".join(map(encode_point, self.keys)),
                "points": b"".join(encode_point(point) for row in self.rows for point in row),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote; every point is checked.

        Raises:
            CiphertextRefused: anything else.
        """
        try:
            value = decode(data)
            stated, version, features, classes = (value[name] for name in ("suite", "version", "features", "classes"))
            keys, points = value["keys"], value["points"]
        except (ValueError, KeyError, TypeError, IndexError):
            raise CiphertextRefused("the encrypted head cannot be read") from None
        if (stated, version, len(value)) != (SUITE, VERSION, 6):
            raise CiphertextRefused(f"an encrypted head of {SUITE}, version {VERSION}, expected")
        if not isinstance(keys, bytes) or not isinstance(points, bytes):
            raise CiphertextRefused("the encrypted head cannot be read")
        _check_shape(features, classes)
        flat = decode_points(points, (features + 1) * (classes + 1))
        rows = tuple(flat[at : at + classes + 1] for at in range(0, len(flat), classes + 1))
        return cls(keys=decode_points(keys, classes), rows=rows)


@dataclass(frozen=True, eq=False)
class EncryptedLogits:
    """One row: the encrypted logits of one query. Its bytes are as long for every query of a head.

    Attributes:
        row: the point of randomness, then one point for each class.
    """

    row: Row = field(repr=False)

    def encode(self) -> bytes:
        """Return 64 bytes for each point."""
        return b"".join(map(encode_point, self.row))

    @classmethod
    def decode(cls, data: bytes, *, classes: int) -> Self:
        """Read what `encode` wrote.

        Raises:
            CiphertextRefused: another length, or something that is no point of the group.
        """
        return cls(decode_points(data, classes + 1))

    @staticmethod
    def size(classes: int) -> int:
        """Return the length of the encoding in bytes."""
        return (classes + 1) * ENCODED_BYTES


class HeadKey(SecretHandle):
    """Reads the logits of one head and nothing else; neither printed nor pickled.

    Attributes:
        reach: the lowest and the highest logit of each class that features of 0 to `MAX_FEATURE` can make.
    """

    __slots__ = ("_scalars", "_secret", "reach")

    def __init__(self, secret: bytes, reach: Sequence[tuple[int, int]]) -> None:
        """Derive the keys of all classes from a secret of 32 bytes (HKDF-SHA256, RFC 5869)."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a secret of {KEY_BYTES} bytes expected, got {len(secret)}")
        self._secret = secret
        self.reach = tuple(reach)
        self._scalars = [_scalar(secret, number) for number in range(len(self.reach))]

    @property
    def classes(self) -> int:
        """How many logits it reads."""
        return len(self.reach)

    def save(self) -> bytes:
        """Return what `load` reads: for the key holder's own key store, and for nothing else."""
        return encode({"secret": self._secret, "reach": [list(limits) for limits in self.reach]})

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read what `save` wrote.

        Raises:
            KeyMissing: it is something else.
        """
        try:
            value = decode(data)
            return cls(value["secret"], [(int(low), int(high)) for low, high in value["reach"]])
        except (ValueError, KeyError, TypeError):
            raise KeyMissing("the key of an encrypted head cannot be read") from None

    def decrypt(self, logits: EncryptedLogits) -> tuple[int, ...]:
        """Return the logits.

        Raises:
            CiphertextRefused: another number of classes, or a logit that this head cannot give: of another head,
                changed, or computed with features beyond `MAX_FEATURE`.
        """
        if len(logits.row) != self.classes + 1:
            raise CiphertextRefused(f"{self.classes + 1} points expected, got {len(logits.row)}")
        randomness, hidden = logits.row[0], logits.row[1:]
        found = []
        for scalar, point, (low, high) in zip(self._scalars, hidden, self.reach, strict=True):
            found.append(logarithm(point + -times(randomness, scalar), low, high))
        return tuple(found)

    def _encrypt(self, numbers: Sequence[int], randomness: int) -> Row:
        """Encrypt a row. Whoever holds the keys needs the generator's multiples only: w + r y_k of it."""
        hidden = (
            of_number(number + randomness * scalar) for number, scalar in zip(numbers, self._scalars, strict=True)
        )
        return of_number(randomness), *hidden

    def _public(self) -> Row:
        return tuple(map(of_number, self._scalars))


def encrypt_head(
    weights: NDArray[np.int8],
    bias: Sequence[int],
    *,
    secret: bytes | None = None,
    draw: Callable[[], int] = random_scalar,
) -> tuple[HeadKey, EncryptedHead]:
    """Encrypt a quantised head under a new key.

    Args:
        weights: int8 [features, classes].
        bias: whole numbers, one for each class, on the scale of the products.
        secret: 32 random bytes, drawn unless given (by a test with known answers).
        draw: gives the randomness of each row, a number from 1 to the order less one, never one twice.

    Raises:
        ValueError: another type or shape, or a bias beyond `MAX_BIAS`.
    """
    if weights.dtype != np.int8 or weights.ndim != 2:  # noqa: PLR2004
        raise ValueError(f"weights int8 [features, classes] expected, got {weights.dtype} {list(weights.shape)}")
    try:
        _check_shape(*weights.shape)
    except CiphertextRefused as error:
        raise ValueError(str(error)) from None
    numbers = [int(number) for number in bias]
    if len(numbers) != weights.shape[1] or any(abs(number) > MAX_BIAS for number in numbers):
        raise ValueError(f"a bias of at most {MAX_BIAS} for each of {weights.shape[1]} classes expected")
    key = HeadKey(secrets.token_bytes(KEY_BYTES) if secret is None else secret, reach_of(weights, numbers))
    rows = tuple(key._encrypt(row, draw()) for row in [*weights.tolist(), numbers])  # noqa: SLF001  the key's own module
    return key, EncryptedHead(keys=key._public(), rows=rows)  # noqa: SLF001


def reach_of(weights: NDArray[np.int8], bias: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the lowest and the highest logit of each class for features of 0 to `MAX_FEATURE`."""
    wide = weights.astype(np.int64) * MAX_FEATURE
    low, high = np.minimum(wide, 0).sum(axis=0), np.maximum(wide, 0).sum(axis=0)
    return tuple((int(low[k]) + int(bias[k]), int(high[k]) + int(bias[k])) for k in range(weights.shape[1]))


def _scalar(secret: bytes, number: int) -> int:
    """Return the private key of a class, from 1 to the order less one."""
    info = SUITE.encode() + number.to_bytes(2)
    return int.from_bytes(hkdf(secret, info=info, length=_SCALAR_BYTES)) % (ORDER - 1) + 1


def _check_shape(features: object, classes: object) -> None:
    if type(features) is not int or type(classes) is not int:
        raise CiphertextRefused("whole numbers of features and classes expected")
    if not 1 <= features <= MAX_FEATURES or not 2 <= classes <= MAX_CLASSES:  # noqa: PLR2004  one class decides nothing
        raise CiphertextRefused(f"1 to {MAX_FEATURES} features and 2 to {MAX_CLASSES} classes expected")
