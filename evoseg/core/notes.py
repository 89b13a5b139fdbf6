"""Messages about many files, grouped; and text from outside, made safe to print."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from sys import _getframe
from typing import Self

from evoseg.core.errors import EvosegError

_NAMED = 3
"""Files that a line about many of them names."""
_APART = 3
"""Lines that notes of one kind with different texts take at most."""

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters on which a terminal acts in place of showing them, and halves of characters, which have no bytes."""


def quantity(n: int, noun: str) -> str:
    """Return a number of things in words, such as "1 call" or "2 calls"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


class Note(str):
    """A message about one file, or one line or entry of a file; as text it is "WHERE: TEXT", on one line.

    Attributes
    ----------
    where : str
        The file; "" for a message about the whole folder.
    text : str
        What is wrong or noteworthy, without the name.
    kind : object
        Equal for notes that say the same of different files, even where their texts differ in numbers. By default the
        place in the code that words the note.
    """

    where: str
    text: str
    kind: object

    def __new__(cls, where: object, text: str, kind: object = None) -> Self:
        """Make a note.

        Parameters
        ----------
        where : path or str
        text : str
        kind : hashable, optional
        """
        place, words = one_line(str(where)), one_line(text)
        note = super().__new__(cls, f"{place}: {words}" if place else words)
        note.where, note.text = place, words
        note.kind = kind if kind is not None else place_of_caller()
        return note

    def __getnewargs__(self) -> tuple[str, str, object]:  # type: ignore[override]
        return self.where, self.text, self.kind

    @classmethod
    def of(cls, error: EvosegError, where: object) -> Self:
        """Return an error about a file as a note; errors that one statement words are of one kind."""
        place, text = str(where), str(error)
        if not text.startswith(f"{place}: "):  # it names another file, such as one of several of a mask
            place = text.partition(": ")[0] if ": " in text else ""
        return cls(place, text.removeprefix(f"{place}: "), error.worded_at)


def place_of_caller() -> tuple[str, int]:
    """Return file and line of the code that called the function which calls this one."""
    frame = _getframe(2)
    return frame.f_code.co_filename, frame.f_lineno


def group_notes(notes: Iterable[str], root: Path | None = None) -> tuple[str, ...]:
    """Return notes as lines: those that say the same of several files become one, with their number and three names.

    Notes of one kind take at most three lines: one per text, or, if there are more texts, one line with the first.

    Parameters
    ----------
    notes : iterable of Note or str
        A plain str stands for itself.
    root : Path, optional
        Folder from which on files are named.
    """
    prefix = "" if root is None else one_line(f"{root}{os.sep}")
    kinds: dict[object, dict[str, list[str]]] = {}
    for note in dict.fromkeys(notes):
        where, text, kind = (note.where, note.text, note.kind) if isinstance(note, Note) else ("", note, note)
        kinds.setdefault(kind, {}).setdefault(text, []).append(where.removeprefix(prefix))
    lines = []
    for texts in kinds.values():
        if len(texts) <= _APART:
            lines += [f"{_names(places)}: {text}".removeprefix(": ") for text, places in texts.items()]
        else:
            first = next(iter(texts))
            lines.append(f"{_names([place for places in texts.values() for place in places])}; the first: {first}")
    return tuple(lines)


class NotePrinter:
    """Reports notes as they come: the first three of a kind at once, and the number of all others at the end."""

    def __init__(self) -> None:
        self._counts: Counter[object] = Counter()
        self._first: dict[object, str] = {}

    def lines(self, note: str) -> list[str]:
        """Return what to print of one more note."""
        kind = note.kind if isinstance(note, Note) else note
        self._counts[kind] += 1
        self._first.setdefault(kind, note)
        return [note] if self._counts[kind] <= _APART else []

    def rest(self) -> list[str]:
        """Return a line for each kind of which not all notes were told."""
        return [
            f"{n - _APART} more like this one ({n} in all): {self._first[kind]}"
            for kind, n in self._counts.items()
            if n > _APART
        ]


def _names(places: list[str]) -> str:
    """Return the first few names, and the number of all if there are more."""
    names = list(dict.fromkeys(places))
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more ({len(places)} in all)"
    said = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return said if len(names) == len(places) else f"{said} ({len(places)} in all)"


def first_few(names: Sequence[str]) -> str:
    """Return the first three names, with dots for more."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def name_some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def escape_text(text: str) -> str:
    r"""Return text with control characters, marks that turn the writing direction, and stray bytes escaped.

    Line ends and tabs are kept. What is escaped reads as \x1b, or \u202e, which JSON understands as well; a byte of a
    file name that is not UTF-8 reads as \xff.
    """
    return _ACTING.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return text as `escape_text` does, with line ends and tabs escaped, too."""
    return escape_text(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"
