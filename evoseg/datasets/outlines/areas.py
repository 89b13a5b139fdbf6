"""Pixels of annotated objects: polygons, holes, bitmaps and run lengths, whichever tool wrote them.

There is one convention for all formats: (0, 0) is the upper left corner of the image, so the centre of its first pixel
is at (0.5, 0.5), and an outline covers the pixels whose centres it contains.
"""

import math
from base64 import b64decode
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.annotations import Region, region
from evoseg.datasets.documents import a_kind, kind
from evoseg.datasets.io.formats import LIMITS

_MOST_CORNERS = 20_000
_HELD = 1 << 22
"""Crossings of edges and rows that are computed at a time."""
_ELLIPSE_CORNERS = 360
"""The polygon differs from the ellipse by 4e-5 of the radius at most."""
_FAR = 1e6
_WHOLE = 0.01
"""How far from a whole number a coordinate may be, px, that six digits of a share of the image's size give."""


def draw_region(segmentation: Any, shape: tuple[int, int], *, traced: bool = False) -> Region:
    """Return the pixels of an object.

    Parameters
    ----------
    segmentation : list of parts, or object with `size` and `counts`
        As in the JSON of COCO; anything may be in it. A part is a list of x, y, x, y, ...; readers of other formats may
        also put a `Region` there, or a tuple of such lists, in which every second one cuts a hole (even-odd rule).
    shape : (M, N)
    traced : bool
        Whether polygons run through the centres of pixels that belong to the object, as (0, 0) for the first pixel.

    Raises
    ------
    DatasetError
        If it is neither; the message begins with what is wrong.
    """
    if isinstance(segmentation, list) and segmentation:
        return _joined([_part(part) for part in segmentation], shape, traced)
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        if size != list(shape):
            raise DatasetError(f"the run lengths are for the size {legible(str(size))}, the image is {list(shape)}")
        return _from_runs(_counts(segmentation.get("counts")), shape)
    raise DatasetError("has no outline, only a box at best; a polygon or run lengths are needed")


_Part = Region | list[NDArray[np.float64]]


def _part(part: Any) -> _Part:
    """Return the rings of a part, or its pixels."""
    if isinstance(part, Region):
        return part
    return [_corners(ring) for ring in part] if isinstance(part, tuple) else [_corners(part)]


def _corners(polygon: Any) -> NDArray[np.float64]:
    """Return the corners of a polygon, shape (n, 2), (row, col)."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise DatasetError("a polygon is a list of x, y, x, y, ... with three corners at least")
    if len(polygon) > 2 * _MOST_CORNERS:
        raise DatasetError(f"a polygon has {len(polygon) // 2} corners; at most {_MOST_CORNERS} are read")
    if wrong := [value for value in polygon if isinstance(value, bool) or not isinstance(value, int | float)]:
        raise DatasetError(f"a polygon holds a {kind(wrong[0])} among its numbers")
    # Far outside it makes no difference how far, and whole numbers may be too large for a float.
    corners = np.array([min(max(value, -_FAR), _FAR) for value in polygon], np.float64).reshape(-1, 2)[:, ::-1]
    if np.isnan(corners).any():
        raise DatasetError("a polygon has a corner that is not a number (NaN)")
    return corners


def _joined(parts: Sequence[_Part], shape: tuple[int, int], traced: bool) -> Region:
    """Return the pixels inside any of some parts."""
    ends = [_ends(part, traced) for part in parts]
    top, left = np.clip(np.min([low for low, _ in ends], axis=0), 0, shape).astype(int).tolist()
    bottom, right = np.clip(np.max([high for _, high in ends], axis=0), 0, shape).astype(int).tolist()
    size = bottom - top, right - left
    inside = np.zeros(size, bool)
    for part in parts:
        if isinstance(part, Region):
            _paste(inside, part, top, left)
            continue
        rings = [ring - np.array([top, left]) for ring in part]
        inside |= _filled_pixels(rings, size) if traced else _filled_rings(rings, size)
    found = region(inside)
    return Region(found.top + top, found.left + left, found.inside)


def _filled_rings(rings: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside an odd number of rings."""
    odd = np.zeros(shape, bool)
    for ring in rings:
        odd ^= _filled(ring, shape)
    return odd


