"""The source of a Python operator: what it declares, and what is wrong with it, without ever running it.

The checks are there for good errors. They are no protection: whatever passes them runs in the sandbox only.
"""

import ast
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from math import ceil, floor
from typing import Any, Literal, get_args

from evoseg.core.errors import EvosegError, PipelineError, legible
from evoseg.core.kinds import Kind
from evoseg.operators.parameters import Parameter, Range, Unit, on_grid

MAX_BYTES = 16 * 1024
"""Longest source."""
MAX_INPUTS = 4
MAX_PARAMETERS = 8
MAX_FINDINGS = 10
"""What is said of one source; further faults are counted."""
MAX_DOTS = 4
"""More than the names have that mean something here."""
COMMON_MODULES = frozenset(
    name
    for names in (
        "bisect cmath collections dataclasses enum fractions functools heapq itertools math operator statistics string",
        "typing cv2 numpy numpy.fft numpy.lib.stride_tricks numpy.linalg numpy.ma numpy.polynomial numpy.random",
        "scipy.ndimage",
    )
    for name in names.split()
)
"""What an operator may import, and what is loaded in every sandbox."""
MODULES = COMMON_MODULES.union(
    f"{package}.{name}"
    for package, names in (
        ("scipy", "fft interpolate linalg optimize signal sparse sparse.csgraph sparse.linalg spatial special stats"),
        ("skimage", "color draw exposure feature filters filters.rank graph measure morphology registration"),
        ("skimage", "restoration segmentation transform util"),
    )
    for name in names.split()
)
"""What an operator may import."""

Cause = Literal["source", "result", "error", "time", "memory", "crash", "impure"]
"""Why there is no result: the source breaks a rule, the result is not what was declared, an exception was raised, the
time or the memory was used up, the process died, or the result depends on more than the inputs and parameters."""

_KINDS = {"Raw": Kind.RAW, "Gray": Kind.GRAY, "Mask": Kind.MASK, "Labels": Kind.LABELS}
_OUT_OF_REACH = {"breakpoint", "compile", "eval", "exec", "exit", "globals", "input", "open", "quit", "__import__"}
_FILES = {
    *(f"numpy.{name}" for name in ("fromfile", "fromregex", "genfromtxt", "load", "loadtxt", "memmap")),
    *(f"numpy.{name}" for name in ("save", "savetxt", "savez", "savez_compressed")),
    *(f"cv2.{name}" for name in ("imread", "imreadmulti", "imshow", "imwrite", "imwritemulti", "waitKey")),
    *(f"cv2.{name}" for name in ("FileStorage", "VideoCapture", "VideoWriter")),
}
_CLOCKS = {"cv2.getCPUTickCount", "cv2.getTickCount", "numpy.datetime64"}
_UNSEEDED = {f"numpy.random.{name}" for name in ("default_rng", "RandomState", "SeedSequence")}
_EXAMPLE = "`def operator(plane: Gray, *, radius: Annotated[int, Range(1, 15)] = 3) -> Gray:`"


class CodeError(EvosegError, ValueError):
    """A Python operator that cannot be used, or that gave no result.

    Attributes
    ----------
    cause : Cause
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class Code:
    """A Python operator as its source declares it.

    Attributes
    ----------
    source : str
    inputs : tuple of Kind
        All of the same height and width.
    output : Kind
        Gray, Mask or Labels.
    parameters : tuple of Parameter
        Numbers with a range.
    modules : tuple of str
        What it imports, of `MODULES`.
    input_names : tuple of str
    summary : str
        First line of its docstring, "" without one.
    """

    source: str
    inputs: tuple[Kind, ...]
    output: Kind
    parameters: tuple[Parameter, ...] = ()
    modules: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()
    summary: str = ""

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for the source."""
        return digest_of_source(self.source)


def digest_of_source(source: str) -> str:
    """Return 32 hexadecimal digits that stand for a source, whatever ends its lines."""
    return blake2b(source.replace("\r\n", "\n").encode("utf-8", "replace"), digest_size=16).hexdigest()


def read_code(source: str) -> Code:
    """Read a Python operator from its source.

    Parameters
    ----------
    source : str
        A module that defines ``operator``. Its signature is the schema, as for evoseg's own operators: inputs are
        positional and annotated with their kind, `Raw`, `Gray` (also without annotation), `Mask` or `Labels`;
        parameters stand after ``*``, with a range and a default; what is returned is `Gray`, `Mask` or `Labels`.
        `Annotated`, `Range` and the kinds need no import. `docs/sandbox.md` has an example.

    Raises
    ------
    CodeError
        With all that `lint` finds.
    """
    reading = _Reading(source)
    if reading.findings:
        raise CodeError("source", " ".join(reading.sentences()))
    assert reading.output is not None
    return Code(
        source=reading.source,
        inputs=tuple(reading.inputs.values()),
        output=reading.output,
        parameters=tuple(reading.parameters),
        modules=tuple(sorted(reading.modules)),
        input_names=tuple(reading.inputs),
        summary=reading.summary,
    )


