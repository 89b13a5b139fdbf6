"""What `dataset.yaml` says: words about the images, groups, splits.

The file is walked node by node, so that a fault names its key and line, and so that stems stay the text that was
written: to YAML 1.1 an unquoted 011 is the number 9, and 1e3 or null are no text at all.
"""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import normalize

import yaml

from evoseg.base.errors import DatasetError, SettingsError, legible, unknown
from evoseg.base.untrusted import YamlError, compose_yaml, read_file
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.scribbles import HIGHEST_CLASS

_WORDS = ("title", "modality", "domain", "task", "foreground", "family", "source", "license", "pixel_size", "notes")
_READING = ("axes", "page", "channel")
_SPLITS = {"train": "train", "search": "train", "selection": "selection", "test": "test"}
_CLASS_NAME = re.compile(r"[\w-]{1,60}")
_MOST_BYTES = 4 * 2**20


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
        Names of the values of the masks, if these tell several classes.
    reading : Reading
        How image files are to be read: "axes", "page" and "channel".
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
    reading: Reading = PLAIN
    other_keys: tuple[str, ...] = ()


def clean_stem(text: str) -> str:
    """Return a stem in the one form in which stems are compared (Unicode NFC)."""
    return normalize("NFC", text)


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
        root = compose_yaml(data.decode("utf-8-sig"))
    except YamlError as error:
        raise DatasetError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not YAML in UTF-8 (byte {error.start}). Save it as plain text.") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    return DatasetCard() if root is None else _Walk(path).card(root)


@dataclass(frozen=True)
class _Walk:
    """Read YAML nodes, and say where one is wrong."""

    path: Path

    def card(self, root: yaml.Node) -> DatasetCard:
        entries = self.mapping(root, "the file")
        words = {word: self.text(entries[word], word) for word in _WORDS if word in entries}
        known = (*_WORDS, *_READING, "radius", "classes", "groups", "splits")
        others = tuple(key for key in entries if key not in known)
        card = replace(DatasetCard(other_keys=others), **words)  # type: ignore[arg-type]
        if "radius" in entries and not self.empty(entries["radius"]):
            card = replace(card, radius=self.length(entries["radius"], "radius"))
        if "classes" in entries and not self.empty(entries["classes"]):
            card = replace(card, classes=self.classes(entries["classes"]))
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

    def classes(self, node: yaml.Node) -> dict[int, str]:
        """Read `value: name`."""
        classes: dict[int, str] = {}
        for key, value in self.mapping(node, "classes").items():
            if not key.isdecimal() or len(key) > 9 or not 1 <= int(key) <= HIGHEST_CLASS:
                raise self.fault(
                    value,
                    f"classes names the value {legible(key)}; values of classes are 1 to {HIGHEST_CLASS}, "
                    "0 is background.",
                )
            name = self.text(value, f"classes: {key}")
            if not _CLASS_NAME.fullmatch(name) or name in classes.values():
                raise self.fault(
                    value, f"the class {key} is called '{name}'; names differ, and hold letters, digits, - and _ only."
                )
            classes[int(key)] = name
        return classes

    def reading(self, nodes: dict[str, yaml.Node]) -> Reading:
        """Read `axes`, `page` and `channel`."""
        words = {key: self.text(node, key) for key, node in nodes.items()}
        try:
            return Reading(words.get("axes", ""), words.get("page", ""), words.get("channel", ""))
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
