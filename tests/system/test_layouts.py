"""Folders of every layout, from end to end: the same data, the same search; and every fault of one folder at once."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.random import default_rng
from PIL import Image

import evoseg
from tests.datasets.drawn_layouts import SHAPE, WRITERS, coco_runs, draw, put
from tests.datasets.drawn_outlines import OUTLINE_WRITERS

EVALUATIONS = 90


def searched(root: Path, out: Path, metric: str) -> dict[str, object]:
    """Return what a small search found, all but names and times."""
    found = evoseg.search(
        root, metric=metric, evaluations=EVALUATIONS, seed=4, workers=0, library="none", out=out, report=False
    )
    result = json.loads(found.files["result"].read_text())
    kept = ("pipeline", "digest", "scores", "test_per_image", "n_images", "evaluations", "decided", "baselines_test")
    return {key: result[key] for key in kept} | {"history": [(n, score) for n, _, score in result["history"]]}


@pytest.mark.e2e
@pytest.mark.parametrize("metric", ["pq", "iou"])
def test_one_dataset_gives_one_search_history_in_every_layout(metric, tmp_path):
    drawn, found = draw(8), {}
    for name, write in WRITERS.items():
        if metric == "iou" and name in OUTLINE_WRITERS:
            continue  # the same objects, which pq has compared
        root = tmp_path / name
        root.mkdir()
        write(root, drawn)
        found[name] = searched(root, tmp_path / f"run of {name}", metric)
    expected = found.pop("plain")
    assert expected["evaluations"] >= EVALUATIONS and expected["history"]
    for name, result in found.items():
        assert result == expected, name


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of every file, links included."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else os.fspath(path),
            path.lstat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
    }


class Planted:
    """A plain folder whose faults are planted one by one, each in files of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rng = default_rng(9)
        self._n = 0

    def sample(self) -> tuple[Path, Path]:
        """Write a sound image and mask, and return their paths."""
        self._n += 1
        mask = np.zeros(SHAPE, np.uint8)
        mask[3:9, 4:10] = 255
        name = f"s{self._n:02d}.png"
        image = put(self.root / "images" / name, self.gray())
        put(self.root / "planes" / "deep" / name, self.gray())
        return image, put(self.root / "masks" / name, mask)

    def gray(self) -> np.ndarray:
        return self._rng.integers(0, 256, SHAPE, np.uint8)

    def tiff(self, **how: object) -> Path:
        """Write a sample whose image is to be a TIFF file."""
        image, _ = self.sample()
        image.unlink()
        return image.with_suffix(".tif")

    def beside(self, folder: str, text: str = "", array: np.ndarray | None = None) -> Path:
        """Write another file of a new sample: points as text, or a picture."""
        image, _ = self.sample()
        path = self.root / folder / (image.stem + (".png" if array is not None else ".csv"))
        if array is not None:
            return put(path, array)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


def plant(p: Planted) -> Iterator[str]:
    """Plant the faults, and yield what the check must say of each."""
    yield from plant_in_images(p)
    yield from plant_in_masks(p)
    yield from plant_beside(p)
    image, _ = p.sample()
    card = "splits: {train: [%s, nowhere], test: [%s]}\ngroups: {g: [ghost]}"
    (p.root / "dataset.yaml").write_text(card % (image.stem, image.stem))
    yield "dataset.yaml: splits: train names nowhere"
    yield f"dataset.yaml: {image.stem} is in the splits train and test"
    yield "dataset.yaml: groups names ghost"


