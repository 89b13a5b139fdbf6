"""Filters for structures of a known shape: lines, blobs and waves."""

import math
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.edges import FINEST, derivative_cost
from evoseg.operators.gray import BORDER, as_gray, enlarge, fine_reach, reduction, shrink, signed_gray, smooth_fine
from evoseg.operators.morphology import LINE_ANGLES
from evoseg.operators.parameters import Doc, OneOf, Range
from evoseg.operators.registry import operator
from evoseg.operators.structuring import along_line, line_extent, line_shifts

LINE_POLARITY = Doc("Whether the lines are bright or dark. A line of contrast A gives about 1.2 A.")

RIDGE_GAIN = 4.0
"""Levels per level of sigma^2 * curvature: a Gaussian line of contrast A and width sigma gives 1.4 A."""

WAVE_GAIN = 4.0
"""Levels per level of the Gabor response, whose Gaussian sums to 1: a wave of amplitude A gives 2 A."""

ORIENTED_FINEST = 1.2
"""Least sigma, in reduced pixels, at which oriented filters work: most of their time goes into 12 directions."""

ORIENTED_GAIN = 6.0
"""Levels per level of sigma^2 * curvature across a line, averaged along it."""

ORIENTED_UNIT = 8
"""Steps per level in which oriented filters add up curvatures as 16-bit integers."""


