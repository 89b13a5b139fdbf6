"""Which files of a dataset folder are images, masks, planes and known areas, and what is wrong with their names."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from evoseg.base.errors import DatasetError
from evoseg.data.card import DatasetCard, clean_stem, read_card
from evoseg.data.formats import FOREIGN_SUFFIXES, FORMATS, SUFFIXES

MASK_FOLDERS = ("masks", "labels", "gt", "annotations")
"""Where masks may lie; one of them per dataset."""

_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass
class _Notes:
    """Faults and warnings, as they are found."""

    root: Path
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Folder:
    """The files of a dataset by stem; names alone have been looked at.

    Attributes
    ----------
    root : Path
    card : DatasetCard
    images, masks, scribbles, known, points : dict of str to Path
        Files by stem. No image has a mask and scribbles.
    planes : dict of str to dict of str to Path
        Files by stem of each added plane.
    faults, warnings : tuple of str
    """

    root: Path
    card: DatasetCard
    images: dict[str, Path]
    masks: dict[str, Path]
    scribbles: dict[str, Path]
    known: dict[str, Path]
    points: dict[str, Path]
    planes: dict[str, dict[str, Path]]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def scan(root: Path) -> Folder:
    """List the files of a dataset and check their names, pairs and card; no image is opened.

    Raises
    ------
    DatasetError
        Only if `root` is missing or not a folder; everything else is listed in `faults`.
    """
    if not root.exists():
        raise DatasetError(f"{root}: no such folder. Name a folder with images/ and masks/ in it.")
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder. Name a folder with images/ and masks/ in it.")
    notes = _Notes(root)
    card = DatasetCard()
    try:
        card = read_card(root / "dataset.yaml")
    except DatasetError as error:
        notes.faults.append(str(error))
    images = _images(notes)
    points = _points(notes)
    scribbles = _listing(root / "scribbles", notes) if (root / "scribbles").is_dir() else {}
    masks = _masks(notes, bool(images), bool(points or scribbles))
    known = _listing(root / "known", notes) if (root / "known").is_dir() else {}
    planes = _planes(notes, images)
    for other, word in ((masks, "mask"), (known, "known area")):
        for stem in scribbles.keys() & other.keys():
            notes.faults.append(
                f"{scribbles[stem]}: there is a {word} of it too ({other[stem].parent.name}/), and scribbles say both "
                "what is foreground and what is known. Keep one of them."
            )
    truths = {"mask": masks, "scribble": scribbles, "known area": known, "file of points": points}
    for folder, files in truths.items():
        for stem in files.keys() - images.keys() if images else ():
            notes.faults.append(f"{files[stem]}: a {folder} without an image; {_nearest(stem, images)}")
    _check_card(card, images, masks | scribbles | points, notes)
    faults, warnings = tuple(sorted(notes.faults)), tuple(sorted(notes.warnings))
    return Folder(root, card, images, masks, scribbles, known, points, planes, faults, warnings)


def stem_of(name: str) -> str:
    """Return a file name without its ending; that of OME-TIFF is two words."""
    stem = Path(name).stem
    if Path(name).suffix.lower() in (".tif", ".tiff") and stem.lower().endswith(".ome"):
        stem = stem[:-4]
    return clean_stem(stem)


def _images(notes: _Notes) -> dict[str, Path]:
    folder = notes.root / "images"
    if folder.is_dir():
        images = _listing(folder, notes)
        if not images:
            notes.faults.append(f"{folder}: holds no image that is read ({FORMATS}). Put the images there.")
        return images
    notes.faults.append(f"{notes.root}: there is no images/ folder. Put the images in images/, their masks in masks/.")
    return {}


def _masks(notes: _Notes, any_image: bool, any_other: bool) -> dict[str, Path]:
    found = [notes.root / name for name in MASK_FOLDERS if (notes.root / name).is_dir()]
    if len(found) > 1:
        notes.faults.append(
            f"{notes.root}: masks lie in {' and in '.join(f'{f.name}/' for f in found)}. Keep one of them."
        )
    if found:
        masks = _listing(found[0], notes)
        if not masks and any_image:
            notes.faults.append(f"{found[0]}: holds no mask. Put masks there, named as their images.")
        return masks
    if not any_other:
        notes.faults.append(
            f"{notes.root}: there is no masks/ folder; put a mask per image in masks/, named as its image (labels/, "
            "gt/ and annotations/ are read too), strokes in scribbles/, or the places of objects in points/, as CSV "
            "files."
        )
    return {}


def _points(notes: _Notes) -> dict[str, Path]:
    """List points/: one CSV file per image."""
    folder = notes.root / "points"
    if not folder.is_dir():
        return {}
    files: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if _clutter(entry.name):
            continue
        if entry.suffix.lower() == ".csv" and entry.is_file() and _inside(entry, notes):
            files[clean_stem(entry.stem)] = entry
        elif entry.suffix.lower() != ".csv":
            notes.warnings.append(f"{entry}: not read; points lie in CSV files.")
    if not files:
        notes.faults.append(
            f"{folder}: holds no CSV file. Put one per image there, named as its image, with y,x lines."
        )
    return files


def _inside(entry: Path, notes: _Notes) -> bool:
    """Return whether a file lies in the dataset's folder, after its links; else note a fault."""
    if entry.resolve().is_relative_to(notes.root.resolve()):
        return True
    notes.faults.append(f"{entry}: a link out of the dataset's folder. Copy the file instead.")
    return False


