"""Curve sums: one sum is made out of planes that each see a part, and curves are fitted to the images at hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Item, Scored, SearchView, Task
from evoseg.evolve.proposers.curve_sums import BANK, CONTEXT, SUMS, CurveSums, FeatureBank, cut_to_last_plane
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.proposers.variation import MAX_LENGTH
from evoseg.evolve.tasks.mask_task import SAMPLED, BinaryTask
from evoseg.library.collection import bundled_tasks
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline, print_text, read_text
from evoseg.pipeline.value import step
from tests.evolve.helpers import CountTask, discs, no_probe, sizes, stats_of
from tests.evolve.sums import START, blurred, either_colour, evaluator_of, inverted, operators, score, summed_on


def view(items: list[Item], programs: Sequence[Pipeline], task: Task | None = None) -> tuple[SearchView, JobEvaluator]:
    task = task or BinaryTask()
    evaluator = JobEvaluator(task, InProcess(task, items, 1 << 26), sizes(items))
    known = [v for v in evaluator.evaluate(programs) if isinstance(v, Scored)]
    assert len(known) == len(programs)
    return SearchView(
        known, known, lambda n, rng: [known[int(i)] for i in rng.integers(len(known), size=n)], stats_of(items),
        evaluator.sample_pixels,
    ), evaluator  # fmt: skip


def test_a_sum_beats_every_single_plane_where_each_sees_a_part():
    items = either_colour()
    looked, evaluator = view(items, [START])
    fuse = CurveSums(make_vocabulary(looked.stats))
    made = [p for i in range(3) for p in fuse.ready(looked, 8, default_rng(i))]
    best = max(v.score for v in evaluator.evaluate(made) if isinstance(v, Scored))
    single = [Pipeline([step("plane", IMAGE, channel=c), step("gaussian", 0, sigma=1.5), step("threshold", 1)])
              for c in ("R", "G", "B", "gray", "H", "S", "V", "L", "a", "b")]  # fmt: skip
    alone = max(v.score for v in evaluator.evaluate(single) if isinstance(v, Scored))
    assert best > alone + 0.1
    assert best > 0.7


@pytest.mark.e2e
def test_what_is_proposed_is_valid_and_never_too_long():
    items = either_colour(3)
    long = [step("channel", IMAGE), *(step("gaussian", i, sigma=1 + i / 10) for i in range(26)), step("otsu", 26)]
    cleaned = Pipeline([*START.steps, step("remove_small", 2, area=12), step("fill_holes", 3)])
    looked, _ = view(items, [START, cleaned, Pipeline(long)])
    fuse = CurveSums(make_vocabulary(looked.stats))
    first = fuse.ready(looked, 40, default_rng(5))
    # Parents that are sums already, so that these are varied too.
    looked, _ = view(items, first[:8])
    second = fuse.ready(looked, 40, default_rng(6))
    assert len(first) > 20
    assert len(second) > 20
    for program in [*first, *second]:
        assert program.output is Kind.MASK
        assert read_text(print_text(program)) == program.settled()
        assert len(program) <= MAX_LENGTH
        assert any(s.operator in SUMS for s in program.steps)
    tails = {p.steps[-1].operator for p in first}
    assert {"threshold", "fill_holes"} <= tails


def test_planes_that_somebody_brings_later_join_the_choice():
    items = either_colour()
    looked, _ = view(items, [START])
    vocabulary = make_vocabulary(looked.stats)
    fuse = CurveSums(vocabulary)
    fuse.ready(looked, 1, default_rng(0))
    both = [step("plane", IMAGE, channel=c) for c in "RG"]
    telling = Pipeline([*both, step("maximum", 0, 1), step("gaussian", 2, sigma=1.7)])
    vocabulary.planes.append(telling)
    made = [p for i in range(4) for p in fuse.ready(looked, 8, default_rng(i))]
    assert any(telling.digests[-1] in program.digests for program in made)


def test_planes_that_are_known_already_join_the_bank():
    items = either_colour()
    looked, _ = view(items, [START])
    planes = FeatureBank(looked.sample_pixels)
    colours = [Pipeline([step("plane", IMAGE, channel=c), step("gaussian", 0, sigma=1.7)]) for c in "RGB"]
    planes.add(colours)
    known = planes.sum_of(colours)
    assert known is not None

    def uses_it(fuse: CurveSums) -> bool:
        made = fuse.ready(looked, 24, default_rng(1))
        return any(known == p.until(i) for p in made for i in range(len(p)))

    words = make_vocabulary(looked.stats)
    assert uses_it(CurveSums(words, known=lambda: [known]))
    assert not uses_it(CurveSums(words))


def test_the_same_stream_gives_the_same_sums():
    items = either_colour(2)
    made = []
    for _ in range(2):
        looked, _ = view(items, [START])
        made.append(CurveSums(make_vocabulary(looked.stats)).ready(looked, 10, default_rng(8)))
    assert made[0] == made[1]


def test_a_task_without_foreground_is_left_alone():
    items = discs(3)
    looked, _ = view(items, [START], CountTask())
    assert CurveSums(make_vocabulary(looked.stats)).ready(looked, 8, default_rng(1)) == []


@pytest.mark.parametrize("known", [[], [START]])
def test_without_candidates_or_answers_nothing_is_proposed(known):
    items = discs(2)
    looked, _ = view(items, known)
    blind = SearchView(looked.population, looked.best, looked.select, looked.stats, no_probe)
    assert CurveSums(make_vocabulary(looked.stats)).ready(blind, 8, default_rng(1)) == []


def test_a_sum_descends_from_the_candidates_that_its_planes_stem_from():
    items = either_colour(3)
    other = Pipeline([step("plane", IMAGE, channel="B"), step("gaussian", 0, sigma=1.3), step("threshold", 1)])
    looked, _ = view(items, [START, other])
    told: dict[Pipeline, list[Pipeline]] = {}
    looked = replace(looked, descend=lambda child, parents: told.setdefault(child, list(parents)))
    made = CurveSums(make_vocabulary(looked.stats)).ready(looked, 20, default_rng(2))
    assert made and set(made) <= set(told)
    # START's plane is in the bank, and so anybody's.
    heirs = [child for child in made if other.digests[1] in child.digests]
    assert heirs and all(other.form in [parent.form for parent in told[child]] for child in heirs)


def test_every_filter_of_the_bank_is_a_plane_within_the_ranges():
    for filters in [*BANK, *CONTEXT]:
        steps = [step("channel", IMAGE)]
        for name, params in filters:
            steps.append(step(name, len(steps) - 1, **params))
        assert Pipeline(steps).output is Kind.GRAY


def test_the_last_plane_is_what_the_mask_comes_from():
    assert cut_to_last_plane(START) == START.until(1)
    raw_to_mask = [op.name for op in registry.operators() if op.inputs == (Kind.RAW,) and op.output is Kind.MASK]
    for name in raw_to_mask:
        assert cut_to_last_plane(Pipeline([step(name, IMAGE)])) is None


def test_probes_are_pixels_of_their_class_and_known():
    (item,) = discs(1, known=True)
    task = BinaryTask()
    plane = np.arange(48 * 61, dtype=np.int64).reshape(48, 61)
    truth = task.target(item)
    foreground, background = task.sample_pixels(plane, truth).astype(int)
    assert foreground.shape == background.shape == (SAMPLED,)
    known, mask = item["known"].ravel(), item["mask"].ravel()
    assert (mask & known)[foreground].all()
    assert (~mask & known)[background].all()
    # Spread over the whole image: no tenth of the background is left out.
    assert (np.histogram(background, bins=10, range=(0, plane.size))[0] > 20).all()


def test_an_image_without_foreground_has_no_probes_there():
    (item,) = discs(1)
    task = BinaryTask()
    truth = task.target(item | {"mask": np.zeros_like(item["mask"])})
    foreground, background = task.sample_pixels(item["image"][:, :, 0], truth)
    assert np.isnan(foreground).all()
    assert not np.isnan(background).any()


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
