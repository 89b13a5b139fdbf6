"""Fit sums of curves of planes to the truth at sampled pixels, in closed form.

Greedy forward selection (Pati et al., Asilomar 1993) picks planes that complement each other; the curves of the chosen
ones are a generalised additive model (Hastie & Tibshirani, Statistical Science 1(3), 1986) fitted by penalised least
squares. Everything here happens on a few thousand pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoseg.evolve.ports import Floats
from evoseg.operators.additive import KNOTS, MOST_LEVELS, sum_of_curves

FOREGROUND = 0.3
"""Weight of all foreground pixels together, whatever their share of the images."""
SLOPE, BEND, SIZE = 3e-4, 3e-3, 1e-6
"""Penalties on first and second differences of a curve's points, and on the points themselves."""
CLIPPED = 0.002
"""Share of the sampled pixels that a sum may clip at either end."""
MOST = 8000
"""Pixels that curves are fitted on."""
COLUMN = 1500
"""Pixels that planes are chosen by."""

Levels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pixels:
    """The sampled pixels: which are foreground, and how much each counts. Weights add up to 1."""

    foreground: NDArray[np.bool_]
    weights: Floats


def pixels_of(probe: Floats) -> Pixels | None:
    """Return what a probe of shape (n_images, 2, s) says of its pixels; None if there is nothing to tell apart.

    Every image counts alike, and all foreground together weighs `FOREGROUND`.
    """
    probe = _of_many(probe)
    there = ~np.isnan(probe)
    weights = there / np.maximum(there.sum(axis=2, keepdims=True), 1)
    per_class = weights.sum(axis=(0, 2), keepdims=True)
    if not probe.size or not per_class.all():
        return None
    weights *= np.array([FOREGROUND, 1 - FOREGROUND]).reshape(1, 2, 1) / per_class
    foreground = np.broadcast_to(np.array([True, False]).reshape(1, 2, 1), probe.shape)
    return Pixels(foreground.ravel(), weights.ravel())


def without(pixels: Pixels, n_images: int, images: Collection[int]) -> Pixels | None:
    """Return the pixels with those of some images counting for nothing, the classes weighing what they did.

    None if that leaves nothing of a class.
    """
    weights = pixels.weights.copy()
    weights.reshape(n_images, -1)[list(images)] = 0
    for of_class, weight in ((pixels.foreground, FOREGROUND), (~pixels.foreground, 1 - FOREGROUND)):
        if not weights[of_class].any():
            return None
        weights[of_class] *= weight / weights[of_class].sum()
    return Pixels(pixels.foreground, weights)


def levels_of(probe: Floats) -> Levels:
    """Return a probe's values in the order of `pixels_of`; pixels that are not there, which weigh nothing, become 0."""
    return np.nan_to_num(_of_many(probe)).astype(np.uint8).ravel()


def _of_many(probe: Floats) -> Floats:
    """Return the first pixels of each class and image: fewer of each where images are many."""
    return probe[:, :, : max(1, MOST // (2 * len(probe)))]


def encoded(levels: Levels, pixels: Pixels) -> NDArray[np.float32]:
    """Return for each pixel the share of foreground among pixels of about its level: a curve for one plane alone."""
    curve = fitted_curves(levels[None], pixels)[0]
    shares: NDArray[np.float32] = np.interp(levels, np.linspace(0, 255, KNOTS), curve).astype(np.float32)
    return shares


def fitted_curves(planes: Levels, pixels: Pixels) -> Floats:
    """Return curves of shape (n_planes, KNOTS) whose sum best predicts the foreground; planes: (n_planes, n_pixels)."""
    basis, root = hat_basis(), np.sqrt(pixels.weights)
    hats = np.concatenate([basis.take(levels, axis=0) for levels in planes], axis=1)
    means = pixels.weights @ hats
    hats *= root[:, None]
    target = (pixels.foreground - pixels.weights @ pixels.foreground) * root
    slope, bend = (np.diff(np.eye(KNOTS), n, axis=0) for n in (1, 2))
    penalty = SLOPE * slope.T @ slope + BEND * bend.T @ bend + SIZE * np.eye(KNOTS)
    # Weights add up to 1, so the products of means centre the hats at the least expense.
    normal = hats.T @ hats - np.outer(means, means) + np.kron(np.eye(len(planes)), penalty)
    curves: Floats = np.linalg.solve(normal, hats.T @ target).reshape(len(planes), KNOTS)
    return curves


def hat_basis() -> Floats:
    """Return, per level 0..255, the shares of the knots on either side; shape (256, KNOTS)."""
    distance = np.abs(np.arange(256)[:, None] * (KNOTS - 1) / 255 - np.arange(KNOTS))
    return np.asarray(np.maximum(0, 1 - distance), np.float64)


def choose(columns: NDArray[np.float32], pixels: Pixels, n: int, first: int | None = None) -> list[int]:
    """Return n columns that together predict the foreground best, chosen one after the other.

    Parameters
    ----------
    columns : float32 array of shape (n_columns, n_pixels)
    first : int or None
        One that is chosen in any case.
    """
    stride = max(1, columns.shape[1] // COLUMN)
    weights = pixels.weights[::stride] / pixels.weights[::stride].sum()
    root = np.sqrt(weights).astype(np.float32)
    rest = (columns[:, ::stride] - (columns[:, ::stride] @ weights)[:, None].astype(np.float32)) * root
    target = (pixels.foreground[::stride] - weights @ pixels.foreground[::stride]).astype(np.float32) * root
    sizes = (rest**2).sum(axis=1)
    chosen: list[int] = []
    while len(chosen) < min(n, len(columns)):
        left = (rest**2).sum(axis=1)
        # What the chosen ones explain already is noise in what is left.
        gains = np.where(left > 1e-3 * sizes + 1e-9, (rest @ target) ** 2 / np.maximum(left, 1e-12), -1)
        gains[chosen] = -1
        best = first if first is not None and not chosen else int(gains.argmax())
        if chosen and gains[best] <= 0:
            break
        chosen.append(best)
        length = np.sqrt(left[best])
        if length > 0:
            axis = rest[best] / length
            rest = rest - (rest @ axis)[:, None] * axis
            target = target - (target @ axis) * axis
    return chosen


def to_levels(curves: Floats, planes: Levels) -> tuple[tuple[float, ...], float, float]:
    """Scale curves so that their sum fills 0..255.

    Returns
    -------
    numbers : tuple of float, level
        The curves as `add_curves` takes them.
    low, span : float
        The sum at level 0, and what 255 levels of it are, in the curves' own unit.
    """
    total = sum(np.interp(levels, np.linspace(0, 255, KNOTS), c) for levels, c in zip(planes, curves, strict=True))
    low, high = np.quantile(total, [CLIPPED, 1 - CLIPPED])
    span = max(float(high - low), 1e-9)
    scaled = (curves - low / len(curves)) * 255 / span
    numbers = np.clip(np.rint(scaled), -MOST_LEVELS, MOST_LEVELS)
    return tuple(float(v) for v in numbers.ravel()), float(low), span


def summed(planes: Levels, numbers: tuple[float, ...]) -> Levels:
    """Return what `add_curves` makes of sampled levels."""
    return sum_of_curves(tuple(np.ascontiguousarray(levels)[None] for levels in planes), numbers).ravel()
