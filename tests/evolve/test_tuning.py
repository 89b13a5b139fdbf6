"""The tuner finds better numbers for good programs, and keeps out of what is fitted."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.evaluator import Evaluator
from evoseg.evolve.growth import vocabulary
from evoseg.evolve.jobs import InProcess
from evoseg.evolve.ports import Failed, Scored, SearchView, Verdict
from evoseg.evolve.skeletons import skeleton
from evoseg.evolve.tuning import Tune, numbers
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, facts_of, no_probe, sizes

ITEMS = discs(3)
FACTS = facts_of(ITEMS)
WORDS = vocabulary(FACTS)


def view(best: list[Scored]) -> SearchView:
    return SearchView(best, best, lambda n, rng: best[:n], FACTS, no_probe)


def rated(pipeline: Pipeline, score: float = 0.5) -> Scored:
    one = np.array([score])
    return Scored(pipeline, one[:, None], one, one)


def test_a_wrong_sigma_is_mended():
    evaluator = Evaluator(BinaryTask(), InProcess(BinaryTask(), ITEMS, 1 << 28), sizes(ITEMS))
    wrong = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=14.0), step("threshold", 1)])
    (start,) = evaluator.evaluate([wrong])
    every = [Pipeline([*wrong.steps[:1], step("gaussian", 0, sigma=s), wrong.steps[2]]) for s in np.arange(0.5, 8, 0.1)]
    best = max(v.score for v in evaluator.evaluate(every))
    tuner, rng, seen = Tune(WORDS), default_rng(1), [start]
    while asked := tuner.ready(view([start]), 48, rng):
        verdicts = evaluator.evaluate(asked)
        tuner.learn(verdicts)
        seen += verdicts
    assert len(seen) < 100
    assert start.score < best - 0.1
    assert max(v.score for v in seen) > start.score + 0.8 * (best - start.score)
    assert {skeleton(v.pipeline) for v in seen} == {skeleton(wrong)}


def test_programs_without_numbers_to_tune_are_passed_over():
    plain = Pipeline([step("channel", IMAGE), step("threshold", 0)])
    assert numbers(plain, WORDS) == []
    tuner = Tune(WORDS)
    assert tuner.ready(view([rated(plain)]), 48, default_rng(0)) == []
    tunable = Pipeline([step("channel", IMAGE), step("gaussian", 0), step("threshold", 1)])
    asked = tuner.ready(view([rated(plain), rated(tunable)]), 48, default_rng(0))
    assert {skeleton(p) for p in asked} == {skeleton(tunable)}


def test_fitted_numbers_words_and_channels_are_not_tuned():
    program = Pipeline(
        [
            step("window", IMAGE, index=0, low=0.0, high=200.0),
            step("dog", 0, sigma=2.0, ratio=2.0, polarity="dark"),
            step("threshold", 1),
            step("remove_small", 2, area=9),
        ]
    )
    assert [(p.parameter.name) for p in numbers(program, WORDS)] == ["low", "high", "sigma", "ratio", "area"]


def test_a_structure_is_tuned_once_and_then_the_next():
    first = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    other = Pipeline([step("channel", IMAGE), step("median", 0, radius=2), step("threshold", 1)])
    best = [
        rated(first, 0.9),
        rated(Pipeline([*first.steps[:1], step("gaussian", 0, sigma=4.0), first.steps[2]])),
        rated(other),
    ]
    tuner, rng, order = Tune(WORDS), default_rng(0), []
    while asked := tuner.ready(view(best), 48, rng):
        order.append(skeleton(asked[0]))
        tuner.learn([rated(p) for p in asked])
    assert list(dict.fromkeys(order)) == [skeleton(first), skeleton(other)]
    assert len(order) == 2 * order.count(skeleton(first))


def test_failures_are_losses_and_no_news_is_no_harm():
    program = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    tuner, rng = Tune(WORDS), default_rng(0)
    asked = tuner.ready(view([rated(program)]), 48, rng)
    verdicts: list[Verdict] = [Failed(p, "too long") for p in asked]
    tuner.learn(verdicts)
    assert tuner.ready(view([rated(program)]), 48, rng)
    assert tuner.ready(view([rated(program)]), 48, rng)  # a generation was cut short: nothing was learnt


def test_a_generation_without_room_gets_no_half_round():
    program = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    tuner, rng = Tune(WORDS), default_rng(0)
    assert tuner.ready(view([rated(program)]), 3, rng) == []
    assert len(tuner.ready(view([rated(program)]), 14, rng)) > 3


def test_a_program_with_very_many_numbers_does_not_block_the_tuner():
    long = Pipeline([step("channel", IMAGE), *(step("gabor", i) for i in range(22)), step("threshold", 22)])
    short = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    tuner, rng = Tune(WORDS), default_rng(0)
    asked = [tuner.ready(view([rated(long, 0.9), rated(short)]), 14, rng) for _ in range(3)]
    assert any(asked)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_tuned_programs_are_valid_and_drawn_from_the_stream_only(n):
    steps = [step("channel", IMAGE), *(step("bandpass", i) for i in range(n)), step("threshold", n)]
    best = [rated(Pipeline(steps))]
    first, second = (Tune(WORDS).ready(view(best), 48, default_rng(4)) for _ in range(2))
    assert first == second
    assert len(set(first)) > len(first) // 2