def _planes(notes: _Notes, images: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """List planes/NAME/; every image needs a file in each, since C is the same for the whole dataset."""
    folder = notes.root / "planes"
    if not folder.is_dir():
        return {}
    planes: dict[str, dict[str, Path]] = {}
    for entry in sorted(folder.iterdir()):
        if _clutter(entry.name):
            continue
        if not entry.is_dir():
            notes.warnings.append(f"{entry}: not read; planes lie in planes/NAME/, named as their images.")
            continue
        files = planes[entry.name] = _listing(entry, notes)
        for stem in images.keys() - files.keys():
            notes.faults.append(f"{images[stem]}: has no plane in planes/{entry.name}/. Add it, or remove that folder.")
        for stem in files.keys() - images.keys():
            notes.faults.append(f"{files[stem]}: a plane without an image; {_nearest(stem, images)}")
    return planes


def _listing(folder: Path, notes: _Notes) -> dict[str, Path]:
    """Return the image files of a folder by stem, in order; note what is skipped and why."""
    files: dict[str, Path] = {}
    folded: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        ending = entry.suffix[1:].lower()
        if _clutter(entry.name):
            continue
        if not _inside(entry, notes):
            continue
        if not entry.exists():
            notes.faults.append(f"{entry}: a link to a file that is not there. Copy the file instead.")
        elif entry.is_dir():
            notes.warnings.append(f"{entry}: a folder inside {folder.name}/ is not read.")
        elif ending in FOREIGN_SUFFIXES:
            notes.faults.append(
                f"{entry}: {ending.upper()} files are not read; {FORMATS} are. Export it as PNG or TIFF."
            )
        elif ending not in SUFFIXES:
            notes.warnings.append(f"{entry}: not read, since its ending is not that of {FORMATS}.")
        else:
            stem = stem_of(entry.name)
            if twin := folded.get(stem.casefold()):
                how = "the same name" if stem in files else "names that differ in case only,"
                notes.faults.append(f"{entry}: has {how} as {twin.name}; pairs would be a guess. Rename one.")
            else:
                folded[stem.casefold()] = files[stem] = entry
    return files


def _clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _nearest(stem: str, images: dict[str, Path]) -> str:
    """Say which image a lone mask may belong to."""
    near = get_close_matches(stem.casefold(), [s.casefold() for s in images], n=1, cutoff=0.7)
    name = next((p.name for s, p in images.items() if near and s.casefold() == near[0]), None)
    return (
        f"pairs have equal names: does it belong to {name}?" if name else "pairs have equal names. Rename or remove it."
    )


def _check_card(card: DatasetCard, images: dict[str, Path], masks: dict[str, Path], notes: _Notes) -> None:
    """Check that groups and splits name images that exist, and split only labelled ones, once."""
    card_path = notes.root / "dataset.yaml"
    if not images:
        return
    for stem in sorted(card.groups.keys() - images.keys()):
        notes.faults.append(f"{card_path}: groups names {stem}, which is not in images/. Correct or remove it.")
    seen: dict[str, str] = {}
    for split, stems in card.splits.items():
        for stem in stems:
            if stem not in images:
                notes.faults.append(
                    f"{card_path}: splits: {split} names {stem}, which is not in images/. Correct or remove it."
                )
            elif stem not in masks and masks:
                notes.faults.append(
                    f"{card_path}: splits: {split} names {stem}, which has no mask or points. Add it, or remove {stem}."
                )
            if stem in seen:
                notes.faults.append(f"{card_path}: {stem} is in the splits {seen[stem]} and {split}. Keep one.")
            seen[stem] = split
    for key in card.other_keys:
        notes.warnings.append(f"{card_path}: the key {key} is not known and not used.")
