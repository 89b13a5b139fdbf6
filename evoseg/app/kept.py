"""Runs that were kept: which there are, how far each is, and the programs on its front."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoseg.app.pending import is_pending
from evoseg.app.runs import (
    CLASSES,
    DATABASE,
    PIPELINE,
    RESULT,
    FilesError,
    RunFolder,
    find_run,
    holds_run,
    nothing_in,
    refuse_classes,
    remove_scratch,
    run_folder,
    runs_folder,
)
from evoseg.base.errors import EvosegError
from evoseg.base.untrusted import read_file
from evoseg.data.dataset import Dataset
from evoseg.data.imageformat import ImageFormat
from evoseg.data.reading import Reading
from evoseg.evolve.ports import Scored
from evoseg.evolve.selection import Front
from evoseg.pipeline import print_text
from evoseg.store.database import StoreError
from evoseg.store.lock import RunLock, is_locked
from evoseg.store.runs import RunRecord, RunState, add_look, n_looks, read_run, scored_in, state_of

logger = logging.getLogger(__name__)

_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Kept:
    """A run on disk.

    Attributes
    ----------
    folder : RunFolder
    record : RunRecord
    state : RunState
    pending : bool
        Whether it has yet to add its solved task to the library.
    """

    folder: RunFolder
    record: RunRecord
    state: RunState
    pending: bool

    def as_json(self) -> dict[str, Any]:
        """Return what a list says of it."""
        record, state = self.record, self.state
        return {
            "run": self.folder.name,
            "dataset": record.dataset,
            "state": state.state,
            "started": record.started,
            "finished": record.finished,
            "evaluations": state.evaluations,
            "best_search": state.best,
            "seconds": round(state.seconds, 2),
            "seed": record.settings.get("seed"),
            "metric": record.settings.get("metric"),
            "agent": record.settings.get("agent"),
            "budget": {key: record.settings.get(key) for key in ("seconds", "evaluations", "target_score")},
            "looks": self.looks,
            "folder": str(self.folder.path),
            "pending": self.pending,
        }

    @property
    def looks(self) -> int:
        """How often pipelines of the run were scored on its test images, by the search itself included."""
        tested = bool(self.record.splits.get("test")) and (self.folder.path / RESULT).is_file()
        return tested + n_looks(self.folder.path)


def kept(run: str | Path) -> Kept:
    """Return a run by its id or folder.

    Raises
    ------
    EvosegError
        If there is none, or its database cannot be read.
    """
    folder = run_folder(run)
    record = read_run(folder.path)
    return Kept(folder, record, state_of(folder.path), is_pending(record.id))


def kept_runs() -> tuple[list[Kept], dict[str, str]]:
    """Return all runs in evoseg's own folder, oldest first, and what is wrong with those that cannot be read."""
    found, faults = [], {}
    folder = runs_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # A search for several classes has a run of each in its folder.
        runs = _runs_in(path) if (path / CLASSES).is_file() else [path] if (path / DATABASE).is_file() else []
        for run in runs:
            try:
                found.append(kept(run))
            except EvosegError as error:
                faults[run.relative_to(folder).as_posix()] = str(error)
        if not runs and path.is_dir() and not is_locked(path):
            faults[path.name] = f"{path}: holds no run. {nothing_in(path)}"
    return found, faults


