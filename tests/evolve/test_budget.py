"""Budgets: refused when they are none, and spent exactly."""

import math

import pytest

from evoseg.core.errors import SettingsError
from evoseg.evolve.budget import Budget, Clock


@pytest.mark.parametrize(
    "limits",
    [
        {"seconds": 0},
        {"seconds": -1.0},
        {"seconds": math.nan},
        {"evaluations": 0},
        {"evaluations": -5},
        {"seconds": 5, "evaluations": 0},
    ],
)
def test_limits_that_are_not_positive_are_refused(limits):
    with pytest.raises(SettingsError, match="must be positive"):
        Budget(**limits)


@pytest.mark.parametrize("limits", [{}, {"target_score": 0.9}])
def test_a_budget_without_an_end_is_refused(limits):
    with pytest.raises(SettingsError, match="needs a budget"):
        Budget(**limits)


def test_evaluations_end_a_search():
    clock = Clock(Budget(evaluations=100))
    assert clock.reason(99, 1.0) is None
    assert clock.reason(100, 0.0) == "evaluations"
    assert (clock.evaluations_left(99), clock.evaluations_left(101)) == (1, 0)
    assert not clock.late()


def test_a_target_ends_a_search_before_its_evaluations_do():
    clock = Clock(Budget(evaluations=100, target_score=0.8))
    assert clock.reason(5, 0.79) is None
    assert clock.reason(5, 0.8) == "target-score"


def test_time_ends_a_search_with_a_reserve():
    assert Clock(Budget(seconds=1000.0), reserve_s=1000.0).reason(0, 0.0) == "seconds"
    assert Clock(Budget(seconds=1000.0)).reason(10**9, 1.0) is None
    assert Clock(Budget(seconds=1000.0)).evaluations_left(10**9) is None


def test_whoever_asks_for_the_end_gets_it_at_once():
    clock = Clock(Budget(evaluations=100, target_score=0.1))
    clock.stop()
    assert clock.late()
    assert clock.reason(100, 0.9) == "interrupt"


@pytest.mark.parametrize(("evaluations", "share", "left"), [(1, 0.25, 1), (2, 0.25, 1), (100, 0.25, 25)])
def test_a_share_of_few_evaluations_is_at_least_one(evaluations, share, left):
    clock = Clock(Budget(seconds=60, evaluations=evaluations))
    with clock.part(0.1, share):
        assert clock.evaluations_left(0) == left
    assert clock.evaluations_left(0) == evaluations
