"""Outlines and strokes that scenes are drawn with."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.data.scenes.scene import Plane, Shape

_SHIFT = 4
"""Fractional bits of OpenCV's sub-pixel coordinates."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A blob in its own window of an image.

    Attributes
    ----------
    window : tuple of slice
        Where the window lies in the image.
    rho : float32 array of the window's shape
        0 at the centre, 1 on the outline.
    """

    window: tuple[slice, slice]
    rho: Plane

    @property
    def inside(self) -> NDArray[np.bool_]:
        """True within the outline."""
        return self.rho < 1


def blob(rng: Generator, shape: Shape, centre: tuple[float, float], radius: float, *, longer: float = 1.3,
         angle: float | None = None, bumps: float = 0.06) -> Patch:  # fmt: skip
    """Return a rounded, slightly irregular blob.

    Parameters
    ----------
    centre : (row, col), px
    radius : float, px
        Geometric mean of the half axes.
    longer : float
        Ratio of the axes.
    angle : float, radian, optional
        Of the long axis against the columns; random if left out.
    bumps : float
        Deviation of the outline, as a part of the radius.
    """
    reach = int(np.ceil(radius * np.sqrt(longer) * (1 + 4 * bumps))) + 2
    rows = slice(max(int(centre[0]) - reach, 0), max(min(int(centre[0]) + reach + 1, shape[0]), 0))
    cols = slice(max(int(centre[1]) - reach, 0), max(min(int(centre[1]) + reach + 1, shape[1]), 0))
    row, col = np.mgrid[rows, cols].astype(np.float32)
    turn = rng.uniform(0, np.pi) if angle is None else angle
    dr, dc = row - centre[0], col - centre[1]
    along = (np.cos(turn) * dc + np.sin(turn) * dr) / np.sqrt(longer)
    across = (-np.sin(turn) * dc + np.cos(turn) * dr) * np.sqrt(longer)
    theta = np.arctan2(across, along)
    outline = np.ones_like(theta)
    for order in range(2, 6):
        outline += bumps / (order - 1) * rng.standard_normal() * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    rho = np.hypot(along, across) / (radius * np.clip(outline, 0.5, 1.6))
    return Patch((rows, cols), rho.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Path:
    """A curve with a width at each point.

    Attributes
    ----------
    points : float array of shape (n, 2)
        (row, col), about 1 px apart.
    widths : float array of shape (n,), px
    """

    points: NDArray[np.float64]
    widths: NDArray[np.float64]


def wander(
    rng: Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    *,
    turn: float,
    widths: tuple[float, float],
    jitter: float = 0.0,
    curl: float = 0.0,
) -> Path:  # fmt: skip
    """Walk from `start` in steps of 1 px, with a heading that drifts.

    Parameters
    ----------
    start : (row, col)
    heading : float, radian
        0 runs along the columns.
    length : float, px
    turn : float, radian per px
        Deviation of the bend, which itself changes slowly.
    widths : (float, float), px
        At start and end.
    jitter : float, px
        Unevenness of the curve.
    curl : float, radian
        Turned in all, from start to end, besides what is random.
    """
    n = max(int(length), 2)
    bend = np.convolve(rng.standard_normal(n + 30), np.ones(31) / 31**0.5, mode="valid")[:n] * turn
    headings = heading + np.cumsum(bend) + np.linspace(0, curl, n)
    steps = np.stack([np.sin(headings), np.cos(headings)], axis=1)
    points = np.asarray(start) + np.cumsum(steps, axis=0)
    if jitter:
        rough = np.cumsum(rng.standard_normal((n, 2)) * jitter, axis=0)
        points += rough - np.linspace(0, 1, n)[:, None] * rough[-1] * 0.5
    return Path(points, np.linspace(*widths, n))


def stroke(canvas: NDArray[np.uint8], path: Path) -> None:
    """Draw a path into a canvas, in place, as 1."""
    scale = 1 << _SHIFT
    steps = np.rint(path.points * scale).astype(int).tolist()
    for (row, col), (row_2, col_2), width in zip(steps[:-1], steps[1:], path.widths.tolist(), strict=False):
        cv2.line(canvas, (col, row), (col_2, row_2), 1, 1, cv2.LINE_8, _SHIFT)
        if width >= 1.5:
            cv2.circle(canvas, (col, row), int((width - 1) / 2 * scale), 1, -1, cv2.LINE_8, _SHIFT)
