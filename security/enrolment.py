"""Enrolling a party on another machine: a request for certificates, the authority's answer, and its installation.

Private keys never travel. The party makes its keys and sends a request with the public halves; the authority compares
the request's fingerprint over another channel, such as the telephone, and certifies them; the party installs what
comes back once it has compared the root's fingerprint likewise.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from security.authority import ROOT_FILE, CertificateAuthority
from security.certificates import Certificate, Trust
from security.encoding import decode, encode
from security.errors import CertificateRefused
from security.keys import KeyStore, KeyUse, check_party
from security.rollover import NEXT, take_over

USES = (KeyUse.SIGN, KeyUse.SEAL)
_REQUEST = "hemaseal-enrolment-1"
_GRANT = "hemaseal-certificates-1"


@dataclass(frozen=True)
class Request:
    """A party's public keys, signed with the one that signs: proof that whoever asks holds it.

    Attributes:
        party: who asks.
        keys: DER (SubjectPublicKeyInfo) of the keys for signing and for sealing.
        data: the request as it travels.
    """

    party: str
    keys: tuple[bytes, bytes]
    data: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the request, hex: what is compared over another channel."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def make(cls, store: KeyStore, *, new_keys: bool = False) -> Self:
        """Make the party's keys, or take those in use; `new_keys` makes further ones, which count from `install` on.

        Keys of a request that was made before and not answered yet are taken.
        """
        store = store.beside(NEXT) if new_keys else store
        signing, sealing = (store.load(use) if store.has(use) else store.create(use) for use in USES)
        body = encode([_REQUEST, store.party, _der(signing.public_key), _der(sealing.public_key)])
        return cls.read(encode([body, signing.sign(body)]))

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read what `make` made.

        Raises:
            CertificateRefused: damaged, or not signed with the key that it asks a certificate for.
        """
        try:
            body, signature = decode(data)
            kind, party, signing, sealing = decode(body)
            if kind != _REQUEST:
                raise ValueError(kind)  # noqa: TRY301 - one answer to all that is wrong
            _public(signing).verify(signature, body, ec.ECDSA(hashes.SHA256()))
            _public(sealing)
            return cls(check_party(party), (signing, sealing), data)
        except (InvalidSignature, AttributeError, TypeError, ValueError):
            raise CertificateRefused("not a request for certificates") from None


def issue(
    request: Request, authority: CertificateAuthority, crl: bytes, *, now: datetime, days: int = 365
) -> dict[str, bytes]:
    """Certify a request's keys.

    Args:
        request: its fingerprint was compared with what the party says.
        authority: certifies.
        crl: the newest revocation list, DER.
        now: start of validity.
        days: length of validity.

    Returns:
        File name -> content: the party's public files, as `install` takes them and a key folder holds them.
    """
    files = {ROOT_FILE: authority.root.pem, "revoked.crl": crl}
    for use, key in zip(USES, request.keys, strict=True):
        files[f"{use}.crt"] = authority.issue(_public(key), party=request.party, use=use, now=now, days=days).pem
    return files


def pack(files: dict[str, bytes]) -> bytes:
    """Return the files as one."""
    return encode([_GRANT, files])


def install(grant: bytes, store: KeyStore, *, root_fingerprint: str, now: datetime) -> Trust:
    """Write the party's certificates to its key folder; return the root with the revocation list that came along.

    Args:
        grant: what `pack` returned.
        store: the party's keys.
        root_fingerprint: SHA-256 of the root's public key, as the authority says over another channel.
            Where new keys were asked for (`Request.make`), they are in use from now on, and the former ones only open.
        now: the time.

    Raises:
        CertificateRefused: damaged, of another authority, or not for these keys; nothing is written then.
    """
    try:
        kind, files = decode(grant)
        root = Certificate.from_pem(files[ROOT_FILE])
        certificates = [Certificate.from_pem(files[f"{use}.crt"]) for use in USES]
        crl = files["revoked.crl"]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise CertificateRefused("not an authority's answer to a request") from None
    if kind != _GRANT or root.fingerprint != root_fingerprint:
        raise CertificateRefused("these certificates are of another authority")
    trust, coming = Trust(root, crl), store.beside(NEXT)
    keys = coming if all(coming.has(use) for use in USES) else store
    for use, certificate in zip(USES, certificates, strict=True):
        trust.check(certificate, party=store.party, use=use, at=now)
        if certificate.fingerprint != keys.load(use).fingerprint:
            raise CertificateRefused(f"the certificate for '{use}' is not for the key in {keys.folder}")
    for name in (f"{KeyUse.SIGN}.crt", f"{KeyUse.SEAL}.crt", ROOT_FILE):
        coming.write(name, files[name])
    take_over(store)
    return trust


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public(der: bytes) -> ec.EllipticCurvePublicKey:
    key = serialization.load_der_public_key(der)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TypeError("a P-256 key expected")
    return key
