"""The readable and the accurate pipeline side by side: which is recommended and why, and what the network is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evoseg.evolve.context import NOT_ASKED, OTHER_TASK
from evoseg.evolve.solve import ACCURATE, READABLE
from evoseg.metrics import METRIC_LABELS
from evoseg.operators.network import network_reach
from evoseg.report.verdicts import compare

if TYPE_CHECKING:
    from evoseg.report.results import NamedPipeline, SearchResult

_PRETRAINED = "EfficientNet-Lite0"
"""In the notes of networks: the encoder whose weights were learned from photographs."""
_SHARES = {1: "full", 2: "half the", 4: "a quarter of the"}
_GIVES = {
    "foreground": "the probability that it is foreground",
    "distance": "how far inside its object it lies, 0 at the rim and 1 in the middle",
    "points": "how near it is to a point",
}


def tabulate_answers(result: "SearchResult", split_words: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Return the rows of a table with a column per answer, the recommended one first; none if there is only one.

    Parameters
    ----------
    split_words : mapping of str to str
        What the scores are called, by split, in the order in which they are to stand.
    """
    answers = list(result.ranked_answers.values())
    if len(answers) < 2:
        return []
    rows = [(words, [_score(one, split) for one in answers]) for split, words in split_words.items()]
    rows = [(words, cells) for words, cells in rows if any(cells)]
    return [
        *rows,
        ("steps", [str(len(one.pipeline)) for one in answers]),
        ("ms per megapixel on one core, about", [_round(one.cost_ms_per_mpx) for one in answers]),
        ("size of the files", [_bytes(one.size_bytes) for one in answers]),
    ]


def _score(answer: "NamedPipeline", split: str) -> str:
    score = answer.scores[split]
    between = {"test": answer.interval_test, "selection": answer.interval_selection}.get(split)
    if score is None:
        return ""
    return f"{score:.3f}" + (f" ({between[0]:.3f} to {between[1]:.3f})" if between else "")


def _round(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _bytes(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e5 else f"{n / 1e3:.1f} kB"


def explain_recommendation(result: "SearchResult") -> list[str]:
    """Say which answer is recommended and why, or why there is no network where that is news; at most a paragraph."""
    if len(result.answers) < 2:
        why = str(result.networks.get("none", NOT_ASKED))
        return [] if why in (NOT_ASKED, OTHER_TASK) else [f"No network was trained: {why}."]
    scores = {name: result.answers[name].judged_per_image for name in (READABLE, ACCURATE)}
    by = compare(scores[ACCURATE], scores[READABLE])
    gain = by.mean if by is not None else _mean(scores[ACCURATE]) - _mean(scores[READABLE])
    between = "" if by is None else f" (95 % interval of the difference {by.low:+.3f} to {by.high:+.3f})"
    word = METRIC_LABELS[result.metric]
    if {*scores[ACCURATE]} & {*result.splits.selection}:
        on = "On the selection images, which neither was fitted to"
    else:
        on = "On the search images, each judged by curves, thresholds and networks that were fitted without it"
    if result.recommended == ACCURATE:
        why = f"The accurate pipeline, which has a trained network in it, is recommended. {on}, its {word} is "
        sign, note = ("higher", "") if gain >= 0 else ("lower", ", a difference that is not significant")
        return [f"{why}{abs(gain):.3f} {sign} than that of the readable one{note}{between}.{_ignored(result)}"]
    why = f"The readable pipeline, of filters only, is recommended. {on}, the {word} of the accurate one, which has a "
    return [f"{why}trained network in it, is significantly lower, by {-gain:.3f}{between}."]


def _ignored(result: "SearchResult") -> str:
    """Say that the readable answer is none, if it is everything or nothing."""
    if result.answers[READABLE].role != "constant":
        return ""
    n = result.evaluations
    why = "only one candidate was scored" if n == 1 else f"none of {n} candidates had a higher expected score"
    return f" The readable one ignores the image, as {why}. A longer search tries more of them."


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / max(len(scores), 1)


def describe_network(result: "SearchResult") -> list[str]:
    """Say in plain words what the network in the accurate pipeline is, and what its weights come from."""
    if result.accurate is None:
        return []
    notes: Mapping[str, Any] = result.networks
    n_images, n_networks = result.n_images["search"], notes.get("networks", 1)
    outputs = dict.fromkeys(str(s.params[1]) for s in result.accurate.steps if s.operator == "network")
    gives = " and ".join(_GIVES[output] for output in outputs)
    what = f"The step network runs a small neural network that evoseg trained on the {n_images} search images."
    sentences = [f"{what} For each pixel, it gives {gives}: black is 0, white is 1."]
    tuned = notes.get("tuning_steps", 0) > 0
    if n_networks > 1:
        others = (
            f"It has seen all of them; {n_networks} others were each"
            if tuned
            else f"It is the mean of {n_networks} networks, each"
        )
        sentences.append(
            f"{others} trained without a part of the images, so every search image can be judged by a network that has "
            f"not seen it (out of bag){_out_of_bag(notes, outputs)}."
        )
    begins = (
        f"It begins with {_PRETRAINED}, an encoder that has learned from a million photographs what edges and textures "
        f"look like; {'most of it was trained further, and ' if tuned else ''}the rest of the network was trained here."
        if notes.get("encoder") == _PRETRAINED
        else "It was trained from scratch."
    )
    resolution = _SHARES.get(int(notes.get("reduction", 1)), "a part of the")
    reach = max(network_reach(weights) for weights in result.accurate.networks)
    sentences.append(f"{begins} It works at {resolution} resolution and looks at most {reach} px around a pixel.")
    if notes.get("encoder") == _PRETRAINED:
        sentences.append(
            "Licence: the encoder's weights are published under the Apache License 2.0. They were learned from "
            "ImageNet, whose images are meant for non-commercial research; --encoder none does without them."
        )
    return sentences


def _out_of_bag(notes: Mapping[str, Any], outputs: Mapping[str, None]) -> str:
    scores: Sequence[float] = notes.get("out_of_bag", [])
    if not scores:
        return ""
    points = "points" in outputs
    what = "its blobs overlap with the true ones by" if points else "its foreground alone has a mean IoU of"
    return f": there, {what} {sum(scores) / len(scores):.2f} ({min(scores):.2f} to {max(scores):.2f})"
