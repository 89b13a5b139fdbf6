"""Layouts: what each folder is taken for, what is read from it, and what is said of the rest."""

import io
import pickle

import numpy as np
import pytest

from evoseg.core.errors import DatasetError
from evoseg.datasets import check, open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.folder import LAYOUTS
from tests.datasets.drawn_layouts import (
    SHAPE,
    WRITERS,
    cellpose,
    disc,
    draw,
    dsb,
    faults,
    gray,
    nnunet,
    put,
    stardist,
)

DRAWN = draw(6)


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_gives_the_same_images_and_objects(name, tmp_path):
    WRITERS[name](tmp_path, DRAWN)
    report = check(tmp_path)
    assert report.ok, report.problems
    assert report.layout == name.partition(",")[0] and f"layout: {report.layout}, because {report.because}" in str(
        report
    )
    assert report.as_json()["layout"] == {"name": report.layout, "because": report.because, "lacking": {}}
    dataset = Dataset(tmp_path)
    assert dataset.stems == dataset.labelled == tuple(DRAWN) and dataset.channels == ("gray",)
    for stem, (image, labels) in DRAWN.items():
        sample = dataset.load(stem)
        np.testing.assert_array_equal(sample.image[..., 0], image)
        np.testing.assert_array_equal(sample.labels, labels)
        assert sample.known is None


@pytest.mark.parametrize("name", WRITERS)
def test_bad_pixels_are_unknown_in_every_layout(name, tmp_path):
    WRITERS[name](tmp_path, DRAWN)
    bad = np.zeros(SHAPE, np.uint8)
    bad[7, 5:20] = 1
    put(tmp_path / "bad_pixels.png", bad)
    report = check(tmp_path)
    assert report.ok and report.layout == name.partition(",")[0], report.problems
    dataset = Dataset(tmp_path)
    assert dataset.stems == tuple(DRAWN)
    np.testing.assert_array_equal(dataset.load("case_03").known, bad == 0)


def test_where_nothing_fits_every_layout_says_what_it_lacks(tmp_path):
    for stem, (image, _) in DRAWN.items():
        put(tmp_path / "pictures" / f"{stem}.png", image)
        put(tmp_path / f"{stem}.png", image)
    (tmp_path / "results.json").write_text('{"score": 1}')
    report = check(tmp_path)
    assert not report.ok and report.layout == ""
    assert set(report.lacking) == {layout.name for layout in LAYOUTS}
    assert "layout: not recognised" in str(report)
    assert "Cellpose needs NAME_masks.* beside NAME.*; of 6 image files here none has such a name" in str(report)
    assert "results.json: has no lists called images and annotations" in str(report)
    assert "there is no images/ folder" in report.problems[0]


def test_images_may_lie_beside_their_scribbles(tmp_path):
    for stem, (image, _) in DRAWN.items():
        put(tmp_path / f"{stem}.png", image)
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[3, :9], strokes[20, 4:7] = 1, 2
    put(tmp_path / "scribbles" / "case_03.png", strokes)
    (tmp_path / "notes.txt").touch()
    report = check(tmp_path)
    assert report.ok and report.layout == "images beside scribbles or masks" and "notes" not in str(report.warnings)
    dataset = Dataset(tmp_path)
    assert dataset.stems == tuple(DRAWN) and dataset.labelled == ("case_03",)
    sample = dataset.load("case_03")
    np.testing.assert_array_equal(sample.mask, strokes == 2)
    np.testing.assert_array_equal(sample.known, strokes > 0)
    put(tmp_path / "scribbles" / "case_9.png", strokes)
    assert "scribbles/case_9.png: a scribble without an image" in faults(tmp_path)


