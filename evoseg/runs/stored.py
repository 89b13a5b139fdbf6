"""Runs that were kept: which there are, how far each is, and the programs on its front."""

import json
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evoseg.core.disk import expand
from evoseg.core.errors import EvosegError, ImageWarning
from evoseg.core.untrusted import read_file
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.folder import scan
from evoseg.datasets.imageformat import ImageFormat
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.evolve.ports import Scored
from evoseg.evolve.selection import Front
from evoseg.evolve.solve import READABLE
from evoseg.exporters.bioimageio import HeldOutScore
from evoseg.metrics import METRIC_LABELS
from evoseg.pipeline import Pipeline, print_text, read_text
from evoseg.runs.control import RunLock, is_locked
from evoseg.runs.database import StoreError
from evoseg.runs.run_file import (
    RunRecord,
    RunState,
    add_look,
    count_recorded_looks,
    iterate_scored,
    read_run,
    read_state,
)
from evoseg.runs.run_folder import (
    ANSWERS,
    CLASSES,
    DATABASE,
    PIPELINE,
    RESULT,
    FilesError,
    RunFolder,
    find_run,
    find_run_folder,
    holds_run,
    list_outside,
    nothing_in,
    pending_file,
    refuse_classes,
    remove_scratch,
    runs_folder,
)

logger = logging.getLogger(__name__)

_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class StoredRun:
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
        return tested + count_recorded_looks(self.folder.path)


def open_run(run: str | Path) -> StoredRun:
    """Return a run by its id or folder.

    Raises
    ------
    EvosegError
        If there is none, or its database cannot be read.
    """
    folder = find_run_folder(run)
    record = read_run(folder.path)
    return StoredRun(folder, record, read_state(folder.path), pending_file(record.id).is_file())


def list_runs() -> tuple[list[StoredRun], dict[str, str]]:
    """Return all runs, oldest first, and what is wrong with those that cannot be read.

    These are the runs in evoseg's own folder, and those that were started with `--out` and are still there.
    """
    found, faults = [], {}
    folder = runs_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # A search for several classes has a run of each in its folder.
        runs = _runs_in(path) if (path / CLASSES).is_file() else [path] if (path / DATABASE).is_file() else []
        for run in runs:
            try:
                found.append(open_run(run))
            except EvosegError as error:
                faults[run.relative_to(folder).as_posix()] = str(error)
        if not runs and path.is_dir() and not is_locked(path):
            faults[path.name] = f"{path}: holds no run. {nothing_in(path)}"
    for run in list_outside():
        try:
            found.append(open_run(run))
        except EvosegError as error:
            faults[str(run)] = str(error)
    return sorted(found, key=lambda run: run.record.started), faults


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
    path = expand(run)
    if not path.is_dir():
        path = find_run(str(run))
    path = path.absolute()
    several, folder = (path / CLASSES).is_file(), RunFolder(path.name, path, new=False)
    if not (several or holds_run(path) or path.parent == runs_folder()):
        raise FilesError(f"{path}: contains no run, so it is not deleted.")
    with RunLock(path) as lock:
        try:
            if several:
                _delete_classes(path)
            remove_scratch(lock.previous_owner)
            folder.remove()
        except EvosegError:
            raise
        except OSError as error:
            raise FilesError(f"{path}: cannot be deleted ({error.strerror}).") from error
    return folder


def delete_if_there(folder: Path) -> None:
    """Delete the run in a folder, or all runs of a search for several classes, if it holds any.

    Raises
    ------
    EvosegError
        If a process is searching in it.
    """
    if (folder / CLASSES).is_file() or holds_run(folder):
        delete(folder)


def _delete_classes(folder: Path) -> None:
    """Delete the runs of all classes, and at last the document that names them."""
    runs = _runs_in(folder)
    if busy := [run for run in runs if is_locked(run)]:
        raise FilesError(f"{busy[0]}: a process is using this run. Wait for it, or end it with Ctrl-C.")
    for run in runs:
        delete(run)
    for path in folder.iterdir():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()  # of a run whose deletion was killed
    for file in (folder / CLASSES, *folder.glob(f".{CLASSES}.*part")):
        file.unlink(missing_ok=True)


