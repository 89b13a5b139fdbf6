"""`evoseg runs resume` and `replay`: an interrupted search ends as if nothing had happened, or says why not."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable

import numpy as np
import pytest

import evoseg
from evoseg.api import replay
from evoseg.cli.progress import PlainLines
from evoseg.core.errors import DatasetError, EvosegError
from evoseg.datasets.io.files import read_image
from evoseg.datasets.maskrules import read_mask
from evoseg.evolve import budget, journal
from evoseg.operators import registry
from evoseg.runs import stored
from evoseg.runs.database import StoreError
from evoseg.runs.run_file import rows_checksum
from evoseg.runs.run_folder import FilesError, how_to_continue, remove_scratch
from evoseg.runs.status import Status
from tests.system.interrupted import N, cut, first_generation, same
from tests.system.test_api import copy_of, untimed


@pytest.fixture(autouse=True)
def listening() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("entries", [1, *(pytest.param(n, marks=pytest.mark.e2e) for n in (0, -1))])
def test_a_killed_run_is_resumed_to_the_same_end(command, run, whole, entries):
    cut(run, entries if entries >= 0 else stored.open_run(run).state.entries + entries)
    (listed,) = json.loads(command("runs", "list", "--json").out)["runs"]
    assert listed["state"] == "interrupted"
    done = command("runs", "resume", whole.run, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert untimed(document) == untimed(whole.to_json())
    assert document["run"] == whole.run
    assert stored.open_run(run).state.state == "done"
    assert json.loads((run / "result.json").read_text("utf-8")) == document


@pytest.mark.e2e
def test_any_number_of_workers_may_resume(broken, whole):
    assert same(evoseg.resume(whole.run, workers=2), whole)


@pytest.mark.e2e
def test_what_a_killed_search_has_left_elsewhere_is_removed(broken, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, foreign = tmp_path / "evoseg-abc", tmp_path / "evoseg-def"
    for folder, name in ((left, "search.pack"), (foreign, "thesis.tex")):
        folder.mkdir()
        (folder / name).touch()
    for scratch in (foreign, tmp_path, tmp_path / "evoseg-none", None):
        remove_scratch({"scratch": scratch and str(scratch)})
    (broken / "run.owner").write_text(json.dumps({"pid": 1, "host": "x", "scratch": str(left)}))
    evoseg.resume(whole.run)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evoseg-def"]


@pytest.mark.e2e
def test_a_changed_dataset_is_refused_and_named(broken, whole, dataset, tmp_path):
    data = copy_of(dataset, tmp_path / "nuclei", 12)
    mask = data / "masks" / "nuclei_003.png"
    shutil.copy(data / "masks" / "nuclei_004.png", mask)
    with pytest.raises(DatasetError, match=r"started with: nuclei_003's mask has changed\. Restore it"):
        evoseg.resume(whole.run, data)
    with pytest.raises(DatasetError, match=r"nuclei_003's mask has changed"):
        replay(whole.run, data)
    shutil.copy(dataset / "masks" / "nuclei_003.png", mask)
    (data / "images" / "nuclei_007.png").unlink()
    (data / "masks" / "nuclei_007.png").unlink()
    with pytest.raises(DatasetError, match=r"nuclei_007's image is missing, nuclei_007's mask is missing"):
        evoseg.resume(whole.run, data)
    shutil.rmtree(data)
    copy_of(dataset, data, 12)
    (data / "dataset.yaml").write_text("splits:\n  test: [nuclei_000, nuclei_001]\n")
    with pytest.raises(DatasetError, match="split into search and test images has changed"):
        evoseg.resume(whole.run, data)
    (data / "dataset.yaml").unlink()
    assert evoseg.resume(whole.run, data).pipeline == whole.pipeline
    assert stored.open_run(broken).state.state == "done"


@pytest.mark.e2e
def test_a_dataset_that_has_moved_is_asked_for(command, broken, whole, dataset):
    with sqlite3.connect(broken / "run.db") as connection:
        connection.execute("UPDATE run SET dataset_path = '/nowhere'")
    connection.close()
    done = command("runs", "resume", whole.run)
    assert done.code == 1
    assert "/nowhere: the dataset" in done.err
    assert "--dataset" in done.err
    assert command("runs", "resume", whole.run, "--dataset", dataset).code == 0


@pytest.mark.e2e
def test_arrays_are_asked_for_again(dataset, tmp_path):
    stems = sorted(p.stem for p in (dataset / "images").iterdir())
    images = {stem: read_image(dataset / "images" / f"{stem}.png") for stem in stems}
    masks = {stem: read_mask(dataset / "masks" / f"{stem}.png") for stem in stems}
    found = evoseg.search((images, masks), evaluations=40, workers=0, out=tmp_path / "run", report=False)
    cut(tmp_path / "run", 1)
    with pytest.raises(DatasetError, match="arrays; pass them again"):
        evoseg.resume(tmp_path / "run")
    assert untimed(evoseg.resume(tmp_path / "run", (images, masks)).to_json()) == untimed(found.to_json())
    images[stems[2]] = np.flip(images[stems[2]])
    cut(tmp_path / "run", 1)
    with pytest.raises(DatasetError, match=f"{stems[2]}'s image has changed"):
        evoseg.resume(tmp_path / "run", (images, masks))


def test_other_operators_are_refused_and_named(command, broken, whole, monkeypatch):
    with sqlite3.connect(broken / "run.db") as connection:
        connection.execute("UPDATE run SET revisions = json_set(revisions, '$.threshold', 7, '$.ancient', 1)")
        connection.execute("UPDATE run SET versions = json_set(versions, '$.evoseg', '0.0.9')")
    connection.close()
    for verb in ("resume", "replay"):
        done = command("runs", verb, whole.run)
        assert (done.code, done.out) == (1, "")
        revision = registry.get("threshold").revision
        assert "made with evoseg 0.0.9" in done.err
        assert f"ancient is gone, threshold@7 is threshold@{revision} now" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.e2e
def test_another_library_is_a_warning_only(command, broken, whole):
    with sqlite3.connect(broken / "run.db") as connection:
        connection.execute("UPDATE run SET versions = json_set(versions, '$.numpy', '0.1')")
    connection.close()
    done = command("runs", "resume", whole.run)
    assert done.code == 0
    assert "warning: the version of numpy was 0.1 and is now" in done.err


def test_settings_of_another_version_are_refused(broken, whole):
    with sqlite3.connect(broken / "run.db") as connection:
        connection.execute("UPDATE run SET settings = json_set(settings, '$.mood', 'good')")
    connection.close()
    with pytest.raises(EvosegError, match=r"its settings differ \(mood\)"):
        evoseg.resume(whole.run)


@pytest.mark.e2e
def test_a_replay_finds_a_single_changed_bit(command, run, whole):
    done = command("runs", "replay", whole.run, "--json")
    assert (done.code, json.loads(done.out)["identical"]) == (0, True)
    assert "all as recorded" in command("runs", "replay", whole.run, "--workers", "2").out
    with sqlite3.connect(run / "run.db") as connection:
        connection.row_factory = sqlite3.Row
        entry, place, numbers = connection.execute(
            "SELECT entry, place, numbers FROM answer JOIN entry ON entry = number "
            "WHERE about = 'search.evaluate' AND outcome = 'scored' ORDER BY entry DESC"
        ).fetchone()
        bent = bytes([numbers[0] ^ 1]) + numbers[1:]
        connection.execute("UPDATE answer SET numbers = ? WHERE entry = ? AND place = ?", (bent, entry, place))
        rows = connection.execute("SELECT * FROM answer WHERE entry = ? ORDER BY place", (entry,)).fetchall()
        connection.execute("UPDATE entry SET checksum = ? WHERE number = ?", (rows_checksum([*map(dict, rows)]), entry))
    connection.close()
    done = command("runs", "replay", whole.run)
    assert done.code == 1
    assert f"differs in entry {entry} (search.evaluate)" in done.out
    first = json.loads(command("runs", "replay", whole.run, "--json").out)["first_difference"]
    assert first["recorded"] != first["now"]


@pytest.mark.e2e
def test_a_run_of_an_older_version_that_a_limit_has_ended_on_the_test_images_can_be_finished(command, run, whole):
    state = stored.open_run(run).state
    cut(run, state.entries)
    words = "it ran for more than 5 s, or its process died\0"
    with sqlite3.connect(run / "run.db") as connection:
        connection.row_factory = sqlite3.Row
        (number,) = connection.execute("SELECT number FROM entry WHERE about = 'test.judge'").fetchone()
        failed = "UPDATE answer SET outcome = 'failed', n_images = NULL, numbers = NULL, words = ? WHERE entry = ?"
        connection.execute(failed, (words, number))
        rows = connection.execute("SELECT * FROM answer WHERE entry = ? ORDER BY place", (number,)).fetchall()
        entry = (rows_checksum([*map(dict, rows)]), number)
        connection.execute("UPDATE entry SET killed = 1, checksum = ? WHERE number = ?", entry)
    connection.close()
    assert number == state.entries, "nothing comes after the test images"
    resumed = command("runs", "resume", whole.run, "--json")
    assert resumed.code == 0, resumed.err
    assert untimed(json.loads(resumed.out)) == untimed(whole.to_json())
    assert command("runs", "replay", whole.run).code == 0


class Ticks:
    """A clock on which a millisecond passes each time somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.mark.e2e
