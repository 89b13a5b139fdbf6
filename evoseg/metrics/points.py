"""Scores of detections: points matched one to one with true points within a radius.

An empty answer to an empty truth scores 1; any point in an image without true points scores 0 there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import SettingsError, unknown

Counts = NDArray[np.float64]
Points = NDArray[np.float64]

_BLOCK = 512
"""Points whose distances are looked at together."""


@dataclass(frozen=True)
class PointMetric:
    """A score of detections.

    Attributes
    ----------
    name : str
    score : callable (counts of shape (..., 3)) -> float array of shape (...)
    """

    name: str
    score: Callable[[Counts], NDArray[np.float64]]


def matches(answer: Points, truth: Points, radius: float) -> Counts:
    """Match as many points as possible, each with one true point at most `radius` away.

    Parameters
    ----------
    answer, truth : float64 arrays of shape (n, 2)
        (row, col) in px.
    radius : float, px

    Returns
    -------
    float64 array of shape (3,)
        True positives, points of the answer, true points.
    """
    near = _neighbours(answer, truth, radius)
    return np.array([_assigned(near, len(truth)), len(answer), len(truth)], np.float64)


def _neighbours(answer: Points, truth: Points, radius: float) -> list[list[int]]:
    """Return for each point the true points within the radius, nearest first."""
    near: list[list[int]] = [[] for _ in answer]
    for start in range(0, len(answer), _BLOCK):
        distance = np.hypot(*(answer[start : start + _BLOCK, None] - truth[None]).transpose(2, 0, 1))
        i, j = np.nonzero(distance <= radius)
        nearest_first = np.argsort(distance[i, j], kind="stable")
        for point, true in zip((start + i[nearest_first]).tolist(), j[nearest_first].tolist(), strict=True):
            near[point].append(true)
    return near


def _assigned(near: list[list[int]], n_truth: int) -> int:
    """Return the size of a largest matching, by augmenting paths (Kuhn's algorithm).

    Points that have a free true point take it at once; only what is crowded needs a search.
    """
    owner = [-1] * n_truth
    held = [-1] * len(near)
    waiting = []
    for i, places in enumerate(near):
        held[i] = next((j for j in places if owner[j] < 0), -1)
        if held[i] < 0:
            waiting.append(i)
        else:
            owner[held[i]] = i
    for i in waiting:
        _augment(i, near, owner, held)
    return sum(i >= 0 for i in owner)


def _augment(start: int, near: list[list[int]], owner: list[int], held: list[int]) -> None:
    """Give a point a true point, if others can move on until one takes a free one; breadth first."""
    came_from: dict[int, int] = {}
    queue = [start]
    for i in queue:
        for j in near[i]:
            if j in came_from:
                continue
            came_from[j] = i
            if owner[j] < 0:
                while j >= 0:
                    owner[j] = came_from[j]
                    held[owner[j]], j = j, held[owner[j]]
                return
            queue.append(owner[j])


def f_score(counts: Counts, beta: float) -> NDArray[np.float64]:
    """Return (1 + beta^2) tp / (answered + beta^2 true): precision against recall weighted by beta."""
    hit, found, real = np.moveaxis(counts, -1, 0)
    total = found + beta**2 * real
    return np.asarray(np.divide((1 + beta**2) * hit, total, out=np.ones_like(total), where=total > 0))


METRICS = {
    m.name: m for m in (PointMetric("f1", partial(f_score, beta=1.0)), PointMetric("f2", partial(f_score, beta=2.0)))
}


def metric(name: str) -> PointMetric:
    """Return the metric called `name`.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if name not in METRICS:
        raise SettingsError(unknown("metric", name, METRICS))
    return METRICS[name]
