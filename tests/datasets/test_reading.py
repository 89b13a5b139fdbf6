"""Files that hold more than one image: pages and channels, named by people or by the file."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from evoseg.core.errors import DatasetError, SettingsError
from evoseg.datasets.checking import open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import decode_mask, read_header, read_image, write_mask
from evoseg.datasets.io.tiff_rows import TiffRows
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions

RNG = np.random.default_rng(3)
STACK = RNG.integers(0, 65536, (4, 2, 13, 17), np.uint16)  # pages, channels, rows, columns


def stored(path, array, axes, how):
    kinds = {"ome": {"ome": True}, "imagej": {"imagej": True}, "shaped": {}}
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": axes}, **kinds[how])
    return path


@pytest.mark.parametrize("how", ["ome", "imagej", "shaped"])
@pytest.mark.parametrize("page", [0, 3])
def test_a_page_of_a_stack_is_read_with_its_channels(tmp_path, how, page):
    path = stored(tmp_path / "a.tif", STACK, "ZCYX", how)
    reading = ReadOptions(page=str(page))
    assert np.array_equal(read_image(path, reading), np.moveaxis(STACK[page], 0, -1))
    assert np.array_equal(read_image(path, ReadOptions(page=f"Z={page}", channel="1"))[..., 0], STACK[page, 1])
    assert read_header(path, reading=ReadOptions(page="1", channel="C2")).names == ("gray",)


def test_channels_within_pages_and_pages_within_files_are_told_apart(tmp_path):
    pages = RNG.integers(0, 256, (5, 13, 17, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", metadata={"axes": "TYXS"})
    assert np.array_equal(read_image(tmp_path / "a.tif", ReadOptions(page="4")), pages[4])
    assert read_header(tmp_path / "a.tif", reading=ReadOptions(page="4")).names == ("R", "G", "B")
    assert np.array_equal(read_image(tmp_path / "a.tif", ReadOptions(page="4", channel="G"))[..., 0], pages[4, ..., 1])
    whole = stored(tmp_path / "b.tif", np.moveaxis(STACK, 1, 0), "CZYX", "shaped")
    assert np.array_equal(read_image(whole, ReadOptions(page="2")), np.moveaxis(STACK[2], 0, -1))


def test_two_axes_of_pages_need_a_number_each(tmp_path):
    films = RNG.integers(0, 256, (2, 3, 13, 17), np.uint8)
    path = stored(tmp_path / "a.tif", films, "TZYX", "ome")
    assert np.array_equal(read_image(path, ReadOptions(page="Z=2,T=1"))[..., 0], films[1, 2])
    with pytest.raises(DatasetError, match=r"page 2 of axes TZYX of 2 x 3 x 13 x 17 could be along T or Z"):
        read_image(path, ReadOptions(page="2"))
    with pytest.raises(DatasetError, match="names Z; the file's pages lie along T, Z"):
        read_image(path, ReadOptions(page="Z=2"))
    with pytest.raises(DatasetError, match="no page 2 along T; there are 2, counted from 0"):
        read_image(path, ReadOptions(page="T=2,Z=0"))


def test_a_stack_without_words_is_refused_until_its_page_or_axes_are_named(tmp_path):
    path = tmp_path / "a.tif"
    first, *others = [Image.fromarray(plane.astype(np.uint8)) for plane in STACK[:, 0]]
    first.save(path, save_all=True, append_images=others)
    with pytest.raises(DatasetError, match=r"several pages with axes .YX of 4 x 13 x 17.*--page 0.*--axes CYX"):
        read_image(path)
    assert np.array_equal(read_image(path, ReadOptions(page="2"))[..., 0], STACK[2, 0].astype(np.uint8))
    channels = read_image(path, ReadOptions(axes="CYX"))
    assert np.array_equal(channels, np.moveaxis(STACK[:, 0].astype(np.uint8), 0, -1))
    with pytest.raises(DatasetError, match="are 3 axes, but ZCYX names 4"):
        read_image(path, ReadOptions(axes="ZCYX"))


def test_named_axes_win_over_wrong_ones(tmp_path):
    path = stored(tmp_path / "a.tif", STACK[:, 0], "ZYX", "imagej")
    assert np.array_equal(read_image(path, ReadOptions(axes="CYX")), np.moveaxis(STACK[:, 0], 0, -1))
    assert np.array_equal(read_image(path, ReadOptions(axes="TXY", page="1"))[..., 0], STACK[1, 0].T)


def test_channels_are_named_as_the_file_names_them(tmp_path):
    ome = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(ome, STACK[0], photometric="minisblack", ome=True, metadata=metadata)
    assert np.array_equal(read_image(ome, ReadOptions(channel="GFP"))[..., 0], STACK[0, 1])
    assert np.array_equal(read_image(ome, ReadOptions(channel="GFP, 0")), np.moveaxis(STACK[0, ::-1], 0, -1))
    imagej = tmp_path / "b.tif"
    tifffile.imwrite(imagej, STACK[0], imagej=True, metadata={"axes": "CYX", "Labels": ["red dye", "blue dye"]})
    assert np.array_equal(read_image(imagej, ReadOptions(channel="blue dye"))[..., 0], STACK[0, 1])
    waves = tmp_path / "c.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["561", "488"]}}
    tifffile.imwrite(waves, STACK[0], photometric="minisblack", ome=True, metadata=metadata)
    assert np.array_equal(read_image(waves, ReadOptions(channel="488"))[..., 0], STACK[0, 1])
    with pytest.raises(DatasetError, match="²"):
        read_image(ome, ReadOptions(channel="²"))
    with pytest.raises(DatasetError, match="DAPY.*DAPI"):
        read_image(ome, ReadOptions(channel="DAPY"))
    with pytest.raises(DatasetError, match="no channel 2; there are 2, counted from 0"):
        read_image(ome, ReadOptions(channel="2"))


def test_a_channel_of_any_file_can_be_chosen(tmp_path):
    rgb = RNG.integers(0, 256, (13, 17, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", ReadOptions(channel="B"))[..., 0], rgb[..., 2])
    tifffile.imwrite(tmp_path / "b.tif", rgb, photometric="rgb", rowsperstrip=4)
    rows = TiffRows(tmp_path / "b.tif", ReadOptions(channel="2,0"))
    assert rows.channels == 2 and np.array_equal(rows.rows(3, 9), rgb[3:9][..., [2, 0]])
    rows.close()
    rows = TiffRows(tmp_path / "b.tif", ReadOptions(channel="B,G,R"))
    assert np.array_equal(rows.rows(3, 9), rgb[3:9][..., ::-1])
    rows.close()


@pytest.mark.parametrize(
    "words",
    [
        {"page": "x"},
        {"page": "Z=1,"},
        {"axes": "YXX"},
        {"axes": "ZC"},
        {"axes": "cyx"},
        {"page": 3},
        {"channel": 0},
        {"value": 256},
        {"value": "1"},
    ],
)
def test_words_that_mean_nothing_are_refused(words):
    with pytest.raises(SettingsError):
        ReadOptions(**words)


def test_what_is_chosen_is_remembered_in_a_line_of_text():
    reading = ReadOptions(page="T=0,Z=3", channel='the "second"', value=2)
    assert ReadOptions.marked(f"# evoseg 1: x\n{reading.mark()}def pipeline(image):\n") == reading
    assert ReadOptions.marked("# evoseg 1: x\n") == DEFAULT_OPTIONS and DEFAULT_OPTIONS.mark() == ""
    for line in ('{"pages": 3}', '{"page": 3}', "[]", "{", '{"value": "x"}', "[" * 60_000):
        with pytest.raises(DatasetError, match="does not say how images are read"):
            ReadOptions.marked(f"# reads: {line}\n")


def test_a_dataset_of_stacks_says_its_page_in_its_card_or_is_told(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    stored(tmp_path / "images" / "a.tif", STACK, "ZCYX", "ome")
    write_mask(tmp_path / "masks" / "a.png", STACK[0, 0] > 30000)
    with pytest.raises(DatasetError, match="Name the page to read"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.yaml").write_text("page: 2\nchannel: 1\n")
    by_card, told = open_dataset(tmp_path), Dataset(tmp_path, ReadOptions(page="0"))
    assert np.array_equal(by_card.load("a").image[..., 0], STACK[2, 1])
    assert np.array_equal(told.load("a").image[..., 0], STACK[0, 1])
    assert by_card.channels == ("gray",) and by_card.survey.digest != told.survey.digest


def test_masks_in_stacks_are_read_from_the_same_page(tmp_path):
    path = stored(tmp_path / "a.tif", STACK[:, 0], "ZYX", "imagej")
    assert np.array_equal(decode_mask(path, path.read_bytes(), reading=ReadOptions(page="3")).pixels, STACK[3, 0])


def test_one_of_the_images_in_a_tiff_file_is_named(tmp_path):
    first, second = STACK[0, 0], STACK[:, :, :-2, :-3]
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as file:
        file.write(first, metadata={"Name": "overview"})
        file.write(second, photometric="minisblack", metadata={"Name": "detail", "axes": "ZCYX"})
    with pytest.raises(DatasetError, match=r"holds 2 images \(overview, detail\)"):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", ReadOptions(series="overview"))[..., 0], first)
    for series in ("detail", "1"):
        found = read_image(tmp_path / "a.tif", ReadOptions(series=series, page="1"))
        np.testing.assert_array_equal(found, np.moveaxis(second[1], 0, -1))
    with pytest.raises(DatasetError, match="none of which is called retail"):
        read_image(tmp_path / "a.tif", ReadOptions(series="retail"))
    # A file with one image is read whatever its name is.
    tifffile.imwrite(tmp_path / "b.tif", first)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif", ReadOptions(series="detail"))[..., 0], first)
