"""Which files of a dataset folder are images and truths, and what is wrong with their names."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from evoseg.base.errors import DatasetError
from evoseg.base.notes import Note
from evoseg.data.card import DatasetCard, read_card
from evoseg.data.layouts.layout import Files
from evoseg.data.layouts.recognise import recognise
from evoseg.data.layouts.unread import unread_outlines
from evoseg.data.listing import Notes
from evoseg.data.truths import MaskSource


@dataclass(frozen=True)
class Folder:
    """The files of a dataset by stem; names alone have been looked at.

    Attributes
    ----------
    root : Path
    card : DatasetCard
        With the splits and groups of the layout, where it has none itself.
    images, known, points : dict of str to Path
        Files by stem.
    masks : dict of str to MaskSource
        By stem.
    planes : dict of str to dict of str to Path
        Files by stem of each added plane.
    faults, warnings : tuple of Note
    pairing : tuple of str
        The rules by which names pair, where they are not equal.
    layout, because : str
        What the folder was taken for, and why; no layout is "".
    lacking : dict of str to str
        What each layout would have needed, if none fits.
    splits_of_layout : bool
        The splits come from the layout, not from the card.
    moving : dict of str to Path
        The second image of each pair, by stem.
    shifts : dict of str to tuple of float
        True shifts (dy, dx) of pairs, px, by stem.
    """

    root: Path
    card: DatasetCard
    images: dict[str, Path]
    masks: dict[str, MaskSource]
    known: dict[str, Path]
    points: dict[str, Path]
    planes: dict[str, dict[str, Path]]
    faults: tuple[Note, ...]
    warnings: tuple[Note, ...]
    pairing: tuple[str, ...] = ()
    layout: str = ""
    because: str = ""
    lacking: dict[str, str] = field(default_factory=dict)
    splits_of_layout: bool = False
    moving: dict[str, Path] = field(default_factory=dict)
    shifts: dict[str, tuple[float, float]] = field(default_factory=dict)


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
    notes = Notes(root)
    card = DatasetCard()
    try:
        card = read_card(root / "dataset.yaml")
    except DatasetError as error:
        notes.faults.append(Note.of(error, root / "dataset.yaml"))
    found = recognise(notes)
    files = found.files
    if found.layout and not (files.masks or files.points or files.moving):
        notes.faults += unread_outlines(root)
    if not notes.faults and not (files.masks or files.points or files.moving):
        what = "has a mask or points" if files.images else "is there"
        notes.faults.append(Note(root, f"the layout is {found.layout}, but no image {what}. Add what is missing."))
    _check_card(card, files.images, {*files.masks, *files.points, *files.shifts}, notes)
    given = bool(files.splits) and not card.splits and not card.splits_drawn
    return Folder(
        root,
        _completed(card, files, given),
        files.images,
        files.masks,
        files.known,
        files.points,
        files.planes,
        tuple(sorted(notes.faults)),
        tuple(sorted(notes.warnings)),
        tuple(dict.fromkeys(notes.rules)),
        found.layout,
        found.why,
        found.lacking,
        given,
        files.moving,
        files.shifts,
    )


def _completed(card: DatasetCard, files: Files, given: bool) -> DatasetCard:
    """Return the card with what the layout says about splits and groups, where it says nothing itself."""
    return replace(card, splits=files.splits if given else card.splits, groups=card.groups or files.groups)


def _check_card(card: DatasetCard, images: dict[str, Path], truths: Collection[str], notes: Notes) -> None:
    """Check that groups and splits name images that exist, and split only labelled ones, once."""
    card_path = notes.root / "dataset.yaml"
    if not images:
        return
    for stem in sorted(card.groups.keys() - images.keys()):
        notes.faults.append(
            Note(card_path, f"groups names {stem}, which is not among the images. Correct or remove it.")
        )
    seen: dict[str, str] = {}
    for split, stems in card.splits.items():
        for stem in stems:
            if stem not in images:
                notes.faults.append(
                    Note(
                        card_path, f"splits: {split} names {stem}, which is not among the images. Correct or remove it."
                    )
                )
            elif stem not in truths and truths:
                notes.faults.append(
                    Note(
                        card_path,
                        f"splits: {split} names {stem}, which has no mask, points or shift. Add it, or remove {stem}.",
                    )
                )
            if stem in seen:
                notes.faults.append(Note(card_path, f"{stem} is in the splits {seen[stem]} and {split}. Keep one."))
            seen[stem] = split
    for key in card.other_keys:
        notes.warnings.append(Note(card_path, f"the key {key} is not known and not used."))
