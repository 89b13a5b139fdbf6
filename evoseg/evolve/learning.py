"""How much the number of masks matters: the choice among a search's candidates, made on some of its images only."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from evoseg.evolve.ports import Floats

DRAWS = 200
"""Subsets of each size."""
MOST_SIZES = 8


@dataclass(frozen=True)
class Learned:
    """What a choice by few images is worth on the others.

    Attributes
    ----------
    n_images : int
        How many the choice was made by.
    score : float
        Mean over subsets, of the chosen candidate's score on the other images.
    """

    n_images: int
    score: float


def learning_curve(scores: Floats, rng: Generator) -> list[Learned]:
    """Return what candidates score on images that they were not chosen by, for choices by 1 to n - 1 images.

    Candidates are given: those bred with fewer images would differ more, so the true curve is steeper, if anything.

    Parameters
    ----------
    scores : float64 array of shape (n_candidates, n_images)

    Returns
    -------
    list of Learned
        By growing number of images; empty for fewer than three images.
    """
    n = scores.shape[1] if scores.size else 0
    if n < 3:
        return []
    sizes = np.unique(np.linspace(1, n - 1, min(n - 1, MOST_SIZES)).round().astype(int))
    found = []
    for size in sizes:
        inside = np.argsort(rng.random((DRAWS, n)), axis=1) < size
        chosen = (scores @ inside.T).argmax(axis=0)
        others = np.where(inside, 0.0, scores[chosen]).sum(axis=1) / (n - size)
        found.append(Learned(int(size), float(others.mean())))
    return found
