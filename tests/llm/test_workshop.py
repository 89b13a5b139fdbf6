"""How well a plane tells objects from the rest, by hand-counted histograms."""

import numpy as np
import pytest

from evoseg.llm.workshop import best_iou, roc_area


def test_separation_of_two_histograms():
    # Levels 0 to 3: four pixels of objects, six of the rest.
    objects, rest = np.array([0, 1, 1, 2]), np.array([3, 2, 1, 0])
    # Pairs in which the object is brighter, equals counting half: 1 * (3 + 1) + 1 * (5 + 0.5) + 2 * 6 = 21.5 of 24.
    assert roc_area(objects, rest) == pytest.approx(21.5 / 24)
    # From level 3: 2 of 4. From 2: 3 of 4 + 1. From 1: 4 of 4 + 3. From 0: 4 of 10.
    assert best_iou(objects, rest) == pytest.approx(3 / 5)
    assert best_iou(objects[::-1], rest[::-1]) == pytest.approx(2 / 5)
