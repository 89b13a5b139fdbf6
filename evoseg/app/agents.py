"""A search's language model: from settings and the environment to a proposer, and what it has cost and brought."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from evoseg.app.scoring import truth_of
from evoseg.app.settings import RunSettings, check_caps
from evoseg.app.tasks import TaskKind
from evoseg.base.errors import SettingsError
from evoseg.base.kinds import Kind
from evoseg.data.dataset import Dataset, Sample
from evoseg.data.splits import Splits
from evoseg.evolve.evaluator import evenly_spaced
from evoseg.evolve.growth import useful
from evoseg.evolve.journal import RecordedClock
from evoseg.evolve.search import Progress
from evoseg.evolve.skeletons import ancestry
from evoseg.evolve.solve import Solution
from evoseg.operators import registry
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline, print_text

if TYPE_CHECKING:
    from evoseg.llm.agent import Agent
    from evoseg.llm.asking import Asker
    from evoseg.llm.client import Client, Endpoint
    from evoseg.llm.leash import Caps, Purse
    from evoseg.llm.roles import Cast, ModelFacts
    from evoseg.llm.rounds import Material
    from evoseg.store.calls import Ledger

KEY = "OPENAI_API_KEY"
"""The variable that holds the key, and the only place where it is looked for."""
SIMILAR = 5
"""Solved tasks whose programs a model is shown, and whose macros it may use."""


@dataclass(frozen=True)
class AgentStatus:
    """What a language model has done so far.

    Attributes
    ----------
    calls : int
    usd : float
        Spent, or reserved for a call that is under way.
    credit : float
        Its programs' share of what all ancestors of the best candidate gained.
    """

    calls: int
    usd: float
    credit: float


class Staff:
    """What a search with a language model needs, found to be right before the search begins."""

    def __init__(self, asked: RunSettings) -> None:
        self.asked = asked
        self.cast = cast_of(asked.roles)
        self.endpoint = endpoint_of(asked.agent or "", asked.base_url)
        self.client = client_of(self.endpoint)
        self.agent: Agent | None = None
        self.purse: Purse | None = None

    @property
    def guests(self) -> list["Agent"]:
        """Who proposes beside the search's own."""
        return [] if self.agent is None else [self.agent]

    def status(self, seen: Progress) -> AgentStatus | None:
        """Return what has been done so far; None before the search begins."""
        if self.purse is None or self.agent is None:
            return None
        leader = max(seen.best, key=lambda scored: scored.score, default=None)
        credit = {} if leader is None else seen.credit(leader.pipeline)
        return AgentStatus(self.purse.spent.calls, self.purse.spent.usd, self._share(credit))

    def _share(self, credit: Mapping[str, float]) -> float:
        """Return the model's share of what all proposers have gained."""
        gained, name = sum(credit.values()), self.agent.name if self.agent else ""
        return credit.get(name, 0.0) / gained if gained else 0.0

    @property
    def macros(self) -> Mapping[str, str]:
        """What the model has named, as definitions by name."""
        return {} if self.agent is None else self.agent.macros

    def close(self) -> None:
        """Ask no more; what was under way is lost, and counted as it was reserved."""
        if self.agent is not None:
            self.agent.close()

    def as_json(self, solution: Solution) -> dict[str, Any]:
        """Return what a result says of the model."""
        from evoseg.llm.client import INTERRUPTED
        from evoseg.store.calls import RESERVED

        assert self.purse is not None and self.agent is not None
        spent, tally, caps = self.purse.spent, self.agent.tally, self.purse.caps
        progress = solution.progress
        # A call that was under way in a process that was killed is one that nobody has heard the end of.
        faults = Counter(INTERRUPTED if c.state == RESERVED else c.fault for c in self.purse.calls.values())
        faults.pop("", None)
        own = ancestry(solution.champion.scored.pipeline, progress.origins)
        return {
            "model": self.asked.agent,
            "base_url": self.asked.base_url,
            "calls": spent.calls,
            "cost_usd": round(spent.usd, 6),
            "tokens_in": spent.tokens_in,
            "tokens_out": spent.tokens_out,
            "caps": vars(caps),
            "faults": {fault: n for fault, n in sorted(faults.items()) if fault != INTERRUPTED},
            "unfinished": faults[INTERRUPTED],
            "rounds": tally.rounds,
            "programs": tally.programs,
            "refused": tally.refused,
            "duplicates": tally.duplicates,
            "scored": tally.scored,
            "leading": tally.leading,
            "stopped_by": tally.over,
            "credit": self._share(solution.credit),
            "champion_proposed": solution.champion.scored.proposer == self.agent.name,
            "champion_ancestry": own.get(self.agent.name, 0.0),
            "macros": self.agent.macros,
        }


