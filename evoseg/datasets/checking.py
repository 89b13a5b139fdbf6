"""Check a dataset: all problems of a folder at once, and what it contains."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evoseg.core.deprecation import warn_deprecated
from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, legible
from evoseg.core.notes import Note, group_notes, name_some, one_line
from evoseg.datasets.card import DatasetCard
from evoseg.datasets.dataset import Dataset, summarise_problems
from evoseg.datasets.folder import Folder, scan
from evoseg.datasets.imageformat import named_channels, same_size, sides_in_um
from evoseg.datasets.meaning import BINARY
from evoseg.datasets.outlines.annotated import count_classes
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.sources import FolderSource
from evoseg.datasets.splits import Splits, near_duplicates, split_facts, straddling, strokes_among
from evoseg.datasets.survey import ImageFacts, Survey, common_pixel_size, infer_task, survey, warn_of_touching

_NEARLY_FULL, _MOSTLY = 0.95, 0.75
_LISTED = 8


@dataclass(frozen=True)
class Report:
    """The result of checking a dataset's folder.

    Attributes
    ----------
    root : Path
    problems : tuple of str
        What keeps the dataset from being used: file, what is wrong, what to do. Paths are relative to `root`. Errors
        that say the same of several files are one line, with their number and the first three names.
    warnings : tuple of str
        What a person should know; grouped as the errors are.
    card : dict
        The words of `dataset.yaml` and the figures of images and masks, ready for JSON; `digests` holds the sha256 of
        each part by stem, `digest` sums them up.
    layout, because : str
        The detected layout, and the reason; "" if no layout fits.
    lacking : dict of str to str
        What is missing for each layout, if none fits.
    pairing : tuple of str
        The rules by which masks and images pair, where their names are not equal.
    splits : Splits or None
        What a search would use; None if problems prevent it.
    """

    root: Path
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    card: dict[str, Any]
    splits: Splits | None
    layout: str
    because: str
    lacking: dict[str, str]
    pairing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the dataset can be used."""
        return not self.problems

    @property
    def faults(self) -> tuple[str, ...]:
        """The old name of `problems`."""
        warn_deprecated("Report.faults", "Report.problems")
        return self.problems

    def as_json(self) -> dict[str, Any]:
        """Return everything as values that JSON knows."""
        splits = {name: list(stems) for name, stems in vars(self.splits).items()} if self.splits else None
        return {
            "dataset": str(self.root),
            "ok": self.ok,
            "layout": {"name": self.layout, "because": self.because, "lacking": self.lacking},
            "pairing": list(self.pairing),
            "faults": list(self.problems),
            "warnings": list(self.warnings),
            "card": self.card,
            "splits": splits,
        }

    def __str__(self) -> str:
        return "\n".join(map(one_line, _lines(self)))


def check(data: str | Path | Dataset, reading: ReadOptions = DEFAULT_OPTIONS) -> Report:
    """Read every file of a dataset once and list every problem.

    Parameters
    ----------
    data : path or Dataset
    reading : ReadOptions
        Which page of its files, and which channels; a `Dataset` knows that itself.

    Raises
    ------
    DatasetError
        Only if the path is missing or not a folder, or the dataset holds arrays.
    """
    if isinstance(data, Dataset):
        return report_on(data)
    source = FolderSource(scan(expand(data)), reading)
    return _report(source, survey(source))


def open_dataset(path: str | Path, reading: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Open a dataset and raise if it has problems; every file is read once, and the results are kept (`survey`).

    Parameters
    ----------
    path : path
    reading : ReadOptions
        Which page of its files, and which channels.

    Raises
    ------
    DatasetError
        One error with the first few problems of the folder.
    """
    dataset = Dataset(path, reading)
    report = report_on(dataset)
    if report.problems:
        raise DatasetError(summarise_problems(report.root, report.problems))
    return dataset


def report_on(dataset: Dataset) -> Report:
    """Return what `check` says of a dataset that was opened from a folder; its files are not read a second time."""
    if not isinstance(dataset.source, FolderSource):
        raise DatasetError(
            "only datasets in folders can be checked; arrays are checked when the dataset is built from them."
        )
    return _report(dataset.source, dataset.survey)


def _report(source: FolderSource, found: Survey) -> Report:
    folder = source.folder
    labelled = [fact for fact in found.facts.values() if fact.labelled]
    unclear = bool(found.decision.unclear)
    problems = [*folder.problems, *found.problems, *([] if unclear else _mask_problems(folder, labelled))]
    notes = [note for fact in found.facts.values() for note in fact.notes]
    warnings: list[str] = [*folder.warnings, *found.decision.warnings, *notes]
    splits = None
    if not problems and labelled:
        try:
            splits = split_facts(found.facts, folder.card)
        except DatasetError as error:
            drawn = " Or write `splits: draw` into dataset.yaml: the test is then drawn from all images."
            given = folder.splits_of_layout and "test" in folder.card.splits
            problems.append(Note("", f"{error}{drawn * given}"))
    warnings += _warnings(folder, found, labelled, splits)
    return Report(
        folder.root,
        group_notes(problems, folder.root),
        group_notes(warnings, folder.root),
        _card(folder.card, found, labelled, len(folder.images)) | _classes(source),
        splits,
        folder.layout,
        folder.because,
        folder.lacking,
        folder.pairing,
    )


def _mask_problems(folder: Folder, labelled: Sequence[ImageFacts]) -> list[Note]:
    problems = []
    if labelled and not any(fact.n_foreground for fact in labelled):
        truths = "masks" if folder.masks else "lists of points"
        problems.append(
            Note(
                folder.root,
                f"all {len(labelled)} {truths} are empty, so there is nothing to find. Check how they were exported.",
            )
        )
    for fact in labelled:
        if not fact.n_known:
            mask = folder.masks.get(fact.stem)
            where = folder.known.get(fact.stem) or (mask.path if mask else folder.images[fact.stem])
            problems.append(Note(where, "no pixel is known, so nothing could be scored. Remove or redraw it."))
    return problems


def _warnings(folder: Folder, found: Survey, labelled: Sequence[ImageFacts], splits: Splits | None) -> list[str]:
    warnings: list[str] = []
    full = [fact for fact in labelled if fact.tally is not None and fact.n_foreground > _NEARLY_FULL * fact.n_known > 0]
    # Where most masks are, that was said of all of them; classes and objects may cover all.
    odd = found.decision.meaning.task == BINARY and len(full) < _MOSTLY * len(labelled)
    for fact in full if odd else ():
        share = 100 * fact.n_foreground / fact.n_known
        warnings.append(Note(folder.masks[fact.stem].path, f"{share:.0f} % is foreground; is the mask inverted?"))
    if warning := warn_of_touching(found.facts, infer_task(found, folder.card).task):
        warnings.append(warning)
    truths = folder.masks.keys() | folder.points.keys() | folder.transforms.rows.keys()
    unlabelled = [stem for stem in folder.images if stem not in truths]
    if unlabelled and truths:
        some, them = ("1 image has", "it") if len(unlabelled) == 1 else (f"{len(unlabelled)} images have", "them")
        warnings.append(f"{some} no mask, so nothing is scored on {them}: {name_some(unlabelled, _LISTED)}.")
    dtypes = Counter(fact.dtype for fact in found.facts.values())
    if len(dtypes) > 1:
        mixed = " and ".join(f"{n} are {dtype}" for dtype, n in sorted(dtypes.items()))
        warnings.append(
            f"pixel types are mixed ({mixed}); thresholds in native units will not mean the same in all images."
        )
    warnings += _warn_of_pixel_sizes(folder.card.pixel_size, found)
    if splits is None:
        return warnings
    if "test" not in folder.card.splits and (to_select := folder.card.splits.get("selection")):
        some = "1 image is" if len(to_select) == 1 else f"{len(to_select)} images are"
        warnings.append(
            f"{some} for validation (val) and none for the test, so this division is not used, and test images are "
            "drawn from all images. To test on these instead, call them or their folder test."
        )
    used = {*splits.search, *splits.selection, *splits.test}
    strokes = strokes_among(found.facts)
    given = [stem for name in ("test", "selection") for stem in folder.card.splits.get(name, ()) if stem in strokes]
    if given:
        warnings.append(
            f"images with scribbles are named as test or selection images and are left out of these ({len(given)}): "
            f"{name_some(given, _LISTED)}. Only completely labelled images are used for these."
        )
    if splits.test and not splits.search:
        warnings.append(
            f"all {len(splits.test)} images are test images: pipelines can be scored here, but not searched for."
        )
    if splits.test and all(found.facts[stem].partly for stem in splits.test if stem in found.facts):
        warnings.append(
            "the test images only have scribbles, so test scores are computed on these and not on full masks."
        )
    if unused := [fact.stem for fact in labelled if fact.stem not in {*used, *given}]:
        named = name_some(unused, _LISTED)
        warnings.append(f"{len(unused)} labelled images are in no split and are not used: {named}.")
    twins = near_duplicates([fact for fact in found.facts.values() if fact.stem in used])
    for a, b in straddling(splits, twins):
        warnings.append(
            Note(f"{a} and {b}", "nearly the same picture, in different splits; the test score will be optimistic.")
        )
    if not splits.test:
        n, kind = len(labelled) - len(strokes), "completely labelled images" if strokes else "labelled images"
        warnings.append(
            f"too few {kind} ({n}), or too many near-duplicates, to hold any out: there will be no test score."
        )
    return warnings


def _warn_of_pixel_sizes(said: str, found: Survey) -> list[str]:
    """Warn of pixels that are not square, and if files disagree with one another or with `dataset.yaml`."""
    sizes = sorted({fact.pixel_size for fact in found.facts.values()} - {""}, key=lambda size: sides_in_um(size) or ())
    agreed = said or common_pixel_size(found)
    wanted = sides_in_um(agreed)
    warnings = []
    if wanted and wanted[0] != wanted[1]:
        warnings.append(
            f"pixels are not square ({legible(agreed)}, height x width), and filters count in pixels, so a length is "
            "not the same along rows and columns. If that matters, resample the images to square pixels."
        )
    listed = " to ".join(dict.fromkeys((sizes[0], sizes[-1]))) if sizes else ""
    if sizes and not agreed:
        unknown = " or unknown" if any(not fact.pixel_size for fact in found.facts.values()) else ""
        differ = f"the pixel size differs between files ({listed}{unknown}), so lengths in a pipeline, which are in "
        warnings.append(
            f"{differ}pixels, do not mean the same in all images. Resample the images, or search on those of one size."
        )
    if said and wanted and not all(same_size(sides_in_um(size) or (0, 0), wanted, within=0.05) for size in sizes):
        warnings.append(
            f"dataset.yaml says that pixels are {legible(said)}, but files say {listed}. The size in dataset.yaml is "
            "used."
        )
    return warnings


def _card(words: DatasetCard, found: Survey, labelled: Sequence[ImageFacts], n_files: int) -> dict[str, Any]:
    """Return the entries of dataset.yaml, then statistics of images and masks, as values that JSON knows."""
    facts = list(found.facts.values())
    card: dict[str, Any] = {key: value for key, value in vars(words).items() if isinstance(value, str) and value}
    names = named_channels(found.channels, [fact.traits for fact in facts])
    card |= {"n_images": len(facts), "n_labelled": len(labelled), "channels": list(names)}
    if n_files > len(facts):
        card["n_unusable"] = n_files - len(facts)
    if found.equal_channels:
        card["equal_channels"] = [[names[i] for i in places] for places in found.equal_channels]
    if facts:
        card["sizes"] = {f"{m}x{n}": count for (m, n), count in Counter(fact.shape for fact in facts).most_common()}
        card["dtypes"] = dict(Counter(fact.dtype for fact in facts))
        card["values"] = [min(fact.low for fact in facts), max(fact.high for fact in facts)]
        card |= {"pixel_size": size} if (size := words.pixel_size or common_pixel_size(found)) else {}
    if labelled:
        task = infer_task(found, words)
        card |= {} if found.decision.unclear else {"task": task.task, "task_because": task.why}
        if masks := [fact for fact in labelled if fact.tally is not None]:
            card |= _mask_figures(masks)
        elif task.task != "registration" and not found.decision.unclear:
            card["points_per_image"] = {"median": float(np.median([fact.n_foreground for fact in labelled]))}
    if found.decision.rows:
        card["mask_values"] = [row._asdict() for row in found.decision.rows]
    card["digests"] = {fact.stem: fact.digests for fact in facts}
    card["digest"] = found.digest
    return card


def _classes(source: FolderSource) -> dict[str, Any]:
    """Return the classes of outlines, with their numbers of objects and whether they are read."""
    counts = count_classes(source.folder.masks)
    chosen = source.reading.class_names or counts
    listed = [{"name": name, "n_objects": n, "read": name in chosen} for name, n in counts.items()]
    return {"outline_classes": listed} if listed else {}


def _mask_figures(labelled: Sequence[ImageFacts]) -> dict[str, Any]:
    shares = [fact.n_foreground / max(fact.n_known, 1) for fact in labelled]
    areas = np.concatenate([fact.areas for fact in labelled])
    return {
        "known_share": sum(fact.n_known for fact in labelled) / sum(math.prod(fact.shape) for fact in labelled),
        "foreground_share": {"mean": float(np.mean(shares)), "min": min(shares), "max": max(shares)},
        "n_empty_masks": sum(not fact.n_foreground for fact in labelled),
        "objects_per_image": {"median": float(np.median([len(fact.areas) for fact in labelled if fact.whole] or [0]))},
        "object_area_px": {"median": float(np.median(areas)) if len(areas) else 0.0},
    }


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of the table that says what each value or colour of the masks means."""
    if not rows:
        return []
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in ("value", "taken_for")]
    heads = f"{'value':<{widths[0]}}  {'meaning':<{widths[1]}}   share  why"
    lines = [
        f"{row['value']:<{widths[0]}}  {row['taken_for']:<{widths[1]}}  {100 * row['share']:4.1f} %  {row['why']}"
        for row in rows
    ]
    return ["  masks:", *(f"    {line}".rstrip() for line in (heads, *lines))]


