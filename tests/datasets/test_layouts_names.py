"""Folders whose names are nearly those of a layout, and folders with outlines that are not read."""

import json

import pytest

from evoseg.datasets import check, open_dataset
from evoseg.datasets.dataset import Dataset
from tests.datasets.drawn_layouts import disc, draw, faults, gray, put

DRAWN = draw(6)


def written(root, images, masks, image="{}.png", mask="{}.png"):
    """Write the drawn images and masks under other folders and names."""
    for number, (image_array, labels) in enumerate(DRAWN.values(), 1):
        put(root / images / image.format(number), image_array)
        put(root / masks / mask.format(number), (labels > 0).astype("uint8") * 255)
    return root


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("Images", "Masks"),
        ("image", "mask"),
        ("imgs", "labels"),
        ("IMG", "Ground_Truth"),
        ("images", "GT"),
        ("JPEGImages", "SegmentationClass"),
        ("images", "annotation"),
        ("train/Images", "train/Labels"),
        ("train/image", "train/label"),
    ],
)
def test_folders_have_their_usual_names_in_any_case(images, masks, tmp_path):
    report = check(written(tmp_path, images, masks))
    assert report.ok and report.card["n_labelled"] == 6 and report.pairing == ()


def test_the_usual_folder_goes_before_others(tmp_path):
    written(tmp_path, "images", "masks")
    for other in ("Image/x.png", "mask/x.png", "ground_truth/x.png"):
        put(tmp_path / other, disc())
    assert check(tmp_path).ok and len(open_dataset(tmp_path).labelled) == 6


def test_two_folders_that_may_be_meant_are_an_error(tmp_path):
    written(tmp_path, "image", "mask")
    put(tmp_path / "Imgs" / "1.png", gray())
    put(tmp_path / "seg" / "1.png", disc())
    said = faults(tmp_path)
    assert "images lie in Imgs/ and in image/. Keep one" in said and "masks lie in mask/ and in seg/. Keep one" in said


def test_names_that_pair_by_a_rule_are_read_and_the_rule_is_said(tmp_path):
    report = check(written(tmp_path, "images", "masks", "img_{:03d}.png", "mask_{}.png"))
    rule = "images are called img_NAME, masks mask_NAME; numbers with and without leading zeros are not told apart"
    assert report.ok and report.pairing == (rule,) and f"  pairs: {rule}\n" in str(report)
    assert report.as_json()["pairing"] == [rule]
    for number, (image, labels) in enumerate(DRAWN.values(), 1):
        sample = Dataset(tmp_path).load(f"img_{number:03d}")
        assert (sample.image[..., 0] == image).all() and (sample.mask == (labels > 0)).all()


def test_points_and_scribbles_pair_by_a_rule_too(tmp_path):
    written(tmp_path, "images", "scribbles", "a{}.png", "a{}_strokes.png")
    for number in range(1, 7):
        (tmp_path / "points").mkdir(exist_ok=True)
        (tmp_path / "points" / f"A{number}.csv").write_text("y,x\n5,5\n")
    pairing = check(tmp_path).pairing
    assert pairing == (
        "scribbles are called NAME_strokes",
        "files of points are named like their images; upper and lower case are not told apart",
    )


def test_names_that_do_not_pair_are_one_error_that_names_pattern_and_way_out(tmp_path):
    report = check(written(tmp_path, "images", "masks", "control_{}.png", "treated_{}.png"))
    (said,) = report.problems
    assert said.startswith("masks: no rule gives each mask an image of its own: masks are called treated_1, treated_2")
    assert "images control_1" in said and "manifest.csv" in said
    put(tmp_path / "masks" / "control_1.png", disc())
    assert "treated_3.png and 3 more (6 in all): a mask without an image" in "\n".join(check(tmp_path).problems)


def test_two_masks_per_image_are_one_error_with_both_patterns(tmp_path):
    written(tmp_path, "images", "masks", mask="{}_1stHO.png")
    written(tmp_path, "images", "masks", mask="{}_2ndHO.png")
    (said,) = check(tmp_path).problems
    assert "of 12 masks, 6 are called NAME_1stHO, 6 are called NAME_2ndHO" in said


def test_images_that_are_masks_themselves_are_not_paired_with_their_copies(tmp_path):
    written(tmp_path, "images", "masks", "{}.png", "{}_mask.png")
    written(tmp_path, "images", "images", "{}.png", "{}_mask.png")
    assert "images: 1_mask.png is named like the mask of 1.png, and like a file among the masks" in faults(tmp_path)


@pytest.mark.parametrize("place", ["", "images", "train"])
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.png", "{}_mask.png"),
        ("a{}.tif", "a{}-label.png"),
        ("im{}.png", "im{} GT.png"),
        ("img_{}.png", "mask_{}.png"),
    ],
)
def test_masks_beside_images_are_told_by_their_names(place, image, mask, tmp_path):
    report = check(written(tmp_path, place, place, image, mask))
    assert report.ok and report.layout == "masks beside images" and report.card["n_labelled"] == 6
    assert report.card["n_images"] == 6 and len(report.pairing) == 1


