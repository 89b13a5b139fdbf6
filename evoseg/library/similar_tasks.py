"""Which solved tasks are like a dataset, in words and side by side in a picture."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from evoseg.core.disk import expand
from evoseg.core.errors import SettingsError
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.folder import scan
from evoseg.datasets.layouts.base import IMAGE_FOLDERS
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.splits import Splits, split_to_search
from evoseg.drawing import Rgb, draw_strips, encode, save_png
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.evolve.tasks.task_kinds import AUTO, BINARY, decide_task, find_kind, wants_classes
from evoseg.inference.inputs import list_inputs
from evoseg.library.collection import Library, open_library
from evoseg.library.description import MOST_IMAGES, Description, describe, find_seen, hash_images
from evoseg.library.embedders import likeness_to_noise, needed_embedders
from evoseg.library.likeness import ALIKE, EMBEDDING, IMAGES, MASKS, Likeness
from evoseg.library.pictures import as_strip, make_pictures, task_strip
from evoseg.library.task import METRICS, STATISTICS, TASKS, SolvedTask
from evoseg.runs.opening import Data, dataset_name, open_data
from evoseg.runs.options import DEFAULT
from evoseg.runs.run_folder import FilesError

K = 5
"""Default number of solved tasks that are shown."""
MOST_K = 1000
MOST_ROWS = 30
"""Solved tasks that the sheet shows at most."""
ERROR = 0.17
"""Mean absolute error of the expected score on the bundled tasks, family left out (docs/library.md)."""


@dataclass(frozen=True, eq=False)
class SimilarTask:
    """A solved task that is like a dataset.

    Attributes
    ----------
    task : SolvedTask
    likeness : Likeness
    expected : float or None
        What its best pipeline scored on average, refitted, on images of other tasks; None if it was not tried.
    why : tuple of str
        Features in which the two are alike.
    also : tuple of str
        Names of other tasks that were solved on the same images.
    origin : str
        "bundled", or whose it is and when it was added.
    """

    task: SolvedTask
    likeness: Likeness
    expected: float | None
    why: tuple[str, ...]
    also: tuple[str, ...]
    origin: str


@dataclass(frozen=True, eq=False)
class SimilarTasks:
    """Solved tasks that are like a dataset.

    Attributes
    ----------
    dataset : str
    tasks : tuple of SimilarTask
        The most alike first.
    barred : mapping of str to str
        Tasks that were left out, with the test image of this dataset that each has seen.
    without : tuple of str
        What could not be compared, and why.
    output : Kind
        What is sought in the dataset.
    stems : tuple of str
        Images that were compared.
    any_alike : bool
        Whether the first task is like the dataset; if not, the nearest are shown all the same.
    """

    dataset: str
    tasks: tuple[SimilarTask, ...]
    barred: Mapping[str, str]
    without: tuple[str, ...]
    output: Kind
    stems: tuple[str, ...]
    any_alike: bool
    _data: Dataset

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return {
            "dataset": self.dataset,
            "any_alike": self.any_alike,
            "similar": [_as_json(similar) for similar in self.tasks],
            "barred": dict(self.barred),
            "without": list(self.without),
        }

    @cached_property
    def sheet(self) -> Rgb:
        """A picture of the dataset above the first `MOST_ROWS` tasks, a uint8 array of shape (M, N, 3).

        Raises
        ------
        EvosegError
            If an image of the dataset cannot be read.
        """
        yours = as_strip(make_pictures(self._data, self.stems, self.output), self.dataset, "your images")
        theirs = [
            task_strip(similar.task, f"likeness {similar.likeness.value:.2f}") for similar in self.tasks[:MOST_ROWS]
        ]
        return draw_strips([yours, *theirs], title=f"{self.dataset}, and solved tasks like it")

    def save(self, path: str | Path) -> None:
        """Write `sheet` as a PNG.

        Raises
        ------
        FilesError
            If it cannot be written.
        EvosegError
            If an image of the dataset cannot be read.
        """
        try:
            save_png(self.sheet, path)
        except OSError as error:
            raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error

    def _repr_html_(self) -> str:
        """Show table and sheet in a notebook."""
        data = b64encode(encode(self.sheet, "JPEG")).decode()
        picture = f'<img alt="your images above those of similar tasks" src="data:image/jpeg;base64,{data}">'
        return f"<div><pre>{escape(str(self))}</pre>{picture}</div>"

    def _repr_png_(self) -> bytes:
        """Show the sheet where HTML cannot be shown."""
        return encode(self.sheet)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def __repr__(self) -> str:
        return f"<SimilarTasks of {self.dataset}: {', '.join(similar.task.name for similar in self.tasks)}>"


def similar(
    data: Data, k: int = K, *, task: str = AUTO, library: str = DEFAULT, reading: ReadOptions = DEFAULT_OPTIONS
) -> SimilarTasks:
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
    reading : ReadOptions
        Which page and channels of a folder's files.

    Raises
    ------
    EvosegError
        For errors of the dataset, of a setting, or of the library.
    """
    if not 1 <= k <= MOST_K:
        raise SettingsError(f"k is {k}; it must be a number of tasks from 1 to {MOST_K}.")
    dataset = _open_data(data, reading)
    output = _wanted(dataset, task)
    splits = split_to_search(dataset) if dataset.labelled else Splits(dataset.stems)
    with closing(open_library(library)) as shelf:
        networks = needed_embedders(shelf)
        description = describe(dataset, splits.search, networks)
        tasks, barred = _find_alike(shelf, description, k, hash_images(dataset, splits.test), output)
        any_alike = bool(tasks) and tasks[0].likeness.value >= ALIKE
        if any_alike and networks:
            # Some tasks' images are so noisy that noise is like them; but it is more like other noise.
            noise = likeness_to_noise(networks[0], description.described, shelf.norms)
            any_alike = tasks[0].likeness.value >= noise
    without = _without(dataset, description, output)
    return SimilarTasks(dataset_name(dataset), tasks, barred, without, output, splits.search, any_alike, dataset)


