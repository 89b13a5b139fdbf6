"""Maps that are the same for all frames of a folder: bad pixels, which are filled and not scored, and planes."""

import h5py
import numpy as np
import pytest

from evoseg.core.errors import DatasetError
from evoseg.datasets.checking import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import write_image
from evoseg.inference.apply import apply
from evoseg.inference.score import score
from evoseg.operators.polar import flatten_rings
from evoseg.pipeline import read_text
from evoseg.synthetic import draw_detector_frames

FINDS = """def pipeline(image):
    flatten_rings_1 = flatten_rings(image, index=0, centre="map", width=2.0, high=30.0, scale="log")
    return peaks(gaussian(flatten_rings_1, sigma=1.0))
"""


@pytest.fixture
def frames(tmp_path):
    return draw_detector_frames(tmp_path / "frames", 4, (120, 140), seed=3)


def test_bad_pixels_are_unknown_and_filled_in_every_frame(frames):
    bad = np.load(frames / "bad_pixels.npy") > 0
    for stem in Dataset(frames).stems:
        sample = Dataset(frames).load(stem)
        np.testing.assert_array_equal(sample.known, ~bad)
        stored = np.load(frames / "images" / f"{stem}.npy")
        np.testing.assert_array_equal(sample.image[~bad, 0], stored[~bad])
        assert stored[bad].min() == -1 and sample.image[..., 0].min() >= 0


def test_a_plane_for_all_frames_is_a_channel_of_each(frames):
    data = Dataset(frames)
    assert data.channels == ("gray", "two_theta")
    np.testing.assert_array_equal(data.load("frame_002").image[..., 1], np.load(frames / "planes" / "two_theta.npy"))
    assert check(frames).ok


def test_maps_may_be_hdf5(frames):
    before = Dataset(frames).load("frame_000")
    bad = np.load(frames / "bad_pixels.npy")
    (frames / "bad_pixels.npy").unlink()
    with h5py.File(frames / "bad_pixels.h5", "w") as file:
        file["mask"] = bad
    after = Dataset(frames).load("frame_000")
    np.testing.assert_array_equal(after.image, before.image)


def test_other_bad_pixels_are_another_image(frames):
    part = Dataset(frames).source.read("image", "frame_000")
    np.save(frames / "bad_pixels.npy", np.eye(120, 140, dtype=np.uint8))
    assert Dataset(frames).source.read("image", "frame_000").digest != part.digest


def test_wrong_maps_are_errors(frames):
    np.save(frames / "bad_pixels.npy", np.zeros((140, 120), np.uint8))
    assert any("the image is (120, 140) but bad_pixels is (140, 120)" in said for said in check(frames).problems)
    np.save(frames / "bad_pixels.npy", np.ones((120, 140), np.uint8))
    with pytest.raises(DatasetError, match="marks every pixel as bad"):
        Dataset(frames).load("frame_000")
    write_image(frames / "bad_pixels.png", np.zeros((120, 140), np.uint8))
    assert any("is one of 2 files called bad_pixels" in said for said in check(frames).problems)


def test_rings_of_a_tilted_detector_vanish_along_its_map(frames):
    sample = Dataset(frames).load("frame_001")
    far = np.ones(sample.known.shape, bool)
    for row, col in sample.points:
        far[max(0, int(row) - 6) : int(row) + 7, max(0, int(col) - 6) : int(col) + 7] = False
    left = {centre: float(flatten_rings(sample.image, centre=centre)[far].mean()) for centre in ("map", "found")}
    assert left["map"] < left["found"]


def test_apply_reads_the_maps_as_a_search_does(frames, tmp_path):
    data = Dataset(frames)
    program = read_text(FINDS).for_images(data.image_format(data.stems))
    assert [one.fault for one in apply(program, [frames], tmp_path / "out")] == [""] * 4
    found = np.loadtxt(tmp_path / "out" / "points" / "frame_000.csv", delimiter=",", skiprows=1).reshape(-1, 2)
    sample = Dataset(frames).load("frame_000")
    rows, cols = np.rint(found).astype(int).T
    assert len(found) and sample.known[rows, cols].all()
    assert score(program, data, "all").score > 0.4
