"""The one list of operators. `@operator` is the only way in; whatever needs a list iterates over this one.

A docstring is completed by its function's signature: what a kind or an annotation says need not be repeated.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter as SignatureParameter
from inspect import cleandoc, signature
from itertools import groupby
from textwrap import fill
from typing import Any, TypeVar, get_args, get_type_hints

import cv2

from evoseg.core.errors import PipelineError, unknown
from evoseg.core.kinds import Kind, kind_of
from evoseg.operators.parameters import (
    ContentDigest,
    Doc,
    Domain,
    Fitted,
    InOrder,
    Numbers,
    OneOf,
    Parameter,
    Range,
    Value,
)
from evoseg.operators.strips import (
    LARGE,
    TWO_PASS_STRIP,
    WORTH,
    Params,
    TwoPass,
    in_strips,
    strip_height,
    two_pass_height,
)

F = TypeVar("F", bound=Callable[..., Any])

WHOLE = -1
"""Reach of an operator whose result at one pixel can depend on every pixel of the image."""
_ARRAYS = {
    Kind.RAW: "uint8, uint16 or float32 array of shape (M, N, C)",
    Kind.GRAY: "uint8 array of shape (M, N)",
    Kind.MASK: "bool array of shape (M, N)",
    Kind.LABELS: "int32 array of shape (M, N)",
    Kind.POINTS: "float64 array of shape (n, 2), (row, col)",
}
_WIDTH = 112
"""Columns of a docstring's lines, indentation not counted."""


PYTHON = "python"
"""What pipelines call an operator that is written in Python; `code=` names its source."""


