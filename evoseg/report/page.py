"""The report of a run: one page that opens offline, without scripts, and needs no other file."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evoseg.core.disk import expand, write_atomically
from evoseg.core.kinds import Kind
from evoseg.core.notes import quantity
from evoseg.datasets.reading import ReadOptions
from evoseg.drawing import SheetRow, as_outlines
from evoseg.evolve.ports import KnownPlanes
from evoseg.inference.score import JudgedImage, judge_images, known_values
from evoseg.metrics import METRIC_LABELS, baseline_words
from evoseg.metrics.shift_scores import error_px
from evoseg.operators.registry import WHOLE, get
from evoseg.pipeline import Pipeline, print_text
from evoseg.pipeline.running import as_raw, step_values
from evoseg.pipeline.value import NETWORK
from evoseg.report import figures
from evoseg.report.answers import describe_network, tabulate_answers
from evoseg.report.figures import Picture
from evoseg.report.results import SearchResult
from evoseg.report.text import SPLIT_WORDS, STOPPED, describe_rank, labelled_words, n_selected, summarise_in_short
from evoseg.runs.opening import Data, open_data
from evoseg.runs.record import EARLY, find_data, find_splits, read_settings
from evoseg.runs.run_file import read_run
from evoseg.runs.run_folder import REPORT, RunFolder, find_run_folder, refuse_existing
from evoseg.runs.stored import open_run, read_options_of
from evoseg.runs.trained import out_of_bag_planes
from evoseg.sandbox.operators import admitted_code

WORST, MIDDLE = 4, 3
"""Images of the gallery."""
REUSED = 5
"""Programs of solved tasks that are named, the best."""

_UNSAID = ("offers", "barred", "reading", "early", *EARLY)
"""Settings that are told elsewhere, or were not the user's choice."""
_OF_MODEL = ("agent", "base_url", "llm_calls", "llm_tokens", "llm_usd", "roles")
_UNUSED: tuple[object, ...] = (None, "", [], "none", False)
"""Values of settings that were not used."""
_USUAL = {"operators": "default", "executor": "local", "library": "default", "networks": True, "encoder": "imagenet"}
_SCALES = {"closeness": "1 / (1 + error in px), so 1 is perfect, and 0.5 is one pixel off"}
"""What the numbers of a metric mean, where they are no shares."""
_SETTINGS = {
    "seconds": "budget in seconds",
    "evaluations": "budget in evaluations",
    "target_score": "target score",
    "workers": "worker processes",
    "operators": "operators for",
    "executor": "Dask cluster",
    "max_ms_per_mpx": "maximum cost, ms per megapixel",
    "start": "started from",
    "code": "Python operators",
    "remember": "added to the library",
    "agent": "language model",
    "base_url": "endpoint of the model",
    "llm_calls": "maximum number of calls",
    "llm_tokens": "maximum number of tokens",
    "llm_usd": "maximum cost, USD",
    "radius": "radius, px",
    "task_digest": "digest of the task's file",
}
"""Names of settings for people."""


@dataclass(frozen=True)
class ScoreLine:
    """One line of the table of scores.

    Attributes
    ----------
    name : str
    score : float
    images : int or None
    note : str
    """

    name: str
    score: float
    images: int | None = None
    note: str = ""


@dataclass(frozen=True)
class StepLine:
    """One step of the pipeline: its line of text, what it does, and its value on one image, or on both of a pair."""

    text: str
    summary: str
    figures: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class ProgramPart:
    """A pipeline step by step.

    Attributes
    ----------
    title : str
    text : str
        The pipeline.
    about : sequence of str
        Sentences about what is not plain from the text.
    steps : sequence of StepLine
    sources : mapping of str to str
        Of its Python operators, by digest.
    """

    title: str
    text: str
    about: Sequence[str]
    steps: Sequence[StepLine]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class GalleryLine:
    """One image of the gallery.

    Attributes
    ----------
    pictures : tuple of Picture
        Of the pipeline that is recommended.
    beside : tuple of Picture
        Of the other one, if there are two; `said_beside` names it and its score.
    """

    stem: str
    why: str
    score: float
    pictures: tuple[Picture, ...]
    beside: tuple[Picture, ...] = ()
    said_beside: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart with what it shows in words."""

    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Page:
    """All that a report shows.

    Attributes
    ----------
    title, metric : str
    in_short : sequence of str
        Sentences in plain words.
    scale : str
        What the numbers of the metric mean.
    by_pixel : bool
        Whether the gallery's third pictures show pixels that differ, and not the outlines of both.
    pairs : bool
        Whether the gallery shows pairs of images, aligned.
    answers : sequence of str
        Names of the two pipelines, the recommended one first; empty if there is only one.
    compared : sequence of (str, sequence of str)
        Rows of a table with a column for each of them.
    programs : sequence of ProgramPart
        The recommended pipeline, and the other one.
    images : sequence of Picture
        What the steps are shown on, two of a pair; `stem` is its name.
    facts : sequence of (name, value)
        Settings, versions and the like.
    """

    title: str
    metric: str
    scale: str
    by_pixel: bool
    pairs: bool
    in_short: Sequence[str]
    answers: Sequence[str]
    compared: Sequence[tuple[str, Sequence[str]]]
    programs: Sequence[ProgramPart]
    scores: Sequence[ScoreLine]
    stem: str
    images: Sequence[Picture]
    gallery: Sequence[GalleryLine]
    charts: Sequence[Chart]
    per_image: Sequence[tuple[str, float]]
    facts: Sequence[tuple[str, str]]


def html(page: Page) -> str:
    """Return the page as HTML."""
    return render("report.html.jinja", page=page)


def render(template: str, **values: Any) -> str:
    """Return a page of a template beside this file; nothing in it may run or load anything, by its own policy.

    The template gets the style and its hash, for the policy, beside the values; text in values is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evoseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (files("evoseg.report") / "report.css").read_text("utf-8")
    style_hash = b64encode(sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(**values, style=Markup(style), style_hash=style_hash)


def gallery_stems(scores: Mapping[str, float]) -> list[str]:
    """Return the images to show: the worst ones, worst first, then those around the median."""
    ordered = sorted(scores, key=lambda stem: scores[stem])
    worst, rest = ordered[:WORST], ordered[WORST:]
    start = max(0, len(ordered) // 2 - WORST - MIDDLE // 2)
    return worst + rest[start : start + MIDDLE]


def write_report(
    run: str | Path,
    data: Data | None = None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    task: str | Path | None = None,
    allow_code: bool = False,
) -> Path:
    """Write the report of a run anew and return its path.

    Parameters
    ----------
    run : str or path
        Id or folder of a run that has a result.
    data : path, Dataset, or (images, masks), optional
        Its dataset, if that has moved or was given as arrays.
    out : path, optional
        The file, by default the run's own, which is replaced.
    overwrite : bool
        Whether `out` may exist.
    task : path, optional
        The file of a task of your own, if the run has one.
    allow_code : bool
        Whether Python operators of the run may run that are neither from a search of yours nor allowed before.

    Raises
    ------
    EvosegError
        If there is no such run or it has no result yet, its dataset is gone or has changed, or `out` exists.
    """
    folder = find_run_folder(run)
    record = read_run(folder.path)
    asked = read_settings(record, task, allow_code=allow_code)
    result = SearchResult.load(run)
    path = folder.path / REPORT
    if out is not None:
        path = expand(out)
        refuse_existing([path], overwrite=overwrite)
    dataset = open_data(find_data(record, data), read_options_of(folder.path))
    splits = find_splits(record, dataset)
    stems = gallery_stems(result.scores_per_image)
    accurate = None if result.test_per_image else result.accurate
    planes = out_of_bag_planes(folder.path, accurate, splits.search)
    answers = [one.pipeline for one in result.ranked_answers.values()] or [result.pipeline]
    shown, *beside = (
        list(judge_images(pipeline, dataset, stems, kind=asked.kind, radius=asked.radius, planes=planes))
        for pipeline in answers
    )
    # The page repeats the recorded scores: the pictures of its worst images are no further use of the test images.
    if result.test_per_image:
        result = replace(result, looks=open_run(folder.path).looks)
    write_page(result, shown, path, beside=[one for of_other in beside for one in of_other], planes=planes)
    return path


def write_page(
    result: SearchResult,
    shown: Iterable[JudgedImage],
    path: Path,
    *,
    beside: Iterable[JudgedImage] = (),
    planes: KnownPlanes | None = None,
) -> None:
    """Write a report.

    Parameters
    ----------
    shown : iterable of JudgedImage
        At least the images of `gallery_stems(result.scores_per_image)`, in any order.
    beside : iterable of JudgedImage
        The same of the pipeline that is not recommended, if there are two.
    planes : KnownPlanes, optional
        As of `judge_images`.
    """
    save_page(page_of(result, list(shown), list(beside), planes or {}), path)


def save_page(page: Page, path: Path) -> None:
    """Write a page as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        # Names of files may hold halves of characters, which no encoding of a page can carry.
        file.write(html(page).encode("utf-8", "replace"))


def as_row(one: JudgedImage, score: float | None = None) -> SheetRow:
    """Return an image with outlines that can be drawn of its answer and truth; planes have none."""

    image = one.sample.image
    truth = None if one.truth is None else as_outlines(one.truth, image.shape)
    answer = np.zeros(image.shape[:2], bool) if one.answer.dtype == np.uint8 else as_outlines(one.answer, image.shape)
    return SheetRow(one.sample.stem, image, answer, truth, score)


def page_of(
    result: SearchResult, shown: Sequence[JudgedImage], beside: Sequence[JudgedImage], planes: KnownPlanes
) -> Page:
    """Return what a report shows; parameters as of `write_page`."""
    scores = result.scores_per_image
    by_stem, by_stem_beside = ({one.sample.stem: one for one in judged} for judged in (shown, beside))
    gallery = [by_stem[stem] for stem in gallery_stems(scores)]
    example = gallery[-1].sample
    known = planes.get(example.stem, {})
    images = {f"{example.stem} as it is": example.image}
    if gallery[-1].pair is not None and example.moving is not None:
        images = {f"{example.stem}, the fixed image": example.image, f"{example.stem}, moving": example.moving}
    return Page(
        title=result.dataset,
        metric=METRIC_LABELS[result.metric],
        scale=_SCALES.get(result.metric, "1 is perfect, higher is better"),
        by_pixel=result.pipeline.output is Kind.MASK,
        pairs=gallery[-1].pair is not None,
        in_short=summarise_in_short(result, gallery[:WORST]),
        answers=list(result.ranked_answers) if result.accurate is not None else (),
        compared=tabulate_answers(result, SPLIT_WORDS),
        programs=list(_programs(result, list(images.values()), known)),
        scores=_scores(result),
        stem=example.stem,
        images=[figures.image_picture(image, words) for words, image in images.items()],
        gallery=[_gallery(result, one, by_stem_beside.get(one.sample.stem)) for one in gallery],
        charts=_charts(result, scores),
        per_image=sorted(scores.items(), key=lambda item: item[1]),
        facts=_facts(result),
    )


def _scores(result: SearchResult) -> list[ScoreLine]:

    lines, n = [], result.n_images | {"test": len(result.test_per_image), "selection": n_selected(result)}
    for split in ("test", "selection", "search"):
        score = result.scores[split]
        if score is None:
            continue
        interval = {"test": result.interval_test, "selection": result.interval_selection}.get(split)
        note = f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        lines.append(ScoreLine(SPLIT_WORDS[split], score, n[split] or None, note))
    lines += [
        ScoreLine(baseline_words(name, result.metric), score, n["test"], _compared(result, name))
        for name, score in result.baselines_test.items()
    ]
    return lines


def _compared(result: SearchResult, name: str) -> str:
    """Say by how much the pipeline scores higher than a baseline, if that is on record."""
    if name not in result.comparisons_test:
        return "for comparison, on the test images"
    by = result.comparisons_test[name]
    return f"mean difference of the pipeline {by.mean:+.3f}, 95 % interval {by.low:+.3f} to {by.high:+.3f}"


def _programs(
    result: SearchResult, images: Sequence[NDArray[Any]], planes: Mapping[str, NDArray[np.uint8]]
) -> Iterable[ProgramPart]:
    """Yield the recommended pipeline, and the other one if there is one; `planes` by digest, as of `known_values`."""
    if result.accurate is None:
        yield _program("The pipeline", result.pipeline, (), _steps(result.pipeline, images, planes))
        return
    for name, answer in result.ranked_answers.items():
        title = f"The {name} pipeline{', recommended' if name == result.recommended else ''}"
        about = describe_network(result) if answer.pipeline.has_network else ()
        yield _program(title, answer.pipeline, about, _steps(answer.pipeline, images, planes))


def _program(title: str, pipeline: Pipeline, about: Sequence[str], steps: Sequence[StepLine]) -> ProgramPart:
    sources = {digest: admitted_code(digest).source for digest in pipeline.codes}
    return ProgramPart(title, print_text(pipeline), about, steps, sources)


def _steps(
    pipeline: Pipeline, images: Sequence[NDArray[Any]], planes: Mapping[str, NDArray[np.uint8]]
) -> list[StepLine]:
    lines = []
    values = zip(
        *(step_values(pipeline.steps, as_raw(image), known_values(pipeline, planes)) for image in images), strict=True
    )
    texts = [line.strip() for line in print_text(pipeline.for_images(None)).splitlines()[2:]]
    for s, text, shown in zip(pipeline.steps, texts, values, strict=True):
        op = get(s.operator)
        gain = min(map(figures.legible_gain, shown)) if op.output is Kind.GRAY else 1.0
        about = f"{op.cost(s.params):.1f} ms per megapixel; {_looks(op.reach(s.params))}"
        about += f"; shown {gain:g} times brighter" if gain > 1 else ""
        words = f"the result of {op.called}"
        whole = op.output in (Kind.LABELS, Kind.POINTS)
        pictures = [
            figures.found_picture(image, value, words) if whole else figures.value_picture(value, words, gain)
            for image, value in zip(images, shown, strict=True)
        ]
        lines.append(StepLine(text, op.summary, about, pictures))
    return lines


def _looks(reach: int) -> str:
    if reach == WHOLE:
        return "receptive field: the whole image"
    return f"receptive field: {reach} px around a pixel" if reach else "receptive field: the pixel itself"


def _gallery(result: SearchResult, one: JudgedImage, beside: JudgedImage | None) -> GalleryLine:
    """Return an image of the gallery, with what the pipeline that is not recommended makes of it, if there is one."""
    scores, stem, row = result.scores_per_image, one.sample.stem, as_row(one)
    # Where the middle of an image goes says less of a pair than the images themselves, aligned.
    truth = () if row.truth is None or one.pair is not None else (figures.truth_picture(row),)
    why = describe_rank(stem, scores)
    why += f", {error_px(scores[stem]):.2f} px off" if one.pair is not None else ""
    line = GalleryLine(stem, why, scores[stem], (*truth, *_answer_pictures(one)))
    if beside is None:
        return line
    other = next(name for name in result.answers if name != result.recommended)
    said = f"{other}, {METRIC_LABELS[result.metric]} {beside.scores[result.metric]:.3f}"
    return replace(line, beside=_answer_pictures(beside), said_beside=said)


def _answer_pictures(one: JudgedImage) -> tuple[Picture, ...]:
    """Return pictures of an answer, and of how it differs from the truth if there is one."""
    row = as_row(one)
    if one.pair is not None:
        return figures.pair_pictures(one.sample, one.pair)
    if row.truth is None:
        return (figures.answer_picture(row),)
    # Pixels that differ say little of objects that were split or joined, and nothing of points.
    if row.answer.dtype == np.bool_:
        return (figures.answer_picture(row), figures.difference_picture(row, one.sample.known))
    return (figures.answer_picture(row), figures.both_picture(row))


def _charts(result: SearchResult, scores: Mapping[str, float]) -> list[Chart]:

    metric, more = METRIC_LABELS[result.metric], labelled_words(result)
    made = []
    if result.history:
        history = [*result.history, (result.evaluations, *result.history[-1][1:])]
        pruned = result.decided - result.evaluations
        also = f", and {pruned} were pruned after a few of them" if pruned > 0 else ""
        caption = (
            f"{result.evaluations} candidates were evaluated on all search images in {result.seconds:.0f} s{also}; the "
            f"best was number {result.evaluations_to_best}."
        )
        made.append(Chart("Best score so far", figures.progress_chart(history, metric), caption))
    if result.leaders:
        leaders = [(one.evaluations, one.search, one.held_out) for one in result.leaders]
        if result.splits.selection:
            others = "the selection images"
        else:
            others = "images that its curves and thresholds were not fitted to"
        caption = (
            f"Candidates that led the search: their {metric} on the search images, by which they led, and on {others} "
            "(dashed), computed after the search. If the dashed line falls while the other rises, the search fits "
            "these images only."
        )
        chart = figures.leaders_chart(leaders, result.evaluations, metric)
        made.append(Chart("Search score and held-out score", chart, caption))
    if result.front:
        answers = result.ranked_answers.values()
        ringed = [(one.cost_ms_per_mpx, score) for one in answers if (score := one.scores["search"]) is not None]
        if not answers and (score := result.scores["search"]) is not None:
            ringed = [(result.cost_ms_per_mpx, score)]
        pipelines = "the pipeline above (ringed)" if len(ringed) < 2 else "the two pipelines above (ringed)"
        orange = "; programs with a network are orange" if result.accurate is not None else ""
        caption = (
            f"The Pareto front of score, length and cost, and {pipelines}{orange}. List it with "
            f"evoseg runs show {RunFolder(result.run, result.files['result'].parent).word} --front."
        )
        made.append(Chart("Accuracy against speed", figures.front_chart(result.front, ringed, metric), caption))
    bar = ", and the bar is its 95 % interval" if result.interval_test else ""
    fitted = "" if result.test_per_image else " These are search images, which the pipeline was fitted to."
    caption = f"Each dot is an image, the ring is the mean{bar}.{fitted}"
    made.append(Chart("Image by image", figures.scores_chart(scores, result.interval_test, metric), caption))
    if result.proposers:
        caption = "The share of each proposer in the improvement that led to the pipeline above."
        made.append(Chart("Which proposers contributed", figures.shares_chart(result.proposers), caption))
    if result.learning and result.role != NETWORK:  # how much the networks themselves would gain is not known
        caption = (
            "The mean score if the pipeline is chosen by some of the search images and scored on the others. If the "
            f"curve still rises at its right end, more {more} would help."
        )
        chart = figures.learning_chart(result.learning, metric, more)
        made.append(Chart(f"Would more {more} help?", chart, caption))
    return made


def _facts(result: SearchResult) -> list[tuple[str, str]]:
    facts = [("run", result.run), ("dataset", result.dataset_path or result.dataset)]
    facts.append(("images", ", ".join(f"{n} {split}" for split, n in result.n_images.items())))
    model = result.settings.get("agent") not in _UNUSED
    chosen = {
        name: "yes" if value is True else value
        for name, value in result.settings.items()
        if name not in _UNSAID and (model or name not in _OF_MODEL) and _USUAL.get(name) != value
    }
    chosen |= ReadOptions(**result.settings.get("reading", {})).of_images.chosen
    facts += [(_SETTINGS.get(name, name), f"{value}") for name, value in chosen.items() if value not in _UNUSED]
    facts += [(f"{METRIC_LABELS[name]} on test", f"{score:.3f}") for name, score in result.all_metrics_test.items()]
    if looks := result.looks:
        facts.append(("uses of the test images", f"{looks}"))
    facts += [
        ("ended because", STOPPED[result.stopped_by]),
        ("can be replayed", "yes" if result.reproducible else "no"),
    ]
    if none := result.networks.get("none"):
        facts.append(("networks", f"none: {none}"))
    facts += [("not scored", f"{stem}: {why}") for stem, why in result.not_scored.items()]
    facts += [("left out", f"{one.task}, which contains the test image {one.barred_by}") for one in result.barred]
    winners = [one for one in result.reused if one.won is not False]
    for one in sorted(winners, key=lambda one: -(one.score or 0.0))[:REUSED]:
        facts.append(("started from", f"{one.task} ({one.score:.3f})"))
    if result.llm.calls:
        facts.append(("language model", f"{quantity(result.llm.calls, 'call')}, {result.llm.cost_usd:.2f} USD"))
    facts += [(name, version) for name, version in result.versions.items()]
    return [*facts, ("digest of the pipeline", result.digest), ("digest of the dataset", result.dataset_digest)]
