"""What a search returns, and the document that says the same in JSON."""

import shutil
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from evoseg import __version__
from evoseg.app.classes import ClassPipeline
from evoseg.app.datasets import name_of
from evoseg.app.kept import numbered
from evoseg.app.recording import versions
from evoseg.app.runs import FilesError, RunFolder, make_folder, refuse_existing
from evoseg.app.scoring import interval
from evoseg.app.settings import RunSettings
from evoseg.app.verdicts import BETTER, Comparison, Word, compare, comparisons_in, word_for
from evoseg.base.kinds import Kind
from evoseg.base.streams import stream
from evoseg.base.writing import whole_file
from evoseg.data.dataset import Dataset
from evoseg.data.imageformat import ImageFormat
from evoseg.evolve.finalists import Finalist, promise
from evoseg.evolve.learning import learning_curve
from evoseg.evolve.solve import Solution
from evoseg.library.warm import WarmStart, lives_on
from evoseg.metrics.shifts import error_px
from evoseg.pipeline import Pipeline, print_text, read_text

_ROUND_S = 2
STROKES, FULL, MIXED = "strokes", "full masks", "strokes and full masks"
"""What scores rest on."""


@dataclass(frozen=True, eq=False)
class Found:
    """The answer of a search, with what it is worth.

    Attributes
    ----------
    run : str
        Id of the run.
    pipeline : Pipeline
        Call it with an image to get its mask, labels or points.
    metric : str
    scores : dict of str to float or None
        Means over the "search" and "test" images, and under "selection" what was expected of new images before the
        test images were opened: the mean over the selection split, or where there is none, the search images' mean
        with numbers found on the other images, less two standard errors for what a search finds in images that it
        has seen. Without a test split, "test" is None.
    interval_selection : (low, high)
        Within which the test score was expected, by 95 %.
    interval_test : (low, high) or None
        95 % bootstrap interval of the test score; None with fewer than two test images.
    baselines_test : dict of str to float
        Test scores of the answers "all" and "nothing" and of the best "classic" recipe.
    test_per_image : dict of str to float
        By stem.
    all_metrics_test : dict of str to float
        Every metric's mean over the test images.
    seconds : float, s
        From the call to the choice of the answer.
    evaluations : int
        Candidates scored on every search image.
    verdict : str or None
        "better" if the pipeline scores surely higher on the test images than every baseline, "worse" if surely lower
        than one of them, else "not surely better" or "too few test images to tell"; None for results of early versions.
    comparisons_test : dict of str to Comparison
        By how much it scores higher than each baseline, with intervals; empty for fewer than three test images.
    good_enough : bool
        Whether the verdict is "better".
    files : dict of str to Path
        What the run left: "pipeline", "result", "test", "curve" and "report".
    result : dict
        All of it and more, as the JSON document.
    """

    run: str
    pipeline: Pipeline
    metric: str
    scores: dict[str, float | None]
    interval_selection: tuple[float, float]
    interval_test: tuple[float, float] | None
    baselines_test: dict[str, float]
    test_per_image: dict[str, float]
    all_metrics_test: dict[str, float]
    seconds: float
    evaluations: int
    verdict: Word | None
    comparisons_test: dict[str, Comparison]
    good_enough: bool
    files: dict[str, Path]
    result: dict[str, Any] = field(repr=False)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Copy the run's files into a folder, which is made if need be.

        Raises
        ------
        FilesError
            If one of them exists there and `overwrite` is False.
        """
        target = Path(folder)
        make_folder(target)
        copies = {key: target / file.name for key, file in self.files.items()}
        refuse_existing(list(copies.values()), overwrite=overwrite)
        for key, file in self.files.items():
            with file.open("rb") as source, whole_file(copies[key]) as copy:
                shutil.copyfileobj(source, copy)
        return copies

    def _repr_html_(self) -> str:
        """Show the summary and the contact sheet in a notebook."""
        from evoseg.app.summary import summary

        sheet = b64encode(self.files["test"].read_bytes()).decode()
        picture = f'<img alt="test images, worst first" src="data:image/png;base64,{sheet}">'
        return f"<div><pre>{escape(summary(self))}</pre>{picture}</div>"

    def _repr_png_(self) -> bytes:
        """Show the contact sheet where HTML cannot be shown."""
        return self.files["test"].read_bytes()


@dataclass(frozen=True, eq=False)
class FoundClasses:
    """The answer of a search for several classes.

    Attributes
    ----------
    pipeline : ClassPipeline
        Call it with an image to get the class of each pixel.
    classes : mapping of str to Found
        What was found for each class, by name.
    metric : str
    scores : mapping of str to float or None
        Means over the classes of each split's score, every class by itself.
    combined_test : mapping of str to float
        Of the image of classes on the test images, by class; empty without test images.
    file : Path
        The document that `evoseg apply` takes.
    result : dict
        That document.
    """

    pipeline: ClassPipeline
    classes: Mapping[str, Found]
    metric: str
    scores: Mapping[str, float | None]
    combined_test: Mapping[str, float]
    file: Path
    result: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Finished:
    """All that a finished search is described by.

    Attributes
    ----------
    all_metrics : dict of str to dict of str to float
        By stem of each test image, then by metric.
    warm : WarmStart
        What came of the library's programs.
    seconds, seconds_in_all : float, s
        Until the champion was chosen, and until this was written.
    llm : dict or None
        What a language model has done and cost; None without one.
    final : bool
        False if resuming the run may still change what was found.
    """

    folder: RunFolder
    dataset: Dataset
    settings: RunSettings
    solution: Solution
    all_metrics: dict[str, dict[str, float]]
    warm: WarmStart
    seconds: float
    seconds_in_all: float
    llm: dict[str, Any] | None = None
    final: bool = True

    @property
    def name(self) -> str:
        """The dataset's name."""
        return name_of(self.dataset)

    @cached_property
    def test(self) -> dict[Pipeline, list[float]]:
        """Scores per test image of the champion and the baselines."""
        task = self.settings.the_task()
        return {p: [float(s) for s in task.score(statistics)] for p, statistics in self.solution.test.items()}

    @property
    def made_for(self) -> ImageFormat | None:
        """What the search images are like; None for a task of the user's own, whose pipelines may see other ones."""
        return None if self.settings.kind.own else self.dataset.image_format(self.solution.splits.search)

    @property
    def champion(self) -> Finalist:
        """The finalist that won."""
        return self.solution.champion

    @property
    def test_per_image(self) -> dict[str, float]:
        """The champion's scores by stem."""
        champion = self.test.get(self.champion.scored.pipeline, [])
        return dict(zip(self.solution.tested, champion, strict=True))

    @property
    def baselines_test(self) -> dict[str, dict[str, float]]:
        """Test scores of the baselines, by name and stem."""
        found = {}
        for finalist in self.solution.finalists:
            pipeline = finalist.scored.pipeline
            if finalist.role != "evolved" and pipeline in self.test:
                found[self._baseline(finalist)] = dict(zip(self.solution.tested, self.test[pipeline], strict=True))
        return dict(sorted(found.items()))

    @property
    def scored_on(self) -> str:
        """What the test images are labelled with, or the search images if there is no test."""
        splits, facts = self.solution.splits, self.dataset.survey.facts
        kinds = {STROKES if facts[stem].partly else FULL for stem in splits.test or splits.search}
        return kinds.pop() if len(kinds) == 1 else MIXED

    def _baseline(self, finalist: Finalist) -> str:
        if finalist.role == "classic":
            return "classic"
        # A constant says the same of any image.
        pixel = np.zeros((1, 1, len(self.dataset.channels)), np.uint8)
        answer = finalist.scored.pipeline(pixel)
        return "all" if (len(answer) if finalist.scored.pipeline.output is Kind.POINTS else answer.any()) else "nothing"

    def found(self) -> Found:
        """Return what the caller of a search gets."""
        per_image = self.test_per_image
        names = next(iter(self.all_metrics.values()), {})
        champion, solution = self.champion, self.solution
        splits = solution.splits
        chosen_on = [stem for stem in splits.selection if stem not in solution.not_scored]
        expected = promise(solution.expected, len(per_image) or len(splits.search), searched=not chosen_on)
        baselines = self.baselines_test
        compared = {name: compare(per_image, scores) for name, scores in baselines.items()}
        verdict = word_for(list(compared.values()))
        without_result = Found(
            run=self.folder.id,
            pipeline=champion.scored.pipeline.for_images(self.made_for),
            metric=self.settings.score,
            scores={
                "search": champion.scored.score,
                "selection": expected.score,
                "test": float(np.mean(list(per_image.values()))) if per_image else None,
            },
            interval_selection=(expected.low, expected.high),
            interval_test=interval(list(per_image.values())),
            baselines_test={name: float(np.mean(list(scores.values()))) for name, scores in baselines.items()},
            test_per_image=per_image,
            all_metrics_test={m: float(np.mean([s[m] for s in self.all_metrics.values()])) for m in names},
            seconds=round(self.seconds, _ROUND_S),
            evaluations=solution.progress.evaluations,
            verdict=verdict,
            comparisons_test={name: c for name, c in compared.items() if c is not None},
            good_enough=verdict == BETTER,
            files=self.folder.files,
            result={},
        )
        without_result.result.update(_document(self, without_result))
        return without_result


