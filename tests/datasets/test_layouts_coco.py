"""COCO: what is read from a document of annotations, and what is said of the rest."""

import json

import pytest

from evoseg.datasets import check, open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.folder import scan
from tests.datasets.drawn_layouts import (
    SHAPE,
    coco,
    draw,
    faults,
    gray,
    put,
)

DRAWN = draw(6)


class TestCoco:
    @pytest.fixture
    def document(self, tmp_path):
        """Return a function that writes the drawn images with one changed JSON file."""
        coco(tmp_path, DRAWN, lambda inside: [[0, 0, 3, 0, 3, 2]])
        path = tmp_path / "annotations" / "instances.json"
        found = json.loads(path.read_text())

        def write(change):
            change(found)
            path.write_text(json.dumps(found))
            return tmp_path

        return write

    def test_crowds_are_left_out_but_not_objects_in_them(self, document):
        def change(found):
            one, two, *_ = found["annotations"]
            one["segmentation"] = [[10, 10, 14, 10, 14, 13, 10, 13]]
            two["segmentation"], two["iscrowd"] = [[8, 8, 20, 8, 20, 18, 8, 18]], 1
            found["annotations"] = [one, two]

        sample = Dataset(document(change)).load("case_00")
        assert sample.mask.sum() == 12 and sample.mask[10:13, 10:14].all()
        assert sample.known.sum() == sample.known.size - 120 + 12

    def test_sizes_are_compared_with_the_images_before_anything_is_drawn(self, document):
        def change(found):
            for one in found["images"]:
                one |= {"height": 8000, "width": 8000}
            for one in found["annotations"]:
                one["segmentation"] = [[0, 0, 8000, 0, 8000, 8000, 0, 8000]]

        said = faults(document(change))
        assert said.startswith("images/case_00.png, images/case_01.png, images/case_02.png and 3 more (6 in all)")
        assert "the image is (48, 62), but instances.json says (8000, 8000)" in said

    def test_so_many_wrong_entries_are_not_told_one_by_one(self, document):
        root = document(lambda found: found["annotations"].extend([[]] * 100_000))
        said = check(root).problems
        assert (
            len(said) == 2 and "997 more (1000 in all): has no image_id" in said[0] and "over 1000 entries" in said[1]
        )

    def test_a_file_of_millions_of_empty_objects_is_not_parsed(self, tmp_path):
        put(tmp_path / "images" / "a.png", gray())
        (tmp_path / "big.json").write_text('{"images": [' + "{}," * 2_000_001 + '{}], "annotations": []}')
        assert "big.json: holds too many values; at most 20 million" in check(tmp_path).lacking["COCO"]

    def test_images_without_annotations_hold_nothing(self, document):
        root = document(lambda found: found.update(annotations=found["annotations"][:4]))
        dataset = open_dataset(root)
        assert dataset.labelled == dataset.stems and not dataset.load("case_05").mask.any()

    def test_files_per_split_beside_their_images_give_the_split(self, tmp_path):
        for side, stems in (("train", list(DRAWN)[:4]), ("test", list(DRAWN)[4:])):
            (tmp_path / side).mkdir()
            coco(tmp_path / side, {stem: DRAWN[stem] for stem in stems}, lambda inside: [[0, 0, 3, 0, 3, 2]])
            (tmp_path / side / "annotations" / "instances.json").rename(tmp_path / side / "_annotations.coco.json")
            (tmp_path / side / "annotations").rmdir()
        assert check(tmp_path).splits.test == ("case_04", "case_05")

    def test_what_the_folder_itself_is_called_is_no_split(self, tmp_path):
        root = tmp_path / "test"
        coco(root, DRAWN, lambda inside: [[0, 0, 3, 0, 3, 2]])
        (root / "annotations" / "instances.json").rename(root / "instances.json")
        folder = scan(root)
        assert folder.layout == "COCO" and len(folder.masks) == 6 and not folder.splits_of_layout

    @pytest.mark.parametrize(
        ("segmentation", "said"),
        [
            ([[1, 2, 3, 4]], "three corners at least"),
            ([[1, 2, "3", 4, 5, 6]], "holds a text among its numbers"),
            ([[0, 1] * 20_001], "at most 20000 are read"),
            ([], "only a box"),
            ({"size": [3, 4], "counts": [12]}, "run lengths are for the size [3, 4]"),
            ({"size": list(SHAPE), "counts": [5, 6]}, "add up to 11 pixels, the image has 2976"),
            ({"size": list(SHAPE), "counts": [-1, 2977]}, "whole numbers of 0 or more"),
            ({"size": list(SHAPE), "counts": "5é"}, "does not belong in the text"),
            ({"size": list(SHAPE), "counts": "oooooooooooooooo"}, "does not belong in the text"),
            ({"size": list(SHAPE), "counts": "5o"}, "breaks off"),
            ({"size": list(SHAPE), "counts": "M"}, "below 0"),
        ],
    )
    def test_a_wrong_outline_names_file_annotation_and_image(self, document, segmentation, said):
        found = faults(document(lambda found: found["annotations"][0].update(segmentation=segmentation)))
        assert "annotations/instances.json: annotation 0 of case_00.png: " in found and said in found

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("images", 7, "images[0]: is a number"),
            ("images", {"id": 0}, "images[0]: has no id or no file_name"),
            (
                "images",
                {"id": 0, "file_name": "x.png", "width": "9", "height": 4},
                "images[0]: x.png: width and height",
            ),
            (
                "images",
                {"id": 0, "file_name": "x.png", "width": 10**9, "height": 4},
                "images[0]: x.png: 4 x 1000000000 pixels",
            ),
            ("images", {"id": 0, "file_name": "x.gif", "width": 9, "height": 4}, "images[0]: x.gif: not the name"),
            ("images", {"id": 0, "file_name": "x.png", "width": 9, "height": 4}, "images[0]: x.png: no such file"),
            (
                "images",
                {"id": 0, "file_name": "case_01.png", "width": 62, "height": 48},
                "case_01.png has the id or the file of images[0]",
            ),
            ("annotations", None, "annotations[0]: has no image_id"),
            ("annotations", {"image_id": 0, "iscrowd": "no"}, "annotations[0]: iscrowd is neither"),
            ("annotations", {"image_id": 99}, "1 annotations belong to the image 99, which is not listed"),
        ],
    )
    def test_wrong_entries_are_named_by_their_place(self, document, key, value, said):
        def change(found):
            found[key][0] = value

        assert said in faults(document(change))

    def test_two_images_of_one_id_are_a_fault(self, document):
        found = faults(document(lambda found: found["images"][3].update(id=0)))
        assert "images[3]: case_03.png has the id or the file of images[0]" in found

    def test_two_files_for_the_same_images_are_a_fault(self, document, tmp_path):
        root = document(lambda found: None)
        (root / "captions.json").write_text((root / "annotations" / "instances.json").read_text())
        assert faults(root).startswith("annotations/instances.json: lists images and annotations, as ")

    def test_a_size_that_is_not_the_images_is_a_fault(self, document):
        found = faults(document(lambda found: found["images"][2].update(width=60)))
        assert "case_02.png: the image is (48, 62), but instances.json says (48, 60)" in found

    def test_a_broken_file_is_named_where_nothing_else_fits(self, tmp_path):
        put(tmp_path / "images" / "a.png", gray())
        (tmp_path / "annotations.json").write_text("{nonsense")
        report = check(tmp_path)
        assert "annotations.json: line 1 is not JSON" in report.lacking["COCO"]
        assert [said.partition(" (")[0] for said in report.problems] == ["annotations.json: line 1 is not JSON"]
