"""The coordinator's side of blind rounds: what is asked of whom, in which order. It reads nothing that it passes on."""

from collections.abc import Mapping, Sequence

from core.learning.lineage import committee_size, join_lineages, signers_needed
from core.learning.orders import AggregationMode
from federated.aggregation.averaging import exporting, largest_group
from federated.aggregation.base import Ask, Conversation, GlobalModel, NodeWork, Play, Served, Whose, ask
from federated.aggregation.blind.circle import circle_of
from federated.aggregation.blind.course import Course, check_lineage, now_of
from federated.aggregation.blind.messages import (
    ApplyReply,
    BeginRequest,
    LineageReply,
    OpenReply,
    OpenRequest,
    SealReply,
    SealRequest,
    UploadRequest,
)
from federated.aggregation.blind.node_side import BlindNode
from federated.aggregation.blind.statements import Label
from federated.answering import Answers
from federated.failures import RoundFailed
from federated.ledger import Ledger
from federated.messages import NO_ATTACHMENT, Attachment, Model, Step
from federated.notary import Notary
from security.signing import claims_of


class Blind:
    """Secure aggregation in which the cloud sees neither an update nor the sum nor the model."""

    mode = AggregationMode.BLIND

    def opening(self, play: Play, start: Model | None) -> Conversation[GlobalModel]:
        """See `Aggregation.opening`."""
        asked = play.options.parties[: committee_size(len(play.options.parties))]
        begin = BeginRequest(parent=start, at=now_of(play))
        begun = yield from ask(
            Ask(
                step=Step.BEGIN,
                requests=dict.fromkeys(asked, begin),
                reply=LineageReply,
                quorum=_signers_needed(play),
                certificates=Whose.NOBODY,
                absorb=lambda party, reply, _message: check_lineage(play, party, reply),
            )
        )
        return (yield from _sealed(play, begun, members=()))

    def round(self, play: Play, model: GlobalModel) -> Conversation[GlobalModel]:
        """See `Aggregation.round`."""
        circle = circle_of(play.options, order=play.order, round_number=play.round)
        upload = UploadRequest(commitments={}, boxes={}, model=model.wire.model_copy(update={"sealed": b""}))
        update = yield from Course(play, Label.UPDATE, circle).play(circle.parties, upload, sealed=model.wire)
        applied = yield from update.use(ApplyReply)
        agreed = largest_group({party: reply.weights_sha256 for party, reply in applied.items()})
        figures = yield from Course(play, Label.FIGURES, circle.figures).play(
            tuple(agreed), UploadRequest(commitments={}, boxes={})
        )
        tallied = yield from figures.use(LineageReply)
        return (yield from _sealed(play, tallied, members=tuple(update.adding.survivors)))

    def closing(self, play: Play, model: GlobalModel) -> Conversation[Served]:
        """See `Aggregation.closing`."""
        return (yield from exporting(play, model))

    def node_side(self, work: NodeWork) -> Answers:
        """See `Aggregation.node_side`."""
        return BlindNode(work).answers()

    def aggregation_side(self, notary: Notary, ledger: Ledger) -> Answers:  # noqa: ARG002
        """See `Aggregation.aggregation_side`; in this mode there is nothing that the aggregation party could do."""
        return {}


def _sealed(play: Play, stated: Mapping[str, LineageReply], members: tuple[str, ...]) -> Conversation[GlobalModel]:
    """Join the lineages that most members signed alike; have one of them seal the weights and another open them."""
    agreed = largest_group({party: claims_of(reply.lineage)[1] for party, reply in stated.items()})
    if len(agreed) < _signers_needed(play):
        raise RoundFailed(f"Round {play.round}: the members' checks of the sum led to different models.")
    for sealer, other in zip(agreed, [*agreed[1:], agreed[0]], strict=True):
        wire, attachment = yield from _sealed_by(play, sealer, stated, agreed)
        opened = yield from ask(
            Ask(
                step=Step.OPEN,
                requests={other: OpenRequest(model=wire)} if attachment.data else {},
                reply=OpenReply,
                quorum=0,
                attachment=attachment,
                certificates=Whose.NOBODY,
                briefed=False,
            )
        )
        if opened:
            wire = wire.model_copy(update={"sealed": bytes(attachment.data)})
            return GlobalModel(wire=wire, members=members, metrics=stated[sealer].metrics)
    raise RoundFailed(f"Round {play.round}: no two members agree on the sealed new model.")


def _sealed_by(
    play: Play, sealer: str, stated: Mapping[str, LineageReply], agreed: Sequence[str]
) -> Conversation[tuple[Model, Attachment]]:
    """Ask one member to seal the weights; returns the model without them, and them, or nothing if it does not."""
    sealed: list[bytes] = []
    yield from ask(
        Ask(
            step=Step.SEAL,
            requests={sealer: SealRequest()},
            reply=SealReply,
            quorum=0,
            briefed=False,
            absorb=lambda _party, _reply, message: sealed.append(bytes(message.attachment)),
        )
    )
    first = stated[sealer]
    others = [stated[party].lineage for party in agreed if party != sealer][: _signers_needed(play) - 1]
    wire = Model(
        run=play.run,
        round=play.round,
        sealed=b"",
        weights_sha256=first.weights_sha256,
        lineage=join_lineages([first.lineage, *others]),
    )
    return wire, Attachment.of(sealed[0]) if sealed else NO_ATTACHMENT


def _signers_needed(play: Play) -> int:
    """How many must sign a lineage of this round; more of them would only have to be checked."""
    return signers_needed(len(play.options.participants(play.round) if play.round else play.options.parties))


BLIND = Blind()
