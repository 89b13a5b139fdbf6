"""The structure of a pipeline, apart from its numbers and words."""

from collections import Counter
from collections.abc import Mapping

from evoseg.pipeline import Pipeline

Skeleton = tuple[tuple[str, tuple[int, ...]], ...]
"""A pipeline's structure without any parameter."""


def skeleton(pipeline: Pipeline) -> Skeleton:
    """Return the pipeline's structure without any parameter."""
    return tuple((s.operator, s.inputs) for s in pipeline.steps)


def structures(pipeline: Pipeline) -> list[Skeleton]:
    """Return the structures of all sub-programs, one per step."""
    return [skeleton(pipeline.until(i)) for i in range(len(pipeline))]


def ancestry(pipeline: Pipeline, origins: Mapping[Skeleton, str]) -> dict[str, float]:
    """Return whose ideas a pipeline is made of: the share of its steps whose structure each proposer brought first."""
    counts = Counter(origins.get(structure, "unknown") for structure in structures(pipeline))
    return {name: n / len(pipeline) for name, n in sorted(counts.items())}
