"""The round protocol among real parties in one process, with the NumPy learner of `tests.federation`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.diagnosis.bundle import ServingModel, make_serving_model
from core.diagnosis.checkpoint_file import open_model, seal_model
from core.diagnosis.exports import check_exports, encode_exports, sha256_of_model, sign_export
from core.errors import CheckpointRefused
from core.imaging.datasets import Part
from core.learning.lineage import check_chain, read_lineage, sha256_of_lineage
from core.learning.metric_sums import summarise, summary_of
from core.learning.orders import AGGREGATION, APP, AUTHORITY, COORDINATOR, AggregationMode, RunOptions, sign_order
from core.learning.own_figures import open_own_figures, own_context
from core.learning.run_choices import RoundRules
from core.learning.run_events import EventKind, FailureCode, Wish
from core.learning.weights import decode_weights, encode_weights, sha256_of
from core.studies import LEUKEMIA
from federated.aggregation.base import GlobalModel
from federated.aggregation.contexts import figures_context, initial_context, update_context
from federated.aggregation.contributions import Update, encode_figures, encode_update
from federated.answering import Answer, Errand
from federated.checkpoints import open_model as open_global
from federated.coordinator import Coordinator
from federated.failures import Refused
from federated.messages import (
    AverageRequest,
    Briefing,
    EvaluateReply,
    EvaluateRequest,
    ExportReply,
    ExportRequest,
    Header,
    InitialiseReply,
    Kind,
    Model,
    Refusal,
    Reply,
    Request,
    Step,
    TrainReply,
    TrainRequest,
    pack,
    unpack,
)
from federated.node import TrainingNode
from federated.store import AttemptOutcome, Event, MemoryRunStore, StoreLost
from security.context import Context, Purpose
from security.encoding import encode
from security.errors import SealBroken, SignatureBroken
from security.sealed_format import recipients_of
from security.signing import sign
from tests.federation import RUN, SLUGS, Federation, SoftmaxLearner, learn_nothing, without


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


def failures(store: MemoryRunStore) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for _, event in store.events:
        if event.kind is EventKind.FAILED:
            found.setdefault(event.party, []).append(event.payload["code"])
    return found


@pytest.mark.parametrize("mode", list(AggregationMode))
def test_a_run_ends_with_a_model_for_the_authority_whose_lineage_reaches_the_first_weights(
    tmp_path: Path, mode: AggregationMode
) -> None:
    federation = Federation(tmp_path, mode=mode)
    assert federation.play() == "finished"
    store, trust, now = federation.store, federation.keys.trust(), federation.clock.now()
    assert store.served is not None
    assert recipients_of(store.served.sealed) == [federation.identities[AUTHORITY].sealing_certificate.serial]
    model = open_model(
        store.served.sealed,
        recipient=federation.identities[AUTHORITY],
        trust=trust,
        study=LEUKEMIA.name,
        run=RUN,
        sender=store.served.exporter,
        at=now,
    )
    assert model.manifest.members == tuple(f"{slug}.training" for slug in SLUGS)
    assert model.manifest.metrics == dict(store.models[-1].metrics)
    chain = [
        (
            one.wire.lineage,
            read_lineage(
                one.wire.lineage,
                study=LEUKEMIA.code,
                weights_sha256=one.wire.weights_sha256,
                trust=trust,
                at=now,
            ),
        )
        for one in reversed(store.models)
    ]
    check_chain(chain)
    assert [lineage.round for _, lineage in chain] == [2, 1, 0]


@pytest.mark.parametrize("mode", list(AggregationMode))
def test_a_patient_run_that_learns_nothing_more_ends_early_and_serves_the_model_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: AggregationMode
) -> None:
    monkeypatch.setattr(SoftmaxLearner, "fit", learn_nothing)
    federation = Federation(tmp_path, mode=mode, rounds=6)
    federation.options = replace(federation.options, round_rules=RoundRules(patience=2))
    assert federation.play() == "finished"
    assert [model.wire.round for model in federation.store.models] == [0, 1, 2, 3]
    _, first, *later = federation.store.losses()  # round 0 is not judged
    assert later == pytest.approx([first] * 2)
    assert federation.store.served is not None


def test_a_patient_run_that_still_learns_plays_all_its_rounds(tmp_path: Path) -> None:
    federation = Federation(tmp_path, rounds=4)
    federation.options = replace(federation.options, round_rules=RoundRules(patience=2))
    assert federation.play() == "finished"
    losses = federation.store.losses()[1:]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("mode", list(AggregationMode))
def test_members_export_no_early_round_of_a_run_without_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: AggregationMode
) -> None:
    monkeypatch.setattr(Coordinator, "_levelled_off", lambda _self: True)  # a coordinator that is in a hurry
    federation = Federation(tmp_path, mode=mode, rounds=3)
    assert federation.play() == "failed"
    assert federation.store.served is None
    refused = failures(federation.store)
    assert set(refused) == {f"{slug}.training" for slug in SLUGS}
    assert {code for codes in refused.values() for code in codes} == {FailureCode.CHECKPOINT}


def test_both_modes_compute_the_same_model(tmp_path: Path) -> None:
    models = []
    for mode in AggregationMode:
        federation = Federation(tmp_path / mode, mode=mode)
        federation.play()
        models.append(federation.store.models[-1].wire.weights_sha256)
    assert models[0] == models[1]


def test_global_figures_are_those_of_all_validation_images_together(federation: Federation) -> None:
    federation.play()
    final = federation.store.models[-1]
    notary = federation.notary(AGGREGATION)
    weights, _ = open_global(notary, final.wire, run=RUN, round_number=2)
    parts = [data.part(Part.VALIDATION) for data in federation.data.values()]
    sums = sum(federation.learner.evaluate(weights, part.images, part.labels) for part in parts)
    assert final.metrics["auc"] == pytest.approx(summarise(np.asarray(sums), LEUKEMIA).auc)
    assert final.metrics["images"] == sum(len(part) for part in parts)


def test_a_nodes_own_figures_open_for_the_authority_the_app_and_itself_and_for_nobody_else(
    federation: Federation,
) -> None:
    federation.play()
    event = next(e for _, e in federation.store.events if e.sealed is not None and e.party == "east.training")
    context = own_context(
        study=LEUKEMIA.code,
        party=event.party,
        run=RUN,
        round_number=event.round,
        attempt=event.payload["attempt"],
        step=event.payload["step"],
    )
    sealed, trust, now = event.sealed or b"", federation.keys.trust(), federation.clock.now()
    for reader in (AUTHORITY, APP, "east.training"):
        figures = open_own_figures(sealed, reader=federation.identities[reader], trust=trust, context=context, at=now)
        assert figures["images"] == 8
    for stranger in (COORDINATOR, AGGREGATION, "west.training"):
        with pytest.raises(SealBroken):
            open_own_figures(sealed, reader=federation.identities[stranger], trust=trust, context=context, at=now)


def test_events_hold_no_single_nodes_loss_or_accuracy(federation: Federation) -> None:
    federation.play()
    for _, event in federation.store.events:
        if event.kind is EventKind.ANSWERED:
            assert set(event.payload) == {"step", "attempt", "bytes_out", "bytes_in", "seconds"}


def test_a_node_that_drops_out_is_an_event_and_the_run_goes_on(federation: Federation) -> None:
    federation.down.add("south.training")
    assert federation.play() == "finished"
    assert failures(federation.store) == {"south.training": [FailureCode.DROPPED_OUT] * 3}
    assert "south.training" not in federation.store.models[-1].members


def test_a_node_that_stops_in_the_middle_of_training_is_left_out(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.should_stop = lambda: True
    federation.nodes["west"] = federation.node("west")
    assert federation.play() == "finished"
    assert failures(federation.store)["west.training"] == [FailureCode.STOPPED] * 2


def test_below_the_minimum_of_members_the_round_fails_and_says_why(tmp_path: Path) -> None:
    federation = Federation(tmp_path, minimum=3)
    federation.down |= {"south.training", "west.training"}
    assert federation.play() == "failed"
    assert federation.store.reason == (
        "Round 0: 2 of 4 members finished the step 'initialise' and 3 are needed. "
        "south.training: did not answer; west.training: did not answer."
    )
    assert [outcome for _, outcome in federation.store.attempts.values()] == [
        AttemptOutcome.FAILED,
    ]


def test_a_revoked_node_is_refused_and_the_run_goes_on_without_it(federation: Federation) -> None:
    federation.keys.revoke([federation.identities["north.training"]])
    assert federation.play() == "finished"
    assert FailureCode.MEMBER_REFUSED in failures(federation.store)["north.training"]
    assert "north.training" not in federation.store.models[-1].members


def test_a_revoked_node_gets_no_further_checkpoint(federation: Federation) -> None:
    federation.keys.revoke([federation.identities["north.training"]])
    federation.play()
    wire = federation.store.models[-1].wire
    with pytest.raises(CheckpointRefused):
        open_global(federation.notary("north.training"), wire, run=RUN, round_number=2)
    open_global(federation.notary("south.training"), wire, run=RUN, round_number=2)


def test_plain_is_refused_by_nodes_with_clinical_images_whoever_ordered_it(tmp_path: Path) -> None:
    federation = Federation(tmp_path, mode=AggregationMode.PLAIN, clinical=True)
    assert federation.play() == "failed"
    assert set(failures(federation.store)["east.training"]) == {FailureCode.CLINICAL}
    assert "clinical images are never trained on in plain mode" in federation.store.reason


def test_an_order_that_the_authority_did_not_sign_is_refused_by_everybody(federation: Federation) -> None:
    forged = sign_order_as_coordinator(federation)
    with pytest.raises(SignatureBroken):
        federation.notary(COORDINATOR).read_order(forged, run=RUN)
    header = request_header("east.training")
    letter = pack(
        header,
        TrainRequest(model=first_model(federation)),
        notary=federation.notary(COORDINATOR),
        briefing=replace_order(federation, forged),
    )
    reply = unpack(federation.nodes["east"].answer(letter), notary=federation.notary(COORDINATOR))
    assert reply.parse(Refusal).code == FailureCode.SIGNATURE


def test_the_order_of_another_run_is_refused(federation: Federation) -> None:
    other = federation.order("f" * 32)
    with pytest.raises(SignatureBroken):
        federation.notary(COORDINATOR).read_order(other, run=RUN)


def test_a_checkpoint_sealed_for_another_run_is_refused_by_the_node(federation: Federation) -> None:
    other = Federation.__new__(Federation)
    other.__dict__.update(federation.__dict__)
    other.store = MemoryRunStore(clock=federation.clock)
    other.nodes = {slug: federation.node(slug) for slug in SLUGS}
    other.play("e" * 32)
    foreign = other.store.models[0].wire
    for model in (foreign, foreign.model_copy(update={"run": RUN})):
        assert code_of_training(federation, TrainRequest(model=model)) == FailureCode.CHECKPOINT


def test_a_checkpoint_of_another_round_is_refused_by_the_node(federation: Federation) -> None:
    federation.play()
    later = federation.store.models[1].wire
    federation.nodes = {slug: federation.node(slug) for slug in SLUGS}
    for model in (later, later.model_copy(update={"round": 0})):
        assert code_of_training(federation, TrainRequest(model=model)) == FailureCode.CHECKPOINT


@pytest.mark.parametrize("field", ["sealed", "lineage"])
def test_a_checkpoint_with_one_changed_byte_is_refused_by_the_node(federation: Federation, field: str) -> None:
    model = first_model(federation)
    data = bytearray(getattr(model, field))
    data[-1] ^= 1
    changed = model.model_copy(update={field: bytes(data)})
    assert code_of_training(federation, TrainRequest(model=changed)) == FailureCode.CHECKPOINT


def test_a_request_that_came_before_is_refused(federation: Federation) -> None:
    letter = training_letter(federation, TrainRequest(model=first_model(federation)))
    node, notary = federation.nodes["east"], federation.notary(COORDINATOR)
    unpack(node.answer(letter), notary=notary).parse(TrainReply)
    assert unpack(node.answer(letter), notary=notary).parse(Refusal).code == FailureCode.REPLAYED


def test_an_answer_of_an_earlier_attempt_is_not_taken_for_this_one(federation: Federation) -> None:
    """A replayed update: the node's machine sends again what it sent in the attempt before."""
    kept: dict[str, bytes] = {}
    node = federation.nodes["south"]
    honest = node.answer

    def replaying(data: bytes) -> bytes:
        step = unpack(data, notary=federation.notary("south.training")).header.step
        return kept.setdefault(step, honest(data))

    node.answer = replaying  # type: ignore[method-assign]
    assert federation.play() == "finished"
    assert failures(federation.store)["south.training"] == [FailureCode.MESSAGE]
    assert "south.training" not in federation.store.models[-1].members


