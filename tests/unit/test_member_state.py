"""How far a hospital has come, from the certificates that were issued."""

from datetime import UTC, datetime

from core.services.members import CertificateView, MemberState, member_state

NOW = datetime(2026, 1, 5, tzinfo=UTC)
FOUR = [(f"north.{part}", use) for part in ("training", "serving") for use in ("sign", "seal")]


def certificate(party: str, use: str, state: str) -> CertificateView:
    return CertificateView("1", party, use, NOW, NOW, NOW if state == "revoked" else None, "", state)


def state(*states: str) -> MemberState:
    """The state of north, whose four certificates are in these states; "" for one that was never issued."""
    own = [certificate(*which, one) for which, one in zip(FOUR, states, strict=True) if one]
    return member_state("north", [certificate("east.training", "sign", "valid"), *own])


def test_a_hospital_is_keyed_with_four_valid_certificates_and_not_with_three() -> None:
    assert state("", "", "", "") is MemberState.REGISTERED
    assert state("valid", "valid", "valid", "valid") is MemberState.KEYED
    assert state("valid", "valid", "valid", "") is MemberState.APPROVED
    assert state("valid", "valid", "valid", "expired") is MemberState.APPROVED
    assert state("valid", "revoked", "valid", "valid") is MemberState.REVOKED


def test_a_revoked_certificate_that_a_new_one_replaces_no_longer_counts() -> None:
    views = [certificate(*which, "valid") for which in FOUR]
    assert member_state("north", [*views, certificate(*FOUR[0], "revoked")]) is MemberState.KEYED
