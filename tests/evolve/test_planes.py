"""Planes are sampled once, and sums of strangers get curves that fit the images at hand."""

from collections import Counter

import pytest
from numpy.random import default_rng

from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.proposers.curve_sums import SUMS, FeatureBank
from evoseg.library.collection import bundled_tasks
from tests.evolve.helpers import CountTask, discs, no_probe, sizes
from tests.evolve.sums import START, blurred, either_colour, evaluator_of, inverted, operators, score, summed_on


def test_a_sum_from_other_images_is_of_use_once_its_curves_are_fitted():
    here = either_colour()
    stranger = summed_on(inverted(here), "R", "G", "B", "S")
    evaluator = evaluator_of(here)
    (fitted,) = FeatureBank(evaluator.sample_pixels).refit([stranger])
    assert operators(fitted) == operators(stranger)
    assert score(evaluator, fitted) > score(evaluator, stranger) + 0.1
    assert score(evaluator, fitted) == score(evaluator, summed_on(here, "R", "G", "B", "S"))


def test_every_sum_is_fitted_the_inner_ones_first_and_twice_is_as_good_as_once():
    here = either_colour()
    # Five leaves: four of them summed, and that sum with the fifth.
    stranger = summed_on(inverted(here), "R", "G", "B", "S", "V")
    assert sum(s.operator in SUMS for s in stranger.steps) == 2
    planes = FeatureBank(evaluator_of(here).sample_pixels)
    (fitted,) = planes.refit([stranger])
    before, after = ([s.params for s in p.steps if s.operator in SUMS] for p in (stranger, fitted))
    assert not set(before) & set(after)
    assert planes.refit([fitted]) == [fitted]


def test_what_cannot_be_fitted_stays_as_it_is():
    here = either_colour(2)
    stranger = summed_on(here, "R", "G")
    assert FeatureBank(evaluator_of(here).sample_pixels).refit([START]) == [START]
    assert FeatureBank(no_probe).refit([stranger, START]) == [stranger, START]
    task = CountTask()
    blind = JobEvaluator(task, InProcess(task, discs(2), 1 << 26), sizes(discs(2)))
    assert FeatureBank(blind.sample_pixels).refit([stranger]) == [stranger]


@pytest.mark.e2e
def test_every_program_of_the_seed_library_can_be_fitted_to_strange_images():
    probe = evaluator_of(either_colour(2)).sample_pixels
    planes = FeatureBank(probe)
    stored = [p.pipeline for task in bundled_tasks() for p in task.pipelines]
    assert sum(any(s.operator in SUMS for s in program.steps) for program in stored) > 10
    for program, fitted in zip(stored, planes.refit(stored), strict=True):
        assert Counter(operators(fitted)) == Counter(operators(program))
        assert FeatureBank(probe).refit([program]) == [fitted]


def test_planes_that_were_long_unused_go_first(monkeypatch):
    monkeypatch.setattr("evoseg.evolve.proposers.curve_sums.PLANES", 3)
    planes = FeatureBank(evaluator_of(either_colour(2)).sample_pixels)
    red, green, blue, value = (blurred(c) for c in ("R", "G", "B", "V"))
    planes.add([red, green, blue])
    planes.choose([red], 1)
    planes.add([value])
    assert set(planes.some(default_rng(0))) == {red, blue, value}
    # What is asked for once more is in use, even if it is the oldest.
    planes.add([blue, green])
    assert set(planes.some(default_rng(0))) == {blue, value, green}
