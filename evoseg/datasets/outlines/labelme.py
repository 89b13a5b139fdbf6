"""LabelMe: a JSON file per image, with shapes. X-AnyLabeling and AnyLabeling write the same."""

from functools import partial
from pathlib import Path
from typing import Any

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.documents import MOST_BYTES, read_json
from evoseg.datasets.outlines.annotated import Annotated, Outline, member, naming, no_area, size
from evoseg.datasets.outlines.areas import decode_bitmap, ellipse, flatten, number, rectangle
from evoseg.datasets.outlines.recognising import ReadableFormat

_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_IGNORED = "__ignore__"
"""LabelMe's own label for areas that are left out of training and scores."""


def read_labelme(path: Path, root: Path) -> list[Annotated]:
    """Return the shapes of a file; those of one label and group are one object.

    Raises
    ------
    DatasetError
        If it is not such a file; the message names the shape.
    """
    document = read_json(path, MOST_BYTES, root)
    parts: dict[object, list[Any]] = {}
    objects: dict[object, Outline] = {}
    left_out, n_boxes = [], 0
    with naming(path, "the file"):
        shapes, shape = member(document, "shapes", list), size(document, "imageHeight", "imageWidth")
    for i, one in enumerate(shapes):
        where = f"shapes[{i}]"
        with naming(path, where):
            label, form = member(one, "label", str), one.get("shape_type") or "polygon"
            if form in _WITHOUT_AREA:
                left_out.append(no_area(form))
                continue
            group = one.get("group_id")
            key = (label, group) if isinstance(group, int | str) else i
            parts.setdefault(key, []).append(_part(one, form))
            n_boxes += form == "rectangle"
        ignored = label == _IGNORED
        objects.setdefault(key, Outline(where, parts[key], "" if ignored else label, ignored))
    image = document.get("imagePath")
    return [
        Annotated(
            tuple(objects.values()),
            image if isinstance(image, str) else "",
            shape=shape,
            left_out=tuple(left_out),
            n_boxes=n_boxes,
        )
    ]


def _part(one: dict[str, Any], form: object) -> Any:
    points = member(one, "points", list)
    corners = flatten(points)
    if form in ("polygon", "rotation", "oriented_rectangle") or (form == "rectangle" and len(points) == 4):
        return corners
    if form not in ("rectangle", "circle", "mask"):
        raise DatasetError(f"shape_type is '{legible(str(form))}', which is not known")
    if len(points) != 2:
        raise DatasetError(f"a {form} has two points, not {len(points)}")
    x, y, other_x, other_y = (number(value, "a coordinate") for value in corners)
    if form == "rectangle":
        return rectangle(x, y, other_x - x, other_y - y)
    if form == "mask":
        return decode_bitmap(one.get("mask"), round(y), round(x))
    radius = ((other_x - x) ** 2 + (other_y - y) ** 2) ** 0.5
    return ellipse(x, y, radius, radius)


LABELME = ReadableFormat(
    "LabelMe",
    ("json",),
    lambda head: b'"shapes"' in head and (b'"version"' in head or b'"imagePath"' in head),
    lambda root: partial(read_labelme, root=root),
)
