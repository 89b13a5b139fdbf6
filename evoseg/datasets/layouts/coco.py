"""COCO: images, and one JSON file (or one per split) with the objects' outlines."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, legible
from evoseg.core.untrusted import within
from evoseg.datasets.annotations import Region, Values, paint, paint_labels, read_shape, region
from evoseg.datasets.documents import find_file, kind, read_json
from evoseg.datasets.io.files import StoredMask
from evoseg.datasets.io.formats import LIMITS
from evoseg.datasets.layouts.base import (
    SIDE_OF,
    Entry,
    Files,
    Layout,
    Match,
    ScanReport,
    check_inside,
    collect_files,
    entries_of,
    is_image,
    sides,
    stem_of,
)
from evoseg.datasets.layouts.unread import format_of_outlines
from evoseg.datasets.meaning import IGNORED, Meaning
from evoseg.datasets.reading import ReadOptions

_MOST_CORNERS = 20_000
_HELD = 1 << 22
"""Crossings of edges and rows that are computed at a time."""


def draw_region(segmentation: Any, shape: tuple[int, int]) -> Region:
    """Return the pixels of an object.

    Parameters
    ----------
    segmentation : list of polygons, or object with `size` and `counts`
        As in the JSON; anything may be in it.
    shape : (M, N)

    Raises
    ------
    DatasetError
        If it is neither; the message begins with what is wrong.
    """
    if isinstance(segmentation, list) and segmentation:
        return _joined([_corners(polygon) for polygon in segmentation], shape)
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        if size != list(shape):
            raise DatasetError(f"the run lengths are for the size {legible(str(size))}, the image is {list(shape)}")
        return _from_runs(_counts(segmentation.get("counts")), shape)
    raise DatasetError("has no outline, only a box at best; a polygon or run lengths are needed")


def _corners(polygon: Any) -> NDArray[np.float64]:
    """Return the corners of a polygon, shape (n, 2), (row, col)."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise DatasetError("a polygon is a list of x, y, x, y, ... with three corners at least")
    if len(polygon) > 2 * _MOST_CORNERS:
        raise DatasetError(f"a polygon has {len(polygon) // 2} corners; at most {_MOST_CORNERS} are read")
    if wrong := [value for value in polygon if isinstance(value, bool) or not isinstance(value, int | float)]:
        raise DatasetError(f"a polygon holds a {kind(wrong[0])} among its numbers")
    # Far outside it makes no difference how far, and whole numbers may be too large for a float.
    return np.array([min(max(value, -1e6), 1e6) for value in polygon], np.float64).reshape(-1, 2)[:, ::-1]


