"""Search for several classes: a run each, one after the other, and what they give together."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evoseg import __version__
from evoseg.app.agents import capped, staff_of
from evoseg.app.api import plan, resume, tell_warnings
from evoseg.app.classes import mean_of, read_classes, read_document, score_classes
from evoseg.app.datasets import Data, name_of, opened
from evoseg.app.executing import hired
from evoseg.app.found import Found, FoundClasses, found_again
from evoseg.app.kept import delete, result_of
from evoseg.app.pending import pending_of
from evoseg.app.recording import recorded_splits, settings_of
from evoseg.app.runs import (
    CLASSES,
    DATABASE,
    LOCK,
    FilesError,
    RunFolder,
    make_folder,
    run_id,
    runs_folder,
    write_whole,
)
from evoseg.app.settings import RunSettings, run_settings
from evoseg.app.solved import remember_or_say
from evoseg.app.status import Watch
from evoseg.app.tasks import AUTO, BINARY, check_names
from evoseg.base.errors import DatasetError, SettingsError
from evoseg.data.classes import classes_of, of_class
from evoseg.data.dataset import Dataset
from evoseg.data.meaning import CLASSES as TASK
from evoseg.data.reading import Reading
from evoseg.data.sources import recorded_reading
from evoseg.data.splits import split as split_of
from evoseg.data.splits import split_to_search
from evoseg.store.lock import RunLock
from evoseg.store.runs import read_run

logger = logging.getLogger(__name__)


def search_classes(
    data: Data,
    *,
    axes: str = "",
    page: int | str = "",
    channel: int | str = "",
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Watch | None = None,
    **asked: Any,
) -> FoundClasses:
    """Search for a pipeline per class, each of which tells its class from all else, and prove them.

    The classes are the masks' values above 0, or those that `dataset.yaml` names. Each has a run of its own in
    OUT/NAME, and an equal share of the seconds or evaluations and of what a language model may cost; all have the same
    search, selection and test images.

    Parameters
    ----------
    data, axes, page, channel, overwrite, progress
        As of `evoseg.search`.
    out : path, optional
        Folder for the runs and classes.json; by default a new one under $EVOSEG_HOME/runs.
    **asked
        Any other setting of `evoseg.search`.

    Raises
    ------
    EvosegError
        As `evoseg.search`; also if the dataset has no classes.
    KeyboardInterrupt
        At the first Ctrl-C, with everything saved; `resume_classes` goes on.
    """
    settings = run_settings(**asked, reading=Reading(axes, str(page), str(channel)))
    if settings.task not in (AUTO, TASK):
        raise SettingsError(f"task is {settings.task}; a pipeline per class is the task {TASK}.")
    check_names(TASK, settings.metric)
    dataset = opened(data, settings.reading)
    parts = _parts(dataset)
    tell_warnings(dataset)
    shared = _share(capped(replace(settings, task=BINARY)), len(parts))
    folder = Path(out).expanduser().absolute() if out else runs_folder() / run_id(name_of(dataset))
    if (folder / CLASSES).exists() and not overwrite:
        raise FilesError(
            f"{folder}: holds {CLASSES} already, and nothing is overwritten. Choose another folder, or allow it with "
            "--overwrite (overwrite=True); an unfinished search goes on with `evoseg runs resume`."
        )
    staff_of(shared)  # a model or a cluster that cannot be used leaves no files
    with hired(shared.executor):
        _begin(folder, dataset, parts, shared, overwrite=overwrite)
    logger.warning(
        "a pipeline for each of %d classes, with equal shares of the budget: %s", len(parts), ", ".join(parts)
    )
    return _go_on(folder, dataset, _Again(None, None, progress))


def resume_classes(
    folder: str | Path,
    data: Data | None = None,
    *,
    workers: int | None = None,
    executor: str | None = None,
    progress: Watch | None = None,
) -> FoundClasses:
    """Go on with a search for several classes that was interrupted or killed.

    Parameters
    ----------
    folder : path
        That holds classes.json.
    data, workers, executor, progress
        As of `evoseg.resume`.

    Raises
    ------
    EvosegError
        As `evoseg.resume`.
    """
    path = Path(folder).expanduser().absolute()
    document = read_document(path / CLASSES)
    try:
        where, reading = document["dataset_path"] if data is None else data, Reading.recorded(document["reads"])
    except (KeyError, TypeError) as error:
        raise FilesError(f"{path / CLASSES}: does not say what was searched in ({error}).") from error
    if where is None:
        raise DatasetError(f"{path}: its images were given as arrays; give them again, by evoseg.resume_classes.")
    dataset = opened(where, reading)
    return _go_on(path, dataset, _Again(workers, executor, progress))


@dataclass(frozen=True)
class _Again:
    """Where and under whose eyes runs go on; None for as before."""

    workers: int | None
    executor: str | None
    progress: Watch | None

    def watching(self, name: str) -> Watch | None:
        """Return who is told of the search for one class, which bears its name."""
        watch = self.progress
        return watch and (lambda status: watch(replace(status, task=name)))


def _parts(dataset: Dataset) -> dict[str, Dataset]:
    """Return the dataset of each class by its name, once it is sure that each can be searched for."""
    parts = {}
    for value, name in classes_of(dataset).items():
        parts[name] = of_class(dataset, value)
        try:
            split_to_search(parts[name])
        except DatasetError as error:
            raise DatasetError(f"{dataset.title}: class {name}: {error}") from error
    return parts


def _share(settings: RunSettings, n: int) -> RunSettings:
    """Return the settings of one class of `n`: together they spend no more than was allowed."""
    return replace(
        settings,
        seconds=None if settings.seconds is None else settings.seconds / n,
        evaluations=None if settings.evaluations is None else max(1, settings.evaluations // n),
        llm_calls=settings.llm_calls // n,
        llm_tokens=None if settings.llm_tokens is None else settings.llm_tokens // n,
        llm_usd=None if settings.llm_usd is None else settings.llm_usd / n,
    )


def _begin(
    folder: Path, dataset: Dataset, parts: Mapping[str, Dataset], shared: RunSettings, *, overwrite: bool
) -> None:
    """Put a run of each class on record, or none.

    The document comes first: after a kill, it is known what the folder is, and `_finished` begins what has not begun.
    """
    plans = {name: plan(shared, part) for name, part in parts.items()}
    if (folder / CLASSES).exists():
        delete(folder)  # whole, so that no run of this search ever lies beside one of an earlier search
    make_folder(folder)
    with RunLock(folder):
        begun: list[RunFolder] = []
        try:
            _write(folder, _document(dataset, parts))
            for name, planned in plans.items():
                begun.append(planned.begin(folder / name, overwrite=overwrite))
        except BaseException:
            for one in begun:
                one.drop()
            for name in (CLASSES, LOCK):
                (folder / name).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
            raise


def _document(dataset: Dataset, parts: Mapping[str, Dataset]) -> dict[str, Any]:
    """Return what is known before anything is found."""
    return {
        "evoseg": __version__,
        "task": TASK,
        "dataset": name_of(dataset),
        "dataset_path": str(dataset.root.resolve()) if dataset.root else None,
        "reads": recorded_reading(dataset.source).chosen,
        "classes": [{"value": part.source.reading.value, "name": name} for name, part in parts.items()],
    }


def _write(folder: Path, document: dict[str, Any]) -> None:
    write_whole(folder / CLASSES, json.dumps(document, indent=1, allow_nan=False) + "\n", overwrite=True)


def _go_on(folder: Path, dataset: Dataset, again: _Again) -> FoundClasses:
    """Finish what is not finished yet, alone; an interrupt, at any place, says how to go on."""
    try:
        with RunLock(folder):
            return _put_together(folder, dataset, again)
    except KeyboardInterrupt as error:
        error.add_note(f"go on with: evoseg runs resume {folder}")
        raise


def _put_together(folder: Path, dataset: Dataset, again: _Again) -> FoundClasses:
    """Finish the run of each class, and put together what they found."""
    document = read_document(folder / CLASSES)
    found: dict[str, Found] = {}
    for entry in document["classes"]:
        found[entry["name"]] = _finished(folder, dataset, entry["name"], int(entry["value"]), again)
    for entry in document["classes"]:
        one = found[entry["name"]]
        selection = one.scores["selection"]
        assert selection is not None
        entry |= {"expected": selection, "pipeline": one.result["pipeline"], "scores": one.scores}
        entry |= {"verdict": one.verdict, "good_enough": one.good_enough, "run": str(folder / entry["name"])}
        entry |= {"not_scored": one.result.get("not_scored", {})}
    metric = next(iter(found.values())).metric
    document |= {"metric": metric, "scores": _means(found)}
    _write(folder, document)
    pipeline = read_classes(folder / CLASSES)
    combined: dict[str, float] = {}
    not_scored = {stem for entry in document["classes"] for stem in entry["not_scored"]}
    if set(split_of(dataset).test) - not_scored:
        per_image = score_classes(pipeline, dataset, "test", metric, not_scored, compare=False)
        combined = {name: float(np.mean(list(scores.values()))) for name, scores in per_image.items()}
        document |= {"combined_test": combined, "mean_combined_test": mean_of(per_image)}
        _write(folder, document)
    return FoundClasses(pipeline, found, metric, document["scores"], combined, folder / CLASSES, document)


def _finished(folder: Path, dataset: Dataset, name: str, value: int, again: _Again) -> Found:
    """Return what the run of one class found, searching for the rest of its budget if there is some left."""
    path = folder / name
    if not (path / DATABASE).is_file():
        _begin_late(folder, of_class(dataset, value), name)
    record = read_run(path)
    result = result_of(path) if record.finished else None
    if result is not None:
        recorded_splits(record, of_class(dataset, value))
        run = RunFolder(record.id, path, new=False)
        if pending := pending_of(record.id):  # a kill or a lock came between its end and the library
            remember_or_say(pending, run.name)
        return found_again(result, run)
    found = resume(path, dataset, workers=again.workers, executor=again.executor, progress=again.watching(name))
    if found.result["stopped_by"] == "interrupt":
        raise KeyboardInterrupt
    return found


def _begin_late(folder: Path, part: Dataset, name: str) -> None:
    """Put the run of one class on record as those of the others are: a kill came before it was, or it was deleted.

    Raises
    ------
    FilesError
        If there is no run to go by.
    """
    others = sorted(folder.glob(f"*/{DATABASE}"))
    if not others:
        raise FilesError(
            f"{folder}: none of its runs had begun when the search was killed, so there is nothing to go on with. "
            "Search again with --overwrite (overwrite=True)."
        )
    shared = settings_of(read_run(others[0].parent))
    plan(replace(shared, offers=(), barred={}), part).begin(folder / name, overwrite=True)


def _means(found: Mapping[str, Found]) -> dict[str, float | None]:
    """Return the means over classes of their scores, None where one has none."""
    splits = {split: [one.scores[split] for one in found.values()] for split in ("search", "selection", "test")}
    return {split: _mean(scores) for split, scores in splits.items()}


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None
