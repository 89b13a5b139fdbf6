"""Where a plane changes: gradients, Laplacians and blobs at a scale, and bands of sizes."""

import math
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.gray import (
    BORDER,
    as_gray,
    enlarge,
    fine_reach,
    reduction,
    signed_gray,
    smooth,
    smooth_cost,
    smooth_fine,
    smooth_reach,
)
from evoseg.operators.parameters import Doc, InOrder, OneOf, Range
from evoseg.operators.registry import operator

KEPT_SIDE = Doc("Whether to keep what is brighter than its surroundings, darker, or either.")

FINEST = 1.5
"""Derivatives are taken where sigma is 1.5 to 3 px; larger scales are reduced by a power of two."""

LOG_GAIN = 2.0
"""Levels per level of sigma^2 * Laplacian: a disk of contrast A and radius 1.4 sigma gives 1.5 A."""

DOG_GAIN = 4.0
"""Levels per level of difference: a disk of contrast A gives about A at ratio 1.6."""

GRADIENT_GAIN = 2 * math.sqrt(2 * math.pi)
"""Levels per level of sigma * |gradient|: a step of A levels gives 2 A."""


def gradient_magnitude(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the length of the 3 x 3 Sobel gradient; a step of A levels gives 4 A."""
    across = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3, borderType=BORDER)
    down = cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3, borderType=BORDER)
    magnitude: NDArray[Any] = cv2.magnitude(across, down, across)
    return magnitude


def derivative_cost(sigma: float, rest: float) -> float:
    """Return what smoothing for derivatives, `rest` at the same scale and the way back cost, in ns per pixel."""
    factor = reduction(sigma, FINEST)
    full = 0.25 + 0.6 * sigma / factor + rest
    return full if factor == 1 else 0.6 + 1.4 * full / factor**2


@operator(revision=1, cost=0.8, reach=1)
def sobel(plane: Gray, *, gain: Annotated[float, Range(0.25, 16, log=True)] = 2.0) -> Gray:
    """Measure the gradient's magnitude at the finest scale (3 x 3 Sobel filters).

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
        The border is mirrored.
    gain : float
        A step of A levels gives gain * A.
    """
    return as_gray(cv2.convertScaleAbs(gradient_magnitude(plane), alpha=gain / 4))


@operator(
    revision=1,
    cost=lambda p: derivative_cost(p["sigma"], 0.8),
    reach=lambda p: fine_reach(p["sigma"], FINEST),
)
def gradient(plane: Gray, *, sigma: Annotated[float, Range(0.7, 20, unit="px", log=True)] = 2.0) -> Gray:
    """Measure the gradient's magnitude at one scale (Gaussian derivatives).

    Parameters
    ----------
    sigma : float, px
        Of the Gaussian. From 3 px on the filter works at reduced scale. The border is mirrored. A step of A levels
        gives 2 A at any sigma.
    """
    factor = reduction(sigma, FINEST)
    calm = smooth_fine(plane, sigma, factor)
    # Central differences count 2 px; multiplying by sigma keeps the response equal at all scales.
    across = cv2.Sobel(calm, cv2.CV_32F, 1, 0, ksize=1, borderType=BORDER)
    down = cv2.Sobel(calm, cv2.CV_32F, 0, 1, ksize=1, borderType=BORDER)
    gain = GRADIENT_GAIN * sigma / factor / 2
    edge = cv2.convertScaleAbs(cv2.magnitude(across, down, across), alpha=gain)
    return as_gray(enlarge(edge, factor, plane.shape))


@operator(revision=1, cost=0.5, reach=1)
def slope(
    plane: Gray,
    *,
    angle: Annotated[float, Range(0, 360, unit="degree")] = 0.0,
    polarity: Annotated[str, OneOf("bright", "both")] = "bright",
) -> Gray:
    """Measure the gradient in one direction (3 x 3 Sobel filter).

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
        The border is mirrored. A step of A levels gives 2 A.
    angle : float, degree
        Direction in which one walks, counter-clockwise from the right.
    polarity : str
        bright keeps ascents, both keeps ascents and descents.
    """
    right, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    weights = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
    weights = np.float32(right) * weights - np.float32(up) * weights.T
    if polarity == "bright":
        return as_gray(cv2.filter2D(plane, cv2.CV_8U, weights / 2, borderType=BORDER))
    return as_gray(cv2.convertScaleAbs(cv2.filter2D(plane, cv2.CV_16S, weights, borderType=BORDER), alpha=0.5))


@operator(revision=1, cost=0.4, reach=1)
def laplacian(
    plane: Gray,
    *,
    polarity: Annotated[str, OneOf("bright", "dark", "both")] = "bright",
) -> Gray:
    """Subtract the mean of the four neighbours from each pixel, times 4.

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
        The border is mirrored.
    polarity : str
        bright keeps pixels brighter than their neighbours, dark the darker ones, both either.
    """
    response = cv2.Laplacian(plane, cv2.CV_16S, ksize=1, borderType=BORDER)
    return signed_gray(response, -1.0, polarity)


@operator(
    revision=1,
    retired=True,
    cost=lambda p: derivative_cost(p["sigma"], 0.7),
    reach=lambda p: fine_reach(p["sigma"], FINEST),
)
def log_filter(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(0.7, 20, unit="px", log=True)] = 2.0,
    polarity: Annotated[str, OneOf("bright", "dark", "both")] = "bright",
) -> Gray:
    """Find spots and lines of one size (Laplacian of a Gaussian).

    Parameters
    ----------
    sigma : float, px
        Of the Gaussian: disks of radius 1.4 sigma answer most, with 1.5 times their contrast. From 3 px on the
        filter works at reduced scale. The border is mirrored.

    References
    ----------
    T. Lindeberg, Int. J. Comput. Vis. 30(2), 1998. doi:10.1023/A:1008045108935
    """
    factor = reduction(sigma, FINEST)
    response = cv2.Laplacian(smooth_fine(plane, sigma, factor), cv2.CV_32F, ksize=1, borderType=BORDER)
    found = signed_gray(response, -LOG_GAIN * (sigma / factor) ** 2, polarity)
    return as_gray(enlarge(found, factor, plane.shape))


def gaussian_difference(
    plane: NDArray[np.uint8], small: float, large: float, gain: float, polarity: str
) -> NDArray[np.uint8]:
    """Return gain * (plane smoothed a little - plane smoothed much) in the chosen polarity."""
    values = plane.astype(np.float32)
    broad = smooth(values, large)
    return signed_gray(cv2.subtract(smooth(values, small), broad, broad), gain, polarity)


@operator(
    revision=1,
    cost=lambda p: 0.3 + smooth_cost(p["sigma"]) + smooth_cost(p["sigma"] * p["ratio"]),
    reach=lambda p: smooth_reach(p["sigma"] * p["ratio"]),
)
def dog(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(0.7, 20, unit="px", log=True)] = 2.0,
    ratio: Annotated[float, Range(1.2, 8, log=True)] = 1.6,
    polarity: Annotated[str, OneOf("bright", "dark", "both")] = "bright",
) -> Gray:
    """Find structures of a size between two scales (difference of Gaussians, times 4).

    Parameters
    ----------
    sigma : float, px
        Of the narrower Gaussian; finer details go. From 3 px on at reduced scale. The border is mirrored.
    ratio : float
        Of the wider to the narrower sigma. 1.6 resembles a Laplacian; larger ones let broader things through.
    """
    return gaussian_difference(plane, sigma, sigma * ratio, DOG_GAIN, polarity)


BAND_GAIN = 2.0
"""Levels per level of what passes a band or high pass."""


def band_sigmas(low: float, high: float) -> tuple[float, float]:
    """Return the sigmas that let objects of diameter `low` to `high` through; `high` is at least 1.2 `low`."""
    return low / 4, max(high, 1.2 * low) / 4


@operator(
    revision=1,
    cost=lambda p: 0.3 + sum(smooth_cost(s) for s in band_sigmas(p["low"], p["high"])),
    reach=lambda p: max(smooth_reach(s) for s in band_sigmas(p["low"], p["high"])),
    in_order=InOrder("low", "high", means="raised"),
)
def bandpass(
    plane: Gray,
    *,
    low: Annotated[float, Range(2, 60, unit="px", log=True)] = 4.0,
    high: Annotated[float, Range(4, 200, unit="px", log=True)] = 24.0,
    polarity: Annotated[str, OneOf("bright", "dark", "both"), KEPT_SIDE] = "bright",
) -> Gray:
    """Keep structures whose size lies between two limits (difference of Gaussians, times 2).

    Parameters
    ----------
    low, high : float, px
        Diameters: what is much smaller than `low` or larger than `high` goes. `low` may not exceed `high`. The sigmas
        are a quarter of them; `high` counts as at least 1.2 `low`. Wide ones work at reduced scale. The border is
        mirrored.
    """
    small, large = band_sigmas(low, high)
    return gaussian_difference(plane, small, large, BAND_GAIN, polarity)


def high_pass(plane: NDArray[np.uint8], sigma: float, gain: float, polarity: str) -> NDArray[np.uint8]:
    """Return gain * (plane - plane smoothed) in the chosen polarity."""
    values = plane.astype(np.float32)
    return signed_gray(cv2.subtract(values, smooth(values, sigma)), gain, polarity)


@operator(
    revision=1,
    cost=lambda p: 0.3 + smooth_cost(p["size"] / 4),
    reach=lambda p: smooth_reach(p["size"] / 4),
)
def highpass(
    plane: Gray,
    *,
    size: Annotated[float, Range(2, 200, unit="px", log=True)] = 16.0,
    polarity: Annotated[str, OneOf("bright", "dark", "both"), KEPT_SIDE] = "bright",
) -> Gray:
    """Keep details smaller than a size (the plane minus its Gaussian, times 2).

    Parameters
    ----------
    size : float, px
        Diameter; the Gaussian's sigma is a quarter of it. Wide ones work at reduced scale. The border is mirrored.
    """
    return high_pass(plane, size / 4, BAND_GAIN, polarity)
