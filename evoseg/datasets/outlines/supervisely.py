"""Supervisely: ann/NAME.png.json beside img/NAME.png, with polygons, rectangles and bitmaps."""

import zlib
from base64 import b64decode, b64encode
from functools import partial
from pathlib import Path
from typing import Any

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.documents import MOST_BYTES, read_json
from evoseg.datasets.outlines.annotated import Annotated, Outline, member, naming, no_area, size
from evoseg.datasets.outlines.areas import decode_bitmap, flatten, number, rectangle
from evoseg.datasets.outlines.recognising import ReadableFormat

_WITHOUT_AREA = ("point", "line", "graph", "cuboid", "cuboid_3d")
_MOST_BITMAP_BYTES = 64 * 2**20


def read_supervisely(path: Path, root: Path) -> list[Annotated]:
    """Return the objects of a file.

    Raises
    ------
    DatasetError
        If it is not such a file; the message names the object.
    """
    document = read_json(path, MOST_BYTES, root)
    objects, left_out, n_boxes = [], [], 0
    with naming(path, "the file"):
        listed = member(document, "objects", list)
        shape = size(member(document, "size", dict), "height", "width")
    for i, one in enumerate(listed):
        where = f"objects[{i}]"
        with naming(path, where):
            form, label = member(one, "geometryType", str), member(one, "classTitle", str)
            if form in _WITHOUT_AREA:
                left_out.append(no_area(form))
                continue
            objects.append(Outline(where, [_part(one, form)], label))
            n_boxes += form == "rectangle"
    return [Annotated(tuple(objects), shape=shape, left_out=tuple(left_out), n_boxes=n_boxes)]


def _part(one: dict[str, Any], form: str) -> Any:
    if form == "bitmap":
        return _bitmap(member(one, "bitmap", dict))
    points = member(one, "points", dict)
    outer = flatten(member(points, "exterior", list))
    if form == "polygon":
        return (outer, *map(flatten, points.get("interior") or []))
    if form != "rectangle" or len(outer) != 4:
        raise DatasetError(f"geometryType is '{legible(form)}' with {len(outer) // 2} points, which is not known")
    x, y, other_x, other_y = (number(value, "a coordinate") for value in outer)
    return rectangle(x, y, other_x - x, other_y - y)


def _bitmap(bitmap: dict[str, Any]) -> Any:
    """Return the pixels of a PNG that is packed by zlib, then by base64."""
    x, y = (number(value, "origin") for value in (member(bitmap, "origin", list) + [None, None])[:2])
    try:
        packed = b64decode(member(bitmap, "data", str), validate=True)
        png = zlib.decompressobj().decompress(packed, _MOST_BITMAP_BYTES)
    except (ValueError, zlib.error) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError("a bitmap is not packed by zlib and base64") from error
    return decode_bitmap(b64encode(png).decode(), int(y), int(x))


SUPERVISELY = ReadableFormat(
    "Supervisely",
    ("json",),
    lambda head: b'"classTitle"' in head or (b'"objects"' in head and b'"tags"' in head and b'"size"' in head),
    lambda root: partial(read_supervisely, root=root),
)
