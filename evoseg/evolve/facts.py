"""What a search knows of its images before it runs anything on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_IMAGE = 4096
SURROUNDINGS = 3.0
"""Standard deviation of the Gaussian mean that values are compared with, px."""
PATCH = 512
"""Side of the part of an image that contrasts are measured in, px."""
LOOKED_AT = 8
"""Images that contrasts are measured in."""


@dataclass(frozen=True)
class Facts:
    """Channels and value ranges of the search images.

    Attributes
    ----------
    channels : int
    eight_bit : bool
        True if native values are uint8, so that `plane` and `channel` lose nothing.
    quantiles : tuple of tuple of float
        Per channel, 101 percentiles of native values over all search images.
    contrasts : tuple of float
        Per channel, how far native values differ from their surroundings: the 99.5th percentile of the distance from
        a Gaussian mean of sigma `SURROUNDINGS`.
    pixels : tuple of int
        Per image.
    """

    channels: int
    eight_bit: bool
    quantiles: tuple[tuple[float, ...], ...]
    contrasts: tuple[float, ...]
    pixels: tuple[int, ...]


def survey_images(images: Sequence[NDArray[Any]]) -> Facts:
    """Return the facts of `Raw` images of shape (M, N, C) with equal C; looks at a regular grid of pixels."""
    quantiles = np.percentile(np.concatenate(list(_samples(images))), np.arange(101), axis=0)
    return Facts(
        channels=images[0].shape[2],
        eight_bit=images[0].dtype == np.uint8,
        quantiles=tuple(tuple(float(q) for q in column) for column in quantiles.T),
        contrasts=tuple(_contrast(images, channel) for channel in range(images[0].shape[2])),
        pixels=tuple(image.shape[0] * image.shape[1] for image in images),
    )


def _contrast(images: Sequence[NDArray[Any]], channel: int) -> float:
    """Look at the middle of a few images: the difference needs neighbours, so a grid of pixels will not do."""
    found = []
    for image in images[:: max(1, len(images) // LOOKED_AT)]:
        row, col = max(0, image.shape[0] // 2 - PATCH // 2), max(0, image.shape[1] // 2 - PATCH // 2)
        patch = image[row : row + PATCH, col : col + PATCH, channel].astype(np.float32)
        difference = np.abs(patch - cv2.GaussianBlur(patch, (0, 0), SURROUNDINGS))
        # Along the edges of a lighting ramp the mean is off by far more than any faint object.
        edge = min(int(2 * SURROUNDINGS), (min(patch.shape) - 1) // 2)
        found.append(difference[edge : -edge or None, edge : -edge or None].ravel())
    return max(float(np.percentile(np.concatenate(found), 99.5)), 1e-6)


def _samples(images: Iterable[NDArray[Any]]) -> Iterable[NDArray[np.float64]]:
    for image in images:
        flat = image.reshape(-1, image.shape[2])
        yield flat[:: max(1, len(flat) // SAMPLES_PER_IMAGE)].astype(np.float64)
