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

import pytest
from PIL import Image

import evoseg
from evoseg.api import plan_run, replay
from evoseg.core.errors import SettingsError
from evoseg.evolve.proposers.warm_start import OFFERED
from evoseg.library.collection import open_library, own_pictures
from evoseg.library.exchange import list_pending
from evoseg.library.pictures import pictures_of
from evoseg.library.similar_tasks import similar
from evoseg.library.task_files import task_document, write_task
from evoseg.report.results import ReusedProgram
from evoseg.runs.options import SearchOptions
from evoseg.runs.settings import resolve_settings
from evoseg.runs.stored import open_run
from evoseg.synthetic import draw_dataset
from tests.library.helpers import task
from tests.system.interrupted import cut
from tests.system.test_api import untimed

N = 40
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sibling(tmp_path_factory) -> Path:
    """Return another sample of the scenes that `dataset` shows."""
    return draw_dataset("nuclei", tmp_path_factory.mktemp("drawn") / "more_nuclei", 12, (60, 84), seed=8)


def solved(folder: Path, **options) -> evoseg.SearchResult:
    return evoseg.search(folder, evaluations=N, workers=0, report=False, **options)


def own_tasks(library: str = "default") -> list[str]:
    with open_library(library) as shelf:
        return [name for _, name, origin, _ in shelf.list_tasks() if origin != "seed"]


@pytest.mark.e2e
def test_a_search_remembers_its_task_and_a_sibling_begins_with_it(command, dataset, sibling):
    first = solved(dataset)
    assert own_tasks() == ["nuclei"]
    second = solved(sibling)
    reused = {entry["task"]: entry for entry in second.to_json()["warm_start"]}
    assert reused["nuclei"]["score"] is not None and reused["nuclei"]["digest"] == first.digest
    with open_library() as shelf:
        rows = [row for row in shelf.transfer_results() if row.target == shelf.find("more_nuclei").id]
    assert len(rows) == len([e for e in second.to_json()["warm_start"] if e["score"] is not None])
    assert all(row.retrieved is not None and row.kept is not None for row in rows)
    found = command("similar", sibling, "-k", "2", "--json")
    assert json.loads(found.out)["similar"][0]["task"] in ("more_nuclei", "nuclei")


@pytest.mark.parametrize(
    ("won", "kept", "says"),
    [
        (False, False, "None was better than the best classic recipe, so the search began without them."),
        (True, False, "1 of them did better than the best classic recipe, and the search began with these."),
        (True, False, "The best one, from plates, had IoU 0.610 on images that it was not fitted to."),
        (True, False, "The result contains no part of them."),
        (True, True, "The result contains parts of: plates."),
        (None, True, "The result contains parts of: plates."),  # written by version 0.1
    ],
)
def test_the_summary_says_what_came_of_solved_tasks(dataset, won, kept, says):
    reused = ReusedProgram("plates", "1", "best", 1.0, {}, None, score=0.61, kept=kept, digest="", won=won)
    told = str(replace(solved(dataset), warm_start=(reused,)))
    assert "Pipelines of 1 solved tasks were tried on a few images first." in told and says in told


def test_the_summary_says_so_if_the_best_on_the_search_images_was_not_chosen(dataset):
    found = solved(dataset)
    preferred = "the pipeline above has a higher expected score"
    assert preferred not in str(replace(found, history=((5, 1.0, found.scores["search"]),)))
    assert preferred in str(replace(found, history=((5, 1.0, found.scores["search"] + 0.01),)))


@pytest.mark.e2e
def test_a_search_stores_pictures_that_are_shown_without_the_images(command, dataset, tmp_path, home):
    folder = draw_dataset("nuclei", tmp_path / "plates", 12, (60, 84), seed=8)
    solved(folder)
    with open_library() as shelf:
        own = shelf.find("plates")
    assert len(list(own_pictures(own.id).glob("*.jpg"))) == 3
    shutil.rmtree(folder)
    assert not any(picture.drawn for picture in pictures_of(own))
    assert command("library", "export", tmp_path / "shared").code == 0
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["plates.yaml"]
    assert command("library", "remove", "plates").code == 0 and not own_pictures(own.id).exists()


def test_similar_writes_a_row_for_the_images_and_for_each_task(command, dataset, tmp_path):
    sizes = {}
    for k in (1, 3):
        done = command("similar", dataset, "-k", k, "--out", tmp_path / f"{k}.png")
        assert (done.code, done.err) == (0, "")
        with Image.open(tmp_path / f"{k}.png") as picture:
            sizes[k] = picture.size
    assert sizes[1][0] == sizes[3][0] and sizes[3][1] > 1.8 * sizes[1][1]
    assert command("similar", dataset, "--out", tmp_path / "1.png").code == 1
    assert "--out FILE.png" in command("similar", dataset, "-k", 1).err.splitlines()[-1]
    assert command("similar", dataset, "-k", 1, "--json").err == ""


