"""Files that commit 1c55e49 wrote still open: runs, results, a library, task files, pipelines."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.datasets.io.files import read_image

FIRST = Path(__file__).resolve().parents[1] / "fixtures/1c55e49"
COLD = ("plain-cold", "dots-cold", "objects-cold", "soft")
RUNS = ("plain", "dots", "objects", "classes/class-1", "classes/class-2", *COLD)


@pytest.fixture
def first(tmp_path, monkeypatch) -> Path:
    """Return a copy of everything, whose home is the present one."""
    folder = Path(shutil.copytree(FIRST, tmp_path / "first"))
    monkeypatch.setenv("EVOSEG_HOME", str(folder / "home"))
    return folder


def dataset_of(first: Path, run: str) -> Path:
    return first / "datasets" / run.split("/")[0].removesuffix("-cut").removesuffix("-cold")


def test_its_runs_are_listed(command, first):
    listed = {run["run"]: run["state"] for run in json.loads(command("runs", "list", "--json").out)["runs"]}
    assert listed == {**dict.fromkeys(RUNS, "done"), "soft-cut": "interrupted"}


@pytest.mark.parametrize("run", RUNS)
def test_its_runs_are_shown_reported_and_scored(command, first, run):
    assert command("runs", "show", run).code == 0
    assert command("show", run).code == 0
    recorded = json.loads((first / "home/runs" / run / "result.json").read_text())
    folder = dataset_of(first, run)
    if not run.startswith("classes"):
        done = command("score", run, folder, "--json")
        assert done.code == 0, done.err
        if run != "soft":  # whose masks have soft edges: their reading has changed since
            assert json.loads(done.out)["score"] == pytest.approx(recorded["scores"]["test"])
        done = command("report", run, "--dataset", folder, "--out", first / "report.html")
        assert done.code == 0, done.err
        assert (first / "report.html").stat().st_size > 10_000


@pytest.mark.e2e
def test_its_interrupted_run_resumes_to_the_recorded_end_with_masks_read_as_then(command, first):
    recorded = json.loads((first / "home/runs/soft/result.json").read_text())
    done = command("runs", "resume", "soft-cut", "--dataset", dataset_of(first, "soft"), "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    for key in ("digest", "scores", "test_per_image", "evaluations"):
        assert result[key] == recorded[key], key
    assert [(n, best) for n, _, best in result["history"]] == [(n, best) for n, _, best in recorded["history"]]


@pytest.mark.e2e
@pytest.mark.parametrize("run", COLD)
def test_its_runs_without_a_library_replay_bit_for_bit(command, first, run):
    done = command("runs", "replay", run, "--dataset", dataset_of(first, run))
    assert done.code == 0, done.err


@pytest.mark.e2e
@pytest.mark.parametrize("run", ["plain", "dots", "objects"])
def test_its_warm_starts_do_not_replay_since_pipelines_race_before_a_search(command, first, run):
    done = command("runs", "replay", run, "--dataset", dataset_of(first, run))
    assert done.code == 1
    assert "the search now evaluates race, all.probe or other programs" in done.err


@pytest.mark.e2e
def test_its_run_applies_with_at_most_a_warning(command, first):
    done = command("apply", "plain", dataset_of(first, "plain"), "--out", first / "answers")
    assert done.code == 0, done.err
    assert len(list((first / "answers/masks").iterdir())) == 6
    done = command(
        "apply", first / "home/runs/classes/classes.json", dataset_of(first, "classes"), "--out", first / "c"
    )
    assert done.code == 0, done.err


@pytest.mark.filterwarnings("ignore::evoseg.pipeline.textform.OrderWarning")  # of swapped.evo
@pytest.mark.parametrize("name", ["plain.evo", "plain.json", "page.evo", "swapped.evo"])
def test_its_pipelines_give_the_same_answers(first, name):
    image = read_image(sorted((first / "datasets/plain/images").iterdir())[0])
    pipeline = evoseg.read_pipeline(first / "pipelines" / name)
    assert int(np.asarray(pipeline(image)).sum()) == json.loads((first / "answers.json").read_text())[name]


def test_its_library_and_task_files_open(command, first):
    done = command("library", "list", "--json")
    assert done.code == 0, done.err
    titles = {task["name"] for task in json.loads(done.out)["tasks"]}
    assert {"plain", "dots", "objects"} <= titles
    assert command("similar", dataset_of(first, "plain")).code == 0
    other = first / "other.db"
    done = command("library", "add", *sorted((first / "tasks").iterdir()), "--library", other)
    assert done.code == 0, done.err
    done = command("library", "merge", first / "home/library.db", "--library", other)
    assert done.code == 0, done.err
