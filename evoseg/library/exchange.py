"""What a search takes from a library of solved tasks, and what it gives back."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

from evoseg import __version__
from evoseg.core.disk import prefetch, write_atomically
from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.core.untrusted import read_file
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.ports import Scored, Task
from evoseg.evolve.proposers.warm_start import OFFERED, WarmStart, WarmStartCandidate, contributed_to
from evoseg.evolve.solve import Solution
from evoseg.library.collection import Library, locate_library, open_library, save_image_folder
from evoseg.library.description import Description, describe, hash_images
from evoseg.library.embedders import embedders
from evoseg.library.pictures import save_own_pictures
from evoseg.library.retrieval import retrieve
from evoseg.library.task import METRICS, ROLES, TASKS, Card, SolvedTask, StoredPipeline, make_slug
from evoseg.library.task_files import MAX_MACROS, MAX_TEXT, TransferResult, parse_task, task_document
from evoseg.operators import registry
from evoseg.pipeline import Pipeline
from evoseg.runs.code_files import ConsentError
from evoseg.runs.database import StoreError
from evoseg.runs.opening import dataset_name
from evoseg.runs.options import DEFAULT, NONE
from evoseg.runs.run_file import read_run
from evoseg.runs.run_folder import FilesError, RunFolder, pending_file, pending_folder
from evoseg.runs.settings import RunSettings

logger = logging.getLogger(__name__)

UNCHANGED_S = 2.0
"""Modelled time in s up to which offered programs are also scored unchanged, for the transfer results."""
END_WAIT_S = 10.0
"""How long a finished search waits for a library that another process is writing to, in s."""
CATCH_UP_WAIT_S = 0.1
"""How long a search that begins waits to add what earlier searches could not, in s."""
MAX_BYTES = 64 * 2**20
"""Largest file of a pending task; a solved task takes far less."""


@dataclass(frozen=True)
class Pending:
    """What a search adds to its library: a file in `$EVOSEG_HOME/pending` until the library has it.

    The file is written before `run.db` says that the run is finished, and deleted after the library has the task. So
    a kill between any two of these steps loses nothing, and neither does a library that is locked or unreachable:
    `evoseg runs resume`, or the next search with this library, adds the task. Adding it twice changes nothing.

    Attributes
    ----------
    run : str
        Id of the run.
    folder : Path
        Of the run, absolute.
    library : str
        "default", an absolute path, or a URL.
    task : SolvedTask
    reuses : tuple of Reuse
        What the offered programs scored.
    images : Path or None
        Folder of the dataset; None for arrays.
    """

    run: str
    folder: Path
    library: str
    task: SolvedTask
    reuses: tuple[TransferResult, ...]
    images: Path | None

    def save(self) -> None:
        """Write the file.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = pending_file(self.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "run": self.run,
            "folder": str(self.folder),
            "library": self.library,
            "task": task_document(self.task),
            "reuses": [vars(row) for row in self.reuses],
            "images": None if self.images is None else str(self.images),
        }
        with write_atomically(path) as file:
            file.write(json.dumps(document).encode())

    def add_to(self, library: Library) -> None:
        """Add the task and its transfer results to an open library, and delete the file.

        Raises
        ------
        EvosegError, OSError
            If the library cannot be written; the file stays.
        """
        library.add([self.task])
        library.add_transfer_results(self.reuses)
        if self.images is not None:
            save_image_folder(self.task.id, self.images)
        path = pending_file(self.run)
        for file in (path, *path.parent.glob(f".{path.name}.*.part")):  # of a process that was killed
            file.unlink(missing_ok=True)

    def is_due(self) -> bool:
        """Return whether the run has finished or is gone; a run that was killed is resumed first."""
        try:
            record = read_run(self.folder)
        except StoreError:
            return True
        return record.id != self.run or record.finished is not None


def find_warm_start(asked: RunSettings, dataset: Dataset, splits: Splits, *, allow_code: bool = False) -> RunSettings:
    """Return the settings of a search with the programs that the library offers.

    Tasks are compared by their statistics only: networks that embed images would take seconds of the search, and most
    of what is offered loses the race anyway.

    Raises
    ------
    EvosegError
        If the library cannot be used.
    """
    if asked.library == NONE:
        return asked
    if not _is_stored(asked):
        logger.warning("libraries hold no solved tasks of %s, so this search starts cold", asked.task)
        return asked
    add_pending(asked.library)
    with closing(open_library(asked.library, allow_code=allow_code)) as library:
        found = retrieve(
            library,
            describe(dataset, splits.search),
            OFFERED,
            hash_images(dataset, splits.test),
            output=asked.kind.output,
            usable=asked.allows,
        )
    for task, stem in found.barred.items():
        logger.warning("the solved task %s contains the test image %s, so it is not used", task, stem)
    most_cost = asked.search_settings().max_cost
    offers = tuple(offer for offer in found.offers if offer.program.cost <= most_cost)
    return replace(asked, offers=offers, barred=dict(found.barred))


