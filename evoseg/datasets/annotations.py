"""Sources of masks: one file, a file per object, strokes, or an image that is known to contain no object.

A source gives the stored pixels of a mask, from which `evoseg.datasets.meaning` decides what they mean for the
whole dataset, and then the numbers that they mean: above 0 foreground, below 0 pixels to leave out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.core.notes import name_some
from evoseg.datasets.io.files import (
    StoredMask,
    decode_mask,
    decode_picture,
    read_first_mask_values,
    read_header,
    upright,
)
from evoseg.datasets.io.formats import ending_of, read_bytes
from evoseg.datasets.meaning import IGNORED, Meaning
from evoseg.datasets.reading import MOST_CLASSES, ReadOptions


class Values(NamedTuple):
    """The values of a mask, shape (M, N), and a checksum of what they come from."""

    array: NDArray[Any]
    digest: str


def digest_of(data: bytes, reading: ReadOptions) -> str:
    """Return a checksum of a file's pixels: of its bytes, and of how they are read where that is chosen."""
    digest = sha256(data).hexdigest()
    return sha256(f"{digest} {reading}".encode()).hexdigest() if reading else digest


def read_shape(path: Path, reading: ReadOptions) -> tuple[int, int]:
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

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return what is stored, for a decision on what it means; nothing where the format says that itself."""

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
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

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return the pixels of the file."""
        stored = decode_mask(self.path, read_bytes(self.path), reading=reading)
        return [label_image(stored, self.ignored)] if self.declared else [stored]

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Read the file, once."""
        data = read_bytes(self.path)
        if meaning.first:
            values = read_first_mask_values(self.path, data, reading=reading)
            if self.ignored is not None:
                values = np.where(values == self.ignored, IGNORED, values.astype(np.int32))
            return Values(values, digest_of(data, reading))
        stored = decode_mask(self.path, data, reading=reading)
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

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return nothing: what strokes mean is fixed."""
        return []

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Read the file, once; where nothing is drawn, pixels are left out."""
        data = read_bytes(self.path)
        if meaning.first:
            values = read_first_mask_values(self.path, data, reading=reading)
        else:
            values = label_image(decode_mask(self.path, data, reading=reading)).pixels
        mask, known = from_scribbles(values, self.path)
        return Values(np.where(known, mask.astype(np.int16), np.int16(IGNORED)), digest_of(data, reading))


@dataclass(frozen=True)
class EmptyMask:
    """The mask of an image that is known to hold no object; `path` is the image."""

    path: Path
    n_objects: int = 0

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return nothing."""
        return []

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Return zeros of the image's size."""
        shape = read_shape(self.path, reading)
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

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return the pixels of each file."""
        return [replace(decode_mask(path, read_bytes(path), reading=reading), single=True) for path in self.files]

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Read all files; what is foreground becomes 1, 2, ... in the order of the files, or 255."""
        first: tuple[int, ...] | None = None
        regions, digests = [], []
        for path in self.files:
            data = read_bytes(path)
            if meaning.first:
                inside = read_first_mask_values(path, data, reading=reading) > 0
            else:
                inside = meaning.values(decode_mask(path, data, reading=reading)) > 0
            first = first or inside.shape
            if inside.shape != first:
                raise DatasetError(
                    f"{path}: mask is {inside.shape} but {self.files[0].name} is {first}; all masks of an image have "
                    "its size. Re-export them."
                )
            regions.append(region(inside))
            digests.append(digest_of(data, reading))
        assert first is not None, "listed with at least one file"
        labels = paint_labels((first[0], first[1]), regions)
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


def paint_labels(shape: tuple[int, int], regions: Sequence[Region]) -> NDArray[np.int32]:
    """Return labels: 1, 2, ... in the order of `regions`; where some overlap, the smallest keeps the pixel."""
    labels = np.zeros(shape, np.int32)
    areas = [int(found.inside.sum()) for found in regions]
    for index in sorted(range(len(regions)), key=lambda i: -areas[i]):
        paint(labels, regions[index], index + 1)
    return labels


def paint(labels: NDArray[np.int32], found: Region, value: int) -> None:
    """Write a value into the pixels of a region, in place."""
    rows, cols = found.inside.shape
    labels[found.top : found.top + rows, found.left : found.left + cols][found.inside] = value


UNKNOWN, BACKGROUND = 0, 1


