"""All solved tasks together: those bundled with evoseg, and the user's or the lab's own tasks in a database."""

import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self, final

import numpy as np

from evoseg.core.disk import data_folder, expand, write_atomically
from evoseg.core.errors import SettingsError, unknown
from evoseg.core.kinds import Kind
from evoseg.library.descriptors import Vector
from evoseg.library.index import VectorIndex
from evoseg.library.likeness import Likeness, Norm, likeness, measure_norms
from evoseg.library.store import WAIT_S, LibraryStore, TaskRow
from evoseg.library.task import STATISTICS, TASKS, SolvedTask, are_related
from evoseg.library.task_files import (
    TRANSFER_FILE,
    TaskError,
    TransferResult,
    parse_task,
    read_file,
    read_transfers,
    task_document,
)
from evoseg.runs.code_files import ConsentError
from evoseg.runs.database import StoreError
from evoseg.runs.options import DEFAULT, NONE
from evoseg.runs.run_folder import home

logger = logging.getLogger(__name__)

SHRINK = 2.0
"""Targets that a pipeline must have been tried on for its popularity to count half."""
TOLD = 3
"""Targets that a pipeline must have been tried on for its mean score to be told."""
POPULAR = 20
"""Tasks that are looked at because their pipelines did well elsewhere."""
SHORTLIST = 50
"""Tasks that are looked at because one of their vectors is among the nearest, by each descriptor."""
BUNDLED = "seed"
"""Origin of the bundled tasks in files and JSON; text says "bundled"."""
MOST_ROWS = 2000
"""Number of transfer results that are used, the newest first."""


def origin_words(origin: str, added: str) -> str:
    """Say where a task comes from and, if it was added, when."""
    return "bundled" if origin == BUNDLED else f"{origin or 'yours'}, added {added[:10]}"


Use = tuple[str, bool]
"""A stored pipeline, by its structure, and whether its lengths were rescaled: what popularity is counted by."""


@final
class Popularity:
    """How much better than others stored pipelines were on tasks that they were not made for.

    Parameters
    ----------
    results : iterable of TransferResult
    tasks : mapping of str to SolvedTask
        Sources and targets by id. Results that concern other tasks are left out, and so are those between two tasks of
        one family.
    """

    def __init__(self, results: Iterable[TransferResult], tasks: Mapping[str, SolvedTask]) -> None:
        self._tasks = tasks
        self._results = list(results)
        by_target: dict[str, dict[tuple[str, Use], float]] = defaultdict(dict)
        for row in self._results:
            source, target = tasks.get(row.source), tasks.get(row.target)
            if source is not None and target is not None and not are_related(source, target):
                by_target[row.target][row.source, (row.form, row.scale != 1.0)] = row.refitted
        self._gains: dict[Use, list[float]] = defaultdict(list)
        sources: dict[str, set[Use]] = defaultdict(set)
        for scores in by_target.values():
            if len(scores) > 2:  # with a row or two, what is a good score on a target is not known
                level = max(sum(scores.values()) / len(scores), 0.01)
                for (source_id, use), score in scores.items():
                    self._gains[use].append(score / level - 1)
                    sources[source_id].add(use)
        best = {source_id: max(map(self.of, uses)) for source_id, uses in sources.items()}
        self._scores: dict[str, list[float]] = defaultdict(list)
        for scores in by_target.values():
            for (source_id, use), score in scores.items():
                if use == (tasks[source_id].best.pipeline.form, False):
                    self._scores[source_id].append(score)
        self.sources = sorted((i for i, gain in best.items() if gain > 0), key=lambda i: -best[i])[:POPULAR]

    def of(self, use: Use) -> float:
        """Return by which share a pipeline was better than the average of those tried on a target, shrunk towards 0."""
        gains = self._gains.get(use, [])
        return sum(gains) / (len(gains) + SHRINK)

    def mean_score(self, source: str) -> float | None:
        """Return what a task's best pipeline scored on average, refitted, on unrelated tasks; None if unknown."""
        scores = self._scores.get(source, [])
        return round(sum(scores) / len(scores), 3) if len(scores) >= TOLD else None

    def without(self, targets: Container[str]) -> "Popularity":
        """Return what is known if nothing had been tried on some targets."""
        return Popularity([row for row in self._results if row.target not in targets], self._tasks)


