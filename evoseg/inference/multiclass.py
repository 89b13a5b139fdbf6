"""Pipelines for several classes: one each, what becomes of them together, and the document that names them."""

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, EvosegError
from evoseg.core.kinds import Kind
from evoseg.core.untrusted import read_file
from evoseg.datasets.classes import classes_of
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.imageformat import Difference, ImageFormat
from evoseg.datasets.reading import ReadOptions
from evoseg.inference.score import split_stems
from evoseg.metrics import find_metric
from evoseg.metrics.mask_scores import MASK_METRICS
from evoseg.pipeline import Pipeline, print_text, read_text
from evoseg.runs.code_files import load_codes
from evoseg.runs.network_folders import load_networks
from evoseg.runs.pipeline_files import (
    Alternatives,
    Comparison,
    check_channels,
    read_alternatives,
    read_pipeline,
    reading_of,
)
from evoseg.runs.run_folder import CLASSES, RESULT, FilesError, find_run

_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class ClassPart:
    """One class and the pipeline that finds it.

    Attributes
    ----------
    value : int
        Of its pixels in masks and answers, 1 to 255.
    name : str
    pipeline : Pipeline
        Gives a mask.
    expected : float
        The score that it was expected to have on new images before the test images were opened.
    """

    value: int
    name: str
    pipeline: Pipeline
    expected: float


@dataclass(frozen=True)
class ClassPipeline:
    """Pipelines of several classes, which together give an image of classes.

    Where the masks of several classes overlap, the class with the highest expected score has the pixel; of equal ones,
    the one with the lowest value.

    Attributes
    ----------
    parts : tuple of ClassPart
        By value.
    reading : ReadOptions
        How the images were read that they were made for.
    """

    parts: tuple[ClassPart, ...]
    reading: ReadOptions

    def __call__(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the class of each pixel of an image, uint8 (M, N), 0 where there is none."""
        return self.combined(lambda pipeline: pipeline(image))

    def combined(self, mask_of: Callable[[Pipeline], NDArray[np.bool_]]) -> NDArray[np.uint8]:
        """Return the class of each pixel from the masks that the pipelines give."""
        weakest_first = sorted(self.parts, key=lambda part: (part.expected, -part.value))
        classes: NDArray[np.uint8] | None = None
        for part in weakest_first:
            mask = mask_of(part.pipeline)
            classes = np.zeros(mask.shape, np.uint8) if classes is None else classes
            classes[mask] = part.value
        assert classes is not None, "there is at least one class"
        return classes

    @property
    def made_for(self) -> ImageFormat | None:
        """What the images were like that they were made for, if that is known."""
        return self.parts[0].pipeline.made_for

    def for_images(self, made_for: ImageFormat | None) -> "ClassPipeline":
        """Return the same pipelines, which know what images they were made for, or with None do not compare any."""
        parts = tuple(replace(part, pipeline=part.pipeline.for_images(made_for)) for part in self.parts)
        return ClassPipeline(parts, self.reading)

    def lacks(self, n: int, names: Sequence[str] = ()) -> list[Difference]:
        """Compare the channels of an image with those that the pipelines were made for."""
        return _joined(part.pipeline.lacks(n, names) for part in self.parts)

    def differences(self, image: NDArray[Any], names: Sequence[str] = ()) -> list[Difference]:
        """Compare an image, shape (M, N, C), with what the pipelines were made for."""
        return _joined(part.pipeline.differences(image, names) for part in self.parts)

    @property
    def channels(self) -> int:
        """The least number of channels that an image must have."""
        return max(part.pipeline.channels for part in self.parts)

    @property
    def digest(self) -> str:
        """One checksum over the classes and their pipelines."""
        lines = [f"{part.value} {part.pipeline.digest} {part.expected!r}\n" for part in self.parts]
        return sha256("".join(lines).encode()).hexdigest()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the parts as values that JSON knows."""
        return [
            {"value": p.value, "name": p.name, "expected": p.expected, "pipeline": print_text(p.pipeline)}
            for p in self.parts
        ]


def _joined(found: Iterable[list[Difference]]) -> list[Difference]:
    """Return one difference of each kind: an error, if it is one for any of the pipelines."""
    kinds: dict[str, Difference] = {}
    for difference in sorted((d for part in found for d in part), key=lambda d: not d[1]):
        kinds.setdefault(difference[0], difference)
    return list(kinds.values())


def find_classes_file(source: str | Path) -> Path | None:
    """Return the document of a search for several classes, by file, folder or run id, else None."""
    if isinstance(source, str) and "\n" in source:
        return None
    path = expand(source)
    if not path.exists():
        try:
            path = find_run(str(source))
        except FilesError:
            return None  # whoever reads it as a pipeline says what is wrong
    if path.is_dir():
        path /= CLASSES
    named = path.is_file() and (path.name == CLASSES or (path.suffix == ".json" and _names_classes(path)))
    return path if named else None


def _names_classes(path: Path) -> bool:
    """Return whether a JSON file is a document of classes by another name."""
    try:
        return isinstance(read_document(path)["classes"], list)
    except FilesError:
        return False


def read_document(path: Path) -> dict[str, Any]:
    """Return the document of a search for several classes.

    Raises
    ------
    FilesError
        If it cannot be read, or is not such a document.
    """
    try:
        document = json.loads(read_file(path, _MOST_BYTES, error=FilesError))
    except FilesError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise FilesError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(document, dict) or not _are_named(document.get("classes")):
        raise FilesError(f"{path}: names no classes, so it is not from a search for several.")
    return document


def _are_named(entries: Any) -> bool:
    """Return whether something is a list of objects with names."""
    return isinstance(entries, list) and all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in entries)