def test_a_budget_of_seconds_goes_on_where_it_was_cut(dataset, tmp_path, monkeypatch, capsys):
    clock = Ticks()
    monkeypatch.setattr(budget, "monotonic", clock)
    monkeypatch.setattr(journal, "monotonic", clock)
    evoseg.search(dataset, seconds=1.4, workers=0, library="none", out=tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        early = connection.execute("SELECT number, seconds FROM entry WHERE seconds < 0.5 ORDER BY number").fetchall()
    connection.close()
    half, then = early[-1]
    cut(tmp_path / "run", half)
    clock.now += 1000  # until it is resumed
    seen = []
    found = evoseg.resume(tmp_path / "run", progress=seen.append)
    searching = [s.seconds for s in seen if s.doing == "searching"]
    assert then <= searching[0] < 1
    assert found.stopped_by == "seconds"
    assert 0.8 < found.seconds < 2
    lines = [s.doing for s in seen]
    assert lines[0] == "resuming"
    told = PlainLines()
    for status in seen:
        told(status)
    assert capsys.readouterr().err.count("resuming the run") == 1


def interrupt_in(phase: str, times: int) -> Callable[[Status], None]:
    """Return what sends Ctrl-C when a phase begins."""
    left = times

    def watch(status: Status) -> None:
        nonlocal left
        while status.doing == phase and left:
            left -= 1
            os.kill(os.getpid(), signal.SIGINT)

    return watch


@pytest.mark.e2e
@pytest.mark.parametrize(("phase", "times"), [("searching", 1), ("searching", 2), ("proving", 1), ("proving", 2)])
def test_ctrl_c_in_any_phase_leaves_what_can_be_shown_and_resumed(command, dataset, whole, phase, times):
    settings = {"evaluations": N, "workers": 0, "library": evoseg.Library(remember=False)}
    if (phase, times) == ("proving", 1):  # by then everything is chosen, and the search ends as ever
        assert same(evoseg.search(dataset, **settings, progress=interrupt_in(phase, times)), whole)
        return
    if times == 1:
        found = evoseg.search(dataset, **settings, progress=interrupt_in(phase, times))
        assert found.stopped_by == "interrupt"
    else:
        with pytest.raises(KeyboardInterrupt):
            evoseg.search(dataset, **settings, progress=interrupt_in(phase, times))
    (listed,) = json.loads(command("runs", "list", "--json").out)["runs"]
    assert listed["state"] == "interrupted"
    assert command("runs", "show", listed["run"]).code == 0
    resumed = command("runs", "resume", listed["run"], "--json")
    assert resumed.code == 0, resumed.err
    assert untimed(json.loads(resumed.out)) == untimed(whole.to_json())


@pytest.mark.e2e
def test_ctrl_c_while_it_catches_up_keeps_the_results_that_are_there(command, broken, whole):
    found = evoseg.resume(whole.run)
    with sqlite3.connect(broken / "run.db") as connection:
        connection.execute("UPDATE run SET finished = NULL")
    connection.close()
    before = (broken / "result.json").read_bytes()

    def watch(status: Status) -> None:
        if status.doing == "resuming":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        evoseg.resume(whole.run, progress=watch)
    assert (broken / "result.json").read_bytes() == before
    assert same(evoseg.resume(whole.run), found)


@pytest.mark.e2e
def test_ctrl_c_ends_a_replay(command, run, whole):
    def watch(progress: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        replay(whole.run, progress=watch)


def test_a_search_over_an_unfinished_run_is_refused(broken, dataset):
    with pytest.raises(FilesError, match=r"already contains a run \(run\.db\).*runs resume"):
        evoseg.search(dataset, evaluations=5, workers=0, out=broken)


@pytest.mark.e2e
def test_a_full_disk_stops_the_search_and_it_can_be_resumed(dataset, whole, tmp_path, monkeypatch):
    from evoseg.runs.run_file import RunFile

    add, counter = RunFile.add, [0]
    last = first_generation(whole.files["result"].parent) + 2

    def full(self: RunFile, *arguments: object) -> None:
        counter[0] += 1
        if counter[0] == last:
            raise StoreError("run.db: cannot be written (database or disk is full). Make room.")
        add(self, *arguments)

    monkeypatch.setattr(RunFile, "add", full)
    with pytest.raises(StoreError, match="Make room") as caught:
        evoseg.search(dataset, evaluations=N, workers=0, library=evoseg.Library(remember=False), out=tmp_path / "run")
    assert caught.value.__notes__ == [how_to_continue(str(tmp_path / "run"))]
    monkeypatch.undo()
    assert same(evoseg.resume(tmp_path / "run"), whole)


@pytest.mark.parametrize("name", ["accurate.evo", "curve.png", "networks/" + 32 * "0" + ".onnx"])
def test_files_of_another_run_are_not_deleted_unasked(dataset, tmp_path, name):
    (tmp_path / "best" / name).parent.mkdir(parents=True)
    (tmp_path / "best" / name).write_text("dear")
    with pytest.raises(FilesError, match="already contains a run"):
        evoseg.search(dataset, evaluations=5, workers=0, out=tmp_path / "best")
    assert (tmp_path / "best" / name).read_text() == "dear"