def test_a_notebook_shows_similar_tasks_as_table_and_picture(dataset):
    found = evoseg.similar(dataset, k=1)
    shown = found._repr_html_()
    assert str(found).splitlines()[1].strip() in shown and "data:image/jpeg;base64," in shown
    assert found._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["dsb2018_fluo", "crackforest", "stem_pt_atoms_points"])
def test_the_pictures_of_a_task_are_written(command, name, tmp_path):
    done = command("library", "show", name, "--out", tmp_path / "task.png")
    assert (done.code, done.err) == (0, "") and f"name: {name}" in done.out
    with Image.open(tmp_path / "task.png") as picture:
        assert picture.width == 1220 and picture.height < 500
    assert command("library", "show", name, "--out", tmp_path / "task.png").code == 1


@pytest.mark.e2e
def test_what_is_not_to_be_remembered_is_not(dataset):
    solved(dataset, library=evoseg.Library(remember=False))
    assert own_tasks() == []


def killed_before_remembering(dataset: Path, out: Path, *options: str, home: Path) -> None:
    """Run a search that is killed once its run is noted as finished, before the library hears of it."""
    script = (
        "import os, signal, sys\n"
        "from evoseg.cli.main import run\n"
        "from evoseg.runs.run_file import RunFile\n"
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
    assert own_tasks() == [] and open_run(killed[1]).state.state == "done"
    return killed[1]


def entries(library: str = "default") -> list[tuple[str, dict]]:
    """Return the documents of the own tasks in a library, and its transfer results."""
    with open_library(library) as shelf:
        return (
            [task_document(task) for task in shelf.own()],
            [vars(row) for row in shelf.transfer_results()],
            shelf.counts(),
        )


def begun(folder: Path, library: str = "default") -> None:
    """Do what a search does before it has a run."""
    plan_run(resolve_settings(SearchOptions(evaluations=N, library=library)), evoseg.Dataset(folder))


@pytest.mark.e2e
def test_a_kill_between_end_and_library_is_made_good_by_resume(command, forgotten, dataset):
    assert "not in the library yet" in command("runs", "show", forgotten).out
    done = command("runs", "resume", forgotten, "--json")
    assert done.code == 0 and "has been added to the library" in done.err
    result = json.loads((forgotten / "result.json").read_text())
    assert json.loads(done.out) == result
    caught_up = entries()
    done = command("runs", "resume", forgotten)
    assert done.code == 1 and "this run is complete" in done.err
    with open_library() as shelf:
        shelf.remove(shelf.own()[0])
    solved(dataset)  # undisturbed
    assert entries() == caught_up and len(caught_up[0]) == 1


@pytest.mark.e2e
def test_a_kill_between_end_and_library_is_made_good_by_the_next_search(forgotten, sibling):
    found = solved(sibling)
    assert own_tasks() == ["nuclei", "more_nuclei"]
    assert "nuclei" in [entry["task"] for entry in found.to_json()["warm_start"]]


@pytest.mark.e2e
def test_what_was_not_remembered_needs_neither_its_run_nor_its_dataset(forgotten, home, sibling, tmp_path):
    (waiting,) = (home / "pending").iterdir()
    document = json.loads(waiting.read_text())
    waiting.write_text(json.dumps(document | {"folder": str(tmp_path / "gone"), "images": str(tmp_path / "gone")}))
    begun(sibling)
    assert own_tasks() == ["nuclei"] and not list((home / "pending").iterdir())


@pytest.mark.e2e
def test_what_was_not_remembered_waits_for_its_own_library(forgotten, sibling, tmp_path):
    begun(sibling, "none")
    begun(sibling, str(tmp_path / "other.db"))
    assert own_tasks() == [] and own_tasks(str(tmp_path / "other.db")) == []
    begun(sibling)
    assert own_tasks() == ["nuclei"]


@pytest.mark.e2e
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


@pytest.mark.e2e
def test_two_searches_may_catch_up_with_the_same_run(forgotten):
    (pending,) = list_pending()
    with open_library() as one, open_library() as other:
        pending.add_to(one)
        pending.add_to(other)
    assert own_tasks() == ["nuclei"]


@pytest.mark.e2e
def test_a_library_that_is_locked_for_long_is_told_later(command, dataset, home, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("evoseg.library.exchange.END_WAIT_S", 0.1)
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


@pytest.mark.e2e
@pytest.mark.parametrize("damaged", [b"", b"{", b"[" * 9999, b"{}", b'{"run": 1, "images": 2, "folder": 3}'])
def test_a_note_that_cannot_be_read_is_said_and_stops_nothing(forgotten, home, sibling, damaged, caplog):
    (home / "pending" / "0.json").write_bytes(damaged)
    begun(sibling)
    assert "0.json: cannot be read" in caplog.text and own_tasks() == ["nuclei"]


def test_a_cold_start_neither_asks_nor_tells_a_library(dataset, home):
    found = solved(dataset, library="none")
    assert found.to_json()["warm_start"] == [] and "warm" not in found.proposers
    assert not (home / "library.db").exists()


@pytest.mark.e2e
def test_a_library_elsewhere_is_used_alone(command, dataset, tmp_path):
    place = tmp_path / "lab" / "library.db"
    assert command("search", dataset, "--evaluations", N, "--workers", 0, "--library", place).code == 0
    assert own_tasks(str(place)) == ["nuclei"] and own_tasks() == []


@pytest.mark.e2e
def test_the_summary_and_the_report_say_what_was_reused(command, dataset, tmp_path):
    out = tmp_path / "run"
    done = command("search", dataset, "--evaluations", N, "--workers", 0, "--no-remember", "--out", out)
    for text in (done.out, (out / "report.html").read_text()):
        assert f"Pipelines of {OFFERED} solved tasks were tried on a few images first." in text


@pytest.mark.e2e
def test_a_resumed_run_does_not_depend_on_what_the_library_holds_by_then(dataset, sibling, tmp_path):
    solved(sibling)
    whole = solved(dataset, out=tmp_path / "run", library=evoseg.Library(remember=False))
    assert any(entry["task"] == "more_nuclei" for entry in whole.to_json()["warm_start"])
    cut(tmp_path / "run", 3)
    with open_library() as shelf:
        shelf.remove(shelf.find("more_nuclei"))
    found = evoseg.resume(tmp_path / "run")
    assert untimed(found.to_json()) == untimed(whole.to_json())
    assert replay(tmp_path / "run").difference is None


@pytest.mark.e2e
def test_a_task_that_has_seen_a_test_image_is_left_out_and_said(command, dataset, tmp_path):
    """The same images under a split of their own: what tests here was searched there."""
    other = tmp_path / "other_split"
    shutil.copytree(dataset, other)
    before = solved(dataset)
    assert own_tasks() == ["nuclei"]
    tested = before.to_json()["splits"]["search"][:3]
    (other / "dataset.yaml").write_text(json.dumps({"splits": {"test": tested}}))
    done = command("search", other, "--evaluations", N, "--workers", 0, "--json", "--no-remember")
    entries = json.loads(done.out)["warm_start"]
    assert {"task": "nuclei", "barred_by": tested[0]} in entries
    assert "nuclei contains the test image" in done.err
    assert "nuclei" not in [entry["task"] for entry in entries if "score" in entry]


def test_similar_says_why_and_what_it_cannot_know(command, dataset, tmp_path):
    done = command("similar", dataset, "-k", "3")
    assert done.code == 0 and "agrees in:" in done.out
    shutil.copytree(dataset / "images", tmp_path / "unlabelled" / "images")
    bare = command("similar", tmp_path / "unlabelled", "-k", "3", "--json")
    document = json.loads(bare.out)
    assert len(document["similar"]) == 3 and "no mask" in document["without"][0]
    assert all(set(entry["similarity"]) == {"embedding"} for entry in document["similar"])
    values = [entry["likeness"] for entry in document["similar"]]
    assert values == sorted(values, reverse=True)


def test_similar_from_python_takes_arrays(dataset):
    loaded = [evoseg.Dataset(dataset).load(stem) for stem in evoseg.Dataset(dataset).labelled[:4]]
    found = evoseg.similar(([s.image for s in loaded], [s.mask for s in loaded]), k=2)
    assert len(found.tasks) == 2 and found.tasks[0].why is not None
    assert found.tasks[0].likeness.value == pytest.approx(found.as_json()["similar"][0]["likeness"], abs=1e-3)
    with pytest.raises(SettingsError, match="k is 0"):
        similar(dataset, k=0)


def test_the_library_is_listed_shown_shared_and_pruned(command, tmp_path):
    write_task(task("plates", 1), tmp_path / "plates.yaml")
    assert command("library", "add", tmp_path / "plates.yaml").out == "1 task added\n"
    assert command("library", "add", tmp_path / "plates.yaml").out == "0 tasks added, 1 there already\n"
    listed = json.loads(command("library", "list", "--json").out)["tasks"]
    assert listed[-1]["name"] == "plates" and listed[0]["origin"] == "seed"
    shown = command("library", "show", "plates").out
    assert "About plates" in shown and "vectors" not in shown
    assert json.loads(command("library", "show", "plates", "--json").out)["metric"] == "iou"
    assert "does nothing any more" in command("library", "rebuild").err
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


@pytest.mark.e2e
def test_a_damaged_library_is_said_and_can_be_done_without(command, dataset, home):
    (home / "library.db").write_bytes(b"not a database, but as long as a header would be" * 100)
    done = command("search", dataset, "--evaluations", N, "--workers", 0)
    assert done.code == 1 and "library.db" in done.err and "Traceback" not in done.err
    assert command("search", dataset, "--evaluations", N, "--workers", 0, "--library", "none").code == 0


@pytest.mark.parametrize("asked", [("list",), ("show", "plates"), ("remove", "plates"), ("export", "OUT")])
def test_a_library_that_is_not_there_is_not_made_by_asking_for_it(command, tmp_path, asked):
    words = [tmp_path / "out" if word == "OUT" else word for word in asked]
    done = command("library", *words, "--library", tmp_path / "libary.db")
    assert done.code and "libary.db: no such file, so there is no library" in done.err
    assert not (tmp_path / "libary.db").exists()
