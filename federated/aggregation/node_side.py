"""A node's side of the averaging modes: its update and its figures leave protected for the aggregation."""

from core.learning.orders import AGGREGATION, AggregationMode
from core.learning.run_events import FailureCode
from core.learning.weights import encode_weights
from federated.aggregation.base import NodeWork
from federated.aggregation.contexts import figures_context, initial_context, update_context
from federated.aggregation.contributions import Update, encode_figures, encode_update
from federated.aggregation.local import LocalWork
from federated.aggregation.protection import Protection
from federated.answering import Answers, Errand, handle
from federated.checkpoints import open_model, open_weights
from federated.failures import Refused
from federated.messages import (
    EvaluateReply,
    EvaluateRequest,
    ExportRequest,
    InitialiseReply,
    InitialiseRequest,
    Step,
    TrainReply,
    TrainRequest,
)
from security.context import Context


class AveragingNode:
    """What a node does at each step."""

    def __init__(self, work: NodeWork, *, mode: AggregationMode, protection: Protection) -> None:
        self._work = work
        self._local = LocalWork(work)
        self._mode = mode
        self._protection = protection

    def answers(self) -> Answers:
        """Step -> what the node does."""
        return {
            Step.INITIALISE: handle(InitialiseRequest, self._initialise),
            Step.TRAIN: handle(TrainRequest, self._train),
            Step.EVALUATE: handle(EvaluateRequest, self._evaluate),
            Step.EXPORT: handle(ExportRequest, self._local.export),
        }

    def _initialise(self, errand: Errand, _request: InitialiseRequest) -> InitialiseReply:
        work = self._work
        weights = work.learner.initial(errand.options.seed)  # counts as "other": the learner may start only now
        context = initial_context(work.notary.study, work.notary.party, errand.header)
        return InitialiseReply(weights=self._protect(encode_weights(weights, {}), errand, context))

    def _train(self, errand: Errand, request: TrainRequest) -> TrainReply:
        work, header = self._work, errand.header
        if self._mode is AggregationMode.PLAIN and work.clinical:
            raise Refused(FailureCode.CLINICAL)
        base, _ = open_model(work.notary, request.model, run=header.run, round_number=header.round - 1)
        trained = self._local.train(errand, base)
        update = encode_update(Update(delta=trained.delta, images=trained.images, privacy=trained.privacy))
        context = update_context(work.notary.study, work.notary.party, header, request.model.weights_sha256)
        return TrainReply(update=self._protect(update, errand, context), own=trained.own)

    def _evaluate(self, errand: Errand, request: EvaluateRequest) -> EvaluateReply:
        work, header = self._work, errand.header
        weights = open_weights(
            work.notary,
            request.sealed,
            run=header.run,
            round_number=header.round,
            weights_sha256=request.weights_sha256,
        )
        evaluated = self._local.evaluate(errand, weights)
        context = figures_context(work.notary.study, work.notary.party, header, request.weights_sha256)
        return EvaluateReply(figures=self._protect(encode_figures(evaluated.sums), errand, context), own=evaluated.own)

    def _protect(self, body: bytes, errand: Errand, context: Context) -> bytes:
        notary = self._work.notary
        recipient = notary.recipients(errand.certificates, [AGGREGATION]).get(AGGREGATION)
        if recipient is None:
            raise Refused(FailureCode.MEMBER_REFUSED)
        return self._protection.close(body, notary=notary, recipient=recipient, context=context)
