"""A search's result in plain words, for a terminal."""

from textwrap import indent
from typing import Any

from evoseg.app.found import Found, FoundClasses
from evoseg.app.words import METRIC_WORDS, within
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
        indent(print_text(found.pipeline).rstrip(), "    "),
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
    lines = [f"{result['dataset']}: mean {word} of {len(found.classes)} classes {score:.3f} {proven}", ""]
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
    if test is None:
        why = "there are too few labelled images to keep some for a test"
        if n["test"]:
            why = f"none of the {n['test']} test images could be scored"
        return f"{name}: {word} {found.scores['selection']:.3f} expected on new images; not proven: {why}"
    between = ""
    if found.interval_test:
        low, high = found.interval_test
        between = f" (95 % interval {low:.3f} to {high:.3f})"
    n_test = len(found.test_per_image)
    images = "image" if n_test == 1 else "images"
    errors = found.result.get("error_px_test")
    off = f"; shifts are off by {errors['median']:.2f} px (median), at most {errors['max']:.2f}" if errors else ""
    return f"{name}: {word} {test:.3f}{between} on {n_test} test {images} that the search never saw{off}"


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
        words = {"all": "everything", "nothing": "nothing", "classic": "best classic"}
        for name, score in found.baselines_test.items():
            lines.append(f"    {words[name]:12s}{score:8.3f}")
    result = found.result
    lines.append(f"  {result['length']} steps, about {result['cost_ms_per_mpx']:.1f} ms per megapixel on one core")
    return "\n".join(lines)


def verdict(found: Found) -> str:
    """Say plainly whether this is good enough."""
    role, test = found.result["role"], found.scores["test"]
    if role == "constant":
        return (
            "Nothing good enough was found: an answer that ignores the image scores as well as anything that was tried."
        )
    if role == "classic":
        return (
            "Nothing good enough was found beyond the best classic recipe, which is the pipeline above: no evolved one "
            "clears it. More time or more labelled images may help."
        )
    rivals = {name: score for name, score in found.baselines_test.items() if test is not None and score >= test}
    if rivals:
        name, score = max(rivals.items(), key=lambda rival: rival[1])
        words = {
            "all": "answering 'everything'",
            "nothing": "answering 'nothing'",
            "classic": "the best classic recipe",
        }
        return (
            f"Not good enough: it was chosen on the other images, but on the test images {words[name]} scores "
            f"{score:.3f}, no less than this pipeline."
        )
    if test is None:
        return "It clears the baselines on the images that it was made with; how it does on new ones is not proven."
    clears = "it clears the answers that ignore the image and the best classic recipe"
    if found.metric == "iou" and test < 0.5:
        return (
            f"Not good, though {clears}: of the pixels that it or the truth marks, more than half are wrong, on "
            "average. Thin lines score low for a pixel's width; look at the pictures."
        )
    return f"Good enough: {clears}."


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
