"""A search with Python operators: it finds use for a good one, repeats bit for bit, and no hostile one touches it."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from itertools import cycle
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

import evoseg
from evoseg.core.errors import PipelineError, SettingsError
from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.pipeline import print_text
from evoseg.report.page import write_report
from evoseg.runs.code_files import ConsentError, keep_allowed
from evoseg.runs.run_file import iterate_scored
from evoseg.sandbox import operators as code_operators
from evoseg.sandbox.admission import Admission
from evoseg.sandbox.code import Code, CodeError, read_code
from evoseg.sandbox.operators import admitted_code
from tests.sandbox.conftest import skip_without_landlock
from tests.system.interrupted import cut

OPERATORS = Path(__file__).parents[1] / "sandbox"
STABLE = OPERATORS / "honest" / "stable_regions.py"
HOSTILE = ("read_password_file", "generator")


@pytest.fixture(scope="module", autouse=True)
def needs_sandbox():
    skip_without_landlock()


def scene(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw dark discs on uneven ground, with sharp edges, which are sought, and with soft ones, which are not."""
    rng = stream(41, "stable", n)
    rows, cols = np.ogrid[:72, :96]
    ground = 190 + 20 * np.sin(rows / 19 + 6 * rng.random()) + 15 * np.cos(cols / 23 + 6 * rng.random())
    mask = np.zeros((72, 96), bool)
    for i, at in enumerate(rng.permutation(12)[:8]):
        distance = np.hypot(rows - 12 - 24 * (at // 4), cols - 12 - 24 * (at % 4))
        depth, radius = rng.integers(60, 130), rng.integers(2, 9)
        if i % 2:
            mask |= distance <= radius
            ground = ground - depth * (distance <= radius)
        else:
            ground = ground - depth * np.clip(1 - distance / 12, 0, 1)
    return np.clip(ground + rng.normal(0, 1, mask.shape), 0, 255).astype(np.uint8), mask


@cache
def data() -> tuple[list[np.ndarray], list[np.ndarray]]:
    images, masks = zip(*(scene(n) for n in range(8)), strict=True)
    return list(images), list(masks)


def search(folder: Path, *operators: Path, workers: int = 0) -> evoseg.SearchResult:
    return evoseg.search(
        data(),
        task="binary",
        evaluations=60,
        seed=3,
        workers=workers,
        goal=evoseg.Goal(networks=False, operator=operators),
        library="none",
        out=folder,
        report=False,
    )


def folder_of(result: evoseg.SearchResult) -> Path:
    return result.files["result"].parent


def history(folder: Path) -> list[tuple[str, float]]:
    return [(print_text(scored.pipeline), scored.score) for part in iterate_scored(folder) for scored in part]


def best_score(result: evoseg.SearchResult) -> float:
    return max(score for _, score in history(folder_of(result)))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> evoseg.SearchResult:
    return search(tmp_path_factory.mktemp("found") / "run", STABLE)


@pytest.fixture
def folder(found, tmp_path) -> Path:
    """A copy of the run's folder, whose operator is allowed in the home of this test."""
    keep_allowed(admitted_code(digest) for digest in found.pipeline.codes)
    return Path(shutil.copytree(folder_of(found), tmp_path / "copy"))


def test_a_search_finds_use_for_a_stability_map(found, tmp_path):
    without = search(tmp_path / "run")
    assert found.pipeline.codes and not without.pipeline.codes
    assert best_score(found) > best_score(without)


def test_a_run_holds_the_source_and_asks_a_stranger_before_it_runs(found, tmp_path, monkeypatch):
    (digest,) = found.pipeline.codes
    copy = Path(shutil.copytree(folder_of(found), tmp_path / "copy"))
    assert (copy / "code" / f"{digest}.py").read_text() == STABLE.read_text()
    with pytest.raises(ConsentError, match="not from a search of yours.*allow_code=True"):
        evoseg.replay(copy, data())


def test_a_replay_gives_the_same_answers(found, folder):
    assert evoseg.replay(folder, data()).difference is None


def test_workers_and_a_resumed_run_come_to_the_same_history(found, folder):
    cut(folder, 3)
    resumed = evoseg.resume(folder, data(), workers=2)
    assert resumed.pipeline == found.pipeline and history(folder) == history(folder_of(found))


def test_hostile_operators_change_nothing(found, tmp_path):
    for name in HOSTILE:
        with pytest.raises(PipelineError, match=name):
            search(tmp_path / name, STABLE, OPERATORS / "hostile" / f"{name}.py")
        assert not (tmp_path / name).exists()
    again = search(tmp_path / "run", STABLE)
    assert history(folder_of(again)) == history(folder_of(found))


@pytest.mark.e2e
def test_of_proposals_a_third_of_which_are_hostile_the_honest_ones_are_left(found, tmp_path):
    """Their sources are unchecked: what refuses them is the sandbox alone."""
    honest = [path.read_text("utf-8") for path in sorted((OPERATORS / "honest").glob("*.py"))[:6]]
    hostile = [path.read_text("utf-8") for path in sorted((OPERATORS / "hostile").glob("*.py"))[5::60]]
    proposals = [source for three in zip(honest[::2], honest[1::2], hostile, strict=True) for source in three]
    assert len(hostile) == len(proposals) / 3
    taken = []
    with Admission() as admission:
        for source in proposals:
            code = read_code(source) if source in honest else Code(source, (Kind.GRAY,), Kind.GRAY)
            with suppress(CodeError):
                admission.admit(code)
                taken.append(source)
    assert taken == honest


@pytest.mark.e2e
def test_hostile_operators_in_the_sandbox_of_a_search_do_not_change_its_history(found, tmp_path):
    sources = [path.read_text("utf-8") for path in sorted((OPERATORS / "hostile").glob("*.py"))[::3]]
    plane, over, attacks = data()[0][0], Event(), 0

    def attack() -> None:
        nonlocal attacks
        for source in cycle(sources):
            if over.is_set():
                return
            attacks += 1
            with suppress(CodeError):
                code_operators._sandbox.run_all(Code(source, (Kind.GRAY,), Kind.GRAY), [[plane]], limit_ratio=0.05)

    beside = Thread(target=attack)
    beside.start()
    try:
        again = search(tmp_path / "run", STABLE)
    finally:
        over.set()
        beside.join()
    assert attacks > 20 and history(folder_of(again)) == history(folder_of(found))


@pytest.mark.e2e
def test_killed_three_times_while_code_runs_a_search_ends_as_if_undisturbed(tmp_path, home):
    """experiments/kills.py does this many times (docs/sandbox.md)."""
    options = ["--out", tmp_path / "rows.jsonl", "--kills", "3", "--evaluations", "30", "--code"]
    env = {**os.environ, "PYTHONPATH": str(OPERATORS.parents[1]), "EVOSEG_HOME": str(home)}
    script = OPERATORS.parents[1] / "experiments" / "kills.py"
    done = subprocess.run([sys.executable, script, *options], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert sum(row["kills"] for row in rows) >= 3 and all(row["same"] and row["replayed"] for row in rows)


def test_a_language_that_cannot_hold_python_says_so():
    with pytest.raises(SettingsError, match="cannot hold Python operators"):
        evoseg.search(data(), goal=evoseg.Goal(operator=STABLE, target="cpp"))


def test_the_report_shows_the_source_escaped(found, folder, tmp_path):
    page = write_report(folder, data(), tmp_path / "report.html").read_text()
    assert "inner = plane &lt; level" in page and "plane < level" not in page