def lint(source: str) -> list[str]:
    """Return what is wrong with the source of an operator: one sentence for each fault, with its line."""
    return _Reading(source).sentences()


class _Reading:
    """One source: what it declares, and what is wrong with it."""

    def __init__(self, source: str) -> None:
        self.source = source.replace("\r\n", "\n")
        self.findings: list[tuple[int, str]] = []
        self.inputs: dict[str, Kind] = {}
        self.output: Kind | None = None
        self.parameters: list[Parameter] = []
        self.modules: set[str] = set()
        self.summary = ""
        self._called: dict[str, str] = {}
        """What imported names mean: np is numpy."""
        tree = self._parse()
        if tree is not None:
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    self._read_import(node)
            self._check_names(tree)
            self._read_function(tree)

    def sentences(self) -> list[str]:
        """Return the findings in the order of their lines, the first few."""
        found = [f"Line {line}: {what}" for line, what in sorted(self.findings)]
        more = len(found) - MAX_FINDINGS
        return [*found[:MAX_FINDINGS], f"And {more} more."] if more > 0 else found

    def _add(self, node: ast.AST, what: str) -> None:
        self.findings.append((getattr(node, "lineno", 1), what))

    def _parse(self) -> ast.Module | None:
        size = len(self.source.encode("utf-8", "replace"))
        if size > MAX_BYTES:
            self.findings.append((1, f"the source has {size} bytes, but at most {MAX_BYTES} are read; shorten it."))
            return None
        for number, line in enumerate(self.source.split("\n"), 1):
            # Characters of direction make a text look like another one in a report.
            if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\t" for c in line):
                self.findings.append((number, "it holds a character that cannot be seen; remove it."))
                return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.source)
        except SyntaxError as error:
            self.findings.append((error.lineno or 1, f"not Python ({legible(error.msg)}); correct it."))
        except (ValueError, RecursionError, MemoryError):
            self.findings.append((1, "Python cannot parse it, since something is nested too deeply; simplify it."))
        return None

    def _read_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                module, name, meaning = alias.name, alias.asname or alias.name.partition(".")[0], alias.name
                meaning = meaning if alias.asname else name
            else:
                module = meaning = f"{'.' * node.level}{node.module or ''}"
                if f"{module}.{alias.name}" in MODULES:
                    module = f"{module}.{alias.name}"
                name, meaning = alias.asname or alias.name, f"{meaning}.{alias.name}"
            self._called[name] = meaning
            if module in MODULES:
                self.modules.add(module)
            else:
                near = ", ".join(sorted(m for m in MODULES if m.startswith(f"{module.partition('.')[0]}.")))
                what = f"Name one of {near}" if near else "An operator may import math, numpy, cv2, scipy and skimage"
                self._add(node, f"{legible(module)} cannot be imported. {what}.")

    def _check_names(self, tree: ast.Module) -> None:
        bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)} | self._called.keys()
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                self._add(node, "global keeps a value from one image to the next; compute it anew.")
            elif isinstance(node, ast.Attribute) and node.attr.startswith("__"):
                self._add(node, f"the attribute {legible(node.attr)} is not for operators; do without it.")
            elif isinstance(node, ast.Attribute | ast.Name) and (name := self._dotted(node)) in _FILES:
                self._add(node, f"{name} needs a file or a window, which the sandbox does not have; leave it out.")
            elif isinstance(node, ast.Attribute | ast.Name) and (name := self._dotted(node)) in _CLOCKS:
                self._add(node, f"{name} gives another value in every run; leave it out.")
            elif isinstance(node, ast.Call):
                self._check_call(node, bound)

    def _check_call(self, node: ast.Call, bound: set[str]) -> None:
        called = self._dotted(node.func)
        if called in _UNSEEDED and not node.args and not node.keywords:
            self._add(node, f"{called} without a seed gives other numbers in every run; write a number as its seed.")
        elif isinstance(node.func, ast.Name) and called not in bound:
            if called in _OUT_OF_REACH:
                self._add(node, f"{called} is not for operators, which compute from their arguments only; do without.")
            elif called == "id":
                self._add(node, "id gives other numbers in every run; compare with `is`.")

    def _dotted(self, node: ast.expr) -> str:
        """Return the full name of something in a module, "" if it is nothing of the kind."""
        parts: list[str] = []
        # A chain of thousands is looked at from each of its links, so each look is short.
        while isinstance(node, ast.Attribute) and len(parts) < MAX_DOTS:
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self._called.get(node.id, node.id), *reversed(parts)])

    def _read_function(self, tree: ast.Module) -> None:
        found = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == "operator"]
        if len(found) != 1:
            self._add(tree, f"exactly one function must be called operator, as in {_EXAMPLE}")
            return
        function = found[0]
        if isinstance(function, ast.AsyncFunctionDef) or any(_yields(function)):
            self._add(function, "operator must return an array, so it cannot be a generator or a coroutine.")
        self.summary = (ast.get_docstring(function) or ast.get_docstring(tree) or "").partition("\n")[0]
        self._read_inputs(function.args)
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
            self._read_parameter(argument, default)
        if len(self.parameters) > MAX_PARAMETERS:
            self._add(
                function, f"it has {len(self.parameters)} parameters; keep the {MAX_PARAMETERS} that matter most."
            )
        returned = function.returns
        self.output = _KINDS.get(returned.id) if isinstance(returned, ast.Name) else None
        if self.output in (None, Kind.RAW):
            self._add(function, f"it must say that it returns Gray, Mask or Labels, as in {_EXAMPLE}")

    def _read_inputs(self, arguments: ast.arguments) -> None:
        inputs = [*arguments.posonlyargs, *arguments.args]
        # Every default belongs to one of the last inputs.
        for argument in inputs[len(inputs) - len(arguments.defaults) :]:
            self._add(argument, f"{legible(argument.arg)} has a default, so it must stand after `*`, as in {_EXAMPLE}")
        for extra in (arguments.vararg, arguments.kwarg):
            if extra is not None:
                self._add(extra, f"{legible(extra.arg)} may be any number of things; name every input and parameter.")
        if not 1 <= len(inputs) <= MAX_INPUTS:
            self.findings.append((1, f"operator takes {len(inputs)} inputs; it must take 1 to {MAX_INPUTS} images."))
        for argument in inputs:
            note = argument.annotation
            kind = Kind.GRAY if note is None else _KINDS.get(note.id) if isinstance(note, ast.Name) else None
            if kind is None:
                self._add(argument, f"the input {legible(argument.arg)} must be a Gray, Mask, Labels or Raw.")
            else:
                self.inputs[argument.arg] = kind

    def _read_parameter(self, argument: ast.arg, default: ast.expr | None) -> None:
        name = legible(argument.arg)
        if argument.arg == "code":
            self._add(argument, "a parameter cannot be called code, which stands for the operator in a pipeline.")
            return
        try:
            integer, domain = _read_annotation(argument.annotation)
        except ValueError as error:
            self._add(argument, f"{name} {error}, as in {_EXAMPLE}")
            return
        value = _literal(default)
        if type(value) is not int and (integer or type(value) is not float):
            self._add(argument, f"{name} needs {'a whole number' if integer else 'a number'} as its default.")
            return
        value = value if integer or not -1e9 <= value <= 1e9 else on_grid(value)
        parameter = Parameter(argument.arg, domain, value, integer, False)
        try:
            self.parameters.append(replace(parameter, default=parameter.check(value)))
        except PipelineError as error:
            self._add(argument, f"the default of {str(error)[:200]}")


