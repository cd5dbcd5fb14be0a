"""The coordinator's course through one blind sum, from the members' keys to a sum that they have proved."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from core.errors import CheckpointRefused
from core.learning.lineage import statement_of, verify_lineage
from core.learning.run_choices import ANSWER_S
from core.learning.run_events import FailureCode
from federated.aggregation.base import Ask, Conversation, Play, R, Whose, ask, keep_nothing
from federated.aggregation.blind.adding import Adding, only
from federated.aggregation.blind.circle import Circle
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
    LineageReply,
    RevealReply,
    RevealRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadReply,
    UploadRequest,
)
from federated.aggregation.blind.statements import Label
from federated.aggregation.blind.steps import STEPS
from federated.failures import Refused, RoundFailed
from federated.messages import NO_ATTACHMENT, Attachment, Header, Kind, Message, Model, Reply, Request, Step


class Course:
    """The coordinator's course through one sum."""

    def __init__(self, play: Play, label: Label, circle: Circle) -> None:
        self._play = play
        self._circle = circle
        self._steps = STEPS[label]
        header = Header(
            run=play.run,
            round=play.round,
            attempt=play.attempt,
            step=label.value,
            kind=Kind.REQUEST.value,
            sender=play.notary.party,
            recipient=play.notary.party,
        )
        privacy = play.options.privacy if label is Label.UPDATE else None
        self.adding = Adding(play.notary, header, label, circle, play.new_board(label.value), privacy=privacy)
        self._digests: dict[str, bytes] = {}
        self._committee: tuple[str, ...] = ()

    def play(
        self, asked: tuple[str, ...], upload: UploadRequest, sealed: Model | None = None
    ) -> "Conversation[Course]":
        """Go from adverts to digests; the sum can then be used. Members that do not hold `sealed` get it."""
        adding, circle, steps = self.adding, self._circle, self._steps
        advertise = dict.fromkeys(asked, AdvertiseRequest())
        adverts = yield from self._ask(steps.advertise, advertise, AdvertiseReply, absorb=adding.take_advert)
        adding.adverts = {party: reply.advert for party, reply in _settled(adverts, circle).items()}

        deal = {party: DealRequest(adverts=only(adding.adverts, circle.closed(party))) for party in adding.adverts}
        dealt = yield from self._ask(steps.deal, deal, DealReply, absorb=adding.take_dealing)
        adding.dealings = {party: reply.dealing for party, reply in dealt.items()}

        requests = {
            party: upload.model_copy(
                update={
                    "commitments": adding.commitments_for(party),
                    "boxes": {
                        dealer: dealt[dealer].boxes[party]
                        for dealer in circle.neighbours[party]
                        if dealer in dealt and party in dealt[dealer].boxes
                    },
                }
            )
            for party in dealt
        }
        rules = self._play.options.round_rules
        held = hashlib.sha256(statement_of(sealed.lineage)).hexdigest() if sealed else ""
        wanting = [party for party in dealt if adverts[party].holds != held]
        yield from self._ask(
            steps.upload,
            requests,
            UploadReply,
            absorb=adding.take_upload,
            attachment=Attachment.of(sealed.sealed) if sealed and wanting else NO_ATTACHMENT,
            attached=wanting,
            deadline_s=rules.deadline_s if upload.model is not None else rules.working_s,
        )
        for party in adding.settle():
            self._play.blame(party, FailureCode.SHAPE, steps.upload)
        for dealer in adding.blamed():
            self._play.blame(dealer, FailureCode.SHARE, steps.deal)

        agree = dict.fromkeys(adding.survivors, AgreeRequest(survivors=adding.survivors))
        agreed = yield from self._ask(steps.agree, agree, AgreeReply, absorb=adding.take_agreement)
        agreements = {party: reply.agreement for party, reply in agreed.items()}

        committee = [party for party in circle.committee if party in agreements][: circle.committee_needed]
        unmask = UnmaskRequest(agreements={party: agreements[party] for party in committee})
        yield from self._ask(steps.unmask, dict.fromkeys(agreed, unmask), UnmaskReply, absorb=adding.take_shares)
        yield from self._verify(agreements)
        return self

    def _verify(self, agreements: Mapping[str, bytes]) -> Conversation[None]:
        """Sign the sum, then let the committee draw the point and everybody hash."""
        circle, steps = self._circle, self._steps
        statement, attachment = self.adding.add()
        self.adding.publish(self._play.order, agreements, statement, attachment)
        committee = {party: agreements[party] for party in circle.committee if party in agreements}
        reveal = dict.fromkeys(committee, RevealRequest(sum=statement, agreements=committee))
        revealed = yield from self._ask(
            steps.reveal,
            reveal,
            RevealReply,
            quorum=circle.committee_needed,
            attachment=attachment,
            absorb=self.adding.take_coin,
        )
        self._committee = tuple(revealed)
        coins = {party: reply.coin for party, reply in revealed.items()}
        self.adding.draw(coins.values())
        survivors = dict.fromkeys(self.adding.survivors, HashRequest(coins=coins))
        hashed = yield from self._ask(
            steps.hash, survivors, HashReply, quorum=circle.committee_needed, absorb=self.adding.take_digest
        )
        self._digests = {party: reply.digest for party, reply in hashed.items()}

    def use(self, reply: type[R]) -> Conversation[Mapping[str, R]]:
        """Have the committee check the sum and do with it what the round does."""
        departed, attachment = self.adding.departed(sorted(set(self.adding.survivors) - set(self._digests)))
        request = ApplyRequest(
            digests=self._digests,
            departed=departed,
            dropped=self.adding.dropped() if departed else {},
            at=now_of(self._play),
        )
        asked = dict.fromkeys((party for party in self._committee if party in self._digests), request)
        return (
            yield from self._ask(
                self._steps.use,
                asked,
                reply,
                quorum=self._circle.committee_needed,
                attachment=attachment,
                absorb=self._take_lineage,
                explain=self._name_liars,
            )
        )

    def _take_lineage(self, party: str, reply: Reply, _message: Message) -> None:
        if isinstance(reply, LineageReply):
            check_lineage(self._play, party, reply)

    def _name_liars(self) -> str:
        """Say, when too few members found the sum proved, whose hashes are not of what they uploaded."""
        liars = self.adding.liars(self._digests)
        for party in liars:
            self._play.blame(party, FailureCode.SUM, self._steps.hash)
        return f" Hashes that are not of what was uploaded: {', '.join(liars)}." if liars else ""

    def _ask(
        self,
        step: Step,
        requests: Mapping[str, Request],
        reply: type[R],
        *,
        quorum: int | None = None,
        attachment: Attachment = NO_ATTACHMENT,
        attached: Collection[str] | None = None,
        deadline_s: float = ANSWER_S,
        absorb: Callable[[str, R, Message], None] = keep_nothing,
        explain: Callable[[], str] = str,
    ) -> Conversation[Mapping[str, R]]:
        return (
            yield from ask(
                Ask(
                    step=step,
                    requests=requests,
                    reply=reply,
                    quorum=self._circle.survivors_needed if quorum is None else quorum,
                    attachment=attachment,
                    attached=attached,
                    certificates=Whose.READERS if step is self._steps.upload else Whose.NOBODY,
                    briefed=step is self._steps.advertise,
                    deadline_s=deadline_s,
                    absorb=absorb,
                    explain=explain,
                )
            )
        )


