"""One party's live identity: a signing key and a sealing key with their certificates, how it is enrolled and read."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Self

from security.authority import ROOT_FILE, CertificateAuthority
from security.certificates import Certificate
from security.errors import CertificateRefused, KeyMissing, SecurityError
from security.keys import KeyStore, KeyUse, PrivateKey, SecretHandle

FORMER = "former"
"""Folder of certificates and opening keys of before, a folder each."""


class Identity(SecretHandle):
    """What a party needs to sign, seal and open; neither copied nor pickled.

    Attributes:
        party: the party's name.
        signing_key: handle with use SIGN, with `signing_certificate`.
        sealing_key: handle with use SEAL, with `sealing_certificate`.
        openers: by certificate serial the keys that open: the one in use, and those of before that were kept.
    """

    __slots__ = ("openers", "party", "sealing_certificate", "sealing_key", "signing_certificate", "signing_key")

    def __init__(
        self,
        *,
        signing_key: PrivateKey,
        signing_certificate: Certificate,
        sealing_key: PrivateKey,
        sealing_certificate: Certificate,
        former: Mapping[str, PrivateKey] = MappingProxyType({}),
    ) -> None:
        """Put keys and certificates together; `former` are sealing keys of before, by serial, which only open.

        Raises:
            CertificateRefused: keys and certificates do not belong together.
        """
        self.party = signing_certificate.party
        for key, certificate, use in (
            (signing_key, signing_certificate, KeyUse.SIGN),
            (sealing_key, sealing_certificate, KeyUse.SEAL),
        ):
            if (
                certificate.party != self.party
                or not key.use is certificate.key_use is use
                or certificate.fingerprint != key.fingerprint
            ):
                raise CertificateRefused(f"key and certificate of '{self.party}' for '{use}' do not belong together")
        self.signing_key = signing_key
        self.signing_certificate = signing_certificate
        self.sealing_key = sealing_key
        self.sealing_certificate = sealing_certificate
        self.openers: Mapping[str, PrivateKey] = {sealing_certificate.serial: sealing_key, **former}

    def __repr__(self) -> str:
        """Say what this is, never what it holds."""
        return f"<Identity {self.party}>"

    @classmethod
    def enrol(cls, store: KeyStore, authority: CertificateAuthority, *, now: datetime, days: int = 365) -> Self:
        """Make the party's keys, have them certified, and write keys, certificates and root to its folder.

        An enrolment that stopped half-way is completed with the keys that are there.

        Raises:
            SecurityError: the party is enrolled already.
        """
        if all((store.folder / f"{use}.crt").exists() for use in (KeyUse.SIGN, KeyUse.SEAL)):
            raise SecurityError(f"{store.party} is enrolled already")
        for use in (KeyUse.SIGN, KeyUse.SEAL):
            key = store.load(use) if store.has(use) else store.create(use)
            certificate = authority.issue(key.public_key, party=store.party, use=use, now=now, days=days)
            store.write(f"{use}.crt", certificate.pem)
            store.write(ROOT_FILE, authority.root.pem)
        return cls.load(store)

    @classmethod
    def load(cls, store: KeyStore) -> Self:
        """Open the party's keys and certificates.

        Raises:
            KeyMissing: a file is missing or does not open under this master key.
            CertificateRefused: a certificate is damaged, or not that of this party and key.
        """
        sealing_key = store.load(KeyUse.SEAL)
        identity = cls(
            signing_key=store.load(KeyUse.SIGN),
            signing_certificate=read_certificate(store, f"{KeyUse.SIGN}.crt"),
            sealing_key=sealing_key,
            sealing_certificate=read_certificate(store, f"{KeyUse.SEAL}.crt"),
            former=_former(store, sealing_key),
        )
        if identity.party != store.party:
            raise CertificateRefused(f"certificates of '{store.party}' expected, got those of '{identity.party}'")
        return identity


def _former(store: KeyStore, current: PrivateKey) -> dict[str, PrivateKey]:
    """Return what opens objects of before, by serial; a renewed certificate's key is the one in use still."""
    keys, certificates = {current.fingerprint: current}, []
    for folder in sorted((store.folder / FORMER).glob("*/")):
        kept = store.beside(FORMER, folder.name)
        if kept.has(KeyUse.SEAL):
            key = kept.load(KeyUse.SEAL)
            keys[key.fingerprint] = key
        if (folder / f"{KeyUse.SEAL}.crt").exists():
            certificates.append(read_certificate(kept, f"{KeyUse.SEAL}.crt"))
    return {one.serial: keys[one.fingerprint] for one in certificates if one.fingerprint in keys}


def load_root(store: KeyStore) -> Certificate:
    """Return the root certificate that the party was given when it was enrolled.

    Raises:
        KeyMissing: there is none.
    """
    return read_certificate(store, ROOT_FILE)


def read_certificate(store: KeyStore, name: str) -> Certificate:
    """Return the certificate in a file of the party's folder.

    Raises:
        KeyMissing: there is none.
    """
    try:
        return Certificate.from_pem((store.folder / name).read_bytes())
    except OSError:
        raise KeyMissing(f"{store.party} has no certificate file {name}") from None