def _joined(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> Region:
    """Return the pixels inside any of some polygons."""
    every = np.concatenate(polygons)
    top, left = np.clip(np.floor(every.min(axis=0)), 0, shape).astype(int).tolist()
    bottom, right = np.clip(np.ceil(every.max(axis=0)), 0, shape).astype(int).tolist()
    inside = np.zeros((bottom - top, right - left), bool)
    for corners in polygons:
        inside |= _filled(corners - np.array([top, left]), (bottom - top, right - left))
    found = region(inside)
    return Region(found.top + top, found.left + left, found.inside)


def _filled(corners: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside a polygon, by the even-odd rule."""
    toggles = np.zeros((shape[0], shape[1] + 1), np.int32)
    start, end = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    # An edge crosses the rows whose middles lie in [low, high).
    first = np.clip(np.ceil(low - 0.5), 0, shape[0]).astype(np.int64)
    count = np.clip(np.ceil(high - 0.5), 0, shape[0]).astype(np.int64) - first
    for some in _batches(count):
        edge = np.repeat(np.arange(len(count))[some], count[some])
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(count[some]) - count[some], count[some]) + first[edge]
        share = (rows + 0.5 - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
        x = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
        np.add.at(toggles, (rows, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)), 1)
    return (np.cumsum(toggles[:, :-1], axis=1) % 2).astype(bool)


def _batches(count: NDArray[np.int64]) -> list[slice]:
    """Cut edges into runs of bounded numbers of crossings."""
    ends = np.flatnonzero(np.diff(np.cumsum(count) // _HELD)) + 1
    cuts = [0, *ends.tolist(), len(count)]
    return [slice(a, b) for a, b in pairwise(cuts)]


def _counts(counts: Any) -> NDArray[np.int64]:
    """Return run lengths, background first."""
    if isinstance(counts, str):
        return np.array(_unpacked(counts), np.int64)
    if not isinstance(counts, list) or not all(type(n) is int and 0 <= n < 1 << 40 for n in counts):
        raise DatasetError("run lengths are a list of whole numbers from 0 on, or their text")
    return np.array(counts, np.int64)


def _unpacked(text: str) -> Sequence[int]:
    """Decode run lengths: five bits a letter, lowest first; from the fourth on, differences to the last but one."""
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise DatasetError(f"'{legible(letter)}' does not belong into the text of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(found) > 2:
            value += found[-2]
        if not 0 <= value < 1 << 40:
            raise DatasetError("a run length is below 0 or beyond all images")
        found.append(value)
        value = shift = 0
    if shift:
        raise DatasetError("the text of run lengths breaks off")
    return found


def _from_runs(counts: NDArray[np.int64], shape: tuple[int, int]) -> Region:
    """Return the pixels of every second run, counted down the columns."""
    rows, cols = shape
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    if total != rows * cols or (ends < 0).any():
        raise DatasetError(f"the run lengths add up to {total} pixels, the image has {rows * cols}")
    used = counts[1::2] > 0
    begin, end = (ends - counts)[1::2][used], ends[1::2][used]
    if not len(begin):
        return region(np.zeros((0, 0), bool))
    left, right = int(begin[0]) // rows, (int(end[-1]) - 1) // rows + 1
    steps = np.zeros((right - left) * rows + 1, np.int8)
    # Runs of length 0 let one run end where the next begins.
    np.add.at(steps, begin - left * rows, 1)
    np.add.at(steps, end - left * rows, -1)
    found = region(np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(-1, rows).T)
    return Region(found.top, found.left + left, found.inside)


_MOST_COCO_BYTES = 256 * 2**20
_MOST_FAULTS = 1000


@dataclass(frozen=True)
class Outlines:
    """A mask drawn from the annotations of one image; those of crowds are left out of every score.

    Attributes
    ----------
    path : Path
        The JSON file.
    image : Path
        The image's file.
    shape : tuple of int
        (M, N).
    objects, crowds : tuple of dict
        Annotations, in the order of the file.
    """

    path: Path
    image: Path
    shape: tuple[int, int]
    objects: tuple[dict[str, Any], ...] = field(repr=False)
    crowds: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def n_objects(self) -> int:
        """How many outlines there are."""
        return len(self.objects)

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return nothing: outlines are objects."""
        return []

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Draw the objects, numbered in the order of the file, if the image is as large as the file says."""
        if (shape := read_shape(self.image, replace(reading, channel=""))) != self.shape:
            raise DatasetError(
                f"{self.image}: the image is {shape}, but {self.path.name} says {self.shape} (height, width). Export "
                "the outlines again, for these images."
            )
        labels = paint_labels(self.shape, [self._region(one) for one in self.objects])
        crowds = np.zeros(self.shape, np.int32)
        for crowd in self.crowds:
            paint(crowds, self._region(crowd), IGNORED)
        outlines = [[one.get("segmentation") for one in some] for some in (self.objects, self.crowds)]
        digest = sha256(json.dumps([self.shape, outlines], sort_keys=True).encode()).hexdigest()
        return Values(np.where(labels > 0, labels, crowds), digest)

    def _region(self, annotation: dict[str, Any]) -> Region:
        try:
            return draw_region(annotation.get("segmentation"), self.shape)
        except DatasetError as error:
            number = legible(str(annotation.get("id")))
            raise DatasetError(
                f"{self.path}: annotation {number} of {self.image.name}: {error}. Correct it."
            ) from error


@dataclass(frozen=True)
class _Document:
    """A JSON file of COCO's form, with the split that its name or folder means."""

    path: Path
    split: str
    images: list[Any]
    annotations: list[Any]


def match_coco(root: Path) -> Match:
    """Match folders with JSON files that list images and annotations."""
    found: list[_Document] = []
    refused: list[str] = []
    for path, split in _candidates(root):
        if format_of_outlines(path, root) is not None:
            continue
        try:
            document = read_json(path, _MOST_COCO_BYTES, root)
        except DatasetError as error:
            refused.append(str(error).removeprefix(f"{root}/"))
            continue
        images, annotations = document.get("images"), document.get("annotations")
        if isinstance(images, list) and isinstance(annotations, list):
            found.append(_Document(path, split, images, annotations))
        else:
            refused.append(f"{path.relative_to(root)}: has no lists called images and annotations")
    if found:
        names = " and ".join(str(document.path.relative_to(root)) for document in found)
        return Match(f"{names} lists images and annotations", partial(_read, found))
    return Match(f"needs a JSON file with images and annotations{''.join(f'; {why}' for why in refused[:3])}")


COCO = Layout("COCO", match_coco)


def _candidates(root: Path) -> list[tuple[Path, str]]:
    """List JSON files at the places where they lie as a rule; train, val or test in a name says the split."""
    places = dict.fromkeys([root, root / "annotations", *(side for side, _ in sides(root))])
    found = []
    for path in (entry for place in places for entry in entries_of(place)):
        if path.suffix.lower() == ".json" and path.is_file() and within(path, root):
            words = [path.parent.name.lower(), *re.split(r"[^a-z]+", path.stem.lower())]
            found.append((path, next((SIDE_OF[word] for word in words if word in SIDE_OF), "")))
    return found


def _read(documents: Sequence[_Document], report: ScanReport) -> Files:
    """List the images of every document, one per split, and note what is wrong with it."""
    taken: dict[str, _Document] = {}
    for document in documents:
        if (first := taken.setdefault(document.split, document)) is not document:
            report.add_problem(document.path, f"lists images and annotations, as {first.path} does. Keep one.")
    return collect_files([entry for document in taken.values() for entry in _entries(document, report)], report)


def _entries(document: _Document, report: ScanReport) -> list[Entry]:
    """List the images of one document that can be used."""
    entries: list[Entry] = []
    owned = _by_image(document, report)
    first: dict[int | str | Path, int] = {}
    for number, image in enumerate(document.images):
        if _given_up(document, report):
            break
        where = f"{document.path}: images[{number}]"
        try:
            identity, name, shape = _named(image)
            file = _found(report.root, document.path, name)
        except DatasetError as error:
            report.add_problem(where, str(error), error.worded_at)
            continue
        before = min(first.setdefault(identity, number), first.setdefault(file, number))
        if before != number:
            report.add_problem(where, f"{file.name} has the id or the file of images[{before}]. Correct or remove it.")
        elif check_inside(file, report):
            annotations = owned.get(identity, [])
            objects = tuple(one for one in annotations if not one.get("iscrowd"))
            crowds = tuple(one for one in annotations if one.get("iscrowd"))
            mask = Outlines(document.path, file, shape, objects, crowds)
            entries.append(Entry(stem_of(file.name), file, mask, split=document.split))
    _check_owners(document, owned, report)
    return entries


def _check_owners(document: _Document, owned: dict[int | str, list[dict[str, Any]]], report: ScanReport) -> None:
    """Note annotations of images that are not listed, and say if there are several categories."""
    listed = {image.get("id") for image in document.images if isinstance(image, dict) and _is_id(image.get("id"))}
    for identity in sorted(owned.keys() - listed, key=str)[:_MOST_FAULTS]:
        report.add_problem(
            document.path,
            f"{len(owned[identity])} annotations belong to the image {legible(str(identity))}, which "
            "is not listed. Correct image_id.",
        )
    categories = {str(one.get("category_id")) for some in owned.values() for one in some}
    if len(categories) > 1:
        report.add_warning(document.path, f"objects of {len(categories)} categories; all categories are treated alike.")


def _by_image(document: _Document, report: ScanReport) -> dict[int | str, list[dict[str, Any]]]:
    """Return the annotations of each image, by its id."""
    found: dict[int | str, list[dict[str, Any]]] = {}
    for number, one in enumerate(document.annotations):
        if _given_up(document, report):
            break
        owner = one.get("image_id") if isinstance(one, dict) else None
        if _is_id(owner) and one.get("iscrowd", 0) in (0, 1):
            found.setdefault(owner, []).append(one)
            continue
        what = "iscrowd is neither 0 nor 1" if _is_id(owner) else "has no image_id"
        report.add_problem(f"{document.path}: annotations[{number}]", f"{what}. Correct it.")
    return found


def _given_up(document: _Document, report: ScanReport) -> bool:
    """Return whether so many entries are wrong that the others need not be looked at, and say so."""
    if len(report.problems) >= _MOST_FAULTS:
        report.add_problem(document.path, f"over {_MOST_FAULTS} entries are wrong; the others were not checked.")
    return len(report.problems) >= _MOST_FAULTS


def _named(image: Any) -> tuple[int | str, str, tuple[int, int]]:
    """Return id, file name and shape of an image, all of the right type."""
    if not isinstance(image, dict):
        raise DatasetError(f"is a {kind(image)}, not an object with id, file_name, width and height.")
    identity, name = image.get("id"), image.get("file_name")
    if not _is_id(identity) or not isinstance(name, str) or not name:
        raise DatasetError("has no id or no file_name. Add them.")
    rows, cols = image.get("height"), image.get("width")
    if type(rows) is not int or type(cols) is not int or min(rows, cols) < 1:
        raise DatasetError(f"{legible(name)}: width and height must be whole numbers from 1 on. Correct them.")
    if rows * cols > LIMITS.pixels:
        raise DatasetError(f"{legible(name)}: {rows} x {cols} pixels; at most {LIMITS.pixels} are read. Cut the image.")
    return identity, name, (rows, cols)


def _is_id(value: Any) -> TypeGuard[int | str]:
    return isinstance(value, int | str)


def _found(root: Path, path: Path, name: str) -> Path:
    """Return the file of an image: beside the JSON file, at the root, or in the usual folders."""
    if not is_image(Path(name)):
        raise DatasetError(f"{legible(name)}: no name of an image that is read. Correct file_name.")
    year = path.stem.removeprefix("instances_")
    for place in (path.parent, root, root / "images", path.parent / "images", root / year, root / "images" / year):
        if file := find_file(place, name):
            return file
    raise DatasetError(f"{legible(name)}: no such file here, nor in images/. Add it, or take it off the list.")
