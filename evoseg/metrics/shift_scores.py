"""Find the shift between two planes by correlation, to fractions of a pixel, and score it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.metrics.mask_scores import Metric

Floats = NDArray[np.float64]

_ZOOMS = ((1.0, 0.1), (0.1, 0.01))
"""Radius and step, px, of the searches around the best correlation."""
_TAPER = 0.15
"""Share of each side over which the correlated region fades out."""


def shift_between(fixed: NDArray[Any], moving: NDArray[Any]) -> Floats:
    """Return the shift at which two planes correlate best.

    Whole pixels come from the correlation coefficient over the overlap, weighted by the square root of the overlap's
    area, since small overlaps agree by chance. Fractions come from the correlation of the overlap itself, computed
    from its spectrum between the pixels (Guizar-Sicairos, Thurman, Fienup 2008, doi:10.1364/OL.33.000156).

    Parameters
    ----------
    fixed, moving : arrays of shape (M, N)

    Returns
    -------
    float64 array of shape (2,)
        (dy, dx) in px: what is at (row, col) in `fixed` is at (row + dy, col + dx) in `moving`. At most half a side;
        zero if a plane is flat.
    """
    a, b = (plane - plane.mean(dtype=np.float64) for plane in (fixed, moving))
    whole = _whole_pixels(a, b)
    if whole is None:
        return np.zeros(2)
    tops = [max(0, -int(d)) for d in whole]
    ends = [n - max(0, int(d)) for n, d in zip(a.shape, whole, strict=True)]
    here = tuple(slice(top, end) for top, end in zip(tops, ends, strict=True))
    there = tuple(slice(top + int(d), end + int(d)) for top, end, d in zip(tops, ends, whole, strict=True))
    return np.asarray(whole + _fraction(a[here], b[there]), np.float64)


def correlate_shifts(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, NDArray[np.intp]]:
    """Return how alike two planes are, of either sign, at the best shift in whole pixels, and that shift (dy, dx)."""
    likeness = np.abs(_likeness(*(plane - plane.mean(dtype=np.float64) for plane in (a, b))))
    best = np.unravel_index(int(likeness.argmax()), likeness.shape)
    return float(likeness[best]), np.array(best) - [n // 2 for n in a.shape]


def _whole_pixels(a: Floats, b: Floats) -> NDArray[np.intp] | None:
    """Return the best shift in whole pixels, None if nothing correlates."""
    likeness = _likeness(a, b)
    best = np.unravel_index(int(likeness.argmax()), likeness.shape)
    return np.array(best) - [n // 2 for n in a.shape] if likeness[best] > 0 else None


def _likeness(a: Floats, b: Floats) -> Floats:
    """Return the correlation coefficient, weighted by the root of the overlap, at each shift of at most half a side."""
    half = [n // 2 for n in a.shape]
    padded = [n + h for n, h in zip(a.shape, half, strict=True)]
    product = np.fft.irfft2(np.conj(np.fft.rfft2(a, padded)) * np.fft.rfft2(b, padded), padded)
    shifts = [np.arange(-h, h + 1) for h in half]
    product = product[np.ix_(*shifts)]
    area = np.outer(*(n - np.abs(d) for n, d in zip(a.shape, shifts, strict=True)))
    back = [-d for d in shifts]
    sums = _overlap_sums(a, shifts), _overlap_sums(b, back)
    squares = _overlap_sums(a * a, shifts), _overlap_sums(b * b, back)
    spread = np.prod([np.maximum(s2 - s * s / area, 0) for s, s2 in zip(sums, squares, strict=True)], axis=0)
    least = 1e-12 * float(spread.max(initial=0))
    together = product - sums[0] * sums[1] / area
    weight = np.sqrt(area, dtype=np.float64)
    likeness = np.divide(together * weight, np.sqrt(spread), out=np.zeros_like(together), where=spread > least)
    return np.asarray(likeness, np.float64)


def _overlap_sums(values: Floats, shifts: list[NDArray[np.intp]]) -> Floats:
    """Return the sum of the values that overlap a plane of the same size, for every pair of shifts of that plane."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    total[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    for axis, (n, d) in enumerate(zip(values.shape, shifts, strict=True)):
        total = total.take(n - np.maximum(0, d), axis) - total.take(np.maximum(0, -d), axis)
    return total


def _fraction(a: Floats, b: Floats) -> Floats:
    """Return the shift of at most a pixel or so at which two planes of one size correlate best."""
    taper = np.outer(*(_taper(n) for n in a.shape))
    spectra = [np.fft.fft2((plane - np.average(plane, weights=taper)) * taper) for plane in (a, b)]
    cross = np.conj(spectra[0]) * spectra[1]
    found = np.zeros(2)
    for reach, step in _ZOOMS:
        places = np.arange(-round(reach / step), round(reach / step) + 1) * step
        rows, cols = (
            np.exp(2j * np.pi * np.outer(places + centre, np.fft.fftfreq(n)))
            for centre, n in zip(found, a.shape, strict=True)
        )
        response = (rows @ cross @ cols.T).real
        best = np.unravel_index(int(response.argmax()), response.shape)
        found = found + places[list(best)]
    return found


def _taper(n: int) -> Floats:
    """Return weights that rise from the ends of a line to 1 (a Tukey window)."""
    places = (np.arange(n) + 0.5) / n
    ends = np.minimum(places, 1 - places) / _TAPER
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.minimum(ends, 1)), np.float64)


def closeness(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + error) of errors in px: 1 is exact, 0.5 one pixel off."""
    return np.asarray(1 / (1 + errors), np.float64)


def error_px(score: float) -> float:
    """Return the error, in px, that an image's closeness stands for."""
    return 1 / max(score, 1e-9) - 1


SHIFT_METRICS = {"closeness": Metric("closeness", "closeness", lambda errors: closeness(errors[..., 0]))}