def test_a_replayed_update_inside_a_fresh_message_is_refused_by_the_aggregation(federation: Federation) -> None:
    def stale(federation: Federation, errand: Errand, update: bytes) -> bytes:
        context = update_context(LEUKEMIA.code, "south.training", errand.header, "0" * 64)
        old = replace(context, attempt="f" * 32)
        recipient = federation.identities[AGGREGATION].sealing_certificate
        return federation.notary("south.training").seal(update, [recipient], old)

    federation.nodes["south"] = corrupted(federation, stale)
    assert federation.play() == "finished"
    assert set(failures(federation.store)["south.training"]) == {FailureCode.SEAL}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda delta: {name: np.full_like(a, np.nan) for name, a in delta.items()}, FailureCode.NOT_FINITE),
        (lambda delta: {name: np.full_like(a, np.inf) for name, a in delta.items()}, FailureCode.NOT_FINITE),
        (lambda delta: dict(reversed(list(delta.items()))), FailureCode.SHAPE),
        (lambda delta: {name: a.ravel() for name, a in delta.items()}, FailureCode.SHAPE),
        (lambda delta: {**delta, "more": np.zeros(3, np.float32)}, FailureCode.SHAPE),
        (lambda delta: {**delta, "more": np.zeros(100_000, np.float32)}, FailureCode.SIZE),
    ],
)
def test_a_spoilt_update_is_refused_by_the_aggregation_and_the_run_goes_on(
    federation: Federation, spoil: Callable[..., dict[str, np.ndarray]], code: FailureCode
) -> None:
    def spoilt(federation: Federation, errand: Errand, update: bytes) -> bytes:
        weights, _ = decode_weights(update)
        return reseal(federation, errand, encode_update(Update(delta=spoil(weights), images=8)))

    federation.nodes["south"] = corrupted(federation, spoilt)
    assert federation.play() == "finished"
    assert set(failures(federation.store)["south.training"]) == {code}
    assert "south.training" not in federation.store.models[-1].members


