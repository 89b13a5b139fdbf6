"""Image and mask files: round trips through real files, and a sentence for each fault."""

import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.random import default_rng
from PIL import Image, ImageOps

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.files import (
    decode_mask,
    decode_picture,
    read_first_mask_values,
    read_header,
    read_image,
    write_image,
    write_mask,
)
from evoseg.datasets.io.formats import explain_errors
from evoseg.datasets.maskrules import read_mask

RNG = default_rng(20260311)
GRAY = RNG.integers(0, 256, (13, 17), np.uint8)  # Non-square on purpose: swapped axes must fail.
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (13, 17), np.uint16)
FINE = RNG.normal(0, 1e4, (13, 17)).astype(np.float32)
MASK = GRAY > 100
DISC = np.hypot(*np.ogrid[-40:41, -50:51]) < 22.3


def stored(path):
    """Return the pixels of a mask file before anybody decides what they mean."""
    return decode_mask(path, path.read_bytes()).pixels


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
@pytest.mark.parametrize("array", [GRAY, RGB], ids=["gray", "rgb"])
def test_8_bit_files_keep_their_values(tmp_path, ending, array):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(array).save(path)
    assert np.array_equal(read_image(path), array.reshape(13, 17, -1))
    assert read_header(path).shape == (13, 17)


@pytest.mark.parametrize("array", [GRAY, RGB, DEEP, FINE, np.dstack([DEEP] * 3)], ids=lambda a: f"{a.dtype}{a.ndim}")
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_files_keep_their_values(tmp_path, array, compression, byteorder):
    if compression == "packbits" and array.dtype != np.uint8:
        pytest.skip("packbits holds bytes")
    path = tmp_path / "a.tif"
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    tifffile.imwrite(path, array, compression=compression, byteorder=byteorder, photometric=photometric)
    image = read_image(path)
    assert image.dtype == array.dtype and image.dtype.isnative
    assert np.array_equal(image, array.reshape(13, 17, -1))


def test_16_bit_png_keeps_16_bits_in_grey_and_in_colour(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "gray.png")
    assert np.array_equal(read_image(tmp_path / "gray.png")[..., 0], DEEP)
    deep_rgb = RNG.integers(0, 65536, (13, 17, 3), np.uint16)
    _write_png(tmp_path / "rgb.png", deep_rgb.astype(">u2").tobytes(), (13, 17), depth=16, colour=2)
    assert np.array_equal(read_image(tmp_path / "rgb.png"), deep_rgb)  # Pillow alone gives 8 bits.


def test_jpeg_is_read_as_an_image(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.JPG", format="JPEG")
    assert read_image(tmp_path / "a.JPG").shape == (13, 17, 3)


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("ome", [True, False])
def test_tiff_pages_are_channels_where_the_axes_say_so(tmp_path, channels, ome):
    image = RNG.integers(0, 65536, (13, 17, channels), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(image, -1, 0), ome=ome, photometric="minisblack", metadata={"axes": "CYX"})
    assert np.array_equal(read_image(path), image)
    assert read_header(path).names == tuple(f"C{i + 1}" for i in range(channels))


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_samples_of_one_page_are_channels(tmp_path, planarconfig):
    image = RNG.integers(0, 65536, (13, 17, 4), np.uint16)
    stored = image if planarconfig == "contig" else np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planarconfig, metadata=None)
    assert np.array_equal(read_image(tmp_path / "a.tif"), image)


def test_imagej_channels_are_read(tmp_path):
    image = RNG.integers(0, 65536, (3, 13, 17), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "CYX"})
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.moveaxis(image, 0, -1))


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "QYX"])
def test_pages_that_are_no_channels_are_refused(tmp_path, axes):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((5, 13, 17), np.uint8), photometric="minisblack", metadata={"axes": axes}
    )
    with pytest.raises(DatasetError, match=f"several pages with axes {axes}"):
        read_image(tmp_path / "a.tif")


def test_separate_images_in_one_tiff_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(GRAY, metadata=None)
        tiff.write(np.zeros((4, 5), np.uint8), metadata=None)
    with pytest.raises(DatasetError, match="2 separate images"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float16, np.float64])
