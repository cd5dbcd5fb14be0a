"""The coordinator's part in one blind sum: pass on, check what can be checked, put secrets together, add.

It holds public statements, masked vectors and the secrets that members chose to reveal. What it adds still bears the
group mask. Everything that proves the sum lies on the board, where anybody can add it again.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from core.learning.run_events import FailureCode
from federated.aggregation.blind.circle import Circle
from federated.aggregation.blind.messages import Departed, Dropped, Share, UnmaskReply, UploadReply
from federated.aggregation.blind.seeds import adds, own_mask_key, pair_info, share_context
from federated.aggregation.blind.statements import (
    Advert,
    Dealing,
    Label,
    Statement,
    Sum,
    Upload,
    place,
    seed_sha256,
    survivors_sha256,
)
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.board import Board
from federated.failures import Refused, RoundFailed
from federated.messages import Attachment, Header, Message
from federated.notary import Notary
from federated.timing import Task
from security import shamir
from security.errors import SecurityError
from security.keystream import apply_masks
from security.masking import MaskKey

_BITS = 8
_WORDS = (32, 64)
S = TypeVar("S", bound=Statement)


class Adding:
    """One sum of one attempt.

    Attributes:
        adverts: party -> signed advert.
        dealings: party -> signed dealing.
        survivors: party -> SHA-256 of its upload.
    """

    def __init__(self, notary: Notary, header: Header, label: Label, circle: Circle, board: Board) -> None:
        self.adverts: dict[str, bytes] = {}
        self.dealings: dict[str, bytes] = {}
        self.survivors: dict[str, bytes] = {}
        self._notary = notary
        self._header = header
        self._label = label
        self._circle = circle
        self._board = board
        self._uploads: dict[str, tuple[bytes, Upload]] = {}
        self._shares: dict[str, dict[int, bytes]] = {}
        self._dealt: dict[str, Dealing] = {}
        self._public: dict[str, Advert] = {}
        self._seeds: dict[str, bytes] = {}
        self._keys: dict[str, MaskKey] = {}

    def take_upload(self, party: str, reply: UploadReply, message: Message) -> None:
        """Check and publish an upload.

        Raises:
            Refused, SecurityError: it is not this party's for this sum, or too short for the board.
        """
        upload: Upload = self._read(Upload, reply.upload, party)
        word, rest = divmod(len(message.attachment), max(upload.words, 1))
        if upload.sha256 != message.attachment_sha256 or rest or word * _BITS not in _WORDS:
            raise Refused(FailureCode.SHAPE)
        self._uploads[party] = reply.upload, upload
        self._board.publish(party, reply.upload, message.attachment)

    def settle(self) -> None:
        """Fix the survivors: those whose uploads have the shape that most have."""
        if not self._uploads:
            return
        shapes = {party: (upload.words, upload.base_sha256) for party, (_, upload) in self._uploads.items()}
        usual = Counter(shapes.values()).most_common(1)[0][0]
        self.survivors = {
            party: upload.sha256 for party, (_, upload) in sorted(self._uploads.items()) if shapes[party] == usual
        }

    def take_shares(self, party: str, reply: UnmaskReply, _message: Message) -> None:
        """Keep a member's shares, each checked against its dealer's commitment.

        Raises:
            Refused: with `SHARE`, a share is not the one that was dealt, or of the wrong kind.
        """
        kinds = ((reply.keys, 0, False), (reply.seeds, 1, True))
        checked: list[tuple[str, bytes]] = []
        for shares, kind, survived in kinds:
            for dealer, share in shares.items():
                if dealer not in self.dealings or (dealer in self.survivors) is not survived:
                    raise Refused(FailureCode.SHARE)
                self._check_share(dealer, party, share, kind)
                checked.append((dealer, share.value))
        for dealer, value in checked:
            self._shares.setdefault(dealer, {})[self._circle.points[party]] = value

    def _check_share(self, dealer: str, holder: str, share: Share, kind: int) -> None:
        if dealer not in self._dealt:
            self._dealt[dealer] = self._read(Dealing, self.dealings[dealer], dealer)
        commitment = self._dealt[dealer].shares.get(holder, (b"", b""))[kind]
        context = share_context(self._notary.study, dealer, holder, self._header, self._label)
        try:
            with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
                point = self._circle.points[holder]
                shamir.check(share.value, commitment, salt=share.salt, point=point, context=context)
        except SecurityError:
            raise Refused(FailureCode.SHARE) from None

    def add(self) -> tuple[bytes, Attachment]:
        """Put the secrets together, take the masks off and add; returns the signed `Sum` and its bytes.

        Raises:
            RoundFailed: a secret has too few shares, or shares that do not fit together.
        """
        self._open_secrets()
        first = self._uploads[next(iter(self.survivors))][1].words
        total: UnreducedSum | None = None
        for party in self.survivors:
            upload = self._board.vector(party)
            kind = np.dtype(f"<u{len(upload) // first}")
            with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
                words = np.frombuffer(upload, kind).copy()
                plus, minus = self._masks_on(party)
                apply_masks(words, plus=minus, minus=plus)
                if total is None:
                    total = UnreducedSum(first, word=words.itemsize * _BITS, members=len(self._circle.parties))
                total.add(words)
        if total is None:
            raise RoundFailed("Nobody uploaded anything.")
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            attachment = Attachment.of(total.to_bytes())
        statement = Sum(sha256=attachment.sha256, survivors=survivors_sha256(self.survivors))
        return statement.sign(self._notary, self._header, self._label), attachment

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
        if key.public != self._advert(dealer).mask_key:
            raise SecurityError("another key than was advertised")
        self._keys[dealer] = key

    def _masks_on(self, party: str) -> tuple[list[bytes], list[bytes]]:
        """Keystream keys of the masks that are to be taken off: those that the party added, those it subtracted."""
        study, header, label = self._notary.study, self._header, self._label
        signed: dict[bool, list[bytes]] = {
            True: [own_mask_key(self._seeds[party], study, party, header, label)],
            False: [],
        }
        for other, key in self._keys.items():
            if other in self._circle.neighbours[party]:
                seed = key.agree(self._advert(party).mask_key, info=pair_info(study, header, label))
                signed[adds(party, other)].append(seed)
        return signed[True], signed[False]

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

    def _advert(self, party: str) -> Advert:
        if party not in self._public:
            self._public[party] = self._read(Advert, self.adverts[party], party)
        return self._public[party]

    def _read(self, kind: type[S], envelope: bytes, party: str) -> S:
        return kind.read(envelope, notary=self._notary, sender=party, header=self._header, label=self._label)


def only(envelopes: Mapping[str, bytes], parties: frozenset[str]) -> dict[str, bytes]:
    """Return the envelopes of these parties."""
    return {party: envelope for party, envelope in envelopes.items() if party in parties}
