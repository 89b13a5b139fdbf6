"""Folds: which images are left out together, to be judged by what was fitted to the others."""

import numpy as np
from numpy.typing import NDArray

Units = NDArray[np.intp]
"""Which unit each image is of, numbered from 0: what is not independent, such as two images of one patient, is one."""


def each_alone(n_images: int) -> Units:
    """Return the units of independent images."""
    return np.arange(n_images)


def fold_of(units: Units, n_folds: int) -> NDArray[np.intp]:
    """Return in which of at most `n_folds` folds each image is left out: with its unit, folds being about as large.

    If a unit has more than two thirds of the images, so that hardly anything would be left to learn from without it,
    images are left out in blocks of neighbours instead, since pages of one stack are the more alike the nearer they
    are.
    """
    n, sizes = len(units), np.bincount(units)
    if 3 * sizes.max() > 2 * n:
        return np.arange(n) * min(n_folds, n) // n
    fold, filled = np.empty(len(sizes), np.intp), np.zeros(n_folds, np.intp)
    for unit in np.argsort(-sizes, kind="stable"):
        fold[unit] = filled.argmin()
        filled[fold[unit]] += sizes[unit]
    return fold[units]


def count_folds(units: Units, most: int) -> int:
    """Return how many folds there can be, at most `most`."""
    return int(fold_of(units, most).max()) + 1
