"""images/ beside masks/ or points/, with equal stems; known/ and planes/ join them.

A label image of StarDist's kind is one of these: its values below 0 are pixels to leave out.
"""

from pathlib import Path

from evoseg.base.notes import Note
from evoseg.data.card import clean_stem
from evoseg.data.formats import FORMATS
from evoseg.data.layouts.layout import (
    Files,
    Layout,
    Look,
    image_folders,
    images_below,
    mask_folders,
    named_as_images,
    note_lone,
)
from evoseg.data.listing import Notes, clutter, inside, listing
from evoseg.data.pairing import Pairs, told_apart
from evoseg.data.truths import MaskFile, MaskSource, Scribbles

SCRIBBLES = "scribbles"


def look(root: Path) -> Look:
    """Take folders with images/ and a place for truths."""
    images = image_folders(root)
    if not images:
        return Look("needs images/, and masks/ with files of equal names")
    beside = [*mask_folders(root), *(root / name for name in (SCRIBBLES, "points") if (root / name).is_dir())]
    if not beside:
        return Look(f"needs masks/ beside {images[0].name}/, with files of equal names")
    return Look(f"{images[0].name}/ lies beside {' and '.join(f'{folder.name}/' for folder in beside)}", read)


def read(notes: Notes) -> Files:
    """List the files by stem."""
    images = _images(notes)
    points = _points(notes)
    scribbles = listing(notes.root / SCRIBBLES, notes) if (notes.root / SCRIBBLES).is_dir() else {}
    masks = _masks(notes, bool(images), bool(points or scribbles))
    known = listing(notes.root / "known", notes) if (notes.root / "known").is_dir() else {}
    _check_apart(masks, images, notes)
    masks = named_as_images(masks, images, notes)
    scribbles = named_as_images(scribbles, images, notes, "scribble")
    known = named_as_images(known, images, notes, "known area")
    points = named_as_images(points, images, notes, "file of points")
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
    read: dict[str, MaskSource] = {stem: Scribbles(path) for stem, path in scribbles.items()}
    return Files(images, read | {stem: MaskFile(path) for stem, path in masks.items()}, known, points, planes)


LAYOUT = Layout("plain", look)


def _images(notes: Notes) -> dict[str, Path]:
    found = image_folders(notes.root)
    if len(found) > 1:
        notes.faults.append(Note(notes.root, f"images lie in {_and_in(found)}. Keep one of them."))
    if found:
        images = listing(found[0], notes)
        if not images:
            said = f"holds no image that is read ({FORMATS}).{images_below(found[0])} Put the images there."
            notes.faults.append(Note(found[0], said))
        return images
    said = f"there is no images/ folder.{images_below(notes.root)} Put the images in images/, their masks in masks/."
    notes.faults.append(Note(notes.root, said))
    return {}


def _check_apart(masks: dict[str, Path], images: dict[str, Path], notes: Notes) -> None:
    """Refuse masks that are called as images which are masks themselves, by their names."""
    pairs = told_apart(list(images)) if masks and masks.keys() <= images.keys() else Pairs({})
    if pairs.rule is not None and masks.keys() <= pairs.image_of.keys():
        stem = next(iter(masks))
        notes.faults.append(
            Note(
                images[stem].parent,
                f"{images[stem].name} is called as the mask of {images[pairs.image_of[stem]].name}, and as a file "
                "among the masks. Remove masks from among the images, or list the pairs in manifest.csv.",
            )
        )


def _and_in(found: list[Path]) -> str:
    return " and in ".join(f"{folder.name}/" for folder in found)


def _masks(notes: Notes, any_image: bool, any_other: bool) -> dict[str, Path]:
    found = mask_folders(notes.root)
    if len(found) > 1:
        notes.faults.append(Note(notes.root, f"masks lie in {_and_in(found)}. Keep one of them."))
    if found:
        masks = listing(found[0], notes)
        if not masks and any_image:
            notes.faults.append(Note(found[0], "holds no mask. Put masks there, named as their images."))
        return masks
    if not any_other:
        notes.faults.append(
            Note(
                notes.root,
                "there is no masks/ folder with a mask per image. Put masks there, named as their images (labels/, gt/ "
                "and annotations/ are read too), strokes in scribbles/, or the places of objects in points/, as CSV "
                "files.",
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
        note_lone(files, images, notes, "plane")
    return planes
