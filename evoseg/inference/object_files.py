"""Files for other programs with the objects or points of an answer: QuPath, ImageJ, COCO, and OME-TIFF."""

import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from evoseg import __version__
from evoseg.core.disk import write_atomically
from evoseg.datasets.imageformat import Sides
from evoseg.inference.object_table import HeldLines
from evoseg.inference.objects import AnswerObjects, FoundObject
from evoseg.inference.outlines import Polygon, Ring, column_runs, pack_runs

LABELS, ROIS, GEOJSON, COCO = "labels", "rois", "geojson", "coco"
FILES = {LABELS: "{}.ome.tif", ROIS: "{}.zip", GEOJSON: "{}.geojson"}
"""Formats with a file for each image, in a folder called like the format, and the name of that file."""
FORMATS = (*FILES, COCO)
COCO_FILE = "coco.json"
_MOST_CORNERS = 5_000
"""Corners of a COCO polygon; objects with more, or with holes, are written as run lengths."""
_TILE = 512


class _WholeFile(ABC):
    """Writes a file that appears whole when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._open(self._stack.enter_context(write_atomically(self._path)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._stack.__exit__(kind, error, trace)

    @abstractmethod
    def _open(self, file: BinaryIO) -> None:
        """Begin the file."""

    @abstractmethod
    def _finish(self) -> None:
        """End the file."""


class ObjectsFile(_WholeFile):
    """Writes the objects of one image as they come, or its points."""

    @abstractmethod
    def add(self, found: FoundObject) -> None:
        """Write an object."""

    @abstractmethod
    def add_points(self, points: NDArray[np.float64]) -> None:
        """Write points (row, col)."""


class GeoJson(ObjectsFile):
    """Writes a GeoJSON file as QuPath reads it: a detection per object, in px from the image's upper left corner.

    Objects are polygons along the edges of pixels (RFC 7946, with x for longitude and y for latitude); points are at
    the middle of theirs.
    """

    def _open(self, file: BinaryIO) -> None:
        self._file = file
        self._n = 0
        file.write(b'{"type": "FeatureCollection", "features": [')

    def _finish(self) -> None:
        self._file.write(b"\n]}\n")

    def add(self, found: FoundObject) -> None:
        """Write a polygon, or several if the object has parts that touch at corners only."""
        polygons = [[_closed(ring) for ring in polygon] for polygon in found.polygons]
        whole = len(polygons) == 1
        geometry = {
            "type": "Polygon" if whole else "MultiPolygon",
            "coordinates": polygons[0] if whole else polygons,
        }
        properties: dict[str, Any] = {"objectType": "detection", "name": str(found.number)}
        if found.class_name:
            properties["classification"] = {"name": found.class_name}
        self._feature(geometry, properties)

    def add_points(self, points: NDArray[np.float64]) -> None:
        """Write points (row, col) as one set."""
        places = [[round(col + 0.5, 3), round(row + 0.5, 3)] for row, col in points.tolist()]
        self._feature({"type": "MultiPoint", "coordinates": places}, {"objectType": "annotation"})

    def _feature(self, geometry: dict[str, Any], properties: dict[str, Any]) -> None:
        feature = {"type": "Feature", "geometry": geometry, "properties": properties}
        self._file.write(b",\n" if self._n else b"\n")
        self._file.write(json.dumps(feature, separators=(",", ":")).encode())
        self._n += 1


def _closed(ring: Ring) -> list[list[int]]:
    """Return the corners of a ring as [x, y], the first one again at the end."""
    corners: list[list[int]] = ring[:, ::-1].tolist()
    return [*corners, corners[0]]


class RoiZip(ObjectsFile):
    """Writes a .zip of ImageJ regions of interest, which its ROI Manager opens; each is named by its object's number.

    Objects are traced along the edges of pixels; those with holes or several parts are composite regions.
    """

    def _open(self, file: BinaryIO) -> None:
        self._zip = self._stack.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED))

    def _finish(self) -> None:
        pass  # the zip is closed with the stack

    def add(self, found: FoundObject) -> None:
        """Write the region of an object."""
        from roifile import ROI_TYPE, ImagejRoi

        name = f"{found.number:05d}{'-' if found.class_name else ''}{found.class_name}"
        if len(found.polygons) == 1 and len(found.polygons[0]) == 1:
            roi = ImagejRoi.frompoints(found.polygons[0][0][:, ::-1], name=name)
            roi.roitype = ROI_TYPE.TRACED
            # The corners are those of pixels: the last ones are the bounds.
            roi.bottom, roi.right = roi.bottom - 1, roi.right - 1
        else:
            path = _path_of(found.polygons)
            rows, cols = found.inside.shape
            roi = ImagejRoi(
                roitype=ROI_TYPE.RECT,
                name=name,
                top=found.top,
                left=found.left,
                bottom=found.top + rows,
                right=found.left + cols,
                shape_roi_size=len(path),
                multi_coordinates=path,
            )
        self._zip.writestr(f"{name}.roi", roi.tobytes())

    def add_points(self, points: NDArray[np.float64]) -> None:
        """Write points (row, col) as one region; none if there are none, as ImageJ knows no empty region."""
        from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

        if len(points):
            roi = ImagejRoi.frompoints(points[:, ::-1] + 0.5, name="points")
            roi.roitype = ROI_TYPE.POINT
            roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
            self._zip.writestr("points.roi", roi.tobytes())


def _path_of(polygons: Sequence[Polygon]) -> NDArray[np.float32]:
    """Return polygons as ImageJ's path of a composite region: 0 x y (move), 1 x y (line), and 4 (close)."""
    parts: list[NDArray[Any]] = []
    for ring in (ring for polygon in polygons for ring in polygon):
        steps = np.ones((len(ring), 3))
        steps[0, 0] = 0
        steps[:, 1:] = ring[:, ::-1]
        parts += [steps.ravel(), np.array([4.0])]
    return np.concatenate(parts).astype(np.float32)


