"""JSON and tables that strangers wrote: bounded, and with every type asked for."""

import csv
import json
from pathlib import Path
from typing import Any

from evoseg.base.errors import DatasetError, legible
from evoseg.base.untrusted import read_file
from evoseg.data.formats import explained

_MOST_ROWS = 200_000
_MOST_VALUES = 20_000_000
"""Values of a JSON file; each takes some 30 bytes."""
_MOST_PARTS = 2_000_000
"""Lists and objects of a JSON file; each takes some 60 to 300 bytes, in the file perhaps two."""
_MOST_COLUMNS = 1000


def json_in(path: Path, most_bytes: int, inside: Path) -> dict[str, Any]:
    """Return the object that a JSON file in the folder `inside` holds.

    Raises
    ------
    DatasetError
        If the file is missing, larger than `most_bytes`, not JSON in UTF-8, holds too many values or too deeply nested
        ones, or another value than an object.
    """
    text = _text(path, most_bytes, inside)
    n_parts = text.count("{") + text.count("[")
    if n_parts > _MOST_PARTS or text.count(",") + n_parts > _MOST_VALUES:
        raise DatasetError(
            f"{path}: holds too many values; at most {_MOST_VALUES // 10**6} million are read, and at most "
            f"{_MOST_PARTS // 10**6} million lists and objects. Cut the dataset into several."
        )
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: line {error.lineno} is not JSON ({error.msg}). Export the file again.") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON that can be read ({error}). Export the file again.") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{path}: holds a {kind(found)}; an object {{...}} is needed.")
    return found


def table_in(path: Path, most_bytes: int, inside: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns of a CSV file in the folder `inside`, in lower case, and its lines as text by column.

    Each line comes with its number.

    Commas, semicolons or tabs part the columns, whichever the first line has most of.

    Raises
    ------
    DatasetError
        If the file is missing, too large, not CSV in UTF-8, or a line is longer than the first.
    """
    lines = _text(path, most_bytes, inside).splitlines()
    first = lines[0] if lines else ""
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count))
    found: list[tuple[int, dict[str, str]]] = []
    heads: list[str] = []
    try:
        heads = [head.strip().lower() for head in next(reader, [])]
        if len(heads) > _MOST_COLUMNS:
            raise DatasetError(f"{path}: {len(heads)} columns; at most {_MOST_COLUMNS} are read. Is it a table?")
        if repeated := [head for i, head in enumerate(heads) if head and head in heads[:i]]:
            raise DatasetError(f"{path}: the column {legible(repeated[0])} is there twice. Keep one.")
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


def file_called(folder: Path, name: str) -> Path | None:
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


def _text(path: Path, most_bytes: int, inside: Path) -> str:
    with explained(path):
        data = read_file(path, most_bytes, inside=inside)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not a text in UTF-8 (byte {error.start}). Save it as plain text.") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
