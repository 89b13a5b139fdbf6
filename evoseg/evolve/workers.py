"""Worker processes: supervised, with a wall limit that holds even inside a C call.

A worker that is stuck or dies is killed with its whole process group and replaced. The job is then tried again
request by request, so that the one to blame is found and the others lose nothing.
"""

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, cast

from evoseg.base.errors import EvosegError
from evoseg.evolve.jobs import Dealer, Job, Outcome
from evoseg.evolve.ports import Failed, Floats, Task
from evoseg.evolve.worker import read_frame, write_frame

logger = logging.getLogger(__name__)

START_LIMIT_S = 60.0
ALONE_LIMIT_S = 5.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""For glibc: by default it returns every freed plane to the kernel, and page faults make float filters 2-4x slower."""
SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
"""Words in the names of variables that a worker has no need of."""
STARTS = 3
"""Worker processes that may end before they are ready, in a row; anything may be killed once."""


class WorkerError(EvosegError, RuntimeError):
    """A worker process that does not even start: no fault of a candidate."""


@dataclass(frozen=True)
class WorkerSettings:
    """What each worker process may use.

    Attributes
    ----------
    n_workers : int
    cache_bytes : int
        For values of sub-programs, over all workers.
    memory_bytes : int
        Each worker's limit of private data; an allocation beyond it fails that candidate.
    """

    n_workers: int = 1
    cache_bytes: int = 1 << 30
    memory_bytes: int = 4 << 30


class Processes:
    """Runs jobs in worker processes, one job in flight each.

    Parameters
    ----------
    task : Task
        Picklable.
    pack : Path
        The dataset's memory-mapped file, shared by all workers.
    settings : WorkerSettings
    """

    def __init__(self, task: Task, pack: Path, settings: WorkerSettings) -> None:
        self.n_killed = 0
        cache = settings.cache_bytes // settings.n_workers
        self.dealer = Dealer(settings.n_workers, cache)
        self._hello = (str(pack), task, cache, settings.memory_bytes)
        self._workers: list[_Worker] = []
        for _ in range(settings.n_workers):
            self._workers.append(_Worker(self._hello))

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs, as many at a time as there are workers."""
        outcomes: dict[int, Outcome] = {}
        suspects: list[int] = []
        waiting = list(range(len(jobs)))
        busy: dict[int, int] = {}
        try:
            while waiting or busy:
                self._hand_out(jobs, waiting, busy)
                for w in self._ready(busy):
                    outcome = self._workers[w].receive()
                    i = busy.pop(w)
                    if outcome is None:
                        self._replace(w)
                        suspects.append(i)
                    else:
                        outcomes[i] = outcome
            for i in suspects:
                busy[0] = i
                outcomes[i] = self._one_by_one(jobs[i])
                del busy[0]
        except BaseException:
            # Interrupted in mid-job: whoever still computes would answer the wrong question later.
            for w in busy:
                self._replace(w)
            raise
        return [outcomes[i] for i in range(len(jobs))]

    def close(self) -> None:
        """End all workers; idempotent."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def _hand_out(self, jobs: Sequence[Job], waiting: list[int], busy: dict[int, int]) -> None:
        """Give idle workers their own jobs first, and then those whose workers are busy with others."""
        for their_own in (True, False):
            for w in range(len(self._workers)):
                due = [i for i in waiting if not their_own or jobs[i].worker == w]
                if w not in busy and due:
                    waiting.remove(due[0])
                    busy[w] = due[0]
                    self._send(w, jobs[due[0]])

    def _send(self, w: int, job: Job) -> None:
        """Start a job, in a new worker if the present one never got ready."""
        for last in (False,) * (STARTS - 1) + (True,):
            try:
                return self._workers[w].send(job)
            except WorkerError:
                if last:
                    raise
                self._replace(w)

    def _ready(self, busy: dict[int, int]) -> list[int]:
        """Wait for the first busy worker to answer, die or run over its limit."""
        pipes = {self._workers[w].answers: w for w in busy}
        wait_s = min(self._workers[w].deadline for w in busy) - monotonic()
        readable, _, _ = select.select(list(pipes), [], [], max(0.0, wait_s))
        late = [w for w in busy if monotonic() > self._workers[w].deadline]
        return sorted({pipes[pipe] for pipe in readable} | set(late))

    def _replace(self, w: int) -> None:
        self._workers[w].kill()
        self.n_killed += 1
        self._workers[w] = _Worker(self._hello)

    def _one_by_one(self, job: Job) -> Outcome:
        """Answer each request alone; one that is stuck or dies alone has failed."""
        results: list[Floats | Failed] = []
        for request in job.requests:
            alone = replace(job, requests=(request,), limit_s=max(ALONE_LIMIT_S, job.limit_s / len(job.requests)))
            self._send(0, alone)
            self._ready({0: 0})
            outcome = self._workers[0].receive()
            if outcome is None:
                self._replace(0)
                reason = f"it ran for more than {alone.limit_s:.0f} s, or its process died"
                logger.warning("a candidate failed, %s: %s", request.program.digest, reason)
                results.append(Failed(request.program, reason))
            else:
                results.append(outcome.results[0])
        return Outcome(tuple(results))


class _Worker:
    """One child process and its two pipes."""

    def __init__(self, hello: tuple[Any, ...]) -> None:
        environment = {k: v for k, v in os.environ.items() if not any(word in k.upper() for word in SECRETS)}
        environment |= ONE_THREAD | KEEP_MEMORY
        # The child finds what its parent finds, first of all the same evoseg; and, by -P, nothing of the folder that
        # either was started in: a user's random.py there must not stand in for Python's.
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "evoseg.evolve.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,  # select sees the pipe, not what a buffer has already taken from it
            start_new_session=True,
        )
        self._questions = cast(BinaryIO, self._process.stdin)
        self.answers = cast(BinaryIO, self._process.stdout)
        self.deadline = monotonic() + START_LIMIT_S
        self._greeted = False
        self._post(hello)

    def send(self, job: Job) -> None:
        """Start a job; its limit starts now, or when the worker is ready.

        Raises
        ------
        WorkerError
            If the worker never gets ready.
        """
        if not self._greeted:
            self._greet()
        self.deadline = monotonic() + job.limit_s
        self._post(job)

    def _greet(self) -> None:
        try:
            if not self._answered():
                raise WorkerError(f"a worker process was not ready after {START_LIMIT_S:.0f} s. Use fewer workers.")
            read_frame(self.answers)
        except (EOFError, OSError):
            raise WorkerError(
                "a worker process ended before it was ready; its own message stands above. A task must be a class in "
                "a module that can be imported, not in a script or notebook."
            ) from None
        self._greeted = True

    def receive(self) -> Outcome | None:
        """Return the answer, or None if the worker is stuck or dead."""
        try:
            return cast(Outcome, read_frame(self.answers)) if self._answered() else None
        except (EOFError, OSError):
            return None

    def kill(self) -> None:
        """End the process and all that it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        for pipe in (self._questions, self.answers):
            try:
                pipe.close()
            except OSError:
                pass

    def _post(self, value: Any) -> None:
        try:
            write_frame(self._questions, value)
        except OSError:
            pass  # a dead worker shows when it is asked for its answer

    def _answered(self) -> bool:
        readable, _, _ = select.select([self.answers], [], [], max(0.0, self.deadline - monotonic()))
        return bool(readable)
