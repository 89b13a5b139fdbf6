"""The study of warm starts says what its rows hold, and goes on where it was cut short."""

import json

import pytest

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def warm(script):
    return script("warm")


def row(dataset: str, arm: str, seed: int, reached_s: float, test: float) -> dict:
    """Return a row whose leader has a test score of 0.5 from some time on."""
    return {
        "dataset": dataset, "arm": arm, "seed": seed, "budget": "60 s", "evaluations": 400, "search": 0.6, "test": test,
        "leader": [[1.0, 40, 0.1], [reached_s, 200, 0.5]],
    }  # fmt: skip


def test_an_arm_is_compared_with_cold_dataset_by_dataset(warm):
    cold = [row(d, "cold", seed, 40 + seed, 0.4) for d in "ab" for seed in range(3)]
    ours = [row("a", "warm", seed, 12.0, test) for seed, test in enumerate((0.3, 0.3, 0.45))]
    ours += [row("b", "warm", seed, 36.0, 0.49) for seed in range(3)]
    lines = warm.table(cold + ours).splitlines()
    # Cold's median seed is there after 41 of 60 s.
    assert lines[2] == "| 60 s | cold | 2 | 6 | 0.600 | 0.400 |  |  | 0.68 |"
    # 0.35 and 0.49 less 0.4: +0.02 in the mean, and a is hurt; 12 and 36 of 60 s.
    assert lines[3] == "| 60 s | warm | 2 | 6 | 0.600 | 0.420 | +0.020 (-0.050 to +0.090) | 1 of 2 | 0.40 |"


def test_who_never_gets_there_takes_for_ever(warm):
    cold = [row("a", "cold", 0, 30.0, 0.4)]
    ours = [row("a", "warm", 0, 30.0, 0.4) | {"leader": [[1.0, 40, 0.49]]}]
    assert warm.table(cold + ours).splitlines()[3].endswith(" inf |")


def test_held_out_images_are_none_of_the_test_images(warm, tmp_path):
    dataset = Dataset(draw_dataset("nuclei", tmp_path / "nuclei", 12, (60, 84), seed=3))
    usual, held_out = split(dataset), warm.splits_of(dataset, held_out=True)
    assert not {*held_out.test} & {*usual.test}
    assert {*held_out.search, *held_out.selection, *held_out.test} == {*usual.search, *usual.selection}
    assert warm.splits_of(dataset, held_out=False) == usual


def test_a_study_that_was_cut_short_goes_on(warm, tmp_path, monkeypatch):
    draw_dataset("nuclei", tmp_path / "crackforest", 8, (60, 84), seed=3)  # as the name of a bundled task
    rows = tmp_path / "rows.jsonl"
    asked = ["warm.py", f"{tmp_path}", "--out", f"{rows}", "--continue", "--only", "crackforest", "--seeds", "1"]
    asked += ["--evaluations", "30", "--workers", "0"]
    for arms, n in (("cold", 1), ("cold,warm,popular,unraced", 4)):
        monkeypatch.setattr("sys.argv", [*asked, "--arms", arms])
        assert warm.main() == 0
        found = [json.loads(line) for line in rows.read_text().splitlines()]
        assert len(found) == n
    assert {r["arm"]: r["offered"] > 0 for r in found} == {
        "cold": False,
        "warm": True,
        "popular": True,
        "unraced": False,
    }
    assert all(0 <= r["test"] <= 1 and r["evaluations"] == 30 and r["leader"] for r in found)
