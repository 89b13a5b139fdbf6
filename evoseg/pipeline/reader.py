"""Read a pipeline from text. The text is parsed, never executed, and bounded before it is parsed.

Besides `pipeline`, a text may define macros: functions of values, made of calls like any pipeline. Calls of a macro
are expanded while reading, so everything downstream sees operators only.
"""

import ast
import re
import warnings
from dataclasses import dataclass

from evoseg.base.errors import PipelineError, unknown
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline.printer import FORM_VERSION
from evoseg.pipeline.value import IMAGE, MAX_STEPS, Pipeline, Step, step

MAX_BYTES = 64 * 1024


class RevisionWarning(UserWarning):
    """A text was written with an older revision of an operator; its pixels may differ now."""


def read_text(text: str) -> Pipeline:
    """Return the pipeline that `text` describes.

    Parameters
    ----------
    text : str
        At most 64 KiB and 200 statements: ``def pipeline(image):`` and, before it, any number of macros.

    Raises
    ------
    PipelineError
        The one error for whatever is wrong; it names the line, the word and the nearest match.

    Warns
    -----
    RevisionWarning
        If the first line names another revision of an operator than the present one.
    """
    functions = _functions(_parse(text))
    if "pipeline" not in functions:
        raise PipelineError("there is no 'def pipeline(image):' in the text.")
    expansion = _Expansion(functions)
    expansion.call("pipeline", [IMAGE], functions["pipeline"])
    try:
        result = Pipeline(expansion.steps)
    except PipelineError as error:
        raise PipelineError(f"pipeline: {error}") from None
    _warn_of_revisions(text)
    return result


def _parse(text: str) -> ast.Module:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise PipelineError("the text holds a lone surrogate; it must be valid UTF-8.") from None
    if size > MAX_BYTES:
        raise PipelineError(f"the text has {size} bytes; at most {MAX_BYTES} are read.")
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
            raise _error(node, "only function definitions may stand here")
        a = node.args
        if a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or node.decorator_list or node.returns:
            raise _error(node, f"{node.name} may take plain arguments only, such as (image)")
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
    return any(op.name == name for op in registry.operators(optional=True))


@dataclass
class _Expansion:
    """The steps read so far; macros are expanded into them call by call."""

    functions: dict[str, ast.FunctionDef]

    def __post_init__(self) -> None:
        self.steps: list[Step] = []
        self.open: list[str] = []

    def call(self, name: str, inputs: list[int], site: ast.AST) -> int:
        """Expand the function `name` and return the index of its result."""
        function = self.functions[name]
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
                raise _error(node, f"the name '{target}' is already used")
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
            self.steps.append(step(node.func.id, *inputs, **params))
        except PipelineError as error:
            raise _error(node, str(error).rstrip(".")) from None
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
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, str):
        if isinstance(node.value, str):
            return node.value[:200]
        # Refused here, since Python will not even print an int of more than 4300 digits.
        if abs(node.value) > 2**53:
            raise _error(node, "the number is too large")
        return sign * node.value  # type: ignore[operator]  # complex, bytes and None are refused above
    raise _error(node, "a value must be a number, a short string or a tuple of numbers")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _error(node: ast.AST, message: str) -> PipelineError:
    return PipelineError(f"line {getattr(node, 'lineno', 1)}: {message}.".replace("..", ".").replace("?.", "?"))


def _warn_of_revisions(text: str) -> None:
    header = re.match(r"# evoseg (\d+):(.*)", text)
    if not header:
        return
    if int(header[1][:9]) != FORM_VERSION:
        raise PipelineError(f"line 1: the text is of form {header[1][:9]}; this evoseg reads form {FORM_VERSION}.")
    for name, revision in re.findall(r"([a-z0-9_]+)@(\d{1,9})", header[2]):
        if _is_operator(name) and registry.get(name).revision != int(revision):
            now = registry.get(name).revision
            warnings.warn(
                f"the pipeline was written with {name}@{revision}; here it is {name}@{now}, whose pixels differ. "
                "Score it again before relying on it.",
                RevisionWarning,
                stacklevel=3,
            )
