"""What a drawn scene is, the light and the camera that all scenes share, and shapes to draw."""

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.errors import SettingsError

Plane = NDArray[np.float32]
"""float32 array of shape (M, N)."""

Shape = tuple[int, int]
"""(M, N) in pixels."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn image whose truth is known.

    Attributes
    ----------
    image : uint8 or uint16 array of shape (M, N, C)
    mask : bool array of shape (M, N)
        The objects as drawn, before blur and noise.
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_]


class Draw(Protocol):
    """A function that draws a scene.

    `noise` scales what the camera adds (0 = none); `empty` is the probability that no object is drawn.
    """

    __name__: str

    def __call__(self, rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = ...) -> Scene:
        """Draw one scene of `shape`."""


def check_shape(shape: Shape) -> None:
    """Raise a SettingsError for a shape that is too small to draw in."""
    if min(shape) < 16:
        raise SettingsError(f"a scene of {shape[0]} x {shape[1]} pixels is too small to draw in; take 16 or more.")


def count(rng: Generator, shape: Shape, per_mpx: float, empty: float) -> int:
    """Draw how many objects a scene holds: none with probability `empty`, else at least one."""
    check_shape(shape)
    if rng.random() < empty:
        return 0
    return max(1, int(rng.poisson(per_mpx * shape[0] * shape[1] / 1e6)))


def smooth(rng: Generator, shape: Shape, scale: float) -> Plane:
    """Return smooth noise, mean 0 and deviation about 1, that varies over `scale` px."""
    rows, cols = (int(n / scale) + 4 for n in shape)
    coarse = rng.standard_normal((rows, cols)).astype(np.float32)
    fine = cv2.resize(coarse, (int(cols * scale) + 1, int(rows * scale) + 1), interpolation=cv2.INTER_CUBIC)
    top, left = int(scale), int(scale)
    patch = fine[top : top + shape[0], left : left + shape[1]]
    return np.asarray(patch / 0.66, np.float32)


def fractal(rng: Generator, shape: Shape, scale: float, octaves: int = 4, roughness: float = 0.5) -> Plane:
    """Return noise with detail from `scale` px down, each finer octave weaker by `roughness`."""
    total = np.zeros(shape, np.float32)
    for i in range(octaves):
        if scale / 2**i < 1:
            break
        total += roughness**i * smooth(rng, shape, scale / 2**i)
    return total


def blur(plane: Plane, sigma: float) -> Plane:
    """Return the plane, or planes, after a Gaussian blur of `sigma` px."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)


def grid(shape: Shape) -> tuple[Plane, Plane]:
    """Return row and column of each pixel, from -1 to 1 along the longer side."""
    half = max(shape) / 2
    rows = (np.arange(shape[0], dtype=np.float32) - (shape[0] - 1) / 2) / half
    cols = (np.arange(shape[1], dtype=np.float32) - (shape[1] - 1) / 2) / half
    row, col = np.meshgrid(rows, cols, indexing="ij")
    return row, col


def lamp(rng: Generator, shape: Shape, ramp: float, vignette: float) -> Plane:
    """Return the brightness of the light: a ramp of random direction, and a fall towards the corners.

    Parameters
    ----------
    ramp, vignette : float
        Part of the light that is lost at the dark end, and in the corners.
    """
    row, col = grid(shape)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(angle) * row + np.sin(angle) * col + 1) / 2
    fall = (row**2 + col**2) / 2
    return np.asarray((1 - ramp * np.clip(slope, 0, 1)) * (1 - vignette * fall), np.float32)


def camera(rng: Generator, light: NDArray[np.float32], noise: float, well: float = 4000.0, read: float = 0.008) -> Any:
    """Return 8-bit values of a light of 0 to 1, with shot and read noise.

    Parameters
    ----------
    light : float32 array of shape (M, N) or (M, N, 3)
    noise : float
        0 = a perfect camera, 1 = as below.
    well : float
        Electrons at a light of 1: fewer give more shot noise.
    read : float
        Deviation of the read noise, in units of light.

    Returns
    -------
    uint8 array of shape (M, N, 1) or (M, N, 3)
    """
    light = np.clip(light, 0, 1)
    shot = rng.poisson(light * well) / well - light
    seen = light + noise * (shot + read * rng.standard_normal(light.shape))
    image = np.clip(np.rint(seen * 255), 0, 255).astype(np.uint8)
    return image[..., None] if image.ndim == 2 else image


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
class Line:
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
) -> Line:  # fmt: skip
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
    return Line(points, np.linspace(*widths, n))


def stroke(canvas: NDArray[np.uint8], path: Line) -> None:
    """Draw a path into a canvas, in place, as 1."""
    scale = 1 << _SHIFT
    steps = np.rint(path.points * scale).astype(int).tolist()
    for (row, col), (row_2, col_2), width in zip(steps[:-1], steps[1:], path.widths.tolist(), strict=False):
        cv2.line(canvas, (col, row), (col_2, row_2), 1, 1, cv2.LINE_8, _SHIFT)
        if width >= 1.5:
            cv2.circle(canvas, (col, row), int((width - 1) / 2 * scale), 1, -1, cv2.LINE_8, _SHIFT)
