"""One round with the model: its roles in turn, from what the search knows to programs that can be evaluated."""

import json
import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from evoseg.core.errors import PipelineError, legible
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.proposers.warm_start import contributed_to
from evoseg.llm.prompts import data_card, messages
from evoseg.llm.roles import RoleSet
from evoseg.llm.structured import Answer, Programs, StructuredClient, StructuredReply
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline, RevisionWarning, print_text, read_text
from evoseg.pipeline.textform import add_macros, find_macros

logger = logging.getLogger(__name__)


MOST_STEPS = 40
"""Largest number of steps; longer programs are hard to read and expensive to run."""


@dataclass(frozen=True)
class AcceptedProgram:
    """A program of the model, accepted by the reader.

    Attributes
    ----------
    name, idea : str
        The model's own words.
    """

    name: str
    idea: str
    pipeline: Pipeline


@dataclass(frozen=True)
class RefusedProgram:
    """A program that the reader did not accept."""

    name: str
    reason: str


@dataclass
class ProposalParser:
    """Reads the programs of answers, and collects those that are valid.

    Parameters
    ----------
    output : Kind
        What a program must return.
    operators : collection of str
        Those that this search may use.
    channels : int
        Of the images.
    macros : dict of str to str
        Definitions that programs may use; those of accepted programs are added.
    """

    output: Kind
    operators: Collection[str]
    channels: int
    macros: dict[str, str] = field(default_factory=dict)
    accepted: list[AcceptedProgram] = field(default_factory=list)
    refused: list[RefusedProgram] = field(default_factory=list)

    def review(self, answer: Answer) -> list[str]:
        """Add the valid programs of an answer; return the problems of the others."""
        if not isinstance(answer, Programs):
            return []
        problems = []
        for number, proposal in enumerate(answer.programs, 1):
            name = legible(proposal.name) or f"program {number}"
            try:
                idea = AcceptedProgram(name, proposal.idea, self._read(proposal.program))
            except PipelineError as error:
                self.refused.append(RefusedProgram(name, str(error)))
                problems.append(f"{name}: {error}")
                continue
            if idea.pipeline not in [known.pipeline for known in self.accepted]:
                self.accepted.append(idea)
        return problems

    def _read(self, text: str) -> Pipeline:
        text = _unfenced(text)
        macros = find_macros(text)
        with warnings.catch_warnings():
            # The model writes no revisions; should it copy some, the present ones are meant.
            warnings.simplefilter("ignore", RevisionWarning)
            pipeline = read_text(add_macros(text, self.macros))
        if pipeline.output is not self.output:
            raise PipelineError(f"it returns a {pipeline.output} value; this task needs a {self.output} value.")
        if len(pipeline) > MOST_STEPS:
            raise PipelineError(f"it has {len(pipeline)} steps; at most {MOST_STEPS} are wanted.")
        for s in pipeline.steps:
            if s.operator not in self.operators:
                raise PipelineError(f"{s.operator} is not among the operators of this search.")
        if pipeline.channels > self.channels:
            raise PipelineError(f"it reads channel {pipeline.channels - 1}, counted from 0; there are {self.channels}.")
        self.macros |= macros
        return pipeline


def _unfenced(text: str) -> str:
    """Return a program without the fence that some models put around it."""
    lines = text.strip().splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].startswith("```"):
        lines = lines[1:-1]
    return "\n".join(lines)


@dataclass(frozen=True)
class TaskContext:
    """What a model may be told of a task, of its search images only.

    Attributes
    ----------
    words : mapping of str to str
        Entries of the dataset's card; third-party text.
    n_images : int
        Search images.
    samples : callable () -> sequence of Sample
        A few of them, with masks or points.
    pictures : callable (programs by image index) -> sequence of str
        Data URLs of search images as pictures, with outlines of the truth, and of a program's answer if there is one.
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
class RoundRequest:
    """What a round starts from; it does not change while the round runs.

    Attributes
    ----------
    round : int
        From 1.
    roles : tuple of str
        In their order; the last one gives programs.
    context : mapping of str to JSON values
        By the names of `INPUTS`.
    worst : mapping of int to Pipeline or None
        Images to show, by index, with the program whose answer is drawn.
    macros : mapping of str to str
    """

    round: int
    roles: tuple[str, ...]
    facts: ImageStats
    context: Mapping[str, Any] = field(default_factory=dict)
    worst: Mapping[int, Pipeline | None] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RoundResult:
    """The result of a round, in values of JSON, since the journal stores it.

    Attributes
    ----------
    round : int
    roles : tuple of str
    calls : tuple of int
        Numbers of the calls that it took.
    fault : str
        Why there is no result, or only a part.
    over : bool
        Whether further rounds are pointless.
    description, critique : dict or None
    programs : tuple of {"name", "idea", "program", "parents", "call"}
        Accepted by the reader; canonical texts. The parents are those of the programs shown to the model of which the
        program has parts, and the call is the number of the one that brought it; early versions recorded neither.
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
    programs: tuple[dict[str, Any], ...] = ()
    refused: tuple[dict[str, str], ...] = ()
    macros: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> str:
        """Return the text that the journal stores."""
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return what a text was made from."""
        entries = json.loads(text)
        lists = {name: tuple(entries[name]) for name in ("roles", "calls", "programs", "refused")}
        return cls(**{**entries, **lists})


class RoundRunner:
    """Runs rounds, in the one thread that asks the model.

    Parameters
    ----------
    role_set : RoleSet
    client : StructuredClient
    task : TaskContext
    operators : sequence of Operator
        Those that the search may use.
    output : Kind
        What a program must return.
    sees : bool
        Whether the model takes pictures.
    """

    def __init__(
        self,
        role_set: RoleSet,
        client: StructuredClient,
        task: TaskContext,
        operators: Sequence[Operator],
        output: Kind,
        *,
        sees: bool,
    ) -> None:
        self._role_set = role_set
        self._client = client
        self._task = task
        self._operators = operators
        self._output = output
        self._sees = sees
        self._card: dict[str, Any] = {}

    def run(self, request: RoundRequest) -> RoundResult:
        """Run a round; any error ends it, and never the search."""
        result = RoundResult(request.round, request.roles)
        try:
            for name in request.roles:
                result = self._run_role(request, name, result)
                if result.over:
                    break
        except Exception:
            # A defect of evoseg, or a full disk: the run goes on without its model.
            logger.exception("the agent has stopped")
            result = replace(result, fault="internal", over=True)
        return result

    def card(self, facts: ImageStats) -> dict[str, Any]:
        """Return the data card, which is made once."""
        if not self._card:
            task = self._task
            self._card = data_card(task.words, task.samples(), facts, task.n_images, task.task)
        return self._card

    def _run_role(self, request: RoundRequest, name: str, so_far: RoundResult) -> RoundResult:
        """Ask one role, and add its answer to the result."""
        role, context = self._role_set.roles[name], dict(request.context)
        context |= {"card": self.card(request.facts), "similar": list(self._task.similar())}
        context |= {key: value for key in ("description", "critique") if (value := getattr(so_far, key))}
        parser = ProposalParser(
            self._output, _names(self._operators), request.facts.channels, {**request.macros, **so_far.macros}
        )
        pictures = self._task.pictures(request.worst) if self._sees and "pictures" in role.inputs else ()
        reply = self._client.ask(
            request.round, role, messages(role, self._role_set, self._operators, context, pictures), parser.review
        )
        shown = [parent["program"] for parent in request.context.get("parents", ()) if "parents" in role.inputs]
        return _extended(so_far, role.output, reply, parser, request.macros, shown)


def _extended(
    so_far: RoundResult,
    output: str,
    reply: StructuredReply,
    parser: ProposalParser,
    macros: Mapping[str, str],
    shown: Sequence[str],
) -> RoundResult:
    """Return the result with an answer added; `shown` are the texts of the programs that the model was shown."""
    so_far_ = replace(so_far, calls=so_far.calls + reply.calls, fault=reply.fault, over=reply.over)
    answer = reply.answers[0].model_dump() if reply.answers else None
    if output == "description":
        return replace(so_far_, description=answer)
    if output == "critique":
        return replace(so_far_, critique=answer)
    programs = [
        {
            "name": idea.name,
            "idea": idea.idea,
            "program": print_text(idea.pipeline),
            "parents": [text for text in shown if contributed_to(read_text(text), idea.pipeline)],
            "call": reply.calls[-1],
        }
        for idea in parser.accepted
    ]
    return replace(
        so_far_,
        programs=tuple(programs),
        refused=tuple(vars(refused) for refused in parser.refused),
        macros={name: text for name, text in parser.macros.items() if name not in macros},
    )


def _names(operators: Sequence[Operator]) -> Collection[str]:
    return {op.name for op in operators}