def from_scribbles(
    values: NDArray[Any], where: str | Path = "scribbles"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the mask that scribbles give, and where it is known.

    Parameters
    ----------
    values : array of shape (M, N)
        0 where nothing was drawn, 1 for background, 2 for foreground; 3 and more for further classes. ilastik's
        labels are of this form, if background is its first label.
    where : path or str
        For messages.

    Returns
    -------
    mask : uint8 array of shape (M, N)
        0 for background, 1 for foreground, 2 and more for further classes; 0 where it is not known.
    known : bool array of shape (M, N)

    Raises
    ------
    DatasetError
        If the values are others.
    """
    found = np.unique(values)
    if (found != np.round(found)).any() or found[0] < UNKNOWN or found[-1] > BACKGROUND + MOST_CLASSES:
        some = ", ".join(f"{value:g}" for value in found[:4])
        raise DatasetError(
            f"{where}: scribbles hold 0 where nothing is drawn, 1 for background and 2 for foreground (3 and more for "
            f"further classes); this file holds {some}{' ...' if len(found) > 4 else ''}. Renumber them."
        )
    known = values > UNKNOWN
    return np.where(known, values.astype(np.int16) - BACKGROUND, 0).astype(np.uint8), known


_LOOKED_AT = 12
"""Images that are compared with their masks."""
_CLEARLY = 1.15
"""By how much edges must fit better in one of the two positions."""


class TurnedImage(NamedTuple):
    """An image that is turned on reading, beside a mask that is not."""

    stem: str
    path: Path
    orientation: int
    as_stored: bool
    as_turned: bool


def find_turned(images: Mapping[str, Path], masks: Mapping[str, MaskSource], reading: ReadOptions) -> list[TurnedImage]:
    """Return the images that are turned without their masks, and whether the masks have the size of either position."""
    found = []
    for stem in sorted(masks.keys() & images.keys()):
        try:
            image = read_header(images[stem], reading=reading)
            if image.orientation in range(2, 9) and (shape := _declared_shape(masks[stem], reading)) is not None:
                upright_shape = image.shape[::-1] if image.orientation > 4 else image.shape
                fits = image.shape == shape, upright_shape == shape
                found.append(TurnedImage(stem, images[stem], image.orientation, *fits))
        except DatasetError:
            continue
    return found


def _declared_shape(mask: MaskSource, reading: ReadOptions) -> tuple[int, int] | None:
    """Return the size of a mask that is not turned itself."""
    declared: tuple[int, int] | None = getattr(mask, "shape", None)
    if declared is not None or not ending_of(mask.path.name):
        return declared
    header = read_header(mask.path, reading=reading)
    return header.shape if header.orientation == 1 else None


def check_turned_sizes(root: Path, turned: Sequence[TurnedImage]) -> str:
    """Return the message about masks that have the size of the pictures before they were turned; "" if none has."""
    wrong = [one for one in turned if one.as_stored and not one.as_turned]
    if not wrong:
        return ""
    return (
        f"{_those(root, wrong)} and evoseg turns them upright, but their masks have the size of the stored pictures, "
        "so these were drawn on unturned pixels. Write `exif: ignore` into dataset.yaml to read the images as stored, "
        "or turn the masks."
    )


def check_turned_edges(
    root: Path, turned: Sequence[TurnedImage], masks: Mapping[str, MaskSource], reading: ReadOptions, meaning: Meaning
) -> tuple[str, str]:
    """Return an error and a warning about masks whose size fits both positions, by how well their edges fit the images.

    Either is "" if there is no reason for it.
    """
    open_ones = [one for one in turned if one.as_stored and one.as_turned]
    if not open_ones:
        return "", ""
    fits = [_fits(one, masks[one.stem], reading, meaning) for one in open_ones[:_LOOKED_AT]]
    stored, upright_fit = np.sum([fit for fit in fits if fit is not None] or [(0.0, 0.0)], axis=0)
    those = _those(root, open_ones)
    keys = "If these were drawn on unturned pixels, write `exif: ignore` into dataset.yaml; if not, `exif: turn`."
    if stored > _CLEARLY * upright_fit:
        return f"{those} and evoseg turns them upright, but the edges of their masks fit them as stored. {keys}", ""
    if upright_fit > _CLEARLY * stored:
        return "", ""
    return "", f"{those} and evoseg turns them upright; their masks do not show which is right. {keys}"


def _those(root: Path, turned: Sequence[TurnedImage]) -> str:
    names = name_some([str(one.path.relative_to(root)) for one in turned])
    kinds = " and ".join(str(kind) for kind in sorted({one.orientation for one in turned}))
    return f"{names}: the files tell viewers to turn them (EXIF orientation {kinds}),"


def _fits(one: TurnedImage, mask: MaskSource, reading: ReadOptions, meaning: Meaning) -> tuple[float, float] | None:
    """Return how strong an image's edges are along those of its mask: as stored, and as turned."""
    import cv2

    try:
        image = decode_picture(one.path, read_bytes(one.path), reading=reading).image
        marked = mask.read(reading, meaning).array > 0
    except DatasetError:
        return None
    grey = image.astype(np.float32).mean(axis=2)
    strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    strength /= max(float(strength.mean()), 1e-9)

    def along(inside: NDArray[Any]) -> float:
        rim = cv2.morphologyEx(
            np.ascontiguousarray(inside).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        return float(strength[rim > 0].mean()) if rim.any() else 0.0

    return along(upright(marked, one.orientation)), along(marked)
