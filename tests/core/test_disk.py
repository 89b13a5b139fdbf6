"""Files appear whole or not at all, and are read ahead in order."""

import os
from pathlib import Path
from threading import Barrier

import pytest

from evoseg.core.disk import expand, prefetch, write_atomically
from evoseg.core.errors import SettingsError


def test_a_file_takes_its_place_when_it_is_complete_with_the_rights_of_any_new_file(tmp_path):
    path, plain = tmp_path / "answer", tmp_path / "plain"
    path.write_bytes(b"old")
    plain.write_bytes(b"")
    with write_atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.stat(path).st_mode == os.stat(plain).st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answer", "plain"]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "answer"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with write_atomically(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["answer"]


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


def test_a_tilde_stands_for_a_home_folder_or_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand("~/a b") == tmp_path / "a b" and expand(Path("c/~")) == Path("c/~")
    with pytest.raises(SettingsError, match=r"~nobody-here/x: ~nobody-here stands .* \./~nobody-here/x"):
        expand("~nobody-here/x")
