"""What a drawn scene is, and the light and the camera that all scenes share."""

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.base.errors import SettingsError

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