def read_classes(path: Path, *, allow_code: bool = False) -> ClassPipeline:
    """Return the pipelines that a document names.

    Parameters
    ----------
    path : Path
    allow_code : bool
        Whether Python operators in the pipeline may run that are neither from a search of yours nor allowed before.

    Raises
    ------
    FilesError
        If a class has none yet, or the document cannot be understood.
    PipelineError
        If a pipeline breaks a rule of the form.
    """
    document = read_document(path)
    try:
        if undone := [entry["name"] for entry in document["classes"] if "pipeline" not in entry]:
            raise FilesError(
                f"{path}: there is no pipeline for {', '.join(undone)} yet. "
                f"`evoseg runs resume {quote(str(path.parent))}` continues the search."
            )
        folders = sorted(folder for folder in path.parent.iterdir() if folder.is_dir())
        for entry in document["classes"]:
            load_codes(str(entry["pipeline"]), *folders, allow_code=allow_code)
        parts = tuple(
            ClassPart(int(e["value"]), str(e["name"]), _stored(e["pipeline"]), float(e["expected"]))
            for e in document["classes"]
        )
        reading = ReadOptions(**document.get("reads", {})).of_images
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, EvosegError):
            raise
        raise FilesError(f"{path}: its classes cannot be read ({error}).") from error
    if not parts:
        raise FilesError(f"{path}: names no class.")
    for part in parts:
        load_networks(part.pipeline, *folders)
    return ClassPipeline(parts, reading)


def _stored(text: str) -> Pipeline:
    """Return a pipeline of a document, without a word about values that early versions wrote in another order."""
    return read_text(text, settled=False).settled()


def read_program(source: str, *, allow_code: bool = False) -> tuple[Pipeline | ClassPipeline, ReadOptions]:
    """Return a pipeline, or those of several classes, and how the images were read that it was made for.

    Parameters
    ----------
    source : str
        As of `read_pipeline`; or the folder, id or document of a search for several classes.
    allow_code : bool
        As of `read_pipeline`.

    Raises
    ------
    EvosegError
        If there is none, or it cannot be understood.
    """
    document = find_classes_file(source)
    if document is None:
        return read_pipeline(source, allow_code=allow_code), reading_of(source)
    classes = read_classes(document, allow_code=allow_code)
    return classes, classes.reading


Others = Mapping[str, Alternatives]
"""What else was found, by the digest of the pipeline that was chosen."""


def read_others(source: str, program: Pipeline | ClassPipeline) -> Others:
    """Return what else the search found that a program is from, or each of those for its classes.

    Parameters
    ----------
    source : str
        What the program was read from.

    Raises
    ------
    EvosegError
        If the result of a search cannot be read.
    """
    if isinstance(program, Pipeline):
        return {program.digest: read_alternatives(source, program)}
    document = find_classes_file(source)
    assert document is not None, "several classes come from a document"
    runs = {part.pipeline: document.parent / part.name for part in program.parts}
    return {p.digest: read_alternatives(run, p) for p, run in runs.items() if (run / RESULT).is_file()}


def score_classes(
    program: ClassPipeline,
    dataset: Dataset,
    split: str,
    name: str,
    without: Container[str] = (),
    *,
    compare: bool = True,
) -> Mapping[str, Mapping[str, float]]:
    """Score an image of classes: by class, each as foreground against all else.

    Parameters
    ----------
    split : "test", "search", "selection" or "all"
    name : str
        Of the metric.
    without : container of str
        Stems of images to leave out.
    compare : bool
        Whether to warn of images that are unlike those that the pipelines were made for.

    Returns
    -------
    mapping of str to mapping of str to float
        By the class's name, then by image.

    Raises
    ------
    DatasetError
        If the split is empty, or the dataset has other classes.
    """
    check_class_channels(program, dataset)
    comparison, program = Comparison(program), program.for_images(None)
    present, metric = classes_of(dataset), find_metric(name, MASK_METRICS)
    if missing := [part for part in program.parts if part.value not in present]:
        raise DatasetError(f"{dataset.title}: no mask holds the class {missing[0].value} ({missing[0].name}).")
    scores: dict[str, dict[str, float]] = {part.name: {} for part in program.parts}
    for stem in split_stems(dataset, split):
        if stem in without:
            continue
        sample = dataset.load(stem)
        if sample.values is None:
            raise DatasetError(f"{stem}: has no mask that classes can be compared with.")
        comparison.look(stem, sample.image, dataset.labels, dataset.pixel_size)
        answer = program(sample.image)
        comparison.answer(Kind.MASK, answer, due=bool((sample.values > 0).any()))
        for part in program.parts:
            counts = metric.measure(answer == part.value, sample.values == part.value, sample.known)
            scores[part.name][stem] = float(metric.score(counts))
    if compare:
        comparison.tell()
    return scores


def check_class_channels(program: ClassPipeline, dataset: Dataset) -> None:
    """Refuse a dataset that lacks a channel which one of the pipelines reads.

    Raises
    ------
    PipelineError
    """
    for part in program.parts:
        check_channels(part.pipeline, len(dataset.channels), dataset.title)


def mean_over_classes(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Return the mean over classes of their means over images."""
    return float(np.mean([np.mean(list(of.values())) for of in scores.values()]))
