"""Layouts with a table or names of their own: manifest.csv, nnU-Net v2 and Cellpose."""

import io
import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, legible, unknown
from evoseg.core.notes import Note
from evoseg.core.untrusted import within
from evoseg.datasets.annotations import MaskFile, MaskSource, Values
from evoseg.datasets.card import clean_stem
from evoseg.datasets.documents import find_file, kind, read_json, read_table
from evoseg.datasets.io.files import StoredMask
from evoseg.datasets.io.formats import FORMATS, LIMITS, damaged, explain_errors, read_bytes
from evoseg.datasets.layouts.base import (
    SIDE_OF,
    Entry,
    Files,
    Layout,
    Match,
    ScanReport,
    check_inside,
    collect_files,
    entries_of,
    is_clutter,
    is_image,
    list_images,
    report_lone,
    sides,
    stem_of,
)
from evoseg.datasets.meaning import Meaning
from evoseg.datasets.reading import ReadOptions

NAME = "manifest.csv"
_FILES = ("image", "mask", "labels", "known", "points")
_COLUMNS = (*_FILES, "split", "group")
_SPLIT_OF = SIDE_OF | {"search": "train", "selection": "selection"}
_MOST_MANIFEST_BYTES = 64 * 2**20


def match_manifest(root: Path) -> Match:
    """Match folders with the table, which goes before all other layouts, since somebody wrote it."""
    # A pipe or a link to a device is no table, but passing over it in silence would be wrong, too.
    if (root / NAME).exists() and not (root / NAME).is_dir():
        return Match(f"{NAME} lists the files", list_manifest)
    return Match(f"needs {NAME}, with the column image and some of {', '.join(_COLUMNS[1:])}")


def list_manifest(report: ScanReport) -> Files:
    """List what the table names, and note each line that is wrong."""
    table = report.root / NAME
    try:
        heads, lines = read_table(table, _MOST_MANIFEST_BYTES, report.root)
    except DatasetError as error:
        report.problems.append(Note.of(error, table))
        return Files()
    if "image" not in heads:
        said = legible(",".join(heads))
        report.add_problem(table, f"the first line must name the columns, one of them image; it is '{said}'.")
        return Files()
    for head in heads:
        if head not in _COLUMNS:
            report.add_warning(table, f"{unknown('column', head, _COLUMNS)} It is not used.")
    entries: list[Entry] = []
    first: dict[Path, int] = {}
    for number, cells in lines:
        try:
            entry = _entry(report.root, cells)
        except DatasetError as error:
            report.add_problem(f"{table}: line {number}", str(error), error.worded_at)
            continue
        if (before := first.setdefault(entry.image, number)) != number:
            report.add_problem(f"{table}: line {number}", f"{entry.image.name} is on line {before} already. Keep one.")
        else:
            entries.append(entry)
    if not lines:
        report.add_problem(table, "lists no image. Add a line for each.")
    return collect_files(entries, report)


MANIFEST = Layout("manifest", match_manifest)


def _entry(root: Path, cells: dict[str, str]) -> Entry:
    """Return what one line says."""
    files = {column: _file(root, cells[column]) for column in _FILES if cells.get(column)}
    if "image" not in files:
        raise DatasetError("names no image. Fill that cell, or remove the line.")
    for column in files.keys() - {"points"}:
        if not is_image(files[column]):
            raise DatasetError(f"{column}: {files[column].name} is not read; {FORMATS} are. Export it as one of them.")
    if "mask" in files and "labels" in files:
        raise DatasetError("has a mask and labels; both mean the mask, whose values may number objects. Keep one.")
    mask = files.get("mask") or files.get("labels")
    entry = Entry(stem_of(files["image"].name), files["image"], MaskFile(mask) if mask else None)
    word = cells.get("split", "").lower()
    if word and word not in _SPLIT_OF:
        raise DatasetError(unknown("split", word, ("train", "selection", "val", "test")))
    split, group = _SPLIT_OF.get(word, ""), cells.get("group", "")
    return replace(entry, known=files.get("known"), points=files.get("points"), split=split, group=group)


def _file(root: Path, cell: str) -> Path:
    """Return the file that a cell names, which must be there and in the folder."""
    path, shown = find_file(root, cell), legible(cell)
    if path is None:
        raise DatasetError(f"{shown}: no such file. Paths are relative to the dataset's folder.")
    if not within(path, root):
        raise DatasetError(f"{shown} lies outside the dataset's folder. Copy the file into it.")
    return path


