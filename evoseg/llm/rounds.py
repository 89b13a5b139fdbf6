"""One round with the model: its roles in turn, from what is known at a border to programs that can be evaluated."""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.facts import Facts
from evoseg.llm.asking import Asked, Asker
from evoseg.llm.card import data_card
from evoseg.llm.programs import Workshop
from evoseg.llm.prompts import messages
from evoseg.llm.roles import Cast
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline, print_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a model may learn of a dataset: search images only.

    Attributes
    ----------
    words : mapping of str to str
        What its card says; strangers' words.
    n_images : int
        Search images.
    samples : callable () -> sequence of Sample
        A few of them, with masks or points.
    pictures : callable (programs by image index) -> sequence of str
        Data URLs of search images made for eyes, with outlines of the truth, and of a program's answer if there is one.
    similar : callable () -> sequence of str
        Texts of programs that solved the most similar tasks.
    task : mapping of str to str
        Its "name", the "metric", and what a program "returns".
    """

    words: Mapping[str, str]
    n_images: int
    samples: Callable[[], Sequence[Sample]]
    pictures: Callable[[Mapping[int, Pipeline | None]], Sequence[str]] = lambda shown: ()
    similar: Callable[[], Sequence[str]] = lambda: ()
    task: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Brief:
    """What a round starts from; taken at a border, so that nothing changes while the model thinks.

    Attributes
    ----------
    round : int
        From 1.
    roles : tuple of str
        In turn; the last gives programs.
    told : mapping of str to JSON values
        By the names of `INPUTS`.
    worst : mapping of int to Pipeline or None
        Images to show, by index, with the program whose answer is drawn.
    macros : mapping of str to str
    """

    round: int
    roles: tuple[str, ...]
    facts: Facts
    told: Mapping[str, Any] = field(default_factory=dict)
    worst: Mapping[int, Pipeline | None] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrival:
    """What a round has brought: values that JSON knows, since the journal keeps them.

    Attributes
    ----------
    round : int
    roles : tuple of str
    calls : tuple of int
        Numbers of the calls that it took.
    fault : str
        Why it brought nothing, or less.
    over : bool
        Whether another round is of no use.
    description, critique : dict or None
    programs : tuple of {"name", "idea", "program"}
        Accepted by the reader; canonical texts.
    refused : tuple of {"name", "reason"}
    macros : dict of str to str
        New ones.
    """

    round: int
    roles: tuple[str, ...]
    calls: tuple[int, ...] = ()
    fault: str = ""
    over: bool = False
    description: dict[str, Any] | None = None
    critique: dict[str, Any] | None = None
    programs: tuple[dict[str, str], ...] = ()
    refused: tuple[dict[str, str], ...] = ()
    macros: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> str:
        """Return it as the journal keeps it."""
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return what a text was made from."""
        entries = json.loads(text)
        lists = {name: tuple(entries[name]) for name in ("roles", "calls", "programs", "refused")}
        return cls(**{**entries, **lists})


class Rounds:
    """Plays rounds, in the one thread that asks.

    Parameters
    ----------
    cast : Cast
    asker : Asker
    material : Material
    operators : sequence of Operator
        Those that the search may use.
    output : Kind
        What a program must return.
    sees : bool
        Whether the model takes pictures.
    """

    def __init__(
        self,
        cast: Cast,
        asker: Asker,
        material: Material,
        operators: Sequence[Operator],
        output: Kind,
        *,
        sees: bool,
    ) -> None:
        self._cast = cast
        self._asker = asker
        self._material = material
        self._operators = operators
        self._output = output
        self._sees = sees
        self._card: dict[str, Any] = {}

    def play(self, brief: Brief) -> Arrival:
        """Play a round; whatever happens, it comes to an end."""
        arrival = Arrival(brief.round, brief.roles)
        try:
            for name in brief.roles:
                arrival = self._act(brief, name, arrival)
                if arrival.over:
                    break
        except Exception:
            # A fault here is one of ours, or of a full disk. It costs the run its model, never the run.
            logger.exception("the agent has stopped")
            arrival = replace(arrival, fault="internal", over=True)
        return arrival

    def card(self, facts: Facts) -> dict[str, Any]:
        """Return the data card, which is made once."""
        if not self._card:
            material = self._material
            self._card = data_card(material.words, material.samples(), facts, material.n_images, material.task)
        return self._card

    def _act(self, brief: Brief, name: str, before: Arrival) -> Arrival:
        """Let one role play, and add what it says to what the round has brought."""
        role, told = self._cast.roles[name], dict(brief.told)
        told |= {"card": self.card(brief.facts), "similar": list(self._material.similar())}
        told |= {key: value for key in ("description", "critique") if (value := getattr(before, key))}
        workshop = Workshop(
            self._output, _names(self._operators), brief.facts.channels, {**brief.macros, **before.macros}
        )
        pictures = self._material.pictures(brief.worst) if self._sees and "pictures" in role.inputs else ()
        asked = self._asker.ask(
            brief.round, role, messages(role, self._cast, self._operators, told, pictures), workshop.review
        )
        return _with(before, role.output, asked, workshop, brief.macros)


def _with(before: Arrival, output: str, asked: Asked, workshop: Workshop, macros: Mapping[str, str]) -> Arrival:
    after = replace(before, calls=before.calls + asked.calls, fault=asked.fault, over=asked.over)
    said = asked.answers[0].model_dump() if asked.answers else None
    if output == "description":
        return replace(after, description=said)
    if output == "critique":
        return replace(after, critique=said)
    programs = [{"name": idea.name, "idea": idea.idea, "program": print_text(idea.pipeline)} for idea in workshop.ideas]
    return replace(
        after,
        programs=tuple(programs),
        refused=tuple(vars(refused) for refused in workshop.refused),
        macros={name: text for name, text in workshop.macros.items() if name not in macros},
    )


def _names(operators: Sequence[Operator]) -> Collection[str]:
    return {op.name for op in operators}
