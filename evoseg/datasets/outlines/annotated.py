"""The annotated objects of an image: what a reader of a format returns, and the mask that is drawn from them."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.annotations import Region, Values, paint, paint_labels, read_shape
from evoseg.datasets.documents import a_kind
from evoseg.datasets.io.files import StoredMask
from evoseg.datasets.meaning import IGNORED, Meaning
from evoseg.datasets.outlines.areas import draw_region, is_traced
from evoseg.datasets.reading import ReadOptions

_T = TypeVar("_T", dict[str, Any], list[Any], str)


@dataclass(frozen=True)
class Outline:
    """One annotated object.

    Attributes
    ----------
    where : str
        Its place in the file, for messages, such as "shapes[3]".
    segmentation : object
        What `draw_region` draws; it is checked only then.
    label : str
        Its class; "" if it has none.
    ignored : bool
        Whether its pixels are left out of every score.
    """

    where: str
    segmentation: Any = field(repr=False)
    label: str = ""
    ignored: bool = False


@dataclass(frozen=True)
class Annotated:
    """What a file of annotations says about one image.

    Attributes
    ----------
    objects : tuple of Outline
        In the order of the file.
    image : str
        Name of the image as the file has it; "" if the file is called as its image.
    where : str
        Place of the image in the file, for messages; "" if the file is about one image.
    shape : tuple of int, or None
        (M, N), if the file says it.
    split : str
        "train", "selection" or "test"; "" if the file does not say it.
    shares : bool
        Whether coordinates are shares of the image's width and height instead of px.
    left_out : tuple of str
        What is not read, one for each, such as "point without an area".
    n_boxes : int
        How many of the objects were drawn as rectangles that are not rotated.
    """

    objects: tuple[Outline, ...]
    image: str = ""
    where: str = ""
    shape: tuple[int, int] | None = None
    split: str = ""
    shares: bool = False
    left_out: tuple[str, ...] = ()
    n_boxes: int = 0


@dataclass(frozen=True)
class Outlines:
    """A mask drawn from the annotations of one image.

    Attributes
    ----------
    path : Path
        The file of annotations.
    image : Path
        The image's file.
    found : Annotated
        What the file says about the image.
    """

    path: Path
    image: Path
    found: Annotated

    @property
    def shape(self) -> tuple[int, int] | None:
        """(M, N), if the file says it."""
        return self.found.shape

    @property
    def n_objects(self) -> int:
        """How many objects there are, without those that are left out of every score."""
        return sum(not one.ignored for one in self.found.objects)

    @property
    def classes(self) -> Counter[str]:
        """How many objects there are of each class that has a name."""
        return Counter(one.label for one in self.found.objects if one.label and not one.ignored)

    def of_classes(self, names: Collection[str]) -> "Outlines":
        """Return the mask of the objects of some classes; areas to leave out that have no class stay."""
        chosen = tuple(one for one in self.found.objects if one.label in names or (one.ignored and not one.label))
        return replace(self, found=replace(self.found, objects=chosen))

    def polygons(self, reading: ReadOptions) -> Iterator[list[float]]:
        """Yield all polygons in px; what is no polygon is left out, and nothing is checked."""
        shape = read_shape(self.image, replace(reading, channel="")) if self.found.shares else (0, 0)
        for one in self.found.objects:
            for part in self._in_px(one, shape) if isinstance(one.segmentation, list) else ():
                if not isinstance(part, Region):
                    yield from part if isinstance(part, tuple) else (part,)

    def _in_px(self, one: Outline, shape: tuple[int, int]) -> Any:
        return _scaled(one.segmentation, shape) if self.found.shares else one.segmentation

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return nothing: outlines are objects."""
        return []

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Draw the objects, if the image is as large as the file says.

        They are numbered in the order of the file; if classes are named, objects have the number of theirs, and those
        of other classes are background.
        """
        shape = read_shape(self.image, replace(reading, channel=""))
        if self.shape is not None and shape != self.shape:
            raise DatasetError(
                f"{self.image}: the image is {shape}, but {self.path.name} says {self.shape} (height, width). Export "
                "the outlines again, for these images."
            )
        names = meaning.names
        objects = [one for one in self.found.objects if not one.ignored and (not names or one.label in names)]
        ignored = [one for one in self.found.objects if one.ignored]
        regions = [self._region(one, shape, meaning.traced) for one in objects]
        if self.shape is None and objects and not any(found.inside.size for found in regions):
            raise DatasetError(
                f"{self.path}: none of the {len(objects)} outlines covers a pixel of {self.image.name}, which is "
                f"{shape} (height, width). Coordinates are pixels of the image, x first; export the outlines again."
            )
        labels = paint_labels(shape, regions)
        if names:
            labels = np.array([0, *(names.index(one.label) + 1 for one in objects)], np.int32)[labels]
        left_out = np.zeros(shape, np.int32)
        for one in ignored:
            paint(left_out, self._region(one, shape, meaning.traced), IGNORED)
        outlines = [[one.segmentation for one in some] for some in (objects, ignored)]
        read = [shape, outlines, *["traced"] * meaning.traced, *([names, [o.label for o in objects]] if names else [])]
        digest = sha256(json.dumps(read, sort_keys=True, default=_digestible).encode()).hexdigest()
        return Values(np.where(labels > 0, labels, left_out), digest)

    def _region(self, one: Outline, shape: tuple[int, int], traced: bool) -> Region:
        try:
            return draw_region(self._in_px(one, shape), shape, traced=traced)
        except DatasetError as error:
            raise DatasetError(f"{self.path}: {one.where} of {self.image.name}: {error}. Correct it.") from error


def are_traced(masks: Mapping[str, object], reading: ReadOptions) -> bool:
    """Return whether all outlines of a dataset run from pixel to pixel (`is_traced`)."""
    outlines = [mask for mask in masks.values() if isinstance(mask, Outlines)]
    try:
        return is_traced(polygon for mask in outlines for polygon in mask.polygons(reading))
    except (DatasetError, ValueError, TypeError, OverflowError):
        return False  # what is wrong is said when they are drawn


def count_classes(masks: Mapping[str, object]) -> dict[str, int]:
    """Return how many objects there are of each named class of outlines, by name."""
    found = sum((mask.classes for mask in masks.values() if isinstance(mask, Outlines)), Counter())
    return dict(sorted(found.items()))


def _scaled(polygons: list[list[float]], shape: tuple[int, int]) -> list[list[float]]:
    """Return polygons in px whose coordinates x, y are shares of the image's size."""
    rows, cols = shape
    return [[value * (rows if i % 2 else cols) for i, value in enumerate(polygon)] for polygon in polygons]


