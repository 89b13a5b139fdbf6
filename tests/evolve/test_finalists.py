"""Finalists: few, distinct, baselines always among them; the best on evidence is the champion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.core.kinds import Kind
from evoseg.evolve.finalists import MOST, Finalist, champion, cross_fit, leave_out, nominate, predict_score
from evoseg.evolve.ports import Item, Scored
from evoseg.evolve.proposers.classics import constants
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.structure import structure_of
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, stats_of
from tests.evolve.sums import either_colour, evaluator_of, summed_on


def chain(*names: str) -> Pipeline:
    return Pipeline([step("channel", IMAGE), *(step(name, i) for i, name in enumerate(names))])


def scored(pipeline: Pipeline, scores: list[float], answer: float | None = None, proposer: str = "vary") -> Scored:
    values = np.array(scores, float)
    statistics = values[:, None] if answer is None else np.full((len(scores), 1), answer)
    return Scored(pipeline, statistics, values, values, proposer)


CONSTANTS = [scored(p, [0.1], answer=-i) for i, p in enumerate(constants(stats_of(discs(1)), Kind.MASK))]
CLASSIC = scored(chain("median", "threshold"), [0.5], proposer="classic")
NAMES = ["gaussian", "median", "box", "open", "close", "erode", "dilate", "invert", "clahe", "gradient"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 3), st.floats(0, 1)), max_size=24))
def test_at_most_eight_distinct_ones_with_every_baseline(drawn):
    best = [scored(chain(*[name] * n, "threshold"), [score]) for name, n, score in drawn]
    best.sort(key=lambda s: -s.score)
    chosen = nominate(best, CONSTANTS, CLASSIC)
    assert len(chosen) <= MOST
    assert [role for _, role in chosen][:3] == ["constant", "constant", "classic"]
    assert {role for _, role in chosen[3:]} <= {"evolved"}
    assert len({s.answer for s, _ in chosen}) == len(chosen)
    evolved = [s for s, role in chosen if role == "evolved"]
    assert len({structure_of(s.pipeline) for s in evolved}) == len(evolved)
    assert [s.score for s in evolved] == sorted((s.score for s in evolved), reverse=True)


def test_the_best_evolved_candidate_is_always_nominated():
    best = [scored(chain(name, "threshold"), [0.9 - i / 100]) for i, name in enumerate(NAMES)]
    chosen = nominate(best, CONSTANTS, CLASSIC)
    assert best[0] in [s for s, _ in chosen]


def test_classics_that_are_not_the_best_classic_stay_out():
    other = scored(chain("gaussian", "threshold"), [0.4], proposer="classic")
    assert other not in [s for s, _ in nominate([other], CONSTANTS, CLASSIC)]


def test_tasks_without_constants_have_finalists_too():
    best = [scored(chain(name, "threshold"), [0.9 - i / 100]) for i, name in enumerate(NAMES)]
    assert len(nominate(best, [], None)) == MOST


def test_a_tuned_classic_may_win_over_the_classic_itself():
    tuned_program = Pipeline([step("channel", IMAGE), step("median", 0, radius=5), step("threshold", 1)])
    tuned = scored(tuned_program, [0.95], proposer="tune")
    chosen = nominate([tuned, scored(chain("box", "threshold"), [0.6])], CONSTANTS, CLASSIC)
    assert tuned in [s for s, _ in chosen]


def test_the_champion_is_the_best_on_selection_not_on_search():
    over = Finalist(scored(chain("median", "threshold"), [0.99]), np.array([0.5, 0.5]), "evolved")
    sound = Finalist(scored(chain("gaussian", "threshold"), [0.7]), np.array([0.7, 0.6]), "evolved")
    assert champion([over, sound]) is sound


def test_a_baseline_that_is_not_beaten_wins():
    classic = Finalist(scored(chain("median", "threshold"), [0.6]), np.array([0.7]), "classic")
    longer = Finalist(scored(chain(*["median"] * 9, "threshold"), [0.6]), np.array([0.7]), "evolved")
    assert champion([longer, classic]) is classic


def test_leaving_one_out_takes_numbers_from_the_other_images():
    # Two variants of one structure: one is best on the first image alone, one on the others.
    pipeline = chain("gaussian", "threshold")
    here = scored(pipeline, [0.9, 0.2, 0.2])
    tried = [
        (np.array([0.9, 0.2, 0.2]), np.array([0.85, 0.1, 0.1])),
        (np.array([0.1, 0.8, 0.8]), np.array([0.05, 0.7, 0.7])),
    ]
    found = leave_out(here, {structure_of(pipeline): tried})
    # Without image 0 the second variant is best, and gets 0.05 there; without 1 or 2 the first is, by 1.1 to 0.9.
    assert found.tolist() == [0.05, 0.1, 0.1]


def test_leaving_one_out_of_one_image_is_the_score_itself():
    one = scored(chain("gaussian", "threshold"), [0.6])
    assert leave_out(one, {}).tolist() == [0.6]


def test_leaving_one_out_without_variants_is_what_the_fit_says():
    pipeline = chain("gaussian", "threshold")
    s = Scored(pipeline, np.zeros((2, 1)), np.array([0.9, 0.8]), np.array([0.6, 0.5]))
    assert leave_out(s, {}).tolist() == [0.6, 0.5]


def test_seen_images_promise_a_standard_error_less():
    scores = np.array([0.5, 0.6, 0.7, 0.8])
    # Deviation 0.1291, with 0.05 in quadrature 0.1384; its standard error over four images 0.0692.
    seen = predict_score(scores, 4, searched=True)
    assert seen.score == pytest.approx(0.65 - 0.0692, abs=1e-4)
    # Student's factor for 3 degrees of freedom is 3.18; the difference of two means of four: root of a half.
    assert seen.high - seen.score == pytest.approx(3.18 * 0.1384 * 0.5**0.5, abs=1e-3)
    assert seen.score - seen.low == pytest.approx(1.75 * 3.18 * 0.1384 * 0.5**0.5, abs=2e-3)
    unseen = predict_score(scores, 4, searched=False)
    assert unseen.score == pytest.approx(0.65)
    assert unseen.high - unseen.score == pytest.approx(3.18 * 0.1384 * 0.5**0.5, abs=1e-3)
    assert unseen.score - unseen.low == pytest.approx(unseen.high - unseen.score)


def test_a_promise_is_a_score_and_surer_with_more_images():
    assert predict_score(np.array([0.02]), 5, searched=True).low == 0
    few, many = (predict_score(np.tile([0.4, 0.6], n), 10, searched=True) for n in (2, 40))
    assert many.high - many.low < few.high - few.low
    assert few.score < many.score < 0.5
    assert all(0 <= p.low <= p.score <= p.high <= 1 for p in (few, many))
    below = predict_score(np.array([-3.0, -2.0]), 5, searched=False)
    assert below.score == -2.5 and below.low < -3 and below.high > -2


def by_heart() -> list[Item]:
    """Draw images whose foreground has a level of its own in each, and whose ground has another."""
    items: list[Item] = []
    for k in range(3):
        mask = np.zeros((40, 50), bool)
        mask[8:30, 10 + k : 25] = True
        levels = np.where(mask, 40 + 80 * k, 80 + 80 * k)
        items.append({"image": np.repeat(levels[..., None], 3, axis=2).astype(np.uint8), "mask": mask})
    return items


def test_curves_that_learn_images_by_heart_are_found_out():
    """A curve tells all three apart, but what it learns of two says nothing of the third."""
    items = by_heart()
    evaluator = evaluator_of(items)
    learned = summed_on(items, "R", "V")
    plain = Pipeline([step("plane", IMAGE, channel="R"), step("threshold", 0, level=99)])
    found = [v for v in evaluator.evaluate([learned, plain]) if isinstance(v, Scored)]
    by_curves, by_level = (cross_fit(s, s.left_out, evaluator, 1) for s in found)
    assert found[0].left_out.min() > 0.7
    assert by_curves.mean() < 0.5
    # Where there is no curve, nothing is fitted anew.
    assert (by_level == found[1].left_out).all()


def test_curves_that_hold_on_other_images_are_believed():
    items = either_colour(6)
    evaluator = evaluator_of(items)
    (found,) = (v for v in evaluator.evaluate([summed_on(items, "R", "G", "B", "S")]) if isinstance(v, Scored))
    across = cross_fit(found, found.left_out, evaluator, 1)
    assert abs(across.mean() - found.left_out.mean()) < 0.05


def test_where_time_is_short_many_are_left_out_together_or_none():
    items = either_colour(6)
    evaluator = evaluator_of(items)
    (found,) = (v for v in evaluator.evaluate([summed_on(items, "R", "G")]) if isinstance(v, Scored))
    once_s = found.pipeline.cost * 1e-9
    alone, by_threes, none = (cross_fit(found, found.left_out, evaluator, 1, n * once_s * 1.01) for n in (6, 3, 2))
    assert (alone == cross_fit(found, found.left_out, evaluator, 1)).all()
    assert (alone != by_threes).any()
    assert (none == found.left_out).all()


def test_curves_are_fitted_without_the_whole_unit_of_an_image():
    """Each of three images is there twice: without one of a pair, the other still tells its level."""
    items = [*by_heart(), *by_heart()]
    evaluator = evaluator_of(items)
    (found,) = (v for v in evaluator.evaluate([summed_on(items, "R", "V")]) if isinstance(v, Scored))
    alone = cross_fit(found, found.left_out, evaluator, 1)
    in_pairs = cross_fit(found, found.left_out, evaluator, 1, units=np.array([0, 1, 2, 0, 1, 2]))
    assert alone.mean() > 0.7 and in_pairs.mean() < 0.5
    # Two units are two folds, however many images there are.
    in_two = cross_fit(found, found.left_out, evaluator, 1, units=np.array([0, 0, 1, 0, 0, 1]))
    assert (in_two != found.left_out).any()


def test_two_images_are_too_few_to_leave_any_out():
    items = either_colour(2)
    evaluator = evaluator_of(items)
    (found,) = (v for v in evaluator.evaluate([summed_on(items, "R", "G")]) if isinstance(v, Scored))
    across = cross_fit(found, found.left_out, evaluator, 1)
    assert (across == found.left_out).all()