@pytest.mark.parametrize("images", [0, -3, 9, 10**12])
def test_a_weight_that_the_data_set_does_not_have_is_refused(federation: Federation, images: int) -> None:
    def heavy(federation: Federation, errand: Errand, update: bytes) -> bytes:
        weights, _ = decode_weights(update)
        return reseal(federation, errand, encode_update(Update(delta=weights, images=images)))

    federation.nodes["south"] = corrupted(federation, heavy)
    assert federation.play() == "finished"
    assert set(failures(federation.store)["south.training"]) == {FailureCode.WEIGHT}


def test_figures_about_more_images_than_the_data_set_has_are_refused_and_the_run_goes_on(
    federation: Federation,
) -> None:
    def louder(federation: Federation, errand: Errand, reply: Reply) -> Reply:
        assert isinstance(reply, EvaluateReply)
        sha256 = errand.message.parse(EvaluateRequest).weights_sha256
        context = figures_context(LEUKEMIA.code, "south.training", errand.header, sha256)
        sums = np.frombuffer(federation.notary(AGGREGATION).open(reply.figures, context)) * 1000
        recipient = federation.identities[AGGREGATION].sealing_certificate
        sealed = federation.notary("south.training").seal(encode_figures(sums), [recipient], context)
        return reply.model_copy(update={"figures": sealed})

    federation.nodes["south"] = lying(federation, Step.EVALUATE, louder)
    assert federation.play() == "finished"
    assert set(failures(federation.store)["south.training"]) == {FailureCode.FIGURES}
    assert federation.store.models[-1].metrics["images"] == 3 * 8


