"""The authority's certificates and lists, and what a trust refuses."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from security.authority import CertificateAuthority, RevocationReason
from security.certificates import Certificate, Trust
from security.errors import CertificateRefused, KeyMissing, SecurityError
from security.identity import Identity, load_root
from security.keys import KeyStore, KeyUse
from tests.unit.security.conftest import NOW, World


def test_a_certificate_says_whose_key_it_is_and_for_what(world: World) -> None:
    identity = world["north.training"]
    for certificate, use in ((identity.signing_certificate, KeyUse.SIGN), (identity.sealing_certificate, KeyUse.SEAL)):
        again = Certificate.from_pem(certificate.pem)
        assert again == certificate
        assert (again.party, again.key_use) == ("north.training", use)
        assert again.not_before <= NOW <= again.not_after
        assert again.not_after - NOW == timedelta(days=365)
        assert 0 < len(again.serial) <= 40
        assert world.trust.check(again, party="north.training", use=use, at=NOW) == again
    assert identity.signing_certificate.fingerprint != identity.sealing_certificate.fingerprint


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"party": "north.serving"}, "'north.serving' expected"),
        ({"use": KeyUse.SEAL}, "'seal' expected"),
        ({"use": KeyUse.ISSUE}, "'issue' expected"),
        ({"at": NOW + timedelta(days=366)}, "not valid"),
        ({"at": NOW - timedelta(days=1)}, "not valid"),
        ({"at": NOW + timedelta(days=4000)}, "authority's certificate is not valid"),
    ],
)
def test_a_certificate_is_refused_for_another_party_use_or_time(world: World, changes: dict, reason: str) -> None:
    asked = {"party": "north.training", "use": KeyUse.SIGN, "at": NOW} | changes
    with pytest.raises(CertificateRefused, match=reason):
        world.trust.check(world["north.training"].signing_certificate, **asked)


def test_a_certificate_of_another_authority_is_refused(world: World, impostor: World) -> None:
    with pytest.raises(CertificateRefused, match="not issued by this authority"):
        world.trust.check(impostor["app"].signing_certificate, party="app", use=KeyUse.SIGN, at=NOW)


def test_a_certificate_that_the_authority_has_named_needs_no_issuer_but_holds_for_that_party_and_use_only(
    world: World, impostor: World
) -> None:
    """Named are exact bytes: only the authority's signature on an order can name one that its root never issued."""
    named = impostor["north.training"].signing_certificate
    trust = replace(world.trust, named={named.sha256: "north.training"})
    assert trust.check(named, party="north.training", use=KeyUse.SIGN, at=NOW) == named
    for party, use, at, reason in (
        ("app", KeyUse.SIGN, NOW, "'app' expected"),
        ("north.training", KeyUse.SEAL, NOW, "'seal' expected"),
        ("north.training", KeyUse.SIGN, NOW + timedelta(days=366), "not valid"),
    ):
        with pytest.raises(CertificateRefused, match=reason):
            trust.check(named, party=party, use=use, at=at)
    for other in (impostor["app"].signing_certificate, impostor["north.training"].sealing_certificate):
        with pytest.raises(CertificateRefused, match="not issued"):
            trust.check(other, party=None, use=other.key_use, at=NOW)


def test_a_named_certificate_that_is_revoked_is_refused(world: World) -> None:
    thief = world["north.training"].signing_certificate
    trust = replace(world.trust, named={thief.sha256: "north.training"})
    assert trust.check(thief, party="north.training", use=KeyUse.SIGN, at=NOW)
    listed = world.authority.revocation_list([(thief.serial, NOW, "unspecified")], number=7, now=NOW)
    with pytest.raises(CertificateRefused, match="revoked"):
        trust.with_crl(listed).check(thief, party="north.training", use=KeyUse.SIGN, at=NOW)


