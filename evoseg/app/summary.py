"""A search's result in plain words, for a terminal."""

from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from evoseg.app.found import FULL, MIXED, STROKES, Found, FoundClasses
from evoseg.app.verdicts import BETTER, LEAST_IMAGES, NOT_SURELY, TOO_FEW, WORSE
from evoseg.app.words import METRIC_WORDS, baseline_words, within
from evoseg.pipeline import print_text

_NAMED = 5
"""Images that are named at most."""
_STOPPED = {
    "seconds": "time was up",
    "evaluations": "the evaluations were spent",
    "target-score": "the target score was reached",
    "interrupt": "it was interrupted",
    "exhausted": "there was nothing new to try",
}


def summary(found: Found) -> str:
    """Return what a person wants to know, the most important first."""
    result = found.result
    parts = [
        headline(found),
        indent(print_text(found.pipeline.for_images(None)).rstrip(), "    "),
        _table(found),
        verdict(found),
        *not_scored(found),
        *reused(found),
        _effort(found),
        *_agent(result),
        "\n".join(["files", *(f"  {path}" for path in found.files.values())]),
    ]
    return "\n\n".join(parts)


def classes_summary(found: FoundClasses) -> str:
    """Return what a person wants to know of a search for several classes."""
    word, result = METRIC_WORDS[found.metric], found.result
    test = found.scores["test"]
    proven = "on test images that no search saw" if test is not None else "expected on new images; not proven"
    score = test if test is not None else found.scores["selection"]
    strokes = on_strokes(next(iter(found.classes.values())).result)
    lines = [f"{result['dataset']}: mean {word} of {len(found.classes)} classes {score:.3f} {proven}{strokes}", ""]
    width = max(map(len, found.classes))
    for entry in result["classes"]:
        name = entry["name"]
        scores = [f"{split} {value:.3f}" for split, value in entry["scores"].items() if value is not None]
        together = f", in the image of classes {found.combined_test[name]:.3f}" if name in found.combined_test else ""
        lines.append(f"  {entry['value']:3d} {name:{width}s}  {', '.join(scores)}{together}")
        if not entry["good_enough"]:
            lines.append(f"      {'':{width}s}  {verdict(found.classes[name])}")
        lines += [f"      {'':{width}s}  {words}" for words in not_scored(found.classes[name])]
    lines += ["", "Where masks overlap, the class that was expected to score higher has the pixel.", "files"]
    lines += [f"  {found.file}", *(f"  {entry['run']}" for entry in result["classes"])]
    return "\n".join(lines)


def headline(found: Found) -> str:
    """Say in one line how good the pipeline is, and how sure that is."""
    name, n = found.result["dataset"], found.result["n_images"]
    word = METRIC_WORDS[found.metric] + within(found.result.get("radius_px"))
    test = found.scores["test"]
    strokes = on_strokes(found.result)
    if test is None:
        why = "there are too few labelled images to keep some for a test"
        if n["test"]:
            why = f"none of the {n['test']} test images could be scored"
        return f"{name}: {word} {found.scores['selection']:.3f} expected on new images{strokes}; not proven: {why}"
    between = ""
    if found.interval_test:
        low, high = found.interval_test
        between = f" (95 % interval {low:.3f} to {high:.3f})"
    n_test = len(found.test_per_image)
    images = "image" if n_test == 1 else "images"
    errors = found.result.get("error_px_test")
    off = f"; shifts are off by {errors['median']:.2f} px (median), at most {errors['max']:.2f}" if errors else ""
    seen = f"on {n_test} test {images} that the search never saw"
    return f"{name}: {word} {test:.3f}{between} {seen}{strokes}{off}"


