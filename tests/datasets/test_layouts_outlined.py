"""Files of annotation tools: what is read from each, and what is said of damaged ones."""

import base64
import io
import json
import random
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi

from evoseg.core.errors import DatasetError, EvosegError, SettingsError
from evoseg.datasets import check, open_dataset
from evoseg.datasets.classes import as_classes, classes_of
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.folder import scan
from evoseg.datasets.outlines.label_studio import unpack_brush
from evoseg.datasets.reading import ReadOptions
from tests.datasets.drawn_layouts import SHAPE, WRITERS, coco_runs, draw, faults, gray, put
from tests.datasets.drawn_outlines import (
    OUTLINE_WRITERS,
    feature,
    geojson,
    label_studio_result,
    labelme,
    labelme_document,
)

DRAWN = draw(6)
BOX = [[10.0, 5.0], [20.0, 5.0], [20.0, 9.0], [10.0, 9.0]]
"""x from 10 to 20, y from 5 to 9."""
INNER = [[12.0, 6.0], [15.0, 6.0], [15.0, 8.0], [12.0, 8.0]]
LINE = f"0 {' '.join(f'{x / 62:.6f} {y / 48:.6f}' for x, y in BOX)}\n"
"""The box as a line of YOLO."""


def box(top=5, bottom=9, left=10, right=20):
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def files_of(root):
    """Return the files of annotations."""
    others = ("data.yaml", "meta.json")
    return sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".png" and p.name not in others)


class TestEveryFormat:
    @pytest.mark.parametrize("name", OUTLINE_WRITERS)
    def test_a_file_that_breaks_off_is_one_error_that_names_it(self, name, tmp_path):
        WRITERS[name](tmp_path, DRAWN)
        path = files_of(tmp_path)[0]
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3] + b" 0.1 x" * (name == "YOLO"))
        (said,) = check(tmp_path).problems
        assert said.startswith(str(path.relative_to(tmp_path)))

    @pytest.mark.parametrize("name", OUTLINE_WRITERS)
    def test_files_with_changed_bytes_and_values_are_read_or_refused(self, name, tmp_path):
        WRITERS[name](tmp_path, draw(1))
        n_read = sum(mutate_and_check(tmp_path, files_of(tmp_path)[0], seed) for seed in range(60))
        assert n_read < 60

    @pytest.mark.parametrize("name", OUTLINE_WRITERS)
    def test_images_without_a_file_are_not_labelled_and_files_need_images(self, name, tmp_path):
        WRITERS[name](tmp_path, DRAWN)
        (image,) = tmp_path.rglob("case_03.png")
        image.unlink()
        assert "case_03" in faults(tmp_path)


def mutate_and_check(root, path, seed):
    """Check a folder with one changed file, put it back, and return whether it could be read."""
    original = path.read_bytes()
    path.write_bytes(mutated(original, random.Random(seed)))
    try:
        open_dataset(root)
    except EvosegError:
        return False
    else:
        return True
    finally:
        path.write_bytes(original)


def mutated(data, rng):
    """Return a file with some bytes changed, or, if it is JSON, every second time one of its values."""
    if data[:1] in (b"{", b"[") and rng.random() < 0.5:
        value = json.loads(data)
        replace_value(value, rng)
        return json.dumps(value).encode()
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed))
        changed[at : at + rng.choice((0, 1, 1, 8))] = rng.choice((b"", b"\0", b"-", b"9", rng.randbytes(3)))
    return bytes(changed)


