"""The study of warm starts says what its rows hold."""

import pytest


@pytest.fixture(scope="module")
def warm(script):
    return script("warm")


def row(dataset: str, arm: str, seed: int, reached: int, at_100: float, at_400: float) -> dict:
    """Return a row whose curves reach 0.5 after so many evaluations."""
    curve = [[10, 0.1], [reached, 0.5]]
    tests = {"100": at_100, "400": at_400}
    return {
        "dataset": dataset, "arm": arm, "seed": seed, "evaluations": 400, "curve": curve, "leader": curve, "test": tests
    }  # fmt: skip


def test_an_arm_is_compared_with_cold_by_medians_over_seeds(warm):
    cold = [row(d, "cold", seed, 200 + seed, 0.3, 0.4) for d in "ab" for seed in range(3)]
    ours = [row("a", "ours", seed, 100, 0.4, at_400) for seed, at_400 in enumerate((0.37, 0.37, 0.9))]
    ours += [row("b", "ours", seed, 300, 0.6, 0.41) for seed in range(3)]
    lines = warm.table(cold + ours).splitlines()
    assert lines[2] == "| cold | 6 | 201 | 201 | 0.300 | +0.000 +- 0.000 | 0.400 | +0.000 +- 0.000 | 0 of 2 |"
    # 0.4 and 0.6 less 0.3: +0.2 +- 0.1; 0.37 and 0.41 less 0.4: -0.01 +- 0.02, and a is hurt.
    assert lines[3] == "| ours | 6 | 200 | 200 | 0.500 | +0.200 +- 0.100 | 0.390 | -0.010 +- 0.020 | 1 of 2 |"
    assert lines[4].endswith(" 0% hurt"), "cold's seeds agree"


def test_of_one_dataset_there_is_no_error_and_who_never_gets_there_needs_one_more(warm):
    cold = [row("d", "cold", seed, 80, 0.4, 0.5) for seed in range(3)]
    ours = [row("d", "ours", seed, 20, 0.5, 0.4) | {"leader": [[2, 0.3], [25, 0.4]]} for seed in range(3)]
    lines = warm.table(cold + ours).splitlines()
    assert lines[3] == "| ours | 3 | 20 | 401 | 0.500 | +0.100 | 0.400 | -0.100 | 1 of 1 |"


def test_seeds_that_differ_hurt_by_chance(warm):
    rows = [row("a", "cold", seed, 100, 0.3, test) for seed, test in enumerate((0.1, 0.9))]
    # Of two draws from two, the median is 0.1, 0.5 or 0.9 with 1/4, 1/2, 1/4: it is below another one in 5 of 16.
    share = warm._hurt_by_chance([r["test"]["400"] for r in rows])
    assert share == pytest.approx(5 / 16, abs=0.04)