def _find_alike(
    library: Library, description: Description, k: int, test: Mapping[str, str | None], output: Kind
) -> tuple[tuple[SimilarTask, ...], dict[str, str]]:
    """Return the tasks that are most alike, and those that were left out for having seen a test image.

    Tasks that were solved on the same images stand together, headed by the one that seeks what is wanted.
    """
    ranked = dict(library.most_alike(description.described))
    on_same_images: dict[tuple[str, ...], list[SolvedTask]] = {}
    barred = {}
    for i in ranked:
        task = library.tasks([i]).get(i)
        if task is None:
            continue
        images = task.hashes or (i,)
        if len(on_same_images) == k and images not in on_same_images:
            break
        if (stem := find_seen(test, task.hashes)) is not None:
            barred[task.name] = stem
        else:
            on_same_images.setdefault(images, []).append(task)
    found = []
    for tasks in on_same_images.values():
        first = next((task for task in tasks if task.output is output), tasks[0])
        found.append(
            SimilarTask(
                task=first,
                likeness=max((ranked[task.id] for task in tasks), key=lambda likeness: likeness.value),
                expected=library.popularity(first.output).mean_score(first.id),
                why=tuple(_why(description, first)),
                also=tuple(sorted({task.name for task in tasks} - {first.name})),
                origin=library.origins([first.id])[first.id],
            )
        )
    return tuple(found), barred


def _why(description: Description, task: SolvedTask) -> list[str]:
    """Name features that the two tasks share, of masks first: these say more."""
    found = []
    for name in ("masks", "images"):
        one, other = task.statistics.get(name), description.statistics.get(name)
        if one is not None and other is not None and STATISTICS[name].vector(one) is not None:
            found += STATISTICS[name].why(one, other)
    return found


def _wanted(dataset: Dataset, task: str) -> Kind:
    """Return what is to be found in a dataset.

    Raises
    ------
    SettingsError
        If libraries hold no such tasks.
    """
    if wants_classes(task, None, dataset):
        kind = find_kind(BINARY)
    elif dataset.labelled:
        kind, _, _ = decide_task(task, None, dataset)
    else:
        kind = find_kind(BINARY if task == AUTO else task)
    if kind.output not in METRICS:
        raise SettingsError(f"libraries hold no solved tasks of {kind.name}; take one of {', '.join(TASKS)}.")
    return kind.output


