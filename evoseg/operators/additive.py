"""Planes added up, each along a curve of its own: generalised additive models, whose curves the search fits."""

from functools import lru_cache, reduce
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Gray
from evoseg.operators.parameters import Numbers
from evoseg.operators.registry import operator
from evoseg.operators.scales import signed_gray

KNOTS = 9
"""Points of one curve, evenly spaced over 0..255."""
MOST_LEVELS = 510.0
"""Largest magnitude of a curve's values."""
CURVE_UNIT = 8
"""Steps per level in which curves are added up, as 16-bit integers; four curves cannot overflow."""

HALVES = tuple(float(v) for v in np.linspace(0, 127, KNOTS).round(1))
"""A straight line up to half of the levels."""


@lru_cache(maxsize=2048)
def curve_steps(points: tuple[float, ...]) -> NDArray[np.int16]:
    """Return the polygon through points at equal distances over 0..255, in steps of `1 / CURVE_UNIT` level."""
    at = np.linspace(0, 255, len(points))
    return np.rint(CURVE_UNIT * np.interp(np.arange(256), at, points)).astype(np.int16)


def sum_of_curves(planes: tuple[NDArray[np.uint8], ...], curves: tuple[float, ...]) -> Gray:
    """Look every plane up in its own curve, add, round and clip to 0..255."""
    looked_up: list[NDArray[Any]] = [
        cv2.LUT(plane, curve_steps(curves[KNOTS * i : KNOTS * (i + 1)])) for i, plane in enumerate(planes)
    ]
    return signed_gray(reduce(lambda total, more: cv2.add(total, more, total), looked_up), 1 / CURVE_UNIT, "bright")


@operator(revision=1, cost=0.75, reach=0)
def add_curves(
    a: Gray,
    b: Gray,
    *,
    curves: Annotated[tuple[float, ...], Numbers(-MOST_LEVELS, MOST_LEVELS, least=18, most=18)] = HALVES * 2,
) -> Gray:
    """Add two planes up, each along a curve of its own.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
    curves : 18 numbers, level
        9 for each plane: what its levels 0, 32, 64 ... 255 contribute, with straight lines between. The sum is
        rounded and clipped to 0..255. The search fits them so that the sum tells foreground from background.

    Returns
    -------
    uint8 array of shape (M, N)

    References
    ----------
    T. Hastie, R. Tibshirani, Statistical Science 1(3), 1986. doi:10.1214/ss/1177013604
    """
    return sum_of_curves((a, b), curves)


@operator(revision=1, cost=1.4, reach=0)
def add_curves4(
    a: Gray,
    b: Gray,
    c: Gray,
    d: Gray,
    *,
    curves: Annotated[tuple[float, ...], Numbers(-MOST_LEVELS, MOST_LEVELS, least=36, most=36)] = HALVES * 4,
) -> Gray:
    """Add four planes up, each along a curve of its own.

    Parameters
    ----------
    a, b, c, d : uint8 arrays of shape (M, N)
    curves : 36 numbers, level
        9 for each plane, as in `add_curves`.

    Returns
    -------
    uint8 array of shape (M, N)

    References
    ----------
    T. Hastie, R. Tibshirani, Statistical Science 1(3), 1986. doi:10.1214/ss/1177013604
    """
    return sum_of_curves((a, b, c, d), curves)
