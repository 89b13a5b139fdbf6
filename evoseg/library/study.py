"""The cross-application study: every stored pipeline on every one of some datasets, as it is and refitted.

Refitting is what a warm start does: the curves of sums and the thresholds are fitted anew. This happens on half of a
dataset's training images, and the other half is scored; or on all of them, and the test images are scored.
"""

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import chain, count
from math import prod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg import __version__
from evoseg.core.disk import expand, prefetch
from evoseg.core.errors import DatasetError, SettingsError
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.memmap import write_pack
from evoseg.datasets.splits import Splits, halve, split
from evoseg.drawing import to_rgb
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings, local_executors
from evoseg.evolve.evaluation.evaluator import JobEvaluator, evenly_spaced
from evoseg.evolve.ports import Scored
from evoseg.evolve.proposers.curve_sums import FeatureBank
from evoseg.evolve.solve import solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.library.collection import bundled_tasks, open_library
from evoseg.library.description import (
    Description,
    describe,
    description_of,
    find_seen,
    hash_images,
)
from evoseg.library.embedders import embedders
from evoseg.library.exchange import make_solved_task
from evoseg.library.likeness import Norm, likeness, measure_norms
from evoseg.library.retrieval import ScaledPipeline, scaled_pipelines
from evoseg.library.task import STATISTICS, SolvedTask, make_slug
from evoseg.library.task_files import TransferResult, read_file, write_task
from evoseg.metrics.mask_scores import MASK_METRICS
from evoseg.pipeline import Pipeline
from evoseg.runs.opening import dataset_name, open_data
from evoseg.runs.options import DEFAULT, NONE
from evoseg.runs.run_folder import FilesError, make_folder, scratch, write_whole
from evoseg.runs.settings import resolve_workers

ROWS, STATE, TASKS = "rows.csv", "study.json", "tasks"
"""Files in the folder of a study: what was measured, what it was measured on, and the tasks that it solved itself."""
SCORES: Mapping[str, str] = {"iou": "iou", "f1": "dice", "mcc": "mcc"}
"""Scores of a study by name, as metrics; the F1 score of pixels is Dice's coefficient."""
N_IMAGES = 8
"""Default number of images of a dataset that pipelines are refitted on, and of those that they are scored on."""
STATISTICS_BINS = 16
SETTLED_S = 10.0
"""Time after which the time that is left can be estimated, s; at first, starting takes most of it."""


@dataclass(frozen=True)
class Row:
    """What one stored pipeline gave on one dataset.

    Attributes
    ----------
    target : str
        Name of the dataset.
    source, name : str
        Id and name of the solved task that the pipeline belongs to.
    role, form : str
        Of the stored pipeline.
    scale : float
        By which its lengths were multiplied.
    fitted : float
        IoU, refitted, on the images that it was refitted on.
    iou, f1, mcc : float
        Mean scores on the other images with no number changed.
    refitted_iou, refitted_f1, refitted_mcc : float
        Refitted. A pipeline that fails scores 0.
    """

    target: str
    source: str
    name: str
    role: str
    form: str
    scale: float
    fitted: float = 0.0
    iou: float = 0.0
    f1: float = 0.0
    mcc: float = 0.0
    refitted_iou: float = 0.0
    refitted_f1: float = 0.0
    refitted_mcc: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What was tried where."""
        return self.target, self.source, self.form, self.scale


@dataclass(frozen=True, eq=False)
class StudiedDataset:
    """A dataset of a study.

    Attributes
    ----------
    name : str
        Unique in the study.
    dataset : Dataset
    fitted_on, scored_on : tuple of str
        Stems of the images that pipelines are refitted on, and of those that they are scored on.
    description : Description
    own : str or None
        Id of the task that was solved on it; None if there is none.
    related : frozenset of str
        Ids of tasks of its own family, and of those that have seen one of the images that are scored.
    """

    name: str
    dataset: Dataset
    fitted_on: tuple[str, ...]
    scored_on: tuple[str, ...]
    description: Description
    own: str | None
    related: frozenset[str]


@dataclass(frozen=True, eq=False)
class Study:
    """What a study has measured.

    Attributes
    ----------
    datasets : tuple of StudiedDataset
    sources : tuple of SolvedTask
        All tasks whose pipelines were tried.
    rows : tuple of Row
    likeness : mapping of str to float array of shape (n_sources, n_datasets)
        How alike sources and datasets are, by each measure; higher is more alike, NaN is unknown.
    on_test : bool
        Whether test images were scored.
    """

    datasets: tuple[StudiedDataset, ...]
    sources: tuple[SolvedTask, ...]
    rows: tuple[Row, ...]
    likeness: Mapping[str, NDArray[np.float64]]
    on_test: bool


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes
    ----------
    doing : str
        What is being done now, in words.
    done, pairs : int
        Pairs of a source and a dataset that were measured, and all of them; 0 of 0 before that begins.
    seconds_left : float or None, s
        Estimate; None if there is none yet.
    """

    doing: str
    done: int = 0
    pairs: int = 0
    seconds_left: float | None = None

    def __str__(self) -> str:
        if not self.pairs:
            return self.doing
        left = "" if self.seconds_left is None else f", about {_duration(self.seconds_left)} left"
        return f"{self.done} of {self.pairs} pairs: {self.doing}{left}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


