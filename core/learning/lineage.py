"""The lineage of a global model: a signed statement of where its weights come from, chained to its parent's.

Each round's lineage names the SHA-256 of the signed lineage before it, so that the line from a model in service back
to its first weights can be walked and nothing in it exchanged. `sha256_of_lineage` is the name of a link.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise

from core.errors import CheckpointRefused
from core.learning.orders import AUTHORITY, survivors_needed
from security.certificates import Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.errors import SecurityError, SignatureBroken
from security.identity import Identity
from security.signing import Joint, sign, verify

SIGNERS = ("aggregation", "authority")
"""The aggregation enclave signs what was trained here; the authority what it brought from elsewhere."""
EVERYBODY = 64
"""Up to so many members all of them check, apply and sign a blind round, ..."""
COMMITTEE, COMMITTEE_SIGNERS = 40, 29
"""... above that a committee of so many, of which so many must sign the same (`federated.aggregation.blind.graph`)."""
BLIND = "blind"
_MAX_SIGNERS = 256
_VOUCHED = "vouched"


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where weights come from.

    Attributes:
        study: the study's code.
        run: federated run that made them.
        round: round of that run; 0 are the weights it started from.
        attempt: the try of that round that counted; empty for weights brought from elsewhere.
        weights_sha256: names the weights and what the server's optimiser keeps beside them
            (`core.learning.weights.checkpoint_sha256`).
        parent: SHA-256 (hex) of the signed lineage before this one; empty at the start of a line.
        mode: aggregation mode, or ``import``.
        members: parties whose updates are in the weights.
        metrics: global validation figures of these weights (`core.learning.metric_sums.summary_dict`).
        order: SHA-256 (hex) of the signed order of the run; empty for an import.
        at: time of signing, ISO 8601, UTC.
        privacy: differential privacy of the weights towards the members' training images: ``epsilon`` (largest that a
            member stated, over all private trainings of its data set), ``delta``, ``unit`` (`PrivacyUnit`),
            ``noise_multiplier`` and ``covers`` (`WHOLE_LINE` or `THIS_RUN`); empty for a training without.
    """

    study: str
    run: str
    round: int
    attempt: str
    weights_sha256: str
    parent: str
    mode: str
    members: tuple[str, ...]
    metrics: dict[str, float]
    order: str
    at: str
    privacy: dict[str, float | str] = field(default_factory=dict)


def sha256_of_lineage(signed: bytes) -> str:
    """Return the name of a link: SHA-256 (hex) of what members signed; who vouches for it changes nothing."""
    return hashlib.sha256(_vouched(signed)[0]).hexdigest()


def vouch_for(signed: bytes, *, study: str, weights_sha256: str, authority: Identity) -> bytes:
    """Return a lineage with the authority's word that it has verified it: read so even after its signers are revoked.

    The caller has read it (`read_lineage`), and for a blind run held it against the run's order. An earlier word is
    replaced.
    """
    original = _vouched(signed)[0]
    word = sign(hashlib.sha256(original).digest(), signer=authority, context=_vouch_context(study, weights_sha256))
    return encode([_VOUCHED, original, word])


def is_vouched_for(signed: bytes) -> bool:
    """Whether a lineage carries the authority's word, as it claims; `read_lineage` proves it."""
    return _vouched(signed)[1] is not None


