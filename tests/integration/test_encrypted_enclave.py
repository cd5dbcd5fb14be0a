"""Encrypted inference by an enclave as a real process: an image becomes a query, the key holder's answer a result.

The key holder is played by the test; what it counts and refuses is held by ``test_encrypted_keyholder.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import seal_model
from core.diagnosis.client import EnclaveClient, EncryptedQuestion, SealedModel
from core.diagnosis.encrypted_head import KERNEL, HeadSecret, encrypt_model
from core.diagnosis.encrypted_operations import ANSWERED_WITHIN, KEYHOLDER, MAX_OPEN, EncryptedHeads
from core.diagnosis.predictor import Predictor
from core.diagnosis.result import DiagnosisResult
from core.diagnosis.supervisor import EnclaveSupervisor
from core.diagnosis.wire import APP, result_context
from core.errors import CheckpointRefused, EnclaveUnavailable, ImageBroken, NoModel, NotFound, RecordDamaged
from core.imaging.decode import encode_png
from core.imaging.drift import figures_of
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic_field import generate_field
from core.learning.weights import Weights, decode_weights
from core.studies import LEUKEMIA, Inference
from security.encrypted_inference.head import EncryptedHead
from security.encrypted_inference.points import ENCODED_BYTES
from security.encrypted_inference.signed import answer_context, open_query, sign_answer, sign_head
from security.identity import Identity
from security.keys import KeyStore, MasterKey
from security.signing import claims_of, sign
from tests.integration.test_enclave import AUTHORITY, NORTH, PIXELS, SOUTH, Installation, make_installation
from tests.serving import RUN

WHERE: dict[str, Any] = {"study": "leukemia", "checkpoint_id": "hidden-1"}


@dataclass(frozen=True)
class Split:
    """A model whose head was taken out, and what each side gets of it."""

    weights: Weights
    backbone: ServingModel
    secret: HeadSecret
    head: EncryptedHead


@pytest.fixture(scope="module")
def split(backbone_model: ServingModel) -> Split:
    weights, _ = decode_weights(backbone_model.weights or b"")
    secret, head = encrypt_model(weights, backbone_model.manifest)
    return Split(weights, backbone_model.without_weights(), secret, head)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    house = make_installation(tmp_path_factory.mktemp("hidden"))
    master = MasterKey.load(secret=None, file=house.settings.master_key_file)
    store = KeyStore(house.settings.keys_dir, KEYHOLDER, master)
    house.identities[KEYHOLDER] = Identity.enrol(store, house.authority, now=datetime.now(UTC))
    return house


@pytest.fixture(scope="module")
def supervisor(house: Installation) -> Iterator[EnclaveSupervisor]:
    supervisor = EnclaveSupervisor(house.settings, [NORTH, SOUTH])
    yield supervisor
    supervisor.stop_all()


def sealed(house: Installation, model: ServingModel, head: bytes, checkpoint_id: str = "hidden-1") -> SealedModel:
    recipients = [house.identities[party].sealing_certificate for party in (NORTH, SOUTH)]
    data = seal_model(model, sender=house.identities[AUTHORITY], recipients=recipients)
    return SealedModel(checkpoint_id=checkpoint_id, study="leukemia", run=RUN, sender=AUTHORITY, sealed=data, head=head)


def signed(house: Installation, split: Split, **changes: str) -> bytes:
    return sign_head(split.head, signer=house.identities[AUTHORITY], **{**WHERE, **changes})


@pytest.fixture
def north(house: Installation, supervisor: EnclaveSupervisor, split: Split) -> EnclaveClient:
    client = supervisor.ensure(NORTH, identity=house.identities[APP], trust=house.trust, approvals=house.approvals)
    client.load_model(sealed(house, split.backbone, signed(house, split)))
    return client


def ask(house: Installation, client: EnclaveClient, case_id: str = "case-1") -> EncryptedQuestion:
    return client.encrypt(case_id=case_id, sealed_image=house.sealed_image(case_id=case_id), **WHERE)


def answer_to(house: Installation, split: Split, question: EncryptedQuestion) -> tuple[bytes, tuple[int, ...]]:
    """Return what the key holder signs, and what it says."""
    which = {**WHERE, "query_id": question.query_id}
    query = open_query(question.query, trust=house.trust, party=NORTH, classes=2, at=datetime.now(UTC), **which)
    hundredths = split.secret.answer(query)
    return sign_answer(hundredths, signer=house.identities[KEYHOLDER], **which), hundredths


def test_a_case_is_answered_as_the_model_with_its_head_would(
    house: Installation, north: EnclaveClient, split: Split, serving_model: ServingModel
) -> None:
    question = ask(house, north)
    envelope, hundredths = answer_to(house, split, question)
    answer = north.conclude(question.query_id, envelope)
    data = house.open(answer.sealed, result_context(study="leukemia", case_id="case-1", party=NORTH))
    result, expected = DiagnosisResult.decode(data), Predictor(serving_model).predict(PIXELS)
    assert result.probabilities == tuple(value / sum(hundredths) for value in hundredths)
    assert result.probabilities == pytest.approx(expected.probabilities, abs=0.03)
    assert (result.label_index, result.checkpoint_id, result.case_id) == (expected.label_index, "hidden-1", "case-1")
    assert (result.heat_map_png, result.cells, result.answered_by) == (b"", (), NORTH)
    assert (result.box, result.figures) == ((5, 0, 120), figures_of(PIXELS, LEUKEMIA))  # 130 px wide, 120 px high
    assert set(answer.stages_ms) == {"preprocess", "infer", "encrypted_head"}
    assert "hidden-1" in north.hello().models


def test_the_head_is_not_in_what_the_node_gets(split: Split, serving_model: ServingModel) -> None:
    kernel = split.weights[KERNEL]
    forms = [np.ascontiguousarray(form).tobytes() for form in (kernel, kernel.T)]
    assert any(form in serving_model.litert for form in forms)  # the control: the whole network holds it
    assert not any(form in split.backbone.litert for form in forms)
    encoded = split.head.encode()
    assert not any(row.tobytes() in encoded for row in kernel)


def test_queries_are_alike_and_name_no_case(house: Installation, north: EnclaveClient) -> None:
    questions = [ask(house, north, case) for case in ("case-1", "case-1", "a-rather-longer-name")]
    payloads = [claims_of(question.query)[1] for question in questions]
    assert {len(payload) for payload in payloads} == {1 + 3 * ENCODED_BYTES}
    assert len({question.query_id for question in questions}) == 3
    points = [payload[at : at + ENCODED_BYTES] for payload in payloads for at in range(1, len(payload), ENCODED_BYTES)]
    assert len(set(points)) == len(points)
    assert not any(b"case-1" in question.query or b"longer" in question.query for question in questions)


def test_a_model_without_its_head_answers_nothing_by_itself(house: Installation, north: EnclaveClient) -> None:
    with pytest.raises(NoModel):
        north.diagnose(case_id="case-1", sealed_image=house.sealed_image(), **WHERE)
    with pytest.raises(NoModel):
        north.encrypt(case_id="case-1", study="leukemia", checkpoint_id="other", sealed_image=house.sealed_image())


def _heads(house: Installation, split: Split, serving_model: ServingModel) -> dict[str, SealedModel]:
    good = signed(house, split)
    again = encrypt_model(split.weights, split.backbone.manifest)[1]
    stolen = sign_head(split.head, signer=house.identities[SOUTH], **WHERE)
    other = sign_head(again, signer=house.identities[AUTHORITY], **WHERE)
    return {
        "of another checkpoint": sealed(house, split.backbone, good, "hidden-2"),
        "of another study": sealed(house, split.backbone, signed(house, split, study="multimodal")),
        "changed": sealed(house, split.backbone, good[:-1] + bytes((good[-1] ^ 1,))),
        "no head": sealed(house, split.backbone, b"\0", "hidden-2"),
        "of another signer": sealed(house, split.backbone, stolen),
        "another one under the same id": sealed(house, split.backbone, other),
        "beside a network with its head": sealed(
            house, serving_model, signed(house, split, checkpoint_id="hidden-3"), "hidden-3"
        ),
        "missing": sealed(house, split.backbone, b"", "hidden-4"),
    }


HEADS = (
    "of another checkpoint",
    "of another study",
    "changed",
    "no head",
    "of another signer",
    "another one under the same id",
    "beside a network with its head",
    "missing",
)


@pytest.mark.parametrize("what", HEADS)
def test_a_head_that_is_not_this_checkpoints_is_refused(
    house: Installation, north: EnclaveClient, split: Split, serving_model: ServingModel, what: str
) -> None:
    model = _heads(house, split, serving_model)[what]
    with pytest.raises(CheckpointRefused):
        north.load_model(model)


def test_an_answer_counts_once_and_for_its_query_alone(house: Installation, north: EnclaveClient, split: Split) -> None:
    first, second = ask(house, north), ask(house, north, "case-2")
    envelope, hundredths = answer_to(house, split, first)
    with pytest.raises(RecordDamaged):
        north.conclude(second.query_id, envelope)
    which = {**WHERE, "query_id": first.query_id}
    for wrong in (
        sign_answer(hundredths, signer=house.identities[AUTHORITY], **which),
        sign_answer(hundredths, signer=house.identities[NORTH], **which),
        sign_answer((*hundredths, 0), signer=house.identities[KEYHOLDER], **which),
        sign_answer((100, 100), signer=house.identities[KEYHOLDER], **which),
        sign_answer((0, 0), signer=house.identities[KEYHOLDER], **which),
        sign(b"\xff\xff", signer=house.identities[KEYHOLDER], context=answer_context(sender=KEYHOLDER, **which)),
        envelope[:-1],
        b"",
    ):
        with pytest.raises(RecordDamaged):
            north.conclude(first.query_id, wrong)
    assert north.conclude(first.query_id, envelope).sealed
    for query_id in (first.query_id, "00" * 16, ""):
        with pytest.raises(EnclaveUnavailable):
            north.conclude(query_id, envelope)


def test_a_query_of_another_enclave_is_not_concluded(
    house: Installation, north: EnclaveClient, split: Split, supervisor: EnclaveSupervisor
) -> None:
    south = supervisor.ensure(SOUTH, identity=house.identities[APP], trust=house.trust, approvals=house.approvals)
    south.load_model(sealed(house, split.backbone, signed(house, split)))
    question = ask(house, north)
    with pytest.raises(EnclaveUnavailable):
        south.conclude(question.query_id, answer_to(house, split, question)[0])


def test_a_field_of_cells_is_refused(house: Installation, north: EnclaveClient) -> None:
    field = generate_field(
        np.random.default_rng(2),
        kinds=[CellKind.NEUTROPHIL] * 6,
        style=next(iter(STYLES.values())),
        height=480,
        width=640,
    )
    image = house.sealed_image(data=encode_png(field.pixels))
    with pytest.raises(ImageBroken):
        north.encrypt(case_id="case-1", sealed_image=image, **WHERE)


def test_a_query_is_open_for_a_while_and_few_at_once(house: Installation, split: Split) -> None:
    heads, now = EncryptedHeads(house.identities[NORTH], "measured"), datetime.now(UTC)
    envelope = signed(house, split)
    heads.load("hidden-1", split.backbone, envelope, sender=AUTHORITY, trust=house.trust, at=now)
    about = {"case_id": "case-1", "image": 0, "images": 1}

    def question() -> tuple[EncryptedQuestion, bytes]:
        query_id, query, stages = heads.ask(PIXELS, **WHERE, about=about, at=now)
        asked = EncryptedQuestion(query_id=query_id, query=query, stages_ms=stages)
        return asked, answer_to(house, split, asked)[0]

    (first, answer), (second, other) = question(), question()
    late = now + ANSWERED_WITHIN + timedelta(seconds=1)
    with pytest.raises(NotFound):
        heads.conclude(first.query_id, answer, trust=house.trust, at=late, approval=1)
    assert heads.conclude(first.query_id, answer, trust=house.trust, at=now, approval=1).case_id == "case-1"
    for _ in range(MAX_OPEN):
        heads.ask(PIXELS, **WHERE, about=about, at=now)
    with pytest.raises(NotFound):
        heads.conclude(second.query_id, other, trust=house.trust, at=now, approval=1)


def test_the_learner_of_such_a_study_exports_no_head(split: Split) -> None:
    from federated.learner import KerasLearner  # noqa: PLC0415  slow

    study = replace(LEUKEMIA, inference=Inference.ENCRYPTED_HEAD)
    learner = KerasLearner(split.backbone.manifest.architecture, study)
    assert learner.export(split.weights) == split.backbone.litert
