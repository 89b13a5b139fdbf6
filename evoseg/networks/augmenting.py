"""Augmented windows of scenes: turned, mirrored, scaled, lighter, darker, noisier."""

from dataclasses import dataclass
from math import cos, exp, sin
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.networks.scenes import Scene

_LOG_SCALE = 0.35
_GAIN = (0.75, 1.3)
_OFFSET = 0.3
_CHANNEL_GAIN, _CHANNEL_OFFSET = 0.1, 0.1
"""Deviations of what each channel gets beside."""
_NOISE = 0.1
"""Largest deviation of the noise. All of these count in standardised values."""
_NEAR_OBJECTS = 0.6
"""Share of windows that are centred near foreground."""
_MOST_WARPED = 4
"""Channels that OpenCV warps at a time."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a scene.

    Attributes
    ----------
    image : float32 array of shape (C, h, w)
    truth : float32 array of shape (K, h, w)
    known : float32 array of shape (1, h, w)
    """

    image: NDArray[np.float32]
    truth: NDArray[np.float32]
    known: NDArray[np.float32]


class Cutter:
    """Cuts windows out of one scene.

    Parameters
    ----------
    scene : Scene

    Attributes
    ----------
    shape : (int, int)
        Of the scene.
    """

    def __init__(self, scene: Scene) -> None:
        self._planes = [
            np.ascontiguousarray(part.transpose(1, 2, 0))
            for part in _split(np.concatenate([scene.image, scene.truth, scene.known]))
        ]
        self._n = (len(scene.image), len(scene.truth))
        self.shape = scene.shape
        # Every fourth pixel in each direction is enough to find objects by.
        foreground = (scene.truth[0] * scene.known[0])[::4, ::4] > 0.3
        self._objects = np.argwhere(foreground) * 4

    def cut(self, size: tuple[int, int], rng: Generator) -> Window:
        """Return a random, augmented window of h x w px."""
        turn = rng.uniform(0, 2 * np.pi)
        scale = exp(rng.uniform(-_LOG_SCALE, _LOG_SCALE))
        flip = 1 if rng.integers(2) else -1
        a, b = scale * cos(turn), scale * sin(turn)
        # From the window to the scene, columns first, as OpenCV wants it.
        matrix = np.array([[a * flip, -b], [b * flip, a]])
        window = self._warp(matrix, self._centre(size, rng), size)
        return Window(shade(window.image, rng), window.truth, window.known)

    def plain(self, size: tuple[int, int]) -> Window:
        """Return the window in the middle as it is."""
        rows, cols = (n // 2 for n in self.shape)
        return self._warp(np.eye(2), (rows, cols), size)

    def _centre(self, size: tuple[int, int], rng: Generator) -> tuple[float, float]:
        if len(self._objects) and rng.random() < _NEAR_OBJECTS:
            row, col = self._objects[rng.integers(len(self._objects))]
            return row + size[0] * rng.uniform(-0.35, 0.35), col + size[1] * rng.uniform(-0.35, 0.35)
        # Windows that are as large as the scene are about in its middle.
        row, col = (
            n / 2 + (rng.random() - 0.5) * max(0.2 * n, n - side) for n, side in zip(self.shape, size, strict=True)
        )
        return row, col

    def _warp(self, matrix: NDArray[Any], centre: tuple[float, float], size: tuple[int, int]) -> Window:
        """Return what a linear map around the centre shows; beyond the border, the scene goes on mirrored."""
        middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
        shift = np.array([centre[1] - 0.5, centre[0] - 0.5]) - matrix @ middle
        whole = np.column_stack([matrix, shift])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = [
            cv2.warpAffine(part, whole, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101).reshape(*size, -1)
            for part in self._planes
        ]
        planes: NDArray[np.float32] = np.concatenate(warped, axis=2, dtype=np.float32).transpose(2, 0, 1)
        channels, n_truth = self._n
        known = (planes[channels + n_truth :] > 0.999).astype(np.float32)
        return Window(planes[:channels], planes[channels : channels + n_truth], known)


def shade(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Return an image with other contrast, brightness, tint and noise."""
    channels = len(image)
    gain = rng.uniform(*_GAIN) * np.exp(rng.normal(0, _CHANNEL_GAIN, (channels, 1, 1)))
    offset = rng.uniform(-_OFFSET, _OFFSET) + rng.normal(0, _CHANNEL_OFFSET, (channels, 1, 1))
    # Uniform, of the same deviation as Gaussian noise, which takes four times as long to draw.
    noise = (rng.random(image.shape, np.float32) - np.float32(0.5)) * np.float32(12**0.5 * rng.uniform(0, _NOISE))
    return image * gain.astype(np.float32) + offset.astype(np.float32) + noise


def _split(planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [planes[i : i + _MOST_WARPED] for i in range(0, len(planes), _MOST_WARPED)]
