"""Measurements of the objects in an answer, for a table."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.operators.labelling import component_labels
from evoseg.operators.strips import TWO_PASS_STRIP, find_pieces, join_pieces, two_pass_height
from evoseg.pipeline.running import Rows

MEASURES = ("area_px", "centroid_row", "centroid_col", "first_row", "first_col", "last_row", "last_col")
"""Columns that are known of every object."""


def measure_objects(mask: NDArray[Any], image: Rows | None, strip: int = TWO_PASS_STRIP) -> NDArray[np.float64]:
    """Measure the objects of a mask, large ones strip by strip with the same result, or those of a label image.

    Parameters
    ----------
    mask : bool array of shape (M, N), or int32 labels
        In labels, every number is one object; they come in the order of their numbers.
    image : Rows or None
        For the means, if these are wanted; read once more, row by row.
    strip : int
        Pixels of a strip, about.

    Returns
    -------
    float64 array of shape (n_objects, n_columns)
        Objects of a mask, which are 8-connected, in the order of their first pixels. Columns are `MEASURES` (areas in
        px, centroids, and the bounding box, to which both ends belong), then the mean of each channel.
    """
    height = two_pass_height(mask.shape[1], strip)
    strips = [mask[top : top + height] for top in range(0, mask.shape[0], height)]
    tops = range(0, mask.shape[0], height)
    parts = ((part, _pixels(image, part, top), top) for part, top in zip(strips, tops, strict=True))
    if mask.dtype != np.bool_:
        numbers, tables = zip(*(_numbered(*part) for part in parts), strict=True)
        return _joined(np.concatenate(tables), np.concatenate(numbers))
    root = join_pieces([find_pieces(*component_labels(part)) for part in strips])
    return _joined(np.concatenate([_pieces(*part) for part in parts]), root[1:])


def _pixels(image: Rows | None, part: NDArray[Any], top: int) -> NDArray[np.generic]:
    """Return the rows of an image that a part of its answer covers; without one, no channels."""
    return np.empty((*part.shape, 0), np.uint8) if image is None else image.rows(top, top + len(part))


def _pieces(mask: NDArray[np.bool_], image: NDArray[np.generic], top: int) -> NDArray[np.float64]:
    """Return per object of one strip its area, sums of rows and columns, bounding box, and sums of channels."""
    n, labels, stats, centroids = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    stats, centroids = stats[1:].astype(np.float64), centroids[1:]
    area = stats[:, cv2.CC_STAT_AREA]
    row, col = stats[:, cv2.CC_STAT_TOP] + top, stats[:, cv2.CC_STAT_LEFT]
    last_row, last_col = row + stats[:, cv2.CC_STAT_HEIGHT] - 1, col + stats[:, cv2.CC_STAT_WIDTH] - 1
    places = np.flatnonzero(mask)
    owner = labels.ravel()[places]
    sums = [
        np.bincount(owner, image[:, :, index].ravel()[places], n)[1:].astype(np.float64)
        for index in range(image.shape[2])
    ]
    columns = (area, (centroids[:, 1] + top) * area, centroids[:, 0] * area, row, col, last_row, last_col, *sums)
    return np.stack(columns, axis=1)


def _numbered(
    labels: NDArray[np.int32], image: NDArray[np.generic], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the numbers in one strip of a label image, and per number what `_pieces` returns per object."""
    row, col = np.nonzero(labels)
    found, owner = np.unique(labels[row, col], return_inverse=True)
    pixels = image[row, col].astype(np.float64)
    row += top
    table = np.zeros((found.size, len(MEASURES) + image.shape[2]))
    table[:, 0] = np.bincount(owner, minlength=found.size)
    for column, values in enumerate((row, col), 1):
        table[:, column] = np.bincount(owner, values, found.size)
        table[:, column + 2] = np.inf
        np.minimum.at(table[:, column + 2], owner, values)
        np.maximum.at(table[:, column + 4], owner, values)
    for channel in range(image.shape[2]):
        table[:, len(MEASURES) + channel] = np.bincount(owner, pixels[:, channel], found.size)
    return found.astype(np.int64), table


def _joined(pieces: NDArray[np.float64], root: NDArray[np.int64]) -> NDArray[np.float64]:
    """Put the pieces of one object together."""
    found, owner = np.unique(root, return_inverse=True)
    values = np.zeros((found.size, pieces.shape[1]))
    summed: Sequence[int] = [0, 1, 2, *range(7, pieces.shape[1])]
    for column in summed:
        values[:, column] = np.bincount(owner, pieces[:, column], found.size)
    values[:, 3:5] = np.inf
    np.minimum.at(values[:, 3:5], owner, pieces[:, 3:5])
    np.maximum.at(values[:, 5:7], owner, pieces[:, 5:7])
    values[:, [1, 2, *range(7, pieces.shape[1])]] /= values[:, :1]
    return values
