"""What the processes of an installation hold in memory, read from Linux's ``/proc``, in MiB.

*Resident* is VmRSS: shared pages count in each process that maps them. *Peak* is VmHWM, the most that a process ever
had resident. *Proportional* is Pss of ``smaps_rollup``: a shared page counts once over all that map it. Enclaves are
not dumpable, so that only root reads theirs.
"""

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_KINDS = {"streamlit": "app", "core.diagnosis.enclave": "enclave", "federated.worker": "worker"}


@dataclass(frozen=True)
class Memory:
    """Memory of one process in MiB; `proportional` is None where the system does not tell."""

    resident: float
    peak: float
    proportional: float | None


def end_tidily() -> None:
    """Let SIGTERM end this process as an exception does: what it has started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def memory(pid: int) -> Memory:
    """Read what a process holds.

    Raises:
        OSError: there is no such process.
    """
    status = _fields(PROC / str(pid) / "status")
    try:
        proportional = _fields(PROC / str(pid) / "smaps_rollup").get("Pss")
    except PermissionError:
        proportional = None
    return Memory(status.get("VmRSS", 0.0), status.get("VmHWM", 0.0), proportional)


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return _fields(PROC / str(pid) / "status").get("VmRSS", 0.0)


def own(pid: int) -> float:
    """Return what of a process's resident memory no file stands behind, in MiB: what it has made, not its program."""
    fields = _fields(PROC / str(pid) / "status")
    return fields.get("RssAnon", 0.0) + fields.get("RssShmem", 0.0)


def processor_s(pid: int) -> float:
    """Return the processor seconds that a process has used, its ended children's not among them."""
    ticks = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def names(roots: Iterable[int]) -> dict[int, str]:
    """Return by process id what each of these processes and of their descendants is.

    That is app, enclave with its party, worker, or the name of its module or program.
    """
    parents = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
    found, wanted = dict[int, str](), list(roots)
    while wanted:
        pid = wanted.pop()
        if pid in parents and pid not in found:
            found[pid] = _name(pid)
            wanted += [child for child, parent in parents.items() if parent == pid]
    return found


def _name(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else Path(words[0]).name
    party = words[words.index("--party") + 1] if "--party" in words[:-1] else ""
    return f"{_KINDS.get(module, module)} {party}".strip()


def _fields(file: Path) -> dict[str, float]:
    """Return the fields of a file that are in kB, in MiB."""
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words[-1:] == ["kB"]}
