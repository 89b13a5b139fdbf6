"""Grey-scale morphology: what fits under, around and between a disk, a line or a free element."""

import math
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.gray import as_gray
from evoseg.operators.parameters import Doc, Numbers, OneOf, Range
from evoseg.operators.registry import operator
from evoseg.operators.structuring import (
    DiskRadius,
    close_disk,
    close_line_padded,
    dilate_disk,
    disk_cost,
    erode_disk,
    open_disk,
    open_line_padded,
    pad_mirrored,
)

SOUGHT_DISK = Doc("Of a disk (above 3 px an octagon) that does not fit into what is sought.")
LINE_ANGLE = Doc("Direction, counter-clockwise from horizontal.")
LINE_LENGTH = Doc("Of the line. The border is mirrored.")


LINE_ANGLES = tuple(15.0 * i for i in range(12))
"""Directions over which line filters look for the best, in degrees."""


@operator(revision=1, cost=lambda p: disk_cost(p["radius"]), reach=lambda p: p["radius"])
def erode(plane: Gray, *, radius: DiskRadius = 2) -> Gray:
    """Take the darkest value within a radius."""
    return as_gray(erode_disk(plane, radius))


@operator(revision=1, cost=lambda p: disk_cost(p["radius"]), reach=lambda p: p["radius"])
def dilate(plane: Gray, *, radius: DiskRadius = 2) -> Gray:
    """Take the brightest value within a radius."""
    return as_gray(dilate_disk(plane, radius))


@operator(revision=1, cost=lambda p: 2 * disk_cost(p["radius"]), reach=lambda p: 2 * p["radius"])
def open(plane: Gray, *, radius: DiskRadius = 2) -> Gray:
    """Remove bright structures narrower than a disk; the rest hardly changes.

    Returns
    -------
    uint8 array of shape (M, N), nowhere brighter than `plane`
    """
    return as_gray(open_disk(plane, radius))


@operator(revision=1, cost=lambda p: 2 * disk_cost(p["radius"]), reach=lambda p: 2 * p["radius"])
def close(plane: Gray, *, radius: DiskRadius = 2) -> Gray:
    """Fill dark structures narrower than a disk; the rest hardly changes.

    Returns
    -------
    uint8 array of shape (M, N), nowhere darker than `plane`
    """
    return as_gray(close_disk(plane, radius))


@operator(revision=1, cost=lambda p: 0.05 + 2 * disk_cost(p["radius"]), reach=lambda p: 2 * p["radius"])
def white_tophat(plane: Gray, *, radius: Annotated[int, Range(1, 40, unit="px", log=True), SOUGHT_DISK] = 8) -> Gray:
    """Keep only bright structures narrower than a disk, on black.

    Returns
    -------
    uint8 array of shape (M, N), `plane` minus its opening
    """
    return as_gray(cv2.subtract(plane, open_disk(plane, radius)))


@operator(revision=1, cost=lambda p: 0.05 + 2 * disk_cost(p["radius"]), reach=lambda p: 2 * p["radius"])
def black_tophat(plane: Gray, *, radius: Annotated[int, Range(1, 40, unit="px", log=True), SOUGHT_DISK] = 8) -> Gray:
    """Keep only dark structures narrower than a disk, shown bright on black.

    Returns
    -------
    uint8 array of shape (M, N), the closing of `plane` minus `plane`
    """
    return as_gray(cv2.subtract(close_disk(plane, radius), plane))


@operator(revision=1, cost=lambda p: 0.05 + 2 * disk_cost(p["radius"]), reach=lambda p: p["radius"])
def morph_gradient(plane: Gray, *, radius: Annotated[int, Range(1, 20, unit="px", log=True)] = 1) -> Gray:
    """Take the difference between the brightest and the darkest value within a disk: thick edges.

    Parameters
    ----------
    radius : int, px
        Of a disk (above 3 px an octagon); edges come out about twice as wide.
    """
    return as_gray(cv2.subtract(dilate_disk(plane, radius), erode_disk(plane, radius)))


def reconstruct_within(marker: NDArray[Any], limit: NDArray[Any], steps: int) -> NDArray[Any]:
    """Grow `marker` under `limit` by at most `steps` pixels (geodesic dilation, 8-connected)."""
    element = np.ones((3, 3), np.uint8)
    for step in range(steps):
        grown = cv2.min(cv2.dilate(marker, element), limit)
        if step % 8 == 7 and np.array_equal(grown, marker):
            return grown
        marker = grown
    return marker


