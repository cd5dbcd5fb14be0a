"""Messages that are replayed, re-ordered, of another run, wrongly signed, too large, or of the wrong shape."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.imaging.datasets import Part
from core.learning.orders import AUTHORITY, COORDINATOR
from core.learning.run_choices import RoundRules
from core.learning.training import TrainingReport
from core.learning.weights import Weights
from federated.aggregation.blind import messages as blind
from federated.aggregation.blind.statements import Advert, Label, Upload
from federated.failures import Refused
from federated.ledger import FileLedger
from federated.messages import MAX_MESSAGE_BYTES, Header, Kind, Step, Wire, pack, unpack
from federated.notary import Notary
from federated.softmax import SoftmaxLearner
from security.context import Context
from security.errors import SecurityError, SignatureBroken
from tests.federation import RUN, Federation, without
from tests.integration.blind.cloud import FIGURES_STEPS, KINDS, UPDATE_STEPS, Cloud, Hook, fresh, read

EAST, NORTH, SOUTH, WEST = (f"{slug}.training" for slug in ("east", "north", "south", "west"))
STEPS = (Step.BEGIN, *UPDATE_STEPS, *FIGURES_STEPS, Step.SEAL, Step.EXPORT)


def test_no_step_of_an_attempt_is_done_twice(cloud: Cloud) -> None:
    assert cloud.play() == "finished"
    letters = [one for one in cloud.carried if one.party == EAST or one.header.step == Step.SEAL]
    assert {one.header.step for one in letters} == set(STEPS)
    for one in letters:
        answer = unpack(cloud.node(one.party).answer(one.letter), notary=cloud.federation.notary(COORDINATOR))
        assert (answer.header.kind, answer.body["code"]) == (Kind.REFUSAL, "replayed"), one.header.step


class Recording:
    """Stops a run before one party gets a step: what was for it stays with the cloud."""

    def __init__(self, cloud: Cloud, party: str, *steps: Step) -> None:
        self.kept: dict[str, tuple[Wire, bytes]] = {}
        for step in steps:
            cloud.asking[step] = self._hook(party, step)

    def _hook(self, party: str, step: Step) -> Hook:
        def keep(asked: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes] | None:
            if asked != party:
                return body, attachment
            self.kept[step] = body, attachment
            return None

        return keep


@pytest.mark.parametrize("number", range(1, len(UPDATE_STEPS)))
def test_a_later_step_before_its_time_is_refused_and_nothing_secret_comes_with_the_refusal(
    cloud: Cloud, number: int
) -> None:
    """East misses a step; each later one, with exactly what the others are asked, is refused by it."""
    missed, later = UPDATE_STEPS[number - 1], UPDATE_STEPS[number:]
    if missed is Step.REVEAL:
        later = (Step.APPLY,)
    kept = Recording(cloud, EAST, missed, *later)
    cloud.play()
    attempt = next(one.header.attempt for one in cloud.carried if one.header.step == Step.ADVERTISE)
    others = {step: cloud.requests(step) for step in later}
    for step in later:
        body, attachment = kept.kept.get(step) or (others[step][NORTH], b"")
        header = cloud.header(EAST, step, attempt=attempt, round=1)
        answer = cloud.send(header, body, attachment)
        assert answer.header.kind == Kind.REFUSAL, step
        assert answer.body["code"] in {"message", "too-few-members", "survivors", "sum"}
        assert set(answer.body) == {"code", "refused", "seconds"}
        assert not bytes(answer.attachment)


def test_a_node_that_hashed_without_having_seen_the_signed_sum_neither_reveals_nor_checks_any_more(
    cloud: Cloud,
) -> None:
    """Otherwise the cloud chooses the point itself, makes a false sum that fits there, and signs it afterwards."""
    kept = Recording(cloud, EAST, Step.REVEAL)
    assert cloud.play() == "finished"
    attempt = next(one.header.attempt for one in cloud.carried if one.header.step == Step.REVEAL)
    assert EAST in cloud.replies(Step.HASH)
    body, attachment = kept.kept[Step.REVEAL]
    assert cloud.code(cloud.header(EAST, Step.REVEAL, attempt=attempt, round=1), body, attachment) == "message"
    apply = cloud.requests(Step.APPLY)[NORTH]
    assert cloud.code(cloud.header(EAST, Step.APPLY, attempt=attempt, round=1), apply) in {"message", "sum"}


@pytest.mark.parametrize("step", [*UPDATE_STEPS[1:], *FIGURES_STEPS[1:], Step.SEAL])
@pytest.mark.parametrize("change", ["attempt", "round", "run"])
def test_a_step_of_another_attempt_round_or_run_is_refused_though_everything_else_is_right(
    cloud: Cloud, step: Step, change: str
) -> None:
    other = {"attempt": "f" * 32, "round": 7, "run": "e" * 32}[change]
    asked: list[str] = []

    def elsewhere(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        if step is Step.SEAL or party == EAST:
            asked.append(cloud.code(cloud.header(party, step, **{change: other}), body, attachment))
        return body, attachment

    cloud.asking[step] = elsewhere
    cloud.play()
    assert asked[0] == "message"
    assert set(asked) <= {"message", "replayed"}


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.DEAL, Step.UPLOAD])
def test_a_letter_of_another_run_does_not_verify_under_this_ones_name(cloud: Cloud, step: Step) -> None:
    assert cloud.play() == "finished"
    one = next(one for one in cloud.carried if one.header.step == step and one.party == EAST)
    forged = one.letter.replace(RUN.encode(), b"e" * len(RUN))
    assert forged != one.letter
    with pytest.raises((SignatureBroken, Refused)):
        cloud.node(EAST).answer(forged)


def test_first_weights_are_signed_for_round_0_only(cloud: Cloud) -> None:
    """Otherwise the cloud has all members sign the first weights, which it can draw itself, as those of any round."""
    assert cloud.play() == "finished"
    begin = cloud.requests(Step.BEGIN)[EAST]
    header = cloud.header(EAST, Step.BEGIN, attempt="a" * 32)
    assert cloud.code(header.model_copy(update={"round": 1}), begin) == "message"
    assert cloud.code(header.model_copy(update={"round": 0, "attempt": "b" * 32}), begin) == ""


class _Posing(Notary):
    """Signs in the coordinator's name, with another party's key."""

    def __init__(self, other: Notary) -> None:
        self._other = other
        self.study = other.study

    def sign(self, payload: bytes, context: Context) -> bytes:
        """Bind another sender than the one that the context names."""
        return self._other.sign(payload, replace(context, sender=self._other.party))


@pytest.mark.parametrize("signer", ["north.training", AUTHORITY, "aggregation"])
def test_a_request_that_another_party_than_the_coordinator_signed_is_refused(cloud: Cloud, signer: str) -> None:
    cloud.play()
    header = cloud.header(EAST, Step.ADVERTISE, attempt="a" * 32)
    notary = cloud.federation.notary(signer)
    asked = header.model_copy(update={"sender": signer})
    with pytest.raises(Refused):
        cloud.node(EAST).answer(pack(asked, blind.AdvertiseRequest(), notary=notary, briefing=cloud.authority()))
    with pytest.raises(SecurityError):
        cloud.node(EAST).answer(pack(header, blind.AdvertiseRequest(), notary=_Posing(notary)))


@pytest.mark.parametrize("length", [0, MAX_MESSAGE_BYTES + 1])
def test_an_oversized_or_empty_letter_is_refused_before_it_is_read(cloud: Cloud, length: int) -> None:
    with pytest.raises(Refused) as refusal:
        cloud.node(EAST).answer(bytes(length))
    assert refusal.value.code == "message"


@pytest.mark.parametrize("attempt", ["", "a b", "x\nrun.update 1 east.training settled", "é", "a" * 65, "a\n"])
def test_an_attempt_id_that_could_write_lines_into_a_ledger_is_refused(attempt: str) -> None:
    values = dict.fromkeys(("run", "step", "kind", "sender", "recipient"), "x") | {"round": 0}
    with pytest.raises(Refused):
        Header.parse({**values, "attempt": attempt})


def test_a_settled_roster_outlives_the_node_and_no_later_line_replaces_it(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "ledger")
    ledger.settle(f"{RUN}.update", 1, [EAST, NORTH, SOUTH])
    again = FileLedger(tmp_path / "ledger")
    with pytest.raises(Refused):
        again.settle(f"{RUN}.update", 1, [EAST, NORTH, WEST])
    assert FileLedger(tmp_path / "ledger").settled(f"{RUN}.update", 1) == (EAST, NORTH, SOUTH)


# --- uploads -------------------------------------------------------------------------------------------------------


def reshaped(cloud: Cloud, change: Callable[[bytes], tuple[bytes, int]]) -> Hook:
    """South's vector as `change` makes it, with a statement that fits it."""

    def hook(party: str, body: blind.UploadReply, attachment: bytes) -> tuple[Wire, bytes]:
        if party != SOUTH:
            return body, attachment
        vector, words = change(attachment)
        header = cloud.carried[-1].header
        stated = read(Upload, body.upload)
        upload = Upload.model_construct(
            sha256=hashlib.sha256(vector).digest(), words=words, base_sha256=stated.base_sha256
        )
        return body.model_copy(update={"upload": cloud.sign(upload, SOUTH, header)}), vector

    return hook


