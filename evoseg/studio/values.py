"""Values of pipelines and of their steps on the project's images, each computed once as long as there is room.

A value is known by the sub-program that gives it, so when one step of a pipeline changes, only the steps after it run
again.
"""

from collections import OrderedDict
from threading import Lock
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import legible
from evoseg.core.kinds import Kind
from evoseg.drawing import draw_circles
from evoseg.inference.apply import IN_BANDS
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.running import ArrayRows, as_raw, run_in_bands, run_step
from evoseg.runs.run_folder import FilesError
from evoseg.studio.project import BytesCache, Project, StudioImage

VALUE_BYTES = 2**29
"""Values that are kept in memory, in all."""
_PROGRAMS = 4096
"""Programs that pages may ask values of; those that were named last."""


@final
class Values:
    """Runs pipelines on images of a project.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._values = BytesCache[tuple[str, bytes], NDArray[Any]](VALUE_BYTES)
        self._programs: OrderedDict[str, Pipeline] = OrderedDict()
        self._lock = Lock()

    def name(self, program: Pipeline) -> str:
        """Return the digest by which pages may ask for values of a program from now on."""
        with self._lock:
            self._programs[program.digest] = program
            self._programs.move_to_end(program.digest)
            if len(self._programs) > _PROGRAMS:
                self._programs.popitem(last=False)
        return program.digest

    def named(self, digest: str) -> Pipeline:
        """Return a program by its digest.

        Raises
        ------
        FilesError
            If it was not named, or too long ago.
        """
        with self._lock:
            if digest not in self._programs:
                raise FilesError(f"there is no program {legible(digest)}. Reload the page.")
            return self._programs[digest]

    def value(self, program: Pipeline, image: StudioImage) -> NDArray[Any]:
        """Return what a program gives for an image; the values of its steps are kept, too."""
        # Ascending, since by recursion alone a chain of 200 steps would reach Python's limit.
        for i in self._missing(program, image):
            self._step(program, i, image)
        return self._step(program, len(program) - 1, image)

    def _missing(self, program: Pipeline, image: StudioImage) -> list[int]:
        """Return the places of the steps that have to run, ascending."""
        wanted, found = {len(program) - 1}, []
        for i in reversed(range(len(program))):
            if i in wanted and (image.id, program.digests[i]) not in self._values:
                found.append(i)
                wanted.update(program.steps[i].inputs)
        return found[::-1]

    def _step(self, program: Pipeline, place: int, image: StudioImage) -> NDArray[Any]:
        key = (image.id, program.digests[place])
        return self._values.get(key, lambda: self._run(program, place, image), lambda value: int(value.nbytes))

    def _run(self, program: Pipeline, place: int, image: StudioImage) -> NDArray[Any]:
        rows, step = self._project.rows(image), program.steps[place]
        if not isinstance(rows, ArrayRows) or rows.shape[0] * rows.shape[1] >= IN_BANDS:
            return run_in_bands(program.until(place), rows)
        given = (as_raw(rows.array) if j == IMAGE else self._step(program, j, image) for j in step.inputs)
        return run_step(place, step, tuple(given))

    def marks(self, program: Pipeline, image: StudioImage) -> NDArray[np.uint8]:
        """Return what a program marks in an image: 2 inside objects and 0 elsewhere, with a gap between objects."""
        return mark(program.output, self.value(program, image), self._project.rows(image).shape)


def mark(kind: Kind, value: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an answer of any kind as labels: 2 inside, 0 outside and on the borders between objects."""
    if kind is Kind.POINTS:
        value = draw_circles(value, shape)
    inside = value > 0
    if kind is Kind.LABELS:
        inside = inside.copy()
        inside[:-1] &= (value[:-1] == value[1:]) | (value[1:] == 0)
        inside[:, :-1] &= (value[:, :-1] == value[:, 1:]) | (value[:, 1:] == 0)
    return np.where(inside, np.uint8(2), np.uint8(0))