def plant_in_images(p: Planted) -> Iterator[str]:
    image, _ = p.sample()
    image.write_bytes(image.read_bytes()[:90])
    yield f"images/{image.name}: the file is damaged"
    image, _ = p.sample()
    image.write_bytes(b"no picture at all")
    yield f"images/{image.name}: not an image that can be read"
    image, _ = p.sample()
    image.write_bytes(b"")
    yield f"images/{image.name}: the file is empty"
    image, _ = p.sample()
    Image.fromarray(p.gray()).save(image, format="BMP")
    yield f"images/{image.name}: the content is BMP, although the file name ends in '.png'"
    image, _ = p.sample()
    put(image.with_suffix(".tif"), p.gray())
    yield f"images/{image.stem}.tif: has the same name as {image.name}"
    image, _ = p.sample()
    put(image.with_name(image.name.upper().replace("PNG", "png")), p.gray())
    yield f"images/{image.name}: differs in upper and lower case only from {image.stem.upper()}.png"
    image, _ = p.sample()
    image.with_name("volume.nrrd").write_bytes(b"x")
    yield "images/volume.nrrd: NRRD files are not read"
    image, _ = p.sample()
    put(image, np.dstack([p.gray()] * 4))
    yield f"images/{image.name}: transparency varies"
    image = p.tiff()
    tifffile.imwrite(image, np.where(p.gray() > 250, np.inf, 1).astype(np.float32))
    yield f"images/{image.name}: "
    image = p.tiff()
    tifffile.imwrite(image, p.gray().astype(np.int32) + 2**24)
    yield f"images/{image.name}: int32 values up to"
    image, _ = p.sample()
    image.unlink()
    image.symlink_to(p.root / "images" / "gone.png")
    yield f"images/{image.name}: a link to a file that is not there"
    image, _ = p.sample()
    outside = put(p.root.parent / "outside.png", p.gray())
    image.unlink()
    image.symlink_to(outside)
    yield f"images/{image.name}: a link out of the dataset's folder"


def plant_in_masks(p: Planted) -> Iterator[str]:
    _, mask = p.sample()
    mask.write_bytes(b"")
    yield f"masks/{mask.name}: the file is empty"
    _, mask = p.sample()
    mask.write_bytes(mask.read_bytes()[:60])
    yield f"masks/{mask.name}: the file is damaged"
    image, mask = p.sample()
    put(mask, np.zeros(SHAPE[::-1], np.uint8))
    yield f"masks/{mask.name}: mask is (62, 48) but {image.name} is (48, 62)"
    _, mask = p.sample()
    tifffile.imwrite(mask.with_suffix(".tif"), np.full(SHAPE, -1, np.int16))
    mask.unlink()
    yield f"masks/{mask.stem}.tif: no pixel is known"
    _, mask = p.sample()
    mask.rename(mask.with_name("alone.png"))
    yield "masks/alone.png: a mask without an image"


def plant_beside(p: Planted) -> Iterator[str]:
    path = p.beside("known", array=np.zeros(SHAPE, np.uint8))
    yield f"known/{path.name}: no pixel is known"
    path = p.beside("known", array=np.ones((5, 6), np.uint8))
    yield f"known/{path.name}: known is (5, 6)"
    path = p.beside("points", "3,4\n5,6\n")
    yield f"points/{path.name}: the first line must name the columns"
    path = p.beside("points", "y,x\n3,four\n")
    yield f"points/{path.name}: line 2 does not hold two numbers"
    path = p.beside("points", "y,x\n3,60\n60,3\n")
    yield f"points/{path.name}: 1 of 2 points lie outside"
    image, _ = p.sample()
    (p.root / "planes" / "deep" / image.name).unlink()
    yield f"images/{image.name}: has no plane in planes/deep/"
    image, _ = p.sample()
    put(p.root / "planes" / "deep" / image.name, p.gray()[:9])
    yield f"planes/deep/{image.name}: plane deep is (9, 62)"
    put(p.root / "planes" / "deep" / "astray.png", p.gray())
    yield "planes/deep/astray.png: a plane without an image"


def test_all_faults_planted_in_one_folder_are_listed_by_one_check(tmp_path, command: Callable):
    root = tmp_path / "planted"
    planted = Planted(root)
    for _ in range(4):
        planted.sample()
    said = list(plant(planted))
    assert len(said) >= 25 and len(set(said)) == len(said)
    before = tree(root)
    done = command("check", root)
    assert done.code == 1 and "Traceback" not in done.err
    lines = [line for line in done.out.splitlines() if line.startswith("error: ")]
    missing = [fault for fault in said if not any(all(part in line for part in fault.split(": ", 1)) for line in lines)]
    assert not missing, done.out
    assert json.loads(command("check", root, "--json").out)["faults"] == [
        line.removeprefix("error: ") for line in lines
    ]
    assert tree(root) == before


