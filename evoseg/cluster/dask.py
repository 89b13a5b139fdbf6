"""Run jobs on a Dask cluster; the jobs of a worker that is killed go to another one.

The only module that imports `distributed`. Its waits cannot be relied on, so each runs in a thread of its own,
while this thread checks whether the cluster is still there.
"""

import logging
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeVar, final
from urllib.parse import urlsplit
from uuid import uuid4

from evoseg.cluster.remote import (
    ClusterError,
    JobReply,
    MissingPack,
    WorkerContext,
    answer,
    differences,
    hash_of,
    other_versions,
    receive,
    versions,
)
from evoseg.core.errors import EvosegError, MissingPackageError
from evoseg.datasets.memmap import Pack
from evoseg.evolve.evaluation.jobs import Job, Outcome, Scheduler
from evoseg.evolve.evaluation.processes import WorkerSettings
from evoseg.evolve.ports import Task

try:
    import distributed
except ImportError as error:
    raise MissingPackageError(
        "searches on a Dask cluster need the package distributed. Install it with: pip install 'evoseg[dask]'"
    ) from error

R = TypeVar("R")

CONNECT_S = 10.0
"""Time limit for connecting to the scheduler, s."""
ANSWER_S = 30.0
"""Time limit for a reply of the scheduler, s."""
NO_WORKER_S = 30.0
"""Time without any worker after which the cluster counts as lost, s; a nanny takes some seconds to replace one."""
LEAVE_S = 5.0
"""Time limit for cancelling and closing, s."""
LOOK_S = 2.0
"""Time between two checks of which workers exist, s."""
PIECE_BYTES = 4 << 20
"""Size of the pieces in which a pack is sent; below what Dask calls a large graph."""
ATTEMPTS = 20
"""Attempts at a job; Dask repeats each up to four times if workers are killed."""


@contextmanager
def connect_cluster(address: str) -> Iterator["Cluster"]:
    """Context manager that yields a connection to a cluster.

    Parameters
    ----------
    address : str
        The scheduler's, as tcp://HOST:PORT.

    Raises
    ------
    ClusterError
        If nothing answers there, there are no workers, or their versions are not those of this process.
    """
    loud = logging.getLogger("distributed")
    level = loud.level
    loud.setLevel(logging.CRITICAL)  # problems are reported once, by us
    try:
        client = _client(address)
        try:
            cluster = Cluster(client, address)
            cluster.check()
            yield cluster
        finally:
            _wait(_start(client.close), LEAVE_S)
    finally:
        loud.setLevel(level)


def _client(address: str) -> "distributed.Client":
    def connect() -> "distributed.Client":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions, which we compare ourselves
            return distributed.Client(address, timeout=CONNECT_S, set_as_default=False, name="evoseg")

    begun = _start(connect)
    try:
        # Something that accepts and says nothing would make the client wait for ever.
        if _wait(begun, 2 * CONNECT_S):
            return begun.result()
        why = "something is there, but does not answer as a scheduler would"
    except (OSError, ImportError, ValueError) as error:
        why = str(error)
    raise ClusterError(
        f"no Dask scheduler can be reached at {address} ({why}). Is it running, is the port the scheduler's (8786 by "
        "default, not that of the dashboard), and is there no firewall between?"
    )


