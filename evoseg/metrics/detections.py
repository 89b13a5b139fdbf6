"""What inspection asks: how many objects were missed in each image, and how many false alarms there were.

An object in a mask is found if a single pixel of it is marked: where a part is taken out to be looked at, a mark in the
right place is enough. So these counts say nothing about outlines, which the scores do. Where objects are separated, and
of points, the matches of the scores count.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Counts of one image, or sums over several.

    Attributes
    ----------
    objects : int
        In the truth.
    missed : int
        In a mask, those of which no pixel is marked; of labels and points, those without a match.
    false_alarms : int
        In a mask, objects of the answer of which no pixel is foreground; of labels and points, those without a match.
    """

    objects: int
    missed: int
    false_alarms: int

    def __add__(self, other: "Detections") -> "Detections":
        return Detections(
            self.objects + other.objects, self.missed + other.missed, self.false_alarms + other.false_alarms
        )

    def __str__(self) -> str:
        objects = "object" if self.objects == 1 else "objects"
        alarms = "false alarm" if self.false_alarms == 1 else "false alarms"
        return f"{self.missed} of {self.objects} {objects} missed, {self.false_alarms} {alarms}"


def detect_objects(
    answer: NDArray[np.bool_], truth: NDArray[np.bool_], known: NDArray[np.bool_] | None = None
) -> Detections:
    """Count the 8-connected objects of two masks that do not overlap with any of the other.

    Parameters
    ----------
    answer, truth : bool arrays of shape (M, N)
    known : bool array of shape (M, N), optional
        Other pixels count nowhere.
    """
    if known is not None:
        answer, truth = answer & known, truth & known
    objects, missed = _apart(truth, answer)
    _, false_alarms = _apart(answer, truth)
    return Detections(objects, missed, false_alarms)


def _apart(mask: NDArray[np.bool_], others: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many objects there are, and how many of them do not touch a pixel of the others."""
    n, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    met = np.unique(labels[mask & others])
    return n - 1, n - 1 - len(met)


def worst_image(per_image: Mapping[str, Detections]) -> str | None:
    """Return the image with most missed objects, then with most false alarms; None if nothing is wrong."""
    wrong = {stem: (one.missed, one.false_alarms) for stem, one in per_image.items() if one.missed or one.false_alarms}
    return max(wrong, key=lambda stem: wrong[stem], default=None)


def describe_detections(per_image: Mapping[str, Detections], images: str) -> str:
    """Say how much was missed and how many false alarms there were, and name the worst image.

    Parameters
    ----------
    images : str
        What they are called, such as "12 test images".
    """
    total = sum(per_image.values(), Detections(0, 0, 0))
    worst = worst_image(per_image)
    said = f"On the {images}: {total}"
    return f"{said}; most in {worst} ({per_image[worst]})." if worst is not None and len(per_image) > 1 else f"{said}."
