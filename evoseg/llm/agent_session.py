"""A search's language model: from settings and the environment to a proposer, and what it cost and contributed."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from inspect import getdoc
from pathlib import Path
from threading import Event
from typing import Any

from evoseg.core.disk import data_folder, expand
from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.core.notes import quantity
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.journal import RecordedClock
from evoseg.evolve.loop import GENERATION_SIZE, Progress
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.evolve.solve import Solution
from evoseg.evolve.tasks.task_kinds import TaskKind
from evoseg.llm.agent import Agent, AgentThread
from evoseg.llm.calls import RESERVED, open_calls
from evoseg.llm.client import INTERRUPTED, Client, Endpoint, endpoint, key_variable, split_name
from evoseg.llm.limits import UsageLimits, UsageTracker, effective_limits
from evoseg.llm.prompts import messages, quote_text
from evoseg.llm.proposals import shown_text
from evoseg.llm.roles import ModelFacts, RoleSet, read_roles
from evoseg.llm.rounds import RoundRunner
from evoseg.llm.structured import StructuredClient
from evoseg.llm.workshop import TaskContext, Workshop
from evoseg.operators import registry
from evoseg.operators.registry import Operator
from evoseg.pipeline.structure import origin_shares
from evoseg.runs.code_files import admit_own, restore_codes, write_sources
from evoseg.runs.settings import RunSettings, check_caps
from evoseg.runs.status import AgentStatus
from evoseg.sandbox.operators import AdmittedCode

logger = logging.getLogger(__name__)

SIMILAR = 5
"""Solved tasks whose programs a model is shown, and whose macros it may use."""
MOST_NS_PER_PIXEL = 1000.0
"""Longest CPU time of an operator that a model writes: about that of a network. Slower ones hold up the search."""
NO_ROUND = (
    "The search ended before a round with the language model was complete. The first round begins after a generation "
    f"of up to {GENERATION_SIZE} candidates; allow more evaluations or more time."
)
PAIRS = (
    "A program makes a gray plane of each image of a pair. Where the two planes correlate best, the transform between "
    "the images (a shift, or a rotation as well) is read off; what counts is how close it is to the true one."
)


class AgentSession:
    """A search's language model, from before the search begins until its result is written.

    Parameters
    ----------
    settings : RunSettings
        Of the search; `agent` is set.

    Raises
    ------
    SettingsError, RoleError, MissingPackageError
        If a setting, a role or an installed package does not allow it.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.role_set = load_roles(settings.roles)
        self.endpoint = read_endpoint(settings.agent or "", settings.base_url)
        self.client = Client(self.endpoint)
        self.agent: Agent | None = None
        self.tracker: UsageTracker | None = None

    @contextmanager
    def running(
        self,
        settings: RunSettings,
        folder: Path,
        dataset: Dataset,
        splits: Splits,
        clock: RecordedClock,
        on_wait: Callable[[bool], None],
    ) -> Iterator[None]:
        """Run the model's thread as long as the block lasts.

        Parameters
        ----------
        settings : RunSettings
            With the task decided, and with what the library offers: the model is shown these programs.
        folder : Path
            Of the run, which the caller has locked.
        on_wait : callable
            As of `Agent`.
        """
        stop = Event()
        with open_calls(folder) as log:
            facts = self.role_set.models.get(self.endpoint.model)
            tracker = self.tracker = UsageTracker(limits_of(settings), log, facts)
            client = StructuredClient(self.client, tracker, self.role_set.schedule, stop, settings.llm_deadline)
            output = settings.kind.output
            operators = select_usable([op for op in registry.operators(retired=True) if settings.proposes(op)], output)
            context = replace(
                task_context(dataset, splits.search, settings.kind, settings.score, settings.goal),
                similar=lambda: [shown_text(offer.program) for offer in settings.offers[:SIMILAR]],
            )
            runner = RoundRunner(self.role_set, client, operators, output, context.n_images)

            def end() -> None:
                stop.set()
                self.client.close()

            def admit(source: str) -> AdmittedCode:
                admitted = admit_own(source, dataset.survey.facts[splits.search[0]].shape)
                check_cost(admitted)
                if not settings.allows(registry.get(admitted.name)):
                    raise EvosegError(f"pipelines for {settings.operators} cannot hold Python operators.")
                write_sources([admitted], folder)
                return admitted

            self.agent = Agent(
                self.role_set,
                clock,
                restore,
                workshop=Workshop(context, sees=facts is not None and facts.pictures),
                thread=AgentThread(runner, end, self.client.release),
                admit=admit,
                wait=settings.llm_wait,
                most_calls=tracker.limits.calls,
                on_wait=on_wait,
                given_macros=offered_macros(settings),
            )
            try:
                yield
            finally:
                self.close()

    @property
    def advisers(self) -> list[Agent]:
        """Who advises the search."""
        return [] if self.agent is None else [self.agent]

    def status(self, seen: Progress) -> AgentStatus | None:
        """Return what has been done so far; None before the search begins."""
        if self.tracker is None or self.agent is None:
            return None
        leader = max(seen.best, key=lambda scored: scored.score, default=None)
        credit = {} if leader is None else seen.credit(leader.pipeline)
        return AgentStatus(self.tracker.usage.calls, self.tracker.usage.usd, self._share(credit))

    def _share(self, credit: Mapping[str, float]) -> float:
        """Return the model's share of what all proposers have gained."""
        gained, name = sum(credit.values()), self.agent.name if self.agent else ""
        return credit.get(name, 0.0) / gained if gained else 0.0

    @property
    def macros(self) -> Mapping[str, str]:
        """What the model has named, as definitions by name."""
        return {} if self.agent is None else self.agent.macros

    def close(self) -> None:
        """Ask no more; a call that is under way is lost, and counts as it was reserved."""
        if self.agent is not None:
            self.agent.close()

    def as_json(self, solution: Solution) -> dict[str, Any]:
        """Return what a result says of the model."""
        assert self.tracker is not None and self.agent is not None
        usage, tally, limits = self.tracker.usage, self.agent.tally, self.tracker.limits
        progress = solution.progress
        # A call that was under way when its process was killed never got an outcome.
        faults = Counter(INTERRUPTED if c.state == RESERVED else c.fault for c in self.tracker.calls.values())
        faults.pop("", None)
        note = "" if tally.rounds or tally.over else NO_ROUND
        if note:
            logger.warning(note)
        own = origin_shares(solution.champion.scored.pipeline, progress.origins)
        return {
            "model": self.settings.agent,
            "base_url": self.settings.base_url,
            "calls": usage.calls,
            "cost_usd": round(usage.usd, 6),
            "tokens_in": usage.tokens_in,
            "tokens_out": usage.tokens_out,
            "caps": vars(limits),
            "faults": {fault: n for fault, n in sorted(faults.items()) if fault != INTERRUPTED},
            "unfinished": faults[INTERRUPTED],
            "rounds": tally.rounds,
            "programs": tally.programs,
            "refused": tally.refused,
            "duplicates": tally.duplicates,
            "scored": tally.scored,
            "leading": tally.leading,
            "operators": tally.operators,
            "experiments": tally.experiments,
            "stopped_by": tally.over,
            "credit": self._share(solution.credit),
            "champion_proposed": solution.champion.scored.proposer == self.agent.name,
            "champion_ancestry": own.get(self.agent.name, 0.0),
            "macros": self.agent.macros,
            "note": note,
        }


