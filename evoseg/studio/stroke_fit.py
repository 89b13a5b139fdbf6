"""Which planes tell what strokes say apart, and along which curves they add up: the statistics of the live answer.

Strokes are a biased sample: they lie where somebody looked, and later ones where the answer was wrong. A few planes
that are fitted to them alone change with every stroke (docs/studio.md). So there are two fits. All planes together,
along stiff curves, are fitted to the strokes, each pixel counting for those of the image that resemble it. Then a few
planes are chosen that give the same answer as all, on pixels of the whole image, of which there are enough.

References
----------
M. Loog, Nearest neighbor-based importance weighting, MLSP 2012, arXiv:2102.02291.
C. Bucila, R. Caruana, A. Niculescu-Mizil, Model compression, KDD 2006. doi:10.1145/1150402.1150464
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoseg.evolve.ports import Floats
from evoseg.evolve.proposers.curve_sums import (
    Levels,
    Pixels,
    choose,
    encode,
    fit_curves,
    hat_basis,
    join_along,
)
from evoseg.pipeline import Pipeline

PLANES = 10
"""Planes of one sum, at most. With fewer, the answer changes more from stroke to stroke; a search can start from it."""
STIFF = 0.3
"""Penalty on the slopes of the curves of all planes, a thousand times that of a search's sums."""
BALANCED = 0.5
"""Weight of the strokes with labels counting alike; the rest counts as the image's pixels do. Without it, a rare class
is never marked; with nothing else, it is marked too often."""
ON_STROKES = 0.3
"""Weight of painted pixels where planes are chosen that give the same answer as all."""


@dataclass(frozen=True, eq=False)
class FittedSum:
    """A sum of planes along curves that is brighter than a level where the class is.

    Attributes
    ----------
    leaves : tuple of Pipeline
        The planes that it adds up.
    plane : Pipeline
        The sum.
    level : int
        From 0 to 254.
    """

    leaves: tuple[Pipeline, ...]
    plane: Pipeline
    level: int


def rank_planes(painted: Levels, wanted: NDArray[np.bool_]) -> list[int]:
    """Return planes in the order of how well each alone tells the class, the best first.

    Parameters
    ----------
    painted : uint8 array of shape (n_planes, n)
        Their values at painted pixels.
    wanted : bool array of shape (n,)
        Whether these belong to the class; some do, some do not.
    """
    pixels = Pixels(wanted, _balance(wanted))
    losses = [pixels.weights @ (encode(levels, pixels) - wanted) ** 2 for levels in painted]
    return [int(i) for i in np.argsort(losses, kind="stable")]


def fit_sum(planes: Sequence[Pipeline], painted: Levels, wanted: NDArray[np.bool_], around: Levels) -> FittedSum:
    """Fit a sum of a few planes to painted pixels.

    Parameters
    ----------
    planes : sequence of Pipeline
        To choose from.
    painted : uint8 array of shape (n_planes, n)
        Their values at painted pixels.
    wanted : bool array of shape (n,)
        Whether these belong to the class; some do, some do not.
    around : uint8 array of shape (n_planes, m)
        Values at pixels drawn evenly from the images, whatever is painted there.
    """
    balanced = _balance(wanted)
    weights = BALANCED * balanced + (1 - BALANCED) * count_resembling(painted, around)
    everywhere = np.concatenate([around, painted], axis=1)
    target = _answer_of_all(painted, Pixels(wanted, weights), everywhere)
    m = around.shape[1]
    pixels = Pixels(target, np.concatenate([np.full(m, (1 - ON_STROKES) / m), ON_STROKES * balanced]))
    found = choose(np.stack([encode(levels, pixels) for levels in everywhere]), pixels, PLANES)
    chosen = found if len(found) > 1 else found * 2
    few, leaves = everywhere[chosen], [planes[i] for i in chosen]
    plane, values, span = join_along(leaves, few, fit_curves(few, pixels))
    # The fit predicts the mean of the target at its own mean; the class begins where it predicts one half.
    middle = pixels.weights @ values + (0.5 - pixels.weights @ target) * 255 / span
    return FittedSum(tuple(leaves), plane, int(np.clip(middle, 0, 254)))


def count_resembling(painted: Levels, around: Levels) -> Floats:
    """Return the share of pixels around that each painted pixel is the most similar to; shares add up to 1.

    Planes count alike, whatever their contrast.
    """
    mean, spread = around.mean(axis=1, keepdims=True), around.std(axis=1, keepdims=True) + 1
    known, others = (((levels - mean) / spread).T.astype(np.float32) for levels in (painted, around))
    # Squared distances, less what is the same for all painted pixels.
    nearest = ((known**2).sum(axis=1) - 2 * others @ known.T).argmin(axis=1)
    shares: Floats = np.bincount(nearest, minlength=len(known)) / len(others)
    return shares


def _balance(wanted: NDArray[np.bool_]) -> Floats:
    """Return weights by which the class and the others count alike."""
    weights: Floats = np.where(wanted, 0.5 / max(1, wanted.sum()), 0.5 / max(1, (~wanted).sum()))
    return weights


def _answer_of_all(painted: Levels, pixels: Pixels, everywhere: Levels) -> Floats:
    """Return what all planes together say, fitted to painted pixels: from 0 to 1, one half at the boundary."""
    curves = fit_curves(painted, pixels, slope=STIFF)
    basis = hat_basis() @ curves.T
    centre = pixels.weights @ _add_up(basis, painted) - pixels.weights @ pixels.foreground
    return np.clip(_add_up(basis, everywhere) - centre, 0, 1)


def _add_up(tables: Floats, planes: Levels) -> Floats:
    """Return the sum of planes, each through its own column of a table of shape (256, n_planes)."""
    total = np.zeros(planes.shape[1])
    for table, levels in zip(tables.T, planes, strict=True):
        total += table[levels]
    return total
