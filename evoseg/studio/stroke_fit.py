"""Which planes tell what strokes say apart, and along which curves they add up: the statistics of the live answer.

Strokes are a biased sample: they lie where somebody looked, and later ones where the answer was wrong. A few planes
that are fitted to them alone change with every stroke (docs/studio.md). So there are two fits. All planes together,
along stiff curves, are fitted to the strokes, each pixel counting for those of the image that resemble it; where the
pretrained encoder's features are there, so is a linear head on these, which joins the planes. Then a few planes are
chosen that give the same answer as all, on pixels of the whole image, of which there are enough.

References
----------
M. Loog, Nearest neighbor-based importance weighting, MLSP 2012, arXiv:2102.02291.
C. Bucila, R. Caruana, A. Niculescu-Mizil, Model compression, KDD 2006. doi:10.1145/1150402.1150464
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from evoseg.networks.frozen import LinearHead
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step

PLANES = 10
"""Planes of one sum, at most. With fewer, the answer changes more from stroke to stroke; a search can start from it."""
STIFF = 0.3
"""Penalty on the slopes of the curves of all planes, a thousand times that of a search's sums."""
BALANCED = 0.5
"""Weight of the strokes with labels counting alike; the rest counts as the image's pixels do. Without it, a rare class
is never marked; with nothing else, it is marked too often."""
ON_STROKES = 0.3
"""Weight of painted pixels where planes are chosen that give the same answer as all."""


_FLAT = 0.01
"""Added to the spread of features, which may be 0."""
SHRUNK = 1.0
"""Penalty on a head's weights, for features of deviation 1."""
HEAD = Pipeline([step("network", IMAGE)])
"""Stands for the plane of a head: the network is written when somebody takes it away."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """The pretrained encoder's features.

    Attributes
    ----------
    painted : float32 array of shape (n, n_features)
        At painted pixels.
    around : float32 array of shape (m, n_features)
        At pixels drawn evenly from the images.
    channels : int
        Of the images that the encoder saw.
    """

    painted: NDArray[np.float32]
    around: NDArray[np.float32]
    channels: int


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
    head : LinearHead or None
        Whose plane `HEAD` stands for; None if it is none of the leaves.
    """

    leaves: tuple[Pipeline, ...]
    plane: Pipeline
    level: int
    head: LinearHead | None


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


def fit_sum(
    planes: Sequence[Pipeline],
    painted: Levels,
    wanted: NDArray[np.bool_],
    around: Levels,
    encoded: Encoded | None = None,
) -> FittedSum:
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
    encoded : Encoded, optional
        Features of the same pixels.
    """
    balanced = _balance(wanted)
    everywhere = np.concatenate([around, painted], axis=1)
    head = None
    if encoded is None:
        weights = BALANCED * balanced + (1 - BALANCED) * count_resembling(painted, around)
        target = _answer_of_all(painted, Pixels(wanted, weights), everywhere)
    else:
        centre, spread = encoded.around.mean(axis=0), encoded.around.std(axis=0) + _FLAT
        known, others = ((features - centre) / spread for features in (encoded.painted, encoded.around))
        weights = BALANCED * balanced + (1 - BALANCED) * count_resembling(known.T, others.T)
        target = _answer_of_all(painted, Pixels(wanted, weights), everywhere)
        slopes, bias = _fit_head(known, Pixels(wanted, weights))
        features = np.concatenate([others, known])
        target = (target + np.clip(features @ slopes + bias, 0, 1)) / 2
        head = LinearHead(slopes / spread, centre, bias, encoded.channels)
        planes = [*planes, HEAD]
        levels = head.levels(np.concatenate([encoded.around, encoded.painted]))
        everywhere = np.concatenate([everywhere, levels[None]])
    m = around.shape[1]
    pixels = Pixels(target, np.concatenate([np.full(m, (1 - ON_STROKES) / m), ON_STROKES * balanced]))
    found = choose(np.stack([encode(levels, pixels) for levels in everywhere]), pixels, PLANES)
    chosen = found if len(found) > 1 else found * 2
    few, leaves = everywhere[chosen], [planes[i] for i in chosen]
    plane, values, span = join_along(leaves, few, fit_curves(few, pixels))
    # The fit predicts the mean of the target at its own mean; the class begins where it predicts one half.
    middle = pixels.weights @ values + (0.5 - pixels.weights @ target) * 255 / span
    return FittedSum(tuple(leaves), plane, int(np.clip(middle, 0, 254)), head if HEAD in leaves else None)


def count_resembling(painted: NDArray[Any], around: NDArray[Any]) -> Floats:
    """Return the share of pixels around that each painted pixel is the most similar to; shares add up to 1.

    Planes, or features, count alike, whatever their contrast: shape (n_planes, n) and (n_planes, m).
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


def _fit_head(features: NDArray[np.float32], pixels: Pixels) -> tuple[Floats, float]:
    """Return slopes, and what is added, that predict the class from features of mean 0 and deviation 1: ridge."""
    mean, share = pixels.weights @ features, float(pixels.weights @ pixels.foreground)
    root = np.sqrt(pixels.weights)[:, None]
    columns = ((features - mean) * root).astype(np.float32)
    target = ((pixels.foreground - share) * root[:, 0]).astype(np.float32)
    normal = (columns.T @ columns).astype(np.float64) + SHRUNK * np.eye(len(mean))
    slopes: Floats = np.linalg.solve(normal, columns.T @ target)
    return slopes, share - float(mean @ slopes)


def _add_up(tables: Floats, planes: Levels) -> Floats:
    """Return the sum of planes, each through its own column of a table of shape (256, n_planes)."""
    total = np.zeros(planes.shape[1])
    for table, levels in zip(tables.T, planes, strict=True):
        total += table[levels]
    return total
