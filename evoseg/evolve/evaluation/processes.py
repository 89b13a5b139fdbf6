"""Supervised worker processes, with a limit of CPU time that holds even inside a C call.

A worker that uses more CPU time than its job may take, or that does nothing at all for a while, is killed with its
whole process group and replaced, and so is one that dies. The job is then tried again request by request, alone and
with a larger limit, so that the one to blame is found and the others lose nothing. How busy the machine is changes how
long a search takes, but not what fails.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from evoseg.core.errors import EvosegError
from evoseg.evolve.evaluation.jobs import Job, Outcome, Scheduler
from evoseg.evolve.evaluation.worker import read_frame, write_frame
from evoseg.evolve.ports import Failed, Floats, Task

logger = logging.getLogger(__name__)

START_LIMIT_S = 60.0
"""CPU time in which a worker process must be ready."""
ALONE_RATIO = 2.0
"""A request that is tried again alone may take this many times the CPU time of the job that it came from."""
STALLED_S = 90.0
"""Wall time after which a worker that uses no CPU time and gives no answer is given up."""
LOOK_S = 1.0
"""Time until a job is first checked, s; most have ended by then."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""For glibc: by default it returns every freed plane to the kernel, and page faults make float filters 2-4x slower."""
PASSED_ON = frozenset(
    name
    for names in (
        "PATH HOME USER LOGNAME TMPDIR TEMP TMP TZ LANG LANGUAGE XDG_CACHE_HOME EVOSEG_HOME",
        "VIRTUAL_ENV CONDA_PREFIX __PYVENV_LAUNCHER__ LD_LIBRARY_PATH LD_PRELOAD GLIBC_TUNABLES",
        "DYLD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH DYLD_FRAMEWORK_PATH DYLD_INSERT_LIBRARIES",
        "PYTHONHOME PYTHONHASHSEED PYTHONUTF8 PYTHONIOENCODING PYTHONCOERCECLOCALE PYTHONWARNINGS PYTHONFAULTHANDLER",
        "PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONNOUSERSITE PYTHONUSERBASE PYTHONMALLOC",
        "COVERAGE_FILE COVERAGE_PROCESS_START COVERAGE_PROCESS_CONFIG COVERAGE_RCFILE",
        "OMP_PROC_BIND OMP_PLACES OMP_DYNAMIC OMP_WAIT_POLICY OMP_STACKSIZE GOMP_CPU_AFFINITY KMP_AFFINITY",
        "KMP_BLOCKTIME KMP_DUPLICATE_LIB_OK OPENBLAS_CORETYPE NPY_DISABLE_CPU_FEATURES OPENCV_CPU_DISABLE OPENCV_IPP",
    )
    for name in names.split()
)
"""Names of the variables that a worker is given, with those that begin with LC_: it needs no others, and any may be a
secret."""
MEMORY_RATIO = 2
"""A request that has run out of memory is tried again with this many times the limit."""
DYING_S = 5.0
"""Time for a process to end after it has closed its pipe, s."""
STARTS = 3
"""Worker processes that may end before they are ready, in a row; anything may be killed once."""


class WorkerError(EvosegError, RuntimeError):
    """A worker process did not start; no candidate is to blame."""


@dataclass(frozen=True)
class WorkerSettings:
    """What each worker process may use.

    Attributes
    ----------
    n_workers : int
    cache_bytes : int
        For values of sub-programs, over all workers.
    memory_bytes : int
        Each worker's limit of private data; a request that needs more is tried again with twice as much, and then
        fails.
    ipp : bool
        Whether operators use Intel IPP, as in runs of version 0.1.
    """

    n_workers: int = 1
    cache_bytes: int = 1 << 30
    memory_bytes: int = 4 << 30
    ipp: bool = False