def test_a_run_whose_last_validation_saw_one_class_only_is_exported_without_the_figures_that_need_two(
    tmp_path: Path,
) -> None:
    federation = Federation(tmp_path, rounds=1)
    for slug in SLUGS:
        if slug != "south":
            federation.data[slug] = without(federation.data[slug], Part.VALIDATION, 1)
            federation.nodes[slug] = federation.node(slug)
    federation.down.add("south.training")
    assert federation.play() == "finished"
    assert not {"auc", "sensitivity"} & set(federation.store.models[-1].metrics)


def own_weights(federation: Federation, errand: Errand, reply: Reply) -> Reply:
    """Instead of the first weights that the order's seed gives: others."""
    assert isinstance(reply, InitialiseReply)
    party = errand.header.recipient
    recipient = federation.identities[AGGREGATION].sealing_certificate
    weights = encode_weights(federation.learner.initial(7), {})
    context = initial_context(LEUKEMIA.code, party, errand.header)
    return reply.model_copy(update={"weights": federation.notary(party).seal(weights, [recipient], context)})


@pytest.mark.parametrize("liars", [("east",), ("east", "south")])
def test_first_weights_are_those_that_the_seed_gives_most_members(
    federation: Federation, liars: tuple[str, ...]
) -> None:
    for slug in liars:
        federation.nodes[slug] = lying(federation, Step.INITIALISE, own_weights, slug)
    assert federation.play() == ("finished" if len(liars) == 1 else "failed")
    refused = {party for party, codes in failures(federation.store).items() if FailureCode.FIRST_WEIGHTS in codes}
    if len(liars) == 1:
        assert refused == {"east.training"}
        assert federation.store.models[0].wire.weights_sha256 == sha256_of(federation.learner.initial(0))
    else:
        assert federation.store.models == []


