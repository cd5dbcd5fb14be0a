"""A member's part in one blind sum, up to unmasking: keys, shares, masks, and what it never does twice.

Secure aggregation after Bonawitz et al. 2017 (the protocol against an active server) on the neighbour graph of Bell et
al. 2020, with a group mask beside. The object lives for one attempt; nothing of it is stored.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.learning.run_events import FailureCode
from federated.aggregation.blind.circle import Circle
from federated.aggregation.blind.seeds import (
    Share,
    ShareContexts,
    adds,
    between,
    group_mask_key,
    mask_info,
    own_mask_key,
    pair_info,
)
from federated.aggregation.blind.statements import (
    PAIR_BYTES,
    SHA256_BYTES,
    Advert,
    Agreement,
    Dealing,
    Label,
    Statement,
    Upload,
    coin_sha256,
    place,
    seed_sha256,
    survivors_sha256,
)
from federated.failures import Refused
from federated.messages import Attachment, Header, PrivacyStatement
from federated.notary import Notary
from federated.timing import Task
from security import shamir
from security.errors import SecurityError
from security.keystream import Masked, apply_masks, masked_blocks
from security.masking import MaskKey, ShareBox, TransportKey

Words = NDArray[Any]
"""A vector of a sum: uint32 or uint64."""

S = TypeVar("S", bound=Statement)
_SECRET_BYTES = 32
_PAIR_HALF = shamir.SHARE_BYTES + shamir.SALT_BYTES


class BlindMember:
    """One member in one sum of one attempt.

    Attributes:
        header: run, round and attempt.
        label: which of the round's sums.
        circle: who takes part.
        survivors: whom the members signed as survivors; empty before.
        survivors_sha256: the name of that set.
        coin: the random value that the member has committed to.
        base_sha256: the weights that its vector belongs to.
        privacy: what the member has spent on its vector.
        remaining: its vector without its own mask, uint32 or uint64; the group mask and the pairs' masks are on it.
    """

    def __init__(self, notary: Notary, header: Header, label: Label, circle: Circle, group_key: bytes) -> None:
        """Draw the secrets of this attempt."""
        self.header = header
        self.label = label
        self.circle = circle
        self.survivors: dict[str, bytes] = {}
        self.survivors_sha256 = b""
        self.coin = secrets.token_bytes(_SECRET_BYTES)
        self.base_sha256 = ""
        self.remaining: Words = np.zeros(0, np.uint32)
        self.privacy: PrivacyStatement | None = None
        self._notary = notary
        self._study = notary.study
        self._party = notary.party
        self._info = pair_info(self._study, header, label)
        self._group_mask = group_mask_key(group_key, self._study, header, label)
        self._mask_key = MaskKey.generate()
        self._transport_key = TransportKey.generate()
        self._seed = secrets.token_bytes(_SECRET_BYTES)
        self._adverts: dict[str, Advert] = {}
        self._boxes: dict[str, ShareBox] = {}
        self._dealers: set[str] = set()
        self._contexts = ShareContexts(self._study, header, label)
        self._held: dict[str, tuple[Share, Share]] = {}
        self._upload_sha256 = b""
        self._stated: dict[str, bytes] = {}
        self._stated_sha256 = b""
        self._agreements: dict[tuple[str, bytes], Agreement] = {}

    @property
    def neighbours(self) -> frozenset[str]:
        """Whom the circle gives as neighbours."""
        return self.circle.closed(self._party) - {self._party}

    @property
    def group_mask(self) -> bytes:
        """Keystream key of the mask that all members add."""
        return self._group_mask

    def advertise(self) -> bytes:
        """Return the signed public keys."""
        self._adverts[self._party] = Advert(mask_key=self._mask_key.public, transport_key=self._transport_key.public)
        return self._adverts[self._party].sign(self._notary, self.header, self.label)

    def deal(self, adverts: Mapping[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
        """Share mask key and seed among the neighbours that advertised; returns the signed dealing and sealed shares.

        Raises:
            Refused: too few neighbours, or adverts of others.
            SecurityError: an advert is not its party's.
        """
        self._expect_neighbours(adverts)
        for party, envelope in adverts.items():
            if party != self._party:
                self._adverts[party] = self._read(Advert, envelope, party)
        holders = sorted(self._adverts)
        if len(holders) < self.circle.share_threshold:
            raise Refused(FailureCode.TOO_FEW)
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            self._make_boxes()
            dealing, boxes = self._share_out(holders)
        self._dealers.add(self._party)
        return dealing.sign(self._notary, self.header, self.label), boxes

    def _make_boxes(self) -> None:
        for party, advert in self._adverts.items():
            if party != self._party:
                self._boxes[party] = self._transport_key.box(
                    advert.transport_key, info=between(self._info, self._party, party)
                )

    def _share_out(self, holders: list[str]) -> tuple[Dealing, dict[str, bytes]]:
        points = [self.circle.points[holder] for holder in holders]
        of_key, of_seed = (
            shamir.split(secret, threshold=self.circle.share_threshold, points=points)
            for secret in (self._mask_key.scalar(), self._seed)
        )
        commitments: dict[str, bytes] = {}
        boxes: dict[str, bytes] = {}
        salts = memoryview(secrets.token_bytes(2 * shamir.SALT_BYTES * len(holders)))
        for number, (holder, point) in enumerate(zip(holders, points, strict=True)):
            context = self._contexts.of(self._party, holder)
            salt = bytes(salts[2 * shamir.SALT_BYTES * number :][: 2 * shamir.SALT_BYTES])
            key = Share(of_key[point], salt[: shamir.SALT_BYTES])
            seed = Share(of_seed[point], salt[shamir.SALT_BYTES :])
            commitments[holder] = _commitment(key, point, context) + _commitment(seed, point, context)
            if holder == self._party:
                self._held[holder] = key, seed
            else:
                boxes[holder] = self._boxes[holder].seal(key.to_bytes() + seed.to_bytes(), context=context)
        named = seed_sha256(self._seed, place(self._study, self._party, self.header, self.label, "seed"))
        return Dealing.to(commitments, seed=named), boxes

    def receive(self, commitments: Mapping[str, bytes], boxes: Mapping[str, bytes]) -> list[str]:
        """Take over the neighbours' shares, each checked against the commitments that the coordinator will hold to.

        Returns the dealers whose shares are missing or wrong. They count as dealers all the same: others' shares open
        their secrets, or nobody's do, so a dealer can stop a sum but cannot shut out a member of its choice. Nobody's
        word is needed for who dealt: a mask with one that did not deal, if it can never be taken off, hides the more.

        Args:
            commitments: who dealt, each with its two commitments to this member's shares.
            boxes: the encrypted shares, by dealer.

        Raises:
            Refused: with `TOO_FEW`, too few neighbours dealt; with `MESSAGE`, others than those that advertised.
        """
        if not set(commitments) <= set(self._adverts):
            raise Refused(FailureCode.MESSAGE)
        wrong: list[str] = []
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            for party, pair in commitments.items():
                if party != self._party:
                    self._dealers.add(party)
                    try:
                        self._held[party] = self._opened(party, pair, boxes.get(party, b""))
                    except SecurityError:
                        wrong.append(party)
        if len(self._dealers) < self.circle.share_threshold:
            raise Refused(FailureCode.TOO_FEW)
        return wrong

    def _opened(self, dealer: str, commitments: bytes, box: bytes) -> tuple[Share, Share]:
        context = self._contexts.of(dealer, self._party)
        plain = self._boxes[dealer].open(box, context=context)
        pair = Share.of(plain[:_PAIR_HALF]), Share.of(plain[_PAIR_HALF:])
        if len(commitments) != PAIR_BYTES:
            raise SecurityError("no commitments to these shares")
        for share, commitment in zip(pair, (commitments[:SHA256_BYTES], commitments[SHA256_BYTES:]), strict=True):
            point = self.circle.points[self._party]
            shamir.check(share.value, commitment, salt=share.salt, point=point, context=context)
        return pair

    def mask(
        self, words: Words, *, base_sha256: str, privacy: PrivacyStatement | None = None
    ) -> tuple[bytes, Attachment]:
        """Mask a vector; returns the signed upload and the masked vector.

        Args:
            words: the quantised vector, uint32 or uint64; becomes `remaining`.
            base_sha256: weights that it belongs to.
            privacy: what the member has spent on it.
        """
        self.privacy = privacy
        self.base_sha256 = base_sha256
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            plus, minus = self._pair_masks(self._dealers)
            own = own_mask_key(self._seed, self._study, self._party, self.header, self.label)
            masked = np.empty_like(words)
            shared = Masked(words, plus=[*plus, self._group_mask], minus=minus, out=words)
            for _ in masked_blocks([shared, Masked(words, plus=[own], out=masked)]):
                pass
            self.remaining = words
            attachment = Attachment.of(masked.data.cast("B"))
        self._upload_sha256 = attachment.sha256
        upload = Upload(sha256=attachment.sha256, words=len(words), base_sha256=base_sha256, privacy=privacy)
        return upload.sign(self._notary, self.header, self.label), attachment

    def _pair_masks(self, others: Iterable[str]) -> tuple[list[bytes], list[bytes]]:
        """Keystream keys of the masks with `others`: those that this member adds, those that it subtracts."""
        signed: dict[bool, list[bytes]] = {True: [], False: []}
        info = mask_info(self._study, self.header, self.label, self.base_sha256)
        for party in sorted(others):
            if party != self._party:
                seed = self._mask_key.agree(self._adverts[party].mask_key, info=between(info, self._party, party))
                signed[adds(self._party, party)].append(seed)
        return signed[True], signed[False]

    def agree(self, survivors: Mapping[str, bytes]) -> bytes:
        """Return the signed survivor set with a commitment to this member's random value.

        Raises:
            Refused: with `SURVIVORS`, too few, not of this circle, without this member or with another upload of it.
        """
        parties = set(survivors)
        around = parties & self.circle.closed(self._party)
        if (
            not parties <= set(self.circle.parties)
            or len(parties) < self.circle.survivors_needed
            or len(around) < self.circle.share_threshold
            or not around <= self._dealers
            or not self._upload_sha256
            or survivors.get(self._party) != self._upload_sha256
        ):
            raise Refused(FailureCode.SURVIVORS)
        self._stated, self._stated_sha256 = dict(survivors), survivors_sha256(survivors)
        commitment = coin_sha256(self.coin, place(self._study, self._party, self.header, self.label, "coin"))
        return Agreement(survivors=self._stated_sha256, coin=commitment).sign(self._notary, self.header, self.label)

    def unmask(self, agreements: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Reveal shares: of survivors' seeds and of the mask keys of those who dropped out, never both of one member.

        Raises:
            Refused: with `SURVIVORS`, too few of the committee signed the set that this member signed: two different
                sets cannot both have so many, unless a third of the committee signs twice.
            SecurityError: an agreement is not its party's.
        """
        stated = self._stated_sha256
        signers = {party for party in agreements if self.agreement(party, agreements[party]).survivors == stated}
        agreed = signers & set(self._stated) & set(self.circle.committee)
        if signers != set(agreements) or len(agreed) < self.circle.committee_needed:
            raise Refused(FailureCode.SURVIVORS)
        self.survivors, self.survivors_sha256 = self._stated, stated
        seeds = {party: pair[1].to_bytes() for party, pair in self._held.items() if party in self.survivors}
        keys = {party: pair[0].to_bytes() for party, pair in self._held.items() if party not in self.survivors}
        return seeds, keys

    def agreement(self, party: str, envelope: bytes) -> Agreement:
        """Return what a member agreed to; one envelope is verified once.

        Raises:
            SecurityError: it is not that party's.
        """
        key = party, envelope
        if key not in self._agreements:
            self._agreements[key] = self._read(Agreement, envelope, party)
        return self._agreements[key]

    def leave_pairs(self) -> None:
        """Take the masks with members that dropped out off `remaining`, which is then this member's term of the sum."""
        dropped = self._dealers - set(self.survivors)
        if dropped:
            with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
                plus, minus = self._pair_masks(dropped)
                apply_masks(self.remaining, plus=minus, minus=plus)

    def _expect_neighbours(self, parties: Iterable[str]) -> None:
        if not set(parties) <= self.circle.closed(self._party):
            raise Refused(FailureCode.MESSAGE)

    def _read(self, kind: type[S], envelope: bytes, party: str) -> S:
        return kind.read(envelope, notary=self._notary, sender=party, header=self.header, label=self.label)


def _commitment(share: Share, point: int, context: bytes) -> bytes:
    return shamir.commit(share.value, salt=share.salt, point=point, context=context)
