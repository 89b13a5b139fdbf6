"""Pictures of solved tasks: crops that are stored beside them, drawn stand-ins, and sheets of several tasks."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evoseg.core.disk import prefetch, write_atomically
from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.splits import split_to_search
from evoseg.drawing import Rgb, Strip, draw_circles, draw_strips, resize_picture, save_png, to_rgb
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.inference.score import truth_as_kind
from evoseg.library.collection import bundled_folder, bundled_tasks, image_folders, own_pictures
from evoseg.library.stand_in import draw_stand_in
from evoseg.library.task import SolvedTask
from evoseg.runs.run_folder import FilesError

logger = logging.getLogger(__name__)

SIDE = 256
"""Largest side of a picture, px."""
SHOWN = 3
"""Pictures of a task."""
FOLDER = "pictures"
"""Folder of the bundled pictures among the bundled tasks, with a folder per dataset."""
_QUALITY = 90
_CONTEXT = 2.5
"""Side of what is shown, in sides of the boxes about the objects."""
_LONGEST = 4096
"""Of larger images, only every n-th pixel is looked at, px."""
_DISC = 6
"""Radius of the discs about points, px."""
_VISIBLE = 0.2
"""Part of a pixel of a reduced mask that an object must cover; less than half, so that lines do not break."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A small picture of a task.

    Attributes
    ----------
    image : uint8 array of shape (M, N, 3)
    mask : bool array of shape (M, N) or None
        The objects, a line apart from each other where they touch; discs about points.
    drawn : bool
        Whether it is a stand-in that was drawn by the task's figures.
    """

    image: Rgb
    mask: NDArray[np.bool_] | None
    drawn: bool = False


def make_pictures(dataset: Dataset, stems: Sequence[str], output: Kind, *, native: bool = False) -> list[Picture]:
    """Cut pictures out of some images, around marked objects where there are any.

    Parameters
    ----------
    stems : sequence of str
        Images that may be shown; `SHOWN` of them are, by preference some with objects.
    output : Kind
        What is sought.
    native : bool
        Whether scales stay as they are. By default, a window grows with its objects and is reduced to `SIDE`.

    Raises
    ------
    DatasetError
        If an image cannot be read.
    """
    facts = dataset.survey.facts if dataset.labelled else {}
    usable = [stem for stem in stems if stem in facts and facts[stem].n_foreground] or stems
    chosen = [usable[i] for i in evenly_spaced(len(usable), SHOWN)]
    return [_cut(sample, output, native) for sample in prefetch(dataset.load, chosen)]


def _cut(sample: Sample, output: Kind, native: bool) -> Picture:
    step = 1 if native else -(-max(sample.image.shape) // _LONGEST)
    image, truth = sample.image[::step, ::step], truth_as_kind(sample, output)
    mask = None if truth is None else _as_mask(truth, image.shape, step)
    side = SIDE if native else _side(mask, max(image.shape))
    window = _window(mask, image.shape[:2], side)
    picture = to_rgb(image[window])
    mask = None if mask is None else mask[window]
    if side > SIDE:
        small = tuple(max(1, round(n * SIDE / side)) for n in picture.shape[:2])
        picture = resize_picture(picture, small)
        if mask is not None:
            cover = cv2.resize(mask.astype(np.float32), small[::-1], interpolation=cv2.INTER_AREA)
            mask = np.asarray(cover > _VISIBLE)
    return Picture(picture, mask)


def _as_mask(truth: NDArray[Any], shape: tuple[int, ...], step: int) -> NDArray[np.bool_]:
    """Return every `step`-th pixel of a truth as a mask; touching objects are a line apart, points are discs."""
    if truth.dtype == np.bool_:
        return truth[::step, ::step]
    is_points = truth.dtype == np.float64
    labels = draw_circles(truth / step, shape, _DISC) if is_points else truth[::step, ::step]
    mask = labels > 0
    mask[1:] &= (labels[1:] == labels[:-1]) | (labels[:-1] == 0)
    mask[:, 1:] &= (labels[:, 1:] == labels[:, :-1]) | (labels[:, :-1] == 0)
    return np.asarray(mask, np.bool_)


def _side(mask: NDArray[np.bool_] | None, longest: int) -> int:
    """Return the side of a window that shows typical objects as a whole, or enough of an image without any, px."""
    if mask is None or not mask.any():
        return min(2 * SIDE, max(longest, SIDE))
    boxes = np.asarray(cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)[2])[1:]
    areas = boxes[:, cv2.CC_STAT_AREA]
    large = boxes[areas >= 0.05 * areas.max()]
    extent = np.median(large[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1))
    return min(max(round(_CONTEXT * float(extent)), SIDE), max(longest, SIDE))


def _window(mask: NDArray[np.bool_] | None, shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """Return the window, as far as the image reaches, that shows most of both objects and background."""
    rows, cols = min(side, shape[0]), min(side, shape[1])
    centre = np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2])
    if mask is not None and mask.any():
        sums = cv2.integral(mask.view(np.uint8))
        counts = sums[rows:, cols:] - sums[:-rows, cols:] - sums[rows:, :-cols] + sums[:-rows, :-cols]
        share = counts / (rows * cols)
        best = np.unravel_index(int(np.argmax(share * (1 - share))), share.shape)
        centre = np.argwhere(mask[best[0] : best[0] + rows, best[1] : best[1] + cols]).mean(axis=0) + best
    top, left = np.clip(
        np.rint(centre - ((rows - 1) / 2, (cols - 1) / 2)).astype(int), 0, (shape[0] - rows, shape[1] - cols)
    )
    return slice(top, top + rows), slice(left, left + cols)


def save_pictures(pictures: Sequence[Picture], folder: Path) -> None:
    """Write pictures to a folder, instead of those that are there: N.jpg, and N.png with the mask, from 1 on.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, 1):
        image = Image.fromarray(picture.image)
        if (picture.image == picture.image[:, :, :1]).all():
            image = image.convert("L")
        with write_atomically(folder / f"{number}.jpg") as file:
            image.save(file, "JPEG", quality=_QUALITY, optimize=True)
        if picture.mask is not None:
            with write_atomically(folder / f"{number}.png") as file:
                Image.fromarray(picture.mask).save(file, "PNG", optimize=True)


