"""Take functions out of their modules, with everything they lean on, as source that stands alone.

The exported program is made from the operators' own source, so there is one implementation of each. Types and the
decorator `@operator` are left out, docstrings keep their first line, comments stay.
"""

import ast
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import cleandoc, getsource

from evoseg.core.errors import EvosegError

_LONGEST_LINE = 120
_ALLOWED = {"numpy", "cv2"}
# Functions that only talk to the type checker, and which of their arguments they return.
_TRANSPARENT = {"cast": 1, "as_gray": 0}


class ExportError(EvosegError, ValueError):
    """A pipeline that cannot leave evoseg in the form asked for."""


@dataclass(frozen=True)
class _Module:
    """A parsed module: its lines as bytes, because ast counts columns in bytes, and what each name stands for."""

    lines: tuple[bytes, ...]
    definitions: dict[str, ast.stmt]


Edit = tuple[tuple[int, int], tuple[int, int], str]
"""Replace from (line, column) to (line, column) by a text."""


@dataclass
class Excerpts:
    """Definitions collected so far, each after those it leans on.

    Attributes
    ----------
    owners : dict
        What each name of the exported file stands for, as (module, name). Names put in beforehand are kept for their
        owner; a helper of the same name from another module is given that module's name as a prefix.
    """

    owners: dict[str, tuple[str, str]]
    _imports: set[str] = field(default_factory=set)
    _pieces: list[str] = field(default_factory=list)
    _names: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, module: str, name: str) -> str:
        """Add a definition and all it refers to; return its name in the exported file.

        Raises
        ------
        ExportError
            If it needs a package other than numpy and cv2, or is made in a way that cannot be copied.
        """
        if (module, name) in self._names:
            return self._names[module, name]
        statement = _module(module).definitions.get(name)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return self._imported(module, name, statement)
        if not isinstance(statement, ast.FunctionDef | ast.Assign | ast.AnnAssign):
            raise ExportError(f"'{name}' of {module} cannot be copied: it is neither a function nor a constant.")
        exported = self._named(module, name)
        self._names[module, name] = exported
        renamed = {used: self._used(module, used) for used in _references(statement)}
        self._pieces.append(_rewritten(_module(module), statement, renamed | {name: exported}))
        return exported

    def text(self) -> str:
        """Return imports and definitions as source."""
        plain = sorted(line for line in self._imports if line.startswith("import"))
        standard = [line for line in plain if line.split()[1].split(".")[0] not in _ALLOWED]
        standard += sorted(line for line in self._imports - set(plain) if line.split()[1].split(".")[0] not in _ALLOWED)
        foreign = sorted(self._imports - set(standard))
        blocks = ["\n".join(lines) for lines in (standard, foreign) if lines]
        return "\n\n".join(blocks) + "\n\n\n" + "\n\n\n".join(self._pieces)

    def needs(self, name: str, line: str) -> None:
        """Add an import line that brings in `name`."""
        self.owners[name] = ("", line)
        self._imports.add(line)

    def replace(self, module: str, name: str, by: str) -> None:
        """Call a definition `by` another name, which the exported file defines itself, instead of copying it."""
        self._names[module, name] = by

    def _used(self, module: str, name: str) -> str:
        """Return what a name used in `module` is called in the exported file."""
        if name in _module(module).definitions:
            return self.add(module, name)
        if name in self.owners:
            # An operator such as `open` or `max` hides the builtin that a helper means.
            self.needs("builtins", "import builtins")
            return f"builtins.{name}"
        return name

    def _imported(self, module: str, name: str, statement: ast.Import | ast.ImportFrom) -> str:
        alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name)
        source = (statement.module or "") if isinstance(statement, ast.ImportFrom) else alias.name
        package = source.partition(".")[0]
        if package == "evoseg" and isinstance(statement, ast.ImportFrom) and not _is_module(f"{source}.{alias.name}"):
            return self.add(source, alias.name)
        if package not in _ALLOWED and package not in sys.stdlib_module_names:
            raise ExportError(f"{module} uses {source} in a way that cannot be copied into a file of its own.")
        renaming = f" as {alias.asname}" if alias.asname else ""
        start = f"from {source} import " if isinstance(statement, ast.ImportFrom) else "import "
        line = f"{start}{alias.name}{renaming}"
        if self.owners.setdefault(name, ("", line)) != ("", line):
            raise ExportError(f"{module} uses the name '{name}', which another operator uses for something else.")
        self._imports.add(line)
        self._names[module, name] = name
        return name

    def _named(self, module: str, name: str) -> str:
        owner = (module, name)
        if self.owners.setdefault(name, owner) == owner:
            return name
        start = "_" if name.startswith("_") else ""
        name = f"{start}{module.rpartition('.')[2]}_{name.lstrip('_')}"
        while self.owners.setdefault(name, owner) != owner:
            name += "_"
        return name