def test_other_numbers_become_float32_exactly(tmp_path, dtype):
    values = (GRAY.astype(np.int64) - (128 if np.dtype(dtype).kind != "u" else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read_image(tmp_path / "a.tif")
    assert image.dtype == np.float32 and np.array_equal(image[..., 0], values)


def test_integers_that_float32_would_round_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((13, 17), 2**24 + 1, np.uint32))
    with pytest.raises(DatasetError, match="16777217 are not exact"):
        read_image(tmp_path / "a.tif")


def test_bilevel_files_are_0_and_255_as_images_and_masks_as_masks(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", MASK, photometric="minisblack")
    for name in ("a.png", "b.tif"):
        assert np.array_equal(read_image(tmp_path / name)[..., 0], MASK * np.uint8(255))
        assert np.array_equal(read_mask(tmp_path / name), MASK)


def test_white_is_zero_is_turned_for_images_and_for_masks(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 0], 255 - GRAY)
    assert np.array_equal(stored(tmp_path / "a.tif"), 255 - GRAY)
    with pytest.raises(DatasetError, match="stores white as 0"):
        read_first_mask_values(tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes())


def test_a_palette_gives_colours_to_images_and_indices_to_masks(tmp_path):
    indexed = Image.fromarray(GRAY % 4, mode=None).convert("P")
    indexed.putpalette([0, 0, 0, 200, 10, 20, 0, 0, 0, 30, 40, 50])
    indexed.save(tmp_path / "a.png")
    colours = np.array([[0, 0, 0], [200, 10, 20], [0, 0, 0], [30, 40, 50]], np.uint8)
    assert np.array_equal(read_image(tmp_path / "a.png"), colours[GRAY % 4])
    # Index 2 is black, and yet it is an object.
    assert np.array_equal(stored(tmp_path / "a.png"), GRAY % 4)


def test_a_tiff_palette_is_read_alike(tmp_path):
    table = np.zeros((3, 256), np.uint16)
    table[0] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="palette", colormap=table)
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image[..., 0], GRAY) and not image[..., 1:].any()
    assert np.array_equal(stored(tmp_path / "a.tif"), GRAY)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_constant_alpha_is_dropped_and_varying_alpha_refused(tmp_path, mode):
    colours = GRAY[..., None] if mode == "LA" else RGB
    Image.fromarray(np.dstack([colours, np.full((13, 17), 255, np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), colours)
    Image.fromarray(np.dstack([colours, GRAY])).save(tmp_path / "b.png")
    with pytest.raises(DatasetError, match="transparency varies"):
        read_image(tmp_path / "b.png")
    assert np.array_equal(stored(tmp_path / "b.png") == -1, GRAY < 128)


def test_tiff_alpha_follows_the_same_rule(tmp_path):
    pixels = np.dstack([RGB, np.full((13, 17), 7, np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read_image(tmp_path / "a.tif"), RGB)
    pixels[0, 0, 3] = 8
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(DatasetError, match="transparency varies from 7 to 8"):
        read_image(tmp_path / "b.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_images_and_masks_are_turned_upright_by_one_rule(tmp_path, orientation, ending):
    path = tmp_path / f"a.{ending}"
    picture = Image.fromarray(GRAY // 128 * GRAY)
    exif = Image.Exif()
    exif[274] = orientation
    picture.save(path, exif=exif)
    # Pillow turns TIFF by itself, half-way through; the same pixels in PNG say what is right.
    oracle = path if ending != "tif" else tmp_path / "oracle.png"
    picture.save(oracle, exif=exif)
    with Image.open(oracle) as turned:
        upright = np.asarray(ImageOps.exif_transpose(turned))
    assert np.array_equal(read_image(path)[..., 0], upright)
    if ending != "jpg":
        assert np.array_equal(stored(path), upright)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32])
def test_labels_of_any_dtype_are_foreground_above_0(tmp_path, dtype):
    labels = DISC.astype(dtype)
    labels[5:20, 5:20] = 2
    tifffile.imwrite(tmp_path / "a.tif", labels)
    assert np.array_equal(read_mask(tmp_path / "a.tif"), labels > 0)


def test_a_colour_mask_is_foreground_where_it_is_not_black(tmp_path):
    colours = np.zeros((*DISC.shape, 3), np.uint8)
    colours[DISC, 0] = colours[2:9, 3:9, 2] = 1
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), colours.any(axis=2))


def test_a_jpeg_mask_is_read_at_half_of_its_highest_value(tmp_path):
    Image.fromarray(DISC * np.uint8(255)).save(tmp_path / "a.jpg", quality=75)
    assert np.array_equal(read_mask(tmp_path / "a.jpg"), DISC)
    with pytest.raises(DatasetError, match=r"a\.jpg: a JPEG mask with \d+ distinct values.*as PNG"):
        read_first_mask_values(tmp_path / "a.jpg", (tmp_path / "a.jpg").read_bytes())
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "flat.jpg", quality=100)
    assert not read_mask(tmp_path / "flat.jpg").any()


@pytest.mark.parametrize(("bad", "read"), [(np.nan, read_mask), (np.inf, read_image), (np.inf, read_mask)])
def test_values_that_are_no_numbers_are_counted_and_refused(tmp_path, bad, read):
    values = FINE.copy()
    values[1, :3] = bad
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(DatasetError, match="3 NaN" if np.isnan(bad) else "3 infinite"):
        read(tmp_path / "a.tif")


def test_nan_becomes_the_value_of_the_nearest_known_pixel(tmp_path):
    values = np.repeat(np.arange(12, dtype=np.float32), 9).reshape(12, 9)
    hole = np.dstack([values, values + 100])
    hole[3:7, 2:6, 0] = hole[6, 7, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(hole, -1, 0), photometric="minisblack", metadata={"axes": "CYX"})
    found = decode_picture(tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes())
    expected = np.isnan(hole).any(axis=2)
    np.testing.assert_array_equal(found.unknown, expected)
    np.testing.assert_array_equal(found.image[~expected], hole[~expected])
    known = np.argwhere(~expected)
    for row, col in np.argwhere(expected):
        distances = np.hypot(*(known - (row, col)).T)
        nearest = known[distances < distances.min() + 0.1]
        assert found.image[row, col, 0] in hole[tuple(nearest.T)][:, 0]
    assert (found.image[..., 1] - found.image[..., 0] == 100).all()
    assert found.notes == ("pixels that are NaN are filled from their neighbours, and never scored",)


def test_an_image_of_nothing_but_nan_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 6), np.nan, np.float32))
    with pytest.raises(DatasetError, match="every pixel is NaN"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, ending, part):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DatasetError, match=rf"a\.{ending}"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_a_tiff_never_reads_as_zeros_where_bytes_are_missing(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.kron(RGB, np.ones((8, 8, 1), np.uint8)), photometric="rgb", compression=compression)
    data = path.read_bytes()
    for size in range(8, len(data) - 1, max(len(data) // 60, 1)):
        path.write_bytes(data[:size])
        with pytest.raises(DatasetError):
            read_image(path)


def test_flipped_bytes_end_in_a_right_image_or_a_named_error(tmp_path):
    rng = default_rng(20260312)
    for ending in ("png", "tif", "bmp", "jpg"):
        path = tmp_path / f"a.{ending}"
        Image.fromarray(RGB).save(path)
        data = bytearray(path.read_bytes())
        for _ in range(60):
            broken = data.copy()
            for at in rng.integers(0, len(data), 3):
                broken[at] = rng.integers(256)
            path.write_bytes(broken)
            with suppress(DatasetError):
                assert read_image(path).ndim == 3


def test_an_image_beyond_the_budget_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    rows = zlib.compress(bytes(12001) * 12000, 1)
    _write_png(path, rows, (12000, 12000), depth=8, colour=0, packed=True)
    with pytest.raises(DatasetError, match="144000000 pixels"):
        read_image(path)
    _write_png(path, b"", (2**30, 2**30), depth=8, colour=0, packed=True)
    with pytest.raises(DatasetError, match=r"bomb\.png"):
        read_image(path)
    with pytest.raises(DatasetError, match=r"bomb\.png"):
        read_header(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"", "empty"),
        ("a.png", b"hello, this is text", "not an image"),
        ("a.gif", b"GIF89a" + bytes(20), "GIF files are not read; PNG, JPEG, BMP, TIFF, "),
        ("a.png", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "WebP files are not read"),
        ("a.tif", b"\x89HDF\r\n\x1a\n", "the content is HDF5, although the file name ends in '.tif'. Rename it to .h5"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "damaged"),
        ("a.tif", b"II*\x00\x08\x00\x00\x00", "damaged"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        read_image(tmp_path / name)
    with pytest.raises(DatasetError, match=name):
        read_header(tmp_path / name)


def test_missing_files_folders_and_wrong_endings_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(DatasetError, match="not a file"):
        read_image(tmp_path / "b.png")
    Image.fromarray(GRAY).save(tmp_path / "c.png", format="JPEG")
    with pytest.raises(DatasetError, match=r"content is JPEG.*Rename it to \.jpg"):
        read_image(tmp_path / "c.png")


def test_an_animation_and_cmyk_are_refused(tmp_path):
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match="animation"):
        read_image(tmp_path / "a.png")
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "b.jpg")
    with pytest.raises(DatasetError, match="CMYK"):
        read_image(tmp_path / "b.jpg")


def test_masks_are_written_whole_and_never_over_another_unasked(tmp_path):
    path = tmp_path / "a.png"
    write_mask(path, MASK)
    assert np.array_equal(read_mask(path), MASK)
    assert set(np.unique(read_image(path))) == {0, 255}
    with pytest.raises(DatasetError, match="exists already"):
        write_mask(path, ~MASK)
    assert np.array_equal(read_mask(path), MASK)
    write_mask(path, ~MASK, overwrite=True)
    assert np.array_equal(read_mask(path), ~MASK)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize(
    "image", [GRAY, RGB, DEEP, FINE, RNG.random((13, 17, 4), np.float32)], ids=lambda a: str(a.shape)
)
def test_written_images_read_back_or_are_refused_by_png(tmp_path, image, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "png" and (image.dtype == np.float32):
        with pytest.raises(DatasetError, match=r"Write it as \.tif"):
            write_image(path, image)
        return
    write_image(path, image)
    back = read_image(path)
    assert back.dtype == image.dtype and np.array_equal(back, image.reshape(13, 17, -1))


def _write_png(path: Path, rows: bytes, shape: tuple[int, int], depth: int, colour: int, packed: bool = False) -> None:
    """Write a PNG byte by byte, for depths and sizes that Pillow does not write."""
    if not packed:
        stride = len(rows) // shape[0]
        rows = zlib.compress(b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(shape[0])))
    head = struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_threads_that_decode_side_by_side_leave_the_filters_of_warnings_alone(tmp_path):
    before = list(warnings.filters)
    first, second = explain_errors(tmp_path), explain_errors(tmp_path)
    first.__enter__()  # two threads that overlap, as one story
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(UserWarning, match="Image size"):
        warnings.warn("Image size is suspicious", UserWarning, stacklevel=1)
    warnings.warn("anything else", UserWarning, stacklevel=1)
    second.__exit__(None, None, None)
    assert warnings.filters == before


def chunks(png: bytes) -> list[bytes]:
    """Cut a PNG into its signature and its chunks."""
    parts, at = [png[:8]], 8
    while at < len(png):
        length = struct.unpack(">I", png[at : at + 4])[0] + 12
        parts.append(png[at : at + length])
        at += length
    return parts


def test_the_header_of_a_png_is_read_without_its_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 30] ^= 255
    path.write_bytes(data)
    assert read_header(path).shape == (13, 17)
    with pytest.raises(DatasetError, match="damaged"):
        read_image(path)


def test_a_png_is_turned_wherever_it_says_so(tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(path, exif=exif)
    parts = chunks(path.read_bytes())
    turn = next(part for part in parts if part[4:8] == b"eXIf")
    others = [part for part in parts if part is not turn]
    for order in (parts, [*others[:-1], turn, others[-1]]):
        path.write_bytes(b"".join(order))
        assert np.array_equal(read_image(path), np.rot90(RGB, -1))