@final
class Cluster:
    """A connection to a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client
    address : str
        For messages.
    """

    def __init__(self, client: "distributed.Client", address: str) -> None:
        self._client = client
        self._address = address

    def executor(self, task: Task, pack: Pack) -> "DaskExecutor":
        """Return what runs the jobs of a task on the items of a pack."""
        threads = Counter(urlsplit(slot).hostname for slot in self.slots())
        # Each machine has as much memory for values as one that searches alone.
        limits = WorkerSettings(1, WorkerSettings().cache_bytes // max(threads.values()))
        return DaskExecutor(self, WorkerContext(hash_of(pack.path), task, limits, versions()), pack.path)

    def check(self) -> None:
        """Wait for a worker, and compare versions.

        Raises
        ------
        ClusterError
            If none comes, or one differs.
        """
        self.slots()
        here = versions()
        replies = {"the Dask scheduler": self._ask(self._scheduler_versions)}
        there = self._ask(lambda: self._client.run(versions, on_error="return"))
        replies |= {f"the Dask worker {address}": reply for address, reply in there.items()}
        for who, reply in replies.items():
            if isinstance(reply, OSError):
                continue  # it has ended meanwhile
            if isinstance(reply, Exception):
                raise ClusterError(f"{who} cannot use evoseg ({reply}). Start the whole cluster from one environment.")
            if differ := differences(reply, here):
                raise ClusterError(other_versions(who, differ))

    def _scheduler_versions(self) -> Any:
        try:
            return self._client.run_on_scheduler(versions)
        except Exception as error:
            return error

    def slots(self) -> list[str]:
        """Return the addresses of the workers that are there, each as often as it has threads; wait for the first.

        Raises
        ------
        ClusterError
            If there is none for some time, or the scheduler is gone.
        """
        until = monotonic() + NO_WORKER_S
        while True:
            threads = self._ask(self._client.nthreads)
            if slots := sorted(address for address, n in threads.items() for _ in range(n)):
                return slots
            if monotonic() > until:
                raise ClusterError(
                    f"{self._address}: no worker in {NO_WORKER_S:.0f} s. Start some: dask worker HOST:PORT --nthreads 4"
                )
            sleep(0.2)

    def gather(self, futures: "Mapping[int, distributed.Future]") -> dict[int, Any]:
        """Wait for futures; of those that failed or were forgotten, the value is None.

        Raises
        ------
        ClusterError
            If there is no worker for some time, or the scheduler is gone.
        """
        begun = _start(lambda: self._client.gather(dict(futures), errors="skip"))
        while not _wait(begun, LOOK_S):
            self.slots()
            self.cancel(self._forgotten(list(futures.values())))
        if self._client.status != "running":
            raise ClusterError(f"{self._address}: the connection to the Dask scheduler is lost.")
        return self._result(begun)

    def _forgotten(self, futures: "Sequence[distributed.Future]") -> "list[distributed.Future]":
        """Return futures that no worker has, though there are some.

        A task that was meant for a worker, and lost it when there was no other, waits for that address for ever.
        """
        at_work = {key for keys in self._ask(self._client.processing).values() for key in keys}
        return [future for future in futures if future.status == "pending" and future.key not in at_work]

    def submit(self, slot: str, function: Callable[..., Any], *arguments: Any) -> "distributed.Future":
        """Call a function on a worker, or on another one if that has ended."""
        return self._client.submit(function, *arguments, workers=[slot], allow_other_workers=True, pure=False)

    def cancel(self, futures: "Sequence[distributed.Future]") -> None:
        """Cancel futures; computations that already run end within their own limits."""
        if not futures:
            return
        _wait(_start(lambda: self._client.cancel(list(futures), force=True)), LEAVE_S)

    def _ask(self, call: Callable[[], R]) -> R:
        begun = _start(call)
        if not _wait(begun, ANSWER_S):
            raise ClusterError(f"{self._address}: the Dask scheduler has not answered for {ANSWER_S:.0f} s.")
        return self._result(begun)

    def _result(self, begun: "Future[R]") -> R:
        try:
            return begun.result()
        except EvosegError:
            raise
        except Exception as error:
            raise ClusterError(f"{self._address}: the Dask scheduler does not answer ({error}).") from error


@final
class DaskExecutor:
    """Runs jobs on a cluster.

    Parameters
    ----------
    cluster : Cluster
    context : WorkerContext
    pack : Path
        The packed images, for workers that have not got them yet.

    Attributes
    ----------
    scheduler : Scheduler
        Made anew when the workers' threads have changed; looked at when jobs are run.
    n_given_up : int
        Requests that failed in a child process as `Processes` counts them. A Dask worker that is killed does not count:
        its jobs give the same answers elsewhere.
    """

    def __init__(self, cluster: Cluster, context: WorkerContext, pack: Path) -> None:
        self._cluster = cluster
        self._context = pickle.dumps(context)
        self._hash = context.pack
        self._pack = pack
        self._name = uuid4().hex
        self._cache_bytes = context.limits.cache_bytes
        self._slots: list[str] = []
        self._look()
        self.n_given_up = 0

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run all jobs, each by the worker that it is meant for if that is there.

        Raises
        ------
        ClusterError
            If the scheduler is gone, no workers are left, one cannot work, or a job comes to no answer.
        """
        outcomes: dict[int, Outcome] = {}
        for attempt in range(ATTEMPTS):
            if attempt or monotonic() - self._looked > LOOK_S:
                self._look()
            missing: dict[str, str] = {}
            for i, reply in self._replies({i: job for i, job in enumerate(jobs) if i not in outcomes}).items():
                if isinstance(reply, MissingPack):
                    missing[reply.worker] = reply.address
                else:
                    outcomes[i] = reply.outcome
                    self.n_given_up += reply.n_given_up
            if len(outcomes) == len(jobs):
                return [outcomes[i] for i in range(len(jobs))]
            for worker, address in missing.items():
                self._send_pack(worker, address)
        raise ClusterError(
            f"{ATTEMPTS} attempts at a job have failed: Dask workers end before they send a result. See their logs; a "
            "memory limit may be too low."
        )

    def close(self) -> None:
        """Do nothing; idle child processes of the workers end by themselves."""

    def _look(self) -> None:
        slots, self._looked = self._cluster.slots(), monotonic()
        if slots != self._slots:
            self._slots, self.scheduler = slots, Scheduler(len(slots), self._cache_bytes)

    def _replies(self, jobs: Mapping[int, Job]) -> dict[int, JobReply | MissingPack]:
        """Submit each job once; a job whose workers were killed repeatedly has no reply."""
        futures = {
            i: self._cluster.submit(
                self._slots[job.worker % len(self._slots)], _answer, pickle.dumps((self._context, job))
            )
            for i, job in jobs.items()
        }
        try:
            replies = self._cluster.gather(futures)
        except BaseException:
            self._cluster.cancel(list(futures.values()))
            raise
        for i, future in futures.items():
            if replies[i] is None and future.status == "error":
                _raise_unless_killed(future.exception(timeout=ANSWER_S))
        return {i: pickle.loads(reply) for i, reply in replies.items() if reply is not None}

    def _send_pack(self, worker: str, address: str) -> None:
        """Send the pack to a worker, in pieces; if it is killed meanwhile, whoever takes its place asks again."""
        size = self._pack.stat().st_size
        with self._pack.open("rb") as file:
            for at in range(0, size, PIECE_BYTES):
                last = at + PIECE_BYTES >= size
                piece = (self._hash, self._name, at, file.read(PIECE_BYTES), last)
                future = self._cluster.submit(address, _receive, worker, *piece)
                self._cluster.gather({0: future})
                if future.status == "error":
                    _raise_unless_killed(future.exception(timeout=ANSWER_S))


def _answer(question: bytes) -> bytes:
    worker = distributed.get_worker()
    return answer(question, _folder(worker), worker.id, worker.address)


def _receive(who: str, *piece: Any) -> None:
    worker = distributed.get_worker()
    if worker.id == who:  # a task may end up in another worker than it was meant for
        receive(_folder(worker), *piece)


def _folder(worker: "distributed.Worker") -> Path:
    """Return where a worker keeps packs: with all that Dask deletes when the worker ends, or the next one starts."""
    return Path(worker.local_directory) / "evoseg"


def _raise_unless_killed(error: BaseException) -> None:
    if isinstance(error, distributed.KilledWorker):
        return
    if isinstance(error, EvosegError):
        raise error
    raise ClusterError(f"a Dask worker failed ({type(error).__name__}: {error}).") from error


def _start(call: Callable[[], R]) -> "Future[R]":
    """Start a call in a thread of its own."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _wait(begun: "Future[R]", seconds: float) -> bool:
    """Wait for a call, and return whether it has come to an end."""
    try:
        begun.exception(seconds)
    except TimeoutError:
        return begun.done()
    return True
