"""What hangs together in a mask: its pieces numbered, their areas and spreads, also across the seams of strips.

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


def with_labels(keep: NDArray[np.bool_], labels: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels of a mask whose label is to be kept; the background, label 0, never is."""
    if not is_sparse(mask):
        keep[0] = False
        return np.take(keep, labels)
    places = np.flatnonzero(mask)
    result = np.zeros(mask.size, np.bool_)
    result[places] = keep[labels.ravel()[places]]
    return result.reshape(mask.shape)


def keep_by_area(
    mask: NDArray[np.bool_], rule: Callable[[NDArray[np.int64]], NDArray[np.bool_]], strip: int = 1 << 24
) -> NDArray[np.bool_]:
    """Keep the objects that a rule for their areas admits; area 0 stands for the background.

    The most used filters come here, so the foreground's pixels are gathered only once. Labels take four bytes per
    pixel: masks of more than two strips are labelled strip by strip, twice, and pieces that touch are counted as one.

    Parameters
    ----------
    strip : int
        Pixels of a strip, about.
    """
    height = max(2, strip // mask.shape[1] // 2 * 2)  # even: OpenCV numbers objects by pairs of rows
    strips = [mask[top : top + height] for top in range(0, mask.shape[0], height)]
    if len(strips) > 2:
        return keep_across_strips(strips, rule)
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


def keep_across_strips(
    strips: list[NDArray[np.bool_]], rule: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Do what `keep_by_area` does for a mask in strips."""
    root, areas = pieces_across(strips)
    total = np.bincount(root, areas, root.size).astype(np.int64)
    own = np.flatnonzero(root == np.arange(root.size))
    keep = np.zeros(root.size, np.bool_)
    keep[own] = rule(total[own])
    keep[0] = False
    keep = keep[root]
    result, first = [], 0
    for strip in strips:
        n, labels = component_labels(strip)
        result.append(np.take(np.concatenate(([False], keep[first + 1 : first + n])), labels))
        first += n - 1
    return np.concatenate(result)


def pieces_across(strips: list[NDArray[np.bool_]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label strips on their own, and find which pieces hang together across their seams.

    Pieces are numbered from 1, strip after strip, in the order of their labels.

    Returns
    -------
    root, areas : int64 arrays of shape (1 + n_pieces,)
        The lowest number in a piece's object, and its pixels; both begin with 0 for the background.
    """
    areas = [np.zeros(1, np.int64)]
    joined: list[NDArray[np.int64]] = []
    above: NDArray[np.int64] | None = None
    first = 0
    for strip in strips:
        n, labels = component_labels(strip)
        areas.append(label_areas(n, labels, strip)[1:])
        if above is not None:
            below = np.where(labels[0] > 0, labels[0] + np.int64(first), 0)
            # 8-connected: each pixel touches the three below it.
            for over, under in ((above, below), (above[1:], below[:-1]), (above[:-1], below[1:])):
                touch = (over > 0) & (under > 0)
                joined.append(np.unique(np.stack([over[touch], under[touch]], axis=1), axis=0))
        above = np.where(labels[-1] > 0, labels[-1] + np.int64(first), 0)
        first += n - 1
    pairs = np.concatenate(joined) if joined else np.zeros((0, 2), np.int64)
    return joined_roots(first + 1, pairs), np.concatenate(areas)


def joined_roots(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of n numbers the lowest of those that pairs join it with."""
    root = np.arange(n)
    while True:
        # Both ends take the lower root, and everything that pointed to the higher one follows.
        a, b = root[pairs[:, 0]], root[pairs[:, 1]]
        if np.array_equal(a, b):
            return root
        low, high = np.minimum(a, b), np.maximum(a, b)
        np.minimum.at(root, high, low)
        while not np.array_equal(root, deeper := root[root]):
            root = deeper


def are_largest(areas: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Mark the largest of some areas; of equal ones the first."""
    largest = np.zeros(len(areas), np.bool_)
    largest[np.argsort(-areas, kind="stable")[:count]] = True
    return largest


def label_moments(n: int, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], ...]:
    """Return per label its area and its variances along rows, along columns, and across both.

    Each pixel counts as a unit square, which adds 1/12 to the variances: a single pixel has a size too.
    """
    places = np.flatnonzero(labels)
    owner = labels.ravel()[places]
    row, col = np.divmod(places, labels.shape[1])
    area = np.maximum(np.bincount(owner, minlength=n), 1).astype(np.float64)
    mean_row = np.bincount(owner, row, n) / area
    mean_col = np.bincount(owner, col, n) / area
    rows = np.bincount(owner, row * row, n) / area - mean_row**2 + 1 / 12
    cols = np.bincount(owner, col * col, n) / area - mean_col**2 + 1 / 12
    both = np.bincount(owner, row * col, n) / area - mean_row * mean_col
    return area, rows, cols, both
