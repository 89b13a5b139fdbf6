"""Solved tasks around a search: what to begin with, and what to remember."""

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from evoseg.app.applying import inputs
from evoseg.app.datasets import Data, name_of, opened
from evoseg.app.pending import Pending, all_pending
from evoseg.app.places import places
from evoseg.app.runs import FilesError, RunFolder, home
from evoseg.app.settings import DEFAULT, NONE, RunSettings
from evoseg.app.tasks import AUTO, BINARY, decided, kind_called, sets_classes
from evoseg.base.ahead import ahead
from evoseg.base.errors import EvosegError, SettingsError
from evoseg.base.kinds import Kind
from evoseg.data.dataset import Dataset
from evoseg.data.folder import scan
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.splits import Splits, split_to_search
from evoseg.evolve.evaluator import evenly_spaced
from evoseg.evolve.ports import Task
from evoseg.evolve.solve import Solution
from evoseg.library.describing import MOST_IMAGES, Description, describe, hashes_of
from evoseg.library.embedding import embedder
from evoseg.library.ledger import Reuse
from evoseg.library.remembering import solved_task
from evoseg.library.retrieval import Retrieved, Similar, retrieve
from evoseg.library.shelf import Library
from evoseg.library.task import METRICS, TASKS
from evoseg.library.warm import WHOLE, Offer, WarmStart, lives_on
from evoseg.store.library import WAIT_S

logger = logging.getLogger(__name__)

K = 5
"""Solved tasks that a person is shown."""
MOST_K = 1000
JUDGED_S = 2.0
"""Modelled time up to which retrieved programs are judged as they are, for the ledger."""
END_WAIT_S = 10.0
"""How long a search that is done waits for a library that is being written."""
CATCH_UP_WAIT_S = 0.1
"""How long one that begins does, for what earlier searches have yet to add."""


def open_library(choice: str = DEFAULT, wait_s: float = WAIT_S) -> Library:
    """Open a library.

    Parameters
    ----------
    choice : str
        "default" for $EVOSEG_HOME/library.db, a SQLite file, or the URL of a PostgreSQL database.
    wait_s : float, s
        How long to wait for another process that is writing.

    Raises
    ------
    EvosegError
        If it cannot be used.
    """
    if choice == NONE:
        raise SettingsError("library is 'none'; name a file or a postgresql:// URL, or leave it out for your own.")
    where = _place_of(choice)
    if isinstance(where, Path) and where.suffix != ".db" and not where.is_file():
        raise SettingsError(f"library is '{choice}'; it must be a file ending in .db, a postgresql:// URL, or 'none'.")
    return Library(where, home() / "index", wait_s)


def _place_of(choice: str) -> Path | str:
    """Return the file or the URL of a library."""
    return home() / "library.db" if choice == DEFAULT else choice if "://" in choice else Path(choice).expanduser()


def retrieved(asked: RunSettings, dataset: Dataset, splits: Splits) -> tuple[RunSettings, Description | None]:
    """Return the settings of a search with what the library offers to begin with, and how the task was described.

    Raises
    ------
    EvosegError
        If the library cannot be used.
    """
    if asked.library == NONE:
        return asked, None
    if not _kept(asked):
        logger.warning("libraries keep no solved tasks of %s, so this search starts cold", asked.task)
        return asked, None
    catch_up(asked.library)
    with closing(open_library(asked.library)) as library:
        description = describe(dataset, splits.search, embedder())
        found = retrieve(
            library,
            description,
            WHOLE,
            hashes_of(dataset, splits.test),
            output=asked.kind.output,
            usable=asked.usable,
        )
    for task, stem in found.barred.items():
        logger.warning("the solved task %s has seen the test image %s, so it is left out", task, stem)
    most_cost = asked.search_settings().max_cost
    offers = tuple(s.offer for s in found.similar if s.offer.program.cost <= most_cost)
    return replace(asked, offers=offers, barred=dict(found.barred)), description


