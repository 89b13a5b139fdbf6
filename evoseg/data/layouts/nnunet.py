"""nnU-Net v2: imagesTr/CASE_0000.png with a file per channel, labelsTr/CASE.png, dataset.json; Ts for the test."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evoseg.base.errors import DatasetError, legible
from evoseg.base.notes import Note
from evoseg.data.layouts.documents import json_in, kind
from evoseg.data.layouts.layout import Entry, Files, Layout, Look, gathered, note_lone
from evoseg.data.listing import Notes, listing
from evoseg.data.truths import MaskFile

_MOST_BYTES = 16 * 2**20
_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)
_ENDS = (("Tr", "train"), ("Ts", "test"))


@dataclass(frozen=True)
class _Words:
    """What dataset.json says: names of channels by number, the value of pixels to leave out, and how many classes."""

    channels: dict[int, str] = field(default_factory=dict)
    ignored: int | None = None
    n_classes: int = 0


def look(root: Path) -> Look:
    """Take folders with imagesTr/."""
    if not (root / "imagesTr").is_dir():
        return Look("needs imagesTr/ with CASE_0000.*, labelsTr/ with CASE.*, and dataset.json")
    beside = [name for name in ("labelsTr", "imagesTs", "labelsTs") if (root / name).is_dir()]
    return Look(f"imagesTr/ is there, with {', '.join(f'{name}/' for name in beside) or 'no labelsTr/'}", read)


def read(notes: Notes) -> Files:
    """List cases; channels from 0001 on become planes."""
    words = _words(notes)
    entries: list[Entry] = []
    further: dict[Path, dict[int, Path]] = {}
    for end, split in _ENDS:
        folder, truths = notes.root / f"images{end}", notes.root / f"labels{end}"
        cases = _cases(folder, notes) if folder.is_dir() else {}
        masks = listing(truths, notes) if truths.is_dir() else {}
        note_lone(masks, {case: channels[min(channels)] for case, channels in cases.items()}, notes)
        for case, channels in cases.items():
            mask = MaskFile(masks[case], declared=True, ignored=words.ignored) if case in masks else None
            image = channels.pop(min(channels))
            further[image] = channels
            entries.append(Entry(case, image, mask, split=split))
    if not (notes.root / "labelsTr").is_dir():
        notes.faults.append(Note(notes.root, "there is no labelsTr/ folder. Put a mask per case in it, as CASE.png."))
    files = gathered(entries, notes)
    return replace(files, planes=_planes(files, further, words, notes))


LAYOUT = Layout("nnU-Net", look)


def _cases(folder: Path, notes: Notes) -> dict[str, dict[int, Path]]:
    """List the channels of each case by number."""
    cases: dict[str, dict[int, Path]] = {}
    for stem, path in listing(folder, notes).items():
        found = _CHANNEL.fullmatch(stem)
        if found is None:
            notes.faults.append(Note(path, f"has no number of a channel. Name it {stem}_0000{path.suffix}."))
        else:
            cases.setdefault(found[1], {})[int(found[2])] = path
    for case in [case for case, channels in cases.items() if 0 not in channels]:
        channels = cases.pop(case)
        notes.faults.append(Note(channels[min(channels)], "the case has no channel 0000. Add it, or remove the case."))
    return cases


def _planes(
    files: Files, further: dict[Path, dict[int, Path]], words: _Words, notes: Notes
) -> dict[str, dict[str, Path]]:
    """Return the channels from 0001 on by name and stem; every case needs all of them."""
    numbers = sorted({number for channels in further.values() for number in channels})
    planes: dict[str, dict[str, Path]] = {}
    for number in numbers:
        plane = planes.setdefault(words.channels.get(number, f"channel{number}"), {})
        for stem, image in files.images.items():
            if number in further[image]:
                plane[stem] = further[image][number]
            else:
                notes.faults.append(Note(image, f"the case has no channel {number:04d}, but others do. Add it."))
    return planes


def _words(notes: Notes) -> _Words:
    path = notes.root / "dataset.json"
    if not path.is_file():
        notes.warnings.append(Note(path, "is missing; channels have no names, and no value means 'ignore'."))
        return _Words()
    try:
        words = _parsed(path, json_in(path, _MOST_BYTES, notes.root))
    except DatasetError as error:
        notes.faults.append(Note.of(error, path))
        return _Words()
    if words.n_classes > 1:
        notes.warnings.append(
            Note(path, f"its {words.n_classes} labels are classes, not objects; take --task binary for all of them.")
        )
    return words


def _parsed(path: Path, found: dict[str, Any]) -> _Words:
    channels: dict[int, str] = {}
    # nnU-Net's first version called them modalities.
    for number, name in _object(path, found, "channel_names" if "channel_names" in found else "modality").items():
        known = number.isdecimal() and len(number) < 5
        if not known or not isinstance(name, str) or not name or legible(name) != name:
            raise DatasetError(f'{path}: channel_names must be like {{"0": "DAPI"}}. Correct {legible(number)}.')
        if name in channels.values():
            raise DatasetError(f"{path}: two channels are called {name}. Rename one.")
        channels[int(number)] = name
    labels = _object(path, found, "labels")
    ignored = labels.get("ignore")
    if ignored is not None and (not isinstance(ignored, int) or isinstance(ignored, bool)):
        raise DatasetError(f"{path}: labels: ignore is a {kind(ignored)}; the number of that label is needed.")
    return _Words(channels, ignored, len(labels.keys() - {"background", "ignore"}))


def _object(path: Path, found: dict[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key, {})
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: {key} is a {kind(value)}; an object {{...}} is needed.")
    return value
