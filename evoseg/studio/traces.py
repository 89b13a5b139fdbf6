"""Which pixels a trace of the pointer covers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.studio.history import Box

Points = Sequence[tuple[float, float]]
"""(row, col), px; (0, 0) is the upper left corner of the first pixel, whose centre is (0.5, 0.5)."""


def cover_line(shape: tuple[int, ...], points: Points, radius: float) -> tuple[Box, NDArray[np.bool_]]:
    """Return the pixels whose centres are within the radius (px) of a trace, and those that it begins and ends in."""
    trace = np.array(points)
    box = _clipped(shape, trace.min(0) - radius, trace.max(0) + radius)
    inside = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    for a, b in zip(trace, trace[1:] if len(trace) > 1 else trace, strict=False):
        top, left, bottom, right = _clipped(shape, np.minimum(a, b) - radius, np.maximum(a, b) + radius)
        rows = np.arange(top, bottom)[:, None] + 0.5 - a[0]
        cols = np.arange(left, right)[None] + 0.5 - a[1]
        along = b - a
        share = np.clip((rows * along[0] + cols * along[1]) / max(float(along @ along), 1e-12), 0, 1)
        near = (rows - share * along[0]) ** 2 + (cols - share * along[1]) ** 2 <= radius**2
        inside[top - box[0] : bottom - box[0], left - box[1] : right - box[1]] |= near
    for row, col in np.floor(trace[[0, -1]]).astype(int):
        # The thinnest brush may pass between the centres.
        if box[0] <= row < box[2] and box[1] <= col < box[3]:
            inside[row - box[0], col - box[1]] = True
    return box, inside


def cover_polygon(shape: tuple[int, ...], points: Points) -> tuple[Box, NDArray[np.bool_]]:
    """Return the pixels whose centres are inside a polygon."""
    from skimage.draw import polygon2mask

    corners = np.array(points)
    box = _clipped(shape, corners.min(0), corners.max(0))
    size = (box[2] - box[0], box[3] - box[1])
    if 0 in size:
        return box, np.zeros(size, bool)
    return box, np.asarray(polygon2mask(size, corners - 0.5 - box[:2]), bool)


def _clipped(shape: tuple[int, ...], low: NDArray[Any], high: NDArray[Any]) -> Box:
    """Return the box of the pixels between two points, as far as they are in the image."""
    top, left = (int(v) for v in np.clip(np.floor(low), 0, shape))
    bottom, right = (int(v) for v in np.clip(np.ceil(high), (top, left), shape))
    return top, left, bottom, right
