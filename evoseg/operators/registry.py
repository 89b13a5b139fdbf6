"""The one list of operators. `@operator` is the only way in; whatever needs a list iterates over this one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import Parameter as SignatureParameter
from inspect import cleandoc, signature
from typing import Any, TypeVar, get_args, get_type_hints

import cv2

from evoseg.base.errors import PipelineError, unknown
from evoseg.base.kinds import Kind, kind_of
from evoseg.operators.measured import STRIP, Measured, Params, strip_rows
from evoseg.operators.parameters import Fitted, InOrder, Numbers, OneOf, Parameter, Range, Value
from evoseg.operators.strips import LARGE, WORTH, in_strips, strip_height

F = TypeVar("F", bound=Callable[..., Any])

WHOLE = -1
"""Reach of an operator whose result at one pixel can depend on every pixel of the image."""


@dataclass(frozen=True)
class Operator:
    """A registered filter: a pure, total function and what its signature and decorator say.

    Attributes
    ----------
    name, family, summary : str
        `family` is the module's name; `summary` is the first line of the docstring.
    function : callable
        Takes the inputs by position and the parameters by keyword; never writes into its arguments.
    inputs : tuple of Kind
    output : Kind
    parameters : tuple of Parameter
        In signature order, which is the order of a step's values.
    revision : int
        Grows whenever the pixels of the result change.
    commutative : bool
        True if the order of the inputs does not matter.
    needs : tuple of str
        Packages beyond numpy and cv2; empty for the default set.
    serves : tuple of Kind
        Answers whose searches draw it; empty for all that can use it.
    measured : Measured or None
        How large images are worked on some rows at a time, if the reach is `WHOLE`; None if they never are.
    in_order : InOrder or None
        Two parameters that may not contradict each other.
    """

    name: str
    family: str
    summary: str
    function: Callable[..., Any]
    inputs: tuple[Kind, ...]
    output: Kind
    parameters: tuple[Parameter, ...]
    revision: int
    commutative: bool
    needs: tuple[str, ...]
    serves: tuple[Kind, ...]
    measured: Measured | None
    in_order: InOrder | None
    _cost: Callable[[Params], float]
    _reach: Callable[[Params], int]

    def named(self, values: tuple[Value, ...]) -> dict[str, Value]:
        """Return parameter values by name, from values in signature order."""
        return {p.name: v for p, v in zip(self.parameters, values, strict=True)}

    def contradiction(self, values: tuple[Value, ...]) -> str:
        """Say how values contradict each other; nothing if they do not."""
        if self.in_order is None or not self.in_order.broken_by(named := self.named(values)):
            return ""
        return f"{self.name}: {self.in_order.complaint(named)}"

    def settled(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Return values that give the same pixels and do not contradict each other."""
        return values if self.in_order is None else tuple(self.in_order.settled(self.named(values)).values())

    def cost(self, values: tuple[Value, ...]) -> float:
        """Return the modelled cost in ns per pixel on one thread (`make bench` compares it with the clock)."""
        return self._cost(self.named(values))

    def reach(self, values: tuple[Value, ...]) -> int:
        """Return how many pixels away a pixel can influence the result, or `WHOLE`."""
        return self._reach(self.named(values))

    def run(self, arrays: tuple[Any, ...], values: tuple[Value, ...]) -> Any:
        """Apply the operator; to a large image in strips, if that can be done, with the same pixels."""
        reproducible()
        params = self.named(values)
        whole = partial(self.function, **params)
        rows, cols = arrays[0].shape[:2]
        if self.measured is not None and rows * cols > 2 * STRIP:
            return self.measured.run(arrays, params, strip_rows(cols))
        if rows * cols < LARGE or self.cost(values) < WORTH or (reach := self.reach(values)) == WHOLE:
            return whole(*arrays)
        return in_strips(whole, arrays, reach, strip_height(cols, reach))

    @property
    def fitted(self) -> bool:
        """True if the evaluator finds some of the parameters."""
        return any(p.fitted for p in self.parameters)


_OPERATORS: dict[str, Operator] = {}


_ipp = False
"""Whether operators use Intel IPP, in all threads."""


def reproducible() -> None:
    """Switch Intel IPP off in the calling thread: its results depend on where in memory an array lies.

    OpenCV keeps this switch per thread, so it is set wherever operators run, not once for the process.
    """
    cv2.ipp.setUseIPP(_ipp)