@final
class Library:
    """Bundled and own solved tasks as one collection.

    Parameters
    ----------
    where : Path or str
        A SQLite file, or the URL of a PostgreSQL database.
    wait_s : float, s
        How long to wait for another process that is writing.
    allow_code : bool
        Whether Python operators of its tasks may run, should they neither be from a search of this user nor be allowed
        before.

    Raises
    ------
    StoreError
        If the database cannot be used.
    """

    def __init__(self, where: Path | str, wait_s: float = WAIT_S, *, allow_code: bool = False) -> None:
        self._store = LibraryStore(where, wait_s)
        self._allow_code = allow_code
        self._left_out: set[str] = set()
        self._bundled = {task.id: task for task in _with_own_vectors(bundled_tasks())}
        self._numbered = dict(enumerate(self._bundled.values(), -len(self._bundled)))
        self._indices: dict[tuple[str, Kind], VectorIndex] = {}
        self._read: dict[str, SolvedTask] = {}
        self._popularity: dict[Kind, Popularity] = {}

    def __enter__(self) -> Self:
        """Return the library."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the database; calling it again does nothing."""
        self._store.close()

    @property
    def bundled(self) -> Mapping[str, SolvedTask]:
        """The tasks that come with evoseg, by id."""
        return self._bundled

    @cached_property
    def norms(self) -> Mapping[str, Norm]:
        """What is usual among the bundled tasks, by descriptor: what `likeness` measures by."""
        return measure_norms(self._bundled.values())

    def bundled_of(self, output: Kind) -> list[str]:
        """Return the ids of the tasks that come with evoseg and give a kind of value."""
        return [i for i, task in self._bundled.items() if task.output is output]

    def list_tasks(self) -> list[tuple[str, str, str, str]]:
        """Return id, name, origin and time of adding of all tasks: bundled ones, then the user's own, oldest first."""
        return [*((task.id, task.name, BUNDLED, "") for task in self._bundled.values()), *self._store.names()]

    def origins(self, ids: Sequence[str]) -> dict[str, str]:
        """Return where tasks come from, in words, by id."""
        own = {i: origin_words(origin, added) for i, _, origin, added in self._store.names(ids)}
        return {i: own.get(i) or origin_words(BUNDLED, "") for i in ids}

    def size(self) -> int:
        """Return how many tasks there are."""
        return len(self._bundled) + self._store.count()[0]

    def tasks(self, ids: Iterable[str]) -> dict[str, SolvedTask]:
        """Return tasks by id; those that are not there are left out, and those with code that is not allowed."""
        wanted = list(dict.fromkeys(ids))
        missing = [i for i in wanted if i not in self._bundled and i not in self._read and i not in self._left_out]
        for i, text in self._store.documents(missing).items():
            try:
                self._read[i] = self._task(text)
            except ConsentError:
                self._left_out.add(i)
                logger.warning(
                    "the solved task %s is left out, since it has Python code that is not from a search of yours. To "
                    "read it, and to allow it: evoseg library show %s --library %s",
                    i,
                    i,
                    self._store.shown,
                )
        return {i: task for i in wanted if (task := self._bundled.get(i) or self._read.get(i)) is not None}

    def find(self, name: str) -> SolvedTask:
        """Return a task by its id, the beginning of its id, or its name.

        Raises
        ------
        SettingsError
            If there is none, or there are several.
        ConsentError
            If it has Python code that is not allowed.
        """
        entries = self.list_tasks()
        exact = [i for i, known, _, _ in entries if name in (i, known)]
        found = exact or [i for i, *_ in entries if len(name) >= 4 and i.startswith(name)]
        if not found:
            raise SettingsError(unknown("task", name, [known for _, known, _, _ in entries]))
        if len(found) > 1:
            rows = [(i, origin, added) for i, _, origin, added in entries if i in found]
            listed = ", ".join(f"{i} ({origin_words(origin, added)})" for i, origin, added in rows[:5])
            raise SettingsError(f"{len(found)} tasks are called {name}; name one by its id: {listed}.")
        stored = self._store.documents(found)
        return self._task(stored[found[0]]) if stored else self._bundled[found[0]]

    def add(self, tasks: Sequence[SolvedTask], origin: str = "") -> list[str]:
        """Add tasks; return the ids of those that are new. Tasks that are there already, or bundled, do not change."""
        rows = [_row(task, origin or task.origin) for task in tasks if task.id not in self._bundled]
        added = self._store.add(rows)
        self._forget()
        return added

    def replace(self, task: SolvedTask) -> None:
        """Replace one of the user's own tasks by another of the same id, such as one with further vectors."""
        self._store.replace(_row(task, task.origin))
        self._read.pop(task.id, None)
        self._forget()

    def remove(self, task: SolvedTask) -> None:
        """Remove one of the user's own tasks, its pictures, and the note where its images are.

        Raises
        ------
        SettingsError
            If it comes with evoseg.
        """
        if not self._store.remove(task.id):
            raise SettingsError(f"{task.name} comes with evoseg; only tasks that were added can be removed.")
        shutil.rmtree(own_pictures(task.id), ignore_errors=True)
        (home() / _PLACES / task.id).unlink(missing_ok=True)
        self._forget()

    def merge(self, other: "Library") -> tuple[int, int]:
        """Add the own tasks and transfer results of another library; return how many of each were new.

        Each task keeps its origin. Merging again changes nothing.
        """
        other._store.verify()
        names = other._store.names()
        documents = other._store.documents()
        rows = [_row(other._task(documents[i]), origin or other._store.shown) for i, _, origin, _ in names]
        added = self._store.add([row for row in rows if row.id not in self._bundled])
        self._forget()
        return len(added), self.add_transfer_results(
            TransferResult(**row) for row in reversed(other._store.transfer_rows())
        )

    def own(self) -> list[SolvedTask]:
        """Return the user's own tasks, oldest first; those with code that is not allowed are left out."""
        return list(self.tasks(i for i, *_ in self._store.names()).values())

    def add_transfer_results(self, rows: Iterable[TransferResult]) -> int:
        """Add what stored pipelines scored on other tasks; return how many rows were new."""
        self._popularity.clear()
        return self._store.add_transfer_rows([{"id": row.id, **vars(row)} for row in rows])

    def transfer_results(self) -> list[TransferResult]:
        """Return what stored pipelines scored on other tasks, as far as it is known."""
        return [
            *bundled_transfers(),
            *(TransferResult(**row) for row in reversed(self._store.transfer_rows(MOST_ROWS))),
        ]

    def popularity(self, output: Kind) -> Popularity:
        """Return how well stored pipelines for one kind of task did on other tasks of that kind; computed once."""
        if output not in self._popularity:
            rows = self.transfer_results()
            tasks = self.tasks(i for row in rows for i in (row.source, row.target))
            of_kind = {i: task for i, task in tasks.items() if task.output is output}
            self._popularity[output] = Popularity(rows, of_kind)
        return self._popularity[output]

    def counts(self) -> tuple[int, int]:
        """Return the number of tasks and of transfer results in the database, without the bundled ones."""
        return self._store.count()

    def most_alike(
        self, one: Mapping[str, Vector], kinds: Iterable[Kind] = tuple(TASKS.values())
    ) -> list[tuple[str, Likeness]]:
        """Return the ids of tasks, bundled and own, that are like one, with their likeness, the most alike first.

        FAISS finds those whose images look most alike to each embedder; likeness itself is computed of these only.

        Parameters
        ----------
        one : mapping of str to float32 array
            As `likeness` takes it.
        kinds : iterable of Kind
            Of value that the tasks return.
        """
        usable = [name for name in one if name in self.norms and len(one[name]) == len(self.norms[name].centre)]
        statistics = [descriptor.id for descriptor in STATISTICS.values()]
        looks = [name for name in usable if name not in statistics] or usable
        places = [(name, kind) for kind in kinds for name in looks]
        numbers = {n for place in places for n in self._index(*place).nearest(one[place[0]], SHORTLIST)}
        own = sorted(n for n in numbers if n >= 0)
        ids = self._store.ids_of(own)
        found = [
            (task.id, likeness(one, task.described, self.norms)) for n, task in self._numbered.items() if n in numbers
        ]
        stored = self._store.vectors_of(own, [_shelved(name, kind) for name in usable for kind in TASKS.values()])
        for n, vectors in stored.items():
            there = {name.partition("/")[0]: _unpacked(vector) for name, vector in vectors.items()}
            found.append((ids[n], likeness(one, there, self.norms)))
        return sorted(found, key=lambda entry: -entry[1].value)

    def all_have_vectors(self, embedders: Sequence[str]) -> bool:
        """Return whether each task, bundled or own, has a vector of at least one of some embedders."""
        return all(
            any(name in task.vectors for name in embedders) for task in self._bundled.values()
        ) and self._store.all_have_vectors([_shelved(name, kind) for name in embedders for kind in TASKS.values()])

    def _forget(self) -> None:
        """Discard what was computed from the tasks."""
        self._indices.clear()
        self._popularity.clear()

    def _task(self, document: str) -> SolvedTask:
        """Return the task that a document of the database describes.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            return parse_task(json.loads(document), allow_code=self._allow_code)
        except (ValueError, RecursionError) as error:
            said = str(error) if isinstance(error, TaskError) else type(error).__name__
            raise StoreError(f"{self._store.shown}: damaged (a stored task cannot be read: {said}).") from error

    def _index(self, descriptor: str, kind: Kind) -> VectorIndex:
        """Return the index of one descriptor of all tasks of a kind; numbers of bundled tasks are negative."""
        if (descriptor, kind) not in self._indices:
            bundled = [
                (n, np.asarray(task.described[descriptor], "<f4").tobytes())
                for n, task in self._numbered.items()
                if task.output is kind and descriptor in task.described
            ]
            rows = [*bundled, *self._store.vectors(_shelved(descriptor, kind))]
            self._indices[descriptor, kind] = VectorIndex(rows, self.norms[descriptor])
        return self._indices[descriptor, kind]


def _shelved(descriptor: str, output: Kind) -> str:
    """Return the name under which the database stores a descriptor's vectors of one kind of task.

    Kinds are stored separately, so that a few tasks of one kind are found among very many of another.
    """
    return descriptor if output is Kind.MASK else f"{descriptor}/{output}"


def _unpacked(vector: bytes) -> Vector:
    """Return a stored vector; what a third party cut off within a number is left out."""
    return np.frombuffer(vector, "<f4", len(vector) // 4)


def _row(task: SolvedTask, origin: str) -> TaskRow:
    vectors = {
        _shelved(name, task.output): np.asarray(vector, "<f4").tobytes() for name, vector in task.described.items()
    }
    document = json.dumps(task_document(task), ensure_ascii=False)  # reads a hundred times as fast as YAML
    return TaskRow(task.id, task.name, document, origin, vectors)


def read_task_files(paths: Iterable[Path], *, allow_code: bool = False) -> list[SolvedTask]:
    """Read tasks from files, or from all YAML files of folders.

    Parameters
    ----------
    paths : iterable of Path
    allow_code : bool
        Whether Python operators may run that are neither from a search of yours nor allowed before.

    Raises
    ------
    ConsentError
        If there is one that has not been allowed.
    TaskError
        For the first that cannot be read.
    """
    tasks = []
    for path in paths:
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not files:
            raise TaskError(f"{path}: contains no .yaml file and thus no solved task.")
        tasks += [read_file(file, path if path.is_dir() else None, allow_code=allow_code) for file in files]
    return tasks


def bundled_folder() -> Path:
    """Return the folder of the bundled tasks."""
    return data_folder("pipelines_db")


@lru_cache(maxsize=1)
def bundled_tasks() -> tuple[SolvedTask, ...]:
    """Return the bundled solved tasks, by name.

    Raises
    ------
    TaskError
        If a file of this installation is damaged.
    """
    return tuple(read_file(path) for path in sorted(bundled_folder().glob("*.yaml")))


@lru_cache(maxsize=1)
def bundled_transfers() -> tuple[TransferResult, ...]:
    """Return what the bundled tasks' pipelines scored on each other's images.

    Raises
    ------
    TaskError
        If the file of this installation is damaged.
    """
    return tuple(read_transfers(bundled_folder() / TRANSFER_FILE))


def own_vectors_folder() -> Path:
    """Return the folder of the user's own embedder, with its vectors of bundled tasks in `ID.npz`."""
    return home() / "embedder"