class Processes:
    """Runs jobs in worker processes, one job in flight each.

    Parameters
    ----------
    task : Task
        Picklable.
    pack : Path
        The dataset's memory-mapped file, shared by all workers.
    settings : WorkerSettings

    Attributes
    ----------
    n_given_up : int
        Requests that have failed for a limit, a lack of memory or the death of their process, alone as well: another
        run may get an answer to them.
    n_replaced : int
        Worker processes that were given up or have died.
    """

    def __init__(self, task: Task, pack: Path, settings: WorkerSettings) -> None:
        self.n_given_up = 0
        self.n_replaced = 0
        cache = settings.cache_bytes // settings.n_workers
        self.scheduler = Scheduler(settings.n_workers, cache)
        self._hello = (str(pack), task, cache, settings.ipp, settings.memory_bytes)
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
                    if isinstance(outcome, str):
                        self._replace(w)
                        suspects.append(i)
                    else:
                        outcomes[i] = outcome
                        if any(isinstance(r, Failed) and r.transient for r in outcome.results):
                            suspects.append(i)
            for i in suspects:
                busy[0] = i
                outcomes[i] = self._one_by_one(jobs[i], outcomes.get(i))
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
        """Wait until a worker answers, dies or is given up."""
        pipes = {self._workers[w].answers.fileno(): w for w in busy}
        while True:
            wait_s = min(self._workers[w].watch.due for w in busy) - time.monotonic()
            answered = [pipes[pipe] for pipe in readable(pipes, wait_s)]
            given_up = [w for w in busy if self._workers[w].watch.give_up_reason()]
            if ready := sorted({*answered, *given_up}):
                return ready

    def _replace(self, w: int, memory_ratio: int = 1) -> None:
        self._workers[w].kill()
        self.n_replaced += 1
        *hello, memory_bytes = self._hello
        self._workers[w] = _Worker((*hello, memory_ratio * memory_bytes))

    def _one_by_one(self, job: Job, known: Outcome | None) -> Outcome:
        """Answer each request alone, unless the answer is known; one that gets none alone has failed.

        It has a process of its own without anything in memory, and all the others wait.
        """
        results: list[Floats | Failed] = []
        limit_s = ALONE_RATIO * job.limit_s
        for i, request in enumerate(job.requests):
            if known is not None:
                result = known.results[i]
                if not (isinstance(result, Failed) and result.transient):
                    results.append(result)
                    continue
                self._replace(0, MEMORY_RATIO)
            result = self._alone(replace(job, requests=(request,), limit_s=limit_s))
            if known is not None:
                self._replace(0)
            if isinstance(result, Failed) and result.transient:
                self.n_given_up += 1
                logger.warning("a candidate failed, %s: %s", request.program.digest, result.reason)
            results.append(result)
        return Outcome(tuple(results))

    def _alone(self, job: Job) -> Floats | Failed:
        """Answer a job of one request."""
        self._send(0, job)
        self._ready({0: 0})
        outcome = self._workers[0].receive()
        if isinstance(outcome, str):
            self._replace(0)
            return Failed(job.requests[0].program, outcome, transient=True)
        return outcome.results[0]


def start_child(module: str) -> "subprocess.Popen[bytes]":
    """Start a module of evoseg in a process and a group of its own, with one thread and two pipes without buffers."""
    environment = filter_environment(os.environ) | ONE_THREAD | KEEP_MEMORY
    # The child finds what its parent finds, first of all the same evoseg; and, by -P, nothing of the folder that either
    # was started in: a user's random.py there must not stand in for Python's.
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[3]), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        bufsize=0,  # select sees the pipe, not what a buffer has already taken from it
        start_new_session=True,
    )