def sign_lineage(lineage: Lineage, *, signer: Identity) -> bytes:
    """Return the lineage in an envelope signed by `signer`, bound to study and weights."""
    payload = json.dumps(asdict(lineage), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return sign(
        payload,
        signer=signer,
        context=_context(lineage.study, lineage.weights_sha256, signer.party),
    )


def committee_size(members: int) -> int:
    """Return how many of the members that a blind round asks check, apply and sign it."""
    return members if members <= EVERYBODY else COMMITTEE


def signers_needed(members: int) -> int:
    """Return how many of the committee must agree and sign in a blind round that asks so many members."""
    return survivors_needed(members) if members <= EVERYBODY else COMMITTEE_SIGNERS


def join_lineages(signed: Sequence[bytes]) -> bytes:
    """Return members' lineages of the same weights as one; the first one's signer has sealed the weights.

    What they stated travels once: ``[payload, [[party, certificate, signature], ...]]``.

    Raises:
        CheckpointRefused: they do not state the same.
    """
    try:
        joint = Joint.of(signed)
    except SecurityError as error:
        raise CheckpointRefused("members have stated different lineages") from error
    return encode([joint.payload, [list(one) for one in joint.signatures]])


def sealer_of(signed: bytes) -> str:
    """Return the party that has sealed the weights of a lineage, as it claims; opening them proves it.

    Raises:
        CheckpointRefused: the lineage cannot be read.
    """
    return signers_of(signed)[0]


def signers_of(signed: bytes) -> tuple[str, ...]:
    """Return the parties that signed a lineage, as it claims; reading it proves it.

    Raises:
        CheckpointRefused: the lineage cannot be read.
    """
    return tuple(party for party, _, _ in _joint(signed).signatures)


def statement_of(signed: bytes) -> bytes:
    """Return what the first signer of a lineage stated, unverified: whoever stated the same knows it to be true.

    Raises:
        CheckpointRefused: the lineage cannot be read.
    """
    return _joint(signed).payload


def read_lineage(signed: bytes, *, study: str, weights_sha256: str, trust: Trust, at: datetime) -> Lineage:
    """Return the lineage of exactly these weights; the caller compares run and round with what it expects.

    Args:
        signed: what `sign_lineage` or `join_lineages` made.
        study: the study's code.
        weights_sha256: expected hash of the weights.
        trust: the authority's root and newest revocation list; of a stored one ask `Trust.for_stored`.
        at: now.

    Raises:
        CheckpointRefused: changed, of other weights or another study, or not signed by parties that may.
    """
    joint, (original, word) = _joint(signed), _vouched(signed)
    try:
        if word is None:
            joint.verify(trust=trust, context=partial(_context, study, weights_sha256), at=at)
        else:
            context = _vouch_context(study, weights_sha256)
            if verify(word, trust=trust, context=context, party=AUTHORITY, at=at) != hashlib.sha256(original).digest():
                raise SignatureBroken
        lineage = _parsed(joint.payload)
    except (SecurityError, ValueError, TypeError, KeyError) as error:
        raise CheckpointRefused("the signature of the model's lineage does not hold") from error
    if not _may_sign(lineage, [party for party, _, _ in joint.signatures]):
        raise CheckpointRefused("the model's lineage was signed by parties that may not, or by too few")
    if (lineage.study, lineage.weights_sha256) != (study, weights_sha256):
        raise CheckpointRefused("the model's lineage states other weights than it is bound to")
    return lineage


def verify_lineage(
    signed: bytes, party: str, *, study: str, weights_sha256: str, trust: Trust, at: datetime
) -> Lineage:
    """Return what one member alone stated of these weights: not a lineage yet, which takes enough of them.

    Raises:
        CheckpointRefused: changed, of other weights or another study, or not signed by `party`.
    """
    try:
        return _parsed(verify(signed, trust=trust, context=_context(study, weights_sha256, party), party=party, at=at))
    except (SecurityError, ValueError, TypeError, KeyError) as error:
        raise CheckpointRefused("the signature of the model's lineage does not hold") from error


def _parsed(payload: bytes) -> Lineage:
    try:
        values = json.loads(payload)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return Lineage(**{**values, "members": tuple(values["members"])})


def _may_sign(lineage: Lineage, parties: Sequence[str]) -> bool:
    if lineage.mode != BLIND:
        return len(parties) == 1 and parties[0] in SIGNERS
    signers = set(parties)
    known = len(signers) == len(parties) and signers <= set(lineage.members)
    return known and len(signers) >= min(
        survivors_needed(len(lineage.members)), COMMITTEE_SIGNERS
    )  # how many were asked, it
    # does not say; whoever holds the order asks for `signers_needed` of that


def _joint(signed: bytes) -> Joint:
    """Read a lineage: one envelope, several put together, or, as they were joined before, a list of envelopes."""
    signed = _vouched(signed)[0]
    try:
        parts = decode(signed)
    except ValueError:
        parts = [signed]
    try:
        match parts:
            case [bytes(payload), [_, *_] as signatures] if len(signatures) <= _MAX_SIGNERS:
                return Joint(payload, tuple(_signature(*one) for one in signatures))
            case [bytes(), *_] if len(parts) <= _MAX_SIGNERS and all(isinstance(part, bytes) for part in parts):
                return Joint.of(parts)
    except (SecurityError, TypeError):
        pass
    raise CheckpointRefused("its lineage cannot be read")


def _vouched(signed: bytes) -> tuple[bytes, bytes | None]:
    """Return a lineage as it was signed, and the authority's word for it, if it carries one."""
    try:
        match decode(signed):
            case [mark, bytes(original), bytes(word)] if mark == _VOUCHED:
                return original, word
    except ValueError:
        pass
    return signed, None


def _vouch_context(study: str, weights_sha256: str) -> Context:
    return Context(purpose=Purpose.LINEAGE, study=study, sender=AUTHORITY, object_id=f"vouched/{weights_sha256}")


def _signature(party: object, certificate: object, signature: object) -> tuple[str, bytes, bytes]:
    if not (isinstance(party, str) and isinstance(certificate, bytes) and isinstance(signature, bytes)):
        raise TypeError("a party, its certificate and its signature expected")
    return party, certificate, signature


def check_chain(chain: Sequence[tuple[bytes, Lineage]]) -> None:
    """Check that each (signed, lineage) names the next one as its parent; the last one must start the line.

    Raises:
        CheckpointRefused: a link is missing or was exchanged.
    """
    for (_, child), (signed_parent, _) in pairwise(chain):
        if child.parent != sha256_of_lineage(signed_parent):
            raise CheckpointRefused(f"the lineage is broken at round {child.round}")
    if chain and chain[-1][1].parent:
        raise CheckpointRefused("the lineage does not reach its beginning")


def checkpoint_context(*, study: str, run: str, round_number: int, weights_sha256: str, sender: str) -> Context:
    """Return the context that sealed weights are bound to; the arguments are those of the weights' lineage."""
    return Context(
        purpose=Purpose.CHECKPOINT, study=study, sender=sender, object_id=weights_sha256, run=run, round=round_number
    )


def _context(study: str, weights_sha256: str, sender: str) -> Context:
    return Context(purpose=Purpose.LINEAGE, study=study, sender=sender, object_id=weights_sha256)
