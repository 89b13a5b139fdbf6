"""Objects of masks too large to be labelled at once: pieces across seams count as one."""

import cv2
import numpy as np
import pytest

from evoseg.operators.labelling import are_largest, joined_roots, keep_by_area


def blots(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(20, 120)), int(rng.integers(1, 90)))
    noise = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), float(rng.uniform(0.3, 2)))
    return noise > rng.uniform(0.4, 0.55)


@pytest.mark.parametrize("seed", range(40))
def test_the_same_objects_stay_whatever_the_strips_are(seed):
    mask = blots(seed)
    for height in (2, 3, 7, 16):
        for rule in (lambda a: a >= 12, lambda a: a <= 12, lambda a: are_largest(a, 3)):
            np.testing.assert_array_equal(keep_by_area(mask, rule, mask.shape[1] * height), keep_by_area(mask, rule))


def test_a_spiral_through_every_seam_is_one_object():
    mask = np.zeros((60, 60), bool)
    for i in range(0, 28, 4):
        mask[i, i : 60 - i] = mask[59 - i, i : 60 - i] = mask[i : 60 - i, 59 - i] = True
        mask[i + 4 : 60 - i, i] = True
        mask[i + 4, i : i + 5] = True
    assert cv2.connectedComponents(mask.view(np.uint8))[0] == 2
    assert keep_by_area(mask, lambda areas: areas == mask.sum(), 120).sum() == mask.sum()


def test_numbers_that_pairs_join_get_their_lowest():
    pairs = np.array([[5, 4], [3, 2], [4, 3], [7, 8], [8, 9], [9, 7]])
    assert joined_roots(10, pairs).tolist() == [0, 1, 2, 2, 2, 2, 6, 7, 7, 7]
    assert joined_roots(3, np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]
