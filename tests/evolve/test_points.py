"""Points: operators on drawn spots, the task, and a search from end to end."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

import evoseg
from evoseg.core.kinds import Kind
from evoseg.datasets.documents import points_text, read_points
from evoseg.datasets.io.files import write_image
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.ports import Scored
from evoseg.evolve.proposers.classics import PLACES, chain, intakes
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.tasks.object_tasks import PointTask
from evoseg.operators.detection import blobs, centroids, disc_matches, label_centroids, peaks
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step

SHAPE = (66, 95)


def spots(places: np.ndarray, sigma: float = 2.0, height: float = 120.0, dark: bool = False) -> np.ndarray:
    """Draw Gaussian spots at (row, col) on a ground of 60, or dark ones on one of 195."""
    rows, cols = np.indices(SHAPE)
    light = sum(height * np.exp(-((rows - r) ** 2 + (cols - c) ** 2) / (2 * sigma**2)) for r, c in places)
    plane = np.rint(np.clip(60 + light, 0, 255)).astype(np.uint8)
    return 255 - plane if dark else plane


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with noise and its places, some way apart."""
    rng = default_rng(seed)
    row, col = np.meshgrid(np.arange(10, 60, 18), np.arange(10, 90, 18), indexing="ij")
    places = np.stack([row.ravel(), col.ravel()], axis=1) + rng.uniform(-3, 3, (row.size, 2))
    places = places[rng.random(len(places)) < 0.7]
    noisy = spots(places) + rng.normal(0, 6, SHAPE)
    return np.clip(noisy, 0, 255).astype(np.uint8)[:, :, None], places


PLACES_DRAWN = np.array([[20.3, 30.7], [44.6, 60.2], [12.5, 70.5]])


def sorted_rows(points: np.ndarray) -> np.ndarray:
    return points[np.argsort(points[:, 1])]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["peaks", "blobs", "disc_matches"])
def test_places_are_finer_than_a_pixel(name, dark):
    plane, polarity = spots(PLACES_DRAWN, dark=dark), "dark" if dark else "bright"
    found = {
        "peaks": lambda: peaks(plane, distance=5, level=155 if dark else 99, polarity=polarity),
        "blobs": lambda: blobs(plane, sigma=2.0, contrast=10.0, polarity=polarity),
        "disc_matches": lambda: disc_matches(plane, radius=4, correlation=0.6, polarity=polarity),
    }[name]()
    assert found.shape == (3, 2)
    np.testing.assert_allclose(sorted_rows(found), PLACES_DRAWN, atol=0.2)


def test_levels_mean_the_same_as_those_of_masks():
    plane = np.full(SHAPE, 100, np.uint8)
    plane[20, 30] = 140
    assert len(peaks(plane, level=139)) == 1 and len(peaks(plane, level=140)) == 0
    assert len(peaks(255 - plane, level=115, polarity="dark")) == 1
    assert len(peaks(255 - plane, level=114, polarity="dark")) == 0


def test_of_two_tops_within_the_distance_the_higher_stays():
    plane = np.maximum(spots(np.array([[30.0, 40.0]])), spots(np.array([[30.0, 50.0]]), height=80.0))
    assert len(peaks(plane, distance=4, level=90)) == 2
    (place,) = peaks(plane, distance=14, level=90)
    assert place == pytest.approx([30, 40], abs=0.1)


def test_a_plateau_is_one_point_in_its_middle():
    plane = np.zeros(SHAPE, np.uint8)
    plane[10:13, 20:24] = 200
    assert peaks(plane, distance=2, level=100).tolist() == [[11.0, 21.5]]
    assert peaks(np.zeros(SHAPE, np.uint8), level=0).shape == (0, 2)


def test_centroids_are_those_of_objects_large_enough():
    labels = np.zeros(SHAPE, np.int32)
    labels[10:15, 20:31], labels[10:15, 31:40], labels[40, 40] = 1, 2, 3
    assert sorted_rows(label_centroids(labels, area=5)).tolist() == [[12, 25], [12, 35]]
    assert centroids(labels > 0, area=5).tolist() == [[12, 29.5]]
    assert len(centroids(labels > 0, area=1)) == 2


