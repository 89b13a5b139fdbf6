"""Batches that are continued: what is done is skipped, if it is by the same pipeline and from the same image."""

import json

import numpy as np
import pytest

import evoseg
from evoseg.datasets.io.files import write_image
from evoseg.inference import apply as apply_module
from evoseg.inference.ledger import LEDGER, Ledger
from evoseg.pipeline import read_text
from evoseg.runs.run_folder import FilesError

pytestmark = pytest.mark.filterwarnings("ignore:the pipeline does not say")

BRIGHT = read_text("def pipeline(image):\n    return threshold(channel(image), level=100)\n")
DARK = read_text("def pipeline(image):\n    return invert_mask(threshold(channel(image), level=100))\n")


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        plane = np.full((30, 40), 20, np.uint8)
        plane[5 + i : 15, 4:20] = 200
        (tmp_path / "in").mkdir(exist_ok=True)
        write_image(tmp_path / "in" / f"{i}.png", plane)
    return tmp_path / "in"


def test_a_batch_that_goes_on_gives_the_files_of_one_that_did_not_stop(folder, tmp_path):
    formats = {"formats": "geojson,coco"}
    evoseg.apply(BRIGHT, folder, tmp_path / "whole", table=tmp_path / "whole.csv", **formats)

    def stop(result):
        if result.stem == "1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        evoseg.apply(BRIGHT, folder, tmp_path / "out", on_result=stop, table=tmp_path / "t.csv", **formats)
    assert "2 of 4 images are done; --skip-existing" in str(stopped.value.__notes__)
    assert not (tmp_path / "t.csv").exists() and not (tmp_path / "out/coco.json").exists()
    found = evoseg.apply(
        BRIGHT, folder, tmp_path / "out", skip_existing=True, table=tmp_path / "t.csv", workers=3, **formats
    )
    assert [one.skipped for one in found] == [True, True, False, False]
    for name in ("coco.json", "geojson/3.geojson", "masks/0.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "t.csv").read_text() == (tmp_path / "whole.csv").read_text()
    # Other formats are made of images that are done, too.
    found = evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True, formats="rois,coco")
    assert not any(one.skipped for one in found) and (tmp_path / "out/rois/0.zip").is_file()


def test_results_of_another_pipeline_are_not_taken_for_done(folder, tmp_path):
    evoseg.apply(BRIGHT, folder, tmp_path / "out")
    with pytest.raises(
        FilesError, match=r"0.png and 3 more: from another pipeline.*Use another folder, or --overwrite"
    ):
        evoseg.apply(DARK, folder, tmp_path / "out", skip_existing=True)
    with pytest.raises(FilesError, match="read in another way"):
        evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True, channel=0)


def test_an_image_that_has_changed_is_named_and_the_others_go_on(folder, tmp_path):
    evoseg.apply(BRIGHT, folder, tmp_path / "out")
    plane = np.full((30, 40), 20, np.uint8)
    plane[9:12] = 200
    write_image(folder / "2.png", plane, overwrite=True)
    found = evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True)
    assert [one.skipped for one in found] == [True, True, False, True]
    assert "2.png: has changed since its result was written. Delete" in found[2].fault
    found[2].answer.unlink()
    found = evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True)
    assert [(one.skipped, one.fault) for one in found] == [(True, ""), (True, ""), (False, ""), (True, "")]
    assert evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True)[2].skipped


def test_results_of_unknown_origin_are_kept_with_a_warning(folder, tmp_path):
    evoseg.apply(BRIGHT, folder, tmp_path / "out")
    (tmp_path / "out" / LEDGER).unlink()
    with pytest.warns(evoseg.ImageWarning, match=r"0.png and 3 more: skipped, but it is not known which pipeline"):
        found = evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True)
    assert all(one.skipped for one in found)


def test_what_dataset_yaml_says_and_planes_are_part_of_what_a_result_is_from(folder, tmp_path):
    out = tmp_path / "out"
    (folder / "dataset.yaml").write_text("channel: 0\n")
    evoseg.apply(BRIGHT, folder, out)
    assert all(one.skipped for one in evoseg.apply(BRIGHT, folder, out, skip_existing=True))
    for said in ("channel: gray\n", "channel: 0\npixel_size: 2 um\n"):
        (folder / "dataset.yaml").write_text(said)
        with pytest.raises(FilesError, match=r"0.png and 3 more: .*read in another way"):
            evoseg.apply(BRIGHT, folder, out, skip_existing=True)


def test_a_plane_that_has_changed_is_noticed(tmp_path):
    image = np.full((30, 40), 20, np.uint8)
    image[5:15, 4:20] = 200
    for part in ("images", "planes/DAPI"):
        (tmp_path / "in" / part).mkdir(parents=True)
        for name in ("a", "b"):
            write_image(tmp_path / "in" / part / f"{name}.png", image)
    second = read_text("def pipeline(image):\n    return threshold(channel(image, index=1), level=100)\n")
    evoseg.apply(second, tmp_path / "in", tmp_path / "out")
    write_image(tmp_path / "in/planes/DAPI/b.png", image + 1, overwrite=True)
    found = evoseg.apply(second, tmp_path / "in", tmp_path / "out", skip_existing=True)
    assert found[0].skipped and "b.png: has changed since its result was written" in found[1].fault


