"""Files that somebody else may have written: opened safely, read within bounds, and YAML without surprises.

Every file that a user names, or that lies in a folder which a user names, is opened here. What is refused: anything
but a regular file (a pipe or a device may never end), a link that leads out of the folder which was opened, and more
bytes than the caller expects. An error about such a file never repeats what is in it.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from evoseg.core.errors import DatasetError, EvosegError, legible

if TYPE_CHECKING:
    import yaml

MAX_YAML_NODES = 200_000
"""Values and keys of one document; a table of splits for 50,000 images has as many."""
MAX_YAML_DEPTH = 24
MAX_YAML_TEXT = 128 * 1024
"""Characters of one value; a pipeline's text has at most half as many."""
_LONGEST_WORD = 200
"""Characters up to which a plain value may mean a number, a date, yes or no; a longer one is text."""
_LONGEST_NUMBER = 40
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class YamlError(EvosegError, ValueError):
    """A text that is not YAML, or not within the bounds of what is read; the message begins with the line."""


def within(path: Path, folder: Path) -> bool:
    """Return whether a file lies in a folder, after all links; `Path.resolve` would raise where links form a circle."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def open_file(path: Path, *, inside: Path | None = None, error: type[EvosegError] = DatasetError) -> BinaryIO:
    """Open a regular file for reading.

    Parameters
    ----------
    path : Path
    inside : Path, optional
        Folder that the file must lie in after all links; None for a file that the user has named.
    error : type of EvosegError
        What to raise for a file that is refused.

    Raises
    ------
    EvosegError
        Of the type `error`, if it is not a regular file, or a link out of `inside`.
    OSError
        If there is no such file, or it must not be read.
    """
    if inside is not None and not within(path, inside):
        raise error(f"{path}: a link out of the folder {inside}. Copy the file instead.")
    # Asked first, since opening alone may already change a device; then again, of what was really opened.
    _check_regular(path, path.stat().st_mode, error)
    # Without O_NONBLOCK, opening a pipe that took the file's place meanwhile would wait for its other end.
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode, error)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def read_file(
    path: Path,
    most_bytes: int,
    *,
    inside: Path | None = None,
    error: type[EvosegError] = DatasetError,
    advice: str = "Is it the right file?",
) -> bytes:
    """Return the content of a regular file of a bounded size.

    Parameters
    ----------
    path, inside, error
        As of `open_file`.
    most_bytes : int
    advice : str
        What to do about a file that is too large.

    Raises
    ------
    EvosegError
        As `open_file`, and if the file is too large.
    OSError
        As `open_file`.
    """
    with open_file(path, inside=inside, error=error) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most_bytes:
            # Files of /proc have no size, and some of them no end.
            data = file.read(min(size or 2**20, most_bytes) + 1)
            size = len(data)
    if size > most_bytes:
        raise error(f"{path}: {_shown(size)}; at most {_shown(most_bytes)} are read. {advice}")
    return data


def _check_regular(path: Path, mode: int, error: type[EvosegError]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for matches, name in _KINDS if matches(mode)), "something else")
        raise error(f"{path}: not a file but {kind}. Name a regular file.")


def _shown(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.4g} MB" if n_bytes >= 2**20 else f"{n_bytes} bytes"


def compose_yaml(text: str) -> "yaml.Node | None":
    """Return the nodes of a YAML document, None if it is empty; bounds are checked while it is parsed.

    The nodes are built from the parser's events one by one. Composing as PyYAML does recurses, in C without any limit,
    and expands an alias as often as it is named.

    Raises
    ------
    YamlError
        If the text is not YAML; if it holds more than `MAX_YAML_NODES` values, lists in lists deeper than
        `MAX_YAML_DEPTH` or a value longer than `MAX_YAML_TEXT`; for an alias, a tag of a language, or a second
        document.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    building = _Building()
    try:
        for event in yaml.parse(text, Loader=loader):
            building.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = legible(str(getattr(error, "problem", None) or type(error).__name__))
        raise YamlError(f"line {line} is not YAML ({problem}). Correct or quote that line.") from error
    except (UnicodeError, ValueError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"line 1: not text that YAML can hold ({type(error).__name__}). Save it as UTF-8.") from error
    return building.root


