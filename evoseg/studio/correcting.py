"""Objects that are corrected by hand: they begin with an answer, and pages are told their state."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.core.kinds import Kind
from evoseg.core.notes import one_line
from evoseg.datasets.io.formats import LIMITS
from evoseg.pipeline import Pipeline
from evoseg.studio.live import Live
from evoseg.studio.live_loop import LiveLoop
from evoseg.studio.objects import MaskTask, Objects, ObjectsError, number, parts_of
from evoseg.studio.project import Project, StudioImage
from evoseg.studio.sources import LIVE_SOURCE, Sources
from evoseg.studio.values import Values

PROGRAM = "program:"
"""Prefix of a source that is the digest of a program that a page knows."""


@final
class Correcting:
    """The objects of a project's images, each begun from an answer.

    Parameters
    ----------
    project : Project
    live : Live
    loop : LiveLoop
    sources : Sources
    values : Values
    """

    def __init__(self, project: Project, live: Live, loop: LiveLoop, sources: Sources, values: Values) -> None:
        self._project, self._live, self._loop = project, live, loop
        self._sources, self._values = sources, values

    def begin(self, image: StudioImage, change_id: str, source: str) -> None:
        """Replace the objects of an image by those of an answer.

        Parameters
        ----------
        image : StudioImage
        change_id : str
        source : str
            As of `Sources`, or "program:" with the digest of a program.

        Raises
        ------
        EvosegError
            If there is no such answer, or it has no objects.
        """
        store = self._project.objects(image)
        if source == LIVE_SOURCE:
            store.begin(change_id, parts_of(self._marked_live(image)), "the live answer", "binary")
            return
        if source.startswith(PROGRAM):
            pipeline, title = self._values.named(source.removeprefix(PROGRAM)), "a pipeline"
        else:
            pipeline, title = self._sources.read(source), self._sources.title(source)
        store.begin(change_id, *self._objects_of(pipeline, image, title))

    def _marked_live(self, image: StudioImage) -> NDArray[np.bool_]:
        model = self._loop.model
        if model is None:
            raise ObjectsError(self._loop.reason or "There is no answer yet.")
        if len(model.classes) > 1:
            raise ObjectsError(
                "The live answer has several classes, but a mask of objects has none. Search to get a pipeline for "
                "each class, and begin with one of them."
            )
        found = self._live.region(model, image, (0, 0, *self._project.rows(image).shape), LIMITS.pixels)
        if found is None:
            raise ObjectsError("The image is too large.")
        return found.labels > 1

    def _objects_of(self, pipeline: Pipeline, image: StudioImage, title: str) -> tuple[Objects, str, MaskTask]:
        value = self._values.value(pipeline, image)
        if pipeline.output is Kind.LABELS:
            return number(value), title, "instances"
        if pipeline.output is Kind.MASK:
            return parts_of(value), title, "binary"
        raise ObjectsError(f"This pipeline gives {pipeline.output}, not objects. Choose one that marks something.")

    def state(self, image: StudioImage) -> dict[str, Any]:
        """Return what the page shows of an image's objects, as values that JSON knows.

        Returns
        -------
        dict
            `why_not` (why there can be none; then nothing else), `title` of the answer that they are of ("" before the
            beginning), `objects` (how many), `version`, `undo`, `redo`, `mask` ("" if there is none, "current", or
            "older" if something was changed since), and `task`, what a mask says unless something else is chosen.
        """
        if reason := self._project.why_not_correct(image):
            return {"why_not": reason, "title": ""}
        store = self._project.objects(image)
        begun = store.beginning
        try:
            task = self._project.mask_task() or (begun.task if begun else "binary")
        except DatasetError as error:
            return {"why_not": one_line(str(error)), "title": ""}
        return {"why_not": "", "task": task} | store.as_json()
