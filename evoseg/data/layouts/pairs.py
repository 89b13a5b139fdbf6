"""pairs/fixed/ and pairs/moving/, with equal stems, and the shifts between them in pairs/shifts.csv."""

from pathlib import Path

from evoseg.base.errors import DatasetError
from evoseg.base.notes import Note
from evoseg.data.layouts.layout import Files, Layout, Look
from evoseg.data.listing import Notes, listing
from evoseg.data.shifts import TABLE, shifts_in


def look(root: Path) -> Look:
    """Take folders with pairs/ and no images/."""
    if (root / "pairs").is_dir() and not (root / "images").is_dir():
        return Look("there is pairs/", read)
    return Look("needs pairs/fixed/ and pairs/moving/ with files of equal names, and no images/")


def read(notes: Notes) -> Files:
    """List both images of each pair, and read the table; without one, no pair has a truth."""
    images, moving = _side("fixed", notes), _side("moving", notes)
    for stem in (images.keys() ^ moving.keys()) if images and moving else ():
        lone = images.get(stem) or moving[stem]
        where = "moving" if stem in images else "fixed"
        notes.faults.append(
            Note(lone, f"has no partner in {where}/; pairs have equal names. Add it, or remove this one.")
        )
    return Files(images, moving=moving, shifts=_shifts(images, notes))


LAYOUT = Layout("pairs", look)


def _side(name: str, notes: Notes) -> dict[str, Path]:
    folder = notes.root / "pairs" / name
    files = listing(folder, notes) if folder.is_dir() else {}
    if not files:
        notes.faults.append(
            Note(
                folder,
                "holds no image. Put the first image of each pair in fixed/ and the second, under the same "
                "name, in moving/.",
            )
        )
    return files


def _shifts(images: dict[str, Path], notes: Notes) -> dict[str, tuple[float, float]]:
    table = notes.root / TABLE
    try:
        shifts = shifts_in(table, notes.root) if table.is_file() else {}
    except DatasetError as error:
        notes.faults.append(Note.of(error, table))
        return {}
    for stem in sorted(shifts.keys() - images.keys()) if images else ():
        notes.faults.append(Note(table, f"names {stem}, which is not in fixed/. Correct or remove that line."))
    return shifts
