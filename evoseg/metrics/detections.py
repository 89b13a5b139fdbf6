"""What inspection asks: how many objects were missed in each image, and how many false alarms there were.

An object of the truth is found if a single pixel of it is marked: where a part is taken out to be looked at, a mark in
the right place is enough. So these counts say nothing about outlines, which the scores do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
        Those of them of which no pixel is marked; of points, those without a match.
    false_alarms : int
        Objects of the answer of which no pixel is foreground; of points, those without a match.
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


def detect_objects(answer: NDArray[Any], truth: NDArray[Any], known: NDArray[np.bool_] | None = None) -> Detections:
    """Count the objects of two masks or label images that do not overlap with any of the other.

    Parameters
    ----------
    answer, truth : bool or int32 arrays of shape (M, N)
        In a mask, an object is what is 8-connected; in labels, every number above 0 is one.
    known : bool array of shape (M, N), optional
        Other pixels count nowhere.
    """
    if known is not None:
        answer, truth = (np.where(known, values, 0).astype(values.dtype) for values in (answer, truth))
    objects, missed = _apart(truth, answer > 0)
    _, false_alarms = _apart(answer, truth > 0)
    return Detections(objects, missed, false_alarms)


def _apart(values: NDArray[Any], others: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many objects there are, and how many of them do not touch a pixel of the others."""
    if values.dtype == np.bool_:
        values = np.asarray(cv2.connectedComponents(values.view(np.uint8), connectivity=8)[1], np.int32)
    there, met = np.unique(values[values > 0]), np.unique(values[(values > 0) & others])
    return len(there), len(there) - len(met)


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
