"""Solved tasks on the command line: similar ones, searches that begin with them, and what is kept of a search."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evoseg
from evoseg.app.api import plan
from evoseg.app.kept import kept
from evoseg.app.pending import all_pending
from evoseg.app.replaying import replay
from evoseg.app.settings import run_settings
from evoseg.app.solved import open_library, similar
from evoseg.app.summary import summary
from evoseg.base.errors import SettingsError
from evoseg.data.scenes import draw_dataset
from evoseg.library.files import document_of, write_task
from evoseg.library.warm import WHOLE
from tests.app.interrupted import cut
from tests.app.test_api import untimed
from tests.library.helpers import task

N = 40
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sibling(tmp_path_factory) -> Path:
    """Return another sample of the scenes that `dataset` shows."""
    return draw_dataset("nuclei", tmp_path_factory.mktemp("drawn") / "more_nuclei", 12, (60, 84), seed=8)


def solved(folder: Path, **options) -> evoseg.Found:
    return evoseg.search(folder, evaluations=N, workers=0, **options)


def own_tasks(library: str = "default") -> list[str]:
    with open_library(library) as shelf:
        return [name for _, name, origin, _ in shelf.listed() if origin != "seed"]


def test_a_search_remembers_its_task_and_a_sibling_begins_with_it(command, dataset, sibling):
    first = solved(dataset)
    assert own_tasks() == ["nuclei"]
    second = solved(sibling)
    reused = {entry["task"]: entry for entry in second.result["warm_start"]}
    assert reused["nuclei"]["score"] is not None and reused["nuclei"]["digest"] == first.result["digest"]
    with open_library() as shelf:
        rows = [row for row in shelf.ledger() if row.target == shelf.find("more_nuclei").id]
    assert len(rows) == len([e for e in second.result["warm_start"] if e["score"] is not None])
    assert all(row.retrieved is not None and row.kept is not None for row in rows)
    found = command("similar", sibling, "-k", "2", "--json")
    assert json.loads(found.out)["similar"][0]["task"] in ("more_nuclei", "nuclei")


@pytest.mark.parametrize(
    ("score", "history", "says"),
    [
        (0.6, [[5, 1.0, 0.6], [33, 2.0, 0.7]], "Nothing better was found before candidate 33 of 40."),
        (0.7, [[5, 1.0, 0.7]], "Nothing better was found among 40 candidates."),
        (0.4, [[5, 1.0, 0.5]], "None of them did better. The answer is built of other parts."),
    ],
)
def test_the_summary_says_what_reuse_has_saved(dataset, score, history, says):
    found = solved(dataset)
    reused = [{"task": "plates", "score": score, "kept": False}]
    finalists = [{"role": "classic", "search": 0.5}]
    told = found.result | {"warm_start": reused, "history": history, "evaluations": 40, "finalists": finalists}
    assert says in summary(replace(found, result=told))


def test_the_summary_says_so_if_the_best_on_the_search_images_was_not_chosen(dataset):
    found = solved(dataset)
    preferred = "the pipeline above was preferred"
    at_most = found.result | {"history": [[5, 1.0, found.scores["search"]]]}
    assert preferred not in summary(replace(found, result=at_most))
    higher = found.result | {"history": [[5, 1.0, found.scores["search"] + 0.01]]}
    assert preferred in summary(replace(found, result=higher))


def test_a_picture_shows_the_images_that_are_known_here(command, dataset, sibling, tmp_path, home):
    solved(sibling)
    picture = tmp_path / "like.png"
    done = command("similar", dataset, "-k", 3, "--out", picture)
    assert done.code == 0 and "more_nuclei: " not in done.err
    assert done.err.count("not in the picture") == 2
    both = np.asarray(Image.open(picture)).shape
    assert "more_nuclei: its images are these" in command("similar", sibling, "--out", tmp_path / "own.png").err
    assert command("similar", dataset, "--out", picture).code == 1
    shutil.rmtree(home / "places")
    done = command("similar", dataset, "-k", 3, "--out", picture, "--overwrite")
    assert done.err.count("not in the picture") == 3
    alone = np.asarray(Image.open(picture)).shape
    assert both[1] == alone[1] and both[0] > 1.5 * alone[0]


def test_what_is_not_to_be_remembered_is_not(dataset):
    solved(dataset, remember=False)
    assert own_tasks() == []


def killed_before_remembering(dataset: Path, out: Path, *options: str, home: Path) -> None:
    """Run a search that is killed once its run is noted as finished, before the library hears of it."""
    script = (
        "import os, signal, sys\n"
        "from evoseg.commands.main import run\n"
        "from evoseg.store.runs import RunFile\n"
        "finish = RunFile.finish\n"
        "RunFile.finish = lambda self: (finish(self), os.kill(os.getpid(), signal.SIGKILL))\n"
        "run(sys.argv[1:])\n"
    )
    search = ("search", dataset, "--evaluations", N, "--workers", 0, "--out", out, *options)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, search)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "EVOSEG_HOME": str(home)},
        cwd=out.parent,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def killed(dataset, tmp_path_factory) -> tuple[Path, Path]:
    """Return a home and a run that was killed between its end and the library; tests copy them."""
    folder = tmp_path_factory.mktemp("killed")
    killed_before_remembering(dataset, folder / "run", home=folder / "home")
    return folder / "home", folder / "run"


@pytest.fixture
def forgotten(killed, home) -> Path:
    """Return a run that has ended and was killed before its library knew."""
    shutil.copytree(killed[0], home, dirs_exist_ok=True)
    assert own_tasks() == [] and kept(killed[1]).state.state == "done"
    return killed[1]


def entries(library: str = "default") -> list[tuple[str, dict]]:
    """Return the documents of the own tasks in a library, and the rows of its ledger that do not come with evoseg."""
    with open_library(library) as shelf:
        return [document_of(task) for task in shelf.own()], [vars(row) for row in shelf.ledger()], shelf.counts()


def begun(folder: Path, library: str = "default") -> None:
    """Do what a search does before it has a run."""
    plan(run_settings(evaluations=N, library=library), evoseg.Dataset(folder))


def test_a_kill_between_end_and_library_is_made_good_by_resume(command, forgotten, dataset):
    assert "not in the library yet" in command("runs", "show", forgotten).out
    done = command("runs", "resume", forgotten, "--json")
    assert done.code == 0 and "in the library now" in done.err
    result = json.loads((forgotten / "result.json").read_text())
    assert json.loads(done.out) == result
    caught_up = entries()
    done = command("runs", "resume", forgotten)
    assert done.code == 1 and "this run is done" in done.err
    with open_library() as shelf:
        shelf.remove(shelf.own()[0])
    solved(dataset)  # undisturbed
    assert entries() == caught_up and len(caught_up[0]) == 1


def test_a_kill_between_end_and_library_is_made_good_by_the_next_search(forgotten, sibling):
    found = solved(sibling)
    assert own_tasks() == ["nuclei", "more_nuclei"]
    assert "nuclei" in [entry["task"] for entry in found.result["warm_start"]]


def test_what_was_not_remembered_needs_neither_its_run_nor_its_dataset(forgotten, home, sibling, tmp_path):
    (waiting,) = (home / "pending").iterdir()
    document = json.loads(waiting.read_text())
    waiting.write_text(json.dumps(document | {"folder": str(tmp_path / "gone"), "images": str(tmp_path / "gone")}))
    begun(sibling)
    assert own_tasks() == ["nuclei"] and not list((home / "pending").iterdir())


def test_what_was_not_remembered_waits_for_its_own_library(forgotten, sibling, tmp_path):
    begun(sibling, "none")
    begun(sibling, str(tmp_path / "other.db"))
    assert own_tasks() == [] and own_tasks(str(tmp_path / "other.db")) == []
    begun(sibling)
    assert own_tasks() == ["nuclei"]


def test_a_run_that_has_not_finished_is_resumed_before_it_is_remembered(killed, home, sibling, tmp_path):
    shutil.copytree(killed[0], home, dirs_exist_ok=True)
    (waiting,) = (home / "pending").iterdir()
    run = shutil.copytree(killed[1], tmp_path / "run")
    waiting.write_text(json.dumps(json.loads(waiting.read_text()) | {"folder": str(run)}))
    cut(run, 3)
    begun(sibling)
    assert own_tasks() == []
    evoseg.resume(run)
    assert own_tasks() == ["nuclei"] and not list((home / "pending").iterdir())


def test_two_searches_may_catch_up_with_the_same_run(forgotten):
    (pending,) = all_pending()
    with open_library() as one, open_library() as other:
        pending.add_to(one)
        pending.add_to(other)
    assert own_tasks() == ["nuclei"]


def test_a_library_that_is_locked_for_long_is_told_later(command, dataset, home, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("evoseg.app.solved.END_WAIT_S", 0.1)
    open_library().close()
    lock = sqlite3.connect(home / "library.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    done = command("search", dataset, "--evaluations", N, "--workers", 0, "--out", tmp_path / "run")
    assert done.code == 0 and "is not in the library yet" in done.err and "locked" in done.err
    done = command("runs", "resume", tmp_path / "run")
    assert done.code == 1 and "locked" in done.err
    begun(dataset)
    assert "tasks of earlier searches are not in the library yet" in caplog.text
    lock.close()
    assert own_tasks() == []
    assert command("runs", "resume", tmp_path / "run").code == 0
    assert own_tasks() == ["nuclei"]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[" * 9999, b"{}", b'{"run": 1, "images": 2, "folder": 3}'])
def test_a_note_that_cannot_be_read_is_said_and_stops_nothing(forgotten, home, sibling, damaged, caplog):
    (home / "pending" / "0.json").write_bytes(damaged)
    begun(sibling)
    assert "0.json: cannot be read" in caplog.text and own_tasks() == ["nuclei"]


def test_a_cold_start_neither_asks_nor_tells_a_library(dataset, home):
    found = solved(dataset, library="none")
    assert found.result["warm_start"] == [] and "warm" not in found.result["proposers"]
    assert not (home / "library.db").exists()


def test_a_library_elsewhere_is_used_alone(command, dataset, tmp_path):
    place = tmp_path / "lab" / "library.db"
    assert command("search", dataset, "--evaluations", N, "--workers", 0, "--library", place).code == 0
    assert own_tasks(str(place)) == ["nuclei"] and own_tasks() == []


def test_the_summary_and_the_report_say_what_was_reused(command, dataset, tmp_path):
    out = tmp_path / "run"
    done = command("search", dataset, "--evaluations", N, "--workers", 0, "--no-remember", "--out", out)
    for text in (done.out, (out / "report.html").read_text()):
        assert f"Programs of {WHOLE} solved tasks were tried first" in text


def test_a_resumed_run_does_not_depend_on_what_the_library_holds_by_then(dataset, sibling, tmp_path):
    solved(sibling)
    whole = solved(dataset, out=tmp_path / "run", remember=False)
    assert any(entry["task"] == "more_nuclei" for entry in whole.result["warm_start"])
    cut(tmp_path / "run", 3)
    with open_library() as shelf:
        shelf.remove(shelf.find("more_nuclei"))
    found = evoseg.resume(tmp_path / "run")
    assert untimed(found.result) == untimed(whole.result)
    assert replay(tmp_path / "run").difference is None


def test_a_task_that_has_seen_a_test_image_is_left_out_and_said(command, dataset, tmp_path):
    """The same images under a split of their own: what tests here was searched there."""
    other = tmp_path / "other_split"
    shutil.copytree(dataset, other)
    before = solved(dataset)
    assert own_tasks() == ["nuclei"]
    tested = before.result["splits"]["search"][:3]
    (other / "dataset.yaml").write_text(json.dumps({"splits": {"test": tested}}))
    done = command("search", other, "--evaluations", N, "--workers", 0, "--json", "--no-remember")
    entries = json.loads(done.out)["warm_start"]
    assert {"task": "nuclei", "barred_by": tested[0]} in entries
    assert "nuclei has seen the test image" in done.err
    assert "nuclei" not in [entry["task"] for entry in entries if "score" in entry]


def test_similar_says_why_and_what_it_cannot_know(command, dataset, tmp_path):
    done = command("similar", dataset, "-k", "3")
    assert done.code == 0 and "alike:" in done.out and "expected" in done.out
    shutil.copytree(dataset / "images", tmp_path / "unlabelled" / "images")
    bare = command("similar", tmp_path / "unlabelled", "-k", "3", "--json")
    document = json.loads(bare.out)
    assert len(document["similar"]) == 3 and "no mask" in document["without"][0]
    assert all("masks-1" not in entry["similarity"] for entry in document["similar"])


def test_similar_from_python_takes_arrays(dataset):
    loaded = [evoseg.Dataset(dataset).load(stem) for stem in evoseg.Dataset(dataset).labelled[:4]]
    found = evoseg.similar(([s.image for s in loaded], [s.mask for s in loaded]), k=2)
    assert len(found.tasks) == 2 and found.tasks[0].why is not None
    assert np.isclose(found.tasks[0].similarity["images-1"], found.as_json()["similar"][0]["similarity"]["images-1"])
    with pytest.raises(SettingsError, match="k is 0"):
        similar(dataset, k=0)


def test_the_library_is_listed_shown_shared_and_pruned(command, tmp_path):
    write_task(task("plates", 1), tmp_path / "plates.yaml")
    assert command("library", "add", tmp_path / "plates.yaml").out == "1 task added\n"
    assert command("library", "add", tmp_path / "plates.yaml").out == "0 tasks added, 1 there already\n"
    listed = json.loads(command("library", "list", "--json").out)["tasks"]
    assert listed[-1]["name"] == "plates" and listed[0]["origin"] == "seed"
    assert "About plates" in command("library", "show", "plates").out
    assert json.loads(command("library", "show", "plates", "--json").out)["metric"] == "iou"
    assert command("library", "rebuild").out.startswith("images-1: 1 vectors")
    assert command("library", "export", tmp_path / "out").code == 0
    assert command("library", "export", tmp_path / "out").code == 1
    assert command("library", "remove", "plates").code == 0
    assert command("library", "import", tmp_path / "out").out == "1 task added\n"


def test_two_libraries_are_merged_once(command, tmp_path):
    write_task(task("plates", 1), tmp_path / "plates.yaml")
    command("library", "add", tmp_path / "plates.yaml", "--library", tmp_path / "theirs.db")
    assert command("library", "merge", tmp_path / "theirs.db").out.startswith("1 task added\n")
    assert command("library", "merge", tmp_path / "theirs.db").out.startswith("0 tasks added, 1 there already\n")
    assert own_tasks() == ["plates"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("library", "show", "plats"), 2, "unknown task"),
        (("library", "remove", "crackforest"), 2, "comes with evoseg"),
        (("library", "merge", "nowhere.db"), 1, "no such file"),
        (("library", "add", "nowhere.yaml"), 1, "nowhere.yaml"),
        (("library", "list", "--library", "none"), 2, "'none'"),
        (("library", "list", "--library", "mysql://x/y"), 1, "postgresql://"),
        (("similar", "nowhere"), 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_one_clear_error(command, arguments, code, says):
    done = command(*arguments)
    assert (done.code, done.out) == (code, "") and says in done.err


def test_a_damaged_library_is_said_and_can_be_done_without(command, dataset, home):
    (home / "library.db").write_bytes(b"not a database, but as long as a header would be" * 100)
    done = command("search", dataset, "--evaluations", N, "--workers", 0)
    assert done.code == 1 and "library.db" in done.err and "Traceback" not in done.err
    assert command("search", dataset, "--evaluations", N, "--workers", 0, "--library", "none").code == 0