@dataclass(frozen=True, eq=False)
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
    serves : tuple of Kind
        Answers whose searches draw it; empty for all that can use it.
    two_pass : TwoPass or None
        How large images are worked on some rows at a time, if the reach is `WHOLE`; None if they never are.
    in_order : InOrder or None
        Two parameters that may not contradict each other.
    aliases : tuple of str
        Names that it had before. Stored pipelines may still use them; they are printed with the present name.
    retired : bool
        Still read, run and exported, but no longer proposed by a search or a language model.
    code : str
        Digest of its source, if it is no part of evoseg but written in Python by a user or a language model.
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
    serves: tuple[Kind, ...]
    two_pass: TwoPass | None
    in_order: InOrder | None
    aliases: tuple[str, ...]
    retired: bool
    _cost: Callable[[Params], float]
    _reach: Callable[[Params], int]
    code: str = ""

    @property
    def called(self) -> str:
        """The name by which pipelines call it."""
        return PYTHON if self.code else self.name

    def keywords(self, values: tuple[Value, ...]) -> dict[str, Value]:
        """Return the keywords with which pipelines call it, from values in signature order."""
        return {"code": self.code, **self.named(values)} if self.code else self.named(values)

    def named(self, values: tuple[Value, ...]) -> dict[str, Value]:
        """Return parameter values by name, from values in signature order."""
        return {p.name: v for p, v in zip(self.parameters, values, strict=True)}

    def contradiction(self, values: tuple[Value, ...]) -> str:
        """Say how values contradict each other; nothing if they do not."""
        if self.in_order is None or not self.in_order.broken_by(named := self.named(values)):
            return ""
        return f"{self.name}: {self.in_order.complaint(named)}"

    def settle(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Return values that give the same pixels and do not contradict each other."""
        return values if self.in_order is None else tuple(self.in_order.settle(self.named(values)).values())

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
        # One that sees rows around a strip bounds its own memory, or strips would overlap in vain.
        if self.two_pass is not None and self.two_pass.margin is None and rows * cols > 2 * TWO_PASS_STRIP:
            return self.two_pass.run(arrays, params, two_pass_height(cols))
        if rows * cols < LARGE or self.cost(values) < WORTH or (reach := self.reach(values)) == WHOLE:
            return whole(*arrays)
        return in_strips(whole, arrays, reach, strip_height(cols, reach))

    @property
    def fitted(self) -> bool:
        """True if the evaluator finds some of the parameters."""
        return any(p.fitted for p in self.parameters)

    @property
    def ready_made(self) -> bool:
        """True if its steps name what was made for them, such as a network, so that none can be drawn at random."""
        return any(isinstance(p.domain, ContentDigest) for p in self.parameters)


_OPERATORS: dict[str, Operator] = {}
_ALIASES: dict[str, str] = {}
"""The present name by each earlier one."""
_CODES: dict[str, Operator] = {}
"""Operators that are written in Python, by name. Each is known by its content, so they are on no list."""

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
    serves: tuple[Kind, ...] = (),
    two_pass: TwoPass | None = None,
    in_order: InOrder | None = None,
    aliases: tuple[str, ...] = (),
    retired: bool = False,
) -> Callable[[F], F]:
    """Register a function as an operator; its signature is the schema, and completes its docstring.

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
    serves : tuple of Kind
        Answers whose searches draw it; empty for all. Anybody may write it into any program.
    two_pass : TwoPass, optional
        How large images are worked on in strips, for an operator whose reach is `WHOLE`.
    in_order : InOrder, optional
        Two parameters that may not contradict each other.
    aliases : tuple of str
        Earlier names of the operator, which stored pipelines may still use.
    retired : bool
        True keeps it readable, runnable and exportable, but no search or language model proposes it any more.

    Raises
    ------
    TypeError
        If a name is taken, or an annotation says neither a kind nor a domain.
    """

    def register(function: F) -> F:
        name, hints = function.__name__, get_type_hints(function, include_extras=True)
        inputs, parameters, docs = _read_signature(function, hints)
        output = kind_of(hints["return"])
        if output is None or not inputs:
            raise TypeError(f"operator {name}: it must take and return kinds")
        for taken in (name, *aliases):
            if taken in _OPERATORS or taken in _ALIASES:
                raise TypeError(f"operator {taken} is registered twice")
        function.__doc__ = complete_docstring(cleandoc(function.__doc__ or ""), inputs, parameters, docs, output)
        _ALIASES.update(dict.fromkeys(aliases, name))
        _OPERATORS[name] = Operator(
            name=name,
            family=function.__module__.rpartition(".")[2],
            summary=function.__doc__.partition("\n")[0],
            function=function,
            inputs=tuple(inputs.values()),
            output=output,
            parameters=parameters,
            revision=revision,
            commutative=commutative,
            serves=serves,
            two_pass=two_pass,
            in_order=in_order,
            aliases=aliases,
            retired=retired,
            _cost=cost if callable(cost) else lambda _: cost,
            _reach=reach if callable(reach) else lambda _: reach,
        )
        return function

    return register


def add_code_operator(op: Operator) -> None:
    """Make an operator known that is written in Python, under the name that `code_name` gives its digest."""
    _CODES[op.name] = op


def code_name(digest: str) -> str:
    """Return the name in the registry of an operator that is written in Python."""
    return f"{PYTHON}_{digest}"


def _no_code(digest: str) -> None:
    """Find no Python operator."""


_find_code: Callable[[str], None] = _no_code


def find_codes_with(find: Callable[[str], None]) -> None:
    """Have a function called with the digest of each Python operator that is needed and not yet known.

    Parameters
    ----------
    find : callable (digest) -> None
        Calls `add_code_operator` if it has found the operator.
    """
    global _find_code
    _find_code = find


def unregister(name: str) -> None:
    """Take an operator and its earlier names off the list, so that a notebook or a test can register it anew."""
    for alias in _OPERATORS.pop(name).aliases:
        del _ALIASES[alias]


def get(name: str) -> Operator:
    """Return the operator called `name`, or called so in earlier versions.

    Raises
    ------
    PipelineError
        If there is none; the message names the nearest.
    """
    found = _OPERATORS.get(_ALIASES.get(name, name)) or _CODES.get(name)
    if found is not None:
        return found
    if digest := re.fullmatch(f"{PYTHON}_([0-9a-f]{{32}})", name):
        _find_code(digest[1])
        if name in _CODES:
            return _CODES[name]
        raise PipelineError(
            f"the Python operator {digest[1]} is not known here. Read the pipeline from its file, with the folder "
            "'code' beside it, and allow its code (--allow-code, in Python allow_code=True)."
        )
    raise PipelineError(unknown("operator", name, _OPERATORS))


def operators(*, retired: bool = False) -> list[Operator]:
    """Return the operators that may be proposed, by name; or, with `retired`, all that can be read and run."""
    return [op for _, op in sorted(_OPERATORS.items()) if retired or not op.retired]


def _read_signature(
    function: Callable[..., Any], hints: dict[str, Any]
) -> tuple[dict[str, Kind], tuple[Parameter, ...], dict[str, str]]:
    """Return the kinds of the inputs by name, the parameters, and what annotations say of these by name."""
    inputs: dict[str, Kind] = {}
    parameters: list[Parameter] = []
    docs: dict[str, str] = {}
    for parameter in signature(function).parameters.values():
        hint = hints[parameter.name]
        if parameter.kind is SignatureParameter.KEYWORD_ONLY:
            parameters.append(_read_parameter(function.__name__, parameter, hint))
            for doc in (extra for extra in get_args(hint)[1:] if isinstance(extra, Doc)):
                docs[parameter.name] = doc.text
        elif (kind := kind_of(hint)) is not None:
            inputs[parameter.name] = kind
        else:
            raise TypeError(f"operator {function.__name__}: input {parameter.name} has no kind")
    return inputs, tuple(parameters), docs


def _read_parameter(name: str, parameter: SignatureParameter, hint: object) -> Parameter:
    base, *extras = get_args(hint) or (hint,)
    domains = [e for e in extras if isinstance(e, Domain)]
    if len(domains) != 1 or parameter.default is SignatureParameter.empty:
        raise TypeError(f"operator {name}: {parameter.name} needs one domain and a default")
    fitted = any(isinstance(e, Fitted) for e in extras)
    read = Parameter(parameter.name, domains[0], parameter.default, base is int, fitted)
    return replace(read, default=read.check(read.default))


def complete_docstring(
    text: str, inputs: Mapping[str, Kind], parameters: Sequence[Parameter], docs: Mapping[str, str], output: Kind
) -> str:
    """Return a NumPy docstring that documents every input and parameter, and what is returned.

    Parameters
    ----------
    text : str
        The docstring as written, without indentation. What it says of an input, a parameter or the result stays.
    inputs : mapping of str to Kind
    parameters : sequence of Parameter
    docs : mapping of str to str
        What the annotations (`Doc`) say of parameters, by name.
    output : Kind
    """
    start, *rest = re.split(r"\n\n(?=[A-Z][a-z]+\n-+\n)", text)
    sections = {part.partition("\n")[0]: part.split("\n", 2)[2] for part in rest}
    written = re.split(r"\n(?=\S)", sections["Parameters"]) if "Parameters" in sections else []
    entries = {entry.partition(" : ")[0]: entry for entry in written}
    said = {name for names in entries for name in names.split(", ")}
    for kind, group in groupby((name for name in inputs if name not in said), key=inputs.__getitem__):
        names = list(group)
        array = _ARRAYS[kind].replace("array", "arrays") if len(names) > 1 else _ARRAYS[kind]
        entries[", ".join(names)] = f"{', '.join(names)} : {array}"
    for parameter in parameters:
        if parameter.name not in said:
            entries[parameter.name] = "\n".join(_describe(parameter, docs.get(parameter.name, "")))
    order = [*inputs, *(parameter.name for parameter in parameters)]
    in_order = sorted(entries, key=lambda names: order.index(names.split(", ")[0]))
    sections = {
        "Parameters": "\n".join(entries[names] for names in in_order),
        "Returns": sections.get("Returns", _ARRAYS[output]),
        **{name: body for name, body in sections.items() if name not in ("Parameters", "Returns")},
    }
    return "\n\n".join([start, *(f"{name}\n{'-' * len(name)}\n{body}" for name, body in sections.items())])


def _describe(parameter: Parameter, doc: str) -> Iterator[str]:
    domain = parameter.domain
    if isinstance(domain, OneOf | ContentDigest):
        yield f"{parameter.name} : str"
    elif isinstance(domain, Range):
        unit = "" if domain.unit in ("one", "channel") else f", {domain.unit}"
        yield f"{parameter.name} : {'int' if parameter.integer else 'float'}{unit}"
    elif isinstance(domain, Numbers):
        n = f"{domain.least}" if domain.least == domain.most else f"{domain.least} to {domain.most}"
        yield f"{parameter.name} : {n} numbers"
    if doc:
        yield fill(doc, _WIDTH, initial_indent="    ", subsequent_indent="    ")
