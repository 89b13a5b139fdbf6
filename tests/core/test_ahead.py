"""Work ahead: in order, side by side, and never far."""

from threading import Barrier

import pytest

from evoseg.core.disk import prefetch


def test_results_come_in_order_whoever_finishes_first():
    together = Barrier(2, timeout=30)

    def met(number: int) -> int:
        together.wait()  # passes only if two are worked on at a time
        return -number

    assert list(prefetch(met, range(8), threads=2)) == [0, -1, -2, -3, -4, -5, -6, -7]
    assert list(prefetch(met, [], threads=2)) == []


def test_no_more_is_begun_than_will_soon_be_needed():
    begun: list[int] = []
    results = prefetch(begun.append, range(100), threads=3)
    next(results)
    assert len(begun) <= 4
    results.close()


def test_an_error_comes_in_its_place():
    results = prefetch(lambda n: 6 // n, [2, 1, 0, 3], threads=2)
    assert (next(results), next(results)) == (3, 6)
    with pytest.raises(ZeroDivisionError):
        next(results)
