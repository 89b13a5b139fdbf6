"""Large images in horizontal strips: in one pass where a filter looks a few pixels away, else in two passes.

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

LARGE = 1 << 20
"""Pixels from which an image is computed in strips."""

STRIP = 1 << 18
"""Pixels of a strip, if the reach is small: a float32 plane of it fills one megabyte."""

WORTH = 0.3
"""Nanoseconds per pixel from which strips pay: cheaper filters wait for their input and output, not in between."""


def strip_height(cols: int, reach: int) -> int:
    """Return how many rows a strip should have; those that a filter sees around it should add little work."""
    return max(STRIP // cols, 16 * reach, 1)


def cut_strips(rows: int, reach: int, height: int) -> list[tuple[int, int, int, int]]:
    """Cut rows into strips, each with as many rows around it as a filter looks away.

    Returns
    -------
    list of (first, top, bottom, last)
        Rows `first` to `last` give rows `top` to `bottom` of the result.
    """
    # Where a filter works on means of blocks, whose side is a power of two, strips must begin at the edge of a block.
    block = 1 << max(0, (reach // 4).bit_length() - 1)
    margin = -(-reach // block) * block
    height = -(-height // block) * block
    if 2 * height > rows:
        return [(0, 0, rows, rows)]
    return [
        (max(0, top - margin), top, min(rows, top + height), min(rows, top + height + margin))
        for top in range(0, rows, height)
    ]


def in_strips(
    function: Callable[..., NDArray[Any]], arrays: tuple[NDArray[Any], ...], reach: int, height: int
) -> NDArray[Any]:
    """Apply a filter strip by strip.

    Parameters
    ----------
    function : callable (arrays) -> array of shape (M, N)
    arrays : arrays of shape (M, N) or (M, N, C)
    reach : int, px
        How far away a pixel can influence the result; at least four times the factor by which the filter reduces the
        scale, which is a power of two.
    height : int, px
        Rows of a strip, at least.

    Returns
    -------
    array of shape (M, N), the same as `function(*arrays)`
    """
    rows, cols = arrays[0].shape[:2]
    strips = cut_strips(rows, reach, height)
    if len(strips) == 1:
        return function(*arrays)
    result: NDArray[Any] | None = None
    for first, top, bottom, last in strips:
        part = function(*(array[first:last] for array in arrays))
        if result is None:
            result = np.empty((rows, cols), part.dtype)
        result[top:bottom] = part[top - first : bottom - first]
    assert result is not None
    return result


TWO_PASS_STRIP = 1 << 24
"""Pixels of a strip, about; images of more than two are worked on in two passes."""

Arrays = tuple[NDArray[Any], ...]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Strip:
    """Where the rows of a strip lie in their image.

    Attributes
    ----------
    first : int
        The first of them.
    shape : tuple of int
        (M, N) of the image.
    number : int
        Of the strip, in the order of the rows.
    """

    first: int
    shape: tuple[int, int]
    number: int = 0


@dataclass(frozen=True)
class TwoPass:
    """How an operator whose reach is the whole image works on large ones: two passes over strips of rows.

    Attributes
    ----------
    map : callable (arrays, strip, params) -> Any
        First pass: says of a strip what must be known of it; what it returns is small.
    reduce : callable (parts, params) -> Any
        Draws the conclusion from what the first pass returned, in the order of the rows.
    apply : callable (arrays, found, strip, params) -> array
        Second pass: returns the result for a strip.
    anywhere : bool
        Whether the second pass takes any rows; if not, only the strips of the first.
    margin : callable (params) -> int, or None
        How many rows around a strip the second pass must see, px; None for no more than the strip.
    """

    map: Callable[[Arrays, Strip, Params], Any]
    reduce: Callable[[Sequence[Any], Params], Any]
    apply: Callable[[Arrays, Any, Strip, Params], NDArray[Any]]
    anywhere: bool
    margin: Callable[[Params], int] | None = None

    def reach(self, params: Params) -> int:
        """Return how far away a pixel can influence the result of the second pass, px."""
        return 0 if self.margin is None else self.margin(params)

    def run(self, arrays: Arrays, params: Params, height: int) -> NDArray[Any]:
        """Run both passes, strip by strip.

        Parameters
        ----------
        arrays : tuple of arrays of shape (M, N) or (M, N, C)
        params : mapping of str to Any
        height : int
            Rows of a strip, even.
        """
        rows, cols = arrays[0].shape[:2]
        tops = range(0, rows, height)
        cut = [tuple(array[top : top + height] for array in arrays) for top in tops]
        strips = [Strip(top, (rows, cols), number) for number, top in enumerate(tops)]
        found = self.reduce([self.map(part, strip, params) for part, strip in zip(cut, strips, strict=True)], params)
        if self.margin is not None:
            strip = Strip(0, (rows, cols))
            return in_strips(lambda *part: self.apply(part, found, strip, params), arrays, self.reach(params), height)
        result: NDArray[Any] | None = None
        for part, strip in zip(cut, strips, strict=True):
            done = self.apply(part, found, strip, params)
            if result is None:
                result = np.empty((rows, cols), done.dtype)
            result[strip.first : strip.first + height] = done
        assert result is not None
        return result


def two_pass_height(cols: int, strip: int = TWO_PASS_STRIP) -> int:
    """Return how many rows a strip should have: an even number, since OpenCV numbers objects by pairs of rows."""
    return max(2, strip // cols // 2 * 2)


def count_levels(plane: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many pixels have each of 256 levels, exactly for strips of fewer than 2^24."""
    return cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def by_histogram(
    find: Callable[[NDArray[np.int64], Params], Any], then: Callable[[NDArray[np.uint8], Any, Params], NDArray[Any]]
) -> TwoPass:
    """Return the form of an operator on a grey plane that needs to know its histogram only.

    Parameters
    ----------
    find : callable (counts, params) -> Any
        Gets how many pixels of the image have each of 256 levels.
    then : callable (plane, found, params) -> array
        Works pixel by pixel.
    """
    return TwoPass(
        lambda arrays, strip, params: count_levels(arrays[0]),
        lambda parts, params: find(np.sum(parts, axis=0), params),
        lambda arrays, found, strip, params: then(arrays[0], found, params),
        anywhere=True,
    )


