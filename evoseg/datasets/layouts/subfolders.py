"""Layouts made of folders: images/ and masks/, pairs/, masks or scribbles beside images, StarDist, DSB2018, MVTec."""

from pathlib import Path

from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note, first_few
from evoseg.datasets.annotations import EmptyMask, MaskFile, MaskSource, ObjectFiles, Scribbles
from evoseg.datasets.card import clean_stem
from evoseg.datasets.io.formats import FORMATS
from evoseg.datasets.layouts.base import (
    MASK_FOLDERS,
    SIDE_OF,
    Entry,
    Files,
    Layout,
    Match,
    ScanReport,
    check_inside,
    collect_files,
    entries_of,
    find_bad_pixels,
    folders,
    image_folders,
    images_below,
    images_in,
    is_clutter,
    is_image,
    list_images,
    mask_folders,
    pair_with_images,
    report_lone,
    sides,
    stem_of,
)
from evoseg.datasets.pair_tables import NO_TABLE, PAIR_TABLES, PairTable, read_pair_table
from evoseg.datasets.pairing import Pairs, Rule, pair_by_mask_word

SCRIBBLES = "scribbles"


def match_plain(root: Path) -> Match:
    """Match folders with images/ beside masks, scribbles or points."""
    images = image_folders(root)
    if not images:
        return Match("needs images/, and masks/ with files of equal names")
    beside = [*mask_folders(root), *(root / name for name in (SCRIBBLES, "points") if (root / name).is_dir())]
    if not beside:
        return Match(f"needs masks/ beside {images[0].name}/, with files of equal names")
    return Match(f"{images[0].name}/ lies beside {' and '.join(f'{folder.name}/' for folder in beside)}", list_plain)


def list_plain(report: ScanReport) -> Files:
    """List the files by stem."""
    images = _images(report)
    points = _points(report)
    scribbles = list_images(report.root / SCRIBBLES, report) if (report.root / SCRIBBLES).is_dir() else {}
    masks = _masks(report, bool(images), bool(points or scribbles))
    known = list_images(report.root / "known", report) if (report.root / "known").is_dir() else {}
    _check_apart(masks, images, report)
    masks = pair_with_images(masks, images, report)
    scribbles = pair_with_images(scribbles, images, report, "scribble")
    known = pair_with_images(known, images, report, "known area")
    points = pair_with_images(points, images, report, "file of points")
    planes = _planes(report, images)
    for folder in _complete_sides(report.root) if images else ():
        report.add_warning(
            folder,
            f"not used, since images and masks lie beside {folder.name}/. To use both, move those into train/images/ "
            "and train/masks/.",
        )
    _check_scribbles(scribbles, masks, "mask", report)
    _check_scribbles(scribbles, known, "known area", report)
    return Files(images, _sources(scribbles, masks), known, points, planes)


def _check_scribbles(scribbles: dict[str, Path], other: dict[str, Path], word: str, report: ScanReport) -> None:
    """Refuse images with scribbles and another file that says what is known."""
    for stem in scribbles.keys() & other.keys():
        report.add_problem(
            scribbles[stem],
            f"there is a {word} of it too ({other[stem].parent.name}/), and scribbles say both "
            "what is foreground and what is known. Keep one of them.",
        )


def _sources(scribbles: dict[str, Path], masks: dict[str, Path]) -> dict[str, MaskSource]:
    read: dict[str, MaskSource] = {stem: Scribbles(path) for stem, path in scribbles.items()}
    return read | {stem: MaskFile(path) for stem, path in masks.items()}


PLAIN_LAYOUT = Layout("plain", match_plain)


def _images(report: ScanReport) -> dict[str, Path]:
    found = image_folders(report.root)
    if len(found) > 1:
        report.add_problem(report.root, f"images lie in {_and_in(found)}. Keep one of them.")
    if found:
        images = list_images(found[0], report)
        if not images:
            said = f"holds no image that is read ({FORMATS}).{images_below(found[0])} Put the images there."
            report.add_problem(found[0], said)
        return images
    said = f"there is no images/ folder.{images_below(report.root)} Put the images in images/, their masks in masks/."
    report.add_problem(report.root, said)
    return {}


def _check_apart(masks: dict[str, Path], images: dict[str, Path], report: ScanReport) -> None:
    """Refuse masks that are called as images which are masks themselves, by their names."""
    pairs = pair_by_mask_word(list(images)) if masks and masks.keys() <= images.keys() else Pairs({})
    if pairs.rule is not None and masks.keys() <= pairs.image_of.keys():
        stem = next(iter(masks))
        report.add_problem(
            images[stem].parent,
            f"{images[stem].name} is named like the mask of {images[pairs.image_of[stem]].name}, and like a file "
            "among the masks. Remove masks from among the images, or list the pairs in manifest.csv.",
        )


def _and_in(found: list[Path]) -> str:
    return " and in ".join(f"{folder.name}/" for folder in found)


def _masks(report: ScanReport, any_image: bool, any_other: bool) -> dict[str, Path]:
    found = mask_folders(report.root)
    if len(found) > 1:
        report.add_problem(report.root, f"masks lie in {_and_in(found)}. Keep one of them.")
    if found:
        masks = list_images(found[0], report)
        if not masks and any_image:
            report.add_problem(found[0], "holds no mask. Put masks there, named like their images.")
        return masks
    if not any_other:
        report.add_problem(
            report.root,
            "there is no masks/ folder with a mask per image. Put masks there, with the names of their images "
            "(labels/, gt/ and annotations/ are read, too), scribbles in scribbles/, or the coordinates of objects in "
            "points/, as CSV files.",
        )
    return {}


def _points(report: ScanReport) -> dict[str, Path]:
    """List points/: one CSV file per image."""
    folder = report.root / "points"
    if not folder.is_dir():
        return {}
    files: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if is_clutter(entry.name):
            continue
        if entry.suffix.lower() == ".csv" and entry.is_file() and check_inside(entry, report):
            files[clean_stem(entry.stem)] = entry
        elif entry.suffix.lower() != ".csv":
            report.add_warning(entry, "not read; points must be CSV files.")
    if not files:
        report.add_problem(folder, "holds no CSV file. Put one per image there, named like its image, with y,x lines.")
    return files


def _planes(report: ScanReport, images: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """List planes/NAME/, which has a file for each image, and planes/NAME.*, which is for all of them.

    Every image needs each, since C is the same for the whole dataset.
    """
    folder = report.root / "planes"
    if not folder.is_dir():
        return {}
    planes: dict[str, dict[str, Path]] = {}
    for entry in sorted(folder.iterdir()):
        if is_clutter(entry.name):
            continue
        if is_image(entry):
            if check_inside(entry, report):
                planes[clean_stem(stem_of(entry.name))] = dict.fromkeys(images, entry)
            continue
        if not entry.is_dir():
            said = "not read; planes are images: planes/NAME.* for all images, or one for each in planes/NAME/."
            report.add_warning(entry, said)
            continue
        files = planes[entry.name] = list_images(entry, report)
        for stem in images.keys() - files.keys():
            report.add_problem(images[stem], f"has no plane in planes/{entry.name}/. Add it, or remove that folder.")
        report_lone(files, images, report, "plane")
    return planes


def match_scribbled(root: Path) -> Match:
    """Match folders with images beside scribbles/ or masks/, as the studio leaves a folder of images."""
    masks = root / MASK_FOLDERS[0]
    beside = [root / SCRIBBLES] if (root / SCRIBBLES).is_dir() else []
    beside += [masks] if images_in(masks) else []
    if not beside or not images_in(root):
        return Match(f"needs images beside {SCRIBBLES}/ or {masks.name}/, with files of equal names")
    return Match(f"images lie beside {' and '.join(f'{folder.name}/' for folder in beside)}", list_scribbled)


def list_scribbled(report: ScanReport) -> Files:
    """List the images in the folder itself, with their scribbles, masks and known areas."""
    images = list_images(report.root, report, lambda name: not is_image(Path(name)))
    scribbles, masks, known = (
        pair_with_images(list_images(folder, report) if folder.is_dir() else {}, images, report, word)
        for folder, word in (
            (report.root / SCRIBBLES, "scribble"),
            (report.root / MASK_FOLDERS[0], "mask"),
            (report.root / "known", "known area"),
        )
    )
    _check_scribbles(scribbles, masks, "mask", report)
    _check_scribbles(scribbles, known, "known area", report)
    return Files(images, _sources(scribbles, masks), known)


SCRIBBLED = Layout("images beside scribbles or masks", match_scribbled)


def match_pairs(root: Path) -> Match:
    """Match folders with pairs/ and no images/."""
    if (root / "pairs").is_dir() and not (root / "images").is_dir():
        return Match("there is pairs/", list_pairs)
    return Match("needs pairs/fixed/ and pairs/moving/ with files of equal names, and no images/")


def list_pairs(report: ScanReport) -> Files:
    """List both images of each pair, and read the table; without one, no pair has a truth."""
    images, moving = _side("fixed", report), _side("moving", report)
    for stem in (images.keys() ^ moving.keys()) if images and moving else ():
        lone = images.get(stem) or moving[stem]
        where = "moving" if stem in images else "fixed"
        report.add_problem(lone, f"has no partner in {where}/; pairs have equal names. Add it, or remove this one.")
    if (unused := find_bad_pixels(report)) is not None:
        report.add_warning(unused, "not used, since bad pixels cannot be left out of pairs of images.")
    return Files(images, moving=moving, transforms=_transforms(images, report))


PAIRS = Layout("pairs", match_pairs)


def _side(name: str, report: ScanReport) -> dict[str, Path]:
    folder = report.root / "pairs" / name
    files = list_images(folder, report) if folder.is_dir() else {}
    if not files:
        report.add_problem(
            folder,
            "holds no image. Put the first image of each pair in fixed/ and the second, under the same "
            "name, in moving/.",
        )
    return files


def _transforms(images: dict[str, Path], report: ScanReport) -> PairTable:
    tables = [table for name in PAIR_TABLES if (table := report.root / name).is_file()]
    if len(tables) > 1:
        report.add_problem(tables[1], f"says what {tables[0].name} says, too. Keep one of them.")
    try:
        found = read_pair_table(tables[0], report.root) if tables else NO_TABLE
    except DatasetError as error:
        report.problems.append(Note.of(error, tables[0]))
        return NO_TABLE
    for stem in sorted(found.rows.keys() - images.keys()) if images else ():
        report.add_problem(found.path, f"names {stem}, which is not in fixed/. Correct or remove that line.")
    return found


def match_beside(root: Path) -> Match:
    """Match folders whose file names tell masks from images."""
    for folder, _ in _places(root):
        if (rule := _rule_in(folder)) is not None:
            return Match(f"in {folder.name or 'the folder'}/ {rule.said()}", list_beside)
    return Match("needs NAME_mask.* (or _label, _seg, _gt ...) beside NAME.*, one mask per image")


def list_beside(report: ScanReport) -> Files:
    """List images and masks of every side."""
    entries: list[Entry] = []
    for folder, split in _places(report.root):
        files = list_images(folder, report, _is_no_file)
        pairs = pair_by_mask_word(list(files))
        if pairs.rule is not None:
            report.rules.append(pairs.rule.said())
        masks = {image: MaskFile(files[mask]) for mask, image in pairs.image_of.items()}
        entries += [
            Entry(stem, path, masks.get(stem), split=split)
            for stem, path in files.items()
            if stem not in pairs.image_of
        ]
    return collect_files(entries, report)


BESIDE = Layout("masks beside images", match_beside)


def _rule_in(folder: Path) -> Rule | None:
    """Return the rule by which the names in a folder tell masks from images."""
    return pair_by_mask_word([stem_of(image.name) for image in images_in(folder)]).rule


def _is_no_file(name: str) -> bool:
    return is_clutter(name) or name.lower() in {*SIDE_OF, "dataset.yaml"}


def _places(root: Path) -> list[tuple[Path, str]]:
    """Return the folders where images may lie: sides, and the folder itself or images/ in it.

    Masks and images beside a folder test/ are for training, as in the layout of Cellpose.
    """
    here = [root] if images_in(root) else image_folders(root)
    found = sides(root)
    if found[0][0] == root:
        return [(folder, "") for folder in here]
    return [*found, *((folder, "train") for folder in here if _rule_in(folder) is not None)]


def _complete_sides(root: Path) -> list[Path]:
    """Return the folders of splits that hold images and masks in folders."""
    return [f for f, split in sides(root) if split and image_folders(f) and mask_folders(f)]


def match_stardist(root: Path) -> Match:
    """Match folders of splits with images/ and masks/ in at least one."""
    found = [(image_folders(f)[0], mask_folders(f)[0]) for f in _complete_sides(root)]
    if not found:
        return Match("needs train/images/ and train/masks/, and the same in test/")
    return Match(" and ".join(f"{a.parent.name}/ holds {a.name}/ and {b.name}/" for a, b in found), list_stardist)


def list_stardist(report: ScanReport) -> Files:
    """List the images of every split."""
    entries = []
    for folder, split in sides(report.root):
        places, truths = image_folders(folder), mask_folders(folder)
        if not places:
            report.add_warning(folder, "not read, since it holds no images/.")
            continue
        if max(len(places), len(truths)) > 1:
            said = " and in ".join(f"{one.name}/" for one in (places if len(places) > 1 else truths))
            report.add_problem(folder, f"images or masks lie in {said}. Keep one of them.")
        images = list_images(places[0], report)
        masks = pair_with_images(list_images(truths[0], report), images, report) if truths else {}
        entries += [
            Entry(stem, path, MaskFile(masks[stem]) if stem in masks else None, split=split)
            for stem, path in images.items()
        ]
    return collect_files(entries, report)


STARDIST = Layout("StarDist", match_stardist)


def match_dsb(root: Path) -> Match:
    """Match folders whose folders hold images/ and masks/, or lie in train/ or stage1_train/."""
    n = sum((sample / "masks").is_dir() for side, _ in sides(root) for sample in _samples(side))
    if not n:
        return Match("needs a folder per image, with images/ and masks/ in each")
    return Match(f"{n} folders hold images/ and masks/ each", list_dsb)


def list_dsb(report: ScanReport) -> Files:
    """List the samples, named as their folders."""
    entries = []
    for side, split in sides(report.root):
        for sample in _samples(side):
            images = list_images(sample / "images", report)
            if len(images) != 1:
                report.add_problem(
                    sample / "images", f"holds {len(images)} images; a folder per image holds one. Move the others."
                )
                continue
            (image,) = images.values()
            entries.append(Entry(clean_stem(sample.name), image, _objects(sample / "masks", report), split=split))
    return collect_files(entries, report)


DSB = Layout("DSB2018", match_dsb)


def _samples(folder: Path) -> list[Path]:
    return [sample for sample in folders(folder) if (sample / "images").is_dir()]


def _objects(folder: Path, report: ScanReport) -> MaskSource | None:
    if not folder.is_dir():
        return None
    files = tuple(list_images(folder, report).values())
    if files:
        return ObjectFiles(folder, files)
    report.add_problem(
        folder,
        "contains no mask, so it is unclear whether there is no object or the image is not labelled. Add a mask of "
        "zeros, or remove the folder.",
    )
    return None


_GOOD = "good"
_TRUTHS = "ground_truth"


def match_mvtec(root: Path) -> Match:
    """Match folders with ground_truth/ beside test/, or with good/ in a folder of a split."""
    kinds = [kind for side, split in sides(root) if split for kind in folders(side)]
    defects = [kind.name for kind in kinds if kind.name != _GOOD]
    truths = (root / _TRUTHS).is_dir()
    if not kinds or not (truths or len(defects) < len(kinds)):
        return Match("needs train/good/, test/DEFECT/ and ground_truth/DEFECT/")
    # Folders of samples with images/ in them are another layout.
    if not any(map(is_image, (entry for kind in kinds for entry in entries_of(kind)))):
        return Match("needs images in train/good/ and test/DEFECT/")
    return Match(
        f"ground_truth/ has masks for test/{first_few(defects)}" if truths else "there is a folder good/", list_mvtec
    )


def list_mvtec(report: ScanReport) -> Files:
    """List images by side and defect; their names are made of all three, since numbers begin anew in each folder."""
    entries: list[Entry] = []
    truths = {kind.name: _truths(kind, report) for kind in folders(report.root / _TRUTHS)}
    owner: dict[tuple[str, str], Path] = {}
    for side, split in sides(report.root):
        for kind in folders(side):
            masks = truths.get(kind.name, {})
            for stem, path in list_images(kind, report).items():
                mask = EmptyMask(path) if kind.name == _GOOD else masks.get(stem)
                if stem in masks and (other := owner.setdefault((kind.name, stem), path)) != path:
                    report.add_problem(masks[stem].path, f"may belong to {other} or to {path}. Rename one of them.")
                entries.append(Entry(f"{side.name}-{kind.name}-{stem}", path, mask, split=split))
    for name, masks in truths.items():
        for stem in masks.keys() - {stem for kind, stem in owner if kind == name}:
            report.add_problem(masks[stem].path, f"a mask without an image in test/{name}/. Rename or remove it.")
    return collect_files(entries, report)


MVTEC = Layout("MVTec", match_mvtec)


def _truths(kind: Path, report: ScanReport) -> dict[str, MaskSource]:
    """List the masks of a defect: NAME_mask.*, or, as in MVTec LOCO, a folder NAME/ with several parts."""
    masks: dict[str, MaskSource] = {}
    parts = folders(kind)
    for stem, path in list_images(kind, report, lambda name: name in {part.name for part in parts}).items():
        masks[stem.removesuffix("_mask")] = MaskFile(path)
    for part in parts:
        if files := tuple(list_images(part, report).values()):
            masks[part.name] = ObjectFiles(part, files, numbered=False)
    return masks
