"""Audit exports: JSON lines that anybody can verify without a database.

One line per entry, ``{"chain_hash": hex, "entry": text}`` where the text is the entry's canonical JSON, and a last line
``{"head": base64, "root": PEM}`` with the signed head and the authority's certificate.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from security.audit import Head, LogState, canonical_json, check_entry, check_head, parse_canonical, verify_head
from security.certificates import Certificate, Trust
from security.errors import AuditBroken, CertificateRefused, SignatureBroken

APP = "app"
_LINE_KEYS = ("chain_hash", "entry")
_LAST_KEYS = ("head", "root")


@dataclass(frozen=True)
class VerifiedLog:
    """What a verified export proves.

    Attributes:
        head: the signed head, which fits all entries.
        signer: the party that signed it.
        root: certificate of the authority that certified the signer.
        root_was_given: False if `root` was only taken from the export itself, so that the signer was not checked
            against anything from outside.
    """

    head: Head
    signer: str
    root: Certificate
    root_was_given: bool


def export_lines(entries: Iterable[tuple[bytes, str]], *, head: bytes, root: Certificate) -> Iterator[bytes]:
    """Yield the lines of an export.

    Args:
        entries: (encoded entry, its chain hash in hex) in order.
        head: the signed head over exactly these entries.
        root: the authority's certificate.
    """
    for entry, chain_hash in entries:
        yield canonical_json({"chain_hash": chain_hash, "entry": entry.decode("ascii")}) + b"\n"
    last = {"head": base64.b64encode(head).decode("ascii"), "root": root.pem.decode("ascii")}
    yield canonical_json(last) + b"\n"


def verify_export(path: Path, *, root: Certificate | None = None, signer: str = APP) -> VerifiedLog:
    """Verify an export; no database, no key.

    Without `root` the certificate in the file is used: that finds every change made without the signer's key, but not
    a log that somebody made up with keys of their own. An export carries no revocation list, so whether the signer was
    revoked is not checked.

    Args:
        path: the export.
        root: the authority's certificate, obtained elsewhere.
        signer: the party that must have signed.

    Raises:
        AuditBroken: an entry was changed, taken out, added or moved; says which.
        OSError: the file cannot be read.
    """
    with path.open("rb") as lines:
        return verify_lines(lines, root=root, signer=signer)


def verify_lines(lines: Iterable[bytes], *, root: Certificate | None = None, signer: str = APP) -> VerifiedLog:
    """Verify the lines of an export; see `verify_export`."""
    state, last = LogState(), None
    for line in lines:
        if last is not None:
            raise AuditBroken("added after the signed head", state.next_number)
        text = line.removesuffix(b"\n")
        try:
            fields = parse_canonical(text, _LINE_KEYS)
            entry, chain_hash = fields["entry"].encode("ascii"), bytes.fromhex(fields["chain_hash"])
        except (ValueError, TypeError, AttributeError):
            last = _parse_last(text, state)
        else:
            state = check_entry(entry, chain_hash, state)
    if last is None:
        raise AuditBroken("no signed head follows the last entry (cut off at the end)", state.next_number)
    envelope, own_root = last
    trusted = root or own_root
    try:
        head = verify_head(envelope, trust=Trust(trusted), party=signer)
    except SignatureBroken:
        raise AuditBroken("the signed head was changed") from None
    except CertificateRefused as refusal:
        raise AuditBroken(f"the signer of the head is refused: {refusal}") from None
    check_head(head, state)
    return VerifiedLog(head, signer, trusted, root is not None)


def _parse_last(text: bytes, state: LogState) -> tuple[bytes, Certificate]:
    try:
        fields = parse_canonical(text, _LAST_KEYS)
        return base64.b64decode(fields["head"], validate=True), Certificate.from_pem(fields["root"])
    except (ValueError, TypeError, AttributeError, binascii.Error, CertificateRefused):
        raise AuditBroken("the line was changed: neither an entry nor the signed head", state.next_number) from None
