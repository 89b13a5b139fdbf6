"""A run's database: what was asked for, what happened, and the journal that a search goes by."""

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import NoResultFound

from evoseg.core.errors import PipelineError
from evoseg.evolve.journal import Answer, Heading, Sampled
from evoseg.evolve.loop import FOREGROUND, Candidate
from evoseg.evolve.ports import Failed, Floats, Pruned, Scored
from evoseg.pipeline import Pipeline, print_text, read_text
from evoseg.runs import database
from evoseg.runs.code_files import load_codes
from evoseg.runs.control import is_locked
from evoseg.runs.database import ANSWER, CANDIDATE, ENTRY, LOOK, RUN, StoreError
from evoseg.runs.lineage import LineageNumbers

DATABASE = "run.db"
SEARCH = "search.evaluate"
SEARCHES = (SEARCH, "network search.evaluate")
MASKS = f"{FOREGROUND} {SEARCH}"
"""Entries about candidates of the search for filters and for all others, and of the search for masks before objects."""
SHARE = 0.005
"""Of the time, that commits may take: one waits until the last was this share of the time since."""

RUNNING, INTERRUPTED, DONE = "running", "interrupted", "done"

SCORED, TURNED_AWAY, FAILED = "scored", "turned away", "failed"
MEASURED, SAMPLED, NONE = "measured", "sampled", "none"
_SEPARATOR = "\0"


class AnswerError(ValueError):
    """Rows that no answer has been written as."""


def answer_row(answer: Answer) -> dict[str, Any]:
    """Return an answer as a row, without its place."""
    if isinstance(answer, Scored):
        numbers = (answer.statistics, answer.scores, answer.left_out)
        n_images = len(answer.scores)
        text = print_text(answer.pipeline, settled=False)
        return _row(SCORED, answer.score, text, n_images, b"".join(map(_bytes, numbers)))
    if isinstance(answer, Pruned):
        return _row(TURNED_AWAY, answer.score, None, None, struct.pack("<d", answer.score))
    if isinstance(answer, Failed):
        words = f"{answer.reason}{_SEPARATOR}{answer.traceback}"
        return _row(FAILED, None, words.encode("utf-8", "backslashreplace").decode())
    if isinstance(answer, Sampled):
        return _row(SAMPLED, None, answer.digest)
    if answer is None:
        return _row(NONE)
    return _row(MEASURED, None, None, len(answer), _bytes(answer))


def read_answer(row: Mapping[str, Any], program: Pipeline) -> Answer:
    """Return the answer about a program that a row was made from.

    Raises
    ------
    AnswerError
        If the row was made from none.
    """
    outcome = row["outcome"]
    if outcome == NONE:
        return None
    if outcome == SAMPLED:
        return Sampled(str(row["words"]))
    if outcome == FAILED:
        reason, _, traceback = str(row["words"]).partition(_SEPARATOR)
        return Failed(program, reason, traceback)
    try:
        numbers = np.frombuffer(row["numbers"], "<f8").astype(np.float64)
        if outcome == TURNED_AWAY:
            return Pruned(program, float(numbers[0]))
        n = int(row["n_images"])
        if outcome == MEASURED:
            return numbers.reshape(n, -1)
        if outcome == SCORED:
            left_out, scores, statistics = numbers[-n:], numbers[-2 * n : -n], numbers[: -2 * n].reshape(n, -1)
            return Scored(read_text(row["words"], settled=False), statistics.copy(), scores.copy(), left_out.copy())
    except (ValueError, TypeError, IndexError, PipelineError) as error:
        raise AnswerError(str(error)) from error
    raise AnswerError(f"an answer cannot be '{outcome}'")


