"""The key holder: what it answers, what it counts, and what a node that cheats gets from it, on both databases."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlmodel import select

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.encrypted_head import BIAS, KERNEL, quantised, quantised_weights
from core.diagnosis.encrypted_operations import KEYHOLDER
from core.errors import CheckpointRefused, HemaSealError, MemberRefused, NoModel, NotAuthorised, RecordDamaged, TooOften
from core.learning.class_scores import calibrated_probabilities
from core.learning.weights import Weights, decode_weights
from core.services import encrypted_keyholder as keyholder
from core.services.app import App, load_master_key
from core.services.authority import authority_office
from core.services.rate_limits import Limit
from core.studies import STUDIES
from db.blobs import put_blob
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Checkpoint, EncryptedHeadRecord, HeadQuery
from security.encrypted_inference import points
from security.encrypted_inference.evaluation import HeadEvaluator
from security.encrypted_inference.head import EncryptedHead, EncryptedLogits
from security.encrypted_inference.signed import Query, open_answer, open_head, query_context, sign_query
from security.identity import Identity
from security.keys import KeyStore, KeyUse
from security.signing import sign

STUDY, NODE = "leukemia", "north.serving"
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(frozen=True)
class Served:
    """A model whose head the key holder has, and the node that may ask."""

    app: App
    checkpoint_id: str
    head: EncryptedHead
    node: Identity
    model: ServingModel
    weights: Weights

    def query(self, features: NDArray[np.floating] | None = None) -> Query:
        """Encrypt features, zeros unless given."""
        taken = quantised(np.zeros(self.head.features) if features is None else features)
        return Query(taken.scale, HeadEvaluator(self.head).logits(taken.numbers))

    def signed(self, query: Query, query_id: str, **changes: str) -> bytes:
        """Sign a query as the node."""
        where = {"study": STUDY, "checkpoint_id": self.checkpoint_id, "query_id": query_id} | changes
        return sign_query(query, signer=self.node, **where)

    def answer(self, envelope: bytes, query_id: str, *, party: str = NODE) -> bytes:
        """Let the key holder answer."""
        return keyholder.answer(
            self.app,
            study=STUDY,
            checkpoint_id=self.checkpoint_id,
            query_id=query_id,
            party=party,
            query=envelope,
        )

    def ask(self, query: Query | None = None) -> bytes:
        """Send a new query."""
        query_id = new_query_id()
        return self.answer(self.signed(query or self.query(), query_id), query_id)

    def spent(self) -> int:
        """Return how many queries were counted."""
        with read_scope(self.app.engine) as session:
            ids = session.exec(select(HeadQuery.query_id)).all()
            spent = session.get_one(EncryptedHeadRecord, self.checkpoint_id).spent
        assert len(ids) == spent
        return spent


def new_query_id() -> str:
    return secrets.token_hex(16)


def identity(app: App, party: str) -> Identity:
    return Identity.load(KeyStore(app.settings.keys_dir, party, load_master_key(app.settings)))


def taken_over(app: App, model: ServingModel) -> Served:
    weights = decode_weights(model.weights or b"")[0]
    with session_scope(app.engine) as session, authority_office(app.settings, app.clock) as office:
        row = Checkpoint(
            study_code=STUDIES[STUDY].code,
            round_number=0,
            weights_sha256=model.manifest.weights_sha256,
            weights_blob_id=put_blob(session, b"sealed elsewhere", "weights", app.clock).id,
            lineage=b"",
            metrics={},
            created_at=app.clock.now(),
        )
        session.add(row)
        session.flush()
        keyholder.take_over(app, session, row, office=office, model=model)
        envelope = keyholder.head_of(session, row.id)
    head = open_head(
        envelope, trust=app.trust(), party="authority", study=STUDY, checkpoint_id=row.id, at=app.clock.now()
    )
    return Served(app, row.id, head, identity(app, NODE), model, weights)


@pytest.fixture
def served(app: App, backbone_model: ServingModel) -> Served:
    return taken_over(app, backbone_model)


def test_an_answer_is_the_calibrated_probability_of_the_quantised_head(served: Served) -> None:
    numbers, step = quantised_weights(served.weights[KERNEL])
    features = np.random.default_rng(4).exponential(0.4, served.head.features)
    query_id, manifest = new_query_id(), served.model.manifest
    envelope = served.answer(served.signed(served.query(features), query_id), query_id)
    hundredths = open_answer(
        envelope,
        trust=served.app.trust(),
        party=KEYHOLDER,
        study=STUDY,
        checkpoint_id=served.checkpoint_id,
        query_id=query_id,
        classes=len(manifest.classes),
        at=served.app.clock.now(),
    )
    expected = calibrated_probabilities(
        (quantised(features).values @ (numbers * step) + served.weights[BIAS])[np.newaxis],
        STUDIES[STUDY],
        temperature=manifest.temperature,
        positive_temperature=manifest.positive_temperature,
        positive_offset=manifest.positive_offset,
    )[0]
    assert hundredths == tuple(np.rint(100 * expected).astype(int).tolist())
    assert served.spent() == 1


def test_the_key_is_the_key_holders_alone(served: Served) -> None:
    app, name = served.app, f"head-{served.checkpoint_id}.secret"
    assert (app.settings.keys_dir / KEYHOLDER / name).exists()
    assert len(list(app.settings.keys_dir.rglob("head-*.secret"))) == 1
    holder = KeyStore(app.settings.keys_dir, KEYHOLDER, load_master_key(app.settings))
    saved = holder.load_secret(f"head-{served.checkpoint_id}")
    kernel = served.weights[KERNEL]
    with read_scope(app.engine) as session:
        stored = keyholder.head_of(session, served.checkpoint_id)
    assert saved[-64:] not in stored
    assert kernel.tobytes() not in stored


def test_a_head_is_encrypted_once_however_often_its_model_serves(served: Served) -> None:
    app = served.app
    with session_scope(app.engine) as session, authority_office(app.settings, app.clock) as office:
        before = keyholder.head_of(session, served.checkpoint_id)
        row = session.get_one(Checkpoint, served.checkpoint_id)
        keyholder.take_over(app, session, row, office=office, model=served.model.without_weights())
        assert keyholder.head_of(session, served.checkpoint_id) == before
    assert served.ask()


@sqlite_only
def test_a_model_whose_head_would_reach_the_nodes_is_refused(
    app: App, serving_model: ServingModel, backbone_model: ServingModel
) -> None:
    for model in (serving_model, backbone_model.without_weights()):
        with pytest.raises(CheckpointRefused):
            taken_over(app, model)
    assert not list(app.settings.keys_dir.rglob("head-*.secret"))


def test_a_replayed_query_is_refused_and_not_counted_again(served: Served) -> None:
    query_id = new_query_id()
    envelope = served.signed(served.query(), query_id)
    assert served.answer(envelope, query_id)
    again = served.signed(served.query(), query_id)  # other bytes, the same id
    for repeated in (envelope, again):
        with pytest.raises(RecordDamaged):
            served.answer(repeated, query_id)
    assert served.spent() == 1


Change = Callable[[EncryptedLogits, EncryptedHead], tuple[points.Point, ...]]
CHANGED: dict[str, Change] = {
    "a random point": lambda logits, _: (*logits.row[:-1], points.of_number(points.random_scalar())),
    "other randomness": lambda logits, _: (points.of_number(7), *logits.row[1:]),
    "a logit far beyond": lambda logits, _: (*logits.row[:-1], logits.row[-1] + points.of_number(10**9)),
    "classes exchanged": lambda logits, _: (logits.row[0], *reversed(logits.row[1:])),
    "a public key for a logit": lambda logits, head: (*logits.row[:-1], head.keys[0]),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_ciphertext_is_refused_and_counted(served: Served, what: str) -> None:
    query = served.query()
    with pytest.raises(RecordDamaged):
        served.ask(Query(query.scale, EncryptedLogits(CHANGED[what](query.logits, served.head))))
    assert served.spent() == 1


def test_a_head_of_another_checkpoint_is_refused(served: Served) -> None:
    other = taken_over(served.app, served.model)
    with pytest.raises(RecordDamaged):
        served.ask(other.query())
    query_id = new_query_id()
    with pytest.raises(RecordDamaged):
        served.answer(served.signed(served.query(), query_id, checkpoint_id=other.checkpoint_id), query_id)


@sqlite_only
@pytest.mark.parametrize("shape", [b"", b"\0", bytes(1 + 3 * 64), b"\xff" * (1 + 3 * 64), bytes(1 + 2 * 64)])
def test_malformed_points_and_other_shapes_are_refused_before_they_count(served: Served, shape: bytes) -> None:
    query_id = new_query_id()
    context = query_context(study=STUDY, checkpoint_id=served.checkpoint_id, query_id=query_id, sender=NODE)
    with pytest.raises(RecordDamaged):
        served.answer(sign(shape, signer=served.node, context=context), query_id)
    assert served.spent() == 0


@sqlite_only
def test_who_is_no_enclave_or_signs_for_another_is_refused(served: Served) -> None:
    query_id = new_query_id()
    envelope = served.signed(served.query(), query_id)
    for party in ("north.training", "app", "authority", KEYHOLDER):
        with pytest.raises(NotAuthorised):
            served.answer(envelope, query_id, party=party)
    with pytest.raises((MemberRefused, RecordDamaged)):
        served.answer(envelope, query_id, party="east.serving")
    for wrong_id in (new_query_id(), query_id.upper() + "0", query_id[:-1], "../" + query_id[3:], ""):
        with pytest.raises(RecordDamaged):
            served.answer(envelope, wrong_id)
    with pytest.raises(RecordDamaged):
        served.answer(envelope[:-1] + bytes((envelope[-1] ^ 1,)), query_id)
    assert served.spent() == 0


@sqlite_only
def test_a_revoked_enclave_gets_no_answer(served: Served) -> None:
    app = served.app
    with session_scope(app.engine) as session, authority_office(app.settings, app.clock) as office:
        statement = select(CertificateRecord.serial).where(
            CertificateRecord.party == NODE, CertificateRecord.key_use == KeyUse.SIGN.value
        )
        office.revoke(session, app.trust(session), session.exec(statement).one(), "keyCompromise")
    with pytest.raises(MemberRefused):
        served.ask()
    assert served.spent() == 0


@sqlite_only
def test_a_model_without_a_key_gives_no_answer(app: App) -> None:
    for checkpoint_id in ("unknown", "../authority/sign", ""):
        with pytest.raises(NoModel):
            keyholder.answer(
                app, study=STUDY, checkpoint_id=checkpoint_id, query_id=new_query_id(), party=NODE, query=b""
            )


def test_the_last_answer_of_a_model_is_its_last(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyholder, "LIFETIME", 3)
    for _ in range(3):
        served.ask()
    for _ in range(2):
        with pytest.raises(NoModel):
            served.ask()
    assert served.spent() == 3


def test_parallel_queries_get_no_more_than_the_cap(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyholder, "LIFETIME", 2)
    queries = [served.query() for _ in range(6)]

    def answered(query: Query) -> bool:
        try:
            served.ask(query)
        except HemaSealError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(answered, queries)) == 2
    assert served.spent() == 2


def test_too_many_queries_in_a_short_time_wait(
    served: Served, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyholder, "QUERIES", Limit("head.query", 2, timedelta(minutes=1)))
    for _ in range(2):
        served.ask()
    with pytest.raises(TooOften, match="again in 30 s"):
        served.ask()
    clock.advance(timedelta(seconds=30))
    assert served.ask()
    assert served.spent() == 3


@sqlite_only
def test_every_answer_is_as_long(served: Served) -> None:
    rng = np.random.default_rng(8)
    lengths = {len(served.ask(served.query(rng.exponential(s, served.head.features)))) for s in (0.01, 1.0, 100.0)}
    assert max(lengths) - min(lengths) <= 4  # signatures in DER
