"""Structuring elements, and fast morphology with them.

No operators here. Pixels beyond the edge are ignored (OpenCV's default border for morphology), so erosions and
dilations are adjoint on the image itself: openings and closings are idempotent up to its edge.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.operators.parameters import Doc, Range

DISK = Doc("Of a disk; above 3 px of a regular octagon. Pixels beyond the border are ignored.")
DiskRadius = Annotated[int, Range(1, 40, unit="px", log=True), DISK]


Element = NDArray[np.uint8]


@lru_cache(maxsize=128)
def disk(radius: int) -> Element:
    """Return the digital disk x^2 + y^2 <= r (r + 1)."""
    at = np.arange(-radius, radius + 1)
    element = (at[:, None] ** 2 + at**2 <= radius * (radius + 1)).astype(np.uint8)
    element.setflags(write=False)
    return element


@lru_cache(maxsize=128)
def square(radius: int) -> Element:
    """Return a square of side 2 r + 1."""
    element = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    element.setflags(write=False)
    return element


@lru_cache(maxsize=128)
def five_points(step: int) -> Element:
    """Return the centre and the four points `step` away along the axes."""
    element = np.zeros((2 * step + 1, 2 * step + 1), np.uint8)
    element[[0, step, step, step, -1], [step, 0, step, -1, step]] = 1
    element.setflags(write=False)
    return element


@lru_cache(maxsize=128)
def disk_parts(radius: int) -> tuple[Element, ...]:
    """Return elements whose dilations in a row make a disk: itself up to radius 3, else a regular octagon.

    The octagon is a square dilated by a diamond. A diamond of radius k, dilated by five points m <= k apart, is
    the diamond of radius k + m, so a few five-point steps do.
    """
    if radius <= 3:
        return (disk(radius),)
    half = round(radius * (math.sqrt(2) - 1))
    parts = [square(half)]
    made, wanted = 0, radius - half
    while made < wanted:
        step = max(1, min(made, wanted - made))
        parts.append(five_points(step))
        made += step
    return tuple(parts)


def dilate_disk(plane: NDArray[Any], radius: int) -> NDArray[Any]:
    """Dilate by a disk, or by an octagon above radius 3."""
    for part in disk_parts(radius):
        plane = cv2.dilate(plane, part)
    return plane


def erode_disk(plane: NDArray[Any], radius: int) -> NDArray[Any]:
    """Erode by a disk, or by an octagon above radius 3."""
    for part in disk_parts(radius):
        plane = cv2.erode(plane, part)
    return plane


def open_disk(plane: NDArray[Any], radius: int) -> NDArray[Any]:
    """Open by a disk or octagon; the dilations run backwards, which makes the chain an exact opening."""
    plane = erode_disk(plane, radius)
    for part in reversed(disk_parts(radius)):
        plane = cv2.dilate(plane, part)
    return plane


def close_disk(plane: NDArray[Any], radius: int) -> NDArray[Any]:
    """Close by a disk or octagon."""
    plane = dilate_disk(plane, radius)
    for part in reversed(disk_parts(radius)):
        plane = cv2.erode(plane, part)
    return plane


def disk_cost(radius: int) -> float:
    """Return what one erosion or dilation costs, in ns per pixel."""
    if radius <= 3:
        return 0.05 + 0.03 * radius**2
    return 0.1 + 0.06 * len(disk_parts(radius)) + 0.012 * radius


@lru_cache(maxsize=4096)
def line_shifts(length: float, angle: float) -> tuple[tuple[int, int], ...]:
    """Return shifts (down, right) whose sums over all subsets are the pixels of a digital line.

    Combining a plane with itself shifted by each in turn takes log2(length) steps instead of length. `angle` is in
    degrees, counter-clockwise from a horizontal line as displayed. Pixels lie within 1 px of the true line.
    """
    right, down = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    if down < 0:
        right, down = -right, -down
    major = max(abs(right), down)
    n = max(1, round(length * major))
    shifts = []
    made = 1
    while made < n:
        step = min(made, n - made)
        shifts.append((round(step * down / major), round(step * right / major)))
        made += step
    return tuple(shifts)


def line_extent(shifts: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Return how many rows and columns a line spans beyond its first pixel."""
    return sum(down for down, _ in shifts), sum(abs(right) for _, right in shifts)


def along_line(
    plane: NDArray[Any], shifts: tuple[tuple[int, int], ...], join: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    """Combine all pixels of each line by `join` (cv2.min, cv2.max, cv2.add); the plane loses the line's extent."""
    for down, right in shifts:
        rows, cols = plane.shape
        if right >= 0:
            plane = join(plane[: rows - down, : cols - right], plane[down:, right:])
        else:
            plane = join(plane[: rows - down, -right:], plane[down:, : cols + right])
    return plane


def pad_mirrored(plane: NDArray[Any], margin: int) -> NDArray[Any]:
    """Return the plane with a mirrored margin on each side, the edge pixel doubled."""
    return cv2.copyMakeBorder(plane, margin, margin, margin, margin, cv2.BORDER_REFLECT)


def open_line_padded(padded: NDArray[Any], margin: int, length: float, angle: float) -> NDArray[Any]:
    """Open by a line; `padded` carries `margin` >= `length` pixels on each side, which the result has not."""
    shifts = line_shifts(length, angle)
    down, right = line_extent(shifts)
    rows, cols = padded.shape
    # Both passes lose the extent of the line once, so exactly twice the extent of margin is kept.
    window = padded[margin - down : rows - margin + down, margin - right : cols - margin + right]
    return along_line(along_line(window, shifts, cv2.min), shifts, cv2.max)


def close_line_padded(padded: NDArray[Any], margin: int, length: float, angle: float) -> NDArray[Any]:
    """Close by a line; see `open_line_padded`."""
    shifts = line_shifts(length, angle)
    down, right = line_extent(shifts)
    rows, cols = padded.shape
    window = padded[margin - down : rows - margin + down, margin - right : cols - margin + right]
    return along_line(along_line(window, shifts, cv2.max), shifts, cv2.min)
