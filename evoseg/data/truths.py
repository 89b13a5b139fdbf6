"""Where the values of a mask come from: one file, a file per object, or an image known to hold nothing.

Values above 0 are foreground; in whole numbers with a sign, those below 0 are pixels to leave out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.data.files import mask_values, read_header
from evoseg.data.formats import read_bytes
from evoseg.data.reading import Reading
from evoseg.data.scribbles import from_scribbles

IGNORED = -1
"""Value of pixels to leave out."""


class Values(NamedTuple):
    """The values of a mask, shape (M, N), and a checksum of what they come from."""

    array: NDArray[Any]
    digest: str


def digest_of(data: bytes, reading: Reading) -> str:
    """Return a checksum of a file's pixels: of its bytes, and of how they are read where that is chosen."""
    digest = sha256(data).hexdigest()
    return sha256(f"{digest} {reading}".encode()).hexdigest() if reading else digest


class MaskSource(Protocol):
    """Something that a mask is read from."""

    @property
    def path(self) -> Path:
        """File or folder, for messages."""

    def read(self, reading: Reading) -> Values:
        """Return the mask, of the chosen page if files hold several, or raise a DatasetError about it."""


@dataclass(frozen=True)
class MaskFile:
    """A mask in an image file; `ignored` is the value, if any, of pixels to leave out."""

    path: Path
    ignored: int | None = None

    def read(self, reading: Reading) -> Values:
        """Read the file, once."""
        data = read_bytes(self.path)
        values = mask_values(self.path, data, reading=reading)
        if self.ignored is not None:
            values = np.where(values == self.ignored, IGNORED, values.astype(np.int32))
        return Values(values, digest_of(data, reading))


@dataclass(frozen=True)
class Scribbles:
    """Strokes in an image file: 0 where nothing is drawn, 1 for background, 2 for foreground, then further classes."""

    path: Path

    def read(self, reading: Reading) -> Values:
        """Read the file, once; where nothing is drawn, pixels are left out."""
        data = read_bytes(self.path)
        mask, known = from_scribbles(mask_values(self.path, data, reading=reading), self.path)
        return Values(np.where(known, mask.astype(np.int16), np.int16(IGNORED)), digest_of(data, reading))


@dataclass(frozen=True)
class EmptyMask:
    """The mask of an image that is known to hold no object; `path` is the image."""

    path: Path

    def read(self, reading: Reading) -> Values:
        """Return zeros of the image's size."""
        header = read_header(self.path, reading=reading)
        # From 5 on, orientations exchange rows and columns.
        shape = header.shape if header.orientation < 5 else header.shape[::-1]
        return Values(np.zeros(shape, np.uint8), sha256(f"empty {shape}".encode()).hexdigest())


@dataclass(frozen=True)
class ObjectFiles:
    """A mask in several files of one folder; each holds one object, or, if not `numbered`, a part of the foreground."""

    path: Path
    files: tuple[Path, ...]
    numbered: bool = True

    def read(self, reading: Reading) -> Values:
        """Read all files; what is above 0 becomes 1, 2, ... in the order of the files, or 255."""
        first: tuple[int, ...] | None = None
        regions, digests = [], []
        for path in self.files:
            data = read_bytes(path)
            inside = mask_values(path, data, reading=reading) > 0
            first = first or inside.shape
            if inside.shape != first:
                raise DatasetError(
                    f"{path}: mask is {inside.shape} but {self.files[0].name} is {first}; all masks of an image have "
                    "its size. Re-export them."
                )
            regions.append(region(inside))
            digests.append(digest_of(data, reading))
        assert first is not None, "listed with at least one file"
        labels = painted((first[0], first[1]), regions)
        values = labels if self.numbered else np.where(labels > 0, np.uint8(255), np.uint8(0))
        return Values(values, sha256("".join(digests).encode()).hexdigest())


class Region(NamedTuple):
    """Pixels of one object: a bool array, and the row and column of its first pixel in the image."""

    top: int
    left: int
    inside: NDArray[np.bool_]


def region(inside: NDArray[np.bool_]) -> Region:
    """Return the True pixels of a mask, shape (M, N), without the empty border."""
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return Region(0, 0, inside[:0, :0])
    top, left = int(rows[0]), int(cols[0])
    return Region(top, left, inside[top : rows[-1] + 1, left : cols[-1] + 1].copy())


def painted(shape: tuple[int, int], regions: Sequence[Region]) -> NDArray[np.int32]:
    """Return labels: 1, 2, ... in the order of `regions`; where some overlap, the smallest keeps the pixel."""
    labels = np.zeros(shape, np.int32)
    areas = [int(found.inside.sum()) for found in regions]
    for index in sorted(range(len(regions)), key=lambda i: -areas[i]):
        put(labels, regions[index], index + 1)
    return labels


def put(labels: NDArray[np.int32], found: Region, value: int) -> None:
    """Write a value into the pixels of a region, in place."""
    rows, cols = found.inside.shape
    labels[found.top : found.top + rows, found.left : found.left + cols][found.inside] = value
