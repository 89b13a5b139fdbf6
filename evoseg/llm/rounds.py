"""One round with the model: its roles in turn, from what the search knows to proposals that can be evaluated."""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from evoseg.core.kinds import Kind
from evoseg.evolve.proposers.warm_start import contributed_to
from evoseg.llm.client import Message
from evoseg.llm.prompts import compact_json, messages
from evoseg.llm.proposals import AcceptedPlanes, AcceptedProgram, ProposalParser, Trial
from evoseg.llm.roles import Role, RoleSet
from evoseg.llm.structured import MOST_SHOWN, PASSING, NewOperator, StructuredClient, StructuredReply
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline, print_text

logger = logging.getLogger(__name__)

UNREACHABLE = (*PASSING, "timeout")
"""Faults after which the next role would only be waited for in vain, too."""


class Shown(NamedTuple):
    """A picture, as a data URL, with what it shows; `image` is the search image on which the leader is shown."""

    caption: str
    url: str
    image: int | None = None


@dataclass(frozen=True)
class RoundRequest:
    """What a round starts from; it does not change while the round runs.

    Attributes
    ----------
    round : int
        From 1.
    roles : tuple of str
        In their order; the last one gives programs.
    channels : int
        Of the images.
    context : mapping of str to JSON values
        By the names of `INPUTS`.
    pictures : mapping of str to sequences of Shown
        By the names of `INPUTS`.
    references : mapping of str to Pipeline
        Programs that the model is shown, by what it calls them.
    macros : mapping of str to str
    codes : mapping of str to str
        Digests of Python operators, by what the model calls them; those of this round join them.
    """

    round: int
    roles: tuple[str, ...]
    channels: int
    context: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    references: Mapping[str, Pipeline] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Errand:
    """What a round needs the search for: to admit operators, or to make experiments.

    Attributes
    ----------
    round : int
    operators : tuple of NewOperator
    trials : tuple of Trial
        None if there are operators.
    n_pictures : int
        How many pictures the model was shown in this round before.
    """

    round: int
    operators: tuple[NewOperator, ...] = ()
    trials: tuple[Trial, ...] = ()
    n_pictures: int = 0


@dataclass(frozen=True)
class Delivery:
    """What came of an errand.

    Attributes
    ----------
    results : sequence of JSON values
        One for each operator or experiment. Of an operator that is refused, it has an entry "refused".
    pictures : sequence of str
        Data URLs.
    programs : mapping of str to Pipeline
        Those that were tried, by what the model may call them.
    """

    results: Sequence[dict[str, Any]]
    pictures: Sequence[str] = ()
    programs: Mapping[str, Pipeline] = field(default_factory=dict)


def picture_name(number: int, n_before: int) -> str:
    """Return the name of a picture: the number of its round, and that in the round."""
    return f"r{number}_{n_before + 1}"


RunErrand = Callable[[Errand], Delivery]
"""Waits until the search has done what it is asked for."""


