"""The aggregation party's side of the averaging modes: open, check, combine, step, seal, add figures, sign the lineage.

It trusts nobody: what it does follows from the authority's order and from what the members signed; the coordinator
only carries. It keeps one attempt in memory, between averaging and summarising, and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from core.errors import CheckpointRefused
from core.learning.lineage import Lineage, sha256_of_lineage, sign_lineage
from core.learning.metric_sums import length_of, summarise, summary_dict
from core.learning.orders import AGGREGATION, AUTHORITY
from core.learning.run_events import FailureCode
from core.learning.weights import Weights, decode_weights, sha256_of
from core.studies import STUDIES_BY_CODE
from federated.aggregation.combining import combine
from federated.aggregation.contexts import figures_context, initial_context, update_context
from federated.aggregation.contributions import Update, read_figures, read_update
from federated.aggregation.protection import Protection
from federated.aggregation.server import ServerState, step
from federated.answering import Answers, Errand, handle
from federated.checkpoints import open_model, open_state, seal_state
from federated.failures import Refused, code_of
from federated.ledger import Ledger
from federated.messages import (
    AdoptReply,
    AdoptRequest,
    AverageReply,
    AverageRequest,
    Model,
    Step,
    SummariseReply,
    SummariseRequest,
)
from federated.notary import Notary
from federated.privacy_statements import check_statement, privacy_of
from federated.timing import Task

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Averaged:
    """What was averaged in an attempt and waits for its figures."""

    attempt: str
    weights_sha256: str
    parent: str
    members: tuple[str, ...]
    privacy: dict[str, float | str]


class AveragingAggregation:
    """What the aggregation does at each step."""

    def __init__(self, notary: Notary, *, ledger: Ledger, protection: Protection) -> None:
        self._notary = notary
        self._ledger = ledger
        self._protection = protection
        self._study = STUDIES_BY_CODE[notary.study]
        self._averaged: _Averaged | None = None

    def answers(self) -> Answers:
        """Step -> what the aggregation does."""
        return {
            Step.ADOPT: handle(AdoptRequest, self._adopt),
            Step.AVERAGE: handle(AverageRequest, self._average),
            Step.SUMMARISE: handle(SummariseRequest, self._summarise),
        }

    def _adopt(self, errand: Errand, request: AdoptRequest) -> AdoptReply:
        header, parent, metrics = errand.header, "", {}
        privacy: dict[str, float | str] = {}
        refused: dict[str, FailureCode] = {}
        if request.parent is not None:
            parent = sha256_of_lineage(request.parent.lineage)
            if parent != errand.options.start_from:
                raise Refused(FailureCode.ORDER)
            old = request.parent
            weights, lineage = open_model(self._notary, old, run=old.run, round_number=old.round)
            metrics, privacy = lineage.metrics, lineage.privacy
        else:
            if errand.options.start_from:
                raise Refused(FailureCode.ORDER)
            weights, refused = self._agreed(errand, request.proposals)
        sealed, sha256 = self._seal(ServerState(weights=weights), errand)  # moments belong to one order's optimiser
        signed = self._sign_lineage(
            errand, weights_sha256=sha256, parent=parent, members=(), metrics=metrics, privacy=privacy
        )
        return AdoptReply(
            model=Model(run=header.run, round=header.round, sealed=sealed, weights_sha256=sha256, lineage=signed),
            refused=_values(refused),
        )

    def _agreed(self, errand: Errand, proposals: Mapping[str, bytes]) -> tuple[Weights, dict[str, FailureCode]]:
        """Return the first weights that most members drew from the order's seed, and who did not."""

        def read(party: str, data: bytes) -> Weights:
            context = initial_context(self._notary.study, party, errand.header)
            return _finite(decode_weights(self._protection.open(data, notary=self._notary, context=context))[0])

        drawn, refused = _accept(proposals, errand.options.parties, read)
        hashes = {party: sha256_of(weights) for party, weights in drawn.items()}
        most = max(hashes.values(), key=list(hashes.values()).count, default="")
        agreeing = [party for party, sha256 in hashes.items() if sha256 == most]
        refused |= {party: FailureCode.FIRST_WEIGHTS for party in drawn if party not in agreeing}
        if len(agreeing) < errand.options.minimum_members or 2 * len(agreeing) <= len(drawn):
            raise Refused(FailureCode.TOO_FEW, refused)
        return drawn[agreeing[0]], refused

    def _average(self, errand: Errand, request: AverageRequest) -> AverageReply:
        header, options, notary = errand.header, errand.options, self._notary
        state, base = open_state(notary, request.model, run=header.run, round_number=header.round - 1)

        def read(party: str, data: bytes) -> Update:
            context = update_context(notary.study, party, header, request.model.weights_sha256)
            body = self._protection.open(data, notary=notary, context=context)
            update = read_update(body, like=state.weights, most_images=options.member(party).images)
            check_statement(update.privacy, options.privacy)
            return update

        updates, refused = _accept(request.updates, options.participants(header.round), read)
        if len(updates) < options.minimum_members:
            raise Refused(FailureCode.TOO_FEW, refused)
        sealed, sha256 = self._seal(step(state, combine(updates, options.combining), options.server), errand)
        self._averaged = _Averaged(
            attempt=header.attempt,
            weights_sha256=sha256,
            parent=sha256_of_lineage(request.model.lineage),
            members=tuple(updates),
            privacy=privacy_of(base, [update.privacy for update in updates.values()]),
        )
        return AverageReply(sealed=sealed, weights_sha256=sha256, members=list(updates), refused=_values(refused))

    def _summarise(self, errand: Errand, request: SummariseRequest) -> SummariseReply:
        header, options, notary = errand.header, errand.options, self._notary
        averaged, self._averaged = self._averaged, None
        if averaged is None or averaged.attempt != header.attempt:
            raise Refused(FailureCode.MESSAGE)
        classes = len(self._study.classes)

        def read(party: str, data: bytes) -> np.ndarray:
            context = figures_context(notary.study, party, header, averaged.weights_sha256)
            body = self._protection.open(data, notary=notary, context=context)
            return read_figures(body, classes=classes, most_images=options.member(party).validation)

        figures, refused = _accept(request.figures, options.participants(header.round), read)
        if len(figures) < options.minimum_members:
            raise Refused(FailureCode.TOO_FEW, refused)
        self._ledger.settle(header.run, header.round, list(figures))
        total = np.zeros(length_of(classes))
        for party in figures:
            total += figures[party]
        metrics = {name: float(value) for name, value in summary_dict(summarise(total, self._study)).items()}
        signed = self._sign_lineage(
            errand,
            weights_sha256=averaged.weights_sha256,
            parent=averaged.parent,
            members=averaged.members,
            metrics=metrics,
            privacy=averaged.privacy,
        )
        return SummariseReply(metrics=metrics, lineage=signed, refused=_values(refused))

    def _seal(self, state: ServerState, errand: Errand) -> tuple[bytes, str]:
        readers = [*errand.options.parties, AUTHORITY, AGGREGATION]
        recipients = self._notary.recipients(errand.certificates, readers)
        return seal_state(
            self._notary,
            state,
            run=errand.header.run,
            round_number=errand.header.round,
            recipients=recipients.values(),
        )

    def _sign_lineage(
        self,
        errand: Errand,
        *,
        weights_sha256: str,
        parent: str,
        members: tuple[str, ...],
        metrics: Mapping[str, float],
        privacy: Mapping[str, float | str],
    ) -> bytes:
        header = errand.header
        lineage = Lineage(
            study=self._notary.study,
            run=header.run,
            round=header.round,
            attempt=header.attempt,
            weights_sha256=weights_sha256,
            parent=parent,
            mode=errand.options.mode.value,
            members=members,
            metrics=dict(metrics),
            order=sha256_of_lineage(errand.order),
            at=self._notary.clock.now().isoformat(),
            privacy=dict(privacy),
        )
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            return sign_lineage(lineage, signer=self._notary.identity)


def _accept(
    offered: Mapping[str, bytes], members: tuple[str, ...], read: Callable[[str, bytes], T]
) -> tuple[dict[str, T], dict[str, FailureCode]]:
    """Read what each member offered, in the order of party names; what cannot be read is a code, not an exception."""
    accepted: dict[str, T] = {}
    refused: dict[str, FailureCode] = {}
    for party in sorted(offered):
        if party not in members:
            refused[party] = FailureCode.MESSAGE
            continue
        try:
            accepted[party] = read(party, offered[party])
        except Exception as error:  # noqa: BLE001 - one member's bytes never end the round of the others
            refused[party] = code_of(error)
    return accepted, refused


def _finite(weights: Weights) -> Weights:
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise CheckpointRefused("the first weights are not finite")
    return weights


def _values(refused: Mapping[str, FailureCode]) -> dict[str, str]:
    return {party: code.value for party, code in refused.items()}
