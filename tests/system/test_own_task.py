"""A task of one's own from the command line; and that no file runs that was not named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evoseg

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "own_task.py"


@pytest.fixture
def file(tmp_path):
    """Return a task that leaves a trace when it is run."""
    path = tmp_path / "counting.py"
    path.write_text(EXAMPLE.read_text("utf-8") + f"\nPath({str(tmp_path / 'ran')!r}).touch()\n", encoding="utf-8")
    return path


@pytest.fixture
def run(file, dataset, tmp_path, command):
    done = command(
        "search", dataset, "--task", file, "--evaluations", "30", "--workers", "1", "--out", tmp_path / "run", "--json"
    )
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def forgotten(file, dataset, tmp_path):
    """Make a run in another process, so that this one has never been told of the task."""
    options = ["--task", file, "--evaluations", "30", "--workers", "0", "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "evoseg.cli.main", "search", dataset, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file.parent / "ran").unlink()


def test_it_is_searched_for_in_workers(run, file):
    assert (run["task"], run["metric"]) == (str(file), "score")
    assert run["settings"]["task_digest"]
    assert 0 < run["scores"]["test"] <= 1
    assert "labels" in run["pipeline"] or "components" in run["pipeline"] or "watershed" in run["pipeline"]


def test_it_scores(run, file, dataset, tmp_path, command):
    done = command("score", tmp_path / "run", dataset, "--task", file, "--json")
    assert json.loads(done.out)["score"] == pytest.approx(run["scores"]["test"])


def test_nothing_runs_that_the_user_has_not_named(forgotten, file, tmp_path, command):
    # The record of a run is data, which a stranger may have written.
    for words in (("runs", "replay"), ("runs", "resume"), ("report",), ("runs", "show")):
        done = command(*words, tmp_path / "run")
        assert not (file.parent / "ran").exists(), words
    done = command("runs", "replay", tmp_path / "run")
    assert (done.code, "name it with --task" in done.err) == (2, True)


@pytest.mark.e2e
def test_named_it_is_replayed_and_reported(forgotten, file, tmp_path, command):
    assert "all as recorded" in command("runs", "replay", tmp_path / "run", "--task", file).out
    assert command("report", tmp_path / "run", "--task", file).code == 0


@pytest.mark.e2e
def test_another_program_is_not_taken_for_it(forgotten, file, tmp_path, command):
    file.write_text(file.read_text("utf-8") + "# changed\n", encoding="utf-8")
    done = command("runs", "replay", tmp_path / "run", "--task", file)
    assert (done.code, "is a different program" in done.err) == (1, True)


def test_its_faults_come_before_the_search(file, dataset, command):
    file.write_text(file.read_text("utf-8").replace("sample.labels.max()", "sample.cells"), encoding="utf-8")
    done = command("search", dataset, "--task", file, "--evaluations", "5")
    assert done.code == 2
    assert f"error: {file}, line " in done.err
    assert "no attribute 'cells'" in done.err


@pytest.mark.e2e
def test_a_file_that_ends_the_process_is_an_error(file, dataset, command):
    file.write_text("import sys\n\nsys.exit(0)\n", encoding="utf-8")
    done = command("search", dataset, "--task", file, "--evaluations", "5")
    assert (done.code, f"error: {file}, line 3: SystemExit" in done.err) == (2, True)


def test_a_metric_of_another_task_is_refused(file, dataset):
    with pytest.raises(evoseg.runs.settings.SettingsError, match="iou"):
        evoseg.search(dataset, task=file, metric="iou", evaluations=1)


def test_a_score_that_is_no_number_is_refused_before_it_is_written(file, dataset, tmp_path, command):
    file.write_text(
        file.read_text("utf-8").replace("return np.maximum(", "return np.nan * np.maximum("),
        encoding="utf-8",
    )
    program = tmp_path / "objects.evo"
    program.write_text("def pipeline(image):\n    return components(otsu(channel(image, index=0)))\n", "utf-8")
    done = command("score", program, dataset, "--task", file, "--json")
    assert done.code == 1 and done.out == ""
    assert "score() gives nan for the pipeline's answer; a score must be a finite number" in done.err


def test_a_fault_of_its_file_is_named_where_a_pipeline_is_scored(file, dataset, tmp_path, command):
    file.write_text(file.read_text("utf-8").replace("output.max()", "output.highest()"), encoding="utf-8")
    program = tmp_path / "objects.evo"
    program.write_text("def pipeline(image):\n    return components(otsu(channel(image, index=0)))\n", "utf-8")
    done = command("score", program, dataset, "--task", file)
    assert done.code == 2 and f"error: {file}, line " in done.err and "no attribute 'highest'" in done.err
