"""The coordinator's side of the modes that average at the aggregation party: what is asked of whom, in which order."""

from collections import Counter
from collections.abc import Mapping

from core.diagnosis.exports import MIN_EXPORTERS
from core.learning.orders import AGGREGATION, AggregationMode
from federated.aggregation.aggregation_side import AveragingAggregation
from federated.aggregation.base import Ask, Conversation, GlobalModel, NodeWork, Play, R, Served, ask
from federated.aggregation.node_side import AveragingNode
from federated.aggregation.protection import Protection
from federated.answering import Answers
from federated.failures import RoundFailed
from federated.ledger import Ledger
from federated.messages import (
    AdoptReply,
    AdoptRequest,
    AverageReply,
    AverageRequest,
    EvaluateReply,
    EvaluateRequest,
    ExportReply,
    ExportRequest,
    InitialiseReply,
    InitialiseRequest,
    Model,
    Request,
    Step,
    SummariseReply,
    SummariseRequest,
    TrainReply,
    TrainRequest,
)
from federated.notary import Notary


class Averaging:
    """Train at the nodes, average at the aggregation, evaluate at the nodes, add the figures at the aggregation."""

    def __init__(self, mode: AggregationMode, protection: Protection) -> None:
        self.mode = mode
        self._protection = protection

    def opening(self, play: Play, start: Model | None) -> Conversation[GlobalModel]:
        """See `Aggregation.opening`."""
        if start is not None:
            adopt = AdoptRequest(parent=start)
        else:
            drawn = yield from ask(
                Ask(
                    step=Step.INITIALISE,
                    requests=dict.fromkeys(play.options.parties, InitialiseRequest()),
                    reply=InitialiseReply,
                    quorum=play.options.minimum_members,
                )
            )
            adopt = AdoptRequest(proposals={party: reply.weights for party, reply in drawn.items()})
        adopted = yield from ask(_of_aggregation(Step.ADOPT, adopt, AdoptReply))
        return GlobalModel(wire=adopted[AGGREGATION].model)

    def round(self, play: Play, model: GlobalModel) -> Conversation[GlobalModel]:
        """See `Aggregation.round`."""
        least = play.options.minimum_members

        train = TrainRequest(model=model.wire)
        trained = yield from ask(
            Ask(
                step=Step.TRAIN,
                requests=dict.fromkeys(play.options.participants(play.round), train),
                reply=TrainReply,
                quorum=least,
                deadline_s=play.options.round_rules.deadline_s,
            )
        )
        updates = {party: reply.update for party, reply in trained.items()}
        merge = AverageRequest(model=model.wire, updates=updates)
        merged = (yield from ask(_of_aggregation(Step.AVERAGE, merge, AverageReply)))[AGGREGATION]

        test = EvaluateRequest(sealed=merged.sealed, weights_sha256=merged.weights_sha256)
        tested = yield from ask(
            Ask(
                step=Step.EVALUATE,
                requests=dict.fromkeys(trained, test),
                reply=EvaluateReply,
                quorum=least,
                deadline_s=play.options.round_rules.working_s,
            )
        )
        figures = {party: reply.figures for party, reply in tested.items()}
        add = SummariseRequest(figures=figures)
        added = (yield from ask(_of_aggregation(Step.SUMMARISE, add, SummariseReply)))[AGGREGATION]

        wire = Model(
            run=play.run,
            round=play.round,
            sealed=merged.sealed,
            weights_sha256=merged.weights_sha256,
            lineage=added.lineage,
        )
        return GlobalModel(wire=wire, members=tuple(merged.members), metrics=added.metrics)

    def closing(self, play: Play, model: GlobalModel) -> Conversation[Served]:
        """See `Aggregation.closing`."""
        return (yield from exporting(play, model))

    def node_side(self, work: NodeWork) -> Answers:
        """See `Aggregation.node_side`."""
        return AveragingNode(work, mode=self.mode, protection=self._protection).answers()

    def aggregation_side(self, notary: Notary, ledger: Ledger) -> Answers:
        """See `Aggregation.aggregation_side`."""
        return AveragingAggregation(notary, ledger=ledger, protection=self._protection).answers()


def exporting(play: Play, model: GlobalModel) -> Conversation[Served]:
    """Have the members export the serving model; the bytes that most of them agree on are served."""
    request = ExportRequest(model=model.wire)
    exported = yield from ask(
        Ask(
            step=Step.EXPORT,
            requests=dict.fromkeys(model.members or play.options.parties, request),
            reply=ExportReply,
            quorum=MIN_EXPORTERS,
            deadline_s=play.options.round_rules.working_s,
        )
    )
    agreed = largest_group({party: reply.sha256 for party, reply in exported.items()})
    if len(agreed) < MIN_EXPORTERS:
        raise RoundFailed("No two members exported the same model.")
    statements = {party: exported[party].statement for party in agreed}
    return Served(sealed=exported[agreed[0]].serving, exporter=agreed[0], statements=statements)


def largest_group(said: Mapping[str, str | bytes]) -> list[str]:
    """Return the parties that said the same as most did, sorted."""
    most = Counter(said.values()).most_common(1)[0][0]
    return sorted(party for party, value in said.items() if value == most)


def _of_aggregation(step: Step, request: Request, reply: type[R]) -> Ask[R]:
    return Ask(step=step, requests={AGGREGATION: request}, reply=reply, quorum=1)