def rows_checksum(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a digest of the rows of an entry: SQLite may notice a damaged page, but not a flipped bit of a number."""
    digest = blake2b(digest_size=8)
    for row in rows:
        digest.update(f"{row['place']}|{row['outcome']}|{row['words']}|{row['n_images']}|".encode())
        numbers = row["numbers"]
        digest.update(numbers if isinstance(numbers, bytes) else repr(numbers).encode())
    return digest.digest()


def _row(
    outcome: str,
    score: float | None = None,
    words: str | None = None,
    n_images: int | None = None,
    numbers: bytes | None = None,
) -> dict[str, Any]:
    return {"outcome": outcome, "score": score, "words": words, "n_images": n_images, "numbers": numbers}


def _bytes(array: Floats) -> bytes:
    return np.ascontiguousarray(array, "<f8").tobytes()


@dataclass(frozen=True)
class RunRecord:
    """What a run was asked for, and under which circumstances: all that is needed to take it up again.

    Attributes
    ----------
    id : str
    dataset : str
        Its name.
    dataset_path : str or None
        None for arrays.
    dataset_digest : str
    parts : mapping of str to str
        Checksums of images and masks by "stem part".
    splits : mapping of str to list of str
        Stems of each split.
    settings : mapping
        Values that JSON knows.
    revisions : mapping of str to int
        Of all operators by name.
    versions : mapping of str to str
        Of evoseg, Python and libraries.
    started : str
        Local time with its zone, as in ISO 8601.
    finished : str or None
        When all was done and written; None until then.
    """

    id: str
    dataset: str
    dataset_path: str | None
    dataset_digest: str
    parts: Mapping[str, str]
    splits: Mapping[str, Sequence[str]]
    settings: Mapping[str, Any]
    revisions: Mapping[str, int]
    versions: Mapping[str, str]
    started: str
    finished: str | None = None


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes
    ----------
    state : str
        "running", "interrupted" (by Ctrl-C, a kill or an error: it can be resumed) or "done".
    evaluations : int
    best : float or None
        The best mean score on the search images.
    seconds : float, s
        That the search has taken so far.
    entries : int
        Of the journal.
    """

    state: str
    evaluations: int
    best: float | None
    seconds: float
    entries: int


def now() -> str:
    """Return the present time as it is recorded."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def create_run(folder: Path, run: RunRecord, insert_more: Callable[[Connection], None] = lambda _: None) -> None:
    """Write the database of a new run.

    Parameters
    ----------
    insert_more : callable
        Writes what else belongs to the run from the beginning.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    try:
        database.create(folder / DATABASE, asdict(run), insert_more)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{folder / DATABASE}: cannot be written ({error.strerror}).") from error


def read_run(folder: Path) -> RunRecord:
    """Return what a run was asked for.

    Raises
    ------
    StoreError
        If there is no run in the folder, or it cannot be read.
    """
    with database.opened(folder / DATABASE) as connection:
        return _record(connection, folder)


def read_state(folder: Path) -> RunState:
    """Return how far a run is.

    Raises
    ------
    StoreError
        If there is no run in the folder, or it cannot be read.
    """
    with database.opened(folder / DATABASE) as connection:
        finished = _record(connection, folder).finished
        about = ENTRY.c.about
        best = connection.execute(select(func.max(ENTRY.c.best)).where(about.in_(SEARCHES))).scalar_one()
        evaluations = connection.execute(
            select(func.coalesce(func.sum(ENTRY.c.evaluations), 0)).where(about.in_((*SEARCHES, MASKS)))
        ).scalar_one()
        seconds, entries = connection.execute(
            select(func.coalesce(func.max(ENTRY.c.seconds), 0.0), func.count()).select_from(ENTRY)
        ).one()
    state = RUNNING if is_locked(folder) else DONE if finished else INTERRUPTED
    return RunState(state, evaluations, best, seconds, entries)


def add_look(folder: Path, by: str, digest: str, n_images: int) -> None:
    """Note that a pipeline of a run was scored on its test images once more; several processes may do so at a time.

    Parameters
    ----------
    by : str
        What scored it, such as "score".
    digest : str
        Of the pipeline.
    n_images : int
        How many of the test images it was scored on.

    Raises
    ------
    StoreError
        If there is no run in the folder, or it cannot be written.
    """
    path = folder / DATABASE
    with database.opened(path, write=True, journal=False) as connection, database.mended(path), connection.begin():
        LOOK.create(connection, checkfirst=True)
        connection.execute(LOOK.insert(), {"when": now(), "by": by, "digest": digest, "n_images": n_images})


def count_recorded_looks(folder: Path) -> int:
    """Return how often the pipelines of a run were scored on its test images after the search.

    Raises
    ------
    StoreError
        If there is no run in the folder, or it cannot be read.
    """
    with database.opened(folder / DATABASE) as connection:
        if not inspect(connection).has_table(LOOK.name):
            return 0
        return int(connection.execute(select(func.count()).select_from(LOOK)).scalar_one())


def iterate_scored(folder: Path) -> Iterator[list[Scored]]:
    """Yield the candidates that the search has scored, by generation.

    Raises
    ------
    StoreError
        If the run cannot be read.
    ConsentError
        If a candidate has a Python operator that has not been allowed.
    """
    with database.opened(folder / DATABASE) as connection:
        numbers = connection.execute(select(ENTRY.c.number).where(ENTRY.c.about.in_(SEARCHES)).order_by(ENTRY.c.number))
        for number in numbers.scalars().all():
            rows = connection.execute(
                select(ANSWER).where(ANSWER.c.entry == number, ANSWER.c.outcome == SCORED).order_by(ANSWER.c.place)
            )
            found = [row._asdict() for row in rows]
            for row in found:
                load_codes(row["words"], folder)
            try:
                answers = [read_answer(row, _NO_PROGRAM) for row in found]
            except AnswerError as error:
                raise _damaged(folder, _other(number)) from error
            yield [answer for answer in answers if isinstance(answer, Scored)]


_NO_PROGRAM: Any = None
"""A scored answer brings its own."""


def _record(connection: Connection, folder: Path) -> RunRecord:
    try:
        record = RunRecord(**connection.execute(select(RUN)).one()._asdict())
    except (ValueError, TypeError, NoResultFound) as error:
        raise _damaged(folder, "its description of the run cannot be read") from error
    if not all(isinstance(part, dict) for part in (record.parts, record.splits, record.settings, record.revisions)):
        raise _damaged(folder, "its description of the run is not valid")
    return record


def _damaged(folder: Path, what: str) -> StoreError:
    return StoreError(f"{folder / DATABASE}: damaged ({what}). {database.REST}")


def _other(number: int) -> str:
    return f"entry {number} is not what was written"


class RunFile:
    """A run's database while somebody works with it: a `Journal`. Whoever writes holds the run's lock."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._ahead = [_heading(row) for row in self._entries()]
        self._taken = 0
        self._unwritten: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        self._number = len(self._ahead)
        self._lineage = LineageNumbers()
        self._candidates: list[dict[str, Any]] = []
        self._first_new = 0
        self._may_be_stale = True
        self._commit_s = 0.0
        self._committed = monotonic()

    def peek(self) -> Heading | None:
        """Return the heading of the next entry, None if all have been taken."""
        return self._ahead[self._taken][0] if self._taken < len(self._ahead) else None

    def next_entry(self, programs: Sequence[Pipeline]) -> list[Answer]:
        """Take the next entry.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        expected = self._ahead[self._taken][1]
        self._taken += 1
        with database.mended(self._folder / DATABASE):
            found = self._connection.execute(
                select(ANSWER).where(ANSWER.c.entry == self._taken).order_by(ANSWER.c.place)
            )
            rows = [row._asdict() for row in found]
            self._connection.commit()
        if rows_checksum(rows) != expected or len(rows) != len(programs):
            raise _damaged(self._folder, _other(self._taken))
        try:
            return [read_answer(row, program) for row, program in zip(rows, programs, strict=True)]
        except AnswerError as error:
            raise _damaged(self._folder, _other(self._taken)) from error

    def add(self, heading: Heading, answers: Sequence[Answer]) -> None:
        """Add an entry; it is safe on disk once `SHARE` allows."""
        number = self._number + 1
        rows = [{"entry": number, "place": i, **answer_row(answer)} for i, answer in enumerate(answers)]
        entry = {
            "number": number,
            **vars(heading),
            "evaluations": sum(isinstance(answer, Scored | Failed) for answer in answers),
            "best": max((row["score"] for row in rows if row["outcome"] == SCORED), default=None),
            "checksum": rows_checksum(rows),
        }
        self._unwritten.append((entry, rows))
        self._number = number
        if (monotonic() - self._committed) * SHARE >= self._commit_s:
            self.flush()

    def add_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Record candidates that the search has decided upon; they are written with the next entries.

        A search that is resumed decides upon all of them again, from the first one on. What goes beyond its journal
        takes the place of what an interrupted generation may have left.
        """
        rows = self._lineage.rows(candidates)
        if not self._first_new and self._taken == len(self._ahead) and rows:
            self._first_new = rows[0]["number"]
        self._candidates += rows

    def cut(self) -> None:
        """Forget the entry that was taken last, and all behind it.

        Raises
        ------
        StoreError
            If that cannot be written.
        """
        self._taken -= 1
        del self._ahead[self._taken :]
        self._number = self._taken
        with database.mended(self._folder / DATABASE), self._connection.begin():
            self._connection.execute(ENTRY.delete().where(ENTRY.c.number > self._taken))
            self._connection.execute(ANSWER.delete().where(ANSWER.c.entry > self._taken))

    def flush(self) -> None:
        """Write what has not been written yet.

        Raises
        ------
        StoreError
            If that is impossible, as on a full disk.
        """
        if not self._unwritten and not self._candidates:
            return
        start = monotonic()
        with database.mended(self._folder / DATABASE), self._connection.begin():
            # An interrupt may come between a commit and the next line; then all of this is here already.
            if self._unwritten:
                entries = [entry for entry, _ in self._unwritten]
                self._connection.execute(insert(ENTRY).on_conflict_do_nothing(), entries)
            rows = [row for _, rows in self._unwritten for row in rows]
            if rows:
                self._connection.execute(insert(ANSWER).on_conflict_do_nothing(), rows)
            if self._candidates:
                CANDIDATE.create(self._connection, checkfirst=True)
                if self._first_new and self._may_be_stale:
                    self._connection.execute(CANDIDATE.delete().where(CANDIDATE.c.number >= self._first_new))
                self._connection.execute(insert(CANDIDATE).on_conflict_do_nothing(), self._candidates)
        self._may_be_stale &= not self._first_new
        self._unwritten.clear()
        self._candidates.clear()
        self._committed = monotonic()
        self._commit_s = self._committed - start

    def finish(self) -> None:
        """Note that all is done and written."""
        self.flush()
        with database.mended(self._folder / DATABASE), self._connection.begin():
            self._connection.execute(RUN.update().values(finished=now()))

    def _entries(self) -> list[Any]:
        try:
            with database.mended(self._folder / DATABASE):
                rows = self._connection.execute(select(ENTRY).order_by(ENTRY.c.number)).all()
                self._connection.commit()
        except (ValueError, TypeError) as error:
            raise _damaged(self._folder, "its list of entries cannot be read") from error
        right = all(type(row.seconds) is float and type(row.question) is str for row in rows)
        if not right or [row.number for row in rows] != list(range(1, len(rows) + 1)):
            raise _damaged(self._folder, "entries are missing")
        return list(rows)


def _heading(row: Any) -> tuple[Heading, bytes]:
    return Heading(row.about, row.question, row.seconds, row.killed), row.checksum


@contextmanager
def open_journal(folder: Path, *, write: bool = False) -> Iterator[RunFile]:
    """Open a run's journal; with `write`, the caller holds its lock, and what was added is written at the end.

    Raises
    ------
    StoreError
        If there is no run in the folder, or its database is damaged.
    """
    path = folder / DATABASE
    with database.opened(path, write=write) as connection:
        if write and (fault := connection.execute(text("PRAGMA quick_check(1)")).scalar_one()) != "ok":
            raise _damaged(folder, str(fault))
        connection.commit()
        file = RunFile(connection, folder)
        try:
            yield file
        finally:
            file.flush()
