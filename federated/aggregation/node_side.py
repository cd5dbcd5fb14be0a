"""A node's side of the averaging modes: train, evaluate, draw first weights, export the serving model."""

import hashlib
import json

import numpy as np

from core.diagnosis.bundle import make_serving_model
from core.diagnosis.checkpoint_file import seal_model
from core.diagnosis.exports import sha256_of_model, sign_export
from core.imaging.datasets import Part
from core.learning.metric_sums import summarise, summary_dict, summary_of
from core.learning.orders import AGGREGATION, APP, AUTHORITY, AggregationMode
from core.learning.own_figures import own_context
from core.learning.run_events import FailureCode
from core.learning.weights import encode_weights
from core.studies import STUDIES_BY_CODE
from federated.aggregation.base import NodeWork
from federated.aggregation.contexts import figures_context, initial_context, update_context
from federated.aggregation.fedavg import Update, difference, encode_figures, encode_update
from federated.aggregation.protection import Protection
from federated.answering import Answers, Errand, handle
from federated.checkpoints import open_model, open_weights
from federated.failures import Refused
from federated.messages import (
    EvaluateReply,
    EvaluateRequest,
    ExportReply,
    ExportRequest,
    InitialiseReply,
    InitialiseRequest,
    Step,
    TrainReply,
    TrainRequest,
)
from federated.timing import Task
from security.certificates import Certificate
from security.context import Context


class AveragingNode:
    """What a node does at each step.

    Its update leaves protected for the aggregation; its figures leave twice: as sums that only the aggregation adds up,
    and as figures that the authority, the app and the hospital itself can read.
    """

    def __init__(self, work: NodeWork, *, mode: AggregationMode, protection: Protection) -> None:
        self._work = work
        self._mode = mode
        self._protection = protection
        self._study = STUDIES_BY_CODE[work.notary.study]

    def answers(self) -> Answers:
        """Step -> what the node does."""
        return {
            Step.INITIALISE: handle(InitialiseRequest, self._initialise),
            Step.TRAIN: handle(TrainRequest, self._train),
            Step.EVALUATE: handle(EvaluateRequest, self._evaluate),
            Step.EXPORT: handle(ExportRequest, self._export),
        }

    def _initialise(self, errand: Errand, _request: InitialiseRequest) -> InitialiseReply:
        work = self._work
        weights = work.learner.initial(errand.options.seed)  # counts as "other": the learner may start only now
        context = initial_context(work.notary.study, work.notary.party, errand.header)
        return InitialiseReply(weights=self._protect(encode_weights(weights, {}), errand, context))

    def _train(self, errand: Errand, request: TrainRequest) -> TrainReply:
        work, header, options = self._work, errand.header, errand.options
        if self._mode is AggregationMode.PLAIN and work.clinical:
            raise Refused(FailureCode.CLINICAL)
        base, _ = open_model(work.notary, request.model, run=header.run, round_number=header.round - 1)
        own = work.data.part(Part.TRAINING)
        plan = options.training.for_round(
            header.round, options.rounds, seed=_seed(options.seed, header.round, work.notary.party)
        )
        with work.notary.watch.measuring(Task.TRAINING):
            try:
                new, report = work.learner.fit(
                    base,
                    own.images,
                    own.labels,
                    plan,
                    should_stop=work.should_stop,
                    progress=lambda done, total, _loss: work.progress(done, total),
                )
            except ValueError as error:
                raise Refused(FailureCode.NOT_FINITE) from error
        if report.stopped:
            raise Refused(FailureCode.STOPPED)
        update = encode_update(Update(delta=difference(new, base), images=report.images))
        context = update_context(work.notary.study, work.notary.party, header, request.model.weights_sha256)
        figures = {"images": float(report.images), "loss": report.loss}
        return TrainReply(update=self._protect(update, errand, context), own=self._own(figures, errand))

    def _evaluate(self, errand: Errand, request: EvaluateRequest) -> EvaluateReply:
        work, header = self._work, errand.header
        weights = open_weights(
            work.notary,
            request.sealed,
            run=header.run,
            round_number=header.round,
            weights_sha256=request.weights_sha256,
        )
        own = work.data.part(Part.VALIDATION)
        with work.notary.watch.measuring(Task.EVALUATION):
            sums = work.learner.evaluate(weights, own.images, own.labels)
        context = figures_context(work.notary.study, work.notary.party, header, request.weights_sha256)
        figures = summary_dict(summarise(sums, self._study)) if len(own) else {}
        return EvaluateReply(
            figures=self._protect(encode_figures(sums), errand, context),
            own=self._own(figures, errand),
        )

    def _export(self, errand: Errand, request: ExportRequest) -> ExportReply:
        work, options = self._work, errand.options
        weights, lineage = open_model(work.notary, request.model, run=errand.header.run, round_number=options.rounds)
        try:
            summary = summary_of(lineage.metrics)
        except TypeError:
            raise Refused(FailureCode.FIGURES) from None
        with work.notary.watch.measuring(Task.EVALUATION):
            litert = work.learner.export(weights)
        model = make_serving_model(
            weights=weights,
            litert=litert,
            architecture=options.architecture,
            study=self._study,
            summary=summary,
            run_id=errand.header.run,
            round_number=options.rounds,
            members=lineage.members,
        )
        recipients = work.notary.recipients(errand.certificates, [AUTHORITY])
        if AUTHORITY not in recipients:
            raise Refused(FailureCode.MEMBER_REFUSED)
        with work.notary.watch.measuring(Task.CRYPTOGRAPHY):
            sealed = seal_model(model, sender=work.notary.identity, recipients=list(recipients.values()))
            statement = sign_export(model, signer=work.notary.identity)
        return ExportReply(serving=sealed, sha256=sha256_of_model(model), statement=statement)

    def _protect(self, body: bytes, errand: Errand, context: Context) -> bytes:
        notary = self._work.notary
        recipient = notary.recipients(errand.certificates, [AGGREGATION]).get(AGGREGATION)
        if recipient is None:
            raise Refused(FailureCode.MEMBER_REFUSED)
        return self._protection.close(body, notary=notary, recipient=recipient, context=context)

    def _own(self, figures: dict[str, float], errand: Errand) -> bytes:
        """Seal the node's own figures for the authority, the app that shows them, and itself."""
        notary, header = self._work.notary, errand.header
        readers: dict[str, Certificate] = notary.recipients(errand.certificates, [AUTHORITY, APP, notary.party])
        body = json.dumps(figures, sort_keys=True).encode()
        context = own_context(
            study=notary.study,
            party=notary.party,
            run=header.run,
            round_number=header.round,
            attempt=header.attempt,
            step=header.step,
        )
        return notary.seal(body, readers.values(), context)


def _seed(seed: int, round_number: int, party: str) -> int:
    """A seed for each node and round, so that no two shuffle alike and every run can be repeated."""
    digest = hashlib.sha256(f"{seed}/{round_number}/{party}".encode()).digest()
    return int(np.frombuffer(digest[:4], "<u4")[0])
