"""One process per run: a lock that the system drops when the process ends, however it ends."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evoseg.store.database import StoreError

LOCK = "run.lock"
_PATIENCE_S = 0.3
"""For those who look whether a lock is held, and hold it themselves meanwhile."""


class RunLock:
    """Held while a process searches; the file says who that is.

    Attributes
    ----------
    left : dict
        What the last holder has left in the file, if it was killed.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises
        ------
        StoreError
            If another process, or another thread of this one, holds it.
        """
        self._path = folder / LOCK
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written ({error.strerror}).") from error
        until = time.monotonic() + _PATIENCE_S
        while not _taken(self._file, fcntl.LOCK_EX):
            if time.monotonic() > until:
                holder = self._read()
                os.close(self._file)
                who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
                raise StoreError(f"{folder}: {who} is searching in this run. Wait for it, or end it with Ctrl-C.")
            time.sleep(0.02)
        self.left = self._read()
        self.say()

    def say(self, **facts: Any) -> None:
        """Write who holds the lock, and whatever the next holder should know."""
        self._write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), **facts}))

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._file >= 0:
            self._write("")
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        """Return the lock."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the lock back."""
        self.release()

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(os.pread(self._file, 1 << 16, 0))
        except ValueError:
            return {}
        return found if isinstance(found, dict) and {"pid", "host"} <= set(found) else {}

    def _write(self, text: str) -> None:
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)
        except OSError:
            pass  # a full disk: the lock itself holds all the same


def is_locked(folder: Path) -> bool:
    """Return whether a process is searching in a run."""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _taken(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