Progress = Callable[[StudyStatus], None]


def run_study(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    budget: Budget | None = None,
    on_test: bool = False,
    n_images: int = N_IMAGES,
    library: str = DEFAULT,
    workers: int | None = None,
    progress: Progress = lambda status: None,
) -> Study:
    """Measure every stored pipeline on every dataset, or go on with a study that was interrupted.

    Each pair of a task and a dataset is written to a file as soon as it is measured. Folders may be added later.

    Parameters
    ----------
    folders : sequence of path
        Datasets with masks.
    out : path
        Folder of the study.
    budget : Budget, optional
        For a search, with filters only, on each dataset that no task of the library was solved on; its result is
        written to the study's folder, not to the library. Without it, such datasets have no pipelines of their own.
    on_test : bool
        Whether pipelines are refitted on the training images and scored on the test images. By default they are
        refitted on one half of the training images and scored on the other.
    n_images : int
        Maximum number of images of each dataset that pipelines are refitted on, and of those that they are scored on.
    library : str
        As of `evoseg.search`; "none" for the bundled tasks only.
    workers : int, optional
        Worker processes; by default one per CPU core.
    progress : callable
        Called with the status from time to time.

    Raises
    ------
    SettingsError
        If a setting is wrong, or another one than the study in `out` was begun with.
    EvosegError
        For faults of a dataset, of the library or of the folder.
    """
    if not folders:
        raise SettingsError("a study needs datasets; name at least one folder.")
    if not n_images > 0:
        raise SettingsError(f"n_images is {n_images}; it must be at least 1.")
    root, (_, n_workers) = expand(out), resolve_workers(workers)
    opened = _open_all(folders)
    _begin(root, opened, on_test=on_test, n_images=n_images)
    tasks = {task.id: task for task in _stored_tasks(library)}
    parts = {name: _parts(dataset, on_test=on_test) for name, dataset in opened.items()}
    own: dict[str, SolvedTask] = {}
    for name, dataset in opened.items():
        task = _find_own(tasks.values(), name, dataset, [stem for part in parts[name] for stem in part])
        if task is None and budget is not None:
            path = root / TASKS / f"{name}.yaml"
            if not path.is_file():
                progress(StudyStatus(f"searching on {name}, dataset {list(opened).index(name) + 1} of {len(opened)}"))
                _solve(path, dataset, parts[name][0], budget, n_workers)
            task = read_file(path) if path.is_file() else None
        if task is not None:
            own[name] = tasks[task.id] = task
    datasets = []
    for name, dataset in opened.items():
        progress(StudyStatus(f"describing {name}"))
        datasets.append(_studied(name, dataset, parts[name], own.get(name), tasks.values(), n_images))
    rows = _read_rows(root / ROWS)
    _measure_all(root / ROWS, rows, datasets, list(tasks.values()), n_workers, progress)
    wanted = {(d.name, i) for d in datasets for i in tasks}
    return Study(
        tuple(datasets),
        tuple(tasks.values()),
        tuple(row for row in rows.values() if (row.target, row.source) in wanted),
        measure_likeness(datasets, list(tasks.values())),
        on_test,
    )


def transfer_results(study: Study) -> list[TransferResult]:
    """Return what a study has measured between the tasks of its datasets as transfer results of a library."""
    own = {dataset.name: dataset.own for dataset in study.datasets}
    return [
        TransferResult(row.source, target, row.form, row.scale, row.iou, row.refitted_iou)
        for row in study.rows
        if (target := own[row.target]) is not None
    ]