def _counted(n: float, word: str) -> str:
    return f"{n:g} {word}" if n == 1 else f"{n:g} {word}s"


def _lines(report: Report) -> list[str]:
    """Return the lines of a report, for a terminal."""
    card = report.card
    lines = [f"{report.root}: {card.get('title', '')}".rstrip(": ")]
    if report.layout:
        lines.append(f"  layout: {report.layout}, because {report.because}")
        lines += [f"  pairs: {rule}" for rule in report.pairing]
    else:
        lines.append("  layout: not recognised; docs/folders.md describes each")
        lines += [f"    {name} {why}" for name, why in report.lacking.items()]
    more = f" and {n} that cannot be used" if (n := card.get("n_unusable", 0)) else ""
    counts = f"{card['n_images']} images{more}, {card['n_labelled']} labelled"
    lines.append(f"  {counts}{'; channels ' * bool(card['channels'])}{', '.join(card['channels'])}")
    for names in card.get("equal_channels", ()):
        lines.append(f"  {', '.join(names)} are equal in all images and are read as one")
    if "sizes" in card:
        low, high = card["values"]
        sizes = list(card["sizes"])
        size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes, most often {sizes[0]}"
        each = f", pixels of {card['pixel_size']}" if "pixel_size" in card else ""
        lines.append(f"  {size} pixels, {' and '.join(card['dtypes'])}, values {low:g} to {high:g}{legible(each)}")
    lines += _table(card.get("mask_values", ()))
    if classes := card.get("outline_classes"):
        listed = [
            f"{c['name']} ({_counted(c['n_objects'], 'object')}{', not read' * (not c['read'])})" for c in classes
        ]
        lines.append(f"  classes: {name_some(listed, _LISTED)}")
    if "foreground_share" in card:
        share = card["foreground_share"]
        line = f"  foreground {100 * share['mean']:.1f} % of an image on average, from {100 * share['min']:.1f} to "
        line += f"{100 * share['max']:.1f} %; {_counted(card['n_empty_masks'], 'empty mask')}"
        if n_objects := card["objects_per_image"]["median"]:
            line += f"; median {_counted(n_objects, 'object')} per image, {card['object_area_px']['median']:g} px"
        lines.append(line)
        if card["known_share"] < 1:
            lines.append(f"  {100 * card['known_share']:.1f} % of the pixels are known, and only these are scored")
    if "points_per_image" in card:
        lines.append(f"  {card['points_per_image']['median']:g} points per image (median)")
    if "task_because" in card:
        lines.append(f"  task: {card['task']}, because {card['task_because']}")
    if report.splits:
        sizes_of = ", ".join(f"{len(stems)} {name}" for name, stems in vars(report.splits).items())
        lines.append(f"  splits: {sizes_of}")
    # Only the message about unclear masks has several lines.
    lines += [line for message in report.problems for line in f"error: {message}".split("\n")]
    lines += [f"warning: {message}" for message in report.warnings]
    lines.append("No errors." if report.ok else "This dataset cannot be used until its errors are corrected.")
    return lines
