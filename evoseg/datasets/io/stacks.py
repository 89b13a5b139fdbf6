"""The registry of readers of the field's image formats, and what all of them share: pages, axes, channels, sizes.

A reader is a function that opens a file as a `Stack`. It runs in a child process with limits (`decoding`), since the
libraries that it asks were not made for hostile files. A new format takes a line in `formats.FILE_FORMATS`, one in
`READERS`, and its function.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.formats import Decoded, Header, Limits, channel_names, check_size, damaged, format_of
from evoseg.datasets.io.readers.arrays import open_hdf5, open_npy, open_npz, open_zarr
from evoseg.datasets.io.readers.medical import open_dicom, open_nifti
from evoseg.datasets.io.readers.microscopes import open_czi, open_lif, open_nd2
from evoseg.datasets.io.readers.stack import Stack
from evoseg.datasets.reading import PixelLayout, ReadOptions, lay_out

READERS: dict[str, Callable[[Path, BinaryIO, ReadOptions], Stack]] = {
    "NPY": open_npy,
    "NPZ": open_npz,
    "HDF5": open_hdf5,
    "NIfTI": open_nifti,
    "DICOM": open_dicom,
    "Zarr": open_zarr,
    "CZI": open_czi,
    "ND2": open_nd2,
    "LIF": open_lif,
}
"""By the name of the format in `formats.FILE_FORMATS`."""


def header(path: Path, file: BinaryIO, reading: ReadOptions) -> Header:
    """Return what an open file says about its pixels, or about those of one page."""
    return _open(path, file, reading)[2]


def decode(path: Path, file: BinaryIO, limits: Limits, reading: ReadOptions) -> Decoded:
    """Return the pixels of an open file, or of one page, checked against `limits` first."""
    stack, layout, head = _open(path, file, reading)
    check_size(path, head, limits)
    pixels = stack.read(layout.index())
    kept = tuple(layout.size(axis) for axis in layout.axes if axis not in layout.page)
    if pixels.shape != kept:
        raise damaged(path, f"it holds {pixels.size} values for a shape of {kept}")
    return Decoded(head, np.ascontiguousarray(layout.arrange(pixels)))


@lru_cache(maxsize=2)
def _stack_in(path: Path, stored: str, data: bytes, reading: ReadOptions) -> Stack:
    """Open the bytes of a file; an image and its mask are kept for their next pages, behind these in a gzip file."""
    return READERS[stored](path, io.BytesIO(data), reading)


def _open(path: Path, file: BinaryIO, reading: ReadOptions) -> tuple[Stack, PixelLayout, Header]:
    stored = format_of(path, file)
    chosen = replace(reading, page="", channel="")
    if isinstance(file, io.BytesIO):
        stack = _stack_in(path, stored, file.getvalue(), chosen)
    else:
        stack = READERS[stored](path, file, chosen)
    if len(stack.axes) != len(stack.shape):
        shape = " x ".join(map(str, stack.shape))
        raise DatasetError(f"{path}: {shape} are {len(stack.shape)} axes, which is too many. Save one image per file.")
    if min(stack.shape) < 0:
        raise damaged(path, f"it has the shape {stack.shape}")
    stack = stack.squeezed()
    if stack.dtype.kind not in "buif":
        raise DatasetError(f"{path}: pixels of type {stack.dtype} are not read. Export it as 8-bit, 16-bit or float.")
    stated = stack.guessed and len(reading.axes) == len(stack.axes)
    layout = lay_out(path, reading.axes if stated else stack.axes, stack.shape, reading)
    names = channel_names(layout.depth, colour=layout.channel == "S")
    spacing = dict(zip(layout.axes, stack.spacing_um, strict=True))
    height, width = spacing["Y"], spacing["X"]
    return (
        stack,
        layout,
        Header(
            stored=stored,
            shape=(layout.size("Y"), layout.size("X")),
            names=names,
            dtype=stack.dtype.newbyteorder("="),
            labels=stack.labels if len(stack.labels) == len(names) and all(stack.labels) else (),
            pages=layout.pages,
            pixel_size_um=(height, width) if height and width else None,
        ),
    )
