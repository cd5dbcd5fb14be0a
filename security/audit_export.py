"""Files that leave the audit log, each verified anywhere by `security.verify_audit`: exports and proofs.

An export is JSON lines: one per entry, ``{"chain_hash": hex, "entry": text}`` where the text is the entry's canonical
JSON, and a last line ``{"head": base64, "root": PEM}`` with the signed head and the authority's certificate. A proof
is one JSON object: an entry with its path to the root of a signed head, or two signed heads and the path between them.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from security.certificates import Certificate
from security.verify_audit import CONSISTENCY, INCLUSION, canonical_json


def export_lines(entries: Iterable[tuple[bytes, str]], *, head: bytes, root: Certificate) -> Iterator[bytes]:
    """Yield the lines of an export.

    Args:
        entries: (encoded entry, its chain hash in hex) in order.
        head: the signed head over exactly these entries.
        root: the authority's certificate.
    """
    for entry, chain_hash in entries:
        yield canonical_json({"chain_hash": chain_hash, "entry": entry.decode("ascii")}) + b"\n"
    yield canonical_json(_ending(head, root)) + b"\n"


def inclusion_proof(entry: bytes, number: int, path: Sequence[bytes], *, head: bytes, root: Certificate) -> bytes:
    """Return the proof that `entry` is entry `number` (from 1) of the log that the signed `head` ends.

    `path` is the root over each of `security.merkle.inclusion_ranges`.
    """
    fields = {"proof": INCLUSION, "number": number, "entry": entry.decode("ascii"), "path": _hex(path)}
    return canonical_json(fields | _ending(head, root)) + b"\n"


def consistency_proof(path: Sequence[bytes], *, old_head: bytes, head: bytes, root: Certificate) -> bytes:
    """Return the proof that the log that `old_head` ends is the beginning of the log that `head` ends.

    `path` is the root over each of `security.merkle.consistency_ranges`; it is empty for logs of one size and for an
    earlier log without entries.
    """
    fields = {"proof": CONSISTENCY, "path": _hex(path), "old_head": base64.b64encode(old_head).decode("ascii")}
    return canonical_json(fields | _ending(head, root)) + b"\n"


def _hex(path: Sequence[bytes]) -> list[str]:
    return [digest.hex() for digest in path]


def _ending(head: bytes, root: Certificate) -> dict[str, Any]:
    return {"head": base64.b64encode(head).decode("ascii"), "root": root.pem.decode("ascii")}