def given_macros(asked: RunSettings) -> dict[str, str]:
    """Return the macros that come with what the library offers; of two with one name that of the better offer."""
    return {name: text for offer in reversed(asked.offers[:SIMILAR]) for name, text in offer.macros.items()}


def staff_of(asked: RunSettings) -> Staff | None:
    """Return what a search with a language model needs; None if it has none, and then nothing is imported.

    Raises
    ------
    SettingsError, RoleError, MissingPackageError
        If something is wrong with it.
    """
    return Staff(asked) if asked.agent else None


@contextmanager
def at_work(
    staff: Staff | None, asked: RunSettings, folder: Path, dataset: Dataset, splits: Splits, clock: RecordedClock
) -> Iterator[None]:
    """Have a model at hand as long as the block lasts.

    Parameters
    ----------
    asked : RunSettings
        With the task decided, and what the library has for it: the model is told of these programs.
    folder : Path
        Of the run, which the caller has locked.
    """
    if staff is None:
        yield
        return
    from evoseg.llm.agent import Agent, Desk
    from evoseg.llm.rounds import Rounds
    from evoseg.store.calls import open_calls

    stop = Event()
    with open_calls(folder) as ledger:
        staff.purse, asker = asker_of(staff.endpoint, staff.client, staff.cast, caps_of(asked), ledger, stop)
        output = asked.kind.output
        operators = useful([op for op in registry.operators(optional=True) if asked.usable(op)], output)
        facts = staff.cast.models.get(staff.endpoint.model)
        sees = facts is not None and facts.pictures
        material = replace(
            material_of(dataset, splits.search, asked.kind, asked.score),
            similar=lambda: [print_text(offer.program) for offer in asked.offers[:SIMILAR]],
        )
        rounds = Rounds(staff.cast, asker, material, operators, output, sees=sees)

        def end() -> None:
            stop.set()
            staff.client.close()

        desk = Desk(rounds, end, staff.client.release)
        staff.agent = Agent(staff.cast, clock.arrival, lambda: not clock.replaying, desk, given_macros(asked))
        try:
            yield
        finally:
            staff.close()


def told_again(clock: RecordedClock) -> "Agent":
    """Return a proposer that tells a journal again and asks nobody."""
    from evoseg.llm.agent import Agent

    return Agent(cast_of(None), clock.arrival)


def material_of(dataset: Dataset, stems: Sequence[str], kind: TaskKind, metric: str) -> "Material":
    """Return what a model may learn of a task and of some images of its dataset."""
    from evoseg.llm.card import MOST_IMAGES
    from evoseg.llm.rounds import Material

    if kind.output is Kind.GRAY:
        raise SettingsError(f"{dataset.title}: data cards tell of masks, objects and points; its task is {kind.name}.")

    def samples() -> list[Sample]:
        return [dataset.load(stems[i]) for i in evenly_spaced(len(stems), MOST_IMAGES)]

    words = {name: value for name, value in vars(dataset.card).items() if isinstance(value, str)}
    task = {"name": kind.name, "metric": metric, "returns": str(kind.output)}
    return Material(words, len(stems), samples, partial(_pictures, dataset, stems, kind.output), task=task)


def _pictures(dataset: Dataset, stems: Sequence[str], output: Kind, shown: Mapping[int, Pipeline | None]) -> list[str]:
    """Return search images made for eyes as data URLs."""
    from evoseg.report.eyes import data_url, panels
    from evoseg.report.overlays import drawable

    urls = []
    for i, program in shown.items():
        sample = dataset.load(stems[i])
        answer = None if program is None else drawable(program(sample.image), sample.image.shape)
        truth = truth_of(sample, output)
        truth = None if truth is None else drawable(truth, sample.image.shape)
        urls.append(data_url(panels(sample.image, truth, answer)))
    return urls


