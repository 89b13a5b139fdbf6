"""Errors that a user can act on: what is wrong, where, and what to do.

Each derives from `EvosegError`, which the command line turns into one message and exit code 1, and from the
builtin that it resembles.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from sys import _getframe

LONGEST = 60
"""Characters of a word from outside that a message repeats."""


class EvosegError(Exception):
    """An error that a user can act on; the message says what is wrong, where, and what to do.

    Attributes
    ----------
    worded_at : tuple of (str, int)
        File and line of our code that made the error: equal for errors that say the same of different files.
    """

    worded_at: tuple[str, int]

    def __init__(self, *words: object) -> None:
        super().__init__(*words)
        caller = _getframe(1)
        self.worded_at = (caller.f_code.co_filename, caller.f_lineno)


class DatasetError(EvosegError, ValueError):
    """A folder, image or mask that cannot be used."""


class PipelineError(EvosegError, ValueError):
    """A pipeline that breaks a rule of the language."""


class SettingsError(EvosegError, ValueError):
    """A setting with an invalid value."""


class MissingPackageError(EvosegError, ImportError):
    """A feature whose optional package is not installed."""


class ImageWarning(UserWarning):
    """Images unlike those that a pipeline was made for, or answers that mark nothing or everything."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return a message that `name` is unknown, with the nearest matches, or all known names if they are few."""
    names = sorted(known)
    # Comparing is quadratic in the length, and the name may come from a hostile file.
    spelled = {known.lower(): known for known in reversed(names)}
    near = [spelled[word] for word in get_close_matches(name[:LONGEST].lower(), spelled, n=3, cutoff=0.6)]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif len(names) <= 12:
        hint = f"known are {', '.join(names)}."
    else:
        hint = f"{len(names)} are known."
    return f"unknown {what} '{legible(name)}'; {hint}"


def legible(word: str) -> str:
    """Return text from outside as it may stand in a message: short, on one line, without control characters."""
    shown = word if word.isprintable() else repr(word)[1:-1]
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