@operator(
    revision=1,
    cost=lambda p: disk_cost(p["radius"]) + 0.13 * p["steps"],
    reach=lambda p: p["radius"] + p["steps"],
)
def reconstruct_open(
    plane: Gray,
    *,
    radius: Annotated[int, Range(1, 40, unit="px", log=True)] = 5,
    steps: Annotated[int, Range(1, 64, unit="px", log=True)] = 16,
) -> Gray:
    """Remove bright structures into which a disk does not fit; the others keep their full shape.

    Parameters
    ----------
    radius : int, px
        Of the disk (above 3 px an octagon).
    steps : int, px
        How far from the disk a shape is restored. An opening by reconstruction would go on until nothing changes;
        here it stops, which bounds its time and its reach.

    Returns
    -------
    uint8 array of shape (M, N), nowhere brighter than `plane`
    """
    return as_gray(reconstruct_within(erode_disk(plane, radius), plane, steps))


@operator(revision=1, cost=0.3, reach=lambda p: 2 * p["length"])
def line_open(
    plane: Gray,
    *,
    length: Annotated[int, Range(3, 60, unit="px", log=True), LINE_LENGTH] = 15,
    angle: Annotated[float, Range(0, 180, unit="degree"), LINE_ANGLE] = 0.0,
) -> Gray:
    """Remove bright structures that are shorter than a line in one direction.

    Returns
    -------
    uint8 array of shape (M, N), nowhere brighter than `plane`
    """
    return as_gray(open_line_padded(pad_mirrored(plane, length), length, length, angle))


@operator(revision=1, cost=0.3, reach=lambda p: 2 * p["length"])
def line_close(
    plane: Gray,
    *,
    length: Annotated[int, Range(3, 60, unit="px", log=True), LINE_LENGTH] = 15,
    angle: Annotated[float, Range(0, 180, unit="degree"), LINE_ANGLE] = 0.0,
) -> Gray:
    """Fill dark structures that are shorter than a line in one direction.

    Returns
    -------
    uint8 array of shape (M, N), nowhere darker than `plane`
    """
    return as_gray(close_line_padded(pad_mirrored(plane, length), length, length, angle))


@operator(revision=1, cost=3.3, reach=lambda p: 2 * p["length"])
def line_tophat(
    plane: Gray,
    *,
    length: Annotated[int, Range(3, 60, unit="px", log=True)] = 15,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Gray:
    """Keep thin lines of any direction: the maximum minus the minimum of line openings at 12 angles.

    Parameters
    ----------
    length : int, px
        Lines at least this long and clearly thinner are kept. The border is mirrored.
    polarity : str
        Whether the lines are bright or dark.

    Returns
    -------
    uint8 array of shape (M, N), the contrast of the lines on black

    References
    ----------
    F. Zana, J.-C. Klein, IEEE Trans. Image Process. 10(7), 2001. doi:10.1109/83.931095
    """
    source = plane if polarity == "bright" else cv2.bitwise_not(plane)
    padded = pad_mirrored(source, length)
    most = least = open_line_padded(padded, length, length, LINE_ANGLES[0])
    for angle in LINE_ANGLES[1:]:
        opened = open_line_padded(padded, length, length, angle)
        most, least = cv2.max(most, opened), cv2.min(least, opened)
    return as_gray(cv2.subtract(most, least))


@lru_cache(maxsize=256)
def free_element(footprint: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return a square element, True where a number is at least 0.5; an empty one becomes its centre."""
    side = math.isqrt(len(footprint))
    element = (np.array(footprint) >= 0.5).astype(np.uint8).reshape(side, side)
    if not element.any():
        element[side // 2, side // 2] = 1
    element.setflags(write=False)
    return element


@operator(
    revision=1,
    cost=lambda p: 0.08 + 0.0008 * len(p["footprint"]),
    reach=lambda p: math.isqrt(len(p["footprint"])) // 2,
)
def dilate_by(
    plane: Gray,
    *,
    footprint: Annotated[tuple[float, ...], Numbers(0, 1, least=9, most=121, square=True)] = (
        (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0)
    ),
) -> Gray:
    """Take the brightest value within a footprint chosen by the search.

    Parameters
    ----------
    footprint : 9, 25, 49, 81 or 121 numbers
        The square row by row; numbers from 0.5 on belong to it. Pixels beyond the border are ignored.

    Returns
    -------
    uint8 array of shape (M, N); pixels whose footprint lies outside the image become 0
    """
    return as_gray(cv2.dilate(plane, free_element(footprint)))


@operator(
    revision=1,
    cost=lambda p: 0.08 + 0.0008 * len(p["footprint"]),
    reach=lambda p: math.isqrt(len(p["footprint"])) // 2,
)
def erode_by(
    plane: Gray,
    *,
    footprint: Annotated[tuple[float, ...], Numbers(0, 1, least=9, most=121, square=True)] = (
        (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0)
    ),
) -> Gray:
    """Take the darkest value within a footprint chosen by the search.

    Parameters
    ----------
    footprint : 9, 25, 49, 81 or 121 numbers
        The square row by row; numbers from 0.5 on belong to it. Pixels beyond the border are ignored.

    Returns
    -------
    uint8 array of shape (M, N); pixels whose footprint lies outside the image become 255
    """
    return as_gray(cv2.erode(plane, free_element(footprint)))
