"""CSV files: the table of all objects, written as images come, and the table of images."""

import csv
import io
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from evoseg.core.disk import expand, write_atomically
from evoseg.datasets.imageformat import Sides
from evoseg.inference.measure import MEASURES
from evoseg.inference.objects import LENGTHS, REGION_COLUMNS, FoundObject
from evoseg.runs.run_folder import make_folder

UM_COLUMNS = ("pixel_size_um", "area_um2", *(f"{name}_um" for name in LENGTHS))
"""Empty where the size of a pixel is not known."""
_HELD = 1 << 24
"""Bytes of lines that are kept in memory."""


class HeldLines:
    """Lines about the objects of one image, until they are asked for; many of them wait on the disk.

    A block that ends with an error forgets them.
    """

    def __init__(self) -> None:
        self._lines: IO[bytes] = tempfile.SpooledTemporaryFile(_HELD)  # noqa: SIM115, see close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.close()

    def hold(self, line: str) -> None:
        """Keep a line."""
        self._lines.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def lines(self) -> Iterator[bytes]:
        """Return the lines, from the first one on."""
        self._lines.seek(0)
        return iter(self._lines)

    def close(self) -> None:
        """Forget them."""
        self._lines.close()


class TablePart(HeldLines):
    """The lines of one image.

    Parameters
    ----------
    stem : str
    sides_um : (float, float) or None
        Height and width of a pixel. If they differ, areas and the diameters of circles of equal area are given in um,
        and no other lengths, which depend on their directions.
    classes : bool
        Whether to name the class of each object.
    """

    def __init__(self, stem: str, sides_um: Sides | None, *, classes: bool) -> None:
        super().__init__()
        self.n_channels = 0
        self.oblong = sides_um is not None and sides_um[0] != sides_um[1]
        self._stem = inert(stem)
        self._sides_um = sides_um
        self._classes = classes

    def add(self, found: FoundObject) -> None:
        """Keep the line of an object."""
        measures = found.measures.tolist()
        self.n_channels = len(measures) - len(MEASURES)
        known = found.properties()
        names = [found.class_name] if self._classes else []
        shown = [known.get(name) for name in REGION_COLUMNS]
        numbers = [*measures[: len(MEASURES)], *shown, *self._in_um(known), *measures[len(MEASURES) :]]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([self._stem, found.number, *names, *map(_number, numbers)])
        self.hold(line.getvalue())

    def _in_um(self, known: Mapping[str, float]) -> list[float | None]:
        """Return the values of `UM_COLUMNS`."""
        if self._sides_um is None:
            return [None] * len(UM_COLUMNS)
        area_um2 = math.prod(self._sides_um)
        um = math.sqrt(area_um2)
        right = ("equivalent_diameter_area",) if self.oblong else LENGTHS
        lengths = [known[name] * um if name in right and name in known else None for name in LENGTHS]
        return [None if self.oblong else um, known["area"] * area_um2, *lengths]


def _number(value: float | None) -> str:
    """Return whole numbers as such, others with up to 7 digits, and nothing for what is not known."""
    if value is None:
        return ""
    return f"{value:.0f}" if value.is_integer() else f"{value:.7g}"


class ObjectTable:
    """A CSV file with a line per object, which appears whole when the block ends; nothing without a path.

    Images may differ in their channels, whose means come last, so the first line is known at the end only.
    """

    def __init__(self, path: Path | None, *, classes: bool) -> None:
        self._path = expand(path) if path else None
        self._classes = classes
        self._n_channels = 0

    def __enter__(self) -> Self:
        self._body = tempfile.TemporaryFile()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._body:
            if self._path is None or kind is not None:
                return
            means = [f"mean_{index}" for index in range(self._n_channels)]
            names = ["class"] if self._classes else []
            header = ",".join(("image", "object", *names, *MEASURES, *REGION_COLUMNS, *UM_COLUMNS, *means))
            make_folder(self._path.absolute().parent)
            self._body.seek(0)
            with write_atomically(self._path) as file:
                file.write(header.encode() + b"\n")
                shutil.copyfileobj(self._body, file)

    def add_image(self, part: TablePart) -> None:
        """Write the lines of an image, and close them."""
        self._n_channels = max(self._n_channels, part.n_channels)
        self._body.writelines(part.lines())
        part.close()


def inert(name: str) -> str:
    """Return a name with an apostrophe before it if a spreadsheet would run it as a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name
