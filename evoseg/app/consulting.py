"""Ask a language model about a dataset or a pipeline, outside of any search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from evoseg.app.agents import asker_of, cast_of, client_of, endpoint_of, material_of
from evoseg.app.datasets import Data, name_of, opened
from evoseg.app.pipelines import check_channels
from evoseg.app.scoring import judged, scored_kind
from evoseg.app.settings import LLM_USD, check_caps
from evoseg.app.tasks import AUTO, BINARY, check_names, decided, radius_for, sets_classes
from evoseg.app.words import METRIC_WORDS
from evoseg.base.errors import EvosegError
from evoseg.base.kinds import Kind
from evoseg.base.notes import one_line
from evoseg.data.splits import split_to_search
from evoseg.evolve.facts import survey_images
from evoseg.evolve.growth import useful
from evoseg.llm.card import MOST_IMAGES, data_card, image_id
from evoseg.llm.leash import Caps
from evoseg.llm.prompts import messages, shown_text
from evoseg.llm.roles import Role
from evoseg.llm.rounds import Material
from evoseg.operators import registry
from evoseg.pipeline import Pipeline

CALLS = 6
"""Most calls for one question: three forms of asking, and retries."""
SHOWN = 4


class NoAnswerError(EvosegError, RuntimeError):
    """A model that was asked and said nothing that can be used."""


@dataclass(frozen=True)
class Consultant:
    """Which model is asked.

    Attributes
    ----------
    agent : str
        "openai:MODEL".
    base_url : str or None
    llm_usd : float
        Cap on the money, where the price is known.
    roles : path or None
    """

    agent: str
    base_url: str | None = None
    llm_usd: float = LLM_USD
    roles: str | Path | None = None


def describe(data: Data, consultant: Consultant | None = None) -> dict[str, Any]:
    """Return the data card of a dataset's search images, with what a model says of them if one is asked.

    Raises
    ------
    EvosegError
        For faults of the dataset or the settings, or if the model gives no answer.
    """
    dataset = opened(data)
    kind, metric, _ = decided(BINARY if sets_classes(AUTO, None, dataset) else AUTO, None, dataset)
    stems = split_to_search(dataset).search
    material = material_of(dataset, stems, kind, metric)
    card = _card(material)
    document: dict[str, Any] = {"dataset": name_of(dataset), "card": card, "description": None}
    if consultant is None:
        return document
    shown: dict[int, Pipeline | None] = dict.fromkeys(range(min(SHOWN, len(stems))))
    said, cost = _asked(consultant, "describe", {"card": card}, material, shown)
    return document | {"description": said, "llm": cost}


def critique(pipeline: Pipeline, data: Data, consultant: Consultant, metric: str | None = None) -> dict[str, Any]:
    """Return what a model says of a pipeline's worst search images; test images are never shown.

    Raises
    ------
    EvosegError
        For faults of the dataset, the pipeline or the settings, or if the model gives no answer.
    """
    check_names(AUTO, metric)
    dataset = opened(data)
    kind, metric, _ = decided(scored_kind(pipeline).name, metric, dataset)
    check_channels(pipeline, len(dataset.channels), dataset.title)
    stems = split_to_search(dataset).search
    material = material_of(dataset, stems, kind, metric)
    seen = judged(pipeline, dataset, stems, kind=kind, radius=radius_for(kind, None, dataset))
    scores = np.array([found.scores[metric] for found in seen])
    worst = [int(i) for i in scores.argsort(kind="stable")[:SHOWN]]
    best = {
        "program": shown_text(pipeline),
        "score": round(float(scores.mean()), 4),
        "score_per_image": {image_id(i): round(float(score), 4) for i, score in enumerate(scores)},
    }
    told = {"card": _card(material), "best": best}
    said, cost = _asked(consultant, "critique", told, material, dict.fromkeys(worst, pipeline))
    names = {image_id(i): stem for i, stem in enumerate(stems)}
    worst_scores = {stems[i]: float(scores[i]) for i in worst}
    return (
        {"dataset": name_of(dataset), "metric": metric, "worst": worst_scores, "images": names} | said | {"llm": cost}
    )


def _card(material: Material) -> dict[str, Any]:
    samples = material.samples()
    return data_card(
        material.words, samples, survey_images([s.image for s in samples]), material.n_images, material.task
    )


def _asked(
    consultant: Consultant,
    name: str,
    told: Mapping[str, Any],
    material: Material,
    shown: Mapping[int, Pipeline | None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a role answers, and what that cost."""
    from evoseg.store.calls import LooseLedger

    check_caps(CALLS, None, consultant.llm_usd)
    cast = cast_of(consultant.roles)
    endpoint = endpoint_of(consultant.agent, consultant.base_url)
    client = client_of(endpoint)
    caps = Caps(CALLS, None, consultant.llm_usd)
    purse, asker = asker_of(endpoint, client, cast, caps, LooseLedger(), Event())
    operators = useful(registry.operators(), Kind(material.task["returns"]))
    facts, role = cast.models.get(endpoint.model), cast.roles[name]
    pictures = material.pictures(shown) if facts is not None and facts.pictures and _sees(role) else ()
    try:
        asked = asker.ask(1, role, messages(role, cast, operators, told, pictures), lambda answer: [])
    finally:
        client.release()
    spent = purse.spent
    if not asked.answers:
        raise NoAnswerError(
            f"{consultant.agent} gave no answer that can be used ({asked.fault}) in {spent.calls} calls. Try again, or "
            "another model."
        )
    return asked.answers[0].model_dump(), {"calls": spent.calls, "cost_usd": round(spent.usd, 6)}


