"""What a published record says of a blind sum, checked: whose statements they are, who survived, which secrets fit.

Nothing here needs a key. The vectors are the business of `published`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from core.errors import RunRefused
from core.learning.orders import AUTHORITY, COORDINATOR, AggregationMode, read_order
from federated.aggregation.blind.circle import Circle, circle_of
from federated.aggregation.blind.record import Record
from federated.aggregation.blind.seeds import masks_left_over
from federated.aggregation.blind.statements import (
    Advert,
    Agreement,
    Dealing,
    Label,
    Statement,
    Sum,
    place,
    seed_sha256,
    survivors_sha256,
)
from federated.failures import Refused
from security.certificates import Trust
from security.context import Context
from security.errors import SecurityError
from security.masking import MaskKey
from security.signing import verify

S = TypeVar("S", bound=Statement)


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


@dataclass(frozen=True)
class Auditor:
    """Checks signatures without having a key; a `statements.Checker`.

    Attributes:
        study: code of the study.
        trust: the authority's root and revocation list.
        at: when certificates must be valid; with its zone.
    """

    study: str
    trust: Trust
    at: datetime

    def verify(self, envelope: bytes, context: Context) -> bytes:
        """See `Notary.verify`."""
        return verify(envelope, trust=self.trust, context=context, party=context.sender, at=self.at)


class Opened:
    """A record that holds together: every statement is its party's, for this sum, and the secrets are those stated.

    Attributes:
        record: as published.
        circle: the members of the sum, from the authority's order.
        label: which sum.
        sha256: hash of the sum that the coordinator signed.
    """

    def __init__(self, record: Record, trust: Trust, at: datetime) -> None:
        """Check the record.

        Raises:
            PublishedBroken: the first thing found wrong, and whose it is.
        """
        self._auditor = Auditor(record.study, trust, at)
        self.record = record
        self.circle = _circle(record, self._auditor)
        self.label = Label(record.label)
        self._header = record.header()
        self._adverts: dict[str, Advert] = {}
        self._gone: dict[str, MaskKey] = {}
        self._check_dealers()
        self._check_survivors()
        self._check_secrets()
        stated = self.read(Sum, record.sum, COORDINATOR)
        expect(stated.survivors == survivors_sha256(record.survivors), COORDINATOR, "signed a sum over other survivors")
        self.sha256 = stated.sha256

    def read(self, kind: type[S], envelope: bytes, party: str) -> S:
        """Return what a party stated for this sum.

        Raises:
            PublishedBroken: it did not.
        """
        with owned_by(party, f"its signed {kind.__name__.lower()} does not hold"):
            return kind.read(envelope, notary=self._auditor, sender=party, header=self._header, label=self.label)

    def masks_of(self, party: str, base_sha256: str) -> tuple[list[bytes], list[bytes]]:
        """Return the masks on a survivor's upload that do not cancel: those it added, those it subtracted."""
        neighbours = self.circle.neighbours[party]
        with owned_by(party, "its masks cannot be taken off"):
            return masks_left_over(
                party,
                self.record.seeds[party],
                self._adverts[party].mask_key,
                {other: key for other, key in self._gone.items() if other in neighbours},
                study=self.record.study,
                header=self._header,
                label=self.label,
                base_sha256=base_sha256,
            )

    def _check_dealers(self) -> None:
        """Adverts and dealings are signed by members of the circle, and enough neighbours could open the secrets."""
        record, circle = self.record, self.circle
        for party, envelope in record.adverts.items():
            expect(party in circle.parties, party, "was not asked in this round")
            self._adverts[party] = self.read(Advert, envelope, party)
        for party, envelope in record.dealings.items():
            expect(party in self._adverts, party, "dealt without having advertised")
            dealing = self.read(Dealing, envelope, party)
            holders = circle.closed(party) & set(dealing.holders)
            enough = len(holders) >= circle.share_threshold or not {party} & {*record.seeds, *record.mask_keys}
            expect(enough, party, "committed to too few shares of the secret that was opened")
            if party in record.survivors:
                where = place(record.study, party, self._header, self.label, "seed")
                same = seed_sha256(record.seeds.get(party, b""), where) == dealing.seed
                expect(same, party, "its seed is missing, or not the one that it committed to")

    def _check_survivors(self) -> None:
        """Enough members survived, and enough of the committee signed that it was these with these uploads."""
        record, circle = self.record, self.circle
        for party in record.survivors:
            expect(party in record.dealings, party, "uploaded without having dealt")
        expect(len(record.survivors) >= circle.survivors_needed, COORDINATOR, "added the uploads of too few members")
        agreed = survivors_sha256(record.survivors)
        for party, envelope in record.agreements.items():
            expect(party in record.survivors, party, "agreed without having uploaded")
            same = self.read(Agreement, envelope, party).survivors == agreed
            expect(same, party, "agreed to other survivors or to other uploads")
        signers = len(set(record.agreements) & set(circle.committee))
        expect(signers >= circle.committee_needed, COORDINATOR, "too few of the committee agreed to the survivors")

    def _check_secrets(self) -> None:
        """Seeds are survivors', mask keys those of members that dropped out; each is the one that its owner stated."""
        record = self.record
        for party in record.seeds:
            expect(party in record.survivors, party, "its seed was revealed, but it did not upload")
        for party, scalar in record.mask_keys.items():
            dropped = party in record.dealings and party not in record.survivors
            expect(dropped, party, "its mask key was revealed, but it did not drop out")
            with owned_by(party, "its mask key cannot be read"):
                self._gone[party] = MaskKey.from_scalar(scalar)
            same = self._gone[party].public == self._adverts[party].mask_key
            expect(same, party, "its mask key is not the one that it advertised")
        for party in set(record.dealings) - set(record.survivors) - set(self._gone):
            needed = any(neighbour in record.survivors for neighbour in self.circle.neighbours[party])
            expect(not needed, party, "its mask key is missing")


def _circle(record: Record, auditor: Auditor) -> Circle:
    """The members of the round, as the authority's order has them."""
    with owned_by(AUTHORITY, "the order does not hold"):
        options = read_order(record.order, run=record.run, study=record.study, trust=auditor.trust, at=auditor.at)
    if options.mode is not AggregationMode.BLIND or record.round > options.rounds:
        raise PublishedBroken(AUTHORITY, "ordered no such blind round")
    circle = circle_of(options, order=record.order, round_number=record.round)
    return circle.figures if record.label == Label.FIGURES else circle


def expect(true: bool, party: str, otherwise: str) -> None:
    """Refuse what is not true, in the name of the party whose item it is.

    Raises:
        PublishedBroken: it is not.
    """
    if not true:
        raise PublishedBroken(party, otherwise)


@contextmanager
def owned_by(party: str, what: str) -> Iterator[None]:
    """Name whose item it is that cannot be read or does not hold.

    Raises:
        PublishedBroken: in place of what is raised inside.
    """
    try:
        yield
    except FileNotFoundError:
        raise PublishedBroken(party, f"{what}: the file is missing") from None
    except (OSError, RunRefused, Refused, SecurityError, ValueError) as error:
        raise PublishedBroken(party, f"{what}: {error}") from None
