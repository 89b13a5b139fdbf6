"""What layers hold, as evoseg takes and gives it. Nothing here needs napari."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.api import search
from evoseg.core.errors import DatasetError
from evoseg.core.kinds import Kind
from evoseg.datasets.annotations import from_scribbles
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import write_image, write_labels
from evoseg.pipeline import Pipeline
from evoseg.report.results import SearchResult
from evoseg.runs.status import Status

WAIT_S = 0.1
"""Time after which a search is asked again whether it is done."""


class LabelsAre(Enum):
    """What the numbers of a Labels layer mean. Planes without any number above 0 are not labelled."""

    STROKES = "strokes: 1 background, 2 foreground"
    MASK = "a whole mask: above 0 is foreground"
    OBJECTS = "whole objects: a number each"


def split_planes(data: NDArray[Any], *, rgb: bool) -> list[NDArray[Any]]:
    """Return the planes of a layer: every axis before the last two (or three, with RGB) counts planes.

    Parameters
    ----------
    data : array of shape (..., M, N), or (..., M, N, 3 or 4) with `rgb`
        An alpha channel is left out.

    Returns
    -------
    list of arrays of shape (M, N) or (M, N, 3)
    """
    values = np.asarray(data)
    if rgb:
        values = values[..., :3]
    own = values.shape[-3:] if rgb else values.shape[-2:]
    return list(values.reshape(-1, *own))


def dataset_of(
    image: NDArray[Any], labels: NDArray[Any], labels_are: LabelsAre, *, rgb: bool = False, title: str = ""
) -> Dataset:
    """Return the dataset that an image and its labels are; each plane of a stack is an image.

    Parameters
    ----------
    image : array
        As of `split_planes`.
    labels : int array
        One number per pixel of `image`.

    Raises
    ------
    DatasetError
        If the shapes differ, nothing is labelled, or the numbers do not fit their meaning.
    """
    planes, marks = split_planes(image, rgb=rgb), split_planes(labels, rgb=False)
    if [plane.shape[:2] for plane in planes] != [mark.shape for mark in marks]:
        shape = np.shape(image)[:-1] if rgb else np.shape(image)
        raise DatasetError(
            f"the image has {' x '.join(map(str, shape))} pixels and the labels {' x '.join(map(str, labels.shape))}. "
            "Choose a Labels layer that was made for this Image layer."
        )
    if not any(mark.any() for mark in marks):
        raise DatasetError("nothing is labelled. Paint on the Labels layer first.")
    masks, known = zip(*(_mask(mark, labels_are) for mark in marks), strict=True)
    return Dataset.from_arrays(planes, masks, known, title=title)


def _mask(marks: NDArray[Any], labels_are: LabelsAre) -> tuple[NDArray[Any] | None, NDArray[np.bool_] | None]:
    if not marks.any():
        return None, None
    if labels_are is LabelsAre.STROKES:
        return from_scribbles(marks, "labels")
    return (marks > 0 if labels_are is LabelsAre.MASK else marks), None


def search_steps(dataset: Dataset, labels_are: LabelsAre, seconds: float) -> Generator[Status, None, SearchResult]:
    """Search for a pipeline, and yield how far it is.

    Raises
    ------
    EvosegError
        As `search`.
    """
    task = "instances" if labels_are is LabelsAre.OBJECTS else "binary"
    heard: SimpleQueue[Status] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(search, dataset, seconds=seconds, task=task, progress=heard.put)
        while not running.done():
            try:
                yield heard.get(timeout=WAIT_S)
            except Empty:
                continue
        return running.result()


def answers_of(pipeline: Pipeline, image: NDArray[Any], *, rgb: bool = False) -> NDArray[Any]:
    """Return what a pipeline makes of each plane of an image.

    Returns
    -------
    int32 array of shape (..., M, N), or float64 array of shape (n, dimensions)
        Labels; a mask has 1 for foreground. Points have the numbers of their plane before (row, col), px.

    Raises
    ------
    EvosegError
        If the pipeline does not fit the image.
    """
    shape = np.shape(image)[:-1] if rgb else np.shape(image)
    found = [np.asarray(pipeline(plane)) for plane in split_planes(image, rgb=rgb)]
    if pipeline.output is not Kind.POINTS:
        return np.stack(found).astype(np.int32).reshape(shape)
    places = np.ndindex(*shape[:-2])
    return np.concatenate(
        [np.hstack([np.tile(place, (len(points), 1)), points]) for place, points in zip(places, found, strict=True)]
    )


def save_for_studio(
    folder: Path, image: NDArray[Any], labels: NDArray[Any], labels_are: LabelsAre, *, rgb: bool = False
) -> None:
    """Write an image and its labels as a folder that the studio, and every command, reads.

    Raises
    ------
    EvosegError
        If the numbers do not fit their meaning, or a file is there already.
    """
    dataset_of(image, labels, labels_are, rgb=rgb)
    part = "scribbles" if labels_are is LabelsAre.STROKES else "masks"
    for name in ("images", part):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, plane in enumerate(split_planes(image, rgb=rgb)):
        write_image(folder / "images" / f"{i:04d}.tif", plane)
    for i, marks in enumerate(split_planes(labels, rgb=False)):
        if marks.any():
            kept = marks > 0 if labels_are is LabelsAre.MASK else marks
            write_labels(folder / part / f"{i:04d}.tif", kept.astype(np.int32))
