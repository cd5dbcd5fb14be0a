"""Heads, queries and answers count for one study, one checkpoint and one query, from the party that must sign them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from security.context import Context, Purpose
from security.encrypted_inference import signed
from security.encrypted_inference.evaluation import HeadEvaluator
from security.encrypted_inference.head import EncryptedHead, HeadKey, encrypt_head
from security.errors import CertificateRefused, CiphertextRefused, SecurityError, SignatureBroken
from security.signing import sign
from tests.unit.security.conftest import NOW, World

NODE, AUTHORITY = "north.serving", "authority"
WHERE = {"study": "leukemia", "checkpoint_id": "c1"}
WHICH = {**WHERE, "query_id": "00" * 16}


@pytest.fixture(scope="module")
def pair() -> tuple[HeadKey, EncryptedHead]:
    return encrypt_head(np.array([[1, -2, 3], [4, 5, -6]], np.int8), [10, 20, 30])


def test_a_query_goes_all_the_way_from_the_signed_head_to_the_signed_answer(
    world: World, pair: tuple[HeadKey, EncryptedHead]
) -> None:
    key, head = pair
    published = signed.sign_head(head, signer=world[AUTHORITY], **WHERE)
    received = signed.open_head(published, trust=world.trust, party=AUTHORITY, at=NOW, **WHERE)
    logits = HeadEvaluator(received).logits(np.array([7, 11], np.uint8))
    query = signed.sign_query(signed.Query(131, logits), signer=world[NODE], **WHICH)
    opened = signed.open_query(query, trust=world.trust, party=NODE, classes=3, at=NOW, **WHICH)
    assert opened.scale == 131
    assert key.decrypt(opened.logits) == (7 + 44 + 10, -14 + 55 + 20, 21 - 66 + 30)
    answer = signed.sign_answer((97, 2, 1), signer=world[AUTHORITY], **WHICH)
    assert signed.open_answer(answer, trust=world.trust, party=AUTHORITY, classes=3, at=NOW, **WHICH) == (97, 2, 1)


OTHERS = [{"study": "multimodal"}, {"checkpoint_id": "c2"}, {"query_id": "01" * 16}]


@pytest.mark.parametrize("other", OTHERS[:2])
def test_a_head_of_another_checkpoint_or_study_is_refused(
    world: World, pair: tuple[HeadKey, EncryptedHead], other: dict[str, str]
) -> None:
    published = signed.sign_head(pair[1], signer=world[AUTHORITY], **WHERE)
    with pytest.raises(SignatureBroken):
        signed.open_head(published, trust=world.trust, party=AUTHORITY, at=NOW, **(WHERE | other))


@pytest.mark.parametrize("other", OTHERS)
def test_a_query_or_an_answer_counts_nowhere_else(
    world: World, pair: tuple[HeadKey, EncryptedHead], other: dict[str, str]
) -> None:
    logits = HeadEvaluator(pair[1]).logits(np.zeros(2, np.uint8))
    query = signed.sign_query(signed.Query(131, logits), signer=world[NODE], **WHICH)
    answer = signed.sign_answer((100, 0, 0), signer=world[AUTHORITY], **WHICH)
    common: dict[str, Any] = {"trust": world.trust, "classes": 3, "at": NOW, **(WHICH | other)}
    with pytest.raises(SignatureBroken):
        signed.open_query(query, party=NODE, **common)
    with pytest.raises(SignatureBroken):
        signed.open_answer(answer, party=AUTHORITY, **common)


def test_only_the_party_that_must_sign_counts(
    world: World, impostor: World, pair: tuple[HeadKey, EncryptedHead]
) -> None:
    for signer, party in ((world[NODE], AUTHORITY), (impostor[AUTHORITY], AUTHORITY)):
        published = signed.sign_head(pair[1], signer=signer, **WHERE)
        with pytest.raises((CertificateRefused, SignatureBroken)):
            signed.open_head(published, trust=world.trust, party=party, at=NOW, **WHERE)


@pytest.mark.filterwarnings("ignore:Parsed a")  # of a certificate whose serial number was changed
def test_no_bit_of_a_query_can_be_changed(world: World, pair: tuple[HeadKey, EncryptedHead]) -> None:
    query = signed.sign_query(
        signed.Query(0, HeadEvaluator(pair[1]).logits(np.zeros(2, np.uint8))), signer=world[NODE], **WHICH
    )
    for at in np.random.default_rng(5).integers(0, 8 * len(query), 300).tolist():
        changed = bytearray(query)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(SecurityError):
            signed.open_query(bytes(changed), trust=world.trust, party=NODE, classes=3, at=NOW, **WHICH)


def _context(maker: Callable[..., Context], sender: str) -> Context:
    return maker(sender=sender, **WHICH)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0" * 256, b"\0" * 258, b"\0" * 257, b"\xff" * 257])
def test_a_node_that_signs_other_shapes_is_refused(world: World, payload: bytes) -> None:
    query = sign(payload, signer=world[NODE], context=_context(signed.query_context, NODE))
    with pytest.raises(CiphertextRefused):
        signed.open_query(query, trust=world.trust, party=NODE, classes=3, at=NOW, **WHICH)


@pytest.mark.parametrize("payload", [b"", b"\1\2", b"\1\2\3\4", b"\0\0\x65"])
def test_an_answer_of_another_shape_is_refused(world: World, payload: bytes) -> None:
    answer = sign(payload, signer=world[AUTHORITY], context=_context(signed.answer_context, AUTHORITY))
    with pytest.raises(CiphertextRefused):
        signed.open_answer(answer, trust=world.trust, party=AUTHORITY, classes=3, at=NOW, **WHICH)


def test_an_answer_out_of_range_is_not_signed(world: World) -> None:
    for wrong in ((101, 0, 0), (-1, 50, 51)):
        with pytest.raises(ValueError, match="hundredths"):
            signed.sign_answer(wrong, signer=world[AUTHORITY], **WHICH)


def test_all_queries_and_all_answers_are_as_long(world: World, pair: tuple[HeadKey, EncryptedHead]) -> None:
    """Signatures in DER vary by up to four bytes; what they sign does not vary at all."""
    evaluator = HeadEvaluator(pair[1])
    queries = [
        signed.sign_query(
            signed.Query(value, evaluator.logits(np.full(2, value, np.uint8))), signer=world[NODE], **WHICH
        )
        for value in (0, 1, 255)
    ]
    answers = [
        signed.sign_answer(value, signer=world[AUTHORITY], **WHICH) for value in ((100, 0, 0), (0, 0, 0), (33, 33, 34))
    ]
    for envelopes in (queries, answers):
        lengths = [len(envelope) for envelope in envelopes]
        assert max(lengths) - min(lengths) <= 4


def test_a_query_is_no_answer_and_no_head(world: World, pair: tuple[HeadKey, EncryptedHead]) -> None:
    purposes = {
        signed.head_context(sender=AUTHORITY, **WHERE).purpose,
        signed.query_context(sender=NODE, **WHICH).purpose,
        signed.answer_context(sender=AUTHORITY, **WHICH).purpose,
    }
    assert purposes == {Purpose.ENCRYPTED_HEAD, Purpose.HEAD_QUERY, Purpose.HEAD_ANSWER}
