"""What a model may see of the search images: a card of figures, pictures, and how well a plane tells objects apart.

Test images are not within its reach: it is given a task, whose samples are search images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.drawing import Rgb, as_outlines, draw_outlines, resize_picture, to_rgb
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.evolve.image_stats import ImageStats
from evoseg.inference.score import truth_as_kind
from evoseg.llm.prompts import (
    MOST_IMAGES,
    data_card,
    data_url,
    foreground_of_sample,
    image_id,
    join_panels,
    panels,
    round_score,
)
from evoseg.pipeline import Pipeline

FULL_PX = 1024
"""Longer side of a picture that a model asks for; smaller windows are enlarged up to this, four times at most."""
ENLARGED = 4
_GAP_PX, _NAME_PX = 6, 18
SHEET_PX, MOST_ON_SHEET = 1536, 64
"""Width and largest height of the sheet of all images, and the most images on it."""
MOST_LISTED = 8
"""Images that a list of figures names, at most."""


@dataclass(frozen=True)
class TaskContext:
    """What a model may be told of a task, of its search images only.

    Attributes
    ----------
    words : mapping of str to str
        Entries of the dataset's card; third-party text.
    n_images : int
        Search images.
    load : callable (index) -> Sample
        Opens one of them, with its mask or points.
    output : Kind
        What programs return.
    similar : callable () -> sequence of str
        Texts of programs that solved the most similar tasks.
    task : mapping of str to str
        Its "name", the "metric", and what a program "returns".
    """

    words: Mapping[str, str]
    n_images: int
    load: Callable[[int], Sample]
    output: Kind = Kind.MASK
    similar: Callable[[], Sequence[str]] = lambda: ()
    task: Mapping[str, str] = field(default_factory=dict)


class Workshop:
    """Looks at the search images of a task for a model.

    Parameters
    ----------
    task : TaskContext
    sees : bool
        Whether the model takes pictures.
    """

    def __init__(self, task: TaskContext, *, sees: bool) -> None:
        self.task = task
        self.sees = sees
        self._card: dict[str, Any] = {}

    def card(self, stats: ImageStats) -> dict[str, Any]:
        """Return the data card, which is made once."""
        if not self._card:
            task = self.task
            samples = [task.load(i) for i in evenly_spaced(task.n_images, MOST_IMAGES)]
            self._card = data_card(task.words, samples, stats, task.n_images, task.task)
        return self._card

    def overview(self) -> str:
        """Return the search images on one sheet, each beside itself with the truth outlined, as a data URL.

        Of more than `MOST_ON_SHEET` images, so many are shown, evenly spaced.
        """
        shown = evenly_spaced(self.task.n_images, MOST_ON_SHEET)
        shape = self.task.load(shown[0]).image.shape[:2]
        columns, side = _layout(len(shown), shape)
        cells = [_draw_cell(image_id(i), self.task.load(i), self.task.output, side) for i in shown]
        width, height = max(c.shape[1] for c in cells), max(c.shape[0] for c in cells)
        cells = [_pad(cell, height, width) for cell in cells]
        cells += [np.full((height, width, 3), 255, np.uint8)] * (-len(cells) % columns)
        rows = [np.concatenate(cells[k : k + columns], axis=1) for k in range(0, len(cells), columns)]
        return data_url(np.concatenate(rows))

    def draw(self, index: int, program: Pipeline, *, image_too: bool = True) -> str:
        """Return a search image beside what a program marks in it, right and wrong, as a data URL.

        Parameters
        ----------
        image_too : bool
            Whether the image is shown without outlines as well.
        """
        sample = self.task.load(index)
        if self.task.output is Kind.GRAY:
            return data_url(_draw_planes(sample, program))
        truth = _truth_of(sample, self.task.output)
        answer = as_outlines(program(sample.image), sample.image.shape)
        return data_url(panels(sample.image, truth, answer, image_too=image_too))

    def show(self, index: int, program: Pipeline | None, window: Sequence[int]) -> str:
        """Return a part of a search image, or of a program's value there, as a data URL.

        It has outlines of the truth in a second panel, and is enlarged if it is small.
        """
        sample = self.task.load(index)
        picture = to_rgb(sample.image)
        truth = _truth_of(sample, self.task.output)
        value = None if program is None else program(sample.image)
        marks = None
        if value is not None and value.dtype == np.uint8:
            picture = to_rgb(value)
        elif value is not None:
            marks = as_outlines(value, sample.image.shape)
        row, col, height, width = window if len(window) else (0, 0, *picture.shape[:2])
        row, col = min(row, picture.shape[0] - 1), min(col, picture.shape[1] - 1)
        part = (slice(row, row + max(1, height)), slice(col, col + max(1, width)))
        cut = picture[part]
        factor = min(FULL_PX / max(cut.shape[:2]), ENLARGED)
        shape = (max(1, round(cut.shape[0] * factor)), max(1, round(cut.shape[1] * factor)))
        shown = [resize_picture(cut, shape)]
        if truth is not None:
            outlines = truth[part]
            nothing = np.zeros_like(outlines)
            shown.append(draw_outlines(cut, nothing if marks is None else marks[part], outlines, shape, 1))
        return data_url(join_panels(shown, factor))

    def describe_plane(self, plane: Pipeline) -> dict[str, Any]:
        """Return how well a plane tells objects from the rest, over all search images and on each.

        The area under the ROC curve is 0.5 for a plane that tells nothing, 1 where all objects are brighter, and 0
        where all are darker.
        """
        areas: dict[str, float] = {}
        inside, outside = np.zeros(256), np.zeros(256)
        for i in range(self.task.n_images):
            sample = self.task.load(i)
            values, objects = plane(sample.image), foreground_of_sample(sample)
            here = np.bincount(values[objects], minlength=256), np.bincount(values[~objects], minlength=256)
            if here[0].any() and here[1].any():
                areas[image_id(i)] = round_score(roc_area(*here))
            inside, outside = inside + here[0], outside + here[1]
        if not areas:
            return {"note": "no search image has both objects and background"}
        typical = float(np.median(list(areas.values())))
        bright, dark = best_iou(inside, outside), best_iou(inside[::-1], outside[::-1])
        failing = sorted(areas, key=lambda name: areas[name] if typical >= 0.5 else -areas[name])
        return {
            "auc_all_pixels": round_score(roc_area(inside, outside)),
            "auc_median_per_image": round_score(typical),
            "auc_of_the_worst_images": {name: areas[name] for name in failing[:MOST_LISTED]},
            "best_iou_of_a_threshold": round_score(max(bright, dark)),
            "levels_of_objects_10_50_90_percent": percentiles(inside),
            "levels_of_the_rest_10_50_90_percent": percentiles(outside),
        }


def _truth_of(sample: Sample, output: Kind) -> NDArray[Any] | None:
    """Return what outlines are drawn of; None where there is nothing to be outlined."""
    truth = truth_as_kind(sample, output)
    return None if truth is None else as_outlines(truth, sample.image.shape)


def _layout(n: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return columns and the longer side of an image, in px, for n images of about one shape on a sheet."""
    for columns in range(1, n + 1):
        side = min(SHEET_PX // columns // 2 - _GAP_PX, max(shape))
        height = round(side * shape[0] / max(shape)) + _NAME_PX + _GAP_PX
        if -(-n // columns) * height <= SHEET_PX:
            break
    return columns, side


def _draw_cell(name: str, sample: Sample, output: Kind, side: int) -> Rgb:
    """Return a small image with its name above it, beside itself with the truth outlined, or beside its partner."""
    picture, truth = to_rgb(sample.image), _truth_of(sample, output)
    factor = side / max(picture.shape[:2])
    shape = (max(1, round(picture.shape[0] * factor)), max(1, round(picture.shape[1] * factor)))
    both = [resize_picture(picture, shape)]
    if truth is not None:
        both.append(draw_outlines(picture, np.zeros_like(truth), truth, shape, 1, rim=False))
    elif sample.moving is not None:
        both.append(resize_picture(to_rgb(sample.moving), shape))
    cell = np.concatenate([_pad(each, shape[0] + _GAP_PX, shape[1] + _GAP_PX) for each in both], axis=1)
    head = np.full((_NAME_PX, cell.shape[1], 3), 255, np.uint8)
    cv2.putText(head, name, (0, _NAME_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, cell])


def _pad(picture: Rgb, height: int, width: int) -> Rgb:
    """Return a picture with white below it and at its right."""
    more = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, more, constant_values=255)


def _draw_planes(sample: Sample, program: Pipeline) -> Rgb:
    """Return an image, or both of a pair, and below each the plane that a program makes of it."""
    images = [sample.image] if sample.moving is None else [sample.image, sample.moving]
    rows = [images, [program(image)[:, :, None] for image in images]]
    shown = [np.concatenate([panels(image, None, None) for image in row], axis=1) for row in rows]
    width = max(row.shape[1] for row in shown)
    return np.concatenate([_pad(row, row.shape[0], width) for row in shown])


def roc_area(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Return the probability that a pixel of the first histogram is brighter than one of the second; equals half."""
    below = np.concatenate([[0], np.cumsum(outside)[:-1]])
    return float((inside * (below + outside / 2)).sum() / (float(inside.sum()) * float(outside.sum())))


def best_iou(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Return the best IoU of what is at least as bright as some level, by the histograms of objects and the rest."""
    marked, wrong = np.cumsum(inside[::-1]), np.cumsum(outside[::-1])
    return float((marked / (float(inside.sum()) + wrong)).max())


def percentiles(histogram: NDArray[Any]) -> list[int]:
    """Return the levels below which 10, 50 and 90 percent of a histogram's pixels lie."""
    total = np.cumsum(histogram)
    return [int(np.searchsorted(total, share * total[-1])) for share in (0.1, 0.5, 0.9)]
