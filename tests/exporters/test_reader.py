"""Exported Python files read the images that a search reads, or say that they cannot."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from evoseg.datasets.io.files import channel_places
from evoseg.datasets.io.files import read_image as evoseg_reads
from evoseg.datasets.reading import ReadOptions
from evoseg.exporters.standalone import as_native, read_image, write_file

SHAPE = (37, 53)  # Non-square on purpose: swapped axes must fail.


def colours(dtype: str = "uint8") -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(3).random((*SHAPE, 3)).astype(np.float32), (0, 0), 2)
    return (noise * {"uint8": 255, "uint16": 4000, "float32": 1}[dtype]).astype(dtype)


GRAY = colours("uint16")[..., 0]
OPAQUE = np.full(SHAPE, 255, np.uint8)
TIFFS = {
    "gray": (GRAY, {}),
    "int16": (GRAY.astype(np.int16) - 500, {}),
    "int32": (GRAY.astype(np.int32) - 9, {}),
    "float64": (GRAY / 3.0, {}),
    "float": (colours("float32"), {"photometric": "rgb"}),
    "rgb16": (colours("uint16"), {"photometric": "rgb"}),
    "alpha": (np.dstack([colours(), OPAQUE]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "cyx": (np.moveaxis(colours("uint16")[..., :2], -1, 0).copy(), {"ome": True, "metadata": {"axes": "CYX"}}),
    "turned": (colours(), {"photometric": "rgb", "extratags": [(274, "H", 1, 6, True)]}),
    "bits": (colours()[..., 0] > 100, {}),
    "big_endian": (GRAY, {"byteorder": ">"}),
}
PICTURES = {
    "palette.png": Image.fromarray(colours()).quantize(16),
    "alpha.png": Image.fromarray(np.dstack([colours(), OPAQUE])),
    "grey_alpha.png": Image.fromarray(np.dstack([colours()[..., 0], OPAQUE])),
    "grey.png": Image.fromarray(GRAY),
    "rgb.jpg": Image.fromarray(colours()),
    "rgb.bmp": Image.fromarray(colours()),
}


def files(folder: Path) -> list[Path]:
    for name, (array, options) in TIFFS.items():
        tifffile.imwrite(folder / f"{name} ü.tif", array, **({"photometric": "minisblack"} | options))
    for name, picture in PICTURES.items():
        picture.save(folder / f"ж {name}")
    return sorted(folder.iterdir())


def test_what_a_search_reads_is_read_alike(tmp_path):
    for path in files(tmp_path):
        expected = evoseg_reads(path)
        found = read_image(path, None, expected.shape[2])
        assert found.dtype == expected.dtype, path.name
        np.testing.assert_array_equal(found, expected, err_msg=path.name)


@pytest.mark.parametrize(
    "reading", [ReadOptions(page="T=1"), ReadOptions(page="2", channel="1"), ReadOptions(page="0", channel="1,0")]
)
def test_pages_and_channels_are_those_of_the_search(tmp_path, reading):
    stack = np.random.default_rng(4).integers(0, 999, (3, 2, *SHAPE), np.uint16)
    path = tmp_path / "film.ome.tif"
    tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata={"axes": "TCYX"})
    found = read_image(path, channel_places(path, reading), 0)
    np.testing.assert_array_equal(found, evoseg_reads(path, reading))
    with pytest.raises(ValueError, match="6 pages"):
        read_image(path, None, 2)
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, GRAY)
    with pytest.raises(ValueError, match="laid out in another way"):
        read_image(one, channel_places(path, reading), 0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.png", b"", "not an image that OpenCV"),
        ("text.png", b"not an image at all, though long enough", "not an image that OpenCV"),
        ("varying.png", np.dstack([colours(), colours()[..., 0]]), "transparency varies"),
        ("half.tif", GRAY.astype(np.float16), "not an image that OpenCV"),
        ("huge.tif", GRAY.astype(np.int32) * 100_000, "too large for 32-bit"),
        ("nan.tif", np.full(SHAPE, np.nan), "NaN"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, name, content, says):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".png":
        Image.fromarray(content).save(path)
    else:
        tifffile.imwrite(path, content)
    with pytest.raises(ValueError, match=says):
        read_image(path, None, 1)


def test_answers_are_written_whatever_their_name(tmp_path):
    labels = np.arange(37 * 53, dtype=np.int32).reshape(SHAPE) * 1000
    write_file(tmp_path / "ответ.tif", labels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "ответ.tif"), labels)


def test_arrays_take_the_form_that_pipelines_know():
    assert as_native(np.ones((4, 5), bool)).max() == 255
    assert as_native(np.ones((4, 5), np.int64)).dtype == np.float32
    with pytest.raises(ValueError, match="no image"):
        as_native(np.ones(4))
