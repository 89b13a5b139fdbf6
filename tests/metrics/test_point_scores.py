"""Matched points against counts worked out by hand and a brute force."""

from itertools import permutations

import numpy as np
import pytest

from evoseg.core.errors import SettingsError
from evoseg.metrics import find_metric
from evoseg.metrics.object_scores import POINT_METRICS, match_points


def at(*places: tuple[float, float]) -> np.ndarray:
    return np.array(places, np.float64).reshape(-1, 2)


def score(name: str, answer: np.ndarray, truth: np.ndarray, radius: float = 2.0) -> float:
    return float(find_metric(name, POINT_METRICS).score(match_points(answer, truth, radius)))


def test_scores_of_two_hits_of_three_points_are_those_worked_out_by_hand():
    truth, answer = at((0, 0), (10, 10), (20, 20), (30, 30)), at((0, 2), (11, 10), (50, 50))
    assert match_points(answer, truth, 2.0).tolist() == [2, 3, 4]
    assert score("f1", answer, truth) == pytest.approx(2 * 2 / (3 + 4))
    assert score("f2", answer, truth) == pytest.approx(5 * 2 / (3 + 4 * 4))


def test_the_radius_is_included_and_nothing_beyond_it():
    assert match_points(at((3, 4)), at((0, 0)), 5.0)[0] == 1
    assert match_points(at((3, 4.001)), at((0, 0)), 5.0)[0] == 0


def test_two_points_near_one_true_point_are_one_hit():
    assert match_points(at((0, 0), (0, 1)), at((0, 0.5)), 2.0).tolist() == [1, 2, 1]


def test_a_point_makes_room_for_another():
    # The first point is nearest to the second true point, and only that one is near the other two points.
    truth = at((0, 0), (0, 3), (0, 6))
    answer = at((0, 1.9), (0, 4.5), (0, 3.2))
    assert match_points(answer, truth, 2.0)[0] == 3


def test_assignments_are_optimal():
    rng = np.random.default_rng(11)
    for _ in range(60):
        truth, answer = rng.uniform(0, 6, (int(rng.integers(0, 6)), 2)), rng.uniform(0, 6, (int(rng.integers(0, 6)), 2))
        near = np.hypot(*(answer[:, None] - truth[None]).transpose(2, 0, 1)) <= 2.0
        wide = near if len(near) >= near.shape[1] else near.T
        best = max(
            sum(wide[i, j] for j, i in enumerate(order)) for order in permutations(range(wide.shape[0]), wide.shape[1])
        )
        assert match_points(answer, truth, 2.0)[0] == best


@pytest.mark.parametrize("name", POINT_METRICS)
def test_images_without_points_count_too(name):
    assert score(name, at(), at()) == 1
    assert score(name, at((1, 1)), at()) == 0
    assert score(name, at(), at((1, 1))) == 0


def test_many_points_are_matched_in_blocks():
    places = np.argwhere(np.ones((40, 40))) * 10.0
    assert match_points(places + 1.0, places, 2.0).tolist() == [1600, 1600, 1600]


def test_an_unknown_metric_is_refused():
    with pytest.raises(SettingsError, match="f1"):
        find_metric("f11", POINT_METRICS)
