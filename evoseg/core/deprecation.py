"""The deprecation policy: an old spelling works for one more release, and warns each time it is used.

A parameter, option or public name that is renamed keeps its old spelling until the release after the next one. Whoever
uses it gets one `DeprecatedNameWarning`, a FutureWarning that names the new spelling; the command line prints it as a
note. File formats, names of operators and keys of JSON documents are never renamed in this way: they stay readable.
"""

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = str(Path(__file__).resolve().parent.parent)


class DeprecatedNameWarning(FutureWarning):
    """An old spelling of a parameter, option or name was used."""


def warn_deprecated(old: str, new: str) -> None:
    """Warn that an old spelling was used, at the line outside evoseg that used it.

    Parameters
    ----------
    old : str
        What was written, as the user would write it.
    new : str
        What to write instead.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    message = f"{old} is deprecated and will be removed in the next release. Use {new} instead."
    warnings.warn(message, DeprecatedNameWarning, stacklevel=level)


def rename_keywords(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take the old names of some keywords as well: old=new."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*values: P.args, **named: P.kwargs) -> R:
            if old := [name for name in names if name in named]:
                told = ", ".join(f"{name}=" for name in old)
                warn_deprecated(f"{function.__name__}({told})", ", ".join(f"{names[name]}=..." for name in old))
                for name in old:
                    value = named.pop(name)
                    if value is not None:
                        named[names[name]] = value
            return function(*values, **named)

        return call

    return decorate


def public(name: str) -> Any:
    """Return what `evoseg.NAME` is: for methods that hand a value to a public function of a higher layer."""
    return getattr(import_module("evoseg"), name)
