"""Connected components of a mask: their labels, areas and moments.

No operators here.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def component_labels(mask: NDArray[np.bool_], connectivity: int = 8) -> tuple[int, NDArray[np.int32]]:
    """Return the number of labels, background included, and the labels."""
    n, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity, ltype=cv2.CV_32S)
    result: NDArray[Any] = labels
    return n, result


def is_sparse(mask: NDArray[np.bool_]) -> bool:
    """Return whether it is quicker to gather the foreground's pixels than to look at all."""
    return cv2.countNonZero(mask.view(np.uint8)) < 0.3 * mask.size


def label_areas(n: int, labels: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of pixels of each label of a mask; 0 for the background, which is no object."""
    areas = np.bincount(labels.ravel()[np.flatnonzero(mask)] if is_sparse(mask) else labels.ravel(), minlength=n)
    areas[0] = 0
    return areas


def select_labels(keep: NDArray[np.bool_], labels: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels of a mask whose label is to be kept; the background, label 0, never is."""
    if not is_sparse(mask):
        keep[0] = False
        return np.take(keep, labels)
    places = np.flatnonzero(mask)
    result = np.zeros(mask.size, np.bool_)
    result[places] = keep[labels.ravel()[places]]
    return result.reshape(mask.shape)


def keep_by_area(mask: NDArray[np.bool_], rule: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Keep the objects that a rule for their areas admits; area 0 stands for the background.

    The most used filters come here, so the foreground's pixels are gathered only once.
    """
    n, labels = component_labels(mask)
    places = np.flatnonzero(mask) if is_sparse(mask) else slice(None)
    owner = labels.ravel()[places]
    areas = np.bincount(owner, minlength=n)
    areas[0] = 0
    keep = rule(areas)
    keep[0] = False
    result = np.zeros(mask.size, np.bool_)
    result[places] = np.take(keep, owner)
    return result.reshape(mask.shape)


def are_largest(areas: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Mark the largest of some areas; of equal ones the first."""
    largest = np.zeros(len(areas), np.bool_)
    largest[np.argsort(-areas, kind="stable")[:count]] = True
    return largest


def label_sums(n: int, labels: NDArray[np.int32], first: int = 0) -> NDArray[np.float64]:
    """Return per label its area and its sums of rows, columns, their squares and their product, shape (n, 6).

    Parameters
    ----------
    first : int
        Number of the first row.
    """
    places = np.flatnonzero(labels)
    owner = labels.ravel()[places]
    row, col = np.divmod(places, labels.shape[1])
    row += first
    area = np.bincount(owner, minlength=n)
    return np.stack([area, *(np.bincount(owner, w, n) for w in (row, col, row * row, col * col, row * col))], axis=1)


def moments(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return areas and variances along rows, along columns, and across both, from what `label_sums` returns.

    Each pixel counts as a unit square, which adds 1/12 to the variances: a single pixel has a size too.
    """
    area = np.maximum(sums[:, 0], 1)
    mean_row, mean_col, rows, cols, both = (sums[:, 1:] / area[:, None]).T
    return area, rows - mean_row**2 + 1 / 12, cols - mean_col**2 + 1 / 12, both - mean_row * mean_col


def are_round(sums: NDArray[np.float64], roundness: float) -> NDArray[np.bool_]:
    """Mark objects whose area is at least a share of that which a disk of their variances has.

    Parameters
    ----------
    sums : float64 array of shape (n, 6)
        As `label_sums` returns them.
    """
    area, rows, cols, _ = moments(sums)
    return np.asarray(area >= roundness * 2 * np.pi * (rows + cols))


def is_between(areas: NDArray[np.int64], low: int, high: int) -> NDArray[np.bool_]:
    """Mark areas between two, both included and in any order."""
    return (areas >= min(low, high)) & (areas <= max(low, high))
