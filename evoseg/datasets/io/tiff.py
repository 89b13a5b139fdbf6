"""TIFF, through tifffile, which knows axes; through Pillow where a codec is missing."""

import math
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.formats import (
    Decoded,
    Header,
    Limits,
    channel_names,
    check_size,
    damaged,
    decode_raster,
)
from evoseg.datasets.io.readers.stack import UM_PER
from evoseg.datasets.reading import DEFAULT_OPTIONS, PixelLayout, ReadOptions, choose_series, lay_out

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_UNREAD = {"CFA": "raw sensor", "SEPARATED": "CMYK", "CIELAB": "Lab", "ICCLAB": "Lab", "ITULAB": "Lab"}
PLAIN_CODECS = frozenset({1, 5, 8, 32773, 32946})
"""Compressions that are read in this process: none, LZW, Deflate and PackBits, which are simple and bounded."""
ROW_CODECS = PLAIN_CODECS | {7, 50000}
"""Of images that are read row by row: JPEG and Zstandard, too."""
_PLAIN_TAGS = frozenset(
    [*(tag for tag in range(254, 342) if tag != 330), 347, 700, 33432, 33550, 33922, 34675, 34735, 34736, 34737, 42112]
    + [42113, 50838, 50839]
)
"""Baseline TIFF, ImageJ, GeoTIFF, colour profiles: tags that name no further directory and no other format."""
_DESCRIPTION, _COMPRESSION = 270, 259
MAX_PAGES = 50_000
MAX_TAGS = 4096
_LARGE = 1 << 24
"""Bytes of tags that a file may have beyond four times its own size: several pages may share theirs."""
_TYPE_SIZES = dict(enumerate([1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 2, 8, 8, 8, 8], 1))

_LOSSY = ("JPEG", "JPEGXR", "WEBP", "LERC", "JPEGXL")


def header(path: Path, file: BinaryIO, reading: ReadOptions = DEFAULT_OPTIONS) -> Header:
    """Return what an open TIFF file says about its pixels, or about those of one page."""
    with open_tiff(path, file) as tiff:
        series = choose_tiff_series(path, tiff, reading)
        return _header(path, tiff, series, lay_out(path, series.axes, series.shape, reading))


def decode(path: Path, file: BinaryIO, limits: Limits, reading: ReadOptions = DEFAULT_OPTIONS) -> Decoded:
    """Return the pixels of an open TIFF file, or of one page, checked against `limits` first."""
    with open_tiff(path, file) as tiff:
        series = choose_tiff_series(path, tiff, reading)
        layout = lay_out(path, series.axes, series.shape, reading)
        head = _header(path, tiff, series, layout)
        check_size(path, head, limits)
        check_complete(path, series)
        try:
            stack = _pixels(path, series, layout)
        except Exception as error:
            # Pillow would turn the picture upright by itself, and knows the first page only.
            if "imagecodecs" not in str(error) or head.orientation != 1 or layout.page or len(tiff.series) > 1:
                raise
            file.seek(0)
            return decode_raster(path, file, "TIFF", limits)
        return _arranged(series, head, layout, stack)


def open_tiff(path: Path, file: BinaryIO) -> "TiffFile":
    """Open a TIFF file by its bytes alone, once it is known that its pages come to an end."""
    import tifffile

    is_plain(path, file)
    # OME-TIFF may name further files, anywhere on this machine.
    return tifffile.TiffFile(file, _multifile=False)


def is_plain(path: Path, file: BinaryIO) -> bool:
    """Walk over a file's directories, and return whether it holds nothing but what is safe to read in this process.

    Parameters
    ----------
    path : Path
        For messages.
    file : open file
        Where it stands afterwards is as before.

    Raises
    ------
    DatasetError
        If the directories form a circle, overlap or are too many, or tags are larger than the file can hold.
    """
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    order: Literal["little", "big"] = "little" if start[:2] == b"II" else "big"
    mark = "<" if order == "little" else ">"
    big = int.from_bytes(start[2:4], order) == 43
    count_size, word, form = (8, 8, f"{mark}HHQQ") if big else (2, 4, f"{mark}HHII")
    entry = struct.calcsize(form)
    seen: set[int] = set()
    plain, n_directory, n_values = True, 0, 0
    try:
        offset = int.from_bytes(start[8:16] if big else start[4:8], order)
        while offset:
            if offset in seen:
                raise damaged(path, "its pages form a circle")
            seen.add(offset)
            if len(seen) > MAX_PAGES:
                raise DatasetError(f"{path}: more than {MAX_PAGES} pages. Cut the stack into several files.")
            file.seek(offset)
            n_tags = int.from_bytes(_exactly(file, count_size), order)
            if n_tags > MAX_TAGS:
                raise damaged(path, f"a page with {n_tags} tags")
            data = _exactly(file, entry * n_tags + word)
            offset = int.from_bytes(data[-word:], order)
            n_directory += len(data)
            for tag, kind, count, value in struct.iter_unpack(form, data[:-word]):
                n_bytes = count * _TYPE_SIZES.get(kind, 0)
                if n_bytes > word:
                    n_values += n_bytes
                if not plain:
                    continue
                if tag == _COMPRESSION:
                    # A short stands at the beginning of its word.
                    plain = value.to_bytes(word, order)[:2] in [code.to_bytes(2, order) for code in PLAIN_CODECS]
                elif tag == _DESCRIPTION:
                    plain = _is_plain_text(file, value, value.to_bytes(word, order) if n_bytes <= word else None)
                else:
                    plain = tag in _PLAIN_TAGS
            if n_directory > size or n_values > 4 * size + _LARGE:
                raise damaged(path, "its tags are larger than the file")
        return plain
    except EOFError as error:
        raise damaged(path, "its list of pages breaks off") from error
    finally:
        file.seek(here)


