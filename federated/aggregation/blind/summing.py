"""A node's steps of one blind sum, from advertising to hashing, whatever the vector holds."""

from collections.abc import Callable

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
from federated.messages import Header
from federated.notary import Notary
from federated.timing import Task
from security.errors import SealBroken

Vector = tuple[Words, str, bytes]
"""Quantised words, the weights that they belong to (SHA-256, hex), and the node's own figures, sealed."""


class SumSteps:
    """One label's sum at one node; holds one attempt in memory."""

    def __init__(
        self,
        notary: Notary,
        ledger: Ledger,
        label: Label,
        vector: Callable[[Errand, UploadRequest, Circle], Vector],
        holds: Callable[[], str] = str,
    ) -> None:
        """Prepare.

        Args:
            notary: the node's cryptography.
            ledger: remembers with whom a round was opened.
            label: which sum.
            vector: makes the node's vector when its upload is asked for.
            holds: names the weights that the node holds, so that they need not be sent.
        """
        self._notary = notary
        self._ledger = ledger
        self._label = label
        self._vector = vector
        self._holds = holds
        self._member: BlindMember | None = None
        self._verification: Verification | None = None

    def answers(self) -> Answers:
        """Step -> what the node does."""
        steps = STEPS[self._label]
        return {
            steps.advertise: handle(AdvertiseRequest, self._advertise),
            steps.deal: handle(DealRequest, self._deal),
            steps.upload: handle(UploadRequest, self._upload),
            steps.agree: handle(AgreeRequest, self._agree),
            steps.unmask: handle(UnmaskRequest, self._unmask),
            steps.reveal: handle(RevealRequest, self._reveal),
            steps.hash: handle(HashRequest, self._hash),
        }

    def check(self, errand: Errand, request: ApplyRequest) -> tuple[Words, BlindMember]:
        """Return the proved sum and the member that it was proved to; the attempt's part in this sum is over.

        Raises:
            Refused: with `SUM`, it is not proved.
        """
        member, verification = self._parts(errand.header)
        words = verification.check(request.digests, request.departed, request.dropped, errand.attachment)
        self._member = self._verification = None
        return words, member

    def _advertise(self, errand: Errand, _request: AdvertiseRequest) -> AdvertiseReply:
        circle = circle_of(errand.options, order=errand.order, round_number=errand.header.round)
        if self._label is Label.FIGURES:
            circle = circle.figures
        if self._notary.party not in circle.parties:
            raise Refused(FailureCode.ORDER)
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            self._member = BlindMember(self._notary, errand.header, self._label, circle, self._group_key(errand))
            self._verification = Verification(self._member, self._notary)
        settled = self._ledger.settled(self._settled_name(errand.header), errand.header.round)
        return AdvertiseReply(advert=self._member.advertise(), holds=self._holds(), settled=list(settled))

    def _group_key(self, errand: Errand) -> bytes:
        try:
            return open_group_key(
                errand.message.briefing.group,
                errand.header.run,
                study=self._notary.study,
                member=self._notary.identity,
                trust=self._notary.trust,
                at=self._notary.clock.now(),
            )
        except SealBroken:
            raise Refused(FailureCode.GROUP) from None

    def _deal(self, errand: Errand, request: DealRequest) -> DealReply:
        dealing, boxes = self._parts(errand.header)[0].deal(request.adverts)
        return DealReply(dealing=dealing, boxes=boxes)

    def _upload(self, errand: Errand, request: UploadRequest) -> Attached:
        member, _ = self._parts(errand.header)
        member.receive(request.dealings, request.boxes)
        words, base_sha256, own = self._vector(errand, request, member.circle)
        upload, attachment = member.mask(words, base_sha256=base_sha256)
        return Attached(UploadReply(upload=upload, own=own), attachment)

    def _agree(self, errand: Errand, request: AgreeRequest) -> AgreeReply:
        return AgreeReply(agreement=self._parts(errand.header)[0].agree(request.survivors))

    def _unmask(self, errand: Errand, request: UnmaskRequest) -> UnmaskReply:
        member, _ = self._parts(errand.header)
        seeds, keys = member.unmask(request.agreements)
        self._ledger.settle(self._settled_name(errand.header), errand.header.round, list(member.survivors))
        return UnmaskReply(seeds=seeds, keys=keys)

    def _reveal(self, errand: Errand, request: RevealRequest) -> RevealReply:
        _, verification = self._parts(errand.header)
        sha256 = errand.message.attachment_sha256
        return RevealReply(coin=verification.reveal(request.sum, errand.attachment, sha256, request.agreements))

    def _hash(self, errand: Errand, request: HashRequest) -> HashReply:
        return HashReply(digest=self._parts(errand.header)[1].hash(request.coins))

    def _parts(self, header: Header) -> tuple[BlindMember, Verification]:
        """The member of this attempt; a step of any other is refused."""
        member, verification = self._member, self._verification
        if member is None or verification is None or member.header.attempt != header.attempt:
            raise Refused(FailureCode.MESSAGE)
        return member, verification

    def _settled_name(self, header: Header) -> str:
        return f"{header.run}.{self._label}"