_MOST_NNUNET_BYTES = 16 * 2**20
_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)
_ENDS = (("Tr", "train"), ("Ts", "test"))


@dataclass(frozen=True)
class _Words:
    """What dataset.json says: names of channels by number, the value of pixels to leave out, and how many classes."""

    channels: dict[int, str] = field(default_factory=dict)
    ignored: int | None = None
    n_classes: int = 0


def match_nnunet(root: Path) -> Match:
    """Match folders with imagesTr/."""
    if not (root / "imagesTr").is_dir():
        return Match("needs imagesTr/ with CASE_0000.*, labelsTr/ with CASE.*, and dataset.json")
    beside = [name for name in ("labelsTr", "imagesTs", "labelsTs") if (root / name).is_dir()]
    return Match(f"imagesTr/ is there, with {', '.join(f'{name}/' for name in beside) or 'no labelsTr/'}", list_nnunet)


def list_nnunet(report: ScanReport) -> Files:
    """List cases; channels from 0001 on become planes."""
    words = _words(report)
    entries: list[Entry] = []
    further: dict[Path, dict[int, Path]] = {}
    for end, split in _ENDS:
        folder, truths = report.root / f"images{end}", report.root / f"labels{end}"
        cases = _cases(folder, report) if folder.is_dir() else {}
        masks = list_images(truths, report) if truths.is_dir() else {}
        report_lone(masks, {case: channels[min(channels)] for case, channels in cases.items()}, report)
        for case, channels in cases.items():
            mask = MaskFile(masks[case], declared=True, ignored=words.ignored) if case in masks else None
            image = channels.pop(min(channels))
            further[image] = channels
            entries.append(Entry(case, image, mask, split=split))
    if not (report.root / "labelsTr").is_dir():
        report.add_problem(report.root, "there is no labelsTr/ folder. Put a mask per case in it, as CASE.png.")
    files = collect_files(entries, report)
    return replace(files, planes=_planes(files, further, words, report))


NNUNET = Layout("nnU-Net", match_nnunet)


def _cases(folder: Path, report: ScanReport) -> dict[str, dict[int, Path]]:
    """List the channels of each case by number."""
    cases: dict[str, dict[int, Path]] = {}
    for stem, path in list_images(folder, report).items():
        found = _CHANNEL.fullmatch(stem)
        if found is None:
            report.add_problem(path, f"has no channel number. Name it {stem}_0000{path.suffix}.")
        else:
            cases.setdefault(found[1], {})[int(found[2])] = path
    for case in [case for case, channels in cases.items() if 0 not in channels]:
        channels = cases.pop(case)
        report.add_problem(channels[min(channels)], "the case has no channel 0000. Add it, or remove the case.")
    return cases


