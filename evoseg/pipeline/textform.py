"""The text form of pipelines: print it, and read it without ever executing it.

A text is parsed, and bounded before it is parsed. Besides `pipeline`, it may define macros: functions of values, made
of calls like any pipeline. Calls of a macro are expanded while reading, so everything downstream sees operators only.
"""

import ast
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evoseg.core.errors import PipelineError, legible, unknown
from evoseg.datasets.imageformat import ImageFormat
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline.value import IMAGE, MAX_STEPS, Pipeline, Step, checked_step, step_as_written

FORM_VERSION = 1


CHECKED = "parameters checked"
"""Ends the first line of texts whose parameters cannot contradict each other unless edited by hand."""


def print_text(pipeline: Pipeline, *, settled: bool = True) -> str:
    """Return the canonical text: every parameter in signature order, steps named by operator and number.

    If the pipeline knows what images it was made for, a comment on the second line says so.

    Parameters
    ----------
    settled : bool
        Whether values that contradict each other are put in order, as in all that people and models read. False gives
        the text as early versions wrote it, from which journals and libraries get the very same pipeline back.
    """
    pipeline = pipeline.settled() if settled else pipeline
    names = names_of(pipeline)
    made_for = [] if pipeline.made_for is None else [pipeline.made_for.mark().rstrip()]
    lines = [_header(pipeline, checked=settled), *made_for, "def pipeline(image):"]
    for i, s in enumerate(pipeline.steps):
        op = registry.get(s.operator)
        keywords = [f"{k}={_print_value(v)}" for k, v in op.keywords(s.params).items()]
        call = f"{op.called}({', '.join([names[j] for j in s.inputs] + keywords)})"
        if i == len(pipeline.steps) - 1:
            lines.append(f"    return {call}")
            continue
        lines.append(f"    {names[i]} = {call}")
    return "\n".join(lines) + "\n"


def names_of(pipeline: Pipeline) -> dict[int, str]:
    """Return what steps are called by their places, `IMAGE` included: by operator and number."""
    counts: dict[str, int] = {}
    names = {IMAGE: "image"}
    for i, s in enumerate(pipeline.steps):
        called = registry.get(s.operator).called
        counts[called] = counts.get(called, 0) + 1
        names[i] = f"{called}_{counts[called]}"
    return names


def _header(pipeline: Pipeline, *, checked: bool) -> str:
    used = [registry.get(name) for name in dict.fromkeys(s.operator for s in pipeline.steps)]
    mark = f" ({CHECKED})" if checked and any(op.in_order for op in used) else ""
    return f"# evoseg {FORM_VERSION}: " + " ".join(dict.fromkeys(f"{op.called}@{op.revision}" for op in used)) + mark


