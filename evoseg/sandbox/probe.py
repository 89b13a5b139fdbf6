"""The operator that every sandbox runs first: it tries to get out, in all the ways that the locks must prevent.

It never runs anywhere else; a sandbox in which an attempt succeeds is not used.
"""

import ctypes
import os
import sys
from collections.abc import Callable

import numpy as np

_libc = ctypes.CDLL(None)


def _opens(path: str, flags: int = os.O_RDONLY) -> Callable[[], bool]:
    # Through the C library, since Python asks further system calls that would fail anyway.
    return lambda: _libc.open(path.encode(), flags, 0o600) >= 0


def _fork() -> bool:
    child = _libc.fork()
    if child == 0:
        _libc._exit(0)
    return bool(child > 0)


def _executable_memory() -> bool:
    _libc.mmap.restype = ctypes.c_void_p
    page = _libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
    return page is not None and page != ctypes.c_void_p(-1).value


ATTEMPTS: dict[str, Callable[[], bool]] = {
    "opened a file of Python": _opens(os.__file__),
    "opened a device": _opens(os.devnull),
    "opened the root folder": _opens("/", os.O_RDONLY | os.O_DIRECTORY),
    "read the environment of a process": _opens("/proc/self/environ"),
    "wrote to /tmp": _opens("/tmp/evoseg-sandbox-probe", os.O_WRONLY | os.O_CREAT),
    "wrote to /dev/shm": _opens("/dev/shm/evoseg-sandbox-probe", os.O_WRONLY | os.O_CREAT),
    "made a file in memory": lambda: _libc.memfd_create(b"probe", 0) >= 0,
    "made a socket": lambda: _libc.socket(2, 1, 0) >= 0,
    "made a pair of sockets": lambda: _libc.socketpair(1, 1, 0, (ctypes.c_int * 2)()) == 0,
    "read from a file that was left open": lambda: any(_libc.read(i, b"", 0) == 0 for i in range(256)),
    "copied a file that was left open": lambda: any(_libc.dup(i) >= 0 for i in range(256)),
    "started a process": _fork,
    "sent a signal": lambda: _libc.kill(0, 0) == 0,
    "traced a process": lambda: _libc.ptrace(0, 0, None, None) == 0,
    "raised a limit": lambda: _libc.setrlimit(0, (ctypes.c_ulong * 2)(1000, 1000)) == 0,
    "made memory executable": _executable_memory,
    "slept": lambda: _libc.usleep(1) == 0,
    "started a program": lambda: _libc.execv(sys.executable.encode(), (ctypes.c_char_p * 2)(b"true", None)) == 0,
}
"""What each returns True for."""


def operator(plane: np.ndarray) -> np.ndarray:
    """Return 255 for each attempt that succeeded, one pixel each."""
    return np.array([[255 * attempt() for attempt in ATTEMPTS.values()]], np.uint8)
