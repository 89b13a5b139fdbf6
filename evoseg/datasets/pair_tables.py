"""The true transforms of pairs of images: a table of shifts, of transforms, or of landmarks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, legible
from evoseg.core.transforms import (
    AFFINE,
    NEEDED_POINTS,
    RIGID,
    SHIFT,
    Floats,
    as_transform,
    fit_transform,
    is_rigid,
)
from evoseg.datasets.card import clean_stem
from evoseg.datasets.documents import read_table
from evoseg.datasets.io.formats import ending_of

SHIFTS_FILE, TRANSFORMS_FILE, LANDMARKS_FILE = "pairs/shifts.csv", "pairs/transforms.csv", "pairs/landmarks.csv"
"""Where a folder of pairs has them; one of the three."""
PAIR_TABLES = (SHIFTS_FILE, TRANSFORMS_FILE, LANDMARKS_FILE)
_COLUMNS = {
    SHIFTS_FILE: ("dy", "dx"),
    TRANSFORMS_FILE: ("yy", "yx", "dy", "xy", "xx", "dx"),
    LANDMARKS_FILE: ("y", "x", "moving_y", "moving_x"),
}
_MEANING = {
    SHIFTS_FILE: "dy and dx are rows down and columns to the right, from fixed/ to moving/.",
    TRANSFORMS_FILE: "what is at (y, x) in fixed/ is at (yy y + yx x + dy, xy y + xx x + dx) in moving/.",
    LANDMARKS_FILE: "y and x are the row and column of a point in fixed/, moving_y and moving_x those in moving/.",
}
_NUMBERS = {SHIFTS_FILE: "two numbers", TRANSFORMS_FILE: "six numbers", LANDMARKS_FILE: "four numbers"}
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PairTable:
    """What a table says of the transforms of pairs.

    Attributes
    ----------
    path : Path
        Of the table; one that does not exist if there is none.
    name : str
        One of `SHIFTS_FILE`, `TRANSFORMS_FILE` and `LANDMARKS_FILE`, or "".
    rows : dict of str to float64 array of shape (n, 2), (n, 6) or (n, 4)
        The numbers by the name of the pair, in the order of the columns; n is 1 but for landmarks.
    """

    path: Path = Path()
    name: str = ""
    rows: Mapping[str, Floats] = field(default_factory=dict)

    def choose_kind(self, wanted: str) -> str:
        """Return the kind of the transforms: the wanted one, or if that is "", the narrowest that a table can hold.

        Raises
        ------
        DatasetError
            If landmarks leave the kind open, or the table has a transform that is not of the wanted kind.
        """
        if not wanted and self.name == LANDMARKS_FILE:
            raise DatasetError(
                f"{self.path}: landmarks do not say what moves the images. Write `transform: rigid` (a shift and a "
                "rotation), affine or shift into dataset.yaml, or give --transform."
            )
        if self.name != TRANSFORMS_FILE:
            return wanted or SHIFT
        bent = [stem for stem, row in self.rows.items() if not is_rigid(row.reshape(2, 3))]
        turned = [stem for stem, row in self.rows.items() if np.abs(row.reshape(2, 3)[:, :2] - np.eye(2)).max() > 1e-6]
        if wanted == RIGID and bent:
            raise DatasetError(f"{self.path}: {bent[0]} is not a rotation and shift. Take `transform: affine`.")
        if wanted == SHIFT and turned:
            raise DatasetError(
                f"{self.path}: {turned[0]} is not a shift. Take `transform: {AFFINE if bent else RIGID}`."
            )
        return wanted or (AFFINE if bent else RIGID)

    def truth(self, stem: str, kind: str) -> Floats:
        """Return the shift of a pair, (2,), or for other kinds its transform, (2, 3).

        Raises
        ------
        DatasetError
            If the landmarks do not determine it.
        """
        row = self.rows[stem]
        if self.name == LANDMARKS_FILE:
            return self._fitted(stem, kind)
        transform = as_transform(row[0]) if self.name == SHIFTS_FILE else row.reshape(2, 3)
        return transform[:, 2] if kind == SHIFT else transform

    def _fitted(self, stem: str, kind: str) -> Floats:
        points = self.rows[stem]
        transform = fit_transform(points[:, :2], points[:, 2:], kind)
        if transform is None:
            n = NEEDED_POINTS[kind]
            apart = {1: "", 2: ", apart from each other", 3: ", which do not lie in a line"}[n]
            raise DatasetError(
                f"{self.path}: the {len(points)} landmarks of {stem} do not determine a transform of the kind {kind}. "
                f"Give at least {n}{apart}."
            )
        return transform[:, 2] if kind == SHIFT else transform


NO_TABLE = PairTable()


def read_pair_table(path: Path, inside: Path | None = None) -> PairTable:
    """Return what a table of pairs holds.

    Parameters
    ----------
    path : Path
        A CSV text in UTF-8, named like one of the three tables. The first line names the columns, among any others;
        names are those of image files, with or without their ending.
    inside : Path, optional
        Folder that the file must not lead out of; by default its own.

    Raises
    ------
    DatasetError
        If it cannot be read, the columns are not there, a line does not hold a name and numbers, or a name comes twice;
        the message names the line.
    """
    table = next(name for name in _COLUMNS if name.endswith(path.name))
    heads, lines = read_table(path, _MOST_BYTES, inside or path.parent)
    columns = ("name", *_COLUMNS[table])
    if not {*columns} <= {*heads}:
        raise DatasetError(
            f"{path}: the first line must name the columns {','.join(columns)}; it is "
            f"'{legible(','.join(heads)[:60])}'. {_MEANING[table].capitalize()}"
        )
    rows: dict[str, list[Floats]] = {}
    for number, cells in lines:
        stem, row = _row(cells, columns)
        if not stem or not np.isfinite(row).all():
            raise DatasetError(f"{path}: line {number} does not hold a name and {_NUMBERS[table]}. Correct it.")
        if stem in rows and table != LANDMARKS_FILE:
            raise DatasetError(f"{path}: line {number} names {stem} again. Keep one.")
        rows.setdefault(stem, []).append(row)
    return PairTable(path, table, {stem: np.array(found) for stem, found in rows.items()})


def _row(cells: Mapping[str, str], columns: tuple[str, ...]) -> tuple[str, Floats]:
    try:
        return _stem(cells[columns[0]]), np.array([float(cells[column]) for column in columns[1:]])
    except (ValueError, KeyError):
        return "", np.array([np.nan])


def _stem(cell: str) -> str:
    """Return a name without the ending of an image file."""
    ending = ending_of(cell)
    return clean_stem(Path(cell[: -len(ending) - 1]).name if ending else cell)


def pair_table_text(truths: Mapping[str, NDArray[Any]], kind: str) -> str:
    """Return the shifts (2,) or transforms (2, 3) of pairs as the CSV text that `read_pair_table` reads.

    The digits are those of a thousandth of a pixel, for images of up to some thousand pixels.
    """
    table, digits = (SHIFTS_FILE, (3, 3)) if kind == SHIFT else (TRANSFORMS_FILE, (7, 7, 3, 7, 7, 3))
    lines = [",".join(("name", *_COLUMNS[table]))]
    for name, truth in truths.items():
        numbers = (f"{number:.{n}f}" for number, n in zip(np.ravel(truth), digits, strict=True))
        lines.append(",".join([_quoted(name), *numbers]))
    return "".join(f"{line}\n" for line in lines)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name
