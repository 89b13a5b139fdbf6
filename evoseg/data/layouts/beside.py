"""Masks beside images in one folder: NAME_mask.png and NAME.png, or mask_NAME.png and img_NAME.png.

All masks begin, or all end, with one word for masks. Cellpose's own endings are its layout's.
"""

from pathlib import Path

from evoseg.data.layouts.layout import Entry, Files, Layout, Look, entries_of, gathered, image_folders, sides
from evoseg.data.listing import Notes, is_image, listing, stem_of
from evoseg.data.pairing import told_apart
from evoseg.data.truths import MaskFile


def look(root: Path) -> Look:
    """Take folders in which the names tell masks from images."""
    for folder, _ in _places(root):
        names = [stem_of(entry.name) for entry in entries_of(folder) if is_image(entry)]
        if (rule := told_apart(names).rule) is not None:
            return Look(f"in {folder.name or 'the folder'}/ {rule.said()}", read)
    return Look("needs NAME_mask.* (or _label, _seg, _gt ...) beside NAME.*, one mask per image")


def read(notes: Notes) -> Files:
    """List images and masks of every side."""
    entries: list[Entry] = []
    for folder, split in _places(notes.root):
        files = listing(folder, notes)
        pairs = told_apart(list(files))
        if pairs.rule is not None:
            notes.rules.append(pairs.rule.said())
        masks = {image: MaskFile(files[mask]) for mask, image in pairs.image_of.items()}
        entries += [
            Entry(stem, path, masks.get(stem), split=split)
            for stem, path in files.items()
            if stem not in pairs.image_of
        ]
    return gathered(entries, notes)


LAYOUT = Layout("masks beside images", look)


def _places(root: Path) -> list[tuple[Path, str]]:
    """Return the folders where images may lie: sides, the folder itself, or images/ in it."""
    places = sides(root)
    if places[0][0] == root and not any(map(is_image, entries_of(root))):
        return [(folder, "") for folder in image_folders(root)]
    return places
