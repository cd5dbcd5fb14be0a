"""Certificates for other machines, as whoever holds the authority's key issues them at the command line; audited."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import select

from core.errors import InvalidInput
from core.services import audit
from core.services.app import App
from core.services.authority import AUTHORITY, authority_office, publish_certificates
from core.settings import Settings
from db.engine import session_scope
from db.models import CertificateRecord
from security.enrolment import Request, issue, pack
from security.errors import CertificateRefused


def issue_certificates(settings: Settings, request: bytes, *, fingerprint: str, days: int) -> tuple[str, bytes]:
    """Certify the keys of a party that made them on its own machine.

    The public files go to the party's folder here as well: there the admission of the hospital finds them, and makes no
    keys. A party that is known already gets further certificates, which is how they are renewed.

    Args:
        settings: the authority's installation.
        request: as it came.
        fingerprint: what the party read out.
        days: length of validity.

    Returns:
        Fingerprint of the root, for the party to compare, and what `security.enrolment.install` takes.

    Raises:
        InvalidInput: not a request, or not the one whose fingerprint was read out.
        SettingsError: the installation does not start.
    """
    try:
        asked = Request.read(request)
    except CertificateRefused as error:
        raise InvalidInput(str(error)) from error
    if asked.fingerprint != fingerprint.strip().lower():
        raise InvalidInput("this is not the request whose fingerprint was read out")
    app = App.start(settings)
    try:
        with session_scope(app.engine) as session, authority_office(settings, app.clock) as office:
            crl = app.trust(session).crl_der or b""
            files = issue(asked, office.certificates, crl, now=app.clock.now(), days=days)
            folder = settings.keys_dir / asked.party
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("sign.crt", "seal.crt", "root.crt"):
                (folder / name).write_bytes(files[name])
            known = select(CertificateRecord.serial).where(CertificateRecord.party == asked.party)
            if session.exec(known).first() is not None:
                publish_certificates(session, settings, asked.party)
            audit.append(app, session, AUTHORITY, "certificate.issue", object_id=asked.party)
            return office.certificates.root.fingerprint, pack(files)
    finally:
        app.engine.dispose()


def issue_tls(settings: Settings, request: bytes, *, hosts: Sequence[str], days: int) -> tuple[bytes, bytes]:
    """Certify a TLS server's key.

    Args:
        settings: the authority's installation.
        request: PKCS #10 (RFC 2986), PEM; the names in it do not count.
        hosts: the names that do.
        days: length of validity.

    Returns:
        The certificate and the root, PEM.

    Raises:
        InvalidInput: not a request with a P-256 key and its signature, or no host.
        SettingsError: the installation does not start.
    """
    try:
        asked = x509.load_pem_x509_csr(request)
        key = asked.public_key()
    except ValueError as error:
        raise InvalidInput("not a certificate request (PKCS #10, PEM)") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not asked.is_signature_valid:
        raise InvalidInput("a request with a P-256 key, signed with it, is needed")
    app = App.start(settings)
    try:
        with session_scope(app.engine) as session, authority_office(settings, app.clock) as office:
            try:
                issued = office.certificates.issue_tls(key, hosts=hosts, now=app.clock.now(), days=days)
            except ValueError as error:
                raise InvalidInput(str(error)) from error
            audit.append(app, session, AUTHORITY, "certificate.issue-tls", object_id=hosts[0])
            return issued.pem, office.certificates.root.pem
    finally:
        app.engine.dispose()
