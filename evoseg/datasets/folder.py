"""Detect the layout of a folder, list its images and truths, and check their names."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note, first_few
from evoseg.datasets.annotations import MaskSource
from evoseg.datasets.card import DatasetCard, read_card
from evoseg.datasets.layouts.base import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    Files,
    Layout,
    ScanReport,
    find_bad_pixels,
    folders,
)
from evoseg.datasets.layouts.coco import COCO
from evoseg.datasets.layouts.outlined import LAYOUTS_OF_TOOLS
from evoseg.datasets.layouts.subfolders import (
    BESIDE,
    DSB,
    MVTEC,
    PAIRS,
    PLAIN_LAYOUT,
    SCRIBBLED,
    STARDIST,
    list_plain,
)
from evoseg.datasets.layouts.tools import CELLPOSE, MANIFEST, NNUNET
from evoseg.datasets.layouts.unread import find_broken_json, find_unread_outlines
from evoseg.datasets.pair_tables import NO_TABLE, PairTable

LAYOUTS: tuple[Layout, ...] = (
    MANIFEST,
    NNUNET,
    MVTEC,
    PAIRS,
    PLAIN_LAYOUT,
    COCO,
    STARDIST,
    DSB,
    CELLPOSE,
    BESIDE,
    SCRIBBLED,
    *LAYOUTS_OF_TOOLS,
)
"""In the order in which they are tried: those with names of their own come before those with common ones,
and masks before outlines."""


@dataclass(frozen=True)
class Detection:
    """The detected layout of a folder, and its files.

    Attributes
    ----------
    layout : str
        Name of the layout; "" if none fits.
    why : str
        What says so.
    lacking : dict of str to str
        What each layout would have needed, by name, if none fits.
    files : Files
    """

    layout: str
    why: str
    lacking: dict[str, str]
    files: Files


def detect(report: ScanReport) -> Detection:
    """Find the layout of a folder and list its files.

    Where none fits, the errors name what is there and cannot be read, or else are those of the plain layout.
    """
    lacking: dict[str, str] = {}
    for layout in LAYOUTS:
        found = layout.match(report.root)
        if found.read is not None:
            return Detection(layout.name, found.why, {}, found.read(report))
        lacking[layout.name] = found.why
    if unread := find_unread_outlines(report.root) or find_broken_json(report.root):
        report.problems += unread
        return Detection("", "no layout fits", lacking, list_plain(ScanReport(report.root)))
    return Detection("", "no layout fits", lacking, list_plain(report))


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
    problems, warnings : tuple of Note
    pairing : tuple of str
        The rules by which names pair, where they are not equal.
    layout, because : str
        The detected layout, and the reason; "" if no layout fits.
    lacking : dict of str to str
        What is missing for each layout, if none fits.
    splits_of_layout : bool
        The splits come from the layout, not from the card.
    moving : dict of str to Path
        The second image of each pair, by stem.
    transforms : PairTable
        True transforms of pairs.
    bad_pixels : Path or None
        A mask of pixels that are unknown in every image.
    """

    root: Path
    card: DatasetCard
    images: dict[str, Path]
    masks: dict[str, MaskSource]
    known: dict[str, Path]
    points: dict[str, Path]
    planes: dict[str, dict[str, Path]]
    problems: tuple[Note, ...]
    warnings: tuple[Note, ...]
    pairing: tuple[str, ...] = ()
    layout: str = ""
    because: str = ""
    lacking: dict[str, str] = field(default_factory=dict)
    splits_of_layout: bool = False
    moving: dict[str, Path] = field(default_factory=dict)
    transforms: PairTable = NO_TABLE
    bad_pixels: Path | None = None


def scan(root: Path) -> Folder:
    """List the files of a dataset and check their names, pairs and card; no image is opened.

    Raises
    ------
    DatasetError
        Only if `root` is missing or not a folder; everything else is listed in `problems`.
    """
    if not root.exists():
        raise DatasetError(f"{root}: no such folder. Name a folder with images/ and masks/ in it.")
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder. Name a folder with images/ and masks/ in it.")
    report = ScanReport(root)
    card = DatasetCard()
    try:
        card = read_card(root / "dataset.yaml")
    except DatasetError as error:
        report.problems.append(Note.of(error, root / "dataset.yaml"))
    found = detect(report)
    files = found.files
    bad_pixels = find_bad_pixels(report) if found.layout != PAIRS.name else None
    if not (files.masks or files.points or files.moving) and (elsewhere := _find_datasets_near(root)):
        report.problems[:] = [Note(root, elsewhere)]
    if found.layout and not (files.masks or files.points or files.moving):
        report.problems += find_unread_outlines(root)
    if not report.problems and not (files.masks or files.points or files.moving):
        what = "has a mask or points" if files.images else "is there"
        report.add_problem(root, f"the layout is {found.layout}, but no image {what}. Add what is missing.")
    _check_card(card, files.images, {*files.masks, *files.points, *files.transforms.rows}, report)
    given = bool(files.splits) and not card.splits and not card.splits_drawn
    return Folder(
        root,
        _completed(card, files, given),
        files.images,
        files.masks,
        files.known,
        files.points,
        files.planes,
        tuple(sorted(report.problems)),
        tuple(sorted(report.warnings)),
        tuple(dict.fromkeys(report.rules)),
        found.layout,
        found.why,
        found.lacking,
        given,
        files.moving,
        files.transforms,
        bad_pixels,
    )


def _find_datasets_near(root: Path) -> str:
    """Say which folder to name instead, if a folder without truths is within a dataset, or holds several."""
    root = root.absolute()
    if root.name.lower() in {*IMAGE_FOLDERS, *MASK_FOLDERS} and PLAIN_LAYOUT.match(root.parent).read is not None:
        return f"is part of the dataset {root.parent}. Name that folder."
    inside = [folder.name for folder in folders(root) if PLAIN_LAYOUT.match(folder).read is not None]
    found = f"this folder holds {len(inside)} datasets ({first_few(inside)}). Name one of them."
    return found if len(inside) > 1 else ""


def _completed(card: DatasetCard, files: Files, given: bool) -> DatasetCard:
    """Return the card with what the layout says about splits and groups, where it says nothing itself."""
    return replace(card, splits=files.splits if given else card.splits, groups=card.groups or files.groups)


def _check_card(card: DatasetCard, images: dict[str, Path], truths: Collection[str], report: ScanReport) -> None:
    """Check that groups and splits name images that exist, and split only labelled ones, once."""
    card_path = report.root / "dataset.yaml"
    if not images:
        return
    for stem in sorted(card.groups.keys() - images.keys()):
        report.add_problem(card_path, f"groups names {stem}, which is not among the images. Correct or remove it.")
    seen: dict[str, str] = {}
    for split, stems in card.splits.items():
        for stem in stems:
            if stem not in images:
                report.add_problem(
                    card_path, f"splits: {split} names {stem}, which is not among the images. Correct or remove it."
                )
            elif stem not in truths and truths:
                report.add_problem(
                    card_path,
                    f"splits: {split} names {stem}, which has no mask, points or shift. Add it, or remove {stem}.",
                )
            if stem in seen:
                report.add_problem(card_path, f"{stem} is in the splits {seen[stem]} and {split}. Keep one.")
            seen[stem] = split
    for key in card.other_keys:
        report.add_warning(card_path, f"the key {key} is unknown and ignored.")
