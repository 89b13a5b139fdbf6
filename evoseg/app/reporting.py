"""What the report of a search shows, gathered from its result and a few of its images."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evoseg.app.datasets import Data, opened
from evoseg.app.found import Found, found_again
from evoseg.app.kept import count_looks, reading_in, result_of
from evoseg.app.plainly import in_short, why_shown
from evoseg.app.recording import data_of, recorded_splits, settings_of
from evoseg.app.runs import REPORT, FilesError, RunFolder, refuse_existing, run_folder
from evoseg.app.scoring import Judged, judged
from evoseg.app.words import METRIC_WORDS, baseline_words
from evoseg.base.kinds import Kind
from evoseg.data.reading import Reading
from evoseg.operators.registry import WHOLE, get
from evoseg.pipeline import Pipeline, print_text
from evoseg.pipeline.running import as_raw, step_values
from evoseg.store.runs import read_run

if TYPE_CHECKING:
    from evoseg.report.page import Chart, GalleryLine, Page, ScoreLine, StepLine
    from evoseg.report.sheet import Row

WORST, MIDDLE = 4, 3
"""Images of the gallery."""
REUSED = 5
"""Programs of solved tasks that are named, the best."""

_UNSAID = ("offers", "barred", "reading", "equal_as_one", "ipp")
"""Settings that are told elsewhere, or were not the user's choice."""
_SPLITS = {"test": "test images, never seen by the search", "search": "search images"}


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

    Raises
    ------
    EvosegError
        If there is no such run or it has no result yet, its dataset is gone or has changed, or `out` exists.
    """
    folder = run_folder(run)
    result = result_of(folder.path)
    if result is None:
        raise FilesError(
            f"{folder.name}: has no result yet. `evoseg runs resume {folder.name}` finishes the search and reports."
        )
    path = folder.path / REPORT
    if out is not None:
        path = Path(out).expanduser()
        refuse_existing([path], overwrite=overwrite)
    record = read_run(folder.path)
    dataset = opened(data_of(record, data), reading_in(folder.path))
    recorded_splits(record, dataset)
    found = found_again(result, folder)
    scores = image_scores(found)
    asked = settings_of(record, task)
    stems = gallery_stems(scores)
    shown = list(judged(found.pipeline, dataset, stems, kind=asked.kind, radius=asked.radius))
    if looks := count_looks(folder.path, "report", found.pipeline.digest, dataset, stems):
        found.result["looks"] = looks
    write_page(found, shown, path)
    return path


def image_scores(found: Found) -> dict[str, float]:
    """Return the champion's scores by stem: of the test images, or of the search images if there are none."""
    return found.test_per_image or dict(found.result["search_per_image"])


def write_page(found: Found, shown: Iterable[Judged], path: Path) -> None:
    """Write a report.

    Parameters
    ----------
    shown : iterable of Judged
        At least the images of `gallery_stems(image_scores(found))`, in any order.
    """
    from evoseg.report import page

    page.write_page(page_of(found, list(shown)), path)


def as_row(one: Judged, score: float | None = None) -> "Row":
    """Return an image with outlines that can be drawn of its answer and truth; planes have none."""
    from evoseg.report.overlays import drawable
    from evoseg.report.sheet import Row

    image = one.sample.image
    truth = None if one.truth is None else drawable(one.truth, image.shape)
    answer = np.zeros(image.shape[:2], bool) if one.answer.dtype == np.uint8 else drawable(one.answer, image.shape)
    return Row(one.sample.stem, image, answer, truth, score)


def page_of(found: Found, shown: Sequence[Judged]) -> "Page":
    """Return what a report shows; `shown` as for `write_page`."""
    from evoseg.report.page import Page
    from evoseg.report.pictures import image_picture

    result, scores = found.result, image_scores(found)
    by_stem = {one.sample.stem: one for one in shown}
    gallery = [by_stem[stem] for stem in gallery_stems(scores)]
    example = gallery[-1].sample
    return Page(
        title=f"{result['dataset']}",
        metric=METRIC_WORDS[found.metric],
        by_pixel=found.pipeline.output is Kind.MASK,
        in_short=in_short(found, gallery[:WORST]),
        text=print_text(found.pipeline),
        scores=_scores(found),
        stem=example.stem,
        image=image_picture(example.image, f"{example.stem} as it came"),
        steps=_steps(found.pipeline, example.image),
        gallery=[_gallery(one, scores) for one in gallery],
        charts=_charts(found, scores),
        per_image=sorted(scores.items(), key=lambda item: item[1]),
        facts=_facts(result),
    )


def _scores(found: Found) -> "list[ScoreLine]":
    from evoseg.report.page import ScoreLine

    lines, n = [], found.result["n_images"] | {"test": len(found.test_per_image)}
    for split in ("test", "selection", "search"):
        score = found.scores[split]
        if score is None:
            continue
        interval = {"test": found.interval_test, "selection": found.interval_selection}.get(split)
        note = f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        name = _SPLITS.get(split, "expected of new images before the test")
        lines.append(ScoreLine(name, score, n[split] or None, note))
    lines += [
        ScoreLine(baseline_words(name, found.metric), score, n["test"], _compared(found, name))
        for name, score in found.baselines_test.items()
    ]
    return lines


def _compared(found: Found, name: str) -> str:
    """Say by how much the pipeline scores higher than a baseline, if that is on record."""
    if name not in found.comparisons_test:
        return "for comparison, on the test images"
    by = found.comparisons_test[name]
    return (
        f"the pipeline scores {by.mean:+.3f} against it, image by image; 95 % interval {by.low:+.3f} to {by.high:+.3f}"
    )