def _is_stored(asked: RunSettings) -> bool:
    """Return whether libraries hold solved tasks of this kind."""
    return asked.kind.output in METRICS and not asked.kind.own


def write_pending(
    run: RunFolder,
    asked: RunSettings,
    dataset: Dataset,
    solution: Solution,
    warm: WarmStart,
    macros: Mapping[str, str],
) -> Pending | None:
    """Write the file that says what a search adds to its library.

    If that is impossible, a warning says so: the result is safe by then.

    Parameters
    ----------
    macros : mapping of str to str
        Definitions by a language model.

    Returns
    -------
    Pending or None
        None if there is nothing to add.
    """
    if not asked.remember or not _is_stored(asked):
        return None
    try:
        description = describe(dataset, solution.splits.search, embedders())
        task = make_solved_task(dataset, solution, description, asked.score, dataset_name(dataset), macros=macros)
        if task is None:
            return None
        rows = _transfer_results(asked, dataset, solution, warm, task.id)
        where = locate_library(asked.library)
        library = str(where.absolute()) if isinstance(where, Path) and asked.library != DEFAULT else asked.library
        root = None if dataset.root is None else dataset.root.resolve()
        pending = Pending(run.id, run.path, library, task, tuple(rows), root)
        save_own_pictures(task, dataset, solution.splits.search)
        pending.save()
    except (EvosegError, OSError) as error:
        logger.warning("this task cannot be added to the library: %s", error)
        return None
    return pending


def add_solved(pending: Pending) -> None:
    """Add a solved task to its library.

    Raises
    ------
    EvosegError, OSError
        If the library cannot be written. The pending file stays.
    """
    with closing(open_library(pending.library, END_WAIT_S)) as library:
        pending.add_to(library)


def add_solved_or_warn(pending: Pending, run: str) -> None:
    """Add a solved task to its library; if that is impossible, warn and say when it is tried again.

    Parameters
    ----------
    run : str
        Which it is, as it is typed on a command line.
    """
    try:
        add_solved(pending)
    except (EvosegError, OSError) as error:
        logger.warning(
            "this task is not in the library yet: %s It is added by the next search with that library, or by `evoseg "
            "runs resume %s`.",
            error,
            run,
        )


def add_pending(choice: str) -> None:
    """Add to a library the tasks of earlier searches that were killed or found the library locked.

    A search that begins is not delayed: if the library is locked again, the tasks wait for the next one.
    """
    where = locate_library(choice)
    try:
        if waiting := [
            pending for pending in list_pending() if _is_same_library(locate_library(pending.library), where)
        ]:
            with closing(open_library(choice, CATCH_UP_WAIT_S)) as library:
                for pending in waiting:
                    pending.add_to(library)
    except (EvosegError, OSError) as error:
        logger.warning("tasks of earlier searches are not in the library yet: %s", error)


def _is_same_library(one: Path | str, other: Path | str) -> bool:
    """Return whether two paths or URLs mean the same library."""
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve() == other.resolve()
    return one == other


def _transfer_results(
    asked: RunSettings, dataset: Dataset, solution: Solution, warm: WarmStart, target: str
) -> list[TransferResult]:
    """Return what each offered program scored, unchanged and refitted."""
    tried = [offer for offer in asked.offers if offer.program.form in warm.scores and offer.task != target]
    as_they_are = _score_unchanged(tried, dataset, solution.splits, asked.make_task())
    champion = solution.readable.pipeline
    return [
        TransferResult(
            source=offer.task,
            target=target,
            form=offer.form,
            scale=offer.scale,
            retrieved=as_they_are.get(offer.program.digest),
            refitted=round(warm.scores[offer.program.form], 4),
            kept=contributed_to(offer.program, champion),
        )
        for offer in tried
    ]


def _score_unchanged(
    offers: list[WarmStartCandidate], dataset: Dataset, splits: Splits, task: Task
) -> dict[str, float]:
    """Return the mean scores of unchanged programs by digest; of the first ones only, if all would take too long."""
    facts = dataset.survey.facts
    pixels = sum(facts[stem].shape[0] * facts[stem].shape[1] for stem in splits.search)
    seconds = accumulate(offer.program.cost * pixels * 1e-9 for offer in offers)
    offers = [offer for offer, until in zip(offers, seconds, strict=True) if until <= UNCHANGED_S]
    totals = dict.fromkeys((offer.program.digest for offer in offers), 0.0)
    for sample in prefetch(dataset.load, splits.search if offers else ()):
        truth = task.target(task.arrays(sample))
        for offer in offers:
            score = task.score(task.judge(offer.program(sample.image), truth))
            totals[offer.program.digest] += float(score) / len(splits.search)
    return {digest: round(total, 4) for digest, total in totals.items()}


