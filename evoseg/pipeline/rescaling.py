"""Carry a pipeline over to images on which the same objects are larger or smaller."""

from evoseg.operators import registry
from evoseg.operators.parameters import Range, Value
from evoseg.pipeline.value import Pipeline, Step

_POWER = {"px": 1, "px2": 2}


def rescale(pipeline: Pipeline, factor: float) -> Pipeline:
    """Return the pipeline with its lengths multiplied by `factor` and its areas by its square, as ranges allow.

    Parameters
    ----------
    factor : float
        Size of the objects there, divided by their size where the pipeline comes from.
    """
    return Pipeline([_rescaled(s, factor) for s in pipeline.steps])


def has_lengths(pipeline: Pipeline) -> bool:
    """Return whether rescaling would change anything."""
    parameters = (p for s in pipeline.steps for p in registry.get(s.operator).parameters)
    return any(isinstance(p.domain, Range) and p.domain.unit in _POWER for p in parameters)


def _rescaled(step: Step, factor: float) -> Step:
    values: list[Value] = []
    for parameter, value in zip(registry.get(step.operator).parameters, step.params, strict=True):
        power = _POWER.get(parameter.domain.unit) if isinstance(parameter.domain, Range) else None
        if power is not None and isinstance(value, int | float):
            value = parameter.nearest(value * factor**power)
        values.append(value)
    return Step(step.operator, step.inputs, tuple(values))