def _steps(pipeline: Pipeline, image: Any) -> "list[StepLine]":
    from evoseg.report.page import StepLine
    from evoseg.report.pictures import found_picture, legible_gain, value_picture

    lines = []
    texts = [line.strip() for line in print_text(pipeline.for_images(None)).splitlines()[2:]]
    for s, text, value in zip(pipeline.steps, texts, step_values(pipeline.steps, as_raw(image)), strict=True):
        op = get(s.operator)
        gain = legible_gain(value) if op.output is Kind.GRAY else 1.0
        figures = f"{op.cost(s.params):.1f} ms per megapixel; {_looks(op.reach(s.params))}"
        figures += f"; shown {gain:g} times brighter" if gain > 1 else ""
        words = f"the result of {op.name}"
        whole = op.output in (Kind.LABELS, Kind.POINTS)
        picture = found_picture(image, value, words) if whole else value_picture(value, words, gain)
        lines.append(StepLine(text, op.summary, figures, picture))
    return lines


def _looks(reach: int) -> str:
    if reach == WHOLE:
        return "looks at the whole image"
    return f"looks at pixels within {reach} px" if reach else "looks at each pixel by itself"


def _gallery(one: Judged, scores: Mapping[str, float]) -> "GalleryLine":
    from evoseg.report.page import GalleryLine
    from evoseg.report.pictures import answer_picture, both_picture, difference_picture, truth_picture

    sample, row = one.sample, as_row(one)
    if row.truth is None:
        return GalleryLine(sample.stem, why_shown(sample.stem, scores), scores[sample.stem], (answer_picture(row),))
    # Pixels that differ say little of objects that were split or joined, and nothing of points.
    compared = difference_picture(row, sample.known) if row.answer.dtype == np.bool_ else both_picture(row)
    pictures = (truth_picture(row), answer_picture(row), compared)
    return GalleryLine(sample.stem, why_shown(sample.stem, scores), scores[sample.stem], pictures)


def _charts(found: Found, scores: Mapping[str, float]) -> "list[Chart]":
    from evoseg.report import charts
    from evoseg.report.page import Chart

    result, metric = found.result, METRIC_WORDS[found.metric]
    made = []
    if result["history"]:
        history = [*result["history"], [result["evaluations"], *result["history"][-1][1:]]]
        caption = (
            f"{result['evaluations']} candidates were scored on every search image in {result['seconds']:.0f} s, "
            f"{result['decided']} decided upon in all; the best came after {result['evaluations_to_best']}."
        )
        made.append(Chart("Best so far", charts.progress_chart(history, metric), caption))
    if result["front"]:
        search = found.scores["search"]
        champion = (found.pipeline.cost, search) if search is not None else None
        caption = (
            "Programs that none beats in score, length and cost at once, and the pipeline above (ringed). The command "
            f"evoseg runs show {RunFolder(found.run, found.files['result'].parent).name} --front lists them."
        )
        made.append(Chart("Accuracy against speed", charts.front_chart(result["front"], champion, metric), caption))
    caption = "A dot is an image, the ring their mean, the bar its 95 % interval."
    made.append(Chart("Image by image", charts.scores_chart(scores, found.interval_test, metric), caption))
    if result["proposers"]:
        caption = "Who proposed what raised the best score, by how far."
        made.append(Chart("Where it came from", charts.shares_chart(result["proposers"]), caption))
    if result.get("learning"):
        caption = (
            "The choice among the last candidates, made by some of the search images and scored on the others. Still "
            "rising at the right: more masks would help."
        )
        made.append(Chart("What masks are worth", charts.learning_chart(result["learning"], metric), caption))
    return made


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("run", result["run"]), ("dataset", result["dataset_path"] or result["dataset"])]
    facts.append(("images", ", ".join(f"{n} {split}" for split, n in result["n_images"].items())))
    chosen = {name: value for name, value in result["settings"].items() if name not in _UNSAID}
    chosen |= Reading(**result["settings"].get("reading", {})).of_images.chosen
    facts += [(name, f"{value}") for name, value in chosen.items() if value not in (None, "", [], "none")]
    facts += [(f"{METRIC_WORDS[name]} on test", f"{score:.3f}") for name, score in result["all_metrics_test"].items()]
    if looks := result.get("looks"):
        facts.append(("looks at the test images", f"{looks}"))
    facts += [("stopped by", result["stopped_by"]), ("reproducible", "yes" if result["reproducible"] else "no")]
    facts += [("not scored", f"{stem}: {why}") for stem, why in result.get("not_scored", {}).items()]
    for entry in result["warm_start"]:
        if "barred_by" in entry:
            facts.append(("left out", f"{entry['task']}, which has seen the test image {entry['barred_by']}"))
    tried = [entry for entry in result["warm_start"] if entry.get("score") is not None]
    for entry in sorted(tried, key=lambda entry: -entry["score"])[:REUSED]:
        facts.append(("started from", f"{entry['task']} ({entry['score']:.3f})"))
    if result["llm"]["calls"]:
        facts.append(("language model", f"{result['llm']['calls']} calls, {result['llm']['cost_usd']:.2f} USD"))
    facts += [(name, version) for name, version in result["versions"].items()]
    return [*facts, ("digest of the pipeline", result["digest"]), ("digest of the dataset", result["dataset_digest"])]
