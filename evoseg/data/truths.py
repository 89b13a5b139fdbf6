"""Where the values of a mask come from: one file, a file per object, or an image known to hold nothing.

What a mask is read from gives its stored pixels, from which `evoseg.data.meaning` decides what they mean for the whole
dataset, and then the numbers that they mean: above 0 foreground, below 0 pixels to leave out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.data.files import StoredMask, first_mask_values, read_header, stored_mask
from evoseg.data.formats import read_bytes
from evoseg.data.meaning import IGNORED, Meaning
from evoseg.data.reading import Reading
from evoseg.data.scribbles import from_scribbles


class Values(NamedTuple):
    """The values of a mask, shape (M, N), and a checksum of what they come from."""

    array: NDArray[Any]
    digest: str


def digest_of(data: bytes, reading: Reading) -> str:
    """Return a checksum of a file's pixels: of its bytes, and of how they are read where that is chosen."""
    digest = sha256(data).hexdigest()
    return sha256(f"{digest} {reading}".encode()).hexdigest() if reading else digest


def shape_read(path: Path, reading: Reading) -> tuple[int, int]:
    """Return the (M, N) in which an image is read, by its header: upright, or as stored if that is asked for."""
    header = read_header(path, reading=reading)
    rows, cols = header.shape
    # From 5 on, orientations exchange rows and columns.
    return (rows, cols) if header.orientation < 5 or reading.exif == "ignore" else (cols, rows)


class MaskSource(Protocol):
    """Something that a mask is read from."""

    @property
    def path(self) -> Path:
        """File or folder, for messages."""

    @property
    def n_objects(self) -> int:
        """How many objects the format itself numbers; 0 if it leaves it to the values what they mean."""

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return what is stored, for a decision on what it means; nothing where the format says that itself."""

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Return the mask, of the chosen page if files hold several, or raise a DatasetError about it."""


@dataclass(frozen=True)
class MaskFile:
    """A mask in an image file.

    Attributes
    ----------
    path : Path
    declared : bool
        Whether the layout says that it is a label image, with 0 for background.
    ignored : int or None
        The value that the layout says to leave out.
    """

    path: Path
    declared: bool = False
    ignored: int | None = None
    n_objects: int = 0

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return the pixels of the file."""
        stored = stored_mask(self.path, read_bytes(self.path), reading=reading)
        return [label_image(stored, self.ignored)] if self.declared else [stored]

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Read the file, once."""
        data = read_bytes(self.path)
        if meaning.first:
            values = first_mask_values(self.path, data, reading=reading)
            if self.ignored is not None:
                values = np.where(values == self.ignored, IGNORED, values.astype(np.int32))
            return Values(values, digest_of(data, reading))
        stored = stored_mask(self.path, data, reading=reading)
        if self.declared:
            return Values(label_image(stored, self.ignored).pixels, digest_of(data, reading))
        return Values(meaning.values(stored), meaning.signed(digest_of(data, reading)))


def label_image(stored: StoredMask, ignored: int | None = None) -> StoredMask:
    """Return a mask whose values or palette indices are its numbers, with `ignored` below 0.

    Raises
    ------
    DatasetError
        If it holds colours or noise instead.
    """
    values = stored.pixels
    if stored.colours or stored.white_first or (stored.lossy and len(np.unique(values)) > 2):
        what = "JPEG noise" if stored.lossy else "colours"
        raise DatasetError(f"{stored.where}: holds {what} where numbers are needed. Save it as a grey PNG or TIFF.")
    if ignored is not None:
        values = np.where(values == ignored, IGNORED, values.astype(np.int32))
    return replace(stored, pixels=values, table=None, declared=True)


@dataclass(frozen=True)
class Scribbles:
    """Strokes in an image file: 0 where nothing is drawn, 1 for background, 2 for foreground, then further classes."""

    path: Path
    n_objects: int = 0

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return nothing: what strokes mean is fixed."""
        return []

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Read the file, once; where nothing is drawn, pixels are left out."""
        data = read_bytes(self.path)
        if meaning.first:
            values = first_mask_values(self.path, data, reading=reading)
        else:
            values = label_image(stored_mask(self.path, data, reading=reading)).pixels
        mask, known = from_scribbles(values, self.path)
        return Values(np.where(known, mask.astype(np.int16), np.int16(IGNORED)), digest_of(data, reading))


@dataclass(frozen=True)
class EmptyMask:
    """The mask of an image that is known to hold no object; `path` is the image."""

    path: Path
    n_objects: int = 0

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return nothing."""
        return []

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Return zeros of the image's size."""
        shape = shape_read(self.path, reading)
        return Values(np.zeros(shape, np.uint8), sha256(f"empty {shape}".encode()).hexdigest())


@dataclass(frozen=True)
class ObjectFiles:
    """A mask in several files of one folder; each holds one object, or, if not `numbered`, a part of the foreground."""

    path: Path
    files: tuple[Path, ...]
    numbered: bool = True

    @property
    def n_objects(self) -> int:
        """One per file, if they are numbered."""
        return len(self.files) if self.numbered else 0

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return the pixels of each file."""
        return [replace(stored_mask(path, read_bytes(path), reading=reading), single=True) for path in self.files]

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Read all files; what is foreground becomes 1, 2, ... in the order of the files, or 255."""
        first: tuple[int, ...] | None = None
        regions, digests = [], []
        for path in self.files:
            data = read_bytes(path)
            if meaning.first:
                inside = first_mask_values(path, data, reading=reading) > 0
            else:
                inside = meaning.values(stored_mask(path, data, reading=reading)) > 0
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
        return Values(values, meaning.signed(sha256("".join(digests).encode()).hexdigest()))


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
