"""Cellpose: NAME_masks.tif beside NAME.tif (or NAME_img.tif), in one folder or in train/ and test/."""

import io
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.base.notes import Note
from evoseg.data.card import clean_stem
from evoseg.data.files import StoredMask
from evoseg.data.formats import LIMITS, damaged, explained, read_bytes
from evoseg.data.layouts.layout import SIDE_OF, Entry, Files, Layout, Look, entries_of, gathered, note_lone, sides
from evoseg.data.listing import Notes, clutter, inside, is_image, listing, stem_of
from evoseg.data.meaning import Meaning
from evoseg.data.reading import Reading
from evoseg.data.truths import MaskFile, MaskSource, Values

_ENDINGS = ("_cp_masks", "_masks")
"""What follows NAME in the stem of a mask; the longer one is tried first."""
_SEG = "_seg.npy"
_OTHERS = ("_flows", "_cp_output", "_outlines", "_cp_outlines")
"""What follows NAME in further files that Cellpose writes."""


def look(root: Path) -> Look:
    """Take folders where masks lie beside images."""
    names = [entry.name for side, _ in _sides(root) for entry in entries_of(side) if entry.is_file()]
    images = [name for name in names if is_image(Path(name))]
    masks = [name for name in images if stem_of(name).endswith(_ENDINGS)]
    saved = [name for name in names if name.endswith(_SEG)]
    if masks:
        return Look(f"{len(masks)} images are called NAME_masks.*, such as {masks[0]}", read)
    if saved and images:
        return Look(f"{len(saved)} files are called NAME_seg.npy, such as {saved[0]}", read)
    return Look(f"needs NAME_masks.* beside NAME.*; of {len(images)} image files here none is called so")


def read(notes: Notes) -> Files:
    """List images and masks of every side."""
    return gathered([entry for side, split in _sides(notes.root) for entry in _entries(side, split, notes)], notes)


LAYOUT = Layout("Cellpose", look)


@dataclass(frozen=True)
class SavedArray:
    """Masks in a NumPy file. One that holds Python objects is refused: to read it is to run what it says."""

    path: Path
    n_objects: int = 0

    def stored(self, reading: Reading) -> list[StoredMask]:
        """Return the array as pixels."""
        return [StoredMask(str(self.path), self._array(read_bytes(self.path)))]

    def read(self, reading: Reading, meaning: Meaning) -> Values:
        """Read the array, of whole numbers and shape (M, N)."""
        data = read_bytes(self.path)
        array, digest = self._array(data), sha256(data).hexdigest()
        if meaning.first:
            return Values(array, digest)
        return Values(meaning.values(StoredMask(str(self.path), array)), meaning.signed(digest))

    def _array(self, data: bytes) -> NDArray[Any]:
        with explained(self.path):
            file = io.BytesIO(data)
            if np.lib.format.read_magic(file) != (1, 0):
                raise damaged(self.path, "a version of .npy that arrays of numbers do not need")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject:
                raise DatasetError(
                    f"{self.path}: holds a Python pickle, which can run any code when it is read, so it is not. "
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


def _entries(side: Path, split: str, notes: Notes) -> list[Entry]:
    files = listing(side, notes, _skipped)
    masks: dict[str, MaskSource] = {}
    for stem, path in files.items():
        if not stem.endswith(_ENDINGS):
            continue
        name = _without(stem, _ENDINGS)
        if name in masks:
            notes.faults.append(Note(path, f"{name} has another mask, {masks[name].path.name}. Keep one."))
        masks.setdefault(name, MaskFile(path))
    for path in entries_of(side):
        if path.name.endswith(_SEG) and inside(path, notes):
            masks.setdefault(clean_stem(path.name.removesuffix(_SEG)), SavedArray(path))
    images = {stem: path for stem, path in files.items() if not stem.endswith(_ENDINGS)}
    for stem in [stem for stem in images if stem.endswith("_img") and stem.removesuffix("_img") in masks]:
        name = stem.removesuffix("_img")
        if name in images:
            notes.faults.append(Note(images[stem], f"shares its mask with {images[name].name}. Keep one."))
        images.setdefault(name, images.pop(stem))
    note_lone({name: mask.path for name, mask in masks.items()}, images, notes)
    return [Entry(stem, path, masks.get(stem), split=split) for stem, path in images.items()]


def _skipped(name: str) -> bool:
    return (
        clutter(name)
        or name.endswith(_SEG)
        or stem_of(name).endswith(_OTHERS)
        or name.lower() in {*SIDE_OF, "dataset.yaml"}
    )


def _without(stem: str, endings: tuple[str, ...]) -> str:
    return stem.removesuffix(next(ending for ending in endings if stem.endswith(ending)))
