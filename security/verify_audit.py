"""Verify HemaSeal's audit log anywhere: this one file, Python 3.11 and the package `cryptography`; no database, no key.

    python verify_audit.py FILE --root ROOT.pem [--heads KEPT.jsonl] [--crl LIST.crl]

FILE is an export, the proof that one entry is in the log, or the proof that the log that ended at an earlier head is
the beginning of the one that ends at a later head. KEPT.jsonl holds heads that somebody kept, a line for each:
``{"head": base64, "witnesses": [base64, …]}``; a log that no longer contains them was cut off or written anew.

Entry n (from 1) is canonical JSON; leaf hash n = SHA-256(0x00 || entry n); chain hash n = SHA-256(chain hash n-1 ||
leaf hash n), from 32 zero bytes; the tree is that of RFC 9162, 2.1. A head states size, chain hash, tree root and time
and is signed by ECDSA P-256. The rest of `security` builds on these definitions; it is never the other way round.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
GENESIS = bytes(HASH_BYTES)
FIRST_NUMBER = 1
SIGNERS = ("app", "coordinator")
HEAD_OBJECT, WITNESS_OBJECT = "audit-log", "audit-log-seen"
ENTRY_KEYS = frozenset(("number", "time", "actor", "role", "action", "object", "outcome", "details"))
HEAD_KEYS = frozenset(("size", "chain_hash", "root", "time"))
INCLUSION, CONSISTENCY = "inclusion", "consistency"
_KEPT_KEYS = frozenset(("head", "witnesses"))
_LAST_KEYS = frozenset(("head", "root"))
_INCLUSION_KEYS = frozenset(("proof", "number", "entry", "path", "head", "root"))
_CONSISTENCY_KEYS = frozenset(("proof", "path", "old_head", "head", "root"))
_SUITE = "HEMASEAL-SIGNED/ECDSA-P256-SHA256"
_ENVELOPE = b"\x01" + bytes((len(_SUITE),)) + _SUITE.encode("ascii")
_PARTY_URI = "urn:hemaseal:"
_ECDSA = ec.ECDSA(hashes.SHA256())
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{6}Z")
_decode = json.JSONDecoder().raw_decode
_LINE = b'{"chain_hash":"', b'","entry":', b"}"


class AuditBroken(Exception):
    """The audit log, a head or a proof is not what was signed.

    Attributes:
        what: what was found, in words.
        number: number of the first entry that does not fit (or the first that may be it), or None where the fault is
            not at an entry.
        last: the last entry that may be the one, where it cannot be told more exactly; else None.
    """

    def __init__(self, what: str, number: int | None = None, last: int | None = None) -> None:
        place = "" if number is None else f"entry {number}: " if last is None else f"entries {number} to {last}: "
        super().__init__(f"{place}{what}")
        self.what = what
        self.number = number
        self.last = last


# The tree of RFC 9162 ------------------------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def grow(roots: list[bytes], size: int, leaf: bytes) -> None:
    """Add a leaf hash to a tree of `size` leaves, given as the roots of its full subtrees, largest (left) first."""
    while size & 1:
        leaf = node_hash(roots.pop(), leaf)
        size >>= 1
    roots.append(leaf)


def join(roots: Sequence[bytes]) -> bytes:
    """Return the root of the tree that these full subtrees make up."""
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root to which a leaf leads on its way through `path` (RFC 9162, 2.1.3.2).

    Args:
        leaf: its hash.
        index: its place, from 0.
        size: leaves of the tree.
        path: the inclusion proof.

    Raises:
        ValueError: no leaf of such a tree has such a path.
    """
    if not 0 <= index < size:
        raise ValueError(f"a leaf from 0 to {size - 1} expected, got {index}")
    root = leaf
    for sibling, is_left in _way(index, size - 1, path):
        root = node_hash(sibling, root) if is_left else node_hash(root, sibling)
    return root


