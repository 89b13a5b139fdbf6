"""Read JSON and CSV files of other tools: tables and points, with bounded sizes and checked types."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, legible
from evoseg.core.untrusted import read_file
from evoseg.datasets.io.formats import explain_errors

_MOST_ROWS = 200_000
_MOST_VALUES = 20_000_000
"""Values of a JSON file; each takes some 30 bytes."""
_MOST_PARTS = 2_000_000
"""Lists and objects of a JSON file; each takes some 60 to 300 bytes, in the file perhaps two."""
_MOST_COLUMNS = 1000


MOST_BYTES = 256 * 2**20
"""Bytes of a file of annotations."""


def read_json(path: Path, most_bytes: int, inside: Path) -> dict[str, Any]:
    """Return the object that a JSON file in the folder `inside` holds.

    Raises
    ------
    DatasetError
        As `read_json_value`, and if it holds another value than an object.
    """
    found = read_json_value(path, most_bytes, inside)
    if not isinstance(found, dict):
        raise DatasetError(f"{path}: holds a {kind(found)}; an object {{...}} is needed.")
    return found


def read_json_value(path: Path, most_bytes: int, inside: Path) -> Any:
    """Return the value that a JSON file in the folder `inside` holds.

    Raises
    ------
    DatasetError
        If the file is missing, larger than `most_bytes`, not JSON in UTF-8, or holds too many values or too deeply
        nested ones.
    """
    text = read_text(path, most_bytes, inside)
    n_parts = text.count("{") + text.count("[")
    if n_parts > _MOST_PARTS or text.count(",") + n_parts > _MOST_VALUES:
        raise DatasetError(
            f"{path}: holds too many values; at most {_MOST_VALUES // 10**6} million are read, and at most "
            f"{_MOST_PARTS // 10**6} million lists and objects. Cut the dataset into several."
        )
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: line {error.lineno} is not JSON ({error.msg}). Export the file again.") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON that can be read ({error}). Export the file again.") from error


def read_table(path: Path, most_bytes: int, inside: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns of a CSV file in the folder `inside`, in lower case, and its lines as text by column.

    Each line comes with its number.

    Commas, semicolons or tabs part the columns, whichever the first line has most of.

    Raises
    ------
    DatasetError
        If the file is missing, too large, not CSV in UTF-8, or a line is longer than the first.
    """
    lines = read_text(path, most_bytes, inside).splitlines()
    first = lines[0] if lines else ""
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count))
    found: list[tuple[int, dict[str, str]]] = []
    heads: list[str] = []
    try:
        heads = [head.strip().lower() for head in next(reader, [])]
        if len(heads) > _MOST_COLUMNS:
            raise DatasetError(f"{path}: {len(heads)} columns; at most {_MOST_COLUMNS} are read. Is it a table?")
        if repeated := [head for i, head in enumerate(heads) if head and head in heads[:i]]:
            raise DatasetError(f"{path}: the column {legible(repeated[0])} occurs twice. Keep one.")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(heads):
                raise DatasetError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells, the first line {len(heads)}. Correct it."
                )
            found.append((reader.line_num, {head: cell.strip() for head, cell in zip(heads, cells, strict=False)}))
            if len(found) > _MOST_ROWS:
                raise DatasetError(f"{path}: more than {_MOST_ROWS} lines. Cut the dataset into several.")
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num} is not CSV ({error}). Save the table again.") from error
    return heads, found


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file that a document names from a folder on; None if there is none, or it can be no name."""
    path = folder / name.replace("\\", "/")
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def kind(value: object) -> str:
    """Return the word for a JSON value."""
    words = {dict: "object", list: "list", str: "text", bool: "yes or no", type(None): "null"}
    return words.get(type(value), "number")


def a_kind(value: object) -> str:
    """Return the word for a JSON value with its article, if it has one."""
    word = kind(value)
    return word if word in ("text", "null") else f"{'an' if word == 'object' else 'a'} {word}"


def read_text(path: Path, most_bytes: int, inside: Path) -> str:
    """Return a text file in the folder `inside`.

    Raises
    ------
    DatasetError
        If the file is missing, larger than `most_bytes`, or not UTF-8.
    """
    with explain_errors(path):
        data = read_file(path, most_bytes, inside=inside)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not a text in UTF-8 (byte {error.start}). Save it as plain text.") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


_NAPARI = ("axis-0", "axis-1")
_POINT_COLUMNS = (("y", "x"), ("row", "col"), ("row", "column"), _NAPARI, ("r", "c"))
"""Names of the columns that hold rows and columns of points, in lower case."""


def read_points(path: Path, data: bytes) -> NDArray[np.float64]:
    """Return the points of a CSV file, shape (n, 2), (row, col) in px.

    Parameters
    ----------
    path : Path
        For messages.
    data : bytes
        Text in UTF-8. The first line names the columns: y and x, row and col, or axis-0 and axis-1 (napari), among any
        others. A file with that line only says that there is no object.

    Raises
    ------
    DatasetError
        If the columns are not there or are those of a stack, or a line does not hold two numbers; the message names the
        line.
    """
    try:
        lines = list(csv.reader(data.decode("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a CSV text in UTF-8. Save it as plain text.") from error
    heads = [head.strip().lower() for head in lines[0]] if lines else []
    pair = next((pair for pair in _POINT_COLUMNS if {*pair} <= {*heads}), None)
    if pair is None:
        raise DatasetError(
            f"{path}: the first line must name the columns, y,x or row,col; it is '{','.join(heads)[:60]}'. Without "
            "names, evoseg would have to guess which number is the row."
        )
    further = [head for head in heads if re.fullmatch(r"axis-\d+", head) and head not in pair]
    if pair == _NAPARI and further:
        raise DatasetError(
            f"{path}: the column {further[0]} says that the points lie in a stack, where {_NAPARI[0]} is the plane and "
            "not the row. Write the points of each image into a file of their own, with the columns y,x."
        )
    columns = [heads.index(head) for head in pair]
    points = []
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        try:
            point = [float(line[column]) for column in columns]
        except (ValueError, IndexError):
            point = [np.nan]
        if not np.isfinite(point).all():
            raise DatasetError(f"{path}: line {number} does not hold two numbers. Correct or remove it.")
        points.append(point)
    return np.array(points, np.float64).reshape(-1, 2)


def points_text(points: NDArray[np.float64]) -> str:
    """Return points (row, col) as the CSV text that `read_points` reads, to a thousandth of a pixel."""
    return "y,x\n" + "".join(f"{row:.3f},{col:.3f}\n" for row, col in points)
