"""Colours as keys of masks: 0xRRGGBB in one number, or `TRANSPARENT`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRANSPARENT = -1
"""What stands for a colour where a mask is transparent."""


def packed(table: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return colours of shape (n, 3) as numbers."""
    wide = table.astype(np.int32)
    found: NDArray[np.int32] = (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]
    return found


def as_grey(values: NDArray[Any]) -> NDArray[Any]:
    """Return grey values as colours."""
    found: NDArray[Any] = np.clip(values, 0, 255).astype(np.int64) * 0x010101
    return found


def is_grey(colour: int) -> bool:
    """Return whether red, green and blue are equal."""
    return colour == (colour & 255) * 0x010101


def rgb(key: float) -> NDArray[np.float64]:
    """Return red, green and blue."""
    colour = int(key)
    return np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.float64)


def distance(a: float, b: float) -> float:
    """Return the distance of two colours in RGB."""
    return float(np.linalg.norm(rgb(a) - rgb(b)))


def is_mixture(key: float, mains: Sequence[float], reach: float, ends: float = 0.5) -> bool:
    """Return whether a colour may be a mixture of two others, in at least a share of 1 - `ends` of one of them.

    JPEG stores chroma more coarsely than brightness, so that these mix in different shares.
    """
    real = [0.0 if other == TRANSPARENT else other for other in mains]
    for i, a in enumerate(real):
        for b in real[:i]:
            start, along = _luma_chroma(a), _luma_chroma(b) - _luma_chroma(a)
            off = _luma_chroma(key) - start
            luma = float(np.clip(off[0], min(0, along[0]), max(0, along[0])))
            share = float(np.clip(off[1:] @ along[1:] / max(1.0, float(along[1:] @ along[1:])), 0, 1))
            beside = np.hypot(off[0] - luma, np.linalg.norm(off[1:] - share * along[1:]))
            whole = float(off @ along / max(1.0, float(along @ along)))
            if beside < reach and min(whole, 1 - whole) < ends:
                return True
    return False


def _luma_chroma(key: float) -> NDArray[np.float64]:
    """Return a colour as JPEG stores it, Y, Cb and Cr (ITU-T T.871)."""
    red, green, blue = rgb(key)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.array([luma, (blue - luma) / 1.772, (red - luma) / 1.402])


def to_nearest(keys: NDArray[Any], listed: NDArray[Any]) -> NDArray[Any]:
    """Return colours replaced by the nearest listed one; transparency stays."""
    found, place = np.unique(keys, return_inverse=True)
    colours = np.array([rgb(key) for key in listed if key != TRANSPARENT]).reshape(-1, 3)
    real = np.array([key for key in listed if key != TRANSPARENT], np.int64)
    whole = np.maximum(found, 0).astype(np.int64)
    parts = np.stack([whole >> 16, whole >> 8 & 255, whole & 255], axis=1).astype(np.float64)
    squares = (parts**2).sum(axis=1)[:, None] - 2 * parts @ colours.T + (colours**2).sum(axis=1)
    near = np.where(found == TRANSPARENT, TRANSPARENT, real[np.argmin(squares, axis=1)])
    return near[place].reshape(keys.shape)
