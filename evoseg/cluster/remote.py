"""The code inside a Dask worker: packs, stored by the hash of their contents, and a child process per thread.

The child is the same process that a local search starts, so jobs meet the same limits. Jobs and
replies are pickled here; the scheduler passes them on as bytes.
"""

import os
import pickle
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest, sha256
from importlib import metadata
from pathlib import Path
from threading import Lock, Timer
from time import monotonic

import cv2
import numpy as np

from evoseg import __version__
from evoseg.core.errors import EvosegError
from evoseg.evolve.evaluation.jobs import Job, Outcome
from evoseg.evolve.evaluation.processes import Processes, WorkerError, WorkerSettings
from evoseg.evolve.ports import Task
from evoseg.operators import registry

IDLE_S = 60.0
"""Idle time after which a child process ends, s, since the searching machine may vanish without notice."""
MOST_PACKS = 8


class ClusterError(EvosegError, RuntimeError):
    """A cluster that cannot be reached, or cannot be worked with."""


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs in addition to the jobs.

    Attributes
    ----------
    pack : str
        sha256 of the packed images.
    task : Task
    limits : WorkerSettings
        Of one child.
    versions : mapping of str to str
        Where the search runs.
    """

    pack: str
    task: Task
    limits: WorkerSettings
    versions: Mapping[str, str]


@dataclass(frozen=True)
class JobReply:
    """A job's outcome, and how many requests failed for a limit, a lack of memory or the death of their process."""

    outcome: Outcome
    n_given_up: int


@dataclass(frozen=True)
class MissingPack:
    """The reply of a worker that does not have the pack yet.

    Attributes
    ----------
    worker, address : str
        Who it is, also if another had its address before, and where.
    """

    worker: str
    address: str


@cache
def versions() -> dict[str, str]:
    """Return the versions of what decides an answer."""
    revisions = ",".join(f"{op.name}@{op.revision}" for op in registry.operators(retired=True))
    return {
        "evoseg": __version__,
        "operators": sha256(revisions.encode()).hexdigest()[:8],
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "distributed": metadata.version("distributed"),
    }


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Say which versions differ, "" if none does."""
    differ = [name for name in here if there.get(name) != here[name]]
    return ", ".join(f"{name} {there.get(name)} instead of {here[name]}" for name in differ)


def hash_of(path: Path) -> str:
    """Return the sha256 of a file's contents."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def answer(question: bytes, folder: Path, worker: str, address: str) -> bytes:
    """Answer one job in a child process.

    Parameters
    ----------
    question : bytes
        Pickled: a pickled `WorkerContext`, and a `Job`.
    folder : Path
        Where this worker keeps its files.
    worker, address : str
        Who it is, and where.

    Returns
    -------
    bytes, a pickled `JobReply` or `MissingPack`

    Raises
    ------
    ClusterError
        If versions differ, the task cannot be had here, or the child cannot be started.
    """
    packed, job = pickle.loads(question)
    try:
        context: WorkerContext = pickle.loads(packed)
    except (ImportError, AttributeError) as error:
        raise ClusterError(
            f"the Dask worker {address} cannot read the task ({error}). It must be a class in a module that is "
            "installed there, too."
        ) from error
    except EvosegError as error:  # a file of the user's own that is not there, or another
        raise ClusterError(f"the Dask worker {address} cannot run the task: {error}") from error
    if differ := differences(versions(), context.versions):
        raise ClusterError(other_versions(f"the Dask worker {address}", differ))
    pack = folder / f"{context.pack}.pack"
    if not pack.is_file():
        return pickle.dumps(MissingPack(worker, address))
    try:
        return pickle.dumps(_CHILDREN.answer(packed, lambda: Processes(context.task, pack, context.limits), job))
    except WorkerError as error:
        raise ClusterError(f"in the Dask worker {address}, whose log says more: {error}") from error


def other_versions(who: str, differ: str) -> str:
    """Say what is wrong with a part of the cluster, and what to do."""
    return f"{who} has {differ}: it would answer otherwise. Start the whole cluster from one environment."


def receive(folder: Path, pack: str, part: str, at: int, data: bytes, last: bool) -> None:
    """Take a piece of a pack; with the last one, it appears under its hash.

    Parameters
    ----------
    folder : Path
        Where this worker keeps its files.
    pack : str
        sha256 of the whole.
    part : str
        Name of the file that the pieces gather in; no other sender's.
    at : int
        Where in the file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial, whole = folder / f"{part}.part", folder / f"{pack}.pack"
    with partial.open("r+b" if at else "wb") as file:
        file.seek(at)
        file.write(data)
    if not last:
        return
    if hash_of(partial) == pack:
        os.replace(partial, whole)
    partial.unlink(missing_ok=True)
    packs = sorted(folder.glob("*.pack"), key=lambda path: path.stat().st_mtime)
    for old in packs[:-MOST_PACKS]:
        old.unlink(missing_ok=True)


class _Children:
    """Idle child processes, the most recently used one last."""

    def __init__(self) -> None:
        self._idle: list[tuple[float, bytes, Processes]] = []
        self._lock = Lock()
        self._timer: Timer | None = None

    def answer(self, context: bytes, start: Callable[[], Processes], job: Job) -> JobReply:
        child = self._take(context) or start()
        before = child.n_given_up
        try:
            (outcome,) = child.run([job])
        except BaseException:
            child.close()
            raise
        self._put(context, child)
        return JobReply(outcome, child.n_given_up - before)

    def _take(self, context: bytes) -> Processes | None:
        with self._lock:
            for i, (_, own, child) in reversed(list(enumerate(self._idle))):
                if own == context:
                    del self._idle[i]
                    return child
        return None

    def _put(self, context: bytes, child: Processes) -> None:
        with self._lock:
            self._idle.append((monotonic(), context, child))
            self._watch()

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = Timer(IDLE_S, self._sweep)
            self._timer.daemon = True
            self._timer.start()

    def _sweep(self) -> None:
        with self._lock:
            late = [entry for entry in self._idle if monotonic() - entry[0] >= IDLE_S]
            self._idle = [entry for entry in self._idle if entry not in late]
            self._timer = None
            if self._idle:
                self._watch()
        for _, _, child in late:
            child.close()


_CHILDREN = _Children()
