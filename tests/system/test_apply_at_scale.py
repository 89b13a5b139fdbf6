"""Large images, several at a time, and the table of objects."""

import csv
from functools import partial

import numpy as np
import pytest
import tifffile

import evoseg
from evoseg.core.errors import ImageWarning
from evoseg.datasets.io.files import read_image, write_image
from evoseg.datasets.io.formats import Limits
from evoseg.datasets.maskrules import read_mask
from evoseg.inference import apply as applying
from evoseg.inference import measure as measuring
from evoseg.pipeline.running import ArrayRows, run_in_bands
from evoseg.runs.pipeline_files import UNKNOWN

TEXT = (
    "def pipeline(image):\n    return remove_small(threshold(gaussian(channel(image), sigma=1.0), level=128), area=5)\n"
)


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "program.evo"
    file.write_text(TEXT)
    return file


def discs(shape=(120, 90)) -> np.ndarray:
    row, col = np.indices(shape)
    plane = np.full(shape, 20, np.uint8)
    for r, c, radius in ((20, 20, 8), (60, 45, 12), (61, 80, 6), (110, 10, 14)):
        plane[(row - r) ** 2 + (col - c) ** 2 <= radius**2] = 220
    return plane


def test_the_table_measures_every_object(command, program, tmp_path):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", discs())
    write_image(tmp_path / "in" / "b.png", np.dstack([discs(), discs() // 2, np.zeros((120, 90), np.uint8)]))
    write_image(tmp_path / "in" / "empty.png", np.zeros((30, 30), np.uint8))
    table = tmp_path / "new" / "t.csv"
    done = command("apply", program, tmp_path / "in", "--out", tmp_path / "out", "--table", table)
    assert (done.code, done.err) == (0, f"warning: {UNKNOWN}\n")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a"] * 4 + ["b"] * 4
    mask = read_mask(tmp_path / "out" / "masks" / "a.png")
    assert sum(int(row["area_px"]) for row in rows[:4]) == mask.sum()
    second = rows[1]
    assert (float(second["centroid_row"]), float(second["centroid_col"])) == pytest.approx((60, 45), abs=0.1)
    assert (second["first_row"], second["last_row"], second["first_col"]) == ("49", "71", "34")
    assert float(rows[5]["mean_1"]) == pytest.approx(float(rows[5]["mean_0"]) / 2, abs=0.5)
    assert command("apply", program, tmp_path / "in", "--out", tmp_path / "o", "--table", table).code == 1


@pytest.mark.parametrize("strip", [90 * 2, 90 * 8, 90 * 50])
def test_measurements_do_not_depend_on_strips(strip):
    plane = discs()
    image = ArrayRows(np.dstack([plane, np.indices(plane.shape)[0].astype(np.uint8)]))
    whole, parted = (measuring.measure_objects(plane > 100, image, size) for size in (10**6, strip))
    np.testing.assert_allclose(parted, whole, rtol=1e-12)


def test_several_workers_write_the_same_in_the_same_order(command, program, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(6):
        write_image(tmp_path / "in" / f"{i}.png", np.roll(discs(), 7 * i, axis=1))
    (tmp_path / "in" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    outputs = []
    for workers in ("1", "3"):
        table = tmp_path / f"{workers}.csv"
        done = command(
            "apply", program, tmp_path / "in", "--out", tmp_path / workers, "--workers", workers, "--table", table
        )
        assert done.code == 1
        assert done.err.count("error: ") == 1
        assert "5 of 6 images segmented, 1 failed" in done.out
        outputs.append(table.read_text())
    assert outputs[0] == outputs[1]
    for i in (0, 1, 3, 4, 5):
        one, three = (read_mask(tmp_path / workers / "masks" / f"{i}.png") for workers in ("1", "3"))
        np.testing.assert_array_equal(one, three)


def test_images_without_a_result_are_listed_at_the_end(command, program, tmp_path):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", discs())
    for i in range(22):
        (tmp_path / "in" / f"{i:02d}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    done = command("apply", program, tmp_path / "in", "--out", tmp_path / "out", "--formats", "geojson")
    assert done.code == 1 and (tmp_path / "out/geojson/a.geojson").is_file()
    assert "22 images have no result: 00.png, 01.png" in done.err
    assert "19.png and 2 more; --image-table lists all\n" in done.err
    assert "geojson   " in done.out


def test_an_image_beyond_the_limits_is_filtered_in_bands(command, program, tmp_path, monkeypatch):
    file = tmp_path / "large.tif"
    tifffile.imwrite(file, discs((700, 300)), tile=(64, 64), metadata=None)
    assert command("apply", program, file, "--out", tmp_path / "whole", "--table", tmp_path / "a.csv").code == 0
    monkeypatch.setattr("evoseg.datasets.io.tiff_rows.LIMITS", Limits(pixels=10_000))
    monkeypatch.setattr(applying, "OVERLAY_PX", 200)
    assert command("apply", program, file, "--out", tmp_path / "bands", "--table", tmp_path / "b.csv").code == 0
    whole, bands = (read_mask(tmp_path / name / "masks" / "large.png") for name in ("whole", "bands"))
    np.testing.assert_array_equal(whole, bands)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert max(read_image(tmp_path / "bands" / "overlays" / "large.png").shape) <= 200
    write_image(tmp_path / "large.png", discs((700, 300)))
    done = command("apply", program, tmp_path / "large.png", "--out", tmp_path / "png")
    assert done.code == 1
    assert "Save it as TIFF in tiles" in done.err


def test_the_progress_of_a_large_image_includes_its_objects(program, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "large.tif", discs((700, 300)), tile=(64, 64), metadata=None)
    monkeypatch.setattr("evoseg.datasets.io.tiff_rows.LIMITS", Limits(pixels=10_000))
    for formats, n_objects in (("", 0), ("geojson", 4)):
        told: list[float] = []
        with pytest.warns(ImageWarning):
            evoseg.apply(
                str(program),
                tmp_path / "large.tif",
                tmp_path / f"out{formats}",
                formats=formats,
                on_progress=lambda stem, share, told=told: told.append(share),
            )
        assert told == sorted(told) and told[-1] == 1.0
        assert sum(share > 0.5 for share in told) >= n_objects


@pytest.mark.parametrize(
    ("body", "folder", "name"),
    [
        ("keep_round(otsu(window_percentile(image)))", "masks", "large.png"),
        ("keep_area_labels(components(otsu(channel(image))))", "masks", "large.tif"),
        ("centroids(fill_holes(otsu(channel(image))))", "points", "large.csv"),
    ],
)
def test_answers_of_any_kind_are_the_same_in_bands(command, tmp_path, monkeypatch, body, folder, name):
    file, program = tmp_path / "large.tif", tmp_path / "program.evo"
    program.write_text(f"def pipeline(image):\n    return {body}\n")
    noise = np.random.default_rng(1).integers(0, 30, (700, 300), np.uint8)
    tifffile.imwrite(file, discs((700, 300)) + noise, tile=(64, 64), metadata=None)
    assert command("apply", program, file, "--out", tmp_path / "whole").code == 0
    monkeypatch.setattr("evoseg.datasets.io.tiff_rows.LIMITS", Limits(pixels=10_000))
    monkeypatch.setattr(applying, "run_in_bands", partial(run_in_bands, band=300 * 50, held=0))
    done = command("apply", program, file, "--out", tmp_path / "bands")
    assert (done.code, done.err) == (0, f"warning: {UNKNOWN}\n")
    whole, bands = ((tmp_path / place / folder / name).read_bytes() for place in ("whole", "bands"))
    assert whole == bands


def test_callbacks_hear_of_images_and_their_old_names_warn(program, tmp_path):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", discs())
    counts, results = [], []
    with pytest.warns(ImageWarning), pytest.warns(FutureWarning, match="on_listed"):
        evoseg.apply(str(program), tmp_path / "in", tmp_path / "out", listed=counts.append, on_result=results.append)
    assert counts == [1] and [result.stem for result in results] == ["a"]
