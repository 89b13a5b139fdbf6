"""kill -9 at any instant: what was written is safe, and the search ends as if nothing had happened.

experiments/kill.py does this hundreds of times.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evoseg.api import plan_run
from evoseg.datasets.checking import open_dataset
from evoseg.runs.options import SearchOptions
from evoseg.runs.run_folder import holds_run, remove_scratch
from evoseg.runs.settings import resolve_settings
from evoseg.runs.stored import delete, find_pipeline_file, list_runs, open_run
from tests.system.interrupted import killed_at
from tests.system.test_api import untimed

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants_a_search_ends_as_if_undisturbed(dataset, found, tmp_path, home, seed):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "EVOSEG_HOME": str(home), "TMPDIR": str(tmp_path)}

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "evoseg.cli.main", *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    rng = random.Random(seed)
    process = start("search", dataset, "--evaluations", 60, "--workers", seed, "--no-remember")
    while process.poll() is None and not list(home.glob("runs/*/run.db")):
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 1))
    process.kill()
    process.communicate()
    (run,) = home.glob("runs/*")
    assert open_run(run).state.state in ("interrupted", "done")
    if open_run(run).state.state == "interrupted":
        process = start("runs", "resume", run.name, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out)["run"] == run.name
    assert untimed(json.loads((run / "result.json").read_text("utf-8"))) == untimed(found.to_json())
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("evoseg-")] == []


@pytest.mark.e2e
@pytest.mark.parametrize("inside", [True, False], ids=["among the runs", "elsewhere"])
def test_killed_at_any_step_a_deletion_can_be_repeated(command, whole, home, tmp_path, inside):
    result = whole.files["result"].parent
    place = home / "runs" / "one" if inside else tmp_path / "one"
    for step in range(40):
        shutil.copytree(result, place)
        with killed_at(step):
            delete(place)
        if not place.exists():
            break
        done = step and not (place / "run.db").exists()
        document = json.loads(command("runs", "list", "--json").out)
        if inside:
            assert [run["run"] for run in document["runs"]] == ([] if done else ["one"])
            assert [run["run"] for run in document["damaged"]] == (["one"] if done else [])
        if inside or any(place.iterdir()):
            again = command("runs", "delete", place)
            assert (again.code, again.out) == (0, f"deleted {place}\n") and not place.exists()
        else:
            place.rmdir()  # no trace of a run is left
    assert step > 5 and not place.exists()


@pytest.mark.e2e
def test_killed_at_any_step_a_search_that_replaces_a_run_leaves_the_old_or_no_run(dataset, whole, tmp_path):
    options = SearchOptions(evaluations=5, workers=0, library="none")
    planned = plan_run(resolve_settings(options), open_dataset(dataset))
    for step in range(40):
        place = Path(shutil.copytree(whole.files["result"].parent, tmp_path / f"run-{step}"))
        with killed_at(step):
            planned.begin(place, overwrite=True)
        if (place / "run.db").exists() and open_run(place).record.settings["evaluations"] == 5:
            break  # this time it came to its end
        if (place / "run.db").exists():
            assert open_run(place).state.state == "done" and find_pipeline_file(place).is_file()
        assert holds_run(place)
    assert step > 5 and open_run(place).state.state == "interrupted" and not (place / "result.json").exists()


@pytest.mark.e2e
@pytest.mark.parametrize("left", [(), ("run.lock",), ("result.json", "pipeline.evo"), (".run.db.part",)])
def test_what_a_kill_left_among_the_runs_is_listed_and_can_be_deleted(command, run, whole, left):
    half = run.parent / "half"
    half.mkdir()
    for name in left:
        (half / name).write_bytes(b"")
    found, faults = list_runs()
    assert [one.folder.name for one in found] == [whole.run] and list(faults) == ["half"]
    assert "`evoseg runs delete half` removes what is left" in faults["half"]
    for verb in ("show", "resume", "replay"):
        done = command("runs", verb, "half")
        assert done.code == 1 and "`evoseg runs delete half` removes what is left" in done.err
    assert command("runs", "delete", "half").code == 0 and not half.exists()
    assert json.loads(command("runs", "list", "--json").out)["damaged"] == []


def test_images_that_a_killed_process_had_half_packed_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scratch, other = tmp_path / "evoseg-abc", tmp_path / "evoseg-mine"
    for folder, name in ((scratch, ".search.pack.x1.part"), (other, "notes.txt")):
        folder.mkdir()
        (folder / name).write_bytes(b"")
        remove_scratch({"scratch": str(folder)})
    assert not scratch.exists() and other.exists()
