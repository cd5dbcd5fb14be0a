"""Private keys as handles, and the folder in which one party keeps them encrypted. The only module that sees key bytes.

A handle can sign or unwrap; it cannot be printed, copied, pickled or exported. Python cannot promise to wipe a key
from memory: what protects it there is the process that holds it.
"""

import contextlib
import re
import secrets
import ssl
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from security import hpke
from security.encoding import encode
from security.errors import KeyMissing, SecurityError
from security.private_files import write_private

KEY_BYTES = 32
POINT_BYTES = 65  # uncompressed P-256 point, the only form of RFC 9180 for DHKEM(P-256)
UNCOMPRESSED = 4  # first byte of such a point (SEC 1, 2.3.3)
NONCE_BYTES = 12
_PARTY = re.compile(r"[a-z0-9][a-z0-9-]{0,47}(\.[a-z]{1,15})?")
_ECDSA = ec.ECDSA(hashes.SHA256())
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")


class KeyUse(StrEnum):
    """One key, one use: the certificate states it and every operation checks it."""

    SIGN = "sign"
    SEAL = "seal"
    ISSUE = "issue"  # the authority's root key: certificates and revocation lists only


class SecretHandle:
    """Something that holds a secret: no pickle, no copy, no printing."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError(f"{type(self).__name__} holds a secret and can be neither copied nor pickled")

    def __repr__(self) -> str:
        """Say what this is, never what it holds."""
        return f"<{type(self).__name__}>"


def hkdf(secret: bytes, *, info: bytes, salt: bytes | None = None, length: int = KEY_BYTES) -> bytes:
    """Derive `length` bytes by HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def check_party(party: str) -> str:
    """Return `party` if it is a well-formed party name, such as ``authority`` or ``north.training``.

    Raises:
        ValueError: it is not (party names become folder names and certificate names).
    """
    if not _PARTY.fullmatch(party):
        raise ValueError(f"a party name such as 'north.training' expected, got {party!r}")
    return party


def folders_of_parties(keys_dir: Path) -> list[str]:
    """Return the parties that have a folder there, sorted; a folder of another name (``lost+found``) is nobody's."""
    return sorted(one.name for one in keys_dir.glob("*/") if _PARTY.fullmatch(one.name))


