"""Jobs on a Dask cluster: exact answers, no harm from killed workers, and an end to every wait."""

import os
import pickle
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("distributed", reason="distributed is not installed: pip install 'evoseg[dask]'")

from evoseg.cluster import dask, remote
from evoseg.cluster.dask import DaskExecutor, connect_cluster
from evoseg.cluster.remote import ClusterError
from evoseg.datasets.memmap import Pack
from evoseg.evolve.evaluation.jobs import Job, Request
from evoseg.evolve.evaluation.processes import WorkerSettings
from evoseg.evolve.ports import Failed, Task
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.task_kinds import digest_of, load_task
from tests.cluster.local import LocalCluster, local_cluster, wait_until
from tests.evolve import helpers
from tests.evolve.helpers import NastyTask, SlowTask, UnreadableTask, marking, pack, ramp
from tests.evolve.test_workers import GOOD, counts, expected

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("cluster"), 0) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared) -> LocalCluster:
    """Return a cluster of two workers, with others for those that a test has killed."""
    shared.fill(2)
    return shared


@contextmanager
def executor(cluster: LocalCluster, task: Task, path: Path) -> Iterator[DaskExecutor]:
    with connect_cluster(cluster.address) as connection:
        yield connection.executor(task, Pack(path))


def job(*marks: int, limit_s: float = 5.0) -> Job:
    return Job(tuple(Request(marking(n)) for n in marks), (0,), limit_s)


def after(condition: Path, act) -> threading.Thread:
    """Do something once a file is there."""

    def wait() -> None:
        wait_until(condition.exists)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_jobs_come_back_in_order_with_the_answers_that_this_process_gives(cluster, tmp_path):
    with executor(cluster, BinaryTask(), pack(ramp(), tmp_path)) as dask_executor:
        assert dask_executor.scheduler.n_workers == 2
        outcomes = dask_executor.run([job(n, n + 1) for n in range(20, 40)])
    assert [counts(o) for o in outcomes] == [expected(n, n + 1) for n in range(20, 40)]
    assert outcomes[0].results[0].dtype == np.float64


def test_equal_packs_are_sent_once(cluster, tmp_path):
    image = np.random.default_rng(20260311).integers(0, 256, (1900, 2100, 3), np.uint8)  # in three pieces
    items = [{"image": image, "mask": image[:, :, 0] > 100}]
    kept = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = pack(items, tmp_path / name)
        with executor(cluster, BinaryTask(), path) as dask_executor:
            dask_executor.run([replace(job(n), worker=worker) for worker, n in enumerate(GOOD)])
            found = cluster.packs(remote.hash_of(path))
            kept.append({file: file.stat().st_ino for file in found})
            assert all(file.read_bytes() == path.read_bytes() for file in found)
    assert len(kept[0]) == 2
    assert kept[0] == kept[1]


@pytest.mark.parametrize("nasty", [helpers.EXITS, helpers.STUCK, helpers.HUGE, helpers.RAISES])
def test_a_bad_candidate_costs_neither_others_nor_its_dask_worker(cluster, tmp_path, nasty):
    living = cluster.living()
    task = NastyTask(folder=str(tmp_path))
    with executor(cluster, task, pack(ramp(), tmp_path)) as dask_executor:
        (outcome,) = dask_executor.run([job(GOOD[0], nasty, GOOD[1], limit_s=2.0)])
        assert [counts(o) for o in dask_executor.run([job(n) for n in GOOD])] == [expected(n) for n in GOOD]
        # Another run may get an answer where a limit was met or a process died; an error that was raised stays one.
        assert dask_executor.n_given_up == (nasty != helpers.RAISES)
    first, failed, last = outcome.results
    assert isinstance(failed, Failed)
    assert [first[0].tolist(), last[0].tolist()] == expected(*GOOD[:2])
    assert cluster.living() == living


def test_a_killed_dask_worker_costs_nothing_and_leaves_nothing_running(cluster, tmp_path):
    task = SlowTask(folder=str(tmp_path), seconds=1.0)
    children: list[psutil.Process] = []

    def kill() -> None:
        for worker in cluster.living():
            children.extend(worker.children(recursive=True))
            worker.kill()
            worker.wait()
        cluster.start(2)

    with executor(cluster, task, pack(ramp(), tmp_path)) as dask_executor:
        thread = after(tmp_path / "begun", kill)
        outcomes = dask_executor.run([job(n, limit_s=60) for n in GOOD])
        thread.join()
        assert [counts(o) for o in outcomes] == [expected(n) for n in GOOD]
        assert dask_executor.n_given_up == 0
    assert children
    wait_until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))


