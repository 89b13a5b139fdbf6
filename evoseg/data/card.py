"""What `dataset.yaml` says: words about the images, groups, splits.

The file is walked node by node, so that a fault names its key and line, and so that stems stay the text that was
written: to YAML 1.1 an unquoted 011 is the number 9, and 1e3 or null are no text at all.
"""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import yaml

from evoseg.base.errors import DatasetError, SettingsError, legible, unknown
from evoseg.base.notes import one_line
from evoseg.base.untrusted import YamlError, compose_yaml, read_file
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.scribbles import HIGHEST_CLASS

_WORDS = ("title", "modality", "domain", "task", "family", "source", "license", "pixel_size", "notes")
_READING = ("axes", "page", "channel", "exif")
_VALUES = ("background", "foreground", "ignore")
_SPLITS = {"train": "train", "search": "train", "selection": "selection", "test": "test"}
_CLASS_NAME = re.compile(r"[\w-]{1,60}")
_COMMENTED_COLOUR = re.compile(
    r"^(background|foreground|ignore)[ \t]*:[ \t]*(?P<colour>#[0-9a-f]{6})\b|^[ \t]*(?P<key>#[0-9a-f]{6})[ \t]*:",
    re.I | re.M,
)
"""Lines in which a colour is lost, as YAML takes it for a comment."""
_MOST_BYTES = 4 * 2**20


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
    reading : Reading
        How image files are to be read: "axes", "page", "channel" and "exif".
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
    reading: Reading = PLAIN
    other_keys: tuple[str, ...] = ()


def clean_stem(text: str) -> str:
    """Return a stem in the one form in which stems are compared, shown and stored.

    That is Unicode NFC, with control characters, and bytes of a file name that are not UTF-8, escaped: a stem can be
    encoded, and stands on one line.
    """
    return one_line(normalize("NFC", text))


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
        root = compose_yaml(text)
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
    return DatasetCard() if root is None else _Walk(path).card(root)


