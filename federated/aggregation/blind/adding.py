"""The coordinator's part in one blind sum: pass on, check what can be checked, put secrets together, add.

It holds public statements, masked vectors and the secrets that members chose to reveal. What it adds still bears the
group mask. Everything that proves the sum lies on the board, where anybody can add it again.
"""

from collections.abc import Mapping

import numpy as np

from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import FailureCode
from federated.aggregation.blind.circle import Circle
from federated.aggregation.blind.intake import Intake
from federated.aggregation.blind.member import Words
from federated.aggregation.blind.messages import (
    Departed,
    Dropped,
    UnmaskReply,
)
from federated.aggregation.blind.record import Record
from federated.aggregation.blind.seeds import Share, ShareContexts, masks_left_over
from federated.aggregation.blind.statements import (
    SHA256_BYTES,
    Digest,
    Label,
    Sum,
    encoded,
    place,
    seed_sha256,
)
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.board import Board
from federated.failures import Refused, RoundFailed
from federated.messages import Attachment, Header, Message
from federated.notary import Notary
from federated.timing import Task
from security import shamir
from security.errors import SecurityError
from security.keystream import Masked, apply_masks
from security.masking import MaskKey
from security.point_hash import PointHash

_BITS = 8
_AT_ONCE = 48 * 2**20
"""Bytes of uploads that are added at once, block by block: the sum's blocks stay in a core's own cache meanwhile.

With a thousand members the coordinator stays below 300 MB all the same.
"""