def test_a_member_cannot_certify_others(world: World) -> None:
    member, victim = world["north.training"], ec.generate_private_key(ec.SECP256R1()).public_key()
    forged = _forge(member.signing_key._key, member.signing_certificate.parsed.subject, victim, "app")
    with pytest.raises(CertificateRefused, match="not issued"):
        world.trust.check(forged, party="app", use=KeyUse.SIGN, at=NOW)
    forged = _forge(member.signing_key._key, world.authority.root.parsed.subject, victim, "app")
    with pytest.raises(CertificateRefused, match="not issued"):
        world.trust.check(forged, party="app", use=KeyUse.SIGN, at=NOW)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_any_changed_bit_of_what_a_certificate_states_is_refused(world: World) -> None:
    certificate = world["app"].signing_certificate
    der, stated = certificate.der, certificate.parsed.tbs_certificate_bytes
    start = der.index(stated)
    for bit in range(8 * start, 8 * (start + len(stated))):
        changed = bytearray(der)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CertificateRefused):
            world.trust.check(Certificate(bytes(changed)), party="app", use=KeyUse.SIGN, at=NOW)


@pytest.mark.parametrize("der", [b"", b"rubbish", b"0\x82\xff\xff"])
def test_what_is_no_certificate_is_refused(world: World, der: bytes) -> None:
    with pytest.raises(CertificateRefused):
        world.trust.check(Certificate(der), party=None, use=KeyUse.SIGN, at=NOW)
    with pytest.raises(CertificateRefused):
        Certificate.from_pem(der)


def test_a_time_without_zone_is_a_mistake_of_the_caller(world: World) -> None:
    with pytest.raises(ValueError, match="zone"):
        world.trust.check(
            world["app"].signing_certificate,
            party="app",
            use=KeyUse.SIGN,
            at=datetime(2026, 1, 5),  # noqa: DTZ001
        )


@pytest.mark.parametrize("reason", RevocationReason)
def test_a_revoked_certificate_is_refused_and_the_others_are_not(world: World, reason: RevocationReason) -> None:
    identity = world["north.training"]
    der = world.authority.revocation_list([(identity.signing_certificate.serial, NOW, reason)], number=1, now=NOW)
    trust = world.trust.with_crl(der)
    with pytest.raises(CertificateRefused, match=r"'north\.training' is revoked"):
        trust.check(identity.signing_certificate, party="north.training", use=KeyUse.SIGN, at=NOW)
    trust.check(identity.sealing_certificate, party="north.training", use=KeyUse.SEAL, at=NOW)
    assert x509.load_der_x509_crl(der).next_update_utc == NOW + timedelta(days=30)


def test_an_older_or_foreign_revocation_list_is_refused(world: World, impostor: World) -> None:
    newer = world.trust.with_crl(world.authority.revocation_list([], number=7, now=NOW))
    assert newer.crl_number == 7
    newer.with_crl(world.authority.revocation_list([], number=7, now=NOW))
    with pytest.raises(CertificateRefused, match="older"):
        newer.with_crl(world.authority.revocation_list([], number=6, now=NOW))
    with pytest.raises(CertificateRefused, match="not this authority's"):
        newer.with_crl(impostor.authority.revocation_list([], number=8, now=NOW))
    assert newer.crl_der is not None
    changed = bytearray(newer.crl_der)
    changed[-1] ^= 1
    with pytest.raises(CertificateRefused, match="not this authority's"):
        Trust(world.authority.root, bytes(changed))
    assert Trust(world.authority.root).crl_number == -1


def test_only_an_issuing_certificate_is_an_anchor(world: World) -> None:
    with pytest.raises(CertificateRefused, match="not one that issues"):
        Trust(world["app"].signing_certificate)


def test_the_authority_issues_no_second_root_and_no_malformed_certificate(world: World) -> None:
    public = world["app"].signing_key.public_key
    with pytest.raises(ValueError, match="only the root"):
        world.authority.issue(public, party="app", use=KeyUse.ISSUE, now=NOW)
    with pytest.raises(ValueError, match="party name"):
        world.authority.issue(public, party="App, Inc.", use=KeyUse.SIGN, now=NOW)
    with pytest.raises(ValueError, match="P-256"):
        world.authority.issue(
            ec.generate_private_key(ec.SECP384R1()).public_key(), party="app", use=KeyUse.SIGN, now=NOW
        )
    with pytest.raises(ValueError, match="zone"):
        world.authority.issue(public, party="app", use=KeyUse.SIGN, now=datetime(2026, 1, 5))  # noqa: DTZ001
    with pytest.raises(ValueError, match="RevocationReason"):
        world.authority.revocation_list([("1", NOW, "no reason")], number=1, now=NOW)
    long = world.authority.issue(public, party="app", use=KeyUse.SIGN, now=NOW, days=9999)
    assert long.not_after == world.authority.root.not_after


