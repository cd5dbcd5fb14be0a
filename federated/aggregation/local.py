"""What a node does with its own images, the same in every mode: train, evaluate, export the serving model.

Nothing here leaves the node in the clear; how results travel is the mode's matter. A node's own figures are sealed for
the authority, the app and the hospital itself.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.bundle import make_serving_model
from core.diagnosis.checkpoint_file import seal_model
from core.diagnosis.exports import sha256_of_model, sign_export
from core.imaging.datasets import DatasetArrays, Part
from core.learning.metric_sums import Vector, summarise, summary_dict, summary_of
from core.learning.orders import APP, AUTHORITY
from core.learning.own_figures import own_context
from core.learning.privacy import PrivacyUnit, StepBlock, block_of, units_of
from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import FailureCode
from core.learning.training import TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import STUDIES_BY_CODE, Study
from federated.aggregation.base import NodeWork
from federated.aggregation.contributions import difference
from federated.answering import Errand
from federated.checkpoints import moments_sha256, open_state
from federated.failures import Refused
from federated.messages import ExportReply, ExportRequest, PrivacyStatement
from federated.spend import Spent
from federated.timing import Task
from security.certificates import Certificate


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a local training gave.

    Attributes:
        delta: new weights minus the global ones, float32.
        images: images behind it.
        privacy: what the node states of its differential privacy; None for a training without.
        own: the node's own figures, sealed (`core.learning.own_figures`).
    """

    delta: Weights
    images: int
    privacy: PrivacyStatement | None
    own: bytes


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation on the validation part gave.

    Attributes:
        sums: metric sums (`core.learning.metric_sums`), float64.
        own: the node's own figures, sealed.
    """

    sums: Vector
    own: bytes


class LocalWork:
    """One node's training, evaluation and export."""

    def __init__(self, work: NodeWork) -> None:
        self._work = work
        self.study: Study = STUDIES_BY_CODE[work.notary.study]

    def train(self, errand: Errand, base: Weights) -> Trained:
        """Train a round's epochs from the global weights `base`, once the data set's spend of privacy is recorded.

        Raises:
            Refused: with `PRIVACY_BUDGET` when the data set would have spent too much, `STOPPED`, or `NOT_FINITE` when
                the loss or a weight is no number any more.
        """
        work, header, options = self._work, errand.header, errand.options
        own = work.data.part(Part.TRAINING)
        plan = options.training.for_round(
            header.round, options.rounds, seed=_seed(options.seed, header.round, work.notary.party)
        )
        units, unit = units_of(own.patients)
        statement = self._spend(errand, unit)
        with work.notary.watch.measuring(Task.TRAINING):
            try:
                new, report = self._fit(base, own, units, plan, options.privacy)
            except ValueError as error:
                raise Refused(FailureCode.NOT_FINITE) from error
        if report.stopped:
            raise Refused(FailureCode.STOPPED)
        figures = {"images": float(report.images)}
        if statement is None:
            figures |= {"loss": report.loss}
        else:  # the loss would tell of the images without noise
            figures |= {"epsilon": statement.epsilon, "delta": statement.delta, "noise": statement.noise_multiplier}
            figures |= {"by_patient": float(unit is PrivacyUnit.PATIENT), "limit": self._limit(options.privacy)}
        figures |= {"unprotected": float(work.spend.unprotected(work.dataset))}
        sealed = self._own(figures, errand)
        return Trained(delta=difference(new, base), images=report.images, privacy=statement, own=sealed)

    def _fit(
        self,
        base: Weights,
        own: DatasetArrays,
        units: NDArray[np.int64],
        plan: TrainingOptions,
        privacy: PrivacyOptions | None,
    ) -> tuple[Weights, TrainingReport]:
        work = self._work

        def progress(done: int, total: int, _loss: float) -> None:
            work.progress(done, total)

        stop = work.should_stop
        if privacy is None:
            return work.learner.fit(base, own.images, own.labels, plan, should_stop=stop, progress=progress)
        return work.learner.fit_privately(
            base, own.images, own.labels, units, plan, privacy=privacy, should_stop=stop, progress=progress
        )

    def _spend(self, errand: Errand, unit: PrivacyUnit) -> PrivacyStatement | None:
        """Record what this round's training will spend, before it begins; without noise there is nothing to state."""
        work, header, privacy = self._work, errand.header, errand.options.privacy
        epochs = errand.options.training.epochs
        without = StepBlock(noise_multiplier=0.0, sampling_rate=1.0, steps=epochs)
        entry = Spent(
            dataset=work.dataset,
            run=header.run,
            round=header.round,
            attempt=header.attempt,
            unit=unit,
            block=without if privacy is None else block_of(privacy, epochs=epochs),
        )
        if privacy is None:
            work.spend.spend(entry, budget=math.inf, delta=0.0)
            return None
        epsilon = work.spend.spend(entry, budget=privacy.budget_epsilon, delta=privacy.delta)
        return PrivacyStatement(
            epsilon=epsilon, delta=privacy.delta, unit=unit.value, noise_multiplier=privacy.noise_multiplier
        )

    def _limit(self, privacy: PrivacyOptions | None) -> float:
        """The epsilon at which this hospital stops: the order's, or its own if that is smaller."""
        return min(math.inf if privacy is None else privacy.budget_epsilon, self._work.spend.limit())

    def evaluate(self, errand: Errand, weights: Weights) -> Evaluated:
        """Return the metric sums of `weights` on the node's validation part."""
        own = self._work.data.part(Part.VALIDATION)
        with self._work.notary.watch.measuring(Task.EVALUATION):
            sums = self._work.learner.evaluate(weights, own.images, own.labels)
        figures = summary_dict(summarise(sums, self.study)) if len(own) else {}
        return Evaluated(sums=sums, own=self._own(figures, errand))

    def export(self, errand: Errand, request: ExportRequest) -> ExportReply:
        """Export the run's last model for serving, sealed for the authority, with the node's signed word for it.

        Raises:
            CheckpointRefused: the model is not that of the run's last round (`RunOptions.last_round`).
            Refused: with `FIGURES` or `MEMBER_REFUSED`.
        """
        work, options = self._work, errand.options
        last = options.last_round(request.model.round)
        state, lineage = open_state(work.notary, request.model, run=errand.header.run, round_number=last)
        try:
            summary = summary_of(lineage.metrics)
        except TypeError:
            raise Refused(FailureCode.FIGURES) from None
        with work.notary.watch.measuring(Task.EVALUATION):
            litert = work.learner.export(state.weights)
        model = make_serving_model(
            weights=state.weights,
            litert=litert,
            architecture=options.architecture,
            study=self.study,
            summary=summary,
            run_id=errand.header.run,
            round_number=last,
            members=lineage.members,
            moments_sha256=moments_sha256(state),
        )
        recipients = work.notary.recipients(errand.certificates, [AUTHORITY])
        if AUTHORITY not in recipients:
            raise Refused(FailureCode.MEMBER_REFUSED)
        with work.notary.watch.measuring(Task.CRYPTOGRAPHY):
            sealed = seal_model(model, sender=work.notary.identity, recipients=list(recipients.values()))
            statement = sign_export(model, signer=work.notary.identity)
        return ExportReply(serving=sealed, sha256=sha256_of_model(model), statement=statement)

    def _own(self, figures: Mapping[str, float], errand: Errand) -> bytes:
        """Seal the node's own figures for the authority, the app that shows them, and itself."""
        notary, header = self._work.notary, errand.header
        readers: dict[str, Certificate] = notary.recipients(errand.certificates, [AUTHORITY, APP, notary.party])
        body = json.dumps(dict(figures), sort_keys=True).encode()
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