@pytest.mark.parametrize(
    "change",
    [
        lambda vector: (vector + bytes(4), len(vector) // 4 + 1),
        lambda vector: (vector[:-4], len(vector) // 4 - 1),
        lambda vector: (vector + vector, len(vector) // 4),
        lambda vector: (vector, len(vector) // 8),
        lambda vector: (vector, len(vector) // 4 - 1),
        lambda vector: (vector[:-1], len(vector) // 4),
        lambda _vector: (b"", 0),
        lambda vector: (vector[:4], -5),
    ],
    ids=[
        "too long",
        "too short",
        "64-bit words",
        "called 64-bit words",
        "fewer words stated",
        "torn",
        "empty",
        "negative",
    ],
)
def test_a_vector_of_the_wrong_shape_is_left_out_blamed_and_the_round_goes_on(
    cloud: Cloud, change: Callable[[bytes], tuple[bytes, int]]
) -> None:
    cloud.answering[Step.UPLOAD] = reshaped(cloud, change)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(Step.UPLOAD)[SOUTH] in {"update-shape", "message"}
    assert SOUTH not in cloud.federation.store.models[1].members


def test_a_vector_that_is_not_the_one_signed_is_left_out(cloud: Cloud) -> None:
    def other(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        return (body, bytes(len(attachment))) if party == SOUTH else (body, attachment)

    cloud.answering[Step.UPLOAD] = other
    assert cloud.play() == "finished"
    assert cloud.failures(Step.UPLOAD) == {SOUTH: "update-shape"}


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.DEAL, Step.UPLOAD, Step.AGREE, Step.HASH])
def test_a_statement_that_another_member_signed_is_not_taken_for_this_ones(cloud: Cloud, step: Step) -> None:
    """South answers with what north stated; the coordinator finds it before the others would have to refuse it."""
    said: dict[str, Wire] = {}
    name = {"advertise": "advert", "deal": "dealing", "agree": "agreement", "hash": "digest"}.get(step, "upload")

    def copied(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        said[party] = body
        if party == SOUTH:
            body = body.model_copy(update={name: getattr(said[NORTH], name)})
        return body, attachment

    cloud.answering[step] = copied
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(step) == {SOUTH: "member-refused"}


@pytest.mark.parametrize("step", [Step.DEAL, Step.APPLY])
def test_a_statement_of_another_sum_or_attempt_is_refused_by_the_nodes(cloud: Cloud, step: Step) -> None:
    name, kind = {"deal": ("adverts", Advert), "apply": ("digests", None)}[step]
    old: dict[str, bytes] = {}
    first = fresh(cloud.federation)
    assert first.play() == "finished"
    old.update(getattr(first.requests(step)[EAST], name))
    cloud = fresh(cloud.federation)

    def replayed(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        now = getattr(body, name)
        return body.model_copy(update={name: {**now, NORTH: old[NORTH]}}), attachment

    cloud.asking[step] = replayed
    assert cloud.play() == "failed"
    assert set(cloud.refusals(step).values()) == {"signature"}
    if kind is not None:
        figures = cloud.sign(
            Advert(**read(Advert, old[NORTH]).model_dump()), NORTH, cloud.header(NORTH, step), Label.FIGURES
        )
        old[NORTH] = figures
        cloud = fresh(cloud.federation)
        cloud.asking[step] = replayed
        assert cloud.play() == "failed"


@pytest.mark.parametrize("step", [*UPDATE_STEPS, Step.BEGIN, Step.SEAL])
def test_a_body_with_an_unknown_or_missing_field_is_refused(cloud: Cloud, step: Step) -> None:
    assert cloud.play() == "finished"
    header = cloud.header(EAST, step, attempt="c" * 32)
    body = KINDS[step][0].model_construct()
    assert cloud.code(header, blind.Dropped(advert=b"", scalar=b"")) == "message"
    if body.model_fields_set or KINDS[step][0].model_fields:
        assert cloud.code(header.model_copy(update={"attempt": "d" * 32}), blind.AdvertiseRequest()) == "message"


# --- what a node refuses to mask ----------------------------------------------------------------------------------


class Spoilt(SoftmaxLearner):
    """Returns weights that are no numbers, or has trained on nothing."""

    def __init__(self, value: float, images: int | None = None) -> None:
        super().__init__()
        self.value = value
        self.images = images

    def fit(self, weights: Weights, *arguments: object, **options: object) -> tuple[Weights, TrainingReport]:
        """Train, then spoil one weight."""
        new, report = super().fit(weights, *arguments, **options)  # type: ignore[arg-type]
        if self.images is not None:
            return new, TrainingReport(images=self.images, steps=1, loss=0.0, stopped=False)
        new["softmax/bias"][0] = self.value
        return new, report


@pytest.mark.parametrize(
    ("learner", "code"),
    [
        (Spoilt(np.nan), "update-not-finite"),
        (Spoilt(np.inf), "update-not-finite"),
        (Spoilt(-np.inf), "update-not-finite"),
        (Spoilt(0.0, images=0), "update-weight"),
        (Spoilt(0.0, images=-8), "update-weight"),
        (Spoilt(0.0, images=10**6), "update-weight"),
    ],
    ids=["NaN", "inf", "-inf", "no images", "negative", "more images than ordered"],
)
def test_what_is_no_update_is_refused_by_its_own_node_before_it_is_masked(
    cloud: Cloud, learner: Spoilt, code: str
) -> None:
    federation = cloud.federation
    honest, federation.learner = federation.learner, learner
    federation.nodes["south"] = federation.node("south")
    federation.learner = honest
    assert cloud.play() == "finished", federation.store.reason
    assert cloud.failures(Step.UPLOAD) == {SOUTH: code}
    assert SOUTH not in cloud.attachments(Step.UPLOAD)
    assert SOUTH not in federation.store.models[1].members


def test_a_node_whose_update_was_refused_signs_no_set_that_claims_an_upload_of_it(cloud: Cloud) -> None:
    federation = cloud.federation
    honest, federation.learner = federation.learner, Spoilt(np.nan)
    federation.nodes["south"] = federation.node("south")
    federation.learner = honest
    codes: list[str] = []

    def claimed(party: str, body: blind.AgreeRequest, attachment: bytes) -> tuple[Wire, bytes]:
        if not codes:
            survivors = {**body.survivors, SOUTH: b""}
            codes.append(cloud.code(cloud.header(SOUTH, Step.AGREE), blind.AgreeRequest(survivors=survivors)))
        return body, attachment

    cloud.asking[Step.AGREE] = claimed
    cloud.play()
    assert codes == ["message"]


# --- revocation and the group key ---------------------------------------------------------------------------------


def test_when_a_member_is_revoked_between_rounds_the_group_key_is_void_and_the_reason_says_so(
    federation_of: Callable[..., Federation],
) -> None:
    federation = federation_of(rounds=2)
    cloud = Cloud(federation)

    def revoke(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes]:
        if not federation.keys.trust().crl_number:
            federation.keys.revoke([federation.identities[SOUTH]])
        return body, attachment

    cloud.answering[Step.SEAL] = lambda party, body, attachment: (
        revoke(party, body, attachment) if cloud.carried[-1].header.round == 1 else (body, attachment)
    )
    assert cloud.play() == "failed"
    assert [model.round for model in federation.store.models] == [0, 1]
    assert "Round 2: 0 of 4 members finished the step 'advertise'" in federation.store.reason
    assert "a member of its group was revoked" in federation.store.reason
    assert set(cloud.refusals(Step.ADVERTISE).values()) == {"group-key"}


def test_the_group_key_of_another_run_and_no_group_key_are_refused(cloud: Cloud) -> None:
    federation = cloud.federation
    order = federation.order()
    for group in (federation.group("e" * 32), b"", b"anything"):
        cloud = fresh(federation)
        cloud.runs[RUN] = order, group
        assert cloud.play() == "failed"
        assert set(cloud.refusals(Step.ADVERTISE).values()) == {"group-key"}
        assert not cloud.replies(Step.ADVERTISE)


def test_a_node_without_validation_images_still_uploads_figures(cloud: Cloud) -> None:
    federation = cloud.federation
    kept = federation.data["south"]
    federation.data["south"] = without(kept, Part.VALIDATION)
    federation.nodes["south"] = federation.node("south")
    federation.data["south"] = kept
    assert cloud.play() == "finished"
    assert cloud.federation.store.models[1].metrics["images"] == 3 * 8


def test_a_run_in_which_tries_are_left_fails_with_the_reason_of_the_last(four_hospitals: Federation) -> None:
    cloud = fresh(four_hospitals, RoundRules(tries=2))
    cloud.runs[RUN] = four_hospitals.order(), b""
    assert cloud.play() == "failed"
    assert "group key" in four_hospitals.store.reason


def test_a_step_in_the_midst_of_an_attempt_needs_no_order_and_one_out_of_the_blue_does(cloud: Cloud) -> None:
    assert cloud.play() == "finished"
    bare = {one.header.step for one in cloud.carried if not cloud.unpacked(one.letter, one.party).briefing.order}
    assert bare == {*UPDATE_STEPS[1:], *FIGURES_STEPS[1:], Step.SEAL, Step.OPEN}
    stranger = cloud.federation.node("east")  # a node that was restarted has no attempt, and no order of it either
    step = cloud.header(EAST, Step.AGREE, attempt="another")
    letter = cloud.letter(step, blind.AgreeRequest(survivors={}))
    answer = unpack(stranger.answer(letter), notary=cloud.federation.notary(COORDINATOR))
    assert (answer.header.kind, answer.body["code"]) == (Kind.REFUSAL, "order")


def test_a_request_that_is_the_same_for_all_is_signed_once(cloud: Cloud) -> None:
    assert cloud.play() == "finished"
    letters: dict[tuple[str, str], set[bytes]] = {}
    for one in cloud.carried:
        letters.setdefault((one.header.attempt, one.header.step), set()).add(one.letter)
    several = {step for (_, step), different in letters.items() if len(different) > 1}
    assert several == {Step.UPLOAD, Step.FIGURES_UPLOAD}  # everybody's shares are its own
