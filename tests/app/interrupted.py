"""Runs cut short as a kill would cut them."""

import sqlite3
from pathlib import Path

import evoseg
from tests.app.test_api import untimed

N = 70
BROKEN = 6
"""Entries of a broken run's journal: a generation, after what refitting the library's programs has asked for."""


def same(found: evoseg.Found, whole: evoseg.Found) -> bool:
    return untimed(found.result) == untimed(whole.result)


def cut(run: Path, entries: int) -> None:
    """Leave what a kill would leave that came when so many entries were written."""
    with sqlite3.connect(run / "run.db") as connection:
        connection.execute("DELETE FROM answer WHERE entry > ?", (entries,))
        connection.execute("DELETE FROM entry WHERE number > ?", (entries,))
        connection.execute("UPDATE run SET finished = NULL")
    connection.close()
    for name in ("pipeline.evo", "result.json", "test.png", "curve.png", "report.html"):
        (run / name).unlink(missing_ok=True)
