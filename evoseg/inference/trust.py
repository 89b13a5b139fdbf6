"""How far an answer can be trusted: by how much other answers to the same image differ from it.

The others are those of other pipelines of the same search, and where a network takes part, those that it would give if
it had to be more or less certain. Where many searches were compared with the truth, this told good answers from bad
ones better than the stability of one pipeline under small changes of its levels or of the image (docs/trust.md).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.datasets.figures import UNFAMILIAR
from evoseg.metrics.mask_scores import confusion, iou
from evoseg.metrics.object_scores import ap50, f_score, match_objects, match_points
from evoseg.operators.network import network
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.running import as_raw, iterate_steps

CERTAINTIES = (51, 89, 166, 204)
"""Levels of a network's plane (0.2, 0.35, 0.65 and 0.8) that are compared with one half."""
HALF = 128
_DOT_PX = 3
"""Half the side of the squares by which points are shown."""


class Opinions:
    """Other answers to an image, compared with the one that was given.

    Parameters
    ----------
    kind : Kind
        Of the answers: masks, labels or points.
    answer : array
        The one that was given.
    shape : (M, N)
        Of the image.
    radius : float, px
        Within which points match.
    """

    def __init__(self, kind: Kind, answer: NDArray[Any], shape: tuple[int, int], radius: float) -> None:
        self._kind = kind
        self._answer = answer
        self._shape = shape
        self._radius = radius
        self._agreements: list[float] = []
        self._n_unlike = np.zeros(shape, np.uint8)
        self._n_others = 0
        self._plane: NDArray[np.uint8] | None = None

    def add(self, other: NDArray[Any]) -> None:
        """Compare the answer with another one of its kind."""
        self._agreements.append(agreement(self._kind, self._answer, other, self._radius))
        self._n_unlike += self._shown(self._answer) != self._shown(other)
        self._n_others += 1

    def add_plane(self, plane: NDArray[np.uint8]) -> None:
        """Compare what a network takes for foreground with what it would if it had to be more or less certain."""
        half = plane >= HALF
        self._agreements += [agreement(Kind.MASK, half, plane >= level, 0.0) for level in CERTAINTIES]
        self._plane = plane

    def trust(self, distance: float | None) -> float | None:
        """Return how far the answer can be trusted, 0 to 1; None if there is nothing that it was compared with.

        This is the mean agreement with the others, less in the measure in which the image is beyond what is familiar,
        since pipelines may agree that there is nothing in an image that none of them was made for.

        Parameters
        ----------
        distance : float or None
            Of the image from those that the pipeline was made for, if it is known.
        """
        if not self._agreements:
            return None
        return float(np.mean(self._agreements)) * (1.0 if distance is None else min(1.0, UNFAMILIAR / distance))

    def picture(self) -> NDArray[np.uint8]:
        """Return the doubt in each pixel, uint8 (M, N), from 0 (none) to 255.

        Where there is a network, it is how near its plane is to one half; else the share of the others whose answer is
        unlike the one that was given.
        """
        if self._plane is not None:
            return np.asarray(255 - np.abs(2 * self._plane.astype(np.int16) - 255), np.uint8)
        return (self._n_unlike * (255 // max(self._n_others, 1))).astype(np.uint8)

    def _shown(self, answer: NDArray[Any]) -> NDArray[np.bool_]:
        if self._kind is not Kind.POINTS:
            return np.asarray(answer > 0)
        mask = np.zeros(self._shape, bool)
        for row, col in np.rint(answer).astype(int).tolist():
            mask[max(0, row - _DOT_PX) : row + _DOT_PX + 1, max(0, col - _DOT_PX) : col + _DOT_PX + 1] = True
        return mask


def agreement(kind: Kind, answer: NDArray[Any], other: NDArray[Any], radius: float) -> float:
    """Return the score that an answer would have if the other were the truth.

    That is the intersection over union of masks, the average precision of objects at an IoU of 0.5, and the F1 score of
    points that match within a radius, in px.
    """
    if kind is Kind.MASK:
        return float(iou(confusion(answer, other)))
    if kind is Kind.LABELS:
        return float(ap50(match_objects(answer, other)))
    return float(f_score(match_points(answer, other, radius), 1.0))


def run_keeping(pipeline: Pipeline, image: NDArray[Any], place: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return a pipeline's answer for an image, shape (M, N, C), and the plane that one of its steps gives."""
    kept = {}
    for i, value in iterate_steps(pipeline.steps, range(len(pipeline)), {IMAGE: as_raw(image)}):
        if i in (place, len(pipeline) - 1):
            kept[i] = value
    return kept[len(pipeline) - 1], kept[place]


def network_step(pipeline: Pipeline) -> int | None:
    """Return the place of the step of a pipeline that asks a network what is foreground, or a point; None without."""
    places = [i for i, s in enumerate(pipeline.steps) if s.operator == network.__name__]
    return next((i for i in places if "distance" not in pipeline.steps[i].params), None)