def test_images_may_lie_beside_their_masks(tmp_path):
    for stem, (image, labels) in DRAWN.items():
        put(tmp_path / f"{stem}.png", image)
        put(tmp_path / "masks" / f"{stem}.png", labels.astype(np.uint8))
    report = check(tmp_path)
    assert report.ok and report.layout == "images beside scribbles or masks"
    np.testing.assert_array_equal(Dataset(tmp_path).load("case_03").mask, DRAWN["case_03"][1] > 0)
    put(tmp_path / "scribbles" / "case_03.png", np.ones(SHAPE, np.uint8))
    assert "there is a mask of it too (masks/)" in faults(tmp_path)


def test_known_areas_and_bad_pixels_may_lie_beside_images_and_their_masks(tmp_path):
    for stem, (image, labels) in DRAWN.items():
        put(tmp_path / f"{stem}.png", image)
        put(tmp_path / "masks" / f"{stem}.png", labels.astype(np.uint8))
    known, bad = np.ones(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    known[:, 50:], bad[7, 5:20] = 0, 1
    put(tmp_path / "known" / "case_03.png", known)
    put(tmp_path / "bad_pixels.png", bad)
    report = check(tmp_path)
    assert report.ok and report.layout == "images beside scribbles or masks"
    dataset = Dataset(tmp_path)
    assert dataset.stems == tuple(DRAWN)
    np.testing.assert_array_equal(dataset.load("case_02").known, bad == 0)
    np.testing.assert_array_equal(dataset.load("case_03").known, (known > 0) & (bad == 0))
    put(tmp_path / "scribbles" / "case_03.png", known)
    assert "there is a known area of it too (known/)" in faults(tmp_path)


def test_values_below_0_are_left_out_of_every_score(tmp_path):
    stardist(tmp_path, DRAWN)
    _, labels = DRAWN["case_00"]
    sparse = np.where(labels == 4, -1, labels)
    put(tmp_path / "train" / "masks" / "case_00.tif", sparse)
    sample = Dataset(tmp_path).load("case_00")
    np.testing.assert_array_equal(sample.known, labels != 4)
    np.testing.assert_array_equal(sample.mask, (labels > 0) & (labels != 4))
    facts = open_dataset(tmp_path).survey.facts["case_00"]
    assert facts.n_known == (labels != 4).sum() and len(facts.areas) == 3
    put(tmp_path / "train" / "masks" / "case_00.tif", np.full(SHAPE, -1, np.int16))
    assert "train/masks/case_00.tif: no pixel is known" in faults(tmp_path)


def test_known_areas_and_values_below_0_add_up():
    values = np.zeros((4, 6), np.int32)
    values[0], values[1, 0] = -1, 3
    known = np.ones((4, 6), bool)
    known[:, 5] = False
    sample = Dataset.from_arrays({"a": np.zeros((4, 6), np.uint8)}, {"a": values}, {"a": known}).load("a")
    np.testing.assert_array_equal(sample.known, known & (values >= 0))


@pytest.mark.parametrize("write", [stardist, cellpose, dsb])
def test_folders_of_splits_are_honoured(write, tmp_path):
    stems = list(DRAWN)
    for side, some in (("train", stems[:3]), ("val", stems[3:4]), ("test", stems[4:])):
        root = tmp_path / side if write is not stardist else tmp_path / f"written_{side}"
        root.mkdir()
        write(root, {stem: DRAWN[stem] for stem in some})
        if write is stardist:
            (root / "train").rename(tmp_path / side)
            root.rmdir()
    splits = check(tmp_path).splits
    assert splits.search == tuple(stems[:3]) and splits.selection == (stems[3],) and splits.test == tuple(stems[4:])
    (tmp_path / "dataset.yaml").write_text("splits: {train: [case_05, case_04, case_03], test: [case_00]}")
    assert check(tmp_path).splits.test == ("case_00",)
    (tmp_path / "dataset.yaml").write_text("splits: draw")
    assert len(check(tmp_path).splits.test) == 2 and check(tmp_path).splits.selection == ()


def test_selection_images_without_test_images_are_said_not_to_be_used(tmp_path):
    for i, side in enumerate(["train"] * 9 + ["val"] * 3):
        put(tmp_path / side / "images" / f"{i}.png", gray())
        put(tmp_path / side / "masks" / f"{i}.png", disc())
    assert any(said.startswith("3 images are for validation (val) and none") for said in check(tmp_path).warnings)
    (tmp_path / "dataset.yaml").write_text("splits: draw")
    assert not any("for the test" in said for said in check(tmp_path).warnings)
    (tmp_path / "dataset.yaml").unlink()
    (tmp_path / "val").rename(tmp_path / "test")
    assert not any("for the test" in said for said in check(tmp_path).warnings)


def test_equal_names_in_two_folders_get_the_folders_names(tmp_path):
    for side in ("train", "test"):
        for i in range(2):
            put(tmp_path / side / "images" / f"{i}.png", gray())
            put(tmp_path / side / "masks" / f"{i}.png", disc())
    assert Dataset(tmp_path).stems == ("test-0", "test-1", "train-0", "train-1")
    put(tmp_path / "train" / "masks" / "9.png", disc())
    assert "train/masks/9.png: a mask without an image" in faults(tmp_path)


class TestCellpose:
    def test_a_pickle_is_refused_by_name_and_never_run(self, tmp_path):
        cellpose(tmp_path, DRAWN)

        class Trap:
            def __reduce__(self):
                return (open, (str(tmp_path / "sprung"), "w"))

        (tmp_path / "case_00_masks.png").unlink()
        for content in (np.array({"masks": disc()}, dtype=object), np.array([Trap()], dtype=object)):
            np.save(tmp_path / "case_00_seg.npy", content, allow_pickle=True)
            assert "case_00_seg.npy: holds a Python pickle" in faults(tmp_path)
        (tmp_path / "case_00_seg.npy").write_bytes(pickle.dumps(Trap()))
        assert "case_00_seg.npy: the file is damaged" in faults(tmp_path)
        assert not (tmp_path / "sprung").exists()

    def test_masks_go_before_a_saved_array_and_other_files_are_skipped(self, tmp_path):
        cellpose(tmp_path, DRAWN)
        for stem in DRAWN:
            np.save(tmp_path / f"{stem}_seg.npy", np.array({"masks": 1}, dtype=object), allow_pickle=True)
            put(tmp_path / f"{stem}_flows.tif", gray())
            put(tmp_path / f"{stem}_cp_output.png", gray())
        report = check(tmp_path)
        assert report.ok and not report.warnings[1:], report.warnings

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (np.zeros((2, *SHAPE), np.int32), "masks are whole numbers of shape"),
            (np.zeros(SHAPE, np.float32), "masks are whole numbers of shape"),
            (np.zeros((3, 4), np.int32), r"mask is (3, 4) but case_00.tif is"),
        ],
    )
    def test_a_saved_array_that_is_no_mask_is_a_fault(self, tmp_path, array, said):
        cellpose(tmp_path, DRAWN)
        (tmp_path / "case_00_masks.png").unlink()
        np.save(tmp_path / "case_00_seg.npy", array)
        assert said in faults(tmp_path)

    def test_a_saved_array_that_promises_more_than_it_holds_is_a_fault(self, tmp_path):
        cellpose(tmp_path, DRAWN)
        (tmp_path / "case_00_masks.png").unlink()
        path = tmp_path / "case_00_seg.npy"
        for shape in ((60_000, 60_000), (100, 100)):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "<i4", "fortran_order": False, "shape": shape})
            path.write_bytes(head.getvalue() + b"1234")
            assert "case_00_seg.npy: " in faults(tmp_path)

    def test_two_masks_of_one_image_and_a_lone_mask_are_faults(self, tmp_path):
        cellpose(tmp_path, DRAWN)
        put(tmp_path / "case_00_cp_masks.png", disc())
        put(tmp_path / "case_1_masks.png", disc())
        said = faults(tmp_path)
        assert "case_00_masks.png: case_00 has another mask, case_00_cp_masks.png" in said
        assert "case_1_masks.png: a mask without an image" in said and "does it belong to" in said

    def test_images_beside_a_test_folder_are_for_training(self, tmp_path):
        stems = list(DRAWN)
        cellpose(tmp_path, {stem: DRAWN[stem] for stem in stems[:4]})
        cellpose(tmp_path / "test", {stem: DRAWN[stem] for stem in stems[4:]})
        report = check(tmp_path)
        assert report.splits.test == tuple(stems[4:]) and report.splits.search == tuple(stems[:4])
        assert report.ok and "notes" not in str(report.warnings)


