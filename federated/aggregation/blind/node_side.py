"""A node's side of blind rounds: it masks what it trained, checks the sum, and applies it itself.

The node keeps one attempt in memory: its part in both sums, and the new weights until they are sealed.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.learning.lineage import Lineage, sha256_of_lineage, sign_lineage, signers_of
from core.learning.metric_sums import summarise, summary_dict
from core.learning.orders import AUTHORITY, AggregationMode, RunOptions, survivors_needed
from core.learning.run_events import FailureCode
from core.learning.sum_checks import check_sums
from federated.aggregation.base import NodeWork
from federated.aggregation.blind.circle import Circle, witnesses
from federated.aggregation.blind.messages import (
    ApplyReply,
    ApplyRequest,
    BeginRequest,
    LineageReply,
    SealReply,
    SealRequest,
    UploadRequest,
)
from federated.aggregation.blind.payload import decode_sums, decode_update, encode_sums, encode_update
from federated.aggregation.blind.statements import Label
from federated.aggregation.blind.summing import GroupKeys, SumSteps, Vector, same_attempt
from federated.aggregation.local import LocalWork
from federated.aggregation.server import ServerState, step
from federated.answering import Answers, Attached, Errand, handle
from federated.checkpoints import open_state, seal_state, sha256_of_state
from federated.failures import Refused
from federated.messages import Attachment, ExportReply, ExportRequest, Header, Model, Step
from federated.timing import Task

CLOCKS_APART = timedelta(hours=1)
_DIGITS = 9
"""Significant digits of published figures: members' machines may differ in the last bits of a logarithm."""


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """The weights that a node holds in an attempt.

    Attributes:
        header: run, round and attempt in which it holds them.
        state: weights and moments.
        sha256: name of weights and moments (`sha256_of_state`).
        parent: SHA-256 of the signed lineage of the weights before; empty at the start of a line.
        members: whose updates are in them.
    """

    header: Header
    state: ServerState
    sha256: str
    parent: str
    members: tuple[str, ...]


