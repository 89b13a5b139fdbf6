"""The objects in an answer, one after the other: pixels, outlines, and scikit-image's properties of each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.inference.measure import measure_objects
from evoseg.inference.outlines import Polygon, trace_polygons
from evoseg.operators.labelling import component_labels
from evoseg.operators.strips import TWO_PASS_STRIP, find_pieces, join_pieces, two_pass_height
from evoseg.pipeline.running import Rows

LENGTHS = ("perimeter", "axis_major_length", "axis_minor_length", "equivalent_diameter_area")
"""Properties in px, and in um where the size of a pixel is known."""
_OF_PIXELS = ("eccentricity", "orientation", "solidity", "extent", "euler_number")
_BOX = ("bbox-0", "bbox-1", "bbox-2", "bbox-3")
REGION_COLUMNS = ("label", "area", "centroid-0", "centroid-1", *_BOX, *LENGTHS, *_OF_PIXELS)
"""Names of properties as in `skimage.measure.regionprops_table`."""
LARGEST_BOX = 1 << 22
"""Pixels of the box around an object up to which its pixels are measured one by one; more would take much memory."""


@dataclass(frozen=True, eq=False)
class FoundObject:
    """One object of an answer.

    Attributes
    ----------
    number : int
        From 1 on, in the order of the objects.
    class_value : int
        Its class; 1 if there are no classes.
    class_name : str
        "" if there are no classes.
    measures : float64 array of shape (n_columns,)
        As of `measure_objects`.
    top, left : int
        Row and column of the first pixel of its box.
    inside : bool array of shape (m, n)
        Its pixels in this box.
    """

    number: int
    class_value: int
    class_name: str
    measures: NDArray[np.float64]
    top: int
    left: int
    inside: NDArray[np.bool_] = field(repr=False)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.measures[0])

    @cached_property
    def polygons(self) -> list[Polygon]:
        """The outlines of its pixels, in the coordinates of the image."""
        offset = np.array([self.top, self.left])
        return [[ring + offset for ring in polygon] for polygon in trace_polygons(self.inside)]

    def properties(self) -> Mapping[str, float]:
        """Return the properties that `REGION_COLUMNS` names, in px; what would take too much memory is left out."""
        area, row, col, *box = self.measures[:7].tolist()
        places = (float(self.number), area, row, col, box[0], box[1], box[2] + 1, box[3] + 1)
        known = dict(zip(REGION_COLUMNS, places, strict=False)) | {
            "equivalent_diameter_area": math.sqrt(4 * area / math.pi),
            "extent": area / self.inside.size,
        }
        if self.inside.size > LARGEST_BOX:
            return known
        from skimage.measure import regionprops

        (region,) = regionprops(self.inside.view(np.uint8))
        return known | {name: float(region[name]) for name in REGION_COLUMNS if name not in known}


@dataclass(frozen=True, eq=False)
class Layer:
    """The objects of one class in an answer, or all of them if there are no classes.

    Attributes
    ----------
    pixels : bool array of shape (M, N), or int32 labels
        Of a mask, what is 8-connected is an object; of labels, every number.
    value : int
    name : str
    """

    pixels: NDArray[Any] = field(repr=False)
    value: int = 1
    name: str = ""


class AnswerObjects:
    """All objects of an answer, layer by layer, with no more of them in memory than one.

    Parameters
    ----------
    layers : sequence of Layer
        One or more, of one shape.
    image : Rows, optional
        To measure the means of its channels.
    strip : int
        Pixels of a strip, about.
    """

    def __init__(self, layers: Sequence[Layer], image: Rows | None = None, strip: int = TWO_PASS_STRIP) -> None:
        self.layers = layers
        self.shape: tuple[int, int] = layers[0].pixels.shape
        self._height = two_pass_height(self.shape[1], strip)
        self._measured = [measure_objects(layer.pixels, image, strip) for layer in layers]

    def __len__(self) -> int:
        return sum(map(len, self._measured))

    def __iter__(self) -> Iterator[FoundObject]:
        number = 0
        for layer, table in zip(self.layers, self._measured, strict=True):
            values = self._values(layer.pixels)
            for index, measures in enumerate(table):
                number += 1
                top, left, bottom, right = measures[3:7].astype(int).tolist()
                box = slice(top, bottom + 1), slice(left, right + 1)
                if values is not None:
                    inside = layer.pixels[box] == values[index]
                elif (bottom + 1 - top) * (right + 1 - left) <= TWO_PASS_STRIP:
                    inside = _spanning(layer.pixels[box])
                else:
                    parts = [
                        part[:, box[1]] == index + 1 for part in _number_strips(layer.pixels, self._height, box[0])
                    ]
                    inside = np.concatenate(parts)
                yield FoundObject(number, layer.value, layer.name, measures, top, left, inside)

    def labels(self) -> Iterator[NDArray[np.int32]]:
        """Yield strips of the image in which each object has its number, int32 of shape (m, N), from the top down."""
        tops = range(0, self.shape[0], self._height)
        every = [_number_strips(layer.pixels, self._height, slice(0, self.shape[0])) for layer in self.layers]
        before = np.cumsum([0, *map(len, self._measured)])[:-1].tolist()
        for _ in tops:
            found = np.zeros((0, 0), np.int32)
            for n_before, strips in zip(before, every, strict=True):
                numbers = next(strips)
                numbers[numbers > 0] += n_before
                found = np.maximum(found, numbers) if found.size else numbers
            yield found

    def _values(self, pixels: NDArray[Any]) -> NDArray[np.int64] | None:
        """Return the numbers in labels, ascending; None for a mask."""
        if pixels.dtype == np.bool_:
            return None
        strips = (pixels[top : top + self._height] for top in range(0, self.shape[0], self._height))
        found = np.unique(np.concatenate([np.unique(strip) for strip in strips]))
        return found[found > 0].astype(np.int64)


def _spanning(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the 8-connected object of a mask that reaches all its sides; there is only one, as two would cross."""
    rows, cols = mask.shape
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.copy().view(np.uint8), connectivity=8)
    spans = (stats[1:, cv2.CC_STAT_HEIGHT] == rows) & (stats[1:, cv2.CC_STAT_WIDTH] == cols)
    return np.asarray(labels == 1 + int(np.argmax(spans)))


def _number_strips(pixels: NDArray[Any], height: int, rows: slice) -> Iterator[NDArray[np.int32]]:
    """Yield the numbers of the objects in those strips of an answer that some rows lie in, cut to these."""
    tops = range(0, pixels.shape[0], height)
    if pixels.dtype == np.bool_:
        pieces = [find_pieces(*component_labels(pixels[top : top + height])) for top in tops]
        root = join_pieces(pieces)
        numbers = np.concatenate([[0], np.unique(root[1:], return_inverse=True)[1] + 1]).astype(np.int32)
        before = np.cumsum([0, *(strip.n for strip in pieces)]).tolist()
    else:
        values = np.unique(np.concatenate([[0], *(np.unique(pixels[top : top + height]) for top in tops)]))
    for index, top in enumerate(tops):
        first, last = max(rows.start, top), min(rows.stop, top + height)
        if first >= last:
            continue
        part = pixels[top : top + height]
        if pixels.dtype != np.bool_:
            found = np.searchsorted(values, part).astype(np.int32)
        else:
            own = numbers[before[index] : before[index + 1] + 1].copy()
            own[0] = 0
            found = own[component_labels(part)[1]]
        yield found[first - top : last - top]
