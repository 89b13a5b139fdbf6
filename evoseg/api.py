"""What Python users call: search, resume, replay, score and export."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, overload

from evoseg.cluster import open_executor
from evoseg.core.deprecation import rename_keywords
from evoseg.core.disk import expand
from evoseg.core.errors import SettingsError
from evoseg.datasets.checking import report_on
from evoseg.datasets.classes import as_classes, classes_of
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.reading import DEFAULT_OPTIONS
from evoseg.datasets.sources import FolderSource, reading_for_record
from evoseg.datasets.splits import split_to_search
from evoseg.evolve.context import RESERVE_S
from evoseg.evolve.journal import Difference, RecordedClock
from evoseg.evolve.tasks.task_kinds import TASKS, choose_radius, decide_task, resolve_task, try_out, wants_classes
from evoseg.exporters.targets import ENDINGS, FORMS, READS_IMAGES, exported
from evoseg.inference import score as scoring
from evoseg.inference.score import Scores
from evoseg.library.exchange import add_solved, find_warm_start, read_pending
from evoseg.llm.agent_session import open_agent
from evoseg.llm.framing import Framing, frame_task
from evoseg.pipeline import Pipeline
from evoseg.report.results import SearchResult
from evoseg.runs.code_files import load_codes
from evoseg.runs.control import RunLock
from evoseg.runs.exports import write_export
from evoseg.runs.opening import Data, open_data, open_to_score
from evoseg.runs.options import SearchOptions, accept_options
from evoseg.runs.pipeline_files import check_channels, read_pipeline, reading_of
from evoseg.runs.record import find_data, find_splits, read_settings, refuse_other_operators
from evoseg.runs.run_file import RunRecord, read_run
from evoseg.runs.run_folder import FilesError, RunFolder, find_run_folder, refuse_run, remove_scratch
from evoseg.runs.settings import RunSettings, resolve_settings, with_workers
from evoseg.runs.status import ProgressCallback
from evoseg.runs.stored import (
    list_source_images,
    read_held_out,
    read_radius,
    read_recorded_options,
    read_result,
)
from evoseg.session import Plan, Session

logger = logging.getLogger(__name__)

MOST_WARNINGS = 5


@accept_options(SearchOptions)
def search(data: Data, options: SearchOptions) -> SearchResult:
    """Search for a pipeline that segments images like these, and evaluate it on images that the search never saw.

    Ctrl-C ends the search with the best pipeline so far; a second one raises KeyboardInterrupt. After either, and after
    a kill, `resume` continues it.

    Returns
    -------
    SearchResult

    Raises
    ------
    SeveralClassesError
        If the masks show several classes and no task was named.
    EvosegError
        For errors of the dataset (DatasetError), of an option (SettingsError), of the cluster (ClusterError) or of the
        folder for the files, or if the search ended before any candidate was scored.
    """
    return search_framed(*frame(data, options), options)


@accept_options(SearchOptions)
def propose_task(data: Data, options: SearchOptions) -> Framing:
    """Return the task, metric and radius that a language model proposes for the goal of `agent`; search for nothing.

    `search` with the same options asks the model, too, and goes on with what it proposes. Options that name a task, a
    metric or a radius are kept.

    Returns
    -------
    Framing
        With task, metric, radius and reason; printed, it says all of them.

    Raises
    ------
    EvosegError
        For errors of the dataset or of an option, if there is no goal, or if the model gives no answer that can be
        used.
    """
    framing = frame(data, options)[1]
    if framing is None:
        raise SettingsError("there is no goal. Say what to find: agent=evoseg.Agent(model, goal=...).")
    return framing


def frame(data: Data, options: SearchOptions) -> tuple[Data, Framing | None]:
    """Return the proposal for a goal, and the dataset, open where it was looked at; None without a goal.

    Raises
    ------
    EvosegError
        As `propose_task`.
    """
    if options.flat["goal"] is None:
        return data, None
    settings = resolve_settings(options)
    if out := options.flat["out"]:
        refuse_run(expand(out).absolute(), overwrite=options.flat["overwrite"])  # before the model costs anything
    dataset = open_data(data)
    return dataset, frame_task(settings, dataset)


def search_framed(data: Data, framing: Framing | None, options: SearchOptions) -> SearchResult:
    """Search as `search` does, for what was proposed if something was.

    Raises
    ------
    EvosegError
        As `search`.
    """
    settings = resolve_settings(options)
    agent = open_agent(settings)
    clock = RecordedClock(settings.search_settings().budget, RESERVE_S)
    dataset = open_data(data)
    log = None
    if framing is not None:
        settings, log = framing.frame(settings), framing.log
    if wants_classes(settings.task, settings.metric, dataset):
        raise SeveralClassesError(as_classes(dataset))
    log_warnings(dataset)
    with open_executor(settings.executor) as make_executor:
        plan = plan_run(settings, dataset, allow_code=options.flat["allow_code"])
        folder = plan.begin(options.flat["out"], overwrite=options.flat["overwrite"], drawn=options.report, log=log)
        session = Session(plan, folder, clock, make_executor=make_executor, agent=agent, progress=options.progress)
        with RunLock(folder.path) as lock:
            try:
                return session.run(lock)
            except Exception:
                if not session.evaluated:
                    folder.drop()
                raise


def plan_run(settings: RunSettings, dataset: Dataset, *, allow_code: bool = False) -> Plan:
    """Decide what is open, and ask the library; `allow_code` is for the Python operators of what that offers.

    Raises
    ------
    EvosegError
        As `search`.
    """
    kind, metric, choice = decide_task(settings.task, settings.metric, dataset)
    settings = settings.with_task(kind, metric, choose_radius(kind, settings.radius, dataset))
    start = tuple(pipeline.for_images(None) for pipeline in settings.start)  # from here on they are for this dataset
    settings = replace(settings, reading=reading_for_record(dataset.source), start=start)
    if kind.own and dataset.labelled:
        try_out(settings.make_task(), dataset.load(dataset.labelled[0]), Path(kind.name))
    for pipeline in () if kind.own else settings.start:
        check_channels(pipeline, len(dataset.channels), f"{dataset.title}, with a pipeline to start from")
    splits = split_to_search(dataset)
    settings = find_warm_start(settings, dataset, splits, allow_code=allow_code)
    settings = settings.with_code_of(offer.program for offer in settings.offers)
    if not choice.certain:
        logger.warning("the task is assumed to be %s, because %s; choose another with --task", choice.task, choice.why)
    return Plan(settings, dataset, splits)


class SeveralClassesError(SettingsError):
    """A search for one pipeline where the masks ask for one per class.

    Attributes
    ----------
    dataset : Dataset
        As it was opened.
    """

    def __init__(self, dataset: Dataset) -> None:
        said = ", ".join(f"{name} ({value})" for value, name in classes_of(dataset).items())
        super().__init__(
            f"{dataset.title}: the masks tell the classes {said}. evoseg.search_classes makes a pipeline for each; "
            "with task='binary' every value above 0 is foreground."
        )
        self.dataset = dataset


@rename_keywords(executor="workers")
def resume(
    run: str | Path,
    data: Data | None = None,
    *,
    workers: int | str | None = None,
    task: str | Path | None = None,
    report: bool = True,
    allow_code: bool = False,
    progress: ProgressCallback | None = None,
) -> SearchResult:
    """Continue a run that was interrupted or killed, to the result that it would have had undisturbed.

    With a budget of evaluations that result is the same to the last bit; of a budget in seconds, the rest is searched.
    If the search is done and only its solved task has not reached the library yet, because of a kill or a lock, it is
    added.

    Parameters
    ----------
    run : str or path
        Id or folder of the run.
    data : path, Dataset, or (images, masks), optional
        Its dataset, if that has moved or was given as arrays.
    workers : int or str, optional
        As of `search` (default: as before). The result does not depend on it.
    task : path, optional
        The Python file of your own task, if the run has one: only files that you name are run.
    report : bool
        Whether to draw the report and the pictures.
    allow_code : bool
        Whether Python operators of the run may run that are neither from a search of yours nor allowed before.
    progress : callable, optional
        Called with a `Status` after each generation.

    Returns
    -------
    SearchResult

    Raises
    ------
    EvosegError
        If there is no such run, another process is searching in it, it is complete and its task is in the library, or
        its dataset or the operators have changed since.
    """
    folder = find_run_folder(run)
    record = read_run(folder.path)
    folder = replace(folder, id=record.id, drawn=report)
    with RunLock(folder.path) as lock:
        remove_scratch(lock.previous_owner)
        if read_run(folder.path).finished:
            return _add_to_library(folder)
        load_codes("", folder.path, allow_code=allow_code)  # those that a model wrote, too
        settings = restore_settings(record, task, workers, allow_code=allow_code)
        agent = open_agent(settings)
        clock = RecordedClock(settings.search_settings().budget, RESERVE_S)
        plan = restore_plan(record, data, settings)
        with open_executor(settings.executor) as make_executor:
            return Session(plan, folder, clock, make_executor=make_executor, agent=agent, progress=progress).run(lock)


@dataclass(frozen=True)
class Replay:
    """The outcome of evaluating a run once more.

    Attributes
    ----------
    run : str
    entries : int
        Of the journal, that were compared.
    answers : int
        In these entries.
    difference : Difference or None
        The first one; nothing is compared after it.
    """

    run: str
    entries: int
    answers: int
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        difference = None
        if self.difference is not None:
            difference = vars(self.difference) | {"program": self.difference.program.digest}
        return {
            "run": self.run,
            "entries": self.entries,
            "answers": self.answers,
            "identical": difference is None,
            "first_difference": difference,
        }


@rename_keywords(executor="workers")
def replay(
    run: str | Path,
    data: Data | None = None,
    *,
    workers: int | str | None = None,
    task: str | Path | None = None,
    allow_code: bool = False,
    progress: ProgressCallback | None = None,
) -> Replay:
    """Search again as a run did, evaluate all candidates anew, and compare with the journal bit for bit.

    Nothing of the run is changed. One that was interrupted is replayed as far as it got.

    Parameters
    ----------
    run, data, workers, task, allow_code, progress
        As of `resume`.

    Raises
    ------
    EvosegError
        If there is no such run, its dataset or the operators have changed since, or the search itself asks for
        something else than it did.
    KeyboardInterrupt
        At the first Ctrl-C.
    """
    folder = find_run_folder(run)
    record = read_run(folder.path)
    load_codes("", folder.path, allow_code=allow_code)
    settings = restore_settings(record, task, workers, allow_code=allow_code)
    plan = restore_plan(record, data, settings)
    clock = RecordedClock(settings.search_settings().budget, RESERVE_S)
    with open_executor(settings.executor) as make_executor:
        return Replay(
            folder.name, *Session(plan, folder, clock, make_executor=make_executor, progress=progress).replay()
        )


def restore_settings(
    record: RunRecord, task: str | Path | None, workers: int | str | None, *, allow_code: bool
) -> RunSettings:
    """Return the settings of a run, once it is sure that operators do the same as then.

    Raises
    ------
    EvosegError
        If they have changed.
    """
    refuse_other_operators(record)
    return with_workers(read_settings(record, task, allow_code=allow_code), workers)


def restore_plan(record: RunRecord, data: Data | None, settings: RunSettings) -> Plan:
    """Return what a run was begun with.

    Raises
    ------
    DatasetError
        If its dataset is not there, or has changed.
    """
    dataset = open_data(find_data(record, data), settings.reading)
    return Plan(settings, dataset, find_splits(record, dataset))


def _add_to_library(folder: RunFolder) -> SearchResult:
    """Add what a finished run has yet to add to its library, and return what it found.

    Raises
    ------
    EvosegError
        If there is nothing to add, or the library cannot be written.
    """
    pending, result = read_pending(folder.id), read_result(folder.path)
    if pending is None:
        raise FilesError(f"{folder.name}: this run is complete; `evoseg runs show {folder.word}` shows its result.")
    add_solved(pending)
    if result is None:
        raise FilesError(f"{folder.name}: its solved task has been added to the library; its result has been deleted.")
    logger.warning("%s was already complete; its solved task has been added to the library", folder.name)
    return SearchResult.from_json(result, folder)


def score(
    pipeline: Pipeline | SearchResult | str | Path,
    data: Data,
    split: str = "test",
    *,
    metric: str | None = None,
    task: str | Path | None = None,
    radius: float | None = None,
    allow_code: bool = False,
) -> Scores:
    """Score a pipeline as it is on a dataset, by every metric of its task; nothing is fitted.

    Parameters
    ----------
    pipeline : Pipeline, SearchResult, path or str
        A pipeline; or a result, a pipeline file, or the folder or id of a run, whose way of reading files is taken
        over.
    data : path, Dataset, or (images, masks)
    split : {"test", "search", "selection", "all"}
        Which images to score, by the split that a search would use; "all" are all labelled images.
    metric : str, optional
        The metric whose mean is `score`, and which `print` shows image by image (default: that of a result, else
        the first of the task).
    task : path, optional
        Python file that defines a task of your own; its code is run.
    radius : float, px, optional
        Largest distance at which points match (default: the run's, else that of dataset.yaml, else 6).
    allow_code : bool
        Whether Python operators in the pipeline may run that are neither from a search of yours nor allowed before.

    Returns
    -------
    Scores
        `score` is the mean of the metric, `mean` holds the mean of each, `per_image` the metrics of each image.
        Printed, it is the table of `evoseg score`.

    Raises
    ------
    EvosegError
        If there is no such pipeline, the dataset cannot be used, or the split is empty.

    Warns
    -----
    ImageWarning
        If the images differ from those that the pipeline was made for, or every answer is empty or full.
    """
    own = None if task is None else resolve_task(task)
    if isinstance(pipeline, SearchResult):
        radius = pipeline.radius_px if radius is None else radius
        metric = pipeline.metric if metric is None and own is None and pipeline.task in TASKS else metric
    pipeline = _source(pipeline)
    if isinstance(pipeline, Pipeline):
        return scoring.score(pipeline, open_data(data), split, task=own, radius=radius, metric=metric)
    radius = read_radius(str(pipeline)) if radius is None else radius
    dataset = open_to_score(data, reading_of(pipeline), read_recorded_options(pipeline))
    program = read_pipeline(pipeline, allow_code=allow_code)
    return scoring.score(program, dataset, split, task=own, radius=radius, metric=metric)


def _source(pipeline: Pipeline | SearchResult | str | Path) -> Pipeline | str | Path:
    """Return a result's file, which also says how images were read, or its pipeline if there is no file."""
    if not isinstance(pipeline, SearchResult):
        return pipeline
    file = pipeline.files.get("pipeline")
    return file if file is not None and file.is_file() else pipeline.pipeline


@overload
def export(
    pipeline: Pipeline | SearchResult | str | Path,
    path: None = None,
    to: str = "python",
    *,
    overwrite: bool = False,
    allow_code: bool = False,
) -> str: ...


@overload
def export(
    pipeline: Pipeline | SearchResult | str | Path,
    path: str | Path,
    to: str | None = None,
    *,
    overwrite: bool = False,
    allow_code: bool = False,
) -> Path: ...


def export(
    pipeline: Pipeline | SearchResult | str | Path,
    path: str | Path | None = None,
    to: str | None = None,
    *,
    overwrite: bool = False,
    allow_code: bool = False,
) -> Path | str:
    """Write a pipeline as code that runs without evoseg.

    Parameters
    ----------
    pipeline : Pipeline, SearchResult, path or str
        A pipeline; or a result, a pipeline file, or the folder or id of a run.
    path : path, optional
        File to write (default: none; the code is returned).
    to : {"python", "cpp", "imagej", "json", "bundle", "bioimageio"}, optional
        Format (default: by the ending of the file's name, .py, .cpp, .ijm, .json or .zip; Python without a file).
        Python needs numpy and OpenCV, C++ needs OpenCV; a bundle holds the Python file with all that it needs, and a
        package of bioimage.io a description, too. The networks of a pipeline stand in the Python file, and beside one
        in C++ or JSON.
    overwrite : bool
        Whether an existing file may be replaced.
    allow_code : bool
        Whether Python operators in the pipeline may run that are neither from a search of yours nor allowed before.

    Returns
    -------
    Path or str
        The file that was written, or the code if no file is named.

    Raises
    ------
    ExportError
        If the language has no counterpart of one of the operators.
    FilesError
        If the file exists and `overwrite` is False, or cannot be written.
    SettingsError
        If the language is unknown.
    """
    pipeline, target = _source(pipeline), None if path is None else expand(path)
    if to is None and target is not None:
        to = ENDINGS.get(target.suffix.lower())
        if to is None:
            hint = f'to="{path}"' if path in FORMS else "to="
            raise SettingsError(f"{target}: its ending does not say which language to write. Name it with {hint}.")
    to = to or "python"
    if isinstance(pipeline, Pipeline):
        program, reading, images, held_out = pipeline, DEFAULT_OPTIONS, [], None
    else:
        program, reading = read_pipeline(pipeline, allow_code=allow_code), reading_of(pipeline)
        images = [*list_source_images(str(pipeline))] if to in READS_IMAGES else []
        held_out = read_held_out(str(pipeline), program)
    if target is None:
        return exported(program, to, reading, images)
    write_export(program, to, target, reading, images, held_out, overwrite=overwrite)
    return target


def log_warnings(dataset: Dataset) -> None:
    """Log what a check of the folder warns of, the first few."""
    if not isinstance(dataset.source, FolderSource):
        return
    report = report_on(dataset)
    warnings = (*(f"{rule}; they were paired by that" for rule in report.pairing), *report.warnings)
    for warning in warnings[:MOST_WARNINGS]:
        logger.warning("%s", warning)
    if len(warnings) > MOST_WARNINGS:
        more, root = len(warnings) - MOST_WARNINGS, quote(str(dataset.root))
        logger.warning("and %d more; `evoseg check %s` shows all", more, root)
