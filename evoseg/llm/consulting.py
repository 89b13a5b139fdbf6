"""Ask a language model about a dataset or a pipeline, without a search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from evoseg.core.errors import EvosegError, SettingsError
from evoseg.core.kinds import Kind
from evoseg.core.notes import one_line, quantity
from evoseg.datasets.splits import split_to_search
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.evolve.tasks.task_kinds import AUTO, BINARY, check_names, choose_radius, decide_task, wants_classes
from evoseg.inference.score import find_task_kind, judge_images
from evoseg.llm.agent_session import load_roles, read_endpoint, task_context
from evoseg.llm.calls import MemoryCallLog
from evoseg.llm.client import Client
from evoseg.llm.limits import UsageLimits, UsageTracker
from evoseg.llm.prompts import MOST_IMAGES, image_id, messages, per_image, program_text, round_score
from evoseg.llm.structured import Answer, Review, StructuredClient, Verdict, Verdicts
from evoseg.llm.workshop import TaskContext, Workshop
from evoseg.metrics import METRIC_LABELS
from evoseg.operators import registry
from evoseg.pipeline import Pipeline
from evoseg.runs.opening import Data, dataset_name, open_data
from evoseg.runs.options import LLM_USD
from evoseg.runs.pipeline_files import check_channels
from evoseg.runs.settings import check_caps

CALLS = 6
"""Maximum number of calls for one question: three ways to ask, and retries."""
SHOWN = 4


class NoAnswerError(EvosegError, RuntimeError):
    """A language model gave no answer that can be used."""


def describe(
    data: Data,
    agent: str | None = None,
    *,
    base_url: str | None = None,
    llm_usd: float = LLM_USD,
    roles: str | Path | None = None,
) -> dict[str, Any]:
    """Return the data card of a dataset's search images, with a language model's description if one is asked.

    Parameters
    ----------
    agent : str or None
        The model, such as "openai:MODEL"; None asks no model.
    base_url : str or None
        Of the endpoint; None for the provider's own.
    llm_usd : float
        Most money to spend, where the price is known.
    roles : path or None
        Folder of roles that replace evoseg's own.

    Raises
    ------
    EvosegError
        For faults of the dataset or the settings, or if the model gives no answer.
    """
    dataset = open_data(data)
    kind, metric, _ = decide_task(BINARY if wants_classes(AUTO, None, dataset) else AUTO, None, dataset)
    stems = split_to_search(dataset).search
    task = task_context(dataset, stems, kind, metric)
    card = make_card(task)
    document: dict[str, Any] = {"dataset": dataset_name(dataset), "card": card, "description": None}
    if agent is None:
        return document
    question = Question("describe", {"card": card}, show_all(task), kind.output)
    answer, cost = _ask(agent, base_url, llm_usd, roles, question)
    return document | {"description": answer, "llm": cost}


def critique(
    pipeline: Pipeline,
    data: Data,
    agent: str,
    metric: str | None = None,
    *,
    base_url: str | None = None,
    llm_usd: float = LLM_USD,
    roles: str | Path | None = None,
) -> dict[str, Any]:
    """Return a language model's critique of a pipeline on its worst search images; test images are never shown.

    Parameters
    ----------
    agent, base_url, llm_usd, roles
        As of `describe`.
    metric : str or None
        By which images are the worst; None for the usual one.

    Raises
    ------
    EvosegError
        For faults of the dataset, the pipeline or the settings, or if the model gives no answer.
    """
    check_names(AUTO, metric)
    dataset = open_data(data)
    kind, metric, _ = decide_task(find_task_kind(pipeline).name, metric, dataset)
    check_channels(pipeline, len(dataset.channels), dataset.title)
    stems = split_to_search(dataset).search
    workshop = Workshop(task_context(dataset, stems, kind, metric), sees=True)
    seen = judge_images(pipeline, dataset, stems, kind=kind, radius=choose_radius(kind, None, dataset))
    scores = np.array([found.scores[metric] for found in seen])
    worst = [int(i) for i in scores.argsort(kind="stable")[:SHOWN]]
    leader = {
        "program": program_text(pipeline),
        "score": round_score(float(scores.mean())),
        "score_per_image": per_image(scores),
    }
    context = {"card": make_card(workshop.task), "leader": leader}
    pictures = {"pictures": lambda: [workshop.draw(i, pipeline) for i in worst]}
    question = Question("critique", context, pictures, kind.output)
    answer, cost = _ask(agent, base_url, llm_usd, roles, question)
    names = {image_id(i): stem for i, stem in enumerate(stems)}
    worst_scores = {stems[i]: float(scores[i]) for i in worst}
    shown = {"dataset": dataset_name(dataset), "metric": metric, "worst": worst_scores, "images": names}
    return shown | answer | {"llm": cost}


def show_all(task: TaskContext) -> dict[str, Callable[[], Sequence[str]]]:
    """Return what makes the overview of a task's search images, as a question needs it."""
    return {"overview": lambda: [Workshop(task, sees=True).overview()]}


def make_card(task: TaskContext) -> dict[str, Any]:
    """Return the data card of a task's search images."""
    images = [task.load(i).image for i in evenly_spaced(task.n_images, MOST_IMAGES)]
    return Workshop(task, sees=False).card(measure_images(images))


def check_sight(agent: str, base_url: str | None = None, roles: str | Path | None = None) -> None:
    """Make sure that a model is known to take pictures.

    Raises
    ------
    SettingsError
        If it is not, or the model or the roles cannot be used.
    """
    model = read_endpoint(agent, base_url).model
    facts = load_roles(roles).models.get(model)
    if facts is None or not facts.pictures:
        raise SettingsError(
            f"agent is '{agent}', which is not known to take pictures. Name another model, or say that it does in a "
            f"models.yaml: `{model}: {{usd_in: 1.0, usd_out: 4.0, pictures: true}}`, in a folder that --roles (roles=) "
            "names."
        )