def _open_all(folders: Sequence[str | Path]) -> dict[str, Dataset]:
    """Open datasets; of those with equal names, all but the first get a number."""
    found: dict[str, Dataset] = {}
    for folder in dict.fromkeys(expand(folder).resolve() for folder in folders):
        dataset = open_data(folder)
        if not dataset.labelled or dataset.load(dataset.labelled[0]).mask is None:
            raise DatasetError(f"{folder}: has no masks, so no pipeline can be scored on it. Leave this folder out.")
        plain = make_slug(dataset_name(dataset))
        names = chain([plain], (f"{plain}_{i}" for i in count(2)))
        name = next(name for name in names if name not in found)
        found[name] = dataset
    return found


def _begin(root: Path, opened: Mapping[str, Dataset], **settings: object) -> None:
    """Make the folder of a study, or make sure that it holds one of the same settings and images."""
    path = root / STATE
    digests = {name: dataset.survey.digest for name, dataset in opened.items()}
    state: dict[str, Any] = {"evoseg": __version__, **settings, "datasets": digests}
    if path.is_file():
        try:
            before = json.loads(path.read_text("utf-8"))
            digests = before["datasets"] | digests
            changed = [key for key in ("evoseg", *settings) if before[key] != state[key]]
            changed += [
                f"the images of {name}" for name in before["datasets"] if before["datasets"][name] != digests[name]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FilesError(f"{path}: cannot be read ({error}). Name another folder for the study.") from error
        if changed:
            raise SettingsError(
                f"{root}: the study there was begun with other settings ({', '.join(changed)}). Start another one in "
                "a new folder, or continue with the same settings."
            )
    elif root.is_dir() and any(root.iterdir()):
        raise FilesError(f"{root}: is not empty and holds no study. Name another folder.")
    make_folder(root)
    write_whole(path, json.dumps(state | {"datasets": digests}, indent=1) + "\n", overwrite=True)


def _stored_tasks(library: str) -> list[SolvedTask]:
    """Return all tasks of foreground, bundled ones first."""
    tasks = list(bundled_tasks())
    if library != NONE:
        with closing(open_library(library)) as shelf:
            tasks += shelf.own()
    return [task for task in tasks if task.output is Kind.MASK]


def _parts(dataset: Dataset, *, on_test: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the images that pipelines are refitted on, and those that they are scored on."""
    splits = split(dataset)
    training = (*splits.search, *splits.selection)
    if not on_test:
        return halve(dataset, training)
    if not splits.test:
        raise DatasetError(
            f"{dataset.title}: has too few labelled images for test images. Label more, leave this folder out, or "
            "score halves of the training images."
        )
    return training, splits.test


def _find_own(tasks: Iterable[SolvedTask], name: str, dataset: Dataset, stems: Sequence[str]) -> SolvedTask | None:
    """Return the task that was solved on a dataset: one that has seen at least half of some of its images.

    One of its name comes first, since the same images may have been searched for something else; then the one that has
    seen most, and the latest.
    """
    hashes = hash_images(dataset, stems)
    found = {}
    for task in tasks:
        if find_seen(hashes, task.hashes) is not None:
            n_seen = sum(find_seen({stem: digits}, task.hashes) is not None for stem, digits in hashes.items())
            if n_seen >= len(stems) / 2:
                found[task] = (task.name == name, n_seen)
    return max(reversed(found), key=lambda task: found[task], default=None)


def _solve(path: Path, dataset: Dataset, stems: tuple[str, ...], budget: Budget, workers: int) -> None:
    """Search on some images with filters only, and write the solved task unless its pipeline ignores the image."""
    with scratch() as packs:
        settings = SearchSettings(budget, workers=workers)
        found = solve(dataset, Splits(stems), BinaryTask(), settings, Path(packs), Clock(budget))
    description = describe(dataset, stems, embedders())
    task = make_solved_task(dataset, found, description, "iou", path.stem, f"evoseg {__version__}, library study")
    if task is not None:
        make_folder(path.parent)
        write_task(task, path)


def _studied(
    name: str,
    dataset: Dataset,
    parts: tuple[tuple[str, ...], tuple[str, ...]],
    own: SolvedTask | None,
    tasks: Iterable[SolvedTask],
    n_images: int,
) -> StudiedDataset:
    fitted_on, scored_on = (tuple(part[i] for i in evenly_spaced(len(part), n_images)) for part in parts)
    description = describe(dataset, parts[0], embedders()) if own is None else description_of(own)
    hashes, family = hash_images(dataset, scored_on), dataset.card.family
    related = {
        task.id
        for task in tasks
        if (family and task.card.family == family) or find_seen(hashes, task.hashes) is not None
    }
    related |= {own.id} if own is not None else set()
    return StudiedDataset(
        name, dataset, fitted_on, scored_on, description, None if own is None else own.id, frozenset(related)
    )


def _measure_all(
    path: Path,
    rows: dict[tuple[str, str, str, float], Row],
    datasets: Sequence[StudiedDataset],
    sources: Sequence[SolvedTask],
    workers: int,
    progress: Progress,
) -> None:
    """Measure what is missing among the rows, and append it to them and to their file, pair by pair."""
    pairs = [(dataset, source) for dataset in datasets for source in sources]
    missing = {
        (dataset.name, source.id): [
            candidate
            for candidate in scaled_pipelines(dataset.description, [source])
            if _unmeasured(dataset.name, candidate).key not in rows
        ]
        for dataset, source in pairs
    }
    work = {pair: sum(candidate.program.cost for candidate in found) for pair, found in missing.items()}
    for dataset, source in pairs:
        work[dataset.name, source.id] *= _pixels(dataset)
    began, done_work, done = time.monotonic(), 0.0, sum(not found for found in missing.values())
    for dataset in datasets:
        if not (due := [source for source in sources if missing[dataset.name, source.id]]):
            continue
        with _bench(dataset, workers) as measure:
            for source in due:
                passed, rest = time.monotonic() - began, sum(work.values()) - done_work
                seconds_left = passed * rest / done_work if done_work and passed > SETTLED_S else None
                progress(StudyStatus(f"{source.name} on {dataset.name}", done, len(pairs), seconds_left))
                found = measure(missing[dataset.name, source.id])
                _append_rows(path, found)
                rows |= {row.key: row for row in found}
                done_work, done = done_work + work[dataset.name, source.id], done + 1
    progress(StudyStatus("done", done, len(pairs), 0.0))


def _unmeasured(target: str, candidate: ScaledPipeline) -> Row:
    task, stored = candidate.task, candidate.stored
    return Row(target, task.id, task.name, stored.role, stored.pipeline.form, candidate.scale)


def _pixels(studied: StudiedDataset) -> int:
    facts = studied.dataset.survey.facts
    return sum(prod(facts[stem].shape[:2]) for stem in (*studied.fitted_on, *studied.scored_on))


@contextmanager
def _bench(studied: StudiedDataset, workers: int) -> Iterator[Callable[[Sequence[ScaledPipeline]], list[Row]]]:
    """Pack a dataset's images and yield what measures pipelines on them."""
    task = BinaryTask()
    stems = (*studied.fitted_on, *studied.scored_on)
    with scratch() as packs:
        items = prefetch(lambda stem: task.arrays(studied.dataset.load(stem)), stems)
        pack = write_pack(Path(packs) / "study.pack", zip(stems, items, strict=True))
        sizes = {i: prod(item["mask"].shape) for i, item in enumerate(pack.items)}
        n = len(studied.fitted_on)
        settings = SearchSettings(Budget(evaluations=1), workers=workers)
        with closing(local_executors(settings)(task, pack)) as executor:
            fitting = JobEvaluator(task, executor, {i: size for i, size in sizes.items() if i < n})
            scoring = JobEvaluator(task, executor, {i: size for i, size in sizes.items() if i >= n})
            bank = FeatureBank(fitting.sample_pixels)

            def measure(candidates: Sequence[ScaledPipeline]) -> list[Row]:
                programs = [candidate.program for candidate in candidates]
                evaluations = fitting.evaluate(bank.refit(programs))
                refitted = {
                    program: evaluation
                    for program, evaluation in zip(programs, evaluations, strict=True)
                    if isinstance(evaluation, Scored)
                }
                as_they_are = _scores(scoring, programs)
                found = _scores(scoring, [evaluation.pipeline for evaluation in refitted.values()])
                rows = []
                for candidate in candidates:
                    scores = as_they_are[candidate.program]
                    if (evaluation := refitted.get(candidate.program)) is not None:
                        again = found[evaluation.pipeline]
                        scores |= {f"refitted_{name}": score for name, score in again.items()}
                        scores["fitted"] = round(evaluation.score, 4)
                    rows.append(Row(**asdict(_unmeasured(studied.name, candidate)) | scores))
                return rows

            yield measure


def _scores(evaluator: JobEvaluator, programs: Sequence[Pipeline]) -> dict[Pipeline, dict[str, float]]:
    """Return the mean scores of programs; none of those that fail."""
    return {
        program: {name: round(float(MASK_METRICS[metric].score(counts).mean()), 4) for name, metric in SCORES.items()}
        if isinstance(counts, np.ndarray)
        else {}
        for program, counts in zip(programs, evaluator.judge(programs), strict=True)
    }


_COLUMNS = [field.name for field in fields(Row)]


def _append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Append rows to a file; a kill while it is written leaves at most one half of a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if not path.exists():
        writer.writerow(_COLUMNS)
    writer.writerows([*asdict(row).values()] for row in rows)
    try:
        with path.open("ab") as file:
            file.write(out.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error


def _read_rows(path: Path) -> dict[tuple[str, str, str, float], Row]:
    """Return the rows of a file, none if there is no such file; cut off the half of a line at its end."""
    if not path.exists():
        return {}
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        if not whole:
            path.unlink()
            return {}
        header, *lines = csv.reader(io.StringIO(whole.decode()))
        if header != _COLUMNS:
            raise ValueError(f"line 1 must be {','.join(_COLUMNS)}")
        found = [Row(*line[:5], *map(float, line[5:])) for line in lines]  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError) as error:
        raise FilesError(
            f"{path}: is not what a study writes ({error}). Start another study in a new folder."
        ) from error
    return {row.key: row for row in found}


def measure_likeness(
    datasets: Sequence[StudiedDataset], sources: Sequence[SolvedTask]
) -> dict[str, NDArray[np.float64]]:
    """Return how alike sources and datasets are, by each measure that all datasets have.

    Returns
    -------
    dict of str to float array of shape (n_sources, n_datasets)
        By "image figures", "mask figures", such as "resnet embedding", "likeness", which combines these, and "simple
        statistics", which is known only of sources that were solved on one of the datasets.
    """
    shape = len(sources), len(datasets)
    pairs = [(dataset.description, source) for source in sources for dataset in datasets]
    shared = set.intersection(*(set(dataset.description.described) for dataset in datasets))
    norms = measure_norms(bundled_tasks())
    shared &= set(norms)
    names = {descriptor.id: f"{name.removesuffix('s')} figures" for name, descriptor in STATISTICS.items()}
    # The kind of network comes first in an embedder's id, and a digest of its weights last.
    for name in sorted(shared - set(names)):
        short = f"{name.split('-')[0]} embedding"
        names[name] = name if short in names.values() else short
    found = {
        names[name]: np.array([_similarity(name, *pair, norms[name]) for pair in pairs]).reshape(shape)
        for name in sorted(shared)
    }
    found["likeness"] = np.array(
        [likeness(here.described, there.described, norms).value for here, there in pairs]
    ).reshape(shape)
    statistics = _standardised([_statistics(dataset) for dataset in datasets])
    distances = np.linalg.norm(statistics[:, None] - statistics[None], axis=2)
    found["simple statistics"] = np.full(shape, np.nan)
    for place, dataset in enumerate(datasets):
        for i, source in enumerate(sources):
            if source.id == dataset.own:
                found["simple statistics"][i] = -distances[place]
    return found


def _similarity(name: str, here: Description, there: SolvedTask, norm: Norm) -> float:
    """Return the similarity of two tasks by one descriptor, NaN if the solved one has no vector of it."""
    if name not in there.described:
        return float("nan")
    return norm.similarity(here.described[name], there.described[name])


def _statistics(studied: StudiedDataset) -> NDArray[np.float64]:
    """Return the mean of `simple_statistics` over the images that pipelines are refitted on."""
    images = prefetch(lambda stem: simple_statistics(studied.dataset.load(stem).image), studied.fitted_on)
    return np.asarray(np.mean(list(images), axis=0), np.float64)


def simple_statistics(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return mean and deviation of each channel as shown, and a histogram of the logarithm of the gradient.

    Returns
    -------
    float64 array of shape (6 + STATISTICS_BINS,)
    """
    shown = to_rgb(image) / 255.0
    grey = shown.mean(axis=2)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1))
    histogram, _ = np.histogram(np.log(gradient + 1e-3), STATISTICS_BINS, (np.log(1e-3), np.log(4)))
    return np.concatenate([shown.mean(axis=(0, 1)), shown.std(axis=(0, 1)), histogram / gradient.size])


def _standardised(vectors: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return vectors with every number at mean 0 and deviation 1, so that unlike ones count alike."""
    stacked = np.stack(vectors)
    return np.asarray((stacked - stacked.mean(axis=0)) / (stacked.std(axis=0) + 1e-9))
