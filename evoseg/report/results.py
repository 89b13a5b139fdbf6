"""What a search returns, and the JSON document that says the same."""

import logging
import shutil
import warnings
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import PlainValidator, TypeAdapter, ValidationError

from evoseg.core.disk import expand, write_atomically
from evoseg.core.errors import EvosegError
from evoseg.datasets.meaning import CLASSES as CLASSES_TASK
from evoseg.datasets.reading import ReadOptions
from evoseg.datasets.splits import Splits
from evoseg.evolve.solve import ACCURATE, READABLE
from evoseg.inference.multiclass import ClassPart, ClassPipeline, read_classes, read_document
from evoseg.metrics import METRIC_LABELS
from evoseg.metrics.detections import Detections, worst_image
from evoseg.metrics.shift_scores import error_px
from evoseg.pipeline import Pipeline, print_text, read_text
from evoseg.report.verdicts import FULL, Comparison, Word
from evoseg.runs.network_folders import load_networks, save_networks
from evoseg.runs.run_folder import CLASSES, FilesError, RunFolder, find_run_folder, make_folder, refuse_existing
from evoseg.runs.stored import FrontProgram, read_result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinalistScores:
    """A pipeline that the best one was chosen from.

    Attributes
    ----------
    role : str
        "evolved", "classic" or "constant".
    search, selection : float
        Its scores; `selection` is the one that the choice rested on.
    """

    role: str
    search: float
    selection: float
    length: int
    cost_ms_per_mpx: float
    digest: str


@dataclass(frozen=True)
class LeaderScores:
    """A candidate that was the best so far in the search.

    Attributes
    ----------
    evaluations : int
        Full evaluations up to it.
    search : float
        Its score on the search images, by which it led.
    held_out : float or None
        Its score on the selection images, or where there are none, on search images with curves and thresholds fitted
        without them; None if it could not be scored.
    digest : str
    """

    evaluations: int
    search: float
    held_out: float | None
    digest: str


@dataclass(frozen=True)
class ReusedProgram:
    """A program of a solved task that the search was offered.

    Attributes
    ----------
    task, id, role : str
        The solved task, and which of its pipelines this is.
    scale : float
        The factor by which its lengths were multiplied.
    similarity : mapping of str to float
        Similarity of that task to this one, from -1 to 1, of "images" and, where both have some, "masks".
    expected : float or None
        The score that it was expected to reach here.
    score : float or None
        What it scored on search images that it was not refitted to, or, if it was none of the best, on the two that it
        was tried on; None if it was not tried. In results of version 0.1, on all images, to which it was refitted.
    kept : bool
        Whether the result contains parts of it.
    digest : str
    won : bool or None
        Whether it was better there than the best classic recipe, so that the search began with it. None in results of
        version 0.1, in which searches began with all of them.
    """

    task: str
    id: str
    role: str
    scale: float
    similarity: Mapping[str, float]
    expected: float | None
    score: float | None
    kept: bool
    digest: str
    won: bool | None = None


@dataclass(frozen=True)
class BarredTask:
    """A solved task that was left out, since it contains a test image of this one.

    Attributes
    ----------
    task : str
    barred_by : str
        Stem of the test image.
    """

    task: str
    barred_by: str


@dataclass(frozen=True)
class ModelUse:
    """What a language model did in a search, and what it cost.

    Attributes
    ----------
    model : str or None
        None without a language model; the figures below are then all zero or empty.
    faults : mapping of str to int
        Number of failed calls by reason.
    scored : int
        Number of its programs that were scored.
    operators, experiments : int
        Number of operators that it wrote and that could be used, and of programs that it tried within its rounds.
    credit, champion_ancestry : float
        Its share in the improvements of the best score, and in the steps of the pipeline.
    note : str
        What a user should know, such as why there was no round.
    """

    calls: int = 0
    cost_usd: float = 0.0
    model: str | None = None
    base_url: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    caps: Mapping[str, Any] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    unfinished: int = 0
    rounds: int = 0
    programs: int = 0
    refused: int = 0
    duplicates: int = 0
    scored: int = 0
    leading: Any = 0
    operators: int = 0
    experiments: int = 0
    stopped_by: str = ""
    credit: float = 0.0
    champion_proposed: bool = False
    champion_ancestry: float = 0.0
    macros: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def _read_program(value: Any) -> Pipeline:
    """Return a pipeline of a document, without a warning about values that early versions wrote in another order."""
    return value if isinstance(value, Pipeline) else read_text(value, settled=False).settled()


