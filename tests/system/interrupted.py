"""Runs cut short as a kill would cut them."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import evoseg
from tests.system.test_api import untimed

N = 70


def same(found: evoseg.SearchResult, whole: evoseg.SearchResult) -> bool:
    return untimed(found.to_json()) == untimed(whole.to_json())


def first_generation(run: Path) -> int:
    """Return the number of the journal's entry with the scores of the first generation."""
    with sqlite3.connect(run / "run.db") as connection:
        (number,) = connection.execute("SELECT MIN(number) FROM entry WHERE about = 'search.evaluate'").fetchone()
    connection.close()
    return int(number)


def cut(run: Path, entries: int) -> None:
    """Leave what a kill would leave that came when so many entries were written."""
    with sqlite3.connect(run / "run.db") as connection:
        connection.execute("DELETE FROM answer WHERE entry > ?", (entries,))
        connection.execute("DELETE FROM entry WHERE number > ?", (entries,))
        connection.execute("UPDATE run SET finished = NULL")
    connection.close()
    for name in ("pipeline.evo", "result.json", "test.png", "curve.svg", "report.html"):
        (run / name).unlink(missing_ok=True)


class Killed(BaseException):
    """Stands for the end of this process."""


STEPS = ("unlink", "rmdir", "mkdir", "replace")


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Let this process die, as far as its files can tell, where it would change a folder for the n-th time, from 0.

    After that, no clean-up changes any either, and the block ends quietly. With fewer steps, it runs to its end.
    """
    left = step

    def dying(act: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: object, **options: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            act(*arguments, **options)

        return counted

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for name in STEPS:
            patch.setattr(os, name, dying(getattr(os, name)))
        yield