def _filled_pixels(rings: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels in and on the first ring that do not lie inside one of the others, which run through pixels."""
    import cv2

    inside = np.zeros(shape, np.uint8)
    for i, ring in enumerate(rings if inside.size else ()):
        points = [np.round(ring[:, ::-1]).astype(np.int32)]
        cv2.fillPoly(inside, points, int(i == 0))
        cv2.polylines(inside, points, True, 1)
    return inside > 0


def _ends(part: _Part, traced: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first row and column of a part, and those after its last."""
    if isinstance(part, Region):
        first = np.array([part.top, part.left], np.float64)
        return first, first + part.inside.shape
    every = np.concatenate(part)
    return np.floor(every.min(axis=0)), np.ceil(every.max(axis=0)) + int(traced)


def _paste(inside: NDArray[np.bool_], part: Region, top: int, left: int) -> None:
    """Mark the pixels of a part in an array whose first pixel is at (top, left), in place."""
    row, col = part.top - top, part.left - left
    cut = part.inside[max(-row, 0) :, max(-col, 0) :]
    there = inside[max(row, 0) :, max(col, 0) :]
    rows, cols = min(cut.shape[0], there.shape[0]), min(cut.shape[1], there.shape[1])
    there[:rows, :cols] |= cut[:rows, :cols]


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
        raise DatasetError("run lengths are a list of whole numbers of 0 or more, or their text")
    return np.array(counts, np.int64)


def _unpacked(text: str) -> Sequence[int]:
    """Decode run lengths: five bits a letter, lowest first; from the fourth on, differences to the last but one."""
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise DatasetError(f"'{legible(letter)}' does not belong in the text of run lengths")
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


def is_traced(polygons: Iterable[Sequence[float]]) -> bool:
    """Return whether polygons x, y, x, y, ... run from pixel to pixel, as findContours of OpenCV traces objects.

    All coordinates are then whole numbers and all steps horizontal, vertical or diagonal. Outlines along the edges of
    pixels have no diagonals, and people do not draw so.
    """
    n = n_diagonal = 0
    for polygon in polygons:
        corners = np.array(polygon, np.float64).reshape(-1, 2)
        if np.abs(corners - np.round(corners)).max(initial=0) > _WHOLE:
            return False
        steps = np.abs(np.round(corners) - np.round(np.roll(corners, 1, axis=0)))
        if (steps.all(axis=1) & (steps[:, 0] != steps[:, 1])).any():
            return False
        n += 1
        n_diagonal += bool(steps.all(axis=1).any())
    return 2 * n_diagonal > n


def flatten(points: Any) -> list[Any]:
    """Return corners [[x, y], ...] as x, y, x, y, ...

    Raises
    ------
    DatasetError
        If they are anything else; whether they are numbers is asked when they are drawn.
    """
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) >= 2 for point in points):
        raise DatasetError("corners are a list of [x, y]")
    return [value for point in points for value in point[:2]]


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> list[float]:
    """Return the corners of a rectangle, turned clockwise about (x, y)."""
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return turned(corners, degrees, (x, y)) if degrees else [value for corner in corners for value in corner]


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> list[float]:
    """Return the corners of a polygon in place of an ellipse around (x, y), turned clockwise."""
    angles = (2 * math.pi * i / _ELLIPSE_CORNERS for i in range(_ELLIPSE_CORNERS))
    return turned([(x + radius_x * math.cos(a), y + radius_y * math.sin(a)) for a in angles], degrees, (x, y))


def turned(corners: Sequence[tuple[float, float]], degrees: float, about: tuple[float, float]) -> list[float]:
    """Return corners (x, y), turned clockwise on the screen, as x, y, x, y, ..."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    (x0, y0), found = about, []
    for x, y in corners:
        found += [x0 + cos * (x - x0) - sin * (y - y0), y0 + sin * (x - x0) + cos * (y - y0)]
    return found


def number(value: Any, what: str) -> float:
    """Return a finite number.

    Raises
    ------
    DatasetError
        If it is anything else; the message begins with `what`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise DatasetError(f"{what} is {value if isinstance(value, float) else a_kind(value)}; a number is needed")
    return float(value)


def decode_bitmap(text: Any, top: int, left: int) -> Region:
    """Return the pixels above 0, or not transparent, of a PNG in base64 whose first pixel is at (top, left).

    Raises
    ------
    DatasetError
        If it is anything else, or larger than any image that is read.
    """
    from PIL import Image

    if not isinstance(text, str):
        raise DatasetError(f"a bitmap is {a_kind(text)}, not the text of a PNG")
    try:
        with Image.open(BytesIO(b64decode(text, validate=True)), formats=["PNG"]) as image:
            if image.width * image.height > LIMITS.pixels:
                raise DatasetError(f"a bitmap has {image.width} x {image.height} pixels; {LIMITS.pixels} are read")
            inside = np.asarray(image.getchannel("A") if "A" in image.getbands() else image.convert("L")) > 0
    except DatasetError:
        raise
    except Exception as error:  # damaged bytes make decoders raise almost anything
        raise DatasetError(f"a bitmap is not a PNG in base64 ({type(error).__name__})") from error
    return Region(top, left, inside)