def test_the_authority_is_made_once_and_opens_again(world: World, tmp_path: Path) -> None:
    assert CertificateAuthority.open(world.store("authority")).root == world.authority.root
    with pytest.raises(SecurityError, match="already"):
        CertificateAuthority.create(world.store("authority"), NOW)
    with pytest.raises(KeyMissing, match="root certificate"):
        CertificateAuthority.open(KeyStore(tmp_path, "authority", world.master))
    with pytest.raises(CertificateRefused, match="does not belong"):
        CertificateAuthority(world["app"].signing_key, world.authority.root)


def test_a_creation_or_enrolment_that_stopped_half_way_is_completed(world: World, tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "authority", world.master)
    root_key = store.create(KeyUse.ISSUE)
    authority = CertificateAuthority.create(store, NOW)
    assert authority.root.fingerprint == root_key.fingerprint
    member = KeyStore(tmp_path, "app", world.master)
    signing = member.create(KeyUse.SIGN)
    identity = Identity.enrol(member, authority, now=NOW)
    assert identity.signing_key.fingerprint == signing.fingerprint
    with pytest.raises(SecurityError, match="enrolled already"):
        Identity.enrol(member, authority, now=NOW)


def test_an_identity_loads_from_its_own_folder_only(world: World, tmp_path: Path) -> None:
    identity = Identity.load(world.store("app"))
    assert identity.party == "app"
    assert identity.signing_key.fingerprint == world["app"].signing_key.fingerprint
    assert load_root(world.store("app")) == world.authority.root
    with pytest.raises(KeyMissing, match="no key"):
        Identity.load(KeyStore(tmp_path, "app", world.master))
    with pytest.raises(KeyMissing, match=r"root\.crt"):
        load_root(KeyStore(tmp_path, "app", world.master))


def test_an_identity_refuses_a_certificate_that_is_not_its_own(world: World) -> None:
    app, node = world["app"], world["north.training"]
    parts: dict[str, Any] = {
        "signing_key": app.signing_key,
        "signing_certificate": app.signing_certificate,
        "sealing_key": app.sealing_key,
        "sealing_certificate": app.sealing_certificate,
    }
    Identity(**parts)
    for name, other in (
        ("signing_certificate", node.signing_certificate),
        ("sealing_certificate", node.sealing_certificate),
        ("sealing_certificate", app.signing_certificate),
        ("signing_key", app.sealing_key),
        ("sealing_key", node.sealing_key),
    ):
        with pytest.raises(CertificateRefused, match="do not belong together"):
            Identity(**(parts | {name: other}))


def _forge(
    key: ec.EllipticCurvePrivateKey, issuer: x509.Name, public: ec.EllipticCurvePublicKey, party: str
) -> Certificate:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:hemaseal:{party}")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.DER))


def test_a_tls_certificate_names_hosts_for_servers_only_and_speaks_for_no_party(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    hosts = ["superlink.example.org", "192.0.2.7", "2001:db8::7"]

    issued = world.authority.issue_tls(key.public_key(), hosts=hosts, now=NOW, days=90)

    names = issued.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == hosts[:1]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == hosts[1:]
    usage = issued.parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    assert issued.not_after - NOW == timedelta(days=90)
    issued.parsed.verify_directly_issued_by(world.authority.root.parsed)
    with pytest.raises(CertificateRefused, match="does not name one party"):
        world.trust.check(issued, party="app", use=KeyUse.SIGN, at=NOW)


def test_a_tls_certificate_is_refused_without_a_host_or_for_a_key_on_another_curve(world: World) -> None:
    with pytest.raises(ValueError, match="host name"):
        world.authority.issue_tls(ec.generate_private_key(ec.SECP256R1()).public_key(), hosts=[], now=NOW)
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    with pytest.raises(ValueError, match="P-256"):
        world.authority.issue_tls(other, hosts=["localhost"], now=NOW)
