"""Random programs: draw operators, parameters and well-typed programs of a kind."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import ImageStats
from evoseg.operators import registry
from evoseg.operators.parameters import ContentDigest, Numbers, OneOf, Parameter, Range, Value
from evoseg.operators.registry import Operator
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.structure import shift_inputs

CHEAP_NS = 4.0
"""Operators of this cost per pixel are drawn half as often as free ones."""


@dataclass
class Vocabulary:
    """The operators that a search may use, by what they take and give; more can join while it runs.

    Attributes
    ----------
    operators : tuple of Operator
    stats : ImageStats
        Decide which channels there are and which native values occur.
    planes : list of Pipeline
        Programs that return planes and that somebody has brought for sums to be made of.
    """

    operators: tuple[Operator, ...]
    stats: ImageStats
    planes: list[Pipeline] = field(default_factory=list)

    def add(self, operator: Operator) -> None:
        """Let programs have another operator from now on."""
        if operator.name not in {op.name for op in self.operators}:
            self.operators = (*self.operators, operator)

    def draw_operator(self, rng: Generator, output: Kind, inputs: tuple[Kind, ...] | None = None) -> Operator | None:
        """Draw an operator by output and, if given, exact inputs; cheap ones more often; None if there is none."""
        fitting = [o for o in self.operators if o.output is output and (inputs is None or o.inputs == inputs)]
        fitting = [o for o in fitting if self._applies(o)]
        if not fitting:
            return None
        # Several inputs mean several programs below: rarer, or what is grown would be mostly wide.
        weights = np.array([1 / (1 + o.cost(_defaults(o)) / CHEAP_NS) / len(o.inputs) ** 2 for o in fitting])
        return fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]

    def _applies(self, operator: Operator) -> bool:
        """Return whether an intake makes sense for these images: colours only where there are some."""
        if operator.inputs != (Kind.RAW,):
            return True
        if operator.name == "plane":
            return self.stats.coloured
        if operator.name == "mix":
            return len(self.stats.distinct) >= 2
        return True

    def draw_step(self, rng: Generator, operator: Operator, inputs: tuple[int, ...]) -> Step:
        """Draw a step with random parameters."""
        values: dict[str, Value] = {}
        for p in operator.parameters:
            values[p.name] = self.draw_value(rng, p, values)
        return Step(operator.name, inputs, tuple(values.values()))

    def draw_value(self, rng: Generator, parameter: Parameter, others: dict[str, Value]) -> Value:
        """Draw a parameter's value from its whole domain; `others` are the values drawn before it."""
        domain = parameter.domain
        if parameter.fitted or isinstance(domain, ContentDigest):
            return parameter.default
        if isinstance(domain, OneOf):
            return domain.values[int(rng.integers(len(domain.values)))]
        if isinstance(domain, Numbers):
            assert isinstance(parameter.default, tuple)
            return self._near_default(rng, parameter, domain, parameter.default)
        if domain.unit == "channel":
            channels = self.stats.distinct[: int(domain.high) + 1]
            return channels[int(rng.integers(len(channels)))]
        if domain.unit == "native":
            return parameter.nearest(self._draw_native(rng, parameter.name, others))
        if domain.unit == "contrast":
            side = -1 if parameter.name == "low" else 1
            return parameter.nearest(side * max(self.stats.contrasts) * float(np.exp(rng.normal(0, 0.7))))
        return parameter.nearest(unscaled(domain, rng.random()))

    def range_of(self, parameter: Parameter) -> Range:
        """Return the range of a number that makes sense for these images: its own, or that of their values."""
        domain = parameter.domain
        assert isinstance(domain, Range)
        if domain.unit == "native":
            low, high = min(q[0] for q in self.stats.quantiles), max(q[100] for q in self.stats.quantiles)
            # Images of one single value leave no range at all.
            return replace(domain, low=low, high=max(high, low + max(abs(low), 1.0) * 1e-3))
        if domain.unit == "contrast":
            most = 4 * max(self.stats.contrasts)
            return replace(domain, low=-most, high=most)
        return domain

    def _near_default(
        self, rng: Generator, parameter: Parameter, domain: Numbers, default: tuple[float, ...]
    ) -> tuple[float, ...]:
        spread = 0.15 * (domain.high - domain.low)
        moved = np.clip(np.array(default) + rng.normal(0, spread, len(default)), domain.low, domain.high)
        value = parameter.check(tuple(float(v) for v in moved))
        assert isinstance(value, tuple)
        return value

    def _draw_native(self, rng: Generator, name: str, others: dict[str, Value]) -> float:
        """Draw a value that occurs in the channel at hand; ends called `low` tend to lie low, others high."""
        index = others.get("index", 0)
        assert isinstance(index, int)
        quantiles = self.stats.quantiles[min(index, self.stats.channels - 1)]
        u = rng.random() ** 2 * 100
        return float(np.interp(u if name == "low" else 100 - u, np.arange(101), quantiles))

    def grow(self, rng: Generator, kind: Kind, depth: int) -> Pipeline:
        """Return a random program of a kind, of at most `depth` steps from image to result where kinds allow."""
        return Pipeline(self._grow(rng, kind, depth))

    def _grow(self, rng: Generator, kind: Kind, depth: int) -> list[Step]:
        inputs = None if depth > 1 else SHORTEST.get(kind)
        operator = self.draw_operator(rng, kind, inputs)
        assert operator is not None, f"no operator gives a {kind} value"
        steps: list[Step] = []
        places = []
        for needed in operator.inputs:
            if needed is Kind.RAW:
                places.append(IMAGE)
                continue
            steps += shift_inputs(self._grow(rng, needed, depth - 1), len(steps))
            places.append(len(steps) - 1)
        return [*steps, self.draw_step(rng, operator, tuple(places))]


