"""How members find out whether the cloud added what they uploaded: hashes at a point drawn after the sum is signed.

The polynomial hash is linear, so the members' hashes of their own terms add up to the hash of the true sum; whoever
signs a sum before the point is known can have another one pass with a probability of its length over 2^127. No member
downloads another's vector, but for those that left after their upload: their terms every checker computes itself.
Sound against the cloud together with members: a member can lie about its own term only, which it could choose anyway.
"""

from collections.abc import Mapping

import numpy as np

from core.learning.orders import COORDINATOR
from core.learning.run_events import FailureCode
from federated.aggregation.blind.member import BlindMember, Words
from federated.aggregation.blind.messages import Departed, Dropped
from federated.aggregation.blind.seeds import masks_left_over
from federated.aggregation.blind.statements import (
    HASH_BYTES,
    Advert,
    Dealing,
    Digest,
    Sum,
    Upload,
    coin_sha256,
    encoded,
    place,
    seed_sha256,
)
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.failures import Refused
from federated.messages import Attachment, PrivacyStatement
from federated.notary import Notary
from federated.timing import Task
from security.keystream import apply_masks, subtract_multiple
from security.masking import MaskKey
from security.point_hash import PRIME, PointHash, draw_point


class Verification:
    """One member's checks of one sum, after unmasking.

    Attributes:
        privacy: survivor -> what it has stated to have spent; complete once the sum is checked.
    """

    def __init__(self, member: BlindMember, notary: Notary) -> None:
        self._member = member
        self._notary = notary
        self.privacy: dict[str, PrivacyStatement | None] = {}
        self._coins: dict[str, bytes] = {}
        self._sum: UnreducedSum | None = None
        self._hash: PointHash | None = None
        self._point = 0

    def reveal(self, statement: bytes, attachment: memoryview, sha256: bytes, agreements: Mapping[str, bytes]) -> bytes:
        """Take the signed sum and the committee's commitments; returns the random value of this member.

        Raises:
            Refused: with `SUM`, not the sum over the agreed survivors; `SURVIVORS`, too few of the committee agreed.
        """
        member, circle = self._member, self._member.circle
        stated = Sum.read(statement, notary=self._notary, sender=COORDINATOR, header=member.header, label=member.label)
        agreed = member.survivors_sha256
        if not member.survivors or stated.survivors != agreed or stated.sha256 != sha256:
            raise Refused(FailureCode.SUM)
        for party, envelope in agreements.items():
            if party not in circle.committee or party not in member.survivors:
                raise Refused(FailureCode.SURVIVORS)
            agreement = member.agreement(party, envelope)
            if agreement.survivors != agreed:
                raise Refused(FailureCode.SURVIVORS)
            self._coins[party] = agreement.coin
        if self._notary.party not in self._coins or len(self._coins) < circle.committee_needed:
            raise Refused(FailureCode.SURVIVORS)
        self._sum = UnreducedSum.from_bytes(
            attachment,
            length=len(member.remaining),
            word=member.remaining.dtype.itemsize * 8,
            members=len(circle.parties),
        )
        return member.coin

    def hash(self, coins: Mapping[str, bytes]) -> bytes:
        """Return the signed hash of this member's own term at the point that the coins make.

        Raises:
            Refused: with `SUM`, coins that were not committed to, or too few.
        """
        member = self._member
        if not member.survivors:
            raise Refused(FailureCode.SURVIVORS)
        if self._sum is not None:
            for party, coin in coins.items():
                where = place(self._notary.study, party, member.header, member.label, "coin")
                if self._coins.get(party) != coin_sha256(coin, where):
                    raise Refused(FailureCode.SUM)
            if len(coins) < member.circle.committee_needed or coins.get(self._notary.party) != member.coin:
                raise Refused(FailureCode.SUM)
        member.leave_pairs()
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            self._point = draw_point(coins.values())
            self._hash = PointHash(self._point, len(member.remaining))
            digest = self._hash.of(member.remaining)
        stated = Digest(point=encoded(self._point), digest=encoded(digest), privacy=member.privacy)
        return stated.sign(self._notary, member.header, member.label)

    def check(
        self,
        digests: Mapping[str, bytes],
        departed: Mapping[str, Departed],
        dropped: Mapping[str, Dropped],
        attachment: memoryview,
    ) -> Words:
        """Return the sum of all survivors' vectors, once it is proved and the group mask is off.

        Args:
            digests: survivor -> its signed `Digest`.
            departed: survivors without a digest, with what opens their uploads.
            dropped: mask keys of those who dropped out before their upload; read where somebody departed.
            attachment: the uploads of `departed`, one after the other, sorted by party.

        Raises:
            Refused: with `SUM`, hashes do not add up to that of the sum, or one is missing.
            SecurityError: a statement is not its party's.
        """
        member, survivors = self._member, self._member.survivors
        if self._sum is None or self._hash is None or set(digests) | set(departed) != set(survivors):
            raise Refused(FailureCode.SUM)
        total = 0
        for party, envelope in digests.items():
            stated = Digest.read(envelope, notary=self._notary, sender=party, header=member.header, label=member.label)
            if stated.point != encoded(self._point) or len(stated.digest) != HASH_BYTES:
                raise Refused(FailureCode.SUM)
            total += int.from_bytes(stated.digest)
            self.privacy[party] = stated.privacy
        for number, party in enumerate(sorted(set(departed) - set(digests))):
            piece = attachment[number * member.remaining.nbytes : (number + 1) * member.remaining.nbytes]
            term = self._term_of(party, departed[party], dropped, piece)
            with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
                total += self._hash.of(term)
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            if total % PRIME != self._hash.of_sum(self._sum.low, self._sum.carry):
                raise Refused(FailureCode.SUM)
            words = self._sum.low
            subtract_multiple(words, member.group_mask, len(survivors))
        return words

    def _term_of(self, party: str, left: Departed, dropped: Mapping[str, Dropped], upload: memoryview) -> Words:
        """Take the masks off a departed survivor's published upload, with secrets that prove themselves."""
        member, notary = self._member, self._notary
        header, label, study = member.header, member.label, notary.study
        stated = Upload.read(left.upload, notary=notary, sender=party, header=header, label=label)
        dealing = Dealing.read(left.dealing, notary=notary, sender=party, header=header, label=label)
        advert = Advert.read(left.advert, notary=notary, sender=party, header=header, label=label)
        if (
            Attachment.of(upload).sha256 != stated.sha256
            or member.survivors[party] != stated.sha256
            or seed_sha256(left.seed, place(study, party, header, label, "seed")) != dealing.seed
        ):
            raise Refused(FailureCode.SUM)
        self.privacy[party] = stated.privacy
        words = np.frombuffer(upload, member.remaining.dtype).copy()
        keys: dict[str, MaskKey] = {}
        for other, gone in dropped.items():
            if other in member.circle.neighbours[party] and other not in member.survivors:
                theirs = Advert.read(gone.advert, notary=notary, sender=other, header=header, label=label)
                keys[other] = MaskKey.from_scalar(gone.scalar)
                if keys[other].public != theirs.mask_key:
                    raise Refused(FailureCode.SUM)
        with notary.watch.measuring(Task.CRYPTOGRAPHY):
            plus, minus = masks_left_over(
                party,
                left.seed,
                advert.mask_key,
                keys,
                study=study,
                header=header,
                label=label,
                base_sha256=member.base_sha256,
            )
            apply_masks(words, plus=minus, minus=plus)
        return words