def test_splits_of_masks_beside_images_are_honoured(tmp_path):
    written(tmp_path, "train", "train", "{}.png", "{}_seg.png")
    written(tmp_path, "test", "test", "t{}.png", "t{}_seg.png")
    assert check(tmp_path).splits.test == ("t1", "t2", "t3", "t4", "t5", "t6")


@pytest.mark.parametrize("place", ["", "images"])
@pytest.mark.parametrize("side", ["val", "test"])
def test_masks_and_images_beside_a_folder_of_a_split_are_for_training(place, side, tmp_path):
    written(tmp_path, place, place, "{}.png", "{}_seg.png")
    written(tmp_path, side, side, "t{}.png", "t{}_seg.png")
    report = check(tmp_path)
    assert report.ok and report.card["n_labelled"] == 12
    assert not any("not read" in said for said in report.warnings)
    if side == "test":
        assert report.splits.search == ("1", "2", "3", "4", "5", "6")
        assert report.splits.test == ("t1", "t2", "t3", "t4", "t5", "t6")


def test_splits_beside_images_and_masks_are_said_not_to_be_used(tmp_path):
    written(tmp_path, "images", "masks")
    assert not any("not used" in said for said in check(tmp_path).warnings)
    written(tmp_path, "test/images", "test/masks")
    report = check(tmp_path)
    assert report.ok and report.card["n_labelled"] == 6
    assert any(said.startswith("test: not used, since images and masks lie beside test/") for said in report.warnings)


def test_folders_with_images_are_named_where_none_is_found_at_the_top(tmp_path):
    put(tmp_path / "plate1" / "a.png", gray())
    put(tmp_path / "plate2" / "deep" / "b.png", gray())
    assert "Images lie in subfolders: plate1/ (1), plate2/deep/ (1)." in faults(tmp_path)
    put(tmp_path / "images" / "day1" / "a.png", gray())
    put(tmp_path / "masks" / "day1" / "a.png", gray())
    assert "images: holds no image that is read" in (said := faults(tmp_path))
    assert "Images lie in a subfolder: day1/ (1)." in said


OUTLINES = {
    "VIA": ("via.csv", "filename,region_shape_attributes\n", "Export Annotations (as JSON)"),
    "Pascal VOC": ("Annotations/1.xml", "<annotation><object><bndbox/></object></annotation>", "SegmentationClass/"),
    "ASAP": ("1.xml", '<?xml version="1.0"?>\n<ASAP_Annotations/>', "masks/"),
    "ImageScope": ("1.xml", "<Annotations><Annotation><Regions><Region/>", "QuPath"),
    "run lengths": ("train.csv", "ImageId,EncodedPixels\n1.png,1 2 3 4\n", "PNG per image"),
    "Darwin": ("1.json", '{"version": "2.0", "item": {}, "annotations": []}', "COCO"),
}


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_that_are_not_read_are_named_with_what_converts_them(name, tmp_path):
    file, text, how = OUTLINES[name]
    for stem in "123":
        put(tmp_path / "images" / f"{stem}.png", gray())
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    report = check(tmp_path)
    (said,) = report.problems
    assert said.startswith(f"{file}: ") and name in said and "not read" in said and how in said
    assert report.layout == ""


def test_other_text_and_json_is_not_taken_for_outlines(tmp_path):
    put(tmp_path / "images" / "1.png", gray())
    (tmp_path / "notes.txt").write_text("7 images of 3 plates")
    (tmp_path / "config.json").write_text(json.dumps({"size": 3, "tags": []}))
    (tmp_path / "table.csv").write_text("name,score\n1,2\n")
    (tmp_path / "readme.xml").write_text("<html/>")
    (tmp_path / "x.zip").write_text("no archive")
    assert "not read" not in faults(tmp_path) and "there is no masks/ folder" in faults(tmp_path)


@pytest.mark.parametrize(
    ("ending", "how"),
    [
        ("nrrd", "SimpleITK"), ("mat", "numpy.save"), ("vsi", "Bio-Formats"), ("lsm", "Bio-Formats"),
        ("webp", "magick"), ("jp2", "magick"), ("gif", "magick"), ("svs", "QuPath"), ("ndpi", "QuPath"),
    ],
)  # fmt: skip
def test_images_in_other_formats_are_named_with_what_converts_them(ending, how, tmp_path):
    written(tmp_path, "images", "masks")
    for name in ("7", "8.2"):
        (tmp_path / "images" / f"{name}.{ending.upper()}").write_bytes(b"x")
    (said,) = check(tmp_path).problems
    assert said.startswith(
        f"images/7.{ending.upper()} and images/8.2.{ending.upper()}: {ending.upper()} files are not read"
    )
    assert how in said
