"""Ask a model for a structured answer: forms of asking, retries, one repair; every call within the leash."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from evoseg.base.streams import stream
from evoseg.llm.answers import SCHEMAS, Answer, Reply, answer_in, reply_of
from evoseg.llm.client import FORMS, INTERRUPTED, Client, Exchange, Message
from evoseg.llm.leash import Breaker, Purse
from evoseg.llm.roles import Role
from evoseg.llm.schedule import Schedule
from evoseg.store.calls import ANSWERED, RESERVED, Call

logger = logging.getLogger(__name__)

TRIES = 3
"""Calls for one answer where faults may pass by themselves."""
PASSING = ("connection", "server", "rate", "cut off")
FINAL = ("auth", "quota", "not found")
"""Faults that no further call can mend."""
BACKOFF_S = 0.5
MOST_SHOWN = 20_000
"""Characters of an answer that are repeated to the model."""

Review = Callable[[Answer], list[str]]
"""Returns complaints about an answer, each worth telling the model."""


@dataclass(frozen=True)
class Asked:
    """What came of asking.

    Attributes
    ----------
    answers : tuple of Answer
        One, or with a repair two; none after a fault.
    calls : tuple of int
        Numbers of the calls that it took.
    fault : str
        Why there is no answer.
    over : bool
        Whether asking again is of no use: a cap is reached, or the endpoint refuses for good.
    """

    answers: tuple[Answer, ...] = ()
    calls: tuple[int, ...] = ()
    fault: str = ""
    over: bool = False


class Asker:
    """Asks, from one thread.

    Parameters
    ----------
    client : Client
    purse : Purse
    schedule : Schedule
        For the deadline and the pauses.
    stop : threading.Event
        Set when nobody wants answers any more.
    """

    def __init__(self, client: Client, purse: Purse, schedule: Schedule, stop: Event) -> None:
        self._client = client
        self._purse = purse
        self._deadline_s = schedule.deadline_s
        self._breaker = Breaker(schedule.faults_to_pause, schedule.pause_s)
        self._stop = stop
        self._warm = True
        before = list(purse.calls.values())
        # An endpoint that needed a plainer form in an earlier process needs it now.
        self._form = FORMS.index(before[-1].form) if before else 0
        # Answers that an earlier process has paid for: told again to whoever asks the same, before anything is sent.
        self._paid = [replace(call, fault="") if call.state == ANSWERED else call for call in before]

    def ask(self, number: int, role: Role, messages: Sequence[Message], review: Review) -> Asked:
        """Ask a role for its answer; after complaints, ask once more.

        Parameters
        ----------
        number : int
            Of the round.
        """
        first = self._answer(number, role, list(messages))
        if not first.answers or not (complaints := review(first.answers[0])):
            return first
        self._purse.blame(self._purse.calls[first.calls[-1]], "program")
        said = first.answers[0].model_dump_json()[:MOST_SHOWN]
        told = "\n".join(f"- {complaint}" for complaint in complaints)
        repair = f"Not all of that can be used:\n{told}\nCorrect these and answer again, in the same form."
        second = self._answer(number, role, [*messages, Message("assistant", said), Message("user", repair)])
        if second.answers and review(second.answers[0]):
            self._purse.blame(self._purse.calls[second.calls[-1]], "program")
        # A repair that fails takes nothing from what was right at first.
        return Asked(first.answers + second.answers, first.calls + second.calls, over=second.over)

    def _answer(self, number: int, role: Role, messages: list[Message]) -> Asked:
        """Ask in the best form that the endpoint has not failed yet, and in a plainer one after that."""
        schema, numbers = SCHEMAS[role.output], list[int]()
        while True:
            call, reply = self._reply(number, role, messages, numbers)
            if isinstance(call, str):
                return Asked((), tuple(numbers), call, over=True)
            if call.fault == "refused" and self._warm and "temperature" in call.reply:
                self._warm = False
                continue
            answer, fault = (None, call.fault) if call.fault else answer_in(reply.text, schema)
            if answer is not None:
                return Asked((answer,), tuple(numbers))
            malformed = not call.fault
            if malformed:
                self._purse.blame(call, "schema")
                logger.debug("round %d: %s", number, fault)
            if not (malformed or call.fault in ("refused", "empty")) or self._form + 1 == len(FORMS):
                name = "schema" if malformed else call.fault
                return Asked((), tuple(numbers), name, over=name in FINAL)
            self._form += 1

    def _reply(self, number: int, role: Role, messages: list[Message], numbers: list[int]) -> tuple[Call | str, Reply]:
        """Return a settled call with what it says, or the name of the cap that forbids it; add those that it took."""
        for attempt in range(TRIES):
            asked = [c for c in self._paid if (c.round, c.role) == (number, role.name) and c.state != RESERVED]
            if asked:
                paid = asked[0]
                self._paid.remove(paid)
                numbers.append(paid.number)
                return paid, reply_of(paid.reply)
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
        form = FORMS[self._form]
        pictures = sum(len(message.pictures) for message in messages)
        shown = [{"role": m.role, "text": _with_pictures(m)} for m in messages]
        # Around the words: names of fields, and the schema.
        n_bytes = sum(len(m.text.encode()) + 100 for m in messages) + 4000
        wanted = Call(0, number, role.name, form, shown, "")
        call = self._purse.reserve(wanted, n_bytes, pictures, role.max_tokens)
        if isinstance(call, str):
            return call, Exchange(), Reply()
        temperature = role.temperature if self._warm else None
        exchange = self._client.send(
            messages, form, SCHEMAS[role.output], role.max_tokens, temperature, self._deadline_s
        )
        reply = Reply() if exchange.fault else reply_of(exchange.body)
        fault = exchange.fault or reply.fault
        tokens = None
        if exchange.status >= 400:
            tokens = (0, 0)
        elif reply.tokens_in is not None and reply.tokens_out is not None:
            tokens = (reply.tokens_in, reply.tokens_out)
        call = self._purse.settle(call, exchange.body, fault, tokens, exchange.seconds)
        if fault != INTERRUPTED:
            self._breaker.note(fault)
        if fault:
            logger.info("call %d of the agent: %s", call.number, fault)
        return call, exchange, reply


def _with_pictures(message: Message) -> str:
    pictures = [f"[picture, {len(url) * 3 // 4000} kB]" for url in message.pictures]
    return "\n".join([message.text, *pictures])
