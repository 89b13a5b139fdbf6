"""Datasets from whatever a caller has: a folder, arrays, or a dataset already."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.data.checking import open_dataset
from evoseg.data.dataset import Dataset

Arrays = Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
Data = str | Path | Dataset | tuple[Arrays, Arrays]
"""The path of a folder, a dataset, or images and masks as arrays."""


def opened(data: Data) -> Dataset:
    """Return a dataset without faults; every file is read once.

    Raises
    ------
    DatasetError
        With the first few faults.
    """
    if isinstance(data, str | Path):
        return open_dataset(Path(data).expanduser())
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DatasetError(f"a tuple of {len(data)} was given; (images, masks) is needed.")
        data = Dataset.from_arrays(*data)
    if data.survey.faults:
        raise DatasetError(data.survey.faults[0])
    return data


def name_of(dataset: Dataset) -> str:
    """Return the name of a dataset: its folder's, or its title."""
    return dataset.root.resolve().name if dataset.root else dataset.title
