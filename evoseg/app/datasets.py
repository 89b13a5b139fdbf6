"""Datasets from whatever a caller has: a folder, arrays, or a dataset already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evoseg.base.errors import DatasetError, SettingsError
from evoseg.base.notes import one_line
from evoseg.data.checking import open_dataset
from evoseg.data.classes import OneClass, of_class
from evoseg.data.dataset import Dataset
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.sources import ArraySource, FolderSource

Arrays = Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
Data = str | Path | Dataset | tuple[Arrays, Arrays]
"""The path of a folder, a dataset, or images and masks as arrays."""


def opened(data: Data, reading: Reading = PLAIN) -> Dataset:
    """Return a dataset without faults; every file is read once.

    Parameters
    ----------
    data : path, Dataset, or (images, masks)
    reading : Reading
        Which page and channels of a folder's files, and which class of the masks.

    Raises
    ------
    DatasetError
        With the first few faults.
    SettingsError
        If images that are in memory, or in a dataset already, were read otherwise.
    """
    if isinstance(data, str | Path):
        data = open_dataset(Path(data).expanduser(), reading)
    elif isinstance(data, tuple):
        if len(data) != 2:
            raise DatasetError(f"a tuple of {len(data)} was given; (images, masks) is needed.")
        data = Dataset.from_arrays(*data, meaning=reading.masks)
    assert isinstance(data, Dataset)
    if data.survey.faults:
        raise DatasetError(data.survey.faults[0])
    if (
        reading.masks
        and isinstance(data.source, FolderSource | ArraySource)
        and data.source.reading.masks != reading.masks
    ):
        data = Dataset.from_source(data.root, data.source.under(reading.masks))
    read = replace(data.source.reading, masks=reading.masks)
    if (wanted := replace(reading, value=0)).or_else(read) != read:
        raise SettingsError(
            f"{data.title}: {wanted} was asked for, but its images are read already. Name its folder instead, or open "
            "it so: Dataset(path, Reading(...))."
        )
    return of_class(data, reading.value) if reading.value and not data.source.reading.value else data


def name_of(dataset: Dataset) -> str:
    """Return the name of a dataset: its folder's, or its title; of one class, with the name of that."""
    source = dataset.source
    of = f" {source.name}" if isinstance(source, OneClass) else ""
    return one_line(f"{dataset.root.resolve().name}{of}") if dataset.root else dataset.title
