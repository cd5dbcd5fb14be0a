"""The group key of a blind run: made by the authority, sealed for the members, never in the cloud's hands.

From it members derive the group masks that hide the sum, and so the global model, from the cloud. With it travel the
serial numbers of the members' certificates: when one of them is revoked, the key is void, since who held it may use it.
A run has a fixed membership, so every run has a group key of its own.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from core.errors import RunRefused
from core.learning.orders import AUTHORITY
from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.identity import Identity
from security.keys import KEY_BYTES
from security.sealing import open_sealed, seal


def seal_group_key(run: str, *, study: str, signer: Identity, members: Sequence[Certificate]) -> bytes:
    """Return a new group key, sealed by the authority for the members.

    Args:
        run: id of the run.
        study: the study's code.
        signer: the authority.
        members: the members' sealing certificates.
    """
    body = encode([secrets.token_bytes(KEY_BYTES), sorted(certificate.serial for certificate in members)])
    return seal(body, sender=signer, recipients=list(members), context=_context(study, run))


def open_group_key(sealed: bytes, run: str, *, study: str, member: Identity, trust: Trust, at: datetime) -> bytes:
    """Return the group key (32 bytes) of a run.

    Raises:
        SealBroken: it does not open for this member, run and study.
        RunRefused: a member's certificate was revoked after the key was made.
    """
    context = _context(study, run)
    body = open_sealed(sealed, recipient=member, trust=trust, context=context, sender=AUTHORITY, at=at)
    key, serials = _read(body)
    if any(trust.is_revoked(serial) for serial in serials):
        raise RunRefused("a member was revoked, so the group key is void; order a new run without it")
    return key


def _read(body: bytes) -> tuple[bytes, Iterable[str]]:
    key, serials = decode(body)
    return key, serials


def _context(study: str, run: str) -> Context:
    return Context(purpose=Purpose.GROUP_KEY, study=study, sender=AUTHORITY, object_id="group", run=run)