def _exactly(file: BinaryIO, n: int) -> bytes:
    data = file.read(n)
    if len(data) < n:
        raise EOFError
    return data


def _is_plain_text(file: BinaryIO, offset: int, text: bytes | None) -> bool:
    """Return whether a description, at a place of the file or in its tag, is empty, ImageJ's or tifffile's own."""
    if text is None:
        file.seek(min(offset, 2**62))
        text = file.read(10)
    return not text.strip(b"\0 ") or text.startswith((b"ImageJ=", b'{"shape"'))


def channel_places(
    path: Path, file: BinaryIO, reading: ReadOptions = DEFAULT_OPTIONS
) -> tuple[int, list[tuple[int, int]]] | None:
    """Return the number of pages, and page and sample of each channel; None if they are laid out otherwise."""
    with open_tiff(path, file) as tiff:
        series = choose_tiff_series(path, tiff, reading)
        layout = lay_out(path, series.axes, series.shape, reading)
        n_outer = len(layout.axes) - len(series.keyframe.shape)
        outer, inner = layout.shape[:n_outer], layout.axes[n_outer:]
        if len(series.pages) != math.prod(outer) or any(axis in inner for axis in layout.page):
            return None
        pages = _places(series, layout, n_outer).reshape(-1)
        head = _header(path, tiff, series, layout)
        n_samples = len(head.names) if layout.channel in ("", *inner) or head.palette else 1
        return len(series.pages), [(int(page), sample) for page in pages for sample in range(n_samples)]


def choose_tiff_series(path: Path, tiff: "TiffFile", reading: ReadOptions) -> "TiffPageSeries":
    """Return the series that is read: the only one, or the one that was named."""
    if not tiff.series:
        raise damaged(path, "no image inside")
    # tifffile leaves small pages out of its series; those that are no thumbnails count here.
    loose = sum(not page.aspage().is_reduced for page in tiff.pages) - sum(len(one.pages) for one in tiff.series)
    if loose > 0:
        raise DatasetError(f"{path}: holds {len(tiff.series) + loose} separate images. Save one image per file.")
    return tiff.series[choose_series(path, [series.name for series in tiff.series], reading)]


def _pixels(path: Path, series: "TiffPageSeries", layout: PixelLayout) -> NDArray[Any]:
    """Return the pixels with the axes that are no pages; of a stack whose pages lie apart, only what is needed."""
    n_outer = len(layout.axes) - len(series.keyframe.shape)
    outer = layout.shape[:n_outer]
    if not layout.page or len(series.pages) != math.prod(outer):
        stack: NDArray[Any] = series.asarray(maxworkers=1)
        if stack.shape != series.shape:
            raise damaged(path, f"it holds {stack.size} values for a shape of {series.shape}")
        return stack[layout.index()]
    # Of the axes that lie across pages, those that are no pages are kept: channels.
    wanted = _places(series, layout, n_outer)
    planes = [_plane(path, series, int(place)) for place in wanted.reshape(-1)]
    whole = np.stack(planes).reshape(*wanted.shape, *series.keyframe.shape)
    picked: NDArray[Any] = whole[(..., *layout.index(layout.axes[n_outer:]))]
    return picked


def _places(series: "TiffPageSeries", layout: PixelLayout, n_outer: int) -> NDArray[np.intp]:
    """Return which pages of the file hold the chosen page of the stack: one for each of its channels that lie apart."""
    return np.asarray(np.arange(len(series.pages)).reshape(layout.shape[:n_outer])[layout.index(layout.axes[:n_outer])])


def _plane(path: Path, series: "TiffPageSeries", place: int) -> NDArray[Any]:
    page = series.pages[place]
    if page is None:
        raise damaged(path, "a page is missing")
    plane: NDArray[Any] = page.asarray(maxworkers=1)
    return plane