def test_what_a_kill_has_left_is_removed_by_the_next_call(folder, tmp_path):
    out = tmp_path / "out"
    (out / "masks").mkdir(parents=True)
    left = [out / "masks/.1.png.a1b2c3_4.part", out / ".coco.json.abcdefgh.part", tmp_path / ".t.csv.00000000.part"]
    # Of another batch in the same folder, which may be at work, and of other programs.
    others = [out / "masks/.other.png.a1b2c3_4.part", out / "masks/1.png.part", out / "masks/.1.png.part"]
    for path in (*left, *others):
        path.write_bytes(b"half a file")
    evoseg.apply(BRIGHT, folder, out, formats="coco", table=tmp_path / "t.csv")
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)


def test_a_line_that_a_kill_has_cut_short_is_no_obstacle(folder, tmp_path):
    ledger = Ledger(tmp_path, "p")
    ledger.add("a", "r", [folder / "0.png"])
    whole = (tmp_path / LEDGER).read_text()
    (tmp_path / LEDGER).write_text(whole + whole[: len(whole) // 2].replace('"a"', '"b"'))
    again = Ledger(tmp_path, "p")
    assert again.knows("a") and not again.knows("b")
    again.add("c", "r", [folder / "1.png"])
    last = Ledger(tmp_path, "p")
    assert last.knows("c") and last.is_from("c", [folder / "1.png"]) and not last.is_from("c", [folder / "2.png"])
    assert last.is_current("c", "r") and not last.is_current("c", "another way")
    assert not Ledger(tmp_path, "q").is_current("c", "r")
    assert json.loads((tmp_path / LEDGER).read_text().splitlines()[-1])["name"] == "c"


def test_files_that_no_call_of_this_pipeline_has_left_are_not_replaced(folder, tmp_path):
    (tmp_path / "masks").mkdir()
    drawn = tmp_path / "masks" / "2.png"
    write_image(drawn, np.full((30, 40), 255, np.uint8))
    before = drawn.read_bytes()
    with pytest.raises(FilesError, match=r"2\.png: not known to be a result of this pipeline"):
        evoseg.apply(BRIGHT, folder, tmp_path, skip_existing=True)
    assert drawn.read_bytes() == before and not (tmp_path / "overlays").exists()
    evoseg.apply(DARK, folder, tmp_path / "out")
    with pytest.raises(FilesError, match="not known to be a result of this pipeline"):
        evoseg.apply(BRIGHT, folder, tmp_path / "out", skip_existing=True, formats="rois")


def test_an_answer_is_the_last_file_of_its_image(folder, tmp_path, monkeypatch):
    def killed(kind, path, answer):
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(apply_module, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            evoseg.apply(BRIGHT, folder, tmp_path / "out", formats="geojson")
    assert (tmp_path / "out/overlays/0.png").is_file() and (tmp_path / "out/geojson/0.geojson").is_file()
    found = evoseg.apply(BRIGHT, folder, tmp_path / "out", formats="geojson", skip_existing=True)
    assert not any(one.skipped or one.fault for one in found)


def test_objects_of_other_images_are_not_lost(folder, tmp_path):
    evoseg.apply(BRIGHT, folder, tmp_path / "out", formats="coco")
    before = (tmp_path / "out/coco.json").read_bytes()
    with pytest.raises(FilesError, match=r"coco\.json: has objects of 1\.png and 2 more"):
        evoseg.apply(BRIGHT, folder / "0.png", tmp_path / "out", formats="coco", skip_existing=True)
    assert (tmp_path / "out/coco.json").read_bytes() == before
    (tmp_path / "out/coco.json").write_text("[1, 2]")
    with pytest.raises(FilesError, match="not a COCO file"):
        evoseg.apply(BRIGHT, folder, tmp_path / "out", formats="coco", skip_existing=True)


def test_a_table_that_cannot_be_written_is_refused_before_any_image(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FilesError):
        evoseg.apply(BRIGHT, folder, tmp_path / "out", table=tmp_path / "file" / "t.csv")
    assert not [*(tmp_path / "out").rglob("*.png")]


def test_objects_that_are_unknown_as_a_whole_are_not_counted(tmp_path):
    plane = np.zeros((30, 40), np.uint8)
    for left in (2, 14, 26):
        plane[5:15, left : left + 8] = 200
    write_image(tmp_path / "three.png", plane)
    np.save(tmp_path / "bad.npy", np.indices((30, 40))[1] // 12 == 1)
    objects = read_text("def pipeline(image):\n    return components(threshold(channel(image), level=100))\n")
    (found,) = evoseg.apply(objects, tmp_path / "three.png", tmp_path / "out", bad_pixels=tmp_path / "bad.npy")
    assert found.count == 2


def test_an_image_for_which_memory_is_short_does_not_stop_the_others(folder, tmp_path, monkeypatch):
    write_image(tmp_path / "in" / "1.png", np.full((300, 400), 20, np.uint8), overwrite=True)
    run = apply_module._run_whole_or_in_bands

    def short(pipeline, rows, *arguments, **options):
        if rows.shape[0] == 300:
            raise MemoryError
        return run(pipeline, rows, *arguments, **options)

    monkeypatch.setattr(apply_module, "_run_whole_or_in_bands", short)
    found = evoseg.apply(BRIGHT, folder, tmp_path / "out")
    assert [bool(one.fault) for one in found] == [False, True, False, False]
    assert str(found[1].fault).endswith("1.png: not enough memory. Use fewer --workers, or cut the image into tiles.")
