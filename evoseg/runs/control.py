"""Who works in a run: one process at a time, which a first Ctrl-C stops in good order."""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from evoseg.evolve.budget import Clock
from evoseg.runs.database import StoreError
from evoseg.runs.run_folder import LOCK, OWNER

_PATIENCE_S = 0.3
"""For those who look whether a lock is held, and hold it themselves meanwhile."""


class RunLock:
    """Held while a process searches; the system frees it when the process ends, however it ends.

    Attributes
    ----------
    previous_owner : dict
        What the last process has noted about itself, if it was killed.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises
        ------
        StoreError
            If another process, or another thread of this one, holds it.
        """
        self._owner = folder / OWNER
        # Not per thread: whichever thread asks, a run has one search.
        self._lock = FileLock(folder / LOCK, timeout=_PATIENCE_S, thread_local=False)
        try:
            self._lock.acquire(poll_interval=0.02)
        except Timeout:
            owner = read_owner(folder)
            who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
            raise StoreError(f"{folder}: {who} is using this run. Wait for it, or end it with Ctrl-C.") from None
        except OSError as error:
            raise StoreError(f"{folder / LOCK}: cannot be written ({error.strerror}).") from error
        self.previous_owner = read_owner(folder)
        self.write_owner()

    def write_owner(self, **facts: Any) -> None:
        """Note which process holds the lock, and whatever the next one should know if this one is killed."""
        with suppress(OSError):  # a full disk: the lock itself holds all the same
            self._owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), **facts}), "utf-8")

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._lock.is_locked:
            with suppress(OSError):
                self._owner.unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the lock."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the lock back."""
        self.release()


def read_owner(folder: Path) -> dict[str, Any]:
    """Return what the process that searches in a run, or did last, has noted: "pid", "host"; {} if there is none."""
    file = folder / OWNER
    try:
        # Anybody may have written the file, or put a pipe in its place.
        text = file.read_bytes()[: 1 << 16] if file.is_file() else b""
        found = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and {"pid", "host"} <= set(found) else {}


def is_locked(folder: Path) -> bool:
    """Return whether a process is searching in a run."""
    if not (folder / LOCK).is_file():
        return False
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False  # a folder that may only be read
    lock.release()
    return False


@contextmanager
def graceful_interrupt(clock: Clock, on_stop: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Let the first Ctrl-C end a search in good order, with the best so far; the second ends everything.

    Only signals that Python handles are taken over: SIGINT wherever Ctrl-C works, SIGTERM where the command line has
    made it an interrupt. Another thread than the main one can take over none.

    Parameters
    ----------
    clock : Clock
        Stopped by the first signal; the second raises KeyboardInterrupt.
    on_stop : callable
        Called at the first signal.

    Yields
    ------
    threading.Event
        Set once a signal has come.
    """
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    mine = [s for s, handler in before.items() if callable(handler)]
    if threading.current_thread() is not threading.main_thread():
        mine = []
    stopped = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        clock.stop()
        try:
            on_stop()
        except RuntimeError:
            pass  # the signal came while something was being printed, and printing cannot be entered twice

    for number in mine:
        signal.signal(number, handle)
    try:
        yield stopped
    finally:
        for number in mine:
            signal.signal(number, before[number])
