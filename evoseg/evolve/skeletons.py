"""The structure of a pipeline, apart from its numbers and words."""

from evoseg.pipeline import Pipeline

Skeleton = tuple[tuple[str, tuple[int, ...]], ...]
"""A pipeline's structure without any parameter."""


def skeleton(pipeline: Pipeline) -> Skeleton:
    """Return the pipeline's structure without any parameter."""
    return tuple((s.operator, s.inputs) for s in pipeline.steps)
