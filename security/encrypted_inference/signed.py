"""What parties sign of encrypted inference: a head (authority), a query (node), an answer (key holder).

Signatures bind study, checkpoint and query, none of which is in the payloads. All queries of a head are as long as each
other, and so are all answers; neither names a person, a case or an image. That a query id counts once is the key
holder's to hold.
"""

from dataclasses import dataclass
from datetime import datetime

from security.certificates import Trust
from security.context import Context, Purpose
from security.encrypted_inference.head import EncryptedHead, EncryptedLogits
from security.errors import CiphertextRefused
from security.identity import Identity
from security.signing import sign, verify

WHOLE = 100
"""Probabilities of answers are whole hundredths."""


@dataclass(frozen=True, eq=False)
class Query:
    """What a node asks of the key holder.

    Attributes:
        scale: 0 to 255: which of 256 agreed steps the features were divided by before they became whole numbers.
        logits: the encrypted logits of these.
    """

    scale: int
    logits: EncryptedLogits

    def encode(self) -> bytes:
        """Return one byte, then the points."""
        return bytes((self.scale,)) + self.logits.encode()


def head_context(*, study: str, checkpoint_id: str, sender: str) -> Context:
    """Return the context of a checkpoint's encrypted head."""
    return Context(purpose=Purpose.ENCRYPTED_HEAD, study=study, sender=sender, object_id=checkpoint_id)


def query_context(*, study: str, checkpoint_id: str, query_id: str, sender: str) -> Context:
    """Return the context of one query to a checkpoint's key holder."""
    return Context(purpose=Purpose.HEAD_QUERY, study=study, sender=sender, object_id=f"{checkpoint_id}/{query_id}")


def answer_context(*, study: str, checkpoint_id: str, query_id: str, sender: str) -> Context:
    """Return the context of the answer to one query."""
    return Context(purpose=Purpose.HEAD_ANSWER, study=study, sender=sender, object_id=f"{checkpoint_id}/{query_id}")


def sign_head(head: EncryptedHead, *, signer: Identity, study: str, checkpoint_id: str) -> bytes:
    """Return an encrypted head in a signed envelope, for nodes."""
    context = head_context(study=study, checkpoint_id=checkpoint_id, sender=signer.party)
    return sign(head.encode(), signer=signer, context=context)


def open_head(
    envelope: bytes, *, trust: Trust, party: str, study: str, checkpoint_id: str, at: datetime
) -> EncryptedHead:
    """Return the head that `party` signed for this checkpoint.

    Raises:
        SignatureBroken, CertificateRefused: as `security.signing.verify`.
        CiphertextRefused: signed, but no encrypted head.
    """
    context = head_context(study=study, checkpoint_id=checkpoint_id, sender=party)
    return EncryptedHead.decode(verify(envelope, trust=trust, context=context, party=party, at=at))


def sign_query(query: Query, *, signer: Identity, study: str, checkpoint_id: str, query_id: str) -> bytes:
    """Return a query in a signed envelope, for the key holder."""
    context = query_context(study=study, checkpoint_id=checkpoint_id, query_id=query_id, sender=signer.party)
    return sign(query.encode(), signer=signer, context=context)


def open_query(
    envelope: bytes,
    *,
    trust: Trust,
    party: str,
    study: str,
    checkpoint_id: str,
    query_id: str,
    classes: int,
    at: datetime,
) -> Query:
    """Return what `party` signed as this query.

    Raises:
        SignatureBroken, CertificateRefused: as `security.signing.verify`.
        CiphertextRefused: signed, but not a step and the points of so many classes.
    """
    context = query_context(study=study, checkpoint_id=checkpoint_id, query_id=query_id, sender=party)
    payload = verify(envelope, trust=trust, context=context, party=party, at=at)
    return Query(payload[0] if payload else 0, EncryptedLogits.decode(payload[1:], classes=classes))


def sign_answer(
    hundredths: tuple[int, ...], *, signer: Identity, study: str, checkpoint_id: str, query_id: str
) -> bytes:
    """Return rounded probabilities (0 to 100, one for each class) in a signed envelope, for the node that asked.

    Raises:
        ValueError: a number out of range.
    """
    if any(not 0 <= value <= WHOLE for value in hundredths):
        raise ValueError(f"hundredths from 0 to {WHOLE} expected, got {hundredths}")
    context = answer_context(study=study, checkpoint_id=checkpoint_id, query_id=query_id, sender=signer.party)
    return sign(bytes(hundredths), signer=signer, context=context)


def open_answer(
    envelope: bytes,
    *,
    trust: Trust,
    party: str,
    study: str,
    checkpoint_id: str,
    query_id: str,
    classes: int,
    at: datetime,
) -> tuple[int, ...]:
    """Return the rounded probabilities that `party` signed as the answer to this query.

    Raises:
        SignatureBroken, CertificateRefused: as `security.signing.verify`.
        CiphertextRefused: signed, but not a hundredth for each of so many classes.
    """
    context = answer_context(study=study, checkpoint_id=checkpoint_id, query_id=query_id, sender=party)
    hundredths = tuple(verify(envelope, trust=trust, context=context, party=party, at=at))
    if len(hundredths) != classes or any(value > WHOLE for value in hundredths):
        raise CiphertextRefused(f"hundredths of {classes} classes expected")
    return hundredths
