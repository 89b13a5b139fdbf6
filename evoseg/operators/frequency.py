"""What lies between two sizes."""

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Gray
from evoseg.operators.edges import gaussian_difference
from evoseg.operators.parameters import InOrder, OneOf, Range
from evoseg.operators.registry import operator
from evoseg.operators.scales import signed_gray, smooth, smooth_cost, smooth_reach

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
    polarity: Annotated[str, OneOf("bright", "dark", "both")] = "bright",
) -> Gray:
    """Keep objects whose size lies between two (difference of Gaussians, times 2).

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
    low, high : float, px
        Diameters: what is much smaller than `low` or larger than `high` goes. `low` may not exceed `high`. The sigmas
        are a quarter of them; `high` counts as at least 1.2 `low`. Wide ones work at reduced scale. The border is
        mirrored.
    polarity : str
        Whether to keep what is brighter than its surroundings, darker, or either.

    Returns
    -------
    uint8 array of shape (M, N)
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
    polarity: Annotated[str, OneOf("bright", "dark", "both")] = "bright",
) -> Gray:
    """Keep details smaller than a size (plane minus Gaussian, times 2).

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
    size : float, px
        Diameter; the Gaussian's sigma is a quarter of it. Wide ones work at reduced scale. The border is mirrored.
    polarity : str
        Whether to keep what is brighter than its surroundings, darker, or either.

    Returns
    -------
    uint8 array of shape (M, N)
    """
    return high_pass(plane, size / 4, BAND_GAIN, polarity)