def cast_of(roles: str | Path | None) -> "Cast":
    """Return evoseg's own roles, with those of a folder in place of them or beside them.

    Raises
    ------
    RoleError
        If a file cannot be used.
    """
    from evoseg.base.resources import data_folder
    from evoseg.llm.roles import read_cast

    return read_cast([data_folder("agents"), *([Path(roles).expanduser()] if roles else [])])


def endpoint_of(agent: str, base_url: str | None) -> "Endpoint":
    """Return the endpoint that a user named, with the key from the environment.

    Raises
    ------
    SettingsError
        If something is wrong with it.
    """
    from evoseg.llm.client import endpoint

    return endpoint(agent, base_url, os.environ.get(KEY, ""))


def client_of(endpoint: "Endpoint") -> "Client":
    """Return what speaks with an endpoint.

    Raises
    ------
    MissingPackageError
        If LangChain is not installed.
    """
    from evoseg.llm.client import Client

    return Client(endpoint)


def caps_of(asked: RunSettings) -> "Caps":
    """Return the caps that were asked for."""
    from evoseg.llm.leash import Caps

    return Caps(asked.llm_calls, asked.llm_tokens, asked.llm_usd)


def capped(asked: RunSettings) -> RunSettings:
    """Return settings that name their cap on tokens, also where it only follows from the model.

    Raises
    ------
    SettingsError, RoleError
        If something is wrong with the settings.
    """
    if asked.agent is None:
        return asked
    from evoseg.llm.leash import effective

    facts = cast_of(asked.roles).models.get(endpoint_of(asked.agent, asked.base_url).model)
    return replace(asked, llm_tokens=effective(caps_of(asked), facts).tokens)


def asker_of(
    endpoint: "Endpoint", client: "Client", cast: "Cast", caps: "Caps", ledger: "Ledger", stop: Event
) -> "tuple[Purse, Asker]":
    """Return what counts calls, and what makes them."""
    from evoseg.llm.asking import Asker
    from evoseg.llm.leash import Purse

    purse = Purse(caps, ledger, cast.models.get(endpoint.model))
    return purse, Asker(client, purse, cast.schedule, stop)


def estimate(
    agent: str,
    base_url: str | None,
    llm_calls: int,
    llm_tokens: int | None,
    llm_usd: float | None,
    roles: str | Path | None,
) -> str:
    """Say in a line what a model may cost at most, and about what it will.

    Raises
    ------
    SettingsError, RoleError
        If something is wrong with the settings.
    """
    from evoseg.llm.leash import Caps, effective

    check_caps(llm_calls, llm_tokens, llm_usd)
    cast, point = cast_of(roles), endpoint_of(agent, base_url)
    facts = cast.models.get(point.model)
    caps = effective(Caps(llm_calls, llm_tokens, llm_usd), facts)
    most = [f"{caps.calls} calls"]
    most += [f"{caps.tokens} tokens"] if caps.tokens is not None else []
    most += [f"${caps.usd:.2f}"] if caps.usd is not None else []
    read, written = _typical(cast, registry.operators())
    words = f"a call reads about {read} tokens and writes about {written}"
    price = _price(facts, caps.calls, read, written)
    return f"agent {agent} at {base_url or 'OpenAI'}: at most {', '.join(most)}; {words}; {price}"


def _price(facts: "ModelFacts | None", calls: int, read: int, written: int) -> str:
    if facts is None:
        return "its price is unknown, so tokens are capped instead of money"
    about = f"all calls together about ${calls * (read * facts.usd_in + written * facts.usd_out) / 1e6:.2f}"
    return f"{about} by prices of {facts.as_of}, which may be stale" if facts.as_of else about


def _typical(cast: "Cast", operators: list[Operator]) -> tuple[int, int]:
    """Return about how many tokens a call reads and writes: four bytes each, and half of what an answer may hold."""
    from evoseg.llm.prompts import messages

    role = cast.roles[cast.schedule.otherwise]
    data = 6000
    n_bytes = sum(len(m.text.encode()) for m in messages(role, cast, operators, {}, ())) + data
    return 100 * round(n_bytes / 400), role.max_tokens // 2
