"""The workbench: one pipeline, changed step by step, with undo, its scores, and another one beside it."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from threading import RLock
from typing import Annotated, Any, final

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from evoseg.core.errors import PipelineError
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.evaluation.evaluator import JobEvaluator, evenly_spaced
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Scored, inputs_of
from evoseg.evolve.proposers.curve_sums import FeatureBank
from evoseg.evolve.tasks.task_kinds import choose_radius
from evoseg.inference.score import find_task_kind, judge_images
from evoseg.metrics import METRIC_LABELS
from evoseg.pipeline import Pipeline, Step, print_text
from evoseg.pipeline.differences import describe_change
from evoseg.runs.run_folder import FilesError
from evoseg.studio.drafts import Draft
from evoseg.studio.project import Project, StudioImage, Versions
from evoseg.studio.sources import Sources
from evoseg.studio.values import Values

SCORED = 6
"""Images that a draft is scored on after each change, at most."""
FITTED = 24
"""Images that a draft is fitted to, at most."""
_CACHE_BYTES = 2**27
"""For values of steps during a fit."""


class Change(BaseModel):
    """A change to one step.

    Attributes
    ----------
    step : int
        From 0.
    name : str
        Of a parameter; "" to switch the step off or on.
    value : number, word or boolean
        True switches the step on.
    again : bool
        Whether it goes on with the last change of the same parameter, as a slider does that is still held: both are
        undone together.
    """

    model_config = ConfigDict(extra="forbid")

    step: Annotated[int, Field(ge=0, le=1000)]
    name: Annotated[str, Field(max_length=60)] = ""
    value: bool | Annotated[float, Field(ge=-1e12, le=1e12)] | Annotated[str, Field(max_length=60)]
    again: bool = False

    @property
    def subject(self) -> tuple[int, str]:
        """What is changed."""
        return self.step, self.name


@final
class Workbench:
    """The pipeline that is being changed, with its history.

    Parameters
    ----------
    project : Project
    sources : Sources
    values : Values
    """

    def __init__(self, project: Project, sources: Sources, values: Values) -> None:
        self._project, self._sources, self._values = project, sources, values
        self._source = ""
        self._history: list[Draft] = []
        self._at = 0
        self._subject: tuple[int, str] | None = None
        self._scores: dict[tuple[str, Versions], dict[str, Any]] = {}
        self._dataset: tuple[Versions, Dataset] | None = None
        self._lock = RLock()
        self._scoring = RLock()

    # The draft

    @property
    def draft(self) -> Draft:
        """What is on the workbench.

        Raises
        ------
        FilesError
            If nothing is.
        """
        if not self._history:
            raise FilesError("No pipeline is on the workbench. Choose one.")
        return self._history[self._at]

    def open(self, source: str) -> None:
        """Put the pipeline of a source on the workbench.

        Raises
        ------
        EvosegError
            If there is none, or it cannot be read.
        """
        draft = Draft.of(self._sources.read(source))
        with self._lock:
            self._source, self._history, self._at, self._subject = source, [draft], 0, None

    def change(self, change: Change) -> None:
        """Change a parameter, or switch a step off or on.

        Raises
        ------
        PipelineError
            If that cannot be done.
        """
        with self._lock:
            if change.name:
                new = self.draft.changed(change.step, change.name, change.value)
            else:
                new = self.draft.switched(change.step, off=not change.value)
            _ = new.pipeline  # raises PipelineError if the change gives no valid pipeline
            if new == self.draft:
                return
            if change.again and self._subject == change.subject and self._at:
                self._at -= 1
            self._keep(new, change.subject)

    def _keep(self, draft: Draft, subject: tuple[int, str] | None) -> None:
        self._history[self._at + 1 :] = [draft]
        self._at += 1
        self._subject = subject

    def step_back(self, by: int) -> None:
        """Undo (1) or redo (-1) a change, if there is one."""
        with self._lock:
            self._at = min(max(0, self._at - by), max(0, len(self._history) - 1))
            self._subject = None

    def refit(self) -> None:
        """Fit curves and levels to the search images; what is switched off is left out for good.

        Raises
        ------
        EvosegError
            If no image is labelled, or the pipeline cannot be fitted.
        """
        before = self.draft
        dataset, stems = self._searched(FITTED)
        fitted = refit(before.pipeline, dataset, stems)
        with self._lock:
            if self.draft is not before:
                raise FilesError("The pipeline was changed while it was fitted. Press Refit again.")
            if fitted != before.pipeline:
                self._keep(Draft.of(fitted), None)

    def save(self, name: str) -> Path:
        """Write the draft among the results.

        Raises
        ------
        FilesError
            If the name cannot be used.
        """
        return self._sources.save(self.draft.pipeline, name)

    def as_json(self) -> dict[str, Any]:
        """Return what is on the workbench, as values that JSON knows; {} if nothing is."""
        with self._lock:
            if not self._history:
                return {}
            draft, first, at, last = self.draft, self._history[0], self._at, len(self._history) - 1
        pipeline = draft.pipeline
        for place in range(len(draft.steps)):
            self._values.name(draft.until(place))
        return {
            "source": self._source,
            "title": self._sources.title(self._source),
            "undo": at > 0,
            "redo": at < last,
            "changes": describe_change(first.pipeline, pipeline) if pipeline != first.pipeline else "",
            "digest": pipeline.digest,
            "program": print_text(pipeline),
            "steps": draft.as_json(),
            "held_out": self._sources.held_out(self._source),
            "here": describe(pipeline),
        }

    # Beside each other

    def beside(self, source: str) -> dict[str, Any]:
        """Return another pipeline, as the page shows it beside the draft.

        Raises
        ------
        EvosegError
            If there is none, or it cannot be read.
        """
        pipeline = self._sources.read(source)
        return {
            "source": source,
            "title": self._sources.title(source),
            "digest": self._values.name(pipeline),
            "held_out": self._sources.held_out(source),
            **describe(pipeline),
        }

    def overlap(self, one: str, other: str, image: StudioImage) -> dict[str, float | None]:
        """Return how far two programs, named by their digests, agree on an image.

        Returns
        -------
        dict
            `iou` of what they mark (None if neither marks anything), and the share of the image that each marks.
        """
        a, b = (self._values.marks(self._values.named(digest), image) > 0 for digest in (one, other))
        union = np.count_nonzero(a | b)
        iou = np.count_nonzero(a & b) / union if union else None
        return {"iou": iou, "one": float(a.mean()), "other": float(b.mean())}

    # Scores

    def score(self, digest: str) -> dict[str, Any]:
        """Return how good a program, named by its digest, is on some of the search images.

        Test images are not looked at: who moves sliders by a score fits to it.

        Returns
        -------
        dict
            `metric`, as people call it, `score` (its mean) and `n` (how many images).

        Raises
        ------
        EvosegError
            If no image is labelled, or the pipeline's answers cannot be scored.
        """
        with self._scoring:
            key = (digest, self._project.label_versions())
            if key not in self._scores:
                self._scores[key] = self._scored(self._values.named(digest))
            return self._scores[key]

    def _scored(self, pipeline: Pipeline) -> dict[str, Any]:
        dataset, stems = self._searched(SCORED)
        kind = find_task_kind(pipeline)
        metric, radius = kind.metrics[0], choose_radius(kind, None, dataset)
        scores = [one.scores[metric] for one in judge_images(pipeline, dataset, stems, kind=kind, radius=radius)]
        return {"metric": METRIC_LABELS[metric], "score": float(np.mean(scores)), "n": len(scores)}

    def _searched(self, most: int) -> tuple[Dataset, list[str]]:
        """Return the dataset with its labels as they are now, and some of its search images."""
        states = {self._project.state(image) for image in self._project.images.values()}
        if states == {"unlabelled"}:
            raise FilesError("No image is labelled, so nothing can be scored or fitted. Paint some strokes.")
        with self._scoring:
            version = self._project.label_versions()
            if self._dataset is None or self._dataset[0] != version:
                self._project.save()
                self._dataset = version, Dataset(self._project.root)
            dataset = self._dataset[1]
        stems = split(dataset).search
        if not stems:
            raise FilesError("All labelled images are test images. Label others to score or fit a pipeline.")
        return dataset, [stems[i] for i in evenly_spaced(len(stems), most)]


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """Return cost and size of a pipeline, as values that JSON knows."""
    return {
        "n_steps": len(pipeline),
        "cost": pipeline.cost,
        "networks": len(pipeline.networks),
        "kind": str(pipeline.output),
    }


def refit(pipeline: Pipeline, dataset: Dataset, stems: Sequence[str]) -> Pipeline:
    """Return a pipeline with its fitted numbers found anew from some labelled images, as a search does it.

    Parameters
    ----------
    pipeline : Pipeline
    dataset : Dataset
    stems : sequence of str
        Images to fit to.

    Raises
    ------
    PipelineError
        If no task has such pipelines, or it fails on these images.
    """
    free = Pipeline([_freed(step) for step in pipeline.steps])
    kind = find_task_kind(pipeline)
    task = kind.task(kind.metrics[0], choose_radius(kind, None, dataset))
    items = [task.arrays(dataset.load(stem)) for stem in stems]
    sizes = {i: prod(inputs_of(task, item)[0].shape[:2]) for i, item in enumerate(items)}
    threads = cv2.getNumThreads()  # an executor sets them to 1
    try:
        evaluator = JobEvaluator(task, InProcess(task, items, _CACHE_BYTES), sizes)
        (evaluation,) = evaluator.evaluate(FeatureBank(evaluator.sample_pixels).refit([free]))
    finally:
        cv2.setNumThreads(threads)
    if not isinstance(evaluation, Scored):
        reason = getattr(evaluation, "reason", "the images hold nothing to fit to")
        raise PipelineError(f"the pipeline cannot be fitted to these images: {reason}.")
    return evaluation.pipeline.for_images(pipeline.made_for)


def _freed(step: Step) -> Step:
    """Return a step whose level is fitted, too: curves that change take the values elsewhere."""
    return Step("threshold", step.inputs, step.params) if step.operator == "level" else step
