"""Everything that is wrong with a dataset's folder, at once, and what is in it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evoseg.base.errors import DatasetError
from evoseg.base.notes import Note, grouped, one_line
from evoseg.data.asked import asked, touching
from evoseg.data.card import DatasetCard
from evoseg.data.dataset import Dataset, first_faults
from evoseg.data.folder import Folder, scan
from evoseg.data.meaning import BINARY
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.sources import FolderSource
from evoseg.data.splits import Splits, near_duplicates, split_facts, straddling, strokes_among
from evoseg.data.survey import ImageFacts, Survey, survey

_NEARLY_FULL, _MOSTLY = 0.95, 0.75
_LISTED = 8


@dataclass(frozen=True)
class Report:
    """What a dataset's folder holds.

    Attributes
    ----------
    root : Path
    faults : tuple of str
        What keeps the dataset from being used: file, what is wrong, what to do. Paths are relative to `root`. Errors
        that say the same of several files are one line, with their number and the first three names.
    warnings : tuple of str
        What a person should know; grouped as the errors are.
    card : dict
        The words of `dataset.yaml` and the figures of images and masks, ready for JSON; `digests` holds the sha256 of
        each part by stem, `digest` sums them up.
    layout, because : str
        What the folder was taken for, and why; no layout is "".
    lacking : dict of str to str
        What each layout would have needed, if none fits.
    pairing : tuple of str
        The rules by which masks and images pair, where their names are not equal.
    splits : Splits or None
        What a search would use; None if faults prevent it.
    """

    root: Path
    faults: tuple[str, ...]
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
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Return everything as values that JSON knows."""
        splits = {name: list(stems) for name, stems in vars(self.splits).items()} if self.splits else None
        return {
            "dataset": str(self.root),
            "ok": self.ok,
            "layout": {"name": self.layout, "because": self.because, "lacking": self.lacking},
            "pairing": list(self.pairing),
            "faults": list(self.faults),
            "warnings": list(self.warnings),
            "card": self.card,
            "splits": splits,
        }

    def __str__(self) -> str:
        return "\n".join(map(one_line, _lines(self)))


def check(path: str | Path, reading: Reading = PLAIN) -> Report:
    """Read every file of a dataset once and list every fault.

    Parameters
    ----------
    path : path
    reading : Reading
        Which page of its files, and which channels.

    Raises
    ------
    DatasetError
        Only if `path` is missing or not a folder.
    """
    root = Path(path)
    folder = scan(root)
    return _report(folder, survey(FolderSource(folder, reading)))


def open_dataset(path: str | Path, reading: Reading = PLAIN) -> Dataset:
    """Open a dataset that has no fault; every file is read once, and the dataset keeps what was found (`survey`).

    Parameters
    ----------
    path : path
    reading : Reading
        Which page of its files, and which channels.

    Raises
    ------
    DatasetError
        One error with the first few faults of the folder.
    """
    dataset = Dataset(path, reading)
    report = report_of(dataset)
    if report.faults:
        raise DatasetError(first_faults(report.root, report.faults))
    return dataset


def report_of(dataset: Dataset) -> Report:
    """Return what `check` says of a dataset that was opened from a folder; its files are not read a second time."""
    assert isinstance(dataset.source, FolderSource)
    return _report(dataset.source.folder, dataset.survey)


def _report(folder: Folder, found: Survey) -> Report:
    labelled = [fact for fact in found.facts.values() if fact.labelled]
    unclear = bool(found.decision.unclear)
    faults = [*folder.faults, *found.faults, *([] if unclear else _mask_faults(folder, labelled))]
    notes = [note for fact in found.facts.values() for note in fact.notes]
    warnings: list[str] = [*folder.warnings, *found.decision.warnings, *notes]
    splits = None
    if not faults and labelled:
        try:
            splits = split_facts(found.facts, folder.card)
        except DatasetError as error:
            drawn = " Or write `splits: draw` into dataset.yaml: the test is then drawn from all images."
            faults.append(Note("", f"{error}{drawn * folder.splits_of_layout}"))
    warnings += _warnings(folder, found, labelled, splits)
    return Report(
        folder.root,
        grouped(faults, folder.root),
        grouped(warnings, folder.root),
        _card(folder.card, found, labelled),
        splits,
        folder.layout,
        folder.because,
        folder.lacking,
        folder.pairing,
    )


