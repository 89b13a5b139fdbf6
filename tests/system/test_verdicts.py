"""The verdict: a paired comparison over the test images, against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

import evoseg
from evoseg.report.text import explain_verdict, headline, summarise_in_short
from evoseg.report.verdicts import BETTER, NOT_BETTER, TOO_FEW, WORSE, Comparison, compare, word_for


def by_stem(*scores: float) -> dict[str, float]:
    return {f"{i}": score for i, score in enumerate(scores)}


def test_the_interval_of_the_mean_difference_is_students_with_a_least_deviation():
    found = compare(by_stem(0.7, 0.6, 0.8, 0.7), by_stem(0.5, 0.5, 0.5, 0.5))
    # Differences 0.2, 0.1, 0.3, 0.2: s**2 = 0.02 / 3, t = 3.18 with 3 degrees of freedom.
    reach = 3.18 * (0.02 / 3 + 0.05**2) ** 0.5 / 2
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - reach, 0.2 + reach))
    assert word_for([found]) == BETTER
    assert word_for([found, compare(by_stem(0.5, 0.5, 0.5, 0.5), by_stem(0.7, 0.6, 0.8, 0.7))]) == WORSE


def test_three_equal_differences_are_no_certainty():
    # The least deviation 0.05 alone: 4.30 * 0.05 / sqrt(3) = 0.1241.
    small, large = (compare(by_stem(*[0.5 + d] * 3), by_stem(0.5, 0.5, 0.5)) for d in (0.12, 0.13))
    assert small is not None and large is not None
    assert (small.low, large.low) == pytest.approx((0.12 - 0.12413, 0.13 - 0.12413), abs=1e-5)
    assert word_for([small]) == NOT_BETTER
    assert word_for([large]) == BETTER
    assert word_for([large, small]) == NOT_BETTER
    tie = compare(by_stem(1, 1, 1), by_stem(1, 1, 1))
    assert tie is not None and tie.mean == 0 and word_for([tie]) == NOT_BETTER


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_test_images_tell_nothing(n):
    found = compare(by_stem(*[1.0] * n), by_stem(*[0.0] * n))
    assert found is None
    assert word_for([found]) == TOO_FEW
    assert word_for([]) == TOO_FEW


def test_only_images_that_both_have_scores_for_are_compared():
    assert compare(by_stem(0.9, 0.9, 0.9), {"0": 0.1, "1": 0.1, "other": 0.1}) is None
    found = compare(by_stem(0.9, 0.8, 0.7, 0.1), by_stem(0.5, 0.4, 0.3))
    assert found is not None and found.mean == pytest.approx(0.4)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_where_rare_failures_cancel_what_is_gained_it_is_seldom_called_better(n):
    rng = default_rng(20261128)
    said = []
    for _ in range(1000):
        differences = np.where(rng.random(n) < 0.05, -0.38, 0.02) + 0.01 * rng.normal(size=n)  # 0 in the mean
        said.append(word_for([compare(by_stem(*(0.5 + differences)), by_stem(*[0.5] * n))]))
    assert said.count(BETTER) <= 25  # 2.5 %; without a least deviation it would be 400 and more


def worded(found: evoseg.SearchResult, *scores: float, role: str = "evolved", **rivals: float) -> str:
    """Return what is said of a pipeline that scored so on the test images, and baselines that scored alike on all."""
    stems = list(by_stem(*scores))
    compared = {name: compare(by_stem(*scores), dict.fromkeys(stems, rival)) for name, rival in rivals.items()}
    return explain_verdict(
        replace(
            found,
            scores=found.scores | {"test": float(np.mean(scores)) if scores else None},
            test_per_image=by_stem(*scores),
            verdict=word_for(list(compared.values())),
            comparisons_test={name: c for name, c in compared.items() if c is not None},
            role=role,
        )
    )


def test_the_sentences_follow_from_the_word(found):
    assert worded(found, 0.8, 0.8, 0.8, classic=0.5, all=0.1).startswith(
        "Better than every baseline. On the 3 test images it scores 0.300 higher than the best "
        "classic recipe (+0.176 to +0.424), 0.700 higher than marking everything (+0.576 to +0.824); the brackets"
    )
    unsure = worded(found, 0.8, 0.8, 0.8, classic=0.788, all=0.1)
    assert unsure.startswith("Not significantly better than the best classic recipe. On")
    unsure = worded(found, 0.8, 0.8, 0.8, classic=0.788, all=0.788, nothing=0.788)
    assert "than the best classic recipe, marking everything or marking nothing. On" in unsure
    worse = worded(found, 0.5, 0.5, 0.5, classic=0.8, all=0.1)
    assert worse.startswith("Worse than the best classic recipe. ") and "0.300 lower than the best classic" in worse
    assert worded(found, 0.8, 0.9, classic=0.1).startswith("Too few test images to tell")
    assert "There is no test image" in worded(found)
    assert "is the best classic recipe" in worded(found, 0.8, 0.8, 0.8, role="classic", classic=0.8, all=0.1)


def test_wrong_pixels_are_told_beside_the_verdict_and_do_not_decide_it(found):
    said = worded(found, 0.4, 0.4, 0.4, classic=0.1, all=0.1)
    assert said.startswith("Better") and "The mean IoU is below 0.5" in said
    assert "below 0.5" not in worded(found, 0.6, 0.6, 0.6, classic=0.1, all=0.1)


def test_a_result_holds_what_its_verdict_can_be_worked_out_from(found):
    result = found.to_json()
    assert result["verdict"] == found.verdict
    assert result["good_enough"] is found.good_enough is (found.verdict == BETTER)
    per_image = result["baselines_test_per_image"]
    assert per_image.keys() == result["baselines_test"].keys()
    for name, scores in per_image.items():
        assert np.mean(list(scores.values())) == pytest.approx(result["baselines_test"][name])
        compared = compare(result["test_per_image"], scores)
        assert compared is not None
        assert result["comparisons_test"][name] == pytest.approx(vars(compared))
    assert word_for([Comparison(**c) for c in result["comparisons_test"].values()]) == found.verdict


def test_a_result_of_an_early_version_is_told_without_a_verdict(found):
    new = {"verdict", "baselines_test_per_image", "comparisons_test"}
    old = {key: value for key, value in found.to_json().items() if key not in new}
    again = evoseg.SearchResult.from_json(old)
    assert again.verdict is None and again.comparisons_test == {}
    assert "written by an early version" in explain_verdict(again)
    assert headline(again) in str(again)
    assert summarise_in_short(again, [])[1] == explain_verdict(again)
