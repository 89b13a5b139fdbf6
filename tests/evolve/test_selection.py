"""Selection: DEAP draws from our streams, and who lives on is a matter of scores, answers and cost."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.core.streams import stream
from evoseg.evolve.ports import Scored
from evoseg.evolve.selection import (
    Front,
    deap_random,
    distinct_answers,
    lower_confidence,
    penalised_score,
    select,
    survivors,
)
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step


def candidate(scores: list[float], n_steps: int = 2, answer: float | None = None) -> Scored:
    """Return a candidate of a certain length; its answer is its scores unless another is given."""
    program = Pipeline([step("channel", IMAGE), *(step("invert", i) for i in range(n_steps - 1))])
    values = np.array(scores, float)
    statistics = values[:, None] if answer is None else np.full((len(scores), 1), answer)
    return Scored(program, statistics, values, values)


MANY = [candidate(list(default_rng(i).random(6)), 2 + i % 5) for i in range(60)]


def test_selection_does_not_disturb_the_global_random_state():
    random.seed(11)
    np.random.seed(11)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    select(MANY, 20, default_rng(0))
    survivors(MANY, 20)
    Front().update(MANY)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_selection_does_not_depend_on_the_global_random_state():
    found = []
    for seed in (1, 2):
        random.seed(seed)
        found.append([id(s) for s in select(MANY, 20, stream(5, "x"))])
    assert found[0] == found[1]
    assert [id(s) for s in select(MANY, 20, stream(6, "x"))] != found[0]


def test_the_global_state_comes_back_after_an_error():
    before = random.getstate()
    with pytest.raises(ZeroDivisionError), deap_random(default_rng(0)):
        random.random() / 0
    assert random.getstate() == before


def test_a_specialist_becomes_a_parent_and_one_beaten_everywhere_does_not():
    specialist = candidate([0.0, 0.0, 0.0, 1.0])
    generalist = candidate([0.7, 0.7, 0.7, 0.7])
    others = [candidate([0.1 + i * 1e-3] * 4) for i in range(10)]
    chosen = [id(s) for s in select([*others, specialist, generalist], 300, default_rng(1))]
    assert chosen.count(id(specialist)) > 30
    assert chosen.count(id(generalist)) > 100
    assert not any(id(s) in chosen for s in others)


def test_among_equal_scores_the_shorter_is_worth_more():
    assert penalised_score(candidate([0.5], 2)) > penalised_score(candidate([0.5], 9))


def test_survivors_have_distinct_answers_and_keep_the_best():
    twins = [candidate([0.9, 0.9], n, answer=1.0) for n in (6, 2, 4)]
    kept = survivors([*twins, *MANY], 30)
    assert len(kept) == 30
    assert len({s.answer for s in kept}) == 30
    assert kept[0].pipeline == twins[1].pipeline  # of the twins, the shortest
    ranked = sorted(distinct_answers([*twins, *MANY]), key=penalised_score, reverse=True)
    assert {id(s) for s in ranked[:15]} <= {id(s) for s in kept}


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(1, 6)), max_size=25), st.integers(1, 12))
def test_survivors_are_never_more_than_asked_for_and_never_invented(pairs, size):
    candidates = [candidate([score], n, answer=score + 10 * n) for score, n in pairs]
    kept = survivors(candidates, size)
    assert len(kept) == min(size, len({s.answer for s in candidates}))
    assert {id(s) for s in kept} <= {id(s) for s in candidates}


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 6)), min_size=1, max_size=25))
def test_the_front_holds_whoever_no_other_beats(pairs):
    candidates = [candidate([score / 10], n, answer=i) for i, (score, n) in enumerate(pairs)]
    front = Front()
    for start in range(0, len(candidates), 7):
        front.update(candidates[start : start + 7])
    members = front.members
    assert members[0].score == max(s.score for s in candidates)
    assert [s.score for s in members] == sorted((s.score for s in members), reverse=True)
    for s in candidates:
        beaten = any(o.score >= s.score and len(o.pipeline) < len(s.pipeline) for o in candidates)
        beaten |= any(o.score > s.score and len(o.pipeline) <= len(s.pipeline) for o in candidates)
        assert any(s.answer == m.answer for m in members) != beaten


def test_the_assured_score_is_one_standard_error_below_the_mean():
    # Deviation of 0.4 and 0.8 about 0.6: the root of 2 * 0.04, divided by the root of 2.
    assert lower_confidence(np.array([0.4, 0.8])) == pytest.approx(0.6 - 0.2)
    assert lower_confidence(np.array([0.7, 0.7, 0.7])) == pytest.approx(0.7)
    assert lower_confidence(np.array([0.3])) == pytest.approx(0.3)
