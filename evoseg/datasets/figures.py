"""Figures of images: numbers that say what an image looks like, and how far it is from images that were seen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Figures = NDArray[np.float64]

PATCH = 1024
"""Side of the middle of an image that is measured, px. Images are never scaled: lengths matter."""
_QUANTILES = (2, 25, 50, 75, 98)
_N_BANDS = 5
"""Bands of detail, of about 1, 2, 4, 8 and 16 px: levels of a Laplacian pyramid."""
_FAINT = 1e-3
"""Contrast from which images differ in it, as a share of the range of values."""
_NEIGHBOURHOOD = 7
"""Side of the squares in which gradients are compared in direction, px."""
_BEYOND = (-1.0, 2.0)
"""Values beyond the range are limited to this: one hot pixel must not outweigh the image."""

USUAL = {
    "quantile_2": 0.1,
    "quantile_25": 0.11,
    "quantile_50": 0.12,
    "quantile_75": 0.12,
    "quantile_98": 0.14,
    "detail_0": 0.37,
    "skewness_0": 0.39,
    "detail_1": 0.38,
    "skewness_1": 0.46,
    "detail_2": 0.4,
    "skewness_2": 0.47,
    "detail_3": 0.43,
    "skewness_3": 0.51,
    "detail_4": 0.47,
    "skewness_4": 0.57,
    "lighting": 0.54,
    "coherence": 0.072,
    "rows": 0.18,
    "diagonal": 0.092,
    "red": 0.033,
    "red_spread": 0.29,
    "blue": 0.029,
    "blue_spread": 0.23,
}
"""Standard deviation of each figure between the images of one dataset, over 28 datasets (experiments/trust.py)."""
N_FIGURES = len(USUAL)

UNFAMILIAR = 1.8
"""Distance from which an image is called unfamiliar: 95 % of the images of other datasets are at least as far away."""
_PRIOR = 3
"""How many images the usual deviations are worth when the deviations between a few images are estimated."""


def measure_figures(image: NDArray[Any], low: float, high: float) -> Figures:
    """Return the figures of an image, in the order of `USUAL`.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        In native values.
    low, high : float
        Between which values the images lie that it is compared with: they become 0 and 1.

    Returns
    -------
    float64 array of shape (N_FIGURES,)
        Quantiles of the brightness; for each band of detail the logarithm of its contrast, and its skewness (positive
        for bright detail); the contrast of what is coarser; how much edges agree in direction nearby, and over the
        whole image along the rows or a diagonal; mean and spread of two colour differences.
    """
    top, left = (max(0, (n - PATCH) // 2) for n in image.shape[:2])
    span = max(high - low, 1e-6)
    patch = np.nan_to_num(image[top : top + PATCH, left : left + PATCH].astype(np.float32))
    # Limited first: a float image may hold any number.
    patch = np.clip(patch, np.float32(low + _BEYOND[0] * span), np.float32(low + _BEYOND[1] * span))
    patch = (patch - np.float32(low)) / np.float32(span)
    gray = patch.mean(axis=2, dtype=np.float32)
    found = _brightness(gray) | _detail(gray) | _directions(gray) | _colours(patch)
    return np.array([found[name] for name in USUAL])


def _brightness(gray: Floats) -> dict[str, float]:
    values = np.percentile(gray[::2, ::2], _QUANTILES)
    return {f"quantile_{q}": float(value) for q, value in zip(_QUANTILES, values, strict=True)}


def _detail(gray: Floats) -> dict[str, float]:
    found = {}
    for band in range(_N_BANDS):
        coarse = _halved(gray)
        rest = gray - cv2.pyrUp(coarse, dstsize=gray.shape[::-1])
        found[f"detail_{band}"], found[f"skewness_{band}"] = _moments(rest)
        gray = coarse
    return found | {"lighting": math.log2(float(gray.std()) + _FAINT)}


def _halved(plane: Floats) -> Floats:
    return np.asarray(cv2.pyrDown(plane), np.float32)


def _moments(plane: Floats) -> tuple[float, float]:
    """Return the logarithm of a band's contrast, and the cube root of its third moment as a share of the contrast."""
    squares = plane * plane
    contrast = math.sqrt(float(squares.mean())) + _FAINT
    return math.log2(contrast), math.cbrt(float((squares * plane).mean())) / contrast


def _directions(gray: Floats) -> dict[str, float]:
    """Return figures of the structure tensor: the doubled angle makes opposite gradients one direction."""
    smooth = _halved(gray)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    rows, diagonal = dx * dx - dy * dy, 2 * dx * dy
    power = float((dx * dx + dy * dy).mean()) + _FAINT**2
    nearby = np.hypot(*(cv2.boxFilter(part, -1, (_NEIGHBOURHOOD,) * 2) for part in (rows, diagonal)))
    means = {"coherence": nearby, "rows": rows, "diagonal": diagonal}
    return {name: float(part.mean()) / power for name, part in means.items()}


def _colours(patch: Floats) -> dict[str, float]:
    """Return mean and spread of the differences of the first three channels; of fewer channels, those of grey."""
    red, green, blue = (patch[:, :, i if patch.shape[2] > 2 else 0] for i in range(3))
    found = {}
    for name, plane in (("red", red - green), ("blue", blue - (red + green) / 2)):
        found[name] = float(plane.mean())
        found[f"{name}_spread"] = math.log2(float(plane.std()) + 10 * _FAINT)
    return found


@dataclass(frozen=True)
class SeenFigures:
    """What the images that a pipeline was made for look like, in figures.

    Attributes
    ----------
    n_images : int
        How many were measured.
    means, deviations : tuple of float
        Of each figure over them; deviations are those of a sample (ddof=0), so 0 for one image.
    """

    n_images: int
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def of(cls, figures: Sequence[Figures]) -> "SeenFigures":
        """Return what some images, one or more, have in common."""
        table = np.stack(figures)
        return cls(len(table), _shortened(table.mean(axis=0)), _shortened(table.std(axis=0)))

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows; `read` takes them back."""
        return {"images": self.n_images, "means": [*self.means], "deviations": [*self.deviations]}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "SeenFigures":
        """Return what a JSON value says.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is not such a value.
        """
        seen = cls(int(document["images"]), *(_shortened(document[key]) for key in ("means", "deviations")))
        numbers = (*seen.means, *seen.deviations)
        fits = len(seen.means) == len(seen.deviations) == N_FIGURES and all(map(math.isfinite, numbers))
        if not fits or seen.n_images < 1 or min(seen.deviations) < 0:
            raise ValueError("these are not the figures of images")
        return seen

    def distance(self, figures: Figures) -> float:
        """Return how far an image is from those that were seen, in units of what is usual between images of one kind.

        This is the root mean square of the differences from the means, each in units of a deviation that is estimated
        from the images seen and, since these are few, from the usual one (a scaled inverse chi-squared prior).
        """
        n, usual = self.n_images, np.array([*USUAL.values()])
        variance = (_PRIOR * usual**2 + n * np.square(self.deviations)) / (_PRIOR + n - 1)
        # The mean of n images is itself uncertain by 1 / n of the variance.
        squares = np.square(figures - np.array(self.means)) / (variance * (1 + 1 / n))
        return float(np.sqrt(squares.mean()))


def _shortened(values: Sequence[float] | Figures) -> tuple[float, ...]:
    """Round to four significant digits, which is more than these figures mean."""
    return tuple(float(f"{float(value):.4g}") for value in values)
