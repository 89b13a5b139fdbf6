"""Searches that train networks: what they leave, and what becomes of them when they are killed."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.api import replay
from evoseg.datasets.io.files import read_image
from evoseg.evolve.journal import JournalError
from evoseg.operators.network import computed_planes
from evoseg.runs import trained
from tests.system.interrupted import cut, same

pytestmark = pytest.mark.e2e

N = 200
SETTINGS = {"task": "binary", "evaluations": N, "workers": 0, "library": "none", "report": False}


@pytest.fixture(scope="module")
def shown() -> list[np.ndarray]:
    """Return the images on which the search `whole` has run the network's file."""
    return []


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory, shown) -> evoseg.SearchResult:
    def noted(image: np.ndarray, *arguments: object) -> np.ndarray:
        shown.append(image)
        return computed_planes(image, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evoseg.operators.network.computed_planes", noted)
        return evoseg.search(dataset, **SETTINGS | {"report": True}, out=tmp_path_factory.mktemp("whole"))


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return shutil.copytree(whole.folder, tmp_path / "run")


def entry_of_training(run: Path) -> int:
    with sqlite3.connect(run / "run.db") as connection:
        ((number,),) = connection.execute("SELECT number FROM entry WHERE question LIKE 'networks\n%'").fetchall()
    return int(number)


def test_it_hands_out_two_pipelines_and_the_network(whole, dataset):
    accurate, readable = whole.answers["accurate"], whole.answers["readable"]
    assert accurate.pipeline.has_network and not readable.pipeline.has_network
    assert accurate.scores["test"] > 0.6
    (digest,) = accurate.pipeline.networks
    assert (whole.folder / "networks" / f"{digest}.onnx").is_file()
    again = evoseg.read_pipeline(whole.folder / "accurate.evo")
    image = read_image(next((dataset / "images").iterdir()))
    np.testing.assert_array_equal(again(image), accurate.pipeline(image))
    assert evoseg.SearchResult.load(whole.folder).answers.keys() == whole.answers.keys()


def test_scoring_and_the_report_show_each_test_image_to_the_network_once(whole, shown):
    assert len(shown) == len(whole.splits.selection) + len(whole.splits.test)


@pytest.mark.parametrize("before", [True, False], ids=["in the training", "just after it"])
def test_a_search_killed_around_the_training_ends_as_if_nothing_had_happened(run, whole, monkeypatch, before):
    cut(run, entry_of_training(run) - before)
    if not before:
        monkeypatch.setattr(trained, "TrainingProcess", lambda *_: pytest.fail("trained again"))
    resumed = evoseg.resume(run)
    assert same(resumed, whole)
    assert resumed.answers["accurate"].pipeline == whole.answers["accurate"].pipeline


def test_a_replay_trains_nothing(run, monkeypatch):
    monkeypatch.setattr(trained, "TrainingProcess", lambda *_: pytest.fail("trained again"))
    assert replay(run).difference is None


def test_networks_that_are_gone_are_missed_by_name(run):
    for path in (run / "networks").iterdir():
        path.unlink()
    cut(run, entry_of_training(run))
    with pytest.raises(JournalError, match="networks of this run cannot be read"):
        evoseg.resume(run)


def test_ctrl_c_in_the_training_leaves_the_readable_pipeline_and_can_be_resumed(dataset, whole, tmp_path):
    def watch(status: evoseg.Status) -> None:
        if status.doing.startswith("training"):
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = evoseg.search(dataset, **SETTINGS, out=tmp_path / "run", progress=watch)
    assert (found.stopped_by, found.final, list(found.answers)) == ("interrupt", False, ["readable"])
    assert "interrupted" in found.networks["none"]
    assert same(evoseg.resume(tmp_path / "run"), whole)


def test_kill_9_at_any_time_of_the_training_leaves_no_process_and_ends_the_same(dataset, whole, tmp_path):
    arguments = f"{str(dataset)!r}, **{SETTINGS!r}, out={str(tmp_path / 'run')!r}"
    script = f"import evoseg\nevoseg.search({arguments}, progress=lambda s: print(s.doing, flush=True))"
    env = os.environ | {"PYTHONPATH": str(Path(evoseg.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env) as child:
        assert any(line.startswith("training") for line in child.stdout)
        child.kill()
    assert same(evoseg.resume(tmp_path / "run"), whole)


def test_without_torch_there_are_filters_only_and_the_result_says_why(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "find_spec", lambda name: None)
    found = evoseg.search(dataset, **SETTINGS, out=tmp_path / "run")
    assert list(found.answers) == ["readable"] and "PyTorch" in found.networks["none"]


def test_without_networks_the_search_has_all_evaluations(dataset, tmp_path):
    goal = evoseg.Goal(networks=False)
    found = evoseg.search(dataset, **SETTINGS, goal=goal, out=tmp_path / "run")
    assert list(found.answers) == ["readable"] and found.evaluations == N
    assert not (tmp_path / "run/networks").exists()
