"""Which answers are shown, without masks."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.library.retrieval import ScaledPipeline
from evoseg.library.reuse import Guess, choose, middle_of, pairwise_iou, try_all
from evoseg.library.unlabelled import Candidate
from tests.library.helpers import task
from tests.library.test_unlabelled import spots


@pytest.fixture(scope="module")
def found():
    sources = [task("one", 1, texts=(0,), channels=1), task("two", 2, texts=(1,), channels=1)]
    return list(try_all(spots(), sources, Kind.MASK))


def stored(name: str, seed: int) -> Candidate:
    source = task(name, seed, texts=(0,), channels=1)
    return Candidate(ScaledPipeline(source, source.pipelines[0], 1.0), "stored", source.pipelines[0].pipeline)


PLATES = stored("plates", 1)


def chosen(guesses: list[Guess], k: int, **alike: float) -> list[tuple[Guess, float]]:
    tasks = {one.candidate.scaled.task for one in guesses}
    return choose(guesses, k, {one: alike.get(one.name, 0.0) for one in tasks})


def guess(bits: list[int], outline: float = 1.0, candidate: Candidate = PLATES) -> Guess:
    return Guess(candidate, outline, float(np.mean(bits)), np.array(bits, bool))


def test_equal_answers_occur_once(found):
    assert len({tuple(mask.tobytes() for mask in masks) for _, masks in found}) == len(found) > 5


def test_guesses_say_what_they_mark(found):
    for one, masks in found:
        assert one.share == pytest.approx(np.mean([mask.mean() for mask in masks]))
        assert one.sampled.mean() == pytest.approx(one.share, abs=0.02)


def test_overlaps_are_those_worked_out_by_hand():
    sampled = [np.array(bits, bool) for bits in ([1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0])]
    expected = [[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(pairwise_iou(sampled), expected)


def test_the_first_agrees_best_and_the_next_covers_what_is_left():
    guesses = [guess([1, 1, 0, 0]), guess([1, 1, 1, 0]), guess([1, 1, 0, 0]), guess([0, 0, 0, 1])]
    first, second = chosen(guesses, 2)
    assert first[0] is guesses[0] and first[1] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert second[0] is guesses[3]


def test_sharp_outlines_count_more():
    guesses = [guess([1, 1, 0, 0]), guess([1, 1, 1, 0]), guess([0, 0, 0, 1], outline=3.0)]
    assert chosen(guesses, 1)[0][0] is guesses[2]  # 5.2 of 7.2


def test_the_first_place_belongs_to_a_like_task_where_its_guesses_agree():
    mine = stored("known", 2)
    like = [guess([0, 1, 0, 1], 0.1, mine), guess([0, 1, 1, 1], 0.1, mine), guess([0, 1, 1, 0], 0.1, mine)]
    guesses = [guess([1, 1, 0, 0]), guess([1, 1, 1, 0]), *like]
    assert chosen(guesses, 2)[0][0] is guesses[1]
    first, second = chosen(guesses, 2, known=0.9)
    assert first[0] is like[1]  # 1 + 2/3 + 2/3 against 1 + 2/3 + 1/3
    assert second[0] is guesses[0]


def test_fewer_guesses_than_wanted_are_all_chosen_once():
    guesses = [guess([1, 0]), guess([0, 1])]
    assert {id(one) for one, _ in chosen(guesses, 6)} == {id(one) for one in guesses}
    assert chosen([], 6) == []


def test_the_middle_of_an_image_keeps_its_truth_in_place():
    rng = default_rng(5)
    image = rng.integers(0, 255, (40, 60, 1)).astype(np.uint8)
    points = np.array([[1.0, 1.0], [20.0, 31.0]])
    cut = middle_of(Sample("a", image, image[:, :, 0] > 99, None, points=points), 600)
    assert cut.image.shape == (20, 30, 1)
    np.testing.assert_array_equal(cut.mask, cut.image[:, :, 0] > 99)
    np.testing.assert_array_equal(cut.points, [[10.0, 16.0]])
    assert cut.image[10, 16, 0] == image[20, 31, 0]