def _kept(asked: RunSettings) -> bool:
    """Return whether solved tasks of this kind are kept in libraries."""
    return asked.kind.output in METRICS and not asked.kind.own


def to_remember(
    run: RunFolder,
    asked: RunSettings,
    dataset: Dataset,
    solution: Solution,
    warm: WarmStart,
    description: Description | None,
    macros: Mapping[str, str],
) -> Pending | None:
    """Write down what the library is to keep of a search: the task, and what became of the programs it began with.

    If that is impossible, it is said and no more, since the result is safe by now.

    Parameters
    ----------
    description : Description or None
        From the beginning of the search; measured again if that was in another process.
    macros : mapping of str to str
        What a language model has named.

    Returns
    -------
    Pending or None
        None if there is nothing to remember.
    """
    if not asked.remember or not _kept(asked):
        return None
    try:
        description = description or describe(dataset, solution.splits.search, embedder())
        task = solved_task(dataset, solution, description, asked.score, name_of(dataset), macros=macros)
        if task is None:
            return None
        rows = _reuses(asked, dataset, solution, warm, task.id)
        where = _place_of(asked.library)
        library = str(where.absolute()) if isinstance(where, Path) and asked.library != DEFAULT else asked.library
        root = None if dataset.root is None else dataset.root.resolve()
        pending = Pending(run.id, run.path, library, task, tuple(rows), root)
        pending.save()
    except (EvosegError, OSError) as error:
        logger.warning("this task could not be remembered: %s", error)
        return None
    return pending


def remember(pending: Pending) -> None:
    """Add to its library what a finished search has written down.

    Raises
    ------
    EvosegError, OSError
        If the library cannot be written. What was written down is kept.
    """
    with closing(open_library(pending.library, END_WAIT_S)) as library:
        pending.add_to(library)


def remember_or_say(pending: Pending, name: str) -> None:
    """Add to its library what a finished search has written down; if that is impossible, say when it is tried again.

    Parameters
    ----------
    name : str
        What a command calls the run.
    """
    try:
        remember(pending)
    except (EvosegError, OSError) as error:
        logger.warning(
            "this task is not in the library yet: %s It is added by the next search with that library, or by `evoseg "
            "runs resume %s`.",
            error,
            name,
        )


def catch_up(choice: str) -> None:
    """Add to a library what earlier searches could not, because they were killed or the library was locked.

    A search that begins is not delayed: if the library is locked again, the tasks wait for the next one.
    """
    where = _place_of(choice)
    try:
        if waiting := [pending for pending in all_pending() if _is_same(_place_of(pending.library), where)]:
            with closing(open_library(choice, CATCH_UP_WAIT_S)) as library:
                for pending in waiting:
                    pending.add_to(library)
    except (EvosegError, OSError) as error:
        logger.warning("tasks of earlier searches are not in the library yet: %s", error)


def _is_same(one: Path | str, other: Path | str) -> bool:
    """Return whether two places are the same library."""
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve() == other.resolve()
    return one == other


def _reuses(asked: RunSettings, dataset: Dataset, solution: Solution, warm: WarmStart, target: str) -> list[Reuse]:
    """Return the ledger's rows of a search: what each offered program scored, as it was and refitted."""
    tried = [offer for offer in asked.offers if offer.program.form in warm.heard and offer.task != target]
    as_they_are = _judged(tried, dataset, solution.splits, asked.the_task())
    champion = solution.champion.scored.pipeline
    return [
        Reuse(
            source=offer.task,
            target=target,
            form=offer.form,
            scale=offer.scale,
            retrieved=as_they_are.get(offer.program.digest),
            refitted=round(warm.heard[offer.program.form].score, 4),
            kept=lives_on(offer.program, champion),
        )
        for offer in tried
    ]