def save_own_pictures(task: SolvedTask, dataset: Dataset, stems: Sequence[str]) -> None:
    """Store pictures of a task that was solved on this machine, which libraries and shared files never contain."""
    try:
        save_pictures(make_pictures(dataset, stems, task.output), own_pictures(task.id))
    except (EvosegError, OSError) as error:
        logger.warning("no pictures of this task are stored: %s", error)


def read_pictures(folder: Path) -> list[Picture]:
    """Return the pictures of a folder; none if it is missing or damaged."""
    try:
        return [_read(path) for path in sorted(folder.glob("*.jpg"))]
    except OSError as error:
        logger.info("%s: its pictures cannot be read: %s", folder, error)
        return []


def _read(path: Path) -> Picture:
    with Image.open(path) as file:
        image = np.array(file.convert("RGB"))
    if not path.with_suffix(".png").is_file():
        return Picture(image, None)
    with Image.open(path.with_suffix(".png")) as file:
        return Picture(image, np.array(file.convert("1")))


def pictures_of(task: SolvedTask) -> list[Picture]:
    """Return the pictures of a task: stored ones, else those of its images if they are known, else stand-ins."""
    return read_pictures(_stored(task)) or _from_images(task) or _stand_ins(task)


def dataset_of(task: SolvedTask) -> str:
    """Return the name of the dataset of a bundled task, which tasks of several kinds may share."""
    return task.name.removesuffix(f"_{task.card.task}")


def _stored(task: SolvedTask) -> Path:
    bundled = any(task.id == known.id for known in bundled_tasks())
    return bundled_folder() / FOLDER / dataset_of(task) if bundled else own_pictures(task.id)


def _from_images(task: SolvedTask) -> list[Picture]:
    """Return pictures of the folder in which a task was solved, if it is known and can still be read."""
    folder = image_folders([task.id]).get(task.id)
    if folder is None:
        return []
    try:
        dataset = Dataset(folder)
        return make_pictures(dataset, split_to_search(dataset).search, task.output)
    except EvosegError as error:
        logger.info("%s: its images cannot be shown: %s", task.name, error)
        return []


def _stand_ins(task: SolvedTask) -> list[Picture]:
    rngs = [stream(0, "stand-in", task.id, number) for number in range(SHOWN)]
    return [Picture(*draw_stand_in(task.statistics, SIDE, rng), drawn=True) for rng in rngs]


def as_strip(pictures: Sequence[Picture], name: str, words: str) -> Strip:
    """Return pictures as a row of a sheet; stand-ins are marked as drawn."""
    badge = "drawn" if any(picture.drawn for picture in pictures) else ""
    return Strip([(picture.image, picture.mask) for picture in pictures], name, words, badge)


def task_strip(task: SolvedTask, words: str = "") -> Strip:
    """Return a solved task as a row of a sheet: what was sought in which images, after some words."""
    card = task.card
    about = ", ".join(
        w for w in (card.foreground or card.title, card.modality, card.task * (card.task != "binary")) if w
    )
    return as_strip(pictures_of(task), task.name, " · ".join(w for w in (words, about) if w))


def write_task_pictures(task: SolvedTask, path: Path) -> None:
    """Write the pictures of one task as a PNG.

    Raises
    ------
    FilesError
        If it cannot be written.
    """
    try:
        save_png(draw_strips([task_strip(task)], title=task.card.title), path)
    except OSError as error:
        raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error
