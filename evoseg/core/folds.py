"""Folds: which images are left out together, to be judged by what was fitted to the others."""

import numpy as np
from numpy.typing import NDArray

Units = NDArray[np.intp]
"""Which unit each image is of, numbered from 0: what is not independent, such as two images of one patient, is one."""


def each_alone(n_images: int) -> Units:
    """Return the units of independent images."""
    return np.arange(n_images)


def fold_of(units: Units, n_folds: int) -> NDArray[np.intp]:
    """Return in which of at most `n_folds` folds each image is left out: with its unit, unless all are of one."""
    return (units if units.any() else each_alone(len(units))) % n_folds


def count_folds(units: Units, most: int) -> int:
    """Return how many folds there can be, at most `most`."""
    return int(fold_of(units, most).max()) + 1
