"""Objects as COCO writes them, into pixels: polygons, and run lengths as numbers or as text.

Written from the format's description; tested by hand values. A polygon's coordinates are (x, y) with the first pixel
from 0 to 1, and a pixel is inside if its centre is.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError, legible
from evoseg.data.layouts.documents import kind
from evoseg.data.truths import Region, region

_MOST_CORNERS = 20_000
_HELD = 1 << 22
"""Crossings of edges and rows that are computed at a time."""


def drawn(segmentation: Any, shape: tuple[int, int]) -> Region:
    """Return the pixels of an object.

    Parameters
    ----------
    segmentation : list of polygons, or object with `size` and `counts`
        As in the JSON; anything may be in it.
    shape : (M, N)

    Raises
    ------
    DatasetError
        If it is neither; the message begins with what is wrong.
    """
    if isinstance(segmentation, list) and segmentation:
        return _joined([_corners(polygon) for polygon in segmentation], shape)
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        if size != list(shape):
            raise DatasetError(f"the run lengths are for the size {legible(str(size))}, the image is {list(shape)}")
        return _from_runs(_counts(segmentation.get("counts")), shape)
    raise DatasetError("has no outline, only a box at best; a polygon or run lengths are needed")


def _corners(polygon: Any) -> NDArray[np.float64]:
    """Return the corners of a polygon, shape (n, 2), (row, col)."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise DatasetError("a polygon is a list of x, y, x, y, ... with three corners at least")
    if len(polygon) > 2 * _MOST_CORNERS:
        raise DatasetError(f"a polygon has {len(polygon) // 2} corners; at most {_MOST_CORNERS} are read")
    if wrong := [value for value in polygon if isinstance(value, bool) or not isinstance(value, int | float)]:
        raise DatasetError(f"a polygon holds a {kind(wrong[0])} among its numbers")
    # Far outside it makes no difference how far, and whole numbers may be too large for a float.
    return np.array([min(max(value, -1e6), 1e6) for value in polygon], np.float64).reshape(-1, 2)[:, ::-1]


def _joined(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> Region:
    """Return the pixels inside any of some polygons."""
    every = np.concatenate(polygons)
    top, left = np.clip(np.floor(every.min(axis=0)), 0, shape).astype(int).tolist()
    bottom, right = np.clip(np.ceil(every.max(axis=0)), 0, shape).astype(int).tolist()
    inside = np.zeros((bottom - top, right - left), bool)
    for corners in polygons:
        inside |= _filled(corners - np.array([top, left]), (bottom - top, right - left))
    found = region(inside)
    return Region(found.top + top, found.left + left, found.inside)


def _filled(corners: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside a polygon, by the even-odd rule."""
    toggles = np.zeros((shape[0], shape[1] + 1), np.int32)
    start, end = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    # An edge crosses the rows whose middles lie in [low, high).
    first = np.clip(np.ceil(low - 0.5), 0, shape[0]).astype(np.int64)
    count = np.clip(np.ceil(high - 0.5), 0, shape[0]).astype(np.int64) - first
    for some in _batches(count):
        edge = np.repeat(np.arange(len(count))[some], count[some])
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(count[some]) - count[some], count[some]) + first[edge]
        share = (rows + 0.5 - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
        x = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
        np.add.at(toggles, (rows, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)), 1)
    return (np.cumsum(toggles[:, :-1], axis=1) % 2).astype(bool)


def _batches(count: NDArray[np.int64]) -> list[slice]:
    """Cut edges into runs of bounded numbers of crossings."""
    ends = np.flatnonzero(np.diff(np.cumsum(count) // _HELD)) + 1
    cuts = [0, *ends.tolist(), len(count)]
    return [slice(a, b) for a, b in pairwise(cuts)]


def _counts(counts: Any) -> NDArray[np.int64]:
    """Return run lengths, background first."""
    if isinstance(counts, str):
        return np.array(_unpacked(counts), np.int64)
    if not isinstance(counts, list) or not all(type(n) is int and 0 <= n < 1 << 40 for n in counts):
        raise DatasetError("run lengths are a list of whole numbers from 0 on, or their text")
    return np.array(counts, np.int64)


def _unpacked(text: str) -> Sequence[int]:
    """Decode run lengths: five bits a letter, lowest first; from the fourth on, differences to the last but one."""
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise DatasetError(f"'{legible(letter)}' does not belong into the text of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(found) > 2:
            value += found[-2]
        if not 0 <= value < 1 << 40:
            raise DatasetError("a run length is below 0 or beyond all images")
        found.append(value)
        value = shift = 0
    if shift:
        raise DatasetError("the text of run lengths breaks off")
    return found


def _from_runs(counts: NDArray[np.int64], shape: tuple[int, int]) -> Region:
    """Return the pixels of every second run, counted down the columns."""
    rows, cols = shape
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    if total != rows * cols or (ends < 0).any():
        raise DatasetError(f"the run lengths add up to {total} pixels, the image has {rows * cols}")
    used = counts[1::2] > 0
    begin, end = (ends - counts)[1::2][used], ends[1::2][used]
    if not len(begin):
        return region(np.zeros((0, 0), bool))
    left, right = int(begin[0]) // rows, (int(end[-1]) - 1) // rows + 1
    steps = np.zeros((right - left) * rows + 1, np.int8)
    # Runs of length 0 let one run end where the next begins.
    np.add.at(steps, begin - left * rows, 1)
    np.add.at(steps, end - left * rows, -1)
    found = region(np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(-1, rows).T)
    return Region(found.top, found.left + left, found.inside)
