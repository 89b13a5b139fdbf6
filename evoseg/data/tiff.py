"""TIFF, through tifffile, which knows axes; through Pillow where a codec is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.data import raster
from evoseg.data.formats import Decoded, Header, Limits, channel_names, check_size, damaged

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_UNREAD = {"CFA": "raw sensor", "SEPARATED": "CMYK", "CIELAB": "Lab", "ICCLAB": "Lab", "ITULAB": "Lab"}
_LOSSY = ("JPEG", "JPEGXR", "WEBP", "LERC", "JPEGXL")


def header(path: Path, file: BinaryIO) -> Header:
    """Return what an open TIFF file says about its pixels."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        return _header(path, tiff)


def decode(path: Path, file: BinaryIO, limits: Limits) -> Decoded:
    """Return the pixels of an open TIFF file, checked against `limits` first."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        head = _header(path, tiff)
        check_size(path, head, limits)
        check_complete(path, tiff)
        try:
            stack: NDArray[Any] = tiff.series[0].asarray(maxworkers=1)
        except Exception as error:
            # Pillow would turn the picture upright by itself.
            if "imagecodecs" not in str(error) or head.orientation != 1:
                raise
            file.seek(0)
            return raster.decode(path, file, "TIFF", limits)
        if stack.shape != tiff.series[0].shape:
            raise damaged(path, f"it holds {stack.size} values for a shape of {tiff.series[0].shape}")
        return _arranged(tiff, head, stack)


def _arranged(tiff: "TiffFile", head: Header, stack: NDArray[Any]) -> Decoded:
    """Bring a series to (M, N, C), alpha apart."""
    axes = tiff.series[0].axes
    if len(axes) == 2:
        stack = stack[..., None]
    elif axes[0] in "CS":
        stack = np.moveaxis(stack, 0, -1)
    stack = stack.astype(stack.dtype.newbyteorder("="), copy=False)
    colours = None
    if head.palette:
        # Colours are 16-bit, one row per component; 8 bits are what every writer fills.
        colours = (np.asarray(tiff.pages[0].aspage().colormap).T >> 8).astype(np.uint8)
    n = 1 if head.palette else len(head.names)
    alpha = stack[..., n] if head.alpha else None
    return Decoded(head, np.ascontiguousarray(stack[..., :n]), alpha, colours)


def _header(path: Path, tiff: "TiffFile") -> Header:
    """Return what the first series says, or why it cannot be used."""
    if not tiff.series:
        raise damaged(path, "no image inside")
    series, page = tiff.series[0], tiff.pages[0].aspage()
    photometric = getattr(page.photometric, "name", str(page.photometric))
    if photometric in _UNREAD:
        raise DatasetError(f"{path}: {_UNREAD[photometric]} pixels are not read; grey, palette and RGB are.")
    depth = _depth(path, tiff, series)
    if series.dtype is None or series.dtype.kind not in "buif":
        raise DatasetError(f"{path}: pixels of type {series.dtype} are not read. Export it as 8-bit, 16-bit or float.")
    palette = photometric == "PALETTE"
    alpha = depth > 1 and any(int(extra) in (1, 2) for extra in page.extrasamples[-1:])
    colour = palette or photometric in ("RGB", "YCBCR")
    return Header(
        stored="TIFF",
        shape=(series.shape[series.axes.index("Y")], series.shape[series.axes.index("X")]),
        names=channel_names(3 if palette else depth - alpha, colour),
        dtype=series.dtype.newbyteorder("="),
        alpha=alpha,
        palette=palette,
        orientation=_orientation(page),
        lossy=any(word in getattr(page.compression, "name", "") for word in _LOSSY),
        white_is_zero=photometric == "MINISWHITE",
    )


def _depth(path: Path, tiff: "TiffFile", series: "TiffPageSeries") -> int:
    """Return the number of channels, alpha included; pages are channels only where the axes say C."""
    # tifffile leaves small pages out of its series; those that are no thumbnails count here.
    loose = sum(not page.aspage().is_reduced for page in tiff.pages) - len(series.pages)
    n_images = max(len(tiff.series), 1 + loose)
    if n_images > 1:
        raise DatasetError(f"{path}: holds {n_images} separate images. Save one image per file.")
    axes = series.axes
    if axes == "YX":
        return 1
    if axes in ("YXS", "YXC", "CYX", "SYX"):
        return int(series.shape[2 if axes[0] == "Y" else 0])
    raise DatasetError(
        f"{path}: several pages with axes {axes} of {' x '.join(map(str, series.shape))}; pages are channels only if "
        "the axes say C. Save one image per file, or channels with axes CYX."
    )


def _orientation(page: "TiffPage") -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1


def check_complete(path: Path, tiff: "TiffFile") -> None:
    """Refuse a file that ends before its data: tifffile would fill the rest with zeros."""
    size = tiff.filehandle.size
    for page in tiff.series[0].pages:
        if page is None:
            raise damaged(path, "a page is missing")
        segments = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > size or count == 0 for offset, count in segments):
            raise damaged(path, "it ends before its last strip")
        if not page.dataoffsets:
            raise damaged(path, "it has no pixel data")
