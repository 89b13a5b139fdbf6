"""Ask a model for a structured answer: several methods, retries, one repair, and every call within its limits."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evoseg.core.streams import stream
from evoseg.llm.calls import ANSWERED, RESERVED, Call, Reply, parse_reply
from evoseg.llm.client import INTERRUPTED, METHODS, Client, Exchange, Message
from evoseg.llm.limits import CircuitBreaker, UsageTracker
from evoseg.llm.roles import Role, Schedule

logger = logging.getLogger(__name__)

Text = Annotated[str, Field(max_length=2000)]
Code = Annotated[str, Field(max_length=20_000)]
Texts = Annotated[list[Text], Field(max_length=12)]
MOST_PROGRAMS = 12


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Idea(Answer):
    """What all proposals have: a name, and what it is about."""

    name: Annotated[str, Field(max_length=80)] = ""
    idea: Text = ""


class Proposal(Idea):
    """One program."""

    program: Code


class PlaneList(Idea):
    """Planes of which the search makes a sum of curves."""

    planes: Annotated[list[Code], Field(min_length=2, max_length=8)]


class Edit(Idea):
    """A program that is there already, with another expression in the place of one."""

    of: Annotated[str, Field(max_length=80)]
    replace: Code
    by: Code


class NewOperator(Answer):
    """An operator as Python source, and what later programs call it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
    source: Code


class Experiment(Answer):
    """Something to be looked at before the answer is final."""

    kind: Literal["try", "show", "stats"]
    program: Code = ""
    planes: Annotated[list[Code], Field(max_length=8)] = []
    image: Annotated[str, Field(max_length=20)] = ""
    window: Annotated[list[int], Field(max_length=4)] = []


class Programs(Answer):
    """What a round brings: what was found out, proposals of all kinds, and experiments to be made first."""

    findings: Text = ""
    programs: Annotated[list[Proposal], Field(max_length=MOST_PROGRAMS)] = []
    plane_lists: Annotated[list[PlaneList], Field(max_length=MOST_PROGRAMS)] = []
    edits: Annotated[list[Edit], Field(max_length=MOST_PROGRAMS)] = []
    operators: Annotated[list[NewOperator], Field(max_length=4)] = []
    experiments: Annotated[list[Experiment], Field(max_length=12)] = []

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not (self.programs or self.plane_lists or self.edits or self.operators or self.experiments):
            raise ValueError("programs, plane_lists, edits, operators and experiments are all empty")
        return self


class Description(Answer):
    """What the images show."""

    summary: Text
    foreground: Text
    cues: Texts = []
    difficulties: Texts = []


class Critique(Answer):
    """What is wrong, and what may help."""

    findings: Texts
    advice: Texts = []


class Verdict(Answer):
    """What a picture's outlines mark, and how well that is what was wanted, 0 to 10."""

    number: int
    marks: Text
    fits: Annotated[int, Field(ge=0, le=10)]


class Verdicts(Answer):
    """One for each picture."""

    verdicts: Annotated[list[Verdict], Field(min_length=1, max_length=100)]


class TaskProposal(Answer):
    """What to search for; a radius of 0 leaves it open."""

    task: Annotated[str, Field(max_length=80)]
    metric: Annotated[str, Field(max_length=80)]
    radius_px: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reason: Text


SCHEMAS: dict[str, type[Answer]] = {
    "programs": Programs,
    "description": Description,
    "critique": Critique,
    "verdicts": Verdicts,
    "task": TaskProposal,
}
"""By the output that a role names."""


def strict_schema(schema: type[Answer]) -> dict[str, Any]:
    """Return a JSON schema as endpoints take it for strict answers: every entry required, no other ones, no ranges."""
    document = schema.model_json_schema()
    definitions = document.pop("$defs", {})

    def plain(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            return plain(definitions[node["$ref"].rpartition("/")[2]])
        kept: dict[str, Any] = {key: node[key] for key in ("type", "description") if key in node}
        if "items" in node:
            kept["items"] = plain(node["items"])
        if "properties" in node:
            kept["properties"] = {name: plain(part) for name, part in node["properties"].items()}
            kept |= {"required": list(node["properties"]), "additionalProperties": False}
        return kept

    return plain(document)


NO_JSON = "there is no JSON document in the answer"


def parse_answer(text: str, schema: type[Answer]) -> tuple[Answer | None, str]:
    """Return the answer in a text and "", or None and the problem; JSON may stand alone, in a fence, or in braces."""
    # Split, not searched: an expression that looks for a fence's end from each of its beginnings is quadratic.
    fences = [fence.partition("\n")[2] for fence in text.split("```")[1::2]]
    braces = text[text.find("{") : text.rfind("}") + 1]
    fault = NO_JSON
    for candidate in (text, *fences, braces):
        try:
            document = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        try:
            return schema.model_validate(document), ""
        except ValidationError as error:
            fault = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()[:5])
    return None, fault


