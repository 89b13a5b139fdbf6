"""What `dataset.yaml` says: words about the images, groups, splits, and what the values of masks mean."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, model_validator

from evoseg.core.errors import DatasetError, SettingsError, legible, unknown
from evoseg.core.notes import one_line
from evoseg.core.untrusted import YamlError, YamlText, read_file, read_yaml_as_text
from evoseg.datasets.reading import DEFAULT_OPTIONS, HIGHEST_CLASS, ReadOptions

_SPLITS = {"train": "train", "search": "train", "selection": "selection", "test": "test"}
_CLASS_NAME = re.compile(r"[\w-]{1,60}")
_COMMENTED_COLOUR = re.compile(
    r"^(background|foreground|ignore)[ \t]*:[ \t]*(?P<colour>#[0-9a-f]{6})\b|^[ \t]*(?P<key>#[0-9a-f]{6})[ \t]*:",
    re.I | re.M,
)
"""Lines in which a colour is lost, as YAML takes it for a comment."""
_MOST_BYTES = 4 * 2**20
_READING = ("axes", "page", "channel", "series", "exif", "transform")
"""Keys about how image files are read."""


COLOURS = {
    "black": 0x000000,
    "white": 0xFFFFFF,
    "red": 0xFF0000,
    "green": 0x00FF00,
    "blue": 0x0000FF,
    "yellow": 0xFFFF00,
    "cyan": 0x00FFFF,
    "magenta": 0xFF00FF,
}
"""Colours that may be written by name; any other is written as "#rrggbb"."""


@dataclass(frozen=True)
class Colour:
    """A colour of a mask, 0xRRGGBB."""

    rgb: int

    def __str__(self) -> str:
        return next((name for name, rgb in COLOURS.items() if rgb == self.rgb), f"#{self.rgb:06x}")


MaskValue = float | Colour
"""What a pixel of a mask may hold: a number or a colour."""


@dataclass(frozen=True)
class MaskKeys:
    """What `dataset.yaml` says about the values or colours of the masks; None where it says nothing.

    Attributes
    ----------
    background, foreground, ignore : tuple of number or Colour, or None
    classes : tuple of number or Colour, or None
        The keys of `classes`, in their order; their numbers and names are in `DatasetCard.classes`.
    threshold : float or None
        Values from here on are foreground.
    lines : dict of str to int
        The line of each key, for messages.
    """

    background: tuple[MaskValue, ...] | None = None
    foreground: tuple[MaskValue, ...] | None = None
    ignore: tuple[MaskValue, ...] | None = None
    classes: tuple[MaskValue, ...] | None = None
    threshold: float | None = None
    lines: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetCard:
    """What is known about a dataset beyond its pixels; every entry may be missing.

    Attributes
    ----------
    title, modality, domain, task, foreground, family, source, license, pixel_size, notes : str
        As written; "" if missing. `pixel_size` carries its unit, as in "4 nm".
    radius : float or None
        Within how many px a point matches a true one.
    groups : dict of str to str
        Group of a stem: images of one patient, slide or place, which no split may part.
    splits : dict of str to tuple of str
        Stems under "train", "selection" and "test", as far as given.
    splits_drawn : bool
        `splits: draw`: the test is drawn, whatever split the folders have.
    classes : dict of int to str
        Names of the values of the masks, if these tell several classes; colours are numbered from 1 in their order.
    masks : MaskKeys
        What the values or colours of the masks mean, as far as it is said.
    outlines : str
        What whole numbers are in the outlines of annotation tools: "pixels" of the object, or "edges" of pixels.
    reading : ReadOptions
        How image files are to be read: "axes", "page", "channel", "series", "exif" and "transform"; and "classes", if
        that is a list of names: which classes of outlines are objects.
    other_keys : tuple of str
        Keys that mean nothing to evoseg.
    """

    title: str = ""
    modality: str = ""
    domain: str = ""
    task: str = ""
    foreground: str = ""
    family: str = ""
    source: str = ""
    license: str = ""
    pixel_size: str = ""
    notes: str = ""
    radius: float | None = None
    groups: dict[str, str] = field(default_factory=dict)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    splits_drawn: bool = False
    classes: dict[int, str] = field(default_factory=dict)
    masks: MaskKeys = MaskKeys()
    outlines: str = ""
    reading: ReadOptions = DEFAULT_OPTIONS
    other_keys: tuple[str, ...] = ()


def clean_stem(text: str) -> str:
    """Return a stem in the one form in which stems are compared, shown and stored.

    That is Unicode NFC, with control characters, and bytes of a file name that are not UTF-8, escaped: a stem can be
    encoded, and stands on one line.
    """
    return one_line(normalize("NFC", text))


def class_word(name: str) -> str:
    """Return the name of a class as one that files and folders may have: letters, digits, - and _."""
    return re.sub(r"[^\w-]+", "_", name)[:60]


def read_card(path: Path) -> DatasetCard:
    """Read `dataset.yaml`; a missing file is an empty card.

    Raises
    ------
    DatasetError
        If it is not YAML, or a key holds something of the wrong kind; the message names key and line.
    """
    if not os.path.lexists(path):
        return DatasetCard()
    try:
        data = read_file(path, _MOST_BYTES, inside=path.parent, advice="Keep only the card in it.")
        text = data.decode("utf-8-sig")
        entries, lines = read_yaml_as_text(text)
    except YamlError as error:
        raise DatasetError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not YAML in UTF-8 (byte {error.start}). Save it as plain text.") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    if slip := _COMMENTED_COLOUR.search(text):
        line = text.count("\n", 0, slip.end()) + 1
        raise DatasetError(
            f"{path}: line {line}: # begins a comment. Write a colour in quotes: '{slip['colour'] or slip['key']}'."
        )
    try:
        return _Entries.model_validate({} if entries is None else _mapping(entries, "the file")).card(lines)
    except ValidationError as error:
        first = error.errors()[0]
        cause: Any = first.get("ctx", {}).get("error", first["msg"])
        place = (*first["loc"], *getattr(cause, "place", ()))
    except _WrongEntry as error:
        cause, place = error, (*error.place,)
    # The line of what is wrong, or of the nearest entry around it that has one.
    line = next(lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines)
    raise DatasetError(f"{path}: line {line}: {cause}")


class _WrongEntry(ValueError):
    """What is wrong with an entry; `place` leads to a part of it, by keys and numbers."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