def test_a_serving_model_that_one_member_only_exported_is_not_the_one_that_is_kept(federation: Federation) -> None:
    def other(federation: Federation, errand: Errand, reply: Reply) -> Reply:
        assert isinstance(reply, ExportReply)
        notary = federation.notary(errand.header.recipient)
        request = errand.message.parse(ExportRequest)
        weights, lineage = open_global(notary, request.model, run=RUN, round_number=2)
        model = make_serving_model(
            weights=weights,
            litert=b"another network",
            architecture="softmax",
            study=LEUKEMIA,
            summary=summary_of(lineage.metrics),
            run_id=RUN,
            round_number=2,
            members=lineage.members,
        )
        sealed = seal_model(
            model, sender=notary.identity, recipients=[federation.identities[AUTHORITY].sealing_certificate]
        )
        lies.append(model)
        statement = sign_export(model, signer=notary.identity)
        return reply.model_copy(update={"serving": sealed, "sha256": sha256_of_model(model), "statement": statement})

    lies: list[ServingModel] = []
    federation.nodes["east"] = lying(federation, Step.EXPORT, other, "east")
    assert federation.play() == "finished"
    served = federation.store.served
    assert served is not None
    assert served.exporter == "north.training"
    assert set(served.statements) == {"north.training", "south.training", "west.training"}
    trust, now = federation.keys.trust(), federation.clock.now()
    model = open_model(
        served.sealed,
        recipient=federation.identities[AUTHORITY],
        trust=trust,
        study=LEUKEMIA.name,
        run=RUN,
        sender=served.exporter,
        at=now,
    )
    members = model.manifest.members
    check_exports(model, encode_exports(dict(served.statements)), members=members, trust=trust, at=now)
    alone = sign_export(lies[0], signer=federation.identities["east.training"])
    stranger = sign_export(lies[0], signer=federation.identities[COORDINATOR])
    for statements in (
        {"east.training": alone},
        {"east.training": alone, "west.training": alone},
        {"east.training": alone, COORDINATOR: stranger},
        {"east.training": alone, "west.training": served.statements["west.training"]},
    ):
        with pytest.raises(CheckpointRefused):
            check_exports(lies[0], encode_exports(statements), members=members, trust=trust, at=now)
    for spoilt in (b"", b"text", encode(3), encode({"east.training": 10**12})):
        with pytest.raises(CheckpointRefused):
            check_exports(model, spoilt, members=members, trust=trust, at=now)


def test_no_update_can_be_read_by_the_coordinator_in_sealed_mode(federation: Federation) -> None:
    letter = training_letter(federation, TrainRequest(model=first_model(federation)))
    reply = unpack(federation.nodes["east"].answer(letter), notary=federation.notary(COORDINATOR)).parse(TrainReply)
    header = request_header("east.training")
    context = update_context(LEUKEMIA.code, "east.training", header, first_model(federation).weights_sha256)
    with pytest.raises(SealBroken):
        federation.notary(COORDINATOR).open(reply.update, context)
    assert b"softmax" in federation.notary(AGGREGATION).open(reply.update, context)
    assert b"softmax" not in reply.update


