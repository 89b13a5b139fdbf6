"""StarDist's training folders: train/images and train/masks, the same under test/ or val/.

Without those folders its images/ and masks/ are the plain layout. Values below 0 are pixels to leave out.
"""

from pathlib import Path

from evoseg.base.notes import Note
from evoseg.data.layouts.layout import Entry, Files, Layout, Look, gathered, sides
from evoseg.data.layouts.plain import MASK_FOLDERS
from evoseg.data.listing import Notes, listing, nearest
from evoseg.data.truths import MaskFile


def look(root: Path) -> Look:
    """Take folders of splits with images/ and masks/ in at least one."""
    found = [f for f, split in sides(root) if split and (f / "images").is_dir() and _masks(f) is not None]
    if not found:
        return Look("needs train/images/ and train/masks/, and the same in test/")
    return Look(" and ".join(f"{folder.name}/ holds images/ and masks/" for folder in found), read)


def read(notes: Notes) -> Files:
    """List the images of every split; pairs have equal stems."""
    entries = []
    for folder, split in sides(notes.root):
        if not (folder / "images").is_dir():
            notes.warnings.append(Note(folder, "not read, since it holds no images/."))
            continue
        images = listing(folder / "images", notes)
        truths = _masks(folder)
        masks = listing(truths, notes) if truths is not None else {}
        for stem in masks.keys() - images.keys():
            notes.faults.append(Note(masks[stem], f"a mask without an image; {nearest(stem, images)}"))
        entries += [
            Entry(stem, path, MaskFile(masks[stem]) if stem in masks else None, split=split)
            for stem, path in images.items()
        ]
    return gathered(entries, notes)


LAYOUT = Layout("StarDist", look)


def _masks(folder: Path) -> Path | None:
    return next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
