"""Folds: which images are left out together."""

import numpy as np
import pytest

from evoseg.core.folds import count_folds, each_alone, fold_of


def test_independent_images_take_turns():
    assert fold_of(each_alone(5), 3).tolist() == [0, 1, 2, 0, 1]
    assert fold_of(each_alone(4), 4).tolist() == [0, 1, 2, 3]
    assert [count_folds(each_alone(n), 3) for n in (1, 2, 5)] == [1, 2, 3]


def test_images_of_a_unit_are_left_out_together():
    units = np.array([0, 1, 0, 2, 3, 1])
    assert fold_of(units, 3).tolist() == [0, 1, 0, 2, 2, 1]
    assert fold_of(units, 6).tolist() == [0, 1, 0, 2, 3, 1]
    assert count_folds(units, 10) == 4
    assert fold_of(np.array([0, 0, 1, 1, 1]), 3).tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("sizes", [(8, 1, 1, 8), (5, 4, 3, 2, 1), (1, 1, 6, 2, 2, 1)])
def test_folds_leave_enough_to_learn_from(sizes):
    units = np.repeat(np.arange(len(sizes)), sizes)
    folds = np.bincount(fold_of(units, 3))
    assert len(folds) == 3 and folds.max() <= max(*sizes, np.ceil(sum(sizes) / 3))


def test_a_unit_of_nearly_all_images_is_parted_into_blocks():
    assert fold_of(np.zeros(6, np.intp), 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert fold_of(np.array([0, 0, 0, 0, 1]), 3).tolist() == [0, 0, 1, 1, 2]
    assert fold_of(np.zeros(4, np.intp), 4).tolist() == [0, 1, 2, 3]