SHORTEST: dict[Kind, tuple[Kind, ...]] = {
    Kind.GRAY: (Kind.RAW,),
    Kind.MASK: (Kind.GRAY,),
    Kind.LABELS: (Kind.MASK,),
    Kind.POINTS: (Kind.GRAY,),
}
"""Inputs of the operators that lead back to the image soonest."""


def unscaled(domain: Range, u: float) -> float:
    """Return the number at `u` in [0, 1] of a range, on its own scale."""
    if domain.log:
        low = max(domain.low, 1e-3)
        return float(low * (domain.high / low) ** u)
    return domain.low + u * (domain.high - domain.low)


def scaled(domain: Range, value: float) -> float:
    """Return where in [0, 1] a number lies in a range; the inverse of `unscaled`."""
    if domain.log:
        low = max(domain.low, 1e-3)
        return float(np.log(max(value, low) / low) / np.log(domain.high / low))
    return (value - domain.low) / (domain.high - domain.low)


def make_vocabulary(
    stats: ImageStats,
    output: Kind = Kind.MASK,
    *,
    without: Container[str] | None = None,
    codes: Sequence[str] = (),
) -> Vocabulary:
    """Return the vocabulary of the operators that programs of a kind can use.

    Operators named in `without` are left out; by default, the retired ones. Those written in Python that `codes` names
    join them.
    """
    operators = [
        op for op in registry.operators(retired=True) if not (op.retired if without is None else op.name in without)
    ]
    operators += [registry.get(name) for name in codes]
    return Vocabulary(tuple(select_usable(operators, output)), stats)


def select_usable(operators: Sequence[Operator], output: Kind) -> list[Operator]:
    """Return the operators from which a program can be drawn that is to return a kind of value."""
    operators = [op for op in operators if not op.ready_made]
    kinds = {output}
    while more := {kind for op in operators if op.output in kinds for kind in op.inputs} - kinds:
        kinds |= more
    return [op for op in operators if op.output in kinds and (not op.serves or output in op.serves)]


def _defaults(operator: Operator) -> tuple[Value, ...]:
    return tuple(p.default for p in operator.parameters)
