"""The study of ingredients runs, goes on where it stopped, and says what it was asked."""

import json
import sys
from pathlib import Path

import pytest

from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ablation(script):
    return script("ablation")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    draw_dataset("nuclei", folder / "drawn", 8, (64, 80), seed=3)
    return folder


def test_every_arm_runs_and_differs_from_the_full_search(ablation, root):
    rows = {arm: ablation.run(ablation.Trial(root, "drawn", arm, 0, 120)) for arm in ablation.ARMS}
    assert all(0 <= row["test"] <= 1 and row["length"] >= 2 for row in rows.values())
    text = ablation.table(rows.values())
    assert all(f"| {arm} | 1 |" in text for arm in ablation.ARMS)


def test_without_a_tuner_or_fits_there_is_none(ablation, root):
    from evoseg.core.kinds import Kind
    from evoseg.evolve.image_stats import measure_images
    from evoseg.evolve.proposers.classics import Classics
    from tests.evolve.helpers import discs

    stats = measure_images([item["image"] for item in discs(2)])
    words = ablation.no_fits(stats)
    assert not any(op.fitted for op in words.operators)
    assert {s.proposer.name for s in ablation.without("tune")(words, stats, Kind.MASK)} == {
        "classic", "fuse", "random", "vary"
    }  # fmt: skip
    fixed = ablation.Unfitted(Classics(stats)).ready(None, 8, ablation.stream(0, "test"))
    assert fixed
    assert all(s.operator != "threshold" for p in fixed for s in p.steps)


def test_an_interrupted_study_goes_on_with_the_rows_that_are_missing(ablation, root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.jsonl"

    def study(*arguments: str) -> int:
        asked = ["--only", "drawn", "--seeds", "2", "--evaluations", "30", "--arms", "random", "--processes", "1"]
        monkeypatch.setattr(sys, "argv", ["ablation.py", str(root), "--out", str(out), *asked, *arguments])
        return ablation.main()

    assert study() == 0
    rows = out.read_text().splitlines()
    assert len(rows) == 2
    out.write_text(rows[1] + "\n")
    with pytest.raises(SystemExit) as stopped:
        study()
    assert stopped.value.code == 2
    assert study("--continue") == 0
    again = [json.loads(row) for row in out.read_text().splitlines()]
    first = json.loads(rows[0])
    assert [r["seed"] for r in again] == [1, 0]
    assert {k: v for k, v in again[1].items() if k != "seconds"} == {k: v for k, v in first.items() if k != "seconds"}