def _kind(value: object) -> str:
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list) else "single value"


def _empty(value: object) -> bool:
    return isinstance(value, YamlText) and value.null


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongEntry(f"{name} must be `key: value` lines, not a {_kind(value)}.")
    return value


def _text(value: Any, name: str, *place: str | int) -> str:
    if not isinstance(value, str):
        hint = "Quote it if it holds brackets or colons."
        raise _WrongEntry(f"{name} must be text, not a {_kind(value)}. {hint}", *place)
    return "" if _empty(value) and value in ("", "~", "null") else str(value)


def _stems(value: Any, name: str, *place: str | int) -> tuple[str, ...]:
    if _empty(value):
        return ()
    wanted = f"{name} must be a list of file names without ending, not"
    if not isinstance(value, list):
        raise _WrongEntry(f"{wanted} a {_kind(value)}.", *place)
    stems: dict[str, None] = {}
    for i, item in enumerate(value):
        if not isinstance(item, str) or not item:
            raise _WrongEntry(f"{wanted} of a {_kind(item)}.", *place, i)
        if (stem := clean_stem(item)) in stems:
            raise _WrongEntry(f"{name} names {legible(stem)} twice. Keep one.", *place)
        stems[stem] = None
    return tuple(stems)


def _mask_value(text: Any) -> MaskValue | None:
    """Return the number or colour that a text means, None if it means neither."""
    word = str(text).strip() if isinstance(text, str) else ""
    if word.lower() in COLOURS:
        return Colour(COLOURS[word.lower()])
    if re.fullmatch(r"#[0-9a-fA-F]{6}", word):
        return Colour(int(word[1:], 16))
    if not re.fullmatch(r"[-+]?\d{1,12}(\.\d{1,20})?(e[-+]?\d{1,2})?", word):
        return None
    return int(word) if word.lstrip("+-").isdecimal() else float(word)


def _check_text(value: Any, info: ValidationInfo) -> str:
    return _text(value, str(info.field_name))


