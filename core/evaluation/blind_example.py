"""A blind sum of three numbers with throw-away keys, step by step, by the code that runs use: for explaining it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from federated.aggregation.blind.fixed_point import Encoding
from federated.aggregation.blind.seeds import adds, between, group_mask_key, mask_info, own_mask_key
from federated.aggregation.blind.statements import Label
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.messages import Header
from security.keystream import apply_masks, subtract_multiple
from security.masking import SEED_BYTES, MaskKey
from security.point_hash import PRIME, PointHash, draw_point

COPIES = 32
"""Each number is written so often, so that a picture tells a pattern from none."""
CLIP = 4.0
_STUDY = "example"


@dataclass(frozen=True)
class ExampleMember:
    """One hospital of the example.

    Attributes:
        name: its name.
        value: its number.
        word: the number in fixed point, mod 2^32.
        uploaded: its `COPIES` words with all masks on, as the cloud gets them.
    """

    name: str
    value: float
    word: int
    uploaded: tuple[int, ...]


@dataclass(frozen=True)
class BlindExample:
    """The example from numbers to their sum.

    Attributes:
        members: the hospitals.
        scale: units per 1.0.
        guard: low bits that are zero.
        added: sum of the uploads, mod 2^32.
        unmasked: the same after unmasking: what the cloud ends with; as many group masks as hospitals are still on it.
        total_words: the same without the group masks, which only the members can take off.
        total: what that stands for.
        error: the most that rounding can have changed `total`.
        proved: whether the members' hashes add up to the hash of the cloud's sum.
        changed_proved: whether they would if the cloud had changed one word of its sum by one.
    """

    members: tuple[ExampleMember, ...]
    scale: float
    guard: int
    added: tuple[int, ...]
    unmasked: tuple[int, ...]
    total_words: tuple[int, ...]
    total: float
    error: float
    proved: bool
    changed_proved: bool


def blind_example(values: Sequence[tuple[str, float]]) -> BlindExample:
    """Play a blind sum of one number for each (name, number), up to 4 in magnitude, with keys drawn for it.

    Raises:
        Refused: a number is not finite.
    """
    header = Header(run="example", round=1, attempt="1", step="", kind="", sender="", recipient="")
    label, names = Label.UPDATE, [name for name, _ in values]
    encoding = Encoding.for_members(len(values), clip=CLIP)
    keys = {name: MaskKey.generate() for name in names}
    own = {name: own_mask_key(secrets.token_bytes(SEED_BYTES), _STUDY, name, header, label) for name in names}
    group = group_mask_key(secrets.token_bytes(SEED_BYTES), _STUDY, header, label)
    info = mask_info(_STUDY, header, label, "")

    total = UnreducedSum(COPIES, encoding.word, len(values))
    added = np.zeros(COPIES, encoding.dtype)
    members, terms = [], []
    for name, value in values:
        words = np.empty(COPIES, encoding.dtype)
        encoding.quantise(np.full(COPIES, value), 1.0, words)
        word = int(words[0])
        pairs = {
            other: keys[name].agree(keys[other].public, info=between(info, name, other))
            for other in names
            if other != name
        }
        plus = [seed for other, seed in pairs.items() if adds(name, other)]
        minus = [seed for other, seed in pairs.items() if not adds(name, other)]
        apply_masks(words, plus=[*plus, group], minus=minus)
        terms.append(words.copy())
        total.add(words)
        apply_masks(words, plus=[own[name]])
        added += words
        members.append(ExampleMember(name, value, word, _ints(words)))

    plain = total.reduced().copy()
    subtract_multiple(plain, group, len(values))
    point = PointHash(draw_point([secrets.token_bytes(SEED_BYTES)]), COPIES)
    digests = sum(point.of(term) for term in terms) % PRIME
    changed = total.low.copy()
    changed[0] += 1
    return BlindExample(
        members=tuple(members),
        scale=encoding.scale,
        guard=encoding.guard,
        added=_ints(added),
        unmasked=_ints(total.reduced()),
        total_words=_ints(plain),
        total=float(encoding.dequantise(plain)[0]),
        error=encoding.mean_error(1.0),
        proved=digests == point.of_sum(total.low, total.carry),
        changed_proved=digests == point.of_sum(changed, total.carry),
    )


def _ints(words: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> tuple[int, ...]:
    return tuple(int(word) for word in words)