def curvatures(plane: NDArray[Any], sigma: float, factor: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return sigma^2 times half the sum, half the difference (along columns less rows), and the mixed derivative."""
    calm = smooth_fine(plane, sigma, factor)
    unit = (sigma / factor) ** 2
    across = cv2.Sobel(calm, cv2.CV_32F, 2, 0, ksize=1, scale=unit / 2, borderType=BORDER)
    down = cv2.Sobel(calm, cv2.CV_32F, 0, 2, ksize=1, scale=unit / 2, borderType=BORDER)
    # Two central differences over 2 px each: a quarter.
    mixed = cv2.Sobel(calm, cv2.CV_32F, 1, 1, ksize=1, scale=unit / 4, borderType=BORDER)
    # Buffers are used again: large new arrays cost more than the sums.
    half_sum = cv2.add(across, down, calm)
    return half_sum, cv2.subtract(across, down, across), mixed


def ridge_at(plane: NDArray[np.uint8], sigma: float, polarity: str) -> NDArray[np.uint8]:
    """Return the strongest curvature of the chosen sign, as grey levels."""
    factor = reduction(sigma, FINEST)
    half_sum, half_difference, mixed = curvatures(plane, sigma, factor)
    spread = cv2.magnitude(half_difference, mixed, mixed)
    sign = -RIDGE_GAIN if polarity == "bright" else RIDGE_GAIN
    ridge = cv2.addWeighted(half_sum, sign, spread, RIDGE_GAIN, 0.0, dtype=cv2.CV_8U)
    return as_gray(enlarge(ridge, factor, plane.shape))


@operator(
    revision=1,
    cost=lambda p: derivative_cost(p["sigma"], 1.65),
    reach=lambda p: fine_reach(p["sigma"], FINEST),
)
def hessian_ridge(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(0.7, 20, unit="px", log=True)] = 2.0,
    polarity: Annotated[str, OneOf("bright", "dark"), LINE_POLARITY] = "dark",
) -> Gray:
    """Find lines of one width in any direction, by the larger eigenvalue of the Hessian.

    Parameters
    ----------
    sigma : float, px
        About half the width of the lines. From 3 px on the filter works at reduced scale. The border is mirrored.

    References
    ----------
    A. F. Frangi et al., MICCAI 1998 (the eigenvalues). doi:10.1007/BFb0056195
    """
    return ridge_at(plane, sigma, polarity)


def ladder(low: float, ratio: float, n: int) -> list[float]:
    """Return n scales from `low`, each `ratio` times the one before."""
    return [low * ratio**i for i in range(n)]


@operator(
    revision=1,
    retired=True,
    cost=lambda p: sum(0.05 + derivative_cost(s, 1.65) for s in ladder(p["sigma_low"], p["ratio"], p["n"])),
    reach=lambda p: max(fine_reach(s, FINEST) for s in ladder(p["sigma_low"], p["ratio"], p["n"])),
)
def ridge_multiscale(
    plane: Gray,
    *,
    sigma_low: Annotated[float, Range(0.7, 6, unit="px", log=True)] = 1.0,
    n: Annotated[int, Range(2, 4)] = 3,
    ratio: Annotated[float, Range(1.2, 2.5)] = 1.7,
    polarity: Annotated[str, OneOf("bright", "dark")] = "dark",
) -> Gray:
    """Find lines of several widths: the strongest response of `hessian_ridge` over several scales.

    Parameters
    ----------
    sigma_low : float, px
        The finest scale, about half the width of the thinnest lines.
    n : int
        Number of scales.
    ratio : float
        Of one scale to the one before.
    """
    best = ridge_at(plane, sigma_low, polarity)
    for sigma in ladder(sigma_low, ratio, n)[1:]:
        best = as_gray(cv2.max(best, ridge_at(plane, sigma, polarity)))
    return best


@operator(
    revision=1,
    cost=lambda p: derivative_cost(p["sigma"], 1.65),
    reach=lambda p: fine_reach(p["sigma"], FINEST),
)
def blob(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(0.7, 20, unit="px", log=True)] = 3.0,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Gray:
    """Find round spots of one size, but no lines, by the smaller eigenvalue of the Hessian.

    Parameters
    ----------
    sigma : float, px
        About 0.7 times the radius of the spots. From 3 px on at reduced scale. The border is mirrored.
    polarity : str
        Whether the spots are bright or dark. A disk of contrast A gives about 1.5 A, a straight line nothing.
    """
    factor = reduction(sigma, FINEST)
    half_sum, half_difference, mixed = curvatures(plane, sigma, factor)
    spread = cv2.magnitude(half_difference, mixed, mixed)
    sign = -RIDGE_GAIN if polarity == "bright" else RIDGE_GAIN
    spot = cv2.addWeighted(half_sum, sign, spread, -RIDGE_GAIN, 0.0, dtype=cv2.CV_8U)
    return as_gray(enlarge(spot, factor, plane.shape))


def gabor_factor(sigma: float, wavelength: float) -> int:
    """Return the reduction that leaves at least 1.5 px of sigma and 4 px of wavelength."""
    return min(reduction(sigma, 1.5), reduction(wavelength, 4.0))


@lru_cache(maxsize=256)
def gabor_parts(sigma: float, wavelength: float, angle: float) -> tuple[NDArray[np.float32], ...]:
    """Return the 1-D factors of a Gabor kernel (cosine and sine along columns, then rows) and its plain Gaussian.

    The Gaussian is round, so cos(u x + v y) G = (cos(u x) cos(v y) - sin(u x) sin(v y)) G splits into two separable
    kernels; a third takes the mean off.
    """
    radius = math.ceil(3 * sigma)
    at = np.arange(-radius, radius + 1)
    window = np.exp(-0.5 * (at / sigma) ** 2)
    window /= window.sum()
    turn = 2 * math.pi / wavelength
    u, v = turn * math.cos(math.radians(angle)), -turn * math.sin(math.radians(angle))
    parts = (np.cos(u * at), np.sin(u * at), np.cos(v * at), np.sin(v * at), np.ones(at.size))
    return tuple((part * window).astype(np.float32) for part in parts)


def gabor_cost(sigma: float, wavelength: float) -> float:
    """Return what `gabor` costs, in ns per pixel."""
    sigma = min(sigma, wavelength)
    factor = gabor_factor(sigma, wavelength)
    return 0.5 + (0.3 + 1.2 * sigma / factor) / factor**2


def gabor_reach(sigma: float, wavelength: float) -> int:
    """Return how far `gabor` looks, in pixels."""
    sigma = min(sigma, wavelength)
    factor = gabor_factor(sigma, wavelength)
    return factor * (math.ceil(3 * sigma / factor) + 3)


@operator(
    revision=1,
    retired=True,
    cost=lambda p: gabor_cost(p["sigma"], p["wavelength"]),
    reach=lambda p: gabor_reach(p["sigma"], p["wavelength"]),
)
def gabor(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(1, 16, unit="px", log=True)] = 3.0,
    wavelength: Annotated[float, Range(2.5, 64, unit="px", log=True)] = 8.0,
    angle: Annotated[float, Range(0, 180, unit="degree")] = 0.0,
    polarity: Annotated[str, OneOf("bright", "dark", "both")] = "bright",
) -> Gray:
    """Find stripes, weaves or fibres of one wavelength and direction (Gabor filter).

    Parameters
    ----------
    sigma : float, px
        Of the round Gaussian in which the wave is sought, cut off at 3 sigma; counts as at most one wavelength. If it
        is at least 3 px and the wave 8 px long, the filter works at reduced scale. The border is mirrored.
    wavelength : float, px
    angle : float, degree
        Direction in which the wave travels, counter-clockwise from the right: 0 finds vertical stripes.
    polarity : str
        bright keeps crests, dark troughs, both either. A wave of amplitude A gives 2 A.
    """
    inner = min(sigma, wavelength)
    factor = gabor_factor(inner, wavelength)
    small = shrink(plane, factor)
    cos_x, sin_x, cos_y, sin_y, window = gabor_parts(inner / factor, wavelength / factor, angle)
    wave = cv2.sepFilter2D(small, cv2.CV_32F, cos_x, cos_y, borderType=BORDER)
    odd = cv2.sepFilter2D(small, cv2.CV_32F, sin_x, sin_y, borderType=BORDER)
    mean = cv2.sepFilter2D(small, cv2.CV_32F, window, window, borderType=BORDER)
    # The sines sum to 0 over a symmetric window, so only the cosines see a flat plane.
    leak = float(cos_x.sum() * cos_y.sum())
    response = cv2.scaleAdd(mean, -leak, cv2.subtract(wave, odd, wave), wave)
    return as_gray(enlarge(signed_gray(response, WAVE_GAIN, polarity), factor, plane.shape))


def oriented_sigma(width: float) -> float:
    """Return the scale at which a bar of this width answers most to a second derivative."""
    return max(0.7, 0.4 * width)


def oriented_extent(length: float, factor: int) -> int:
    """Return the margin, in reduced pixels, that lines of this length need on each side."""
    return math.ceil(length / factor / 2) + 1


def oriented_cost(width: float) -> float:
    """Return what `oriented` costs, in ns per pixel."""
    return 12.0 / reduction(oriented_sigma(width), ORIENTED_FINEST) ** 2 + 0.6


def oriented_reach(length: float, width: float) -> int:
    """Return how far `oriented` looks, in pixels."""
    sigma = oriented_sigma(width)
    factor = reduction(sigma, ORIENTED_FINEST)
    return fine_reach(sigma, ORIENTED_FINEST) + factor * (oriented_extent(length, factor) + 2)


@operator(
    revision=1,
    cost=lambda p: oriented_cost(p["width"]),
    reach=lambda p: oriented_reach(p["length"], p["width"]),
)
def oriented(
    plane: Gray,
    *,
    length: Annotated[float, Range(4, 60, unit="px", log=True)] = 12.0,
    width: Annotated[float, Range(1.5, 20, unit="px", log=True)] = 3.0,
    polarity: Annotated[str, OneOf("bright", "dark"), LINE_POLARITY] = "dark",
) -> Gray:
    """Find long thin lines, even broken or noisy ones: the strongest of 12 matched filters.

    Parameters
    ----------
    length : float, px
        Over which a line is averaged in its own direction. Longer ones suppress noise and miss curves.
    width : float, px
        Of the lines. Across them the filter is the second derivative of a Gaussian of sigma 0.4 width; from about
        6 px on it works at reduced scale. The border is mirrored.

    References
    ----------
    S. Chaudhuri et al., IEEE Trans. Med. Imaging 8(3), 1989. doi:10.1109/42.34715
    """
    sigma = oriented_sigma(width)
    factor = reduction(sigma, ORIENTED_FINEST)
    half_sum, half_difference, mixed = curvatures(plane, sigma, factor)
    sign = -ORIENTED_UNIT if polarity == "bright" else ORIENTED_UNIT
    margin = oriented_extent(length, factor)
    padded = [
        cv2.copyMakeBorder(
            cv2.addWeighted(part, sign, part, 0.0, 0.0, dtype=cv2.CV_16S), margin, margin, margin, margin, BORDER
        )
        for part in (half_sum, half_difference, mixed)
    ]
    rows, cols = half_sum.shape
    best: NDArray[Any] = np.zeros((rows, cols), np.int16)
    for angle in LINE_ANGLES:
        shifts = line_shifts(length / factor, angle)
        down, right = line_extent(shifts)
        top, left = margin - down // 2, margin - right // 2
        window = (slice(top, top + rows + down), slice(left, left + cols + right))
        # Curvature across the line: its normal points at `angle` + 90 degrees.
        turn = 2 * math.radians(angle)
        turned = cv2.addWeighted(
            padded[1][window], -math.cos(turn), padded[2][window], math.sin(turn), 0.0, dtype=cv2.CV_16S
        )
        across = cv2.add(turned, padded[0][window])
        total = along_line(across, shifts, cv2.add)
        best = cv2.max(best, total)
    n = 2 ** len(line_shifts(length / factor, 0.0))
    return as_gray(enlarge(signed_gray(best, ORIENTED_GAIN / ORIENTED_UNIT / n, "bright"), factor, plane.shape))
