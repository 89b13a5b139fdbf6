"""The Data Science Bowl 2018: a folder per image, with images/ and, in masks/, a file per object."""

from pathlib import Path

from evoseg.base.notes import Note
from evoseg.data.card import clean_stem
from evoseg.data.layouts.layout import Entry, Files, Layout, Look, folders, gathered, sides
from evoseg.data.listing import Notes, listing
from evoseg.data.truths import MaskSource, ObjectFiles


def look(root: Path) -> Look:
    """Take folders whose folders hold images/ and masks/, or lie in train/ or stage1_train/."""
    n = sum((sample / "masks").is_dir() for side, _ in sides(root) for sample in _samples(side))
    if not n:
        return Look("needs a folder per image, with images/ and masks/ in each")
    return Look(f"{n} folders hold images/ and masks/ each", read)


def read(notes: Notes) -> Files:
    """List the samples, named as their folders."""
    entries = []
    for side, split in sides(notes.root):
        for sample in _samples(side):
            images = listing(sample / "images", notes)
            if len(images) != 1:
                notes.faults.append(
                    Note(
                        sample / "images", f"holds {len(images)} images; a folder per image holds one. Move the others."
                    )
                )
                continue
            (image,) = images.values()
            entries.append(Entry(clean_stem(sample.name), image, _objects(sample / "masks", notes), split=split))
    return gathered(entries, notes)


LAYOUT = Layout("DSB2018", look)


def _samples(folder: Path) -> list[Path]:
    return [sample for sample in folders(folder) if (sample / "images").is_dir()]


def _objects(folder: Path, notes: Notes) -> MaskSource | None:
    if not folder.is_dir():
        return None
    files = tuple(listing(folder, notes).values())
    if files:
        return ObjectFiles(folder, files)
    notes.faults.append(
        Note(
            folder,
            "holds no mask, which says neither 'no object' nor 'not looked at'. Put a mask of zeros there, or "
            "remove the folder.",
        )
    )
    return None
