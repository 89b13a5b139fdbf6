"""The results of all pages of a stack as one stack, too."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evoseg.core.disk import write_atomically
from evoseg.datasets.imageformat import Sides, sides_in_um
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import read_bytes
from evoseg.runs.run_folder import make_folder

_OME_AXES = frozenset("TZ")
"""Axes of pages that OME has names for; other stacks are TIFF with the axes that tifffile notes."""


@dataclass(frozen=True)
class Page:
    """Where an image is from, if it is a page of a stack.

    Attributes
    ----------
    stack : str
        The stem of the file, such as "plate_1/film".
    place : str
        As `ReadOptions.page` has it: "T=0,Z=3".
    """

    stack: str
    place: str


class ResultStacks:
    """Writes a file for each stack as soon as there is a result for the last of its pages.

    Parameters
    ----------
    folder : Path
        Of the files, NAME.tif; it is made if there is something to write.
    pages : sequence of Page
        All that are to come, in order; those of one stack follow each other.
    """

    def __init__(self, folder: Path, pages: Sequence[Page]) -> None:
        self._last = {page.stack: page.place for page in pages}
        self.paths = {stack: folder / f"{stack}.tif" for stack in self._last}
        self._results: list[Path | None] = []

    def add(self, page: Page, result: Path | None, pixel_size: Callable[[], str]) -> None:
        """Take the file with the result of a page, None if it has none: then there is no file for the stack either.

        Raises
        ------
        DatasetError
            If results cannot be read again.
        """
        self._results.append(result)
        if page.place != self._last[page.stack]:
            return
        results, self._results = self._results, []
        paths = [path for path in results if path is not None]
        if len(paths) == len(results):
            _write(self.paths[page.stack], page.place, paths, sides_in_um(pixel_size()))


def _write(path: Path, last: str, results: Sequence[Path], sides_um: Sides | None) -> None:
    """Write a stack page by page; `last` is the place of its last page."""
    import tifffile

    sizes = {axis: int(number) + 1 for axis, number in (item.split("=") for item in last.split(","))}
    size = {} if sides_um is None else {"PhysicalSizeY": sides_um[0], "PhysicalSizeX": sides_um[1]}
    first = _read(results[0])
    make_folder(path.parent)
    with write_atomically(path) as file:
        tifffile.imwrite(
            file,
            _pages(first, results[1:]),
            shape=(*sizes.values(), *first.shape),
            dtype=first.dtype,
            ome=_OME_AXES.issuperset(sizes),
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": f"{''.join(sizes)}YX", **size},
        )


def _pages(first: NDArray[Any], others: Sequence[Path]) -> Iterator[NDArray[Any]]:
    yield first
    yield from map(_read, others)


def _read(path: Path) -> NDArray[Any]:
    return decode_mask(path, read_bytes(path)).pixels
