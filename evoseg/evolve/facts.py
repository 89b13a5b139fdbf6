"""What a search knows of its images before it runs anything on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_IMAGE = 4096


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
    pixels : tuple of int
        Per image.
    """

    channels: int
    eight_bit: bool
    quantiles: tuple[tuple[float, ...], ...]
    pixels: tuple[int, ...]


def survey_images(images: Sequence[NDArray[Any]]) -> Facts:
    """Return the facts of `Raw` images of shape (M, N, C) with equal C; looks at a regular grid of pixels."""
    quantiles = np.percentile(np.concatenate(list(_samples(images))), np.arange(101), axis=0)
    return Facts(
        channels=images[0].shape[2],
        eight_bit=images[0].dtype == np.uint8,
        quantiles=tuple(tuple(float(q) for q in column) for column in quantiles.T),
        pixels=tuple(image.shape[0] * image.shape[1] for image in images),
    )


def _samples(images: Iterable[NDArray[Any]]) -> Iterable[NDArray[np.float64]]:
    for image in images:
        flat = image.reshape(-1, image.shape[2])
        yield flat[:: max(1, len(flat) // SAMPLES_PER_IMAGE)].astype(np.float64)
