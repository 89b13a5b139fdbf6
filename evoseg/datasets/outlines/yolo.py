"""YOLO: a text file per image, with a line per object: the number of its class, then the corners as shares."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from evoseg.core.errors import DatasetError, legible
from evoseg.core.untrusted import YamlError, read_yaml
from evoseg.datasets.documents import MOST_BYTES, read_text
from evoseg.datasets.outlines.annotated import Annotated, Outline, naming
from evoseg.datasets.outlines.recognising import ReadableFormat

_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")
_SHARE = rb"-?(?:[01](?:\.\d*)?|\.\d+|\d(?:\.\d*)?[eE]-\d+)"
_LINE = re.compile(rb"^[ \t]*\d{1,4}(?:[ \t]+" + _SHARE + rb"){4,}[ \t]*\r?$", re.MULTILINE)
_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml")
_MOST_NAME_BYTES = 2**20
_SLACK = 0.1
"""By how much of the image's size corners may lie outside of it."""


def read_yolo(path: Path, root: Path, names: Mapping[str, str]) -> list[Annotated]:
    """Return the polygons of a file; an empty file says that there is no object.

    Parameters
    ----------
    path : Path
    root : Path
        Folder that it must lie in.
    names : dict of str to str
        Of the classes, by their numbers.

    Raises
    ------
    DatasetError
        If it is not such a file, or holds boxes; the message names the line.
    """
    objects = []
    for i, line in enumerate(read_text(path, MOST_BYTES, root).splitlines(), 1):
        if words := line.split():
            with naming(path, f"line {i}"):
                objects.append(Outline(f"line {i}", [_corners(words[1:])], names.get(words[0], words[0])))
    return [Annotated(tuple(objects), shares=True)]


def _corners(words: list[str]) -> list[float]:
    try:
        corners = [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not _NUMBER.fullmatch(word))
        raise DatasetError(f"'{legible(wrong)}' is not a number") from None
    if len(corners) == 4:
        raise DatasetError("only a box; outlines (class x y x y x y ...) are needed, so export for segmentation")
    if len(corners) < 6 or len(corners) % 2:
        raise DatasetError(f"{len(corners)} numbers after the class; x and y of three corners at least are needed")
    if not all(-_SLACK <= value <= 1 + _SLACK for value in corners):
        raise DatasetError("coordinates must be shares of the image's width and height, from 0 to 1")
    return corners


def class_names(root: Path) -> dict[str, str]:
    """Return the names of classes by their numbers, from data.yaml or classes.txt; none if there is neither.

    Raises
    ------
    DatasetError
        If the file cannot be read; the message names it.
    """
    for path in (root / name for name in _NAME_FILES):
        if path.is_file():
            try:
                found = read_yaml(read_text(path, _MOST_NAME_BYTES, root))
            except YamlError as error:
                raise DatasetError(f"{path}: {error}") from error
            if isinstance(found, dict) and (names := _numbered(found.get("names"))):
                return names
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            lines = read_text(path, _MOST_NAME_BYTES, root).splitlines()
            return _numbered([line.strip() for line in lines])
    return {}


def _numbered(names: Any) -> dict[str, str]:
    pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    return {str(key): str(name) for key, name in pairs if name not in ("", None)}


YOLO = ReadableFormat(
    "YOLO",
    ("txt",),
    lambda head: _LINE.search(head) is not None,
    lambda root: partial(read_yolo, root=root, names=class_names(root)),
)
