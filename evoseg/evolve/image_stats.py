"""Statistics of the search images: channels, value ranges, contrasts."""

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
class ImageStats:
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
    repeated : tuple of int
        Channels that equal an earlier one in every pixel of every image, such as G and B of grey saved as RGB; nothing
        is proposed that reads them.
    """

    channels: int
    eight_bit: bool
    quantiles: tuple[tuple[float, ...], ...]
    contrasts: tuple[float, ...]
    pixels: tuple[int, ...]
    repeated: tuple[int, ...] = ()

    @property
    def distinct(self) -> tuple[int, ...]:
        """The channels that tell something of their own."""
        return tuple(index for index in range(self.channels) if index not in self.repeated)

    @property
    def coloured(self) -> bool:
        """Whether the first three channels can be taken for colours."""
        return self.channels >= 3 and not {1, 2} <= {*self.repeated}


def measure_images(images: Sequence[NDArray[Any]], *, equal_as_one: bool = True) -> ImageStats:
    """Return the stats of `Raw` images of shape (M, N, C) with equal C; looks at a regular grid of pixels.

    Parameters
    ----------
    equal_as_one : bool
        Whether channels that are equal in all images count as one; they did not in early versions.
    """
    quantiles = np.percentile(np.concatenate(list(_samples(images))), np.arange(101), axis=0)
    return ImageStats(
        channels=images[0].shape[2],
        eight_bit=images[0].dtype == np.uint8,
        quantiles=tuple(tuple(float(q) for q in column) for column in quantiles.T),
        contrasts=tuple(_contrast(images, channel) for channel in range(images[0].shape[2])),
        pixels=tuple(image.shape[0] * image.shape[1] for image in images),
        repeated=_find_repeated(images) if equal_as_one else (),
    )


def _find_repeated(images: Sequence[NDArray[Any]]) -> tuple[int, ...]:
    """Return the channels that equal an earlier one in all images."""
    channels = range(images[0].shape[2])
    pairs = {(i, j) for j in channels for i in range(j)}
    for image in images:
        pairs = {(i, j) for i, j in pairs if np.array_equal(image[:, :, i], image[:, :, j], equal_nan=True)}
        if not pairs:
            break
    return tuple(sorted({j for _, j in pairs}))


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