SCENES = [scene(i) for i in range(7)]
ITEMS = [{"image": image, "points": places} for image, places in SCENES]
STATS = measure_images([item["image"] for item in ITEMS])


def evaluated(program: Pipeline, items: list) -> Scored:
    task = PointTask()
    executor = InProcess(task, items, 1 << 26)
    (evaluation,) = JobEvaluator(task, executor, {i: item["image"].size for i, item in enumerate(items)}).evaluate(
        [program]
    )
    assert isinstance(evaluation, Scored), evaluation
    return evaluation


@pytest.mark.parametrize("dark", [False, True])
def test_level_and_polarity_of_tops_are_fitted(dark):
    items = [{**item, "image": 255 - item["image"] if dark else item["image"]} for item in ITEMS]
    program = chain(Pipeline([step("channel", IMAGE)]), [("gaussian", {"sigma": 1.5}), ("peaks", {"distance": 5})])
    evaluation = evaluated(program, items)
    assert evaluation.score > 0.95
    assert evaluation.pipeline.steps[-1].params[2] == ("dark" if dark else "bright")


def test_points_outside_the_known_area_count_nowhere():
    known = np.zeros(SHAPE, bool)
    known[:, :48] = True
    task, places = PointTask(), SCENES[0][1]
    truth = task.target({**ITEMS[0], "known": known})
    counts = task.judge(places, truth)
    inside = int((np.rint(places[:, 1]) < 48).sum())
    assert 0 < inside < len(places) and counts.tolist() == [inside] * 3


def test_a_radius_far_larger_than_the_image_takes_no_longer():
    task, places = PointTask(radius=1e12), SCENES[0][1]
    target = task.target(ITEMS[0])
    assert target.near.all() and task.judge(places, target).tolist() == [len(places)] * 3


def test_programs_of_points_grow_from_types_alone_and_binary_ones_do_not_know_them():
    words, rng = make_vocabulary(STATS, Kind.POINTS), default_rng(1)
    grown = [words.grow(rng, Kind.POINTS, int(rng.integers(1, 6))) for _ in range(40)]
    assert {p.output for p in grown} == {Kind.POINTS}
    assert all(p(SCENES[0][0]).shape[1] == 2 for p in grown)
    assert not {op.output for op in make_vocabulary(STATS).operators} & {Kind.POINTS, Kind.LABELS}
    assert all(chain(intakes(STATS)[0], recipe).output is Kind.POINTS for recipe in PLACES)


@pytest.mark.e2e
def test_a_folder_of_points_is_searched_and_applied(tmp_path, monkeypatch):
    from evoseg.cli.main import run

    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path / "home"))
    root = tmp_path / "spots"
    for part in ("images", "points"):
        (root / part).mkdir(parents=True)
    for i, (image, places) in enumerate(SCENES):
        write_image(root / "images" / f"s{i}.png", image)
        (root / "points" / f"s{i}.csv").write_text(points_text(places))
    found = evoseg.search(root, evaluations=150, workers=0, seed=1, out=tmp_path / "run")
    assert found.metric == "f1" and found.scores["test"] is not None and found.scores["test"] > 0.9
    assert found.task == "points" and set(found.baselines_test) >= {"all", "nothing"}
    assert cv2.imread(str(found.files["test"])) is not None
    assert run(["apply", str(tmp_path / "run"), str(root), "--out", str(tmp_path / "out")]) == 0
    file = tmp_path / "out" / "points" / "s0.csv"
    np.testing.assert_allclose(read_points(file, file.read_bytes()), found.pipeline(SCENES[0][0]), atol=1e-3)
    assert run(["score", str(tmp_path / "run"), str(root), "--json"]) == 0
    assert run(["export", str(tmp_path / "run"), "--to", "python", "--out", str(tmp_path / "points.py")]) == 0
    assert json.loads(Path(found.files["result"]).read_text())["metric"] == "f1"