@pytest.mark.parametrize("name", WRITERS)
def test_apply_takes_the_images_of_every_layout_and_nothing_else(name, tmp_path, command: Callable):
    root = tmp_path / "data"
    root.mkdir()
    WRITERS[name](root, draw(2))
    pipeline = tmp_path / "bright.evo"
    pipeline.write_text("def pipeline(image):\n    a = channel(image)\n    return threshold(a, level=100)\n")
    done = command("apply", pipeline, root, "--out", tmp_path / "out", "--json")
    assert [row["name"] for row in json.loads(done.out)["images"]] == ["case_00", "case_01"], done.err


def test_apply_leaves_no_image_out_in_silence(tmp_path, command: Callable):
    pipeline = tmp_path / "bright.evo"
    pipeline.write_text("def pipeline(image):\n    a = channel(image)\n    return threshold(a, level=100)\n")
    for name in ("a.png", "a.bmp"):
        put(tmp_path / "plain" / "images" / name, np.zeros(SHAPE, np.uint8))
    done = command("apply", pipeline, tmp_path / "plain", "--out", tmp_path / "out")
    assert done.code == 1 and "would both become the answer a" in done.err
    for name in ("a.png", "a.bmp", "a_masks.png"):
        put(tmp_path / "cells" / name, np.zeros(SHAPE, np.uint8))
    done = command("apply", pipeline, tmp_path / "cells", "--out", tmp_path / "out")
    assert done.code == 0 and "cells: errors in this dataset may exclude images" in done.err


def test_apply_names_an_image_without_its_plane(tmp_path, command: Callable):
    pipeline = tmp_path / "bright.evo"
    pipeline.write_text("def pipeline(image):\n    a = channel(image)\n    return threshold(a, level=100)\n")
    for name in ("images/a.png", "images/b.png", "planes/deep/b.png"):
        put(tmp_path / "data" / name, np.zeros(SHAPE, np.uint8))
    done = command("apply", pipeline, tmp_path / "data", "--out", tmp_path / "out")
    assert done.code == 1 and "a.png: has no file in planes/deep/" in done.err
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["b.png"]


def test_a_folder_that_is_not_recognised_ends_a_command_with_one_sentence(tmp_path, command: Callable):
    put(tmp_path / "a" / "x.png", np.zeros(SHAPE, np.uint8))
    done = command("check", tmp_path)
    assert done.code == 1 and "layout: not recognised" in done.out and "MVTec needs train/good/" in done.out
    done = command("search", tmp_path, "--evaluations", 2)
    assert done.code == 1 and "there is no images/ folder" in done.err and "Traceback" not in done.err


def test_scores_are_of_the_classes_that_the_run_was_for(tmp_path, command):
    drawn = draw(8)
    coco_runs(tmp_path / "a", drawn)
    path = tmp_path / "a/annotations/instances.json"
    document = json.loads(path.read_text())
    document["categories"] = [{"id": 1, "name": "disc"}, {"id": 2, "name": "debris"}]
    for one in document["annotations"]:
        one["category_id"] = 1 + one["id"] % 2
    path.write_text(json.dumps(document))
    data = evoseg.Dataset(tmp_path / "a", classes="disc")
    how = {"metric": "iou", "evaluations": 20, "workers": 0, "library": "none", "report": False}
    found = evoseg.search(data, out=tmp_path / "run", **how)

    def scored(root: Path, *options: str) -> dict[str, float]:
        return json.loads(command("score", tmp_path / "run", root, "--json", *options).out)["per_image"]

    test = {stem: scores["iou"] for stem, scores in scored(tmp_path / "a").items()}
    assert test == pytest.approx(dict(found.test_per_image))
    assert evoseg.score(found, tmp_path / "a").of("iou") == pytest.approx(test)
    both = scored(tmp_path / "a", "--classes", "disc,debris")
    assert both != scored(tmp_path / "a")
    (tmp_path / "a/dataset.yaml").write_text("classes: [disc, debris]\n")
    assert scored(tmp_path / "a") == both
    # Masks have no such classes.
    WRITERS["plain"](tmp_path / "b", drawn)
    assert scored(tmp_path / "b") == both
