"""The trusted authority while it acts: its key store is open inside a ``with`` block and nowhere else.

What it decides is written to the database by the caller's transaction; who may ask for it is checked by the caller.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from sqlmodel import Session, select

from core.clock import Clock
from core.errors import InvalidInput, NotFound
from core.services.app import load_master_key
from core.settings import Settings
from db.models import CertificateRecord, RevocationList
from security.authority import CertificateAuthority, RevocationReason
from security.certificates import Certificate, Trust
from security.identity import Identity
from security.keys import KeyStore, KeyUse

AUTHORITY = "authority"
CERTIFICATE_DAYS = 365
_STATED_USES = (KeyUse.SIGN, KeyUse.SEAL)


@dataclass(frozen=True)
class AuthorityOffice:
    """What the authority can do. Get it from `authority_office`, and let it go with the block.

    Attributes:
        settings: names the folder of key stores.
        clock: tells the time of issue.
        certificates: the root key behind its handle.
        identity: the authority's own signing and sealing keys.
    """

    settings: Settings
    clock: Clock
    certificates: CertificateAuthority
    identity: Identity

    def enrol(self, session: Session, party: str, *, days: int = CERTIFICATE_DAYS) -> None:
        """Make a party's key store, certify its keys, and publish the certificates.

        The demo runs all parties on one machine, so the party's keys are made here in its own folder; the authority
        sees the public halves only.

        Raises:
            SecurityError: the party is enrolled already.
        """
        known = session.exec(select(CertificateRecord).where(CertificateRecord.party == party)).first()
        if known is not None or not has_certificates(self.settings, party):  # else: an enrolment that was cut off
            store = KeyStore(self.settings.keys_dir, party, load_master_key(self.settings))
            Identity.enrol(store, self.certificates, now=self.clock.now(), days=days)
        publish_certificates(session, self.settings, party)

    def revoke(self, session: Session, trust: Trust, serial: str, reason: str) -> int:
        """Revoke a certificate and publish the next revocation list; returns its number.

        The list grows from the signed one before it, never from what rows of the database say was revoked.

        Raises:
            NotFound: no certificate has this serial.
            InvalidInput: it is revoked already, or the reason is none of RFC 5280's.
        """
        record = session.get(CertificateRecord, serial, with_for_update=True)
        if record is None:
            raise NotFound
        entries = revoked_in(trust)
        if serial in {entry[0] for entry in entries}:
            raise InvalidInput("this certificate is revoked already")
        if reason not in {known.value for known in RevocationReason}:
            raise InvalidInput("choose one of the reasons of the list")
        now = self.clock.now()
        record.revoked_at, record.revocation_reason = now, reason
        return self.publish_list(session, trust, [*entries, (serial, now, reason)])

    def publish_list(
        self, session: Session, trust: Trust, entries: list[tuple[str, datetime, str]] | None = None
    ) -> int:
        """Publish the next revocation list (with the same entries unless others are given); returns its number."""
        now, number = self.clock.now(), trust.crl_number + 1
        kept = revoked_in(trust) if entries is None else entries
        der = self.certificates.revocation_list(kept, number=number, now=now)
        session.add(RevocationList(number=number, der=der, issued_at=now))
        session.flush()
        return number


@contextmanager
def authority_office(settings: Settings, clock: Clock) -> Iterator[AuthorityOffice]:
    """Open the authority's key store for the length of the block.

    Raises:
        SettingsError: there is no usable master key.
        KeyMissing: the authority has not been set up.
    """
    store = KeyStore(settings.keys_dir, AUTHORITY, load_master_key(settings))
    yield AuthorityOffice(settings, clock, CertificateAuthority.open(store), Identity.load(store))


def has_certificates(settings: Settings, party: str) -> bool:
    """Tell whether a party's folder holds its two certificates."""
    return all((settings.keys_dir / party / f"{use}.crt").exists() for use in _STATED_USES)


def publish_certificates(session: Session, settings: Settings, party: str) -> int:
    """Write the certificates in a party's folder (public files) to the database; returns how many were new there."""
    folder = settings.keys_dir / party
    files = [(folder / f"{use}.crt").read_bytes() for use in _STATED_USES]
    return sum(note_certificate(session, Certificate.from_pem(pem)) for pem in files)


def note_certificate(session: Session, certificate: Certificate) -> bool:
    """Publish a certificate in the database; tell whether it was new there."""
    if session.get(CertificateRecord, certificate.serial) is not None:
        return False
    session.add(
        CertificateRecord(
            serial=certificate.serial,
            party=certificate.party,
            key_use=certificate.key_use.value,
            pem=certificate.pem.decode(),
            not_after=certificate.not_after,
            issued_at=certificate.not_before,
        )
    )
    return True


def revoked_in(trust: Trust) -> list[tuple[str, datetime, str]]:
    """Return serial (hex), time and reason of every certificate on the revocation list in force."""
    if trust.crl_der is None:
        return []
    entries = []
    for entry in x509.load_der_x509_crl(trust.crl_der):
        reasons = [item.value.reason.value for item in entry.extensions if isinstance(item.value, x509.CRLReason)]
        reason = reasons[0] if reasons else RevocationReason.UNSPECIFIED.value
        entries.append((format(entry.serial_number, "x"), entry.revocation_date_utc.astimezone(UTC), str(reason)))
    return entries


def restore_revocations(session: Session, trust: Trust, now: datetime) -> None:
    """Write the list in force, and what it revokes, to a database that does not have it (a new or restored one)."""
    if trust.crl_der is None or session.get(RevocationList, trust.crl_number) is not None:
        return
    session.add(RevocationList(number=trust.crl_number, der=trust.crl_der, issued_at=now))
    revoked = {serial: (moment, reason) for serial, moment, reason in revoked_in(trust)}
    for record in session.exec(select(CertificateRecord)).all():
        if record.serial in revoked and record.revoked_at is None:
            record.revoked_at, record.revocation_reason = revoked[record.serial]