def _judged(offers: list[Offer], dataset: Dataset, splits: Splits, task: Task) -> dict[str, float]:
    """Return the mean scores of programs as they are, by digest; of the first ones, if all would take long."""
    facts = dataset.survey.facts
    pixels = sum(facts[stem].shape[0] * facts[stem].shape[1] for stem in splits.search)
    seconds = accumulate(offer.program.cost * pixels * 1e-9 for offer in offers)
    offers = [offer for offer, until in zip(offers, seconds, strict=True) if until <= JUDGED_S]
    totals = dict.fromkeys((offer.program.digest for offer in offers), 0.0)
    for sample in ahead(dataset.load, splits.search if offers else ()):
        truth = task.truth(task.item(sample))
        for offer in offers:
            score = task.score(task.judge(offer.program(sample.image), truth))
            totals[offer.program.digest] += float(score) / len(splits.search)
    return {digest: round(total, 4) for digest, total in totals.items()}


@dataclass(frozen=True, eq=False)
class Likeness:
    """Solved tasks that are like a dataset.

    Attributes
    ----------
    dataset : str
    tasks : tuple of Similar
        The most promising first.
    barred : mapping of str to str
        Tasks that were left out, with the test image of this dataset that each has seen.
    without : tuple of str
        What could not be compared, and why.
    output : Kind
        What is sought in the dataset.
    stems : tuple of str
        Images that were compared.
    """

    dataset: str
    tasks: tuple[Similar, ...]
    barred: Mapping[str, str]
    without: tuple[str, ...]
    output: Kind
    stems: tuple[str, ...]
    _data: Dataset

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return {
            "dataset": self.dataset,
            "similar": [_similar_json(similar) for similar in self.tasks],
            "barred": dict(self.barred),
            "without": list(self.without),
        }

    def save(self, path: str | Path) -> dict[str, str]:
        """Write a picture of the dataset above those of the tasks whose images are known on this machine.

        Returns
        -------
        dict of str to str
            Tasks that are not shown, with the reason.

        Raises
        ------
        FilesError
            If it cannot be written.
        EvosegError
            If an image of the dataset cannot be read.
        """
        from evoseg.app.side_by_side import side_by_side

        known = places(similar.task.id for similar in self.tasks)
        missing = {s.task.name: "its images are not known here" for s in self.tasks if s.task.id not in known}
        missing |= {s.task.name: "its images are these" for s in self.tasks if self._is_of_these_images(known, s)}
        others = [(s.task.name, s.task.output, known[s.task.id]) for s in self.tasks if s.task.name not in missing]
        try:
            return missing | side_by_side(self._data, self.dataset, self.stems, others, self.output, Path(path))
        except OSError as error:
            raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error

    def _is_of_these_images(self, known: Mapping[str, Path], similar: Similar) -> bool:
        """Return whether a task was solved in the folder of this very dataset."""
        return self._data.root is not None and known.get(similar.task.id) == self._data.root.resolve()

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def similar(data: Data, k: int = K, *, task: str = AUTO, library: str = DEFAULT, reading: Reading = PLAIN) -> Likeness:
    """Find solved tasks that are like a dataset, and say why.

    Parameters
    ----------
    data : path, Dataset, or (images, masks)
        Without masks, images alone are compared.
    k : int
        How many tasks.
    task : str
        What is wanted, as of `search`; "auto" takes it from the data, and foreground where nothing is labelled.
    library : str
        As of `search`.
    reading : Reading
        Which page and channels of a folder's files.

    Raises
    ------
    EvosegError
        For faults of the dataset, of a setting, or of the library.
    """
    if not 1 <= k <= MOST_K:
        raise SettingsError(f"k is {k}; it must be a number of tasks from 1 to {MOST_K}.")
    dataset = _with_or_without_masks(data, reading)
    output = _wanted(dataset, task)
    splits = split_to_search(dataset) if dataset.labelled else Splits(dataset.stems)
    with closing(open_library(library)) as shelf:
        description = describe(dataset, splits.search, embedder())
        found = retrieve(shelf, description, k, hashes_of(dataset, splits.test), output=output)
    without = _without(description, found, output)
    return Likeness(name_of(dataset), found.similar, found.barred, without, output, splits.search, dataset)


