"""Large images a few rows at a time, for operators that look at the whole image: all is measured, then rows are mapped.

No operators here. Exported programs do without, since the pixels are the same either way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.operators.labelling import component_labels

STRIP = 1 << 24
"""Pixels of a strip, about; images of more than two are measured and mapped."""

Arrays = tuple[NDArray[Any], ...]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where some rows lie in their image.

    Attributes
    ----------
    first : int
        The first of them.
    shape : tuple of int
        (M, N) of the image.
    number : int
        Of the strip, among those that were measured.
    """

    first: int
    shape: tuple[int, int]
    number: int = 0


@dataclass(frozen=True)
class Measured:
    """How an operator whose reach is the whole image works on some rows at a time.

    Attributes
    ----------
    measure : callable (arrays, place, params) -> Any
        Says of some rows what must be known of them; what it returns is small.
    settle : callable (parts, params) -> Any
        Draws the conclusion from all that was measured, in the order of the rows.
    mapped : callable (arrays, settled, place, params) -> array
        Returns the result for some rows.
    anywhere : bool
        Whether any rows can be mapped; if not, only the strips that were measured.
    """

    measure: Callable[[Arrays, Place, Params], Any]
    settle: Callable[[Sequence[Any], Params], Any]
    mapped: Callable[[Arrays, Any, Place, Params], NDArray[Any]]
    anywhere: bool

    def run(self, arrays: Arrays, params: Params, height: int) -> NDArray[Any]:
        """Measure and map strip by strip.

        Parameters
        ----------
        arrays : tuple of arrays of shape (M, N) or (M, N, C)
        params : mapping of str to Any
        height : int
            Rows of a strip, even.
        """
        rows, cols = arrays[0].shape[:2]
        tops = range(0, rows, height)
        strips = [tuple(array[top : top + height] for array in arrays) for top in tops]
        places = [Place(top, (rows, cols), number) for number, top in enumerate(tops)]
        parts = [self.measure(strip, place, params) for strip, place in zip(strips, places, strict=True)]
        settled = self.settle(parts, params)
        result: NDArray[Any] | None = None
        for strip, place in zip(strips, places, strict=True):
            part = self.mapped(strip, settled, place, params)
            if result is None:
                result = np.empty((rows, cols), part.dtype)
            result[place.first : place.first + height] = part
        assert result is not None
        return result


def strip_rows(cols: int, strip: int = STRIP) -> int:
    """Return how many rows a strip should have: an even number, since OpenCV numbers objects by pairs of rows."""
    return max(2, strip // cols // 2 * 2)


def level_counts(plane: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many pixels have each of 256 levels, exactly for strips of fewer than 2^24."""
    return cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def by_histogram(
    find: Callable[[NDArray[np.int64], Params], Any], then: Callable[[NDArray[np.uint8], Any, Params], NDArray[Any]]
) -> Measured:
    """Return the form of an operator on a grey plane that needs to know its histogram only.

    Parameters
    ----------
    find : callable (counts, params) -> Any
        Gets how many pixels of the image have each of 256 levels.
    then : callable (plane, found, params) -> array
        Works pixel by pixel.
    """
    return Measured(
        lambda arrays, place, params: level_counts(arrays[0]),
        lambda parts, params: find(np.sum(parts, axis=0), params),
        lambda arrays, found, place, params: then(arrays[0], found, params),
        anywhere=True,
    )


@dataclass(frozen=True, eq=False)
class Pieces:
    """What hangs together in one strip of a mask.

    Attributes
    ----------
    n : int
        How many.
    top, bottom : int32 arrays of shape (N,)
        The labels of the first and the last row, 0 for the background.
    """

    n: int
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]


def pieces_of(n: int, labels: NDArray[np.int32]) -> Pieces:
    """Return the pieces of a strip, of its number of labels, background included, and the labels."""
    return Pieces(n - 1, labels[0].copy(), labels[-1].copy())


def joined_pieces(strips: Sequence[Pieces], connectivity: int = 8) -> NDArray[np.int64]:
    """Find which pieces hang together across the seams of strips.

    Pieces are numbered from 1, strip after strip, in the order of their labels.

    Returns
    -------
    int64 array of shape (1 + n_pieces,)
        The lowest number in a piece's object; begins with 0 for the background.
    """
    joined = [np.zeros((0, 2), np.int64)]
    above, first = 0, 0
    for over_strip, under_strip in pairwise(strips):
        above, first = first, first + over_strip.n
        over = np.where(over_strip.bottom > 0, over_strip.bottom + np.int64(above), 0)
        under = np.where(under_strip.top > 0, under_strip.top + np.int64(first), 0)
        # 8-connected: each pixel touches the three below it.
        slanted = [(over[1:], under[:-1]), (over[:-1], under[1:])] if connectivity == 8 else []
        for a, b in ((over, under), *slanted):
            touch = (a > 0) & (b > 0)
            joined.append(np.unique(np.stack([a[touch], b[touch]], axis=1), axis=0))
    return joined_roots(1 + sum(strip.n for strip in strips), np.concatenate(joined))


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


def by_object(
    table: Callable[[int, NDArray[np.int32], Arrays, Place, Params], NDArray[Any]],
    value: Callable[[NDArray[np.float64], Params], NDArray[Any]],
    *,
    mask: Callable[[Arrays, Params], NDArray[np.bool_]] = lambda arrays, params: arrays[0],
    then: Callable[[NDArray[Any], Arrays], NDArray[Any]] = lambda painted, arrays: painted,
    connectivity: int = 8,
) -> Measured:
    """Return the form of an operator that gives every object of a mask a value, by what sums over its pixels tell.

    Parameters
    ----------
    table : callable (n, labels, arrays, place, params) -> array of shape (n,) or (n, k)
        Sums over the pixels of each label of some rows; they must be whole numbers to be exact.
    value : callable (sums, params) -> array of shape (n,)
        What each object becomes, from its sums, shape (n, k); the background is number 0 and becomes 0 anyway.
    mask : callable (arrays, params) -> bool array of shape (M, N)
        Whose objects; by default the first input's.
    then : callable (painted, arrays) -> array
        Makes the result of the values painted over the objects, 0 elsewhere.
    connectivity : int
        8 or 4.
    """

    def measure(arrays: Arrays, place: Place, params: Params) -> tuple[Pieces, NDArray[np.float64]]:
        n, labels = component_labels(mask(arrays, params), connectivity)
        sums = np.asarray(table(n, labels, arrays, place, params), np.float64)
        return pieces_of(n, labels), sums.reshape(n, -1)[1:]

    def settle(parts: Sequence[Any], params: Params) -> list[NDArray[Any]]:
        root = joined_pieces([pieces for pieces, _ in parts], connectivity)
        sums = np.concatenate([np.zeros((1, parts[0][1].shape[1])), *(part for _, part in parts)])
        own, owner = np.unique(root, return_inverse=True)
        totals: NDArray[Any] = np.stack([np.bincount(owner, column, own.size) for column in sums.T], axis=1)
        values = value(totals, params)
        values[0] = 0
        each = np.split(values[owner][1:], np.cumsum([pieces.n for pieces, _ in parts])[:-1])
        return [np.concatenate([values[:1], those]) for those in each]

    def mapped(arrays: Arrays, settled: list[NDArray[Any]], place: Place, params: Params) -> NDArray[Any]:
        labels = component_labels(mask(arrays, params), connectivity)[1]
        return then(np.take(settled[place.number], labels), arrays)

    return Measured(measure, settle, mapped, anywhere=False)
