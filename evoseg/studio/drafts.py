"""A pipeline that is being changed by hand: its steps keep their places, whichever of them are switched off."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

from evoseg.core.errors import PipelineError
from evoseg.core.notes import one_line
from evoseg.datasets.imageformat import ImageFormat
from evoseg.operators import registry
from evoseg.operators.parameters import Parameter, Range, Value
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.explaining import operator_json


@final
@dataclass(frozen=True)
class Draft:
    """Steps of a pipeline, some of which are switched off.

    Attributes
    ----------
    steps : tuple of Step
    off : frozenset of int
        Places of steps whose first input of the same kind is taken instead.
    made_for : ImageFormat or None
    """

    steps: tuple[Step, ...]
    off: frozenset[int] = frozenset()
    made_for: ImageFormat | None = None

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Draft":
        """Return a pipeline as it is."""
        return cls(pipeline.steps, made_for=pipeline.made_for)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline without the steps that are switched off."""
        return self.until(len(self.steps) - 1).for_images(self.made_for)

    def until(self, place: int) -> Pipeline:
        """Return the part whose result is the value of a step, or if it is switched off, of what replaces it."""
        last = self._taken(place)
        return Pipeline([replace(s, inputs=tuple(map(self._taken, s.inputs))) for s in self.steps[: last + 1]])

    def _taken(self, place: int) -> int:
        while place in self.off:
            place = self._replaced_by(place)
        return place

    def _replaced_by(self, place: int) -> int:
        """Return the first input that is of the same kind as a step's value; `IMAGE` if there is none."""
        output = registry.get(self.steps[place].operator).output
        same = (j for j in self.steps[place].inputs if j != IMAGE and self._kind(j) is output)
        return next(same, IMAGE)

    def _kind(self, place: int) -> Any:
        return registry.get(self.steps[place].operator).output

    def can_switch(self, place: int) -> bool:
        """Return whether a step can be switched off."""
        return self._replaced_by(place) != IMAGE

    def switched(self, place: int, *, off: bool) -> "Draft":
        """Return the draft with a step switched off or on.

        Raises
        ------
        PipelineError
            If there is no such step, or nothing can replace it.
        """
        self._check(place)
        if off and not self.can_switch(place):
            raise PipelineError(f"{self.steps[place].operator}: no input of it is of the same kind as its value.")
        return replace(self, off=self.off | {place} if off else self.off - {place})

    def changed(self, place: int, name: str, value: Value) -> "Draft":
        """Return the draft with another value of a parameter, the nearest one that is possible.

        Raises
        ------
        PipelineError
            If there is no such step or parameter, or it cannot have such a value.
        """
        self._check(place)
        step = self.steps[place]
        named = {p.name: p for p in registry.get(step.operator).parameters}
        if name not in named:
            raise PipelineError(f"{step.operator} has no parameter '{one_line(name)}'; it has {', '.join(named)}.")
        params = [
            _admissible(p, value) if p.name == name else old for p, old in zip(named.values(), step.params, strict=True)
        ]
        steps = [*self.steps]
        steps[place] = Step(step.operator, step.inputs, tuple(params))
        return replace(self, steps=tuple(steps))

    def _check(self, place: int) -> None:
        if not 0 <= place < len(self.steps):
            raise PipelineError(f"there is no step {place + 1}; the pipeline has {len(self.steps)}.")

    def as_json(self) -> list[dict[str, Any]]:
        """Return the steps, as values that JSON knows."""
        return [self._step_json(place) for place in range(len(self.steps))]

    def _step_json(self, place: int) -> dict[str, Any]:
        step = self.steps[place]
        known = operator_json(op := registry.get(step.operator))
        return {
            "operator": op.called,
            "summary": known["summary"],
            "kind": known["output"],
            "inputs": list(step.inputs),
            "off": place in self.off,
            "can_switch": self.can_switch(place),
            "cost": op.cost(step.params),
            "digest": self.until(place).digest,
            "parameters": _with_values(known["parameters"], step.params),
        }


def _admissible(parameter: Parameter, value: Value) -> Value:
    if isinstance(parameter.domain, Range) and isinstance(value, int | float):
        return parameter.nearest(value)
    return parameter.check(value)


def _with_values(parameters: Sequence[dict[str, Any]], values: Sequence[Value]) -> list[dict[str, Any]]:
    return [parameter | {"value": value} for parameter, value in zip(parameters, values, strict=True)]
