"""Ctrl-C and SIGTERM: what is found is saved, nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import evoseg
from evoseg import api, session
from evoseg.runs.run_folder import how_to_continue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scratch(tmp_path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def searching(dataset, scratch, tmp_path) -> Iterator[subprocess.Popen]:
    """Yield a long search that has scored its first candidates."""
    command = [sys.executable, "-m", "evoseg.cli.main", "search", dataset, "--seconds", "300", "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--json", "--out", tmp_path / "out"],
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run started in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert any("candidates" in line for line in process.stderr)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_search_with_everything_saved(searching, scratch, tmp_path, number):
    assert list(scratch.iterdir()) != []
    searching.send_signal(number)
    out, err = searching.communicate(timeout=60)
    assert searching.returncode == 130, err
    document = json.loads(out)
    assert document["stopped_by"] == "interrupt"
    assert document["scores"]["test"] is not None
    assert "stopping" in err
    assert f"everything is saved in {tmp_path / 'out'}" in err
    assert "Traceback" not in err
    assert evoseg.read_pipeline(tmp_path / "out").digest == document["digest"]
    assert list(scratch.iterdir()) == []


@pytest.fixture
def listening() -> Iterator[None]:
    """Let Ctrl-C raise, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_ends_everything_and_keeps_what_was_written(dataset, scratch, tmp_path, monkeypatch, listening):
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    def watch(status):
        if status.doing != "choosing":
            os.kill(os.getpid(), signal.SIGINT)  # while searching, and again while proving

    with pytest.raises(KeyboardInterrupt) as caught:
        evoseg.search(dataset, seconds=60, workers=0, out=tmp_path / "out", progress=watch)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pipeline.evo", "run.db", "run.lock"]
    assert str(tmp_path / "out") in caught.value.__notes__[0]
    name = str(tmp_path / "out")
    assert caught.value.__notes__[1] == f"to continue: evoseg runs resume {name} (evoseg.resume('{name}'))"
    assert list(scratch.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.e2e
def test_a_second_ctrl_c_while_the_search_ends_chooses_nothing(dataset, tmp_path, listening):
    def watch(status):
        os.kill(os.getpid(), signal.SIGINT)  # while searching, and again before anything could be chosen

    with pytest.raises(KeyboardInterrupt) as caught:
        evoseg.search(dataset, seconds=60, workers=0, out=tmp_path / "out", progress=watch)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["run.db", "run.lock"]
    assert caught.value.__notes__ == [how_to_continue(str(tmp_path / "out"))]


def test_ctrl_c_before_the_first_candidate_leaves_a_run_that_can_be_resumed(dataset, tmp_path, monkeypatch, listening):
    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return solve(*arguments, **options)

    solve = session.solve
    monkeypatch.setattr(session, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evoseg.search(dataset, evaluations=20, workers=0, out=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["run.db", "run.lock"]
    monkeypatch.setattr(session, "solve", solve)
    assert evoseg.resume(tmp_path / "out").evaluations == 20


def test_the_command_says_what_an_interrupt_has_left(command, dataset, monkeypatch):
    def interrupted(*arguments, **settings):
        error = KeyboardInterrupt()
        error.add_note("the results so far are in /somewhere")
        raise error

    monkeypatch.setattr(api, "search_framed", interrupted)
    done = command("search", dataset)
    assert (done.code, done.out) == (130, "")
    assert done.err == "interrupted\nthe results so far are in /somewhere\n"