def _arranged(series: "TiffPageSeries", head: Header, layout: PixelLayout, stack: NDArray[Any]) -> Decoded:
    """Bring the pixels of a page to (M, N, C), alpha apart."""
    stack = layout.arrange(stack)
    colours = None
    if head.palette:
        # Colours are 16-bit, one row per component; 8 bits are what every writer fills.
        colours = (np.asarray(series.keyframe.colormap).T >> 8).astype(np.uint8)
    n = 1 if head.palette else len(head.names)
    alpha = stack[..., n] if head.alpha else None
    return Decoded(head, np.ascontiguousarray(stack[..., :n]), alpha, colours)


def _header(path: Path, tiff: "TiffFile", series: "TiffPageSeries", layout: PixelLayout) -> Header:
    """Return what a series says, or why it cannot be used."""
    page = series.keyframe
    photometric = getattr(page.photometric, "name", str(page.photometric))
    if photometric in _UNREAD:
        raise DatasetError(f"{path}: {_UNREAD[photometric]} pixels are not read; grey, palette and RGB are.")
    if series.dtype is None or series.dtype.kind not in "buif":
        raise DatasetError(f"{path}: pixels of type {series.dtype} are not read. Export it as 8-bit, 16-bit or float.")
    depth = layout.depth
    palette = photometric == "PALETTE"
    alpha = depth > 1 and any(int(extra) in (1, 2) for extra in page.extrasamples[-1:])
    colour = palette or photometric in ("RGB", "YCBCR")
    names = channel_names(3 if palette else depth - alpha, colour)
    return Header(
        stored="TIFF",
        shape=(layout.size("Y"), layout.size("X")),
        names=names,
        labels=_labels(tiff, series, len(names)),
        dtype=series.dtype.newbyteorder("="),
        alpha=alpha,
        palette=palette,
        orientation=_orientation(page),
        lossy=any(word in getattr(page.compression, "name", "") for word in _LOSSY),
        white_is_zero=photometric == "MINISWHITE",
        pages=layout.pages,
        pixel_size_um=_pixel_size_um(tiff, series),
    )


def _labels(tiff: "TiffFile", series: "TiffPageSeries", n_channels: int) -> tuple[str, ...]:
    """Return what OME or ImageJ calls the channels, () if they do not name each."""
    labels: list[str] = []
    if tiff.ome_metadata:
        labels = [node.get("Name", "") for node in _ome_pixels(tiff, series) if node.tag.endswith("}Channel")]
    elif tiff.imagej_metadata:
        labels = [str(label) for label in tiff.imagej_metadata.get("Labels", ())]
    return tuple(labels) if len(labels) == n_channels and all(labels) else ()


def _ome_pixels(tiff: "TiffFile", series: "TiffPageSeries") -> ElementTree.Element:
    """Return what OME says about the pixels of a series; an empty element if it says nothing."""
    place = next(i for i, one in enumerate(tiff.series) if one is series)
    with suppress(ElementTree.ParseError, IndexError):
        root = ElementTree.fromstring(tiff.ome_metadata or "")
        return [node for node in root.iter() if node.tag.endswith("}Pixels")][place]
    return ElementTree.Element("Pixels")


def _pixel_size_um(tiff: "TiffFile", series: "TiffPageSeries") -> tuple[float, float] | None:
    """Return height and width of a pixel as OME or ImageJ says it; None if they do not.

    Other TIFF files have a resolution as well, but that of scanners and of programs that write 72 dpi anywhere.
    """
    found: list[float] = []
    with suppress(ValueError, KeyError, TypeError, ZeroDivisionError, AttributeError):
        if tiff.ome_metadata:
            pixels = _ome_pixels(tiff, series)
            for axis in "YX":
                unit = UM_PER[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
                found.append(float(pixels.attrib[f"PhysicalSize{axis}"]) * unit)
        elif tiff.imagej_metadata:
            unit = UM_PER[str(tiff.imagej_metadata["unit"]).replace("\\u00B5", "µ")]
            for axis in "YX":
                per, length = series.keyframe.tags[f"{axis}Resolution"].value
                found.append(length / per * unit)
    return (found[0], found[1]) if len(found) == 2 and all(0 < size < math.inf for size in found) else None


def _orientation(page: "TiffPage") -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1


def check_complete(path: Path, series: "TiffPageSeries") -> None:
    """Refuse a file that ends before its data: tifffile would fill the rest with zeros."""
    size = series.keyframe.parent.filehandle.size
    for page in series.pages:
        if page is None:
            raise damaged(path, "a page is missing")
        segments = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > size or count == 0 for offset, count in segments):
            raise damaged(path, "it ends before its last strip")
        if not page.dataoffsets:
            raise damaged(path, "it has no pixel data")
