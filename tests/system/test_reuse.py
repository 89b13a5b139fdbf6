"""`evoseg reuse`: stored pipelines on images without masks, from the command to a mask."""

import json

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

import evoseg
from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory):
    return draw_dataset("nuclei", tmp_path_factory.mktemp("drawn") / "plates", n=4, shape=(90, 120), seed=1)


def test_an_answer_is_seen_picked_and_applied(command, nuclei, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = command("reuse", nuclei, "-k", "3")
    assert shown.code == 0 and "IoU" in shown.out  # these images have masks
    (folder,) = tmp_path.glob("reuse-*")
    assert sorted(path.name for path in folder.iterdir()) == ["answers.html", "answers.png"]
    document = json.loads(command("reuse", nuclei, "-k", "3", "--pick", "1", "--out", "picked", "--json").out)
    assert document["files"] == {"pipeline": str(tmp_path / "picked" / "pipeline.evo")}
    picked = evoseg.read_pipeline("picked")
    assert picked.digest == document["answers"][0]["digest"]
    assert command("apply", "picked", nuclei / "images", "--out", "masks").code == 0
    assert command("reuse", nuclei, "--pick", "1", "--out", "picked").code == 1  # nothing is overwritten


def test_masks_do_not_change_the_order(nuclei):
    with_masks, without = (evoseg.reuse(data, k=3) for data in (nuclei, nuclei / "images"))
    digests = [[one.pipeline.digest for one in found.answers] for found in (with_masks, without)]
    assert with_masks.answers[0].score is not None and without.answers[0].score is None
    assert [sample.stem for sample in with_masks.samples] == [sample.stem for sample in without.samples]
    assert digests[0] == digests[1]


def test_objects_are_found_by_pipelines_for_foreground(nuclei):
    found = evoseg.reuse(nuclei / "images", k=2, task="instances")
    assert {str(one.pipeline.output) for one in found.answers} == {"labels"}


def test_nothing_is_worth_showing_in_noise(command, tmp_path):
    for i in range(2):
        noise = np.clip(default_rng(i).normal(128, 40, (120, 120)), 0, 255).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    done = command("reuse", tmp_path, "--out", tmp_path / "answers")
    assert done.code == 0 and "nothing" not in done.err
    assert "no stored pipeline finds anything here that is worth showing" in done.out
    assert not (tmp_path / "answers").exists()


def test_a_pick_needs_a_folder(command, nuclei):
    done = command("reuse", nuclei, "--pick", "1")
    assert done.code == 2 and "name its folder with --out" in done.err