@dataclass(frozen=True)
class FrontProgram:
    """A program of a run's Pareto front: no other one beats it in score, length and cost at once.

    Attributes
    ----------
    number : int
        From 1; RUN#3 names number 3.
    search : float
        Score on the search images.
    length : int
        Number of steps.
    cost_ms_per_mpx : float
    digest : str
    pipeline : str
        Its text.
    """

    number: int
    search: float
    length: int
    cost_ms_per_mpx: float
    digest: str
    pipeline: str

    @property
    def has_network(self) -> bool:
        """Whether a step is a trained network."""
        return read_text(self.pipeline, settled=False).has_network


def read_front(path: Path) -> list[FrontProgram]:
    """Return the Pareto front of a run, as numbered in its result.

    As long as there is no result, it is that of what has been found so far.

    Raises
    ------
    EvosegError
        If the run cannot be read.
    """
    result = read_result(path)
    if result is not None and "front" in result:
        names = {one.name for one in fields(FrontProgram)}
        try:
            return [FrontProgram(**{name: entry[name] for name in names}) for entry in result["front"]]
        except (KeyError, TypeError) as error:
            raise FilesError(f"{path / RESULT}: its Pareto front cannot be read ({error}).") from error
    archive = Front()
    for scored in iterate_scored(path):
        archive.update(scored)
    return number_front(archive)


def read_front_program(path: Path, number: int) -> str:
    """Return the text of one program of the front.

    Raises
    ------
    EvosegError
        If the run cannot be read or has none of that number.
    """
    programs = read_front(path)
    if not 1 <= number <= len(programs):
        there = f"{len(programs)} programs, #1 to #{len(programs)}" if programs else "no program yet"
        raise FilesError(f"{path.name}: its Pareto front has {there}; there is no #{number}.")
    return programs[number - 1].pipeline


def read_options_of(path: Path) -> ReadOptions:
    """Return how the images of a run were read.

    Raises
    ------
    EvosegError
        If the run cannot be read.
    """
    return ReadOptions.recorded(read_run(path).settings.get("reading", {}))


def read_recorded_options(source: str | Path) -> ReadOptions:
    """Return how images and masks were read in the run that a pipeline is named by; nothing if that is not known."""
    for folder in _runs_named(source):
        try:
            return read_options_of(folder)
        except StoreError as error:
            logger.warning("it is not known how the run has read its masks: %s", error)
    return DEFAULT_OPTIONS


def count_looks(source: str | Path, digest: str, dataset: Dataset, stems: Iterable[str]) -> int | None:
    """Note that a pipeline was scored, if that was on test images of the run that it comes from.

    Test images are recognised by their checksums, whatever they are called and in whichever folder they lie.

    Parameters
    ----------
    source : str or path
        What the pipeline was named by, as for `read_program`.
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
                add_look(folder, "score", digest, n)
                looks.append(open_run(folder).looks)
        except StoreError as error:
            logger.warning("this use of the test images could not be counted: %s", error)
    return max(looks, default=None)


def _runs_named(source: str | Path) -> list[Path]:
    """Return the folders of the runs that a pipeline, or those of several classes, are named by; none for a text."""
    path = _find_named(source)
    if path is None:
        return []
    folder = path if path.is_dir() else path.parent
    if (folder / CLASSES).is_file():
        return sorted(database.parent for database in folder.glob(f"*/{DATABASE}"))
    return [folder] if (folder / DATABASE).is_file() else []


def _find_named(source: str | Path) -> Path | None:
    """Return the file or the run's folder that a pipeline is named by; None for a text, and if there is none."""
    if "\n" in str(source):
        return None
    path = expand(source)
    if not path.exists():
        path = expand(str(source).partition("#")[0])
    try:
        return path if path.exists() else find_run(str(path))
    except FilesError:
        return None


def read_made_for(path: Path) -> ImageFormat | None:
    """Return what the search images of a run were like; None if it has no result that says so.

    Raises
    ------
    EvosegError
        If the result cannot be read.
    """
    document = (read_result(path) or {}).get("made_for")
    return None if document is None else ImageFormat.read(document)


