"""Files of microscopes, by the libraries of their makers or users: CZI (pylibCZIrw), ND2 (nd2), LIF (readlif)."""

import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.readers.stack import Stack, read_planes
from evoseg.datasets.reading import ReadOptions, choose_series

_CZI_PIXELS = {
    "Gray8": ("u1", 1), "Gray16": ("u2", 1), "Gray32Float": ("f4", 1), "Bgr24": ("u1", 3), "Bgr48": ("u2", 3),
}  # fmt: skip
"""Type and number of the samples of each pixel type."""


def open_czi(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open a scene of a Zeiss file; mosaics are put together, and colours are red, green, blue."""
    from pylibCZIrw import czi

    # libCZI opens files by name; what has been read into memory is written to a file that ends with the stack.
    copy = NamedTemporaryFile(suffix=".czi")  # noqa: SIM115
    shutil.copyfileobj(file, copy)
    copy.flush()
    document: Any = czi.CziReader(copy.name)
    scenes = document.scenes_bounding_rectangle
    roi, scene = document.total_bounding_rectangle, None
    if len(scenes) > 1:
        scene = [*scenes][choose_series(path, [""] * len(scenes), reading)]
        roi = scenes[scene]
    kinds = set(document.pixel_types.values())
    if len(kinds) != 1 or not kinds <= {*_CZI_PIXELS}:
        listed = ", ".join(sorted(map(str, kinds)))
        raise DatasetError(f"{path}: channels of {listed} are not read together. Export it as OME-TIFF from ZEN.")
    kind = kinds.pop()
    sample, n_samples = _CZI_PIXELS[kind]
    sizes = {axis: last - first for axis, (first, last) in document.total_bounding_box.items() if axis not in "XY"}
    starts = {axis: document.total_bounding_box[axis][0] for axis in sizes}
    loops = [axis for axis in sizes if axis != "C" or sizes[axis] > 1]
    n_loops = tuple(sizes[axis] for axis in loops)

    def plane(place: tuple[int, ...]) -> NDArray[Any]:
        wanted = starts | {axis: starts[axis] + i for axis, i in zip(loops, place, strict=True)}
        pixels: NDArray[Any] = document.read(roi=roi, plane=wanted, scene=scene, pixel_type=kind)
        assert not copy.closed  # the file lives as long as it may be read
        return pixels[..., ::-1] if n_samples > 1 else pixels[..., 0]

    axes = "".join(loops) + ("YXS" if n_samples > 1 else "YX")
    spacing = _czi_spacing(document.raw_metadata)
    return Stack(
        axes,
        (*n_loops, roi.h, roi.w, *([n_samples] if n_samples > 1 else [])),
        np.dtype(sample),
        lambda index: read_planes(n_loops, index, plane),
        labels=_czi_channels(document.raw_metadata),
        spacing_um=tuple(spacing.get(axis, 0.0) for axis in axes),
    )


def _czi_spacing(metadata: str) -> dict[str, float]:
    """Return the distance between neighbours along each axis in µm, as far as it is known; the file has metres."""
    found = {}
    for item in ElementTree.fromstring(metadata).iterfind(".//Scaling/Items/Distance"):
        with suppress(ValueError):
            found[item.get("Id", "")] = float(item.findtext("Value", "")) * 1e6
    return found


def _czi_channels(metadata: str) -> tuple[str, ...]:
    channels = ElementTree.fromstring(metadata).iterfind(".//Information/Image/Dimensions/Channels/Channel")
    return tuple(channel.get("Name", "") for channel in channels)


def open_nd2(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open a Nikon file: stage positions are pages along P."""
    import nd2

    document: Any = nd2.ND2File(file)
    sizes = dict(document.sizes)
    axes, shape = "".join(sizes), tuple(sizes.values())
    n_loops = sum(axis not in "CYXS" for axis in axes)
    loops = shape[:n_loops]

    def plane(place: tuple[int, ...]) -> NDArray[Any]:
        frame = int(np.ravel_multi_index(place, loops)) if place else 0
        return np.asarray(document.read_frame(frame)).reshape(shape[n_loops:])

    size = document.voxel_size()
    spacing = {"Z": size.z, "Y": size.y, "X": size.x}
    labels: tuple[str, ...] = ()
    with suppress(AttributeError, TypeError):  # files of the first kind have other metadata
        labels = tuple(str(channel.channel.name) for channel in document.metadata.channels)
    return Stack(
        axes,
        shape,
        document.dtype,
        lambda index: read_planes(loops, index, plane),
        labels=labels,
        spacing_um=tuple(spacing.get(axis, 0.0) for axis in axes),
    )


def open_lif(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open a series of a Leica file: tiles of a mosaic are pages along M."""
    from readlif.reader import LifFile

    images = [*LifFile(file).get_iter_image()]
    image = images[choose_series(path, [str(image.name) for image in images], reading)]
    loops = tuple(int(n) for n in (image.dims.m, image.dims.t, image.dims.z, image.channels))

    def plane(place: tuple[int, ...]) -> NDArray[Any]:
        m, t, z, c = place
        return np.asarray(image.get_frame(z=z, t=t, c=c, m=m))

    # The file has pixels per µm, which readlif leaves empty for axes that it does not know.
    x, y = (1 / abs(per_um) if per_um else 0.0 for per_um in image.scale[:2])
    return Stack(
        "MTZCYX",
        (*loops, int(image.dims.y), int(image.dims.x)),
        np.dtype(np.uint8 if max(image.bit_depth) <= 8 else np.uint16),
        lambda index: read_planes(loops, index, plane),
        spacing_um=(0.0, 0.0, 0.0, 0.0, y, x),
    )