@contextmanager
def with_ipp(used: bool) -> Iterator[None]:
    """Let operators use Intel IPP as long as the block lasts, as version 0.1 did: its runs resume to the same end."""
    global _ipp
    before, _ipp = _ipp, used
    reproducible()
    try:
        yield
    finally:
        _ipp = before
        reproducible()


# Also for what surrounds the operators, such as the statistics of the images that a search begins with.
reproducible()


def operator(
    *,
    revision: int,
    cost: float | Callable[[Params], float],
    reach: int | Callable[[Params], int],
    commutative: bool = False,
    needs: tuple[str, ...] = (),
    serves: tuple[Kind, ...] = (),
    measured: Measured | None = None,
    in_order: InOrder | None = None,
) -> Callable[[F], F]:
    """Register a function as an operator; its signature is the schema.

    Parameters
    ----------
    revision : int
        Raise it whenever the result's pixels change.
    cost : float or function of the parameters
        Nanoseconds per pixel, one thread.
    reach : int or function of the parameters
        Pixels, or `WHOLE`.
    commutative : bool
        Whether the inputs may be swapped.
    needs : tuple of str
        Packages beyond numpy and cv2.
    serves : tuple of Kind
        Answers whose searches draw it; empty for all. Anybody may write it into any program.
    measured : Measured, optional
        The form for large images of an operator whose reach is `WHOLE`.
    in_order : InOrder, optional
        Two parameters that may not contradict each other.

    Raises
    ------
    TypeError
        If the name is taken, or an annotation says neither a kind nor a domain.
    """

    def register(function: F) -> F:
        cost_model = cost if callable(cost) else lambda _: cost
        reach_model = reach if callable(reach) else lambda _: reach
        entry = _read(function, revision, cost_model, reach_model, commutative, needs, serves, measured, in_order)
        if entry.name in _OPERATORS:
            raise TypeError(f"operator {entry.name} is registered twice")
        _OPERATORS[entry.name] = entry
        return function

    return register


def get(name: str) -> Operator:
    """Return the operator called `name`.

    Raises
    ------
    PipelineError
        If there is none; the message names the nearest.
    """
    try:
        return _OPERATORS[name]
    except KeyError:
        raise PipelineError(unknown("operator", name, _OPERATORS)) from None


def operators(*, optional: bool = False) -> list[Operator]:
    """Return the default operators by name, or with `optional` also those that need further packages."""
    return [op for _, op in sorted(_OPERATORS.items()) if optional or not op.needs]


def _read(
    function: Callable[..., Any],
    revision: int,
    cost: Callable[[Params], float],
    reach: Callable[[Params], int],
    commutative: bool,
    needs: tuple[str, ...],
    serves: tuple[Kind, ...],
    measured: Measured | None,
    in_order: InOrder | None,
) -> Operator:
    hints = get_type_hints(function, include_extras=True)
    name = function.__name__
    inputs: list[Kind] = []
    parameters: list[Parameter] = []
    for parameter in signature(function).parameters.values():
        hint = hints[parameter.name]
        if parameter.kind is SignatureParameter.KEYWORD_ONLY:
            parameters.append(_parameter(name, parameter, hint))
            continue
        kind = kind_of(hint)
        if kind is None:
            raise TypeError(f"operator {name}: input {parameter.name} has no kind")
        inputs.append(kind)
    output = kind_of(hints["return"])
    if output is None or not inputs:
        raise TypeError(f"operator {name}: it must take and return kinds")
    return Operator(
        name=name,
        family=function.__module__.rpartition(".")[2],
        summary=cleandoc(function.__doc__ or "").partition("\n")[0],
        function=function,
        inputs=tuple(inputs),
        output=output,
        parameters=tuple(parameters),
        revision=revision,
        commutative=commutative,
        needs=needs,
        serves=serves,
        measured=measured,
        in_order=in_order,
        _cost=cost,
        _reach=reach,
    )


def _parameter(name: str, parameter: SignatureParameter, hint: object) -> Parameter:
    base, *extras = get_args(hint) or (hint,)
    domains = [e for e in extras if isinstance(e, Range | OneOf | Numbers)]
    if len(domains) != 1 or parameter.default is SignatureParameter.empty:
        raise TypeError(f"operator {name}: {parameter.name} needs one domain and a default")
    read = Parameter(
        name=parameter.name,
        domain=domains[0],
        default=parameter.default,
        integer=base is int,
        fitted=any(isinstance(e, Fitted) for e in extras),
    )
    return Parameter(read.name, read.domain, read.check(read.default), read.integer, read.fitted)
