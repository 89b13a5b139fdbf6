"""images/ beside masks/ or points/, with equal stems; known/ and planes/ join them.

A label image of StarDist's kind is one of these: its values below 0 are pixels to leave out.
"""

from pathlib import Path

from evoseg.base.notes import Note
from evoseg.data.card import clean_stem
from evoseg.data.formats import FORMATS
from evoseg.data.layouts.layout import Files, Layout, Look, entries_of
from evoseg.data.listing import Notes, clutter, inside, is_image, listing, nearest
from evoseg.data.truths import MaskFile, MaskSource, Scribbles

MASK_FOLDERS = ("masks", "labels", "gt", "annotations")
"""Where masks may lie; one of them per dataset."""
SCRIBBLES = "scribbles"


def look(root: Path) -> Look:
    """Take folders with images/ and a place for truths; annotations/ that holds no image is not one."""
    if not (root / "images").is_dir():
        return Look("needs images/, and masks/ with files of equal names")
    found = [name for name in MASK_FOLDERS if (root / name).is_dir()]
    found = [name for name in found if name != "annotations" or any(map(is_image, entries_of(root / name)))]
    truths = [*found, *(name for name in (SCRIBBLES, "points") if (root / name).is_dir())]
    if not truths:
        return Look("needs masks/ beside images/, with files of equal names")
    return Look(f"images/ lies beside {' and '.join(f'{name}/' for name in truths)}", read)


def read(notes: Notes) -> Files:
    """List the files by stem."""
    images = _images(notes)
    points = _points(notes)
    scribbles = listing(notes.root / SCRIBBLES, notes) if (notes.root / SCRIBBLES).is_dir() else {}
    masks = _masks(notes, bool(images), bool(points or scribbles))
    known = listing(notes.root / "known", notes) if (notes.root / "known").is_dir() else {}
    planes = _planes(notes, images)
    for other, word in ((masks, "mask"), (known, "known area")):
        for stem in scribbles.keys() & other.keys():
            notes.faults.append(
                Note(
                    scribbles[stem],
                    f"there is a {word} of it too ({other[stem].parent.name}/), and scribbles say both "
                    "what is foreground and what is known. Keep one of them.",
                )
            )
    truths = {"mask": masks, "scribble": scribbles, "known area": known, "file of points": points}
    for folder, files in truths.items():
        for stem in files.keys() - images.keys() if images else ():
            notes.faults.append(Note(files[stem], f"a {folder} without an image; {nearest(stem, images)}"))
    read: dict[str, MaskSource] = {stem: Scribbles(path) for stem, path in scribbles.items()}
    return Files(images, read | {stem: MaskFile(path) for stem, path in masks.items()}, known, points, planes)


LAYOUT = Layout("plain", look)


def _images(notes: Notes) -> dict[str, Path]:
    folder = notes.root / "images"
    if folder.is_dir():
        images = listing(folder, notes)
        if not images:
            notes.faults.append(Note(folder, f"holds no image that is read ({FORMATS}). Put the images there."))
        return images
    notes.faults.append(
        Note(notes.root, "there is no images/ folder. Put the images in images/, their masks in masks/.")
    )
    return {}


def _masks(notes: Notes, any_image: bool, any_other: bool) -> dict[str, Path]:
    found = [notes.root / name for name in MASK_FOLDERS if (notes.root / name).is_dir()]
    if len(found) > 1:
        notes.faults.append(
            Note(notes.root, f"masks lie in {' and in '.join(f'{f.name}/' for f in found)}. Keep one of them.")
        )
    if found:
        masks = listing(found[0], notes)
        if not masks and any_image:
            notes.faults.append(Note(found[0], "holds no mask. Put masks there, named as their images."))
        return masks
    if not any_other:
        notes.faults.append(
            Note(
                notes.root,
                "there is no masks/ folder; put a mask per image in masks/, named as its image (labels/, "
                "gt/ and annotations/ are read too), strokes in scribbles/, or the places of objects in points/, as "
                "CSV files.",
            )
        )
    return {}


def _points(notes: Notes) -> dict[str, Path]:
    """List points/: one CSV file per image."""
    folder = notes.root / "points"
    if not folder.is_dir():
        return {}
    files: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if clutter(entry.name):
            continue
        if entry.suffix.lower() == ".csv" and entry.is_file() and inside(entry, notes):
            files[clean_stem(entry.stem)] = entry
        elif entry.suffix.lower() != ".csv":
            notes.warnings.append(Note(entry, "not read; points lie in CSV files."))
    if not files:
        notes.faults.append(
            Note(folder, "holds no CSV file. Put one per image there, named as its image, with y,x lines.")
        )
    return files


def _planes(notes: Notes, images: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """List planes/NAME/; every image needs a file in each, since C is the same for the whole dataset."""
    folder = notes.root / "planes"
    if not folder.is_dir():
        return {}
    planes: dict[str, dict[str, Path]] = {}
    for entry in sorted(folder.iterdir()):
        if clutter(entry.name):
            continue
        if not entry.is_dir():
            notes.warnings.append(Note(entry, "not read; planes lie in planes/NAME/, named as their images."))
            continue
        files = planes[entry.name] = listing(entry, notes)
        for stem in images.keys() - files.keys():
            notes.faults.append(
                Note(images[stem], f"has no plane in planes/{entry.name}/. Add it, or remove that folder.")
            )
        for stem in files.keys() - images.keys():
            notes.faults.append(Note(files[stem], f"a plane without an image; {nearest(stem, images)}"))
    return planes
