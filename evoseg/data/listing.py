"""The names in a folder: which are images, by stem; what is skipped, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from evoseg.base.notes import Note
from evoseg.base.untrusted import within
from evoseg.data.card import clean_stem
from evoseg.data.formats import FOREIGN_SUFFIXES, FORMATS, SUFFIXES, foreign_ending

_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass
class Notes:
    """Errors, warnings and rules by which names pair, of the folder `root`, as they are found."""

    root: Path
    faults: list[Note] = field(default_factory=list)
    warnings: list[Note] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


def stem_of(name: str) -> str:
    """Return a file name without its ending; that of OME-TIFF is two words."""
    stem = Path(name).stem
    if Path(name).suffix.lower() in (".tif", ".tiff") and stem.lower().endswith(".ome"):
        stem = stem[:-4]
    return clean_stem(stem)


def clutter(name: str) -> bool:
    """Return whether a file is one that systems and programs leave behind."""
    return name.startswith(".") or name.lower() in _CLUTTER


def is_image(path: Path) -> bool:
    """Return whether a name is that of an image that is read."""
    return path.suffix[1:].lower() in SUFFIXES and not clutter(path.name)


def inside(entry: Path, notes: Notes) -> bool:
    """Return whether a file lies in the dataset's folder, after its links; else note a fault."""
    if within(entry, notes.root):
        return True
    notes.faults.append(Note(entry, "a link out of the dataset's folder. Copy the file instead."))
    return False


def listing(folder: Path, notes: Notes, skip: Callable[[str], bool] = clutter) -> dict[str, Path]:
    """Return the image files of a folder by stem, in order; note what is left out and why.

    Parameters
    ----------
    folder : Path
    notes : Notes
    skip : callable (name) -> bool
        Names that are left out without a word.
    """
    files: dict[str, Path] = {}
    folded: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        ending, foreign = entry.suffix[1:].lower(), foreign_ending(entry.name)
        if skip(entry.name):
            continue
        if not inside(entry, notes):
            continue
        if not entry.exists():
            notes.faults.append(Note(entry, "a link to a file that is not there. Copy the file instead."))
        elif foreign:
            said = f"{foreign.upper()} files are not read; {FORMATS} are. {FOREIGN_SUFFIXES[foreign]}"
            notes.faults.append(Note(entry, said, foreign))
        elif entry.is_dir():
            notes.warnings.append(Note(entry, f"a folder inside {folder.name}/ is not read."))
        elif ending not in SUFFIXES:
            notes.warnings.append(Note(entry, f"not read, since its ending is not that of {FORMATS}."))
        else:
            stem = stem_of(entry.name)
            if twin := folded.get(stem.casefold()):
                how = "has the same name as" if stem in files else "differs in upper and lower case only from"
                notes.faults.append(Note(entry, f"{how} {twin.name}; pairs would be a guess. Rename one."))
            else:
                folded[stem.casefold()] = files[stem] = entry
    return files
