"""The table of measured objects, as CSV."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from evoseg.app.applying import Applied
from evoseg.app.measuring import columns
from evoseg.app.runs import make_folder
from evoseg.base.writing import whole_file


class ObjectTable:
    """A CSV file with a line per object, which appears whole when the block ends; nothing without a path.

    Images may differ in their channels, so lines are kept as text until the last is known.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path.expanduser() if path else None
        self._channels = 0

    def __enter__(self) -> "ObjectTable":
        self._lines = io.StringIO()
        self._writer = csv.writer(self._lines, lineterminator="\n")
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self._path is None or kind is not None:
            return
        make_folder(self._path.absolute().parent)
        header = ",".join(("image", "object", *columns(self._channels))) + "\n"
        with whole_file(self._path) as file:
            file.write((header + self._lines.getvalue()).encode("utf-8", "backslashreplace"))

    def taken(self, result: Applied) -> Applied:
        """Write the objects of one image and return the rest of the result."""
        if result.objects is None:
            return result
        self._channels = max(self._channels, len(result.objects.columns) - len(columns(0)))
        for number, row in enumerate(result.objects.rows(), 1):
            self._writer.writerow([result.stem, number, *row])
        return replace(result, objects=None)
