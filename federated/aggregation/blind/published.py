"""Anybody adds a published blind sum again: without a key, without a database, with root and revocation list alone.

It shows that the coordinator signed the sum of what members signed and uploaded, and of nothing else. It does not show
that a member that the record has as dropped out was really gone: no one can tell that from outside.
"""

import hashlib
import mmap
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from core.learning.orders import COORDINATOR
from federated.aggregation.blind.member import Words
from federated.aggregation.blind.record import MAX_RECORD_BYTES, Record
from federated.aggregation.blind.record_check import Opened, PublishedBroken, expect, owned_by
from federated.aggregation.blind.statements import Label, Upload
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.board import RECORD, STATEMENT, SUM, VECTOR
from security.certificates import Trust
from security.keystream import apply_masks

_WORD_BYTES = (4, 8)
_BITS = 8


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A published sum that proved itself.

    Attributes:
        study: code of the study.
        run: id of the run.
        round: from 1.
        attempt: id of the attempt.
        label: which of the round's two sums.
        asked: how many were asked; the encoding of numbers follows from it.
        members: whose uploads are in it, sorted.
        dropped: who dealt secrets and then did not upload, sorted.
        words: length of the vectors.
        sha256: hash of the unreduced sum's bytes, hex.
    """

    study: str
    run: str
    round: int
    attempt: str
    label: Label
    asked: int
    members: tuple[str, ...]
    dropped: tuple[str, ...]
    words: int
    sha256: str


def check_published(folder: Path, trust: Trust, at: datetime) -> Checked:
    """Check what a `FileBoard` holds of one sum, and add its uploads again, one in memory at a time.

    Args:
        folder: of one sum.
        trust: the authority's root and revocation list.
        at: when certificates must be valid; with its zone.

    Raises:
        PublishedBroken: the first thing found wrong, and whose it is.
    """
    with owned_by(COORDINATOR, "the record cannot be read"):
        path = folder / RECORD
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ValueError("too long")
        record = Record.from_bytes(path.read_bytes())
    opened = Opened(record, trust, at)
    _check_sum_file(folder, opened.sha256)
    uploads = _Uploads(folder, opened)
    total, base_sha256 = uploads.add()
    expect(
        hashlib.sha256(total.data()).digest() == opened.sha256,
        COORDINATOR,
        "the sum that it signed is not the sum of the uploads",
    )
    uploads.check_others(total, base_sha256)
    return Checked(
        study=record.study,
        run=record.run,
        round=record.round,
        attempt=record.attempt,
        label=opened.label,
        asked=len(opened.circle.parties),
        members=tuple(sorted(record.survivors)),
        dropped=tuple(sorted(set(record.dealings) - set(record.survivors))),
        words=len(total.low),
        sha256=opened.sha256.hex(),
    )


def _check_sum_file(folder: Path, stated: bytes) -> None:
    with owned_by(COORDINATOR, "the sum cannot be read"), (folder / SUM).open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    expect(
        hashlib.sha256(memoryview(data)).digest() == stated,
        COORDINATOR,
        "the published sum is not the one that it signed",
    )


class _Uploads:
    """The uploads in a folder, and the record that belongs to them."""

    def __init__(self, folder: Path, opened: Opened) -> None:
        self._folder = folder
        self._opened = opened

    def add(self) -> tuple[UnreducedSum, str]:
        """Add the survivors' terms; returns the sum, and the weights that all uploads belong to."""
        total: UnreducedSum | None = None
        base_sha256 = ""
        for party, sha256 in sorted(self._opened.record.survivors.items()):
            upload = self._upload(party)
            expect(upload.sha256 == sha256, party, "its upload is not the one that the members agreed to")
            words = self._vector(party, upload)
            if total is None:
                total = UnreducedSum(len(words), word=words.itemsize * _BITS, members=len(self._opened.circle.parties))
                base_sha256 = upload.base_sha256
            same = (words.shape, words.dtype, upload.base_sha256) == (total.low.shape, total.low.dtype, base_sha256)
            expect(same, party, "its upload has another shape or other weights behind it than those before")
            plus, minus = self._opened.masks_of(party, base_sha256)
            apply_masks(words, plus=minus, minus=plus)
            total.add(words)
        if total is None:
            raise PublishedBroken(COORDINATOR, "there are no uploads")
        return total, base_sha256

    def _upload(self, party: str) -> Upload:
        with owned_by(party, "its upload cannot be read"):
            envelope = (self._folder / (party + STATEMENT)).read_bytes()
        return self._opened.read(Upload, envelope, party)

    def _vector(self, party: str, upload: Upload) -> Words:
        """Return the words of an upload, writable; they are those that the member signed."""
        path = self._folder / (party + VECTOR)
        with owned_by(party, "its upload cannot be read"):
            size, rest = divmod(path.stat().st_size, upload.words)
            expect(not rest and size in _WORD_BYTES, party, "its upload is not as long as it signed")
            words: Words = np.fromfile(path, f"<u{size}")
        expect(hashlib.sha256(words.data).digest() == upload.sha256, party, "its upload is not the one that it signed")
        return words

    def check_others(self, total: UnreducedSum, base_sha256: str) -> None:
        """What else lies in the folder are uploads that no sum could take: of another shape, or from other weights."""
        expected = {
            RECORD,
            SUM,
            *(party + kind for party in self._opened.record.survivors for kind in (STATEMENT, VECTOR)),
        }
        for name in sorted({path.name for path in self._folder.iterdir()} - expected):
            party = name.removesuffix(STATEMENT).removesuffix(VECTOR)
            expect(
                party in self._opened.circle.parties and name != party,
                COORDINATOR,
                f"{name} does not belong to this sum",
            )
            upload = self._upload(party)
            words = self._vector(party, upload)
            same = (words.shape, words.dtype, upload.base_sha256) == (total.low.shape, total.low.dtype, base_sha256)
            expect(not same, party, "its upload was left out of the sum")