class RoundEndedError(Exception):
    """The search does not do errands any more."""


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
    description : dict or None
    findings : str
        What the model says of the errors.
    programs : tuple of {"name", "idea", "program", "parents", "call"}
        Accepted by the reader; canonical texts. The parents are those of the programs shown to the model of which the
        program has parts, and the call is the number of the one that brought it.
    plane_lists : tuple of {"name", "idea", "planes", "call"}
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
    findings: str = ""
    programs: tuple[dict[str, Any], ...] = ()
    plane_lists: tuple[dict[str, Any], ...] = ()
    refused: tuple[dict[str, str], ...] = ()
    macros: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> str:
        """Return the text that the journal stores."""
        return json.dumps({"event": "round", **vars(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> Self:
        """Return what the values of a text were made from."""
        lists = {name: tuple(entries[name]) for name in ("roles", "calls", "programs", "plane_lists", "refused")}
        return cls(**{key: value for key, value in {**entries, **lists}.items() if key != "event"})


class RoundRunner:
    """Runs rounds, in the one thread that asks the model.

    Parameters
    ----------
    role_set : RoleSet
    client : StructuredClient
    operators : sequence of Operator
        Those that the search may use.
    output : Kind
        What a program must return.
    n_images : int
        How many search images there are.
    """

    def __init__(
        self, role_set: RoleSet, client: StructuredClient, operators: Sequence[Operator], output: Kind, n_images: int
    ) -> None:
        self._role_set = role_set
        self._client = client
        self._operators = operators
        self._output = output
        self._n_images = n_images

    def run(self, request: RoundRequest, run_errand: RunErrand) -> RoundResult:
        """Run a round; any error ends it, and never the search."""
        result = RoundResult(request.round, request.roles)
        try:
            for name in request.roles:
                role = self._role_set.roles[name]
                ask = self._propose if role.output == "programs" else self._describe
                result = ask(request, role, result, run_errand)
                if result.over or result.fault in UNREACHABLE:
                    break
        except RoundEndedError:
            result = replace(result, fault="interrupted", over=True)
        except Exception:
            # A defect of evoseg, or a full disk: the run goes on without its model.
            logger.exception("the agent has stopped")
            result = replace(result, fault="internal", over=True)
        return result

    def _messages(self, request: RoundRequest, role: Role, so_far: RoundResult) -> list[Message]:
        shown = [one for name in role.inputs for one in request.pictures.get(name, ())]
        context = dict(request.context)
        context |= {"description": so_far.description} if so_far.description else {}
        context["budget"] = self._budget(context.get("budget", {}))
        context["shown"] = [f"{picture_name(request.round, i)}: {one.caption}" for i, one in enumerate(shown)]
        return messages(role, self._role_set, self._operators, context, [one.url for one in shown])

    def _budget(self, left: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is left, with the calls; a round takes one at least."""
        calls = self._client.calls_left
        rounds = {"rounds_left": min(left["rounds_left"], calls)} if "rounds_left" in left else {}
        return {"calls_left": calls, **left, **rounds}

    def _describe(self, request: RoundRequest, role: Role, so_far: RoundResult, run_errand: RunErrand) -> RoundResult:
        reply = self._client.ask(request.round, role, self._messages(request, role, so_far), lambda answer: [])
        # In the order in which the journal gives it back, so that the beginning of all prompts is the same.
        said = dict(sorted(reply.answers[0].model_dump().items())) if reply.answers else None
        return replace(_with_calls(so_far, reply), description=said)

    def _propose(self, request: RoundRequest, role: Role, so_far: RoundResult, run_errand: RunErrand) -> RoundResult:
        """Ask for proposals, and make the experiments that are wanted first."""
        codes = dict(request.codes)

        def admit(operators: Sequence[NewOperator]) -> list[str]:
            results = run_errand(Errand(request.round, operators=tuple(operators))).results
            codes.update({r["operator"]: r["digest"] for r in results if "digest" in r})
            return [str(result.get("refused", "")) for result in results]

        names: Collection[str] = {op.name for op in self._operators}
        parser = ProposalParser(
            self._output,
            names,
            request.channels,
            dict(request.macros),
            request.references,
            codes,
            admit,
            self._n_images,
        )
        said = self._messages(request, role, so_far)
        left = self._role_set.schedule.experiments
        call_of: dict[Pipeline | tuple[Pipeline, ...], int] = {}
        while True:
            reply = self._client.ask(request.round, role, said, parser.review)
            so_far = _with_calls(so_far, reply)
            for one in parser.accepted:
                call_of.setdefault(one.pipeline, so_far.calls[-1])
            for listed in parser.planes:
                call_of.setdefault(listed.planes, so_far.calls[-1])
            trials = parser.take_trials(left)
            if not trials or not reply.answers or reply.over:
                break
            left -= len(trials)
            n_pictures = sum(len(message.pictures) for message in said)
            made = run_errand(Errand(request.round, trials=tuple(trials), n_pictures=n_pictures))
            parser.references = {**parser.references, **made.programs}
            answer_text = reply.answers[-1].model_dump_json(exclude_defaults=True)[:MOST_SHOWN]
            said = [*said, Message("assistant", answer_text), self._came_of(made, left)]
        return replace(
            so_far,
            findings=parser.findings,
            programs=tuple(_program(one, parser, call_of[one.pipeline]) for one in parser.accepted),
            plane_lists=tuple(_plane_list(listed, call_of[listed.planes]) for listed in parser.planes),
            refused=tuple(vars(refused) for refused in parser.refused),
            macros={name: text for name, text in parser.macros.items() if name not in request.macros},
        )

    def _came_of(self, made: Delivery, experiments_left: int) -> Message:
        results: dict[str, Any] = {
            "results": list(made.results),
            "experiments_left": experiments_left,
            "calls_left": self._client.calls_left,
        }
        text = f"What came of the experiments, as data:\n\n{compact_json(results)}"
        return Message("user", text, tuple(made.pictures))


def _program(one: AcceptedProgram, parser: ProposalParser, call: int) -> dict[str, Any]:
    parents = [print_text(p) for p in parser.references.values() if contributed_to(p, one.pipeline)]
    return {
        "name": one.name,
        "idea": one.idea,
        "program": print_text(one.pipeline),
        "parents": parents,
        "call": call,
    }


def _plane_list(listed: AcceptedPlanes, call: int) -> dict[str, Any]:
    planes = [print_text(plane) for plane in listed.planes]
    return {"name": listed.name, "idea": listed.idea, "planes": planes, "call": call}


def _with_calls(so_far: RoundResult, reply: StructuredReply) -> RoundResult:
    return replace(so_far, calls=so_far.calls + reply.calls, fault=reply.fault, over=reply.over)