def found_again(result: dict[str, Any], folder: RunFolder) -> Found:
    """Return what a search returned, from the document that it left.

    Raises
    ------
    FilesError
        If the document lacks something, as those of other versions may.
    """
    try:
        low, high = result["interval_selection"]
        return Found(
            run=result["run"],
            pipeline=read_text(result["pipeline"], settled=False).settled(),
            metric=result["metric"],
            scores=result["scores"],
            interval_selection=(low, high),
            interval_test=tuple(result["interval_test"]) if result["interval_test"] else None,
            baselines_test=result["baselines_test"],
            test_per_image=result["test_per_image"],
            all_metrics_test=result["all_metrics_test"],
            seconds=result["seconds"],
            evaluations=result["evaluations"],
            verdict=result.get("verdict"),
            comparisons_test=comparisons_in(result),
            good_enough=result["good_enough"],
            files=folder.files,
            result=result,
        )
    except KeyError as error:
        version = result.get("evoseg", "another")
        raise FilesError(f"{folder.name}: its result, by evoseg {version}, says nothing of {error}.") from None


def _document(finished: Finished, found: Found) -> dict[str, Any]:
    """Return the JSON document of a search; its keys are an interface."""
    solution, asked = finished.solution, finished.settings
    progress, splits, pipeline = solution.progress, solution.splits, found.pipeline
    return {
        "evoseg": __version__,
        "run": found.run,
        "dataset": finished.name,
        "dataset_path": str(finished.dataset.root.resolve()) if finished.dataset.root else None,
        "dataset_digest": finished.dataset.survey.digest,
        "task": asked.task,
        "metric": asked.metric,
        "radius_px": asked.radius,
        "seed": asked.seed,
        "stopped_by": progress.stopped_by,
        "reproducible": solution.reproducible,
        "pipeline": print_text(pipeline),
        "made_for": None if pipeline.made_for is None else pipeline.made_for.as_json(),
        "digest": pipeline.digest,
        "form": pipeline.form,
        "role": finished.champion.role,
        "verdict": found.verdict,
        "good_enough": found.good_enough,
        "n_images": {name: len(stems) for name, stems in vars(splits).items()},
        "scored_on": finished.scored_on,
        "looks": 1 if splits.test else 0,
        "splits": {name: list(stems) for name, stems in vars(splits).items()},
        "scores": found.scores,
        "interval_selection": list(found.interval_selection),
        "interval_test": list(found.interval_test) if found.interval_test else None,
        "baselines_test": found.baselines_test,
        "baselines_test_per_image": finished.baselines_test,
        "comparisons_test": {name: c.as_json() for name, c in found.comparisons_test.items()},
        "test_per_image": found.test_per_image,
        "not_scored": dict(solution.not_scored),
        "final": finished.final,
        "search_per_image": dict(zip(splits.search, finished.champion.scored.scores.tolist(), strict=True)),
        "all_metrics_test": found.all_metrics_test,
        "error_px_test": _errors(found),
        "cost_ms_per_mpx": pipeline.cost,
        "length": len(pipeline),
        **_work(finished),
        "warm_start": _warm_start(finished),
        "llm": finished.llm or {"calls": 0, "cost_usd": 0.0},
        "front": numbered(progress.front),
        "finalists": [_finalist(finalist) for finalist in solution.finalists],
        "learning": _learning(finished),
        "settings": asked.as_json(),
        "versions": versions(),
        "files": {key: str(file) for key, file in found.files.items()},
    }