@cache
def _module(name: str) -> _Module:
    source = getsource(import_module(name))
    definitions: dict[str, ast.stmt] = {}
    for statement in ast.parse(source).body:
        for defined in _defined(statement):
            definitions[defined] = statement
    return _Module(tuple(source.encode().split(b"\n")), definitions)


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (a.asname or a.name.partition(".")[0] for a in statement.names)
    elif isinstance(statement, ast.Assign):
        yield from (n.id for target in statement.targets for n in ast.walk(target) if isinstance(n, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and statement.value and isinstance(statement.target, ast.Name):
        yield statement.target.id


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _seen_through(node: ast.AST) -> ast.expr | None:
    """Return the argument that stands for a call which only talks to the type checker."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TRANSPARENT:
        return node.args[_TRANSPARENT[node.func.id]]
    return None


def _is_registration(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "operator"


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without its annotations, without the decorator `@operator` and without calls for types only."""
    if isinstance(node, ast.Call) and _is_registration(node):
        return
    yield node
    inner = _seen_through(node)
    if inner is not None:
        yield from _parts(inner)
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _parts(child)


def _references(statement: ast.stmt) -> list[str]:
    """Return the names that a definition takes from outside, in order of appearance."""
    names = [n for n in _parts(statement) if isinstance(n, ast.Name)]
    own: set[str] = set()
    if isinstance(statement, ast.FunctionDef):
        own = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        own |= {n.arg for n in _parts(statement) if isinstance(n, ast.arg)}
        own |= {n.name for n in _parts(statement) if isinstance(n, ast.FunctionDef) and n is not statement}
    return list(dict.fromkeys(n.id for n in names if isinstance(n.ctx, ast.Load) and n.id not in own))


def _rewritten(module: _Module, statement: ast.stmt, renamed: dict[str, str]) -> str:
    if isinstance(statement, ast.FunctionDef):
        return _function(module, statement, renamed)
    above = _comments_above(module, statement.lineno)
    return "\n".join([*above, _edited(module, statement.lineno, statement.end_lineno or 0, [statement], renamed)])


def _function(module: _Module, function: ast.FunctionDef, renamed: dict[str, str]) -> str:
    first_line = min([function.lineno, *(d.lineno for d in function.decorator_list)])
    lines = _comments_above(module, first_line)
    lines += [f"@{_plain(d, renamed)}" for d in function.decorator_list if not _is_registration(d)]
    lines.append(_signature(function, renamed))
    body = function.body
    text = ast.get_docstring(function)
    if text is not None:
        lines.append(f'    """{cleandoc(text).splitlines()[0]}"""'.replace("\\", "\\\\"))
        body = body[1:]
    if body:
        comments = _comments_above(module, body[0].lineno)
        start = body[0].lineno - len(comments)
        lines.append(_edited(module, start, body[-1].end_lineno or 0, list(body), renamed))
    return "\n".join(lines)


def _signature(function: ast.FunctionDef, renamed: dict[str, str]) -> str:
    name = renamed[function.name]
    whole = f"def {name}({_plain(function.args, renamed)}):"
    if len(whole) <= _LONGEST_LINE:
        return whole
    # Commas inside a default value's brackets do not part arguments.
    parts, depth = [""], 0
    for character in _plain(function.args, renamed):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return "\n".join([f"def {name}(", *(f"    {part.strip()}," for part in parts), "):"])


def _plain(node: ast.arguments | ast.expr, renamed: dict[str, str]) -> str:
    """Return a node as source without annotations."""
    node = deepcopy(node)
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            part.annotation = None
        elif isinstance(part, ast.Name):
            # A dotted name is no identifier, but prints as it should.
            part.id = renamed.get(part.id, part.id)
    # ast prefers single quotes, evoseg's own source and the rest of the exported file double ones.
    return re.sub(r"'([^'\"\\]*)'", r'"\1"', ast.unparse(node))


def _comments_above(module: _Module, line: int) -> list[str]:
    """Return the comment lines directly above a line."""
    start = line - 1
    while start > 0 and module.lines[start - 1].lstrip().startswith(b"#"):
        start -= 1
    return [text.decode() for text in module.lines[start : line - 1]]


def _edited(module: _Module, start: int, end: int, nodes: list[ast.stmt], renamed: dict[str, str]) -> str:
    """Return lines `start` to `end` with names replaced and annotations taken out, all else as written."""
    lines = list(module.lines[start - 1 : end])
    edits = [edit for node in nodes for part in _parts(node) for edit in _edits(module, part, renamed)]
    for (row, column), (end_row, end_column), text in sorted(edits, reverse=True):
        before, after = lines[row - start][:column], lines[end_row - start][end_column:]
        lines[row - start : end_row - start + 1] = [before + text.encode() + after]
    return b"\n".join(lines).decode()


def _edits(module: _Module, node: ast.AST, renamed: dict[str, str]) -> Iterator[Edit]:
    if isinstance(node, ast.Name) and renamed.get(node.id, node.id) != node.id:
        yield _start(node), _end(node), renamed[node.id]
    elif isinstance(node, ast.Call) and (inner := _seen_through(node)) is not None:
        # Brackets go as well, unless they join lines or hold an expression together.
        whole = node.lineno == node.end_lineno and isinstance(inner, ast.Call | ast.Name | ast.Attribute)
        yield _start(node), _start(inner), "" if whole else "("
        yield _end(inner), _end(node), "" if whole else ")"
    elif isinstance(node, ast.AnnAssign):
        if node.value is None:
            yield _start(node), _end(node), "pass"
        else:
            yield _end(node.target), _start(node.value), " = "
    elif isinstance(node, ast.arg) and node.annotation is not None:
        row, column = _start(node)
        yield (row, column + len(node.arg.encode())), _end(node.annotation), ""
    elif isinstance(node, ast.FunctionDef) and node.returns is not None:
        row, column = _start(node.returns)
        arrow = module.lines[row - 1].rfind(b"->", 0, column)
        yield (row, len(module.lines[row - 1][:arrow].rstrip())), _end(node.returns), ""


def _start(node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
