"""What a process can do to keep its memory to itself. Only a TEE keeps the operating system out as well."""

import ctypes
import os
import resource
import select
import signal
import threading
import time
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

_PR_SET_DUMPABLE = 4
_MCL_CURRENT_AND_FUTURE = 3
_POLL_S = 1.0


def harden() -> dict[str, bool]:
    """Allow no core dump, no debugger and no reading of /proc by the same user, and lock pages where possible.

    Returns:
        What the system allowed: ``no_core``, ``not_dumpable``, ``locked``.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    done = {"no_core": True, "not_dumpable": False, "locked": False}
    with suppress(OSError, AttributeError):  # another system than Linux
        libc = ctypes.CDLL(None, use_errno=True)
        done["not_dumpable"] = libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
        if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
            done["locked"] = libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0
    return done


def wipe(*buffers: bytes | bytearray | NDArray[np.uint8]) -> None:
    """Overwrite buffers with zeros.

    `bytes` are overwritten too, against Python's rules: hand in only objects of at least 64 bytes that nobody else
    holds (shorter ones are left alone, since the interpreter may share them). Copies that libraries made on the way
    are beyond reach; they are freed, not wiped.
    """
    for buffer in buffers:
        if isinstance(buffer, bytes):
            if len(buffer) >= 64:  # noqa: PLR2004
                ctypes.memset(id(buffer) + bytes.__basicsize__ - 1, 0, len(buffer))
        elif isinstance(buffer, bytearray):
            buffer[:] = bytes(len(buffer))
        elif buffer.flags.writeable:
            buffer.fill(0)


def end_with(parent: int) -> None:
    """Terminate this process as soon as the process `parent` is gone (watched by a daemon thread)."""
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent-watch").start()


def _watch(parent: int) -> None:
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        handle = None
    except (OSError, AttributeError):  # another system, or an old kernel
        while _is_alive(parent):
            time.sleep(_POLL_S)
        handle = None
    if handle is not None:
        select.select([handle], [], [])
    os.kill(os.getpid(), signal.SIGTERM)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
