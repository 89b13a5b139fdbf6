"""Measurements of the objects in a mask, for a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.operators.components import pieces_across
from evoseg.pipeline.bands import Rows

STRIP = 1 << 24
"""Pixels that are labelled at a time, about."""

_COLUMNS = ("area_px", "centroid_row", "centroid_col", "first_row", "first_col", "last_row", "last_col")


@dataclass(frozen=True, eq=False)
class Objects:
    """Measurements of an image's 8-connected objects, in the order of their first pixels.

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


def columns(n_channels: int) -> tuple[str, ...]:
    """Return the names of the columns for images of some channels."""
    return (*_COLUMNS, *(f"mean_{index}" for index in range(n_channels)))


def objects(mask: NDArray[np.bool_], image: Rows, strip: int = STRIP) -> Objects:
    """Measure the objects of a mask; large ones strip by strip, with the same result.

    Parameters
    ----------
    mask : bool array of shape (M, N)
    image : Rows
        For the means; read once more, row by row.
    strip : int
        Pixels of a strip, about.
    """
    # Even: OpenCV numbers objects by pairs of rows.
    height = max(2, strip // mask.shape[1] // 2 * 2)
    strips = [mask[top : top + height] for top in range(0, mask.shape[0], height)]
    root, _ = pieces_across(strips)
    pieces = [
        _pieces(part, image.rows(i * height, i * height + len(part)), i * height) for i, part in enumerate(strips)
    ]
    return _joined(np.concatenate(pieces), root[1:])


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
    return Objects(columns(pieces.shape[1] - len(_COLUMNS)), values)
