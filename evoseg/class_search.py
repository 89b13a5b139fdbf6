"""Search for several classes: a run each, one after the other, and what they give together."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evoseg import __version__
from evoseg.api import frame, log_warnings, plan_run, resume
from evoseg.cluster import open_executor
from evoseg.core.deprecation import rename_keywords
from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, SettingsError
from evoseg.datasets.classes import as_classes, classes_of, of_class
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.meaning import CLASSES as TASK
from evoseg.datasets.reading import ReadOptions
from evoseg.datasets.sources import reading_for_record
from evoseg.datasets.splits import split as split_of
from evoseg.datasets.splits import split_to_search
from evoseg.evolve.tasks.task_kinds import AUTO, BINARY, check_names
from evoseg.inference.multiclass import ClassPipeline, read_document, score_classes
from evoseg.library.exchange import add_solved_or_warn, read_pending
from evoseg.llm.agent_session import open_agent, with_token_limit
from evoseg.llm.calls import MemoryCallLog
from evoseg.llm.framing import Framing
from evoseg.report.results import MulticlassResult, SearchResult, class_part
from evoseg.runs.control import RunLock
from evoseg.runs.opening import Data, dataset_name, open_data
from evoseg.runs.options import SearchOptions, accept_options
from evoseg.runs.record import find_splits, read_settings
from evoseg.runs.run_file import read_run
from evoseg.runs.run_folder import (
    CLASSES,
    DATABASE,
    LOCK,
    FilesError,
    RunFolder,
    how_to_continue,
    make_folder,
    refuse_run,
    run_id,
    runs_folder,
    write_whole,
)
from evoseg.runs.settings import RunSettings, resolve_settings
from evoseg.runs.status import ProgressCallback, Status
from evoseg.runs.stored import delete_if_there, read_result

logger = logging.getLogger(__name__)


@accept_options(SearchOptions)
def search_classes(data: Data, options: SearchOptions) -> MulticlassResult:
    """Search for one pipeline per class, each of which tells its class from all else, and test them.

    The classes are the masks' values above 0, or those that `dataset.yaml` names. Each has a run of its own in
    OUT/NAME, and an equal share of the seconds or evaluations and of what a language model may cost; all have the same
    search, selection and test images. `out` is the folder for the runs and classes.json.

    Returns
    -------
    MulticlassResult

    Raises
    ------
    EvosegError
        As `evoseg.search`; also if the dataset has no classes.
    KeyboardInterrupt
        At the first Ctrl-C, with everything saved; `resume_classes` continues.
    """
    task = resolve_settings(options).task
    if task not in (AUTO, TASK):
        raise SettingsError(f"task is {task}; a pipeline per class is the task {TASK}.")
    options = replace(options, task=TASK)
    return search_classes_framed(*frame(data, options), options)


def search_classes_framed(data: Data, framing: Framing | None, options: SearchOptions) -> MulticlassResult:
    """Search as `search_classes` does, for what was proposed if something was.

    Raises
    ------
    EvosegError
        As `search_classes`.
    """
    settings = resolve_settings(options)
    check_names(TASK, settings.metric)
    dataset = as_classes(open_data(data))
    parts = _open_classes(dataset)
    log_warnings(dataset)
    settings = with_token_limit(settings)
    if framing is not None:
        settings = framing.pay(framing.frame(settings))
    shared = _divide_budget(replace(settings, task=BINARY), len(parts))
    out, overwrite = options.flat["out"], options.flat["overwrite"]
    folder = expand(out).absolute() if out else runs_folder() / run_id(dataset_name(dataset))
    refuse_run(folder, overwrite=overwrite)
    open_agent(shared)  # a model or a cluster that cannot be used leaves no files
    with open_executor(shared.executor):
        log, allow_code = None if framing is None else framing.log, options.flat["allow_code"]
        _begin(folder, dataset, parts, shared, overwrite=overwrite, allow_code=allow_code, log=log)
    logger.warning(
        "a pipeline for each of %d classes, with equal shares of the budget: %s", len(parts), ", ".join(parts)
    )
    return _continue(folder, dataset, report=options.report, progress=options.progress)


@rename_keywords(executor="workers")
def resume_classes(
    folder: str | Path,
    data: Data | None = None,
    *,
    workers: int | str | None = None,
    report: bool = True,
    allow_code: bool = False,
    progress: ProgressCallback | None = None,
) -> MulticlassResult:
    """Continue a search for several classes that was interrupted or killed.

    Parameters
    ----------
    folder : path
        That holds classes.json.
    data, workers, report, allow_code, progress
        As of `evoseg.resume`.

    Raises
    ------
    EvosegError
        As `evoseg.resume`.
    """
    path = expand(folder).absolute()
    document = read_document(path / CLASSES)
    try:
        where, reading = document["dataset_path"] if data is None else data, ReadOptions.recorded(document["reads"])
    except (KeyError, TypeError) as error:
        raise FilesError(f"{path / CLASSES}: does not name the dataset of the search ({error}).") from error
    if where is None:
        raise DatasetError(f"{path}: its images were arrays; pass them again, with evoseg.resume_classes.")
    how = {"workers": workers, "report": report, "allow_code": allow_code, "progress": progress}
    return _continue(path, open_data(where, reading), **how)


def _open_classes(dataset: Dataset) -> dict[str, Dataset]:
    """Return the dataset of each class by its name, once it is sure that each can be searched for."""
    parts = {}
    for value, name in classes_of(dataset).items():
        parts[name] = of_class(dataset, value)
        try:
            split_to_search(parts[name])
        except DatasetError as error:
            raise DatasetError(f"{dataset.title}: class {name}: {error}") from error
    return parts


def _divide_budget(settings: RunSettings, n: int) -> RunSettings:
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
    folder: Path,
    dataset: Dataset,
    parts: Mapping[str, Dataset],
    shared: RunSettings,
    *,
    overwrite: bool,
    allow_code: bool,
    log: MemoryCallLog | None,
) -> None:
    """Put a run of each class on record, or none; calls of a model before the search belong to the first.

    The document comes first: after a kill, it is known what the folder is, and `_finish_class` begins runs that are
    missing.
    """
    plans = {name: plan_run(shared, part, allow_code=allow_code) for name, part in parts.items()}
    delete_if_there(folder)  # whole, so that no run of this search ever lies beside one of an earlier search
    make_folder(folder)
    with RunLock(folder):
        refuse_run(folder, overwrite=overwrite)  # another search may have begun there meanwhile
        begun: list[RunFolder] = []
        try:
            _write(folder, _document(dataset, parts))
            for name, planned in plans.items():
                begun.append(planned.begin(folder / name, overwrite=overwrite, log=None if begun else log))
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
        "dataset": dataset_name(dataset),
        "dataset_path": str(dataset.root.resolve()) if dataset.root else None,
        "reads": reading_for_record(dataset.source).chosen,
        "classes": [{"value": part.source.reading.value, "name": name} for name, part in parts.items()],
    }


def _write(folder: Path, document: dict[str, Any]) -> None:
    write_whole(folder / CLASSES, json.dumps(document, indent=1, allow_nan=False) + "\n", overwrite=True)


def _continue(folder: Path, dataset: Dataset, **how: Any) -> MulticlassResult:
    """Finish what is not finished yet, alone; an interrupt, at any place, says how to go on.

    Parameters
    ----------
    **how
        Keywords of `evoseg.resume` for the run of each class.
    """
    try:
        with RunLock(folder):
            return _finish_all(folder, dataset, **how)
    except KeyboardInterrupt as error:
        error.add_note(how_to_continue(str(folder)))
        raise


def _finish_all(folder: Path, dataset: Dataset, **how: Any) -> MulticlassResult:
    """Finish the run of each class, and combine their results."""
    document = read_document(folder / CLASSES)
    found: dict[str, SearchResult] = {}
    parts = []
    for entry in document["classes"]:
        name, value = entry["name"], int(entry["value"])
        found[name] = _finish_class(folder, dataset, name, value, **how)
        parts.append(class_part(value, name, found[name]))
    reading = ReadOptions.recorded(document["reads"])
    result = MulticlassResult(
        dataset=document["dataset"],
        dataset_path=document["dataset_path"],
        reading=reading,
        pipeline=ClassPipeline(tuple(parts), reading.of_images),
        classes=found,
        file=folder / CLASSES,
    )
    _write(folder, result.to_json())
    not_scored = {stem for one in found.values() for stem in one.not_scored}
    if set(split_of(dataset).test) - not_scored:
        per_image = score_classes(result.pipeline, dataset, "test", result.metric, not_scored, compare=False)
        combined = {name: float(np.mean(list(scores.values()))) for name, scores in per_image.items()}
        result = replace(result, combined_test=combined)
        _write(folder, result.to_json())
    return result


def _finish_class(
    folder: Path, dataset: Dataset, name: str, value: int, *, progress: ProgressCallback | None = None, **how: Any
) -> SearchResult:
    """Return what the run of one class found, searching for the rest of its budget if there is some left."""
    path = folder / name
    if not (path / DATABASE).is_file():
        _begin_late(folder, of_class(dataset, value), name, allow_code=how.get("allow_code", False))
    record = read_run(path)
    result = read_result(path) if record.finished else None
    if result is not None:
        find_splits(record, of_class(dataset, value))
        run = RunFolder(record.id, path, new=False)
        if pending := read_pending(record.id):  # a kill or a lock came between its end and the library
            add_solved_or_warn(pending, run.word)
        return SearchResult.from_json(result, run)

    def of_this_class(status: Status) -> None:
        if progress is not None:
            progress(replace(status, task=name))

    found = resume(path, dataset, progress=of_this_class, **how)
    if found.stopped_by == "interrupt":
        raise KeyboardInterrupt
    return found


def _begin_late(folder: Path, part: Dataset, name: str, *, allow_code: bool) -> None:
    """Put the run of one class on record as those of the others are: a kill came before it was, or it was deleted.

    Raises
    ------
    FilesError
        If there is no run to go by.
    """
    others = sorted(folder.glob(f"*/{DATABASE}"))
    if not others:
        raise FilesError(
            f"{folder}: none of its runs had begun when the search was killed, so there is nothing to resume. Search "
            "again with --overwrite (out=evoseg.Output(folder, overwrite=True))."
        )
    shared = read_settings(read_run(others[0].parent), allow_code=allow_code)
    plan = plan_run(replace(shared, offers=(), barred={}), part, allow_code=allow_code)
    plan.begin(folder / name, overwrite=True)
