"""The tuner finds better numbers for good programs, and keeps out of what is fitted."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Evaluation, Failed, Scored, SearchView
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.proposers.tuning import Tuner, numbers, tune_now
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.structure import structure_of
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, no_probe, sizes, stats_of

ITEMS = discs(3)
STATS = stats_of(ITEMS)
WORDS = make_vocabulary(STATS)


def view(best: list[Scored]) -> SearchView:
    return SearchView(best, best, lambda n, rng: best[:n], STATS, no_probe)


def rated(pipeline: Pipeline, score: float = 0.5) -> Scored:
    one = np.array([score])
    return Scored(pipeline, one[:, None], one, one)


def test_a_wrong_sigma_is_mended():
    evaluator = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), ITEMS, 1 << 28), sizes(ITEMS))
    wrong = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=14.0), step("threshold", 1)])
    (start,) = evaluator.evaluate([wrong])
    every = [Pipeline([*wrong.steps[:1], step("gaussian", 0, sigma=s), wrong.steps[2]]) for s in np.arange(0.5, 8, 0.1)]
    best = max(v.score for v in evaluator.evaluate(every))
    tuner, rng, seen = Tuner(WORDS), default_rng(1), [start]
    while asked := tuner.ready(view([start]), 48, rng):
        evaluations = evaluator.evaluate(asked)
        tuner.learn(evaluations)
        seen += evaluations
    assert len(seen) < 100
    assert start.score < best - 0.1
    assert max(v.score for v in seen) > start.score + 0.8 * (best - start.score)
    assert {structure_of(v.pipeline) for v in seen} == {structure_of(wrong)}


def test_programs_can_be_tuned_at_once_within_a_number_of_evaluations():
    evaluator = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), ITEMS, 1 << 28), sizes(ITEMS))
    wrong = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=14.0), step("threshold", 1)])
    plain = Pipeline([step("channel", IMAGE), step("threshold", 0)])
    first, _ = evaluator.evaluate([wrong, plain])
    of_wrong, of_plain = tune_now([wrong, plain], WORDS, default_rng(1), evaluator.evaluate, 20)
    assert of_plain == [] and 10 < len(of_wrong) <= 20
    assert max(v.score for v in of_wrong) > first.score
    assert {structure_of(v.pipeline) for v in of_wrong} == {structure_of(wrong)}
    assert tune_now([wrong], WORDS, default_rng(1), lambda programs: [None for _ in programs], 20) == [[]]


def test_programs_without_numbers_to_tune_are_passed_over():
    plain = Pipeline([step("channel", IMAGE), step("threshold", 0)])
    assert numbers(plain, WORDS) == []
    tuner = Tuner(WORDS)
    assert tuner.ready(view([rated(plain)]), 48, default_rng(0)) == []
    tunable = Pipeline([step("channel", IMAGE), step("gaussian", 0), step("threshold", 1)])
    asked = tuner.ready(view([rated(plain), rated(tunable)]), 48, default_rng(0))
    assert {structure_of(p) for p in asked} == {structure_of(tunable)}


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
    tuner, rng, order = Tuner(WORDS), default_rng(0), []
    while asked := tuner.ready(view(best), 48, rng):
        order.append(structure_of(asked[0]))
        tuner.learn([rated(p) for p in asked])
    assert list(dict.fromkeys(order)) == [structure_of(first), structure_of(other)]
    assert len(order) == 2 * order.count(structure_of(first))


def test_failures_are_losses_and_no_news_is_no_harm():
    program = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    tuner, rng = Tuner(WORDS), default_rng(0)
    asked = tuner.ready(view([rated(program)]), 48, rng)
    evaluations: list[Evaluation] = [Failed(p, "too long") for p in asked]
    tuner.learn(evaluations)
    assert tuner.ready(view([rated(program)]), 48, rng)
    assert tuner.ready(view([rated(program)]), 48, rng)  # a generation was cut short: nothing was learnt


def test_a_generation_without_room_gets_no_half_round():
    program = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    tuner, rng = Tuner(WORDS), default_rng(0)
    assert tuner.ready(view([rated(program)]), 3, rng) == []
    assert len(tuner.ready(view([rated(program)]), 14, rng)) > 3


def test_a_program_with_very_many_numbers_does_not_block_the_tuner():
    long = Pipeline([step("channel", IMAGE), *(step("gabor", i) for i in range(22)), step("threshold", 22)])
    short = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=3.0), step("threshold", 1)])
    tuner, rng = Tuner(WORDS), default_rng(0)
    asked = [tuner.ready(view([rated(long, 0.9), rated(short)]), 14, rng) for _ in range(3)]
    assert any(asked)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_tuned_programs_are_valid_and_drawn_from_the_stream_only(n):
    steps = [step("channel", IMAGE), *(step("bandpass", i) for i in range(n)), step("threshold", n)]
    best = [rated(Pipeline(steps))]
    first, second = (Tuner(WORDS).ready(view(best), 48, default_rng(4)) for _ in range(2))
    assert first == second
    assert len(set(first)) > len(first) // 2