def _sees(role: Role) -> bool:
    return "pictures" in role.inputs


def card_text(document: Mapping[str, Any]) -> str:
    """Return a card, and what a model said, for a terminal."""
    card = document["card"]
    objects = card["objects"]
    sizes = ", ".join(f"{height} x {width}" for height, width in card["height_width_px"])
    channels = "1 channel" if card["channels"] == 1 else f"{card['channels']} channels"
    lines = [
        (
            f"{document['dataset']}: {card['images']} search images of {channels}, {sizes} px, "
            f"{card['dtype']}; figures from up to {MOST_IMAGES} of them"
        ),
        *(f"  {key:14s} {value}" for key, value in card["said_of_it"].items()),
        f"  task           {card['task']['name']}, scored by {METRIC_WORDS[card['task']['metric']]}",
    ]
    if "share_of_pixels" in objects:
        share = 100 * objects["share_of_pixels"]
        lines.append(f"  foreground     {share:.1f} % of pixels, {objects['per_image']} objects an image")
    else:
        lines.append(f"  points         {objects['per_image']} an image")
    if "thickness_px" in objects:
        low, middle, high = objects["area_px_10_50_90_percent"]
        lines.append(f"  objects        {objects['thickness_px']:g} px thick, area {middle} px ({low} to {high})")
    if card["planes"]:
        lines += ["", "  objects against the rest, and against their surroundings, in standard deviations"]
    for plane in card["planes"]:
        figures = f"{plane['objects_minus_rest']:+6.2f} {plane['objects_minus_surroundings']:+6.2f}"
        lines.append(f"    {figures}  {plane['plane']}")
    if document["description"]:
        said = document["description"]
        lines += ["", f"  {said['summary']}", f"  foreground: {said['foreground']}"]
        lines += [f"  cue: {word}" for word in said["cues"]] + [
            f"  difficulty: {word}" for word in said["difficulties"]
        ]
    return "\n".join(map(one_line, lines))


def critique_text(document: Mapping[str, Any]) -> str:
    """Return a critique for a terminal."""
    lines = ["worst search images: " + ", ".join(f"{stem} {score:.3f}" for stem, score in document["worst"].items())]
    names = document["images"]
    used = [key for key in names if any(key in word for word in [*document["findings"], *document["advice"]])]
    lines += [f"  {key} is {names[key]}" for key in used]
    lines += [f"finding: {word}" for word in document["findings"]] + [f"advice: {word}" for word in document["advice"]]
    cost = document["llm"]
    return "\n".join([*map(one_line, lines), f"({cost['calls']} calls, ${cost['cost_usd']:.4f})"])