def roots_of_consistency(old_size: int, new_size: int, old_root: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the roots of the old and the new tree to which a consistency proof leads (RFC 9162, 2.1.4.2).

    Args:
        old_size: leaves of the old tree, from 1.
        new_size: leaves of the new tree, at least as many.
        old_root: root of the old tree, which begins the way where the old tree is a full one.
        path: the consistency proof; empty for trees of one size.

    Raises:
        ValueError: no two such trees have such a proof.
    """
    if not 0 < old_size <= new_size:
        raise ValueError(f"a tree of 1 to {new_size} leaves expected, got {old_size}")
    if old_size == new_size:
        if path:
            raise ValueError("trees of one size need no proof")
        return old_root, old_root
    steps = list(path) if old_size & (old_size - 1) else [old_root, *path]
    if not steps or not path:
        raise ValueError("the path is too short")
    number, last = old_size - 1, new_size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = steps[0]
    for sibling, is_left in _way(number, last, steps[1:]):
        first = node_hash(sibling, first) if is_left else first
        second = node_hash(sibling, second) if is_left else node_hash(second, sibling)
    return first, second


def _way(number: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each hash of a proof and whether it stands left, from node `number` (of those up to `last`) to the root."""
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long")
        is_left = bool(number & 1) or number == last
        yield sibling, is_left
        while is_left and number and not number & 1:
            number, last = number >> 1, last >> 1
        number, last = number >> 1, last >> 1
    if last:
        raise ValueError("the path is too short")


# Entries and the log --------------------------------------------------------------------------------------------------


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys, no spaces, ASCII only: one value, one text."""
    return _encode(value).encode("ascii")


def parse_canonical(data: bytes, keys: frozenset[str]) -> dict[str, Any]:
    """Return the object in `data`.

    Raises:
        ValueError: not JSON, not in canonical form, or with other keys.
    """
    if not isinstance(data, bytes):  # a database may hold whatever somebody wrote into it
        raise ValueError("bytes expected")  # noqa: TRY004
    try:
        text = data.decode("ascii")
        value, _ = _decode(text)  # what may follow is found by the comparison with the canonical text
        if isinstance(value, dict) and value.keys() == keys and _encode(value) == text:
            return value
    except RecursionError:
        raise ValueError("nested too deeply") from None
    raise ValueError(f"a canonical object of {', '.join(sorted(keys))} expected")


def time_text(moment: datetime) -> str:
    """Return a time as entries and heads state it: UTC, to the microsecond.

    Raises:
        ValueError: it has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time with its zone expected")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: Any) -> datetime:
    """Return the time that `text` states.

    Raises:
        ValueError: not the canonical form of a time.
    """
    if isinstance(text, str) and _TIME.fullmatch(text):
        return datetime.fromisoformat(text)
    raise ValueError("a time in canonical form expected")


def parse_entry(data: bytes) -> dict[str, Any]:
    """Return the fields of an encoded entry, the time still as text.

    Raises:
        ValueError: not the canonical form of an entry.
    """
    value = parse_canonical(data, ENTRY_KEYS)
    parse_time(value["time"])
    texts = value["actor"], value["role"], value["action"], value["object"], value["outcome"]
    if type(value["number"]) is not int or type(value["details"]) is not dict or {*map(type, texts)} != {str}:
        raise ValueError("a number, texts and details expected")
    return value


class Log:
    """A log while it is read: all that the next entry and the head at the end are checked against.

    Attributes:
        size: entries so far.
        chain_hash: of the last of them.
        roots: of the full subtrees of the tree over them, largest first.
    """

    __slots__ = ("chain_hash", "roots", "size")

    def __init__(self) -> None:
        self.size = 0
        self.chain_hash = GENESIS
        self.roots: list[bytes] = []

    def root(self) -> bytes:
        """Return the root of the tree."""
        return join(self.roots)

    def take(self, entry: bytes, chain_hash: str) -> dict[str, Any]:
        """Take the next entry with its chain hash (hex) and return its fields.

        Raises:
            AuditBroken: it is not the entry that was written there.
        """
        expected = FIRST_NUMBER + self.size
        try:
            value = parse_entry(entry)
        except ValueError:
            raise AuditBroken("not an entry in canonical form, so it was changed", expected) from None
        number = value["number"]
        if number > expected:
            raise AuditBroken(f"missing; entry {number} stands in its place (deleted or moved)", expected)
        if number < expected:
            raise AuditBroken(f"entry {number} stands in its place (inserted, repeated or moved)", expected)
        leaf = leaf_hash(entry)
        after = hashlib.sha256(self.chain_hash + leaf).digest()
        if after.hex() != chain_hash:
            raise AuditBroken(
                "the entry or its chain hash was changed, or an earlier entry was changed or taken out", expected
            )
        grow(self.roots, self.size, leaf)
        self.size, self.chain_hash = expected, after
        return value


# Heads ----------------------------------------------------------------------------------------------------------------


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

    @classmethod
    def parse(cls, payload: bytes) -> "Head":
        """Read what a signed head says.

        Raises:
            ValueError: not the canonical form of a head.
        """
        value = parse_canonical(payload, HEAD_KEYS)
        if type(value["size"]) is not int or value["size"] < 0:
            raise ValueError("a number of entries expected")
        return cls(
            size=value["size"],
            chain_hash=_digest(value["chain_hash"]),
            root=_digest(value["root"]),
            time=parse_time(value["time"]),
        )


def check_head(head: Head, *, size: int, chain_hash: bytes, root: bytes) -> None:
    """Check that the log that was read, of these values, is the one that was signed.

    Raises:
        AuditBroken: it is another one.
    """
    if head.size > size:
        raise AuditBroken(f"missing, with all up to entry {head.size} (cut off at the end)", FIRST_NUMBER + size)
    if head.size < size:
        raise AuditBroken("added after the head was signed", FIRST_NUMBER + head.size)
    if (head.chain_hash, head.root) != (chain_hash, root):
        raise AuditBroken("the chain was computed anew: these are not the entries that were signed", 1, head.size)


@dataclass(frozen=True)
class Anchor:
    """Whom to believe: the authority's root certificate and, where there is one, its revocation list."""

    root: x509.Certificate
    crl: x509.CertificateRevocationList | None = None

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            AuditBroken: the root is not an issuing certificate, or the list is not the root's.
        """
        if not _key_usage(self.root).key_cert_sign:
            raise AuditBroken("the root certificate is not one that issues")
        key = self.root.public_key()
        if self.crl is not None and not (
            isinstance(key, ec.EllipticCurvePublicKey) and self.crl.is_signature_valid(key)
        ):
            raise AuditBroken("the revocation list is not this authority's")

    def open_head(
        self, envelope: bytes, *, signers: Sequence[str] | None = SIGNERS, object_id: str = HEAD_OBJECT
    ) -> tuple[Head, str]:
        """Return a signed head and who signed it, with a certificate that held at the time that the head states.

        Args:
            envelope: the signed head.
            signers: who may have signed; None for any party of the authority.
            object_id: what the signature is for.

        Raises:
            AuditBroken: damaged, changed, or by somebody who may not.
        """
        try:
            certificate, signature, payload = _parts(envelope)
            parsed = x509.load_der_x509_certificate(certificate)
            head = Head.parse(payload)
        except ValueError:
            raise AuditBroken("the signed head was changed") from None
        party = self._admit(parsed, head.time)
        if signers is not None and party not in signers:
            raise AuditBroken(f"the signer of the head is refused: '{party}' does not sign the log")
        key = parsed.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise AuditBroken("the signer of the head is refused: no P-256 key")
        digests = hashlib.sha256(certificate).digest(), hashlib.sha256(payload).digest()
        try:
            key.verify(signature, _cbor([_SUITE, _context(party, object_id), *digests]), _ECDSA)
        except InvalidSignature:
            raise AuditBroken("the signed head was changed") from None
        return head, party

    def _admit(self, certificate: x509.Certificate, at: datetime) -> str:
        """Return the party of a signing certificate that the root issued, that holds at `at` and is not revoked."""
        try:
            certificate.verify_directly_issued_by(self.root)
            usage = _key_usage(certificate)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        except (InvalidSignature, TypeError, ValueError, x509.ExtensionNotFound):
            raise AuditBroken("the signer of the head is refused: not issued by this authority") from None
        if not uri.startswith(_PARTY_URI) or not usage.digital_signature or usage.key_cert_sign or usage.key_agreement:
            raise AuditBroken("the signer of the head is refused: not a certificate for signing")
        for known in (self.root, certificate):
            if not known.not_valid_before_utc <= at <= known.not_valid_after_utc:
                raise AuditBroken(f"the signer of the head is refused: not valid at {at.isoformat()}")
        revoked = self.crl and self.crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if revoked:
            raise AuditBroken("the signer of the head is refused: the certificate is revoked")
        return uri.removeprefix(_PARTY_URI)


@dataclass(frozen=True)
class KeptHead:
    """A head that somebody kept.

    Attributes:
        head: what was signed.
        witnesses: the parties that countersigned it.
        envelope: as the log's signer signed it.
        signatures: as the witnesses did.
    """

    head: Head
    witnesses: tuple[str, ...]
    envelope: bytes = field(repr=False)
    signatures: tuple[bytes, ...] = field(repr=False)


def read_kept(lines: Iterable[bytes], anchor: Anchor) -> list[KeptHead]:
    """Return kept heads, the smallest log first, after checking every signature.

    Raises:
        AuditBroken: a line is none, or a signature does not hold; two logs of one size were signed.
    """
    kept: list[KeptHead] = []
    for place, line in enumerate(lines, 1):
        try:
            fields = parse_canonical(line.removesuffix(b"\n"), _KEPT_KEYS)
            envelope, seen = _bytes(fields["head"]), [_bytes(text) for text in fields["witnesses"]]
        except (ValueError, TypeError):
            raise AuditBroken(f"line {place} of the kept heads is none") from None
        head, _ = anchor.open_head(envelope)
        witnesses = [anchor.open_head(one, signers=None, object_id=WITNESS_OBJECT) for one in seen]
        if any(stated != head for stated, _ in witnesses):
            raise AuditBroken(f"line {place} of the kept heads: a witness saw another head")
        if any(party in SIGNERS for _, party in witnesses):
            raise AuditBroken(f"line {place} of the kept heads: the log's own signer is no witness")
        kept.append(KeptHead(head, tuple(party for _, party in witnesses), envelope, tuple(seen)))
    kept.sort(key=lambda one: one.head.size)
    for one, other in pairwise(kept):
        if one.head.size == other.head.size and one.head.root != other.head.root:
            raise AuditBroken(f"two different logs of {one.head.size} entries were signed (kept heads)")
    return kept


class KeptHeads:
    """Kept heads, compared one by one with a log while it is read.

    Attributes:
        heads: all of them, the smallest log first.
    """

    def __init__(self, heads: Sequence[KeptHead] = ()) -> None:
        self.heads = tuple(heads)
        self._waiting = list(reversed(self.heads))

    def compare(self, log: Log) -> None:
        """Compare the heads of the size that the log has reached; ask before each entry and after the last.

        Raises:
            AuditBroken: the log has other entries than those that were kept.
        """
        while self._waiting and self._waiting[-1].head.size == log.size:
            head = self._waiting.pop().head
            if (head.chain_hash, head.root) != (log.chain_hash, log.root()):
                begin = max((one.head.size for one in self.heads if one.head.size < head.size), default=0)
                what = f"not the entries of a kept head of {time_text(head.time)}: the log was written anew"
                raise AuditBroken(what, begin + FIRST_NUMBER, head.size)

    def finish(self, log: Log) -> None:
        """Compare with the log when it has ended.

        Raises:
            AuditBroken: as `compare`, or the log is shorter than it was.
        """
        self.compare(log)
        if self._waiting:
            longest = self._waiting[0].head
            what = f"missing, with all up to entry {longest.size}: a kept head of {time_text(longest.time)} has them"
            raise AuditBroken(f"{what} (cut off at the end)", FIRST_NUMBER + log.size)


# Files ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verified:
    """What a verified file proves.

    Attributes:
        what: in words.
        head: the signed head that it ends at.
        signer: the party that signed it.
        root: certificate of the authority that certified the signer.
        root_was_given: False if `root` was only taken from the file itself, so that the signer was not checked against
            anything from outside.
        kept: the kept heads that were compared.
    """

    what: str
    head: Head
    signer: str
    root: x509.Certificate = field(repr=False)
    root_was_given: bool
    kept: tuple[KeptHead, ...] = ()


def verify_export(
    lines: Iterable[bytes],
    *,
    root: x509.Certificate | None = None,
    crl: x509.CertificateRevocationList | None = None,
    heads: Iterable[bytes] = (),
    signers: Sequence[str] = SIGNERS,
) -> Verified:
    """Verify the lines of an export, one at a time.

    Without `root` the certificate in the file is used: that finds every change made without the signer's key, but not
    a log that somebody made up with keys of their own. A cut-off end that the signer helped with is found by `heads`.

    Args:
        lines: ``{"chain_hash": hex, "entry": text}`` for each entry, then ``{"head": base64, "root": PEM}``.
        root: the authority's certificate, obtained elsewhere.
        crl: its revocation list; without one, nobody asks whether the signer was revoked.
        heads: lines of kept heads; they need `root`.
        signers: who may have signed.

    Raises:
        AuditBroken: an entry was changed, taken out, added or moved; says which.
    """
    kept = KeptHeads(_kept(heads, root, crl))
    log, last = Log(), None
    for line in lines:
        if last is not None:
            raise AuditBroken("added after the signed head", FIRST_NUMBER + log.size)
        kept.compare(log)
        found = _entry_of(line)
        if found is None:
            last = _last_of(line, log)
        else:
            log.take(*found)
    if last is None:
        raise AuditBroken("no signed head follows the last entry (cut off at the end)", FIRST_NUMBER + log.size)
    envelope, own_root = last
    anchor = _anchor(root, own_root, crl)
    head, signer = anchor.open_head(envelope, signers=signers)
    check_head(head, size=log.size, chain_hash=log.chain_hash, root=log.root())
    kept.finish(log)
    return Verified(f"{log.size} entries", head, signer, anchor.root, root is not None, kept.heads)


def verify_proof(
    data: bytes,
    *,
    root: x509.Certificate | None = None,
    crl: x509.CertificateRevocationList | None = None,
    heads: Iterable[bytes] = (),
    signers: Sequence[str] = SIGNERS,
) -> Verified:
    """Verify a proof of inclusion or of consistency; arguments as `verify_export`.

    Of a consistency proof the earlier head must be one of the kept ones, where some are given.

    Raises:
        AuditBroken: it proves nothing.
    """
    kept = _kept(heads, root, crl)
    fields = _proof_fields(data)
    anchor = _anchor(root, fields["root"], crl)
    try:
        path, envelope = [_digest(text) for text in fields["path"]], _bytes(fields["head"])
        earlier = _bytes(fields["old_head"]) if "old_head" in fields else b""
    except (ValueError, TypeError):
        raise AuditBroken("not a proof: its path or its head cannot be read") from None
    head, signer = anchor.open_head(envelope, signers=signers)
    if any(one.head.size == head.size and one.head.root != head.root for one in kept):
        raise AuditBroken(f"a kept head says that another log of {head.size} entries was signed")
    if fields["proof"] == INCLUSION:
        what = _included(fields, path, head)
    else:
        old, _ = anchor.open_head(earlier, signers=signers)
        if kept and (old.size, old.root) not in {(one.head.size, one.head.root) for one in kept}:
            raise AuditBroken("the proof begins at a head that is none of the kept ones")
        what = _prefix(old, path, head)
    return Verified(what, head, signer, anchor.root, root is not None, tuple(kept))


def is_proof(first: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a proof (else it is an export)."""
    return b'"proof":"' in first and not first.startswith(_LINE[0])


def _included(fields: dict[str, Any], path: list[bytes], head: Head) -> str:
    try:
        entry, number = fields["entry"].encode("ascii"), fields["number"]
        if type(number) is not int:
            raise ValueError("a number expected")  # noqa: TRY301 - said as every other fault of form is
        value = parse_entry(entry)
        if value["number"] != number:
            raise AuditBroken(f"the proof shows entry {value['number']} in its place", number)
        found = root_of_inclusion(leaf_hash(entry), number - FIRST_NUMBER, head.size, path)
    except (ValueError, TypeError, AttributeError) as error:
        raise AuditBroken(f"the proof cannot be read: {error}") from None
    if found != head.root:
        raise AuditBroken("the log that was signed does not hold this entry at this place", number)
    return f"entry {number} ({value['action']}) is one of {head.size} entries"


def _prefix(old: Head, path: list[bytes], head: Head) -> str:
    if old.size > head.size:
        raise AuditBroken(f"missing, with all up to entry {old.size} (cut off at the end)", FIRST_NUMBER + head.size)
    try:
        found = (EMPTY_ROOT, head.root) if old.size == 0 else roots_of_consistency(old.size, head.size, old.root, path)
    except ValueError as error:
        raise AuditBroken(f"the proof cannot be read: {error}") from None
    if found != (old.root, head.root):
        raise AuditBroken("the earlier log is not the beginning of the later one", 1, old.size)
    return f"the log of {old.size} entries is the beginning of the log of {head.size} entries"


def _anchor(given: x509.Certificate | None, own: str, crl: x509.CertificateRevocationList | None) -> Anchor:
    """Return whom to believe: the root that was given, which must be the file's own one, or that."""
    named = _certificate(own)
    if named.public_bytes(serialization.Encoding.PEM).decode("ascii") != own:
        raise AuditBroken("the root certificate in the file was changed")
    if given is not None and given != named:
        raise AuditBroken("the signer of the head is refused: the file names another authority's root certificate")
    return Anchor(named, crl)


def _kept(
    lines: Iterable[bytes], root: x509.Certificate | None, crl: x509.CertificateRevocationList | None
) -> list[KeptHead]:
    found = list(lines)
    if found and root is None:
        raise AuditBroken("kept heads say something only with the root certificate")
    return read_kept(found, Anchor(root, crl)) if root is not None else []


def _entry_of(line: bytes) -> tuple[bytes, str] | None:
    """Return entry and chain hash of a canonical line of an export, None if it is no such line.

    The form is fixed, so it is taken apart by place: it is read a million times.
    """
    begin, middle, end = _LINE
    start, stop = len(begin), len(begin) + 2 * HASH_BYTES
    text = line[stop + len(middle) :].removesuffix(b"\n")
    if not line.startswith(begin) or not line.startswith(middle, stop) or not text.endswith(end):
        return None
    try:
        quoted = text[: -len(end)].decode("ascii")
        entry, _ = _decode(quoted)
        if isinstance(entry, str) and encode_basestring_ascii(entry) == quoted:
            return entry.encode("ascii"), line[start:stop].decode("ascii")
    except (ValueError, RecursionError):
        return None
    return None


def _last_of(line: bytes, log: Log) -> tuple[bytes, str]:
    """Return the signed head and the root certificate (PEM) of the line that ends an export."""
    try:
        fields = parse_canonical(line.removesuffix(b"\n"), _LAST_KEYS)
        return _bytes(fields["head"]), str(fields["root"])
    except (ValueError, TypeError):
        what = "the line was changed: neither an entry nor the signed head"
        raise AuditBroken(what, FIRST_NUMBER + log.size) from None


def _proof_fields(data: bytes) -> dict[str, Any]:
    for kind, keys in ((INCLUSION, _INCLUSION_KEYS), (CONSISTENCY, _CONSISTENCY_KEYS)):
        try:
            fields = parse_canonical(data.removesuffix(b"\n"), keys)
        except ValueError:
            continue
        if fields["proof"] == kind:
            return fields
    raise AuditBroken("not a proof of inclusion or of consistency")


def _certificate(pem: Any) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii"))
    except (ValueError, AttributeError):
        raise AuditBroken("the root certificate cannot be read") from None


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        raise AuditBroken("a certificate does not state what its key is for") from None


def _digest(text: Any) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != HASH_BYTES or digest.hex() != text:
        raise ValueError("a hash of 32 bytes in small hex digits expected")
    return digest


def _bytes(text: Any) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode("ascii") != text:
        raise ValueError("canonical base64 expected")
    return data


def _parts(envelope: bytes) -> tuple[bytes, bytes, bytes]:
    """Return certificate, signature and payload of a signed envelope."""
    if not envelope.startswith(_ENVELOPE):
        raise ValueError("another version or suite")
    rest, parts = envelope[len(_ENVELOPE) :], []
    for limit in (4096, 80):
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + length or length > limit:
            raise ValueError("a field is too long")
        parts.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return parts[0], parts[1], rest


def _context(party: str, object_id: str) -> bytes:
    fields = {"run": "", "round": 0, "study": "", "object": object_id, "sender": party, "attempt": ""}
    return _cbor({**fields, "purpose": "audit-head"})


def _cbor(value: Any) -> bytes:
    """Return canonical CBOR (RFC 8949, 4.2.1) of the few kinds of value that a signature covers."""
    if isinstance(value, int):
        return _cbor_head(0, value)
    if isinstance(value, bytes):
        return _cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return _cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return _cbor_head(5, len(value)) + b"".join(_cbor(name) + _cbor(one) for name, one in value.items())
    return _cbor_head(4, len(value)) + b"".join(map(_cbor, value))


def _cbor_head(kind: int, length: int) -> bytes:
    if length < 24:  # noqa: PLR2004 - RFC 8949, 3: up to 23 in the first byte itself
        return bytes((kind << 5 | length,))
    return bytes((kind << 5 | 24, length)) if length < 256 else bytes((kind << 5 | 25, *length.to_bytes(2)))  # noqa: PLR2004


# The command ----------------------------------------------------------------------------------------------------------


def describe(found: Verified) -> str:
    """Return what a verified file proves, as the command prints it."""
    facts = f"{found.what}, signed by '{found.signer}' at {found.head.time.isoformat()}."
    lines = [f"Verified: {facts}"]
    if not found.root_was_given:
        key = found.root.public_key()
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        lines = [
            "Consistent, but the signer was not checked against a root certificate you hold (--root).",
            f"The file names {facts}",
            f"Its own root key {hashlib.sha256(key.public_bytes(*form)).hexdigest()}",
        ]
    if found.kept:
        witnesses = sorted({party for one in found.kept for party in one.witnesses})
        seen = f", countersigned by {', '.join(witnesses)}" if witnesses else ""
        lines.append(f"It contains the {len(found.kept)} kept heads{seen}.")
    return "\n".join([*lines, f"Tree root {found.head.root.hex()}"])


def verify_file(
    file: Path, *, root: Path | None = None, heads: Path | None = None, crl: Path | None = None, signer: str = ""
) -> Verified:
    """Verify an export or a proof with whatever else was kept; one `signer` or, without, any that may sign.

    Raises:
        AuditBroken: it does not hold; says where.
        OSError: a file cannot be read.
    """
    given = _certificate(root.read_text("ascii", "replace")) if root else None
    listed = x509.load_der_x509_crl(crl.read_bytes()) if crl else None
    kept = heads.read_bytes().splitlines() if heads else []
    signers = (signer,) if signer else SIGNERS
    with file.open("rb") as lines:
        first = lines.readline()
        lines.seek(0)
        if is_proof(first):
            return verify_proof(lines.read(), root=given, crl=listed, heads=kept, signers=signers)
        return verify_export(lines, root=given, crl=listed, heads=kept, signers=signers)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python verify_audit.py", description="Verify an audit log of HemaSeal, or a proof from it."
    )
    made.add_argument("file", type=Path, help="export (JSON lines), or a proof of inclusion or consistency")
    made.add_argument("--root", type=Path, help="the authority's certificate (PEM), kept from before")
    made.add_argument("--heads", type=Path, help="heads that were kept (JSON lines); needs --root")
    made.add_argument("--crl", type=Path, help="the authority's revocation list (DER)")
    made.add_argument("--signer", default="", help=f"the one party that must have signed (else {' or '.join(SIGNERS)})")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one file; returns 0 if it holds, 1 if not."""
    asked = parser().parse_args(arguments)
    try:
        found = verify_file(asked.file, root=asked.root, heads=asked.heads, crl=asked.crl, signer=asked.signer)
    except (AuditBroken, OSError, ValueError) as broken:
        sys.stderr.write(f"NOT VERIFIED: {broken}\n")
        return 1
    sys.stdout.write(f"{describe(found)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