def judge_answers(
    wanted: str,
    pictures: Sequence[str],
    agent: str,
    *,
    base_url: str | None = None,
    llm_usd: float = LLM_USD,
    roles: str | Path | None = None,
) -> tuple[list[Verdict], dict[str, Any]]:
    """Ask a language model which of several answers mark what a user wants.

    Parameters
    ----------
    wanted : str
        In the user's words.
    pictures : sequence of str
        One for each answer, as data URLs.
    agent, base_url, llm_usd, roles
        As of `describe`; the model must take pictures.

    Returns
    -------
    verdicts : list of Verdict
        In the order of the pictures.
    cost : dict
        Number of calls, and USD.

    Raises
    ------
    EvosegError
        If a setting cannot be used, or the model gives no answer.
    """
    check_sight(agent, base_url, roles)
    numbers = list(range(1, len(pictures) + 1))

    def review(answer: Answer) -> list[str]:
        assert isinstance(answer, Verdicts)
        given = sorted(verdict.number for verdict in answer.verdicts)
        return [] if given == numbers else [f"verdicts: one is needed for each of the numbers {numbers}, once."]

    question = Question("choose", {"wanted": wanted}, {"pictures": lambda: pictures}, Kind.MASK, review)
    answer, cost = _ask(agent, base_url, llm_usd, roles, question)
    verdicts = sorted(Verdicts(**answer).verdicts, key=lambda verdict: verdict.number)
    if [verdict.number for verdict in verdicts] != numbers:
        raise NoAnswerError(f"{agent} did not judge each of the {len(pictures)} answers. Try again.")
    return verdicts, cost


@dataclass(frozen=True)
class Question:
    """What a role is asked.

    Attributes
    ----------
    role : str
    context : mapping of str to JSON values
        By the names of inputs.
    pictures : mapping of str to callables () -> sequence of str
        Data URLs, by the inputs of roles; called only if the role and the model take them.
    output : Kind
        What programs return, if the role names operators.
    review : callable
        Returns the problems of an answer.
    """

    role: str
    context: Mapping[str, Any]
    pictures: Mapping[str, Callable[[], Sequence[str]]]
    output: Kind
    review: Review = lambda answer: []


def _ask(
    agent: str, base_url: str | None, llm_usd: float, roles: str | Path | None, question: Question
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last answer of a role, and what it cost."""
    check_caps(CALLS, None, llm_usd)
    answer, tracker, _ = consult(agent, base_url, UsageLimits(CALLS, None, llm_usd), roles, question)
    usage = tracker.usage
    return answer.model_dump(), {"calls": usage.calls, "cost_usd": round(usage.usd, 6)}


def consult(
    agent: str, base_url: str | None, limits: UsageLimits, roles: str | Path | None, question: Question
) -> tuple[Answer, UsageTracker, MemoryCallLog]:
    """Return the last answer of a role, with the calls that it took.

    Raises
    ------
    EvosegError
        If a setting cannot be used, or the model gives no answer.
    """
    role_set = load_roles(roles)
    endpoint = read_endpoint(agent, base_url)
    connection = Client(endpoint)
    facts, log = role_set.models.get(endpoint.model), MemoryCallLog()
    tracker = UsageTracker(limits, log, facts)
    client = StructuredClient(connection, tracker, role_set.schedule, Event())
    operators = select_usable(registry.operators(), question.output)
    role = role_set.roles[question.role]
    wanted = [name for name in role.inputs if name in question.pictures] if facts and facts.pictures else []
    pictures = [url for name in wanted for url in question.pictures[name]()]
    try:
        reply = client.ask(0, role, messages(role, role_set, operators, question.context, pictures), question.review)
    finally:
        connection.release()
    if not reply.answers:
        raise NoAnswerError(
            f"{agent} gave no usable reply ({reply.fault}) in {quantity(tracker.usage.calls, 'call')}. Try "
            "again, or use another model."
        )
    return reply.answers[-1], tracker, log


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
        f"  task           {card['task']['name']}, scored by {METRIC_LABELS[card['task']['metric']]}",
    ]
    if "share_of_pixels" in objects:
        share = 100 * objects["share_of_pixels"]
        lines.append(f"  foreground     {share:.1f} % of pixels, {objects['per_image']} objects an image")
    elif "per_image" in objects:
        lines.append(f"  points         {objects['per_image']} an image")
    elif "shift_px_median_and_most" in objects:
        middle, most = objects["shift_px_median_and_most"]
        lines.append(f"  shifts         {middle:g} px, at most {most:g} px")
    if "thickness_px" in objects:
        low, middle, high = objects["area_px_10_50_90_percent"]
        lines.append(f"  objects        {objects['thickness_px']:g} px thick, area {middle} px ({low} to {high})")
    if card["planes"]:
        lines += ["", "  objects against the rest, and against their surroundings, in standard deviations"]
    for plane in card["planes"]:
        figures = f"{plane['objects_minus_rest']:+6.2f} {plane['objects_minus_surroundings']:+6.2f}"
        lines.append(f"    {figures}  {plane['plane']}")
    if document["description"]:
        answer = document["description"]
        lines += ["", f"  {answer['summary']}", f"  foreground: {answer['foreground']}"]
        lines += [f"  cue: {word}" for word in answer["cues"]] + [
            f"  difficulty: {word}" for word in answer["difficulties"]
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
    return "\n".join([*map(one_line, lines), f"({quantity(cost['calls'], 'call')}, ${cost['cost_usd']:.4f})"])
