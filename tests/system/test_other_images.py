"""Images unlike those of the search, folders within folders, stacks, batches that broke off."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

import evoseg
from evoseg.core.errors import EvosegError, ImageWarning, PipelineError, SettingsError
from evoseg.datasets.imageformat import ImageFormat
from evoseg.datasets.io.files import write_image, write_mask
from evoseg.datasets.maskrules import read_mask
from evoseg.pipeline import print_text, read_json, read_text, write_json
from evoseg.runs.pipeline_files import UNKNOWN

GRAY = ImageFormat(("gray",), "uint8", 10.0, 30.0, (150.0, 200.0))
RGB = ImageFormat(("R", "G", "B"), "uint8", 10.0, 30.0, (150.0, 200.0))
BRIGHT = "def pipeline(image):\n    return threshold(channel(image), level=100)\n"
HUE = 'def pipeline(image):\n    return threshold(plane(image, channel="H"), level=100)\n'
LABELS = "def pipeline(image):\n    return components(threshold(channel(image), level=100))\n"


def scene(shift: int = 0) -> np.ndarray:
    plane = np.full((40, 57), 30, np.uint8)
    plane[8:18, 10 + shift : 22 + shift] = 180
    plane[:2] = 10
    return plane


def evo(path: Path, text: str, made_for: ImageFormat | None) -> Path:
    path.write_text(print_text(read_text(text).for_images(made_for)))
    return path


@pytest.fixture
def gray(tmp_path) -> Path:
    return evo(tmp_path / "gray.evo", BRIGHT, GRAY)


@pytest.fixture
def hue(tmp_path) -> Path:
    return evo(tmp_path / "hue.evo", HUE, RGB)


def test_a_search_writes_what_its_images_were_and_every_form_of_its_pipeline_knows(found, dataset, tmp_path, command):
    known = found.pipeline.made_for
    assert known is not None and known == evoseg.Dataset(dataset).image_format(found.to_json()["splits"]["search"])
    folder = found.files["pipeline"].parent
    assert ImageFormat.read(found.to_json()["made_for"]) == known
    for source in (folder, found.files["pipeline"], f"{folder}#1"):
        assert evoseg.read_pipeline(source).made_for == known
    for name in ("copy.evo", "copy.json"):
        evoseg.write_pipeline(found.pipeline, tmp_path / name)
        assert evoseg.read_pipeline(tmp_path / name).made_for == known
    done = command("apply", folder, dataset, "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    done = command("score", folder, dataset)
    assert (done.code, done.err) == (0, "")


def test_what_a_pipeline_was_made_for_is_no_part_of_its_identity():
    plain = read_text(BRIGHT)
    known = plain.for_images(GRAY)
    assert (known, known.digest, hash(known)) == (plain, plain.digest, hash(plain))
    assert read_json(write_json(known)).made_for == read_text(print_text(known)).made_for == GRAY
    assert known.for_images(None).made_for is None
    assert "made for" not in print_text(plain)


def test_calling_a_pipeline_compares_the_image():
    gray, hue = read_text(BRIGHT).for_images(GRAY), read_text(HUE).for_images(RGB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gray(scene())
        gray(np.dstack([scene()] * 3))
    with pytest.warns(ImageWarning, match="uint16, but the pipeline was made for uint8"):
        gray(scene().astype(np.uint16))
    with pytest.warns(ImageWarning, match="takes the first"):
        gray(np.dstack([scene(), scene(3), scene(5)]))
    with pytest.raises(PipelineError, match=r"1 channel, but the pipeline was made for 3 channels \(R G B\)"):
        hue(scene())


def test_a_mixed_batch_tells_each_kind_of_difference_once(command, gray, hue, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i in range(4):
        write_image(folder / f"deep{i}.tif", scene(i).astype(np.uint16) * 20)
        write_image(folder / f"same{i}.png", scene(i))
    write_image(folder / "float.tif", scene() / np.float32(255))
    write_image(folder / "dark.png", scene() // 20)
    write_image(folder / "colour.png", np.dstack([scene(), scene(3), scene(5)]))
    done = command("apply", gray, folder, "--out", tmp_path / "out")
    assert done.code == 0
    lines = done.err.splitlines()
    (deep,) = (line for line in lines if "uint16" in line)
    assert "and 2 more (5 in all): " in deep and "uint16" in deep and "float32" in deep
    assert sum("pixel values much lower" in line and "dark.png" in line for line in lines) == 1
    assert sum("colour.png: 3 channels (R G B), but" in line for line in lines) == 1
    assert len(lines) == 3
    done = command("apply", hue, folder, "--out", tmp_path / "hue", "--json")
    assert done.code == 1
    rows = {row["name"]: row for row in json.loads(done.out)["images"]}
    assert len(rows) == 11 and "fault" not in rows["colour"]
    assert all(
        "made for 3 channels (R G B) and compares their colours" in rows[n]["fault"] for n in rows if n != "colour"
    )
    (refused,) = (line for line in done.err.splitlines() if line.startswith("error"))
    assert "10 in all" in refused


def test_images_of_which_none_fits_are_refused_before_anything_is_written(command, hue, tmp_path):
    write_image(tmp_path / "a.png", scene())
    done = command("apply", hue, tmp_path / "a.png", "--out", tmp_path / "out")
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert not (tmp_path / "out").exists()


def test_channels_in_another_order_are_refused_by_their_names(command, tmp_path):
    known = ImageFormat(("DAPI", "GFP"), "uint8", 10.0, 30.0, (150.0, 200.0))
    program = evo(tmp_path / "p.evo", BRIGHT, known)
    stack = np.stack([scene(), scene(4)])
    for name, labels in (("right", ["DAPI", "GFP"]), ("swapped", ["GFP", "DAPI"])):
        metadata = {"axes": "CYX", "Channel": {"Name": labels}}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", stack, ome=True, photometric="minisblack", metadata=metadata)
    assert command("apply", program, tmp_path / "right.ome.tif", "--out", tmp_path / "1").err == ""
    done = command("apply", program, tmp_path / "swapped.ome.tif", "--out", tmp_path / "2")
    assert done.code == 1 and "--channel DAPI,GFP" in done.err
    done = command("apply", program, tmp_path / "swapped.ome.tif", "--channel", "DAPI,GFP", "--out", tmp_path / "3")
    assert (done.code, done.err) == (0, "")


def test_pixel_sizes_that_dataset_yaml_tells_are_compared(command, tmp_path):
    known = ImageFormat(("gray",), "uint8", 10.0, 30.0, (150.0, 200.0), pixel_size="0.65 um")
    program, folder = evo(tmp_path / "p.evo", BRIGHT, known), tmp_path / "in"
    folder.mkdir()
    write_image(folder / "a.png", scene())
    for size, told in (("650 nm", 0), ("0.3 um", 1)):
        (folder / "dataset.yaml").write_text(f"pixel_size: {size}\n")
        done = command("apply", program, folder, "--out", tmp_path / size)
        assert done.err.count("pixels of 0.3 um, but the pipeline was made for 0.65 um") == told


@pytest.mark.parametrize(("level", "says"), [(1, "is empty: nothing was found"), (250, "is full: all pixels")])
def test_a_batch_of_empty_or_full_masks_says_so(command, gray, tmp_path, level, says):
    folder, data = tmp_path / "in", tmp_path / "data"
    for part in (folder, data / "images", data / "masks"):
        part.mkdir(parents=True)
    for i in range(3):
        write_image(folder / f"{i}.png", np.full((30, 40), level, np.uint8))
        write_image(data / "images" / f"{i}.png", np.full((30, 40), level, np.uint8) - i % 2)
        write_mask(data / "masks" / f"{i}.png", scene()[:30, :40] > 100)
    assert f"every one of the 3 answers {says}" in command("apply", gray, folder, "--out", tmp_path / "out").err
    assert f"every one of the 3 answers {says}" in command("score", gray, data, "--split", "all").err
    with pytest.warns(ImageWarning) as told:
        evoseg.apply(evoseg.read_pipeline(gray), folder / "0.png", tmp_path / "one")
    assert any(f"the answer {says}" in str(warning.message) for warning in told)


def test_a_pipeline_that_does_not_know_its_images_warns_once(command, tmp_path):
    program = evo(tmp_path / "old.evo", BRIGHT, None)
    for i in range(3):
        write_image(tmp_path / f"{i}.png", scene(i))
    done = command("apply", program, *sorted(tmp_path.glob("*.png")), "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, f"warning: {UNKNOWN}\n")


def plates(root: Path) -> Path:
    for plate in ("plate1", "plate2/deep"):
        (root / plate).mkdir(parents=True)
        write_image(root / plate / "well.png", scene(len(plate)))
    return root


def test_subfolders_are_mentioned_and_their_folders_kept(command, gray, tmp_path):
    root = plates(tmp_path / "plates")
    done = command("apply", gray, root, "--out", root / "out")
    assert done.code == 1 and "2 subfolders (plate1, plate2): --recursive" in done.err
    for again in ((), ("--overwrite",)):  # the second time, OUT itself lies among the images
        assert command("apply", gray, root, "--recursive", "--out", root / "out", *again).code == 0
        names = sorted(p.relative_to(root / "out" / "masks").as_posix() for p in (root / "out").rglob("masks/**/*.png"))
        assert names == ["plate1/well.png", "plate2/deep/well.png"]
    both = (root / "plate1", root / "plate2" / "deep")
    assert "--recursive" in command("apply", gray, *both, "--out", tmp_path / "o").err
    assert command("apply", gray, *both, "--recursive", "--out", tmp_path / "o").code == 0
    assert (tmp_path / "o" / "masks" / "deep" / "well.png").is_file()


def test_masks_of_datasets_below_are_no_images(gray, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "all" / "day1" / part).mkdir(parents=True)
        for name in ("a", "b"):
            write_image(tmp_path / "all" / "day1" / part / f"{name}.png", scene())
    found = evoseg.apply(evoseg.read_pipeline(gray), tmp_path / "all", tmp_path / "out", recursive=True)
    assert [one.stem for one in found] == ["day1/a", "day1/b"]


@pytest.mark.parametrize("text", [BRIGHT, LABELS])
def test_a_batch_that_broke_off_goes_on(command, tmp_path, text):
    program, folder, out = evo(tmp_path / "p.evo", text, GRAY), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(4):
        write_image(folder / f"{i}.png", scene(i))
    whole = ("apply", program, folder, "--out", tmp_path / "whole", "--table", tmp_path / "whole.csv")
    assert command(*whole).code == 0
    assert command("apply", program, folder / "0.png", folder / "1.png", "--out", out).code == 0
    (out / "overlays" / "1.png").unlink()
    (kept,) = (out / "masks").glob("0.*")
    before = kept.stat().st_mtime_ns
    again = ("apply", program, folder, "--out", out, "--skip-existing")
    done = command(*again, "--table", tmp_path / "t.csv", "--json")
    assert done.code == 0
    assert [row.get("skipped", False) for row in json.loads(done.out)["images"]] == [True, False, False, False]
    assert kept.stat().st_mtime_ns == before and (out / "overlays" / "1.png").is_file()
    assert (tmp_path / "t.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert "0 of 4 images segmented, 4 skipped" in command(*again).out
    assert command(*again, "--overwrite").code == 2
    with pytest.raises(SettingsError, match="Choose one"):
        evoseg.apply(program, folder, out, skip_existing=True, overwrite=True)


def test_every_page_of_a_stack_gets_an_answer(command, gray, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    stack = np.stack([scene(i) for i in range(22)]).reshape(11, 2, 40, 57)
    tifffile.imwrite(folder / "film.tif", stack, photometric="minisblack", metadata={"axes": "TZYX"}, ome=True)
    write_image(folder / "plain.png", scene(3))
    done = command("apply", gray, folder, "--page", "all", "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    names = sorted(path.stem for path in (tmp_path / "out" / "masks").iterdir())
    assert names == sorted([*(f"film_t{t:02d}_z{z}" for t in range(11) for z in range(2)), "plain"])
    mask = read_mask(tmp_path / "out" / "masks" / "film_t03_z1.png")
    np.testing.assert_array_equal(mask, stack[3, 1] > 100)
    # ... and the stack of them, which is written again where results were left as they are.
    written = tmp_path / "out" / "stacks" / "film.tif"
    with tifffile.TiffFile(written) as file:
        assert file.series[0].axes == "TZYX" and file.is_ome
        np.testing.assert_array_equal(file.asarray() > 0, stack > 100)
    assert [path.name for path in written.parent.iterdir()] == ["film.tif"]
    assert f"stacks    {written.parent}" in done.out
    written.unlink()
    again = ("apply", gray, folder, "--page", "all", "--out", tmp_path / "out")
    assert command(*again, "--skip-existing").code == 0 and written.is_file()
    assert command(*again).code == 1
    assert len(evoseg.apply(gray, folder, tmp_path / "o2", page="all", workers=2)) == 23


def test_a_stack_of_which_a_page_has_no_result_is_not_written(command, gray, tmp_path):
    stack = np.stack([scene(i) for i in range(3)]).astype(np.float32)
    stack[1, 3, 4] = np.inf
    tifffile.imwrite(tmp_path / "film.tif", stack, photometric="minisblack")
    done = command("apply", gray, tmp_path / "film.tif", "--page", "all", "--out", tmp_path / "out")
    assert done.code == 1 and len(list((tmp_path / "out" / "masks").iterdir())) == 2
    assert not (tmp_path / "out" / "stacks").exists()


def test_names_that_a_spreadsheet_would_run_are_quoted(command, tmp_path):
    program, folder = evo(tmp_path / "p.evo", BRIGHT, GRAY), tmp_path / "in"
    folder.mkdir()
    names = ["=1+1", "+x", "-5", "@sum", "plain"]
    for name in names:
        write_image(folder / f"{name}.png", scene())
    assert command("apply", program, folder, "--out", tmp_path / "out", "--table", tmp_path / "t.csv").code == 0
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {"'=1+1", "'+x", "'-5", "'@sum", "plain"}
    assert all(float(row["area_px"]) == 120 for row in rows)


def test_a_segmenter_compares_with_what_it_was_fitted_on(tmp_path):
    images = [scene(i) / 255 for i in range(4)]  # doubles, which become float32
    masks = [image > 0.4 for image in images]
    model = evoseg.Segmenter(evaluations=20, n_jobs=0, library="none", out=tmp_path / "run")
    model.fit(images, masks)
    assert model.pipeline_.made_for is not None and model.pipeline_.made_for.dtype == "float32"
    model.predict(images)
    with pytest.warns(ImageWarning, match="image 0 and image 1: uint8, but the pipeline was made for float32"):
        model.predict([scene(1), scene(2)])


def test_an_export_says_which_images_of_the_dataset_its_file_cannot_read(command, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for i in range(4):
        half = scene(i).astype(np.float16 if i % 2 else np.float32)
        tifffile.imwrite(tmp_path / "data" / "images" / f"{i}.tif", half)
        write_mask(tmp_path / "data" / "masks" / f"{i}.png", scene(i) > 100)
    run = tmp_path / "run"
    options = ("--evaluations", 10, "--workers", 0, "--library", "none", "--out", run)
    assert command("search", tmp_path / "data", *options).code == 0
    done = command("export", run, "--to", "python", "--out", tmp_path / "find.py")
    assert done.code == 0
    assert "1.tif and 3.tif: the exported file does not read it as the search does" in done.err
    assert command("export", run, "--to", "json").err == ""


def test_points_are_counted_as_points_and_have_no_foreground(tmp_path, command):
    text = "def pipeline(image):\n    return centroids(threshold(channel(image), level=100))\n"
    pipeline, image = evo(tmp_path / "points.evo", text, GRAY), tmp_path / "a.png"
    write_image(image, scene())
    done = command("apply", pipeline, image, "--out", tmp_path / "out")
    assert done.code == 0 and "1 of 1 images segmented; 1 point in 0.00 Mpx" in done.out
    assert not done.err and "foreground" not in done.out
    write_image(image, np.minimum(scene(), 95), overwrite=True)
    with pytest.warns(ImageWarning, match="the answer is empty"):
        (result,) = evoseg.apply(pipeline, image, tmp_path / "none")
    assert (result.share, result.count) == (0.0, 0)


@pytest.mark.parametrize(("text", "ending"), [(BRIGHT, "png"), (LABELS, "tif")])
def test_a_table_does_not_measure_an_existing_answer_of_another_size(text, ending, tmp_path, command):
    pipeline, image, table = evo(tmp_path / "p.evo", text, GRAY), tmp_path / "a.png", tmp_path / "t.csv"
    write_image(image, scene())
    evoseg.apply(pipeline, image, tmp_path / "out")
    write_image(tmp_path / f"out/masks/a.{ending}", np.full((40, 58), 1, np.uint8), overwrite=True)
    done = command("apply", pipeline, image, "--out", tmp_path / "out", "--skip-existing", "--table", table)
    assert (
        done.code == 1
        and f"a.{ending}: this result of an earlier call is 40 x 58, but its image is 40 x 57" in done.err
    )
    assert len(table.read_text().splitlines()) == 1


def test_a_grey_image_saved_as_rgb_is_named_where_colours_are_compared(hue, gray, tmp_path, command):
    write_image(tmp_path / "g.png", np.dstack([scene()] * 3))
    done = command("apply", hue, tmp_path / "g.png", "--out", tmp_path / "out")
    assert (
        done.code == 0
        and "g.png: 3 equal channels (a grey image), but the pipeline was made for 3 channels" in done.err
    )
    assert command("apply", gray, tmp_path / "g.png", "--out", tmp_path / "other").err == ""


def test_keeping_folders_apart_is_advised_only_where_names_clash_across_folders(gray, tmp_path):
    for name in ("one/a.png", "one/a.tif", "two/b.png", "three/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, scene())
    with pytest.raises(EvosegError, match="would both become the answer a") as within:
        evoseg.apply(gray, tmp_path / "one", tmp_path / "out")
    assert "--recursive" not in str(within.value)
    with pytest.raises(EvosegError, match="keep the folders apart with --recursive"):
        evoseg.apply(gray, [tmp_path / "two", tmp_path / "three"], tmp_path / "out")


def test_nothing_is_found_where_an_image_is_not_known(command, gray, tmp_path):
    image = (scene(5) / 255).astype(np.float32)
    image[8:14] = np.nan  # the square's upper rows, the lower of which are filled with what is below them
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert command("apply", gray, tmp_path / "a.tif", "--out", tmp_path / "out").code == 0
    expected = np.nan_to_num(image) > 0.5
    assert expected.any()
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "masks" / "a.png"), expected)
