"""Pairs of images: the folder, its faults, arrays, splits; and the radius in dataset.yaml."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import DatasetError
from evoseg.core.transforms import move_points
from evoseg.datasets.checking import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import write_image
from evoseg.datasets.jitter import jitter
from evoseg.datasets.pair_tables import pair_table_text, read_pair_table
from evoseg.datasets.reading import ReadOptions
from evoseg.datasets.splits import split
from evoseg.synthetic import draw_frames, draw_pairs


@pytest.fixture
def folder(tmp_path):
    return draw_pairs(tmp_path / "maps", 12, (30, 44), seed=2)


def test_a_folder_of_pairs_is_read(folder):
    data = Dataset(folder)
    assert data.labelled == data.stems == tuple(f"maps_{i:03d}" for i in range(12))
    sample = data.load("maps_003")
    assert sample.image.shape == sample.moving.shape == (30, 44, 4)
    np.testing.assert_allclose(
        sample.shift, read_pair_table(folder / "pairs" / "shifts.csv").truth("maps_003", "shift")
    )
    assert sample.mask is None


def test_check_says_that_it_is_registration(folder):
    report = check(folder)
    assert report.ok, report.problems
    assert report.card["task"] == "registration"
    (folder / "dataset.yaml").unlink()
    assert "task: registration, because the folder holds pairs" in str(check(folder))


def test_pairs_are_a_layout_and_their_splits_need_shifts(folder):
    report = check(folder)
    assert (report.layout, report.because) == ("pairs", "there is pairs/")
    card, table = folder / "dataset.yaml", folder / "pairs" / "shifts.csv"
    card.write_text("splits: {test: [maps_000]}")
    table.write_text("name,dy,dx\nmaps_001,1,1\n")
    (fault,) = check(folder).problems
    assert fault.startswith("dataset.yaml: splits: test names maps_000, which has no mask, points or shift")
    table.unlink()  # nothing is labelled: new pairs, to apply a pipeline to
    assert not check(folder).problems


def test_a_channel_is_taken_of_both_images(folder):
    whole, one = Dataset(folder).load("maps_003"), Dataset(folder, ReadOptions(channel="1")).load("maps_003")
    np.testing.assert_array_equal(one.image, whole.image[..., 1:2])
    np.testing.assert_array_equal(one.moving, whole.moving[..., 1:2])


def test_pairs_of_one_fixed_image_may_lie_in_several_splits(folder):
    # A stack is registered to one reference; that all pairs share it must not keep them from being tested.
    reference = folder / "pairs" / "fixed" / "maps_000.tif"
    for i in range(1, 12):
        (folder / "pairs" / "fixed" / f"maps_{i:03d}.tif").write_bytes(reference.read_bytes())
    splits = split(Dataset(folder))
    assert (len(splits.search), len(splits.test)) == (8, 4)


def test_every_fault_of_pairs_is_listed(folder):
    pairs = folder / "pairs"
    (pairs / "moving" / "maps_001.tif").unlink()
    write_image(pairs / "moving" / "extra.tif", np.zeros((30, 44, 4), np.uint16))
    write_image(pairs / "moving" / "maps_002.tif", np.zeros((44, 30, 4), np.uint16), overwrite=True)
    table = pairs / "shifts.csv"
    table.write_text(table.read_text() + "nobody,1,2\n")
    faults = "\n".join(check(folder).problems)
    assert "pairs/fixed/maps_001.tif: has no partner in moving/" in faults
    assert "pairs/moving/extra.tif: has no partner in fixed/" in faults
    assert "maps_002.tif: moving image is (44, 30) but maps_002.tif is (30, 44)" in faults
    assert "shifts.csv: names nobody, which is not in fixed/" in faults


def test_a_shift_beyond_what_can_be_found_is_a_fault(folder):
    (folder / "pairs" / "shifts.csv").write_text("name,dy,dx\nmaps_000,2,2\nmaps_001,16,0\n")
    (fault,) = check(folder).problems
    assert "maps_001 is shifted by (16, 0) px, more than half of its 30 rows or 44 columns" in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n", "must name the columns name,dy,dx; it is 'a,b,c'"),
        ("name,dy,dx\nmaps_000,1\n", "line 2 does not hold a name and two numbers"),
        ("name,dy,dx\nmaps_000,1,nan\n", "line 2 does not hold a name and two numbers"),
        ("name,dy,dx\nmaps_000,1,2\n\nmaps_000.tif,1,2\n", "line 4 names maps_000 again"),
    ],
)
def test_a_bad_table_is_named_with_its_line(folder, text, words):
    (folder / "pairs" / "shifts.csv").write_text(text)
    assert any(words in fault for fault in check(folder).problems)


@pytest.mark.parametrize("kind", ["shift", "rigid", "affine"])
def test_tables_that_are_written_are_read(tmp_path, kind):
    truth = {
        "shift": np.array([1.25, -3.5]),
        "rigid": np.array([[0.8, -0.6, 3.25], [0.6, 0.8, -20.5]]),
        "affine": np.array([[0.9, -0.1, 3.25], [0.05, 1.1, -20.5]]),
    }[kind]
    path = tmp_path / ("shifts.csv" if kind == "shift" else "transforms.csv")
    path.write_text(pair_table_text({"a": truth, 'odd, "name"': truth}, kind))
    table = read_pair_table(path)
    assert table.choose_kind("") == kind
    assert list(table.rows) == ["a", 'odd, "name"']
    np.testing.assert_allclose(table.truth("a", kind), truth, atol=1e-6)


def test_landmarks_are_fitted(tmp_path):
    truth = np.array([[0.8, -0.6, 3.25], [0.6, 0.8, -20.5]])
    points = np.array([[0.0, 0.0], [10.0, 5.0], [3.0, 40.0]])
    rows = [f"a,{y},{x},{my},{mx}" for (y, x), (my, mx) in zip(points, move_points(truth, points), strict=True)]
    path = tmp_path / "landmarks.csv"
    path.write_text("\n".join(["name,y,x,moving_y,moving_x", *rows, "b,1,1,2,3"]))
    table = read_pair_table(path)
    for kind in ("rigid", "affine"):
        np.testing.assert_allclose(table.truth("a", kind), truth, atol=1e-9)
    assert table.truth("b", "shift").tolist() == [1, 2]
    with pytest.raises(DatasetError, match="the 1 landmarks of b do not determine a transform of the kind rigid"):
        table.truth("b", "rigid")


def moved(folder, table, text, card="task: registration\n"):
    """Replace the table of a folder of pairs."""
    (folder / "pairs" / "shifts.csv").unlink()
    (folder / "pairs" / table).write_text(text)
    (folder / "dataset.yaml").write_text(card)
    return folder


RIGID_ROWS = "name,yy,yx,dy,xy,xx,dx\nmaps_000,0.8,-0.6,8,0.6,0.8,-8\n"


def test_the_table_says_what_moves_the_pairs(folder):
    data = Dataset(moved(folder, "transforms.csv", RIGID_ROWS))
    assert data.labelled == ("maps_000",)
    sample = data.load("maps_000")
    assert (sample.shift, sample.affine) == (None, None)
    np.testing.assert_allclose(sample.rigid, [[0.8, -0.6, 8], [0.6, 0.8, -8]])
    assert Dataset(folder, transform="affine").load("maps_000").affine.shape == (2, 3)
    with pytest.raises(DatasetError, match="maps_000 is not a shift. Take `transform: rigid`"):
        Dataset(folder, transform="shift")


def test_pixels_do_not_depend_on_what_moves_them(folder):
    parts = [Dataset(folder, transform=kind).source.read("image", "maps_000") for kind in ("", "rigid")]
    assert parts[0].digest == parts[1].digest


@pytest.mark.parametrize(
    ("table", "text", "card", "words"),
    [
        (
            "transforms.csv",
            RIGID_ROWS.replace("0.8,-0.6", "0.9,-0.6"),
            "transform: rigid",
            "is not a rotation and shift",
        ),
        ("transforms.csv", RIGID_ROWS.replace(",-8", ""), "", "line 2 does not hold a name and six numbers"),
        ("transforms.csv", "name,dy,dx\n", "", "must name the columns name,yy,yx,dy,xy,xx,dx; it is 'name,dy,dx'"),
        ("transforms.csv", RIGID_ROWS, "transform: turn", "unknown transform 'turn'"),
        ("transforms.csv", "name,yy,yx,dy,xy,xx,dx\nmaps_000,0,-1,29,1,0,7\n", "", "rotated by 90 degrees; at most 45"),
        (
            "transforms.csv",
            "name,yy,yx,dy,xy,xx,dx\nmaps_000,2,0,-14,0,2,-21\n",
            "",
            "scaled by factors of 2.00 to 2.00",
        ),
        ("landmarks.csv", "name,y,x,moving_y,moving_x\nmaps_000,1,1,2,2\n", "", "landmarks do not say what moves"),
        ("landmarks.csv", "name,y,x,moving_y,moving_x\nmaps_000,1,1,2,2\n", "transform: rigid", "at least 2, apart"),
        ("landmarks.csv", "name,y,x,moving_y,moving_x\nnobody,1,1,2,2\n", "transform: shift", "names nobody"),
    ],
)
def test_a_bad_table_of_transforms_is_one_fault(folder, table, text, card, words):
    (fault,) = check(moved(folder, table, text, f"task: registration\n{card}\n")).problems
    assert words in fault


def test_two_tables_are_one_too_many(folder):
    (folder / "pairs" / "transforms.csv").write_text(RIGID_ROWS)
    (fault,) = check(folder).problems
    assert "transforms.csv: says what shifts.csv says, too" in fault


def test_only_pairs_have_a_transform(tmp_path):
    folder = draw_frames(tmp_path / "frames", 2, (60, 70), seed=1)
    with pytest.raises(DatasetError, match="the transform is rigid, but there are no pairs/"):
        Dataset(folder, transform="rigid")


def test_pairs_come_from_arrays_under_the_same_rules():
    rng = default_rng(1)
    images = [rng.integers(0, 255, (20, 31)).astype(np.uint8) for _ in range(2)]
    data = Dataset.from_arrays(images, moving=[image.astype(np.uint16) for image in images], shifts=[(1, 2), (0, 0)])
    sample = data.load("000")
    assert sample.image.dtype == sample.moving.dtype == np.uint16
    assert sample.shift.tolist() == [1, 2]
    with pytest.raises(DatasetError, match=r"shift '000': .* \(dy, dx\) is needed"):
        Dataset.from_arrays(images, moving=images, shifts=[(1, 2, 3), None])
    turned = np.array([[0.8, -0.6, 3], [0.6, 0.8, 4]])
    data = Dataset.from_arrays(images, moving=images, rigid=[turned, None])
    assert (data.labelled, data.source.transform) == (("000",), "rigid")
    with pytest.raises(DatasetError, match="rigid '000': not a rotation and a shift. Give it as affine="):
        Dataset.from_arrays(images, moving=images, rigid=[1.1 * turned, None])


def test_a_jittered_pair_is_scaled_as_one():
    rng = default_rng(5)
    item = {"image": rng.random((40, 60, 2)).astype(np.float32), "shift": np.array([4.0, -6.0])}
    copy = jitter({**item, "moving": item["image"][::-1].copy()}, rng)
    assert copy["image"].shape == copy["moving"].shape != item["image"].shape
    scale = np.array(copy["image"].shape[:2]) / (40, 60)
    np.testing.assert_allclose(copy["shift"], item["shift"] * scale)


def test_a_jittered_transform_takes_places_of_the_copy_where_it_took_the_originals():
    item = {"image": np.zeros((40, 60, 2), np.float32), "affine": np.array([[0.9, -0.3, 4.0], [0.2, 1.1, -6.0]])}
    item["moving"] = item["image"].copy()
    copy = jitter(item, default_rng(5))
    scale = np.array(copy["image"].shape[:2]) / (40, 60)
    points = np.array([[0.0, 0.0], [7.0, 31.0], [22.0, 3.0]])
    there = (move_points(item["affine"], points) + 0.5) * scale - 0.5
    np.testing.assert_allclose(move_points(copy["affine"], (points + 0.5) * scale - 0.5), there)


def test_the_card_may_say_within_which_radius_points_match(tmp_path):
    folder = draw_frames(tmp_path / "frames", 2, (60, 70), seed=1)
    assert Dataset(folder).card.radius == 3
    card = folder / "dataset.yaml"
    card.write_text(card.read_text().replace("radius: 3", "radius: 4.5 px"))
    assert Dataset(folder).card.radius == 4.5
    card.write_text(card.read_text().replace("4.5 px", "wide"))
    with pytest.raises(DatasetError, match=r"line \d+: radius must be a number of pixels above 0, not wide"):
        Dataset(folder)
