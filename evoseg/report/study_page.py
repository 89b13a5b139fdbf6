"""The page, the heat map and the tables of a cross-application study."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw

from evoseg import __version__
from evoseg.drawing import Rgb, load_font
from evoseg.library.study import ROWS, TASKS
from evoseg.library.study_tables import KS, Association, Choice, StudyTables, print_matrix, print_pairs
from evoseg.report.figures import Picture, scatter_chart, tree_chart
from evoseg.report.page import render
from evoseg.runs.run_folder import write_whole

PAGE, HEAT_MAP, MATRIX, PAIRS = "study.html", "heatmap.png", "matrix.csv", "pairs.csv"
SIGNIFICANT = 0.05
WEAK = 0.3
"""Rank correlation below which likeness is of little use for choosing, however sure it is."""
FEW_DATASETS = 15
"""Below, correlations vary much from one choice of datasets to another (docs/library.md)."""
MOST_NAMES = 6
"""Number of datasets of a cluster that are named in a sentence; more are counted."""
_LABELS = {"iou": "IoU", "f1": "F1", "mcc": "MCC"}
_CELL = (36, 26)
"""Width and height of a cell of the heat map, px."""
_INK, _UNKNOWN, _FRAME = (28, 32, 38), (214, 217, 222), (255, 145, 0)


@dataclass(frozen=True)
class DatasetLine:
    """What was found for one dataset.

    Attributes
    ----------
    own : float
        Refitted IoU of its own pipelines; NaN if there are none.
    best, by_likeness, popular : (str, float) or None
        Name and refitted IoU of the best source, of the one that is most alike, and of the one that is most popular on
        the other datasets.
    unchanged : float
        IoU of the source that is most alike, with no number changed; NaN if it cannot be run.
    """

    name: str
    n_fitted_on: int
    n_scored_on: int
    own: float
    best: tuple[str, float] | None
    by_likeness: tuple[str, float] | None
    unchanged: float
    popular: tuple[str, float] | None


@dataclass(frozen=True)
class StudyPage:
    """All that the page of a study shows.

    Attributes
    ----------
    in_short : sequence of str
        Sentences in plain words.
    associations : sequence of (score, mapping of measure to (unchanged, refitted))
        One table per score.
    scatter, tree : Markup
        Charts; empty for few datasets.
    """

    title: str
    in_short: Sequence[str]
    heat_map: Picture
    datasets: Sequence[DatasetLine]
    associations: Sequence[tuple[str, Mapping[str, tuple[Association, Association]]]]
    ks: Sequence[int]
    choices: Sequence[Choice]
    widest: Sequence[tuple[str, str, float, float]]
    groups: Sequence[Sequence[str]]
    scatter: Markup
    tree: Markup
    on_test: bool
    facts: Sequence[tuple[str, str]]


def write_study(tables: StudyTables, folder: Path) -> dict[str, Path]:
    """Write the page, the heat map and the tables of a study into its folder; earlier ones are replaced.

    Returns
    -------
    dict of str to path
        All files by what they are, also those that were there already.

    Raises
    ------
    FilesError
        If a file cannot be written.
    """
    picture = as_png(draw_heat_map(tables))
    for name, content in (
        (HEAT_MAP, picture),
        (MATRIX, print_matrix(tables)),
        (PAIRS, print_pairs(tables)),
        (PAGE, render("study.html.jinja", page=page_of(tables, picture))),
    ):
        write_whole(folder / name, content, overwrite=True)
    files = {"page": PAGE, "heat map": HEAT_MAP, "matrix": MATRIX, "pairs": PAIRS, "rows": ROWS, "tasks": TASKS}
    return {name: folder / file for name, file in files.items() if (folder / file).exists()}


def summarise_study(tables: StudyTables) -> list[str]:
    """Return what a study has shown, in plain sentences."""
    study, scores = tables.study, tables.matrix("iou", refitted=True)
    tried = (
        f"All pipelines of {len(study.sources)} solved tasks were tried on {_counted(len(study.datasets))}, unchanged "
        "and with curves and thresholds refitted."
    )
    strangers = [(i, j) for j, pool in enumerate(tables.pools()) for i in pool]
    if not strangers:
        return [tried, "No task was solved on another dataset, so transfer cannot be measured."]
    before, after = (
        float(np.nanmean([matrix[pair] for pair in strangers]))
        for matrix in (tables.matrix("iou", refitted=False), scores)
    )
    own = [float(scores[place]) for place in tables.own if np.isfinite(scores[place])]
    beside = f"; on their own datasets, refitted pipelines reach {np.mean(own):.2f}" if own else ""
    moved = f"On datasets of other tasks, their mean IoU is {before:.2f} unchanged and {after:.2f} refitted{beside}."
    if not tables.is_large:
        return [tried, moved, "Correlations and clusters need at least four datasets with pipelines of their own."]
    return [tried, moved, *_on_likeness(tables)]


def _on_likeness(tables: StudyTables) -> list[str]:
    """Return sentences on likeness, choices, direction and clusters."""
    refitted, unchanged = (tables.associations("iou", refitted=refitted) for refitted in (True, False))
    beyond = len(tables.sources) > len(tables.own)
    own, before = refitted["likeness"], unchanged["likeness"]
    refitted_words = (
        f"Likeness {_verdict(own)} how well refitted pipelines of other tasks work on a dataset: its mean rank "
        f"correlation with their IoU is {_correlated(own, beyond=beyond)}."
    )
    unchanged_words = (
        f"It {_verdict(before)} how well unchanged pipelines work: the correlation is "
        f"{_correlated(before, beyond=beyond)}."
    )
    lines = [refitted_words, unchanged_words]
    others = {name: one for name, one in refitted.items() if name != "likeness"}
    if others:
        name, best = max(others.items(), key=lambda item: item[1].within)
        lines.append(
            f"Of {_counted(len(others), 'other measure')}, {name} has the highest correlation with refitted pipelines: "
            f"{_correlated(best, beyond=beyond, among=len(others))}."
        )
    if len(tables.own) < FEW_DATASETS:
        lines.append(
            f"With only {len(tables.own)} datasets, these correlations depend much on which datasets they are, and "
            "need not hold for others."
        )
    choices = {choice.name: choice for choice in tables.choices()}
    if "likeness" in choices:
        alike, popular, chance = (
            _percent(choices[name].shares[1]) for name in ("likeness", "popular elsewhere", "chance")
        )
        lines.append(
            f"The best of the three most alike tasks reaches {alike} of the IoU of the best of all tasks; the best of "
            f"the three most popular on other datasets reaches {popular}, and the best of three at random {chance}."
        )
    if (asymmetry := tables.asymmetry()) is not None:
        lines.append(
            f"{_percent(asymmetry.share)} of the variance between pairs lies between the two directions of a pair, and "
            f"{_percent(asymmetry.share_within)} after the mean of each dataset is subtracted (0 %: transfer is "
            "mutual; 50 %: the directions have nothing to do with each other). Likeness cannot explain that part, "
            "since it is the same both ways."
        )
    if (clusters := tables.clusters()) is not None:
        several = sorted((group for group in clusters.groups if len(group) > 1), key=len, reverse=True)
        alone = [group[0] for group in clusters.groups if len(group) == 1]
        if several:
            lines.append(
                f"Clusters of datasets whose pipelines work on each other: {'; '.join(map(_listed, several))}."
            )
        if alone:
            lines.append(f"In no cluster: {_listed(alone)}.")
    return lines


def _verdict(found: Association) -> str:
    """Say whether a measure predicts which of the sources of a dataset work on it."""
    if found.within_p >= SIGNIFICANT or found.within <= 0:
        return "does not reliably predict"
    return "weakly predicts" if found.within < WEAK else "predicts"


def _correlated(found: Association, *, beyond: bool, among: int = 1) -> str:
    """Return the mean rank correlation within a dataset with its p-value, and how far it depends on what was tried.

    With `beyond`, some sources are not of the datasets of the study. The p-value is corrected for the choice of this
    measure among `among` ones.
    """
    words = [f"p = {min(1.0, found.within_p * among):.2g}"]
    if among > 1:
        words[0] += f", corrected for the choice among {among}"
    if np.isfinite(found.left_out).all():
        words.append(f"{found.left_out[0]:.2f} to {found.left_out[1]:.2f} with any one dataset left out")
    if beyond and np.isfinite(found.among_all):
        words.append(f"{found.among_all:.2f} with all stored tasks as sources")
    return f"{found.within:.2f} ({'; '.join(words)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else _counted(len(names))


def _counted(n: int, noun: str = "dataset") -> str:
    return f"1 {noun}" if n == 1 else f"{n} {noun}s"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def page_of(tables: StudyTables, heat_map: bytes) -> StudyPage:
    """Return what the page of a study shows."""
    asymmetry, clusters, study = tables.asymmetry(), tables.clusters(), tables.study
    names = [tables.targets[j] for _, j in tables.own]
    height, width = np.asarray(Image.open(BytesIO(heat_map))).shape[:2]
    words = (
        f"Refitted IoU of {len(tables.sources)} tasks on {_counted(len(tables.targets))}; matrix.csv has the numbers"
    )
    facts = [("evoseg", __version__)]
    facts += [(dataset.name, f"{dataset.dataset.root}") for dataset in study.datasets]
    return StudyPage(
        title=f"Transfer of pipelines to {_counted(len(tables.targets))}",
        in_short=summarise_study(tables),
        heat_map=Picture(f"data:image/png;base64,{b64encode(heat_map).decode()}", words, width, height),
        datasets=_dataset_lines(tables),
        associations=[(label, _both(tables, score)) for score, label in _LABELS.items()] if tables.is_large else [],
        ks=KS,
        choices=tables.choices(),
        widest=asymmetry.widest if asymmetry else (),
        groups=clusters.groups if clusters else (),
        scatter=_scatter(tables) if tables.is_large else Markup(),
        tree=tree_chart(clusters.joins, names, "distance") if clusters else Markup(),
        on_test=study.on_test,
        facts=facts,
    )


def _both(tables: StudyTables, score: str) -> dict[str, tuple[Association, Association]]:
    unchanged, refitted = (tables.associations(score, refitted=refitted) for refitted in (False, True))
    return {name: (unchanged[name], refitted[name]) for name in refitted}


def _scatter(tables: StudyTables) -> Markup:
    """Return the scores of the sources of each dataset, by their places in the order of likeness.

    Most likenesses are nearly 0, so that the dots would cover each other if they were placed by these.
    """
    alike = tables.between(tables.study.likeness["likeness"])
    scores = tables.between(tables.matrix("iou", refitted=True))
    names = [tables.targets[j] for _, j in tables.own]
    points = []
    for j, name in enumerate(names):
        others = [i for i in range(len(names)) if i != j and np.isfinite(scores[i, j])]
        places = np.argsort(np.argsort(-alike[others, j], kind="stable")) + 1
        points += [
            (float(place), float(scores[i, j]), f"{names[i]} on {name}")
            for i, place in zip(others, places, strict=True)
        ]
    return scatter_chart(points, "place by likeness among the other datasets, 1 is most alike", "refitted IoU")


def _dataset_lines(tables: StudyTables) -> list[DatasetLine]:
    scores, unchanged = (tables.matrix("iou", refitted=refitted) for refitted in (True, False))
    orders = (scores, tables.study.likeness["likeness"], tables.popularity(scores))
    own = {j: float(scores[i, j]) for i, j in tables.own}
    lines = []
    for j, (dataset, pool) in enumerate(zip(tables.study.datasets, tables.pools(), strict=True)):
        places = [int(pool[values[pool, j].argmax()]) if len(pool) else None for values in orders]
        best, alike, popular = (None if i is None else (tables.sources[i], float(scores[i, j])) for i in places)
        before = float("nan") if places[1] is None else float(unchanged[places[1], j])
        n_images = len(dataset.fitted_on), len(dataset.scored_on)
        lines.append(DatasetLine(dataset.name, *n_images, own.get(j, float("nan")), best, alike, before, popular))
    return lines


def draw_heat_map(tables: StudyTables) -> Rgb:
    """Draw the refitted IoU of all sources, one row each, on all datasets, one column each.

    Datasets that lend each other pipelines are neighbours; their own pipelines come first, framed, then those of other
    tasks, the best on average first.
    """
    scores = tables.matrix("iou", refitted=True)
    clusters, own = tables.clusters(), list(tables.own)
    own = [own[i] for i in clusters.order] if clusters else own
    columns = list(dict.fromkeys([*(j for _, j in own), *range(len(tables.targets))]))
    known = np.isfinite(scores)
    means = np.where(known, scores, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    rows = list(dict.fromkeys([*(i for i, _ in own), *(int(i) for i in np.argsort(-means, kind="stable"))]))
    font, small = load_font(15), load_font(13)
    left, top = (round(max(map(font.getlength, names))) + 24 for names in (tables.sources, tables.targets))
    width, height = _CELL
    title = "Refitted IoU: each row's pipelines on each column's dataset"
    least = round(font.getlength(title)) + 32
    size = (max(least, left + width * len(columns) + 16), top + 40 + height * len(rows) + 16)
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((16, 20), title, _INK, font, "lm")
    for c, j in enumerate(columns):
        label = Image.new("L", (top, width), 0)
        ImageDraw.Draw(label).text((4, width // 2), tables.targets[j], 255, font, "lm")
        sheet.paste(_INK, (left + c * width, 40), label.rotate(90, expand=True))
    for r, i in enumerate(rows):
        y = top + 40 + r * height
        pen.text((left - 8, y + height // 2), tables.sources[i], _INK, font, "rm")
        for c, j in enumerate(columns):
            x, score = left + c * width, scores[i, j]
            colour = _colour(score) if np.isfinite(score) else _UNKNOWN
            pen.rectangle((x, y, x + width - 2, y + height - 2), colour, _FRAME if (i, j) in own else None, 2)
            ink = (255, 255, 255) if sum(colour) < 330 else _INK
            words = f"{score:.2f}" if np.isfinite(score) else "-"
            pen.text((x + width // 2 - 1, y + height // 2 - 1), words, ink, small, "mm")
    return np.asarray(sheet)


def _colour(score: float) -> tuple[int, int, int]:
    """Return the colour of a score from 0 to 1, dark blue to yellow; they differ for all kinds of colour vision."""
    level = np.full((1, 1), round(255 * min(max(score, 0.0), 1.0)), np.uint8)
    blue, green, red = cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[0, 0].tolist()
    return red, green, blue


def as_png(picture: Rgb) -> bytes:
    """Return a picture with few colours as a PNG file."""
    file = BytesIO()
    Image.fromarray(picture).quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()