@dataclass(frozen=True)
class NamedPipeline:
    """One of the two pipelines that a search returns, the readable or the accurate one, and how good it is.

    Attributes
    ----------
    pipeline : Pipeline
    role : str
        "evolved", "classic", "constant" or "network".
    scores : mapping of str to float or None
        As of `SearchResult`.
    interval_selection : (low, high)
    interval_test : (low, high) or None
    cost_ms_per_mpx : float
    size_bytes : int
        Of its text, and of the network beside it.
    test_per_image : mapping of str to float
        Scores by stem.
    judged_per_image : mapping of str to float
        The scores that decide which of the two is recommended: of the selection images, or where there are none, of
        the search images, by networks and numbers that were fitted without the image.
    """

    pipeline: Annotated[Pipeline, PlainValidator(_read_program)]
    role: str
    scores: Mapping[str, float | None]
    interval_selection: tuple[float, float]
    interval_test: tuple[float, float] | None
    cost_ms_per_mpx: float
    size_bytes: int
    test_per_image: Mapping[str, float] = field(default_factory=dict)
    judged_per_image: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search: the best pipeline and how well it scores.

    The attributes bear the names of the keys of the JSON document (`result.json`, `evoseg search --json`).

    Attributes
    ----------
    run : str
        Id of the run.
    dataset : str
        Name of the dataset; `dataset_path` is its folder, None for arrays.
    task, metric : str
    radius_px : float or None
        Distance within which points match; None for other tasks.
    stopped_by : str
        "seconds", "evaluations", "target-score", "interrupt" or "exhausted".
    reproducible : bool
        False if a time or memory limit made a candidate fail.
    pipeline : Pipeline
        Call it with an image to get its mask, labels or points. `print(result.pipeline)` shows the program.
    role : str
        "evolved", or "classic" or "constant" where no evolved pipeline was expected to score higher.
    verdict : str or None
        "better" if the pipeline scores significantly higher on the test images than every baseline, "worse" if
        significantly lower than one of them, else "not surely better" or "too few test images to tell"; None for
        results of early versions.
    good_enough : bool
        Whether the verdict is "better".
    splits : Splits
        Stems of the search, selection and test images.
    scored_on : str
        "full masks", "strokes" or "strokes and full masks".
    looks : int or None
        How often the test images have been looked at.
    scores : mapping of str to float or None
        Means over the "search" and "test" images, and under "selection" what was expected of new images before the
        test images were opened: the mean over the selection split, or where there is none, the search images' mean
        with numbers found on the other images, less two standard errors for what a search finds in images that it
        has seen. Without a test split, "test" is None.
    interval_selection : (low, high)
        95 % interval within which the test score was expected.
    interval_test : (low, high) or None
        95 % bootstrap interval of the test score; None with fewer than two test images.
    baselines_test : mapping of str to float
        Test scores of the answers "all" and "nothing" and of the best "classic" recipe; `baselines_test_per_image`
        has them by stem.
    comparisons_test : mapping of str to Comparison
        By how much the pipeline scores higher than each baseline; empty for fewer than three test images.
    test_per_image, search_per_image : mapping of str to float
        Scores by stem.
    not_scored : mapping of str to str
        Why selection and test images could not be scored, by stem.
    final : bool
        False if resuming the run may still change the result.
    all_metrics_test : mapping of str to float
        Every metric's mean over the test images.
    detections_test : mapping of str to Detections
        Number of objects in each test image, of those that the pipeline misses altogether, and of its false alarms;
        empty for pairs and tasks of one's own, and for results of early versions.
    evaluations, failed, decided : int
        Candidates scored on every search image; failed; decided upon in all.
    seconds, seconds_in_all : float, s
        Time until the pipeline was chosen, and until the result was written.
    history : tuple of (evaluations, seconds, best score)
        One entry for each improvement of the best score.
    leaders : tuple of LeaderScores
        Some of the candidates that improved it, at most eight, with scores on images that the search did not go by;
        these were computed after the choice, which they have no part in. Empty for results of early versions.
    proposers, ancestors : mapping
        Share of each proposer in the improvements; number of the pipeline's ancestors by proposer.
    warm_start : tuple of ReusedProgram or BarredTask
    llm : ModelUse
    front : tuple of FrontProgram
        The Pareto front of score, length and cost.
    finalists : tuple of FinalistScores
    learning : tuple of (number of images, score)
        Score of a choice by so many search images on the other ones.
    recommended : str
        Which of the two `pipeline` is: "readable" or "accurate".
    answers : mapping of str to NamedPipeline
        "readable" and, if networks were trained, "accurate", with the scores of each; empty for results of early
        versions.
    networks : mapping
        What the networks are and how they were trained, or why there are "none".
    settings, versions : mapping
    files : mapping of str to Path
        What the run left: "pipeline", "result", "test", "curve" and "report"; if there are two answers, "readable"
        and "accurate" as well.
    """

    run: str
    dataset: str
    dataset_path: str | None
    dataset_digest: str
    task: str
    metric: str
    radius_px: float | None = None
    seed: int
    stopped_by: str
    reproducible: bool
    pipeline: Annotated[Pipeline, PlainValidator(_read_program)]
    role: str
    verdict: Word | None = None
    good_enough: bool
    splits: Splits
    scored_on: str = FULL
    looks: int | None = None
    scores: Mapping[str, float | None]
    interval_selection: tuple[float, float]
    interval_test: tuple[float, float] | None
    baselines_test: Mapping[str, float]
    baselines_test_per_image: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparisons_test: Mapping[str, Comparison] = field(default_factory=dict)
    test_per_image: Mapping[str, float]
    not_scored: Mapping[str, str] = field(default_factory=dict)
    final: bool = True
    search_per_image: Mapping[str, float]
    all_metrics_test: Mapping[str, float]
    detections_test: Mapping[str, Detections] = field(default_factory=dict)
    evaluations: int
    failed: int = 0
    decided: int = 0
    seconds: float
    seconds_in_all: float = 0.0
    history: tuple[tuple[int, float, float], ...] = ()
    leaders: tuple[LeaderScores, ...] = ()
    proposers: Mapping[str, float] = field(default_factory=dict)
    ancestors: Mapping[str, int] = field(default_factory=dict)
    warm_start: tuple[ReusedProgram | BarredTask, ...] = ()
    llm: ModelUse = field(default_factory=ModelUse)
    front: tuple[FrontProgram, ...] = ()
    finalists: tuple[FinalistScores, ...] = ()
    learning: tuple[tuple[int, float], ...] = ()
    recommended: str = "readable"
    answers: Mapping[str, NamedPipeline] = field(default_factory=dict)
    networks: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """The folder of the run; None if it was not kept."""
        return next((file.parent for file in self.files.values()), None)

    @property
    def report(self) -> Path | None:
        """The report, an HTML file; None if none was written."""
        return self.files.get("report")

    @property
    def readable(self) -> Pipeline:
        """The best pipeline of filters alone; every search finds one."""
        return self.answers[READABLE].pipeline if READABLE in self.answers else self.pipeline

    @property
    def accurate(self) -> Pipeline | None:
        """The best pipeline with a trained network in it; None if no network was trained (`networks` says why)."""
        return self.answers[ACCURATE].pipeline if ACCURATE in self.answers else None

    @property
    def ranked_answers(self) -> dict[str, NamedPipeline]:
        """The answers by name, the recommended one first."""
        return dict(sorted(self.answers.items(), key=lambda item: item[0] != self.recommended))

    @property
    def digest(self) -> str:
        """Checksum of the pipeline."""
        return self.pipeline.digest

    @property
    def length(self) -> int:
        """Number of steps of the pipeline."""
        return len(self.pipeline)

    @property
    def cost_ms_per_mpx(self) -> float:
        """Modelled cost of the pipeline on one core, in ms per megapixel."""
        answer = self.answers.get(self.recommended)
        return self.pipeline.cost if answer is None else answer.cost_ms_per_mpx

    @property
    def n_images(self) -> dict[str, int]:
        """Number of images by split."""
        return {name: len(stems) for name, stems in vars(self.splits).items()}

    @property
    def evaluations_to_best(self) -> int:
        """Number of evaluations until the best score was reached."""
        return self.history[-1][0] if self.history else 0

    @property
    def evaluations_per_second(self) -> float:
        """Candidates scored on every search image per second."""
        return self._rate(self.evaluations)

    @property
    def decided_per_second(self) -> float:
        """Candidates decided upon per second."""
        return self._rate(self.decided)

    def _rate(self, n: int) -> float:
        return round(n / max(self.seconds, 0.01), 2)

    @property
    def error_px_test(self) -> dict[str, float] | None:
        """Median, mean and maximum of the registration errors on the test images, in px; None for other tasks."""
        if self.metric != "closeness" or not self.test_per_image:
            return None
        errors = [error_px(score) for score in self.test_per_image.values()]
        return {"median": float(np.median(errors)), "mean": float(np.mean(errors)), "max": max(errors)}

    @property
    def worst_test(self) -> str | None:
        """Stem of the test image in which most objects are missed, of equal ones that with most false alarms."""
        return worst_image(self.detections_test)

    @property
    def scores_per_image(self) -> Mapping[str, float]:
        """Scores by stem of the test images, or of the search images if there are no test images."""
        return self.test_per_image or self.search_per_image

    @property
    def reused(self) -> list[ReusedProgram]:
        """The programs of solved tasks that were tried, as far as they could be scored."""
        return [one for one in self.warm_start if isinstance(one, ReusedProgram) and one.score is not None]

    @property
    def barred(self) -> list[BarredTask]:
        """The solved tasks that were left out, since they contain a test image."""
        return [one for one in self.warm_start if isinstance(one, BarredTask)]

    def to_json(self) -> dict[str, Any]:
        """Return the result as a document of values that JSON knows; its keys are a stable interface."""
        document = {one.name: _plain(getattr(self, one.name)) for one in fields(self)}
        if self.llm.model is None:
            document["llm"] = {"calls": self.llm.calls, "cost_usd": self.llm.cost_usd}
        made_for = self.pipeline.made_for
        return document | {
            "evoseg": self.versions.get("evoseg", ""),
            "made_for": None if made_for is None else made_for.as_json(),
            "form": self.pipeline.form,
            **{name: getattr(self, name) for name in _DERIVED},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], folder: RunFolder | None = None) -> Self:
        """Return the result that a document describes; keys that this version does not know are ignored.

        Parameters
        ----------
        document : mapping
            As of `to_json`.
        folder : RunFolder, optional
            Where the run's files are now, if not where the document says.

        Raises
        ------
        FilesError
            If the document lacks a key, or a value has a wrong type.
        """
        written = document.get("files", {})
        files = {} if folder is None else {"files": {k: v for k, v in folder.files.items() if k in written}}
        try:
            result: Self = TypeAdapter(cls).validate_python({**document, **files})
        except ValidationError as error:
            name = document.get("run", "result") if folder is None else folder.name
            raise FilesError(f"{name}: {_problem(error, document.get('evoseg', 'unknown'))}") from None
        if folder is not None and result.accurate is not None:
            try:
                load_networks(result.accurate, folder.path)
            except EvosegError as error:  # all else can be shown; who runs the pipeline is told
                logger.warning("%s", error)
        return result

    @classmethod
    def load(cls, run: str | Path) -> Self:
        """Return the result of a run.

        Parameters
        ----------
        run : str or path
            Id or folder of the run.

        Raises
        ------
        EvosegError
            If there is no such run, it has no result yet, or its `result.json` cannot be understood.
        """
        folder = find_run_folder(run)
        document = read_result(folder.path)
        if document is None:
            raise FilesError(
                f"{folder.name}: has no result yet. `evoseg runs resume {folder.word}` completes the search."
            )
        return cls.from_json(document, folder)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Copy the run's files, and the network of its accurate pipeline, into a folder, which is created if need be.

        Raises
        ------
        FilesError
            If one of them exists there and `overwrite` is False.
        """
        target = expand(folder)
        make_folder(target)
        there = {key: file for key, file in self.files.items() if file.is_file()}
        copies = {key: target / file.name for key, file in there.items()}
        refuse_existing(list(copies.values()), overwrite=overwrite)
        for key, file in there.items():
            with file.open("rb") as source, write_atomically(copies[key]) as copy:
                shutil.copyfileobj(source, copy)
        if self.accurate is not None and ACCURATE in there:
            save_networks(self.accurate, target)
        return copies

    @property
    def result(self) -> dict[str, Any]:
        """The result as a document; deprecated, use `to_json()` or the attributes."""
        warnings.warn("result.result is deprecated; use result.to_json() or its attributes.", FutureWarning, 2)
        return self.to_json()

    def __str__(self) -> str:
        """Return the summary that `evoseg search` prints."""
        from evoseg.report.text import summarise

        return summarise(self)

    def __repr__(self) -> str:
        return f"<SearchResult of {self.dataset}: {_means(self)}, run {self.run}>"

    def _repr_html_(self) -> str:
        """Show the summary and the contact sheet in a notebook."""
        if "test" not in self.files:
            return f"<div><pre>{escape(str(self))}</pre></div>"
        sheet = b64encode(self.files["test"].read_bytes()).decode()
        picture = f'<img alt="test images, worst first" src="data:image/png;base64,{sheet}">'
        return f"<div><pre>{escape(str(self))}</pre>{picture}</div>"

    def _repr_png_(self) -> bytes | None:
        """Show the contact sheet where HTML cannot be shown."""
        return self.files["test"].read_bytes() if "test" in self.files else None