class TestDsb:
    def test_a_folder_needs_one_image_and_masks_of_its_size(self, tmp_path):
        dsb(tmp_path, DRAWN)
        put(tmp_path / "case_00" / "images" / "second.png", gray())
        put(tmp_path / "case_01" / "masks" / "999.png", disc()[:, 1:])
        for path in (tmp_path / "case_02" / "masks").iterdir():
            path.unlink()
        said = faults(tmp_path)
        assert "case_00/images: holds 2 images" in said
        assert "case_01/masks/999.png: mask is (48, 61) but 001.png is (48, 62)" in said
        assert "case_02/masks: contains no mask" in said

    def test_where_objects_overlap_the_smaller_keeps_the_pixel(self, tmp_path):
        small, large = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
        small[10:14, 10:15], large[5:30, 5:40] = 1, 7
        put(tmp_path / "a" / "images" / "a.png", gray())
        for name, mask in (("1", small), ("2", large)):
            put(tmp_path / "a" / "masks" / f"{name}.png", mask)
        labels = Dataset(tmp_path).load("a").labels
        assert (labels == 1).sum() == 20 and (labels == 2).sum() == 25 * 35 - 20


class TestNnunet:
    def test_channels_become_planes_and_the_test_folder_the_test(self, tmp_path):
        nnunet(tmp_path, DRAWN)
        for stem in DRAWN:
            put(tmp_path / "imagesTr" / f"{stem}_0001.png", gray())
        for channel in ("0000", "0001"):
            put(tmp_path / "imagesTs" / f"far_{channel}.png", gray())
        put(tmp_path / "labelsTs" / "far.png", disc())
        (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "DAPI", "1": "GFP"}, "labels": {}}')
        dataset = open_dataset(tmp_path)
        assert dataset.channels == ("gray", "GFP") and dataset.load("case_00").image.shape == (*SHAPE, 2)
        assert check(tmp_path).splits.test == ("far",)
        (tmp_path / "imagesTr" / "case_03_0001.png").unlink()
        assert "imagesTr/case_03_0000.png: the case has no channel 0001" in faults(tmp_path)

    def test_test_images_without_labels_leave_the_test_to_be_drawn(self, tmp_path):
        nnunet(tmp_path, DRAWN)
        put(tmp_path / "imagesTs" / "far_0000.png", gray())
        report = check(tmp_path)
        assert report.ok and len(report.splits.test) == 2 and "far" not in report.splits.test

    def test_the_label_called_ignore_is_left_out(self, tmp_path):
        nnunet(tmp_path, DRAWN)
        (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "disc": [1, 2, 3], "ignore": 4}}')
        sample, (_, labels) = Dataset(tmp_path).load("case_00"), DRAWN["case_00"]
        np.testing.assert_array_equal(sample.known, labels != 4)
        np.testing.assert_array_equal(sample.mask, (labels > 0) & (labels < 4))

    def test_several_labels_are_said_to_be_classes(self, tmp_path):
        nnunet(tmp_path, DRAWN)
        (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "nucleus": 1, "debris": 2}}')
        assert "dataset.json: its 2 labels are classes, not objects" in check(tmp_path).warnings[0]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "dataset.json: line 1 is not JSON"),
            ("[]", "dataset.json: holds a list"),
            ("[" * 100_000, "dataset.json: "),
            ('{"channel_names": ["a"]}', "channel_names is a list"),
            ('{"channel_names": {"x": "a"}}', "channel_names must be like"),
            ('{"channel_names": {"0": "a", "1": "a"}}', "two channels are called a"),
            ('{"labels": {"ignore": "x"}}', "ignore is a text"),
            ('{"labels": {"ignore": NaN}}', "NaN is not a JSON number"),
        ],
    )
    def test_a_damaged_card_is_a_fault(self, tmp_path, text, said):
        nnunet(tmp_path, DRAWN)
        (tmp_path / "dataset.json").write_text(text)
        assert said in faults(tmp_path)

    def test_names_without_channel_and_files_of_volumes_are_faults(self, tmp_path):
        nnunet(tmp_path, DRAWN)
        put(tmp_path / "imagesTr" / "lone.png", gray())
        (tmp_path / "imagesTr" / "scan_0000.nrrd").write_bytes(b"x")
        put(tmp_path / "labelsTr" / "nobody.png", disc())
        said = faults(tmp_path)
        assert "imagesTr/lone.png: has no channel number. Name it lone_0000.png" in said
        assert "imagesTr/scan_0000.nrrd: NRRD files are not read" in said
        assert "labelsTr/nobody.png: a mask without an image" in said