def _errors(found: Found) -> dict[str, float] | None:
    """Return the errors of shifts on the test images, in px; None for other tasks."""
    if found.metric != "closeness" or not found.test_per_image:
        return None
    errors = [error_px(score) for score in found.test_per_image.values()]
    return {"median": float(np.median(errors)), "mean": float(np.mean(errors)), "max": max(errors)}


def _work(finished: Finished) -> dict[str, Any]:
    """Return what was done, and how fast."""
    progress, seconds = finished.solution.progress, finished.seconds
    decided = progress.evaluations + progress.turned_away
    credit = finished.solution.credit
    gained = sum(credit.values())
    ancestors = Counter(one.proposer for one in finished.solution.ancestors)
    return {
        "evaluations": progress.evaluations,
        "failed": progress.failed,
        "decided": decided,
        "evaluations_to_best": progress.history[-1][0] if progress.history else 0,
        "seconds": round(seconds, _ROUND_S),
        "seconds_in_all": round(finished.seconds_in_all, _ROUND_S),
        "evaluations_per_second": round(progress.evaluations / max(seconds, 1e-9), 2),
        "decided_per_second": round(decided / max(seconds, 1e-9), 2),
        "history": [list(entry) for entry in progress.history],
        "proposers": {name: gain / gained for name, gain in sorted(credit.items())},
        "ancestors": dict(sorted(ancestors.items())),
    }


