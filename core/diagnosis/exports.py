"""Members' word for an exported model: each signs the hash of the whole serving model that it exported itself.

Exporting is repeatable to the bit, so honest members sign the same hash; one hospital alone decides nothing.
"""

import hashlib
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

from core.diagnosis.bundle import ServingModel
from core.errors import CheckpointRefused
from security.certificates import Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.errors import SecurityError
from security.identity import Identity
from security.signing import sign, verify

MIN_EXPORTERS = 2


def sha256_of_model(model: ServingModel) -> str:
    """Return the SHA-256 (hex) of manifest and network; the manifest names the weights by their own hash."""
    return hashlib.sha256(model.without_weights().encode()).hexdigest()


def sign_export(model: ServingModel, *, signer: Identity) -> bytes:
    """Return a member's signed word that it exported exactly this model from its run's last weights."""
    return sign(sha256_of_model(model).encode(), signer=signer, context=_context(model, signer.party))


def encode_exports(statements: dict[str, bytes]) -> bytes:
    """Return the statements of several members (party -> `sign_export`) as bytes."""
    return encode(statements)


def check_exports(
    model: ServingModel, statements: bytes, *, members: Collection[str], trust: Trust, at: datetime
) -> None:
    """Check that enough members exported this very model, each by itself.

    Args:
        model: as it was opened.
        statements: what `encode_exports` made.
        members: parties whose word counts: the members of the model's lineage.
        trust: the authority's root and newest revocation list.
        at: now.

    Raises:
        CheckpointRefused: fewer than `MIN_EXPORTERS` members stand for it.
    """
    try:
        stated = {party: own for party, own in decode(statements).items() if isinstance(own, bytes)}
    except (ValueError, AttributeError) as error:
        raise CheckpointRefused("the exports of its members cannot be read") from error
    wanted, vouching = sha256_of_model(model).encode(), 0
    for party in set(members):
        context = _context(model, party)
        with suppress(SecurityError):
            vouching += verify(stated.get(party, b""), trust=trust, context=context, party=party, at=at) == wanted
    if vouching < MIN_EXPORTERS:
        raise CheckpointRefused(f"fewer than {MIN_EXPORTERS} of its members exported this very model")


def _context(model: ServingModel, party: str) -> Context:
    manifest = model.manifest
    return Context(
        purpose=Purpose.SERVING_MODEL,
        study=manifest.study,
        sender=party,
        object_id="export",
        run=manifest.run_id,
        round=manifest.round,
    )