class _Building:
    """A document's nodes, as far as its events have come."""

    def __init__(self) -> None:
        import yaml

        self.root: yaml.Node | None = None
        self._resolver: Any = yaml.resolver.Resolver()
        self._open: list[yaml.CollectionNode] = []
        self._keys: list[yaml.Node | None] = []
        """For each open collection, the key of a mapping that waits for its value."""
        self._n_nodes = 0

    def take(self, event: Any) -> None:
        """Add what one event says."""
        import yaml

        mark: Any = event.start_mark
        end: Any = event.end_mark
        if isinstance(event, yaml.AliasEvent):
            raise _yaml_error(mark, f"holds a YAML alias (*{legible(str(event.anchor))}). Write the value out.")
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise _yaml_error(mark, "begins a second document. Keep one per file.")
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_YAML_TEXT:
                raise _yaml_error(mark, f"holds a value of {len(event.value)} characters; at most {MAX_YAML_TEXT}.")
            self._put(yaml.ScalarNode(self._tag(yaml.ScalarNode, event), event.value, mark, end))
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            if len(self._open) >= MAX_YAML_DEPTH:
                raise _yaml_error(mark, f"is nested more than {MAX_YAML_DEPTH} deep. Write it flatter.")
            kind = yaml.SequenceNode if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingNode
            node = kind(self._tag(kind, event), [], mark, end)
            self._put(node)
            self._open.append(node)
            self._keys.append(None)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()

    def _put(self, node: "yaml.Node") -> None:
        import yaml

        self._n_nodes += 1
        if self._n_nodes > MAX_YAML_NODES:
            raise _yaml_error(node.start_mark, f"is beyond the {MAX_YAML_NODES} values that are read. Shorten it.")
        if not self._open:
            self.root = node
        elif isinstance(self._open[-1], yaml.SequenceNode):
            self._open[-1].value.append(node)
        elif self._keys[-1] is None:
            self._keys[-1] = node
        else:
            self._open[-1].value.append((self._keys[-1], node))
            self._keys[-1] = None

    def _tag(self, kind: type, event: Any) -> str:
        """Return what a value means: by its own tag, or else by its form."""
        import yaml

        if event.tag not in (None, "!"):
            name = str(event.tag).removeprefix("tag:yaml.org,2002:")
            if name not in ("str", "int", "float", "bool", "null", "seq", "map"):
                raise _yaml_error(event.start_mark, f"holds the YAML tag {legible(name)}; remove it.")
            return str(event.tag)
        if kind is not yaml.ScalarNode:
            return "tag:yaml.org,2002:seq" if kind is yaml.SequenceNode else "tag:yaml.org,2002:map"
        if len(event.value) > _LONGEST_WORD:
            return "tag:yaml.org,2002:str"
        return str(self._resolver.resolve(kind, event.value, event.implicit))


def _yaml_error(mark: Any, what: str) -> YamlError:
    return YamlError(f"line {mark.line + 1} {what}")


class YamlText(str):
    """A single value of a YAML document as it was written; `null` says whether YAML takes it for no value."""

    null: bool = False


def read_yaml_as_text(text: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """Return a YAML document whose values are all text as written, and the line of each by its keys and numbers.

    To YAML 1.1 an unquoted 011 is the number 9, and 1e3 or null are no text at all; names stay what was written.

    Raises
    ------
    YamlError
        As `compose_yaml`; and for a key that stands twice or is no single value.
    """
    lines: dict[tuple[str | int, ...], int] = {(): 1}
    root = compose_yaml(text)
    return None if root is None else _text_of(root, (), lines), lines


def _text_of(node: "yaml.Node", place: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    import yaml

    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_text_of(item, (*place, i), lines) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            word = _text_of(key, place, {})
            if not isinstance(word, str):
                raise _yaml_error(key.start_mark, "has a list or mapping for a key. Write `key: value` lines.")
            if word in found:
                raise YamlError(f"line {key.start_mark.line + 1}: {legible(word)} is given twice. Keep one.")
            found[str(word)] = _text_of(value, (*place, str(word)), lines)
        return found
    word = YamlText(node.value)
    word.null = node.tag == "tag:yaml.org,2002:null"
    return word


def read_yaml(text: str) -> Any:
    """Return a YAML document as plain values: dict, list, str, int, float, bool or None; dates stay text.

    Raises
    ------
    YamlError
        As `compose_yaml`; and for a key that stands twice or is no single value, and a number too large to be one.
    """
    root = compose_yaml(text)
    return None if root is None else _value(root)


def _value(node: "yaml.Node") -> Any:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _yaml_error(key_node.start_mark, "has a list or mapping for a key. Write `key: value` lines.")
            key = _value(key_node)
            if key in found:
                raise _yaml_error(key_node.start_mark, f"gives {legible(str(key))} a second time. Keep one.")
            found[key] = _value(value)
        return found
    return _scalar(node)


def _scalar(node: "yaml.Node") -> Any:
    import yaml

    kind, text = str(node.tag).rpartition(":")[2], str(node.value)
    if kind in ("int", "float") and len(text) > _LONGEST_NUMBER:
        raise _yaml_error(node.start_mark, f"holds a number of {len(text)} characters. Round it, or quote it as text.")
    make: dict[str, Any] = {
        "int": yaml.constructor.SafeConstructor.construct_yaml_int,
        "float": yaml.constructor.SafeConstructor.construct_yaml_float,
        "bool": yaml.constructor.SafeConstructor.construct_yaml_bool,
    }
    if kind == "null":
        return None
    if kind not in make:
        return text
    try:
        value = make[kind](yaml.constructor.SafeConstructor(), node)
    except (ValueError, KeyError, IndexError, OverflowError):
        raise _yaml_error(node.start_mark, f"holds {legible(text)}, which is no {kind}. Correct or quote it.") from None
    if kind == "int" and abs(value) >= 2**63:
        raise _yaml_error(node.start_mark, f"holds the number {legible(text)}, which is too large. Correct it.")
    return value
