"""The measurement of an enclave: one hash of the code it runs and of the libraries it runs on, and one with the model.

It is what the authority approves (`core.diagnosis.approvals`) and what a client compares. A process states it about
itself; only a TEE could prove it.
"""

import hashlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.settings import ROOT

CODE = ("core/diagnosis", "core/imaging", "core/learning", "core/studies", "security")
FILES = ("core/clock.py", "core/errors.py", "core/log_lines.py", "core/settings.py")
SUFFIXES = (".py", ".safetensors")
"""Source, and the fitted numbers that lie beside it."""
LIBRARIES = (
    "ai-edge-litert",
    "cbor2",
    "cryptography",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pycryptodome",
    "pydantic",
)


@dataclass(frozen=True)
class Measurement:
    """What an enclave runs.

    Attributes:
        code_sha256: SHA-256 (hex) over the names and hashes of its files.
        libraries: name and version of each library, of Python and of the machine, ``name version``.
    """

    code_sha256: str
    libraries: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The one hash (hex) that stands for all of it."""
        return _sha256("\n".join(("hemaseal enclave 2", self.code_sha256, *self.libraries)).encode())

    @property
    def libraries_sha256(self) -> str:
        """SHA-256 (hex) of the libraries alone."""
        return _sha256("\n".join(self.libraries).encode())


def measure(root: Path = ROOT) -> Measurement:
    """Return the measurement of the enclave's files below `root` and of the libraries that are installed."""
    digest = hashlib.sha256()
    found = [path for folder in CODE for path in (root / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted([*found, *(root / name for name in FILES)]):
        digest.update(f"{path.relative_to(root).as_posix()} {_sha256(path.read_bytes())}\n".encode())
    libraries = tuple(f"{library} {_version(library)}" for library in LIBRARIES)
    python = f"python {platform.python_version()} {platform.machine()}"
    return Measurement(digest.hexdigest(), (*libraries, python))


def measure_with_model(measurement: str, litert_sha256: str) -> str:
    """Return the SHA-256 (hex) that binds an enclave's measurement to the model that answered."""
    return _sha256(f"{measurement} {litert_sha256}".encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"
