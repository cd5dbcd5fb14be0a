"""Where tables were made and from what: machine, libraries, commit, and one hash of the data."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from core.imaging.datasets import Progress, Record
from core.settings import ROOT

LIBRARIES = ("numpy", "tensorflow", "keras", "ai-edge-litert", "opencv-python-headless", "scikit-learn", "cryptography")


def environment() -> dict[str, object]:
    """Return what another laboratory would ask about the machine."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def commit() -> str:
    """Return the commit of the code, marked where files differ from it; "unknown" outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} with changes" if changed else head


def data_sha256(folder: Path, records: Sequence[Record], progress: Progress = lambda _done, _total: None) -> str:
    """Return one hash over path, label, patient and content of the images, in the order of their paths.

    A file that cannot be read counts as such.
    """
    digest = hashlib.sha256(b"hemaseal/tables/data/1\n")
    for done, record in enumerate(sorted(records, key=lambda one: one.path), 1):
        try:
            content = hashlib.sha256((folder / record.path).read_bytes()).hexdigest()
        except OSError:
            content = "unreadable"
        digest.update(f"{record.path}\t{record.label}\t{record.patient}\t{content}\n".encode())
        progress(done, len(records))
    return digest.hexdigest()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
