"""COCO: images, and one JSON file (or one per split) with the objects' outlines."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from evoseg.base.errors import DatasetError, legible
from evoseg.base.notes import Note
from evoseg.base.untrusted import within
from evoseg.data.files import StoredMask
from evoseg.data.formats import LIMITS
from evoseg.data.layouts.documents import file_called, json_in, kind
from evoseg.data.layouts.layout import SIDE_OF, Entry, Files, Layout, Look, entries_of, gathered, sides
from evoseg.data.layouts.outlines import drawn
from evoseg.data.layouts.unread import format_of_outlines
from evoseg.data.listing import Notes, inside, is_image, stem_of
from evoseg.data.meaning import IGNORED, Meaning
from evoseg.data.reading import Reading
from evoseg.data.truths import Region, Values, painted, put, shape_read

_MOST_BYTES = 256 * 2**20
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

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return nothing: outlines are objects."""
        return []

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Draw the objects, numbered in the order of the file, if the image is as large as the file says."""
        if (shape := shape_read(self.image, replace(reading, channel=""))) != self.shape:
            raise DatasetError(
                f"{self.image}: the image is {shape}, but {self.path.name} says {self.shape} (height, width). Export "
                "the outlines again, for these images."
            )
        labels = painted(self.shape, [self._region(one) for one in self.objects])
        crowds = np.zeros(self.shape, np.int32)
        for crowd in self.crowds:
            put(crowds, self._region(crowd), IGNORED)
        outlines = [[one.get("segmentation") for one in some] for some in (self.objects, self.crowds)]
        digest = sha256(json.dumps([self.shape, outlines], sort_keys=True).encode()).hexdigest()
        return Values(np.where(labels > 0, labels, crowds), digest)

    def _region(self, annotation: dict[str, Any]) -> Region:
        try:
            return drawn(annotation.get("segmentation"), self.shape)
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


def look(root: Path) -> Look:
    """Take folders with JSON files that list images and annotations."""
    found: list[_Document] = []
    refused: list[str] = []
    for path, split in _candidates(root):
        if format_of_outlines(path, root) is not None:
            continue
        try:
            document = json_in(path, _MOST_BYTES, root)
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
        return Look(f"{names} lists images and annotations", partial(_read, found))
    return Look(f"needs a JSON file with images and annotations{''.join(f'; {why}' for why in refused[:3])}")


LAYOUT = Layout("COCO", look)


def _candidates(root: Path) -> list[tuple[Path, str]]:
    """List JSON files at the places where they lie as a rule; train, val or test in a name says the split."""
    places = dict.fromkeys([root, root / "annotations", *(side for side, _ in sides(root))])
    found = []
    for path in (entry for place in places for entry in entries_of(place)):
        if path.suffix.lower() == ".json" and path.is_file() and within(path, root):
            words = [path.parent.name.lower(), *re.split(r"[^a-z]+", path.stem.lower())]
            found.append((path, next((SIDE_OF[word] for word in words if word in SIDE_OF), "")))
    return found


def _read(documents: Sequence[_Document], notes: Notes) -> Files:
    """List the images of every document, one per split, and note what is wrong with it."""
    taken: dict[str, _Document] = {}
    for document in documents:
        if (first := taken.setdefault(document.split, document)) is not document:
            notes.faults.append(Note(document.path, f"lists images and annotations, as {first.path} does. Keep one."))
    return gathered([entry for document in taken.values() for entry in _entries(document, notes)], notes)


def _entries(document: _Document, notes: Notes) -> list[Entry]:
    """List the images of one document that can be used."""
    entries: list[Entry] = []
    owned = _by_image(document, notes)
    first: dict[int | str | Path, int] = {}
    for number, image in enumerate(document.images):
        if _given_up(document, notes):
            break
        where = f"{document.path}: images[{number}]"
        try:
            identity, name, shape = _named(image)
            file = _found(notes.root, document.path, name)
        except DatasetError as error:
            notes.faults.append(Note(where, str(error), error.worded_at))
            continue
        before = min(first.setdefault(identity, number), first.setdefault(file, number))
        if before != number:
            notes.faults.append(
                Note(where, f"{file.name} has the id or the file of images[{before}]. Correct or remove it.")
            )
        elif inside(file, notes):
            annotations = owned.get(identity, [])
            objects = tuple(one for one in annotations if not one.get("iscrowd"))
            crowds = tuple(one for one in annotations if one.get("iscrowd"))
            mask = Outlines(document.path, file, shape, objects, crowds)
            entries.append(Entry(stem_of(file.name), file, mask, split=document.split))
    _check_owners(document, owned, notes)
    return entries


def _check_owners(document: _Document, owned: dict[int | str, list[dict[str, Any]]], notes: Notes) -> None:
    """Note annotations of images that are not listed, and say if there are several categories."""
    listed = {image.get("id") for image in document.images if isinstance(image, dict) and _is_id(image.get("id"))}
    for identity in sorted(owned.keys() - listed, key=str)[:_MOST_FAULTS]:
        notes.faults.append(
            Note(
                document.path,
                f"{len(owned[identity])} annotations belong to the image {legible(str(identity))}, which "
                "is not listed. Correct image_id.",
            )
        )
    categories = {str(one.get("category_id")) for some in owned.values() for one in some}
    if len(categories) > 1:
        notes.warnings.append(Note(document.path, f"objects of {len(categories)} categories; all of them count alike."))


def _by_image(document: _Document, notes: Notes) -> dict[int | str, list[dict[str, Any]]]:
    """Return the annotations of each image, by its id."""
    found: dict[int | str, list[dict[str, Any]]] = {}
    for number, one in enumerate(document.annotations):
        if _given_up(document, notes):
            break
        owner = one.get("image_id") if isinstance(one, dict) else None
        if _is_id(owner) and one.get("iscrowd", 0) in (0, 1):
            found.setdefault(owner, []).append(one)
            continue
        what = "iscrowd is neither 0 nor 1" if _is_id(owner) else "has no image_id"
        notes.faults.append(Note(f"{document.path}: annotations[{number}]", f"{what}. Correct it."))
    return found


def _given_up(document: _Document, notes: Notes) -> bool:
    """Return whether so many entries are wrong that the others need not be looked at, and say so."""
    if len(notes.faults) >= _MOST_FAULTS:
        notes.faults.append(
            Note(document.path, f"over {_MOST_FAULTS} entries are wrong; the others were not looked at.")
        )
    return len(notes.faults) >= _MOST_FAULTS


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
        if file := file_called(place, name):
            return file
    raise DatasetError(f"{legible(name)}: no such file here, nor in images/. Add it, or take it off the list.")
