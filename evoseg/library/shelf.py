"""The library as one: the seed tasks that come with evoseg, and the user's or the lab's own tasks in a database."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self, final

import numpy as np

from evoseg.base.errors import SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.library.advice import Adviser
from evoseg.library.describing import Description
from evoseg.library.features import Vector
from evoseg.library.files import TaskError, document_of, read_file, task_of
from evoseg.library.index import VectorIndex
from evoseg.library.ledger import Reuse
from evoseg.library.seeds import seed_ledger, seed_tasks
from evoseg.library.task import SolvedTask
from evoseg.store.database import StoreError
from evoseg.store.library import WAIT_S, LibraryStore, TaskRow

SEED = "seed"
"""Origin of the tasks that come with evoseg."""
MOST_ROWS = 2000
"""Rows of the ledger that are learned from, the newest."""


@final
class Library:
    """Solved tasks, wherever they are kept.

    Parameters
    ----------
    where : Path or str
        A SQLite file, or the URL of a PostgreSQL database.
    cache : Path or None
        Folder for index files; None keeps none.
    wait_s : float, s
        How long to wait for another process that is writing.

    Raises
    ------
    StoreError
        If the database cannot be used.
    """

    def __init__(self, where: Path | str, cache: Path | None = None, wait_s: float = WAIT_S) -> None:
        self._store = LibraryStore(where, wait_s)
        key = blake2b(os.fsencode(str(where)), digest_size=8).hexdigest()
        self._cache = None if cache is None else cache / key
        self._seeds = {task.id: task for task in seed_tasks()}
        self._indices: dict[str, VectorIndex] = {}
        self._read: dict[str, SolvedTask] = {}
        self._advisers: dict[Kind, Adviser] = {}

    def __enter__(self) -> Self:
        """Return the library."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let the database go; idempotent."""
        self._store.close()

    @property
    def seeds(self) -> Mapping[str, SolvedTask]:
        """The tasks that come with evoseg, by id."""
        return self._seeds

    def seeds_of(self, output: Kind) -> list[str]:
        """Return the ids of the tasks that come with evoseg and give a kind of value."""
        return [i for i, task in self._seeds.items() if task.output is output]

    def listed(self) -> list[tuple[str, str, str, str]]:
        """Return id, name, origin and time of adding of all tasks: seeds first, then the user's own, oldest first."""
        return [*((task.id, task.name, SEED, "") for task in self._seeds.values()), *self._store.names()]

    def size(self) -> int:
        """Return how many tasks there are."""
        return len(self._seeds) + self._store.count()[0]

    def tasks(self, ids: Iterable[str]) -> dict[str, SolvedTask]:
        """Return tasks by id; those that are not there are left out."""
        wanted = list(dict.fromkeys(ids))
        missing = [i for i in wanted if i not in self._seeds and i not in self._read]
        self._read |= {i: self._task(text) for i, text in self._store.documents(missing).items()}
        return {i: task for i in wanted if (task := self._seeds.get(i) or self._read.get(i)) is not None}

    def find(self, name: str) -> SolvedTask:
        """Return a task by its id, the beginning of its id, or its name.

        Raises
        ------
        SettingsError
            If there is none, or there are several.
        """
        entries = self.listed()
        exact = [i for i, known, _, _ in entries if name in (i, known)]
        found = exact or [i for i, *_ in entries if len(name) >= 4 and i.startswith(name)]
        if not found:
            raise SettingsError(unknown("task", name, [known for _, known, _, _ in entries]))
        if len(found) > 1:
            raise SettingsError(f"{len(found)} tasks are called {name}; name one by its id: {', '.join(found[:5])}.")
        return self.tasks(found)[found[0]]

    def add(self, tasks: Sequence[SolvedTask], origin: str = "") -> list[str]:
        """Add tasks; return the ids of those that are new. What is there already, also as a seed, is left as it is."""
        rows = [_row(task, origin or task.origin) for task in tasks if task.id not in self._seeds]
        added = self._store.add(rows)
        self._forget()
        return added

    def remove(self, task: SolvedTask) -> None:
        """Remove one of the user's own tasks.

        Raises
        ------
        SettingsError
            If it comes with evoseg.
        """
        if not self._store.remove(task.id):
            raise SettingsError(f"{task.name} comes with evoseg; only tasks that were added can be removed.")
        self._forget()

    def merge(self, other: "Library") -> tuple[int, int]:
        """Take over another library's own tasks and ledger; return how many of each were new.

        Each task keeps its origin. Doing it again changes nothing.
        """
        other._store.verify()
        names = other._store.names()
        documents = other._store.documents()
        rows = [_row(other._task(documents[i]), origin or other._store.where) for i, _, origin, _ in names]
        added = self._store.add([row for row in rows if row.id not in self._seeds])
        self._forget()
        return len(added), self.record(Reuse(**row) for row in reversed(other._store.ledger()))

    def own(self) -> list[SolvedTask]:
        """Return the user's own tasks, oldest first."""
        return [self._task(text) for text in self._store.documents().values()]

    def record(self, rows: Iterable[Reuse]) -> int:
        """Write rows to the ledger; return how many were new."""
        self._advisers.clear()
        return self._store.record([{"id": row.id, **vars(row)} for row in rows])

    def ledger(self) -> list[Reuse]:
        """Return what is known of stored pipelines on other tasks."""
        return [*seed_ledger(), *(Reuse(**row) for row in reversed(self._store.ledger(MOST_ROWS)))]

    def adviser(self, output: Kind) -> Adviser:
        """Return what the ledger teaches about tasks of one kind among themselves; learned once."""
        if output not in self._advisers:
            rows = self.ledger()
            tasks = self.tasks(i for row in rows for i in (row.source, row.target))
            self._advisers[output] = Adviser(rows, {i: task for i, task in tasks.items() if task.output is output})
        return self._advisers[output]

    def counts(self) -> tuple[int, int]:
        """Return how many tasks and rows of the ledger the database holds, without the seeds."""
        return self._store.count()

    def nearest(self, vectors: Mapping[str, Vector], k: int, output: Kind = Kind.MASK) -> list[str]:
        """Return the ids of the user's own tasks of a kind that are nearest by some descriptors, the k best by each."""
        numbers: set[int] = set()
        for descriptor, vector in vectors.items():
            numbers |= {n for n, _ in self._index(_shelved(descriptor, output), len(vector)).nearest(vector, k)}
        return list(self._store.ids_of(sorted(numbers)).values())

    def ready(self, description: Description, output: Kind = Kind.MASK) -> None:
        """Load or make what a query like this one needs, now rather than at the first one."""
        for kind in dict.fromkeys((output, Kind.MASK)):
            for descriptor, vector in description.described.items():
                self._index(_shelved(descriptor, kind), len(vector))
            self.tasks(self.adviser(kind).sources)

    def rebuild(self) -> dict[str, int]:
        """Make all indices anew; return how many vectors each holds.

        Raises
        ------
        TaskError
            If a stored task cannot be read.
        """
        found = {}
        for descriptor, dim in self._dimensions().items():
            self._path(descriptor, delete=True)
            self._indices.pop(descriptor, None)
            found[descriptor] = len(self._index(descriptor, dim))
        return found

    def _forget(self) -> None:
        """Let go of what was derived from the tasks."""
        self._indices.clear()
        self._advisers.clear()

    def _task(self, document: str) -> SolvedTask:
        """Return the task that a document of the database describes.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            return task_of(json.loads(document))
        except (ValueError, RecursionError) as error:
            said = str(error) if isinstance(error, TaskError) else type(error).__name__
            raise StoreError(f"{self._store.where}: damaged (a stored task cannot be read: {said}).") from error

    def _dimensions(self) -> dict[str, int]:
        """Return the dimension of each descriptor that the database holds, by its first vector."""
        found = {}
        for descriptor in self._store.vector_states():
            _, vectors = self._store.vectors(descriptor)
            if vectors and (dim := len(vectors[0][1]) // 4):
                found[descriptor] = dim
        return found

    def _index(self, descriptor: str, dim: int) -> VectorIndex:
        if descriptor not in self._indices:
            self._indices[descriptor] = VectorIndex(self._store, descriptor, dim, self._path(descriptor))
        return self._indices[descriptor]

    def _path(self, descriptor: str, *, delete: bool = False) -> Path | None:
        if self._cache is None:
            return None
        path = self._cache / f"{blake2b(descriptor.encode(), digest_size=8).hexdigest()}.index"
        if delete:
            path.unlink(missing_ok=True)
        return path


def _shelved(descriptor: str, output: Kind) -> str:
    """Return the name under which the database keeps a descriptor's vectors of one kind of task.

    Kinds are kept apart, so that few tasks of one are found among very many of another.
    """
    return descriptor if output is Kind.MASK else f"{descriptor}/{output}"


def _row(task: SolvedTask, origin: str) -> TaskRow:
    vectors = {
        _shelved(name, task.output): np.asarray(vector, "<f4").tobytes() for name, vector in task.described.items()
    }
    document = json.dumps(document_of(task), ensure_ascii=False)  # reads a hundred times as fast as YAML
    return TaskRow(task.id, task.name, document, origin, vectors)


def read_shared(paths: Iterable[Path]) -> list[SolvedTask]:
    """Read tasks from files, or from all YAML files of folders.

    Raises
    ------
    TaskError
        For the first that cannot be read.
    """
    tasks = []
    for path in paths:
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not files:
            raise TaskError(f"{path}: holds no .yaml file, so no solved task.")
        tasks += [read_file(file, path if path.is_dir() else None) for file in files]
    return tasks