def _print_value(value: Value) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(repr(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    return f'"{value}"' if isinstance(value, str) else repr(value)


MAX_BYTES = 64 * 1024

MAX_CALLS = 1000
"""Maximum number of macro calls. Macros may add no step, and nested ones could multiply without end."""


class RevisionWarning(UserWarning):
    """A text was written with an older revision of an operator; its pixels may differ now."""


class OrderWarning(UserWarning):
    """A text of an early version holds values that contradict each other; they were put in order."""


def read_text(text: str, *, settled: bool = True) -> Pipeline:
    """Return the pipeline that `text` describes.

    Parameters
    ----------
    text : str
        At most 64 KiB and 200 statements: ``def pipeline(image):`` and, before it, any number of macros.
    settled : bool
        What becomes of values that contradict each other in a text that an early version has written: put in order,
        with a warning, or kept, since journals and libraries need the very pipeline that was written. In any other
        text they are an error.

    Raises
    ------
    PipelineError
        The one error for whatever is wrong; it names the line, the word and the nearest match.

    Warns
    -----
    RevisionWarning
        If the first line names another revision of an operator than the present one.
    OrderWarning
        If values were put in order.
    """
    text = text.removeprefix("\ufeff")  # what some editors put before UTF-8
    check_size(text)
    revisions = _revisions(text)
    functions = parse_functions(text)
    if "pipeline" not in functions:
        raise PipelineError("there is no 'def pipeline(image):' in the text.")
    expansion = _Expansion(functions)
    try:
        place = expansion.call("pipeline", [IMAGE], functions["pipeline"])
    except RecursionError:
        raise PipelineError("the text is not a program: its calls are nested too deeply.") from None
    if place == IMAGE:
        raise PipelineError("pipeline returns the image itself; it must return the value of an operator.")
    try:
        # What is returned need not be what was computed last.
        result = Pipeline(expansion.steps[: place + 1])
    except PipelineError as error:
        raise PipelineError(f"pipeline: {error}") from None
    if expansion.contradictions:
        if not _written_early(text, result):
            raise expansion.contradictions[0]
        if settled:
            warn_of_order(str(expansion.contradictions[0]))
            result = result.settled()
    warn_of_revisions(revisions)
    return result.for_images(ImageFormat.marked(text))


def _written_early(text: str, pipeline: Pipeline) -> bool:
    """Return whether a text is what a version wrote whose operators took contradicting values in either order."""
    first, *rest = text.rstrip().splitlines()
    body = [line for line in rest if not line.startswith("#")]
    early = print_text(pipeline, settled=False).splitlines()
    return first.startswith(f"# evoseg {FORM_VERSION}:") and CHECKED not in first and body == early[1:]


def warn_of_order(complaint: str) -> None:
    """Warn that values which contradict each other were put in order."""
    said = complaint.removesuffix(" Correct one of them.")
    warnings.warn(
        f"{said} An early version wrote this pipeline and sorted such values when it ran. They are read in sorted "
        "order, so the results are the same.",
        OrderWarning,
        stacklevel=3,
    )


def parse_functions(text: str) -> dict[str, ast.FunctionDef]:
    """Return the functions of a text by name, their headers checked but not their bodies.

    Raises
    ------
    PipelineError
        If it is too large, not a program, or more than functions.
    """
    return _functions(_parse(text))


def check_size(text: str) -> None:
    """Refuse a text that is too large, before anything else is done with it.

    Raises
    ------
    PipelineError
    """
    size = len(text)
    if size <= MAX_BYTES:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise PipelineError("the text holds a lone surrogate; it must be valid UTF-8.") from None
    if size > MAX_BYTES:
        raise PipelineError(f"the text has {size} bytes; at most {MAX_BYTES} are read.")


def _parse(text: str) -> ast.Module:
    check_size(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. about "\d" in a string that will be refused anyway
            return ast.parse(text)
    except SyntaxError as error:
        raise PipelineError(f"line {error.lineno or 1}: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError):
        raise PipelineError("the text is not a program: it is nested too deeply or holds a null byte.") from None


def _functions(module: ast.Module) -> dict[str, ast.FunctionDef]:
    functions: dict[str, ast.FunctionDef] = {}
    statements = 0
    for node in module.body:
        if not isinstance(node, ast.FunctionDef):
            if isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node):
                raise _error(
                    node,
                    "only function definitions may stand here. Is this an exported Python file? Name the run, or the "
                    ".evo file from which it was exported",
                )
            raise _error(node, "only function definitions may stand here")
        a = node.args
        if a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or node.decorator_list or node.returns:
            raise _error(node, f"{node.name} may take plain arguments only, such as (image)")
        if getattr(node, "type_params", None):  # Python 3.12 and later
            raise _error(node, f"{node.name} may have no type parameters")
        if len({argument.arg for argument in a.args}) < len(a.args):
            raise _error(node, f"two arguments of {node.name} have the same name")
        if any(argument.annotation for argument in a.args) or not a.args:
            raise _error(node, f"{node.name} must take at least one argument, without annotation")
        if node.name in functions or (node.name != "pipeline" and _is_operator(node.name)):
            raise _error(node, f"{node.name} is already defined")
        functions[node.name] = node
        statements += len(node.body)
    if statements > MAX_STEPS:
        raise PipelineError(f"the text has {statements} statements; at most {MAX_STEPS} are read.")
    if "pipeline" in functions and len(functions["pipeline"].args.args) != 1:
        raise _error(functions["pipeline"], "pipeline must take one argument, the image")
    return functions


def _is_operator(name: str) -> bool:
    if name == registry.PYTHON:
        return True
    try:
        registry.get(name)
    except PipelineError:
        return False
    return True


@dataclass
class _Expansion:
    """The steps read so far; macros are expanded into them call by call."""

    functions: dict[str, ast.FunctionDef]

    def __post_init__(self) -> None:
        self.steps: list[Step] = []
        self.contradictions: list[PipelineError] = []
        self.open: list[str] = []
        self.calls = 0

    def call(self, name: str, inputs: list[int], site: ast.AST) -> int:
        """Expand the function `name` and return the index of its result."""
        function = self.functions[name]
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise _error(site, f"macros are called more than {MAX_CALLS} times")
        if name in self.open:
            raise _error(site, f"{name} calls itself")
        if len(inputs) != len(function.args.args):
            raise _error(site, f"{name} takes {len(function.args.args)} values, not {len(inputs)}")
        self.open.append(name)
        known = {argument.arg: value for argument, value in zip(function.args.args, inputs, strict=True)}
        result = self._body(function, known)
        self.open.pop()
        return result

    def _body(self, function: ast.FunctionDef, known: dict[str, int]) -> int:
        *statements, last = function.body
        for node in statements:
            if _is_docstring(node):
                continue
            if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
                raise _error(node, "each statement must be 'name = operator(...)', and the last 'return ...'")
            target = node.targets[0].id
            if target in known:
                raise _error(node, f"the name '{legible(target)}' is already used")
            known[target] = self._value(node.value, known)
        if not isinstance(last, ast.Return) or last.value is None:
            raise _error(last, f"{function.name} must end with 'return ...'")
        return self._value(last.value, known)

    def _value(self, node: ast.expr, known: dict[str, int]) -> int:
        if isinstance(node, ast.Name):
            if node.id not in known:
                raise _error(node, unknown("name", node.id, known))
            return known[node.id]
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise _error(node, "only names and calls of operators may stand here")
        inputs = [self._value(argument, known) for argument in node.args]
        if node.func.id in self.functions:
            if node.keywords:
                raise _error(node, f"{node.func.id} is a macro and takes no parameters")
            return self.call(node.func.id, inputs, node)
        params = _params(node)
        if len(self.steps) >= MAX_STEPS:
            raise _error(node, f"the program has more than {MAX_STEPS} steps")
        try:
            self.steps.append(step_as_written(node.func.id, *inputs, **params))
            checked_step(self.steps, len(self.steps) - 1)
        except PipelineError as error:
            raise _error(node, str(error)) from None
        if complaint := registry.get(self.steps[-1].operator).contradiction(self.steps[-1].params):
            self.contradictions.append(_error(node, complaint))
        return len(self.steps) - 1


def _params(call: ast.Call) -> dict[str, Value]:
    params: dict[str, Value] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in params:
            raise _error(call, "parameters are given once each, as name=value")
        params[keyword.arg] = _literal(keyword.value)
    return params


def _literal(node: ast.expr) -> Value:
    if isinstance(node, ast.Tuple):
        numbers = [_literal(element) for element in node.elts]
        if any(isinstance(n, str | tuple) for n in numbers):
            raise _error(node, "a tuple may hold numbers only")
        return tuple(n for n in numbers if not isinstance(n, str | tuple))
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -1 if isinstance(node.op, ast.USub) else 1
        node = node.operand
        if not isinstance(node, ast.Constant) or isinstance(node.value, str):
            raise _error(node, "a sign must stand before a number")
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, str):
        return value[:200]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Refused here, since Python will not even print an int of more than 4300 digits.
        if abs(value) > 2**53:
            raise _error(node, "the number is too large")
        return sign * value
    raise _error(node, "a value must be a number, a short string or a tuple of numbers")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _error(node: ast.AST, message: str) -> PipelineError:
    end = "" if message.endswith((".", "?")) else "."
    return PipelineError(f"line {getattr(node, 'lineno', 1)}: {message}{end}")


def _revisions(text: str) -> list[tuple[str, int]]:
    """Return the operators and revisions that the first line names; refuse a text of another form."""
    header = re.match(r"# evoseg (\d+):", text)
    if not header:
        return []
    form = int(header[1][:9])
    if form != FORM_VERSION:
        raise PipelineError(f"line 1: the text has format version {form}; this version of evoseg reads {FORM_VERSION}.")
    return named_revisions(text)


def named_revisions(text: str) -> list[tuple[str, int]]:
    """Return the operators and revisions in a text's first line, such as ``threshold@1``."""
    # Word by word: searching the line for names would try each of their letters as a beginning.
    words = text.partition("\n")[0].replace(",", " ").split()
    return [(m[1], int(m[2])) for word in words if (m := re.fullmatch(r"([a-z0-9_]+)@([0-9]{1,9})", word))]


def warn_of_revisions(written: Iterable[tuple[str, int]]) -> None:
    """Warn of each operator whose revision differs from the one that a program was written with."""
    for name, revision in dict(written).items():
        if name != registry.PYTHON and _is_operator(name) and registry.get(name).revision != revision:
            now = registry.get(name).revision
            warnings.warn(
                f"the pipeline was written with {name}@{revision}; here it is {name}@{now}, whose output differs. "
                "Score it again before relying on it.",
                RevisionWarning,
                stacklevel=3,
            )


def find_codes(text: str) -> list[str]:
    """Return the digests of the Python operators that a text or a document in JSON names, each once.

    Their sources have to be known before the text is read, since they say what it may give them.
    """
    return list(dict.fromkeys(re.findall(r"""\bcode["']?\s{0,9}[=:]\s{0,9}["']([0-9a-f]{32})["']""", text[:MAX_BYTES])))


def find_macros(text: str) -> dict[str, str]:
    """Return the macros that a text defines, each as the text of its definition.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form.
    """
    functions = parse_functions(text)
    return {name: ast.unparse(function) for name, function in functions.items() if name != "pipeline"}


def add_macros(text: str, macros: Mapping[str, str]) -> str:
    """Return a text with the macros before it that it calls and does not define, and those that these call.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form.
    """
    functions = parse_functions(text)
    there, needed = set(functions), list[str]()
    waiting = _find_calls(functions.values())
    while waiting:
        name = waiting.pop(0)
        if name in macros and name not in there:
            there.add(name)
            needed.append(name)
            waiting += _find_calls(parse_functions(macros[name]).values())
    # In front, so that the order of definitions stays that of use; the first line is no place for a comment then.
    return "\n".join([*(macros[name] for name in needed), text]) if needed else text


def _find_calls(functions: Iterable[ast.FunctionDef]) -> list[str]:
    return [
        node.func.id
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
