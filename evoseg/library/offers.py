"""What a solved task has to offer to another: its pipelines as they are, and with lengths that follow the objects."""

from collections.abc import Iterator, Mapping

from evoseg.base.kinds import Kind
from evoseg.evolve.classics import Call
from evoseg.library.advice import Candidate
from evoseg.library.task import SolvedTask
from evoseg.pipeline.rescaling import has_lengths

LEAST_CHANGE = 1.25
"""Ratio of object thickness from which a rescaled pipeline is offered, too; below, it is nearly the same."""
MOST_CHANGE = 8.0
"""Beyond, the objects have little in common, and ranges would clip the lengths."""

ENDINGS: Mapping[Kind, tuple[Call, ...]] = {
    Kind.MASK: (),
    Kind.LABELS: (("depth_watershed", {"depth": 1.0}),),
    Kind.POINTS: (("centroids", {"area": 12}),),
}
"""What makes objects or places of foreground, so that tasks of foreground have something to offer to all kinds."""


def scale_between(source: float | None, target: float | None) -> float:
    """Return by which factor a source's lengths may be multiplied; 1 if the objects are alike, or not known."""
    if not source or not target:
        return 1.0
    factor = target / source
    if 1 / LEAST_CHANGE < factor < LEAST_CHANGE:
        return 1.0
    # The precision in which factors are written down.
    return float(f"{min(max(factor, 1 / MOST_CHANGE), MOST_CHANGE):.3g}")


def candidates(source: SolvedTask, thickness: float | None) -> Iterator[Candidate]:
    """Yield a task's pipelines as they are and, where objects differ in size, rescaled.

    Parameters
    ----------
    thickness : float or None, px
        Of the objects at hand.
    """
    factor = scale_between(source.thickness, thickness)
    for stored in source.pipelines:
        yield Candidate(source, stored, 1.0)
        if factor != 1.0 and has_lengths(stored.pipeline):
            yield Candidate(source, stored, factor)
