"""The first programs of Python operators that a user or a language model brought: each on plain planes, as they are."""

from collections.abc import Sequence
from itertools import accumulate

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.proposers.classics import ENDINGS, Call, chain, intakes
from evoseg.evolve.proposers.random_programs import unscaled
from evoseg.operators.parameters import Range, Value
from evoseg.operators.registry import Operator
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.structure import shift_inputs

INTAKES = 4
"""Planes of the image that each operator is tried on."""
SETTINGS = (None, 0.2, 0.8)
"""How parameters are set: at their defaults, and at these parts of their ranges."""

SECONDS = 20.0
"""Modelled time that the values which sums are made of may take."""

_TO: dict[Kind, tuple[Call, ...]] = {
    Kind.GRAY: (),
    Kind.MASK: (("gaussian", {"sigma": 1.0}), ("otsu", {})),
    Kind.LABELS: (("gaussian", {"sigma": 1.0}), ("otsu", {}), ("components", {})),
}
"""The ways from a plane to what an operator takes."""
_ENDINGS: dict[tuple[Kind, Kind], tuple[Call, ...]] = {
    **{(Kind.GRAY, output): ending for output, ending in ENDINGS.items()},
    (Kind.MASK, Kind.MASK): (),
    (Kind.MASK, Kind.LABELS): (("components", {}),),
    (Kind.MASK, Kind.POINTS): (("centroids", {}),),
    (Kind.LABELS, Kind.LABELS): (),
    (Kind.LABELS, Kind.POINTS): (("label_centroids", {}),),
}
"""The ways from what an operator gives to an answer; without one, only variation finds a use for it."""


def first_values(operators: Sequence[Operator], stats: ImageStats, output: Kind) -> list[Pipeline]:
    """Return programs that end with one of the operators, for an answer of a kind; each operator's in a row."""
    return [
        _applied(op, intake, setting)
        for op in operators
        for intake in intakes(stats, output)[:INTAKES]
        for setting in (SETTINGS if op.parameters else SETTINGS[:1])
    ]


def first_answers(values: Sequence[Pipeline], output: Kind) -> list[Pipeline]:
    """Return the shortest programs that make answers of a kind of values, as far as there are any."""
    return [chain(value, _ENDINGS[value.output, output]) for value in values if (value.output, output) in _ENDINGS]


def affordable(values: Sequence[Pipeline], stats: ImageStats) -> list[Pipeline]:
    """Return values for sums to be made of, as many as `SECONDS` allow by the cost that was measured."""
    spent_s = accumulate(value.filter_cost * sum(stats.pixels) * 1e-9 for value in values)
    return [value for value, seconds in zip(values, spent_s, strict=True) if seconds <= SECONDS]


def _applied(op: Operator, intake: Pipeline, setting: float | None) -> Pipeline:
    steps: list[Step] = []
    places = []
    for kind in op.inputs:
        if kind is Kind.RAW:
            places.append(IMAGE)
            continue
        steps += shift_inputs(chain(intake, _TO[kind]).steps, len(steps))
        places.append(len(steps) - 1)
    values: list[Value] = []
    for parameter in op.parameters:
        assert isinstance(parameter.domain, Range)
        moved = parameter.default if setting is None else parameter.nearest(unscaled(parameter.domain, setting))
        values.append(moved)
    return Pipeline([*steps, Step(op.name, tuple(places), tuple(values))])
