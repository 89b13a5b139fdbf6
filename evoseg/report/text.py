"""What a result says, in sentences: the summary of the command line, and the report's own words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import TYPE_CHECKING

from evoseg.core.kinds import Kind
from evoseg.core.notes import quantity
from evoseg.evolve.solve import ACCURATE, READABLE
from evoseg.inference.score import JudgedImage
from evoseg.metrics import METRIC_LABELS, baseline_words, within
from evoseg.metrics.detections import describe_detections
from evoseg.metrics.shift_scores import error_px
from evoseg.pipeline import print_text
from evoseg.pipeline.value import NETWORK
from evoseg.report.answers import explain_recommendation, tabulate_answers
from evoseg.report.verdicts import BETTER, LEAST_IMAGES, MIXED, NOT_BETTER, STROKES, TOO_FEW, WORSE
from evoseg.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from evoseg.report.results import ModelUse, MulticlassResult, SearchResult

_NAMED = 5
"""Images that are named at most."""
STOPPED = {
    "seconds": "its time was up",
    "evaluations": "all evaluations were used",
    "target-score": "the target score was reached",
    "interrupt": "it was interrupted",
    "exhausted": "there was nothing new to try",
}
SPLIT_WORDS = {
    "test": "test images (held out)",
    "selection": "expected on new images (before the test)",
    "search": "search images",
}
"""What the scores of `SearchResult.scores` are called."""
_RISING = 0.01
"""Gain from half of the masks to nearly all from which more are expected to help."""
_GAP = 0.05
"""Distance of the search images' score from the test's that says: the images at hand are too few or too alike."""


def summarise(result: "SearchResult") -> str:
    """Return what a person wants to know, the most important first."""
    parts = [
        headline(result),
        *list_programs(result),
        _score_table(result),
        *explain_recommendation(result),
        explain_verdict(result),
        *count_detections(result),
        *name_not_scored(result),
        *describe_reuse(result),
        _describe_effort(result),
        *_describe_model(result.llm),
        "\n".join([*_next(result), "files", *(f"  {path}" for path in result.files.values())]),
    ]
    return "\n\n".join(parts)


def list_programs(result: "SearchResult") -> list[str]:
    """Return the text of the recommended pipeline and, if that has a network in it, of the readable one."""
    shown = {"": result.pipeline}
    if result.accurate is not None:
        shown = {f"{result.recommended} (recommended)": result.pipeline, READABLE: result.readable}
        shown = {name: pipeline for name, pipeline in shown.items() if name != READABLE or pipeline != result.pipeline}
    texts = {name: indent(print_text(pipeline.for_images(None)).rstrip(), "    ") for name, pipeline in shown.items()}
    return [f"{name}\n{text}" if name else text for name, text in texts.items()]


def _next(result: "SearchResult") -> list[str]:
    """Name the run, and the command that usually comes next; nothing for a result that was not written."""
    if "result" not in result.files:
        return []
    word = RunFolder(result.run, result.files["result"].parent).word
    both = f"  ({word}#{READABLE} and {word}#{ACCURATE} are its two pipelines)" if result.accurate is not None else ""
    usual = "new_pairs/ --out aligned/" if result.pipeline.output is Kind.GRAY else "new_images/ --out segmented/"
    return [f"run {word}{both}", f"  evoseg apply {word} {usual}"]


def summarise_classes(result: "MulticlassResult") -> str:
    """Return what a person wants to know of a search for several classes."""
    word, test = METRIC_LABELS[result.metric], result.scores["test"]
    on = "on held-out test images" if test is not None else "expected on new images, not tested"
    score = test if test is not None else result.scores["selection"]
    strokes = _on_strokes(next(iter(result.classes.values())))
    lines = [f"{result.dataset}: mean {word} of {len(result.classes)} classes {score:.3f} {on}{strokes}", ""]
    width = max(map(len, result.classes))
    for part in result.pipeline.parts:
        name, of = part.name, result.classes[part.name]
        scores = [f"{split} {value:.3f}" for split, value in of.scores.items() if value is not None]
        together = f", in the class image {result.combined_test[name]:.3f}" if name in result.combined_test else ""
        network = "; with a network" if of.pipeline.has_network else ""
        lines.append(f"  {part.value:3d} {name:{width}s}  {', '.join(scores)}{together}{network}")
        if not of.good_enough:
            lines.append(f"      {'':{width}s}  {explain_verdict(of)}")
        lines += [f"      {'':{width}s}  {sentence}" for sentence in name_not_scored(of)]
    lines += ["", "Where masks overlap, the pixel belongs to the class with the higher expected score.", "files"]
    lines += [f"  {result.file}", *(f"  {result.file.parent / name}" for name in result.classes)]
    return "\n".join(lines)


def summarise_in_short(result: "SearchResult", worst: Sequence[JudgedImage]) -> list[str]:
    """Return a few sentences: how good, what it is, where it fails, would more masks help, and what was reused."""
    return [
        f"{headline(result)}.",
        explain_verdict(result),
        *explain_recommendation(result),
        *count_detections(result),
        *name_not_scored(result),
        _describe_pipeline(result),
        _describe_failures(result, worst),
        _judge_more_masks(result),
        *describe_reuse(result),
    ]


def headline(result: "SearchResult") -> str:
    """Return one line about how good the pipeline is, and how sure that is."""
    name, n = result.dataset, result.n_images
    word = METRIC_LABELS[result.metric] + within(result.radius_px)
    test, strokes = result.scores["test"], _on_strokes(result)
    if test is None:
        why = "there are too few labelled images to hold some out for a test"
        if n["test"]:
            why = f"none of the {n['test']} test images could be scored"
        return f"{name}: {word} {result.scores['selection']:.3f} expected on new images{strokes}; not tested: {why}"
    between = ""
    if result.interval_test:
        low, high = result.interval_test
        between = f" (95 % interval {low:.3f} to {high:.3f})"
    n_test = len(result.test_per_image)
    images = "image" if n_test == 1 else "images"
    errors = result.error_px_test
    off = f"; registration error: median {errors['median']:.2f} px, maximum {errors['max']:.2f} px" if errors else ""
    return f"{name}: {word} {test:.3f}{between} on {n_test} held-out test {images}{strokes}{off}"


def count_detections(result: "SearchResult") -> list[str]:
    """Say how many objects were missed and how many false alarms there were, and in which test image most."""
    n = len(result.detections_test)
    images = f"{n} test {'image' if n == 1 else 'images'}"
    return [describe_detections(result.detections_test, images)] if n else []


def name_not_scored(result: "SearchResult") -> list[str]:
    """Name the selection and test images that could not be scored, and why; nothing if the result is final."""
    reasons = result.not_scored
    sentences = []
    if reasons:
        named = "; ".join(f"{stem} ({why})" for stem, why in list(reasons.items())[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        images = "One image" if len(reasons) == 1 else f"{len(reasons)} images"
        sentences.append(f"{images} could not be scored, so the scores are means over the others: {named}{more}.")
    if result.stopped_by != "interrupt" and not result.final:
        if not reasons:
            sentences.append("A pipeline could not be scored on every image, and was left out of the comparison.")
        run = result.run if result.folder is None else RunFolder(result.run, result.folder).word
        sentences.append(f"`evoseg runs resume {run}` tries again.")
    return [" ".join(sentences)] if sentences else []


def _on_strokes(result: "SearchResult") -> str:
    labels = {
        STROKES: ", scored on scribbles and not on full masks",
        MIXED: ", scored on scribbles where there is no full mask",
    }
    return labels.get(result.scored_on, "")


def _score_table(result: "SearchResult") -> str:
    lines = list_scores_of_both(result) or _scores_of_one(result)
    if result.baselines_test:
        lines.append("  baselines on the test images")
        for name, score in result.baselines_test.items():
            lines.append(f"    {baseline_words(name, result.metric):40s}{score:8.3f}")
    if result.accurate is None:
        lines.append(f"  {result.length} steps, about {result.cost_ms_per_mpx:.1f} ms per megapixel on one core")
    return "\n".join(lines)


def list_scores_of_both(result: "SearchResult") -> list[str]:
    """Return the lines of a table with a column for each of two answers; none if there is only one."""
    rows = tabulate_answers(result, SPLIT_WORDS)
    if not rows:
        return []
    table = [(f"{METRIC_LABELS[result.metric]} (95 % interval)", list(result.ranked_answers)), *rows]
    lines = [f"    {words:40s}   " + "".join(f"{cell:25s}" for cell in cells) for words, cells in table]
    return [line.rstrip() for line in lines]


def n_selected(result: "SearchResult") -> int:
    """Return how many selection images could be scored."""
    return sum(stem not in result.not_scored for stem in result.splits.selection)


def _scores_of_one(result: "SearchResult") -> list[str]:
    n = result.n_images
    lines = [f"  {'':40s}{METRIC_LABELS[result.metric]:>10s} images"]
    for split in ("test", "selection", "search"):
        score = result.scores[split]
        if score is None:
            continue
        images, note = str(len(result.test_per_image) if split == "test" else n[split]), ""
        if split == "selection":
            low, high = result.interval_selection
            images = f"{n_selected(result) or ''}"
            note = f"  95 % interval {low:.3f} to {high:.3f}"
        lines.append(f"    {SPLIT_WORDS[split]:40s}{score:8.3f} {images:>6s}{note}".rstrip())
    return lines


def explain_verdict(result: "SearchResult") -> str:
    """Say whether the pipeline is significantly better than the baselines on the test images, and by how much."""
    sentences, test = [_compare_with_baselines(result)], result.scores["test"]
    if result.role == "constant":
        sentences.append("The pipeline above ignores the image: no candidate had a higher expected score.")
    elif result.role == "classic":
        sentences.append(
            "The pipeline above is the best classic recipe: no evolved pipeline had a higher expected score."
        )
    elif result.metric == "iou" and test is not None and test < 0.5:
        sentences.append(
            "The mean IoU is below 0.5. For thin lines, an error of one pixel in width is enough for that; look at the "
            "pictures."
        )
    return " ".join(sentences)


def _compare_with_baselines(result: "SearchResult") -> str:
    """Return the verdict with the comparisons that it follows from."""
    n = len(result.test_per_image)
    if result.verdict is None:
        return (
            "It is unknown whether it is significantly better than the baselines: this result was written by an early "
            "version of evoseg, which did not store the baselines' score for each image."
        )
    if result.verdict == TOO_FEW:
        counted = {0: "There is no test image", 1: "There is 1 test image"}.get(n, f"There are {n} test images")
        return (
            f"Too few test images to tell whether it is better than the baselines. {counted}; at least {LEAST_IMAGES} "
            "are needed."
        )
    compared = {baseline_words(name, result.metric): c for name, c in result.comparisons_test.items()}
    verdict = {
        BETTER: "Better than every baseline",
        WORSE: f"Worse than {_listed([name for name, c in compared.items() if c.high < 0], 'and')}",
        NOT_BETTER: "Not significantly better than "
        + _listed([name for name, c in compared.items() if c.low <= 0], "or"),
    }[result.verdict]
    own = "the best classic recipe" if result.role == "classic" else ""
    differences = ", ".join(
        f"{abs(c.mean):.3f} {'lower' if c.mean < 0 else 'higher'} than {name} ({c.low:+.3f} to {c.high:+.3f})"
        for name, c in sorted(compared.items(), key=lambda entry: entry[1].mean)
        if name != own
    )
    return f"{verdict}. On the {n} test images it scores {differences}; the brackets are 95 % intervals."


def _listed(names: list[str], word: str) -> str:
    """Return "A", "A or B", or "A, B or C"."""
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def describe_reuse(result: "SearchResult") -> list[str]:
    """Say what the programs of solved tasks contributed; nothing after a cold start."""
    word, tried = METRIC_LABELS[result.metric], result.reused
    left_out = [
        f"The solved task {one.task} was not used, because it contains the test image {one.barred_by}."
        for one in result.barred
    ]
    if not tried:
        return left_out
    text = f"Pipelines of {len(tried)} solved tasks were tried on a few images first."
    winners = sorted((one for one in tried if one.won is not False), key=lambda one: -(one.score or 0.0))
    if not winners:
        text += " None was better than the best classic recipe, so the search began without them."
        return [text, *left_out]
    text += (
        f" {len(winners)} of them did better than the best classic recipe, and the search began with these. The best "
        f"one, from {winners[0].task}, had {word} {winners[0].score:.3f} on images that it was not fitted to."
    )
    owner = "result" if result.accurate is None else "readable pipeline"
    kept = dict.fromkeys(one.task for one in winners if one.kept)
    text += f" The {owner} contains {'parts of: ' + ', '.join(kept) if kept else 'no part of them'}."
    return [text, *left_out]


def _describe_model(use: "ModelUse") -> list[str]:
    """Say what a language model cost and gained, if there was one."""
    if use.model is None:
        return []
    text = f"{use.model}: {quantity(use.calls, 'call')}, ${use.cost_usd:.4f}; {use.scored} of its programs were scored"
    failed = ", ".join(f"{n} x {reason}" for reason, n in use.faults.items())
    gain, steps = (f"{100 * share:.0f} %" for share in (use.credit, use.champion_ancestry))
    worth = f"they account for {gain} of the improvement and {steps} of the pipeline's steps"
    said = f"{text}, {worth}{f'; failed calls: {failed}' if failed else ''}."
    return [f"{said} {use.note}".rstrip()]


def _describe_effort(result: "SearchResult") -> str:
    search = result.scores["search"]
    best = result.history[-1][2] if result.history else 0.0
    in_all = f", in all {result.seconds_in_all:.1f} s" if result.seconds_in_all else ""
    candidates = "1 candidate" if result.evaluations == 1 else f"{result.evaluations} candidates"
    text = (
        f"{candidates} ({result.evaluations_per_second:.1f} per second), search {result.seconds:.1f} s{in_all}; the "
        f"best was number {result.evaluations_to_best}; the search ended because {STOPPED[result.stopped_by]}."
    )
    if search is not None and round(best, 3) > round(search, 3):
        text += (
            f" That candidate had {METRIC_LABELS[result.metric]} {best:.3f} on the search images; the pipeline above "
            "has a higher expected score on new images."
        )
    return text


_PLACES = {2: "second lowest", 3: "third lowest"}


def describe_rank(stem: str, scores: Mapping[str, float]) -> str:
    """Say which place an image has among all."""
    ordered = sorted(scores, key=lambda one: scores[one])
    place = ordered.index(stem) + 1
    n = len(ordered)
    if place == 1:
        return f"the lowest of {n} scores"
    if place <= n / 3:
        return f"{_PLACES.get(place, f'{place}th lowest')} of {n}"
    return f"the highest of {n} scores" if place == n else "near the median"


def _describe_pipeline(result: "SearchResult") -> str:
    used = Counter(s.operator for s in result.pipeline.steps)
    names = ", ".join(name if n == 1 else f"{name} ({n} times)" for name, n in used.items())
    filters = "one step" if result.length == 1 else f"{result.length} steps"
    return (
        f"The pipeline consists of {filters}: {names}. It takes about {result.cost_ms_per_mpx:.1f} ms per megapixel on "
        "one core."
    )


def _describe_failures(result: "SearchResult", worst: Sequence[JudgedImage]) -> str:
    """Say on which images it does worst, and whether it misses or marks too much there."""
    names = ", ".join(one.sample.stem for one in worst)
    images = "image" if len(worst) == 1 else "images"
    scores = sorted(one.scores[result.metric] for one in worst)
    lowest_and_highest = [*scores[:1], *scores[1:][-1:]]
    between = f"{METRIC_LABELS[result.metric]} {' to '.join(f'{score:.2f}' for score in lowest_and_highest)}"
    errors = [one.errors for one in worst if one.errors is not None]
    if worst and not errors:
        most = "" if len(worst) == 1 else "up to "
        off = f", {most}{error_px(scores[0]):.2f} px off" if result.metric == "closeness" else ""
        return f"It scores lowest on {images} {names} ({between}{off})."
    missed, extra = sum(missed for missed, _ in errors), sum(extra for _, extra in errors)
    problem = "as much is missed as falsely marked"
    if extra > 2 * missed:
        problem = "most errors are false positives"
    elif missed > 2 * extra:
        problem = "most errors are missed foreground"
    elif extra > missed:
        problem = "more is falsely marked than missed"
    elif missed > extra:
        problem = "more is missed than falsely marked"
    if max(missed, extra) == 0:
        return f"It makes no error on the {images} shown below ({names})."
    return f"It scores lowest on {images} {names} ({between}); {problem} there."


def labelled_words(result: "SearchResult") -> str:
    """Return what a search of this kind can be given more of."""
    return {Kind.POINTS: "labelled images", Kind.GRAY: "pairs"}.get(result.pipeline.output, "masks")


def _judge_more_masks(result: "SearchResult") -> str:
    """Judge by the learning curve, and by how much higher the search images score than the test images."""
    curve, n, more = result.learning, result.n_images["search"], labelled_words(result)
    word, test, search = METRIC_LABELS[result.metric], result.scores["test"], result.scores["search"]
    if result.role == NETWORK:
        return f"More {more} usually help a network, which learns from each; by how much was not measured here."
    if not curve:
        return f"{n} search images are too few to estimate whether more {more} would help; they rarely do harm."
    half = min(curve, key=lambda point: abs(point[0] - n / 2))
    gain = curve[-1][1] - half[1]
    if gain >= _RISING:
        return (
            f"More {more} would probably help: choosing the pipeline with {curve[-1][0]:g} search images instead of "
            f"{half[0]:g} raised {word} on the remaining ones by {gain:.3f}."
        )
    if test is not None and search is not None and search - test >= _GAP:
        return (
            f"More {more} may help if they show other kinds of images: the score on the search images is "
            f"{search - test:.2f} higher than on the test images."
        )
    return (
        f"More {more} like these would hardly help: choosing the pipeline with {curve[-1][0]:g} search images instead "
        f"of {half[0]:g} {'did not raise' if gain <= 0 else 'hardly raised'} {word} on the remaining ones "
        f"({gain:+.3f})."
    )
