"""Parameters of operators: their ranges, units and grid of values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from evoseg.core.errors import PipelineError, unknown

Value = int | float | str | tuple[float, ...]
"""A literal in a pipeline text."""

Unit = Literal["px", "px2", "level", "degree", "one", "native", "contrast", "channel"]
"""Unit of a number. ``px`` and ``px2`` drive rescaling; ``native`` is the unit of the image's own values,
``contrast`` that of their
differences, ``channel`` counts its channels from 0."""


def on_grid(value: float) -> float:
    """Round to 3 significant digits, so that equal programs are recognised and texts stay readable."""
    return float(f"{value:.3g}") + 0.0  # + 0.0 turns -0.0 into 0.0


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    `log` says that ratios matter rather than differences (sizes, radii); `odd` admits odd integers only.
    """

    low: float
    high: float
    unit: Unit = "one"
    log: bool = False
    odd: bool = False


@dataclass(frozen=True)
class OneOf:
    """One of a few strings."""

    values: tuple[str, ...]

    def __init__(self, *values: str) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Numbers:
    """A tuple of `least` to `most` numbers, each from `low` to `high`; `square` asks for an odd side squared."""

    low: float
    high: float
    least: int
    most: int
    square: bool = False


@dataclass(frozen=True)
class ContentDigest:
    """The digest of a file that a step needs, such as a network: 32 hexadecimal digits.

    Steps of operators with such a parameter are ready-made: a search takes them as they are and draws none itself.
    """


@dataclass(frozen=True)
class Fitted:
    """Mark a parameter whose value the evaluator finds from the data instead of the search."""


@dataclass(frozen=True)
class Doc:
    """What a parameter does, for the docstrings of all operators that share it."""

    text: str


@dataclass(frozen=True)
class InOrder:
    """Two numbers of one operator, of which the first may not exceed the second; declared when it is registered.

    A search may propose any two values, since an operator is total. A text that a person or a model writes is refused
    if they contradict each other, and texts that evoseg writes hold the values that give the same pixels in order.

    Attributes
    ----------
    lesser, greater : str
        Names of the parameters.
    strict : bool
        Whether whole numbers have to differ, too.
    means : "swapped", "raised" or "lowered"
        What the operator makes of values out of order: they change places, the greater one is raised to the lesser one,
        or the lesser one is lowered until it fits.
    """

    lesser: str
    greater: str
    strict: bool = False
    means: Literal["swapped", "raised", "lowered"] = "swapped"

    def broken_by(self, named: Mapping[str, Value]) -> bool:
        """Return whether values contradict each other."""
        low, high = self._numbers(named)
        return low >= high if self.strict else low > high

    def complaint(self, named: Mapping[str, Value]) -> str:
        """Say how values contradict each other."""
        low, high = self._numbers(named)
        rule = "must be less than" if self.strict else "may not exceed"
        return (
            f"{self.lesser} is {low:g} and {self.greater} is {high:g}, but {self.lesser} {rule} {self.greater}. "
            "Correct one of them."
        )

    def settle(self, named: Mapping[str, Value]) -> dict[str, Value]:
        """Return values that give the same pixels and do not contradict each other."""
        if not self.broken_by(named):
            return dict(named)
        low, high = self._numbers(named)
        if self.means == "swapped":
            return {**named, self.lesser: high, self.greater: low}
        if self.means == "raised":
            return {**named, self.greater: low}
        return {**named, self.lesser: high - 1 if self.strict else high}

    def _numbers(self, named: Mapping[str, Value]) -> tuple[int | float, int | float]:
        low, high = named[self.lesser], named[self.greater]
        assert isinstance(low, int | float) and isinstance(high, int | float)
        return low, high


Domain = Range | OneOf | Numbers | ContentDigest


@dataclass(frozen=True)
class Parameter:
    """One keyword of an operator, read off its signature.

    Attributes
    ----------
    name : str
    domain : Range, OneOf, Numbers or ContentDigest
    default : Value
    integer : bool
        True if a `Range` admits whole numbers only.
    fitted : bool
        True if the evaluator, not the search, finds it.
    """

    name: str
    domain: Domain
    default: Value
    integer: bool
    fitted: bool

    def check(self, value: object) -> Value:
        """Return `value` in canonical form, on the grid.

        Raises
        ------
        PipelineError
            If the value has the wrong type or lies outside the domain.
        """
        if isinstance(self.domain, OneOf):
            return self._check_word(self.domain, value)
        if isinstance(self.domain, Numbers):
            return self._check_numbers(self.domain, value)
        if isinstance(self.domain, ContentDigest):
            return self._check_digest(value)
        return self._check_number(self.domain, value)

    def _check_word(self, domain: OneOf, value: object) -> str:
        if not isinstance(value, str):
            raise PipelineError(f"{self.name} is {value!r}; it must be one of {', '.join(domain.values)}.")
        if value not in domain.values:
            raise PipelineError(unknown(f"{self.name}", value, domain.values))
        return str(value)  # NumPy has strings of its own, which are equal but print otherwise

    def _check_digest(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
            raise PipelineError(f"{self.name} must be a digest of 32 hexadecimal digits, in small letters.")
        return str(value)

    def _check_numbers(self, domain: Numbers, value: object) -> tuple[float, ...]:
        if not isinstance(value, tuple) or not all(_is_number(v) for v in value):
            raise PipelineError(f"{self.name} must be a tuple of numbers.")
        n = len(value)
        if not domain.least <= n <= domain.most:
            raise PipelineError(f"{self.name} holds {n} numbers; it must hold {domain.least} to {domain.most}.")
        if domain.square and (round(n**0.5) ** 2 != n or n % 2 == 0):
            raise PipelineError(f"{self.name} holds {n} numbers; it must hold an odd side squared (9, 25, 49, ...).")
        for v in value:
            if not domain.low <= v <= domain.high:
                raise PipelineError(f"{self.name} holds {v}; each must lie within {domain.low} to {domain.high}.")
        return tuple(on_grid(v) for v in value)

    def _check_number(self, domain: Range, value: object) -> int | float:
        if not _is_number(value):
            raise PipelineError(f"{self.name} is {value!r}; it must be a number.")
        assert isinstance(value, int | float)
        if self.integer and value != int(value):
            raise PipelineError(f"{self.name} is {value}; it must be a whole number.")
        if not domain.low <= value <= domain.high:
            unit = "" if domain.unit == "one" else f" {domain.unit}"
            raise PipelineError(f"{self.name} is {value}; it must lie within {domain.low:g} to {domain.high:g}{unit}.")
        if domain.odd and int(value) % 2 == 0:
            raise PipelineError(f"{self.name} is {value}; it must be odd.")
        return int(value) if self.integer else on_grid(value)

    def nearest(self, value: float) -> int | float:
        """Return the admissible number nearest to `value`: clipped, whole or odd where asked, on the grid.

        Only for parameters whose domain is a `Range`.
        """
        assert isinstance(self.domain, Range)
        low, high = self.domain.low, self.domain.high
        clipped = min(max(value, low), high)
        if not self.integer:
            return min(max(on_grid(clipped), low), high)
        whole = round(clipped)
        if self.domain.odd and whole % 2 == 0:
            whole += 1 if whole + 1 <= high else -1
        return whole


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 2**53 and isfinite(value)
