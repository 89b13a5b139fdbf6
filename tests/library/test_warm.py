"""A warm start: programs of other tasks race against classic recipes, and a search begins with the winners."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.random import default_rng

from evoseg.core.folds import each_alone
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Item, Scored, SearchView
from evoseg.evolve.proposers.classics import Classics, chain
from evoseg.evolve.proposers.curve_sums import FeatureBank
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.proposers.warm_start import (
    FINALISTS,
    OFFERED,
    WORK,
    WarmStart,
    WarmStartCandidate,
    contributed_to,
    telling_images,
)
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.strategy import Strategy
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline, read_text
from evoseg.pipeline.value import step
from evoseg.synthetic import draw_dataset
from tests.evolve.helpers import discs, sizes, stats_of
from tests.evolve.sums import START, either_colour, evaluator_of, inverted, operators, score, summed_on
from tests.library.helpers import programs

LONG = read_text(
    """
def pipeline(image):
    a = channel(image, index=0)
    b = gaussian(a, sigma=2.0)
    c = flatten(b, sigma=20.0)
    d = threshold(c, level=90)
    return fill_holes(d)
"""
)


def offer(program: Pipeline) -> WarmStartCandidate:
    return WarmStartCandidate("id", "task", "best", program.form, 1.0, program)


def looking(items: list[Item]) -> tuple[SearchView, JobEvaluator]:
    evaluator = evaluator_of(items)
    known = [v for v in evaluator.evaluate([START]) if isinstance(v, Scored)]
    return SearchView(known, known, lambda n, rng: known * n, stats_of(items), evaluator.sample_pixels), evaluator


def race(
    items: list[Item],
    *offered: Pipeline,
    seconds: float | None = None,
    late: Callable[[], bool] = lambda: False,
    most: int = FINALISTS,
) -> WarmStart:
    """Let programs race on these images."""
    task, warm = BinaryTask(), WarmStart([offer(program) for program in offered], seconds)
    executor, pixels = InProcess(task, items, 1 << 26), sizes(items)

    def evaluator_on(name: str, places: Sequence[int]) -> JobEvaluator:
        return JobEvaluator(task, executor, {place: pixels[place] for place in places})

    telling = telling_images(evaluator_on("all", list(pixels)), list(pixels), START.until(1))
    counted = warm.race(evaluator_on, pixels, each_alone(len(pixels)), telling, Classics(stats_of(items)), late, most)
    assert sum(counted) == len(warm.scores)
    return warm


def start_of(warm: WarmStart, items: list[Item]) -> list[tuple[str, int]]:
    """Return who proposes in a search that begins with this, and their places."""
    stats = stats_of(items)
    shares = Strategy(warm).proposers(make_vocabulary(stats), stats, Kind.MASK)
    return [(share.proposer.name, share.quota) for share in shares]


HERE = either_colour()
COLD = start_of(WarmStart([]), HERE)


def foreign_sum() -> Pipeline:
    """Return a program that solves this task once its curves are fitted; recipes look at one plane only."""
    return summed_on(inverted(HERE), "R", "G", "B", "S")


def test_a_program_that_beats_all_recipes_opens_the_search_refitted_and_is_proposed_once():
    foreign = foreign_sum()
    warm = race(HERE, programs()[0], foreign)
    assert warm.winners == [foreign]
    assert start_of(warm, HERE)[0] == ("warm", FINALISTS)
    looked, evaluator = looking(HERE)
    (refitted,) = warm.ready(looked, 48, default_rng(0))
    assert operators(refitted) == operators(foreign) and refitted.form != foreign.form
    assert score(evaluator, refitted) > score(evaluator, foreign) + 0.1
    assert warm.ready(looked, 48, default_rng(0)) == []


def test_a_program_that_recipes_match_does_not_win_and_the_search_is_a_cold_one():
    known = programs()[1:]
    warm = race(discs(5), *known)
    assert set(warm.scores) == {program.form for program in known} and warm.winners == []
    assert start_of(warm, HERE) == COLD


def test_the_best_are_judged_on_images_that_curves_were_not_fitted_to():
    # Whether red or green marks the discs changes from one image to the next: half of the images teach the contrary.
    mixed = [item if i % 2 else inverted([item])[0] for i, item in enumerate(HERE)]
    foreign = foreign_sum()
    honest = race(mixed, foreign).held_out[foreign.form]
    looked, evaluator = looking(mixed)
    (fitted,) = FeatureBank(looked.sample_pixels).refit([foreign])
    assert honest < score(evaluator, fitted) - 0.1


def test_two_offers_that_become_one_are_proposed_once_and_both_have_their_score():
    siblings = [summed_on(images, "R", "G", "B") for images in (HERE[:2], inverted(HERE))]
    assert siblings[0].form != siblings[1].form
    warm = race(HERE, *siblings)
    assert set(warm.scores) == set(warm.held_out) == {program.form for program in siblings}
    assert len(warm.ready(looking(HERE)[0], 48, default_rng(0))) == 1


def test_planes_of_winners_are_known_to_sums_once_these_were_asked_for():
    warm = race(HERE, foreign_sum(), programs()[0])
    looked, _ = looking(HERE)
    shares = Strategy(warm).proposers(make_vocabulary(looked.stats), looked.stats, Kind.MASK)
    (fuse,) = (share.proposer for share in shares if share.proposer.name == "fuse")
    assert warm.planes() == []
    (refitted,) = warm.ready(looked, 48, default_rng(0))
    total = refitted.until(len(refitted) - 2)
    assert total in warm.planes() and all(len(plane) > 1 for plane in warm.planes())
    made = fuse.ready(looked, 24, default_rng(1))
    assert any(total == p.until(i) for p in made for i in range(len(p)))


def blurs(n: int) -> list[Pipeline]:
    """Return so many programs that differ in one step."""
    return [read_text(f"def pipeline(image):\n a = channel(image, index=0)\n b = gaussian(a, sigma={s}.0)\n"
                      " return threshold(b, level=9)") for s in range(5, 5 + n)]  # fmt: skip


def test_no_more_take_part_than_there_is_time_for_by_the_cost_model():
    three = blurs(3)
    # Each step counts three times on two images of 2,928 pixels; the channel, which they share, once only.
    first = 3 * three[0].cost * 2 * 2928e-9
    both = first + 3 * (three[1].cost - three[1].until(0).cost) * 2 * 2928e-9
    for seconds, n in (
        (None, 3),
        (60.0, 3),
        (both / WORK * 1.01, 2),
        (both / WORK * 0.99, 1),
        (first / WORK * 0.99, 0),
    ):
        assert len(race(discs(), *three, seconds=seconds).scores) == n


def test_a_race_that_is_cut_short_has_no_winners_or_the_same():
    foreign = foreign_sum()
    complete = []

    def asked_often(n: int) -> Callable[[], bool]:
        calls = iter(range(n))
        return lambda: next(calls, None) is None

    for n in (0, 1, 2, 4, 8, 16, 32, 64, 128, 1000):
        warm = race(HERE, foreign, late=asked_often(n))
        assert warm.winners in ([], [foreign])
        complete.append(bool(warm.winners))
    assert complete == sorted(complete) and complete[-1] and not complete[0]


def test_there_are_as_many_finalists_as_a_budget_of_evaluations_allows():
    foreign = foreign_sum()
    assert race(HERE, foreign, most=0).scores == {}
    assert race(HERE, foreign, programs()[0], most=1).winners == [foreign]


def test_no_more_than_a_fixed_number_take_part():
    assert len(race(discs(), *blurs(OFFERED + 2)).scores) == OFFERED


def test_the_first_images_show_both_classes_and_without_such_there_is_no_race():
    foreign = foreign_sum()
    ground = [np.full_like(item["image"], 90) for item in HERE]
    blank = [{"image": image, "mask": np.zeros(image.shape[:2], bool)} for image in ground]
    assert race(blank, foreign).scores == {}
    assert race([blank[0], *HERE, blank[1]], foreign).winners == [foreign]


def test_without_offers_it_is_silent():
    warm = WarmStart([])
    assert not warm.offered and warm.ready(looking(HERE)[0], 48, default_rng(0)) == []


def test_a_program_lives_on_in_what_is_built_of_its_last_plane():
    longer = read_text(
        """
