"""The task of telling objects from one another, from fitting to a search."""

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.ports import Scored
from evoseg.evolve.proposers.classics import ENDINGS, OBJECTS, Classics, chain, constants, intakes
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.proposers.variation import breed
from evoseg.evolve.solve import solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.object_tasks import InstanceTask
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline, print_text, read_json, read_text, write_json
from evoseg.pipeline.value import step

SHAPE = (64, 88)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and labels of a pair of overlapping discs and some single ones, bright on dark."""
    rng = default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    row, col = (int(v) for v in rng.integers(18, 40, 2))
    for i, (r, c) in enumerate(((row, col), (row, col + 13), (52, 70), (10, 75)), 1):
        disc = np.zeros(SHAPE, np.uint8)
        cv2.circle(disc, (c, r), 8, 1, -1)
        labels[(disc > 0) & (labels == 0)] = i
    image = np.where(labels > 0, 150, 60) + rng.normal(0, 8, SHAPE)
    return np.clip(image, 0, 255).astype(np.uint8)[:, :, None], labels


SCENES = [scene(i) for i in range(6)]
DATASET = Dataset.from_arrays([image for image, _ in SCENES], [labels for _, labels in SCENES])
ITEMS = [InstanceTask().arrays(DATASET.load(stem)) for stem in DATASET.stems]
STATS = measure_images([item["image"] for item in ITEMS])
WORDS = make_vocabulary(STATS, Kind.LABELS)
JOINED = chain(Pipeline([step("channel", IMAGE)]), [("gaussian", {}), ("threshold", {}), ("components", {})])
PARTED = chain(JOINED.until(2), [("depth_watershed", {"depth": 1.0})])


def evaluated(*programs: Pipeline) -> list[Scored]:
    task = InstanceTask()
    sizes = {i: item["image"].size for i, item in enumerate(ITEMS)}
    evaluations = JobEvaluator(task, InProcess(task, ITEMS, 1 << 26), sizes).evaluate(programs)
    assert all(isinstance(v, Scored) for v in evaluations), evaluations
    return [v for v in evaluations if isinstance(v, Scored)]


def test_a_threshold_below_objects_is_fitted_and_parting_pays():
    joined, parted = evaluated(JOINED, PARTED)
    assert joined.score == pytest.approx(
        3 / 4
    )  # the whole of the two discs that overlap is the first of them, at an IoU of 0.51
    assert parted.score >= 0.9
    level = parted.pipeline.steps[2].params[0]
    assert isinstance(level, int) and 70 < level < 140


def test_every_metric_is_an_objective():
    stats = np.stack(
        [InstanceTask().judge(labels, InstanceTask().target(i)) for (_, labels), i in zip(SCENES, ITEMS, strict=True)]
    )
    for metric in ("ap50", "ap", "pq"):
        assert InstanceTask(metric).score(stats).tolist() == [1.0] * len(SCENES)


def test_unknown_pixels_take_no_part_in_fits_and_scores():
    known = np.ones(SHAPE, bool)
    known[:, 44:] = False
    item = {**ITEMS[0], "known": known}
    task = InstanceTask()
    truth = task.target(item)
    counts = task.judge(np.where(known, ITEMS[0]["labels"], 7).astype(np.int32), truth)
    assert counts[-2] <= counts[-1] + 1
    plane = np.ascontiguousarray(item["image"][:, :, 0])
    assert task.histogram((plane,), truth).sum() == known.sum()


def test_binary_tasks_do_not_know_the_new_operators():
    names = {op.name for op in make_vocabulary(STATS).operators}
    drawn = [op for op in registry.operators() if not op.ready_made]
    assert names == {op.name for op in drawn if op.output in (Kind.GRAY, Kind.MASK) and not op.serves}
    assert names < {op.name for op in WORDS.operators}


def test_programs_grow_and_vary_by_types_alone():
    rng = default_rng(3)
    population = [WORDS.grow(rng, Kind.LABELS, int(rng.integers(2, 7))) for _ in range(60)]
    children = [breed(a, b, WORDS, rng)[0] for a, b in zip(population, reversed(population), strict=True)]
    for program in [*population, *children]:
        assert program.output is Kind.LABELS
        assert read_text(print_text(program)) == program.settled() == read_json(write_json(program))
        labels = program(SCENES[0][0])
        assert labels.shape == SHAPE and labels.dtype == np.int32
    last = {p.steps[-1].operator for p in population}
    assert {"components", "depth_watershed"} <= last and len(last) > 6


def test_classic_recipes_are_objects_and_the_constants_everything_and_nothing():
    intake = intakes(STATS)[0]
    for recipe in (*OBJECTS, ENDINGS[Kind.LABELS]):
        assert chain(intake, recipe).output is Kind.LABELS
    assert any([name for name, _ in recipe][-2:] == ["otsu", "distance_watershed"] for recipe in OBJECTS)
    everything, nothing = constants(STATS, Kind.LABELS)
    assert (everything(SCENES[0][0]) == 1).all() and not nothing(SCENES[0][0]).any()
    assert all(p.output is Kind.LABELS for p in Classics(STATS, Kind.LABELS).ready(None, 50, default_rng(0)))


@pytest.mark.e2e
def test_a_search_parts_what_touches_and_repeats_itself(tmp_path):
    splits = Splits(DATASET.stems[:4], (), DATASET.stems[4:])
    told = []
    for attempt in ("a", "b"):
        settings = SearchSettings(Budget(evaluations=110), seed=5, workers=0)
        (tmp_path / attempt).mkdir()
        solution = solve(DATASET, splits, InstanceTask(), settings, tmp_path / attempt, Clock(settings.budget))
        told.append(solution)
        champion = solution.champion.scored.pipeline
        assert champion.output is Kind.LABELS
        on_test = InstanceTask().score(solution.test[champion])
        assert on_test.mean() > 0.9
    assert told[0].champion.scored.pipeline == told[1].champion.scored.pipeline
    assert [h[2] for h in told[0].progress.history] == [h[2] for h in told[1].progress.history]
    assert all(p.output is Kind.LABELS for p in told[0].test)


def test_the_binary_task_takes_the_same_dataset():
    item = BinaryTask().arrays(DATASET.load("000"))
    assert np.array_equal(item["mask"], SCENES[0][1] > 0)