@dataclass(frozen=True)
class _Walk:
    """Read YAML nodes, and say where one is wrong."""

    path: Path

    def card(self, root: yaml.Node) -> DatasetCard:
        entries = self.mapping(root, "the file")
        words = {word: self.text(entries[word], word) for word in _WORDS if word in entries}
        known = (*_WORDS, *_READING, *_VALUES, "threshold", "radius", "classes", "groups", "splits")
        others = tuple(key for key in entries if key not in known)
        card = replace(DatasetCard(other_keys=others), **words)  # type: ignore[arg-type]
        if "radius" in entries and not self.empty(entries["radius"]):
            card = replace(card, radius=self.length(entries["radius"], "radius"))
        card = self.masks(card, entries)
        card = replace(card, reading=self.reading({key: entries[key] for key in _READING if key in entries}))
        if "groups" in entries and not self.empty(entries["groups"]):
            card = replace(card, groups=self.groups(entries["groups"]))
        if "splits" in entries and not self.empty(entries["splits"]):
            if entries["splits"].value == "draw":
                return replace(card, splits_drawn=True)
            card = replace(card, splits=self.splits(entries["splits"]))
        return card

    def fault(self, node: yaml.Node, what: str) -> DatasetError:
        return DatasetError(f"{self.path}: line {node.start_mark.line + 1}: {what}")

    def empty(self, node: yaml.Node) -> bool:
        return node.tag == "tag:yaml.org,2002:null"

    def mapping(self, node: yaml.Node, name: str) -> dict[str, yaml.Node]:
        """Return the entries of a mapping; a repeated key would silently win over the first."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fault(node, f"{name} must be `key: value` lines, not a {_kind(node)}.")
        entries: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = self.text(key, f"a key of {name}")
            if word in entries:
                raise self.fault(key, f"{legible(word)} is given twice. Keep one.")
            entries[word] = value
        return entries

    def text(self, node: yaml.Node, name: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.fault(
                node, f"{name} must be text, not a {_kind(node)}. Quote it if it holds brackets or colons."
            )
        return "" if self.empty(node) and node.value in ("", "~", "null") else str(node.value)

    def length(self, node: yaml.Node, name: str) -> float:
        """Read a length in px, with or without the unit."""
        text = self.text(node, name).removesuffix("px").strip()
        try:
            length = float(text)
        except ValueError:
            length = 0.0
        if not 0 < length < float("inf"):
            raise self.fault(node, f"{name} must be a number of pixels above 0, not {text[:40]}.")
        return length

    def stems(self, node: yaml.Node, name: str) -> tuple[str, ...]:
        if self.empty(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            raise self.fault(node, f"{name} must be a list of file names without ending, not a {_kind(node)}.")
        stems = tuple(clean_stem(self.stem(item, name)) for item in node.value)
        seen: set[str] = set()
        for stem in stems:
            if stem in seen:
                raise self.fault(node, f"{name} names {legible(stem)} twice. Keep one.")
            seen.add(stem)
        return stems

    def stem(self, node: yaml.Node, name: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self.fault(node, f"{name} must be a list of file names without ending, not of a {_kind(node)}.")
        return str(node.value)

    def masks(self, card: DatasetCard, entries: dict[str, yaml.Node]) -> DatasetCard:
        """Read what the values or colours of the masks mean; `foreground` may also be a word of description."""
        said: dict[str, Any] = {}
        for key in (*_VALUES, "threshold"):
            if key not in entries:
                continue
            node = entries[key]
            if key == "foreground" and self.describes(node):
                card = replace(card, foreground=self.text(node, key))
            elif key == "threshold":
                said[key] = self.number(node, key)
            else:
                said[key] = self.values(node, key)
        if "classes" in entries and not self.empty(entries["classes"]):
            classes = self.classes(entries["classes"])
            said["classes"] = tuple(classes)
            numbers = (key if isinstance(key, int) else i for i, key in enumerate(classes, 1))
            card = replace(card, classes=dict(zip(numbers, classes.values(), strict=True)))
        if "threshold" in said and (others := said.keys() & {"background", "foreground", "classes"}):
            raise self.fault(
                entries["threshold"], f"threshold and {min(others)} both say what is foreground. Keep one."
            )
        self.once(entries, said)
        lines = {key: entries[key].start_mark.line + 1 for key in said}
        return replace(card, masks=MaskKeys(**said, lines=lines))

    def once(self, entries: dict[str, yaml.Node], said: dict[str, Any]) -> None:
        """Refuse a value with two meanings."""
        seen: dict[MaskValue, str] = {}
        for key in said.keys() - {"threshold"}:
            for value in said[key]:
                if seen.setdefault(value, key) != key and {seen[value], key} != {"foreground", "classes"}:
                    raise self.fault(entries[key], f"{value} is named by {seen[value]} and {key}. Keep one.")

    def describes(self, node: yaml.Node) -> bool:
        """Return whether `foreground` holds words about the objects, rather than values or colours of the masks."""
        if isinstance(node, yaml.SequenceNode):
            return False
        return isinstance(node, yaml.ScalarNode) and (self.empty(node) or self.mask_value(node) is None)

    def mask_value(self, node: yaml.Node) -> MaskValue | None:
        """Return the number or colour that a scalar means, None if it means neither."""
        text = str(node.value).strip()
        if text.lower() in COLOURS:
            return Colour(COLOURS[text.lower()])
        if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
            return Colour(int(text[1:], 16))
        if not re.fullmatch(r"[-+]?\d{1,12}(\.\d{1,20})?(e[-+]?\d{1,2})?", text):
            return None
        return int(text) if text.lstrip("+-").isdecimal() else float(text)

    def values(self, node: yaml.Node, name: str) -> tuple[MaskValue, ...]:
        """Read a number, a colour, or a list of them."""
        if self.empty(node):
            raise self.fault(node, f"{name} is empty; it must be a value of the masks, a colour, or a list of them.")
        values = []
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.mask_value(item) if isinstance(item, yaml.ScalarNode) else None
            if value is None:
                shown = legible(str(item.value)) if isinstance(item, yaml.ScalarNode) else f"a {_kind(item)}"
                raise self.fault(
                    item,
                    f"{name} holds {shown}; it must be a value of the masks, such as 1, a colour, such as red or "
                    "'#ff0000' (in quotes), or a list of them.",
                )
            if value in values:
                raise self.fault(item, f"{name} names {value} twice. Keep one.")
            values.append(value)
        return tuple(values)

    def number(self, node: yaml.Node, name: str) -> float:
        value = self.mask_value(node) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(value, int | float):
            raise self.fault(node, f"{name} must be a number: values of the masks from there on are foreground.")
        return value

    def classes(self, node: yaml.Node) -> dict[MaskValue, str]:
        """Read `value: name` or `colour: name`."""
        classes: dict[MaskValue, str] = {}
        for key, value in self.mapping(node, "classes").items():
            number = self.mask_value(yaml.ScalarNode("tag:yaml.org,2002:str", key))
            decimal = key.isdecimal() and len(key) <= 9
            if not isinstance(number, Colour) and (not decimal or not 1 <= int(key) <= HIGHEST_CLASS):
                raise self.fault(
                    value,
                    f"classes names the value {legible(key)}; values of classes are 1 to {HIGHEST_CLASS}, 0 is "
                    "background; colours are names such as red, or like '#ff0000'.",
                )
            assert number is not None
            name = self.text(value, f"classes: {key}")
            if not _CLASS_NAME.fullmatch(name) or name in classes.values():
                raise self.fault(
                    value, f"the class {key} is called '{name}'; names differ, and hold letters, digits, - and _ only."
                )
            classes[number] = name
        if len({isinstance(key, Colour) for key in classes}) > 1:
            raise self.fault(node, "classes names both values and colours. Keep one kind.")
        return classes

    def reading(self, nodes: dict[str, yaml.Node]) -> Reading:
        """Read `axes`, `page`, `channel` and `exif`."""
        words = {key: self.text(node, key) for key, node in nodes.items()}
        try:
            return Reading(**words)  # type: ignore[arg-type]
        except SettingsError as error:
            raise self.fault(next(iter(nodes.values())), str(error)) from error

    def groups(self, node: yaml.Node) -> dict[str, str]:
        """Read `group: [stems]`, or `stem: group`, entry by entry."""
        groups: dict[str, str] = {}
        for key, value in self.mapping(node, "groups").items():
            if isinstance(value, yaml.ScalarNode) and not self.empty(value):
                pairs = [(clean_stem(key), str(value.value))]
            else:
                pairs = [(stem, key) for stem in self.stems(value, f"groups: {key}")]
            for stem, group in pairs:
                if groups.get(stem, group) != group:
                    raise self.fault(value, f"{stem} is in the groups {groups[stem]} and {group}. Keep one.")
                groups[stem] = group
        return groups

    def splits(self, node: yaml.Node) -> dict[str, tuple[str, ...]]:
        splits: dict[str, tuple[str, ...]] = {}
        for key, value in self.mapping(node, "splits").items():
            if key not in _SPLITS:
                raise self.fault(value, unknown("split", key, _SPLITS))
            if _SPLITS[key] in splits:
                raise self.fault(value, "train and search mean the same split. Keep one.")
            splits[_SPLITS[key]] = self.stems(value, f"splits: {key}")
        if splits and "test" not in splits:
            raise self.fault(
                node, "splits names no test images. Add `test:` (an empty list is allowed), or leave splits out."
            )
        return splits


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    return "list" if isinstance(node, yaml.SequenceNode) else "single value"