@dataclass(frozen=True, eq=False)
class Pieces:
    """The connected pieces of one strip of a mask.

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


def find_pieces(n: int, labels: NDArray[np.int32]) -> Pieces:
    """Return the pieces of a strip, of its number of labels, background included, and the labels."""
    return Pieces(n - 1, labels[0].copy(), labels[-1].copy())


def join_pieces(strips: Sequence[Pieces], connectivity: int = 8) -> NDArray[np.int64]:
    """Find which pieces are connected across the borders of strips.

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
    return join_roots(1 + sum(strip.n for strip in strips), np.concatenate(joined))


def join_roots(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
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
    table: Callable[[int, NDArray[np.int32], Arrays, Strip, Params], NDArray[Any]],
    value: Callable[[NDArray[np.float64], Params], NDArray[Any]],
    *,
    mask: Callable[[Arrays, Params], NDArray[np.bool_]] = lambda arrays, params: arrays[0],
    then: Callable[[NDArray[Any], Arrays], NDArray[Any]] = lambda painted, arrays: painted,
    connectivity: int = 8,
) -> TwoPass:
    """Return the form of an operator that gives every object of a mask a value, by what sums over its pixels tell.

    Parameters
    ----------
    table : callable (n, labels, arrays, strip, params) -> array of shape (n,) or (n, k)
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

    def map_strip(arrays: Arrays, strip: Strip, params: Params) -> tuple[Pieces, NDArray[np.float64]]:
        n, labels = component_labels(mask(arrays, params), connectivity)
        sums = np.asarray(table(n, labels, arrays, strip, params), np.float64)
        return find_pieces(n, labels), sums.reshape(n, -1)[1:]

    def reduce(parts: Sequence[Any], params: Params) -> list[NDArray[Any]]:
        root = join_pieces([pieces for pieces, _ in parts], connectivity)
        sums = np.concatenate([np.zeros((1, parts[0][1].shape[1])), *(part for _, part in parts)])
        own, owner = np.unique(root, return_inverse=True)
        totals: NDArray[Any] = np.stack([np.bincount(owner, column, own.size) for column in sums.T], axis=1)
        values = value(totals, params)
        values[0] = 0
        each = np.split(values[owner][1:], np.cumsum([pieces.n for pieces, _ in parts])[:-1])
        return [np.concatenate([values[:1], those]) for those in each]

    def apply(arrays: Arrays, found: list[NDArray[Any]], strip: Strip, params: Params) -> NDArray[Any]:
        labels = component_labels(mask(arrays, params), connectivity)[1]
        return then(np.take(found[strip.number], labels), arrays)

    return TwoPass(map_strip, reduce, apply, anywhere=False)
