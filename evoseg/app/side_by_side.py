"""A picture of a dataset above those of the solved tasks that are like it, as far as their images are known here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evoseg.app.scoring import truth_of
from evoseg.base.errors import EvosegError
from evoseg.base.kinds import Kind
from evoseg.data.dataset import Dataset
from evoseg.data.splits import split_to_search
from evoseg.evolve.evaluator import evenly_spaced
from evoseg.report.overlays import drawable
from evoseg.report.sheet import Row, contact_sheet

COLUMNS = 4
"""Images that are shown of each dataset at most."""


def side_by_side(
    dataset: Dataset,
    name: str,
    stems: Sequence[str],
    others: Sequence[tuple[str, Kind, Path]],
    output: Kind,
    path: Path,
) -> dict[str, str]:
    """Write a contact sheet, one line for each dataset; return what could not be shown, with the reason.

    Parameters
    ----------
    stems : sequence of str
        Images of the dataset that may be shown.
    others : sequence of (str, Kind, Path)
        Name of a solved task, what was sought, and folder of its dataset; the most alike first.
    output : Kind
        What is sought in the dataset.

    Raises
    ------
    EvosegError
        If an image of the dataset itself cannot be read.
    OSError
        If the picture cannot be written.
    """
    lines = [_line(dataset, name, stems, output)]
    unseen = {}
    for other, kind, folder in others:
        try:
            there = Dataset(folder)
            lines.append(_line(there, other, split_to_search(there).search, kind))
        except EvosegError as error:
            unseen[other] = str(error)
    columns = min(len(line) for line in lines)
    rows = [line[i] for line in lines for i in evenly_spaced(len(line), columns)]
    contact_sheet(rows, path, columns, title=f"{name}, and solved tasks like it, a line each", answered=False)
    return unseen


def _line(dataset: Dataset, name: str, stems: Sequence[str], output: Kind) -> list[Row]:
    rows = []
    for i in evenly_spaced(len(stems), COLUMNS):
        sample = dataset.load(stems[i])
        truth = truth_of(sample, output)
        shown = None if truth is None else drawable(truth, sample.image.shape)
        rows.append(Row(f"{name}: {stems[i]}", sample.image, np.zeros(sample.image.shape[:2], np.bool_), shown))
    return rows