def find_pipeline_file(path: Path) -> Path:
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
        folder = RunFolder(path.name, path.absolute())
        raise FilesError(
            f"{folder.name}: no pipeline has been chosen yet. `evoseg runs resume {folder.word}` completes the search; "
            f"`evoseg runs show {folder.word} --front` lists the pipelines so far."
        )
    raise FilesError(f"{path}: holds no {PIPELINE}. Name a pipeline's file, or the folder or id of a run.")


def find_answer_file(path: Path, answer: str) -> Path:
    """Return the file of the "readable" or the "accurate" pipeline of a run.

    Raises
    ------
    FilesError
        If there is none; the message says why.
    """
    recommended = find_pipeline_file(path)
    if (path / ANSWERS[answer]).is_file():
        return path / ANSWERS[answer]
    if answer == READABLE:
        return recommended  # the only one
    name = RunFolder(path.name, path.absolute()).name
    why = (read_result(path) or {}).get("networks", {}).get("none", "no network was trained")
    raise FilesError(f"{name}: has no accurate pipeline: {why}. {name} is its readable one.")


def read_result(path: Path) -> dict[str, Any] | None:
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


def read_radius(source: str) -> float | None:
    """Return within how many px points matched in the run that a pipeline is named by; None if it is no such run."""
    found = _read_result_of(source).get("radius_px")
    return found if isinstance(found, int | float) else None


def read_metric(source: str) -> str | None:
    """Return the metric of the run that a pipeline is named by; None if it is no such run."""
    found = _read_result_of(source).get("metric")
    return found if isinstance(found, str) else None


def read_held_out(source: str, pipeline: Pipeline) -> HeldOutScore | None:
    """Return how a pipeline scored on the test images of the run that it is named by; None if that is not known."""
    found = _read_result_of(source)
    try:
        answers = [one for one in found.get("answers", {}).values() if one["pipeline"] == print_text(pipeline)]
        scored = found if found.get("digest") == pipeline.digest else answers[0]
        interval = scored["interval_test"]
        return HeldOutScore(
            metric=METRIC_LABELS.get(found["metric"], found["metric"]),
            score=float(scored["scores"]["test"]),
            interval=None if interval is None else (float(interval[0]), float(interval[1])),
            n_images=len(found["test_per_image"]),
            dataset=str(found["dataset"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return None  # there were no test images, or it is the result of an early version


def _read_result_of(source: str) -> dict[str, Any]:
    path = _find_named(source)
    return (read_result(path) or {}) if path is not None and path.is_dir() else {}


def number_front(front: Front) -> list[FrontProgram]:
    """Return the programs of a front; of those that are equal in every respect, the first."""
    distinct: dict[tuple[float, int, int], Scored] = {}
    for scored in front.members:
        distinct.setdefault((round(scored.score, 3), len(scored.pipeline), round(scored.pipeline.cost)), scored)
    return [
        FrontProgram(
            number=number,
            search=scored.score,
            length=len(scored.pipeline),
            cost_ms_per_mpx=scored.pipeline.cost,
            digest=scored.pipeline.settled().digest,
            pipeline=print_text(scored.pipeline),
        )
        for number, scored in enumerate(distinct.values(), 1)
    ]


LOOKED_AT = 100
"""Images of a dataset, at most, that the reader of an exported file is tried on."""


def list_source_images(source: str) -> list[Path]:
    """Return the image files of the dataset that a pipeline was found on, as far as its run says and they are there."""
    path = _find_named(source)
    folder = path if path is None or path.is_dir() else path.parent
    root = None if folder is None else (read_result(folder) or {}).get("dataset_path")
    if not isinstance(root, str) or not Path(root).is_dir():
        return []
    found = scan(Path(root))
    if found.planes:
        warnings.warn(
            f"{root}: its planes/ are channels, too, which exported files do not combine; in Python, pass an array "
            "with all channels to pipeline(image).",
            ImageWarning,
            stacklevel=2,
        )
        return []
    paths = [found.images[stem] for stem in sorted(found.images)]
    return [paths[i] for i in evenly_spaced(len(paths), LOOKED_AT)]