def fingerprint(public_key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of the public key's SubjectPublicKeyInfo, hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


class MasterKey(SecretHandle):
    """The installation's 256-bit master key, from the environment or from the demo's key file."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a master key of {KEY_BYTES} bytes expected, got {len(key)}")
        self._key = key

    @classmethod
    def load(cls, *, secret: str | None, file: Path, create: bool = False) -> Self:
        """Take the key from `secret` (64 hex digits) or else from `file`, which is made first if `create`.

        Raises:
            KeyMissing: neither is there, the text is not 64 hex digits, or others may read the file.
        """
        if secret:
            return cls(_parse_master(secret, "the master key setting"))
        if create and not file.exists():
            with contextlib.suppress(FileExistsError):  # another process was first; its key counts
                write_private(file, secrets.token_hex(KEY_BYTES).encode() + b"\n", exclusive=True)
        try:
            mode, text = file.stat().st_mode, file.read_text(encoding="ascii", errors="replace")
        except OSError:
            raise KeyMissing(f"no master key: set HEMASEAL_MASTER_KEY or provide {file}") from None
        if mode & 0o077:
            raise KeyMissing(f"the master key file {file} may be read by others; set its mode to 0600")
        return cls(_parse_master(text, str(file)))

    def passphrase_for(self, party: str) -> bytes:
        """Return the passphrase of one party's folder; it reveals neither the master key nor another party's."""
        return hkdf(self._key, info=b"hemaseal/keystore/" + check_party(party).encode())


def _parse_master(text: str, source: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise KeyMissing(f"{source} is not 64 hex digits")
    return bytes.fromhex(text.strip())


class PrivateKey(SecretHandle):
    """A P-256 private key that does one thing: sign, unwrap or issue.

    Attributes:
        use: what the key may do.
        public_key: the public half.
        fingerprint: SHA-256 of the public half, hex.
    """

    __slots__ = ("_key", "fingerprint", "public_key", "use")

    def __init__(self, key: ec.EllipticCurvePrivateKey, use: KeyUse) -> None:
        if not isinstance(key.curve, ec.SECP256R1):
            raise KeyMissing(f"a P-256 key expected, got {key.curve.name}")
        self._key = key
        self.use = use
        self.public_key = key.public_key()
        self.fingerprint = fingerprint(self.public_key)

    def __repr__(self) -> str:
        """Say what this is, never what it holds."""
        return f"<PrivateKey {self.use} {self.fingerprint[:16]}>"

    def _require(self, use: KeyUse) -> None:
        if self.use is not use:
            raise SecurityError(f"a key for '{use}' expected, got one for '{self.use}'")

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA P-256/SHA-256 signature (DER) of `message`; for keys with use SIGN."""
        self._require(KeyUse.SIGN)
        return self._key.sign(message, _ECDSA)

    def unwrap(self, enc: bytes, wrapped: bytes, *, info: bytes, aad: bytes) -> bytes:
        """Open one HPKE message (RFC 9180 6.1, base mode, DHKEM(P-256), HKDF-SHA256, AES-256-GCM); use SEAL.

        Raises:
            ValueError: it was not wrapped to this key with this info and aad.
        """
        self._require(KeyUse.SEAL)
        return hpke.open_sealed(enc, wrapped, self._key, info=info, aad=aad)

    def issuing_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key for `cryptography.x509` builders; for keys with use ISSUE, in `security.authority` only."""
        self._require(KeyUse.ISSUE)
        return self._key


def wrap(secret: bytes, public_key: ec.EllipticCurvePublicKey, *, info: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Wrap `secret` to `public_key` by HPKE (suite of `PrivateKey.unwrap`) and return (encapsulation, ciphertext)."""
    return hpke.seal(secret, public_key, info=info, aad=aad)


class KeyStore(SecretHandle):
    """One party's folder of private keys (encrypted PKCS#8) and small secrets; the master key is not kept.

    Attributes:
        party: the party it belongs to.
        folder: ``root/party``, mode 0700.
    """

    __slots__ = ("_passphrase", "folder", "party")

    def __init__(self, root: Path, party: str, master: MasterKey) -> None:
        self.party = check_party(party)
        self.folder = root / party
        self._passphrase = master.passphrase_for(party)

    def __repr__(self) -> str:
        """Say what this is, never what it holds."""
        return f"<KeyStore {self.party}>"

    def beside(self, *names: str) -> "KeyStore":
        """Return the same party's store in a folder below its own: for keys that come or go (`security.rollover`).

        Raises:
            ValueError: a name that is no plain folder name.
        """
        store = object.__new__(KeyStore)
        store.party, store._passphrase = self.party, self._passphrase
        store.folder = self.folder.joinpath(*(_secret_name(name) for name in names))
        return store

    def has(self, use: KeyUse) -> bool:
        """Whether the party has a private key for `use`."""
        return self._key_file(use).exists()

    def create(self, use: KeyUse) -> PrivateKey:
        """Make a new key pair and keep it encrypted.

        Raises:
            SecurityError: there is one already; overwriting it would lose everything sealed to it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        self._keep(key, use)
        return PrivateKey(key, use)

    def escrowed(self, use: KeyUse, secret: bytes) -> bytes:
        """Return the private key for `use` encrypted (PKCS#8, PEM) under `secret`, of 32 random bytes.

        Raises:
            KeyMissing: as in `load`.
        """
        return _encrypted(self._open(use), secret)

    def restore(self, use: KeyUse, escrowed: bytes, secret: bytes) -> None:
        """Keep the key that `escrowed` returned, encrypted under this party's secret.

        Raises:
            ValueError: it does not open with `secret`, or is no elliptic-curve key.
            SecurityError: there is a key for `use` already.
        """
        key = serialization.load_pem_private_key(escrowed, secret.hex().encode())
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("an elliptic-curve key expected")  # noqa: TRY004 - as for all else that it may hold
        self._keep(key, use)

    def load(self, use: KeyUse) -> PrivateKey:
        """Open a private key.

        Raises:
            KeyMissing: there is none, or it does not open under this master key.
        """
        return PrivateKey(self._open(use), use)

    def lend_to(self, context: ssl.SSLContext, certificate: str) -> None:
        """Let TLS connections of `context` sign with the key for SIGN; OpenSSL reads it from its encrypted file.

        Args:
            context: of one end of the connections.
            certificate: name of the file in the folder that holds the key's certificate (PEM).

        Raises:
            KeyMissing: key or certificate is missing, does not open under this master key, or they do not fit.
        """
        try:
            file = self._key_file(KeyUse.SIGN)
            context.load_cert_chain(self.folder / certificate, file, password=self._passphrase.hex())
        except (OSError, ValueError):
            raise KeyMissing(f"{self.party} has no signing key with its certificate that opens for TLS") from None

    def _open(self, use: KeyUse) -> ec.EllipticCurvePrivateKey:
        try:
            pem = self._key_file(use).read_bytes()
            key = serialization.load_pem_private_key(pem, self._passphrase.hex().encode())
        except OSError:
            raise KeyMissing(f"{self.party} has no key for '{use}'") from None
        except (ValueError, TypeError):
            raise KeyMissing(f"the key of {self.party} for '{use}' does not open under this master key") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyMissing(f"the key of {self.party} for '{use}' is not an elliptic-curve key")
        return key

    def _keep(self, key: ec.EllipticCurvePrivateKey, use: KeyUse) -> None:
        try:
            self.write(self._key_file(use).name, _encrypted(key, self._passphrase), exclusive=True)
        except FileExistsError:
            raise SecurityError(f"{self.party} has a key for '{use}' already") from None

    def save_secret(self, name: str, value: bytes) -> None:
        """Keep a small secret under `name`, AES-256-GCM under the party's secret; an older one is replaced."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        self.write(f"{_secret_name(name)}.secret", nonce + self._secrets().encrypt(nonce, value, self._aad(name)))

    def load_secret(self, name: str) -> bytes:
        """Return the secret kept under `name`.

        Raises:
            KeyMissing: there is none, it was changed, or it does not open under this master key.
        """
        try:
            data = (self.folder / f"{_secret_name(name)}.secret").read_bytes()
        except OSError:
            raise KeyMissing(f"{self.party} has no secret '{name}'") from None
        try:
            return self._secrets().decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._aad(name))
        except (InvalidTag, ValueError):
            raise KeyMissing(f"the secret '{name}' of {self.party} does not open under this master key") from None

    def write(self, name: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file of the folder in one step (mode 0600); `exclusive` raises FileExistsError if it exists."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.folder / name, data, exclusive=exclusive)

    def _key_file(self, use: KeyUse) -> Path:
        return self.folder / f"{use.value}.p8"

    def _secrets(self) -> AESGCM:
        return AESGCM(hkdf(self._passphrase, info=b"hemaseal/keystore-secrets"))

    def _aad(self, name: str) -> bytes:
        return encode([self.party, name])


def _encrypted(key: ec.EllipticCurvePrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.hex().encode()),
    )


def _secret_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a secret's name of small letters, digits and hyphens expected, got {name!r}")
    return name
