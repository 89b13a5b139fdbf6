"""Search from Python: from images and masks to a proven pipeline, in one call, and on from where a run was cut."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from evoseg.app.agents import staff_of
from evoseg.app.datasets import Data, name_of, opened
from evoseg.app.executing import LOCAL, hired
from evoseg.app.found import Found, found_again
from evoseg.app.kept import result_of
from evoseg.app.pending import pending_of
from evoseg.app.pipelines import check_channels
from evoseg.app.recording import (
    data_of,
    record_of,
    recorded_splits,
    refuse_other_operators,
    settings_of,
)
from evoseg.app.runs import FilesError, RunFolder, open_run, remove_scratch, run_folder
from evoseg.app.session import Session
from evoseg.app.settings import DEFAULT, LLM_CALLS, LLM_USD, RunSettings, Start, moved, run_settings
from evoseg.app.solved import remember, retrieved
from evoseg.app.status import Watch
from evoseg.app.tasks import decided, named, radius_for, sets_classes
from evoseg.base.errors import SettingsError
from evoseg.data.checking import report_of
from evoseg.data.classes import classes_of
from evoseg.data.dataset import Dataset
from evoseg.data.reading import Reading
from evoseg.data.sources import FolderSource, recorded_reading
from evoseg.data.splits import Splits, split_to_search
from evoseg.evolve.journal import RecordedClock
from evoseg.evolve.own import try_out
from evoseg.evolve.solve import RESERVE_S
from evoseg.library.describing import Description
from evoseg.store.lock import RunLock
from evoseg.store.runs import create_run, read_run

logger = logging.getLogger(__name__)

MOST_WARNINGS = 5


def search(
    data: Data,
    *,
    metric: str | None = None,
    task: str | Path = "auto",
    seconds: float | None = None,
    evaluations: int | None = None,
    target_score: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    executor: str = LOCAL,
    operators: str = "default",
    start: Start = (),
    max_ms_per_mpx: float | None = None,
    library: str = DEFAULT,
    remember: bool = True,
    agent: str | None = None,
    base_url: str | None = None,
    llm_calls: int = LLM_CALLS,
    llm_tokens: int | None = None,
    llm_usd: float | None = LLM_USD,
    roles: str | Path | None = None,
    radius: float | None = None,
    axes: str = "",
    page: int | str = "",
    channel: int | str = "",
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Watch | None = None,
) -> Found:
    """Search for a pipeline that segments images like these, and prove it on images that the search never saw.

    Parameters
    ----------
    data : path, Dataset, or (images, masks)
        A folder with images/ and masks/; or arrays, in order or by name.
    metric : str, optional
        What to maximise: iou, dice, mcc, f_beta, boundary_f or buffered_iou of foreground; ap50, ap or pq of instances;
        f1 or f2 of points; closeness of shifts. By default the first of the task.
    task : str or path
        "binary", "instances", "points" or "registration"; "auto" for what the metric scores, or else for what the
        dataset sets; or a Python file with a task of your own, which is run (docs/own-task.md). For "classes", a
        pipeline each, there is `search_classes`.
    seconds, evaluations, target_score : optional
        When to end: wall time, candidates scored, or a score reached on the search images; 60 s if neither time nor
        evaluations are given. Only a budget of evaluations gives the same result on every machine.
    seed : int
        Of the search. The split into search and test images does not depend on it.
    workers : int, optional
        Processes, by default one per core; 0 runs everything in this one, for debugging.
    executor : str
        What evaluates: "local", or the scheduler of a Dask cluster, as dask://HOST:PORT; the result does not depend on
        it. A cluster has its own number of workers.
    operators : str
        "all" adds operators that need scikit-image; pipelines with those cannot be exported. "cpp" leaves out those
        that exported C++ files do not carry, "imagej" those that ImageJ macros do not.
    start : iterable of Pipeline, path or str
        Programs to begin with.
    max_ms_per_mpx : float, optional
        Highest modelled cost of the pipeline, in ms per megapixel.
    library : str
        Where the solved tasks are that the search begins with, beside those that come with evoseg: "default" for
        $EVOSEG_HOME/library.db, a SQLite file, the URL of a PostgreSQL database, or "none" for a cold start.
    remember : bool
        Whether the library keeps this task, once it is solved.
    agent, base_url : str, optional
        A language model that proposes programs beside the search, as "openai:MODEL", and where it is, if not at
        OpenAI. Its key comes from the environment: OPENAI_API_KEY.
    llm_calls, llm_tokens, llm_usd : optional
        Caps on what it may cost. Where its price is unknown, tokens are capped instead of money.
    roles : path, optional
        Folder with roles that replace evoseg's own or join them (agents/README.md).
    radius : float, optional
        Within how many px a point matches a true one; by default what dataset.yaml says, or 6.
    axes, page, channel : optional
        How files of a folder are read that hold several images: the axes of stacks that are silent or wrong about
        them, as "CYX"; the page, counted from 0, as 3 or "T=0,Z=3"; and the channels, by number from 0 or by name.
        What is left out, dataset.yaml may say. The run remembers it.
    out : path, optional
        Folder for the files of this run; by default a new one under $EVOSEG_HOME/runs.
    overwrite : bool
        Whether `out` may hold the files of another run.
    progress : callable, optional
        Called with a `Status` after each generation.

    Returns
    -------
    Found
        After Ctrl-C, too: the first ends the search with the best so far, the second raises KeyboardInterrupt. After
        either, and after a kill, `resume` goes on.

    Raises
    ------
    SeveralClassesError
        If the masks tell several classes and no task was named.
    EvosegError
        For faults of the dataset (DatasetError), of a setting (SettingsError), of the cluster (ClusterError) or of the
        place for the files, or if the search ended before any candidate was scored.
    """
    asked = run_settings(
        metric=metric,
        task=named(task),
        seconds=seconds,
        evaluations=evaluations,
        target_score=target_score,
        seed=seed,
        workers=workers,
        operators=operators,
        start=start,
        max_ms_per_mpx=max_ms_per_mpx,
        library=library,
        remember=remember,
        agent=agent,
        base_url=base_url,
        llm_calls=llm_calls,
        llm_tokens=llm_tokens,
        llm_usd=llm_usd,
        roles=roles,
        reading=Reading(axes, str(page), str(channel)),
        executor=executor,
        radius=radius,
    )
    staff = staff_of(asked)
    clock = RecordedClock(asked.search_settings().budget, RESERVE_S)
    dataset = opened(data, asked.reading)
    if sets_classes(asked.task, asked.metric, dataset):
        raise SeveralClassesError(dataset)
    tell_warnings(dataset)
    with hired(asked.executor) as hire:
        planned = plan(asked, dataset)
        folder = planned.begin(out, overwrite=overwrite)
        the_search = Session(
            planned.asked, clock, dataset, planned.splits, folder, progress, staff, planned.description, hire
        )
        with RunLock(folder.path) as lock:
            try:
                return the_search.run(lock)
            except Exception:
                if not the_search.evaluated:
                    folder.drop()
                raise


@dataclass(frozen=True)
class Plan:
    """What a run will do, with all that was open decided; nothing has been written yet."""

    asked: RunSettings
    dataset: Dataset
    splits: Splits
    description: Description | None

    def begin(self, out: str | Path | None, *, overwrite: bool) -> RunFolder:
        """Put the run on record.

        Raises
        ------
        EvosegError
            If its folder cannot be made, or holds a run already.
        """
        folder = open_run(name_of(self.dataset), out, overwrite=overwrite)
        with RunLock(folder.path):
            try:
                folder.clear(database=True)
                create_run(folder.path, record_of(folder.id, self.asked, self.dataset, self.splits))
            except Exception:
                folder.drop()
                raise
        return folder


def plan(asked: RunSettings, dataset: Dataset) -> Plan:
    """Decide what is open, and ask the library.

    Raises
    ------
    EvosegError
        As `search`.
    """
    kind, metric, choice = decided(asked.task, asked.metric, dataset)
    asked = asked.decided(kind, metric, radius_for(kind, asked.radius, dataset))
    start = tuple(pipeline.for_images(None) for pipeline in asked.start)  # from here on they are for this dataset
    asked = replace(asked, reading=recorded_reading(dataset.source), start=start)
    if kind.own and dataset.labelled:
        try_out(asked.the_task(), dataset.load(dataset.labelled[0]), Path(kind.name))
    for pipeline in () if kind.own else asked.start:
        check_channels(pipeline, len(dataset.channels), f"{dataset.title}, with a pipeline to start from")
    splits = split_to_search(dataset)
    asked, description = retrieved(asked, dataset, splits)
    if not choice.certain:
        logger.warning("the task is taken to be %s, since %s; --task says otherwise", choice.task, choice.why)
    return Plan(asked, dataset, splits, description)


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


def resume(
    run: str | Path,
    data: Data | None = None,
    *,
    workers: int | None = None,
    executor: str | None = None,
    task: str | Path | None = None,
    progress: Watch | None = None,
) -> Found:
    """Go on with a run that was interrupted or killed, to what it would have found undisturbed.

    With a budget of evaluations that is the same to the last bit; of one in seconds, what is left is searched. If the
    search is done and only its solved task has not reached the library yet, because of a kill or a lock, it is added.

    Parameters
    ----------
    run : str or path
        Id or folder of the run.
    data : path, Dataset, or (images, masks), optional
        Its dataset, if that has moved or was given as arrays.
    workers : int, optional
        Processes, by default as many as before; the result does not depend on it.
    executor : str, optional
        What evaluates, as for `search`; by default what did before.
    task : path, optional
        The file of a task of your own, if the run has one: only what you name is run.
    progress : callable, optional
        Called with a `Status` after each generation.

    Returns
    -------
    Found

    Raises
    ------
    EvosegError
        If there is no such run, another process is searching in it, it is done and remembered, or its dataset or the
        operators have changed since.
    """
    folder = run_folder(run)
    record = read_run(folder.path)
    with RunLock(folder.path) as lock:
        remove_scratch(lock.left)
        if read_run(folder.path).finished:
            return _remembered(replace(folder, id=record.id))
        refuse_other_operators(record)
        asked = moved(settings_of(record, task), executor, workers)
        staff = staff_of(asked)
        clock = RecordedClock(asked.search_settings().budget, RESERVE_S)
        dataset = opened(data_of(record, data), asked.reading)
        splits = recorded_splits(record, dataset)
        folder = replace(folder, id=record.id)
        with hired(asked.executor) as hire:
            return Session(asked, clock, dataset, splits, folder, progress, staff, hire=hire).run(lock)


def _remembered(folder: RunFolder) -> Found:
    """Add what a finished run has yet to add to its library, and return what it found.

    Raises
    ------
    EvosegError
        If there is nothing to add, or the library cannot be written.
    """
    pending, result = pending_of(folder.id), result_of(folder.path)
    if pending is None:
        raise FilesError(f"{folder.name}: this run is done; `evoseg runs show {folder.name}` shows what it found.")
    remember(pending)
    if result is None:
        raise FilesError(f"{folder.name}: its solved task is in the library now; its result has been deleted.")
    logger.warning("%s was done already; its solved task is in the library now", folder.name)
    return found_again(result, folder)


def tell_warnings(dataset: Dataset) -> None:
    """Log what a check of the folder warns of, the first few."""
    if not isinstance(dataset.source, FolderSource):
        return
    report = report_of(dataset)
    warnings = (*(f"{rule}; they were paired by that" for rule in report.pairing), *report.warnings)
    for warning in warnings[:MOST_WARNINGS]:
        logger.warning("%s", warning)
    if len(warnings) > MOST_WARNINGS:
        logger.warning("and %d more; `evoseg check %s` shows all", len(warnings) - MOST_WARNINGS, dataset.root)
