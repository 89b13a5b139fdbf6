"""CVAT for images 1.1: one XML file with all images and their shapes."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.annotations import Region
from evoseg.datasets.documents import MOST_BYTES, read_text
from evoseg.datasets.io.formats import LIMITS
from evoseg.datasets.layouts.base import SIDE_OF
from evoseg.datasets.outlines.annotated import Annotated, Outline, naming, no_area
from evoseg.datasets.outlines.areas import ellipse, turned
from evoseg.datasets.outlines.recognising import ReadableFormat

_MOST_TAGS = 2_000_000


def read_cvat(path: Path, root: Path) -> list[Annotated]:
    """Return the images of a file with their polygons, boxes, ellipses and masks.

    Raises
    ------
    DatasetError
        If it is not such a file; the message names image and shape.
    """
    text = read_text(path, MOST_BYTES, root)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DatasetError(f"{path}: declares entities, which CVAT does not write. Remove the declarations.")
    if text.count("<") > 2 * _MOST_TAGS:
        raise DatasetError(f"{path}: more than {_MOST_TAGS} elements. Export the task in several parts.")
    try:
        document = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"{path}: not XML that can be read ({error}). Export the file again.") from error
    if document.find("track") is not None:
        raise DatasetError(f"{path}: holds tracks of a video. In CVAT choose Export > CVAT for images 1.1.")
    return [_image(path, i, image) for i, image in enumerate(document.findall("image"))]


def _image(path: Path, number: int, image: ElementTree.Element) -> Annotated:
    where = f"image {number} ({legible(image.get('name', ''))})"
    objects, left_out, n_boxes = [], [], 0
    with naming(path, where):
        name = image.get("name", "")
        shape = (_whole(image.attrib, "height"), _whole(image.attrib, "width"))
        if not name or min(shape) < 1:
            raise DatasetError("name, width and height are needed")
    for i, one in enumerate(image):
        place = f"{one.tag} {i}"
        with naming(path, f"{where}: {place}"):
            part = _SHAPES[one.tag](one.attrib) if one.tag in _SHAPES else None
        if part is None:
            left_out.append(no_area(one.tag))
            continue
        objects.append(Outline(place, [part], one.get("label", "")))
        n_boxes += one.tag == "box" and not float(one.get("rotation", 0))
    split = SIDE_OF.get(image.get("subset", "").lower(), "")
    return Annotated(tuple(objects), name, where, shape, split, left_out=tuple(left_out), n_boxes=n_boxes)


def _polygon(words: Mapping[str, str]) -> list[float]:
    corners = [corner.split(",") for corner in words.get("points", "").split(";")]
    if not all(len(corner) == 2 for corner in corners):
        raise DatasetError("points are x,y;x,y;...")
    return [_float(value, "points") for corner in corners for value in corner]


def _box(words: Mapping[str, str]) -> list[float]:
    left, top, right, bottom = (_number(words, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return turned(corners, _number(words, "rotation", "0"), ((left + right) / 2, (top + bottom) / 2))


def _ellipse(words: Mapping[str, str]) -> list[float]:
    x, y, radius_x, radius_y = (_number(words, name) for name in ("cx", "cy", "rx", "ry"))
    return ellipse(x, y, radius_x, radius_y, _number(words, "rotation", "0"))


def _mask(words: Mapping[str, str]) -> Region:
    """Return the pixels that run lengths along the rows give, background first."""
    left, top, width, height = (_whole(words, name) for name in ("left", "top", "width", "height"))
    if not (0 < width * height <= LIMITS.pixels and width > 0):
        raise DatasetError(f"a mask of {width} x {height} pixels; 1 to {LIMITS.pixels} are read")
    counts = [int(word) if word.strip().isdecimal() else -1 for word in words.get("rle", "").split(",")]
    if min(counts) < 0 or sum(counts) != width * height:
        raise DatasetError(f"rle must be whole numbers that add up to {width} x {height}")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    return Region(top, left, inside)


_SHAPES: dict[str, Callable[[Mapping[str, str]], Any]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def _number(words: Mapping[str, str], name: str, default: str = "") -> float:
    return _float(words.get(name, default), name)


def _float(word: str, name: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e15:
        raise DatasetError(f"{name} is '{legible(word)}'; a number is needed")
    return value


def _whole(words: Mapping[str, str], name: str) -> int:
    word = words.get(name, "")
    if not word.lstrip("-").isdecimal() or len(word) > 9:
        raise DatasetError(f"{name} is '{legible(word)}'; a whole number is needed")
    return int(word)


CVAT = ReadableFormat(
    "CVAT",
    ("xml",),
    lambda head: b"<annotations" in head and (b"<image" in head or b"<meta>" in head),
    lambda root: partial(read_cvat, root=root),
    per_image=False,
)