def readable(descriptors: Iterable[int], wait_s: float) -> list[int]:
    """Wait until there is something to read, or an end; unlike with `select`, descriptors may be any numbers."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(1000 * max(0.0, wait_s))]


class _Worker:
    """One child process and its two pipes."""

    def __init__(self, hello: tuple[Any, ...]) -> None:
        self._process = start_child("evoseg.evolve.evaluation.worker")
        self._questions = cast(BinaryIO, self._process.stdin)
        self.answers = cast(BinaryIO, self._process.stdout)
        self.watch = Watch(self._process.pid, START_LIMIT_S)
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
        self.watch = Watch(self._process.pid, job.limit_s)
        self._post(job)

    def _greet(self) -> None:
        try:
            if not self._wait_for_answer():
                why = self.watch.give_up_reason()
                raise WorkerError(f"a worker process did not start: {why}. Use fewer workers.")
            read_frame(self.answers)
        except (EOFError, OSError):
            raise WorkerError(
                "a worker process ended while it was starting; see its message above. A task must be a class in "
                "a module that can be imported, not in a script or notebook."
            ) from None
        self._greeted = True

    def receive(self) -> Outcome | str:
        """Return the answer, or why there is none: the worker is given up, or has died."""
        try:
            return cast(Outcome, read_frame(self.answers)) if self._wait_for_answer() else self.watch.give_up_reason()
        except (EOFError, OSError):
            return f"its process died ({self._death()})"

    def _death(self) -> str:
        """Say what the process died of."""
        try:
            code = self._process.wait(DYING_S)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, as when memory runs out" if -code == signal.SIGKILL else name

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

    def _wait_for_answer(self) -> bool:
        """Wait for an answer or an end; False if the worker is given up."""
        while True:
            wait_s = self.watch.due - time.monotonic()
            if readable([self.answers.fileno()], wait_s):
                return True
            if self.watch.give_up_reason():
                return False


class Watch:
    """Watches a process and all that it starts: how much CPU time they use from now on, and whether any at all.

    Looks are rare, and only at what lasts: a job that ends within `LOOK_S` costs none.

    Parameters
    ----------
    group : int
        The process group.
    limit_s : float, s
        CPU time that it may use.

    Attributes
    ----------
    due : float, s
        When the next look is due, by `time.monotonic`.
    """

    def __init__(self, group: int, limit_s: float) -> None:
        self._group = group
        self._limit_s = limit_s
        self._first: float | None = None
        self._last = 0.0
        self._looked = time.monotonic()
        self._idle_s = 0.0
        self._reason = ""
        self.due = self._looked + min(LOOK_S, limit_s)

    def give_up_reason(self) -> str:
        """Say why the process is given up, "" as long as it is not; looks at it if that is due."""
        now = time.monotonic()
        if self._reason or now < self.due:
            return self._reason
        used, step_s = cpu_time(self._group), STALLED_S / 9
        if self._first is None:
            self._first = used
        # If this process was stopped, too, then the other one need not have stood still all the time.
        self._idle_s = 0.0 if used != self._last else self._idle_s + min(now - self._looked, 2 * step_s)
        self._last, self._looked = used, now
        left_s = self._limit_s - (used - self._first)
        self.due = now + min(max(left_s, 0.1), step_s)
        if left_s <= 0:
            self._reason = f"it used more than {self._limit_s:g} s of CPU time"
        elif self._idle_s >= STALLED_S:
            self._reason = f"it neither used CPU time nor gave an answer for {STALLED_S:g} s"
        return self._reason


def cpu_time(group: int) -> float:
    """Return the CPU time that the processes of a group have used until now, s."""
    if sys.platform == "linux":
        return sum(map(_cpu_time_of, _members(group)))
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,time="], capture_output=True, text=True, check=True).stdout
    return sum(_seconds(line.split()[1]) for line in listed.splitlines() if line.split()[0] == str(group))


def _members(group: int) -> Iterator[int]:
    """Yield the processes of a group."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[2]) == group:
                yield int(path.name)
        except (OSError, IndexError):
            pass  # it has ended meanwhile


def _cpu_time_of(process: int) -> float:
    try:
        return time.clock_gettime((~process << 3) | 2)  # as clock_getcpuclockid(3) does: to the nanosecond
    except OSError:
        return 0.0


def _seconds(words: str) -> float:
    """Return what `ps` writes as [[dd-]hh:]mm:ss[.cc], in s."""
    days, _, clock = words.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = 60 * seconds + float(part)
    return 86400 * int(days or 0) + seconds


def filter_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that a worker is given."""
    return {name: value for name, value in environment.items() if name in PASSED_ON or name.startswith("LC_")}
