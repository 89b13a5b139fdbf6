"""Measurements of the objects in an answer, for a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.operators.labelling import component_labels
from evoseg.operators.strips import TWO_PASS_STRIP, find_pieces, join_pieces, two_pass_height
from evoseg.pipeline.running import Rows

_COLUMNS = ("area_px", "centroid_row", "centroid_col", "first_row", "first_col", "last_row", "last_col")


@dataclass(frozen=True, eq=False)
class Objects:
    """Measurements of an image's objects: of a mask what is 8-connected, in the order of first pixels.

    Attributes
    ----------
    columns : tuple of str
        Areas in pixels, centroids, the bounding box (both ends belong to it), and the mean of each channel.
    values : float64 array of shape (n_objects, n_columns)
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]

    def rows(self) -> list[list[str]]:
        """Return the measurements as text: whole numbers as such, the others with up to 7 digits."""
        return [[f"{value:.0f}" if value == int(value) else f"{value:.7g}" for value in row] for row in self.values]


def column_names(n_channels: int) -> tuple[str, ...]:
    """Return the names of the columns for images of some channels."""
    return (*_COLUMNS, *(f"mean_{index}" for index in range(n_channels)))


def measure_objects(mask: NDArray[Any], image: Rows, strip: int = TWO_PASS_STRIP) -> Objects:
    """Measure the objects of a mask, large ones strip by strip with the same result, or those of a label image.

    Parameters
    ----------
    mask : bool array of shape (M, N), or int32 labels
        In labels, every number is one object; they come in the order of their numbers.
    image : Rows
        For the means; read once more, row by row.
    strip : int
        Pixels of a strip, about.
    """
    height = two_pass_height(mask.shape[1], strip)
    strips = [mask[top : top + height] for top in range(0, mask.shape[0], height)]
    parts = ((part, image.rows(i * height, i * height + len(part)), i * height) for i, part in enumerate(strips))
    if mask.dtype != np.bool_:
        numbers, tables = zip(*(_numbered(*part) for part in parts), strict=True)
        return _joined(np.concatenate(tables), np.concatenate(numbers))
    root = join_pieces([find_pieces(*component_labels(part)) for part in strips])
    return _joined(np.concatenate([_pieces(*part) for part in parts]), root[1:])


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
    table = np.zeros((found.size, len(_COLUMNS) + image.shape[2]))
    table[:, 0] = np.bincount(owner, minlength=found.size)
    for column, values in enumerate((row, col), 1):
        table[:, column] = np.bincount(owner, values, found.size)
        table[:, column + 2] = np.inf
        np.minimum.at(table[:, column + 2], owner, values)
        np.maximum.at(table[:, column + 4], owner, values)
    for channel in range(image.shape[2]):
        table[:, len(_COLUMNS) + channel] = np.bincount(owner, pixels[:, channel], found.size)
    return found.astype(np.int64), table


def _joined(pieces: NDArray[np.float64], root: NDArray[np.int64]) -> Objects:
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
    return Objects(column_names(pieces.shape[1] - len(_COLUMNS)), values)
