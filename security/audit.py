"""The audit log from the side that writes it: entries, the state that an append needs, signed heads. Stores nothing.

What an entry, a chain hash and a head are is defined in `security.verify_audit`, which checks them without the project.
The chain names the first entry that was changed; the signed head finds also a log whose chain was computed anew.
Somebody who can both write the log and sign heads could still cut off its end: only heads kept elsewhere find that,
and a countersigned one shows that its witness has seen it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from security.certificates import Trust
from security.context import Context, Purpose
from security.errors import SignatureBroken
from security.identity import Identity
from security.merkle import Frontier, leaf_hash
from security.signing import claims_of, sign, verify
from security.verify_audit import (
    FIRST_NUMBER,
    GENESIS,
    HEAD_OBJECT,
    WITNESS_OBJECT,
    Head,
    KeptHead,
    canonical_json,
    parse_entry,
    parse_time,
    time_text,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One act or one read.

    Attributes:
        number: place in the log, from 1, without gaps.
        time: when, with time zone; kept in UTC to the microsecond.
        actor: id of the person or name of the party.
        role: role of the actor.
        action: what was done.
        object: id of what it was done to.
        outcome: how it ended.
        details: codes and counts only; never a name, a diagnosis or a message.
    """

    number: int
    time: datetime
    actor: str
    role: str
    action: str
    object: str
    outcome: str
    details: Mapping[str, str | int | bool | None] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the canonical JSON that is stored and hashed.

        Raises:
            TypeError: a detail is neither text, whole number, truth value nor None.
            ValueError: the time has no zone.
        """
        for name, value in self.details.items():
            if not isinstance(name, str) or not isinstance(value, str | int | bool | None):
                raise TypeError(f"detail {name!r} must be text, a whole number, a truth value or None")
        return canonical_json(
            {
                "number": self.number,
                "time": time_text(self.time),
                "actor": self.actor,
                "role": self.role,
                "action": self.action,
                "object": self.object,
                "outcome": self.outcome,
                "details": dict(self.details),
            }
        )


def decode_entry(data: bytes) -> Entry:
    """Return the entry in `data`.

    Raises:
        ValueError: not the canonical form of an entry.
    """
    value = parse_entry(data)
    return Entry(**{**value, "time": parse_time(value["time"])})


@dataclass(frozen=True)
class LogState:
    """What an append needs to know of the log so far.

    Attributes:
        chain_hash: of the last entry, 32 bytes.
        frontier: of the tree over all entries.
    """

    chain_hash: bytes = GENESIS
    frontier: Frontier = field(default_factory=Frontier)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.frontier.size

    @property
    def next_number(self) -> int:
        """Number that the next entry must have."""
        return FIRST_NUMBER + self.size

    def append(self, entry: bytes) -> "LogState":
        """Return the state after one more encoded entry."""
        leaf = leaf_hash(entry)
        return LogState(hashlib.sha256(self.chain_hash + leaf).digest(), self.frontier.append(leaf))


def sign_head(state: LogState, *, time: datetime, signer: Identity) -> bytes:
    """Return the signed head of a log, as an envelope of `security.signing`."""
    payload = canonical_json(
        {
            "size": state.size,
            "chain_hash": state.chain_hash.hex(),
            "root": state.frontier.root().hex(),
            "time": time_text(time),
        }
    )
    return sign(payload, signer=signer, context=_head_context(signer.party))


def verify_head(envelope: bytes, *, trust: Trust, party: str, at: datetime | None = None) -> Head:
    """Return the head that `party` signed.

    Args:
        envelope: the signed head.
        trust: root and revocation list.
        party: who must have signed it.
        at: when the signer's certificate must hold; the time that the head states by default, since exports are
            verified years later.

    Raises:
        SignatureBroken: damaged, changed, or no head.
        CertificateRefused: the signer's certificate does not hold.
    """
    stated = _parse_head(claims_of(envelope)[1]).time
    payload = verify(envelope, trust=trust, context=_head_context(party), party=party, at=at or stated)
    return _parse_head(payload)


def countersigned(kept: KeptHead, *, witness: Identity) -> bytes:
    """Return the line of a kept head, which was read and so checked, with the witness's own signature beside others."""
    context = _head_context(witness.party, WITNESS_OBJECT)
    own = (
        () if witness.party in kept.witnesses else (sign(claims_of(kept.envelope)[1], signer=witness, context=context),)
    )
    return kept_line(kept.envelope, (*kept.signatures, *own))


def kept_line(envelope: bytes, signatures: Sequence[bytes] = ()) -> bytes:
    """Return a head with its countersignatures as a line of a file of kept heads."""
    head, *seen = (base64.b64encode(one).decode("ascii") for one in (envelope, *signatures))
    return canonical_json({"head": head, "witnesses": seen}) + b"\n"


def _head_context(party: str, object_id: str = HEAD_OBJECT) -> Context:
    return Context(purpose=Purpose.AUDIT_HEAD, study="", sender=party, object_id=object_id)


def _parse_head(payload: bytes) -> Head:
    try:
        return Head.parse(payload)
    except (ValueError, TypeError):
        raise SignatureBroken from None
