"""The trusted authority's certificate authority: one root key that issues certificates and revocation lists (RFC 5280).

The root key (use ISSUE) is not the key with which the party "authority" signs or opens objects.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from security.certificates import PARTY_URI, Certificate, key_usage
from security.errors import CertificateRefused, KeyMissing, SecurityError
from security.keys import KeyStore, KeyUse, PrivateKey, check_party

ROOT_FILE = "root.crt"
CRL_FILE = "newest.crl"
"""In a party's folder: the newest revocation list that it has seen."""
ROOT_DAYS = 3650
CRL_DAYS = 30
BACKDATED = timedelta(minutes=5)  # certificates hold at once also where a member's clock runs late


class RevocationReason(StrEnum):
    """Why a certificate was revoked (RFC 5280 5.3.1)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


class CertificateAuthority:
    """Issues certificates and revocation lists; holds the root key through its handle only."""

    def __init__(self, key: PrivateKey, root: Certificate) -> None:
        if root.key_use is not KeyUse.ISSUE or root.fingerprint != key.fingerprint:
            raise CertificateRefused("the root certificate does not belong to the root key")
        self._key = key
        self.root = root

    @classmethod
    def create(cls, store: KeyStore, now: datetime) -> Self:
        """Make the root key and its self-signed certificate in the authority's own store.

        A store whose creation stopped half-way (key without certificate) is completed.

        Raises:
            SecurityError: the store has a root already.
        """
        if (store.folder / ROOT_FILE).exists():
            raise SecurityError(f"{store.party} has a root certificate already")
        key = store.load(KeyUse.ISSUE) if store.has(KeyUse.ISSUE) else store.create(KeyUse.ISSUE)
        name = _name("HemaSeal root")
        builder = _builder(
            key.public_key,
            subject=name,
            issuer=name,
            party=store.party,
            use=KeyUse.ISSUE,
            span=_span(now, ROOT_DAYS),
            authority_key=key.public_key,
        )
        root = _signed(builder, key)
        store.write(ROOT_FILE, root.pem)
        return cls(key, root)

    @classmethod
    def open(cls, store: KeyStore) -> Self:
        """Open the authority that `create` made.

        Raises:
            KeyMissing: it was not made, or does not open under this master key.
            CertificateRefused: root certificate and key do not belong together.
        """
        try:
            pem = (store.folder / ROOT_FILE).read_bytes()
        except OSError:
            raise KeyMissing(f"{store.party} has no root certificate") from None
        return cls(store.load(KeyUse.ISSUE), Certificate.from_pem(pem))

    def issue(
        self, public_key: ec.EllipticCurvePublicKey, *, party: str, use: KeyUse, now: datetime, days: int = 365
    ) -> Certificate:
        """Certify that `public_key` is `party`'s key for `use` (SIGN or SEAL), valid from `now` for `days`.

        Raises:
            ValueError: another use, a malformed party name, or a key on another curve.
        """
        if use is KeyUse.ISSUE:
            raise ValueError("only the root issues")
        if not isinstance(public_key.curve, ec.SECP256R1):
            raise ValueError(f"a P-256 key expected, got {public_key.curve.name}")  # noqa: TRY004 - a value of the type
        not_before, not_after = _span(now, days)
        builder = _builder(
            public_key,
            subject=_name(check_party(party)),
            issuer=self.root.parsed.subject,
            party=party,
            use=use,
            span=(not_before, min(not_after, self.root.not_after)),
            authority_key=self.root.public_key,
        )
        return _signed(builder, self._key)

    def has_issued(self, certificate: Certificate) -> bool:
        """Whether the root's key has signed a certificate; nothing else of it is asked."""
        try:
            certificate.parsed.verify_directly_issued_by(self.root.parsed)
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True

    def issue_tls(
        self, public_key: ec.EllipticCurvePublicKey, *, hosts: Sequence[str], now: datetime, days: int = 90
    ) -> Certificate:
        """Certify a TLS server's key for its host names (RFC 5280 4.2.1.6, 4.2.1.12; RFC 9525 for the names).

        The certificate names no party, so nothing that its key signs counts in the federation.

        Args:
            public_key: P-256 key of the server.
            hosts: DNS names and IP addresses under which clients reach it; the first is the common name.
            now: start of validity.
            days: length of validity, at most the root's.

        Raises:
            ValueError: no host, a name that is not ASCII, or a key on another curve.
        """
        if not hosts:
            raise ValueError("at least one host name expected")
        if not isinstance(public_key.curve, ec.SECP256R1):
            raise ValueError(f"a P-256 key expected, got {public_key.curve.name}")  # noqa: TRY004 - a value of the type
        not_before, not_after = _span(now, days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(hosts[0]))
            .issuer_name(self.root.parsed.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(min(not_after, self.root.not_after))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(KeyUse.SIGN), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root.public_key), critical=False)
        )
        return _signed(builder, self._key)

    def revocation_list(self, revoked: Sequence[tuple[str, datetime, str]], *, number: int, now: datetime) -> bytes:
        """Return the signed revocation list `number`, DER.

        Args:
            revoked: (serial in hex, time of revocation, `RevocationReason`) of every certificate revoked so far.
            number: larger than that of every earlier list.
            now: time of issue; the next list is due 30 days later.

        Raises:
            ValueError: a serial is not hex, or a reason is not one of `RevocationReason`.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.root.parsed.subject)
            .last_update(_second(now))
            .next_update(_second(now) + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root.public_key), critical=False)
        )
        for serial, moment, reason in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(_second(moment))
            if RevocationReason(reason) is not RevocationReason.UNSPECIFIED:  # left out, as RFC 5280 5.3.1 asks
                entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self._key.issuing_key(), hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.DER)


def _second(moment: datetime) -> datetime:
    """X.509 times are UTC and have whole seconds."""
    if moment.tzinfo is None:
        raise ValueError("a time with its zone expected")
    return moment.astimezone(UTC).replace(microsecond=0)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _span(now: datetime, days: int) -> tuple[datetime, datetime]:
    return _second(now) - BACKDATED, _second(now) + timedelta(days=days)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HemaSeal"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    public_key: ec.EllipticCurvePublicKey,
    *,
    subject: x509.Name,
    issuer: x509.Name,
    party: str,
    use: KeyUse,
    span: tuple[datetime, datetime],
    authority_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    issues = use is KeyUse.ISSUE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(span[0])
        .not_valid_after(span[1])
        .add_extension(x509.BasicConstraints(ca=issues, path_length=0 if issues else None), critical=True)
        .add_extension(key_usage(use), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{PARTY_URI}{party}")]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> Certificate:
    certificate = builder.sign(key.issuing_key(), hashes.SHA256())
    return Certificate(certificate.public_bytes(serialization.Encoding.DER))
