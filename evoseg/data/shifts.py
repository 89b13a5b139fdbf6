"""Shifts between the images of pairs, as a CSV file."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evoseg.base.errors import DatasetError
from evoseg.base.untrusted import read_file
from evoseg.data.card import clean_stem

TABLE = "pairs/shifts.csv"
"""Where a folder of pairs has them."""
COLUMNS = ("name", "dy", "dx")
_MOST_BYTES = 64 * 2**20


def shifts_in(path: Path, inside: Path | None = None) -> dict[str, tuple[float, float]]:
    """Return the shifts (dy, dx) of a CSV file by name, px.

    Parameters
    ----------
    path : Path
        Text in UTF-8. The first line names the columns name, dy and dx, among any others; names are those of image
        files, with or without their ending.
    inside : Path, optional
        Folder that the file must not lead out of.

    Raises
    ------
    DatasetError
        If it cannot be read, the columns are not there, a line does not hold two numbers, or a name comes twice; the
        message names the line.
    """
    try:
        data = read_file(path, _MOST_BYTES, inside=inside, advice="Is it the table of shifts?")
        lines = list(csv.reader(data.decode("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a CSV text in UTF-8. Save it as plain text.") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    heads = [head.strip().lower() for head in lines[0]] if lines else []
    if not {*COLUMNS} <= {*heads}:
        raise DatasetError(
            f"{path}: the first line must name the columns name,dy,dx; it is '{','.join(heads)[:60]}'. dy and dx are "
            "rows down and columns to the right, from fixed/ to moving/."
        )
    name, dy, dx = (heads.index(column) for column in COLUMNS)
    shifts: dict[str, tuple[float, float]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        try:
            stem, shift = _stem(line[name]), (float(line[dy]), float(line[dx]))
        except (ValueError, IndexError):
            stem, shift = "", (np.nan, np.nan)
        if not stem or not np.isfinite(shift).all():
            raise DatasetError(f"{path}: line {number} holds no name and two numbers. Correct or remove it.")
        if stem in shifts:
            raise DatasetError(f"{path}: line {number} names {stem} again. Keep one.")
        shifts[stem] = shift
    return shifts


def shifts_text(shifts: Mapping[str, tuple[float, float]]) -> str:
    """Return shifts as the CSV text that `shifts_in` reads, to a thousandth of a pixel."""
    return "name,dy,dx\n" + "".join(f"{_quoted(name)},{dy:.3f},{dx:.3f}\n" for name, (dy, dx) in shifts.items())


def _stem(cell: str) -> str:
    """Return a name without the ending of an image file."""
    from evoseg.data.formats import SUFFIXES

    name = cell.strip()
    path = Path(name)
    return clean_stem(path.stem if path.suffix[1:].lower() in SUFFIXES else name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name