def _check_length(value: Any, info: ValidationInfo) -> float | None:
    """Read a length in px, with or without the unit."""
    text = _text(value, str(info.field_name)).removesuffix("px").strip()
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if _empty(value):
        return None
    if not 0 < length < float("inf"):
        raise _WrongEntry(f"{info.field_name} must be a number of pixels above 0, not {text[:40]}.")
    return length


def _check_values(value: Any, info: ValidationInfo) -> Any:
    """Read a number, a colour, or a list of them; `foreground` may also be words that describe the objects."""
    name = str(info.field_name)
    if name == "foreground" and isinstance(value, str) and (_empty(value) or _mask_value(value) is None):
        return _text(value, name)
    if _empty(value):
        raise _WrongEntry(f"{name} is empty; it must be a value of the masks, a colour, or a list of them.")
    values: list[MaskValue] = []
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        place = (i,) if isinstance(value, list) else ()
        if (found := _mask_value(item)) is None:
            shown = legible(item) if isinstance(item, str) else f"a {_kind(item)}"
            raise _WrongEntry(
                f"{name} holds {shown}; it must be a value of the masks, such as 1, a colour, such as red or "
                "'#ff0000' (in quotes), or a list of them.",
                *place,
            )
        if found in values:
            raise _WrongEntry(f"{name} names {found} twice. Keep one.", *place)
        values.append(found)
    return tuple(values)


def _check_number(value: Any, info: ValidationInfo) -> float:
    found = _mask_value(value)
    if not isinstance(found, int | float):
        raise _WrongEntry(f"{info.field_name} must be a number: values of the masks from there on are foreground.")
    return found


def _check_classes(value: Any) -> dict[MaskValue, str] | tuple[str, ...] | None:
    """Read `value: name` or `colour: name`, or a list of names, which chooses classes of outlines."""
    if _empty(value):
        return None
    if isinstance(value, list):
        names = tuple(_text(name, "classes", i).strip() for i, name in enumerate(value))
        if wrong := [i for i, name in enumerate(names) if not name or "," in name or name in names[:i]]:
            raise _WrongEntry("classes lists names of classes, each once and without commas.", wrong[0])
        return names
    classes: dict[MaskValue, str] = {}
    for key, entry in _mapping(value, "classes").items():
        number = _mask_value(key)
        decimal = key.isdecimal() and len(key) <= 9
        if number is None or (not isinstance(number, Colour) and (not decimal or not 1 <= int(key) <= HIGHEST_CLASS)):
            raise _WrongEntry(
                f"classes names the value {legible(key)}; values of classes are 1 to {HIGHEST_CLASS}, 0 is "
                "background; colours are names such as red, or like '#ff0000'.",
                key,
            )
        name = _text(entry, f"classes: {key}", key)
        if not _CLASS_NAME.fullmatch(name) or name in classes.values():
            raise _WrongEntry(
                f"the class {key} is called '{name}'; names differ, and hold letters, digits, - and _ only.", key
            )
        classes[number] = name
    if len({isinstance(key, Colour) for key in classes}) > 1:
        raise _WrongEntry("classes names both values and colours. Keep one kind.")
    return classes


def _check_outlines(value: Any) -> str:
    text = _text(value, "outlines")
    if text not in ("", "pixels", "edges"):
        raise _WrongEntry(
            f"outlines is {legible(text)}; it must be pixels or edges: what whole numbers are in outlines."
        )
    return text


def _check_groups(value: Any) -> dict[str, str]:
    """Read `group: [stems]`, or `stem: group`, entry by entry."""
    groups: dict[str, str] = {}
    for key, entry in _mapping(value, "groups").items() if not _empty(value) else ():
        if isinstance(entry, str) and not _empty(entry):
            pairs = [(clean_stem(key), str(entry))]
        else:
            pairs = [(stem, key) for stem in _stems(entry, f"groups: {key}", key)]
        for stem, group in pairs:
            if groups.setdefault(stem, group) != group:
                raise _WrongEntry(f"{stem} is in the groups {groups[stem]} and {group}. Keep one.", key)
    return groups


