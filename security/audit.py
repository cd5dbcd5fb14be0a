"""The audit log as pure values: entries, the chain and tree over them, and signed heads. Stores nothing.

Entry n (from 1) is canonical JSON; chain hash n = SHA-256(chain hash n-1 || leaf hash n), starting from 32 zero bytes;
the tree is that of RFC 9162 (`security.merkle`). A head states size, chain hash, tree root and time, and is signed.
The chain names the first entry that was changed; the signed head finds also a log whose chain was computed anew.
Somebody who can both write the log and sign heads could still cut off its end: only heads kept elsewhere find that.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from security.certificates import Trust
from security.context import Context, Purpose
from security.errors import AuditBroken, SignatureBroken
from security.identity import Identity
from security.merkle import HASH_BYTES, Frontier, leaf_hash
from security.signing import claims_of, sign, verify

FIRST_NUMBER = 1
GENESIS = bytes(HASH_BYTES)
_ENTRY_KEYS = ("number", "time", "actor", "role", "action", "object", "outcome", "details")
_HEAD_KEYS = ("size", "chain_hash", "root", "time")


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys, no spaces, ASCII only: one value, one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def parse_canonical(data: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the object in `data`.

    Raises:
        ValueError: not JSON, not in canonical form, or with other keys.
    """
    try:
        value = json.loads(data)
        canonical = canonical_json(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict) or value.keys() != set(keys) or canonical != data:
        raise ValueError(f"a canonical object of {', '.join(keys)} expected")
    return value


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
                "time": _time_text(self.time),
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
    value = parse_canonical(data, _ENTRY_KEYS)
    texts = {name: value[name] for name in ("actor", "role", "action", "object", "outcome")}
    if not isinstance(value["details"], dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("texts and details expected")
    return Entry(number=_whole(value["number"]), time=_time(value["time"]), details=value["details"], **texts)


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


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the signer vouches for.

    Attributes:
        size: number of entries.
        chain_hash: chain hash of the last entry, 32 bytes.
        root: root of the tree over all entries, 32 bytes.
        time: when it was signed.
    """

    size: int
    chain_hash: bytes
    root: bytes
    time: datetime


def sign_head(state: LogState, *, time: datetime, signer: Identity) -> bytes:
    """Return the signed head of a log, as an envelope of `security.signing`."""
    payload = canonical_json(
        {
            "size": state.size,
            "chain_hash": state.chain_hash.hex(),
            "root": state.frontier.root().hex(),
            "time": _time_text(time),
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


def check_entry(entry: bytes, chain_hash: bytes, state: LogState) -> LogState:
    """Check one stored entry against the state before it, and return the state after it.

    Raises:
        AuditBroken: the entry is not the one that was written there.
    """
    expected = state.next_number
    try:
        number = decode_entry(entry).number
    except ValueError:
        raise AuditBroken("not an entry in canonical form, so it was changed", expected) from None
    if number > expected:
        raise AuditBroken(f"missing; entry {number} stands in its place (deleted or moved)", expected)
    if number < expected:
        raise AuditBroken(f"entry {number} stands in its place (inserted, repeated or moved)", expected)
    after = state.append(entry)
    if after.chain_hash != chain_hash:
        raise AuditBroken("the entry or its chain hash was changed, or an earlier entry was taken out", expected)
    return after


def check_head(head: Head, state: LogState) -> None:
    """Check that the log that led to `state` is the one that was signed.

    Raises:
        AuditBroken: it is another one.
    """
    if head.size > state.size:
        raise AuditBroken(f"missing, with all up to entry {head.size} (cut off at the end)", state.next_number)
    if head.size < state.size:
        raise AuditBroken("added after the head was signed", FIRST_NUMBER + head.size)
    if (head.chain_hash, head.root) != (state.chain_hash, state.frontier.root()):
        raise AuditBroken(f"the chain was computed anew: entries 1 to {head.size} are not those that were signed")


def _head_context(party: str) -> Context:
    return Context(purpose=Purpose.AUDIT_HEAD, study="", sender=party, object_id="audit-log")


def _parse_head(payload: bytes) -> Head:
    try:
        value = parse_canonical(payload, _HEAD_KEYS)
        return Head(
            size=_whole(value["size"]),
            chain_hash=bytes.fromhex(value["chain_hash"]),
            root=bytes.fromhex(value["root"]),
            time=_time(value["time"]),
        )
    except (ValueError, TypeError):
        raise SignatureBroken from None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("a whole number expected")
    return value


def _time_text(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time with its zone expected")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: str) -> datetime:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    if _time_text(moment) != text:
        raise ValueError("a time in canonical form expected")
    return moment