class CocoPart(HeldLines):
    """The objects of one image as annotations of COCO, without ids.

    Parameters
    ----------
    shape : (M, N)
        Of the image.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    def add(self, found: FoundObject) -> None:
        """Keep the annotation of an object."""
        rows, cols = found.inside.shape
        annotation = {
            "category_id": found.class_value,
            "iscrowd": 0,
            "area": found.area,
            "bbox": [found.left, found.top, cols, rows],
            "segmentation": self._segmentation(found),
        }
        self.hold(json.dumps(annotation, separators=(",", ":")))

    def _segmentation(self, found: FoundObject) -> Any:
        polygons = found.polygons
        if all(len(polygon) == 1 and len(polygon[0]) <= _MOST_CORNERS for polygon in polygons):
            return [ring[:, ::-1].ravel().tolist() for (ring,) in polygons]
        rows, cols = self.shape
        runs = column_runs(found.inside, found.top, found.left, rows, rows * cols)
        return {"size": [rows, cols], "counts": pack_runs(runs)}


class CocoFile(_WholeFile):
    """Writes one JSON file of COCO's form with the objects of all images, as they come; it appears whole at the end.

    Parameters
    ----------
    path : Path
    categories : mapping of int to str
        Names of the classes by their values.
    """

    def __init__(self, path: Path, categories: dict[int, str]) -> None:
        super().__init__(path)
        self._categories = [{"id": value, "name": name} for value, name in categories.items()]

    def _open(self, file: BinaryIO) -> None:
        self._file = file
        self._images: list[dict[str, Any]] = []
        self._n = 0
        info = {"description": "objects found by evoseg", "version": __version__}
        head = json.dumps({"info": info, "categories": self._categories})
        file.write(head[:-1].encode() + b',\n"annotations": [')

    def _finish(self) -> None:
        # Names and sizes of images are short; they follow the annotations, so that these need not be kept.
        self._file.write(b'],\n"images": [\n')
        self._file.write(b",\n".join(json.dumps(image).encode() for image in self._images))
        self._file.write(b"\n]}\n")

    def add_image(self, number: int, name: str, part: CocoPart) -> None:
        """Write the annotations of an image, and close them."""
        rows, cols = part.shape
        self._images.append({"id": number, "file_name": name, "width": cols, "height": rows})
        for line in part.lines():
            self._n += 1
            start = b'%s\n{"id":%d,"image_id":%d,' % (b"," if self._n > 1 else b"", self._n, number)
            self._file.write(start + line.removeprefix(b"{").rstrip(b"\n"))
        part.close()


def write_label_image(path: Path, objects: AnswerObjects, sides_um: Sides | None) -> None:
    """Write an OME-TIFF in which each object has its number, in compressed tiles, strip by strip.

    Parameters
    ----------
    path : Path
    objects : AnswerObjects
    sides_um : (float, float) or None
        Height and width of a pixel; they become PhysicalSizeY and PhysicalSizeX, and the resolution of the TIFF.
    """
    import tifffile

    dtype = np.dtype(np.uint16 if len(objects) < 1 << 16 else np.int32)
    metadata: dict[str, Any] = {"axes": "YX"}
    resolution: dict[str, Any] = {}
    if sides_um is not None:
        height, width = sides_um
        metadata |= {"PhysicalSizeX": width, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": height, "PhysicalSizeYUnit": "µm"}
        resolution = {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    with write_atomically(path) as file:
        tifffile.imwrite(
            file,
            _tiles(objects.labels(), objects.shape[1], dtype),
            shape=objects.shape,
            dtype=dtype,
            ome=True,
            photometric="minisblack",
            tile=(_TILE, _TILE),
            compression="zlib",
            predictor=False,
            metadata=metadata,
            **resolution,
        )


def _tiles(strips: Iterator[NDArray[np.int32]], cols: int, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Cut strips of any height into tiles, row by row; those at the border are filled up with 0."""
    waiting = np.zeros((0, cols), dtype)
    for strip in strips:
        waiting = np.concatenate([waiting, strip.astype(dtype)])
        whole = len(waiting) // _TILE * _TILE
        for top in range(0, whole, _TILE):
            yield from _across(waiting[top : top + _TILE])
        waiting = waiting[whole:].copy()
    if len(waiting):
        yield from _across(waiting)


def _across(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for left in range(0, rows.shape[1], _TILE):
        part = rows[:, left : left + _TILE]
        yield np.pad(part, ((0, _TILE - part.shape[0]), (0, _TILE - part.shape[1])))


WRITERS: dict[str, Callable[[Path], ObjectsFile]] = {GEOJSON: GeoJson, ROIS: RoiZip}
"""Of formats with a file for each image, those that can hold points as well as objects."""
