"""The order of a federated run: what the trusted authority signed, and what every party obeys.

A run's options live in a database that the cloud could change. So nodes, aggregation and coordinator take them from
this signed order only: nobody but the authority can switch a run to another mode, lower the number of hospitals a sum
must cover, or name other members.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from core.errors import RunRefused
from core.learning.architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE
from core.learning.run_choices import (
    DEFAULT_CLIP,
    MAX_CLIP,
    Combining,
    CombiningRule,
    PrivacyOptions,
    RoundRules,
    ServerOptions,
)
from core.learning.training import TrainingOptions
from core.studies import Study
from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.identity import Identity
from security.signing import sign, verify

AUTHORITY = "authority"
COORDINATOR = "coordinator"
AGGREGATION = "aggregation"
APP = "app"

MAX_ROUNDS = 200
_CERTIFICATE = re.compile("([0-9a-f]{64})?")
MIN_MEMBERS = 3
"""Of a sum of two, each of the two can subtract its own part and has the other's."""


def survivors_needed(members: int) -> int:
    """Return how many of the members asked must survive a blind round or sign one set: more than 2/3, at least 3."""
    return max(MIN_MEMBERS, 2 * members // 3 + 1)


def asked_in_round(members: int, *, participation: float, minimum: int) -> int:
    """Return how many of a run's members each round asks; `participation` is a share, `minimum` must finish it."""
    return max(math.ceil(participation * members), minimum)


def training_party(slug: str) -> str:
    """Return the party name of a hospital's training node."""
    return f"{slug}.training"


def serving_party(slug: str) -> str:
    """Return the party name of a hospital's serving enclave."""
    return f"{slug}.serving"


def slug_of(party: str) -> str:
    """Return the hospital's slug of a training or serving party."""
    return party.partition(".")[0]


class AggregationMode(StrEnum):
    """How updates are protected on their way (design, section 5)."""

    PLAIN = "plain"
    SEALED = "sealed"
    BLIND = "blind"

    @property
    def visible_to_cloud(self) -> str:
        """What the cloud can see in this mode, as one sentence for people."""
        return _VISIBLE[self]


_VISIBLE = {
    AggregationMode.PLAIN: (
        "The cloud can read every hospital's update and metrics. Only for comparisons on public or synthetic "
        "images; refused for clinical ones."
    ),
    AggregationMode.SEALED: (
        "The cloud sees sizes and times only; one separate process, the aggregation enclave, can open each "
        "hospital's update."
    ),
    AggregationMode.BLIND: (
        "The cloud adds masked numbers and can read neither a hospital's update nor the sum nor the model; it sees "
        "sizes and times."
    ),
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A hospital in a run.

    Attributes:
        party: its training party, ``<slug>.training``.
        dataset: id of the data set it trains on.
        images: images of the training part: the largest weight its update may claim.
        validation: images of the validation part: the most that its figures may be about.
        certificate: SHA-256 (hex) of its signing certificate when the order was signed; empty where nothing is said.
            Who holds the order need not verify that this one was issued. Another certificate of the member, a renewed
            one, counts as well, once its issuer's signature has been verified.
    """

    party: str
    dataset: str
    images: int
    validation: int
    certificate: str = ""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Everything that decides a run.

    Attributes:
        study: the study's code.
        mode: how updates travel.
        rounds: number of rounds.
        members: who trains, sorted by party.
        minimum_members: a round with fewer updates or fewer validation figures fails.
        training: local training of one round; its cosine spans all rounds.
        architecture: key of `core.learning.architectures.ARCHITECTURES`.
        seed: of the first weights, and with round and party of each node's shuffling.
        draw: random text of the authority, from which each round's participants follow; nobody foresees them.
        start_from: SHA-256 of the signed lineage of the model to continue from; empty to start from new weights.
        combining: how updates become one; `blind` knows the mean only.
        server: what is done with the combined update.
        privacy: differential privacy of local training, or None.
        round_rules: who is asked in a round, for how long, and what a failure means.
        clip: largest change of one weight in one round that `blind` carries; larger ones are cut to it.
    """

    study: str
    mode: AggregationMode
    rounds: int
    members: tuple[Member, ...]
    minimum_members: int = MIN_MEMBERS
    training: TrainingOptions = field(default_factory=TrainingOptions)
    architecture: str = DEFAULT_ARCHITECTURE
    seed: int = 0
    draw: str = ""
    start_from: str = ""
    combining: Combining = field(default_factory=Combining)
    server: ServerOptions = field(default_factory=ServerOptions)
    privacy: PrivacyOptions | None = None
    round_rules: RoundRules = field(default_factory=RoundRules)
    clip: float = DEFAULT_CLIP

    def __post_init__(self) -> None:
        """Refuse orders that cannot be carried out.

        Raises:
            RunRefused: what is wrong, in words.
        """
        object.__setattr__(self, "members", tuple(sorted(self.members, key=lambda member: member.party)))
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise RunRefused(f"1 to {MAX_ROUNDS} rounds, not {self.rounds}")
        if len({member.party for member in self.members}) != len(self.members):
            raise RunRefused("a hospital can take part once only")
        if not MIN_MEMBERS <= self.minimum_members <= len(self.members):
            raise RunRefused(
                f"{len(self.members)} hospitals were chosen and {self.minimum_members} must finish each round; "
                f"at least {MIN_MEMBERS} are needed, since each of two could work out what the other sent"
            )
        self._check_members()
        if self.architecture not in ARCHITECTURES:
            raise RunRefused(f"known architectures are {', '.join(ARCHITECTURES)}")
        if self.privacy and not ARCHITECTURES[self.architecture].private:
            raise RunRefused(f"{self.architecture} cannot be trained with differential privacy")
        if not 0 < self.clip <= MAX_CLIP:
            raise RunRefused(f"the largest change of a weight must be above 0 and at most {MAX_CLIP:g}")
        if self.mode is AggregationMode.BLIND and self.combining.rule is not CombiningRule.MEAN:
            raise RunRefused("in blind mode nobody sees a single update, so updates can only be averaged")
        if self.mode is AggregationMode.BLIND and self.minimum_members > survivors_needed(self.asked):
            raise RunRefused(
                f"in blind mode a round is finished by {survivors_needed(self.asked)} of {self.asked} hospitals, so "
                f"it cannot be asked that {self.minimum_members} finish it"
            )
        if self.combining.least_updates > self.minimum_members:
            raise RunRefused(
                f"this combining rule with {self.combining.malicious} malicious members needs at least "
                f"{self.combining.least_updates} updates in each round, so as many hospitals must finish it"
            )

    def _check_members(self) -> None:
        if any(member.images < 1 for member in self.members):
            raise RunRefused("a data set has no training images")
        if any(member.validation < 1 for member in self.members):
            raise RunRefused("a data set has no validation images")
        if not all(_CERTIFICATE.fullmatch(member.certificate) for member in self.members):
            raise RunRefused("a member's certificate is named by something else than a SHA-256")

    @cached_property
    def parties(self) -> tuple[str, ...]:
        """The members' training parties, sorted."""
        return tuple(member.party for member in self.members)

    @property
    def asked(self) -> int:
        """How many members each round asks."""
        participation = self.round_rules.participation
        return asked_in_round(len(self.members), participation=participation, minimum=self.minimum_members)

    def participants(self, round_number: int) -> tuple[str, ...]:
        """Return the parties that a round asks, sorted: the same for everybody who holds the order."""
        if self.asked == len(self.members):
            return self.parties
        drawn = sorted(self.parties, key=lambda party: _drawn(self.draw, round_number, party))
        return tuple(sorted(drawn[: self.asked]))

    @cached_property
    def certificates(self) -> Mapping[bytes, str]:
        """SHA-256 of the members' signing certificates as far as the order names them, with whose they are."""
        return {bytes.fromhex(member.certificate): member.party for member in self.members if member.certificate}

    def naming(self, certificates: Iterable[Certificate]) -> Self:
        """Return these options with the members' signing certificates named; those of others are passed over."""
        named = {certificate.party: certificate.sha256.hex() for certificate in certificates}
        members = (replace(member, certificate=named.get(member.party, member.certificate)) for member in self.members)
        return replace(self, members=tuple(members))

    def last_round(self, round_number: int) -> int:
        """Return the round whose model may be exported, asked for that of `round_number`: a patient run may end early.

        With patience the coordinator, which alone has the figures of all rounds, says when; so it could end a run
        earlier than they ask for, as it can by withholding messages.
        """
        patience = self.round_rules.patience
        return round_number if patience and patience <= round_number < self.rounds else self.rounds

    def member(self, party: str) -> Member:
        """Return one member.

        Raises:
            KeyError: not a member.
        """
        return self._members_by_party[party]

    @cached_property
    def _members_by_party(self) -> dict[str, Member]:
        return {member.party: member for member in self.members}

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "members": [asdict(member) for member in self.members]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            RunRefused: a value is missing, unknown or impossible.
        """
        try:
            fields = dict(values)
            fields["mode"] = AggregationMode(fields["mode"])
            fields["members"] = tuple(Member(**member) for member in fields["members"])
            fields["training"] = TrainingOptions(**fields["training"])
            fields["combining"] = Combining(**fields["combining"])
            fields["server"] = ServerOptions(**fields["server"])
            fields["privacy"] = None if fields["privacy"] is None else PrivacyOptions(**fields["privacy"])
            fields["round_rules"] = RoundRules(**fields["round_rules"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise RunRefused("the run's options cannot be read") from error


def _drawn(draw: str, round_number: int, party: str) -> bytes:
    return hashlib.sha256(f"participants/{draw}/{round_number}/{party}".encode()).digest()


def check_validation(study: Study, counts: Iterable[Sequence[int]]) -> None:
    """Refuse members whose validation parts, taken together, do not allow a decision rule.

    Args:
        study: whose classes are counted.
        counts: validation images by class, in the study's order, of each member.

    Raises:
        RunRefused: all members together lack a class.
    """
    together = [sum(column) for column in zip(*counts, strict=True)]
    missing = [label.title for label, count in zip(study.classes, together, strict=True) if count == 0]
    if missing:
        raise RunRefused(f"no hospital has a validation image of: {', '.join(missing)}")


def sign_order(options: RunOptions, *, run: str, signer: Identity) -> bytes:
    """Return the options in an envelope signed by the authority and bound to the run."""
    payload = json.dumps(options.to_json(), sort_keys=True, separators=(",", ":")).encode()
    return sign(payload, signer=signer, context=_context(options.study, run))


def read_order(envelope: bytes, *, run: str, study: str, trust: Trust, at: datetime) -> RunOptions:
    """Return the options of an order that the authority signed for this run and study (a code).

    Raises:
        SignatureBroken: changed, or an order of another run or study.
        CertificateRefused: not signed by a valid certificate of the authority.
        RunRefused: signed, but impossible.
    """
    payload = verify(envelope, trust=trust, context=_context(study, run), party=AUTHORITY, at=at)
    options = RunOptions.from_json(json.loads(payload))
    if options.study != study:
        raise RunRefused("the order is for another study")
    return options


def _context(study: str, run: str) -> Context:
    return Context(purpose=Purpose.FEDERATED_MESSAGE, study=study, sender=AUTHORITY, object_id="order", run=run)
