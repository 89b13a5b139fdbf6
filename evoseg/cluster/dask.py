"""A Dask cluster as an executor: jobs go to its workers, and what a killed worker has taken along goes to another.

Alone imports `distributed`, and trusts none of its waits: each is done in a thread of its own while this one looks
whether the cluster is still there.
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

from evoseg.base.errors import EvosegError, MissingPackageError
from evoseg.cluster.remote import (
    Answered,
    ClusterError,
    Kit,
    Wanting,
    answer,
    differences,
    hash_of,
    other_versions,
    receive,
    versions,
)
from evoseg.data.pack import Pack
from evoseg.evolve.jobs import Dealer, Job, Outcome
from evoseg.evolve.ports import Task
from evoseg.evolve.workers import WorkerSettings

try:
    import distributed
except ImportError as error:
    raise MissingPackageError(
        "searches on a Dask cluster need the package distributed. Install it with: pip install 'evoseg[dask]'"
    ) from error

R = TypeVar("R")

CONNECT_S = 10.0
"""For reaching the scheduler."""
ANSWER_S = 30.0
"""For a reply of the scheduler."""
NO_WORKER_S = 30.0
"""Without any worker, at the start or later: a nanny takes some seconds to replace one."""
LEAVE_S = 5.0
"""For letting go, also of what may not be there any more."""
LOOK_S = 2.0
"""Between two looks at who is there."""
PIECE_BYTES = 4 << 20
"""Of a pack; below what Dask calls a large graph."""
ATTEMPTS = 20
"""For a job; Dask makes up to four of each where workers are killed."""


@contextmanager
def connected(address: str) -> Iterator["Cluster"]:
    """Connect to a cluster for a while.

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
    loud.setLevel(logging.CRITICAL)  # whatever goes wrong is told once, by us
    try:
        client = _client(address)
        try:
            cluster = Cluster(client, address)
            cluster.check()
            yield cluster
        finally:
            _wait(_begun(client.close), LEAVE_S)
    finally:
        loud.setLevel(level)


def _client(address: str) -> "distributed.Client":
    def connect() -> "distributed.Client":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions, which we compare ourselves
            return distributed.Client(address, timeout=CONNECT_S, set_as_default=False, name="evoseg")

    begun = _begun(connect)
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
        return DaskExecutor(self, Kit(hash_of(pack.path), task, limits, versions()), pack.path)

    def check(self) -> None:
        """Wait for a worker, and compare versions.

        Raises
        ------
        ClusterError
            If none comes, or one differs.
        """
        self.slots()
        here = versions()
        replies = {"the Dask scheduler": self._asked(self._scheduler_versions)}
        there = self._asked(lambda: self._client.run(versions, on_error="return"))
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
            threads = self._asked(self._client.nthreads)
            if slots := sorted(address for address, n in threads.items() for _ in range(n)):
                return slots
            if monotonic() > until:
                raise ClusterError(
                    f"{self._address}: no worker in {NO_WORKER_S:.0f} s. Start some: dask worker HOST:PORT --nthreads 4"
                )
            sleep(0.2)

    def gathered(self, futures: "Mapping[int, distributed.Future]") -> dict[int, Any]:
        """Wait for futures; of those that failed or were forgotten, the value is None.

        Raises
        ------
        ClusterError
            If there is no worker for some time, or the scheduler is gone.
        """
        begun = _begun(lambda: self._client.gather(dict(futures), errors="skip"))
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
        at_work = {key for keys in self._asked(self._client.processing).values() for key in keys}
        return [future for future in futures if future.status == "pending" and future.key not in at_work]

    def submit(self, slot: str, function: Callable[..., Any], *arguments: Any) -> "distributed.Future":
        """Have a function called, by another worker if this one is gone."""
        return self._client.submit(function, *arguments, workers=[slot], allow_other_workers=True, pure=False)

    def cancel(self, futures: "Sequence[distributed.Future]") -> None:
        """Let go of futures; whatever is being computed already ends within its own limits."""
        if not futures:
            return
        _wait(_begun(lambda: self._client.cancel(list(futures), force=True)), LEAVE_S)

    def _asked(self, call: Callable[[], R]) -> R:
        begun = _begun(call)
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
    kit : Kit
    pack : Path
        The packed images, for workers that have not got them yet.

    Attributes
    ----------
    dealer : Dealer
        Made anew when the workers' threads have changed; looked at when jobs are run.
    n_given_up : int
        Requests that failed in a child process as `Processes` counts them. A Dask worker that is killed does not count:
        its jobs give the same answers elsewhere.
    """

    def __init__(self, cluster: Cluster, kit: Kit, pack: Path) -> None:
        self._cluster = cluster
        self._kit = pickle.dumps(kit)
        self._hash = kit.pack
        self._pack = pack
        self._name = uuid4().hex
        self._cache_bytes = kit.limits.cache_bytes
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
            wanting: dict[str, str] = {}
            for i, reply in self._replies({i: job for i, job in enumerate(jobs) if i not in outcomes}).items():
                if isinstance(reply, Wanting):
                    wanting[reply.worker] = reply.address
                else:
                    outcomes[i] = reply.outcome
                    self.n_given_up += reply.n_given_up
            if len(outcomes) == len(jobs):
                return [outcomes[i] for i in range(len(jobs))]
            for worker, address in wanting.items():
                self._send_pack(worker, address)
        raise ClusterError(
            f"{ATTEMPTS} attempts at a job have come to nothing: Dask workers end before they answer. Their own logs "
            "say why; a memory limit may be too low."
        )

    def close(self) -> None:
        """Hold nothing: children of the workers end by themselves when nobody asks them."""

    def _look(self) -> None:
        slots, self._looked = self._cluster.slots(), monotonic()
        if slots != self._slots:
            self._slots, self.dealer = slots, Dealer(len(slots), self._cache_bytes)

    def _replies(self, jobs: Mapping[int, Job]) -> dict[int, Answered | Wanting]:
        """Ask once; a job whose workers were killed again and again has no reply."""
        futures = {
            i: self._cluster.submit(self._slots[job.worker % len(self._slots)], _answer, pickle.dumps((self._kit, job)))
            for i, job in jobs.items()
        }
        try:
            replies = self._cluster.gathered(futures)
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
                self._cluster.gathered({0: future})
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


def _begun(call: Callable[[], R]) -> "Future[R]":
    """Begin a call in a thread that nobody has to wait for."""
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
