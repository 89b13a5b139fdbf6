"""TIFF files row by row give what the whole file gives."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.files import read_image
from evoseg.datasets.io.tiff_rows import TiffRows, is_huge

FORMS = {
    "strips": {"rowsperstrip": 64},
    "tiles": {"tile": (64, 128)},
    "packed strips": {"rowsperstrip": 33, "compression": "lzw", "predictor": True},
    "packed tiles": {"tile": (128, 64), "compression": "zlib"},
    "big-endian tiles": {"tile": (64, 64), "byteorder": ">"},
    "JPEG tiles": {"tile": (64, 64), "compression": "jpeg"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_rows_are_those_of_the_whole(tmp_path, form, channels, dtype):
    if (form == "JPEG tiles" and dtype != np.uint8) or (form == "packed strips" and dtype == np.float32):
        pytest.skip("this codec does not hold this kind of number")
    file = tmp_path / "a.tif"
    image = (np.random.default_rng(4).random((301, 230, channels)) * 250).astype(dtype)
    options = {k: v for k, v in FORMS[form].items() if k != "byteorder"}
    tifffile.imwrite(
        file,
        image[..., 0] if channels == 1 else image,
        photometric="rgb" if channels == 3 else "minisblack",
        metadata=None,
        byteorder=FORMS[form].get("byteorder", "<"),
        **options,
    )
    whole = read_image(file)
    rows = TiffRows(file)
    assert (rows.shape, rows.channels) == ((301, 230), channels)
    for first, last in ((0, 301), (0, 1), (60, 70), (63, 129), (300, 301)):
        part = rows.rows(first, last)
        np.testing.assert_array_equal(part, whole[first:last])
        assert part.dtype == dtype
        assert part.dtype.isnative
    rows.close()


@pytest.mark.parametrize(
    ("says", "options"),
    [
        ("without palette", {"colormap": np.zeros((3, 256), np.uint16), "photometric": "palette"}),
        ("without palette", {"photometric": "miniswhite"}),
    ],
)
def test_what_cannot_be_read_row_by_row_is_refused(tmp_path, says, options):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.zeros((40, 30), np.uint8), metadata=None, **options)
    with pytest.raises(DatasetError, match=says):
        TiffRows(file)


def test_other_formats_and_broken_files_are_refused(tmp_path):
    from evoseg.datasets.io.files import write_image

    write_image(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DatasetError, match="only from TIFF. Save it as TIFF in tiles"):
        TiffRows(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", np.ones((200, 200), np.uint8), tile=(64, 64), metadata=None)
    data = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="damaged"):
        TiffRows(tmp_path / "b.tif")


def test_values_that_are_not_finite_are_named_when_their_rows_come(tmp_path):
    image = np.ones((200, 50), np.float32)
    image[150, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", image, rowsperstrip=20, metadata=None)
    rows = TiffRows(tmp_path / "a.tif")
    assert rows.rows(0, 100).sum() == 5000
    with pytest.raises(DatasetError, match="1 NaN"):
        rows.rows(100, 200)
    rows.close()


def sparse(path: Path, side: int) -> None:
    """Write a header that promises a large image, and one tile that all places share."""
    tifffile.imwrite(
        path,
        (np.full((4096, 4096), 7, np.uint8) for _ in range((side // 4096) ** 2)),
        shape=(side, side),
        dtype=np.uint8,
        tile=(4096, 4096),
        compression="zlib",
        metadata=None,
    )


def test_an_image_is_huge_beyond_what_is_read_at_once(tmp_path):
    sparse(tmp_path / "large.tif", 12288)
    sparse(tmp_path / "small.tif", 4096)
    assert is_huge(tmp_path / "large.tif")
    assert not is_huge(tmp_path / "small.tif")
    with pytest.raises(DatasetError, match="Cut the image"):
        read_image(tmp_path / "large.tif")
