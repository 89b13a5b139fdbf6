"""Drawn objects as annotation tools write them, by the documented form of each."""

import json
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from roifile import ImagejRoi

from tests.datasets.written import put

Drawn = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int32]]]
"""Image and labels by stem."""


def rings(inside: NDArray[np.bool_]) -> list[list[list[float]]]:
    """Return closed outlines [[x, y], ...] along the edges of pixels, with the pixels on one side all the way."""
    padded = np.pad(inside, 1).astype(np.int8)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(start: tuple[int, int], end: tuple[int, int], forwards: bool) -> None:
        a, b = (start, end) if forwards else (end, start)
        edges.setdefault(a, []).append(b)

    down, across = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    for y, x in np.argwhere(down).tolist():
        add((x, y), (x + 1, y), down[y, x] > 0)
    for y, x in np.argwhere(across).tolist():
        add((x, y), (x, y + 1), across[y, x] < 0)
    found = []
    while edges:
        start = at = next(iter(edges))
        ring = []
        while not ring or at != start:
            ring.append([float(at[0]), float(at[1])])
            following = edges[at].pop()
            if not edges[at]:
                del edges[at]
            at = following
        found.append(ring)
    return found


def objects(labels: NDArray[np.int32]) -> list[list[list[list[float]]]]:
    """Return the outlines of each object, in the order of their numbers."""
    return [rings(labels == value) for value in range(1, labels.max() + 1)]


def labelme(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / f"{stem}.png", image)
        shapes = [
            {"label": "disc", "points": ring, "group_id": i, "shape_type": "polygon", "flags": {}}
            for i, parts in enumerate(objects(labels))
            for ring in parts
        ]
        (root / f"{stem}.json").write_text(json.dumps(labelme_document(f"{stem}.png", image, shapes)))


def labelme_document(name: str, image: NDArray[Any], shapes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": image.shape[0],
        "imageWidth": image.shape[1],
    }


def geojson(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / "images" / f"{stem}.png", image)
        features = [feature([[ring] for ring in parts]) for parts in objects(labels)]
        path = root / "annotations" / f"{stem}.geojson"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def feature(polygons: list[Any], name: str = "disc") -> dict[str, Any]:
    closed = [[[*ring, ring[0]] for ring in polygon] for polygon in polygons]
    return {
        "type": "Feature",
        "id": "d36eaf2f-8e3a-4c6c-8cf1-fb1d4f5d4a01",
        "geometry": {"type": "MultiPolygon", "coordinates": closed}
        if len(closed) > 1
        else {"type": "Polygon", "coordinates": closed[0]},
        "properties": {"objectType": "annotation", "classification": {"name": name, "color": [200, 0, 0]}},
    }


def bridged(parts: list[list[list[float]]]) -> list[list[float]]:
    """Return the parts of an object as one polygon, joined by lines without width."""
    start = parts[0][0]
    return [corner for ring in parts for corner in (*ring, ring[0], start)]


def rois(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / f"{stem}.png", image)
        for i, parts in enumerate(objects(labels)):
            roi = ImagejRoi.frompoints(np.array(bridged(parts), np.int32), name=f"{i:04d}")
            roi.tofile(root / f"{stem}.zip", mode="a")


def yolo(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / "images" / "train" / f"{stem}.png", image)
        path = root / "labels" / "train" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows, cols = labels.shape
        lines = [[f"{x / cols:.8g} {y / rows:.8g}" for x, y in bridged(parts)] for parts in objects(labels)]
        path.write_text("".join(f"0 {' '.join(corners)}\n" for corners in lines))
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nnames:\n  0: disc\n  1: debris\n")


def cvat(root: Path, drawn: Drawn) -> None:
    cvat_document(root, drawn, lambda inside: ("polygon", {"points": cvat_points(bridged(rings(inside)))}))


def cvat_points(corners: list[list[float]]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def cvat_masks(root: Path, drawn: Drawn) -> None:
    cvat_document(root, drawn, cvat_mask)


def cvat_mask(inside: NDArray[np.bool_]) -> tuple[str, dict[str, str]]:
    """Return a mask as run lengths along the rows of its box, background first."""
    top, left, cut = cut_out(inside)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], cut.ravel()]).astype(np.int8)))
    counts = np.diff([0, *edges, cut.size])
    place = {"left": left, "top": top, "width": cut.shape[1], "height": cut.shape[0]}
    return "mask", {"rle": ", ".join(map(str, counts))} | {key: str(value) for key, value in place.items()}


def cut_out(inside: NDArray[np.bool_]) -> tuple[int, int, NDArray[np.bool_]]:
    """Return the first row and column of a mask, and the mask without its empty border."""
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(rows[0]), int(cols[0]), inside[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]


