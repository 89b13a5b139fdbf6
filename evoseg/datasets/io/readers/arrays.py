"""Arrays in files that may hold anything: NumPy's own, HDF5, Zarr."""

import json
import math
import zipfile
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.formats import damaged
from evoseg.datasets.io.readers.stack import UM_PER, Stack, guess_axes
from evoseg.datasets.reading import ReadOptions, choose_series

if TYPE_CHECKING:
    import h5py

_MOST_ARRAYS = 10_000


def open_npy(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open an array that `numpy.save` wrote."""
    return _saved_array(path, path.name, file)


def open_npz(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open one of the arrays that `numpy.savez` wrote."""
    archive = zipfile.ZipFile(file)
    names = [name.removesuffix(".npy") for name in archive.namelist()[:_MOST_ARRAYS] if name.endswith(".npy")]
    found = {}
    for name in names:
        with archive.open(f"{name}.npy") as member:
            shape, _, dtype = _npy_header(path, name, member)
        if _is_picture(shape, dtype):
            found[name] = member
    name = [*found][choose_series(path, [*found], reading)]
    return _saved_array(path, name, archive.open(f"{name}.npy"))


def _saved_array(path: Path, name: str, file: Any) -> Stack:
    start = file.tell()
    shape, _, dtype = _npy_header(path, name, file)
    if len(shape) < 2:
        raise DatasetError(f"{path}: {name} is {dtype} of shape {shape}; an image has rows and columns.")

    @cache
    def array() -> Any:
        file.seek(start)
        return npy.read_array(file, allow_pickle=False)

    return Stack(guess_axes(shape), shape, dtype, lambda index: array()[index], guessed=True)


def _npy_header(path: Path, name: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise damaged(path, f"{name} is of a version of .npy that arrays of numbers do not need")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise DatasetError(
            f"{path}: {name} holds a Python pickle, which could run any code when it is read, so it is refused. Save "
            "the array itself: numpy.save(path, array)."
        )
    if any(n < 0 for n in shape):
        raise damaged(path, f"{name} has the shape {shape}")
    return shape, fortran, dtype


def _is_picture(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return whether an array may be an image: numbers in rows and columns."""
    return len(shape) >= 2 and dtype.kind in "buif" and math.prod(shape) > 0


def open_hdf5(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open one of the datasets in an HDF5 file; axes and pixel size by ilastik's and h5py's attributes."""
    import h5py

    found: dict[str, h5py.Dataset] = {}

    def look(name: str, item: Any) -> None:
        # Links to other files are not followed by `visititems`; what is stored in other files is left out here.
        own = isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual
        if own and item.shape is not None and _is_picture(item.shape, item.dtype) and len(found) < _MOST_ARRAYS:
            found[name] = item

    h5py.File(file, "r").visititems(look)
    data = found[[*found][choose_series(path, [*found], reading)]]
    named = _named_axes(data)
    axes = named or guess_axes(data.shape)
    sizes = [float(size) for size in np.ravel(data.attrs.get("element_size_um", ()))]
    spatial = [axis for axis in axes if axis in "ZYX"]
    spacing = dict(zip(spatial, sizes, strict=True)) if len(sizes) == len(spatial) else {}
    return Stack(
        axes,
        data.shape,
        data.dtype,
        lambda index: data[index],
        spacing_um=tuple(spacing.get(axis, 0.0) for axis in axes),
        guessed=not named,
    )


def _named_axes(data: "h5py.Dataset") -> str:
    """Return the axes that a dataset names, as ilastik writes them or in h5py's dimension labels; "" if it does not."""
    named = ""
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        named = "".join(axis["key"] for axis in json.loads(data.attrs["axistags"])["axes"])
    named = (named or "".join(dimension.label for dimension in data.dims)).upper()
    fits = len(named) == data.ndim == len(set(named)) and named.isalpha() and named.isascii() and {"Y", "X"} <= {*named}
    return named if fits and not {"C", "S"} <= {*named} else ""


def open_zarr(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open a level of an OME-Zarr image, the largest if none is named, or one of the arrays in another Zarr folder.

    The folder comes as a zip of its files (`formats.pack_folder`).
    """
    import zarr
    from zarr.core.buffer import cpu
    from zarr.storage import MemoryStore

    archive = zipfile.ZipFile(file)
    files = {name: cpu.Buffer.from_bytes(archive.read(name)) for name in archive.namelist()}
    root: Any = zarr.open(MemoryStore(files), mode="r")
    if isinstance(root, zarr.Array):
        return _array_of_zarr(root)
    image = next((group for group in (root, root.get("0")) if _multiscales(group)), None)
    if image is None:
        members = root.members(max_depth=None)
        arrays = {name: item for name, item in members if isinstance(item, zarr.Array) and len(item.shape) > 1}
        return _array_of_zarr([*arrays.values()][choose_series(path, [*arrays], reading)])
    pyramid = _multiscales(image)[0]
    levels = [str(level["path"]) for level in pyramid["datasets"]]
    level = choose_series(path, levels, reading) if reading.series else 0
    array = image[levels[level]]
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in pyramid.get("axes", "tczyx"[-array.ndim :])]
    axes = "".join("C" if axis.get("type") == "channel" else str(axis["name"]).upper() for axis in named)
    spacing = np.array([UM_PER.get(str(axis.get("unit")), 0.0) for axis in named])
    for place in (pyramid, pyramid["datasets"][level]):
        for change in place.get("coordinateTransformations", ()):
            if change.get("type") == "scale":
                spacing = spacing * np.array(change["scale"], float)
    channels = _ome_attributes(image).get("omero", {}).get("channels", ())
    return replace(
        _array_of_zarr(array),
        axes=axes,
        labels=tuple(str(channel.get("label", "")) for channel in channels),
        spacing_um=tuple(spacing.tolist()),
        guessed=False,
    )


def _ome_attributes(group: Any) -> dict[str, Any]:
    """Return what OME says about a group: in its attributes until version 0.4, below "ome" since then."""
    attributes = {} if group is None else dict(group.attrs)
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, dict) else {}


def _multiscales(group: Any) -> list[Any]:
    found = _ome_attributes(group).get("multiscales", [])
    return found if isinstance(found, list) else []


def _array_of_zarr(array: Any) -> Stack:
    return Stack(guess_axes(array.shape), array.shape, array.dtype, lambda index: array[index], guessed=True)
