"""From a goal in words to a task: a language model proposes what to search for, and by which metric."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from evoseg.core.errors import DatasetError, SettingsError
from evoseg.core.notes import quantity
from evoseg.datasets.classes import as_classes, classes_of
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.meaning import CLASSES
from evoseg.datasets.splits import split_to_search
from evoseg.datasets.survey import infer_task
from evoseg.evolve.tasks.task_kinds import AUTO, BINARY, TASKS, TaskKind, decide_task, find_kind, wants_classes
from evoseg.llm.agent_session import limits_of, task_context
from evoseg.llm.calls import MemoryCallLog
from evoseg.llm.consulting import CALLS, NoAnswerError, Question, consult, make_card, show_all
from evoseg.llm.limits import total_usage
from evoseg.llm.structured import Answer, TaskProposal
from evoseg.metrics import METRIC_LABELS, metric_name, within
from evoseg.runs.settings import RunSettings

MOST_CLASSES = 20
"""Masks with more values than these number objects, even if the values could be classes."""
POINTS = "points"


@dataclass(frozen=True)
class Framing:
    """What to search for, as a language model proposes it.

    Attributes
    ----------
    goal : str
        In the user's words.
    task, metric : str
        Of those that the dataset and the options allow.
    radius : float or None
        Largest distance at which points match, px; None for other tasks, and where it is left open.
    reason : str
        In the model's words; "" if only one task and metric were possible, so that no model was asked.
    """

    goal: str
    task: str
    metric: str
    radius: float | None = None
    reason: str = ""
    log: MemoryCallLog = field(default_factory=MemoryCallLog, repr=False, compare=False)

    def __str__(self) -> str:
        """Return it for people."""
        metric = f"{METRIC_LABELS[self.metric]}{within(self.radius)}"
        return f"goal: {self.goal}\nproposed: task {self.task}, scored by {metric}\nreason: {self.reason}"

    def frame(self, settings: RunSettings) -> RunSettings:
        """Return the settings of a search for this."""
        return replace(settings, task=self.task, metric=self.metric, radius=self.radius, goal_reason=self.reason)

    def pay(self, settings: RunSettings) -> RunSettings:
        """Return the settings without what the proposal took of the limits on the language model."""
        usage = total_usage(self.log.calls())
        tokens, usd = settings.llm_tokens, settings.llm_usd
        return replace(
            settings,
            llm_calls=settings.llm_calls - usage.calls,
            llm_tokens=None if tokens is None else tokens - usage.tokens_in - usage.tokens_out,
            llm_usd=None if usd is None else max(0.0, usd - usage.usd),
        )


def frame_task(settings: RunSettings, dataset: Dataset) -> Framing:
    """Return the task and metric that suit a goal; what the settings name is kept.

    Parameters
    ----------
    settings : RunSettings
        With a goal and an agent.

    Raises
    ------
    EvosegError
        If the dataset allows no task, a setting cannot be used, or the model gives no answer.
    """
    assert settings.goal is not None and settings.agent is not None
    choices = list_choices(settings, dataset)
    open_radius = settings.radius is None and dataset.card.radius is None and POINTS in choices
    if len(choices) == 1 and not open_radius:
        ((only, metrics),) = choices.items()
        if len(metrics) == 1:
            return Framing(settings.goal, only, metrics[0], settings.radius)

    def review(answer: Answer) -> list[str]:
        assert isinstance(answer, TaskProposal)
        if answer.task not in choices:
            return [f"task: '{answer.task}' is not possible here; choose one of {', '.join(choices)}."]
        if metric_name(answer.metric) not in choices[answer.task]:
            return [f"metric: the task {answer.task} is scored by {' or '.join(choices[answer.task])}."]
        return [] if answer.reason.strip() else ["reason: say in one sentence why."]

    kind, metric, _ = decide_task(*_usual(settings, dataset), dataset)
    task = task_context(dataset, split_to_search(dataset).search, kind, metric)
    guess = infer_task(dataset.survey, dataset.card)
    card = {name: value for name, value in make_card(task).items() if name != "task"}
    context = {
        "wanted": settings.goal,
        "card": card | {"task_by_rules": {"task": guess.task, "why": guess.why}},
        "choices": [{"task": name, "metrics": list(metrics)} for name, metrics in choices.items()],
    }
    question = Question("frame", context, show_all(task), kind.output, review)
    limits = limits_of(settings)
    limits = replace(limits, calls=min(CALLS, limits.calls))
    answer, tracker, log = consult(settings.agent, settings.base_url, limits, settings.roles, question)
    if review(answer):
        raise NoAnswerError(
            f"{settings.agent} proposed no task that is possible here in {quantity(tracker.usage.calls, 'call')}. Name "
            "the task and the metric yourself, or use another model."
        )
    assert isinstance(answer, TaskProposal)
    radius = settings.radius
    if answer.task == POINTS and open_radius:
        radius = answer.radius_px or None
    reason = " ".join(answer.reason.split())
    return Framing(settings.goal, answer.task, metric_name(answer.metric), radius, reason, log)


def list_choices(settings: RunSettings, dataset: Dataset) -> dict[str, Sequence[str]]:
    """Return the tasks that the settings and the truths of a dataset allow, with the metrics of each.

    Raises
    ------
    SettingsError
        If there are none.
    """
    if settings.task != AUTO:
        kind = find_kind(BINARY if settings.task == CLASSES else settings.task)
        return {settings.task: _metrics(settings, kind)}
    choices = {name: _metrics(settings, kind) for name, kind in TASKS.items() if _is_possible(settings, kind, dataset)}
    if BINARY in choices and 1 < _count_classes(dataset) <= MOST_CLASSES:
        choices[CLASSES] = choices[BINARY]
    if not choices:
        raise SettingsError(
            f"{dataset.title}: no labels fit a task that these options allow. Name the task that is meant."
        )
    return choices


def _is_possible(settings: RunSettings, kind: TaskKind, dataset: Dataset) -> bool:
    try:
        if not _metrics(settings, kind):
            return False
        decide_task(kind.name, None, dataset)
        settings.with_task(kind, kind.metrics[0], None)
    except SettingsError:
        return False
    return settings.radius is None or kind.name == POINTS


def _metrics(settings: RunSettings, kind: TaskKind) -> Sequence[str]:
    return kind.metrics if settings.metric is None else [name for name in kind.metrics if name == settings.metric]


def _count_classes(dataset: Dataset) -> int:
    try:
        return len(classes_of(as_classes(dataset)))
    except DatasetError:
        return 0


def _usual(settings: RunSettings, dataset: Dataset) -> tuple[str, str | None]:
    """Return the task and the metric that a search would take without a goal; the card of the data needs some."""
    return BINARY if wants_classes(settings.task, settings.metric, dataset) else settings.task, settings.metric
