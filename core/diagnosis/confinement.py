"""What a process gives up once it has started, so that whoever takes it over can carry nothing out of it.

Landlock (Linux 5.13, documented in the kernel's ``userspace-api/landlock``) takes away writing and reading of files,
and TCP; a seccomp filter (``userspace-api/seccomp_filter``) takes away what Landlock does not know: sockets of any
kind, other programs, other processes' memory. Neither can be undone. Connections that are accepted on a socket that
listened before go on. On a system without them nothing is given up, and `confine` says so.
"""

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress
from pathlib import Path

from core.settings import ROOT

CODE = ("core", "security")
"""Folders of the project that a confined process may read: modules may be imported late."""
SYSTEM = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/proc/cpuinfo", "/sys/devices/system/cpu")
"""The last two tell LiteRT what the processor can do; without them it takes 2.5 times as long."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ABI_QUESTION, _PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR, _REMOVE_FILE = 1 << 0, 1 << 2, 1 << 3, 1 << 5
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
_ALL_FS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Kinds of access to files that each version of Landlock knows."""
_NET_SINCE, _SCOPE_SINCE = 4, 6

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: load a word, jump if equal, if at least, return
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # the latter with EPERM
_X32 = 0x40000000
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS = {
    # socket, socketpair, connect, bind, execve, execveat, ptrace, process_vm_readv and writev, mount, unshare, setns,
    # bpf, perf_event_open, userfaultfd, io_uring_setup, pidfd_getfd, kexec_load, add_key, keyctl
    "x86_64": (41, 53, 42, 49, 59, 322, 101, 310, 311, 165, 272, 308, 321, 298, 323, 425, 438, 246, 248, 250),
    "aarch64": (198, 199, 203, 200, 221, 281, 117, 270, 271, 40, 97, 268, 280, 241, 282, 425, 438, 104, 217, 219),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def confine(own: Path) -> dict[str, bool]:
    """Give up files, network, other programs and other processes, for this thread and all that it starts.

    Call it before threads are started that shall be confined, and after all that is needed was opened: keys, the
    listening socket.

    Args:
        own: the one folder beside the interpreter, its packages and the project's code that may be read, and in which
            files may be deleted.

    Returns:
        What the system took away: ``files`` (with reading outside the code), ``tcp``, ``calls``.
    """
    done = {"files": False, "tcp": False, "calls": False}
    if not sys.platform.startswith("linux"):
        return done
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return done
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ABI_QUESTION)
    if version > 0:
        folders = dict.fromkeys([*map(Path, SYSTEM), *(ROOT / name for name in CODE)], _READ)
        done["files"] = _landlock(libc, version, folders | {own: _READ | _REMOVE_FILE})
        done["tcp"] = done["files"] and version >= _NET_SINCE
    done["calls"] = _seccomp(libc)
    return done


def _landlock(libc: ctypes.CDLL, version: int, folders: dict[Path, int]) -> bool:
    fields = [_ALL_FS[min(version, max(_ALL_FS))]]
    fields += [_BIND_AND_CONNECT] if version >= _NET_SINCE else []
    fields += [_ABSTRACT_SOCKETS_AND_SIGNALS] if version >= _SCOPE_SINCE else []
    wanted = struct.pack(f"={len(fields)}Q", *fields)
    rules = libc.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0)
    if rules < 0:
        return False
    try:
        for folder, access in folders.items():
            with suppress(FileNotFoundError):
                place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
                try:
                    allowed = access if folder.is_dir() else access & ~_READ_DIR
                    rule = struct.pack("=Qi", allowed, place)
                    if libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0) != 0:
                        return False
                finally:
                    os.close(place)
        return libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _seccomp(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in _CALLS:
        return False
    refused = _CALLS[machine]
    last = len(refused) + 1  # comparisons that follow the one of x32 calls jump over this many to the refusal
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _REFUSE),  # another architecture's calls have other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, last, 0, _X32),
        *((_EQUAL, last - 1 - place, 0, number) for place, number in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    program = b"".join(struct.pack("=HBBI", *line) for line in lines)
    given = _Program(len(lines), program)
    return libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(given), 0, 0) == 0
