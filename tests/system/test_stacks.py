"""Stacks from end to end: a search on one page and channel, and new files read the same way."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import evoseg
from evoseg.core.errors import SettingsError
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import read_image, write_mask
from evoseg.datasets.maskrules import read_mask
from evoseg.datasets.reading import ReadOptions
from evoseg.runs.opening import open_data
from evoseg.runs.pipeline_files import reading_of

pytestmark = pytest.mark.e2e

SHAPE = (40, 53)  # Non-square on purpose: swapped axes must fail.
CHOSEN = ("--page", "1", "--channel", "GFP")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a dataset of stacks whose squares are on page 1 of the second channel; all else is noise."""
    root = tmp_path_factory.mktemp("stacks") / "films"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(8):
        rng = np.random.default_rng(i)
        mask = np.zeros(SHAPE, bool)
        row, col = rng.integers(2, 18, 2)
        mask[row : row + 15, col : col + 20] = True
        stack = rng.integers(0, 200, (3, 2, *SHAPE)).astype(np.uint8)
        stack[1, 1] = rng.normal(90, 9, SHAPE) + 60 * mask
        metadata = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
        path = root / "images" / f"s{i}.ome.tif"
        tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata=metadata)
        write_mask(root / "masks" / f"s{i}.png", mask)
    return root


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory) -> evoseg.SearchResult:
    out = tmp_path_factory.mktemp("run") / "found"
    return evoseg.search(Dataset(folder, page=1, channel="GFP"), evaluations=40, workers=0, library="none", out=out)


def test_a_stack_without_a_page_is_refused_and_check_says_what_to_name(folder, tmp_path, command):
    done = command("search", folder, "--evaluations", 4, "--out", tmp_path / "out")
    assert done.code == 1 and "several pages with axes ZCYX of 3 x 2 x 40 x 53" in done.err
    assert not (tmp_path / "out").exists()
    assert command("check", folder).code == 1
    told = command("check", folder, *CHOSEN, "--json")
    assert told.code == 0 and json.loads(told.out)["card"]["channels"] == ["GFP"]
    assert command("check", folder, "--page", "1,2").code == 2


def test_what_is_in_memory_cannot_be_read_otherwise(folder):
    data = Dataset(folder, ReadOptions(page="1", channel="GFP"))
    for asked in (data, ([np.zeros(SHAPE, np.uint8)], [np.zeros(SHAPE, np.uint8)])):
        with pytest.raises(SettingsError, match="channel DAPI was requested, but the dataset is already open"):
            open_data(asked, ReadOptions(channel="DAPI"))
    assert open_data(data, ReadOptions(page="1")) is data


def test_the_run_remembers_how_it_read(folder, found, command):
    assert found.scores["test"] is not None and found.scores["test"] > 0.9
    run = found.files["pipeline"].parent
    assert reading_of(run) == reading_of(found.files["pipeline"]) == ReadOptions(page="1", channel="GFP")
    assert json.loads(command("score", run, folder, "--json").out)["score"] == pytest.approx(found.scores["test"])
    assert command("runs", "replay", run, "--workers", 0).code == 0
    assert "<dd>GFP</dd>" in found.files["report"].read_text()


@pytest.mark.parametrize("form", ["run", "evo", "json", "front"])
def test_new_files_are_read_the_same_way(folder, found, tmp_path, command, form):
    run = found.files["pipeline"].parent
    source = {"run": run, "evo": tmp_path / "copy.evo", "json": tmp_path / "copy.json", "front": f"{run}#1"}[form]
    (tmp_path / "copy.evo").write_text(found.files["pipeline"].read_text())
    assert command("export", run, "--to", "json", "--out", tmp_path / "copy.json").code == 0
    done = command("apply", source, folder, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    pipeline = evoseg.read_pipeline(source)
    for row in json.loads(done.out)["images"]:
        image = read_image(folder / "images" / f"{row['name']}.ome.tif", ReadOptions(page="1", channel="1"))
        assert np.array_equal(read_mask(row["mask"]), pipeline(image))


def test_what_is_named_wins_over_what_is_remembered(folder, found, tmp_path, command):
    done = command("apply", found.files["pipeline"], folder, "--page", 2, "--out", tmp_path / "out", "--json")
    row = json.loads(done.out)["images"][0]
    image = read_image(folder / "images" / "s0.ome.tif", ReadOptions(page="2", channel="GFP"))
    assert np.array_equal(read_mask(row["mask"]), found.pipeline(image))


def test_exported_files_say_what_images_they_are_for(found, command):
    exported = command("export", found.files["pipeline"].parent, "--to", "python").out
    assert exported.startswith("# Made for images that evoseg read with page 1, channel GFP: give it such images.\n")
    compile(exported, "exported.py", "exec")


def test_a_line_that_makes_no_sense_is_one_error(found, folder, tmp_path, command):
    text = found.files["pipeline"].read_text()
    (tmp_path / "a.evo").write_text(text.replace('"page": "1"', '"page": "one"'))
    (tmp_path / "b.evo").write_text(text.replace('"page"', '"pages"'))
    for name in ("a.evo", "b.evo"):
        done = command("apply", tmp_path / name, folder, "--out", tmp_path / "out")
        assert done.code == 1 and "does not say how images are read" in done.err


def test_stacks_are_described_and_compared_as_they_are_read(folder, command):
    """The page that was chosen is what is looked at, with masks and without."""
    card = json.loads(command("describe", folder, *CHOSEN, "--json").out)["card"]
    assert card["height_width_px"] == [list(SHAPE)]
    for data in (folder, folder / "images"):
        assert command("similar", data).code == 1
        told = command("similar", data, *CHOSEN, "-k", 2, "--json")
        assert told.code == 0 and len(json.loads(told.out)["similar"]) == 2, told.err


def test_a_volume_is_searched_and_segmented_plane_by_plane(tmp_path, command):
    """From a folder of NIfTI files to a stack of masks and a table in µm, by the commands of docs/images.md."""
    nibabel = pytest.importorskip("nibabel")
    for n in range(3):
        rng = np.random.default_rng(n)
        masks = np.zeros((6, *SHAPE), np.uint8)
        for z in range(6):
            masks[z, 5 + 2 * z : 20 + 2 * z, 8 + 6 * n : 28 + 6 * n] = 1
        for part, array in (
            ("images", rng.normal(90, 9, masks.shape).astype(np.int16) + 200 * masks),
            ("masks", masks),
        ):
            (tmp_path / "scans" / part).mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(array.T, np.diag([0.5, 0.5, 2, 1]))
            image.header.set_xyzt_units("mm")
            nibabel.save(image, tmp_path / "scans" / part / f"case{n}.nii.gz")
    options = ("--page", "all", "--evaluations", 40, "--workers", 0, "--no-networks", "--library", "none")
    done = command("search", tmp_path / "scans", *options, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    table = tmp_path / "objects.csv"
    applied = command("apply", tmp_path / "run", tmp_path / "scans", "--out", tmp_path / "out", "--table", table)
    assert applied.code == 0 and "18 of 18 images segmented" in applied.out
    stack = tifffile.imread(tmp_path / "out" / "stacks" / "case1.tif") > 0
    truth = nibabel.load(tmp_path / "scans" / "masks" / "case1.nii.gz").get_fdata().T > 0
    assert (stack & truth).sum() / (stack | truth).sum() > 0.9
    assert ",500," in table.read_text().splitlines()[1]