def offered_macros(settings: RunSettings) -> dict[str, str]:
    """Return the macros of the solved tasks that the library offers; of two with one name, that of the better offer."""
    return {name: text for offer in reversed(settings.offers[:SIMILAR]) for name, text in offer.macros.items()}


def open_agent(settings: RunSettings) -> AgentSession | None:
    """Return what a search with a language model needs; None if it has none.

    Raises
    ------
    SettingsError, RoleError, MissingPackageError
        As `AgentSession`.
    """
    return AgentSession(settings) if settings.agent else None


def run_agent(
    session: AgentSession | None,
    settings: RunSettings,
    folder: Path,
    dataset: Dataset,
    splits: Splits,
    clock: RecordedClock,
    on_wait: Callable[[bool], None],
) -> AbstractContextManager[None]:
    """Run a session's model as long as the block lasts; without a session, do nothing."""
    return nullcontext() if session is None else session.running(settings, folder, dataset, splits, clock, on_wait)


def replay_agent(clock: RecordedClock) -> Agent:
    """Return an adviser that repeats what a journal says a model has proposed."""
    return Agent(load_roles(None), clock, restore)


def check_cost(admitted: AdmittedCode) -> None:
    """Raise EvosegError if a model's operator takes too long for a search."""
    if admitted.cost > MOST_NS_PER_PIXEL:
        took, most = admitted.cost / 1e3, MOST_NS_PER_PIXEL / 1e3
        raise EvosegError(
            f"it takes {took:.1f} s for a megapixel, and may take {most:g} s. Use array operations instead of loops "
            "over pixels, or work on a smaller copy of the image."
        )


