"""`--executor dask://HOST:PORT`: the same result as here, one message for each fault."""

import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import evoseg
from evoseg.cluster import check_executor
from evoseg.core.errors import EvosegError, SettingsError
from evoseg.runs.status import Status

if TYPE_CHECKING:
    from tests.cluster.local import LocalCluster

needs_dask = pytest.mark.skipif(
    find_spec("distributed") is None, reason="distributed is not installed: pip install 'evoseg[dask]'"
)
SMALL = ("--evaluations", "60", "--no-remember")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> "Iterator[LocalCluster]":
    from tests.cluster.local import local_cluster

    with local_cluster(tmp_path_factory.mktemp("cluster"), 2) as made:
        yield made


@pytest.fixture
def here(dataset) -> evoseg.SearchResult:
    """Return what this machine finds alone."""
    return evoseg.search(dataset, evaluations=60, library=evoseg.Library(remember=False), workers=1)


def address_of(cluster: "LocalCluster") -> str:
    return cluster.address.replace("tcp://", "dask://")


def untimed(result: dict) -> dict:
    history = [(evaluations, score) for evaluations, _, score in result["history"]]
    return {key: result[key] for key in ("pipeline", "scores", "front", "reproducible")} | {"history": history}


@needs_dask
@pytest.mark.e2e
def test_a_cluster_gives_the_result_of_this_machine(cluster, dataset, here, tmp_path):
    executor = address_of(cluster)
    run = tmp_path / "run"
    there = evoseg.search(dataset, evaluations=60, library=evoseg.Library(remember=False), workers=executor, out=run)
    assert untimed(there.to_json()) == untimed(here.to_json())
    assert there.settings["executor"] == executor


@needs_dask
@pytest.mark.e2e
def test_a_run_that_has_lost_its_cluster_is_resumed_here(command, dataset, here, tmp_path):
    from tests.cluster.local import local_cluster

    run = tmp_path / "run"
    with local_cluster(tmp_path, 1) as own:

        def kill(status: Status) -> None:
            if status.evaluations:
                own.scheduler.kill()

        with pytest.raises(EvosegError, match="scheduler") as caught:
            evoseg.search(
                dataset,
                evaluations=60,
                library=evoseg.Library(remember=False),
                workers=address_of(own),
                out=run,
                progress=kill,
            )
    assert any("runs resume" in note for note in caught.value.__notes__)
    again = command("runs", "resume", run)  # as before, where nothing is any more
    assert (again.code, "no Dask scheduler can be reached" in again.err, "Traceback" in again.err) == (1, True, False)
    assert untimed(evoseg.resume(run, workers=1).to_json()) == untimed(here.to_json())


@needs_dask
@pytest.mark.e2e
def test_an_address_where_nothing_is_ends_in_one_message_and_leaves_no_run(command, dataset, home, monkeypatch):
    from evoseg.cluster import dask

    monkeypatch.setattr(dask, "CONNECT_S", 1.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        executor = f"dask://127.0.0.1:{free.getsockname()[1]}"
        done = command("search", dataset, *SMALL, "--workers", executor)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith("error: no Dask scheduler can be reached at tcp://127.0.0.1:")
    assert "Traceback" not in done.err
    assert not list(home.glob("runs/*"))


def test_without_distributed_a_search_says_what_to_install(command, dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "evoseg.cluster.dask", raising=False)
    done = command("search", dataset, *SMALL, "--workers", "dask://127.0.0.1:8786")
    assert done.code == 1
    assert "pip install 'evoseg[dask]'" in done.err


@pytest.mark.parametrize(
    "executor",
    ["", "dask", "Local", "dask://", "dask://host", "dask://:8786", "dask://host:port", "dask://host:99999"]
    + ["tcp://host:8786", "dask://host:8786/path", "dask://me@host:8786", "dask://[::1:8786"],
)
def test_what_is_no_executor_is_refused(executor):
    with pytest.raises(SettingsError, match="dask://HOST:PORT"):
        check_executor(executor)


@pytest.mark.parametrize("executor", ["local", "dask://host:8786", "dask://[::1]:8786"])
def test_an_executor_is_accepted(executor):
    check_executor(executor)


def test_workers_are_not_counted_twice(command, dataset):
    done = command("search", dataset, "--executor", "dask://host:8786", "--workers", "2")
    assert done.code == 2
    assert "Leave one out" in done.err


@needs_dask
@pytest.mark.e2e
def test_a_replay_on_a_cluster_finds_no_difference(cluster, found: evoseg.SearchResult, command):
    folder: Path = found.files["pipeline"].parent
    done = command("runs", "replay", folder, "--workers", address_of(cluster))
    assert (done.code, "all as recorded" in done.out) == (0, True)
