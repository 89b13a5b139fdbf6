"""Matched objects against counts worked out by hand."""

import numpy as np
import pytest

from evoseg.core.errors import SettingsError
from evoseg.metrics import find_metric
from evoseg.metrics.object_scores import N_COUNTS, OBJECT_METRICS, THRESHOLDS, ap, ap50, match_objects, pq


def row(*numbers: int) -> np.ndarray:
    return np.array([numbers], np.int32)


def blank(shape: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.zeros(shape, np.int32)


def test_counts_of_three_objects_are_those_worked_out_by_hand():
    truth = row(1, 1, 1, 1, 0, 2, 2, 0, 3, 3)
    answer = row(0, 5, 5, 5, 0, 9, 0, 7, 0, 0)
    # 5 against 1: 3 of 4 pixels, IoU 0.75. 9 against 2: 1 of 2, IoU 0.5. 7 is false, 3 is missed.
    counts = match_objects(answer, truth)
    assert counts[:10].tolist() == [2, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert counts[10:].tolist() == [1, 0.75, 3, 3]
    assert ap50(counts) == pytest.approx(2 / (3 + 3 - 2))
    assert ap(counts) == pytest.approx((2 / 4 + 5 * 1 / 5) / 10)
    assert pq(counts) == pytest.approx(0.75 / (1 + 2 / 2 + 2 / 2))


def test_an_answer_that_joins_two_objects_finds_neither():
    truth, answer = row(1, 1, 1, 0, 2, 2, 2), row(1, 1, 1, 1, 1, 1, 1)
    assert ap50(match_objects(answer, truth)) == 0


def test_two_halves_of_one_object_are_one_match_at_most():
    truth, answer = row(1, 1, 1, 1), row(1, 1, 2, 2)
    counts = match_objects(answer, truth)
    assert counts[0] == 1 and counts[1] == 0
    assert ap50(counts) == 1 / 2
    assert ap50(match_objects(truth, answer)) == 1 / 2


def test_numbers_do_not_matter_only_which_pixels_share_one():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 5, (20, 31)).astype(np.int32)
    again = np.array([0, 30, 2, 17, 9], np.int32)[truth]
    counts = match_objects(again, truth)
    assert counts.tolist() == [4] * 10 + [4, 4, 4, 4]
    assert {name: float(m.score(counts)) for name, m in OBJECT_METRICS.items()} == dict.fromkeys(OBJECT_METRICS, 1)


def test_an_object_of_several_pieces_is_one():
    truth = row(1, 0, 1, 0, 1, 2)
    assert ap50(match_objects(truth, truth)) == 1
    assert match_objects(truth, truth)[-1] == 2


@pytest.mark.parametrize("score", [m.score for m in OBJECT_METRICS.values()], ids=list(OBJECT_METRICS))
def test_empty_answers_score_1_on_empty_truths_and_0_on_others(score):
    full = blank()
    full[1:3, 1:4] = 1
    assert score(match_objects(blank(), blank())) == 1
    assert score(match_objects(blank(), full)) == 0
    assert score(match_objects(full, blank())) == 0


def test_unknown_pixels_count_nowhere():
    truth, answer = row(1, 1, 0, 0, 2, 2), row(1, 1, 1, 1, 0, 3)
    known = np.array([[1, 1, 0, 0, 0, 0]], bool)
    counts = match_objects(answer, truth, known)
    # Object 1 fits where it is known. Object 3 lies outside, and so does the truth's 2.
    assert counts[0] == 1 and counts[-2:].tolist() == [1, 1]
    # Half inside still counts; less does not.
    assert match_objects(row(1, 1, 1, 1, 1, 0), row(0, 0, 0, 0, 0, 0), known)[-2] == 0


def test_a_perfect_answer_is_perfect_wherever_pixels_are_unknown():
    truth = row(0, 1, 1, 1, 1, 1, 0, 2, 2)
    known = np.array([[1, 1, 1, 0, 0, 0, 0, 1, 1]], bool)
    counts = match_objects(truth, truth, known)
    assert counts[0] == 2 and counts[-2:].tolist() == [2, 2] and ap50(counts) == 1


def test_counts_of_two_parts_add_up():
    rng = np.random.default_rng(5)
    truth, answer = (np.kron(rng.integers(0, 9, (4, 5)), np.ones((3, 3), int)).astype(np.int32) for _ in range(2))
    moved = np.where(truth > 0, truth + 9, 0).astype(np.int32)
    shifted = np.where(answer > 0, answer + 9, 0).astype(np.int32)
    both = match_objects(np.hstack([answer, shifted]), np.hstack([truth, moved]))
    np.testing.assert_allclose(both, 2 * match_objects(answer, truth))


def test_scores_take_stacks_of_counts():
    stack = np.zeros((2, 3, N_COUNTS))
    stack[..., -1] = 1
    for known in OBJECT_METRICS.values():
        assert known.score(stack).shape == (2, 3)
        assert not known.score(stack).any()


def test_thresholds_are_those_of_the_literature():
    assert THRESHOLDS.tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_an_unknown_metric_is_refused():
    with pytest.raises(SettingsError, match="did you mean ap50 or ap"):
        find_metric("ap5", OBJECT_METRICS)