def _digestible(pixels: Any) -> Any:
    """Return an array of pixels as a value of JSON."""
    return [pixels.shape, sha256(np.packbits(pixels).tobytes()).hexdigest()]


@contextmanager
def naming(path: Path, where: str) -> Iterator[None]:
    """Say in which file, and where in it, an error is."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{path}: {where}: {error}. Correct it, or export the file again.") from error


def member(value: Any, key: str, form: type[_T]) -> _T:
    """Return what an object of JSON has under a key.

    Raises
    ------
    DatasetError
        If it is no object, or what is there is of another form; the message does not name the file.
    """
    if not isinstance(value, dict):
        raise DatasetError(f"is {a_kind(value)}, not an object")
    found = value.get(key)
    if not isinstance(found, form):
        raise DatasetError(f"{key} is {a_kind(found)}, not {a_kind(form())}")
    return found


def size(value: dict[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """Return (M, N) from an object of JSON; None if either is missing.

    Raises
    ------
    DatasetError
        If they are no whole numbers from 1 on; the message does not name the file.
    """
    rows, cols = value.get(height), value.get(width)
    if rows is None or cols is None:
        return None
    if type(rows) is not int or type(cols) is not int or min(rows, cols) < 1:
        raise DatasetError(f"{height} and {width} must be whole numbers above 0")
    return rows, cols


def member_or(value: Any, key: str, default: Any) -> Any:
    """Return what an object of JSON has under a key, else `default`; also if it is no object."""
    return value.get(key, default) if isinstance(value, dict) else default


def no_area(form: str) -> str:
    """Return the words for an annotation that is not read."""
    return f"{legible(form)} without an area"
