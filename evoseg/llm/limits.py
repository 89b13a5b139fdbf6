"""Limits on calls, tokens and money: the worst case is reserved before a call is sent."""

import time
from dataclasses import dataclass, replace
from threading import Event
from time import monotonic

from evoseg.core.notes import quantity
from evoseg.llm.calls import ANSWERED, FAILED, Call, CallLog, compress_picture
from evoseg.llm.roles import ModelFacts

UNPRICED_TOKENS = 500_000
"""Limit on tokens where the price is unknown and no limit was given."""


@dataclass(frozen=True)
class UsageLimits:
    """What a run may spend; None means no limit.

    Attributes
    ----------
    calls : int
    tokens : int or None
        Input and output tokens together.
    usd : float or None
        Only where the price is known.
    """

    calls: int
    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Usage:
    """What has been spent, including reservations."""

    calls: int
    tokens_in: int
    tokens_out: int
    usd: float

    def __str__(self) -> str:
        calls = quantity(self.calls, "call")
        return f"{calls}, {self.tokens_in} input and {self.tokens_out} output tokens, ${self.usd:.4f}"


def effective_limits(limits: UsageLimits, facts: ModelFacts | None) -> UsageLimits:
    """Return the limits that apply: where the price is unknown, tokens are limited instead of money."""
    if facts is not None:
        return limits
    return replace(limits, tokens=UNPRICED_TOKENS if limits.tokens is None else limits.tokens, usd=None)


class UsageTracker:
    """Counts what calls cost. One thread spends; other threads may read.

    Parameters
    ----------
    limits : UsageLimits
    log : CallLog
        Holds the calls of earlier processes, too.
    facts : ModelFacts or None
        None if the price is unknown.
    """

    def __init__(self, limits: UsageLimits, log: CallLog, facts: ModelFacts | None) -> None:
        self.limits = effective_limits(limits, facts)
        self._facts = facts or ModelFacts(usd_in=0.0, usd_out=0.0)
        self._log = log
        self.calls = {call.number: call for call in log.calls()}
        self._density = 0.0

    @property
    def usage(self) -> Usage:
        """What was spent, or may have been."""
        return total_usage(list(self.calls.values()))

    def worst_case(self, n_bytes: int, pictures: int, max_tokens: int) -> tuple[int, int, float]:
        """Return the largest number of input tokens and output tokens, and the most money, that a call can cost.

        Tokenisers work on bytes, so no text has more tokens than bytes.
        """
        tokens_in = n_bytes + pictures * self._facts.picture_tokens
        return tokens_in, max_tokens, self._price(tokens_in, max_tokens)

    def note_density(self, tokens_in: int, n_bytes: int, pictures: int) -> None:
        """Learn from an answer how many tokens the endpoint counts for what was sent, as a share of the worst case."""
        worst, _, _ = self.worst_case(n_bytes, pictures, 0)
        self._density = max(self._density, min(1.0, tokens_in / worst))

    def likely_input(self, n_bytes: int, pictures: int) -> int:
        """Return the largest number of input tokens that a call can cost, judged by those that were answered.

        Without such, it is the worst case.
        """
        worst, _, _ = self.worst_case(n_bytes, pictures, 0)
        return min(worst, round(1.1 * self._density * worst)) if self._density else worst

    def reserve(self, call: Call, n_bytes: int, pictures: int, max_tokens: int) -> Call | str:
        """Record a call before it is sent, or return the name of the limit that forbids it."""
        tokens_in, tokens_out, usd = self.worst_case(n_bytes, pictures, max_tokens)
        usage, limits = self.usage, self.limits
        if usage.calls + 1 > limits.calls:
            return "calls"
        if limits.tokens is not None and usage.tokens_in + usage.tokens_out + tokens_in + tokens_out > limits.tokens:
            return "tokens"
        if limits.usd is not None and usage.usd + usd > limits.usd:
            return "usd"
        number, sent = max(self.calls, default=0) + 1, time.strftime("%Y-%m-%dT%H:%M:%S%z")
        call = replace(call, number=number, sent=sent, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)
        self._keep(call)
        return call

    def keep_picture(self, url: str) -> str:
        """Store a picture, given as a data URL, and return its digest; "" if it is not stored."""
        data = compress_picture(url)
        return self._log.keep_picture(data) if data else ""

    def settle(self, call: Call, reply: str, fault: str, tokens: tuple[int, int] | None, seconds: float) -> Call:
        """Record the outcome of a call.

        Parameters
        ----------
        tokens : (in, out) or None
            As the endpoint reports them, at most what was reserved; None keeps the reservation.
        """
        if tokens is not None:
            read, written = min(tokens[0], call.tokens_in), min(tokens[1], call.tokens_out)
            call = replace(call, tokens_in=read, tokens_out=written, usd=self._price(read, written))
        state = FAILED if fault else ANSWERED
        call = replace(call, state=state, reply=reply, fault=fault, seconds=round(seconds, 3))
        self._keep(call)
        return call

    def blame(self, call: Call, fault: str) -> None:
        """Record a fault that was found only when the reply was read."""
        if not call.fault:
            self._keep(replace(call, fault=fault))

    def _price(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self._facts.usd_in + tokens_out * self._facts.usd_out) / 1e6

    def _keep(self, call: Call) -> None:
        # First to disk: memory must never be ahead of what a resumed run would read.
        self._log.write(call)
        self.calls = {**self.calls, call.number: call}


def total_usage(calls: list[Call]) -> Usage:
    """Return what calls have cost together."""
    read, written = sum(call.tokens_in for call in calls), sum(call.tokens_out for call in calls)
    return Usage(len(calls), read, written, sum((call.usd for call in calls), 0.0))


class CircuitBreaker:
    """Stops calls for a while after many faults in a row; then one call may try again.

    Parameters
    ----------
    faults_to_pause : int
    pause_s : float, s
    """

    def __init__(self, faults_to_pause: int, pause_s: float) -> None:
        self._limit = faults_to_pause
        self._pause_s = pause_s
        self._in_a_row = 0
        self._until = 0.0

    @property
    def closed(self) -> bool:
        """Whether something may be sent now."""
        return monotonic() >= self._until

    def note(self, fault: str) -> None:
        """Count a call."""
        self._in_a_row = self._in_a_row + 1 if fault else 0
        if self._in_a_row >= self._limit:
            self.pause(self._pause_s)

    def pause(self, seconds: float) -> None:
        """Send nothing for some seconds."""
        self._until = max(self._until, monotonic() + seconds)

    def wait(self, stop: Event) -> bool:
        """Wait until something may be sent; return False if `stop` was set."""
        return not stop.wait(max(0.0, self._until - monotonic()))
