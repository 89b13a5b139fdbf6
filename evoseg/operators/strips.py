"""Large images in horizontal strips: what an operator computes on the way then stays in the processor's cache.

No operators here. Exported programs do without, since the pixels are the same either way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 20
"""Pixels from which an image is computed in strips."""

STRIP = 1 << 18
"""Pixels of a strip, if the reach is small: a float32 plane of it fills one megabyte."""

WORTH = 0.3
"""Nanoseconds per pixel from which strips pay: cheaper filters wait for their input and output, not in between."""


def strip_height(cols: int, reach: int) -> int:
    """Return how many rows a strip should have; those that a filter sees around it should add little work."""
    return max(STRIP // cols, 16 * reach, 1)


def windows(rows: int, reach: int, height: int) -> list[tuple[int, int, int, int]]:
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
    strips = windows(rows, reach, height)
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
