"""Votes: one program that marks what two of three mark, chosen among all triples of the leading structures."""

from itertools import combinations

import numpy as np

from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.evaluator import Evaluator
from evoseg.evolve.finalists import VOTE, VOTE_GAIN, Finalist, champion
from evoseg.evolve.jobs import InProcess
from evoseg.evolve.ports import Scored
from evoseg.evolve.selection import assured, leading
from evoseg.evolve.voting import CANDIDATES, best_vote, vote_of
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import BrightnessTask, discs, sizes

ITEMS = discs(4, shape=(40, 51))
NAMES = ["gaussian", "median", "box", "open", "close", "erode", "dilate", "sharpen", "equalise", "gamma", "clahe"]


def chain(name: str, level: int) -> Pipeline:
    return Pipeline([step("channel", IMAGE), step(name, 0), step("level", 1, level=level)])


def evaluator() -> Evaluator:
    return Evaluator(BinaryTask(), InProcess(BinaryTask(), ITEMS, 1 << 27), sizes(ITEMS))


def scored(programs: list[Pipeline]) -> list[Scored]:
    found = [s for s in evaluator().evaluate(programs) if isinstance(s, Scored)]
    return sorted(found, key=lambda s: -s.score)


def test_a_vote_marks_what_two_of_three_mark():
    three = [chain("gaussian", 90), chain("erode", 120), chain("dilate", 150)]
    image = ITEMS[0]["image"]
    masks = np.stack([program(image) for program in three])
    assert np.array_equal(vote_of(*three)(image), masks.sum(axis=0) >= 2)
    assert 0 < vote_of(*three)(image).mean() < 1


def test_shared_steps_of_the_voters_stand_once():
    program = vote_of(chain("gaussian", 90), chain("gaussian", 120), chain("gaussian", 150))
    assert [s.operator for s in program.steps].count("gaussian") == 1


def test_the_best_of_all_triples_is_found():
    best = scored([chain(name, 100 + 5 * i) for i, name in enumerate(NAMES[:6])])
    found = best_vote(best, evaluator(), BinaryTask(), lambda: False)
    assert found is not None
    triples = [vote_of(*(s.pipeline for s in three)) for three in combinations(best, 3)]
    statistics = [s for s in evaluator().judge(triples) if isinstance(s, np.ndarray)]
    assert found.score == BinaryTask().score(max(statistics, key=lambda s: assured(BinaryTask().score(s)))).mean()
    assert found.proposer == VOTE
    assert (found.left_out <= found.scores).all()


def test_leading_candidates_are_distinct_structures_and_few():
    best = scored([chain(name, level) for name in NAMES for level in (90, 110)])
    chosen = leading(best, CANDIDATES)
    assert len(chosen) == CANDIDATES
    assert len({s.pipeline.steps[1].operator for s in chosen}) == CANDIDATES
    assert chosen[0] is best[0]


def test_there_is_no_vote_without_time_without_voters_or_without_masks():
    best = scored([chain(name, 110) for name in NAMES[:4]])
    assert best_vote(best, evaluator(), BinaryTask(), lambda: True) is None
    assert best_vote(best[:2], evaluator(), BinaryTask(), lambda: False) is None
    assert best_vote(best, evaluator(), BrightnessTask(), lambda: False) is None


def test_a_vote_stays_within_the_highest_cost():
    best = scored([chain(name, 110) for name in NAMES[:4]])
    every = [vote_of(*(s.pipeline for s in three)).cost for three in combinations(best, 3)]
    limit = sorted(every)[1]
    found = best_vote(best, evaluator(), BinaryTask(), lambda: False, limit)
    assert found is not None
    assert found.pipeline.cost <= limit
    assert best_vote(best, evaluator(), BinaryTask(), lambda: False, min(every) / 2) is None


def test_a_vote_wins_by_a_clear_gain_only():
    one = Scored(chain("gaussian", 90), np.zeros((2, 4)), np.array([0.6, 0.6]), np.array([0.6, 0.6]))
    three = Scored(chain("median", 90), np.ones((2, 4)), np.array([0.7, 0.7]), np.array([0.7, 0.7]), VOTE)
    single = Finalist(one, np.array([0.6, 0.6]), "evolved")
    just = Finalist(three, np.array([0.6, 0.6]) + VOTE_GAIN / 2, "evolved")
    clear = Finalist(three, np.array([0.6, 0.6]) + VOTE_GAIN * 2, "evolved")
    assert champion([single, just]) is single
    assert champion([single, clear]) is clear