def test_an_interrupt_leaves_no_stale_answers(cluster, tmp_path):
    task = SlowTask(folder=str(tmp_path), seconds=1.0)
    with executor(cluster, task, pack(ramp(), tmp_path)) as dask_executor:
        thread = after(tmp_path / "begun", lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            dask_executor.run([job(GOOD[0], limit_s=60)])
        thread.join()
        assert counts(dask_executor.run([job(GOOD[1], limit_s=60)])[0]) == expected(GOOD[1])


def test_workers_that_are_all_gone_are_an_error(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "NO_WORKER_S", 2.0)
    task = SlowTask(folder=str(tmp_path), seconds=1.0)
    with executor(cluster, task, pack(ramp(), tmp_path)) as dask_executor:
        thread = after(tmp_path / "begun", lambda: [worker.kill() for worker in cluster.living()])
        with pytest.raises(ClusterError, match="no worker in 2 s"):
            dask_executor.run([job(n, limit_s=60) for n in GOOD])
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_scheduler_that_is_gone_is_an_error(tmp_path, monkeypatch, number):
    monkeypatch.setattr(dask, "CONNECT_S", 5.0)
    task = SlowTask(folder=str(tmp_path), seconds=1.0)
    with local_cluster(tmp_path, 1) as own, executor(own, task, pack(ramp(), tmp_path)) as dask_executor:
        monkeypatch.setattr(dask, "ANSWER_S", 3.0)
        thread = after(tmp_path / "begun", lambda: os.kill(own.scheduler.pid, number))
        with pytest.raises(ClusterError, match="scheduler"):
            dask_executor.run([job(n, limit_s=60) for n in GOOD])
        thread.join()


def test_a_task_that_workers_cannot_read_is_an_error(cluster, tmp_path):
    wanted = pytest.raises(ClusterError, match=r"cannot read the task .*somebodys_notebook.* module")
    with wanted, executor(cluster, UnreadableTask(home=os.getpid()), pack(ramp(), tmp_path)) as dask_executor:
        dask_executor.run([job(*GOOD)])


def test_a_task_of_ones_own_that_a_worker_lacks_is_an_error_that_names_the_worker(tmp_path):
    file = tmp_path / "own.py"
    file.write_text((ROOT / "examples" / "own_task.py").read_text("utf-8"), encoding="utf-8")
    task = load_task(file, digest_of(file))
    context = pickle.dumps(remote.WorkerContext("", task, WorkerSettings(), remote.versions()))
    file.unlink()
    load_task.cache_clear()  # as in another process
    with pytest.raises(ClusterError, match=r"worker tcp://there cannot run the task: .*own\.py: cannot be read"):
        remote.answer(pickle.dumps((context, job(*GOOD))), tmp_path, "w", "tcp://there")


def test_other_versions_are_an_error(cluster, monkeypatch):
    monkeypatch.setitem(remote.versions(), "numpy", "1.0")  # in this process alone
    with pytest.raises(ClusterError, match=f"numpy {np.__version__} instead of 1.0"), connect_cluster(cluster.address):
        pass


def test_a_scheduler_without_evoseg_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "CONNECT_S", 5.0)
    wanted = pytest.raises(ClusterError, match="the Dask scheduler cannot use evoseg")
    with local_cluster(tmp_path, 1, without_evoseg="scheduler") as own, wanted, connect_cluster(own.address):
        pass


def test_a_worker_that_joins_with_other_versions_is_an_error(cluster, tmp_path, monkeypatch):
    path = pack(ramp(), tmp_path)
    with connect_cluster(cluster.address) as connection:
        monkeypatch.setitem(remote.versions(), "numpy", "1.0")
        with pytest.raises(ClusterError, match=r"the Dask worker tcp://\S+ has numpy"):
            connection.executor(BinaryTask(), Pack(path)).run([job(*GOOD)])


def test_a_cluster_without_workers_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "NO_WORKER_S", 1.0)
    with (
        local_cluster(tmp_path, 0) as own,
        pytest.raises(ClusterError, match="no worker"),
        connect_cluster(own.address),
    ):
        pass


@contextmanager
def nothing() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


@contextmanager
def silence() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def dashboard() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
        server.daemon_threads = True


@pytest.mark.parametrize("there", [nothing, silence, dashboard])
def test_what_is_no_scheduler_is_an_error(there, monkeypatch):
    monkeypatch.setattr(dask, "CONNECT_S", 1.0)
    wanted = pytest.raises(ClusterError, match="no Dask scheduler can be reached")
    with there() as port, wanted, connect_cluster(f"tcp://127.0.0.1:{port}"):
        pass


def test_children_that_nobody_asks_end(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "IDLE_S", 5.0)
    path = pack(ramp(), tmp_path)
    folder = tmp_path / "kept"
    folder.mkdir()
    path.rename(folder / f"{(digest := remote.hash_of(path))}.pack")
    context = remote.WorkerContext(digest, BinaryTask(), dask.WorkerSettings(), remote.versions())
    before = set(psutil.Process().children())
    remote.answer(remote.pickle.dumps((remote.pickle.dumps(context), job(*GOOD))), folder, "me", "here")
    assert set(psutil.Process().children()) - before
    wait_until(lambda: not set(psutil.Process().children()) - before)


def test_only_so_many_packs_are_kept_and_only_whole_ones(tmp_path):
    for i in range(remote.MOST_PACKS + 2):
        data = bytes([i])
        digest = remote.sha256(data).hexdigest()
        remote.receive(tmp_path, digest, "sender", 0, data, True)
        os.utime(tmp_path / f"{digest}.pack", (i, i))
    remote.receive(tmp_path, "not its hash", "sender", 0, b"torn", True)
    kept = sorted(path.read_bytes()[0] for path in tmp_path.iterdir())
    assert kept == list(range(2, remote.MOST_PACKS + 2))