def replace_value(value, rng):
    """Replace one value somewhere inside a list or object, in place."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
        replace_value(value[key], rng)
        return
    value[key] = rng.choice((None, True, -1, 0, 1e300, 10**400, "x", "", [], {}, [[]], [None], {"a": 1}))


class TestClasses:
    @pytest.fixture
    def root(self, tmp_path):
        """Write COCO with a small disc of another class in each image."""
        coco_runs(tmp_path, DRAWN)
        path = tmp_path / "annotations" / "instances.json"
        document = json.loads(path.read_text())
        document["categories"] = [{"id": 1, "name": "disc"}, {"id": 2, "name": "debris"}]
        for one in document["annotations"]:
            one["category_id"] = 2 if one["id"] % 4 == 3 else 1
        path.write_text(json.dumps(document))
        return tmp_path

    def test_all_are_read_and_listed_if_none_is_chosen(self, root):
        report = check(root)
        assert "classes: debris (6 objects), disc (18 objects)" in str(report)
        assert report.card["outline_classes"][0] == {"name": "debris", "n_objects": 6, "read": True}
        np.testing.assert_array_equal(Dataset(root).load("case_00").labels, DRAWN["case_00"][1])

    def test_the_chosen_are_objects_and_others_background(self, root):
        _, labels = DRAWN["case_00"]
        assert np.array_equal(Dataset(root, classes="debris").load("case_00").mask, labels == 4)
        chosen = Dataset(root, classes="disc").load("case_00")
        assert np.array_equal(chosen.labels, np.where(labels == 4, 0, labels))
        assert "debris (6 objects, not read)" in str(check(root, ReadOptions(classes="disc")))
        both = Dataset(root, classes="debris, disc").load("case_00")
        assert np.array_equal(both.labels, labels)

    def test_dataset_yaml_chooses_by_a_list(self, root):
        (root / "dataset.yaml").write_text("classes: [debris]\n")
        assert np.array_equal(Dataset(root).load("case_00").mask, DRAWN["case_00"][1] == 4)
        (root / "dataset.yaml").write_text("title: x\nclasses: [debris, debris]\n")
        assert "line 2: classes lists names of classes, each once" in faults(root)

    def test_the_choice_changes_no_checksum_of_an_image(self, root):
        def digests(**how):
            return Dataset(root, **how).survey.facts["case_00"].digests

        assert digests()["image"] == digests(classes="disc")["image"]
        assert digests()["mask"] != digests(classes="disc")["mask"]

    def test_a_class_that_is_not_there_is_an_error_with_the_nearest_name(self, root):
        (said,) = check(root, ReadOptions(classes="debri")).problems
        assert "unknown class 'debri'; did you mean debris?" in said
        with pytest.raises(DatasetError, match="unknown class"):
            Dataset(root, classes="debri").load("case_00")

    def test_masks_in_files_have_no_such_classes(self, tmp_path):
        WRITERS["plain"](tmp_path, DRAWN)
        (said,) = check(tmp_path, ReadOptions(classes="disc")).problems
        assert "no outlines with classes from which to choose disc" in said and "foreground: in dataset.yaml" in said

    def classes(self, labels, disc, debris):
        """Return what the masks are in which each disc has one number, and the small one another."""
        return np.where(labels == 4, debris, np.where(labels > 0, disc, 0))

    def test_the_task_classes_takes_the_names_and_not_the_objects(self, root):
        _, labels = DRAWN["case_00"]
        found = as_classes(Dataset(root))
        assert classes_of(found) == {1: "debris", 2: "disc"}
        assert np.array_equal(found.load("case_00").values, self.classes(labels, disc=2, debris=1))
        chosen = as_classes(Dataset(root, classes="disc,debris"))
        assert classes_of(chosen) == {1: "disc", 2: "debris"}
        assert np.array_equal(chosen.load("case_00").values, self.classes(labels, disc=1, debris=2))
        some = as_classes(Dataset(root, classes="disc"))
        assert classes_of(some) == {1: "disc"}
        assert np.array_equal(some.load("case_00").values, self.classes(labels, disc=1, debris=0))
        digests = {each.survey.facts["case_00"].digests["mask"] for each in (found, chosen, some, Dataset(root))}
        assert len(digests) == 4

    def test_dataset_yaml_asks_for_classes_and_numbers_them(self, root):
        _, labels = DRAWN["case_00"]
        (root / "dataset.yaml").write_text("task: classes\n")
        assert classes_of(Dataset(root)) == {1: "debris", 2: "disc"}
        assert "task: classes, because dataset.yaml says so" in str(check(root))
        (root / "dataset.yaml").write_text("classes: {7: disc, 3: debris}\n")
        data = Dataset(root)
        assert classes_of(data) == {3: "debris", 7: "disc"} == classes_of(as_classes(data))
        assert np.array_equal(data.load("case_00").values, self.classes(labels, disc=7, debris=3))
        (root / "dataset.yaml").write_text("classes: {1: discs}\n")
        assert "unknown class 'discs'; did you mean disc?" in faults(root)

    def test_what_a_run_recorded_is_read_again_and_others_are_numbered_as_its_classes(self, root):
        _, labels = DRAWN["case_00"]
        data = as_classes(Dataset(root, classes="disc,debris"))
        again = Dataset(root, ReadOptions(masks=data.source.decision.meaning.text))
        assert again.survey.digest == data.survey.digest and as_classes(again) is again
        numbered = as_classes(Dataset(root), {2: "disc", 5: "debris"})
        assert np.array_equal(numbered.load("case_00").values, self.classes(labels, disc=2, debris=5))

    def test_objects_without_a_class_are_no_class(self, tmp_path):
        labelme(tmp_path, DRAWN)
        document = json.loads((tmp_path / "case_00.json").read_text())
        document["shapes"][0]["label"] = ""
        (tmp_path / "case_00.json").write_text(json.dumps(document))
        with pytest.raises(DatasetError, match=r"1 of 24 outlines have no class. Name theirs.*--classes disc"):
            as_classes(Dataset(tmp_path))
        some = as_classes(Dataset(tmp_path, classes="disc"))
        assert np.array_equal(some.load("case_00").values, DRAWN["case_00"][1] > 1)

    @pytest.mark.parametrize("name", ["ImageJ ROI", "DSB2018"])
    def test_formats_without_classes_are_refused_for_the_task_classes(self, name, tmp_path):
        WRITERS[name](tmp_path, DRAWN)
        with pytest.raises(DatasetError, match="24 objects have no classes.*Take the task instances or binary"):
            as_classes(Dataset(tmp_path))

    def test_names_of_classes_become_names_of_folders(self, root):
        path = root / "annotations" / "instances.json"
        document = json.loads(path.read_text())
        document["categories"][0]["name"], document["categories"][1]["name"] = "../Discs: round", "debris"
        path.write_text(json.dumps(document))
        assert classes_of(as_classes(Dataset(root))) == {1: "_Discs_round", 2: "debris"}
        assert classes_of(as_classes(Dataset(root), {1: "debris", 2: "_Discs_round"}))[2] == "_Discs_round"
        document["categories"][1]["name"] = "_Discs_round"
        path.write_text(json.dumps(document))
        with pytest.raises(DatasetError, match="has almost the same name as another. Rename one"):
            as_classes(Dataset(root))

    def test_masks_with_values_stay_as_they_are(self, tmp_path):
        WRITERS["plain"](tmp_path, DRAWN)
        data = Dataset(tmp_path)
        assert as_classes(data) is data

    def test_classes_are_text(self):
        with pytest.raises(SettingsError, match="classes is"):
            ReadOptions(classes=["disc"])


class TestLabelMe:
    def write(self, root, *shapes, **changes):
        """Write an image with shapes and return the sample that is read."""
        image = put(root / "a.png", gray())
        document = labelme_document("a.png", np.empty(SHAPE), list(shapes)) | changes
        image.with_suffix(".json").write_text(json.dumps(document))
        return Dataset(root).load("a")

    def shape(self, points, form="polygon", label="cell", **more):
        return {"label": label, "points": points, "group_id": None, "shape_type": form, "flags": {}} | more

    def test_a_polygon_covers_the_pixels_whose_centres_it_holds(self, tmp_path):
        assert np.array_equal(self.write(tmp_path, self.shape(BOX)).mask, box())

    def test_rectangles_and_circles_are_filled(self, tmp_path):
        circle = self.shape([[40, 30], [40, 36]], "circle")
        mask = self.write(tmp_path, self.shape([[20, 9], [10, 5]], "rectangle"), circle).mask
        rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
        assert np.array_equal(mask, box() | ((rows - 30) ** 2 + (cols - 40) ** 2 < 36))

    def test_a_bitmap_lies_where_its_first_corner_says(self, tmp_path):
        inside = np.eye(4, 6, dtype=bool)
        inside[0] = True
        file = io.BytesIO()
        Image.fromarray(inside).save(file, format="PNG")
        text = base64.b64encode(file.getvalue()).decode()
        mask = self.write(tmp_path, self.shape([[11, 3], [16, 6]], "mask", mask=text)).mask
        assert np.array_equal(mask[3:7, 11:17], inside) and mask.sum() == inside.sum()

    def test_parts_of_one_group_are_one_object(self, tmp_path):
        other = [[30, 5], [33, 5], [33, 9], [30, 9]]
        sample = self.write(tmp_path, self.shape(BOX, group_id=7), self.shape(other, group_id=7), self.shape(BOX))
        assert np.array_equal(sample.labels, np.where(box(), 2, 0) + box(left=30, right=33))

    def test_what_is_to_be_ignored_is_left_out(self, tmp_path):
        sample = self.write(tmp_path, self.shape([[2, 2], [30, 30]], "rectangle", "__ignore__"), self.shape(BOX))
        assert np.array_equal(sample.known, ~box(2, 30, 2, 30) | box()) and np.array_equal(sample.mask, box())

    def test_points_and_lines_are_named_and_not_read(self, tmp_path):
        self.write(tmp_path, self.shape(BOX), self.shape([[1, 1]], "point"), self.shape([[1, 1], [2, 2]], "line"))
        said = check(tmp_path).warnings
        assert "a.json: 1 x point without an area, not read." in said

    def test_rectangles_alone_are_doubted(self, tmp_path):
        self.write(tmp_path, self.shape([[10, 5], [20, 9]], "rectangle"))
        assert any("all 1 objects are rectangles" in said for said in check(tmp_path).warnings)

    def test_no_shape_means_no_object(self, tmp_path):
        assert not self.write(tmp_path).mask.any()

    def test_the_image_may_lie_elsewhere_or_have_another_name(self, tmp_path):
        put(tmp_path / "images" / "b.png", gray())
        (tmp_path / "json").mkdir()
        document = labelme_document("..\\images\\b.png", np.empty(SHAPE), [self.shape(BOX)])
        (tmp_path / "json" / "first.json").write_text(json.dumps(document))
        assert np.array_equal(Dataset(tmp_path).load("b").mask, box())
        document["imagePath"] = "C:\\elsewhere\\gone.png"
        (tmp_path / "json" / "first.json").write_text(json.dumps(document))
        assert "a label file without an image" in faults(tmp_path)
        (tmp_path / "json" / "first.json").rename(tmp_path / "json" / "b.json")
        assert np.array_equal(Dataset(tmp_path).load("b").mask, box())

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"points": [[1, 2], [3, 4]]}, "a.json: shapes[0] of a.png: a polygon is a list of x, y"),
            ({"points": 7}, "a.json: shapes[0]: points is a number, not a list"),
            ({"points": [[1, 2], [3]]}, "a.json: shapes[0]: corners are a list of [x, y]"),
            ({"points": [[1, 2], [3, "4"], [5, 6]]}, "a polygon holds a text among its numbers"),
            ({"label": None}, "shapes[0]: label is null, not text"),
            ({"shape_type": "star"}, "shape_type is 'star', which is not known"),
            ({"shape_type": "circle"}, "a circle has two points, not 4"),
            ({"shape_type": "mask", "points": [[1, 2], [3, 4]]}, "a bitmap is null, not the text of a PNG"),
            ({"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "AAAA"}, "a bitmap is not a PNG in base64"),
        ],
    )
    def test_a_wrong_shape_is_named_by_its_place(self, wrong, said, tmp_path):
        with pytest.raises(DatasetError):
            self.write(tmp_path, self.shape(BOX) | wrong)
        assert said in faults(tmp_path)

    def test_another_size_than_the_images_is_a_fault(self, tmp_path):
        with pytest.raises(DatasetError, match=r"the image is \(48, 62\), but a.json says \(48, 60\)"):
            self.write(tmp_path, self.shape(BOX), imageWidth=60)


class TestGeoJson:
    def write(self, root, value):
        put(root / "a.png", gray())
        (root / "a.geojson").write_text(json.dumps(value))
        return Dataset(root).load("a")

    def test_holes_are_no_part_of_an_object(self, tmp_path):
        sample = self.write(tmp_path, {"type": "FeatureCollection", "features": [feature([[BOX, INNER]])]})
        assert np.array_equal(sample.mask, box() & ~box(6, 8, 12, 15))

    def test_bare_lists_and_single_features_are_read(self, tmp_path):
        assert np.array_equal(self.write(tmp_path, [feature([[BOX]])]).mask, box())
        assert np.array_equal(self.write(tmp_path, feature([[BOX]])).mask, box())

    def test_objects_without_a_class_go_by_their_type(self, tmp_path):
        cell = feature([[BOX]])
        cell["properties"] = {"objectType": "cell"}
        derived = feature([[BOX]])
        derived["properties"]["classification"] = {"names": ["Tumor", "CD3"], "color": [1, 2, 3]}
        self.write(tmp_path, [cell, derived, feature([[BOX]], "Stroma")])
        assert [one["name"] for one in check(tmp_path).card["outline_classes"]] == ["Stroma", "Tumor: CD3", "cell"]

    def test_the_class_ignore_is_left_out(self, tmp_path):
        sample = self.write(tmp_path, [feature([[[[0, 0], [30, 0], [30, 30], [0, 30]]]], "Ignore*"), feature([[BOX]])])
        assert np.array_equal(sample.known, ~box(0, 30, 0, 30) | box())

    def test_outlines_that_miss_the_image_are_a_fault(self, tmp_path):
        far = [[[x + 9000, y] for x, y in BOX]]
        with pytest.raises(DatasetError, match=r"none of the 1 outlines covers a pixel of a.png, which is \(48, 62\)"):
            self.write(tmp_path, feature([far]))

    def test_several_planes_of_a_stack_are_a_fault(self, tmp_path):
        second = feature([[BOX]])
        second["geometry"]["plane"] = {"c": -1, "z": 3, "t": 0}
        with pytest.raises(DatasetError, match="the objects lie in 2 planes of a stack"):
            self.write(tmp_path, [feature([[BOX]]), second])

    @pytest.mark.parametrize(
        ("geometry", "said"),
        [
            ({"type": "Blob", "coordinates": []}, "features[0]: the geometry is of the type 'Blob'"),
            ({"type": "Polygon", "coordinates": [7]}, "features[0]: corners are a list of [x, y]"),
            ({"type": "Polygon"}, "features[0]: coordinates is null, not a list"),
            (None, "features[0]: geometry is null, not an object"),
        ],
    )
    def test_a_wrong_feature_is_named_by_its_place(self, geometry, said, tmp_path):
        with pytest.raises(DatasetError):
            self.write(tmp_path, feature([[BOX]]) | {"geometry": geometry})
        assert f"a.geojson: {said}" in faults(tmp_path)


def test_two_formats_in_one_folder_are_named(tmp_path):
    labelme(tmp_path, DRAWN)
    geojson(tmp_path, DRAWN)
    report = check(tmp_path)
    assert report.layout == "LabelMe" and any("is a file of GeoJSON, too" in said for said in report.warnings)


def test_masks_go_before_outlines(tmp_path):
    WRITERS["plain"](tmp_path, DRAWN)
    labelme(tmp_path, DRAWN)
    assert check(tmp_path).layout == "plain"


def test_folders_of_splits_are_honoured(tmp_path):
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
        labelme(tmp_path / side, {f"{side}_{stem}": drawn for stem, drawn in DRAWN.items()})
    splits = check(tmp_path).splits
    assert len(splits.test) == 6 and all(stem.startswith("test") for stem in splits.test)


def test_every_folder_is_read_however_many_there_are(tmp_path):
    for number in range(60):
        labelme(tmp_path / f"patient_{number:03d}", {"a": DRAWN["case_00"]})
    folder = scan(tmp_path)
    assert folder.layout == "LabelMe" and not folder.problems
    assert len(folder.images) == len(folder.masks) == 60


def test_two_files_about_one_image_are_a_fault(tmp_path):
    labelme(tmp_path, DRAWN)
    (tmp_path / "again.json").write_text((tmp_path / "case_02.json").read_text())
    assert "case_02.json: annotates case_02.png, as again.json does. Keep one." in faults(tmp_path)


class TestRois:
    def write(self, root, *some):
        put(root / "a.png", gray())
        for i, roi in enumerate(some):
            roi.name = f"{i:04d}"
            roi.tofile(root / "a_RoiSet.zip", mode="a")
        return Dataset(root).load("a")

    def box_roi(self, **more):
        roi = ImagejRoi()
        roi.roitype, roi.top, roi.left, roi.bottom, roi.right = ROI_TYPE.RECT, 5, 10, 9, 20
        for name, value in more.items():
            setattr(roi, name, value)
        return roi

    def test_rectangles_ovals_and_outlines_to_fractions_of_a_pixel(self, tmp_path):
        oval = self.box_roi(roitype=ROI_TYPE.OVAL, top=20, left=30, bottom=36, right=50)
        fine = ImagejRoi.frompoints(np.array([[1.6, 1.6], [4.4, 1.6], [4.4, 3.6], [1.6, 3.6]]))
        sample = self.write(tmp_path, self.box_roi(), oval, fine)
        rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
        ellipse = ((rows - 28) / 8) ** 2 + ((cols - 40) / 10) ** 2 < 1
        assert np.array_equal(sample.labels, box() + 2 * ellipse + 3 * box(2, 4, 2, 4))
        assert check(tmp_path).pairing == ("label files are called NAME_RoiSet",)

    def test_a_composite_has_holes(self, tmp_path):
        path = [v for x, y in BOX for v in (1, x, y)] + [4] + [v for x, y in INNER for v in (1, x, y)] + [4]
        path[0] = path[13] = 0
        composite = self.box_roi(multi_coordinates=np.array(path, np.float32), shape_roi_size=len(path))
        assert np.array_equal(self.write(tmp_path, composite).mask, box() & ~box(6, 8, 12, 15))

    def test_a_single_file_is_read(self, tmp_path):
        put(tmp_path / "a.png", gray())
        self.box_roi().tofile(tmp_path / "a.roi")
        assert np.array_equal(Dataset(tmp_path).load("a").mask, box())

    def test_points_and_lines_are_named_and_not_read(self, tmp_path):
        point = ImagejRoi.frompoints(np.array([[3, 4]], np.int32))
        point.roitype = ROI_TYPE.POINT
        self.write(tmp_path, self.box_roi(), point, self.box_roi(roitype=ROI_TYPE.LINE))
        assert "a_RoiSet.zip: 1 x point without an area, not read." in check(tmp_path).warnings

    def test_a_corner_that_is_no_number_is_a_fault(self, tmp_path):
        put(tmp_path / "a.png", gray())
        roi = ImagejRoi.frompoints(np.array(BOX) + 0.3)
        roi.subpixel_coordinates[2, 0] = np.nan
        roi.tofile(tmp_path / "a.roi")
        assert faults(tmp_path).startswith("a.roi: the ROI of a.png: a polygon has a corner that is not a number")

    def test_several_planes_of_a_stack_are_a_fault(self, tmp_path):
        with pytest.raises(DatasetError, match="the ROIs lie on 2 planes of a stack"):
            self.write(tmp_path, self.box_roi(position=1), self.box_roi(position=2))

    def test_a_wrong_roi_is_named_by_its_place(self, tmp_path):
        put(tmp_path / "a.png", gray())
        with ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("0001.roi", b"Iout" + bytes(9))
        assert faults(tmp_path).startswith("a.zip: 0001.roi: not a ROI of ImageJ (")


class TestYolo:
    def write(self, root, text, names="names: [cell, debris]\n"):
        put(root / "train" / "images" / "a.png", gray())
        put(root / "train" / "images" / "b.png", gray())
        put(root / "test" / "images" / "c.png", gray())
        for path, content in (("train/labels/a", text), ("test/labels/c", LINE), ("classes", "x")):
            (root / f"{path}.txt").parent.mkdir(exist_ok=True)
            (root / f"{path}.txt").write_text(content)
        (root / "data.yaml").write_text(names)
        return Dataset(root)

    def test_corners_are_shares_of_the_size(self, tmp_path):
        dataset = self.write(tmp_path, f"{LINE}1 0 0 0.5 0 0.5 0.0417 0 0.0417\n")
        assert np.array_equal(dataset.load("a").labels, box() + 2 * box(0, 2, 0, 31))
        assert [one["name"] for one in check(tmp_path).card["outline_classes"]] == ["cell", "debris"]

    def test_an_empty_file_means_no_object_and_a_missing_one_no_label(self, tmp_path):
        dataset = self.write(tmp_path, "")
        assert not dataset.load("a").mask.any() and dataset.labelled == ("a", "c")

    def test_folders_of_splits_are_honoured(self, tmp_path):
        self.write(tmp_path, LINE)
        assert check(tmp_path).splits.test == ("c",)

    @pytest.mark.parametrize(
        ("text", "names"), [("names:\n  0: cell\n", ["cell"]), ("nc: 1\n", ["x"]), ("names: {0: }\n", ["x"])]
    )
    def test_names_are_those_of_data_yaml_or_else_classes_txt(self, tmp_path, text, names):
        self.write(tmp_path, LINE, text)
        assert [one["name"] for one in check(tmp_path).card["outline_classes"]] == names

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("0 0.5 0.5 0.1 0.1", "line 2: only a box; outlines"),
            ("0 0.5 0.5 0.1 0.1 0.2", "line 2: 5 numbers after the class"),
            ("0 0.1 0.1 0.2 nan 0.2 0.3", "line 2: coordinates must be shares"),
            ("0 10 5 20 5 20 9", "line 2: coordinates must be shares"),
            ("0 0.1 0.1 0.2 x 0.2 0.3", "line 2: 'x' is not a number"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path, line, said):
        with pytest.raises(DatasetError):
            self.write(tmp_path, f"{LINE}{line}\n")
        assert faults(tmp_path).startswith(f"train/labels/a.txt: {said}")

    def test_a_card_that_is_no_yaml_is_named(self, tmp_path):
        with pytest.raises(DatasetError, match=r"data.yaml: line 2 is not YAML"):
            self.write(tmp_path, LINE, "names: [")


class TestCvat:
    def write(self, root, shapes, name="sub/a.png", size='width="62" height="48"', subset=""):
        put(root / "images" / "sub" / "a.png", gray())
        image = f'<image id="0" name="{name}" {size} subset="{subset}">{shapes}</image>'
        (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
        return Dataset(root).load("a")

    def test_boxes_and_ellipses_are_turned_about_their_middle(self, tmp_path):
        turned = '<box label="c" xtl="13" ytl="2" xbr="17" ybr="12" rotation="90.0"/>'
        ellipse = '<ellipse label="c" cx="40" cy="30" rx="6" ry="9" rotation="90"/>'
        sample = self.write(tmp_path, turned + ellipse)
        rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
        oval = ((rows - 30) / 6) ** 2 + ((cols - 40) / 9) ** 2 < 1
        assert np.array_equal(sample.labels, box() + 2 * oval)

    def test_run_lengths_go_along_the_rows_of_their_box(self, tmp_path):
        mask = self.write(tmp_path, '<mask label="c" rle="2, 3, 1" left="7" top="4" width="3" height="2"/>').mask
        assert mask[4:6, 7:10].astype(int).tolist() == [[0, 0, 1], [1, 1, 0]] and mask.sum() == 3

    def test_the_subset_is_the_split(self, tmp_path):
        self.write(tmp_path, '<polygon label="c" points="10,5;20,5;20,9;10,9"/>', subset="Test")
        assert check(tmp_path).splits.test == ("a",)

    def test_an_image_that_is_not_there_is_a_fault(self, tmp_path):
        with pytest.raises(DatasetError, match=r"annotations.xml: image 0 \(sub/b.png\): sub/b.png: no such image"):
            self.write(tmp_path, "", "sub/b.png")

    @pytest.mark.parametrize(
        ("shape", "said"),
        [
            ('<polygon label="c" points="1,2;3"/>', "image 0 (sub/a.png): polygon 0: points are x,y;x,y"),
            ('<polygon label="c" points="1,2;3,nan;4,5"/>', "points is 'nan'; a number is needed"),
            ('<box label="c" xtl="1" ytl="1" xbr="2"/>', "box 0: ybr is ''; a number is needed"),
            ('<mask rle="2, 3" left="7" top="4" width="3" height="2"/>', "rle must be whole numbers that add up to 3"),
            ('<mask rle="6" left="7" top="4" width="3000000" height="20000"/>', "a mask of 3000000 x 20000 pixels"),
        ],
    )
    def test_a_wrong_shape_is_named_by_its_place(self, shape, said, tmp_path):
        with pytest.raises(DatasetError):
            self.write(tmp_path, shape)
        assert faults(tmp_path).startswith("annotations.xml: image 0 (sub/a.png): ") and said in faults(tmp_path)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("<annotations><meta></meta><track id='0'/></annotations>", "holds tracks of a video"),
            ("<!DOCTYPE x [<!ENTITY a 'b'>]><annotations><image name='&a;'/></annotations>", "declares entities"),
            ("<annotations><image></annotations>", "not XML that can be read (mismatched tag"),
            ("<annotations><image/></annotations>", "image 0 (): height is ''; a whole number is needed"),
        ],
    )
    def test_other_documents_are_refused(self, text, said, tmp_path):
        put(tmp_path / "images" / "a.png", gray())
        (tmp_path / "annotations.xml").write_text(text)
        assert said in faults(tmp_path)


class TestVia:
    def write(self, root, *shapes, project=False):
        put(root / "a.png", gray())
        regions = [{"shape_attributes": shape, "region_attributes": {"type": "cell", "n": 3}} for shape in shapes]
        images = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": {}}}
        (root / "via.json").write_text(json.dumps({"_via_img_metadata": images} if project else images))
        return Dataset(root).load("a")

    @pytest.mark.parametrize("project", [False, True])
    def test_rectangles_circles_and_ellipses_are_filled(self, tmp_path, project):
        rect = {"name": "rect", "x": 10, "y": 5, "width": 10, "height": 4}
        circle = {"name": "circle", "cx": 40, "cy": 30, "r": 6}
        oval = {"name": "ellipse", "cx": 15, "cy": 30, "rx": 4, "ry": 8, "theta": np.pi / 2}
        sample = self.write(tmp_path, rect, circle, oval, {"name": "point", "cx": 1, "cy": 1}, project=project)
        rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
        disc = (rows - 30) ** 2 + (cols - 40) ** 2 < 36
        ellipse = ((rows - 30) / 4) ** 2 + ((cols - 15) / 8) ** 2 < 1
        assert np.array_equal(sample.labels, box() + 2 * disc + 3 * ellipse)
        assert [one["name"] for one in check(tmp_path).card["outline_classes"]] == ["cell"]

    def test_an_image_without_regions_holds_nothing(self, tmp_path):
        assert not self.write(tmp_path, project=True).mask.any()

    @pytest.mark.parametrize(
        ("shape", "said"),
        [
            ({"name": "star"}, "via.json: a.png123: regions[0]: the shape is called 'star'"),
            ({"name": "circle", "cx": 1, "cy": 2}, "regions[0]: r is null; a number is needed"),
            ({"name": "polygon", "all_points_x": [1], "all_points_y": []}, "regions[0]: 1 x and 0 y"),
        ],
    )
    def test_a_wrong_region_is_named_by_its_place(self, shape, said, tmp_path):
        with pytest.raises(DatasetError):
            self.write(tmp_path, shape)
        assert said in faults(tmp_path)


class TestLabelStudio:
    def write(self, root, *values, name="s3://bucket/0a1b2c3d-a%20b.png", annotations=None):
        put(root / "images" / "a b.png", gray())
        results = [label_studio_result(value, i) for i, value in enumerate(values)]
        tasks = [
            {"data": {"image": name}, "annotations": annotations or [{"result": results}]},
            {"data": {"image": "of-nobody.png"}, "annotations": []},
        ]
        (root / "export.json").write_text(json.dumps(tasks))
        return Dataset(root).load("a b")

    def percent(self, rows, cols):
        return {"x": 100 * cols / 62, "y": 100 * rows / 48}

    def test_rectangles_turn_about_their_corner_and_ellipses_about_their_middle(self, tmp_path):
        size = {"width": 100 * 4 / 62, "height": 100 * 10 / 48, "rotation": 90}
        rect = self.percent(5, 20) | size | {"rectanglelabels": ["cell"]}
        radii = {"radiusX": 100 * 6 / 62, "radiusY": 100 * 9 / 48, "rotation": 90}
        oval = self.percent(30, 40) | radii | {"ellipselabels": ["cell"]}
        point = self.percent(1, 1) | {"width": 1, "keypointlabels": ["cell"]}
        sample = self.write(tmp_path, rect, oval, point, {"choices": ["good"]})
        rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
        ellipse = ((rows - 30) / 6) ** 2 + ((cols - 40) / 9) ** 2 < 1
        assert np.array_equal(sample.labels, box() + 2 * ellipse)
        assert "export.json: 1 x keypoint without an area, not read." in check(tmp_path).warnings

    def test_an_outline_and_its_label_may_be_two_results(self, tmp_path):
        outline = label_studio_result({"points": [[0, 0], [50, 0], [50, 50], [0, 50]]})
        label = label_studio_result(outline["value"] | {"labels": ["cell"]})
        sample = self.write(tmp_path, annotations=[{"result": [outline, label]}])
        assert sample.labels.max() == 1 and np.array_equal(sample.mask, box(0, 24, 0, 31))
        assert check(tmp_path).card["outline_classes"] == [{"name": "cell", "n_objects": 1, "read": True}]

    def test_of_several_people_the_ground_truth_or_the_first_is_read(self, tmp_path):
        small = {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["cell"]}
        large = {"points": [[0, 0], [100, 0], [100, 50], [0, 50]], "polygonlabels": ["cell"]}
        some = [{"result": [label_studio_result(value)]} for value in (small, large, large)]
        some[1]["ground_truth"], some[2]["was_cancelled"] = True, True
        assert np.array_equal(self.write(tmp_path, annotations=some).mask, box(0, 24, 0, 62))
        assert "export.json: 1 x annotation by another person, not read." in check(tmp_path).warnings

    def test_brush_strokes_by_hand(self):
        # 8 values of 8 bits; counts of 1 to 4 bits. Then four times 0 (a count of 3 in 2 bits), and 1 2 3 4 listed.
        bits = f"{8:032b}{7:05b}" + "0000000100100011" + f"1 01 11 {0:08b} 0 01 11".replace(" ", "")
        bits += "".join(f"{value:08b}" for value in (1, 2, 3, 4))
        packed = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)]
        assert unpack_brush(np.array(packed, np.uint8), 8).tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
        with pytest.raises(DatasetError, match="break off"):
            unpack_brush(np.array(packed[:-2], np.uint8), 8)
        with pytest.raises(DatasetError, match="for 8 values of 8 bits, the image has 12"):
            unpack_brush(np.array(packed, np.uint8), 12)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ({"points": [[1, "2"]]}, "export.json: task 0: result 0: a coordinate is text; a number is needed"),
            ({"rle": [1, 2, 300]}, "task 0: result 0: rle must be whole numbers from 0 to 255"),
            ({"rle": [1, 2]}, "task 0: result 0: the run lengths break off"),
            ({"points": []}, "export.json: result 0 of a b.png: a polygon is a list"),
        ],
    )
    def test_a_wrong_result_is_named_by_its_place(self, value, said, tmp_path):
        with pytest.raises(DatasetError):
            self.write(tmp_path, value)
        assert said in faults(tmp_path)

    def test_the_short_export_is_refused(self, tmp_path):
        put(tmp_path / "a.png", gray())
        (tmp_path / "a.json").write_text('[{"image": "a.png", "label": [{"original_width": 62}]}]')
        assert "task 0: has no data and annotations; choose Export > JSON in Label Studio" in faults(tmp_path)


class TestSupervisely:
    def write(self, root, *listed):
        put(root / "img" / "a.png", gray())
        (root / "ann").mkdir()
        document = {"tags": [], "size": {"height": SHAPE[0], "width": SHAPE[1]}, "objects": list(listed)}
        (root / "ann" / "a.png.json").write_text(json.dumps(document))
        return Dataset(root).load("a")

    def thing(self, form, exterior, interior=()):
        points = {"exterior": exterior, "interior": list(interior)}
        return {"classTitle": "cell", "geometryType": form, "points": points}

    def test_polygons_have_holes_and_rectangles_are_filled(self, tmp_path):
        polygon = self.thing("polygon", BOX, [INNER])
        rectangle = self.thing("rectangle", [[30, 20], [40, 30]])
        sample = self.write(tmp_path, polygon, rectangle, self.thing("point", [[1, 1]]))
        assert np.array_equal(sample.labels, (box() & ~box(6, 8, 12, 15)) + 2 * box(20, 30, 30, 40))

    @pytest.mark.parametrize(
        ("bitmap", "said"),
        [
            ({"data": "AAAA", "origin": [1, 2]}, "objects[0]: a bitmap is not packed by zlib and base64"),
            ({"data": "é", "origin": [1, 2]}, "objects[0]: a bitmap is not packed by zlib and base64"),
            ({"data": "AAAA", "origin": [1]}, "objects[0]: origin is null; a number is needed"),
        ],
    )
    def test_a_wrong_bitmap_is_named_by_its_place(self, bitmap, said, tmp_path):
        with pytest.raises(DatasetError):
            self.write(tmp_path, {"classTitle": "cell", "geometryType": "bitmap", "bitmap": bitmap})
        assert f"ann/a.png.json: {said}" in faults(tmp_path)


class TestTraced:
    """Outlines as cv2.findContours gives them, through the centres of pixels."""

    def write(self, root, drawn, contours_of=lambda inside: contours(inside)[0]):
        for stem, (image, labels) in drawn.items():
            put(root / f"{stem}.png", image)
            inside = [labels == value for value in range(1, labels.max() + 1)]
            shapes = [{"label": "disc", "points": contours_of(one), "shape_type": "polygon"} for one in inside]
            (root / f"{stem}.json").write_text(json.dumps(labelme_document(f"{stem}.png", image, shapes)))

    def test_pixels_on_the_outlines_belong_to_the_objects(self, tmp_path):
        self.write(tmp_path, DRAWN)
        for stem, (_, labels) in DRAWN.items():
            np.testing.assert_array_equal(Dataset(tmp_path).load(stem).labels, labels)
        assert any("all outlines run from pixel to pixel" in said for said in check(tmp_path).warnings)

    def test_the_card_decides_and_silences_the_warning(self, tmp_path):
        self.write(tmp_path, DRAWN)
        n_pixels = {}
        for word in ("pixels", "edges"):
            (tmp_path / "dataset.yaml").write_text(f"outlines: {word}\n")
            n_pixels[word] = Dataset(tmp_path).load("case_00").mask.sum()
            assert not any("from pixel to pixel" in said for said in check(tmp_path).warnings)
        assert n_pixels["pixels"] == (DRAWN["case_00"][1] > 0).sum() > 1.1 * n_pixels["edges"]
        (tmp_path / "dataset.yaml").write_text("outlines: centres\n")
        assert "line 1: outlines is centres; it must be pixels or edges" in faults(tmp_path)

    def test_one_outline_drawn_by_hand_says_that_none_is_traced(self, tmp_path):
        self.write(tmp_path, DRAWN, lambda inside: [[x, y + 0.25] for x, y in contours(inside)[0]])
        assert not Dataset(tmp_path).source.decision.meaning.traced

    def test_a_hole_ends_before_the_pixels_on_its_outline(self, tmp_path):
        inside = np.zeros(SHAPE, np.uint8)
        cv2.circle(inside, (30, 24), 15, 1, -1)
        cv2.circle(inside, (30, 24), 7, 0, -1)
        put(tmp_path / "a.png", gray())
        (tmp_path / "a.geojson").write_text(json.dumps(feature([contours(inside)])))
        assert np.array_equal(Dataset(tmp_path).load("a").mask, inside > 0)

    def test_what_it_means_is_recorded_so_that_earlier_runs_stay_as_they_were(self, tmp_path):
        self.write(tmp_path, DRAWN)
        source = Dataset(tmp_path).source
        as_before = source.under(json.dumps({"task": "instances"}))
        assert as_before.read("mask", "case_00").digest != source.read("mask", "case_00").digest
        assert json.loads(source.decision.meaning.text)["traced"] is True


def contours(inside):
    """Return the outlines [[x, y], ...] of a mask through its pixels, those of holes last."""
    found, tree = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    order = sorted(range(len(found)), key=lambda i: tree[0][i][3])
    return [found[i][:, 0].astype(float).tolist() for i in order]