def _warm_start(finished: Finished) -> list[dict[str, Any]]:
    """Return what was retrieved, what it scored once refitted, and which tasks were barred and why."""
    champion, heard = finished.champion.scored.pipeline, finished.warm.heard
    entries: list[dict[str, Any]] = []
    for offer in finished.settings.offers:
        scored = heard.get(offer.program.form)
        entries.append(
            {
                "task": offer.name,
                "id": offer.task,
                "role": offer.role,
                "scale": offer.scale,
                "similarity": dict(offer.similarity),
                "expected": offer.expected,
                "score": None if scored is None else scored.score,
                "kept": scored is not None and lives_on(offer.program, champion),
                "digest": offer.program.digest,
            }
        )
    return entries + [{"task": task, "barred_by": stem} for task, stem in finished.settings.barred.items()]


def _learning(finished: Finished) -> list[list[float]]:
    """Return [masks to choose by, score on the other search images], over the candidates that a search ended with."""
    tried = [scores for variants in finished.solution.progress.variants.values() for scores, _ in variants]
    curve = learning_curve(np.array(tried), stream(finished.settings.seed, "learning"))
    return [[point.n_images, point.score] for point in curve]


def _finalist(finalist: Finalist) -> dict[str, Any]:
    pipeline = finalist.scored.pipeline
    return {
        "role": finalist.role,
        "search": finalist.scored.score,
        "selection": float(finalist.selection.mean()),
        "length": len(pipeline),
        "cost_ms_per_mpx": pipeline.cost,
        "digest": pipeline.digest,
    }
