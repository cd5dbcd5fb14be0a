"""Starting processes apart from the app's: what they get to know, how they outlive it and give way to it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from core.settings import ROOT, Settings

_PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "SYSTEMROOT", "OMP_NUM_THREADS", "KERAS_BACKEND")

NICENESS = 10
"""A tenth of the processor while app and enclaves want it, all of it otherwise."""


def start(settings: Settings, words: Sequence[str], *, log: Path) -> None:
    """Start ``python -m`` with these words in a session of its own; what it says is added to `log`. Does not wait.

    It gives way to whoever wants the processor (`NICENESS`).
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    _give_way(process.pid)


def _give_way(pid: int) -> None:
    """Lower a process's priority, and its session's where Linux shares out the processor by session (sched(7))."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS), encoding="ascii")


def environment(settings: Settings) -> dict[str, str]:
    """What a process gets to know: this installation's settings, whatever the app's own were made from."""
    values = {
        "HEMASEAL_MODE": settings.mode.value,
        "HEMASEAL_DATA_DIR": str(settings.data_dir.resolve()),
        "HEMASEAL_RUNTIME_DIR": str(settings.run_dir.resolve()),
        "HEMASEAL_DATABASE_URL": settings.database,
        "DATABASE_URL": settings.database,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1"),
    }
    if settings.master_key is not None:
        values["HEMASEAL_MASTER_KEY"] = settings.master_key.get_secret_value()
    for name in _PASSED_ON:
        with suppress(KeyError):
            values[name] = os.environ[name]
    return values