def _with_own_vectors(tasks: Iterable[SolvedTask]) -> list[SolvedTask]:
    """Return bundled tasks with the vectors that the user's own embedder, which comes first, made of their pictures."""
    path = next(own_vectors_folder().glob("*.npz"), None)
    if path is None:
        return list(tasks)
    try:
        with np.load(path) as file:
            found = dict(zip(file["tasks"].tolist(), np.asarray(file["vectors"], np.float32), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"{path}: cannot be read ({error}). `evoseg library embedder --weights FILE` makes it again."
        ) from error
    return [replace(t, vectors={path.stem: found[t.id], **t.vectors}) if t.id in found else t for t in tasks]


_PLACES, _PICTURES = "places", "pictures"


def own_pictures(task: str) -> Path:
    """Return the folder of the pictures of a task that was solved on this machine; libraries contain none of them."""
    return home() / _PICTURES / task


def save_image_folder(task: str, folder: Path) -> None:
    """Note the folder of the dataset that a task was solved on.

    Libraries contain no paths, since they are shared; a file per task, named by its id, holds the path.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = home() / _PLACES / task
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(str(folder.resolve()).encode("utf-8", "surrogateescape"))


def image_folders(tasks: Iterable[str]) -> dict[str, Path]:
    """Return the folders that are known and still there, by the ids of tasks."""
    found = {}
    for task in tasks:
        try:
            folder = Path((home() / _PLACES / task).read_bytes().decode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            continue
        if folder.is_dir():
            found[task] = folder
    return found


def open_library(
    choice: str = DEFAULT, wait_s: float = WAIT_S, *, allow_code: bool = False, must_exist: bool = False
) -> Library:
    """Open a library.

    Parameters
    ----------
    choice : str
        "default" for $EVOSEG_HOME/library.db, a SQLite file, or the URL of a PostgreSQL database.
    wait_s : float, s
        How long to wait for another process that is writing.
    allow_code : bool
        As of `Library`.
    must_exist : bool
        Whether a file that does not exist is an error, rather than an empty library; the default one may be empty.

    Raises
    ------
    EvosegError
        If it cannot be used.
    """
    if choice == NONE:
        raise SettingsError("library is 'none'; name a file or a postgresql:// URL, or leave it out for your own.")
    where = locate_library(choice)
    if isinstance(where, Path) and where.suffix != ".db" and not where.is_file():
        raise SettingsError(f"library is '{choice}'; it must be a file ending in .db, a postgresql:// URL, or 'none'.")
    if must_exist and choice != DEFAULT and isinstance(where, Path) and not where.is_file():
        raise SettingsError(f"{where}: no such file, so there is no library. Check the name.")
    return Library(where, wait_s, allow_code=allow_code)


def locate_library(choice: str) -> Path | str:
    """Return the file or the URL of a library."""
    return home() / "library.db" if choice == DEFAULT else choice if "://" in choice else expand(choice)
