"""Flatten rings about a centre, such as powder rings of diffraction frames, so that spots on them stand out."""

import math
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Kind, Raw
from evoseg.operators.channels import MAX_SAMPLES, ChannelIndex, apply_window, native_channel
from evoseg.operators.parameters import OneOf, Range
from evoseg.operators.registry import WHOLE, operator

_LOOKED_AT = 192
"""Longest side at which the centre is sought, px."""
_ROUNDS = 3
Plane = NDArray[np.float32]
_CLIP = 2.5
"""Deviations beyond which a pixel does not count for its ring: spots must not lift the ground they stand on."""


@operator(revision=1, cost=38.0, reach=WHOLE, serves=(Kind.POINTS,))
def flatten_rings(
    image: Raw,
    *,
    index: ChannelIndex = 0,
    centre: Annotated[str, OneOf("found", "middle", "given", "map")] = "found",
    row: Annotated[float, Range(0, 1)] = 0.5,
    col: Annotated[float, Range(0, 1)] = 0.5,
    width: Annotated[float, Range(1, 20, unit="px", log=True)] = 2.0,
    high: Annotated[float, Range(2, 1000, log=True)] = 30.0,
    scale: Annotated[str, OneOf("linear", "log", "sqrt")] = "log",
) -> Gray:
    """Measure by how many standard deviations each pixel exceeds the ring around a centre on which it lies.

    Mean and deviation of a ring leave out what lies far above or below them, so neither spots nor a beam stop count.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        Native values of any range: faint spots are seen beside those a thousand times as bright.
    centre : str
        found: where each image is most like itself turned by 180 degrees; middle of the image; given by row and col.
        With map there need be none: pixels of equal value in the last channel, such as two theta, are a ring.
    row, col : float
        Of the centre, as shares of the image's height and width; for centre="given" only.
    width : float, px
        Of the rings. Narrow rings follow sharp lines, wide ones have more pixels to tell their deviation from. The
        values of a map are stretched to as many px as half the diagonal has.
    high : float, deviations
        What becomes 255; the ring's own mean, and all below, becomes 0.
    scale : str
        linear, log or sqrt, as in `window`; the last two lift the faint.
    """
    values = native_channel(image, index).astype(np.float32)
    rows, cols = values.shape
    if centre == "map":
        place = _from_map(native_channel(image, image.shape[2] - 1).astype(np.float32), width)
    elif centre == "found":
        place = _around(values.shape, centre_of(values), width)
    else:
        at = (row, col) if centre == "given" else (0.5, 0.5)
        place = _around(values.shape, (at[0] * (rows - 1), at[1] * (cols - 1)), width)
    mean, deviation = (_along(ring, place) for ring in _profile(values, place))
    least = np.float32(1e-6 * max(float(np.abs(values).max()), 1e-6))
    return apply_window((values - mean) / (deviation + least), 0.0, high, scale)


def _around(shape: tuple[int, ...], centre: tuple[float, float], width: float) -> Plane:
    """Return by how many widths of a ring each pixel is away from a centre."""
    rows, cols = (((np.arange(n) - at) / width).astype(np.float32) for n, at in zip(shape, centre, strict=True))
    return np.asarray(np.sqrt(rows[:, None] ** 2 + cols**2), np.float32)


def _from_map(values: Plane, width: float) -> Plane:
    """Return a map in widths of a ring, from 0 on."""
    low, high = float(values.min()), float(values.max())
    longest_px = math.hypot(*values.shape) / 2
    return np.asarray((values - low) * (longest_px / width / max(high - low, 1e-9)), np.float32)


def centre_of(values: NDArray[Any]) -> tuple[float, float]:
    """Return the point (row, col) about which a plane is most like itself turned by 180 degrees.

    That is half the place of the highest self-convolution. Values are compressed first, or the brightest spot and its
    like alone would decide.
    """
    step = max(1, -(-max(values.shape) // _LOOKED_AT))
    size = (-(-values.shape[1] // step), -(-values.shape[0] // step))
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    low, typical = np.percentile(small, (1, 75))
    small = np.log1p(np.maximum(small - low, 0) / max(typical - low, 1e-9))
    small -= small.mean()
    padded = [2 * n for n in small.shape]
    spectrum = np.fft.rfft2(small, padded)
    twice = np.fft.irfft2(spectrum * spectrum, padded)
    # Rounding must not choose a centre where nothing is to be seen.
    if twice.max() <= 1e-9 * small.size:
        return (values.shape[0] - 1) / 2, (values.shape[1] - 1) / 2
    best = np.unravel_index(int(twice.argmax()), twice.shape)
    row, col = ((at / 2 + 0.5) * n / m - 0.5 for at, n, m in zip(best, values.shape, small.shape, strict=True))
    return float(np.clip(row, 0, values.shape[0] - 1)), float(np.clip(col, 0, values.shape[1] - 1))


def _along(ring: NDArray[np.float64], place: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a profile's value at each place, interpolated between the rings."""
    line = ring.astype(np.float32)[None]
    return np.asarray(cv2.remap(line, place, np.zeros_like(place), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _profile(values: Plane, place: Plane) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of the rings 0, 1, 2 ... nearest to the places, from a regular sample of pixels."""
    step = max(1, math.ceil(math.sqrt(values.size / MAX_SAMPLES)))
    ring = np.rint(place[::step, ::step]).astype(np.intp).ravel()
    flat = values[::step, ::step].ravel().astype(np.float64)
    n_rings = round(float(place.max())) + 1
    mean, deviation = np.zeros(n_rings), np.zeros(n_rings)
    counted = np.ones(len(flat), bool)
    for _ in range(_ROUNDS):
        inside, given = ring[counted], flat[counted]
        n = np.maximum(np.bincount(inside, minlength=n_rings), 1)
        mean = np.bincount(inside, given, n_rings) / n
        deviation = np.sqrt(np.bincount(inside, (given - mean[inside]) ** 2, n_rings) / n)
        counted = np.abs(flat - mean[ring]) <= _CLIP * deviation[ring] + 1e-9
    # Of a few pixels, as near the centre, the deviation is chance; a ring varies at least as much as those around it.
    return mean, np.maximum(deviation, cv2.blur(deviation[None], (9, 1), borderType=cv2.BORDER_REPLICATE)[0])
