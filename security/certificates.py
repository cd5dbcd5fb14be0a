"""Certificates (X.509, RFC 5280) and the trust anchor that checks them, revocation included."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from security.errors import CertificateRefused
from security.keys import KeyUse, check_party, fingerprint

PARTY_URI = "urn:hemaseal:"
_REMEMBERED = 4096
_MALFORMED = (
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Certificate:
    """One party's public key for one use, as the authority certified it.

    Attributes:
        der: the certificate, DER. Reading a field of a malformed one raises `CertificateRefused`.
    """

    der: bytes

    @classmethod
    def from_pem(cls, pem: bytes | str) -> Self:
        """Read a PEM certificate.

        Raises:
            CertificateRefused: it is none.
        """
        data = pem.encode() if isinstance(pem, str) else pem
        try:
            return cls(x509.load_pem_x509_certificate(data).public_bytes(serialization.Encoding.DER))
        except _MALFORMED:
            raise CertificateRefused("not a PEM certificate") from None

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.parsed.public_bytes(serialization.Encoding.PEM)

    @cached_property
    def parsed(self) -> x509.Certificate:
        """The parsed X.509 certificate."""
        try:
            return x509.load_der_x509_certificate(self.der)
        except _MALFORMED:
            raise CertificateRefused("not an X.509 certificate") from None

    @cached_property
    def party(self) -> str:
        """The party, from the one subject alternative name ``urn:hemaseal:<party>`` (RFC 5280 4.2.1.6)."""
        try:
            names = self.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
            return check_party(uri.removeprefix(PARTY_URI) if uri.startswith(PARTY_URI) else "")
        except _MALFORMED:
            raise CertificateRefused("the certificate does not name one party") from None

    @cached_property
    def key_use(self) -> KeyUse:
        """The one use that the key usage extension allows (RFC 5280 4.2.1.3)."""
        try:
            usage = self.parsed.extensions.get_extension_for_class(x509.KeyUsage).value
        except _MALFORMED:
            raise CertificateRefused("the certificate does not state a key usage") from None
        allowed = [use for use in KeyUse if usage == key_usage(use)]
        if not allowed:
            raise CertificateRefused("the certificate allows another mix of uses than signing, sealing or issuing")
        return allowed[0]

    @property
    def serial(self) -> str:
        """The serial number, hex, at most 40 digits."""
        return format(self.parsed.serial_number, "x")

    @property
    def not_before(self) -> datetime:
        """Start of validity, UTC."""
        return self.parsed.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """End of validity, UTC."""
        return self.parsed.not_valid_after_utc

    @cached_property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The P-256 public key."""
        try:
            key = self.parsed.public_key()
        except _MALFORMED:
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise CertificateRefused("the certificate does not hold a P-256 key")
        return key

    @cached_property
    def sha256(self) -> bytes:
        """SHA-256 of the certificate's DER: what an order names it by."""
        return hashlib.sha256(self.der).digest()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, hex; equals `PrivateKey.fingerprint` of its private half."""
        return fingerprint(self.public_key)


@dataclass(frozen=True)
class _Admitted:
    """A certificate of which the authority has said whose it is and what for, and what else is asked each time."""

    certificate: Certificate
    party: str
    use: KeyUse
    serial: int
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class Trust:
    """The authority's root and its newest revocation list; everything that arrives is checked against it.

    A revoked certificate is refused whatever it signed and whenever: envelopes carry no time that a thief of the key
    could not have chosen. A list past its ``nextUpdate`` stays in force, since an old list is better than none; what
    an attacker gains by withholding a newer one ends where `with_crl` has seen it.

    Attributes:
        root: the authority's root certificate, the trust anchor.
        crl_der: its revocation list, DER, or None before the first one exists.
        named: SHA-256 of signing certificates, with whose they are, as the authority has named them in an order whose
            signature has been verified. They need no second proof that they were issued; time and revocation they do.
        stored: whether this is asked of something that was stored (`for_stored`).
    """

    root: Certificate
    crl_der: bytes | None = None
    named: Mapping[bytes, str] = field(default_factory=dict, compare=False)
    stored: bool = False

    def __post_init__(self) -> None:
        """Check the anchor and the list.

        Raises:
            CertificateRefused: the root is not an issuing certificate, or the list is not the root's.
        """
        if self.root.key_use is not KeyUse.ISSUE:
            raise CertificateRefused("the root certificate is not one that issues")
        _ = self.crl_number

    def check(self, certificate: Certificate, *, party: str | None, use: KeyUse, at: datetime) -> Certificate:
        """Return `certificate` if it may be used; `party` None accepts any party.

        Raises:
            CertificateRefused: not issued by the root, not valid at `at`, another use or party, or revoked.
            ValueError: `at` has no time zone.
        """
        if at.tzinfo is None:
            raise ValueError("a time with its zone expected")
        checked = self._issued.get(certificate.der) or self._admit(certificate)
        own = checked.not_before, max(checked.not_after, at) if self.stored else checked.not_after
        for holder, (begin, end) in (("authority", self._valid), ("certificate", own)):
            if not begin <= at <= end:
                raise CertificateRefused(f"the {holder}'s certificate is not valid at {at.isoformat()}")
        if checked.use is not use:
            raise CertificateRefused(f"a certificate for '{use}' expected, got one for '{checked.use}'")
        if party is not None and checked.party != party:
            raise CertificateRefused(f"a certificate of '{party}' expected, got one of '{checked.party}'")
        if checked.serial in self._revoked:
            raise CertificateRefused(f"the certificate of '{checked.party}' is revoked")
        return checked.certificate

    def check_issued(self, certificate: Certificate) -> None:
        """Check that the authority issued a certificate, also one that has ended or was revoked: whose it was.

        Raises:
            CertificateRefused: it did not.
        """
        _ = self._issued.get(certificate.der) or self._admit(certificate)

    def for_stored(self) -> "Trust":
        """Return this trust for objects that were stored while their signers' certificates held.

        A certificate that has ended since counts then, a revoked one never, and `security.sealing` takes what a
        recipient has vouched for. Ask it only of what somebody has verified before storing it, or has signed for just
        now: the end of a certificate alone no longer keeps out who stole its key and can store things. Revoke the
        certificate of a key that leaked, also when it has ended.
        """
        return self if self.stored else self._for_stored

    def for_now(self) -> "Trust":
        """Return this trust for what is made now: a certificate that has ended does not count, whatever is stored."""
        return replace(self, stored=False) if self.stored else self

    def _admit(self, certificate: Certificate) -> _Admitted:
        """Find out once whether the authority stands behind a certificate: an order names it, or its root issued it."""
        named = self.named.get(certificate.sha256)
        if named is None:
            try:
                certificate.parsed.verify_directly_issued_by(self.root.parsed)
            except _MALFORMED:
                raise CertificateRefused("the certificate was not issued by this authority") from None
        _ = certificate.public_key
        admitted = _Admitted(
            certificate=certificate,
            party=certificate.party if named is None else named,
            use=certificate.key_use if named is None else KeyUse.SIGN,
            serial=certificate.parsed.serial_number,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
        )
        if len(self._issued) >= _REMEMBERED:
            self._issued.clear()
        self._issued[certificate.der] = admitted
        return admitted

    def is_revoked(self, serial: str) -> bool:
        """Return whether the newest list names this serial number (hex, as `Certificate.serial`)."""
        return int(serial, 16) in self._revoked

    def with_crl(self, der: bytes) -> "Trust":
        """Return this trust with the given list.

        Raises:
            CertificateRefused: the list is not the root's, or its number is lower than the one in force.
        """
        newer = replace(self, crl_der=der)
        if newer.crl_number < self.crl_number:
            raise CertificateRefused(f"revocation list {newer.crl_number} is older than {self.crl_number}")
        return newer

    @cached_property
    def crl_number(self) -> int:
        """Number of the revocation list (RFC 5280 5.2.3), -1 without one."""
        if self._crl is None:
            return -1
        try:
            return self._crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except _MALFORMED:
            raise CertificateRefused("the revocation list has no number") from None

    @cached_property
    def _crl(self) -> x509.CertificateRevocationList | None:
        if self.crl_der is None:
            return None
        try:
            crl = x509.load_der_x509_crl(self.crl_der)
            genuine = crl.issuer == self.root.parsed.subject and crl.is_signature_valid(self.root.public_key)
        except _MALFORMED:
            genuine = False
        if not genuine:
            raise CertificateRefused("the revocation list is not this authority's")
        return crl

    @cached_property
    def _for_stored(self) -> "Trust":
        return replace(self, stored=True)

    @cached_property
    def _valid(self) -> tuple[datetime, datetime]:
        return self.root.not_before, self.root.not_after

    @cached_property
    def _issued(self) -> dict[bytes, _Admitted]:
        """Certificates that the authority stands behind; time, use, party and revocation are asked anew."""
        return {}

    @cached_property
    def _revoked(self) -> frozenset[int]:
        return frozenset() if self._crl is None else frozenset(entry.serial_number for entry in self._crl)


def key_usage(use: KeyUse) -> x509.KeyUsage:
    """Return the key usage extension of a use: digitalSignature, keyAgreement, or keyCertSign with cRLSign."""
    return x509.KeyUsage(
        digital_signature=use is KeyUse.SIGN,
        key_agreement=use is KeyUse.SEAL,
        key_cert_sign=use is KeyUse.ISSUE,
        crl_sign=use is KeyUse.ISSUE,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )
