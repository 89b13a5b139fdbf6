"""Images, and files of annotation tools that outline their objects, paired with these images."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from evoseg.core.errors import DatasetError, legible
from evoseg.core.notes import Note
from evoseg.core.untrusted import within
from evoseg.datasets.documents import find_file
from evoseg.datasets.io.formats import SUFFIXES, foreign_ending
from evoseg.datasets.layouts.base import (
    SIDE_OF,
    Entry,
    Files,
    Layout,
    Match,
    ScanReport,
    check_inside,
    collect_files,
    entries_of,
    image_folders,
    images_in,
    is_clutter,
    is_image,
    list_images,
    pair_with_images,
    stem_of,
)
from evoseg.datasets.outlines.annotated import Annotated, Outlines
from evoseg.datasets.outlines.cvat import CVAT
from evoseg.datasets.outlines.geojson import GEOJSON
from evoseg.datasets.outlines.label_studio import LABEL_STUDIO
from evoseg.datasets.outlines.labelme import LABELME
from evoseg.datasets.outlines.recognising import ReadableFormat, files_by_ending, folders_within, recognise
from evoseg.datasets.outlines.rois import ROIS
from evoseg.datasets.outlines.supervisely import SUPERVISELY
from evoseg.datasets.outlines.via import VIA
from evoseg.datasets.outlines.yolo import YOLO

_TRIED = 20
"""Number of files per ending and folder that are examined; many may say that there is no object."""
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the names of images that it is given."""

READABLE_FORMATS = (LABELME, VIA, SUPERVISELY, GEOJSON, LABEL_STUDIO, CVAT, ROIS, YOLO)
"""In the order in which they are tried."""


def _match(one: ReadableFormat, root: Path) -> Match:
    """Match folders in which a file of the format lies, up to two folders deep."""
    places = [paths for ending, paths in files_by_ending(root) if ending in one.endings]
    some = (path for paths in places for path in islice(paths, _TRIED))
    if first := next((path for path in some if recognise(path, root, READABLE_FORMATS) is one), None):
        return Match(f"{first.relative_to(root)} is a file of {one.name}", partial(_list, one))
    what = " or ".join(f"*.{ending}" for ending in one.endings)
    return Match(f"needs {what} written by it, in the folder or up to two folders deeper")


LAYOUTS_OF_TOOLS = tuple(Layout(one.name, partial(_match, one)) for one in READABLE_FORMATS)


@dataclass(frozen=True)
class _Found:
    """What a file says about one image, and that image."""

    path: Path
    said: Annotated
    image: Path


def _list(one: ReadableFormat, report: ScanReport) -> Files:
    """List the images that files up to two folders deep annotate, and those beside them that are not annotated."""
    try:
        read = one.reader(report.root)
    except DatasetError as error:
        report.problems.append(Note.of(error, report.root))
        return Files()
    found: dict[Path, _Found] = {}
    beside: dict[Path, None] = {}
    image_folders_of = cache(image_folders)  # thousands of places ask about the same few folders
    for place in folders_within(report.root):
        if not any(path.suffix[1:].lower() in one.endings for path in entries_of(place)):
            continue
        images = _images_of(place, image_folders_of, report) if one.per_image else {}
        places = _places(place, image_folders_of, report.root)
        pairs = list(_paired(one, _read(one, read, place, images, report), places, images, report))
        beside.update(dict.fromkeys(images.values() if pairs else ()))
        for each in pairs:
            if (first := found.setdefault(each.image, each)) is not each:
                where = f"{each.path}: {each.said.where}" if each.said.where else each.path
                report.add_problem(where, f"annotates {each.image.name}, as {first.path.name} does. Keep one.")
    _warn(one, list(found.values()), report)
    entries = [
        Entry(stem_of(image.name), image, Outlines(each.path, image, each.said), split=_split(each, report.root))
        for image, each in found.items()
        if check_inside(image, report)
    ]
    return collect_files(entries + [Entry(stem_of(i.name), i) for i in beside if i not in found], report)


def _read(
    one: ReadableFormat,
    read: Callable[[Path], list[Annotated]],
    place: Path,
    images: Mapping[str, Path],
    report: ScanReport,
) -> Iterator[tuple[Path, Annotated]]:
    """Yield what the files of a folder say."""
    for path in entries_of(place):
        if path.suffix[1:].lower() not in one.endings or path.is_dir() or not check_inside(path, report):
            continue
        # A damaged file may not be recognised; its name says that it is meant.
        if _stem(path) not in images and recognise(path, report.root, READABLE_FORMATS) is not one:
            continue
        try:
            yield from ((path, said) for said in read(path))
        except DatasetError as error:
            report.problems.append(Note.of(error, path))


def _paired(
    one: ReadableFormat,
    read: Iterable[tuple[Path, Annotated]],
    places: Sequence[Path],
    images: Mapping[str, Path],
    report: ScanReport,
) -> Iterator[_Found]:
    """Yield what files say, with the images that they name, or that are called as they are."""
    by_stem: dict[str, tuple[Path, Annotated]] = {}
    for path, said in read:
        image = find_image(said.image, places, report.root) if said.image else None
        if image is not None:
            yield _Found(path, said, image)
        elif not one.per_image:
            report.add_problem(
                f"{path}: {said.where}",
                f"{legible(said.image)}: no such image here, nor in images/. Add it, or take it off the list.",
            )
        elif (twin := by_stem.setdefault(_stem(path), (path, said)))[0] != path:
            report.add_problem(path, f"has the same name as {twin[0].name}. Keep one.")
    files = {stem: path for stem, (path, _) in by_stem.items()}
    for stem, path in pair_with_images(files, images, report, "label file").items():
        yield _Found(path, by_stem[_stem(path)][1], images[stem])
    for path in files.values() if not images else ():
        report.add_problem(path, "there is no image that it outlines. Put the images beside such files, or in images/.")


def _stem(path: Path) -> str:
    """Return the name of a file without its ending; 4.png.json and 4.json are both called 4."""
    stem = stem_of(path.name)
    return stem_of(stem) if Path(stem).suffix[1:].lower() in SUFFIXES else stem


def _images_of(place: Path, image_folders_of: Callable[[Path], list[Path]], report: ScanReport) -> dict[str, Path]:
    """Return the images by stem that the files of a folder may be about.

    They lie in the folder itself, beside it in images/ or at the same place under images/ (as in labels/train/), or
    around it; `image_folders_of` returns the folders of images in a folder.
    """
    around = place.parent if place != report.root else place
    beyond = around.parent if around != report.root else around
    mirrored = (folder / place.name for folder in image_folders_of(beyond))
    at_root = image_folders_of(report.root)
    for folder in (place, *image_folders_of(around), *mirrored, around, *at_root, report.root):
        if images_in(folder):
            return list_images(folder, report, _is_no_image)
    return {}


def _is_no_image(name: str) -> bool:
    return is_clutter(name) or not (is_image(Path(name)) or foreign_ending(name))


def _places(place: Path, image_folders_of: Callable[[Path], list[Path]], root: Path) -> list[Path]:
    """Return where images lie that the files of a folder name: there, in the folder `root`, or in images/ beside."""
    around = [place.parent] if place != root else []
    return list(dict.fromkeys([place, root, *(f for each in (place, root, *around) for f in image_folders_of(each))]))


def find_image(name: str, places: Sequence[Path], root: Path) -> Path | None:
    """Return the image in the folder `root` that a file of annotations names; None if there is none.

    The name may have folders, be a URL, or have what Label Studio adds to it.
    """
    local = name.rpartition("?d=")[2]  # as Label Studio names files of its machine
    whole = unquote(local.rpartition("://")[2]).replace("\\", "/").lstrip("/")
    last = whole.rpartition("/")[2]
    for each in dict.fromkeys((whole, last, _UPLOADED.sub("", last))):
        for place in places if each else ():
            found = find_file(place, each)
            if found is not None and is_image(found) and within(found, root):
                return Path(os.path.normpath(found))
    return None


def _split(found: _Found, root: Path) -> str:
    """Return the split that the file names, or a folder above the image or the file."""
    parts = [
        part.lower()
        for path in (found.image, found.path)
        if path.is_relative_to(root)
        for part in path.relative_to(root).parts[:-1]
    ]
    return found.said.split or next((SIDE_OF[part] for part in parts if part in SIDE_OF), "")


def _warn(one: ReadableFormat, found: Sequence[_Found], report: ScanReport) -> None:
    """Say what is not read, and where outlines may not be outlines."""
    for each in found:
        for what, n in sorted(Counter(each.said.left_out).items()):
            report.add_warning(each.path, f"{n} x {what}, not read.", what)
    n_objects = sum(len(each.said.objects) for each in found)
    if n_objects and sum(each.said.n_boxes for each in found) == n_objects:
        report.add_warning(
            report.root,
            f"all {n_objects} objects are rectangles and are filled. If they are only boxes, outline the objects.",
        )
    for other in READABLE_FORMATS:
        if other is not one and (match := _match(other, report.root)).read is not None:
            report.add_warning(report.root, f"{match.why}, too, which is not read beside {one.name}.")
