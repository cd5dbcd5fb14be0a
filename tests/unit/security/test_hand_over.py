"""Handing a sealed object on to others through a holder that may not wrap it, and a wrapper that cannot open it."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from security.certificates import Trust
from security.context import Context
from security.errors import CertificateRefused, SealBroken, SecurityError
from security.sealed_format import front_length, recipients_of
from security.sealing import handed_over, open_sealed, rewrap, seal, with_recipients
from tests.unit.security.conftest import NOW, World

BODY = bytes(range(256)) * 5000


@dataclass(frozen=True)
class Case:
    """An object that the app sealed for one holder, which hands it to another."""

    world: World
    context: Context
    sealed: bytes
    holder: str = "north.serving"
    other: str = "aggregation"

    def block(self, **changes: object) -> bytes:
        """Let the holder hand it over."""
        options = {
            "holder": self.world[self.holder],
            "recipients": self.world.box(self.other),
            "trust": self.world.trust,
            "context": self.context,
            "sender": "app",
            "at": NOW,
            **changes,
        }
        return handed_over(self.sealed, **options)  # type: ignore[arg-type]

    def wrapped(self, block: bytes, *, wrapper: str = "app", to: str | None = None) -> bytes:
        """Let the sender put the block into the object."""
        return with_recipients(
            self.sealed,
            block,
            wrapper=self.world[wrapper],
            recipients=self.world.box(to or self.other),
            context=self.context,
            sender="app",
        )

    def opened(self, sealed: bytes, party: str) -> bytes:
        """Open it as a party."""
        return open_sealed(
            sealed, recipient=self.world[party], trust=self.world.trust, context=self.context, sender="app", at=NOW
        )


@pytest.fixture
def case(world: World, context: Context) -> Case:
    return Case(world, context, seal(BODY, sender=world["app"], recipients=world.box("north.serving"), context=context))


def test_what_was_handed_over_opens_for_the_new_recipient_alone_and_keeps_its_body(case: Case) -> None:
    handed = case.wrapped(case.block())
    assert case.opened(handed, case.other) == BODY
    assert recipients_of(handed) == [case.world[case.other].sealing_certificate.serial]
    assert handed[front_length(handed) :] == case.sealed[front_length(case.sealed) :]
    for party in ("north.serving", "app", "authority"):
        with pytest.raises(SealBroken):
            case.opened(handed, party)


def test_only_a_holder_can_hand_over_and_only_sender_or_authority_can_wrap(case: Case) -> None:
    for party in ("app", "authority", "aggregation"):
        with pytest.raises(SealBroken):
            case.block(holder=case.world[party])
    block = case.block()
    for party in ("north.serving", "aggregation"):
        with pytest.raises(SecurityError, match="may not re-wrap"):
            case.wrapped(block, wrapper=party)
    assert case.opened(case.wrapped(block, wrapper="authority"), case.other) == BODY
    with pytest.raises(SecurityError, match="may not re-wrap"):
        rewrap(
            case.sealed,
            holder=case.world["north.serving"],
            recipients=case.world.box(case.other),
            trust=case.world.trust,
            context=case.context,
            sender="app",
            at=NOW,
        )


def test_a_block_for_somebody_else_or_for_one_more_is_refused(case: Case) -> None:
    both = case.block(recipients=case.world.box("aggregation", "north.training"))
    for block in (both, case.block(recipients=case.world.box("north.training")), b"", case.block()[:-1]):
        with pytest.raises(SealBroken):
            case.wrapped(block)


def test_a_block_of_another_object_is_found_when_the_new_recipient_tries_it(case: Case) -> None:
    again = seal(BODY, sender=case.world["app"], recipients=case.world.box("north.serving"), context=case.context)
    elsewhere = replace(case.context, object_id="case-2")
    moved = seal(BODY, sender=case.world["app"], recipients=case.world.box("north.serving"), context=elsewhere)
    for other in (replace(case, sealed=again), replace(case, sealed=moved, context=elsewhere)):
        handed = case.wrapped(other.block())
        with pytest.raises(SealBroken):
            case.opened(handed, case.other)


def test_nothing_is_handed_over_of_what_does_not_hold_or_to_whom_no_certificate_holds(
    case: Case, impostor: World
) -> None:
    for changed in ({"context": replace(case.context, study="other")}, {"sender": "authority"}):
        with pytest.raises(SealBroken):
            case.block(**changed)
    flipped = case.sealed[:-1] + bytes((case.sealed[-1] ^ 1,))
    with pytest.raises(SealBroken):
        replace(case, sealed=flipped).block()
    with pytest.raises(CertificateRefused):
        case.block(recipients=impostor.box("aggregation"))
    serial = case.world["aggregation"].sealing_certificate.serial
    revoked = Trust(
        case.world.authority.root,
        case.world.authority.revocation_list([(serial, NOW, "keyCompromise")], number=1, now=NOW),
    )
    with pytest.raises(CertificateRefused):
        case.block(trust=revoked, at=NOW + timedelta(seconds=1))
    with pytest.raises(ValueError, match="time with its zone"):
        case.block(at=NOW.replace(tzinfo=None))


def test_a_new_recipient_whose_certificate_has_ended_is_refused_for_a_stored_object_too(case: Case) -> None:
    later = NOW + timedelta(days=400)
    with pytest.raises(CertificateRefused, match="not valid"):
        case.block(trust=case.world.trust.for_stored(), at=later)
