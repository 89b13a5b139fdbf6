"""The size of pixels, as files and dataset.yaml say it."""

import numpy as np
import pytest
import tifffile
from numpy.random import default_rng

from evoseg.datasets.checking import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.imageformat import in_um, sides_in_um, size_text
from evoseg.datasets.io.files import decode_picture, read_header, upright_pixel_size
from evoseg.datasets.reading import ReadOptions
from evoseg.inference.inputs import list_inputs

IMAGE = default_rng(20261129).integers(0, 256, (37, 53), np.uint8)
MASK = (np.hypot(*np.ogrid[-18:19, -26:27]) < 9).astype(np.uint8)


def ome(path, um, unit="µm", image=IMAGE):
    height, width = um if isinstance(um, tuple) else (um, um)
    metadata = {"PhysicalSizeY": height, "PhysicalSizeYUnit": unit, "PhysicalSizeX": width, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(path, image, ome=True, metadata=metadata)


def dataset(root, *sizes_um):
    for i, um in enumerate(sizes_um):
        path = root / "images" / f"{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        ome(path, um, image=np.roll(IMAGE, i)) if um else tifffile.imwrite(path, IMAGE)
        (root / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(root / "masks" / f"{i}.tif", MASK)
    return root


def test_ome_files_say_it_in_any_unit_for_each_of_their_images(tmp_path):
    ome(tmp_path / "a.ome.tif", 650, "nm")
    assert read_header(tmp_path / "a.ome.tif").pixel_size_um == pytest.approx((0.65, 0.65))
    with tifffile.TiffWriter(tmp_path / "b.ome.tif", ome=True) as file:
        for um in (0.5, 2.0):
            file.write(IMAGE, metadata={"PhysicalSizeY": um, "PhysicalSizeX": um / 2})
    for series, size in (("0", (0.5, 0.25)), ("1", (2.0, 1.0))):
        header = read_header(tmp_path / "b.ome.tif", reading=ReadOptions(series=series))
        assert header.pixel_size_um == pytest.approx(size)


@pytest.mark.parametrize(("unit", "um"), [("micron", 1), ("um", 1), ("\\u00B5m", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_imagej_files_say_it_as_a_resolution(tmp_path, unit, um):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(4.0, 2.0), metadata={"unit": unit})
    assert read_header(tmp_path / "a.tif").pixel_size_um == pytest.approx((0.5 * um, 0.25 * um))


@pytest.mark.parametrize("metadata", [{}, {"unit": "pixel"}, {"unit": ""}])
def test_a_resolution_without_a_length_says_nothing(tmp_path, metadata):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=bool(metadata), resolution=(72, 72), metadata=metadata)
    assert read_header(tmp_path / "a.tif").pixel_size_um is None


@pytest.mark.parametrize("um", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_size_is_not_known(tmp_path, um):
    ome(tmp_path / "a.ome.tif", um)
    assert read_header(tmp_path / "a.ome.tif").pixel_size_um is None


def test_text_of_a_size_is_that_of_dataset_yaml():
    assert size_text((0.65, 0.65)) == "0.65 um" and in_um("0.65 um") == 0.65
    assert in_um(size_text((0.651, 0.649))) == pytest.approx(0.65, rel=1e-5)
    assert size_text((0.5, 0.25)) == "0.5 x 0.25 um" and in_um("0.5 x 0.25 um") is None
    assert size_text(None) == ""


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("0.5 x 0.25 um", (0.5, 0.25)),
        ("500 nm x 0.25 um per pixel", (0.5, 0.25)),
        ("2×2 mm", (2000, 2000)),
        ("4 nm", (0.004, 0.004)),
        ("1 x 2 x 3 um", None),
        ("0 um", None),
        ("5 ux", None),
        ("5", None),
    ],
)
def test_height_and_width_are_read_from_text(text, sides):
    assert sides_in_um(text) == (None if sides is None else pytest.approx(sides))
    assert in_um(text) == (sides[0] if sides and sides[0] == sides[1] else None)


def test_a_dataset_has_the_size_on_which_its_files_agree(tmp_path):
    data = Dataset(dataset(tmp_path, 0.65, 0.6501, 0.65))
    assert data.pixel_size == "0.65 um"
    assert data.image_format(data.stems).pixel_size == "0.65 um"
    report = check(tmp_path)
    assert "pixels of 0.65 um" in str(report) and not any("pixel size" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("sizes", "card", "said"),
    [
        ((0.65, 0.32), "", "the pixel size differs between files (0.32 um to 0.65 um)"),
        ((0.65, None), "", "the pixel size differs between files (0.65 um or unknown)"),
        ((0.65, 0.65), "0.5 um", "dataset.yaml says that pixels are 0.5 um, but files say 0.65 um"),
        ((0.65, 0.65), "0.65 x 0.5 um", "dataset.yaml says that pixels are 0.65 x 0.5 um, but files say 0.65 um"),
        (((0.5, 0.25), 0.25), "", "the pixel size differs between files (0.25 um to 0.5 x 0.25 um)"),
    ],
)
def test_check_warns_of_sizes_that_differ(tmp_path, sizes, card, said):
    dataset(tmp_path, *sizes)
    (tmp_path / "dataset.yaml").write_text(f"pixel_size: {card}\n" if card else "")
    assert any(said in warning for warning in check(tmp_path).warnings)
    assert Dataset(tmp_path).pixel_size == card


def test_check_is_quiet_about_sizes_that_agree_or_are_not_known(tmp_path):
    dataset(tmp_path / "a", 0.65, 0.65)
    (tmp_path / "a" / "dataset.yaml").write_text("pixel_size: 650 nm\n")
    dataset(tmp_path / "b", None, None)
    for name in ("a", "b"):
        assert not any("pixel" in warning and "size" in warning for warning in check(tmp_path / name).warnings)


def test_check_says_that_pixels_are_not_square(tmp_path):
    dataset(tmp_path, (0.5, 0.25), (0.5, 0.25))
    assert Dataset(tmp_path).pixel_size == "0.5 x 0.25 um"
    (warning,) = (warning for warning in check(tmp_path).warnings if "square" in warning)
    assert warning.startswith("pixels are not square (0.5 x 0.25 um, height x width)")


def test_pixels_of_a_turned_image_are_turned_with_it(tmp_path):
    (tmp_path / "in").mkdir()
    orientation = (274, "H", 1, 6, True)
    resolution = {"resolution": (4.0, 2.0), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "in/a.tif", IMAGE, imagej=True, extratags=[orientation], **resolution)
    stored, turned = ReadOptions(exif="ignore"), ReadOptions()
    for reading, sides in ((stored, (0.5, 0.25)), (turned, (0.25, 0.5))):
        header = read_header(tmp_path / "in/a.tif", reading=reading)
        assert upright_pixel_size(header, reading) == pytest.approx(sides)
        path = tmp_path / "in/a.tif"
        assert decode_picture(path, path.read_bytes(), reading=reading).pixel_size_um == pytest.approx(sides)
        (image,) = list_inputs([tmp_path / "in"], reading)
        assert image.file_pixel_size() == size_text(sides)
