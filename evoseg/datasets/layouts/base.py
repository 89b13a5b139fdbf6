"""The base of all layouts: listing a folder, matching it, and collecting its files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evoseg.core.notes import Note, first_few, place_of_caller
from evoseg.core.untrusted import within
from evoseg.datasets.annotations import MaskSource
from evoseg.datasets.card import clean_stem
from evoseg.datasets.io.formats import FOREIGN_SUFFIXES, FORMATS, ending_of, foreign_ending, is_image_folder
from evoseg.datasets.pair_tables import NO_TABLE, PairTable
from evoseg.datasets.pairing import nearest_name, pair_names, why_not

_BAD_PIXELS = "bad_pixels"
"""Stem of the file in a dataset that marks pixels of all its images."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass
class ScanReport:
    """Problems, warnings and rules by which names pair, of the folder `root`, as they are found."""

    root: Path
    problems: list[Note] = field(default_factory=list)
    warnings: list[Note] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def add_problem(self, where: object, text: str, kind: object = None) -> None:
        """Note what keeps the dataset from being used; problems that one line of code words are of one kind."""
        self.problems.append(Note(where, text, kind or place_of_caller()))

    def add_warning(self, where: object, text: str, kind: object = None) -> None:
        """Note what a person should know."""
        self.warnings.append(Note(where, text, kind or place_of_caller()))


def stem_of(name: str) -> str:
    """Return a file name without its ending; that of OME-TIFF and some others is two words."""
    ending = ending_of(name)
    return clean_stem(name[: -len(ending) - 1] if ending else Path(name).stem)


def is_clutter(name: str) -> bool:
    """Return whether a file is one that systems and programs leave behind."""
    return name.startswith(".") or name.lower() in _CLUTTER


def is_image(path: Path) -> bool:
    """Return whether a name is that of an image that is read."""
    return bool(ending_of(path.name)) and not is_clutter(path.name)


def _is_bad_pixels(path: Path) -> bool:
    return is_image(path) and stem_of(path.name) == _BAD_PIXELS


def images_in(folder: Path) -> list[Path]:
    """Return the images that lie in a folder itself, without a map of bad pixels."""
    return [entry for entry in entries_of(folder) if is_image(entry) and not _is_bad_pixels(entry)]


def find_bad_pixels(report: ScanReport) -> Path | None:
    """Return the file bad_pixels.*, which marks pixels of all images."""
    found = [entry for entry in entries_of(report.root) if _is_bad_pixels(entry)]
    if len(found) > 1:
        report.add_problem(found[1], f"is one of {len(found)} files called {_BAD_PIXELS}. Keep one.")
    return found[0] if found and check_inside(found[0], report) else None


def check_inside(entry: Path, report: ScanReport) -> bool:
    """Return whether a file lies in the dataset's folder, after its links; else note a problem."""
    if within(entry, report.root):
        return True
    report.add_problem(entry, "a link out of the dataset's folder. Copy the file instead.")
    return False


def list_images(folder: Path, report: ScanReport, skip: Callable[[str], bool] = is_clutter) -> dict[str, Path]:
    """Return the image files of a folder by stem, in order; note what is left out and why.

    Parameters
    ----------
    folder : Path
    report : ScanReport
    skip : callable (name) -> bool
        Names that are left out without a word.
    """
    files: dict[str, Path] = {}
    folded: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        foreign = foreign_ending(entry.name)
        if skip(entry.name) or (folder == report.root and _is_bad_pixels(entry)):
            continue
        if not check_inside(entry, report):
            continue
        if not entry.exists():
            report.add_problem(entry, "a link to a file that is not there. Copy the file instead.")
        elif foreign:
            said = f"{foreign.upper()} files are not read; {FORMATS} are. {FOREIGN_SUFFIXES[foreign]}"
            report.add_problem(entry, said, foreign)
        elif entry.is_dir() and not is_image_folder(entry):
            report.add_warning(entry, f"a folder inside {folder.name}/ is not read.")
        elif not ending_of(entry.name):
            report.add_warning(entry, f"not read, since its ending is not that of {FORMATS}.")
        else:
            stem = stem_of(entry.name)
            if twin := folded.get(stem.casefold()):
                how = "has the same name as" if stem in files else "differs in upper and lower case only from"
                report.add_problem(entry, f"{how} {twin.name}; evoseg would have to guess the pairs. Rename one.")
            else:
                folded[stem.casefold()] = files[stem] = entry
    return files


