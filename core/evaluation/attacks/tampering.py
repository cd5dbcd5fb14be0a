"""A cloud that tampers with real rounds, in the ways that its place allows: does anybody notice?

Beyond the letters that it writes anew, the coordinator's program is the real one. A cloud that also believes what that
program would refuse is tried in ``tests/integration/blind``.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.errors import RunRefused
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.blind_sum import Integers, WatchedBoard, bytes_of, integers_of
from core.evaluation.attacks.cloud import Losing, Rewriting, with_sum
from core.evaluation.attacks.held import datasets_of
from core.evaluation.attacks.inference import first_weights
from core.evaluation.attacks.result import Attacked, Figure, View
from core.learning.orders import AggregationMode, training_party
from core.learning.run_events import EventKind, FailureCode
from core.learning.training import TrainingOptions
from federated.aggregation.blind.messages import AgreeRequest, UploadRequest
from federated.aggregation.blind.statements import Label
from federated.board import Board, MemoryBoard
from federated.messages import AverageRequest, EvaluateRequest, Message, Model, Step, TrainRequest, Wire
from federated.notary import Notary
from federated.shares import SimulationOptions
from federated.simulation import simulate
from federated.store import Event
from federated.transport.base import Transport

NAME = "tampering"
HOSPITALS = 5
_PICTURES = 4
Rewritten = tuple[Wire, bytes] | None


@dataclass
class Cloud:
    """What a tampering cloud knows while it carries a run.

    Attributes:
        rng: draws what is changed, and whose.
        parties: of the hospitals.
        board: where it sums.
        notary: its own signature.
        first: the model that was handed out first.
        forged: the sum that it made up, once it has.
        kept: what it kept of a round before.
        done: letters that it wrote anew.
    """

    rng: np.random.Generator
    parties: list[str]
    board: WatchedBoard = field(default_factory=WatchedBoard)
    notary: Notary | None = None
    first: Model | None = None
    forged: bytes = b""
    kept: bytes = b""
    done: int = 0

    def __post_init__(self) -> None:
        """Draw whom it does it to."""
        self.victim, self.other = (self.parties[place] for place in self.rng.permutation(len(self.parties))[:2])

    def flipped(self, data: bytes) -> bytes:
        """Return data with one bit changed."""
        changed = bytearray(data)
        changed[self.rng.integers(len(data))] ^= 1 << int(self.rng.integers(8))
        return bytes(changed)

    def older(self, model: Model) -> Model:
        """Return the content of the first model under the name of this one."""
        self.first = self.first or model
        return model.model_copy(
            update={name: getattr(self.first, name) for name in ("sealed", "weights_sha256", "lineage")}
        )


Change = Callable[[Cloud, str, Message], Rewritten]
"""The cloud, to whom the letter goes, the letter -> what goes in its place, or None."""


@dataclass(frozen=True)
class Kind:
    """One way to tamper.

    Attributes:
        step: whose letters are written anew.
        change: how.
        rounds: that the run needs for it.
        loses: whether the victim's line is cut before it uploads.
    """

    step: Step
    change: Change
    rounds: int = 1
    loses: bool = False


def _updates(change: Callable[[Cloud, dict[str, bytes]], dict[str, bytes]]) -> Kind:
    """Change what the aggregation gets of the hospitals' updates."""

    def changed(cloud: Cloud, _party: str, message: Message) -> Rewritten:
        request = message.parse(AverageRequest)
        return request.model_copy(update={"updates": change(cloud, dict(request.updates))}), b""

    return Kind(Step.AVERAGE, changed)


def _sum(change: Callable[[Cloud, Integers, Mapping[str, Integers]], Integers]) -> Kind:
    """Change the sum that the hospitals get, the same for all of them."""

    def changed(cloud: Cloud, _party: str, message: Message) -> Rewritten:
        assert cloud.notary is not None  # noqa: S101
        if not cloud.forged:
            total = integers_of(message.attachment)
            cloud.forged = bytes_of(change(cloud, total, cloud.board.terms(cloud.notary)))
        return with_sum(message, cloud.forged, cloud.notary)

    return Kind(Step.REVEAL, changed)


