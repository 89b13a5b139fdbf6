"""Maps that are the same for all frames of a folder: bad pixels, which are filled and not scored, and planes."""

import json
import shutil

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from evoseg.cli.main import app
from evoseg.core.errors import DatasetError
from evoseg.datasets.checking import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import write_image
from evoseg.inference.apply import apply
from evoseg.inference.score import score
from evoseg.operators.polar import flatten_rings
from evoseg.pipeline import read_text
from evoseg.synthetic import draw_detector_frames, draw_pairs

pytestmark = pytest.mark.filterwarnings("ignore:the pipeline does not say")

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
    assert any("the image is (120, 140) but bad_pixels.npy is (140, 120)" in said for said in check(frames).problems)
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


PLAIN = read_text(FINDS.replace('centre="map"', 'centre="found"'))


@pytest.fixture
def without_planes(frames):
    """Frames whose map lies elsewhere, and what is found if it lies beside images/."""
    shutil.rmtree(frames / "planes")
    out = frames.parent / "beside"
    assert not any(one.fault for one in apply(PLAIN, [frames], out))
    moved = frames.parent / "detector.npy"
    (frames / "bad_pixels.npy").rename(moved)
    return frames, moved, points_in(out)


def points_in(out):
    return {path.stem: path.read_text() for path in sorted((out / "points").iterdir())}


def test_apply_takes_bad_pixels_for_files_and_folders_alike(without_planes, tmp_path):
    frames, bad_pixels, expected = without_planes
    files = sorted((frames / "images").iterdir())
    for name, images in {"files": files, "folder": [frames / "images"], "dataset": [frames]}.items():
        assert not any(one.fault for one in apply(PLAIN, images, tmp_path / name, bad_pixels=bad_pixels))
        assert points_in(tmp_path / name) == expected
        apply(PLAIN, images, tmp_path / f"{name} without")
        assert points_in(tmp_path / f"{name} without") != expected


def test_a_map_among_plain_images_is_not_an_image(without_planes, tmp_path):
    frames, bad_pixels, expected = without_planes
    for name in ("bad_pixels.npy", "other.npy"):
        folder = shutil.copytree(frames / "images", tmp_path / f"beside {name}")
        shutil.copy(bad_pixels, folder / name)
        named = None if name == "bad_pixels.npy" else folder / name
        apply(PLAIN, [folder], tmp_path / f"out {name}", bad_pixels=named)
        assert points_in(tmp_path / f"out {name}") == expected


def test_a_named_map_goes_before_the_one_beside_the_images(frames, tmp_path):
    every = {stem: Dataset(frames).load(stem).known for stem in Dataset(frames).stems}
    np.save(tmp_path / "other.npy", np.eye(120, 140, dtype=np.uint8))
    data = Dataset(frames, bad_pixels=tmp_path / "other.npy")
    for stem in every:
        np.testing.assert_array_equal(data.load(stem).known, ~np.eye(120, 140, dtype=bool))


def test_bad_pixels_of_another_size_are_an_error_of_each_image(without_planes, tmp_path):
    frames, _, _ = without_planes
    np.save(tmp_path / "turned.npy", np.zeros((140, 120), np.uint8))
    found = apply(PLAIN, sorted((frames / "images").iterdir()), tmp_path / "out", bad_pixels=tmp_path / "turned.npy")
    said = "frame_000.npy: the image is (120, 140) but turned.npy is (140, 120)"
    assert said in found[0].fault and all(one.fault for one in found)
    data = Dataset(frames, bad_pixels=tmp_path / "turned.npy")
    assert said in data.survey.problems[0]


def test_bad_pixels_that_cannot_be_used_are_one_error(without_planes, tmp_path):
    frames, _, _ = without_planes
    np.save(tmp_path / "all.npy", np.ones((120, 140), np.uint8))
    for name, said in {"all.npy": "marks every pixel as bad", "missing.npy": "missing.npy"}.items():
        with pytest.raises(DatasetError, match=said):
            apply(PLAIN, [frames], tmp_path / "out", bad_pixels=tmp_path / name)
        assert not (tmp_path / "out").exists()
    with pytest.raises(DatasetError, match="no such file"):
        Dataset(frames, bad_pixels=tmp_path / "missing.npy")
    pairs = draw_pairs(tmp_path / "pairs", 2, (40, 48), seed=3)
    with pytest.raises(DatasetError, match="cannot be left out of pairs/"):
        Dataset(pairs, bad_pixels=tmp_path / "all.npy")
    shutil.copy(tmp_path / "all.npy", pairs / "bad_pixels.npy")
    assert any("bad_pixels.npy: not used" in said for said in check(pairs).warnings)


def test_bad_pixels_of_a_huge_image_are_an_error(tmp_path):
    with tifffile.TiffWriter(tmp_path / "huge.tif") as file:
        file.write(np.zeros((8200, 8200), np.uint8), compression="zlib", tile=(256, 256))
    np.save(tmp_path / "bad.npy", np.eye(8, dtype=np.uint8))
    (found,) = apply(PLAIN, [tmp_path / "huge.tif"], tmp_path / "out", bad_pixels=tmp_path / "bad.npy")
    assert "bad pixels are not filled" in found.fault


def test_results_with_other_bad_pixels_are_not_continued(without_planes, tmp_path):
    frames, bad_pixels, _ = without_planes
    apply(PLAIN, [frames], tmp_path / "out", bad_pixels=bad_pixels)
    np.save(bad_pixels, np.eye(120, 140, dtype=np.uint8))
    found = apply(PLAIN, [frames], tmp_path / "out", bad_pixels=bad_pixels, skip_existing=True)
    assert all("changed" in one.fault for one in found)


def test_a_named_map_that_has_changed_is_noticed_beside_planes_too(frames, tmp_path):
    named = tmp_path / "named.npy"
    np.save(named, np.eye(120, 140, dtype=np.uint8))
    apply(PLAIN, [frames], tmp_path / "out", bad_pixels=named)
    np.save(named, np.eye(120, 140, dtype=np.uint8)[::-1])
    found = apply(PLAIN, [frames], tmp_path / "out", bad_pixels=named, skip_existing=True)
    assert found and all("changed" in one.fault for one in found)


def test_the_commands_take_bad_pixels(without_planes, tmp_path):
    frames, bad_pixels, expected = without_planes
    PLAIN.save(tmp_path / "find.evo")
    images = str(frames / "images" / "frame_000.npy")
    out = ["--out", str(tmp_path / "out"), "--bad-pixels", str(bad_pixels)]
    assert CliRunner().invoke(app, ["apply", str(tmp_path / "find.evo"), images, *out]).exit_code == 0
    assert points_in(tmp_path / "out") == {"frame_000": expected["frame_000"]}
    command = ["score", str(tmp_path / "find.evo"), str(frames), "--split", "all", "--json"]
    result = CliRunner().invoke(app, [*command, "--bad-pixels", str(bad_pixels)])
    per_image = score(PLAIN, Dataset(frames, bad_pixels=bad_pixels), "all").per_image
    assert json.loads(result.stdout)["per_image"] == per_image
    assert json.loads(CliRunner().invoke(app, command).stdout)["per_image"] != per_image