def _settled(adverts: Mapping[str, AdvertiseReply], circle: Circle) -> dict[str, AdvertiseReply]:
    """Leave out whom an earlier attempt of this round was opened without: it can only be opened with the same members.

    Raises:
        RoundFailed: one of them is missing.
    """
    settled = Counter(tuple(sorted(reply.settled)) for reply in adverts.values() if reply.settled)
    free = sum(1 for reply in adverts.values() if not reply.settled)
    if free >= circle.survivors_needed:  # enough for another set without them; and few could claim anything
        return dict(adverts)
    members = settled.most_common(1)[0][0]
    missing = sorted(set(members) - set(adverts))
    if missing:
        raise RoundFailed(
            "An earlier attempt of this round was opened with other members; of two sums the difference could be "
            f"read, so these must come back first: {', '.join(missing)}."
        )
    return {party: reply for party, reply in adverts.items() if party in members}


def check_lineage(play: Play, party: str, reply: LineageReply) -> None:
    """Check a member's lineage before it is joined with others': with one that does not hold, the model would be lost.

    Raises:
        Refused: with `CHECKPOINT`, it is not a lineage of what the reply states, signed by this member.
    """
    notary = play.notary
    try:
        payload = verify_lineage(
            reply.lineage,
            party,
            study=notary.study,
            weights_sha256=reply.weights_sha256,
            trust=notary.trust,
            at=notary.clock.now(),
        )
    except CheckpointRefused:
        raise Refused(FailureCode.CHECKPOINT) from None
    if (payload.run, payload.round, payload.metrics) != (play.run, play.round, reply.metrics):
        raise Refused(FailureCode.CHECKPOINT)


def now_of(play: Play) -> str:
    """The coordinator's time, as lineages state it."""
    return play.notary.clock.now().isoformat()
