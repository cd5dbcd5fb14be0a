"""The newest revocation list that a party has seen, kept in its own key folder whatever a database still knows."""

import os
from pathlib import Path

from security.certificates import Certificate, Trust
from security.errors import CertificateRefused

FILE_NAME = "newest.crl"


class NewestList:
    """One party's memory of what the authority revoked."""

    def __init__(self, root: Certificate, folder: Path) -> None:
        """Remember in a folder.

        Args:
            root: the authority's root certificate, from the party's own folder.
            folder: the party's key folder.
        """
        self._root = root
        self._file = folder / FILE_NAME

    def known(self) -> Trust:
        """Return the root with the list that was kept.

        Raises:
            CertificateRefused: there is none yet, or it was changed.
        """
        if not self._file.exists():
            raise CertificateRefused("no revocation list of the authority is known, so anybody may be revoked")
        return Trust(self._root, self._file.read_bytes())

    def take(self, offered: bytes) -> Trust:
        """Keep `offered` (DER, or empty) if it is newer than the list that was kept; return the newer one.

        Raises:
            CertificateRefused: it is not the authority's, or there is none at all.
        """
        if not offered:
            return self.known()
        newer = Trust(self._root, offered)
        if self._file.exists() and self.known().crl_number >= newer.crl_number:
            return self.known()
        draft = self._file.with_name(f".{FILE_NAME}.{os.getpid()}")
        draft.write_bytes(offered)
        draft.replace(self._file)
        return newer
