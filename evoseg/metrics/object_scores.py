"""Scores of objects and of points: which were found, and how well.

One measurement serves all scores of a kind. Objects are matched by their intersection over union (IoU), points within a
radius; the counts of several parts add up. An empty answer to an empty truth scores 1.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from evoseg.metrics.mask_scores import Metric

Counts = NDArray[np.float64]
LabelImage = NDArray[np.int32]

THRESHOLDS = np.arange(50, 100, 5) / 100
"""IoU from which a pair counts as a match: one count for each."""
N_COUNTS = len(THRESHOLDS) + 4


def match_objects(answer: LabelImage, truth: LabelImage, known: NDArray[np.bool_] | None = None) -> Counts:
    """Match the objects of two label images.

    Parameters
    ----------
    answer, truth : int32 arrays of shape (M, N)
        0 is background; every other number is one object, whether or not it hangs together. Tables are as long as
        the largest number.
    known : bool array of shape (M, N), optional
        Objects are cut to known pixels; an object of the answer that lies mostly outside counts nowhere, unless
        what is left of it is mostly on an object of the truth.

    Returns
    -------
    float64 array of shape (N_COUNTS,)
        Matches at each of `THRESHOLDS`; matches of an IoU above 0.5, and their summed IoU; objects of the answer, and
        of the truth.
    """
    if known is not None:
        truth = np.where(known, truth, 0)
        answer = _cut_to_known(answer, known, truth)
    a, t, lengths = _runs(answer, truth)
    area_a, area_t = np.bincount(a, lengths), np.bincount(t, lengths)
    both = np.flatnonzero((a > 0) & (t > 0))
    pairs, place = np.unique(a[both].astype(np.int64) * len(area_t) + t[both], return_inverse=True)
    common = np.bincount(place, lengths[both], len(pairs))
    of_a, of_t = np.divmod(pairs, len(area_t))
    iou = common / (area_a[of_a] + area_t[of_t] - common)
    counts = np.array([_one_to_one(of_a[iou >= least], of_t[iou >= least]) for least in THRESHOLDS], np.float64)
    strict = iou > 0.5
    objects = [np.count_nonzero(area_a[1:]), np.count_nonzero(area_t[1:])]
    return np.concatenate([counts, [np.count_nonzero(strict), iou[strict].sum()], objects])


def _runs(answer: LabelImage, truth: LabelImage) -> tuple[LabelImage, LabelImage, NDArray[np.intp]]:
    """Return the stretches along rows in which neither image changes: both numbers and the length of each.

    They are far fewer than pixels, which makes everything after this cheap.
    """
    a, t = answer.ravel(), truth.ravel()
    change = (a[1:] != a[:-1]) | (t[1:] != t[:-1])
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    return a[starts], t[starts], np.diff(starts, append=a.size)


def _cut_to_known(answer: LabelImage, known: NDArray[np.bool_], truth: LabelImage) -> LabelImage:
    inside = np.where(known, answer, 0)
    whole = np.bincount(answer.ravel())
    left, met = (np.bincount(inside[where], minlength=len(whole)) for where in (known, known & (truth > 0)))
    kept = (2 * left >= whole) | (2 * met >= left)
    return np.asarray(np.where(kept[inside], inside, 0), np.int32)


def _one_to_one(of_a: NDArray[np.int64], of_t: NDArray[np.int64]) -> int:
    """Return how many pairs of an IoU of at least 0.5 can be had with no object used twice.

    Above 0.5 no object is in two pairs. At 0.5 exactly, one object may be cut into two halves, each of which is in no
    other pair; only one of them counts.
    """
    return len(np.unique(of_a)) + len(np.unique(of_t)) - len(of_a)


def _ap(counts: Counts, n_thresholds: int) -> NDArray[np.float64]:
    """Return tp / (tp + fp + fn), averaged over the first thresholds."""
    hits = counts[..., :n_thresholds]
    every = counts[..., -2, None] + counts[..., -1, None] - hits
    return np.asarray(np.divide(hits, every, out=np.ones_like(hits), where=every > 0).mean(axis=-1))


def ap50(counts: Counts) -> NDArray[np.float64]:
    """Return tp / (tp + fp + fn) at an IoU of 0.5."""
    return _ap(counts, 1)


def ap(counts: Counts) -> NDArray[np.float64]:
    """Return tp / (tp + fp + fn), averaged over the IoU thresholds 0.5, 0.55 ... 0.95."""
    return _ap(counts, len(THRESHOLDS))


def pq(counts: Counts) -> NDArray[np.float64]:
    """Return panoptic quality: the summed IoU of matches above 0.5 by tp + fp / 2 + fn / 2.

    References
    ----------
    A. Kirillov et al., Panoptic Segmentation, CVPR 2019, equation 1.
    """
    quality, objects = counts[..., -3], counts[..., -2] + counts[..., -1]
    return np.asarray(np.divide(2 * quality, objects, out=np.ones_like(quality), where=objects > 0))


OBJECT_METRICS = {m.name: m for m in (Metric("ap50", "AP50", ap50), Metric("ap", "AP", ap), Metric("pq", "PQ", pq))}


Points = NDArray[np.float64]

_BLOCK = 512
"""Points whose distances are looked at together."""


def match_points(answer: Points, truth: Points, radius: float) -> Counts:
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
    return np.array([_assign(near, len(truth)), len(answer), len(truth)], np.float64)


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


def _assign(near: list[list[int]], n_truth: int) -> int:
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
    """Match a point along an augmenting path, found breadth first, if there is one."""
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


POINT_METRICS = {
    m.name: m for m in (Metric("f1", "F1", partial(f_score, beta=1.0)), Metric("f2", "F2", partial(f_score, beta=2.0)))
}
