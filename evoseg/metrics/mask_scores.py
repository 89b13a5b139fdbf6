"""Scores of binary masks, and what a metric is.

Each metric measures an answer as a few counts that add up over parts of an image, and turns counts into a score.
An empty answer to an empty truth scores 1. Pixels outside `known` count nowhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Plane = NDArray[np.bool_]

TOLERANCE_PX = 2
"""How far a boundary may be off for `boundary_f` and `buffered_iou`, in px."""

BETA = 2.0
"""Weight of recall against precision in `f_beta`: misses count more, as labels tend to undercount."""


@dataclass(frozen=True)
class Metric:
    """A score, computed from statistics that add up over the parts of an image.

    Attributes
    ----------
    name : str
    label : str
        What it is called in text for people.
    score : callable (statistics of shape (..., s)) -> float array of shape (...)
    """

    name: str
    label: str
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class MaskMetric(Metric):
    """A score of binary masks, from counts of shape (..., 4).

    Attributes
    ----------
    measure : callable (answer, truth, known) -> counts of shape (4,)
        The arrays are bool of shape (M, N); `known` is None if all pixels are known.
    pixelwise : bool
        Whether the counts are tp, fp, fn, tn, so that histograms give them for every threshold at once.
    """

    measure: Callable[[Plane, Plane, Plane | None], Counts]
    pixelwise: bool = False


def confusion(answer: Plane, truth: Plane, known: Plane | None = None) -> Counts:
    """Return (tp, fp, fn, tn) over known pixels."""
    a, t = answer.view(np.uint8), truth.view(np.uint8)
    n = a.size
    if known is not None:
        a, t = a & known.view(np.uint8), t & known.view(np.uint8)
        n = cv2.countNonZero(known.view(np.uint8))
    tp = cv2.countNonZero(cv2.bitwise_and(a, t))
    positive, real = cv2.countNonZero(a), cv2.countNonZero(t)
    return np.array([tp, positive - tp, real - tp, n - positive - real + tp], np.float64)


def iou(counts: Counts) -> NDArray[np.float64]:
    """Return tp / (tp + fp + fn), Jaccard's index."""
    tp, fp, fn, _ = _split(counts)
    return _ratio(tp, tp + fp + fn)


def dice(counts: Counts) -> NDArray[np.float64]:
    """Return 2 tp / (2 tp + fp + fn), the F1 score of pixels."""
    tp, fp, fn, _ = _split(counts)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def f_beta(counts: Counts) -> NDArray[np.float64]:
    """Return (1 + b2) tp / ((1 + b2) tp + b2 fn + fp) with b2 = `BETA` squared."""
    tp, fp, fn, _ = _split(counts)
    weighted = (1 + BETA**2) * tp
    return _ratio(weighted, weighted + BETA**2 * fn + fp)


def mcc(counts: Counts) -> NDArray[np.float64]:
    """Return Matthews' correlation coefficient; 1 if nothing is wrong, 0 where it is otherwise undefined."""
    tp, fp, fn, tn = _split(counts)
    # Square roots first: the product of four counts overflows neither float64 nor precision this way.
    scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    found = np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(fp + fn == 0, 1.0, found)


def _split(counts: Counts) -> tuple[Counts, Counts, Counts, Counts]:
    return counts[..., 0], counts[..., 1], counts[..., 2], counts[..., 3]


def _ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.ones_like(whole, dtype=np.float64), where=whole > 0)


def _near(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels within `TOLERANCE_PX` (Euclidean) of the mask."""
    r = TOLERANCE_PX
    rows, cols = np.ogrid[-r : r + 1, -r : r + 1]
    disk = (rows**2 + cols**2 <= r**2).astype(np.uint8)
    return np.asarray(cv2.dilate(mask, disk, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)


def _border(mask: NDArray[np.uint8], known: Plane | None) -> NDArray[np.uint8]:
    """Return the mask's pixels that touch the outside by an edge; neither frame nor unknown pixels are outside."""
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    perhaps = mask if known is None else mask | ~known
    inner = np.asarray(cv2.erode(perhaps, cross, borderType=cv2.BORDER_CONSTANT, borderValue=1), np.uint8)
    return np.asarray(mask & (1 - inner), np.uint8)


def _as_counted(mask: Plane, known: Plane | None) -> NDArray[np.uint8]:
    return (mask if known is None else mask & known).view(np.uint8)


def _match(answer: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Counts:
    """Return (answer near truth, answer in all, truth near answer, truth in all)."""
    parts = (answer & _near(truth), answer, truth & _near(answer), truth)
    return np.array([cv2.countNonZero(part) for part in parts], np.float64)


def boundary_matches(answer: Plane, truth: Plane, known: Plane | None = None) -> Counts:
    """Return boundary pixels: (answer's near truth's, answer's, truth's near answer's, truth's)."""
    a, t = (_border(_as_counted(mask, known), known) for mask in (answer, truth))
    counts = _match(a, t)
    if not counts.any() and confusion(answer, truth, known)[1:3].any():
        # "Everything" against nothing: neither has a boundary, and yet they do not match.
        return np.array([0.0, 1.0, 0.0, 1.0])
    return counts


def boundary_f(counts: Counts) -> NDArray[np.float64]:
    """Return the F1 of boundary pixels matched within `TOLERANCE_PX` (Martin et al., PAMI 2004, without thinning)."""
    hit, found, met, real = _split(counts)
    precision, recall = _ratio(hit, found), _ratio(met, real)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def buffered_matches(answer: Plane, truth: Plane, known: Plane | None = None) -> Counts:
    """Return mask pixels: (answer's near truth, answer's, truth's near answer, truth's)."""
    return _match(_as_counted(answer, known), _as_counted(truth, known))


def buffered_iou(counts: Counts) -> NDArray[np.float64]:
    """Return hit / (hit + fp + fn), where pixels within `TOLERANCE_PX` of the other mask are not wrong."""
    hit, found, met, real = _split(counts)
    return _ratio(hit, found + real - met)


MASK_METRICS = {
    m.name: m
    for m in (
        MaskMetric("iou", "IoU", iou, confusion, pixelwise=True),
        MaskMetric("dice", "Dice", dice, confusion, pixelwise=True),
        MaskMetric("mcc", "MCC", mcc, confusion, pixelwise=True),
        MaskMetric("f_beta", "F-beta", f_beta, confusion, pixelwise=True),
        MaskMetric("boundary_f", "boundary F", boundary_f, boundary_matches),
        MaskMetric("buffered_iou", "buffered IoU", buffered_iou, buffered_matches),
    )
}
