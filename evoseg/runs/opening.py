"""Datasets from whatever a caller has: a folder, arrays, or a dataset already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, SettingsError
from evoseg.core.notes import one_line
from evoseg.datasets.checking import open_dataset
from evoseg.datasets.classes import OneClass, as_classes, of_class
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.folder import scan
from evoseg.datasets.meaning import Meaning
from evoseg.datasets.outlines.annotated import count_classes
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.sources import ArraySource, FolderSource

Arrays = Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
Data = str | Path | Dataset | tuple[Arrays, Arrays]
"""The path of a folder, a dataset, or images and masks as arrays."""


def open_data(data: Data, reading: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Return a dataset without faults; every file is read once.

    Parameters
    ----------
    data : path, Dataset, or (images, masks)
    reading : ReadOptions
        Which page and channels of a folder's files, and which class of the masks.

    Raises
    ------
    DatasetError
        With the first few faults.
    SettingsError
        If images that are in memory, or in a dataset already, were read otherwise.
    """
    if isinstance(data, str | Path):
        data = open_dataset(expand(data), reading)
    elif isinstance(data, tuple):
        if len(data) != 2:
            raise DatasetError(f"a tuple of {len(data)} was given; (images, masks) is needed.")
        data = Dataset.from_arrays(*data, meaning=reading.masks)
    if not isinstance(data, Dataset):
        raise DatasetError(
            f"data is {type(data).__name__}; it must be the path of a folder, an evoseg.Dataset, or (images, masks)."
        )
    if data.survey.problems:
        raise DatasetError(data.survey.problems[0])
    if (
        reading.masks
        and isinstance(data.source, FolderSource | ArraySource)
        and data.source.reading.masks != reading.masks
    ):
        data = Dataset.from_source(data.root, data.source.under(reading.masks))
    read = replace(data.source.reading, masks=reading.masks)
    if (wanted := replace(reading, value=0)).or_else(read) != read:
        raise SettingsError(
            f"{data.title}: {wanted} was requested, but the dataset is already open. Name its folder instead, or open "
            "it with Dataset(path, ReadOptions(...))."
        )
    return of_class(data, reading.value) if reading.value and not data.source.reading.value else data


def open_to_score(data: Data, reading: ReadOptions, of_run: ReadOptions) -> Dataset:
    """Open images as `open_data` does, for scores of what a run has found.

    Parameters
    ----------
    data, reading
        As of `open_data`.
    of_run : ReadOptions
        How the run has read its masks. If these were annotated outlines, and so are those in a folder, the same classes
        are objects, unless `reading` or `dataset.yaml` names some.

    Raises
    ------
    EvosegError
        As `open_data`.
    """
    if of_run.classes and not reading.classes and isinstance(data, str | Path):
        folder = scan(expand(data))
        if not folder.card.reading.classes and count_classes(folder.masks):
            reading = replace(reading, classes=of_run.classes)
    dataset = open_data(data, replace(reading, value=0))
    if not reading.value or dataset.source.reading.value:
        return dataset
    names = Meaning.recorded(of_run.masks).names if of_run.masks else ()
    return of_class(as_classes(dataset, {i: name for i, name in enumerate(names, 1) if name}), reading.value)


def dataset_name(dataset: Dataset) -> str:
    """Return the name of a dataset: its folder's, or its title; of one class, with the name of that."""
    source = dataset.source
    of = f" {source.name}" if isinstance(source, OneClass) else ""
    return one_line(f"{dataset.root.resolve().name}{of}") if dataset.root else dataset.title
