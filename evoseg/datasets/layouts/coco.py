"""COCO: images, and one JSON file (or one per split) with the objects' outlines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from evoseg.core.errors import DatasetError, legible
from evoseg.core.untrusted import within
from evoseg.datasets.documents import MOST_BYTES, find_file, kind, read_json
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
from evoseg.datasets.layouts.outlined import READABLE_FORMATS
from evoseg.datasets.layouts.unread import UNREAD_FORMATS
from evoseg.datasets.outlines.annotated import Annotated, Outline, Outlines
from evoseg.datasets.outlines.recognising import Format, recognise

_OTHERS: tuple[Format, ...] = (*READABLE_FORMATS, *UNREAD_FORMATS)

_MOST_FAULTS = 1000


@dataclass(frozen=True)
class _Document:
    """A JSON file of COCO's form, with the split that its name or folder means."""

    path: Path
    split: str
    images: list[Any]
    annotations: list[Any]
    categories: Any


def match_coco(root: Path) -> Match:
    """Match folders with JSON files that list images and annotations."""
    found: list[_Document] = []
    refused: list[str] = []
    for path, split in _candidates(root):
        if recognise(path, root, _OTHERS) is not None:
            continue
        try:
            document = read_json(path, MOST_BYTES, root)
        except DatasetError as error:
            refused.append(str(error).removeprefix(f"{root}/"))
            continue
        images, annotations = document.get("images"), document.get("annotations")
        if isinstance(images, list) and isinstance(annotations, list):
            found.append(_Document(path, split, images, annotations, document.get("categories")))
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
            # What the dataset itself is called says nothing about its parts.
            inner = [path.parent.name.lower()] if path.parent != root else []
            words = [*inner, *re.split(r"[^a-z]+", path.stem.lower())]
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
    owned, names = _by_image(document, report), _categories(document.categories)
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
            outlines = tuple(_outline(one, names) for one in owned.get(identity, []))
            mask = Outlines(document.path, file, Annotated(outlines, shape=shape))
            entries.append(Entry(stem_of(file.name), file, mask, split=document.split))
    _check_owners(document, owned, report)
    return entries


def _check_owners(document: _Document, owned: dict[int | str, list[dict[str, Any]]], report: ScanReport) -> None:
    """Note annotations of images that are not listed."""
    listed = {image.get("id") for image in document.images if isinstance(image, dict) and _is_id(image.get("id"))}
    for identity in sorted(owned.keys() - listed, key=str)[:_MOST_FAULTS]:
        report.add_problem(
            document.path,
            f"{len(owned[identity])} annotations belong to the image {legible(str(identity))}, which "
            "is not listed. Correct image_id.",
        )


def _categories(listed: Any) -> dict[str, str]:
    """Return the names of categories by their ids."""
    some = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {str(one.get("id")): name for one in some if isinstance(name := one.get("name"), str)}


def _outline(annotation: dict[str, Any], names: Mapping[str, str]) -> Outline:
    """Return an annotation; those of crowds are left out of every score."""
    category = annotation.get("category_id")
    return Outline(
        f"annotation {legible(str(annotation.get('id')))}",
        annotation.get("segmentation"),
        "" if category is None else names.get(str(category), legible(str(category))),
        bool(annotation.get("iscrowd")),
    )


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
        raise DatasetError(f"{legible(name)}: width and height must be whole numbers above 0. Correct them.")
    if rows * cols > LIMITS.pixels:
        raise DatasetError(f"{legible(name)}: {rows} x {cols} pixels; at most {LIMITS.pixels} are read. Cut the image.")
    return identity, name, (rows, cols)


def _is_id(value: Any) -> TypeGuard[int | str]:
    return isinstance(value, int | str)


def _found(root: Path, path: Path, name: str) -> Path:
    """Return the file of an image: beside the JSON file, at the root, or in the usual folders."""
    if not is_image(Path(name)):
        raise DatasetError(f"{legible(name)}: not the name of an image that can be read. Correct file_name.")
    year = path.stem.removeprefix("instances_")
    for place in (path.parent, root, root / "images", path.parent / "images", root / year, root / "images" / year):
        if file := find_file(place, name):
            return file
    raise DatasetError(f"{legible(name)}: no such file here, nor in images/. Add it, or take it off the list.")
