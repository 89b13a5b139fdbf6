"""GeoJSON, as QuPath exports it: a file per image, with annotations, detections and cells."""

from functools import partial
from pathlib import Path
from typing import Any

from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.documents import MOST_BYTES, a_kind, read_json_value
from evoseg.datasets.outlines.annotated import Annotated, Outline, member, naming, no_area
from evoseg.datasets.outlines.areas import flatten
from evoseg.datasets.outlines.recognising import ReadableFormat

_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_IGNORED = "Ignore*"
"""QuPath's own class for areas that are left out."""


def read_geojson(path: Path, root: Path) -> list[Annotated]:
    """Return the polygons of a file, with their holes.

    Raises
    ------
    DatasetError
        If it is not such a file, or its objects lie in several planes of a stack; the message names the feature.
    """
    objects, left_out, planes = [], [], set()
    for i, feature in enumerate(_features(path, root)):
        where = f"features[{i}]"
        with naming(path, where):
            geometry = member(feature, "geometry", dict)
            form, plane = geometry.get("type"), geometry.get("plane")
            if form in _WITHOUT_AREA:
                left_out.append(no_area(str(form)))
                continue
            label = _label(feature.get("properties"))
            parts = _parts(form, member(geometry, "coordinates", list))
            planes.add((str(plane.get("z", 0)), str(plane.get("t", 0))) if isinstance(plane, dict) else ("0", "0"))
        ignored = label == _IGNORED
        objects.append(Outline(where, parts, "" if ignored else label, ignored))
    if len(planes) > 1:
        raise DatasetError(
            f"{path}: the objects lie in {len(planes)} planes of a stack; a mask is of one plane. Export the objects "
            "of one."
        )
    return [Annotated(tuple(objects), left_out=tuple(left_out))]


def _features(path: Path, root: Path) -> list[Any]:
    """Return the features of a collection, of a bare list, or the one that a file holds."""
    value = read_json_value(path, MOST_BYTES, root)
    if isinstance(value, list):
        return value
    with naming(path, "the file"):
        if not isinstance(value, dict):
            raise DatasetError(f"holds {a_kind(value)}, not a collection of features")
        return [value] if value.get("type") == "Feature" else member(value, "features", list)


def _parts(form: object, coordinates: list[Any]) -> list[Any]:
    """Return polygons whose further rings are holes."""
    if form not in ("Polygon", "MultiPolygon"):
        raise DatasetError(f"the geometry is of the type '{legible(str(form))}'; Polygon and MultiPolygon are read")
    polygons = [coordinates] if form == "Polygon" else coordinates
    if not polygons or not all(isinstance(rings, list) and rings for rings in polygons):
        raise DatasetError("a polygon is a list of rings, the outer one first")
    return [tuple(flatten(ring) for ring in rings) for rings in polygons]


def _label(properties: Any) -> str:
    """Return the class of an object; what QuPath calls its type if it has none."""
    words = properties if isinstance(properties, dict) else {}
    named = words.get("classification")
    if isinstance(named, dict):
        names = named.get("names")
        named = ": ".join(map(str, names)) if isinstance(names, list) else named.get("name")
    found = named or words.get("objectType")
    return found if isinstance(found, str) else ""


GEOJSON = ReadableFormat(
    "GeoJSON",
    ("geojson", "json"),
    lambda head: b'"Feature' in head and (b'"geometry"' in head or b'"features"' in head),
    lambda root: partial(read_geojson, root=root),
)