def _planes(
    files: Files, further: dict[Path, dict[int, Path]], words: _Words, report: ScanReport
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
                report.add_problem(image, f"the case has no channel {number:04d}, but others do. Add it.")
    return planes


def _words(report: ScanReport) -> _Words:
    path = report.root / "dataset.json"
    if not path.is_file():
        report.add_warning(path, "is missing; channels have no names, and no value means 'ignore'.")
        return _Words()
    try:
        words = _parsed(path, read_json(path, _MOST_NNUNET_BYTES, report.root))
    except DatasetError as error:
        report.problems.append(Note.of(error, path))
        return _Words()
    if words.n_classes > 1:
        report.add_warning(
            path, f"its {words.n_classes} labels are classes, not objects; with --task binary, all are foreground."
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


_ENDINGS = ("_cp_masks", "_masks")
"""What follows NAME in the stem of a mask; the longer one is tried first."""
_SEG = "_seg.npy"
_OTHERS = ("_flows", "_cp_output", "_outlines", "_cp_outlines")
"""What follows NAME in further files that Cellpose writes."""


def match_cellpose(root: Path) -> Match:
    """Match folders where masks lie beside images."""
    names = [entry.name for side, _ in _sides(root) for entry in entries_of(side) if entry.is_file()]
    images = [name for name in names if is_image(Path(name))]
    masks = [name for name in images if stem_of(name).endswith(_ENDINGS)]
    saved = [name for name in names if name.endswith(_SEG)]
    if masks:
        return Match(f"{len(masks)} images are called NAME_masks.*, such as {masks[0]}", list_cellpose)
    if saved and images:
        return Match(f"{len(saved)} files are called NAME_seg.npy, such as {saved[0]}", list_cellpose)
    return Match(f"needs NAME_masks.* beside NAME.*; of {len(images)} image files here none has such a name")


def list_cellpose(report: ScanReport) -> Files:
    """List images and masks of every side."""
    return collect_files(
        [entry for side, split in _sides(report.root) for entry in _entries(side, split, report)], report
    )


CELLPOSE = Layout("Cellpose", match_cellpose)


@dataclass(frozen=True)
class SavedArray:
    """Masks in a NumPy file. One that holds Python objects is refused: to read it is to run what it says."""

    path: Path
    n_objects: int = 0

    def stored(self, reading: ReadOptions) -> list[StoredMask]:
        """Return the array as pixels."""
        return [StoredMask(str(self.path), self._array(read_bytes(self.path)))]

    def read(self, reading: ReadOptions, meaning: Meaning) -> Values:
        """Read the array, of whole numbers and shape (M, N)."""
        data = read_bytes(self.path)
        array, digest = self._array(data), sha256(data).hexdigest()
        if meaning.first:
            return Values(array, digest)
        return Values(meaning.values(StoredMask(str(self.path), array)), meaning.signed(digest))

    def _array(self, data: bytes) -> NDArray[Any]:
        with explain_errors(self.path):
            file = io.BytesIO(data)
            if np.lib.format.read_magic(file) != (1, 0):
                raise damaged(self.path, "a version of .npy that arrays of numbers do not need")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject:
                raise DatasetError(
                    f"{self.path}: holds a Python pickle, which could run any code when it is read, so it is refused. "
                    "Save the masks as PNG or TIFF from Cellpose's menu, as NAME_cp_masks.png."
                )
            if len(shape) != 2 or dtype.kind not in "bui" or prod(shape) > LIMITS.pixels or not prod(shape):
                raise DatasetError(f"{self.path}: {dtype} of shape {shape}; masks are whole numbers of shape (M, N).")
            if len(data) - file.tell() != prod(shape) * dtype.itemsize:
                raise damaged(self.path, "its length is not that of its array")
            file.seek(0)
            values: NDArray[Any] = np.load(file, allow_pickle=False)
        return values.astype(dtype.newbyteorder("="))


def _sides(root: Path) -> list[tuple[Path, str]]:
    """Return the folders of splits; images beside a folder test/ are for training."""
    found = sides(root)
    here = any(is_image(entry) and stem_of(entry.name).endswith(_ENDINGS) for entry in entries_of(root))
    return [*found, (root, "train")] if here and found[0][0] != root else found


def _entries(side: Path, split: str, report: ScanReport) -> list[Entry]:
    files = list_images(side, report, _skipped)
    masks: dict[str, MaskSource] = {}
    for stem, path in files.items():
        if not stem.endswith(_ENDINGS):
            continue
        name = _without(stem, _ENDINGS)
        if name in masks:
            report.add_problem(path, f"{name} has another mask, {masks[name].path.name}. Keep one.")
        masks.setdefault(name, MaskFile(path))
    for path in entries_of(side):
        if path.name.endswith(_SEG) and check_inside(path, report):
            masks.setdefault(clean_stem(path.name.removesuffix(_SEG)), SavedArray(path))
    images = {stem: path for stem, path in files.items() if not stem.endswith(_ENDINGS)}
    for stem in [stem for stem in images if stem.endswith("_img") and stem.removesuffix("_img") in masks]:
        name = stem.removesuffix("_img")
        if name in images:
            report.add_problem(images[stem], f"shares its mask with {images[name].name}. Keep one.")
        images.setdefault(name, images.pop(stem))
    report_lone({name: mask.path for name, mask in masks.items()}, images, report)
    return [Entry(stem, path, masks.get(stem), split=split) for stem, path in images.items()]


def _skipped(name: str) -> bool:
    return (
        is_clutter(name)
        or name.endswith(_SEG)
        or stem_of(name).endswith(_OTHERS)
        or name.lower() in {*SIDE_OF, "dataset.yaml"}
    )


def _without(stem: str, endings: tuple[str, ...]) -> str:
    return stem.removesuffix(next(ending for ending in endings if stem.endswith(ending)))
