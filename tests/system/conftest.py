"""A drawn dataset, a small search on it, and the command line in this process."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import evoseg
from evoseg.cli.main import run as run_command
from evoseg.synthetic import draw_dataset
from tests.system.interrupted import N, cut, first_generation


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EVOSEG_HOME", str(folder))
    return folder


@pytest.fixture
def command(capsys) -> Callable[..., Done]:
    def call(*arguments: str | Path) -> Done:
        code = run_command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Return a folder that tests read only."""
    return draw_dataset("nuclei", tmp_path_factory.mktemp("drawn") / "nuclei", 12, (60, 84), seed=3)


@pytest.fixture(scope="session")
def found(dataset, tmp_path_factory) -> evoseg.SearchResult:
    """Return the result of a search that tests read only."""
    return evoseg.search(
        dataset,
        evaluations=60,
        workers=1,
        library=evoseg.Library(remember=False),
        out=tmp_path_factory.mktemp("run"),
    )


@pytest.fixture(scope="session")
def whole(dataset, tmp_path_factory) -> evoseg.SearchResult:
    """Return the result of an undisturbed search that tests read only."""
    return evoseg.search(
        dataset,
        evaluations=N,
        workers=0,
        library=evoseg.Library(remember=False),
        out=tmp_path_factory.mktemp("whole"),
        report=False,
    )


@pytest.fixture
def run(whole, home) -> Path:
    """Return a finished run in evoseg's own folder."""
    return shutil.copytree(whole.files["result"].parent, home / "runs" / whole.run)


@pytest.fixture
def broken(run) -> Path:
    """Return a run that was killed after its first generation."""
    cut(run, first_generation(run))
    return run