_DERIVED = (
    "digest",
    "length",
    "cost_ms_per_mpx",
    "n_images",
    "evaluations_to_best",
    "evaluations_per_second",
    "decided_per_second",
    "error_px_test",
    "worst_test",
)
"""Keys of the document that follow from others."""


@dataclass(frozen=True, kw_only=True)
class MulticlassResult:
    """The result of a search for several classes.

    Attributes
    ----------
    dataset : str
    dataset_path : str or None
    reading : ReadOptions
        How the images were read.
    pipeline : ClassPipeline
        Call it with an image to get the class of each pixel.
    classes : mapping of str to SearchResult
        The result for each class, by name.
    metric : str
    scores : mapping of str to float or None
        Means over the classes of each split's score, each class by itself.
    combined_test : mapping of str to float
        Scores of the image of classes on the test images, by class; empty without test images.
    file : Path
        The document that `evoseg apply` takes.
    """

    dataset: str
    dataset_path: str | None
    reading: ReadOptions
    pipeline: ClassPipeline
    classes: Mapping[str, SearchResult]
    combined_test: Mapping[str, float] = field(default_factory=dict)
    file: Path

    @property
    def metric(self) -> str:
        """Name of the metric of all classes."""
        return next(iter(self.classes.values())).metric

    @property
    def scores(self) -> dict[str, float | None]:
        """Means over the classes by split; None where a class has no score."""
        splits = {split: [one.scores[split] for one in self.classes.values()] for split in _SPLITS}
        return {split: _mean(scores) for split, scores in splits.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the result as the document `classes.json`; its keys are a stable interface."""
        document: dict[str, Any] = {
            "evoseg": next(iter(self.classes.values())).versions.get("evoseg", ""),
            "task": CLASSES_TASK,
            "dataset": self.dataset,
            "dataset_path": self.dataset_path,
            "reads": self.reading.chosen,
            "classes": [
                {
                    "value": part.value,
                    "name": part.name,
                    "expected": part.expected,
                    "pipeline": print_text(self.classes[part.name].pipeline),
                    "scores": dict(self.classes[part.name].scores),
                    "verdict": self.classes[part.name].verdict,
                    "good_enough": self.classes[part.name].good_enough,
                    "run": str(self.file.parent / part.name),
                    "not_scored": dict(self.classes[part.name].not_scored),
                }
                for part in self.pipeline.parts
            ],
            "metric": self.metric,
            "scores": self.scores,
        }
        if self.combined_test:
            document["combined_test"] = dict(self.combined_test)
            document["mean_combined_test"] = float(np.mean(list(self.combined_test.values())))
        return document

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the result of a search for several classes.

        Parameters
        ----------
        folder : path
            The folder that holds `classes.json` and the run of each class.

        Raises
        ------
        EvosegError
            If there is none, or it is not finished yet.
        """
        file = expand(folder).absolute() / CLASSES
        document, pipeline = read_document(file), read_classes(file)
        return cls(
            dataset=str(document.get("dataset", file.parent.name)),
            dataset_path=document.get("dataset_path"),
            reading=ReadOptions.recorded(document.get("reads", {})),
            pipeline=pipeline,
            classes={part.name: SearchResult.load(file.parent / part.name) for part in pipeline.parts},
            combined_test=document.get("combined_test", {}),
            file=file,
        )

    def __str__(self) -> str:
        """Return the summary that `evoseg search` prints."""
        from evoseg.report.text import summarise_classes

        return summarise_classes(self)

    def __repr__(self) -> str:
        return f"<MulticlassResult of {self.dataset}: {', '.join(self.classes)}; {_means(self)}>"


_SPLITS = ("search", "selection", "test")


def _means(result: SearchResult | MulticlassResult) -> str:
    split = "search" if result.scores["test"] is None else "test"
    return f"{METRIC_LABELS.get(result.metric, result.metric)} {result.scores[split]:.3f} on the {split} images"


def class_part(value: int, name: str, result: SearchResult) -> ClassPart:
    """Return a class's part of a `ClassPipeline` from the result of its search."""
    expected = result.scores["selection"]
    assert expected is not None
    return ClassPart(value, name, result.pipeline, expected)


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None


def _problem(error: ValidationError, version: str) -> str:
    """Say what is wrong with a result document, by the first problem."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])) or "document"
    if first["type"] == "missing":
        return f"its result, written by evoseg {version}, has no '{key}'."
    return f"its result, written by evoseg {version}, cannot be understood: '{key}': {first['msg']}."


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it. By hand, since pydantic replaces names of files that are not UTF-8."""
    match value:
        case Pipeline():
            return print_text(value)
        case Path():
            return str(value)
        case Mapping():
            return {key: _plain(one) for key, one in value.items()}
        case tuple() | list():
            return [_plain(one) for one in value]
        case _ if is_dataclass(value):
            return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
        case _:
            return value
