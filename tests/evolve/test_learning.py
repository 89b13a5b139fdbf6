"""The learning curve over a search's candidates."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.evolve.finalists import learning_curve


def test_one_candidate_that_is_best_everywhere_is_found_by_one_image():
    scores = np.array([[0.9] * 5, [0.1] * 5])
    assert [point.score for point in learning_curve(scores, default_rng(1))] == pytest.approx([0.9] * 4)


def test_choosing_by_more_images_pays_where_some_candidates_are_lucky():
    rng = default_rng(20260311)
    # Each of 20 candidates is perfect on one image only; one is good on all.
    lucky = np.full((20, 10), 0.1)
    lucky[np.arange(20), rng.integers(0, 10, 20)] = 1.0
    curve = learning_curve(np.vstack([lucky, np.full(10, 0.6)]), default_rng(2))
    assert [point.n_images for point in curve] == sorted({point.n_images for point in curve})
    assert curve[0].score < 0.2
    assert curve[-1].score == pytest.approx(0.6)


def test_there_is_none_for_two_images_or_no_candidates():
    assert learning_curve(np.ones((3, 2)), default_rng(3)) == []
    assert learning_curve(np.zeros(0).reshape(0, 1), default_rng(3)) == []
