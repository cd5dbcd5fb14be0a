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
_LEFTOVERS = {"Thumbs.db", "desktop.ini"}
# NotImplementedError is what zipfile raises for a compression or encryption that it does not know.
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

    def names(self) -> list[str]:
        """Return the paths of all files, sorted, without what operating systems leave behind.

        Raises:
            DatasetRefused: there are too many.
        """
        ...

    def stamp(self, path: str) -> str:
        """Return a short text that changes when the file does; "" when there is no such file."""
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

    def names(self) -> list[str]:
        """See `ImageSource.names`."""
        found: list[str] = []
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                found.append(path.relative_to(self.root).as_posix())
                if len(found) > MAX_ENTRIES:
                    raise DatasetRefused(f"the folder holds more than {MAX_ENTRIES} files")
        return _without_leftovers(found)

    def stamp(self, path: str) -> str:
        """See `ImageSource.stamp`: size and time of the last change."""
        try:
            status = (self.root / path).stat()
        except OSError:
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}"


@dataclass(frozen=True)
class ZipSource:
    """A zip file, with an ``index.csv`` at the top or in one folder, or without one.

    Attributes:
        archive: the opened zip.
        prefix: the name of the folder of the ``index.csv`` with its slash, or "".
    """

    archive: zipfile.ZipFile
    prefix: str

    @classmethod
    def open(cls, file: BinaryIO) -> "ZipSource":
        """Open a zip from an untrusted, seekable file; nothing is unpacked yet.

        Raises:
            DatasetRefused: not a zip, encrypted, with names that leave it or come twice, without a file, or such that
                unpacking it would take too much (zip bomb).
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
        if indices:
            return cls(archive, indices[0].removesuffix(INDEX_NAME))
        if not _without_leftovers(names):
            raise DatasetRefused("there is no file in the zip")
        return cls(archive, "")

    def read(self, path: str, limit: int) -> bytes:
        """See `ImageSource.read`; what an entry declares about its size is not believed."""
        try:
            with self.archive.open(self.prefix + path) as file:
                return file.read(limit + 1)
        except KeyError:
            raise FileNotFoundError(path) from None
        except _DAMAGE as error:
            raise OSError(path) from error

    def names(self) -> list[str]:
        """See `ImageSource.names`."""
        entries = [entry.filename for entry in self.archive.infolist() if not entry.is_dir()]
        inside = [name for name in entries if name.startswith(self.prefix)]
        return _without_leftovers([name.removeprefix(self.prefix) for name in inside])

    def stamp(self, path: str) -> str:
        """See `ImageSource.stamp`: size and check sum, as the zip states them."""
        try:
            entry = self.archive.getinfo(self.prefix + path)
        except KeyError:
            return ""
        return f"{entry.file_size}-{entry.CRC}"


def _without_leftovers(names: list[str]) -> list[str]:
    """Return the names, sorted, without hidden files and those that operating systems put into folders and zips."""
    return sorted(
        name
        for name in names
        if not any(part.startswith((".", "__MACOSX")) or part in _LEFTOVERS for part in name.split("/"))
    )


def as_source(place: Path | ImageSource) -> ImageSource:
    """Return `place` itself, or the folder of that path as a source."""
    return FolderSource(place.resolve()) if isinstance(place, Path) else place
