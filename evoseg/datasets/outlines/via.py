"""VGG Image Annotator (VIA 2): a JSON file with the regions of all images, exported or saved as a project."""

import math
from functools import partial
from pathlib import Path
from typing import Any

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.documents import MOST_BYTES, read_json
from evoseg.datasets.outlines.annotated import Annotated, Outline, member, naming, no_area
from evoseg.datasets.outlines.areas import ellipse, number, rectangle
from evoseg.datasets.outlines.recognising import ReadableFormat

_PROJECT = "_via_img_metadata"
_WITHOUT_AREA = ("point", "polyline")


def read_via(path: Path, root: Path) -> list[Annotated]:
    """Return the images of a file with their regions.

    Raises
    ------
    DatasetError
        If it is not such a file; the message names image and region.
    """
    document = read_json(path, MOST_BYTES, root)
    with naming(path, "the file"):
        images = member(document, _PROJECT, dict) if _PROJECT in document else document
    return [_image(path, key, image) for key, image in images.items()]


def _image(path: Path, key: str, image: Any) -> Annotated:
    where = legible(key)
    objects, left_out, n_boxes = [], [], 0
    with naming(path, where):
        name, regions = member(image, "filename", str), image.get("regions", [])
        # VIA 1 numbers regions by keys.
        regions = list(regions.values()) if isinstance(regions, dict) else member(image, "regions", list)
    for i, one in enumerate(regions):
        place = f"regions[{i}]"
        with naming(path, f"{where}: {place}"):
            words = member(one, "shape_attributes", dict)
            form = member(words, "name", str)
            if form in _WITHOUT_AREA:
                left_out.append(no_area(form))
                continue
            objects.append(Outline(place, [_part(words, form)], _label(one.get("region_attributes"))))
            n_boxes += form == "rect"
    return Annotated(tuple(objects), name, where, left_out=tuple(left_out), n_boxes=n_boxes)


def _part(words: dict[str, Any], form: str) -> list[Any]:
    def get(*names: str) -> list[float]:
        return [number(words.get(name), name) for name in names]

    if form in ("polygon", "polygon_with_holes"):
        xs, ys = member(words, "all_points_x", list), member(words, "all_points_y", list)
        if len(xs) != len(ys):
            raise DatasetError(f"{len(xs)} x and {len(ys)} y; corners have both")
        return [value for corner in zip(xs, ys, strict=True) for value in corner]
    if form == "rect":
        return rectangle(*get("x", "y", "width", "height"))
    if form == "circle":
        x, y, radius = get("cx", "cy", "r")
        return ellipse(x, y, radius, radius)
    if form == "ellipse":
        x, y, radius_x, radius_y = get("cx", "cy", "rx", "ry")
        # Newer versions turn ellipses, by radians.
        return ellipse(x, y, radius_x, radius_y, number(words.get("theta", 0), "theta") * 180 / math.pi)
    raise DatasetError(f"the shape is called '{legible(form)}', which is not known")


def _label(words: Any) -> str:
    """Return the value of a region's only attribute; of several, all of them with their names."""
    some = {k: v for k, v in words.items() if isinstance(v, str) and v} if isinstance(words, dict) else {}
    return next(iter(some.values())) if len(some) == 1 else " ".join(f"{k}={v}" for k, v in some.items())


VIA = ReadableFormat(
    "VIA",
    ("json",),
    lambda head: b'"shape_attributes"' in head or b'"_via_img_metadata"' in head,
    lambda root: partial(read_via, root=root),
    per_image=False,
)
