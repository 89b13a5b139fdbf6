"""From the image in native values to an 8-bit plane: the first step of every pipeline."""

import math
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Raw
from evoseg.operators.gray import ADDED, as_gray, round_gray, smooth_reach, smooth_slopes
from evoseg.operators.parameters import Doc, Numbers, OneOf, Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.strips import Arrays, Params, Strip, TwoPass

ChannelIndex = Annotated[int, Range(0, 15, unit="channel"), Doc("Which channel; beyond the last it means the last.")]


STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of pure hematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston 2001)."""

STAIN_GAIN = 200.0
"""Grey levels per unit of stain (decadic optical density along the stain's own colour)."""

FLOAT_LIMIT = np.float32(1e9)
"""Largest magnitude that native floats may have, so that differences and products stay finite."""

MAX_SAMPLES = 65536
"""Pixels from which percentiles are taken."""


def to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Map native values to 8 bit: uint8 as is, uint16 by its high byte, floats from 0..1."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    # fmax and fmin turn NaN into a number; OpenCV rounds and saturates without a warning.
    clipped = np.fmin(np.fmax(values, np.float32(0)), np.float32(1))
    return as_gray(cv2.convertScaleAbs(clipped, alpha=255))


def native_channel(image: NDArray[Any], index: int) -> NDArray[Any]:
    """Return a contiguous copy of one channel, the last one if there are fewer; NaN becomes 0, floats are bounded."""
    values = image[:, :, min(index, image.shape[2] - 1)].copy()
    if values.dtype == np.float32:
        np.nan_to_num(values, copy=False)
        np.clip(values, -FLOAT_LIMIT, FLOAT_LIMIT, out=values)
    return values


def first_three(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return red, green and blue as 8 bit; an image of fewer channels shows its first in all three."""
    if image.shape[2] >= 3:
        return to_8_bit(np.ascontiguousarray(image[:, :, :3]))
    return as_gray(cv2.merge([to_8_bit(native_channel(image, 0))] * 3))


@lru_cache(maxsize=4)
def stain_tables(stain: int) -> NDArray[np.float32]:
    """Return three tables from 8-bit red, green, blue to grey levels of one stain; their sum is the plane."""
    colours = np.array(STAINS)
    colours /= np.linalg.norm(colours, axis=1, keepdims=True)
    weights = np.linalg.inv(colours)[:, stain]
    density = -np.log10((np.arange(256) + 1) / 256)
    return (STAIN_GAIN * weights[:, None] * density).astype(np.float32)


def stain_plane(image: NDArray[Any], stain: int) -> Gray:
    """Return the amount of one stain as grey levels."""
    red, green, blue = cv2.split(first_three(image))
    tables = stain_tables(stain)
    some = cv2.add(cv2.LUT(red, tables[0]), cv2.LUT(green, tables[1]))
    return as_gray(cv2.add(some, cv2.LUT(blue, tables[2]), dtype=cv2.CV_8U))


def plane_cost(channel: str) -> float:
    """Return what `plane` costs, in ns per pixel."""
    if channel in ("R", "G", "B"):
        return 0.3
    if channel in ("L", "a", "b"):
        return 3.4
    return {"gray": 0.3, "H": 1.2, "S": 1.2, "V": 0.27}.get(channel, 1.4)


@operator(revision=1, cost=lambda p: plane_cost(p["channel"]), reach=0)
def plane(
    image: Raw,
    *,
    channel: Annotated[
        str, OneOf("R", "G", "B", "gray", "H", "S", "V", "L", "a", "b", "hematoxylin", "eosin", "dab")
    ] = "gray",
) -> Gray:
    """Take one plane of a colour space, or one stain of a histological section.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        The first three channels are red, green, blue; an image with fewer shows its first in all three. 16 bit
        counts by its high byte, floats from 0 to 1.
    channel : str
        R G B; gray (luma); H S V with hue on 0..255; L a b with neutral colours at a = b = 128; or the amount of
        hematoxylin, eosin or DAB, 200 levels per unit of decadic optical density.

    References
    ----------
    A. C. Ruifrok, D. A. Johnston, Anal. Quant. Cytol. Histol. 23(4), 2001 (stains).
    """
    if channel in ("R", "G", "B"):
        index = "RGB".index(channel)
        return to_8_bit(native_channel(image, index if image.shape[2] >= 3 else 0))
    if channel in ("hematoxylin", "eosin", "dab"):
        return stain_plane(image, ("hematoxylin", "eosin", "dab").index(channel))
    colours = first_three(image)
    if channel == "gray":
        return as_gray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))
    if channel == "V":
        red, green, blue = cv2.split(colours)
        return as_gray(cv2.max(cv2.max(red, green), blue))
    if channel in ("H", "S"):
        return as_gray(cv2.extractChannel(cv2.cvtColor(colours, cv2.COLOR_RGB2HSV_FULL), "HS".index(channel)))
    return as_gray(cv2.extractChannel(cv2.cvtColor(colours, cv2.COLOR_RGB2Lab), "Lab".index(channel)))


@operator(revision=1, cost=0.3, reach=0)
def channel(image: Raw, *, index: Annotated[int, Range(0, 15, unit="channel")] = 0) -> Gray:
    """Take one channel, converted to 8 bits by a fixed mapping.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        16 bit counts by its high byte, floats from 0 to 1. For faint signals take `window`.
    index : int
        Which channel, from 0; beyond the last it means the last.
    """
    return to_8_bit(native_channel(image, index))


@operator(revision=1, cost=lambda p: 0.3 + 0.45 * min(4, len(p["weights"])), reach=0)
def mix(
    image: Raw,
    *,
    weights: Annotated[tuple[float, ...], Numbers(-4, 4, least=1, most=16)] = (-1.0, 2.0, -1.0),
    offset: Annotated[float, Range(-255, 255, unit="level"), ADDED] = 0.0,
) -> Gray:
    """Add the channels with weights; the default is excess green.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        Channels are mapped to 8 bit first, as by `channel`.
    weights : 1 to 16 numbers
        One per channel; channels without one do not count, weights without a channel neither. A grey image counts
        as R, G and B alike.
    """
    total: NDArray[Any] = np.full(image.shape[:2], offset, np.float32)
    if image.shape[2] == 1:
        # A grey image among colour ones: all its colours are the same.
        weights = (sum(weights[:3]),)
    for index, weight in enumerate(weights[: image.shape[2]]):
        if weight:
            total = cv2.scaleAdd(to_8_bit(native_channel(image, index)).astype(np.float32), weight, total)
    return round_gray(total)


def apply_window(values: NDArray[Any], low: float, high: float, scale: str) -> Gray:
    """Map [low, high] to 0..255; if high < low the picture is inverted, if they are as good as equal it is a step."""
    if values.dtype == np.uint8:  # what becomes of each level says it all
        return as_gray(cv2.LUT(values, apply_window(np.arange(256.0)[None], low, high, scale)))
    span = np.float32(high) - np.float32(low)
    if abs(span) < np.finfo(np.float32).tiny:
        return as_gray((values > low).view(np.uint8) * np.uint8(255))
    share: NDArray[Any] = values.astype(np.float32)
    share -= np.float32(low)
    share /= span
    np.clip(share, 0, 1, out=share)
    if scale == "log":
        share *= np.float32(255)
        share += np.float32(1)
        return as_gray(cv2.convertScaleAbs(cv2.log(share, share), alpha=255 / math.log(256)))
    if scale == "sqrt":
        share = cv2.sqrt(share, share)
    return as_gray(cv2.convertScaleAbs(share, alpha=255))


@operator(revision=1, cost=0.9, reach=0)
def window(
    image: Raw,
    *,
    index: ChannelIndex = 0,
    low: Annotated[float, Range(-1e12, 1e12, unit="native")] = 0.0,
    high: Annotated[float, Range(-1e12, 1e12, unit="native")] = 255.0,
    scale: Annotated[str, OneOf("linear", "log", "sqrt")] = "linear",
) -> Gray:
    """Map a window of the image's original values to 8 bits, the same window for every image.

    Parameters
    ----------
    low, high : float, native
        Values that become 0 and 255. `high` below `low` inverts; equal ones mark what lies above.
    scale : str
        linear; log, 255 ln(1 + 255 t) / ln 256 with t from 0 to 1 over the window; sqrt, 255 sqrt(t). The last two
        lift the faint.
    """
    return apply_window(native_channel(image, index), low, high, scale)


def sampling_step(pixels: int) -> int:
    """Return the distance of the pixels of a regular sample."""
    return max(1, math.ceil(math.sqrt(pixels / MAX_SAMPLES)))


def at_percentiles(sample: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return the values of a flat sample at two percentiles, without interpolation."""
    places = [round(p / 100 * (sample.size - 1)) for p in (low, high)]
    if sample.dtype == np.uint8:
        counts = cv2.calcHist([sample[None]], [0], None, [256], [0, 256])
        first, last = np.searchsorted(counts.ravel().cumsum(), places, side="right")
        return float(first), float(last)
    ordered = np.partition(sample, places)
    return float(ordered[places[0]]), float(ordered[places[1]])


def sampled_rows(arrays: Arrays, place: Strip, params: Params) -> NDArray[Any]:
    """Return what of the image's regular sample lies in some rows."""
    step = sampling_step(math.prod(place.shape))
    return native_channel(arrays[0][-place.first % step :: step, ::step], params["index"]).ravel()


@operator(
    revision=1,
    cost=2.2,
    reach=WHOLE,
    two_pass=TwoPass(
        sampled_rows,
        lambda parts, p: at_percentiles(np.concatenate(parts), p["low"], p["high"]),
        lambda arrays, found, place, p: apply_window(
            native_channel(arrays[0], p["index"]), found[0], found[1], p["scale"]
        ),
        anywhere=True,
    ),
)
def window_percentile(
    image: Raw,
    *,
    index: ChannelIndex = 0,
    low: Annotated[float, Range(0, 100)] = 1.0,
    high: Annotated[float, Range(0, 100)] = 99.0,
    scale: Annotated[str, OneOf("linear", "log", "sqrt")] = "linear",
) -> Gray:
    """Map the values between two percentiles of each image to 8 bits.

    Parameters
    ----------
    low, high : float, percent
        Percentiles that become 0 and 255, taken from a regular sample of at most 65536 pixels, without
        interpolation. `high` below `low` inverts.
    scale : str
        linear, log or sqrt, as in `window`.
    """
    values = native_channel(image, index)
    step = sampling_step(values.size)
    first, last = at_percentiles(values[::step, ::step].ravel(), low, high)
    return apply_window(values, first, last, scale)


@operator(revision=2, cost=1.7, reach=lambda p: smooth_reach(p["sigma"]))
def window_flat(
    image: Raw,
    *,
    index: ChannelIndex = 0,
    sigma: Annotated[float, Range(2, 100, unit="px", log=True)] = 20.0,
    low: Annotated[float, Range(-1e12, 1e12, unit="contrast")] = 0.0,
    high: Annotated[float, Range(-1e12, 1e12, unit="contrast")] = 50.0,
) -> Gray:
    """Subtract a smooth background from the image's original values and map a window of the rest to 8 bits.

    Parameters
    ----------
    sigma : float, px
        Width of the Gaussian background, computed in float32, from 3 px on at reduced scale. Take several times
        the size of the objects. Beyond the border the image goes on with the slope that it has there.
    low, high : float, native
        Differences from the background that become 0 and 255. `high` below `low` inverts.
    """
    values = native_channel(image, index).astype(np.float32)
    values -= smooth_slopes(values, sigma)
    return apply_window(values, low, high, "linear")
