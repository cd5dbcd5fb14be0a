"""One party's live identity: a signing key and a sealing key with their certificates, how it is enrolled and read."""

from datetime import datetime
from typing import Self

from security.authority import ROOT_FILE, CertificateAuthority
from security.certificates import Certificate
from security.errors import CertificateRefused, KeyMissing, SecurityError
from security.keys import KeyStore, KeyUse, PrivateKey, SecretHandle


class Identity(SecretHandle):
    """What a party needs to sign, seal and open; neither copied nor pickled.

    Attributes:
        party: the party's name.
        signing_key: handle with use SIGN, with `signing_certificate`.
        sealing_key: handle with use SEAL, with `sealing_certificate`.
    """

    __slots__ = ("party", "sealing_certificate", "sealing_key", "signing_certificate", "signing_key")

    def __init__(
        self,
        *,
        signing_key: PrivateKey,
        signing_certificate: Certificate,
        sealing_key: PrivateKey,
        sealing_certificate: Certificate,
    ) -> None:
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
        identity = cls(
            signing_key=store.load(KeyUse.SIGN),
            signing_certificate=_read(store, f"{KeyUse.SIGN}.crt"),
            sealing_key=store.load(KeyUse.SEAL),
            sealing_certificate=_read(store, f"{KeyUse.SEAL}.crt"),
        )
        if identity.party != store.party:
            raise CertificateRefused(f"certificates of '{store.party}' expected, got those of '{identity.party}'")
        return identity


def load_root(store: KeyStore) -> Certificate:
    """Return the root certificate that the party was given when it was enrolled.

    Raises:
        KeyMissing: there is none.
    """
    return _read(store, ROOT_FILE)


def _read(store: KeyStore, name: str) -> Certificate:
    try:
        return Certificate.from_pem((store.folder / name).read_bytes())
    except OSError:
        raise KeyMissing(f"{store.party} has no certificate file {name}") from None
