"""The index is a cache: whatever happens to its file, the answers are those of the database."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.library.index import LEAST_TAIL, VectorIndex
from evoseg.store.library import LibraryStore, TaskRow

DIM = 12


def vectors(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    drawn = default_rng(seed).normal(size=(n, dim)).astype("<f4")
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def rows(matrix: np.ndarray, prefix: str = "t") -> list[TaskRow]:
    return [TaskRow(f"{prefix}{i}", "t", "{}", "", {"d": v.tobytes()}) for i, v in enumerate(matrix)]


@pytest.fixture
def store(tmp_path) -> LibraryStore:
    made = LibraryStore(tmp_path / "library.db")
    made.add(rows(vectors(60)))
    return made


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cache" / "d.index"


def by_hand(store: LibraryStore, query: np.ndarray, k: int = 5) -> list[int]:
    _, found = store.vectors("d")
    scores = {n: float(np.frombuffer(v, "<f4") @ query) for n, v in found if len(v) == query.nbytes}
    return sorted(scores, key=lambda n: -scores[n])[:k]


def answers(index: VectorIndex, query: np.ndarray, k: int = 5) -> list[int]:
    return [number for number, _ in index.nearest(query, k)]


QUERY = vectors(1, seed=99)[0]


def test_the_nearest_are_found_best_first(store, path):
    found = VectorIndex(store, "d", DIM, path).nearest(QUERY, 5)
    assert [n for n, _ in found] == by_hand(store, QUERY)
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)


def test_more_than_there_is_gives_all(store):
    assert len(VectorIndex(store, "d", DIM, None).nearest(QUERY, 1000)) == 60
    assert VectorIndex(store, "other", DIM, None).nearest(QUERY, 3) == []


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"x",
        lambda data: b"something else" * 100,
        *(lambda data, at=at: flip(data, at) for at in (0, 9, 25, 33, 41, 49, 60, 100, 700, -1)),
    ],
)
def test_a_damaged_file_is_made_anew_with_the_same_answer(store, path, damage: Callable[[bytes], bytes]):
    VectorIndex(store, "d", DIM, path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert answers(VectorIndex(store, "d", DIM, path), QUERY) == by_hand(store, QUERY)
    assert answers(VectorIndex(store, "d", DIM, path), QUERY) == by_hand(store, QUERY)


def test_a_missing_file_is_made_anew(store, path):
    VectorIndex(store, "d", DIM, path)
    whole = path.read_bytes()
    path.unlink()
    assert answers(VectorIndex(store, "d", DIM, path), QUERY) == by_hand(store, QUERY)
    assert path.read_bytes() == whole


def test_a_file_of_another_dimension_is_made_anew(store, path, tmp_path):
    other = LibraryStore(tmp_path / "other.db")
    other.add(rows(vectors(60, dim=7)))
    VectorIndex(other, "d", 7, path)
    assert answers(VectorIndex(store, "d", DIM, path), QUERY) == by_hand(store, QUERY)


def test_a_stale_file_is_made_anew(store, path):
    VectorIndex(store, "d", DIM, path)
    store.remove("t3")
    store.remove(f"t{by_hand(store, QUERY)[0] - 1}")
    assert answers(VectorIndex(store, "d", DIM, path), QUERY) == by_hand(store, QUERY)


def test_adding_does_not_write_the_index_again(store, path):
    VectorIndex(store, "d", DIM, path)
    before = path.read_bytes(), os.stat(path).st_mtime_ns
    store.add(rows(np.concatenate([QUERY[None], vectors(20, seed=5)]), "new"))
    index = VectorIndex(store, "d", DIM, path)
    assert len(index) == 81 and answers(index, QUERY) == by_hand(store, QUERY)
    assert (path.read_bytes(), os.stat(path).st_mtime_ns) == before


def test_a_long_tail_is_taken_in(store, path):
    VectorIndex(store, "d", DIM, path)
    before = path.stat().st_size
    store.add(rows(vectors(LEAST_TAIL + 1, seed=6), "new"))
    assert answers(VectorIndex(store, "d", DIM, path), QUERY) == by_hand(store, QUERY)
    assert path.stat().st_size > before


def test_a_strangers_vector_of_another_length_is_never_compared(store, path):
    store.add([TaskRow("odd", "t", "{}", "", {"d": b"\0" * 20})])
    for _ in range(2):
        index = VectorIndex(store, "d", DIM, path)
        assert len(index) == 60 and answers(index, QUERY) == by_hand(store, QUERY)


def test_a_folder_that_cannot_be_written_to_is_done_without(store, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    index = VectorIndex(store, "d", DIM, tmp_path / "cache" / "d.index")
    assert answers(index, QUERY) == by_hand(store, QUERY)