def not_scored(found: Found) -> list[str]:
    """Name the selection and test images that could not be scored, and say why; nothing if all is final."""
    result = found.result
    reasons: dict[str, str] = result.get("not_scored", {})
    words = []
    if reasons:
        named = "; ".join(f"{stem} ({why})" for stem, why in list(reasons.items())[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        images = "One image" if len(reasons) == 1 else f"{len(reasons)} images"
        words.append(f"{images} could not be scored, and the scores are over the others: {named}{more}.")
    if result["stopped_by"] != "interrupt" and not result.get("final", True):
        if not reasons:
            words.append("A pipeline could not be scored on every image, and was left out of the comparison.")
        words.append(f"`evoseg runs resume {found.run}` tries again.")
    return [" ".join(words)] if words else []


def on_strokes(result: Mapping[str, Any]) -> str:
    """Say that scores rest on strokes, if they do."""
    said = {STROKES: ", scored on strokes and not on full masks", MIXED: ", scored on strokes where no mask is full"}
    return said.get(result.get("scored_on", FULL), "")


def _table(found: Found) -> str:
    word, n = METRIC_WORDS[found.metric], found.result["n_images"]
    lines = [f"  {'':12s}{word:>10s} images"]
    for split in ("test", "selection", "search"):
        score = found.scores[split]
        if score is None:
            continue
        images, note = str(len(found.test_per_image) if split == "test" else n[split]), ""
        if split == "selection":
            low, high = found.interval_selection
            images = images if n[split] else ""
            note = f"  expected of new images, within {low:.3f} to {high:.3f} by 95 %"
        lines.append(f"    {split:12s}{score:8.3f} {images:>6s}{note}")
    if found.baselines_test:
        lines.append("  on the test images for comparison")
        words = {"all": "everything", "classic": "best classic"}
        if found.metric == "closeness":
            words["nothing"] = "no shift"
        for name, score in found.baselines_test.items():
            lines.append(f"    {words.get(name, name):12s}{score:8.3f}")
    result = found.result
    lines.append(f"  {result['length']} steps, about {result['cost_ms_per_mpx']:.1f} ms per megapixel on one core")
    return "\n".join(lines)


def verdict(found: Found) -> str:
    """Say whether the pipeline is surely better than the baselines on the test images, and by how much."""
    said, test = [_judged(found)], found.scores["test"]
    if found.result["role"] == "constant":
        said.append("The pipeline above ignores the image: nothing that was tried was expected to score higher.")
    elif found.result["role"] == "classic":
        said.append("The pipeline above is the best classic recipe: no evolved one was expected to score higher.")
    elif found.metric == "iou" and test is not None and test < 0.5:
        said.append(
            "On average, more than half of the pixels that it or the truth marks are wrong. Thin lines score low for a "
            "pixel's width; look at the pictures."
        )
    return " ".join(said)


def _judged(found: Found) -> str:
    """Return the verdict with the comparisons that it follows from."""
    n = len(found.test_per_image)
    if found.verdict is None:
        return (
            "Whether it is surely better than the baselines cannot be said: this result was written by an early "
            "version of evoseg, which did not keep the baselines' score of each image."
        )
    if found.verdict == TOO_FEW:
        counted = {0: "There is no test image", 1: "There is 1 test image"}.get(n, f"There are {n} test images")
        return (
            f"Too few test images to tell whether it is better than the baselines. {counted}; at least {LEAST_IMAGES} "
            "are needed."
        )
    compared = {baseline_words(name, found.metric): c for name, c in found.comparisons_test.items()}
    said = {
        BETTER: "Better than every baseline",
        WORSE: f"Worse than {_listed([name for name, c in compared.items() if c.high < 0])}",
        NOT_SURELY: f"Not surely better than {_listed([name for name, c in compared.items() if c.low <= 0])}",
    }[found.verdict]
    own = "the best classic recipe" if found.result["role"] == "classic" else ""
    told = ", ".join(
        f"{abs(c.mean):.3f} {'lower' if c.mean < 0 else 'higher'} than {name} ({c.low:+.3f} to {c.high:+.3f})"
        for name, c in sorted(compared.items(), key=lambda entry: entry[1].mean)
        if name != own
    )
    return f"{said}. Compared image by image on {n} test images, it scores {told}; in brackets, 95 % intervals."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def reused(found: Found) -> list[str]:
    """Say what the programs of solved tasks were worth here; nothing after a cold start."""
    result, word = found.result, METRIC_WORDS[found.metric]
    left_out = [
        f"The solved task {entry['task']} was left out: it has seen the test image {entry['barred_by']}."
        for entry in result["warm_start"]
        if "barred_by" in entry
    ]
    tried = [entry for entry in result["warm_start"] if entry.get("score") is not None]
    if not tried:
        return left_out
    best = max(tried, key=lambda entry: entry["score"])
    classic = max((f["search"] for f in result["finalists"] if f["role"] == "classic"), default=0.0)
    words = (
        f"Programs of {len(tried)} solved tasks were tried first: refitted, the best, from {best['task']}, scored "
        f"{word} {best['score']:.3f} on the search images, and the best classic recipe {classic:.3f}."
    )
    kept = [entry["task"] for entry in tried if entry["kept"]]
    n, better = result["evaluations"], [at for at, _, score in result["history"] if score > best["score"]]
    if best["score"] <= classic:
        words += " None of them did better."
    elif better:
        words += f" Nothing better was found before candidate {better[0]} of {n}."
    else:
        words += f" Nothing better was found among {n} candidates."
    if kept:
        words += f" What was reused lives on in the answer: {', '.join(dict.fromkeys(kept))}."
    else:
        words += " The answer is built of other parts."
    return [words, *left_out]


def _agent(result: dict[str, Any]) -> list[str]:
    """Say what a language model cost and was worth, if one was asked."""
    llm = result["llm"]
    if "model" not in llm:
        return []
    words = f"{llm['model']}: {llm['calls']} calls, ${llm['cost_usd']:.4f}; {llm['scored']} of its programs were scored"
    faults = ", ".join(f"{n} x {fault}" for fault, n in llm["faults"].items())
    worth = f"they brought {100 * llm['credit']:.0f} % of the gains and {100 * llm['champion_ancestry']:.0f} % of the "
    return [f"{words}, {worth}champion's steps{f'; faults: {faults}' if faults else ''}."]


def _effort(found: Found) -> str:
    result, search = found.result, found.scores["search"]
    words = (
        f"{result['evaluations']} candidates in {result['seconds']:.1f} s ({result['evaluations_per_second']:.1f} per "
        f"second), the best after {result['evaluations_to_best']}; it ended because {_STOPPED[result['stopped_by']]}."
    )
    best = result["history"][-1][2] if result["history"] else 0.0
    if search is not None and round(best, 3) > round(search, 3):
        words += (
            f" That best one scored {METRIC_WORDS[found.metric]} {best:.3f} on the search images; the pipeline above "
            "was preferred by what is expected of new images."
        )
    return words
