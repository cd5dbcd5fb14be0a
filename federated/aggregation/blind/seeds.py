"""From secrets to the keys of masks: what each is derived from, and with which sign a pair's mask is added.

Every derivation binds study, run, round, attempt and sum, so that no mask is ever used twice.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, Self

from federated.aggregation.blind.statements import Label, place
from federated.messages import Header
from security import shamir
from security.encoding import framed
from security.keys import hkdf
from security.masking import BOX_BYTES, MaskKey

_MEMBERS = "members"
PAIR_BOX_BYTES = 2 * (shamir.SHARE_BYTES + shamir.SALT_BYTES) + BOX_BYTES
"""Length of a box that holds both shares of one holder."""


def between(info: bytes, one: str, other: str) -> bytes:
    """Return what the agreement of these two members is bound to, in whichever order they are named.

    Without their names a member that shows another one's public key as its own would share that one's masks: added
    once and subtracted once, they would be off an upload again.
    """
    return framed(info, *sorted((one.encode(), other.encode())))


def pair_info(study: str, header: Header, label: Label) -> bytes:
    """Return what agreements on transport keys are bound to, beside public keys and names (`between`)."""
    return place(study, _MEMBERS, header, label, "pair").encode()


def mask_info(study: str, header: Header, label: Label, base_sha256: str) -> bytes:
    """Return what agreements on masks are bound to, beside public keys and names (`between`).

    The weights that a vector belongs to are in it: masks of members who were given different ones do not cancel, so
    no sum of theirs can be read, whatever the cloud tells each of them.
    """
    return place(study, _MEMBERS, header, label, f"mask/{base_sha256}").encode()


class ShareContexts:
    """What the shares of one sum, and the commitments to them, are bound to: their place, dealer and holder."""

    def __init__(self, study: str, header: Header, label: Label) -> None:
        self._place = hashlib.sha256(place(study, _MEMBERS, header, label, "shares").encode()).digest()

    def of(self, dealer: str, holder: str) -> bytes:
        """Return the context of the shares from `dealer` to `holder`."""
        return framed(self._place, dealer.encode(), holder.encode())


class Share(NamedTuple):
    """A share of a secret, with the salt of the commitment to it. They travel as their bytes, one after the other.

    Attributes:
        value: 33 bytes (`shamir.split`).
        salt: 16 bytes.
    """

    value: bytes
    salt: bytes

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read what travelled; what has another length meets no commitment."""
        return cls(data[: shamir.SHARE_BYTES], data[shamir.SHARE_BYTES :])

    def to_bytes(self) -> bytes:
        """Return what travels."""
        return self.value + self.salt


def own_mask_key(seed: bytes, study: str, party: str, header: Header, label: Label) -> bytes:
    """Return the keystream key of a member's own mask from its shared seed."""
    return hkdf(seed, info=place(study, party, header, label, "own-mask").encode())


def group_mask_key(group_key: bytes, study: str, header: Header, label: Label) -> bytes:
    """Return the keystream key of the mask that all members add and the cloud does not know."""
    return hkdf(group_key, info=place(study, _MEMBERS, header, label, "group-mask").encode())


def adds(party: str, other: str) -> bool:
    """Return whether `party` adds the mask that it shares with `other`; the other one then subtracts it."""
    return party < other


def masks_left_over(
    party: str,
    seed: bytes,
    mask_key: bytes,
    dropped: Mapping[str, MaskKey],
    *,
    study: str,
    header: Header,
    label: Label,
    base_sha256: str,
) -> tuple[list[bytes], list[bytes]]:
    """Return keystream keys of the masks on a survivor's upload that do not cancel in the sum.

    Those that it added (its own one among them), and those that it subtracted; off they come the other way round.

    Args:
        party: the survivor.
        seed: its own-mask seed.
        mask_key: its public mask key.
        dropped: mask keys of those of its neighbours that dealt and then dropped out.
        study: code of the study.
        header: run, round and attempt.
        label: which sum.
        base_sha256: the weights that the upload belongs to.
    """
    signed: dict[bool, list[bytes]] = {True: [own_mask_key(seed, study, party, header, label)], False: []}
    info = mask_info(study, header, label, base_sha256)
    for other, key in dropped.items():
        signed[adds(party, other)].append(key.agree(mask_key, info=between(info, party, other)))
    return signed[True], signed[False]
