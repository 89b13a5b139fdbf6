"""Pictures of solved tasks: where they are cut, what is stored, and what is drawn where no image may be shown."""

import shutil

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.library.collection import Library, bundled_tasks, own_pictures, save_image_folder
from evoseg.library.pictures import (
    SHOWN,
    SIDE,
    Picture,
    make_pictures,
    pictures_of,
    read_pictures,
    save_own_pictures,
    save_pictures,
    task_strip,
)
from evoseg.library.stand_in import draw_stand_in
from evoseg.synthetic import draw_dataset
from tests.library.helpers import task

BUNDLED = {one.name: one for one in bundled_tasks()}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def box(shape: tuple[int, int], rows: slice, cols: slice) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, cols] = True
    return mask


def numbered(shape: tuple[int, int]) -> np.ndarray:
    """Return an image in which each pixel's colour says where it is."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    return np.stack([row % 256, col % 256, row // 256 * 16 + col // 256], axis=2).astype(np.uint8)


def made(mask: np.ndarray, output: Kind = Kind.MASK, *, native: bool = False) -> Picture:
    image = numbered(mask.shape)
    (picture,) = make_pictures(Dataset.from_arrays([image], [mask]), ["000"], output, native=native)
    return picture


def test_a_crop_at_its_own_scale_has_the_object_in_its_middle():
    mask = box((400, 700), slice(200, 220), slice(500, 540))
    picture = made(mask, native=True)
    top, left = 200 + 10 - SIDE // 2, 500 + 20 - SIDE // 2
    assert np.array_equal(picture.image, numbered(mask.shape)[top : top + SIDE, left : left + SIDE])
    assert np.array_equal(picture.mask, mask[top : top + SIDE, left : left + SIDE])


@pytest.mark.parametrize(("shape", "size"), [((300, 1000), (256, 256)), ((90, 1000), (90, 256)), ((50, 70), (50, 70))])
def test_a_crop_stays_within_its_image(shape, size):
    mask = box(shape, slice(0, 3), slice(shape[1] - 4, shape[1]))
    picture = made(mask, native=True)
    assert picture.image.shape[:2] == size and picture.mask.sum() == 12


def test_a_large_object_is_shown_as_a_whole():
    mask = box((1000, 1400), slice(300, 700), slice(400, 800))
    picture = made(mask)
    assert picture.image.shape[:2] == (SIDE, SIDE)
    assert picture.mask.mean() == pytest.approx((1 / 2.5) ** 2, rel=0.03)
    assert not (picture.mask[0].any() or picture.mask[-1].any() or picture.mask[:, [0, -1]].any())


def test_a_thin_line_across_a_large_image_does_not_break():
    picture = made(box((1000, 1400), slice(501, 503), slice(0, 1400)))
    assert picture.image.shape[:2] == (round(1000 * 256 / 1400), 256)
    assert picture.mask.any(axis=0).all()


def test_a_very_large_image_is_shown_without_all_of_its_pixels():
    picture = made(box((9000, 600), slice(4000, 6400), slice(100, 500)))
    assert picture.image.shape[0] == 256 and picture.mask.mean() == pytest.approx(400 / 600 / 2.5, rel=0.1)


def test_touching_objects_are_a_line_apart():
    labels = np.zeros((60, 80), np.int32)
    labels[20:40, 20:40], labels[20:40, 40:60] = 1, 2
    dataset = Dataset.from_arrays([numbered((60, 80))], [labels])
    (picture,) = make_pictures(dataset, ["000"], Kind.LABELS)
    assert picture.mask.sum() == 800 - 20 and not picture.mask[:, 40].any()


def test_points_are_shown_as_discs():
    points = [np.array([[30.0, 40.0], [30.0, 70.0]])]
    (picture,) = make_pictures(Dataset.from_arrays([numbered((60, 110))], points=points), ["000"], Kind.POINTS)
    assert picture.mask[30, 40] and picture.mask[30, 70] and not picture.mask[30, 55]
    points = [np.array([[30.0, 4400.0]])]
    (picture,) = make_pictures(Dataset.from_arrays([numbered((60, 5000))], points=points), ["000"], Kind.POINTS)
    assert picture.image.shape[:2] == (30, 256) and picture.mask[15, 128]


def test_images_without_masks_are_shown_without():
    (picture,) = make_pictures(Dataset.from_arrays([numbered((700, 900))]), ["000"], Kind.MASK)
    assert picture.mask is None and picture.image.shape == (SIDE, SIDE, 3)


def test_images_with_objects_are_shown_first():
    empty, full = np.zeros((30, 40), bool), box((30, 40), slice(9, 12), slice(9, 12))
    masks = [empty, full, empty, empty, full, full]
    dataset = Dataset.from_arrays([numbered((30, 40))] * 6, masks)
    assert all(picture.mask.any() for picture in make_pictures(dataset, dataset.stems, Kind.MASK))


def test_what_is_stored_is_read_again(tmp_path):
    rng = default_rng(7)
    smooth = np.full((40, 60, 3), 100, np.uint8) + rng.integers(0, 5, (40, 60, 1), np.uint8)
    pictures = [Picture(smooth, rng.random((40, 60)) > 0.5), Picture(numbered((90, 60)), None)]
    save_pictures(pictures * 2, tmp_path / "pictures")
    save_pictures(pictures, tmp_path / "pictures")
    one, other = read_pictures(tmp_path / "pictures")
    assert np.array_equal(one.mask, pictures[0].mask) and other.mask is None
    assert np.abs(one.image.astype(int) - smooth).max() <= 6 and other.image.shape == (90, 60, 3)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["1.jpg", "1.png", "2.jpg"]


@pytest.mark.parametrize("damaged", [b"", b"no picture"])
def test_damaged_pictures_are_not_shown(tmp_path, damaged):
    (tmp_path / "1.jpg").write_bytes(damaged)
    assert read_pictures(tmp_path) == []


def test_own_pictures_outlive_their_images_and_go_with_the_task(tmp_path, home):
    folder, own = draw_dataset("nuclei", tmp_path / "nuclei", 4, (60, 84), seed=3), task()
    dataset = Dataset(folder)
    with Library(tmp_path / "library.db") as library:
        library.add([own])
        save_own_pictures(own, dataset, dataset.stems)
        save_image_folder(own.id, folder)
        shutil.rmtree(folder)
        shown = pictures_of(own)
        assert len(shown) == SHOWN and not any(picture.drawn for picture in shown)
        assert shown[0].image.shape == (60, 84, 3) and shown[0].mask.any()
        library.remove(own)
    assert not own_pictures(own.id).exists() and list((home / "places").iterdir()) == []
    assert all(picture.drawn for picture in pictures_of(own))


def test_a_task_without_stored_pictures_is_shown_by_its_images_if_they_are_there(tmp_path):
    folder, own = draw_dataset("nuclei", tmp_path / "nuclei", 4, (60, 84), seed=3), task()
    save_image_folder(own.id, folder)
    assert [picture.drawn for picture in pictures_of(own)] == [False] * SHOWN
    shutil.rmtree(folder / "images")
    assert [picture.drawn for picture in pictures_of(own)] == [True] * SHOWN


def test_pictures_that_cannot_be_stored_are_a_warning(home, caplog):
    home.write_text("a file where the folder should be")
    dataset = Dataset.from_arrays([numbered((30, 40))], [box((30, 40), slice(9, 12), slice(9, 12))])
    save_own_pictures(task(), dataset, dataset.stems)
    assert "no pictures of this task are stored" in caplog.text


def test_tasks_of_one_dataset_share_its_pictures_and_a_namesake_does_not():
    one, other = (pictures_of(BUNDLED[name]) for name in ("dsb2018_fluo", "dsb2018_fluo_instances"))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True)) and not one[0].drawn
    assert pictures_of(task("dsb2018_fluo"))[0].drawn


def test_stand_ins_are_marked_as_drawn():
    assert task_strip(BUNDLED["crackforest"]).badge == "drawn" and task_strip(BUNDLED["dsb2018_fluo"]).badge == ""


@pytest.mark.parametrize("name", BUNDLED)
def test_a_stand_in_has_the_brightness_and_objects_of_its_task(name):
    figures = BUNDLED[name].statistics
    image, mask = draw_stand_in(figures, SIDE, stream(1, name))
    assert image.shape == (SIDE, SIDE, 3) and abs(image.mean() / 255 - figures["images"]["brightness"]) < 0.1
    assert np.array_equal(draw_stand_in(figures, SIDE, stream(1, name))[0], image)
    if "masks" not in figures:
        assert mask is None
        return
    assert mask.any() and (mask.mean() < 0.1 or abs(mask.mean() - figures["masks"]["share"]) < 0.2)
    step = image[mask].mean() - image[~mask].mean()
    if abs(figures["masks"]["brightness"]) > 0.6:
        assert step * figures["masks"]["brightness"] > 0


@pytest.mark.parametrize("value", [-1e12, -1.0, 0.0, 1e12])
def test_a_stand_in_can_be_drawn_of_any_figures(value):
    figures = {name: dict.fromkeys(values, value) for name, values in BUNDLED["crackforest"].statistics.items()}
    for some in (figures, {"masks": figures["masks"]}, {"images": {}}, {"masks": {}}):
        image, mask = draw_stand_in(some, 64, stream(1, "any"))
        assert image.shape == (64, 64, 3) and (mask is None) == ("masks" not in some)


def test_objects_are_drawn_as_thick_and_as_long_as_measured():
    figures = BUNDLED["drive_vessels"].statistics
    lines, blobs = (
        draw_stand_in({"masks": {**figures["masks"], "elongation": long, "thickness": 8.0, "share": 0.1}}, SIDE,
                      stream(1, "form"))[1]
        for long in (1000.0, 2.0)
    )  # fmt: skip
    assert max(np.ptp(np.nonzero(lines)[0]), np.ptp(np.nonzero(lines)[1])) > 200
    assert lines.mean() == pytest.approx(0.1, abs=0.05) == blobs.mean()