def pipeline(image):
    a = channel(image, index=1)
    b = gaussian(a, sigma=3.0)
    c = flatten(b, sigma=10.0)
    d = median(c, radius=2)
    return threshold(d, level=70)
"""
    )
    assert contributed_to(LONG, longer) and contributed_to(LONG, LONG)
    summed = Pipeline([*LONG.until(2).steps, step("plane", IMAGE, channel="R"), step("gaussian", 3, sigma=9.0),
                       step("add_curves", 2, 4), step("threshold", 5)])  # fmt: skip
    assert contributed_to(LONG, summed)
    assert not contributed_to(programs()[0], LONG) and not contributed_to(programs()[2], LONG)


def test_a_program_lives_on_where_most_steps_are_its_own_though_its_last_plane_has_gone():
    offered = chain(LONG.until(2), [("median", {}), ("threshold", {})])
    assert contributed_to(offered, LONG.until(3)) and not contributed_to(
        offered, chain(LONG.until(1), [("threshold", {})])
    )


def searched(dataset: Path, folder: Path, warm: WarmStart, evaluations: int) -> Solution:
    opened_dataset, budget = Dataset(dataset), Budget(evaluations=evaluations)
    return solve(
        opened_dataset,
        split(opened_dataset),
        BinaryTask(),
        SearchSettings(budget, seed=4, workers=0),
        folder,
        Clock(budget),
        strategy=Strategy(warm),
    )


def test_a_search_begins_with_what_solved_the_task_before(tmp_path):
    dataset = draw_dataset("nuclei", tmp_path / "nuclei", 10, (60, 84), seed=3)
    cold = searched(dataset, tmp_path, WarmStart([]), 150)
    answer = cold.champion.scored.pipeline
    warm = WarmStart([offer(answer), *(offer(program) for program in programs())])
    again = searched(dataset, tmp_path, warm, 40)
    assert warm.winners[0] == answer
    # Its curves are fitted anew, in closed form.
    assert again.progress.best_score >= cold.champion.scored.score - 0.02
    # Recipes keep their places.
    assert {"classic", "warm"} <= {s.proposer for s in again.progress.population}


def test_the_only_search_image_races_with_its_copy(tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "nuclei", 1, (60, 84), seed=3)
    warm = WarmStart([offer(LONG)])
    searched(folder, tmp_path, warm, 20)
    assert set(warm.scores) == {LONG.form}


def test_a_search_in_which_nobody_wins_finds_what_a_cold_one_does(tmp_path):
    dataset = draw_dataset("nuclei", tmp_path / "nuclei", 8, (60, 84), seed=3)
    found = []
    for offered in ([], [offer(programs()[1])]):
        warm = WarmStart(offered)
        found.append(searched(dataset, tmp_path, warm, 60 + len(offered)).champion.scored.pipeline)
        assert len(warm.scores) == len(offered) and warm.winners == []
    assert found[0] == found[1]