def read_pending(run: str) -> Pending | None:
    """Return the pending task of a run, None if there is none.

    Raises
    ------
    FilesError
        If its file cannot be read.
    """
    return _read(pending_file(run))


def list_pending() -> Iterator[Pending]:
    """Yield the pending tasks of finished runs, the oldest first; warn of files that cannot be read."""
    for path in sorted(pending_folder().glob("*.json"), key=_written):
        try:
            pending = _read(path)
        except FilesError as error:
            logger.warning("%s", error)
            continue
        if pending is not None and pending.is_due():
            yield pending


def _written(path: Path) -> int:
    """Return when a file was written; another process may have deleted it meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _read(path: Path) -> Pending | None:
    """Return what a file holds, None if there is no such file."""
    try:
        document = json.loads(read_file(path, MAX_BYTES, error=FilesError))
        images = document["images"]
        return Pending(
            run=str(document["run"]),
            folder=Path(document["folder"]),
            library=str(document["library"]),
            task=parse_task(document["task"]),
            reuses=tuple(TransferResult(**row) for row in document["reuses"]),
            images=None if images is None else Path(images),
        )
    except FileNotFoundError:
        return None
    except (ConsentError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FilesError(
            f"{path}: cannot be read ({error}), so a solved task is not added to the library. Delete this file, and "
            "search again to solve the task anew."
        ) from error


ENOUGH = 0.8
"""Share of the best score that a short or a cheap pipeline must reach to be stored."""


def make_solved_task(
    dataset: Dataset,
    solution: Solution,
    description: Description,
    metric: str,
    name: str,
    origin: str = "",
    macros: Mapping[str, str] = MappingProxyType({}),
) -> SolvedTask | None:
    """Return the solved task of a search; None if the best pipeline of filters ignores the image.

    Parameters
    ----------
    description : Description
        Of the search images.
    name : str
        Of the dataset, from which the task's short name is made.
    origin : str
        Who solved the task, and with what effort.
    macros : mapping of str to str
        Definitions by a language model, of which the last `MAX_MACROS` are stored.
    """
    if solution.readable.finalist.role == "constant":
        return None
    seen = (*solution.splits.search, *solution.splits.selection)
    return SolvedTask(
        name=make_slug(name),
        card=make_card(dataset, solution.readable.pipeline.output),
        metric=metric,
        n_images=len(seen),
        channels=len(dataset.channels),
        statistics=description.statistics,
        vectors=description.vectors,
        pipelines=tuple(_chosen(solution)),
        hashes=tuple(digits for digits in hash_images(dataset, seen).values() if digits is not None),
        origin=origin or f"evoseg {__version__}, {solution.progress.evaluations} evaluations",
        macros=dict([item for item in macros.items() if len(item[1]) <= MAX_TEXT][-MAX_MACROS:]),
    )


def make_card(dataset: Dataset, output: Kind) -> Card:
    """Return what a solved task stores of a dataset in words.

    Parameters
    ----------
    output : Kind
        What the task asks for: one dataset may be used for foreground and for objects.
    """
    card = dataset.card
    return Card(
        title=dataset.title,
        task=next(name for name, kind in TASKS.items() if kind is output),
        modality=card.modality,
        domain=card.domain,
        foreground=card.foreground,
        family=card.family,
        source=card.source,
        license=card.license,
        pixel_size=dataset.pixel_size,
    )


def _chosen(solution: Solution) -> list[StoredPipeline]:
    """Return the best pipeline, and the shortest and the cheapest one that come near it.

    They are made of filters alone: a network has learned its own images, and says little of those of others.
    """
    best = solution.readable.finalist.scored
    filters = [s for s in solution.progress.front.members if not s.pipeline.has_network]
    near = [s for s in filters if _score(s) >= ENOUGH * _score(best)]
    short = min(near, key=lambda s: (len(s.pipeline), -_score(s)), default=best)
    cheap = min(near, key=lambda s: (s.pipeline.cost, -_score(s)), default=best)
    stored_by_form: dict[str, StoredPipeline] = {}
    for role, scored in zip(ROLES, (best, short, cheap), strict=True):
        pipeline = scored.pipeline.settled()
        stored = StoredPipeline(role, pipeline, round(_score(scored), 4), current_revisions(pipeline))
        stored_by_form.setdefault(pipeline.form, stored)
    return list(stored_by_form.values())


def _score(scored: Scored) -> float:
    return float(scored.left_out.mean())


def current_revisions(pipeline: Pipeline) -> dict[str, int]:
    """Return the present revisions of a pipeline's operators."""
    return {s.operator: registry.get(s.operator).revision for s in pipeline.steps}