def test_the_aggregation_averages_once_in_an_attempt(federation: Federation) -> None:
    model = first_model(federation)
    header = request_header(AGGREGATION, step=Step.AVERAGE)
    notary = federation.notary(COORDINATOR)
    letter = pack(header, AverageRequest(model=model, updates={}), notary=notary, briefing=briefing(federation))
    assert unpack(federation.enclave.answer(letter), notary=notary).parse(Refusal).code == FailureCode.TOO_FEW
    assert unpack(federation.enclave.answer(letter), notary=notary).parse(Refusal).code == FailureCode.REPLAYED


def test_the_aggregation_never_gives_out_the_sum_of_fewer_members_than_ordered(federation: Federation) -> None:
    letter = training_letter(federation, TrainRequest(model=first_model(federation)))
    notary = federation.notary(COORDINATOR)
    update = unpack(federation.nodes["east"].answer(letter), notary=notary).parse(TrainReply).update
    header = request_header(AGGREGATION, step=Step.AVERAGE)
    request = AverageRequest(model=first_model(federation), updates={"east.training": update})
    answer = federation.enclave.answer(pack(header, request, notary=notary, briefing=briefing(federation)))
    assert unpack(answer, notary=notary).parse(Refusal).code == FailureCode.TOO_FEW


def test_a_party_answers_nobody_but_the_coordinator(federation: Federation) -> None:
    header = request_header("east.training").model_copy(update={"sender": "west.training"})
    letter = pack(
        header,
        TrainRequest(model=first_model(federation)),
        notary=federation.notary("west.training"),
        briefing=briefing(federation),
    )
    with pytest.raises(Refused):
        federation.nodes["east"].answer(letter)


def test_pausing_abandons_the_attempt_and_resuming_uses_a_new_one(federation: Federation) -> None:
    stopping: list[bool] = []

    def wish_after_first_round() -> bool:
        if len(federation.store.models) == 2 and not stopping:
            stopping.append(True)
            federation.store.wanted = Wish.PAUSE
        return federation.store.wanted is not Wish.GO

    federation.should_stop = wish_after_first_round
    federation.nodes = {slug: federation.node(slug) for slug in SLUGS}
    assert federation.play() == "paused"
    assert [model.round for model in federation.store.models] == [0, 1]
    federation.store.wanted = Wish.GO
    assert federation.play() == "finished"
    assert [model.round for model in federation.store.models] == [0, 1, 2]
    rounds = [(number, outcome) for number, outcome in federation.store.attempts.values()]
    assert rounds == [
        (0, AttemptOutcome.FINISHED),
        (1, AttemptOutcome.FINISHED),
        (2, AttemptOutcome.ABANDONED),
        (2, AttemptOutcome.FINISHED),
        (2, AttemptOutcome.FINISHED),
    ]


def test_a_round_is_never_summed_again_without_one_member_whose_figures_would_be_the_difference(
    federation: Federation,
) -> None:
    finish = federation.store.finish_round
    lost: list[str] = []

    def losing(attempt: str, model: GlobalModel, event: Event) -> None:
        if model.round == 1 and not lost:
            lost.append(attempt)
            raise StoreLost
        finish(attempt, model, event)

    federation.store.finish_round = losing  # type: ignore[method-assign]
    with pytest.raises(StoreLost):
        federation.play()
    federation.down.add("south.training")
    assert federation.play() == "failed"
    assert FailureCode.ROSTER.text in federation.store.reason
    federation.down.clear()
    assert federation.play() == "finished"


def test_aborting_ends_the_run(federation: Federation) -> None:
    federation.store.wanted = Wish.ABORT
    assert federation.play() == "aborted"
    assert federation.store.models == []


def test_a_run_can_start_from_a_finished_model_whose_lineage_it_then_continues(federation: Federation) -> None:
    federation.play()
    parent = federation.store.models[-1].wire
    federation.options = replace(federation.options, start_from=sha256_of_lineage(parent.lineage))
    federation.store = MemoryRunStore(clock=federation.clock, start=parent)
    federation.nodes = {slug: federation.node(slug) for slug in SLUGS}
    assert federation.play("d" * 32) == "finished"
    first = federation.store.models[0].wire
    assert first.weights_sha256 == parent.weights_sha256
    lineage = read_lineage(
        first.lineage,
        study=LEUKEMIA.code,
        weights_sha256=first.weights_sha256,
        trust=federation.keys.trust(),
        at=federation.clock.now(),
    )
    assert (lineage.run, lineage.parent) == ("d" * 32, federation.options.start_from)


