"""Parts of programs: put them together into others, compare their structures, and rescale their lengths."""

from collections import Counter
from collections.abc import Mapping, Sequence

from evoseg.operators import registry
from evoseg.operators.parameters import Range, Value
from evoseg.pipeline.value import IMAGE, Pipeline, Step


def substitute(pipeline: Pipeline, index: int, new: Sequence[Step], result: int) -> Pipeline:
    """Let every user of step `index` use another value instead.

    Parameters
    ----------
    pipeline : Pipeline
    index : int
        The step whose value is replaced; the last step if the result itself is.
    new : sequence of Step
        Added right after step `index` and numbered on from there; they may use steps up to `index`.
    result : int
        The step that is used instead: one of `new`, or one before `index`.

    Raises
    ------
    PipelineError
        If a kind does not fit or the program grows too long.
    """
    if index == len(pipeline) - 1:
        return Pipeline([*pipeline.steps, *new][: result + 1])
    moved = [_renumber(s, index, len(new), result) for s in pipeline.steps[index + 1 :]]
    return Pipeline([*pipeline.steps[: index + 1], *new, *moved])


def _renumber(step: Step, index: int, n: int, result: int) -> Step:
    places = (result if j == index else j if j < index else j + n for j in step.inputs)
    return Step(step.operator, tuple(places), step.params)


def shift_inputs(steps: Sequence[Step], offset: int) -> list[Step]:
    """Return the steps of a whole program, renumbered to begin at `offset`."""
    return [Step(s.operator, tuple(j if j == IMAGE else j + offset for j in s.inputs), s.params) for s in steps]


def graft(pipeline: Pipeline, index: int, other: Pipeline) -> Pipeline:
    """Replace step `index` by the result of another program of the same kind."""
    new = shift_inputs(other.steps, index + 1)
    return substitute(pipeline, index, new, index + len(new))


_POWER = {"px": 1, "px2": 2}


def rescale(pipeline: Pipeline, factor: float) -> Pipeline:
    """Return the pipeline with its lengths multiplied by `factor` and its areas by its square, as ranges allow.

    Parameters
    ----------
    factor : float
        Size of the objects there, divided by their size where the pipeline comes from.
    """
    return Pipeline([_rescale_step(s, factor) for s in pipeline.steps])


def has_lengths(pipeline: Pipeline) -> bool:
    """Return whether rescaling would change anything."""
    parameters = (p for s in pipeline.steps for p in registry.get(s.operator).parameters)
    return any(isinstance(p.domain, Range) and p.domain.unit in _POWER for p in parameters)


def _rescale_step(step: Step, factor: float) -> Step:
    values: list[Value] = []
    for parameter, value in zip(registry.get(step.operator).parameters, step.params, strict=True):
        power = _POWER.get(parameter.domain.unit) if isinstance(parameter.domain, Range) else None
        if power is not None and isinstance(value, int | float):
            value = parameter.nearest(value * factor**power)
        values.append(value)
    return Step(step.operator, step.inputs, tuple(values))


Structure = tuple[tuple[str, tuple[int, ...]], ...]
"""A pipeline's structure without any parameter."""


def structure_of(pipeline: Pipeline) -> Structure:
    """Return the pipeline's structure without any parameter."""
    return tuple((s.operator, s.inputs) for s in pipeline.steps)


def substructures(pipeline: Pipeline) -> list[Structure]:
    """Return the structures of all sub-programs, one per step."""
    return [structure_of(pipeline.until(i)) for i in range(len(pipeline))]


def origin_shares(pipeline: Pipeline, origins: Mapping[Structure, str]) -> dict[str, float]:
    """Return whose ideas a pipeline is made of: the share of its steps whose structure each proposer brought first."""
    counts = Counter(origins.get(structure, "unknown") for structure in substructures(pipeline))
    return {name: n / len(pipeline) for name, n in sorted(counts.items())}
