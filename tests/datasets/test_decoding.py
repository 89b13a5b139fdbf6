"""TIFF files that never end, and those that are read by a child process."""

import io
import os
import struct

import numpy as np
import pytest
import tifffile

from evoseg.core.errors import DatasetError
from evoseg.datasets.io import decoding, tiff
from evoseg.datasets.io.files import read_header, read_image
from evoseg.datasets.io.formats import LIMITS, Limits
from evoseg.datasets.reading import DEFAULT_OPTIONS

IMAGE = np.random.default_rng(20261128).integers(0, 255, (37, 61, 3), np.uint8)


def tiff_bytes(*args, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, *args, **options)
    return file.getvalue()


def directory(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    return (
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + struct.pack("<I", following)
    )


ONE = ((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 16))
LENGTH = len(directory(*ONE))


def chained(*following: int) -> bytes:
    """Return a file with a page for each offset of the page after it, as 0, 1, ... for pages of this file, or -1."""
    places = [24 + i * LENGTH for i in range(len(following))]
    pages = b"".join(directory(*ONE, following=0 if i < 0 else places[i]) for i in following)
    return b"II*\0" + struct.pack("<I", 24) + bytes(16) + pages


ENDLESS = {
    "its own next page": chained(0),
    "two pages in turn": chained(1, 0),
    "a page and an empty one in turn": b"II*\0"
    + struct.pack("<I", 24)
    + bytes(16)
    + directory(*ONE, following=24 + LENGTH)
    + directory(following=24),
    "a late circle": chained(1, 2, 3, 1),
    "overlapping pages": b"II*\0"
    + struct.pack("<III", 16, 0, 0)
    + b"".join(struct.pack("<HI", 0, 16 + 6 * (i + 1)) for i in range(60_000)),
    "offsets beyond the file": b"II*\0"
    + struct.pack("<I", 24)
    + bytes(16)
    + directory(*ONE[:4], (273, 4, 1 << 30, 5888), (279, 4, 1 << 30, 5888)),
    "a long description": b"II*\0" + struct.pack("<I", 24) + bytes(16) + directory(*ONE, (270, 2, 4_000_000_000, 8)),
    "very many tags": b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 60_000) + bytes(12 * 60_000 + 4),
    "no page": b"II*\0" + struct.pack("<I", 8),
    "a page beyond the end": b"II*\0" + struct.pack("<I", 10**6) + bytes(100),
}


@pytest.mark.parametrize("how", list(ENDLESS))
def test_a_tiff_file_that_never_ends_is_refused_before_it_is_read(tmp_path, how):
    path = tmp_path / "a.tif"
    path.write_bytes(ENDLESS[how])
    for read in (read_image, read_header):
        with pytest.raises(DatasetError, match=r"a\.tif: (the file is damaged|more than)"):
            read(path)


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({}, True),
        ({"bigtiff": True}, True),
        ({"byteorder": ">"}, True),
        ({"compression": "zlib"}, True),
        ({"compression": "lzw", "predictor": 2}, True),
        ({"tile": (16, 16)}, True),
        ({"description": "taken by hand"}, False),
        ({"compression": "zstd"}, False),
        ({"compression": "webp", "compressionargs": {"lossless": True}}, False),
        ({"compression": "jpeg2000", "compressionargs": {"level": 0, "reversible": True}}, False),
        ({"ome": True}, False),
    ],
)
def test_plain_files_are_read_here_and_others_by_a_child_to_the_same_pixels(tmp_path, options, plain):
    path = tmp_path / "a.tif"
    path.write_bytes(data := tiff_bytes(IMAGE, photometric="rgb", **options))
    assert tiff.is_plain(path, io.BytesIO(data)) is plain
    np.testing.assert_array_equal(read_image(path), IMAGE)
    here = tiff.decode(path, io.BytesIO(data), LIMITS)
    there = decoding.decode_in_child(path, data, LIMITS, DEFAULT_OPTIONS)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert here.header == there.header == decoding.read_header_in_child(path, LIMITS, DEFAULT_OPTIONS)
    assert read_header(path) == here.header


def test_a_palette_and_transparency_come_through(tmp_path):
    path = tmp_path / "a.tif"
    colours = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80
    for data in (
        tiff_bytes(IMAGE[..., 0], photometric="palette", colormap=colours),
        tiff_bytes(np.dstack([IMAGE, IMAGE[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]),
    ):
        here = tiff.decode(path, io.BytesIO(data), LIMITS)
        there = decoding.decode_in_child(path, data, LIMITS, DEFAULT_OPTIONS)
        for one, other in ((here.pixels, there.pixels), (here.alpha, there.alpha), (here.colours, there.colours)):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one, other)


def test_errors_of_a_child_are_those_of_this_process(tmp_path):
    path = tmp_path / "a.tif"
    data = tiff_bytes(IMAGE, photometric="rgb")
    for bad, limits in ((data[:-50], LIMITS), (data, Limits(pixels=100)), (data[:30], LIMITS)):
        with pytest.raises(DatasetError) as here:
            decoding.answer(path, bad, limits, DEFAULT_OPTIONS)
        with pytest.raises(DatasetError) as there:
            decoding.decode_in_child(path, bad, limits, DEFAULT_OPTIONS)
        assert str(here.value) == str(there.value)


def test_a_child_that_uses_up_its_cpu_time_is_one_clear_error_and_the_next_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    monkeypatch.setattr(decoding, "CPU_S", -1)  # what is left of the second that has begun
    many_pages = chained(*range(1, 12_000), -1)
    with pytest.raises(DatasetError, match="s of CPU time"):
        decoding.decode_in_child(path, many_pages, LIMITS, DEFAULT_OPTIONS)
    monkeypatch.undo()
    data = tiff_bytes(IMAGE, photometric="rgb")
    np.testing.assert_array_equal(decoding.decode_in_child(path, data, LIMITS, DEFAULT_OPTIONS).pixels, IMAGE)


def test_a_child_that_was_killed_is_replaced(tmp_path):
    path, data = tmp_path / "a.tif", tiff_bytes(IMAGE, photometric="rgb")
    decoding.decode_in_child(path, data, LIMITS, DEFAULT_OPTIONS)
    for child in decoding._idle:
        child.process.kill()
        child.process.wait()
    np.testing.assert_array_equal(decoding.decode_in_child(path, data, LIMITS, DEFAULT_OPTIONS).pixels, IMAGE)


def test_a_file_that_names_others_is_read_by_itself(tmp_path):
    """OME-TIFF may name a file per plane, anywhere on the machine; a pipe there would never answer."""
    os.mkfifo(tmp_path / "other.ome.tif")
    words = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint8" SizeX="61" SizeY="37" SizeZ="1" SizeC="2" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><Channel ID="Channel:0:1" SamplesPerPixel="1"/>'
        '<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="other.ome.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    path = tmp_path / "a.ome.tif"
    path.write_bytes(tiff_bytes(IMAGE[..., 0], description=words, metadata=None))
    np.testing.assert_array_equal(read_image(path), IMAGE[..., :1])