def test_a_model_that_was_not_ordered_is_not_started_from(federation: Federation) -> None:
    federation.play()
    federation.store = MemoryRunStore(clock=federation.clock, start=federation.store.models[-1].wire)
    assert federation.play("d" * 32) == "failed"
    assert FailureCode.ORDER.text in federation.store.reason


# Helpers ------------------------------------------------------------------------------------------------------------


def first_model(federation: Federation) -> Model:
    """The run's model of round 0, made once by the parties themselves."""
    if not federation.store.models:
        with federation.host() as host:
            coordinator = federation.coordinator(host)
            opened = coordinator._attempt(0, lambda play: coordinator._mode.opening(play, None))[1]
            federation.store.models.append(opened)
    return federation.store.models[0].wire


def briefing(federation: Federation) -> Briefing:
    board = federation.keys.board
    return Briefing(order=federation.order(), crl=board.crl(), certificates=board.certificates())


def replace_order(federation: Federation, order: bytes) -> Briefing:
    return briefing(federation).model_copy(update={"order": order})


def sign_order_as_coordinator(federation: Federation) -> bytes:
    """What a coordinator that wants another mode could make: an envelope of its own."""
    genuine = sign_order(federation.options, run=RUN, signer=federation.identities[AUTHORITY])
    context = Context(
        purpose=Purpose.FEDERATED_MESSAGE, study=LEUKEMIA.code, sender=COORDINATOR, object_id="order", run=RUN
    )
    forged = sign(b"{}", signer=federation.identities[COORDINATOR], context=context)
    return genuine[:-5] + forged[-5:]


def request_header(recipient: str, *, step: Step = Step.TRAIN) -> Header:
    return Header(
        run=RUN,
        round=1,
        attempt="a" * 32,
        step=step.value,
        kind=Kind.REQUEST.value,
        sender=COORDINATOR,
        recipient=recipient,
    )


def training_letter(federation: Federation, request: Request) -> bytes:
    return pack(
        request_header("east.training"), request, notary=federation.notary(COORDINATOR), briefing=briefing(federation)
    )


def code_of_training(federation: Federation, request: Request) -> str:
    node = federation.node("east")
    answer = node.answer(training_letter(federation, request))
    return unpack(answer, notary=federation.notary(COORDINATOR)).parse(Refusal).code


def reseal(federation: Federation, errand: Errand, update: bytes) -> bytes:
    request = errand.message.parse(TrainRequest)
    context = update_context(LEUKEMIA.code, "south.training", errand.header, request.model.weights_sha256)
    return federation.notary("south.training").seal(
        update, [federation.identities[AGGREGATION].sealing_certificate], context
    )


def corrupted(federation: Federation, change: Callable[[Federation, Errand, bytes], bytes]) -> TrainingNode:
    """A node of hospital south with valid keys that sends something else than its update."""

    def act(federation: Federation, errand: Errand, reply: Reply) -> Reply:
        assert isinstance(reply, TrainReply)
        sha256 = errand.message.parse(TrainRequest).model.weights_sha256
        context = update_context(LEUKEMIA.code, "south.training", errand.header, sha256)
        update = federation.notary(AGGREGATION).open(reply.update, context)
        return reply.model_copy(update={"update": change(federation, errand, update)})

    return lying(federation, Step.TRAIN, act)


def lying(
    federation: Federation, step: Step, change: Callable[[Federation, Errand, Reply], Reply], slug: str = "south"
) -> TrainingNode:
    """A hospital's node with valid keys that changes its reply to one step."""
    node = federation.node(slug)
    honest = node._answers

    def answers(options: RunOptions) -> dict[str, Answer]:
        own = dict(honest(options))
        reply = own[step]

        def lie(errand: Errand) -> Reply:
            honestly = reply(errand)
            assert isinstance(honestly, Reply)
            own = errand.header.model_copy(update={"recipient": node.party})
            return change(federation, replace(errand, header=own), honestly)

        own[step] = lie
        return own

    node._answers = answers  # type: ignore[method-assign]
    return node
