"""Macros that outlive their text: taken out of one, and put before another that calls them."""

import ast
from collections.abc import Iterable, Mapping

from evoseg.pipeline.reader import parsed_functions


def macros_in(text: str) -> dict[str, str]:
    """Return the macros that a text defines, each as the text of its definition.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form.
    """
    functions = parsed_functions(text)
    return {name: ast.unparse(function) for name, function in functions.items() if name != "pipeline"}


def with_macros(text: str, macros: Mapping[str, str]) -> str:
    """Return a text with the macros before it that it calls and does not define, and those that these call.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form.
    """
    functions = parsed_functions(text)
    there, needed = set(functions), list[str]()
    waiting = _called(functions.values())
    while waiting:
        name = waiting.pop(0)
        if name in macros and name not in there:
            there.add(name)
            needed.append(name)
            waiting += _called(parsed_functions(macros[name]).values())
    # In front, so that the order of definitions stays that of use; the first line is no place for a comment then.
    return "\n".join([*(macros[name] for name in needed), text]) if needed else text


def _called(functions: Iterable[ast.FunctionDef]) -> list[str]:
    return [
        node.func.id
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
