"""The locks of the sandbox: an ordinary user, Landlock and seccomp, by ctypes alone.

Every lock can only be tightened afterwards, and passes on to all children. What the numbers mean is in the kernel's
`include/uapi/linux/` (landlock.h, seccomp.h, filter.h, audit.h, prctl.h) and in its tables of system calls.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Mapping

NOBODY = 65534
"""User and group that own nothing, on all Linux systems."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SIGKILL = 9

Limits = tuple[tuple[int, int, int], ...]
"""What a system call's arguments must satisfy: (number of the argument, mask, value of its masked lower 32 bits)."""

NUMBERS = {
    # Name: number on x86-64, number on aarch64 (which has ppoll only; select.poll calls what there is).
    "brk": (12, 214),
    "clock_gettime": (228, 113),
    "clone": (56, 220),
    "close": (3, 57),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "pipe2": (293, 59),
    "poll": (7, 73),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "setitimer": (38, 103),
    "wait4": (61, 260),
    "write": (1, 64),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of `NUMBERS`, and the number by which the kernel tells a filter the architecture of a call."""

_MEMORY: dict[str, Limits] = {
    "brk": (),
    # Ordinary private memory without a file behind it (PROT_EXEC is 4, MAP_PRIVATE 2, MAP_ANONYMOUS 0x20,
    # MAP_HUGETLB 0x40000: those pages are a stock that all processes share).
    "mmap": ((2, 0x4, 0), (3, 0x4002F, 0x22)),
    "mprotect": ((2, 0x4, 0),),
    "mremap": (),
    "munmap": (),
    "madvise": ((2, 0xFFFFFFFF, 14),),  # MADV_HUGEPAGE, which NumPy asks for
    "futex": ((1, 0x7F, 1),),  # FUTEX_WAKE: C libraries wake others after initialising; a single thread never waits
    "sched_getaffinity": (),  # libraries ask how many threads there could be, and SciPy fails without an answer
    "exit_group": (),
}


def operator_calls(reply: int) -> dict[str, Limits]:
    """Return what an operator may call: memory, the end of its process, writing to one pipe."""
    return {**_MEMORY, "write": ((0, 0xFFFFFFFF, reply),)}


def zygote_calls() -> dict[str, Limits]:
    """Return what the zygote may call, and its children until they run an operator; nothing opens or connects."""
    return {
        **_MEMORY,
        # Of a thread or a namespace: CLONE_VM is 0x100, CLONE_NEW* 0x7E020080.
        "clone": ((0, 0x7E020180, 0),),
        "futex": (),
        **dict.fromkeys(NUMBERS.keys() - _MEMORY.keys() - {"clone"}, ()),
    }


class LockError(OSError):
    """A lock that this system does not have."""


def drop_user() -> None:
    """Become an unprivileged user, if this process is root and the system has one; else root is locked as it is."""
    if os.getuid() != 0:
        return
    ids = (NOBODY, NOBODY, NOBODY)
    for drop, to in ((os.setgroups, ([],)), (os.setresgid, ids), (os.setresuid, ids)):
        try:
            drop(*to)
        except OSError:
            pass  # a user namespace may have one user only


def hide() -> None:
    """Refuse to be traced, to dump core, and to gain rights by starting a program.

    Raises
    ------
    LockError
        If the kernel does not know these.
    """
    if _prctl(_PR_SET_DUMPABLE, 0) or _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        raise LockError("the kernel does not let a process give up privileges")


def die_with(parent: int) -> None:
    """End this process when its parent ends, which may already have happened."""
    if _prctl(_PR_SET_PDEATHSIG, _SIGKILL) or os.getppid() != parent:
        os._exit(1)


def close_files() -> int:
    """Make opening any file, connecting by TCP, and reaching processes outside fail; return Landlock's version.

    There is no rule of what may still be opened. Files that are open stay so.

    Raises
    ------
    LockError
        If the kernel has no Landlock, or does not let this process use it.
    """
    version = _syscall(444, 0, 0, 1)
    if version < 1:
        raise LockError(f"the kernel has no Landlock ({os.strerror(ctypes.get_errno())})")
    files = (1 << 13) - 1  # all rights of the first version
    for since, right in ((2, 13), (3, 14), (5, 15)):  # moving between folders, truncating, devices
        files |= (version >= since) << right
    network = 0b11 if version >= 4 else 0  # bind, connect
    scopes = 0b11 if version >= 6 else 0  # abstract sockets, signals
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = ctypes.create_string_buffer(struct.pack("=QQQ", files, network, scopes), 24)
    descriptor = _syscall(444, ctypes.addressof(rules), size, 0)
    if descriptor < 0 or _syscall(446, descriptor, 0):
        raise LockError(f"Landlock cannot be used ({os.strerror(ctypes.get_errno())})")
    os.close(descriptor)
    return version


class CallFilter:
    """A seccomp filter: an allow-list of system calls. All others fail with EPERM.

    Parameters
    ----------
    allowed : mapping of str to Limits
        Names in `NUMBERS`; what their arguments must satisfy.

    Raises
    ------
    LockError
        On an architecture whose numbers are not in the table.
    """

    def __init__(self, allowed: Mapping[str, Limits]) -> None:
        if platform.machine() not in _MACHINES or sys.maxsize < 2**32:
            raise LockError(f"there is no list of system calls for {platform.machine()}")
        column, architecture = _MACHINES[platform.machine()]
        self._code = ctypes.create_string_buffer(_compile(allowed, column, architecture))
        length = (len(self._code) - 1) // 8
        self._program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", length, ctypes.addressof(self._code)))

    def install(self) -> None:
        """Put it on this process, which has one thread, and its children.

        Raises
        ------
        LockError
            If the kernel does not take it.
        """
        if _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(self._program)):
            raise LockError(f"the kernel has no seccomp filters ({os.strerror(ctypes.get_errno())})")


_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050001
"""SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM."""


def _compile(allowed: Mapping[str, Limits], column: int, architecture: int) -> bytes:
    """Return the filter in classic BPF, 8 bytes an instruction."""
    # Calls of another architecture (int 0x80) have other numbers. Those of x32 have theirs from 2**30, which no entry
    # equals.
    code = [_do(_LOAD, 4), _do(_EQUAL, architecture, 1, 0), _do(_RETURN, _KILL), _do(_LOAD, 0)]
    for name, limits in allowed.items():
        block = []
        for argument, mask, value in limits:
            block += [_do(_LOAD, 16 + 8 * argument), _do(_AND, mask), _do(_EQUAL, value, 1, 0), _do(_RETURN, _REFUSE)]
        block.append(_do(_RETURN, _ALLOW))
        code += [_do(_EQUAL, NUMBERS[name][column], 0, len(block)), *block]
    return b"".join([*code, _do(_RETURN, _REFUSE)])


def _do(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, value)


def _prctl(option: int, value: int, more: int = 0) -> int:
    return int(_libc().prctl(ctypes.c_int(option), *map(ctypes.c_ulong, (value, more, 0, 0))))


def _syscall(number: int, *arguments: int) -> int:
    return int(_libc().syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
