"""Images larger than are read at once: a TIFF file's rows, decoded as they are asked for."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import open_file
from evoseg.datasets.io import tiff
from evoseg.datasets.io.files import native, read_header
from evoseg.datasets.io.formats import LIMITS, Limits, check_size, explain_errors
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions, channel_indices

if TYPE_CHECKING:
    from tifffile import TiffPage, TiffPageSeries

HUGE = Limits(file_bytes=2**40, pixels=2**31 - 1, array_bytes=2**40)
"""Of files that are read row by row. OpenCV counts pixels in 31 bits."""

_HELD = 1 << 28
"""Bytes that one strip or tile, decoded, may fill."""


def is_huge(path: Path, reading: ReadOptions = DEFAULT_OPTIONS) -> bool:
    """Return whether an image is too large to be read at once.

    Raises
    ------
    DatasetError
        If its header cannot be read.
    """
    header = read_header(path, HUGE, reading)
    try:
        check_size(path, header, LIMITS)
    except DatasetError:
        return header.shape[0] * header.shape[1] > 0
    return path.stat().st_size > LIMITS.file_bytes


class TiffRows:
    """A TIFF file whose strips or tiles are decoded when their rows are asked for.

    Parameters
    ----------
    path : Path
    reading : ReadOptions
        Which channels.

    Raises
    ------
    DatasetError
        If it is no TIFF file that can be read so: one page of grey or interleaved channels, upright, without palette
        or transparency, in strips or tiles of bounded size.
    """

    def __init__(self, path: Path, reading: ReadOptions = DEFAULT_OPTIONS) -> None:
        header = read_header(path, HUGE, replace(reading, channel=""))
        megapixels = header.shape[0] * header.shape[1] / 1e6
        large = f"{path}: {megapixels:.0f} megapixels; images above {LIMITS.pixels / 1e6:.0f} are read only from TIFF"
        if header.stored != "TIFF":
            raise DatasetError(f"{large}. Save it as TIFF in tiles.")
        if header.alpha or header.palette or header.orientation != 1 or header.white_is_zero:
            raise DatasetError(f"{large} without palette, transparency and rotation. Save it as plain grey or RGB.")
        self.shape = header.shape
        self._picked = channel_indices(path, header.names, header.labels, reading)
        self.channels = len(self._picked)
        self._stored = len(header.names)
        self._path = path
        with explain_errors(path):
            self._open = open_file(path)
        try:
            with explain_errors(path):
                series = tiff.choose_tiff_series(path, tiff.open_tiff(path, self._open), reading)
            with explain_errors(path):
                self._look(large, series, header.dtype.itemsize)
        except DatasetError:
            self.close()
            raise

    def _look(self, large: str, series: "TiffPageSeries", itemsize: int) -> None:
        """Refuse what cannot be decoded piece by piece."""
        tiff.check_complete(self._path, series)
        page: TiffPage = series.keyframe
        if series.axes not in ("YX", "YXS", "YXC") or len(series.pages) != 1:
            raise DatasetError(f"{large} with interleaved channels, not axes {series.axes}. Save it that way.")
        if int(page.compression) not in tiff.ROW_CODECS:
            raise DatasetError(f"{large} without compression, or in Deflate, LZW, Zstandard or JPEG. Save it that way.")
        self._page = page
        self._step = page.tilelength if page.is_tiled else page.rowsperstrip
        held = self._step * (page.tilewidth if page.is_tiled else page.imagewidth)
        if held * self._stored * itemsize > _HELD:
            raise DatasetError(f"{large} in strips or tiles; this one is a single large strip. Save it in tiles.")

    def rows(self, first: int, last: int) -> NDArray[Any]:
        """Return rows as a uint8, uint16 or float32 array of shape (last - first, N, C).

        Raises
        ------
        DatasetError
            If they are damaged, or hold values that are not finite.
        """
        page, width = self._page, self.shape[1]
        result = np.empty((last - first, width, self._stored), page.dtype)
        across = -(-width // page.tilewidth) if page.is_tiled else 1
        with explain_errors(self._path):
            for index in range(first // self._step * across, -(-last // self._step) * across):
                data = self._read(page.dataoffsets[index], page.databytecounts[index])
                segment, place, shape = page.decode(data, index, jpegtables=page.jpegtables)
                top, left = place[-3], place[-2]
                if segment is None:
                    raise DatasetError(f"{self._path}: the data of rows {top} to {top + self._step} is missing.")
                cut = slice(max(first, top) - top, min(last, top + shape[1]) - top)
                part = segment[0, cut, : min(shape[2], width - left)]
                result[top + cut.start - first : top + cut.stop - first, left : left + part.shape[1]] = part
        if self._picked != list(range(self._stored)):
            result = result[..., self._picked]
        return native(self._path, result.astype(result.dtype.newbyteorder("="), copy=False))

    def close(self) -> None:
        """Close the file; idempotent."""
        self._open.close()

    def _read(self, offset: int, count: int) -> bytes:
        self._open.seek(offset)
        return self._open.read(count)