def _check_splits(value: Any) -> dict[str, tuple[str, ...]] | None:
    """Read the stems of each split; None for `splits: draw`."""
    if value == "draw":
        return None
    splits: dict[str, tuple[str, ...]] = {}
    for key, entry in _mapping(value, "splits").items() if not _empty(value) else ():
        if key not in _SPLITS:
            raise _WrongEntry(unknown("split", key, _SPLITS), key)
        if _SPLITS[key] in splits:
            raise _WrongEntry("train and search mean the same split. Keep one.", key)
        splits[_SPLITS[key]] = _stems(entry, f"splits: {key}", key)
    if splits and "test" not in splits:
        raise _WrongEntry("splits names no test images. Add `test:` (an empty list is allowed), or leave splits out.")
    return splits


_Text = Annotated[str, BeforeValidator(_check_text)]
_Values = Annotated[Any, BeforeValidator(_check_values)]


class _Entries(BaseModel):
    """The entries of the file; what is unknown is kept, to be named."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    title: _Text = ""
    modality: _Text = ""
    domain: _Text = ""
    task: _Text = ""
    family: _Text = ""
    source: _Text = ""
    license: _Text = ""
    pixel_size: _Text = ""
    notes: _Text = ""
    axes: _Text = ""
    page: _Text = ""
    channel: _Text = ""
    series: _Text = ""
    exif: _Text = ""
    transform: _Text = ""
    outlines: Annotated[str, BeforeValidator(_check_outlines)] = ""
    radius: Annotated[float | None, BeforeValidator(_check_length)] = None
    background: _Values = None
    foreground: _Values = None
    ignore: _Values = None
    threshold: Annotated[float | None, BeforeValidator(_check_number)] = None
    classes: Annotated[Any, BeforeValidator(_check_classes)] = None
    groups: Annotated[Any, BeforeValidator(_check_groups)] = {}
    splits: Annotated[Any, BeforeValidator(_check_splits)] = {}

    def _said(self) -> dict[str, Any]:
        """Return what is said of the values of masks."""
        said = {key: getattr(self, key) for key in ("background", "foreground", "ignore", "threshold")}
        said["classes"] = tuple(self.classes) if isinstance(self.classes, dict) else None
        return {key: value for key, value in said.items() if value is not None and not isinstance(value, str)}

    @model_validator(mode="after")
    def _agree(self) -> "_Entries":
        """Refuse a value with two meanings, and two ways to say what is foreground."""
        said = self._said()
        if "threshold" in said and (others := said.keys() & {"background", "foreground", "classes"}):
            raise _WrongEntry(f"threshold and {min(others)} both say what is foreground. Keep one.", "threshold")
        seen: dict[MaskValue, str] = {}
        for key in said.keys() - {"threshold"}:
            for value in said[key]:
                if seen.setdefault(value, key) != key and {seen[value], key} != {"foreground", "classes"}:
                    raise _WrongEntry(f"{value} is named by {seen[value]} and {key}. Keep one.", key)
        return self

    def card(self, lines: Mapping[tuple[str | int, ...], int]) -> DatasetCard:
        """Return them as a card; `lines` are those of the file."""
        said = self._said()
        named, chosen = (self.classes, ()) if isinstance(self.classes, dict) else ({}, self.classes or ())
        try:
            reading = ReadOptions(**{key: getattr(self, key) for key in _READING}, classes=",".join(chosen))
        except SettingsError as error:
            raise _WrongEntry(str(error), next(key for key in _READING if getattr(self, key))) from error
        words = ("title", "modality", "domain", "task", "family", "source", "license", "pixel_size", "notes")
        numbers = (key if isinstance(key, int) else i for i, key in enumerate(named, 1))
        return DatasetCard(
            **{word: getattr(self, word) for word in words},
            foreground=self.foreground if isinstance(self.foreground, str) else "",
            radius=self.radius,
            groups=self.groups,
            splits=self.splits or {},
            splits_drawn=self.splits is None,
            classes=dict(zip(numbers, named.values(), strict=True)),
            masks=MaskKeys(**said, lines={key: lines[(key,)] for key in said}),
            outlines=self.outlines,
            reading=reading,
            other_keys=tuple(self.model_extra or ()),
        )
