"""A party's next keys and certificates: made beside those in use, put in their place, the former ones destroyed later.

`prepare` writes to the folder ``next``, `take_over` moves it into place and keeps in ``former`` what still has to open
stored objects, `destroy_former` ends that. Each can be repeated after a stop at any point and then goes on: a key that
opens something is never overwritten before it is kept. A former signing key is not kept: nothing needs it.
A certificate that is renewed for the same key is kept as well: sealed objects name the certificate.
"""

import contextlib
import os
import secrets
import shutil
from datetime import datetime
from pathlib import Path

from security.authority import ROOT_FILE, CertificateAuthority
from security.certificates import Certificate
from security.errors import KeyMissing, SecurityError
from security.identity import FORMER, read_certificate
from security.keys import KeyStore, KeyUse
from security.recovery import FILE as RECOVERY_FILE

NEXT, NEXT_ROOT = "next", "next-root"
USES = (KeyUse.SIGN, KeyUse.SEAL)


def prepare(
    store: KeyStore, authority: CertificateAuthority, *, now: datetime, days: int, new_keys: bool
) -> list[Certificate]:
    """Return the party's next certificates, for new keys or for those in use; they count from `take_over` on.

    What an earlier call has made is taken, if this authority issued it.

    Raises:
        SecurityError: only certificates are asked for, and new keys are on their way.
    """
    coming, made = store.beside(NEXT), []
    if not new_keys and any(coming.has(use) for use in USES):
        raise SecurityError(f"new keys of {store.party} are on their way; finish that first")
    for use in USES:
        source = coming if new_keys else store
        if new_keys and not coming.has(use):
            coming.create(use)
        key, certificate = source.load(use), _issued_before(coming, use, authority)
        if certificate is None or certificate.fingerprint != key.fingerprint:
            certificate = authority.issue(key.public_key, party=store.party, use=use, now=now, days=days)
            coming.write(f"{use}.crt", certificate.pem)
        made.append(certificate)
    coming.write(ROOT_FILE, authority.root.pem)
    return made


def is_prepared(store: KeyStore) -> bool:
    """Whether `prepare` is done and `take_over` is not."""
    return (store.folder / NEXT / ROOT_FILE).exists()


def take_over(store: KeyStore) -> None:
    """Put what `prepare` made into place; what opens stored objects so far is kept. Nothing to do is no error."""
    if not is_prepared(store):
        return
    coming = store.beside(NEXT)
    following = read_certificate(coming, f"{KeyUse.SEAL}.crt")
    if (store.folder / f"{KeyUse.SEAL}.crt").exists():  # else these are the party's first
        in_use = read_certificate(store, f"{KeyUse.SEAL}.crt")
        if in_use.serial != following.serial:
            keep_former(store, in_use, has_new_key=coming.has(KeyUse.SEAL))
    for use in USES:
        _replace(coming, store, f"{use}.p8")
        _replace(coming, store, f"{use}.crt")
    _replace(coming, store, ROOT_FILE)
    shutil.rmtree(coming.folder)


def prepare_root(store: KeyStore, now: datetime) -> CertificateAuthority:
    """Return the authority's next root, made beside the one in use; `take_over_root` puts it into place."""
    coming = store.beside(NEXT_ROOT)
    if (coming.folder / ROOT_FILE).exists():
        return CertificateAuthority.open(coming)
    return CertificateAuthority.create(coming, now)


def take_over_root(store: KeyStore) -> None:
    """Put the root of `prepare_root` into place; the former root key is gone then. Nothing to do is no error.

    Recovery shares are of the former key, so their file goes too.
    """
    coming = store.beside(NEXT_ROOT)
    if not (coming.folder / ROOT_FILE).exists():
        return
    for name in (f"{KeyUse.ISSUE}.p8", ROOT_FILE):
        _replace(coming, store, name)
    wipe(store.folder / RECOVERY_FILE)
    shutil.rmtree(coming.folder)


def keep_former(store: KeyStore, certificate: Certificate, *, has_new_key: bool) -> None:
    """Keep the sealing certificate in use, and where another key comes the key too, for opening."""
    kept = store.beside(FORMER, certificate.serial)
    if (kept.folder / f"{KeyUse.SEAL}.crt").exists():  # it was kept whole, and the key in use may be the new one by now
        return
    if has_new_key:
        kept.write(f"{KeyUse.SEAL}.p8", (store.folder / f"{KeyUse.SEAL}.p8").read_bytes())
    kept.write(f"{KeyUse.SEAL}.crt", certificate.pem)


def has_former(store: KeyStore) -> bool:
    """Whether something of before is kept."""
    return (store.folder / FORMER).exists()


def destroy_former(store: KeyStore) -> None:
    """Destroy keys that only open: what was not re-wrapped by now stays closed. Certificates of the key in use stay.

    Overwriting reaches the blocks of plain disks only, as in `security.vault`.
    """
    current = store.load(KeyUse.SEAL).fingerprint
    for folder in sorted((store.folder / FORMER).glob("*/")):
        wipe(folder / f"{KeyUse.SEAL}.p8")
        kept = store.beside(FORMER, folder.name)
        with contextlib.suppress(KeyMissing):
            if read_certificate(kept, f"{KeyUse.SEAL}.crt").fingerprint == current:
                continue
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        (store.folder / FORMER).rmdir()


def wipe(file: Path) -> None:
    """Overwrite a key file and remove it; one that is gone already is no error."""
    with contextlib.suppress(FileNotFoundError):
        with file.open("r+b") as stream:
            stream.write(secrets.token_bytes(file.stat().st_size))
            stream.flush()
            os.fsync(stream.fileno())
        file.unlink()


def _issued_before(coming: KeyStore, use: KeyUse, authority: CertificateAuthority) -> Certificate | None:
    with contextlib.suppress(KeyMissing):
        certificate = read_certificate(coming, f"{use}.crt")
        return certificate if authority.has_issued(certificate) else None
    return None


def _replace(source: KeyStore, target: KeyStore, name: str) -> None:
    """Copy a file, if it is there, whole or not at all; the key that it takes the place of is overwritten."""
    with contextlib.suppress(FileNotFoundError):
        data, current, aside = (source.folder / name).read_bytes(), target.folder / name, target.folder / f".{name}.was"
        if name.endswith(".p8") and current.exists() and current.read_bytes() != data:
            with contextlib.suppress(FileExistsError):  # of a try that was cut off
                os.link(current, aside)
        target.write(name, data)
        wipe(aside)