TRIES = 3
"""Calls for one answer where a fault may be temporary."""
PASSING = ("connection", "server", "rate", "cut off")
FINAL = ("auth", "quota", "not found")
"""Faults that no further call can repair."""
BACKOFF_S = 0.5
MORE_ROOM, MOST_ROOM = 3, 64_000
"""An answer that was cut off is asked for once more with so many times the tokens, at most this many."""
MOST_SHOWN = 20_000
"""Number of characters of an answer that are repeated to the model."""

Review = Callable[[Answer], list[str]]
"""Returns the problems of an answer, which are told to the model."""


@dataclass(frozen=True)
class StructuredReply:
    """The outcome of a question.

    Attributes
    ----------
    answers : tuple of Answer
        One, or with a repair two; none after a fault.
    calls : tuple of int
        Numbers of the calls.
    fault : str
        Why there is no answer.
    over : bool
        Whether further questions are pointless: a limit is reached, or the endpoint refuses for good.
    """

    answers: tuple[Answer, ...] = ()
    calls: tuple[int, ...] = ()
    fault: str = ""
    over: bool = False


class StructuredClient:
    """Asks questions, from one thread.

    Parameters
    ----------
    client : Client
    tracker : UsageTracker
    schedule : Schedule
        For the deadline and the pauses.
    stop : threading.Event
        Set when answers are no longer wanted.
    deadline_s : float or None, s
        In place of the schedule's.
    """

    def __init__(
        self, client: Client, tracker: UsageTracker, schedule: Schedule, stop: Event, deadline_s: float | None = None
    ) -> None:
        self._client = client
        self._tracker = tracker
        self._deadline_s = schedule.deadline_s if deadline_s is None else deadline_s
        self._breaker = CircuitBreaker(schedule.faults_to_pause, schedule.pause_s)
        self._stop = stop
        self._with_temperature = True
        before = list(tracker.calls.values())
        # An endpoint that needed a plainer method in an earlier process needs it now.
        self._method = METHODS.index(before[-1].form) if before else 0
        # Answers that an earlier process has paid for are used first, when the same question is asked.
        self._unused = [replace(call, fault="") if call.state == ANSWERED else call for call in before]

    @property
    def calls_left(self) -> int:
        """How many calls may still be sent."""
        return self._tracker.limits.calls - self._tracker.usage.calls

    def ask(self, number: int, role: Role, messages: Sequence[Message], review: Review) -> StructuredReply:
        """Ask a role for its answer; if it has problems, ask once more.

        Parameters
        ----------
        number : int
            Of the round.
        """
        first = self._answer(number, role, list(messages))
        if not first.answers or not (problems := review(first.answers[0])):
            return first
        self._tracker.blame(self._tracker.calls[first.calls[-1]], "program")
        answer_text = first.answers[0].model_dump_json()[:MOST_SHOWN]
        listed = "\n".join(f"- {problem}" for problem in problems)
        repair = (
            f"All of that is kept but for these:\n{listed}\nAnswer in the same form, with these only, corrected. "
            f"Calls that are left, with this one: {self.calls_left}."
        )
        second = self._answer(number, role, [*messages, Message("assistant", answer_text), Message("user", repair)])
        if second.answers and review(second.answers[0]):
            self._tracker.blame(self._tracker.calls[second.calls[-1]], "program")
        # A failed repair does not discard what was right in the first answer.
        return StructuredReply(first.answers + second.answers, first.calls + second.calls, over=second.over)

    def _answer(self, number: int, role: Role, messages: list[Message]) -> StructuredReply:
        """Ask by the strictest method that the endpoint has not failed yet, then by plainer ones.

        A model whose document does not fit the form is told why, once; what is no document is the method's fault.
        """
        schema, numbers = SCHEMAS[role.output], list[int]()
        room, is_told = role, False
        while True:
            call, reply = self._reply(number, room, messages, numbers)
            if isinstance(call, str):
                return StructuredReply((), tuple(numbers), call, over=True)
            if call.fault == "refused" and self._with_temperature and "temperature" in call.reply:
                self._with_temperature = False
                continue
            if call.fault == "length" and room is role:
                # Reasoning counts as output, and nobody knows beforehand how much there will be.
                most = max(role.max_tokens, MOST_ROOM)
                room = role.model_copy(update={"max_tokens": min(MORE_ROOM * role.max_tokens, most)})
                continue
            answer, fault = (None, call.fault) if call.fault else parse_answer(reply.text, schema)
            if answer is not None:
                return StructuredReply((answer,), tuple(numbers))
            is_malformed = not call.fault
            if is_malformed:
                self._tracker.blame(call, "schema")
                logger.debug("round %d: %s", number, fault)
            is_wrong_form = is_malformed and fault != NO_JSON
            if is_wrong_form and not is_told:
                is_told = True
                again = f"This does not fit the form: {fault}. Answer again, with the whole document."
                messages = [*messages, Message("assistant", reply.text[:MOST_SHOWN]), Message("user", again)]
                continue
            is_methods_fault = (is_malformed and not is_wrong_form) or call.fault in ("refused", "empty")
            if not is_methods_fault or self._method + 1 == len(METHODS):
                name = "schema" if is_malformed else call.fault
                return StructuredReply((), tuple(numbers), name, over=name in FINAL)
            self._method += 1

    def _reply(self, number: int, role: Role, messages: list[Message], numbers: list[int]) -> tuple[Call | str, Reply]:
        """Return a settled call with its reply, or the limit that forbids it; append the calls to `numbers`."""
        for attempt in range(TRIES):
            asked = [c for c in self._unused if (c.round, c.role) == (number, role.name) and c.state != RESERVED]
            if asked:
                self._unused.remove(asked[0])
                numbers.append(asked[0].number)
                return asked[0], parse_reply(asked[0].reply)
            if not self._breaker.wait(self._stop):
                return INTERRUPTED, Reply()
            call, exchange, reply = self._call(number, role, messages)
            if isinstance(call, str):
                return call, reply
            numbers.append(call.number)
            last = attempt + 1 == TRIES or call.fault not in PASSING
            if call.fault in PASSING and (exchange.retry_after_s or 0) > self._deadline_s:
                self._breaker.pause(exchange.retry_after_s or 0)
            if last or not self._breaker.closed:
                return call, reply
            jitter = float(stream(number, "backoff", role.name, attempt).uniform(0.5, 1.5))
            self._stop.wait(exchange.retry_after_s or BACKOFF_S * 2**attempt * jitter)
        raise AssertionError("the last attempt returns")

    def _call(self, number: int, role: Role, messages: list[Message]) -> tuple[Call | str, Exchange, Reply]:
        method = METHODS[self._method]
        pictures = sum(len(message.pictures) for message in messages)
        kept = {url: self._tracker.keep_picture(url) for message in messages for url in message.pictures}
        shown = [
            {"role": m.role, "text": _with_pictures(m), "pictures": [kept[url] for url in m.pictures]} for m in messages
        ]
        # Beside the text: names of fields, and the schema.
        n_bytes = sum(len(m.text.encode()) + 100 for m in messages) + 4000
        wanted = Call(0, number, role.name, method, shown, "")
        call = self._tracker.reserve(wanted, n_bytes, pictures, role.max_tokens)
        if isinstance(call, str):
            return call, Exchange(), Reply()
        temperature = role.temperature if self._with_temperature else None
        exchange = self._client.send(
            messages, method, strict_schema(SCHEMAS[role.output]), role.max_tokens, temperature, self._deadline_s
        )
        reply = Reply() if exchange.fault not in ("", "length") else parse_reply(exchange.body)
        fault = exchange.fault or reply.fault
        tokens = None
        if exchange.status >= 400 or exchange.unsent:
            tokens = (0, 0)
        elif reply.tokens_in is not None and reply.tokens_out is not None:
            tokens = (reply.tokens_in, reply.tokens_out)
            self._tracker.note_density(tokens[0], n_bytes, pictures)
        elif fault == "timeout":
            tokens = (self._tracker.likely_input(n_bytes, pictures), role.max_tokens)
        call = self._tracker.settle(call, exchange.body, fault, tokens, exchange.seconds)
        if fault != INTERRUPTED:
            self._breaker.note(fault)
        if fault:
            logger.info("call %d of the agent: %s", call.number, fault)
        return call, exchange, reply


def _with_pictures(message: Message) -> str:
    pictures = [f"[picture, {len(url) * 3 // 4000} kB]" for url in message.pictures]
    return "\n".join([message.text, *pictures])
