"""A warm start: whole programs first, parts only of those that beat the classics, and never too many."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import default_rng

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Dataset
from evoseg.data.splits import split
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.classics import chain
from evoseg.evolve.evaluator import Evaluator
from evoseg.evolve.growth import vocabulary
from evoseg.evolve.method import USUAL, usual_proposers
from evoseg.evolve.ports import Item, Scored, SearchView
from evoseg.evolve.solve import SearchSettings, Solution, solve
from evoseg.library.warm import (
    CLASSICS,
    FUSED,
    OPENING,
    PIECES,
    WHOLE,
    Offer,
    WarmStart,
    lives_on,
    pieces,
    with_warm_start,
)
from evoseg.pipeline import IMAGE, Pipeline, read_text
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, facts_of, no_probe
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


def offer(program: Pipeline) -> Offer:
    return Offer("id", "task", "best", program.form, 1.0, program)


def scored(program: Pipeline, score: float, proposer: str = "") -> Scored:
    scores = np.full(3, score)
    return Scored(program, np.zeros((3, 4)), scores, scores, proposer)


def looking(items: list[Item]) -> tuple[SearchView, Evaluator]:
    evaluator = evaluator_of(items)
    known = [v for v in evaluator.evaluate([START]) if isinstance(v, Scored)]
    return SearchView(known, known, lambda n, rng: known * n, facts_of(items), evaluator.probe), evaluator


def view(*population: Scored) -> SearchView:
    return SearchView(population, population, lambda n, rng: [], facts_of(discs()), no_probe)


def opened(warm: WarmStart, *scores: float) -> None:
    """Let the first generations pass; the offered programs get these scores."""
    rng = default_rng(0)
    whole = warm.ready(view(), 48, rng)
    warm.learn([scored(p, s) for p, s in zip(whole, scores, strict=True)])
    for _ in range(OPENING - 1):
        assert warm.ready(view(), 48, rng) == []
        warm.learn([])


def test_whole_programs_come_first_and_once():
    warm = WarmStart([offer(p) for p in (*programs(), *programs())])
    assert warm.ready(view(), 48, default_rng(0)) == programs()


def test_parts_follow_if_a_program_beats_the_classics():
    warm = WarmStart([offer(LONG)])
    opened(warm, 0.8)
    found = warm.ready(view(scored(programs()[0], 0.5, "classic")), 48, default_rng(0))
    assert found == pieces(LONG)
    assert [s.operator for s in found[0].steps] == ["channel", "gaussian", "flatten", "threshold"]


def test_parts_of_a_program_for_objects_give_objects():
    parted = chain(LONG, [("components", {})])
    assert [s.operator for s in pieces(parted)[0].steps][-2:] == ["threshold", "depth_watershed"]


def test_a_stranger_is_refitted_and_heard_under_the_form_that_was_offered():
    here = either_colour()
    stranger = summed_on(inverted(here), "R", "G", "B", "S")
    looked, evaluator = looking(here)
    warm = WarmStart([offer(stranger)])
    (refitted,) = warm.ready(looked, 48, default_rng(0))
    assert operators(refitted) == operators(stranger) and refitted.form != stranger.form
    warm.learn([v for v in evaluator.evaluate([refitted]) if v is not None])
    assert list(warm.heard) == [stranger.form]
    assert warm.heard[stranger.form].score > score(evaluator, stranger) + 0.1


def test_two_offers_that_become_one_are_proposed_once_and_both_heard():
    here = either_colour()
    siblings = [summed_on(images, "R", "G") for images in (here[:2], inverted(here))]
    assert siblings[0].form != siblings[1].form
    looked, evaluator = looking(here)
    warm = WarmStart([offer(program) for program in siblings])
    (refitted,) = warm.ready(looked, 48, default_rng(0))
    warm.learn([v for v in evaluator.evaluate([refitted]) if v is not None])
    assert set(warm.heard) == {program.form for program in siblings}


def test_its_planes_are_known_to_sums_once_it_was_asked():
    here = either_colour()
    looked, _ = looking(here)
    stranger = summed_on(inverted(here), "R", "G", "B", "S")
    warm = WarmStart([offer(stranger)])
    shares = with_warm_start(warm)(vocabulary(looked.facts), looked.facts, Kind.MASK)
    (fuse,) = (share.proposer for share in shares if share.proposer.name == "fuse")
    assert warm.planes() == []
    (refitted,) = warm.ready(looked, 48, default_rng(0))
    total = refitted.until(len(refitted) - 2)
    assert total in warm.planes() and all(len(plane) > 1 for plane in warm.planes())
    made = fuse.ready(looked, 24, default_rng(1))
    assert any(total == p.until(i) for p in made for i in range(len(p)))


def test_there_are_no_more_than_there_is_time_for():
    three = [read_text(f"def pipeline(image):\n a = channel(image, index=0)\n b = gaussian(a, sigma={s}.0)\n"
                       " return threshold(b, level=9)") for s in (5, 6, 7)]  # fmt: skip
    # Each step is reckoned with three times on three images of 2,928 pixels and a copy of each; the channel once only.
    first = 3 * three[0].cost * 2 * 3 * 2928e-9
    both = first + 3 * (three[1].cost - three[1].until(0).cost) * 2 * 3 * 2928e-9
    for seconds, n in ((None, 3), (60.0, 3), (both / 0.1 * 1.01, 2), (both / 0.1 * 0.99, 1), (first / 0.1 * 0.99, 0)):
        warm = WarmStart([offer(program) for program in three], seconds)
        assert len(warm.ready(view(), 48, default_rng(0))) == n


def test_beside_it_classics_have_fewer_places_but_the_first_and_without_it_nothing_changes():
    facts = facts_of(discs())
    words = vocabulary(facts)
    warm, cold = (with_warm_start(WarmStart(o))(words, facts, Kind.MASK) for o in ([offer(LONG)], []))
    usual = [(s.proposer.name, s.places) for s in usual_proposers(words, facts, Kind.MASK)]
    assert [(s.proposer.name, s.places) for s in cold] == usual
    changed = {"classic": CLASSICS, "fuse": FUSED}
    (_, *others) = [(name, changed.get(name, places)) for name, places in usual]
    assert [(s.proposer.name, s.places) for s in warm] == [("classic", CLASSICS), ("warm", WHOLE), *others]


def test_it_abstains_if_none_does():
    warm = WarmStart([offer(LONG)])
    opened(warm, 0.5)
    for _ in range(3):
        assert warm.ready(view(scored(programs()[0], 0.6, "classic")), 48, default_rng(0)) == []


def test_its_share_is_capped():
    many = [read_text(f"def pipeline(image):\n a = channel(image, index=0)\n b = gaussian(a, sigma={s}.0)\n"
                      " return threshold(b, level=9)") for s in range(1, 31)]  # fmt: skip
    warm = WarmStart([offer(p) for p in many])
    assert len(warm.ready(view(), 48, default_rng(0))) == WHOLE
    warm = WarmStart([offer(LONG), *(offer(p) for p in many[: WHOLE - 1])])
    opened(warm, 0.9, *np.linspace(0.6, 0.8, WHOLE - 1))
    assert len(warm.ready(view(), 48, default_rng(0))) <= PIECES


def test_without_offers_it_is_silent():
    warm = WarmStart([])
    opened(warm)
    assert warm.ready(view(), 48, default_rng(0)) == []


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
    assert lives_on(LONG, longer) and lives_on(LONG, LONG)
    summed = Pipeline([*LONG.until(2).steps, step("plane", IMAGE, channel="R"), step("gaussian", 3, sigma=9.0),
                       step("add_curves", 2, 4), step("threshold", 5)])  # fmt: skip
    assert lives_on(LONG, summed)
    assert not lives_on(programs()[0], LONG) and not lives_on(programs()[2], LONG)


def test_a_program_lives_on_where_most_steps_are_its_own_though_its_last_plane_has_gone():
    offered = chain(LONG.until(2), [("median", {}), ("threshold", {})])
    assert lives_on(offered, LONG.until(3)) and not lives_on(offered, chain(LONG.until(1), [("threshold", {})]))


def searched(dataset: Path, folder: Path, warm: WarmStart, evaluations: int) -> Solution:
    opened_dataset, budget = Dataset(dataset), Budget(evaluations=evaluations)
    return solve(
        opened_dataset,
        split(opened_dataset),
        BinaryTask(),
        SearchSettings(budget, seed=4, workers=0),
        folder,
        Clock(budget),
        method=replace(USUAL, proposers=with_warm_start(warm)),
    )


def test_a_search_begins_with_what_solved_the_task_before(tmp_path):
    from evoseg.data.scenes import draw_dataset

    dataset = draw_dataset("nuclei", tmp_path / "nuclei", 10, (60, 84), seed=3)
    cold = searched(dataset, tmp_path, WarmStart([]), 150)
    answer = cold.champion.scored.pipeline
    warm = WarmStart([offer(answer)])
    again = searched(dataset, tmp_path, warm, 20)
    # Its curves are fitted anew, in closed form.
    assert again.progress.best_score >= cold.champion.scored.score - 0.02
    assert warm.heard[answer.form].proposer == "warm"
    # The others keep their places.
    assert {"classic", "warm"} <= {s.proposer for s in again.progress.population}
