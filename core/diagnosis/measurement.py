"""The measurement of an enclave: one hash of the code it runs and of the libraries it runs on, and one with the model.

It is what an authority approves and what a client compares. A process states it about itself; only a TEE could prove
it.
"""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.settings import ROOT

CODE = ("core/diagnosis", "core/imaging", "core/learning", "core/studies", "security")
FILES = ("core/clock.py", "core/errors.py", "core/settings.py")
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


def measure(root: Path = ROOT) -> str:
    """Return the SHA-256 (hex) of the enclave's source files, the versions of its libraries and of Python."""
    digest = hashlib.sha256(b"hemaseal enclave 1\n")
    sources = [path for folder in CODE for path in (root / folder).rglob("*.py")] + [root / name for name in FILES]
    for path in sorted(sources):
        digest.update(f"{path.relative_to(root).as_posix()} {_sha256(path.read_bytes())}\n".encode())
    for library in LIBRARIES:
        digest.update(f"{library} {_version(library)}\n".encode())
    digest.update(f"python {platform.python_version()} {platform.machine()}\n".encode())
    return digest.hexdigest()


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