def restore(admitted: AdmittedCode) -> None:
    """Make an operator known that a run's model has written.

    Raises
    ------
    ConsentError
        If it has not been allowed.
    """
    restore_codes([admitted], "this run")


def task_context(
    dataset: Dataset, stems: Sequence[str], kind: TaskKind, metric: str, goal: str | None = None
) -> TaskContext:
    """Return what a model may be told of a task and of its images; a goal is the user's words."""
    words = {name: value for name, value in vars(dataset.card).items() if isinstance(value, str)}
    name = "the user's own" if kind.own else kind.name
    task = {"name": name, "metric": metric, "returns": str(kind.output)}
    if kind.own:
        task["defined_by"] = quote_text(getdoc(type(kind.make(metric))) or "")
    elif kind.output is Kind.GRAY:
        task["defined_by"] = PAIRS
    if goal is not None:
        task["goal"] = goal
    return TaskContext(words, len(stems), lambda i: dataset.load(stems[i]), kind.output, task=task)


def load_roles(roles: str | Path | None) -> RoleSet:
    """Return evoseg's own roles, with those of a folder in place of them or beside them.

    Raises
    ------
    RoleError
        If a file cannot be used.
    """
    return read_roles([data_folder("agents"), *([expand(roles)] if roles else [])])


def read_endpoint(agent: str, base_url: str | None) -> Endpoint:
    """Return the endpoint that a user named, with the key from the environment.

    Raises
    ------
    SettingsError
        If it cannot be used.
    """
    return endpoint(agent, base_url, os.environ.get(key_variable(split_name(agent)[0]), ""))


def limits_of(settings: RunSettings) -> UsageLimits:
    """Return the limits that a search was given."""
    return UsageLimits(settings.llm_calls, settings.llm_tokens, settings.llm_usd)


def with_token_limit(settings: RunSettings) -> RunSettings:
    """Return settings that name their limit on tokens, also where it only follows from the model.

    Raises
    ------
    SettingsError, RoleError
        If something is wrong with the settings.
    """
    if settings.agent is None:
        return settings
    facts = load_roles(settings.roles).models.get(read_endpoint(settings.agent, settings.base_url).model)
    return replace(settings, llm_tokens=effective_limits(limits_of(settings), facts).tokens)


def estimate_cost(
    agent: str,
    base_url: str | None,
    llm_calls: int,
    llm_tokens: int | None,
    llm_usd: float | None,
    roles: str | Path | None,
) -> str:
    """Say in one line what a model can cost at most, and what it will probably cost.

    Raises
    ------
    SettingsError, RoleError
        If something is wrong with the settings.
    """
    check_caps(llm_calls, llm_tokens, llm_usd)
    role_set, point = load_roles(roles), read_endpoint(agent, base_url)
    facts = role_set.models.get(point.model)
    limits = effective_limits(UsageLimits(llm_calls, llm_tokens, llm_usd), facts)
    most = [quantity(limits.calls, "call")]
    most += [f"{limits.tokens} tokens"] if limits.tokens is not None else []
    most += [f"${limits.usd:.2f}"] if limits.usd is not None else []
    read, written = _typical_tokens(role_set, registry.operators())
    words = f"about {read} input and {written} output tokens per call"
    price = _price_text(facts, limits.calls, read, written)
    where = f" at {base_url}" if base_url else ""
    return f"agent {agent}{where}: at most {', '.join(most)}; {words}; {price}"


def _price_text(facts: ModelFacts | None, calls: int, read: int, written: int) -> str:
    if facts is None:
        return "its price is unknown, so tokens are capped instead of money"
    about = f"all calls together about ${calls * (read * facts.usd_in + written * facts.usd_out) / 1e6:.2f}"
    return f"{about} by prices of {facts.as_of}, which may be out of date" if facts.as_of else about


def _typical_tokens(role_set: RoleSet, operators: list[Operator]) -> tuple[int, int]:
    """Return about how many tokens a call reads and writes: four bytes each, and an eighth of what it may write."""
    role = role_set.roles[role_set.schedule.role]
    data = 3000
    n_bytes = sum(len(m.text.encode()) for m in messages(role, role_set, operators, {}, ())) + data
    return 100 * round(n_bytes / 400), role.max_tokens // 8
