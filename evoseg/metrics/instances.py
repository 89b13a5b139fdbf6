"""Scores of label images: which objects were found, and how well.

One measurement serves all scores. An answer's object is matched with a truth's object by their intersection over union
(IoU); the counts of several parts add up. An empty answer to an empty truth scores 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import SettingsError, unknown

Counts = NDArray[np.float64]
LabelImage = NDArray[np.int32]

THRESHOLDS = np.arange(50, 100, 5) / 100
"""IoU from which a pair counts as a match: one count for each."""
N_COUNTS = len(THRESHOLDS) + 4


@dataclass(frozen=True)
class InstanceMetric:
    """A score of label images.

    Attributes
    ----------
    name : str
    score : callable (counts of shape (..., N_COUNTS)) -> float array of shape (...)
    """

    name: str
    score: Callable[[Counts], NDArray[np.float64]]


def matches(answer: LabelImage, truth: LabelImage, known: NDArray[np.bool_] | None = None) -> Counts:
    """Match the objects of two label images.

    Parameters
    ----------
    answer, truth : int32 arrays of shape (M, N)
        0 is background; every other number is one object, whether or not it hangs together. Tables are as long as
        the largest number.
    known : bool array of shape (M, N), optional
        Objects are cut to known pixels; an object of the answer that lies mostly outside counts nowhere.

    Returns
    -------
    float64 array of shape (N_COUNTS,)
        Matches at each of `THRESHOLDS`; matches of an IoU above 0.5, and their summed IoU; objects of the answer, and
        of the truth.
    """
    if known is not None:
        answer, truth = _within(answer, known), np.where(known, truth, 0)
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


def _within(answer: LabelImage, known: NDArray[np.bool_]) -> LabelImage:
    inside = np.where(known, answer, 0)
    whole = np.bincount(answer.ravel())
    left = np.bincount(inside.ravel(), minlength=len(whole))
    return np.asarray(np.where((2 * left >= whole)[inside], inside, 0), np.int32)


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


METRICS = {m.name: m for m in (InstanceMetric("ap50", ap50), InstanceMetric("ap", ap), InstanceMetric("pq", pq))}


def metric(name: str) -> InstanceMetric:
    """Return the metric called `name`.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if name not in METRICS:
        raise SettingsError(unknown("metric", name, METRICS))
    return METRICS[name]
