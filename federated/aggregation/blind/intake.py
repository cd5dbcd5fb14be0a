"""What the coordinator checks of each statement before it passes it on, so that no member can stop the others with it.

It finds out here whose fault it is: given a statement that does not hold, all the other members would have to refuse.
"""

from collections import Counter
from collections.abc import Collection
from functools import cached_property
from typing import TypeVar

from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import FailureCode
from federated.aggregation.blind.circle import Circle
from federated.aggregation.blind.messages import (
    AdvertiseReply,
    AgreeReply,
    DealReply,
    HashReply,
    RevealReply,
    UploadReply,
)
from federated.aggregation.blind.seeds import PAIR_BOX_BYTES
from federated.aggregation.blind.statements import (
    HASH_BYTES,
    PAIR_BYTES,
    Advert,
    Agreement,
    Dealing,
    Digest,
    Label,
    Statement,
    Upload,
    coin_sha256,
    encoded,
    place,
    survivors_sha256,
)
from federated.board import Board
from federated.failures import Refused
from federated.messages import Header, Message
from federated.notary import Notary
from federated.privacy_statements import check_statement
from security.errors import SecurityError
from security.masking import check_public
from security.point_hash import draw_point

_BITS = 8
_WORDS = (32, 64)
S = TypeVar("S", bound=Statement)


class Intake:
    """The members' statements in one sum of one attempt.

    Attributes:
        adverts: party -> signed advert, of those that go on.
        survivors: party -> SHA-256 of its upload.
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
        """Begin; `privacy` is what each upload must state to have kept to."""
        self.adverts: dict[str, bytes] = {}
        self.survivors: dict[str, bytes] = {}
        self._notary = notary
        self._header = header
        self._label = label
        self._circle = circle
        self._board = board
        self._privacy = privacy
        self._public: dict[str, Advert] = {}
        self._dealt: dict[str, Dealing] = {}
        self._uploads: dict[str, tuple[bytes, Upload, int]] = {}
        self._complaints: dict[str, set[str]] = {}
        self._coins: dict[str, bytes] = {}
        self._point = 0

    def take_advert(self, party: str, reply: AdvertiseReply, _message: Message) -> None:
        """Check an advert before others are given it: with one that they cannot use none of them could go on.

        Raises:
            Refused, SecurityError: not this party's for this sum, no keys, keys of another member, or said to be
                settled with members that the round does not ask.
        """
        if not set(reply.settled) <= set(self._circle.parties):
            raise Refused(FailureCode.MESSAGE)
        advert: Advert = self._read(Advert, reply.advert, party)
        keys = [advert.mask_key, advert.transport_key]
        taken = [key for other in self._public.values() for key in (other.mask_key, other.transport_key)]
        if len({*keys, *taken}) != len(keys) + len(taken):
            raise Refused(FailureCode.MESSAGE)
        for key in keys:
            try:
                check_public(key)
            except SecurityError:
                raise Refused(FailureCode.MESSAGE) from None
        self._public[party] = advert

    def take_dealing(self, party: str, reply: DealReply, _message: Message) -> None:
        """Check a dealing before others are given it.

        Raises:
            Refused, SecurityError: it is not this party's for this sum, or has not exactly one pair of commitments and
                one box of their length for each neighbour: longer ones could make others' letters too long to be read.
        """
        dealing: Dealing = self._read(Dealing, reply.dealing, party)
        holders = self._circle.closed(party) & set(self.adverts)
        if (
            sorted(dealing.holders) != sorted(holders)
            or len(dealing.commitments) != PAIR_BYTES * len(holders)
            or set(reply.boxes) != holders - {party}
            or {len(box) for box in reply.boxes.values()} != {PAIR_BOX_BYTES}
        ):
            raise Refused(FailureCode.SHARE)
        self._dealt[party] = dealing

    def take_upload(self, party: str, reply: UploadReply, message: Message) -> None:
        """Check and publish an upload; note whose shares the member found wrong.

        Raises:
            Refused, SecurityError: it is not this party's for this sum, not as long as it says, or states another
                privacy than was ordered, for which every member would refuse the whole sum.
        """
        upload: Upload = self._read(Upload, reply.upload, party)
        word, rest = divmod(len(message.attachment), upload.words)
        if upload.sha256 != message.attachment_sha256 or rest or word * _BITS not in _WORDS:
            raise Refused(FailureCode.SHAPE)
        check_statement(upload.privacy, self._privacy)
        self._uploads[party] = reply.upload, upload, word
        self._complaints[party] = set(reply.refused) & set(self._dealt) & self._circle.closed(party)
        self._board.publish(party, reply.upload, message.attachment)

    def settle(self) -> list[str]:
        """Fix the survivors: those whose uploads have the shape and the base that most have; returns the others."""
        shapes = {party: (upload.words, word, upload.base_sha256) for party, (_, upload, word) in self._uploads.items()}
        usual = Counter(shapes.values()).most_common(1)[0][0] if shapes else None
        self.survivors = {
            party: upload.sha256 for party, (_, upload, _) in sorted(self._uploads.items()) if shapes[party] == usual
        }
        return sorted(set(shapes) - set(self.survivors))

    @cached_property
    def survivors_sha256(self) -> bytes:
        """The name of the set of survivors, once it is settled."""
        return survivors_sha256(self.survivors)

    def blamed(self) -> list[str]:
        """Return dealers of whom so many members say that their shares are wrong that too few could open them."""
        complaints = Counter(dealer for dealers in self._complaints.values() for dealer in dealers)
        return sorted(
            dealer
            for dealer, count in complaints.items()
            if len(self._circle.closed(dealer)) - count < self._circle.share_threshold
        )

    def take_agreement(self, party: str, reply: AgreeReply, _message: Message) -> None:
        """Check an agreement before others are given it.

        Raises:
            Refused, SecurityError: it is not this party's for this sum, or over other survivors (`SURVIVORS`).
        """
        agreement: Agreement = self._read(Agreement, reply.agreement, party)
        if agreement.survivors != self.survivors_sha256:
            raise Refused(FailureCode.SURVIVORS)
        self._coins[party] = agreement.coin

    def take_coin(self, party: str, reply: RevealReply, _message: Message) -> None:
        """Check a random value before others are given it.

        Raises:
            Refused: with `SUM`, it is not the one that the member committed to.
        """
        if (
            coin_sha256(reply.coin, place(self._notary.study, party, self._header, self._label, "coin"))
            != (self._coins[party])
        ):
            raise Refused(FailureCode.SUM)

    def draw(self, coins: Collection[bytes]) -> None:
        """Take over the point that the coins make."""
        self._point = draw_point(coins)

    def take_digest(self, party: str, reply: HashReply, _message: Message) -> None:
        """Check a digest's signature, form, point and stated privacy; its value only the members check.

        Raises:
            Refused, SecurityError: it is not this party's for this sum, or at another point, or of another privacy than
                its upload (`SUM`).
        """
        digest: Digest = self._read(Digest, reply.digest, party)
        stated = digest.point, digest.privacy
        if stated != (encoded(self._point), self._uploads[party][1].privacy) or len(digest.digest) != HASH_BYTES:
            raise Refused(FailureCode.SUM)

    def _read(self, kind: type[S], envelope: bytes, party: str) -> S:
        return kind.read(envelope, notary=self._notary, sender=party, header=self._header, label=self._label)