def _word(cloud: Cloud, total: Integers, _terms: Mapping[str, Integers]) -> Integers:
    place, by = int(cloud.rng.integers(total.size)), int(cloud.rng.integers(1, 2**32))
    changed = total.copy()
    changed[place] = (total[place] & ~(2**32 - 1)) + (total[place] + by) % 2**32
    return changed


def _words_swapped(cloud: Cloud, total: Integers, terms: Mapping[str, Integers]) -> Integers:
    one, other = cloud.rng.permutation(total.size)[:2]
    term, changed = terms[cloud.victim], total.copy()
    changed[[one, other]] += term[[other, one]] - term[[one, other]]
    return changed


def _checkpoint_byte(cloud: Cloud, _party: str, message: Message) -> Rewritten:
    request = message.parse(EvaluateRequest)
    return request.model_copy(update={"sealed": cloud.flipped(request.sealed)}), bytes(message.attachment)


def _older(kind: type[TrainRequest] | type[UploadRequest]) -> Change:
    """Hand the victim the first model in place of the one that the others get."""

    def changed(cloud: Cloud, party: str, message: Message) -> Rewritten:
        request = message.parse(kind)
        assert request.model is not None  # noqa: S101
        old = cloud.older(request.model)
        if old.lineage == request.model.lineage or party != cloud.victim:
            return None
        return request.model_copy(update={"model": old}), bytes(message.attachment)

    return changed


def _strange_survivor(cloud: Cloud, _party: str, message: Message) -> Rewritten:
    survivors = message.parse(AgreeRequest).survivors
    return AgreeRequest(survivors={**survivors, cloud.victim: cloud.rng.bytes(32)}), b""


def _other_survivors(cloud: Cloud, party: str, message: Message) -> Rewritten:
    """Half of the hospitals are told that the victim dropped out."""
    survivors = message.parse(AgreeRequest).survivors
    if party == cloud.victim or cloud.parties.index(party) % 2:
        return None
    return AgreeRequest(survivors={name: sha256 for name, sha256 in survivors.items() if name != cloud.victim}), b""


AVERAGED: Mapping[str, Kind] = {
    "bit of an update": _updates(lambda cloud, own: {**own, cloud.victim: cloud.flipped(own[cloud.victim])}),
    "updates exchanged": _updates(
        lambda cloud, own: {**own, cloud.victim: own[cloud.other], cloud.other: own[cloud.victim]}
    ),
    "update twice": _updates(lambda cloud, own: {**own, cloud.other: own[cloud.victim]}),
    "update left out": _updates(lambda cloud, own: {name: one for name, one in own.items() if name != cloud.victim}),
    "bit of the new checkpoint": Kind(Step.EVALUATE, _checkpoint_byte),
    "older checkpoint for one": Kind(Step.TRAIN, _older(TrainRequest), rounds=2),
}
BLIND: Mapping[str, Kind] = {
    "word of the sum": _sum(_word),
    "upload left out of the sum": _sum(lambda cloud, total, terms: total - terms[cloud.victim]),
    "upload twice in the sum": _sum(lambda cloud, total, terms: total + terms[cloud.victim]),
    "uploads exchanged": _sum(lambda cloud, total, terms: total - terms[cloud.victim] + terms[cloud.other]),
    "words of an upload exchanged": _sum(_words_swapped),
    "survivor that uploaded nothing": Kind(Step.AGREE, _strange_survivor, loses=True),
    "different survivors for different hospitals": Kind(Step.AGREE, _other_survivors),
    "older checkpoint for one": Kind(Step.UPLOAD, _older(UploadRequest), rounds=2),
}
KINDS: Mapping[AggregationMode, Mapping[str, Kind]] = {
    AggregationMode.PLAIN: AVERAGED,
    AggregationMode.SEALED: AVERAGED,
    AggregationMode.BLIND: BLIND,
}


