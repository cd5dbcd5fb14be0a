"""A node's side of blind rounds: it masks what it trained, checks the sum, and applies it itself.

The node keeps one attempt in memory: its part in both sums, and the new weights until they are sealed.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.learning.lineage import Lineage, sha256_of_lineage, sign_lineage, signers_of, statement_of
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
    OpenReply,
    OpenRequest,
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
from federated.checkpoints import open_model, open_state, seal_state, sha256_of_state, verify_model
from federated.failures import Refused
from federated.messages import Attachment, ExportReply, ExportRequest, Header, Model, Step
from federated.privacy_statements import check_statement, privacy_of
from federated.timing import Task

CLOCKS_APART = timedelta(hours=1)
_DIGITS = 9
"""Significant digits of published figures: members' machines may differ in the last bits of a logarithm."""


@dataclass(frozen=True, kw_only=True)
class _Base:
    """The weights that an attempt begins with.

    Attributes:
        header: run, round and attempt.
        state: weights and moments.
        sha256: their name (`sha256_of_state`).
        lineage: what members have signed of them ...
        lineage_sha256: ... and the name of that link.
    """

    header: Header
    state: ServerState
    sha256: str
    lineage: Lineage
    lineage_sha256: str


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The weights that a node has made itself, by drawing or by applying a sum.

    Attributes:
        header: run, round and attempt in which it made them.
        state: weights and moments.
        sha256: their name (`sha256_of_state`).
        parent: SHA-256 of the signed lineage of the weights before; empty at the start of a line.
        members: whose updates are in them.
        privacy: what their lineage says of differential privacy.
        stated: what the node has signed as their lineage; empty before.
    """

    header: Header
    state: ServerState
    sha256: str
    parent: str
    members: tuple[str, ...]
    privacy: dict[str, float | str]
    stated: bytes = b""


class BlindNode:
    """What a node does at each step."""

    def __init__(self, work: NodeWork) -> None:
        self._work = work
        self._notary = work.notary
        self._local = LocalWork(work)
        key = GroupKeys(work.notary).of
        self._update = SumSteps(
            work.notary, work.ledger, Label.UPDATE, vector=self._train, group_key=key, holds=self._holds
        )
        self._figures = SumSteps(work.notary, work.ledger, Label.FIGURES, vector=self._evaluate, group_key=key)
        self._base: _Base | None = None
        self._after: _Made | None = None

    def answers(self) -> Answers:
        """Step -> what the node does."""
        return {
            **self._update.answers(),
            **self._figures.answers(),
            Step.BEGIN: handle(BeginRequest, self._begin),
            Step.APPLY: handle(ApplyRequest, self._apply),
            Step.FIGURES_TALLY: handle(ApplyRequest, self._tally),
            Step.SEAL: handle(SealRequest, self._seal),
            Step.OPEN: handle(OpenRequest, self._open),
            Step.EXPORT: handle(ExportRequest, self._export),
        }

    def _begin(self, errand: Errand, request: BeginRequest) -> LineageReply:
        header, options, parent, metrics = errand.header, errand.options, "", {}
        privacy: dict[str, float | str] = {}
        if header.round != 0:
            raise Refused(FailureCode.MESSAGE)  # or first weights could be signed as those of a later round
        if request.parent is not None:
            parent = sha256_of_lineage(request.parent.lineage)
            old = request.parent
            weights, lineage = open_model(self._notary, old, run=old.run, round_number=old.round)
            metrics, privacy = lineage.metrics, lineage.privacy
        else:
            weights = self._work.learner.initial(options.seed)
        if parent != options.start_from:
            raise Refused(FailureCode.ORDER)
        state = ServerState(weights=weights)  # moments belong to one order's optimiser
        self._after = self._made(header, state, parent=parent, members=options.parties, privacy=privacy)
        return self._signed(errand, request.at, dict(metrics))

    def _train(self, errand: Errand, request: UploadRequest, circle: Circle) -> Vector:
        if request.model is None:
            raise Refused(FailureCode.MESSAGE)
        base = self._opened(errand, request.model)
        trained = self._local.train(errand, base.state.weights)
        self._base = base
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            words, _ = encode_update(trained.delta, trained.images, options=errand.options, circle=circle)
        return Vector(words=words, base_sha256=base.sha256, own=trained.own, privacy=trained.privacy)

    def _opened(self, errand: Errand, model: Model) -> _Base:
        """Take the global model, which must be of this very order; what this node has made itself it does not open."""
        header, after = errand.header, self._after
        if after is not None and after.stated and statement_of(model.lineage) == after.stated:
            state, lineage = (
                after.state,
                verify_model(self._notary, model, run=header.run, round_number=header.round - 1),
            )
        else:
            sealed = model.model_copy(update={"sealed": bytes(errand.attachment)})
            state, lineage = open_state(self._notary, sealed, run=header.run, round_number=header.round - 1)
        _check_origin(lineage, signers_of(model.lineage), errand.options, errand.order)
        return _Base(
            header=header,
            state=state,
            sha256=model.weights_sha256,
            lineage=lineage,
            lineage_sha256=sha256_of_lineage(model.lineage),
        )

    def _holds(self) -> str:
        return hashlib.sha256(self._after.stated).hexdigest() if self._after is not None and self._after.stated else ""

    def _apply(self, errand: Errand, request: ApplyRequest) -> ApplyReply:
        options, base = errand.options, self._base
        proved = self._update.check(errand, request)
        if base is None or not same_attempt(base.header, errand.header):
            raise Refused(FailureCode.MESSAGE)
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            combined, _ = decode_update(proved.words, base.state.weights, options=options, circle=proved.circle)
            state = step(base.state, combined, options.server)
        for statement in proved.privacy.values():
            check_statement(statement, options.privacy)
        self._base = None
        self._after = self._made(
            errand.header,
            state,
            parent=base.lineage_sha256,
            members=proved.survivors,
            privacy=privacy_of(base.lineage, proved.privacy.values()),
        )
        return ApplyReply(weights_sha256=self._after.sha256)

    def _evaluate(self, errand: Errand, _request: UploadRequest, circle: Circle) -> Vector:
        after = self._held(errand)
        evaluated = self._local.evaluate(errand, after.state.weights)
        classes = len(self._local.study.classes)
        words = encode_sums(evaluated.sums, options=errand.options, circle=circle, classes=classes)
        return Vector(words=words, base_sha256=after.sha256, own=evaluated.own)

    def _tally(self, errand: Errand, request: ApplyRequest) -> LineageReply:
        proved = self._figures.check(errand, request)
        options, study = errand.options, self._local.study
        sums = decode_sums(proved.words, options=options, circle=proved.circle, classes=len(study.classes))
        most = sum(options.member(party).validation for party in proved.survivors)
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

    def _open(self, errand: Errand, request: OpenRequest) -> OpenReply:
        after, header = self._held(errand), errand.header
        sealed = request.model.model_copy(update={"sealed": bytes(errand.attachment)})
        open_state(self._notary, sealed, run=header.run, round_number=header.round)
        if request.model.weights_sha256 != after.sha256:
            raise Refused(FailureCode.CHECKPOINT)
        return OpenReply()

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
            privacy=after.privacy,
        )
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            signed = sign_lineage(lineage, signer=self._notary.identity)
        self._after = replace(after, stated=statement_of(signed))
        return LineageReply(weights_sha256=after.sha256, metrics=metrics, lineage=signed)

    def _export(self, errand: Errand, request: ExportRequest) -> ExportReply:
        model, options = request.model, errand.options
        last = options.last_round(model.round)
        _, lineage = open_state(self._notary, model, run=errand.header.run, round_number=last)
        _check_origin(lineage, signers_of(model.lineage), options, errand.order)
        return self._local.export(errand, request)

    def _made(
        self,
        header: Header,
        state: ServerState,
        *,
        parent: str,
        members: tuple[str, ...],
        privacy: dict[str, float | str],
    ) -> _Made:
        with self._notary.watch.measuring(Task.CRYPTOGRAPHY):
            sha256 = sha256_of_state(state)
        return _Made(header=header, state=state, sha256=sha256, parent=parent, members=members, privacy=privacy)

    def _held(self, errand: Errand) -> _Made:
        if self._after is None or not same_attempt(self._after.header, errand.header):
            raise Refused(FailureCode.MESSAGE)
        return self._after


def _check_origin(lineage: Lineage, signers: tuple[str, ...], options: RunOptions, order: bytes) -> None:
    """Check against the order what a lineage says of itself: mode, members, and who may have signed it.

    Without it a few members, or the aggregation party, could sign a lineage in which they are all that is needed.

    Raises:
        Refused: with `CHECKPOINT`, it is not from a round as this order has them.
    """
    parties, committee, needed = witnesses(options, order=order, round_number=lineage.round)
    members = set(lineage.members)
    enough = len(parties) if lineage.round == 0 else survivors_needed(len(parties))
    if (
        lineage.order != hashlib.sha256(order).hexdigest()
        or lineage.mode != AggregationMode.BLIND.value
        or not members <= set(parties)
        or len(members) < enough
        or not set(signers) <= set(committee)
        or len(signers) < needed
    ):
        raise Refused(FailureCode.CHECKPOINT)