def _mask_faults(folder: Folder, labelled: Sequence[ImageFacts]) -> list[Note]:
    faults = []
    if labelled and not any(fact.n_foreground for fact in labelled):
        truths = "masks" if folder.masks else "lists of points"
        faults.append(
            Note(
                folder.root,
                f"all {len(labelled)} {truths} are empty, so there is nothing to find. Check how they were exported.",
            )
        )
    for fact in labelled:
        if not fact.n_known:
            where = folder.known[fact.stem] if fact.stem in folder.known else folder.masks[fact.stem].path
            faults.append(Note(where, "no pixel is known, so nothing could be scored. Remove or redraw it."))
    return faults


def _warnings(folder: Folder, found: Survey, labelled: Sequence[ImageFacts], splits: Splits | None) -> list[str]:
    warnings: list[str] = []
    full = [fact for fact in labelled if fact.tally is not None and fact.n_foreground > _NEARLY_FULL * fact.n_known > 0]
    # Where most masks are, that was said of all of them; classes and objects may cover all.
    odd = found.decision.meaning.task == BINARY and len(full) < _MOSTLY * len(labelled)
    for fact in full if odd else ():
        share = 100 * fact.n_foreground / fact.n_known
        warnings.append(Note(folder.masks[fact.stem].path, f"{share:.0f} % is foreground; is the mask inverted?"))
    if warning := touching(found.facts, asked(found, folder.card).task):
        warnings.append(warning)
    truths = folder.masks.keys() | folder.points.keys() | folder.shifts.keys()
    unlabelled = [stem for stem in folder.images if stem not in truths]
    if unlabelled and truths:
        some = (
            "1 image has no mask and is" if len(unlabelled) == 1 else f"{len(unlabelled)} images have no mask and are"
        )
        warnings.append(f"{some} not used: {_some(unlabelled)}.")
    dtypes = Counter(fact.dtype for fact in found.facts.values())
    if len(dtypes) > 1:
        mixed = " and ".join(f"{n} are {dtype}" for dtype, n in sorted(dtypes.items()))
        warnings.append(f"pixel types are mixed ({mixed}); levels in native units will not mean the same everywhere.")
    if splits is None:
        return warnings
    used = {*splits.search, *splits.selection, *splits.test}
    strokes = strokes_among(found.facts)
    given = [stem for name in ("test", "selection") for stem in folder.card.splits.get(name, ()) if stem in strokes]
    if given:
        warnings.append(
            f"images with scribbles are named as test or selection images and are left out of these ({len(given)}): "
            f"{_some(given)}. Only images that are labelled as a whole are tested on."
        )
    if splits.test and not splits.search:
        warnings.append(
            f"all {len(splits.test)} images are test images: pipelines can be scored here, but not searched for."
        )
    if splits.test and all(found.facts[stem].partly for stem in splits.test if stem in found.facts):
        warnings.append("the test images have scribbles only, so test scores are on strokes, not on full masks.")
    if unused := [fact.stem for fact in labelled if fact.stem not in {*used, *given}]:
        warnings.append(f"{len(unused)} labelled images are in no split and are not used: {_some(unused)}.")
    twins = near_duplicates([fact for fact in found.facts.values() if fact.stem in used])
    for a, b in straddling(splits, twins):
        warnings.append(Note(f"{a} and {b}", "nearly the same picture, in different splits; the test score flatters."))
    if not splits.test:
        n, kind = len(labelled) - len(strokes), "images that are labelled as a whole" if strokes else "labelled images"
        warnings.append(f"too few {kind} ({n}), or too much alike, to set any aside: there will be no test score.")
    return warnings


