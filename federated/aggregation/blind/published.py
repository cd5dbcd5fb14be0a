"""Anybody adds a published blind sum again: without a key, without a database, with root and revocation list alone.

It shows that the coordinator signed the sum of what members signed and uploaded, and of nothing else. It does not show
that a member that the record has as dropped out was really gone: no one can tell that from outside.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from core.errors import RunRefused
from core.learning.orders import AUTHORITY, COORDINATOR, AggregationMode, read_order
from federated.aggregation.blind.circle import Circle, circle_of
from federated.aggregation.blind.member import Words
from federated.aggregation.blind.record import MAX_RECORD_BYTES, Record
from federated.aggregation.blind.seeds import masks_left_over
from federated.aggregation.blind.statements import (
    Advert,
    Agreement,
    Dealing,
    Label,
    Statement,
    Sum,
    Upload,
    place,
    seed_sha256,
    survivors_sha256,
)
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.board import RECORD, STATEMENT, SUM, VECTOR
from federated.failures import Refused
from security.certificates import Trust
from security.context import Context
from security.errors import SecurityError
from security.keystream import apply_masks
from security.masking import MaskKey
from security.signing import verify

S = TypeVar("S", bound=Statement)
_WORD_BYTES = (4, 8)
_BITS = 8


class PublishedBroken(Exception):
    """A published sum does not prove itself.

    Attributes:
        party: whose item is wrong: a member, the coordinator (sum, record, files) or the authority (the run's order).
        what: what is wrong with it, in words.
    """

    def __init__(self, party: str, what: str) -> None:
        super().__init__(f"{party}: {what}")
        self.party = party
        self.what = what


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A published sum that proved itself.

    Attributes:
        study: code of the study.
        run: id of the run.
        round: from 1.
        attempt: id of the attempt.
        label: which of the round's two sums.
        members: whose uploads are in it, sorted.
        dropped: who dealt secrets and then did not upload, sorted.
        words: length of the vectors.
        sha256: of the unreduced sum's bytes, hex.
    """

    study: str
    run: str
    round: int
    attempt: str
    label: Label
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
    with _of(COORDINATOR, "the record cannot be read"):
        path = folder / RECORD
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ValueError("too long")
        record = Record.from_bytes(path.read_bytes())
    auditor = _Auditor(record.study, trust, at)
    return _Published(folder, record, auditor, _circle(record, auditor)).check()


@dataclass(frozen=True)
class _Auditor:
    """Checks signatures without having a key; a `statements.Checker`."""

    study: str
    trust: Trust
    at: datetime

    def verify(self, envelope: bytes, context: Context) -> bytes:
        """See `Notary.verify`."""
        return verify(envelope, trust=self.trust, context=context, party=context.sender, at=self.at)


def _circle(record: Record, auditor: _Auditor) -> Circle:
    """The members of the round, as the authority's order has them."""
    with _of(AUTHORITY, "the order does not hold"):
        options = read_order(record.order, run=record.run, study=record.study, trust=auditor.trust, at=auditor.at)
    if options.mode is not AggregationMode.BLIND or record.round > options.rounds:
        raise PublishedBroken(AUTHORITY, "ordered no such blind round")
    circle = circle_of(options, order=record.order, round_number=record.round)
    return circle.figures if record.label == Label.FIGURES else circle


class _Published:
    """One published sum while it is checked."""

    def __init__(self, folder: Path, record: Record, auditor: _Auditor, circle: Circle) -> None:
        self._folder = folder
        self._record = record
        self._auditor = auditor
        self._circle = circle
        self._header = record.header()
        self._label = Label(record.label)
        self._adverts: dict[str, Advert] = {}
        self._gone: dict[str, MaskKey] = {}

    def check(self) -> Checked:
        """Check statements, then secrets, then the sum."""
        record = self._record
        self._check_dealers()
        self._check_survivors()
        self._check_secrets()
        stated = self._check_sum_file()
        total, base_sha256 = self._add()
        digest = hashlib.sha256(total.low.data)
        digest.update(total.carry.data)
        _expect(digest.digest() == stated, COORDINATOR, "the sum that it signed is not the sum of the uploads")
        self._check_others(total, base_sha256)
        return Checked(
            study=record.study,
            run=record.run,
            round=record.round,
            attempt=record.attempt,
            label=self._label,
            members=tuple(sorted(record.survivors)),
            dropped=tuple(sorted(set(record.dealings) - set(record.survivors))),
            words=len(total.low),
            sha256=stated.hex(),
        )

    def _check_dealers(self) -> None:
        """Adverts and dealings are signed by members of the circle, and enough neighbours could open the secrets."""
        record, circle = self._record, self._circle
        for party, envelope in record.adverts.items():
            _expect(party in circle.parties, party, "was not asked in this round")
            self._adverts[party] = self._read(Advert, envelope, party)
        for party, envelope in record.dealings.items():
            _expect(party in self._adverts, party, "dealt without having advertised")
            dealing = self._read(Dealing, envelope, party)
            holders = circle.closed(party) & set(dealing.holders)
            _expect(len(holders) >= circle.share_threshold, party, "committed to too few shares of its secrets")
            if party in record.survivors:
                where = place(record.study, party, self._header, self._label, "seed")
                same = seed_sha256(record.seeds.get(party, b""), where) == dealing.seed
                _expect(same, party, "its seed is missing, or not the one that it committed to")

    def _check_survivors(self) -> None:
        """Enough members survived, and enough of the committee signed that it was these with these uploads."""
        record, circle = self._record, self._circle
        for party in record.survivors:
            _expect(party in record.dealings, party, "uploaded without having dealt")
        _expect(len(record.survivors) >= circle.survivors_needed, COORDINATOR, "added the uploads of too few members")
        agreed = survivors_sha256(record.survivors)
        for party, envelope in record.agreements.items():
            _expect(party in record.survivors, party, "agreed without having uploaded")
            same = self._read(Agreement, envelope, party).survivors == agreed
            _expect(same, party, "agreed to other survivors or to other uploads")
        signers = len(set(record.agreements) & set(circle.committee))
        _expect(signers >= circle.committee_needed, COORDINATOR, "too few of the committee agreed to the survivors")

    def _check_secrets(self) -> None:
        """Seeds are survivors', mask keys those of members that dropped out; each is the one that its owner stated."""
        record = self._record
        for party in record.seeds:
            _expect(party in record.survivors, party, "its seed was revealed, but it did not upload")
        for party, scalar in record.mask_keys.items():
            dropped = party in record.dealings and party not in record.survivors
            _expect(dropped, party, "its mask key was revealed, but it did not drop out")
            with _of(party, "its mask key cannot be read"):
                self._gone[party] = MaskKey.from_scalar(scalar)
            same = self._gone[party].public == self._adverts[party].mask_key
            _expect(same, party, "its mask key is not the one that it advertised")
        for party in set(record.dealings) - set(record.survivors) - set(self._gone):
            needed = any(neighbour in record.survivors for neighbour in self._circle.neighbours[party])
            _expect(not needed, party, "its mask key is missing")

    def _check_sum_file(self) -> bytes:
        """Return the SHA-256 of the sum that the coordinator signed, which that of the file is too."""
        stated = self._read(Sum, self._record.sum, COORDINATOR)
        right = stated.survivors == survivors_sha256(self._record.survivors)
        _expect(right, COORDINATOR, "signed a sum over other survivors")
        with _of(COORDINATOR, "the sum cannot be read"), (self._folder / SUM).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
        _expect(sha256 == stated.sha256, COORDINATOR, "the published sum is not the one that it signed")
        return stated.sha256

    def _add(self) -> tuple[UnreducedSum, str]:
        """Add the survivors' terms; returns the sum, and the weights that all uploads belong to."""
        total: UnreducedSum | None = None
        base_sha256 = ""
        for party, sha256 in sorted(self._record.survivors.items()):
            upload = self._upload(party)
            _expect(upload.sha256 == sha256, party, "its upload is not the one that the members agreed to")
            words = self._vector(party, upload)
            if total is None:
                total = UnreducedSum(len(words), word=words.itemsize * _BITS, members=len(self._circle.parties))
                base_sha256 = upload.base_sha256
            same = (words.shape, words.dtype, upload.base_sha256) == (total.low.shape, total.low.dtype, base_sha256)
            _expect(same, party, "its upload has another shape or other weights behind it than those before")
            self._take_off(party, words, base_sha256)
            total.add(words)
        if total is None:
            raise PublishedBroken(COORDINATOR, "there are no uploads")
        return total, base_sha256

    def _upload(self, party: str) -> Upload:
        with _of(party, "its upload cannot be read"):
            envelope = (self._folder / (party + STATEMENT)).read_bytes()
        return self._read(Upload, envelope, party)

    def _vector(self, party: str, upload: Upload) -> Words:
        """Return the words of an upload, writable; they are those that the member signed."""
        path = self._folder / (party + VECTOR)
        with _of(party, "its upload cannot be read"):
            size, rest = divmod(path.stat().st_size, upload.words)
            _expect(not rest and size in _WORD_BYTES, party, "its upload is not as long as it signed")
            words: Words = np.fromfile(path, f"<u{size}")
        _expect(hashlib.sha256(words.data).digest() == upload.sha256, party, "its upload is not the one that it signed")
        return words

    def _take_off(self, party: str, words: Words, base_sha256: str) -> None:
        """Take the masks that do not cancel in the sum off an upload, in place."""
        neighbours = self._circle.neighbours[party]
        with _of(party, "its masks cannot be taken off"):
            plus, minus = masks_left_over(
                party,
                self._record.seeds[party],
                self._adverts[party].mask_key,
                {other: key for other, key in self._gone.items() if other in neighbours},
                study=self._record.study,
                header=self._header,
                label=self._label,
                base_sha256=base_sha256,
            )
            apply_masks(words, plus=minus, minus=plus)

    def _check_others(self, total: UnreducedSum, base_sha256: str) -> None:
        """What else lies in the folder are uploads that no sum could take: of another shape, or from other weights."""
        expected = {RECORD, SUM, *(party + kind for party in self._record.survivors for kind in (STATEMENT, VECTOR))}
        for name in sorted({path.name for path in self._folder.iterdir()} - expected):
            party = name.removesuffix(STATEMENT).removesuffix(VECTOR)
            _expect(party in self._circle.parties and name != party, COORDINATOR, f"{name} does not belong to this sum")
            upload = self._upload(party)
            words = self._vector(party, upload)
            same = (words.shape, words.dtype, upload.base_sha256) == (total.low.shape, total.low.dtype, base_sha256)
            _expect(not same, party, "its upload was left out of the sum")

    def _read(self, kind: type[S], envelope: bytes, party: str) -> S:
        with _of(party, f"its signed {kind.__name__.lower()} does not hold"):
            return kind.read(envelope, notary=self._auditor, sender=party, header=self._header, label=self._label)


def _expect(true: bool, party: str, otherwise: str) -> None:
    if not true:
        raise PublishedBroken(party, otherwise)


@contextmanager
def _of(party: str, what: str) -> Iterator[None]:
    """Name whose item it is that does not hold."""
    try:
        yield
    except FileNotFoundError:
        raise PublishedBroken(party, f"{what}: the file is missing") from None
    except (OSError, RunRefused, Refused, SecurityError, ValueError) as error:
        raise PublishedBroken(party, f"{what}: {error}") from None