_SIDES = {
    "train": ("train", "training", "stage1_train"),
    "selection": ("val", "valid", "validation"),
    "test": ("test", "testing", "stage1_test"),
}
_FEW = 3
"""Files without an image up to which the nearest names are looked for, which takes long."""
_MOST_FOLDERS = 20
SIDE_OF = {word: split for split, words in _SIDES.items() for word in words}
"""The split that a folder's or file's word stands for."""


@dataclass(frozen=True)
class Files:
    """The files of a dataset by stem, and what their arrangement says about splits and groups.

    Attributes
    ----------
    images, known, points : dict of str to Path
    masks : dict of str to MaskSource
    planes : dict of str to dict of str to Path
        Files by stem of each added plane.
    splits : dict of str to tuple of str
        Labelled stems under "train", "selection" and "test", as far as given.
    groups : dict of str to str
        Group of a stem.
    moving : dict of str to Path
        The second image of each pair.
    transforms : PairTable
        True transforms of pairs.
    """

    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, MaskSource] = field(default_factory=dict)
    known: dict[str, Path] = field(default_factory=dict)
    points: dict[str, Path] = field(default_factory=dict)
    planes: dict[str, dict[str, Path]] = field(default_factory=dict)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    moving: dict[str, Path] = field(default_factory=dict)
    transforms: PairTable = NO_TABLE


@dataclass(frozen=True)
class Match:
    """The answer of a layout to the names in a folder.

    Attributes
    ----------
    why : str
        What makes the folder one of this layout, or what it would have needed.
    read : callable (Notes) -> Files, or None
        Lists the files and notes problems; None if the layout does not fit.
    """

    why: str
    read: Callable[[ScanReport], Files] | None = None


@dataclass(frozen=True)
class Layout:
    """A way to arrange a dataset.

    Attributes
    ----------
    name : str
        As people call it.
    match : callable (Path) -> Match
        Never raises for what a folder holds.
    """

    name: str
    match: Callable[[Path], Match]


@dataclass(frozen=True)
class Entry:
    """One image of a layout, with what belongs to it; `split` is "train", "selection", "test" or ""."""

    stem: str
    image: Path
    mask: MaskSource | None = None
    known: Path | None = None
    points: Path | None = None
    split: str = ""
    group: str = ""

    @property
    def labelled(self) -> bool:
        """Whether there is a truth."""
        return self.mask is not None or self.points is not None


def collect_files(entries: Sequence[Entry], report: ScanReport) -> Files:
    """Return entries as files by stem; where two stems are equal, all get the names of their folders before them."""
    stems = _distinct(entries, report)
    files = Files()
    splits: dict[str, list[str]] = {}
    for stem, entry in stems.items():
        files.images[stem] = entry.image
        if entry.mask is not None:
            files.masks[stem] = entry.mask
        if entry.known is not None:
            files.known[stem] = entry.known
        if entry.points is not None:
            files.points[stem] = entry.points
        if entry.group:
            files.groups[stem] = entry.group
        if entry.split and entry.labelled:
            splits.setdefault(entry.split, []).append(stem)
    files.splits.update({split: tuple(sorted(names)) for split, names in splits.items()})
    return files


def _distinct(entries: Sequence[Entry], report: ScanReport) -> dict[str, Entry]:
    names = {entry.image: entry.stem.casefold() for entry in entries}
    plain = len(set(names.values())) == len(names)
    found: dict[str, Entry] = {}
    folded: dict[str, Path] = {}
    for entry in entries:
        stem = entry.stem if plain else _long_stem(entry, report.root)
        if twin := folded.get(stem.casefold()):
            report.add_problem(entry.image, f"would be called {stem}, as {twin} is already. Rename one.")
            continue
        folded[stem.casefold()] = entry.image
        found[stem] = entry
    return dict(sorted(found.items()))


def _long_stem(entry: Entry, root: Path) -> str:
    parts = entry.image.parent.relative_to(root).parts
    return clean_stem("-".join([*(part for part in parts if part not in ("images", entry.stem)), entry.stem]))


def sides(root: Path) -> list[tuple[Path, str]]:
    """Return the folders of splits (train/, test/ ...) with their splits; `root` itself and "" if there are none."""
    found = [(folder, SIDE_OF[folder.name.lower()]) for folder in folders(root) if folder.name.lower() in SIDE_OF]
    return found or [(root, "")]


IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
"""What folders of images are called, in any case; the first goes before the others."""
MASK_FOLDERS = ("masks", "labels", "gt", "annotations")
"""What folders of masks are called, one of them per dataset; they go before those below."""
_MORE_MASK_FOLDERS = frozenset(
    ("mask", "label", "ground_truth", "groundtruth", "ground truth", "truth", "annotation", "seg", "segmentation")
    + ("segmentations", "segmentationclass", "segmentationobject", "manual", "1st_manual", "targets", "target")
)
"""What else they are called, in any case."""


def image_folders(root: Path) -> list[Path]:
    """Return the folder of images in `root`; several if it is not clear which one is meant."""
    first = root / IMAGE_FOLDERS[0]
    return [first] if first.is_dir() else [f for f in folders(root) if f.name.lower() in IMAGE_FOLDERS]


def mask_folders(root: Path) -> list[Path]:
    """Return the folder of masks in `root`; several if it is not clear which one is meant.

    Only masks/ may be without any image: labels/ and annotations/ often hold outlines in files of text.
    """
    usual = [root / name for name in MASK_FOLDERS if (root / name).is_dir()]
    found = [f for f in usual if f.name == MASK_FOLDERS[0] or images_in(f)]
    if found:
        return found
    called = {*MASK_FOLDERS, *_MORE_MASK_FOLDERS}
    return [f for f in folders(root) if f.name.lower() in called and images_in(f)]


def pair_with_images(
    files: Mapping[str, Path], images: Mapping[str, Path], report: ScanReport, word: str = "mask"
) -> dict[str, Path]:
    """Return files under the stems of the images that they belong to.

    Names are equal, or pair by one rule, which is noted. Where files have no image, an error says so.

    Parameters
    ----------
    files, images : dict of str to Path
        By stem.
    word : str
        What the files are.
    """
    found, words = pair_names(list(files), list(images)), f"{word}s".replace("file of points", "files of point")
    if found.rule is not None:
        report.rules.append(found.rule.said(words))
    if found.image_of or not images or not files:
        return {image: files[stem] for stem, image in found.image_of.items()}
    equal = {stem: path for stem, path in files.items() if stem in images}
    if equal or len(files) == 1:
        report_lone(files, images, report, word)
        return equal
    said = why_not(list(files), list(images), words)
    report.add_problem(
        next(iter(files.values())).parent,
        f"no rule gives each {word} an image of its own: {said}. Name {words} as their images, or all of them in "
        f"one way, such as NAME_{word.split()[0]}; or list the pairs in manifest.csv (docs/folders.md).",
    )
    return {}


def report_lone(files: Mapping[str, Path], images: Mapping[str, Path], report: ScanReport, word: str = "mask") -> None:
    """Note an error for each file that is not called as an image."""
    lone = [stem for stem in files if stem not in images]
    for stem in lone:
        near = nearest_name(stem, images) if len(lone) <= _FEW else None
        hint = f"pairs have equal names: does it belong to {images[near].name}?" if near else "pairs have equal names."
        said = f"a {word} without an image; {hint} Rename or remove it, or list the pairs in manifest.csv."
        report.add_problem(files[stem], said, word)


def images_below(root: Path) -> str:
    """Return a sentence that names the subfolders with images; "" if there are none."""
    found = [(f, sum(map(is_image, entries_of(f)))) for f in folders(root)]
    found += [
        (g, sum(map(is_image, entries_of(g))))
        for f in folders(root)[:_MOST_FOLDERS]
        for g in folders(f)[:_MOST_FOLDERS]
    ]
    inner = [f"{folder.relative_to(root)}/ ({n})" for folder, n in found if n]
    return f" Images lie in {'subfolders' if inner[1:] else 'a subfolder'}: {first_few(inner)}." if inner else ""


def folders(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without those that are images; none if it is missing."""
    return [entry for entry in entries_of(root) if entry.is_dir() and not is_image_folder(entry)]


def entries_of(root: Path) -> list[Path]:
    """Return what lies in a folder, sorted and without clutter; nothing if it is missing."""
    return sorted(entry for entry in root.iterdir() if not is_clutter(entry.name)) if root.is_dir() else []