def cvat_document(
    root: Path, drawn: Drawn, shape_of: Callable[[NDArray[np.bool_]], tuple[str, dict[str, str]]]
) -> None:
    document = Element("annotations")
    SubElement(document, "version").text = "1.1"
    SubElement(SubElement(document, "meta"), "task")
    for i, (stem, (image, labels)) in enumerate(drawn.items()):
        put(root / "images" / f"{stem}.png", image)
        rows, cols = labels.shape
        words = {"id": str(i), "name": f"{stem}.png", "width": str(cols), "height": str(rows)}
        listed = SubElement(document, "image", words)
        for value in range(1, labels.max() + 1):
            form, shape = shape_of(labels == value)
            SubElement(listed, form, {"label": "disc", "source": "manual", "occluded": "0", "z_order": "0"} | shape)
    ElementTree(document).write(root / "annotations.xml", encoding="utf-8", xml_declaration=True)


def via(root: Path, drawn: Drawn) -> None:
    document = {}
    for stem, (image, labels) in drawn.items():
        n_bytes = put(root / "images" / f"{stem}.png", image).stat().st_size
        regions = [via_region(bridged(parts)) for parts in objects(labels)]
        name = f"{stem}.png"
        listed = {"filename": name, "size": n_bytes, "regions": regions, "file_attributes": {}}
        document[f"{name}{n_bytes}"] = listed
    (root / "via_region_data.json").write_text(json.dumps(document))


def via_region(corners: list[list[float]]) -> dict[str, Any]:
    xs, ys = zip(*corners, strict=True)
    shape = {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)}
    return {"shape_attributes": shape, "region_attributes": {"type": "disc"}}


def label_studio(root: Path, drawn: Drawn) -> None:
    label_studio_document(root, drawn, percent_polygon)


def percent_polygon(inside: NDArray[np.bool_]) -> dict[str, Any]:
    rows, cols = inside.shape
    points = [[100 * x / cols, 100 * y / rows] for x, y in bridged(rings(inside))]
    return {"points": points, "closed": True, "polygonlabels": ["disc"]}


def label_studio_brush(root: Path, drawn: Drawn) -> None:
    label_studio_document(root, drawn, brush)


def brush(inside: NDArray[np.bool_]) -> dict[str, Any]:
    return {"format": "rle", "rle": packed_brush(inside), "brushlabels": ["disc"]}


def packed_brush(inside: NDArray[np.bool_]) -> list[int]:
    """Return a mask as the run lengths of its RGBA values: long runs as repeated values, short ones listed."""
    levels = np.repeat(inside.ravel() * np.uint8(255), 4)
    sizes = (3, 4, 8, 16)
    bits = f"{len(levels):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    ends = [*np.flatnonzero(np.diff(levels)) + 1, len(levels)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        count = end - start - 1
        which = next(i for i, size in enumerate(sizes) if count < 1 << size)
        listed = f"{levels[start]:08b}" * (1 if count >= 8 else count + 1)
        bits += f"{int(count >= 8)}{which:02b}{count:0{sizes[which]}b}{listed}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def label_studio_document(root: Path, drawn: Drawn, value_of: Callable[[NDArray[np.bool_]], dict[str, Any]]) -> None:
    tasks = []
    for i, (stem, (image, labels)) in enumerate(drawn.items()):
        put(root / "images" / f"{stem}.png", image)
        results = [label_studio_result(value_of(labels == v), v) for v in range(1, labels.max() + 1)]
        annotation = {"id": i, "was_cancelled": False, "ground_truth": False, "result": results}
        name = f"/data/upload/1/0a1b2c3d-{stem}.png"
        tasks.append({"id": i, "data": {"image": name}, "annotations": [annotation], "predictions": []})
    (root / "project-1.json").write_text(json.dumps(tasks))


def label_studio_result(value: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """Return a result for images of 48 x 62 px."""
    where = {"from_name": "label", "to_name": "image", "original_width": 62, "original_height": 48, "image_rotation": 0}
    return {"id": f"r{number}", "type": "polygonlabels"} | where | {"value": value}


def supervisely(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / "ds0" / "img" / f"{stem}.png", image)
        listed = [
            {"classTitle": "disc", "geometryType": "bitmap", "bitmap": supervisely_bitmap(labels == value)}
            for value in range(1, labels.max() + 1)
        ]
        path = root / "ds0" / "ann" / f"{stem}.png.json"
        path.parent.mkdir(exist_ok=True)
        rows, cols = labels.shape
        path.write_text(json.dumps({"tags": [], "size": {"height": rows, "width": cols}, "objects": listed}))
    (root / "meta.json").write_text(json.dumps({"classes": [{"title": "disc", "shape": "bitmap"}], "tags": []}))


def supervisely_bitmap(inside: NDArray[np.bool_]) -> dict[str, Any]:
    top, left, cut = cut_out(inside)
    picture, file = Image.fromarray(cut.astype(np.uint8)), BytesIO()
    picture = picture.convert("P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(file, format="PNG", transparency=0)
    data = b64encode(zlib.compress(file.getvalue())).decode()
    return {"data": data, "origin": [left, top]}


OUTLINE_WRITERS = {
    "LabelMe": labelme,
    "VIA": via,
    "Supervisely": supervisely,
    "GeoJSON": geojson,
    "Label Studio": label_studio,
    "Label Studio, brush": label_studio_brush,
    "CVAT": cvat,
    "CVAT, masks": cvat_masks,
    "ImageJ ROI": rois,
    "YOLO": yolo,
}
"""By the layout's name, and, after a comma, the form in it."""