class TestMvtec:
    @pytest.fixture
    def root(self, tmp_path):
        for i in range(3):
            put(tmp_path / "train" / "good" / f"{i:03d}.png", gray())
            put(tmp_path / "test" / "broken" / f"{i:03d}.png", gray())
            put(tmp_path / "ground_truth" / "broken" / f"{i:03d}_mask.png", disc(i))
        put(tmp_path / "test" / "good" / "000.png", gray())
        return tmp_path

    def test_good_images_hold_nothing_and_defects_have_masks(self, root):
        (root / "dataset.yaml").write_text("splits: draw")
        report = check(root)
        assert report.ok and report.layout == "MVTec" and report.because == "ground_truth/ has masks for test/broken"
        dataset = Dataset(root)
        assert dataset.labelled == dataset.stems and len(dataset.stems) == 7
        assert not dataset.load("train-good-000").mask.any() and not dataset.load("test-good-000").mask.any()
        np.testing.assert_array_equal(dataset.load("test-broken-002").mask, disc(2) > 0)

    def test_a_test_with_every_defect_stays_sealed_and_the_way_out_is_named(self, root):
        (fault,) = check(root).problems
        assert "none of the 3 search images has any foreground" in fault and "`splits: draw`" in fault

    def test_defects_under_train_are_searched_and_test_tests(self, root):
        put(root / "train" / "bent" / "000.png", gray())
        put(root / "ground_truth" / "bent" / "000_mask.png", disc())
        splits = check(root).splits
        assert "train-bent-000" in splits.search and len(splits.search) == 4
        assert all(stem.startswith("test-") for stem in splits.test) and len(splits.test) == 4

    def test_masks_in_several_parts_are_joined(self, root):
        (root / "ground_truth" / "broken" / "000_mask.png").unlink()
        for part in range(2):
            put(root / "ground_truth" / "broken" / "000" / f"{part}.png", disc(20 * part) // 2)
        sample = Dataset(root).load("test-broken-000")
        np.testing.assert_array_equal(sample.mask, (disc(0) | disc(20)) > 0)
        assert set(np.unique(sample.values)) == {0, 255}

    def test_masks_that_belong_to_no_image_or_to_two_are_faults(self, root):
        put(root / "ground_truth" / "broken" / "099_mask.png", disc())
        put(root / "ground_truth" / "lost" / "000_mask.png", disc())
        put(root / "train" / "broken" / "001.png", gray())
        said = faults(root)
        assert "ground_truth/broken/099_mask.png: a mask without an image in test/broken/" in said
        assert "ground_truth/lost/000_mask.png: a mask without an image in test/lost/" in said
        assert "ground_truth/broken/001_mask.png: may belong to" in said


class TestManifest:
    def table(self, root, *lines):
        for stem in ("a", "b", "c"):
            put(root / "files" / f"{stem}.png", gray())
            put(root / "files" / f"{stem}_truth.png", disc())
        (root / "manifest.csv").write_text("\n".join(lines))
        return root

    def test_it_pairs_any_files_and_gives_splits_groups_and_known_areas(self, tmp_path):
        put(tmp_path / "known.png", disc(7))
        self.table(
            tmp_path,
            "image;mask;known;split;group",
            "files/a.png;files/a_truth.png;known.png;train;one",
            "files/b.png;files/b_truth.png;;test;two",
            "files/c.png;files/c_truth.png;;val;three",
        )
        dataset = open_dataset(tmp_path)
        assert dataset.card.groups == {"a": "one", "b": "two", "c": "three"}
        np.testing.assert_array_equal(dataset.load("a").known, disc(7) > 0)
        (tmp_path / "manifest.csv").write_text((tmp_path / "manifest.csv").read_text().replace("val;three", "val;two"))
        assert "of the group two but in different splits" in faults(tmp_path)

    def test_points_come_from_tables_that_it_names(self, tmp_path):
        self.table(tmp_path, "image,points", "files/a.png,places/1.csv", "files/b.png,")
        (tmp_path / "places").mkdir()
        (tmp_path / "places" / "1.csv").write_text("y,x\n3,40\n")
        dataset = open_dataset(tmp_path)
        assert dataset.labelled == ("a",) and dataset.load("a").points.tolist() == [[3, 40]]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("files/nowhere.png,files/a_truth.png,", "line 3: files/nowhere.png: no such file"),
            ("../outside.png,,", "line 3: ../outside.png: no such file"),
            ("/etc/passwd,,", "line 3: /etc/passwd lies outside"),
            (",files/a_truth.png,", "line 3: names no image"),
            ("files/a.png,files/a_truth.png,", "line 3: a.png is on line 2 already"),
            ("files/b.png,files/b_truth.png,tset", "line 3: unknown split 'tset'; did you mean test?"),
            ("files/b.png,manifest.csv,", "line 3: mask: manifest.csv is not read"),
            ("files/b.png,a,b,c,d", "line 3 has 5 cells, the first line 3"),
            ("files/b.png,\0,", "line 3: \\x00: no such file"),
        ],
    )
    def test_each_wrong_line_is_named(self, tmp_path, line, said):
        self.table(tmp_path, "image,mask,split", "files/a.png,files/a_truth.png,", line)
        assert said in faults(tmp_path)

    def test_a_table_without_columns_images_or_text_is_a_fault(self, tmp_path):
        assert "one of them image; it is 'file,mask'" in faults(self.table(tmp_path, "file,mask"))
        assert "lists no image" in faults(self.table(tmp_path, "image,mask"))
        assert "the column mask occurs twice" in faults(self.table(tmp_path, "image,mask,mask"))
        (tmp_path / "manifest.csv").write_bytes(b"image,mask\n\xff\xfe")
        assert "manifest.csv: not a text in UTF-8" in faults(tmp_path)

    def test_a_column_of_another_name_is_said_not_to_be_used(self, tmp_path):
        report = check(self.table(tmp_path, "image,maks", "files/a.png,files/a_truth.png"))
        assert "unknown column 'maks'; did you mean mask?" in report.warnings[0]


@pytest.mark.parametrize(
    ("folders", "layout"),
    [(("train/images", "train/masks"), "StarDist"), (("imagesTr", "labelsTr"), "nnU-Net")],
)
def test_a_layout_without_files_is_a_fault(tmp_path, folders, layout):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert f"the layout is {layout}, but no image is there" in faults(tmp_path)


def test_images_without_any_truth_are_a_fault(tmp_path):
    put(tmp_path / "train" / "images" / "a.png", gray())
    (tmp_path / "train" / "masks").mkdir()
    assert "the layout is StarDist, but no image has a mask or points" in faults(tmp_path)


def test_a_dataset_that_is_not_recognised_does_not_open(tmp_path):
    with pytest.raises(DatasetError, match="no images/ folder"):
        open_dataset(tmp_path)
