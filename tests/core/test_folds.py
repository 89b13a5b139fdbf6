"""Folds: which images are left out together."""

import numpy as np

from evoseg.core.folds import count_folds, each_alone, fold_of


def test_independent_images_take_turns():
    assert fold_of(each_alone(5), 3).tolist() == [0, 1, 2, 0, 1]
    assert count_folds(each_alone(5), 3) == 3
    assert count_folds(each_alone(2), 3) == 2


def test_images_of_a_unit_are_left_out_together():
    units = np.array([0, 1, 0, 2, 3, 1])
    assert fold_of(units, 3).tolist() == [0, 1, 0, 2, 0, 1]
    assert count_folds(units, 10) == 4
    assert count_folds(np.array([0, 1, 1, 1]), 3) == 2


def test_images_of_one_unit_are_left_out_one_by_one():
    units = np.zeros(4, np.intp)
    assert fold_of(units, 3).tolist() == [0, 1, 2, 0]
    assert count_folds(units, 3) == 3
