"""Make a new pipeline from parts of others. Every result is checked and canonical, as any pipeline is."""

from collections.abc import Sequence

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
    moved = [_renumbered(s, index, len(new), result) for s in pipeline.steps[index + 1 :]]
    return Pipeline([*pipeline.steps[: index + 1], *new, *moved])


def _renumbered(step: Step, index: int, n: int, result: int) -> Step:
    places = (result if j == index else j if j < index else j + n for j in step.inputs)
    return Step(step.operator, tuple(places), step.params)


def shifted(steps: Sequence[Step], offset: int) -> list[Step]:
    """Return the steps of a whole program, renumbered to begin at `offset`."""
    return [Step(s.operator, tuple(j if j == IMAGE else j + offset for j in s.inputs), s.params) for s in steps]


def graft(pipeline: Pipeline, index: int, other: Pipeline) -> Pipeline:
    """Replace step `index` by the result of another program of the same kind."""
    new = shifted(other.steps, index + 1)
    return substitute(pipeline, index, new, index + len(new))
