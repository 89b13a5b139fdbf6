"""Classic recipes fit every kind of image, and open a search in order."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.ports import Scored, SearchView
from evoseg.evolve.proposers.classics import COLOURS, RECIPES, Classics, constants, intakes
from evoseg.operators.registry import operators
from evoseg.pipeline import Pipeline
from tests.evolve.helpers import no_probe

NOISE = default_rng(4).random((21, 34, 20))

IMAGES = {
    "grey": (NOISE[:, :, :1] * 255).astype(np.uint8),
    "two channels": (NOISE[:, :, :2] * 255).astype(np.uint8),
    "rgb": (NOISE[:, :, :3] * 255).astype(np.uint8),
    "many channels": (NOISE * 255).astype(np.uint8),
    "16 bit": (NOISE[:, :, :1] * 4095).astype(np.uint16),
    "16 bit, saturated": np.full((21, 34, 1), 65535, np.uint16),
    "16 bit rgb": (NOISE[:, :, :3] * 65535).astype(np.uint16),
    "float": NOISE[:, :, :1].astype(np.float32),
    "tiny float": (NOISE[:, :, :1] * 1e-6).astype(np.float32),
    "huge float": (NOISE[:, :, :1] * 1e7).astype(np.float32),
    "negative float": (-NOISE[:, :, :2] * 900).astype(np.float32),
    "black": np.zeros((21, 34, 1), np.uint8),
    "black float": np.zeros((21, 34, 1), np.float32),
}


@pytest.mark.parametrize("name", IMAGES)
def test_every_kind_of_image_has_intakes_that_run(name):
    found = intakes(measure_images([IMAGES[name]]))
    assert found
    for pipeline in found:
        assert pipeline.output is Kind.GRAY
        assert pipeline(IMAGES[name]).shape == (21, 34)


def test_16_bit_values_are_windowed_where_they_lie():
    # A plain conversion of 12-bit values to 8 bit would leave 16 levels.
    image = IMAGES["16 bit"]
    assert max(len(np.unique(p(image))) for p in intakes(measure_images([image]))) > 100


@pytest.mark.parametrize("name", IMAGES)
def test_constants_mark_everything_and_nothing(name):
    everything, nothing = constants(measure_images([IMAGES[name]]), Kind.MASK)
    assert everything(IMAGES[name]).all()
    assert not nothing(IMAGES[name]).any()


def test_the_constants_of_points_are_one_in_the_middle_and_none():
    one, none = constants(measure_images([IMAGES["rgb"]]), Kind.POINTS)
    rows, cols = IMAGES["rgb"].shape[:2]
    assert one(IMAGES["rgb"]).tolist() == [[(rows - 1) / 2, (cols - 1) / 2]]
    assert none(IMAGES["rgb"]).shape == (0, 2)


def test_the_constant_of_planes_is_empty():
    (nothing,) = constants(measure_images([IMAGES["rgb"]]), Kind.GRAY)
    assert not nothing(IMAGES["rgb"]).any()


def scored(pipeline: Pipeline, score: float) -> Scored:
    one = np.array([score])
    return Scored(pipeline, one[:, None], one, one)


def test_recipes_follow_on_the_best_intakes():
    stats = measure_images([IMAGES["rgb"]])
    view = SearchView([], [], lambda n, rng: [], stats, no_probe)
    classics, rng = Classics(stats), default_rng(0)
    first = classics.ready(view, 100, rng)
    assert len(first) == len(COLOURS) + 1
    assert classics.ready(view, 100, rng) == []  # nothing is known yet
    best = {first[2].until(0), first[5].until(0), first[7].until(0)}
    classics.learn([scored(p, 0.9 if p.until(0) in best else 0.1) for p in first])
    recipes = []
    while ready := classics.ready(view, 10, rng):
        assert len(ready) <= 10
        recipes += ready
    assert len(recipes) == 3 * len(RECIPES)
    assert {p.until(0) for p in recipes} == best
    assert all(p.output is Kind.MASK for p in recipes)


def test_recipes_use_known_operators_only():
    stats = measure_images([IMAGES["rgb"]])
    view = SearchView([], [], lambda n, rng: [], stats, no_probe)
    known = {op.name for op in operators()} - {"oriented", "mix"}
    classics, rng = Classics(stats, known=known), default_rng(0)
    first = classics.ready(view, 100, rng)
    assert len(first) == len(COLOURS)
    classics.learn([scored(p, 0.5) for p in first])
    recipes = classics.ready(view, 100, rng)
    assert recipes
    assert all(s.operator in known for p in (*first, *recipes) for s in p.steps)