def _wanted(dataset: Dataset, task: str) -> Kind:
    """Return what is to be found in a dataset.

    Raises
    ------
    SettingsError
        If libraries keep no such tasks.
    """
    if sets_classes(task, None, dataset):
        kind = kind_called(BINARY)
    elif dataset.labelled:
        kind, _, _ = decided(task, None, dataset)
    else:
        kind = kind_called(BINARY if task == AUTO else task)
    if kind.output not in METRICS:
        raise SettingsError(f"libraries keep no solved tasks of {kind.name}; take one of {', '.join(TASKS)}.")
    return kind.output


def _with_or_without_masks(data: Data, reading: Reading) -> Dataset:
    """Open a dataset; where nothing is labelled, some of its images."""
    if not isinstance(data, str | Path):
        return opened(data, reading)
    root = Path(data).expanduser()
    folder = scan(root)
    if folder.masks or folder.points:
        return opened(data, reading)
    images = inputs([root], reading)
    some = [images[i] for i in evenly_spaced(len(images), MOST_IMAGES)]
    arrays = {image.stem: (rows := image.read()).rows(0, rows.shape[0]) for image in some}
    return Dataset.from_arrays(arrays, title=root.resolve().name)


def _without(description: Description, found: Retrieved, output: Kind) -> tuple[str, ...]:
    words = []
    if "masks" not in description.statistics:
        unknown = "points have no size" if output is Kind.POINTS else "no mask shows an object"
        words.append(
            f"{unknown}, so it is not known what is sought: size, shape and contrast are not compared, lengths are not "
            "adapted, and expected scores are those of an average task"
        )
    if not description.vectors:
        words.append("no learned descriptor is installed: images are compared by their statistics only")
    if not found.learned:
        words.append(
            "the ledger is thin for such tasks: neighbours and popular ones take turns, and no score is expected"
        )
    return tuple(words)


def _similar_json(found: Similar) -> dict[str, Any]:
    task = found.task
    return {
        "task": task.name,
        "id": task.id,
        "title": task.card.title,
        "modality": task.card.modality,
        "foreground": task.card.foreground,
        "kind": task.card.task,
        "similarity": dict(found.similarity),
        "expected": found.expected,
        "own_score": task.best.score,
        "metric": task.metric,
        "why": list(found.why),
        "role": found.offer.role,
        "scale": found.offer.scale,
        "digest": found.offer.program.digest,
    }


def _lines(found: Likeness) -> list[str]:
    if not found.tasks:
        return [f"{found.dataset}: no solved task can be compared with it"]
    descriptors = sorted({name for similar in found.tasks for name in similar.similarity})
    short = [name.split("-")[0] for name in descriptors]
    width = max(len(similar.task.name) for similar in found.tasks)
    lines = [f"{'task':{width}s}  {''.join(f'{name:>8s}' for name in short)}  expected  own"]
    for similar in found.tasks:
        close = "".join(
            f"{similar.similarity[name]:8.2f}" if name in similar.similarity else f"{'-':>8s}" for name in descriptors
        )
        expected = "-" if similar.expected is None else f"{similar.expected:.2f}"
        lines.append(f"{similar.task.name:{width}s}  {close}  {expected:>8s}  {similar.task.best.score:.2f}")
        card = similar.task.card
        about = ", ".join(w for w in (card.foreground, card.modality, "" if card.task == "binary" else card.task) if w)
        lines += [f"    {about}"] if about else []
        lines += [f"    alike: {'; '.join(similar.why)}"] if similar.why else []
    lines += [
        "",
        "similarity by descriptor, at most 1; expected: score here once refitted; own: score there",
    ]
    lines += [f"left out: {task}, which has seen the test image {stem}" for task, stem in found.barred.items()]
    return [*lines, *(f"note: {words}" for words in found.without)]