class BlindNode:
    """What a node does at each step."""

    def __init__(self, work: NodeWork) -> None:
        self._work = work
        self._notary = work.notary
        self._local = LocalWork(work)
        key = GroupKeys(work.notary).of
        self._update = SumSteps(work.notary, work.ledger, Label.UPDATE, self._train, key, self._holds)
        self._figures = SumSteps(work.notary, work.ledger, Label.FIGURES, self._evaluate, key)
        self._base: _Weights | None = None
        self._after: _Weights | None = None

    def answers(self) -> Answers:
        """Step -> what the node does."""
        return {
            **self._update.answers(),
            **self._figures.answers(),
            Step.BEGIN: handle(BeginRequest, self._begin),
            Step.APPLY: handle(ApplyRequest, self._apply),
            Step.FIGURES_TALLY: handle(ApplyRequest, self._tally),
            Step.SEAL: handle(SealRequest, self._seal),
            Step.EXPORT: handle(ExportRequest, self._export),
        }

    def _begin(self, errand: Errand, request: BeginRequest) -> LineageReply:
        header, options, parent, metrics = errand.header, errand.options, "", {}
        if header.round != 0:
            raise Refused(FailureCode.MESSAGE)  # or first weights could be signed as those of a later round
        if request.parent is not None:
            parent = sha256_of_lineage(request.parent.lineage)
            old = request.parent
            state, lineage = open_state(self._notary, old, run=old.run, round_number=old.round)
            metrics = lineage.metrics
        else:
            state = ServerState(weights=self._work.learner.initial(options.seed))
        if parent != options.start_from:
            raise Refused(FailureCode.ORDER)
        self._after = self._weights(header, state, parent=parent, members=options.parties)
        return self._signed(errand, request.at, dict(metrics))

    def _train(self, errand: Errand, request: UploadRequest, circle: Circle) -> Vector:
        if request.model is None:
            raise Refused(FailureCode.MESSAGE)
        base = self._opened(errand, request.model)
        trained = self._local.train(errand, base.state.weights)
        self._base = base
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            words, _ = encode_update(trained.delta, trained.images, options=errand.options, circle=circle)
        return words, base.sha256, trained.own

    def _opened(self, errand: Errand, model: Model) -> _Weights:
        """Open the global model, which must be of this very order; weights that the node made itself are not opened."""
        header, after = errand.header, self._after
        sealed = model.model_copy(update={"sealed": bytes(errand.attachment)})
        known = (after.state, after.sha256) if after is not None and not sealed.sealed else None
        state, lineage = open_state(self._notary, sealed, run=header.run, round_number=header.round - 1, known=known)
        _check_origin(lineage, signers_of(model.lineage), errand.options, errand.order)
        parent = sha256_of_lineage(model.lineage)
        return _Weights(header=header, state=state, sha256=model.weights_sha256, parent=parent, members=lineage.members)

    def _holds(self) -> str:
        return self._after.sha256 if self._after is not None else ""

    def _apply(self, errand: Errand, request: ApplyRequest) -> ApplyReply:
        options, base = errand.options, self._base
        words, member = self._update.check(errand, request)
        if base is None or not same_attempt(base.header, errand.header):
            raise Refused(FailureCode.MESSAGE)
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            combined, _ = decode_update(words, base.state.weights, options=options, circle=member.circle)
            state = step(base.state, combined, options.server)
        self._base = None
        self._after = self._weights(errand.header, state, parent=base.parent, members=tuple(sorted(member.survivors)))
        return ApplyReply(weights_sha256=self._after.sha256)

    def _evaluate(self, errand: Errand, _request: UploadRequest, circle: Circle) -> Vector:
        after = self._held(errand)
        evaluated = self._local.evaluate(errand, after.state.weights)
        classes = len(self._local.study.classes)
        words = encode_sums(evaluated.sums, options=errand.options, circle=circle, classes=classes)
        return words, after.sha256, evaluated.own

    def _tally(self, errand: Errand, request: ApplyRequest) -> LineageReply:
        words, member = self._figures.check(errand, request)
        options, study = errand.options, self._local.study
        sums = decode_sums(words, options=options, circle=member.circle, classes=len(study.classes))
        most = sum(options.member(party).validation for party in member.survivors)
        try:
            check_sums(sums, classes=len(study.classes), most=most)
        except ValueError:
            raise Refused(FailureCode.FIGURES) from None
        metrics = {name: float(f"{value:.{_DIGITS}g}") for name, value in summary_dict(summarise(sums, study)).items()}
        return self._signed(errand, request.at, metrics)

    def _seal(self, errand: Errand, _request: SealRequest) -> Attached:
        after = self._held(errand)
        recipients = self._notary.recipients(errand.certificates, [*errand.options.parties, AUTHORITY])
        if AUTHORITY not in recipients:
            raise Refused(FailureCode.MEMBER_REFUSED)
        sealed, _ = seal_state(
            self._notary,
            after.state,
            run=errand.header.run,
            round_number=errand.header.round,
            recipients=recipients.values(),
        )
        return Attached(SealReply(), Attachment.of(sealed))

    def _signed(self, errand: Errand, at: str, metrics: dict[str, float]) -> LineageReply:
        """Sign the lineage of the weights that this node holds."""
        header, after = errand.header, self._held(errand)
        try:
            stated = datetime.fromisoformat(at)
            apart = abs(self._notary.clock.now() - stated)
        except (ValueError, TypeError):
            raise Refused(FailureCode.MESSAGE) from None
        if apart > CLOCKS_APART:
            raise Refused(FailureCode.MESSAGE)
        lineage = Lineage(
            study=self._notary.study,
            run=header.run,
            round=header.round,
            attempt=header.attempt,
            weights_sha256=after.sha256,
            parent=after.parent,
            mode=AggregationMode.BLIND.value,
            members=after.members,
            metrics=metrics,
            order=hashlib.sha256(errand.order).hexdigest(),
            at=at,
        )
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            signed = sign_lineage(lineage, signer=self._notary.identity)
        return LineageReply(weights_sha256=after.sha256, metrics=metrics, lineage=signed)

    def _export(self, errand: Errand, request: ExportRequest) -> ExportReply:
        model, options = request.model, errand.options
        _, lineage = open_state(self._notary, model, run=errand.header.run, round_number=options.rounds)
        _check_origin(lineage, signers_of(model.lineage), options, errand.order)
        return self._local.export(errand, request)

    def _weights(self, header: Header, state: ServerState, *, parent: str, members: tuple[str, ...]) -> _Weights:
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            sha256 = sha256_of_state(state)
        return _Weights(header=header, state=state, sha256=sha256, parent=parent, members=members)

    def _held(self, errand: Errand) -> _Weights:
        if self._after is None or not same_attempt(self._after.header, errand.header):
            raise Refused(FailureCode.MESSAGE)
        return self._after


def _check_origin(lineage: Lineage, signers: tuple[str, ...], options: RunOptions, order: bytes) -> None:
    """Check against the order what a lineage says of itself: mode, members, and who may have signed it.

    Without it a few members, or the aggregation party, could sign a lineage in which they are all that is needed.

    Raises:
        Refused: with `CHECKPOINT`, it is not from a round as this order has them.
    """
    parties, committee = witnesses(options, order=order, round_number=lineage.round)
    members = set(lineage.members)
    enough = len(parties) if lineage.round == 0 else survivors_needed(len(parties))
    if (
        lineage.order != hashlib.sha256(order).hexdigest()
        or lineage.mode != AggregationMode.BLIND.value
        or not members <= set(parties)
        or len(members) < enough
        or not set(signers) <= set(committee)
        or len(signers) < survivors_needed(len(committee))
    ):
        raise Refused(FailureCode.CHECKPOINT)
