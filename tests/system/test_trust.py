"""What `evoseg apply` says of each image: how far its answer can be trusted, and whether it is unfamiliar."""

import csv
import json
import shutil

import numpy as np
import pytest

import evoseg
from evoseg.core.errors import PipelineError, SettingsError
from evoseg.datasets.io.files import read_image, write_image
from evoseg.inference.apply import apply
from evoseg.operators.network import network_planes
from evoseg.runs.pipeline_files import read_alternatives, read_pipeline

NETWORK = "def pipeline(image):\n    return threshold(network(image), level=128)\n"


def unfamiliar_in(text):
    (line,) = (line for line in text.splitlines() if line.startswith("unfamiliar: "))
    return line.rpartition(": ")[2].split(", ")


@pytest.fixture
def images(dataset, found, tmp_path):
    """Return a folder with the dataset's test images and one of stripes, which looks like none of them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for stem in found.splits.test:
        (path,) = (dataset / "images").glob(f"{stem}.*")
        shutil.copy(path, folder)
    stripes = 60 + 50 * np.sin(np.arange(84) / 2) * np.ones((60, 1))
    write_image(folder / "stripes.png", stripes.astype(np.uint8))
    return folder


def test_each_image_has_its_trust_and_strange_ones_are_named(found, images, command, tmp_path):
    table = tmp_path / "new" / "images.csv"
    done = command(
        *("apply", found.folder, images, "--out", tmp_path / "out", "--image-table", table),
        *("--doubt", tmp_path / "doubt"),
    )
    assert done.code == 0
    assert "stripes" in unfamiliar_in(done.out)
    assert "trust     mean 0." in done.out
    with table.open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {*rows} == {*found.splits.test, "stripes"}
    # Drawn images of a few nuclei differ, too.
    assert {stem for stem, row in rows.items() if row["unfamiliar"] == "yes"} == {*unfamiliar_in(done.out)}
    assert max(rows, key=lambda stem: float(rows[stem]["distance"])) == "stripes"
    assert all(0 <= float(row["trust"]) <= 1 for row in rows.values())
    for stem in rows:
        picture = read_image(tmp_path / "doubt" / f"{stem}.png")
        assert picture.dtype == np.uint8 and picture.shape == (60, 84, 1)
    again = command("apply", found.folder, images, "--out", tmp_path / "other", "--image-table", table)
    assert again.code == 1 and "exists already" in again.err


def test_the_tables_of_objects_and_of_images_are_two_files(found, images, command, tmp_path):
    both = ("--table", tmp_path / "t.csv", "--image-table", tmp_path / "t.csv")
    done = command("apply", found.folder, images, "--out", tmp_path / "out", *both)
    assert (done.code, "cannot be one file" in done.err) == (2, True)
    assert not (tmp_path / "t.csv").exists() and not (tmp_path / "out").exists()


def test_json_and_python_say_the_same(found, images, command, tmp_path):
    done = command("apply", found.folder, images, "--out", tmp_path / "a", "--json")
    said = {row["name"]: row for row in json.loads(done.out)["images"]}
    for one in apply(found.files["pipeline"], images, tmp_path / "b"):
        row = said[one.stem]
        assert (row["trust"], row["distance"], row["unfamiliar"]) == (one.trust, one.distance, one.unfamiliar)


def test_a_file_without_its_run_still_knows_what_is_unfamiliar(found, images, command, tmp_path):
    alone = shutil.copy(found.files["pipeline"], tmp_path / "alone.evo")
    done = command("apply", alone, images, "--out", tmp_path / "out")
    assert done.code == 0 and "trust     unknown" in done.out and "stripes" in unfamiliar_in(done.out)
    refused = command("apply", alone, images, "--out", tmp_path / "other", "--doubt", tmp_path / "doubt")
    assert refused.code == 1 and "doubt cannot be estimated" in refused.err
    assert not (tmp_path / "other").exists()


def test_a_network_needs_no_others_to_be_doubted(images, tmp_path):
    program = evoseg.read_pipeline(NETWORK)
    with pytest.warns(evoseg.ImageWarning, match="does not say"):
        results = apply(program, images, tmp_path / "out", doubt=tmp_path / "doubt")
    assert all(0 < one.trust <= 1 and one.unfamiliar is None for one in results)


def test_pictures_of_doubt_take_the_place_of_nothing(images, tmp_path):
    program = evoseg.read_pipeline(NETWORK)
    before = {path: path.read_bytes() for path in images.iterdir()}
    for doubt in (tmp_path / "out" / "masks", tmp_path / "out" / ".." / "out" / "overlays", images):
        with pytest.raises(SettingsError, match="Name other folders"):
            apply(program, images, tmp_path / "out", doubt=doubt, overwrite=True)
    objects = evoseg.read_pipeline(
        "def pipeline(image):\n    return components(threshold(network(image), level=128))\n"
    )
    with pytest.raises(SettingsError, match="Name other folders"):  # where objects are TIFF files of the same names
        apply(objects, images, tmp_path / "out", doubt=tmp_path / "out" / "masks")
    assert before == {path: path.read_bytes() for path in images.iterdir()} and not (tmp_path / "out").exists()


def test_nothing_is_in_doubt_where_pixels_are_unknown(tmp_path):
    write_image(tmp_path / "gray.png", np.full((60, 84), 128, np.uint8))
    np.save(tmp_path / "bad.npy", np.indices((60, 84), np.uint8)[0] < 20)
    with pytest.warns(evoseg.ImageWarning):
        apply(
            *(evoseg.read_pipeline(NETWORK), tmp_path / "gray.png", tmp_path / "out"),
            bad_pixels=tmp_path / "bad.npy",
            doubt=tmp_path / "doubt",
        )
    picture = read_image(tmp_path / "doubt" / "gray.png")[:, :, 0]
    assert picture[20:].min() > 250 and picture[:20].max() == 0


def test_a_large_image_is_shown_to_the_network_once(tmp_path, monkeypatch):
    program, asked = evoseg.read_pipeline(NETWORK), []

    def counted(image, *arguments):
        asked.append(image.shape)
        return network_planes(image, *arguments)

    monkeypatch.setattr("evoseg.operators.network.network_planes", counted)
    write_image(tmp_path / "ramp.png", (3 * np.indices((60, 84)).sum(axis=0) // 2).astype(np.uint8))
    results = []
    for in_bands in (1 << 24, 1):
        asked.clear()
        monkeypatch.setattr("evoseg.inference.apply.IN_BANDS", in_bands)
        with pytest.warns(evoseg.ImageWarning, match="does not say"):
            results += apply(
                program, tmp_path / "ramp.png", tmp_path / str(in_bands), doubt=tmp_path / f"doubt-{in_bands}"
            )
        assert asked == [(60, 84, 1)]
    assert results[0].trust == results[1].trust


def test_trust_can_be_left_out(found, images, command, tmp_path):
    done = command("apply", found.folder, images, "--out", tmp_path / "out", "--no-trust")
    assert done.code == 0 and "lowest" not in done.out and "stripes" in unfamiliar_in(done.out)
    with pytest.raises(SettingsError, match="both"):
        apply(found.folder, images, tmp_path / "b", trust=False, doubt=tmp_path / "doubt")
    with pytest.raises(PipelineError, match="doubt cannot be estimated"):
        apply(found.pipeline, images, tmp_path / "b", doubt=tmp_path / "doubt")


def test_the_others_are_the_best_of_the_front(found):
    others = read_alternatives(found.folder, found.pipeline).pipelines
    assert found.pipeline not in others and 1 <= len(others) <= 4
    scores = {read_pipeline(one.pipeline).digest: one.search for one in found.front}
    ranked = sorted((s for digest, s in scores.items() if digest != found.digest), reverse=True)
    assert [scores[one.digest] for one in others] == ranked[: len(others)]
    assert read_alternatives(found.files["pipeline"], found.pipeline).pipelines == others


def test_the_result_counts_what_was_missed(found, command):
    document = found.to_json()
    assert {*document["detections_test"]} == {*found.splits.test}
    assert evoseg.SearchResult.load(found.folder).detections_test == found.detections_test
    assert document["worst_test"] == found.worst_test
    n = len(found.splits.test)
    assert f"On the {n} test images: " in str(found) and "objects missed" in str(found)
    done = json.loads(command("score", found.folder, document["dataset_path"], "--json").out)
    assert done["detections"] == document["detections_test"] and done["worst"] == document["worst_test"]
    assert f"On the {n} test images: " in command("score", found.folder, document["dataset_path"]).out
