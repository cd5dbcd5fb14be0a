"""Where a data set's files come from: a folder, or a zip file that is read in memory and never unpacked to disk."""

import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from core.errors import DatasetRefused

INDEX_NAME = "index.csv"
MAX_ENTRIES = 200_000
MAX_UNPACKED = 4 * 2**30
MAX_RATIO = 100  # unpacked over packed; pictures are compressed already and stay near 1
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError, EOFError, ValueError)


class ImageSource(Protocol):
    """Anything that holds an ``index.csv`` and the files that it names."""

    def read(self, path: str, limit: int) -> bytes:
        """Return a file's bytes, at most `limit` + 1 of them, so that the caller sees when it is longer.

        Raises:
            FileNotFoundError: there is no such file inside the source.
            OSError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class FolderSource:
    """A folder on this machine; links that lead out of it are not followed.

    Attributes:
        root: the resolved folder.
    """

    root: Path

    def read(self, path: str, limit: int) -> bytes:
        """See `ImageSource.read`."""
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root) or not found.is_file():
            raise FileNotFoundError(path)
        with found.open("rb") as file:
            return file.read(limit + 1)


@dataclass(frozen=True)
class ZipSource:
    """A zip file whose ``index.csv`` lies at the top or in one folder.

    Attributes:
        archive: the opened zip.
        prefix: the folder's name with its slash, or "".
    """

    archive: zipfile.ZipFile
    prefix: str

    @classmethod
    def open(cls, file: BinaryIO) -> "ZipSource":
        """Open a zip from an untrusted, seekable file; nothing is unpacked yet.

        Raises:
            DatasetRefused: not a zip, encrypted, with names that leave it or come twice, without an index, or such
                that unpacking it would take too much (zip bomb).
        """
        try:
            archive = zipfile.ZipFile(file)
        except (*_DAMAGE, OSError):
            raise DatasetRefused("the file is not a zip archive, or it is damaged") from None
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        names = [entry.filename for entry in entries]
        if len(entries) > MAX_ENTRIES:
            raise DatasetRefused(f"the zip holds more than {MAX_ENTRIES} files")
        if len(set(names)) != len(names):
            raise DatasetRefused("the zip holds two files of one name")
        if any(".." in PurePosixPath(name).parts or name.startswith("/") or "\\" in name for name in names):
            raise DatasetRefused("a name in the zip leads out of it")
        if any(entry.flag_bits & 1 for entry in entries):
            raise DatasetRefused("the zip is protected by a password")
        unpacked, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
        if unpacked > MAX_UNPACKED or unpacked > MAX_RATIO * max(packed, 1) + 2**20:
            raise DatasetRefused("unpacking the zip would take too much space")
        indices = sorted((name for name in names if PurePosixPath(name).name == INDEX_NAME), key=lambda n: n.count("/"))
        if not indices:
            raise DatasetRefused(f"there is no {INDEX_NAME} in the zip")
        return cls(archive, indices[0].removesuffix(INDEX_NAME))

    def read(self, path: str, limit: int) -> bytes:
        """See `ImageSource.read`; what an entry declares about its size is not believed."""
        try:
            with self.archive.open(self.prefix + path) as file:
                return file.read(limit + 1)
        except KeyError:
            raise FileNotFoundError(path) from None
        except _DAMAGE as error:
            raise OSError(path) from error


def as_source(place: Path | ImageSource) -> ImageSource:
    """Return `place` itself, or the folder of that path as a source."""
    return FolderSource(place.resolve()) if isinstance(place, Path) else place
