"""Python code of another person asks before it runs, by whichever way it comes in, and is allowed in the same way."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import evoseg
from evoseg.library.collection import open_library
from evoseg.library.exchange import current_revisions
from evoseg.library.task import StoredPipeline
from evoseg.library.task_files import write_task
from evoseg.operators import registry
from evoseg.runs.code_files import keep_allowed
from evoseg.runs.record import ChangedError
from evoseg.runs.run_folder import home as home_folder
from evoseg.sandbox import operators as code_operators
from evoseg.synthetic import draw_dataset
from tests.runs.test_code_files import ADMITTED, DIGEST, forget_all
from tests.sandbox.conftest import skip_without_landlock
from tests.system.interrupted import cut

PROGRAM = f'def pipeline(image):\n    a = channel(image)\n    b = python(a, code="{DIGEST}")\n    return threshold(b)\n'
QUICK = ("--evaluations", "8", "--workers", "0", "--no-report", "--no-networks", "--no-remember")
WAYS = {
    "show": ("show", "shared.evo"),
    "apply": ("apply", "shared.evo", "nuclei/images", "--out", "answers"),
    "score": ("score", "shared.evo", "nuclei"),
    "export": ("export", "shared.evo", "--to", "python"),
    "critique": ("critique", "shared.evo", "nuclei", "--agent", "openai:x", "--base-url", "http://127.0.0.1:9/v1"),
    "report": ("report", "run", "--out", "report.html"),
    "front": ("runs", "show", "run", "--front"),
    "replay": ("runs", "replay", "run"),
    "resume": ("runs", "resume", "cut"),
    "warm start": ("search", "nuclei", "--warm-start", "shared.evo", "--library", "none", *QUICK, "--out", "out"),
    "library add": ("library", "add", "task.yaml"),
    "library import": ("library", "import", "tasks"),
    "library merge": ("library", "merge", "foreign.db"),
    "library show": ("library", "show", "inverted", "--library", "foreign.db"),
    "library export": ("library", "export", "written", "--task", "inverted", "--library", "foreign.db"),
}
SAYS = "not from a search of yours"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """Return a folder with a pipeline, a run, solved tasks and a library of somebody who has allowed the code."""
    skip_without_landlock()
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EVOSEG_HOME", str(tmp_path_factory.mktemp("other") / "home"))
        forget_all()
        keep_allowed([ADMITTED])
        dataset = draw_dataset("nuclei", folder / "nuclei", 8, (40, 56), seed=3)
        program = evoseg.read_pipeline(PROGRAM)
        program.save(folder / "shared.evo")
        options = {"evaluations": 12, "workers": 0, "goal": evoseg.Goal(networks=False), "report": False}
        evoseg.search(dataset, start=program, out=folder / "run", **options)
        shutil.copytree(folder / "run", folder / "cut")
        cut(folder / "cut", 2)
        with open_library() as own:
            (solved,) = own.own()
        stored = StoredPipeline("best", program, 0.8, current_revisions(program))
        task = replace(solved, name="inverted", pipelines=(stored,))
        with open_library(str(folder / "foreign.db")) as library:
            library.add([task])
        (folder / "tasks").mkdir()
        for path in ("task.yaml", "tasks/task.yaml"):
            write_task(task, folder / path)
    return folder


@pytest.fixture
def place(shared, tmp_path, monkeypatch) -> Path:
    """Return a copy of the folder, where a person works who has allowed nothing."""
    forget_all()
    copy = Path(shutil.copytree(shared, tmp_path / "copy"))
    monkeypatch.chdir(copy)
    return copy


def has_run() -> bool:
    """Return whether anything of the code is allowed, known or running."""
    return (home_folder() / "code").exists() or bool(registry._CODES) or bool(code_operators._known)


@pytest.mark.parametrize("way", WAYS)
def test_without_leave_nothing_of_the_code_runs(way, place, command):
    done = command(*WAYS[way])
    assert done.code == 1 and "--allow-code" in done.err and "Traceback" not in done.err
    assert not has_run()


@pytest.mark.e2e
@pytest.mark.parametrize("way", [way for way in WAYS if way != "critique"])
def test_with_leave_it_does_what_it_was_asked_for_and_stays_allowed(way, place, command):
    done = command(*WAYS[way], "--allow-code")
    assert done.code == 0, done.err
    assert [path.stem for path in (home_folder() / "code").iterdir()] == [DIGEST]
    forget_all()
    assert command("show", "shared.evo").code == 0


def test_what_needs_no_code_is_shown_without_leave(place, command):
    for words in (("runs", "show", "run"), ("runs", "export", "run"), ("library", "list", "--library", "foreign.db")):
        assert command(*words).code == 0
    assert not has_run()


@pytest.mark.parametrize("words", [("similar", "nuclei"), ("search", "nuclei", *QUICK, "--out", "out")])
def test_a_search_leaves_solved_tasks_out_whose_code_is_not_allowed_and_says_how_to_read_it(words, place, command):
    done = command(*words, "--library", "foreign.db")
    assert done.code == 0 and SAYS in done.err and "evoseg library show" in done.err
    assert not has_run()
    shown = command("library", "show", "inverted", "--library", "foreign.db")
    assert "Turn bright into dark." in shown.err and not has_run()


@pytest.mark.e2e
def test_a_search_uses_solved_tasks_whose_code_is_allowed(place, command):
    done = command("search", "nuclei", *QUICK, "--out", "out", "--library", "foreign.db", "--allow-code")
    assert done.code == 0 and SAYS not in done.err
    assert (place / "out" / "code" / f"{DIGEST}.py").exists()


def test_python_asks_in_the_same_words(place):
    for call in (
        lambda: evoseg.resume("cut"),
        lambda: evoseg.replay("run"),
        lambda: evoseg.search("nuclei", start="shared.evo", library="none", evaluations=5),
        lambda: evoseg.write_report("run", out="report.html"),
    ):
        with pytest.raises(evoseg.EvosegError, match=rf"{SAYS}.*allow_code=True"):
            call()
    assert not has_run()


@pytest.mark.parametrize(
    "code", ["x", [1], [{"source": "x"}], [{"source": "x", "cost": "y"}], [{"source": "x", "cost": -1}]]
)
def test_a_record_whose_code_is_damaged_is_refused(code, place):
    with sqlite3.connect("run/run.db") as connection:
        connection.execute("UPDATE run SET settings = json_set(settings, '$.code', json(?))", (json.dumps(code),))
    connection.close()
    with pytest.raises(ChangedError, match="damaged"):
        evoseg.replay("run")


@pytest.mark.e2e
def test_a_replay_that_is_allowed_gives_what_was_recorded(place):
    assert evoseg.replay("run", allow_code=True).difference is None