def _open_data(data: Data, reading: ReadOptions) -> Dataset:
    """Open a dataset; where nothing is labelled, some of its images."""
    if not isinstance(data, str | Path):
        return open_data(data, reading)
    root = expand(data)
    folder = scan(root)
    if folder.masks or folder.points:
        return open_data(data, reading)
    images = list_inputs([root], reading)
    some = [images[i] for i in evenly_spaced(len(images), MOST_IMAGES)]
    arrays = {image.stem: (rows := image.read()).rows(0, rows.shape[0]) for image in some}
    place = root.resolve()
    return Dataset.from_arrays(arrays, title=(place.parent if place.name in IMAGE_FOLDERS else place).name)


def _without(dataset: Dataset, description: Description, output: Kind) -> tuple[str, ...]:
    words = []
    if "masks" not in description.statistics:
        if not dataset.labelled:
            unknown = "there are no masks"
        else:
            unknown = "points have no size" if output is Kind.POINTS else "no mask shows an object"
        words.append(f"{unknown}, so the images alone are compared, not what is sought in them")
    if not description.vectors:
        words.append("no embedder is installed, so images are compared by their statistics only")
    return tuple(words)


def _as_json(found: SimilarTask) -> dict[str, Any]:
    task = found.task
    return {
        "task": task.name,
        "id": task.id,
        "title": task.card.title,
        "modality": task.card.modality,
        "foreground": task.card.foreground,
        "kind": task.card.task,
        "likeness": round(found.likeness.value, 3),
        "similarity": {name: round(value, 3) for name, value in found.likeness.parts.items()},
        "expected": found.expected,
        "own_score": task.best.score,
        "metric": task.metric,
        "why": list(found.why),
        "also": list(found.also),
        "origin": found.origin,
    }


def _lines(found: SimilarTasks) -> list[str]:
    if not found.tasks:
        return [f"{found.dataset}: no solved task can be compared with it"]
    parts = [
        name for name in (EMBEDDING, IMAGES, MASKS) if any(name in similar.likeness.parts for similar in found.tasks)
    ]
    width = max(len(similar.task.name) for similar in found.tasks)
    lines = [] if found.any_alike else [_NOTHING.format(found.dataset), ""]
    lines.append(f"{'task':{width}s}  likeness  {''.join(f'{name:>10s}' for name in parts)}  expected   own  origin")
    for similar in found.tasks:
        values = [similar.likeness.parts.get(name) for name in parts]
        close = "".join(f"{'-' if value is None else f'{value:.2f}':>10s}" for value in values)
        expected = "-" if similar.expected is None else f"{similar.expected:.2f}"
        lines.append(
            f"{similar.task.name:{width}s}  {similar.likeness.value:8.2f}  {close}  {expected:>8s}  "
            f"{similar.task.best.score:.2f}  {similar.origin}"
        )
        card = similar.task.card
        about = ", ".join(w for w in (card.foreground, card.modality, "" if card.task == "binary" else card.task) if w)
        lines += [f"    {about}"] if about else []
        lines += [f"    on the same images: {', '.join(similar.also)}"] if similar.also else []
        if similar.why and similar.likeness.value >= ALIKE:  # of unlike tasks, some features agree by chance
            lines.append(f"    agrees in: {'; '.join(similar.why)}")
    lines += ["", _COLUMNS]
    lines += [f"left out: {task}, which contains the test image {stem}" for task, stem in found.barred.items()]
    return [*lines, *(f"note: {words}" for words in found.without)]


_NOTHING = "Nothing like {} has been solved yet, as far as one can see. The nearest tasks:"
_COLUMNS = f"""\
likeness: from 0 to 1; tasks below {ALIKE} have little in common. The next columns are its parts, from -1 to 1.
expected: mean score of its best pipeline on tasks of other kinds, refitted there; a single task differs from it
    by {ERROR:.2f} on average.
own: score of its best pipeline on its own images."""
