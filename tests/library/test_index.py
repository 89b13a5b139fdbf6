"""The index finds the nearest vectors, whoever wrote them."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.library.index import SHORT, VectorIndex
from evoseg.library.likeness import Norm

DIM = 12


def norm(dim: int = DIM) -> Norm:
    return Norm(np.zeros(dim, np.float32), 0.0, 1.0)


def vectors(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    drawn = default_rng(seed).normal(size=(n, dim)).astype("<f4")
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


QUERY = vectors(1, seed=99)[0]
ROWS = [(number, vector.tobytes()) for number, vector in enumerate(vectors(60), 10)]


def test_the_nearest_are_found_best_first():
    found = VectorIndex(ROWS, norm()).nearest(QUERY, 5)
    scores = {number: float(np.frombuffer(vector, "<f4") @ QUERY) for number, vector in ROWS}
    assert found == sorted(scores, key=lambda n: -scores[n])[:5]


def test_what_all_have_in_common_is_not_compared():
    common = np.array([10.0, 0.0, 0.0], np.float32)
    rows = [(1, common + [1, 3, 0]), (2, common * 2 + [0, 1, 0])]
    index = VectorIndex([(n, v.astype("<f4").tobytes()) for n, v in rows], Norm(common, 0.0, 1.0))
    assert index.nearest(np.array([10.0, 2.0, 0.0], np.float32), 1) == [1]


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_long_vectors_are_found_though_they_are_shortened(noise):
    dim = 10 * SHORT
    drawn = vectors(2000, dim=dim)
    query = drawn[700] + noise * vectors(1, seed=5, dim=dim)[0]
    index = VectorIndex([(n, v.tobytes()) for n, v in enumerate(drawn)], norm(dim))
    assert index.nearest(query.astype(np.float32), 10)[0] == 700


def test_more_than_there_is_gives_all():
    assert len(VectorIndex(ROWS, norm()).nearest(QUERY, 1000)) == 60
    assert VectorIndex([], norm()).nearest(QUERY, 3) == []


def test_of_equal_vectors_the_oldest_comes_first():
    same = [(number, QUERY.tobytes()) for number in (7, 3, 5)]
    assert VectorIndex(same, norm()).nearest(QUERY, 3) == [3, 5, 7]


def test_a_third_partys_vector_of_another_length_is_never_compared():
    index = VectorIndex([*ROWS, (99, b"\0" * 20)], norm())
    assert len(index) == 60 and 99 not in index.nearest(QUERY, 100)