@dataclass(frozen=True)
class Played:
    """How one run ended.

    Attributes:
        members: whose updates are in the last model; empty where there is none.
        refusals: (step, code) of each refusal, but for hospitals that were cut off.
        letters: that the cloud wrote anew.
        victim: whom it did it to.
    """

    members: tuple[str, ...]
    refusals: tuple[tuple[str, str], ...]
    letters: int
    victim: str

    @property
    def codes(self) -> tuple[str, ...]:
        """Why somebody refused something."""
        return tuple(code for _, code in self.refusals)

    @property
    def is_found(self) -> bool:
        """Whether somebody refused, there is no model, or its signed lineage does not name the victim."""
        return bool(self.codes) or not self.members or self.victim not in self.members


def attack(bench: Bench) -> list[Attacked]:
    """Tamper in each mode."""
    return [_in_mode(bench, mode) for mode in AggregationMode]


def play(bench: Bench, mode: AggregationMode, kind: Kind | None, number: int) -> Played:
    """Play a run with a cloud that tampers in this way, or, with None, not at all."""
    rng = np.random.default_rng([bench.seed, 5, number])
    learner, _ = first_weights(bench)
    drawn = [rng.integers(0, len(bench.theirs.labels), _PICTURES) for _ in range(HOSPITALS)]
    data = datasets_of(
        [(bench.theirs.images[places], bench.theirs.labels[places]) for places in drawn], bench.own, bench.study
    )
    cloud, events = Cloud(rng, [training_party(hospital) for hospital in data]), list[Event]()

    def between(transport: Transport, notary: Notary) -> Transport:
        cloud.notary = notary
        if kind is None:
            return transport
        inner = Losing(transport, notary, party=cloud.victim, before=Step.UPLOAD) if kind.loses else transport
        return Rewriting(inner, notary, rewrite)

    def rewrite(party: str, message: Message) -> Rewritten:
        if kind is None or message.header.step != kind.step:
            return None
        new = kind.change(cloud, party, message)
        cloud.done += new is not None
        return new

    def board(_attempt: str, name: str) -> Board:
        return cloud.board if name == Label.UPDATE else MemoryBoard()

    options = SimulationOptions(
        hospitals=HOSPITALS,
        rounds=kind.rounds if kind else 1,
        mode=mode,
        seed=bench.seed,
        training=TrainingOptions(epochs=1),
    )
    members: tuple[str, ...] = ()
    try:
        simulated = simulate(
            data, bench.study, options, learner=learner, on_event=events.append, cloud=between, boards=board
        )
        members = tuple(simulated.rounds[-1].members)
    except RunRefused:
        pass
    failed = [event.payload for event in events if event.kind is EventKind.FAILED]
    refusals = [(str(one["step"]), str(one["code"])) for one in failed if one["code"] != FailureCode.DROPPED_OUT]
    return Played(members, tuple(refusals), cloud.done, cloud.victim)


def _in_mode(bench: Bench, mode: AggregationMode) -> Attacked:
    kinds, trials = KINDS[mode], bench.profile.tampered
    honest = play(bench, mode, None, 0)
    if honest.is_found:
        raise RunRefused(f"a run in mode {mode.value} that nobody tampered with did not end well: {honest}")
    counts, codes, missed = {}, Counter[str](), 0
    for place, (name, kind) in enumerate(kinds.items()):
        found = 0
        for number in range(trials):
            bench.say(f"tampering in mode {mode.value}", place * trials + number, len(kinds) * trials)
            played = play(bench, mode, kind, number)
            if not played.letters:
                raise RunRefused(f"nothing was tampered with in mode {mode.value}: {name}")
            found += played.is_found
            codes.update(set(played.codes))
        counts[name] = [found, trials]
        missed += trials - found
    return Attacked(
        attack=NAME,
        adversary="tampering cloud",
        view=View(mode.value),
        figure=Figure.INTEGRITY,
        trials=len(kinds) * trials,
        successes=missed,
        figures={
            "found of injected": counts,
            "runs by code of refusal": dict(codes.most_common()),
            "control, hospitals in the model": len(honest.members),
        },
        seed=bench.seed,
    )