def _runs_in(folder: Path) -> list[Path]:
    """Return the folders of the classes' runs, and of what is left of them."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and holds_run(path))


def delete(run: str | Path) -> RunFolder:
    """Delete a run, a damaged one too, or all runs of a search for several classes.

    If this is killed, doing it again deletes what is left.

    Raises
    ------
    EvosegError
        If there is none, or a process is searching in it.
    """
    path = Path(run).expanduser()
    if not path.is_dir():
        path = find_run(str(run))
    path = path.absolute()
    several, folder = (path / CLASSES).is_file(), RunFolder(path.name, path, new=False)
    if not (several or holds_run(path) or path.parent == runs_folder()):
        raise FilesError(f"{path}: holds no run, so it is left as it is.")
    with RunLock(path) as lock:
        try:
            if several:
                _delete_classes(path)
            remove_scratch(lock.left)
            folder.remove()
        except EvosegError:
            raise
        except OSError as error:
            raise FilesError(f"{path}: cannot be deleted ({error.strerror}).") from error
    return folder


def _delete_classes(folder: Path) -> None:
    """Delete the runs of all classes, and at last the document that names them."""
    runs = _runs_in(folder)
    if busy := [run for run in runs if is_locked(run)]:
        raise FilesError(f"{busy[0]}: a process is searching in this run. Wait for it, or end it with Ctrl-C.")
    for run in runs:
        delete(run)
    for path in folder.iterdir():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()  # of a run whose deletion was killed
    for file in (folder / CLASSES, *folder.glob(f".{CLASSES}.*part")):
        file.unlink(missing_ok=True)


def front(path: Path) -> list[dict[str, Any]]:
    """Return the programs of a run that no other beats in score, length and cost at once, as numbered in its result.

    As long as there is no result, they are those among what has been found so far.

    Raises
    ------
    EvosegError
        If the run cannot be read.
    """
    result = result_of(path)
    if result is not None and "front" in result:
        return list(result["front"])
    archive = Front()
    for scored in scored_in(path):
        archive.update(scored)
    return numbered(archive)


def member(path: Path, number: int) -> str:
    """Return the text of one program of the front.

    Raises
    ------
    EvosegError
        If the run cannot be read or has none of that number.
    """
    programs = front(path)
    if not 1 <= number <= len(programs):
        there = f"{len(programs)} programs, #1 to #{len(programs)}" if programs else "no program yet"
        raise FilesError(f"{path.name}: its front has {there}; there is no #{number}.")
    return str(programs[number - 1]["pipeline"])


def reading_in(path: Path) -> Reading:
    """Return how the images of a run were read.

    Raises
    ------
    EvosegError
        If the run cannot be read.
    """
    return Reading.recorded(read_run(path).settings.get("reading", {}))


def count_looks(source: str | Path, by: str, digest: str, dataset: Dataset, stems: Iterable[str]) -> int | None:
    """Note that a pipeline was scored, if that was on test images of the run that it comes from.

    Test images are recognised by their checksums, whatever they are called and in whichever folder they lie.

    Parameters
    ----------
    source : str or path
        What the pipeline was named by, as for `read_program`.
    by : str
        What scored it.
    digest : str
        Of the pipeline.
    stems : iterable of str
        The images of the dataset that it was scored on.

    Returns
    -------
    int or None
        How often pipelines of the run were scored on its test images until now; None if these are none of them.
    """
    facts = dataset.survey.facts
    scored = {facts[stem].own_digest for stem in stems if stem in facts}
    looks = []
    for folder in _runs_named(source):
        try:
            record = read_run(folder)
            tested = {
                record.parts.get(f"{stem}'s moving", record.parts.get(f"{stem}'s image", stem))
                for stem in record.splits.get("test", ())
            }
            if n := len(scored & tested):
                add_look(folder, by, digest, n)
                looks.append(kept(folder).looks)
        except StoreError as error:
            logger.warning("this look at the test images could not be counted: %s", error)
    return max(looks, default=None)


def _runs_named(source: str | Path) -> list[Path]:
    """Return the folders of the runs that a pipeline, or those of several classes, are named by; none for a text."""
    if "\n" in str(source):
        return []
    path = Path(source).expanduser()
    if not path.exists():
        path = Path(str(source).partition("#")[0]).expanduser()
    try:
        path = path if path.exists() else find_run(str(path))
    except FilesError:
        return []
    folder = path if path.is_dir() else path.parent
    if (folder / CLASSES).is_file():
        return sorted(database.parent for database in folder.glob(f"*/{DATABASE}"))
    return [folder] if (folder / DATABASE).is_file() else []


def made_for_in(path: Path) -> ImageFormat | None:
    """Return what the search images of a run were like; None if it has no result that says so.

    Raises
    ------
    EvosegError
        If the result cannot be read.
    """
    document = (result_of(path) or {}).get("made_for")
    return None if document is None else ImageFormat.read(document)


def champion_file(path: Path) -> Path:
    """Return the file of a run's champion.

    Raises
    ------
    FilesError
        If there is none yet.
    """
    refuse_classes(path)
    if (path / PIPELINE).is_file():
        return path / PIPELINE
    if (path / DATABASE).is_file():
        name = RunFolder(path.name, path.absolute()).name
        raise FilesError(
            f"{name}: no champion has been chosen yet. `evoseg runs resume {name}` finishes the search; `evoseg runs "
            f"show {name} --front` lists what was found until now."
        )
    raise FilesError(f"{path}: holds no {PIPELINE}. Name a pipeline's file, or the folder or id of a run.")


def result_of(path: Path) -> dict[str, Any] | None:
    """Return the result document of a run, None if there is none.

    Raises
    ------
    FilesError
        If it cannot be read.
    """
    file = path / RESULT
    if not file.is_file():
        return None
    try:
        document = json.loads(read_file(file, _MOST_BYTES, inside=path, error=FilesError))
    except FilesError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise FilesError(f"{file}: cannot be read ({error}).") from error
    if not isinstance(document, dict):
        raise FilesError(f"{file}: not the result of a search.")
    return document


def radius_of(source: str) -> float | None:
    """Return within how many px points matched in the run that a pipeline is named by; None if it is no such run."""
    path = Path(source.partition("#")[0]).expanduser()
    folder = path if path.is_dir() else runs_folder() / path.name
    found = (result_of(folder) or {}).get("radius_px")
    return found if isinstance(found, int | float) else None


def numbered(front: Front) -> list[dict[str, Any]]:
    """Return the members of a front as values that JSON knows; of those that are equal in every respect, the first."""
    distinct: dict[tuple[float, int, int], Scored] = {}
    for scored in front.members:
        distinct.setdefault((round(scored.score, 3), len(scored.pipeline), round(scored.pipeline.cost)), scored)
    return [
        {
            "number": number,
            "search": scored.score,
            "length": len(scored.pipeline),
            "cost_ms_per_mpx": scored.pipeline.cost,
            "digest": scored.pipeline.settled().digest,
            "pipeline": print_text(scored.pipeline),
        }
        for number, scored in enumerate(distinct.values(), 1)
    ]
