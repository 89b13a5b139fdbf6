"""Planes are sampled once, and sums of strangers get curves that fit the images at hand."""

from collections import Counter

from numpy.random import default_rng

from evoseg.evolve.evaluator import Evaluator
from evoseg.evolve.jobs import InProcess
from evoseg.evolve.planes import SUMS, Planes
from evoseg.library.seeds import seed_tasks
from tests.evolve.helpers import CountTask, discs, no_probe, sizes
from tests.evolve.sums import START, blurred, either_colour, evaluator_of, inverted, operators, score, summed_on


def test_a_sum_from_other_images_is_of_use_once_its_curves_are_fitted():
    here = either_colour()
    stranger = summed_on(inverted(here), "R", "G", "B", "S")
    evaluator = evaluator_of(here)
    (fitted,) = Planes(evaluator.probe).refitted([stranger])
    assert operators(fitted) == operators(stranger)
    assert score(evaluator, fitted) > score(evaluator, stranger) + 0.1
    assert score(evaluator, fitted) == score(evaluator, summed_on(here, "R", "G", "B", "S"))


def test_every_sum_is_fitted_the_inner_ones_first_and_twice_is_as_good_as_once():
    here = either_colour()
    # Five leaves: four of them summed, and that sum with the fifth.
    stranger = summed_on(inverted(here), "R", "G", "B", "S", "V")
    assert sum(s.operator in SUMS for s in stranger.steps) == 2
    planes = Planes(evaluator_of(here).probe)
    (fitted,) = planes.refitted([stranger])
    before, after = ([s.params for s in p.steps if s.operator in SUMS] for p in (stranger, fitted))
    assert not set(before) & set(after)
    assert planes.refitted([fitted]) == [fitted]


def test_what_cannot_be_fitted_stays_as_it_is():
    here = either_colour(2)
    stranger = summed_on(here, "R", "G")
    assert Planes(evaluator_of(here).probe).refitted([START]) == [START]
    assert Planes(no_probe).refitted([stranger, START]) == [stranger, START]
    task = CountTask()
    blind = Evaluator(task, InProcess(task, discs(2), 1 << 26), sizes(discs(2)))
    assert Planes(blind.probe).refitted([stranger]) == [stranger]


def test_every_program_of_the_seed_library_can_be_fitted_to_strange_images():
    probe = evaluator_of(either_colour(2)).probe
    planes = Planes(probe)
    stored = [p.pipeline for task in seed_tasks() for p in task.pipelines]
    assert sum(any(s.operator in SUMS for s in program.steps) for program in stored) > 10
    for program, fitted in zip(stored, planes.refitted(stored), strict=True):
        assert Counter(operators(fitted)) == Counter(operators(program))
        assert Planes(probe).refitted([program]) == [fitted]


def test_planes_that_were_long_unused_go_first(monkeypatch):
    monkeypatch.setattr("evoseg.evolve.planes.PLANES", 3)
    planes = Planes(evaluator_of(either_colour(2)).probe)
    red, green, blue, value = (blurred(c) for c in ("R", "G", "B", "V"))
    planes.add([red, green, blue])
    planes.choose([red], 1)
    planes.add([value])
    assert set(planes.some(default_rng(0))) == {red, blue, value}
    # What is asked for once more is in use, even if it is the oldest.
    planes.add([blue, green])
    assert set(planes.some(default_rng(0))) == {blue, value, green}
