"""What stored pipelines do on images without masks: as a table, a picture and a page."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from html import escape
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import SettingsError, unknown
from evoseg.core.notes import one_line
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.folder import scan
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.splits import split_to_search
from evoseg.drawing import Rgb, SheetRow, as_outlines, draw_outlines, to_rgb, write_contact_sheet
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.evolve.tasks.task_kinds import BINARY
from evoseg.inference.inputs import Input, list_inputs
from evoseg.inference.score import truth_as_kind
from evoseg.library.collection import open_library
from evoseg.library.reuse import N_IMAGES, SHOWN_PX, Answer, OnProgress, find_answers, middle_of
from evoseg.library.task import METRICS, TASKS
from evoseg.llm.consulting import check_sight, judge_answers
from evoseg.llm.prompts import data_url
from evoseg.llm.structured import Verdict
from evoseg.metrics import METRIC_LABELS
from evoseg.pipeline import print_text
from evoseg.report.figures import Picture, answer_picture, both_picture, image_picture
from evoseg.report.page import render
from evoseg.runs.opening import Data, dataset_name, open_data
from evoseg.runs.options import DEFAULT, LLM_USD
from evoseg.runs.run_folder import PIPELINE, FilesError, make_folder, refuse_existing, write_whole

K = 6
"""Default number of answers that are shown."""
MOST_K = 24
SHEET, PAGE = "answers.png", "answers.html"
TOLD_PX, TOLD_GAP_PX = 384, 8
"""Longer side of an image in the pictures for a language model, and what is left between two, px."""
HUGE_SIDE = 4096
"""Sides of the middle that is read of an image that is too large to be read at once, px."""


@dataclass(frozen=True, eq=False)
class ReusedAnswers:
    """What stored pipelines do on some images, the most promising answer first.

    Attributes
    ----------
    images : str
        Name of the images.
    task : str
        "binary", "instances" or "points".
    answers : tuple of Answer
        Empty if none is worth showing.
    samples : tuple of Sample
        The images that answers are shown on, or the middles of larger ones.
    reading : ReadOptions
        How their files were read.
    wanted : str
        What a language model was asked to look for; "" if none was asked.
    verdicts : tuple of Verdict
        What it said of each answer; empty if it was not asked.
    llm : mapping of str to float
        Number of its calls, and their cost in USD.
    """

    images: str
    task: str
    answers: tuple[Answer, ...]
    samples: tuple[Sample, ...]
    reading: ReadOptions
    wanted: str = ""
    verdicts: tuple[Verdict, ...] = ()
    llm: Mapping[str, float] = field(default_factory=lambda: {"calls": 0, "cost_usd": 0.0})

    def pick(self, number: int, out: str | Path, *, overwrite: bool = False) -> Path:
        """Write the pipeline of an answer, numbered from 1, as OUT/pipeline.evo; `apply` and `export` take OUT.

        Raises
        ------
        SettingsError
            If there is no such answer.
        FilesError
            If the file exists and `overwrite` is False, or cannot be written.
        """
        if not 1 <= number <= len(self.answers):
            there = f"they are numbered from 1 to {len(self.answers)}" if self.answers else "there are none"
            raise SettingsError(f"there is no answer {number}: {there}.")
        path = expand(out) / PIPELINE
        refuse_existing([path], overwrite=overwrite)
        make_folder(path.parent)
        first, _, rest = print_text(self.answers[number - 1].pipeline).partition("\n")
        write_whole(path, f"{first}\n{self.reading.mark()}{rest}", overwrite=overwrite)
        return path

    def save(self, folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Write a picture and a page with the answers side by side; return their paths.

        Raises
        ------
        FilesError
            If there is no answer to show, a file exists and `overwrite` is False, or one cannot be written.
        """
        if not self.answers:
            raise FilesError(f"{self.images}: no answer is worth showing, so there is nothing to save.")
        paths = {"sheet": expand(folder) / SHEET, "page": expand(folder) / PAGE}
        refuse_existing(list(paths.values()), overwrite=overwrite)
        make_folder(paths["sheet"].parent)
        title = f"{self.images}: what stored filters mark, one answer per row"
        write_contact_sheet(
            self._sheet(), paths["sheet"], len(self.samples), title=title, metric=METRIC_LABELS[self._metric]
        )
        write_whole(paths["page"], self.page(), overwrite=overwrite)
        return paths

    def draw(self, number: int) -> Rgb:
        """Return the images side by side with the outlines of an answer, numbered from 1: uint8 of shape (M, N, 3)."""
        tiles = []
        for row in self._sheet_rows(self.answers[number - 1]):
            shape = np.array(row.answer.shape)
            height, width = np.maximum(1, shape * TOLD_PX // shape.max()).tolist()
            tile = np.full((TOLD_PX, width + TOLD_GAP_PX, 3), 255, np.uint8)
            tile[:height, :width] = draw_outlines(to_rgb(row.image), row.answer, None, (height, width), 1)
            tiles.append(tile)
        return np.concatenate(tiles, axis=1)

    def page(self) -> str:
        """Return the page as HTML, which needs no other file."""
        table = self._table()
        return render(
            "reused.html.jinja",
            title=self.images,
            headers=list(table[0]),
            images=[image_picture(sample.image, sample.stem) for sample in self.samples],
            answers=[
                {
                    "name": _made_for(one),
                    "about": about,
                    "cells": list(cells.values()),
                    "pictures": self._pictures(one),
                    "text": print_text(one.pipeline),
                }
                for one, cells, about in zip(self.answers, table, self._about(), strict=True)
            ],
            columns={name: words for name, words in COLUMNS.items() if name in table[0]},
            order=ORDER,
            with_truth=any(one.score is not None for one in self.answers),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return {
            "images": self.images,
            "task": self.task,
            "shown_on": [sample.stem for sample in self.samples],
            "answers": [
                {
                    "number": number,
                    "source": one.candidate.scaled.task.name,
                    "id": one.candidate.scaled.task.id,
                    "scale": one.candidate.scaled.scale,
                    "threshold": one.candidate.level,
                    **{name: round(value, 4) for name, value in vars(one.signs).items()},
                    "metric": self._metric,
                    "score": one.score,
                    "digest": one.pipeline.digest,
                    "pipeline": print_text(one.pipeline),
                }
                for number, one in enumerate(self.answers, 1)
            ],
            "wanted": self.wanted,
            "verdicts": [verdict.model_dump() for verdict in self.verdicts],
            "llm": dict(self.llm),
        }

    def _table(self) -> list[dict[str, str]]:
        """Return the cells for each answer, by column."""
        rows = []
        for number, one in enumerate(self.answers, 1):
            row = {
                "": str(number),
                "marks": f"{100 * one.signs.share:.1f} %",
                "stable": f"{one.signs.stability:.2f}",
                "alike": f"{one.signs.likeness:.2f}",
            }
            if one.score is not None:
                row[METRIC_LABELS[self._metric]] = f"{one.score:.3f}"
            if self.verdicts:
                row["fits"] = f"{self.verdicts[number - 1].fits} of 10"
            row[MADE_FOR] = _made_for(one)
            rows.append(row)
        return rows

    def _seen(self) -> list[str]:
        """Return what a language model sees in each answer; "" if it was not asked."""
        seen = (f"asked for {self.wanted}, it marks: {one_line(verdict.marks)}" for verdict in self.verdicts)
        return [words for words, _ in zip_longest(seen, self.answers, fillvalue="")]

    def _about(self) -> list[str]:
        """Return where each answer is from, how it was adapted, and what a language model sees in it."""
        return [
            ". ".join(filter(None, (_origin(one), seen))) for one, seen in zip(self.answers, self._seen(), strict=True)
        ]

    def _pictures(self, answer: Answer) -> list[Picture]:
        rows = self._sheet_rows(answer)
        return [answer_picture(row) if row.truth is None else both_picture(row) for row in rows]

    def _sheet_rows(self, answer: Answer) -> list[SheetRow]:
        """Return the images with the outlines of an answer, and of the truth where it is known."""
        rows = []
        for sample, shown in zip(self.samples, answer.shown, strict=True):
            truth = truth_as_kind(sample, TASKS[self.task])
            outlines = None if truth is None else as_outlines(truth, sample.image.shape)
            rows.append(SheetRow(sample.stem, sample.image, as_outlines(shown, sample.image.shape), outlines))
        return rows

    def _sheet(self) -> list[SheetRow]:
        """Return all rows of the picture: the images as they are, then each answer."""
        plain = [SheetRow(s.stem, s.image, np.zeros(s.image.shape[:2], np.bool_)) for s in self.samples]
        answers = [
            replace(row, stem="" if column else f"{number}: filters for {_objects(one)}")
            for number, one in enumerate(self.answers, 1)
            for column, row in enumerate(self._sheet_rows(one))
        ]
        return [*plain, *answers]

    @property
    def _metric(self) -> str:
        return next(iter(METRICS[TASKS[self.task]]))

    def __str__(self) -> str:
        if not self.answers:
            return f"{self.images}: no stored pipeline finds anything here that is worth showing. {NOTHING}"
        table = self._table()
        names = list(table[0])
        widths = {name: max(len(name), *(len(row[name]) for row in table)) for name in names}

        def line(cells: Mapping[str, str]) -> str:
            placed = (f"{cells[name]:{'<' if name == MADE_FOR else '>'}{widths[name]}s}" for name in names)
            return "  ".join(placed).rstrip()

        rows = (f"{line(row)}\n    {seen}".rstrip() for row, seen in zip(table, self._seen(), strict=True))
        legend = (f"{name:8s}{words}" for name, words in COLUMNS.items() if name in names)
        return "\n".join([line({name: name for name in names}), *rows, "", *legend, "", *wrap(ORDER, 100)])

    def __repr__(self) -> str:
        return f"<ReusedAnswers for {self.images}: {', '.join(map(_task, self.answers)) or 'none'}>"

    def _repr_html_(self) -> str:
        """Show the table and the pictures in a notebook."""
        if not self.answers:
            return f"<div><pre>{escape(str(self))}</pre></div>"
        figures = "".join(
            f"<p>{number}: filters for {escape(_made_for(one))}<br>"
            + " ".join(
                f'<img src="{shown.uri}" alt="{escape(shown.words, quote=True)}">' for shown in self._pictures(one)
            )
            + "</p>"
            for number, one in enumerate(self.answers, 1)
        )
        return f"<div><pre>{escape(str(self))}</pre>{figures}</div>"


NOTHING = "Label two or three images and use `evoseg search`."
ORDER = (
    "Judge by the outlines, not by what the filters were made for. Answers from images like yours come first; the "
    "others were chosen because they differ."
)
MADE_FOR = "filters made for"
COLUMNS = {
    "marks": "share of the pixels that is marked",
    "stable": "agreement with the answers for slightly disturbed images, at most 1",
    "alike": "likeness of your images to those that the filters were made for; 0.5 or more means the same kind",
    "fits": "how well the answer matches what was asked for, according to the language model",
}
"""What the columns of the table mean."""
THRESHOLDS = {
    "stored": "",
    "otsu": "threshold set by Otsu's method",
    "share": "threshold set to mark the same share as there",
}


def _task(answer: Answer) -> str:
    scaled = answer.candidate.scaled
    return f"{scaled.task.name} x {scaled.scale:g}" if scaled.scale != 1 else scaled.task.name


def _objects(answer: Answer) -> str:
    """Say what the solved task sought, or name it if its card does not say it."""
    task = answer.candidate.scaled.task
    return one_line(task.card.foreground) or task.name


def _made_for(answer: Answer) -> str:
    """Say what the solved task sought, and in which kind of image."""
    modality = answer.candidate.scaled.task.card.modality
    return ", ".join(filter(None, (_objects(answer), one_line(modality))))


def _origin(answer: Answer) -> str:
    """Say which solved task an answer is from, and how the pipeline was adapted."""
    scaled = answer.candidate.scaled
    changes = [f"lengths x {scaled.scale:g}" if scaled.scale != 1 else "", THRESHOLDS[answer.candidate.level]]
    return ", ".join(filter(None, [f"From the solved task {scaled.task.name}", *changes]))


def reuse(
    images: Data | Sequence[str | Path],
    k: int = K,
    *,
    what: str = "",
    task: str = BINARY,
    library: str = DEFAULT,
    agent: str | None = None,
    base_url: str | None = None,
    llm_usd: float = LLM_USD,
    roles: str | Path | None = None,
    reading: ReadOptions = DEFAULT_OPTIONS,
    on_progress: OnProgress = lambda doing, share: None,
) -> ReusedAnswers:
    """Run stored pipelines on images that need no masks, and return the most promising answers.

    The pipelines of solved tasks run at several scales, since the size of the objects is not known, and with their
    thresholds as stored or set anew from the images. Answers that are empty or full, or the same as another, are left
    out. If a solved task has images like these, one of its answers comes first. The order is computed without masks;
    where there are some, each answer's score stands beside it.

    Parameters
    ----------
    images : path, sequence of paths, Dataset, or (images, masks)
        A folder, files, or a dataset, of which test images are not looked at. Some of them are enough: at most four,
        evenly spaced, are read.
    k : int
        How many answers.
    what : str
        What is to be marked, in words; a language model then looks at the answers and says which of them mark it.
    task : {"binary", "instances", "points"}
        What is wanted: foreground, separate objects, or points.
    library : str
        As of `search`.
    agent, base_url, llm_usd, roles : optional
        The language model for `what`, as of `search`; it must take pictures.
    reading : ReadOptions
        Which page and channels of files.
    on_progress : callable (doing, share)
        Called with what is being done, in words, and with the share of it that is done.

    Returns
    -------
    ReusedAnswers
        `answers[0].pipeline` is the most promising pipeline; `pick(1, out)` writes it, `save(folder)` writes a picture
        and a page; printed, it is the table of `evoseg reuse`.

    Raises
    ------
    EvosegError
        If an image, a setting, the library or the model cannot be used.
    """
    if not 1 <= k <= MOST_K:
        raise SettingsError(f"k is {k}; it must be a number of answers from 1 to {MOST_K}.")
    if task not in TASKS:
        raise SettingsError(unknown("task", task, TASKS))
    if what and agent is None:
        raise SettingsError("only a language model understands what is to be marked. Name one with --agent (agent=).")
    if agent is not None:
        if not what:
            raise SettingsError("a language model needs to know what is to be marked. Say it with --what (what=).")
        check_sight(agent, base_url, roles)
    dataset, stems = _open(images, reading)
    with closing(open_library(library)) as shelf:
        answers = find_answers(dataset, stems, k, shelf, TASKS[task], on_progress)
    samples = tuple(middle_of(dataset.load(stem), SHOWN_PX) for stem in stems)
    found = ReusedAnswers(dataset_name(dataset), task, tuple(answers), samples, reading)
    if agent is None or not answers:
        return found
    pictures = [data_url(found.draw(number)) for number in range(1, len(answers) + 1)]
    verdicts, cost = judge_answers(what, pictures, agent, base_url=base_url, llm_usd=llm_usd, roles=roles)
    return replace(found, wanted=what, verdicts=tuple(verdicts), llm=cost)


def _open(images: Data | Sequence[str | Path], reading: ReadOptions) -> tuple[Dataset, list[str]]:
    """Return images as a dataset, and the names of those to look at."""
    paths = _paths(images)
    if paths is None or (len(paths) == 1 and _is_labelled(paths[0])):
        dataset = open_data(images if paths is None else paths[0], reading)  # type: ignore[arg-type]
        stems = split_to_search(dataset).search if dataset.labelled else dataset.stems
        return dataset, [stems[i] for i in evenly_spaced(len(stems), N_IMAGES)]
    inputs = list_inputs(paths, reading)
    some = [inputs[i] for i in evenly_spaced(len(inputs), N_IMAGES)]
    title = paths[0].resolve().name if len(paths) == 1 else f"{len(paths)} images"
    dataset = Dataset.from_arrays({one.stem: _read(one) for one in some}, title=title)
    return dataset, list(dataset.stems)


def _paths(images: Data | Sequence[str | Path]) -> list[Path] | None:
    """Return the paths that were given; None for arrays and datasets."""
    if isinstance(images, str | Path):
        return [expand(images)]
    if not isinstance(images, Sequence):
        return None
    paths = [expand(one) for one in images if isinstance(one, str | Path)]
    return paths if len(paths) == len(images) else None


def _is_labelled(path: Path) -> bool:
    if not path.is_dir():
        return False
    folder = scan(path)
    return bool(folder.masks or folder.points)


def _read(image: Input) -> NDArray[Any]:
    """Return an image, of a huge one the middle."""
    rows = image.read()
    height, width = (min(n, HUGE_SIDE) for n in rows.shape)
    top, left = (rows.shape[0] - height) // 2, (rows.shape[1] - width) // 2
    return np.ascontiguousarray(rows.rows(top, top + height)[:, left : left + width])