class Adding(Intake):
    """One sum of one attempt.

    Attributes:
        dealings: party -> signed dealing.
    """

    def __init__(
        self,
        notary: Notary,
        header: Header,
        label: Label,
        circle: Circle,
        board: Board,
        *,
        privacy: PrivacyOptions | None = None,
    ) -> None:
        """See `Intake`."""
        super().__init__(notary, header, label, circle, board, privacy=privacy)
        self.dealings: dict[str, bytes] = {}
        self._shares: dict[str, dict[int, bytes]] = {}
        self._seeds: dict[str, bytes] = {}
        self._keys: dict[str, MaskKey] = {}
        self._contexts = ShareContexts(notary.study, header, label)

    def take_shares(self, party: str, reply: UnmaskReply, _message: Message) -> None:
        """Keep a member's shares, each checked against its dealer's commitment.

        Raises:
            Refused: with `SHARE`, a share is not the one that was dealt, of the wrong kind, or held back.
        """
        dealers = {dealer for dealer in self._around(party) if self._dealt[dealer].of(party)}
        if set(reply.keys) | set(reply.seeds) != dealers - self._complaints[party]:
            raise Refused(FailureCode.SHARE)
        kinds = ((reply.keys, 0, False), (reply.seeds, 1, True))
        checked: list[tuple[str, bytes]] = []
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            for shares, kind, survived in kinds:
                for dealer, data in shares.items():
                    if (dealer in self.survivors) is not survived:
                        raise Refused(FailureCode.SHARE)
                    share = Share.of(data)
                    self._check_share(dealer, party, share, kind)
                    checked.append((dealer, share.value))
        for dealer, value in checked:
            self._shares.setdefault(dealer, {})[self._circle.points[party]] = value

    def _around(self, party: str) -> set[str]:
        return set(self.dealings) & self._circle.closed(party)

    def _check_share(self, dealer: str, holder: str, share: Share, kind: int) -> None:
        commitment = self._dealt[dealer].of(holder)[kind * SHA256_BYTES : (kind + 1) * SHA256_BYTES]
        try:
            point, context = self._circle.points[holder], self._contexts.of(dealer, holder)
            shamir.check(share.value, commitment, salt=share.salt, point=point, context=context)
        except SecurityError:
            raise Refused(FailureCode.SHARE) from None

    def commitments_for(self, holder: str) -> dict[str, bytes]:
        """Return who of a member's neighbours dealt, each with its commitments to that member's shares."""
        return {
            dealer: self._dealt[dealer].of(holder)
            for dealer in self._circle.neighbours[holder]
            if dealer in self.dealings
        }

    def add(self) -> tuple[bytes, Attachment]:
        """Put the secrets together, take the masks off and add; returns the signed `Sum` and its bytes.

        Raises:
            RoundFailed: a secret has too few shares, or shares that do not fit together.
        """
        self._open_secrets()
        _, upload, size = self._uploads[next(iter(self.survivors))]
        total = UnreducedSum(upload.words, word=size * _BITS, members=len(self._circle.parties))
        parties = list(self.survivors)
        together = max(1, _AT_ONCE // (upload.words * size))
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            for start in range(0, len(parties), together):
                total.add_masked([self._masked(party) for party in parties[start : start + together]])
            attachment = Attachment.of(total.data())
        statement = Sum(sha256=attachment.sha256, survivors=self.survivors_sha256)
        return statement.sign(self._notary, self._header, self._label), attachment

    def _masked(self, party: str) -> Masked:
        """Return a survivor's upload, to come off it: its own mask and those shared with members that dropped out."""
        plus, minus = self._masks_on(party)
        words = np.frombuffer(self._board.vector(party), np.dtype(f"<u{self._uploads[party][2]}"))
        return Masked(words, plus=minus, minus=plus)

    def _term(self, party: str) -> Words:
        """Return a survivor's upload without the masks that do not cancel in the sum."""
        masked = self._masked(party)
        words = masked.words.copy()
        apply_masks(words, plus=masked.plus, minus=masked.minus)
        return words

    def liars(self, digests: Mapping[str, bytes]) -> list[str]:
        """Return whose digests are not the hashes of what they uploaded: for when the members refused the sum."""
        wrong = []
        for party in digests:
            term = self._term(party)
            true = encoded(PointHash(self._point, len(term)).of(term))
            if self._read(Digest, digests[party], party).digest != true:
                wrong.append(party)
        return wrong

    def _open_secrets(self) -> None:
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            for dealer in self.dealings:
                shares = self._shares.get(dealer, {})
                if len(shares) < self._circle.share_threshold:
                    if dealer not in self.survivors and not self._is_needed(dealer):
                        continue
                    raise RoundFailed(f"Too few shares came back to take the masks of {dealer} off.")
                try:
                    self._open_secret(dealer, shamir.combine(shares, threshold=self._circle.share_threshold))
                except SecurityError:
                    raise RoundFailed(f"The shares that {dealer} dealt do not fit together.") from None

    def _is_needed(self, dealer: str) -> bool:
        return any(neighbour in self.survivors for neighbour in self._circle.neighbours[dealer])

    def _open_secret(self, dealer: str, secret: bytes) -> None:
        if dealer in self.survivors:
            where = place(self._notary.study, dealer, self._header, self._label, "seed")
            if seed_sha256(secret, where) != self._dealt[dealer].seed:
                raise SecurityError("another seed than was committed to")
            self._seeds[dealer] = secret
            return
        key = MaskKey.from_scalar(secret)
        if key.public != self._public[dealer].mask_key:
            raise SecurityError("another key than was advertised")
        self._keys[dealer] = key

    def _masks_on(self, party: str) -> tuple[list[bytes], list[bytes]]:
        """Keystream keys of the masks that are to be taken off: those that the party added, those it subtracted."""
        return masks_left_over(
            party,
            self._seeds[party],
            self._public[party].mask_key,
            {other: key for other, key in self._keys.items() if other in self._circle.neighbours[party]},
            study=self._notary.study,
            header=self._header,
            label=self._label,
            base_sha256=self._uploads[party][1].base_sha256,
        )

    def publish(self, order: bytes, agreements: Mapping[str, bytes], statement: bytes, total: Attachment) -> None:
        """Publish the signed sum with the record of what opens it (see `Record` for why all of it may be public)."""
        record = Record(
            study=self._notary.study,
            run=self._header.run,
            round=self._header.round,
            attempt=self._header.attempt,
            label=self._label.value,
            order=order,
            survivors=self.survivors,
            adverts=self.adverts,
            dealings=self.dealings,
            agreements=dict(agreements),
            seeds={party: self._seeds[party] for party in self.survivors},
            mask_keys={party: key.scalar() for party, key in self._keys.items()},
            sum=statement,
        )
        self._board.close(record.to_bytes(), memoryview(total.data))

    def departed(self, parties: list[str]) -> tuple[dict[str, Departed], Attachment]:
        """Return what others need to hash the uploads of survivors that left, and those uploads."""
        statements = {
            party: Departed(
                upload=self._uploads[party][0],
                advert=self.adverts[party],
                dealing=self.dealings[party],
                seed=self._seeds[party],
            )
            for party in sorted(parties)
        }
        return statements, Attachment.of(b"".join(bytes(self._board.vector(party)) for party in sorted(parties)))

    def dropped(self) -> dict[str, Dropped]:
        """Return the mask keys of members that dropped out before their upload; they are public now."""
        return {
            party: Dropped(advert=self.adverts[party], scalar=key.scalar()) for party, key in sorted(self._keys.items())
        }


def only(envelopes: Mapping[str, bytes], parties: frozenset[str]) -> dict[str, bytes]:
    """Return the envelopes of these parties."""
    return {party: envelope for party, envelope in envelopes.items() if party in parties}
