"""Keeping large buffers: glibc's default gives each array of megabytes back to the system and faults it in anew.

A round makes and frees the same few buffers over and over; kept in the process, they cost no page faults. And they are
kept in few arenas: glibc gives each of many threads one of its own, and what one has freed no other one takes.
"""

import ctypes
import sys

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_ARENAS = 2
_KEPT = 2**28
"""Arrays up to 256 MiB come from the heap, and as much stays there when it is free."""


def keep_large_buffers() -> None:
    """Have this process's allocator keep freed memory; does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_ARENA_MAX, _ARENAS)