def _some(stems: Sequence[str]) -> str:
    rest = f" and {len(stems) - _LISTED} more" if len(stems) > _LISTED else ""
    return ", ".join(stems[:_LISTED]) + rest


def _card(words: DatasetCard, found: Survey, labelled: Sequence[ImageFacts]) -> dict[str, Any]:
    """Return the card: words, then figures."""
    facts = list(found.facts.values())
    card: dict[str, Any] = {key: value for key, value in vars(words).items() if isinstance(value, str) and value}
    card |= {"n_images": len(facts), "n_labelled": len(labelled), "channels": list(found.channels)}
    if found.equal_channels:
        card["equal_channels"] = [list(names) for names in found.equal_channels]
    if facts:
        card["sizes"] = {f"{m}x{n}": count for (m, n), count in Counter(fact.shape for fact in facts).most_common()}
        card["dtypes"] = dict(Counter(fact.dtype for fact in facts))
        card["values"] = [min(fact.low for fact in facts), max(fact.high for fact in facts)]
    if labelled:
        task = asked(found, words)
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
    """Word what the values or colours of the masks were taken for."""
    if not rows:
        return []
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in ("value", "taken_for")]
    heads = f"{'value':<{widths[0]}}  {'taken for':<{widths[1]}}   share  why"
    lines = [
        f"{row['value']:<{widths[0]}}  {row['taken_for']:<{widths[1]}}  {100 * row['share']:4.1f} %  {row['why']}"
        for row in rows
    ]
    return ["  masks:", *(f"    {line}".rstrip() for line in (heads, *lines))]


def _lines(report: Report) -> list[str]:
    """Word a report for a terminal."""
    card = report.card
    lines = [f"{report.root}: {card.get('title', '')}".rstrip(": ")]
    if report.layout:
        lines.append(f"  layout: {report.layout}, since {report.because}")
        lines += [f"  pairs: {rule}" for rule in report.pairing]
    else:
        lines.append("  layout: none is recognised; docs/folders.md shows each")
        lines += [f"    {name} {why}" for name, why in report.lacking.items()]
    lines.append(
        f"  {card['n_images']} images, {card['n_labelled']} with a truth; channels {' '.join(card['channels'])}"
    )
    for names in card.get("equal_channels", ()):
        lines.append(f"  {', '.join(names)} are equal in all images: read as one")
    if "sizes" in card:
        low, high = card["values"]
        sizes = list(card["sizes"])
        size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes, most often {sizes[0]}"
        lines.append(f"  {size} pixels, {' and '.join(card['dtypes'])}, values {low:g} to {high:g}")
    lines += _table(card.get("mask_values", ()))
    if "foreground_share" in card:
        share = card["foreground_share"]
        line = f"  foreground {100 * share['mean']:.1f} % ({100 * share['min']:.1f} to {100 * share['max']:.1f})"
        line += f", {card['n_empty_masks']} empty masks"
        if n_objects := card["objects_per_image"]["median"]:
            line += f"; per image {n_objects:g} objects of {card['object_area_px']['median']:g} px (medians)"
        lines.append(line)
        if card["known_share"] < 1:
            lines.append(f"  {100 * card['known_share']:.1f} % of the pixels are known; only these count")
    if "points_per_image" in card:
        lines.append(f"  {card['points_per_image']['median']:g} points per image (median)")
    if "task_because" in card:
        lines.append(f"  task: {card['task']}, since {card['task_because']}")
    if report.splits:
        sizes_of = ", ".join(f"{len(stems)} {name}" for name, stems in vars(report.splits).items())
        lines.append(f"  splits: {sizes_of}")
    # Only the message about unclear masks has several lines.
    lines += [line for message in report.faults for line in f"error: {message}".split("\n")]
    lines += [f"warning: {message}" for message in report.warnings]
    lines.append("No errors." if report.ok else "This dataset cannot be used before its errors are corrected.")
    return lines
