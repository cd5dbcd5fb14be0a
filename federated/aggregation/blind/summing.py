"""A node's steps of one blind sum, from advertising to hashing, whatever the vector holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.errors import RunRefused
from core.learning.group_key import open_group_key
from core.learning.run_events import FailureCode
from federated.aggregation.blind.circle import Circle, circle_of
from federated.aggregation.blind.member import BlindMember, Words
from federated.aggregation.blind.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    AgreeReply,
    AgreeRequest,
    ApplyRequest,
    DealReply,
    DealRequest,
    HashReply,
    HashRequest,
    RevealReply,
    RevealRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadReply,
    UploadRequest,
)
from federated.aggregation.blind.statements import Label
from federated.aggregation.blind.steps import STEPS
from federated.aggregation.blind.verification import Verification
from federated.answering import Answers, Attached, Errand, handle
from federated.failures import Refused
from federated.ledger import Ledger
from federated.messages import Header, PrivacyStatement
from federated.notary import Notary
from federated.timing import Task
from security.certificates import Trust
from security.errors import SealBroken


@dataclass(frozen=True, kw_only=True)
class Vector:
    """What a node brings to a sum.

    Attributes:
        words: quantised.
        base_sha256: the weights that they belong to.
        own: the node's own figures, sealed.
        privacy: what the node has spent on it.
    """

    words: Words
    base_sha256: str
    own: bytes
    privacy: PrivacyStatement | None = None


@dataclass(frozen=True, kw_only=True)
class Proved:
    """A sum that has been checked.

    Attributes:
        words: the sum, without group mask.
        circle: who was asked.
        survivors: whose vectors are in it, sorted.
        privacy: what each of them has stated to have spent.
    """

    words: Words
    circle: Circle
    survivors: tuple[str, ...]
    privacy: Mapping[str, PrivacyStatement | None]


class SumSteps:
    """One label's sum at one node; holds one attempt in memory.

    Steps are taken in their order only, each on top of those before that succeeded. Only `reveal` may be left out (who
    is not in the committee has no part in it), and a node that hashed without it neither reveals nor checks any more:
    its coin and its word for the sum come before the point is known, or never.
    """

    def __init__(
        self,
        notary: Notary,
        ledger: Ledger,
        label: Label,
        *,
        vector: Callable[[Errand, UploadRequest, Circle], Vector],
        group_key: Callable[[Errand], bytes],
        holds: Callable[[], str] = str,
    ) -> None:
        """Prepare.

        Args:
            notary: the node's cryptography.
            ledger: remembers with whom a round was opened.
            label: which sum.
            vector: makes the node's vector when its upload is asked for.
            group_key: opens the run's group key.
            holds: names the weights that the node has made itself, so that they need not be sent.
        """
        self._notary = notary
        self._ledger = ledger
        self._label = label
        self._steps = STEPS[label]
        self._vector = vector
        self._group_key = group_key
        self._holds = holds
        self._member: BlindMember | None = None
        self._verification: Verification | None = None
        self._last = ""

    def answers(self) -> Answers:
        """Step -> what the node does."""
        steps = self._steps
        return {
            steps.advertise: handle(AdvertiseRequest, self._advertise),
            steps.deal: handle(DealRequest, self._deal),
            steps.upload: handle(UploadRequest, self._upload),
            steps.agree: handle(AgreeRequest, self._agree),
            steps.unmask: handle(UnmaskRequest, self._unmask),
            steps.reveal: handle(RevealRequest, self._reveal),
            steps.hash: handle(HashRequest, self._hash),
        }

    def check(self, errand: Errand, request: ApplyRequest) -> Proved:
        """Return the proved sum; the attempt's part in this sum is over.

        Raises:
            Refused: with `SUM`, it is not proved.
        """
        member, verification = self._parts(errand, after=(self._steps.hash,))
        self._member = self._verification = None
        words = verification.check(request.digests, request.departed, request.dropped, errand.attachment)
        survivors = tuple(sorted(member.survivors))
        return Proved(words=words, circle=member.circle, survivors=survivors, privacy=verification.privacy)

    def _advertise(self, errand: Errand, _request: AdvertiseRequest) -> AdvertiseReply:
        circle = circle_of(errand.options, order=errand.order, round_number=errand.header.round)
        if self._label is Label.FIGURES:
            circle = circle.figures
        self._member = self._verification = None
        if self._notary.party not in circle.parties:
            raise Refused(FailureCode.ORDER)
        group_key = self._group_key(errand)
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            self._member = BlindMember(self._notary, errand.header, self._label, circle, group_key)
            self._verification = Verification(self._member, self._notary)
        self._last = errand.header.step
        settled = self._ledger.settled(self._settled_name(errand.header), errand.header.round)
        return AdvertiseReply(advert=self._member.advertise(), holds=self._holds(), settled=list(settled))

    def _deal(self, errand: Errand, request: DealRequest) -> DealReply:
        dealing, boxes = self._parts(errand, after=(self._steps.advertise,))[0].deal(request.adverts)
        self._last = errand.header.step
        return DealReply(dealing=dealing, boxes=boxes)

    def _upload(self, errand: Errand, request: UploadRequest) -> Attached:
        member, _ = self._parts(errand, after=(self._steps.deal,))
        wrong = member.receive(request.commitments, request.boxes)
        vector = self._vector(errand, request, member.circle)
        upload, attachment = member.mask(vector.words, base_sha256=vector.base_sha256, privacy=vector.privacy)
        self._last = errand.header.step
        refused = dict.fromkeys(wrong, FailureCode.SHARE.value)
        return Attached(UploadReply(upload=upload, own=vector.own, refused=refused), attachment)

    def _agree(self, errand: Errand, request: AgreeRequest) -> AgreeReply:
        member, _ = self._parts(errand, after=(self._steps.upload,))
        settled = self._ledger.settled(self._settled_name(errand.header), errand.header.round)
        if settled and set(settled) != set(request.survivors):
            raise Refused(FailureCode.ROSTER)
        agreement = member.agree(request.survivors)
        self._last = errand.header.step
        return AgreeReply(agreement=agreement)

    def _unmask(self, errand: Errand, request: UnmaskRequest) -> UnmaskReply:
        member, _ = self._parts(errand, after=(self._steps.agree,))
        seeds, keys = member.unmask(request.agreements)
        self._ledger.settle(self._settled_name(errand.header), errand.header.round, list(member.survivors))
        self._last = errand.header.step
        return UnmaskReply(seeds=seeds, keys=keys)

    def _reveal(self, errand: Errand, request: RevealRequest) -> RevealReply:
        _, verification = self._parts(errand, after=(self._steps.unmask,))
        sha256 = errand.message.attachment_sha256
        coin = verification.reveal(request.sum, errand.attachment, sha256, request.agreements)
        self._last = errand.header.step
        return RevealReply(coin=coin)

    def _hash(self, errand: Errand, request: HashRequest) -> HashReply:
        _, verification = self._parts(errand, after=(self._steps.unmask, self._steps.reveal))
        digest = verification.hash(request.coins)
        self._last = errand.header.step
        return HashReply(digest=digest)

    def _parts(self, errand: Errand, *, after: tuple[str, ...]) -> tuple[BlindMember, Verification]:
        """The member of this run, round and attempt, if the last step that succeeded is one of `after`."""
        member, verification = self._member, self._verification
        if member is None or verification is None or not same_attempt(member.header, errand.header):
            raise Refused(FailureCode.MESSAGE)
        if self._last not in after:
            raise Refused(FailureCode.MESSAGE)
        return member, verification

    def _settled_name(self, header: Header) -> str:
        return f"{header.run}.{self._label}"


def same_attempt(one: Header, other: Header) -> bool:
    """Return whether two headers are of the same run, round and attempt; a node that compares less can be misled."""
    return (one.run, one.round, one.attempt) == (other.run, other.round, other.attempt)


class GroupKeys:
    """Opens a run's group key for one member, once for each revocation list: a member revoked since makes it void."""

    def __init__(self, notary: Notary) -> None:
        self._notary = notary
        self._opened: tuple[str, bytes, Trust, bytes] | None = None

    def of(self, errand: Errand) -> bytes:
        """Return the group key that came with a request.

        Raises:
            Refused: with `GROUP`, there is none, it is not for this member, or void.
        """
        run, sealed, trust = errand.header.run, errand.message.briefing.group, self._notary.trust
        if self._opened is None or self._opened[:2] != (run, sealed) or self._opened[2] is not trust:
            at = self._notary.clock.now()
            try:
                with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
                    key = open_group_key(
                        sealed, run, study=self._notary.study, member=self._notary.identity, trust=trust, at=at
                    )
            except (SealBroken, RunRefused):
                raise Refused(FailureCode.GROUP) from None
            self._opened = run, sealed, trust, key
        return self._opened[3]
