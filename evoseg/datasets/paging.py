"""Stacks of which every page is an image of its own."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note
from evoseg.datasets.annotations import MaskFile, MaskSource, Scribbles
from evoseg.datasets.folder import Folder
from evoseg.datasets.io.files import list_pages
from evoseg.datasets.io.formats import ending_of
from evoseg.datasets.reading import ALL_PAGES, ReadOptions

Pages = Mapping[tuple[str, str], str]
"""The page to read, by part and stem; files of one page are not in it."""

BLOCKS = 10
"""Groups that the pages of a single stack are divided into: neighbours look alike, so they are not tested apart."""


@dataclass
class _Expanded:
    """What becomes of the files of a folder."""

    files: dict[str, dict[str, Path]]
    masks: dict[str, MaskSource] = field(default_factory=dict)
    stems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pages: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[Note] = field(default_factory=list)


def split_stacks(folder: Folder, reading: ReadOptions) -> tuple[Folder, Pages]:
    """Return a folder in which each page of a stack is an image, called NAME_z07 by its place, if all are asked for.

    Pages of one file are a group, which no split parts; those of a single file are groups of neighbours. Masks, planes
    and known areas of a stack are stacks of as many pages.
    """
    if reading.page != ALL_PAGES:
        return folder, {}
    parts: dict[str, Mapping[str, Path]] = {"image": folder.images, "known": folder.known, "moving": folder.moving}
    parts |= {f"planes/{name}": files for name, files in folder.planes.items()}
    parts["mask"] = {
        stem: mask.path
        for stem, mask in folder.masks.items()
        if isinstance(mask, MaskFile | Scribbles) and ending_of(mask.path.name)
    }
    found = _Expanded({part: {} for part in parts})
    for stem, path in folder.images.items():
        pages = _pages(path, reading)
        new = tuple(f"{stem}_{ending}" for ending in pages) or (stem,)
        found.stems[stem] = new
        for part, files in parts.items():
            if stem in files:
                found.files[part] |= dict.fromkeys(new, files[stem])
                own = pages if part == "image" else _pages(files[stem], reading)
                if len(own) == len(pages):
                    found.pages |= {(part, name): page for name, page in zip(new, own.values(), strict=bool(pages))}
                else:
                    have = f"{max(1, len(own))} page{'s' * (len(own) > 1)}"
                    n_pages = max(1, len(pages))
                    said = f"holds {have}, but its image {path.name} holds {n_pages}. Give both the same number."
                    found.problems.append(Note(files[stem], said, "pages"))
        if stem in folder.masks:
            found.masks |= dict.fromkeys(new, folder.masks[stem])
        others = stem in folder.points or stem in folder.transforms.rows
        whole = (stem in folder.masks and stem not in parts["mask"]) or others
        if pages and whole:
            said = "holds several pages, but outlines, points and shifts belong to images of one. Save a file per page."
            found.problems.append(Note(path, said, "whole"))
    return _with_pages(folder, found), found.pages


def _pages(path: Path, reading: ReadOptions) -> dict[str, str]:
    """Return the pages of a file by their endings; none if it has one only, or cannot be read, which is said later."""
    with suppress(DatasetError):
        return {ending: page.page for ending, page in list_pages(path, reading).items()}
    return {}


def _with_pages(folder: Folder, found: _Expanded) -> Folder:
    groups: dict[str, str] = {}
    several = len(folder.images) > 1
    for stem, new in found.stems.items():
        if several and (stem in folder.card.groups or len(new) > 1):
            groups |= dict.fromkeys(new, folder.card.groups.get(stem, stem))
        elif len(new) > 1:
            groups |= {name: f"{stem} part {i * BLOCKS // len(new)}" for i, name in enumerate(new)}
    splits = {
        split: tuple(name for stem in stems for name in found.stems.get(stem, (stem,)))
        for split, stems in folder.card.splits.items()
    }
    return replace(
        folder,
        card=replace(folder.card, groups=groups, splits=splits),
        images=found.files["image"],
        masks=found.masks,
        known=found.files["known"],
        moving=found.files["moving"],
        planes={name: found.files[f"planes/{name}"] for name in folder.planes},
        problems=tuple(sorted([*folder.problems, *found.problems])),
    )
