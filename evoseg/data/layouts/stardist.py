"""StarDist's training folders: train/images and train/masks, the same under test/ or val/.

Without those folders its images/ and masks/ are the plain layout. Values below 0 are pixels to leave out.
"""

from pathlib import Path

from evoseg.base.notes import Note
from evoseg.data.layouts.layout import (
    Entry,
    Files,
    Layout,
    Look,
    gathered,
    image_folders,
    mask_folders,
    named_as_images,
    sides,
)
from evoseg.data.listing import Notes, listing
from evoseg.data.truths import MaskFile


def look(root: Path) -> Look:
    """Take folders of splits with images/ and masks/ in at least one."""
    found = [
        (image_folders(f)[0], mask_folders(f)[0])
        for f, split in sides(root)
        if split and image_folders(f) and mask_folders(f)
    ]
    if not found:
        return Look("needs train/images/ and train/masks/, and the same in test/")
    return Look(" and ".join(f"{a.parent.name}/ holds {a.name}/ and {b.name}/" for a, b in found), read)


def read(notes: Notes) -> Files:
    """List the images of every split."""
    entries = []
    for folder, split in sides(notes.root):
        places, truths = image_folders(folder), mask_folders(folder)
        if not places:
            notes.warnings.append(Note(folder, "not read, since it holds no images/."))
            continue
        if max(len(places), len(truths)) > 1:
            said = " and in ".join(f"{one.name}/" for one in (places if len(places) > 1 else truths))
            notes.faults.append(Note(folder, f"images or masks lie in {said}. Keep one of them."))
        images = listing(places[0], notes)
        masks = named_as_images(listing(truths[0], notes), images, notes) if truths else {}
        entries += [
            Entry(stem, path, MaskFile(masks[stem]) if stem in masks else None, split=split)
            for stem, path in images.items()
        ]
    return gathered(entries, notes)


LAYOUT = Layout("StarDist", look)