def _read_annotation(note: ast.expr | None) -> tuple[bool, Range]:
    """Return whether a parameter is whole, and its range.

    Raises
    ------
    ValueError
        If it is no ``Annotated[int, Range(1, 15)]``; with what it should be.
    """
    wanted = "needs a type with a range"
    if not (
        isinstance(note, ast.Subscript) and _is_name(note.value, "Annotated") and isinstance(note.slice, ast.Tuple)
    ):
        raise ValueError(wanted)
    base, *rest = note.slice.elts
    call = rest[0] if len(rest) == 1 else None
    if not isinstance(call, ast.Call) or not _is_name(call.func, "Range") or len(call.args) != 2:
        raise ValueError(wanted)
    if not _is_name(base, "int") and not _is_name(base, "float"):
        raise ValueError("must be an int or a float")
    integer = _is_name(base, "int")
    low, high = map(_literal, call.args)
    if type(low) not in (int, float) or type(high) not in (int, float) or not -1e9 <= low < high <= 1e9:
        raise ValueError("needs two numbers as its range, the smaller one first")
    # Values are whole, or on a grid of 3 digits, so that texts are read back as they were written.
    low, high = (ceil(low), floor(high)) if integer else (on_grid(low), on_grid(high))
    if low >= high:
        raise ValueError(f"needs a range with more than one {'whole number' if integer else 'number of 3 digits'}")
    options: dict[Any, Any] = {word.arg: _literal(word.value) for word in call.keywords}
    if options.keys() - {"unit", "log", "odd"} or options.get("unit", "one") not in get_args(Unit):
        raise ValueError(f"may say unit (one of {', '.join(get_args(Unit))}), log and odd besides its range")
    if any(type(options.get(word, False)) is not bool for word in ("log", "odd")):
        raise ValueError("may be log=True or odd=True")
    if options.get("odd") and not (integer and high - low >= 2):
        raise ValueError("may be odd only if it is an int whose range has more than one odd number")
    if options.get("log") and low <= 0:
        raise ValueError("may be log=True only if its range is above 0")
    return integer, Range(low, high, **options)


def _literal(node: ast.expr | None) -> Any:
    """Return a number, text or truth value that is written out, None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _constant(node.operand)
        return -number if type(number) in (int, float) else None
    return _constant(node)


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) and type(node.value) in (int, float, str, bool) else None


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _yields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[bool]:
    """Yield True for each `yield` of a function itself; those of functions in it are their own."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            yield True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.GeneratorExp):
            waiting += ast.iter_child_nodes(node)
