"""TLS 1.3 (RFC 8446) between two parties, each under its own signing certificate: nobody else listens or speaks.

Names of machines play no part: what counts is the party that the certificate names. OpenSSL checks that the root issued
it and that its holder is there; `check_peer` says whose it has to be, and that it is not revoked. A signature of the
handshake covers a text of its own (RFC 8446 4.4.3), so that it can be taken for none of the project's, nor they for it.
"""

import ssl
from datetime import datetime

from security.certificates import Certificate, Trust
from security.identity import load_root
from security.keys import KeyStore, KeyUse


def tls_context(store: KeyStore, *, server: bool) -> ssl.SSLContext:
    """Return what opens (or as `server` accepts) connections as the party of `store`, to parties of the same root.

    Raises:
        KeyMissing: key, certificate or root is missing, or does not open under this master key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # certificates name parties; `check_peer` compares
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=load_root(store).pem.decode())
    store.lend_to(context, f"{KeyUse.SIGN}.crt")
    if server:
        context.num_tickets = 0  # each connection proves anew who is there
    return context


def check_peer(connection: ssl.SSLSocket, *, trust: Trust, party: str, at: datetime) -> None:
    """Check who is at the other end of a connection, before anything is said.

    Raises:
        CertificateRefused: another party, or its certificate is revoked or does not hold at `at`.
    """
    shown = connection.getpeercert(binary_form=True) or b""
    trust.check(Certificate(shown), party=party, use=KeyUse.SIGN, at=at)
