"""Label Studio: a JSON export with the results of all tasks; coordinates are percent of the image's size."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.annotations import Region
from evoseg.datasets.documents import MOST_BYTES, read_json_value
from evoseg.datasets.io.formats import LIMITS
from evoseg.datasets.outlines.annotated import Annotated, Outline, member, member_or, naming, no_area, size
from evoseg.datasets.outlines.areas import ellipse, flatten, number, rectangle
from evoseg.datasets.outlines.recognising import ReadableFormat, with_words


def read_label_studio(path: Path, root: Path) -> list[Annotated]:
    """Return the images of an export with their polygons, rectangles, ellipses and brush strokes.

    Tasks that nobody has annotated are left out.

    Raises
    ------
    DatasetError
        If it is not such a file; the message names task and result.
    """
    tasks = read_json_value(path, MOST_BYTES, root)
    found = []
    for i, task in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        where = f"task {i}"
        with naming(path, where):
            if not isinstance(task, dict) or not {"data", "annotations"} <= task.keys():
                raise DatasetError("has no data and annotations; choose Export > JSON in Label Studio, not JSON-MIN")
            name = _image_name(member(task, "data", dict))
            done = [one for one in member(task, "annotations", list) if not member_or(one, "was_cancelled", False)]
            results = [member(one, "result", list) for one in sorted(done, key=_is_not_truth)]
        if results:
            found.append(_annotated(path, where, name, results))
    return found


def _annotated(path: Path, where: str, name: str, results: list[list[Any]]) -> Annotated:
    """Return what the first person has drawn."""
    objects: dict[object, Outline] = {}
    shapes: set[tuple[int, int]] = set()
    left_out, n_boxes = ["annotation by another person"] * (len(results) - 1), 0
    for i, one in enumerate(results[0]):
        place = f"result {i}"
        with naming(path, f"{where}: {place}"):
            value = member_or(one, "value", None)
            form = _form(value)
            if form == "keypoint":
                left_out.append(no_area(form))
            if form in ("", "keypoint"):
                continue
            shape = size(one, "original_height", "original_width")
            if shape is None:
                raise DatasetError("original_width and original_height are needed")
            shapes.add(shape)
            # An outline and its label may be two results of one id.
            key = one["id"] if isinstance(one.get("id"), str) else i
            label = _label(value) or (objects[key].label if key in objects else "")
            n_boxes += form == "rectangle" and key not in objects
            objects[key] = Outline(place, [_PARTS[form](value, shape)], label)
    if len(shapes) > 1:
        raise DatasetError(f"{path}: {where}: results of several sizes: {sorted(shapes)}. Keep those of one image.")
    shape = shapes.pop() if shapes else None
    return Annotated(tuple(objects.values()), name, where, shape, left_out=tuple(left_out), n_boxes=n_boxes)


def _form(value: Any) -> str:
    """Return the kind of a result, "" for texts, choices and the like."""
    if not isinstance(value, dict):
        return ""
    if "points" in value:
        return "polygon"
    if "rle" in value:
        return "brush"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() else "keypoint" if "x" in value else ""


def _label(value: dict[str, Any]) -> str:
    found = next((v for key, v in value.items() if key.endswith("labels") and isinstance(v, list) and v), [""])
    return str(found[0])


def _is_not_truth(annotation: Any) -> bool:
    return not member_or(annotation, "ground_truth", False)


def _image_name(data: dict[str, Any]) -> str:
    """Return what a task calls its image: under `image`, or the first text that can be one."""
    names = [value for value in (data.get("image"), *data.values()) if isinstance(value, str) and value]
    if not names:
        raise DatasetError("data names no image")
    return names[0]


def _polygon(value: dict[str, Any], shape: tuple[int, int]) -> Any:
    corners = flatten(value["points"])
    return [number(share, "a coordinate") / 100 * shape[1 - i % 2] for i, share in enumerate(corners)]


def _pixels(value: dict[str, Any], shape: tuple[int, int], *names: str) -> list[float]:
    """Return lengths in px: those along x, then y, then x, ..."""
    return [number(value.get(name), name) / 100 * shape[1 - i % 2] for i, name in enumerate(names)]


def _rectangle(value: dict[str, Any], shape: tuple[int, int]) -> Any:
    x, y, width, height = _pixels(value, shape, "x", "y", "width", "height")
    return rectangle(x, y, width, height, number(value.get("rotation") or 0, "rotation"))


def _ellipse(value: dict[str, Any], shape: tuple[int, int]) -> Any:
    x, y, radius_x, radius_y = _pixels(value, shape, "x", "y", "radiusX", "radiusY")
    return ellipse(x, y, radius_x, radius_y, number(value.get("rotation") or 0, "rotation"))


def _brush(value: dict[str, Any], shape: tuple[int, int]) -> Any:
    packed = member(value, "rle", list)
    if not all(type(byte) is int and 0 <= byte < 256 for byte in packed):
        raise DatasetError("rle must be whole numbers from 0 to 255")
    if shape[0] * shape[1] > LIMITS.pixels:
        raise DatasetError(f"{shape[0]} x {shape[1]} pixels; at most {LIMITS.pixels} are read")
    levels = unpack_brush(np.array(packed, np.uint8), 4 * shape[0] * shape[1])
    return Region(0, 0, levels.reshape(*shape, 4)[..., 3] > 0)


def unpack_brush(packed: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    """Decode the run lengths of brush strokes, the form of the JavaScript library rle-pack of thi.ng.

    A header of 32 bits for the number of values, 5 for their size and 4 for each of four sizes of counts; then runs: a
    bit that tells repeated values from listed ones, 2 bits for the size of the count, the count, the value or values.

    Raises
    ------
    DatasetError
        If there are not `n` values of 8 bits at most.
    """
    bits = np.unpackbits(packed)
    at = 0

    def take(size: int) -> int:
        nonlocal at
        if at + size > len(bits):
            raise DatasetError("the run lengths break off")
        at += size
        return int("".join(map(str, bits[at - size : at].tolist())), 2)

    total, width = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    if total != n or width > 8:
        raise DatasetError(f"the run lengths are for {total} values of {width} bits, the image has {n} of 8")
    found = np.zeros(n, np.uint8)
    i = 0
    while i < n:
        repeated, count = take(1), take(sizes[take(2)]) + 1
        if i + count > n:
            raise DatasetError("the run lengths are longer than the image")
        if repeated:
            found[i : i + count] = take(width)
        else:
            if at + count * width > len(bits):
                raise DatasetError("the run lengths break off")
            values = bits[at : at + count * width].reshape(count, width)
            found[i : i + count] = values @ (1 << np.arange(width)[::-1])
            at += count * width
        i += count
    return found


_PARTS = {"polygon": _polygon, "rectangle": _rectangle, "ellipse": _ellipse, "brush": _brush}

LABEL_STUDIO = ReadableFormat(
    "Label Studio",
    ("json",),
    lambda head: b'"original_width"' in head or with_words('"data"', '"annotations"', '"result"')(head),
    lambda root: partial(read_label_studio, root=root),
    per_image=False,
)
