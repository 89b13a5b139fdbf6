"""Caps on calls, tokens and money, kept by reserving the worst case before anything is sent."""

import time
from dataclasses import dataclass, replace
from threading import Event
from time import monotonic

from evoseg.llm.roles import ModelFacts
from evoseg.store.calls import ANSWERED, FAILED, Call, Ledger

UNPRICED_TOKENS = 500_000
"""Cap on tokens where the price is unknown and no other was given."""


@dataclass(frozen=True)
class Caps:
    """What a run may spend; None is no cap of its own.

    Attributes
    ----------
    calls : int
    tokens : int or None
        Read and written together.
    usd : float or None
        Only where the price is known.
    """

    calls: int
    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Spent:
    """What has been spent, reservations included."""

    calls: int
    tokens_in: int
    tokens_out: int
    usd: float


def effective(caps: Caps, facts: ModelFacts | None) -> Caps:
    """Return the caps that hold: where the price is unknown, tokens stand for money."""
    if facts is not None:
        return caps
    return replace(caps, tokens=UNPRICED_TOKENS if caps.tokens is None else caps.tokens, usd=None)


class Purse:
    """Counts what calls cost. One thread spends; others may look.

    Parameters
    ----------
    caps : Caps
    ledger : Ledger
        Brings the calls of earlier processes.
    facts : ModelFacts or None
        None if the price is unknown.
    """

    def __init__(self, caps: Caps, ledger: Ledger, facts: ModelFacts | None) -> None:
        self.caps = effective(caps, facts)
        self._facts = facts or ModelFacts(0.0, 0.0)
        self._ledger = ledger
        self.calls = {call.number: call for call in ledger.calls()}

    @property
    def spent(self) -> Spent:
        """All that was spent or may have been."""
        return spent_on(list(self.calls.values()))

    def worst(self, n_bytes: int, pictures: int, max_tokens: int) -> tuple[int, int, float]:
        """Return the most tokens in, tokens out and money that a call can cost.

        Tokenisers work on bytes, so no text has more tokens than bytes.
        """
        tokens_in = n_bytes + pictures * self._facts.picture_tokens
        return tokens_in, max_tokens, self._price(tokens_in, max_tokens)

    def reserve(self, call: Call, n_bytes: int, pictures: int, max_tokens: int) -> Call | str:
        """Write a call down before it is sent, or return the name of the cap that forbids it."""
        tokens_in, tokens_out, usd = self.worst(n_bytes, pictures, max_tokens)
        spent, caps = self.spent, self.caps
        if spent.calls + 1 > caps.calls:
            return "calls"
        if caps.tokens is not None and spent.tokens_in + spent.tokens_out + tokens_in + tokens_out > caps.tokens:
            return "tokens"
        if caps.usd is not None and spent.usd + usd > caps.usd:
            return "usd"
        number, sent = max(self.calls, default=0) + 1, time.strftime("%Y-%m-%dT%H:%M:%S%z")
        call = replace(call, number=number, sent=sent, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)
        self._keep(call)
        return call

    def settle(self, call: Call, reply: str, fault: str, tokens: tuple[int, int] | None, seconds: float) -> Call:
        """Write down what became of a call.

        Parameters
        ----------
        tokens : (in, out) or None
            As the endpoint says, who is believed up to what was reserved; None keeps the reservation.
        """
        if tokens is not None:
            read, written = min(tokens[0], call.tokens_in), min(tokens[1], call.tokens_out)
            call = replace(call, tokens_in=read, tokens_out=written, usd=self._price(read, written))
        state = FAILED if fault else ANSWERED
        call = replace(call, state=state, reply=reply, fault=fault, seconds=round(seconds, 3))
        self._keep(call)
        return call

    def blame(self, call: Call, fault: str) -> None:
        """Note a fault that showed only when the reply was read."""
        if not call.fault:
            self._keep(replace(call, fault=fault))

    def _price(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self._facts.usd_in + tokens_out * self._facts.usd_out) / 1e6

    def _keep(self, call: Call) -> None:
        # First to the disk: what memory says must never be ahead of what a resumed run would read.
        self._ledger.write(call)
        self.calls = {**self.calls, call.number: call}


def spent_on(calls: list[Call]) -> Spent:
    """Return what calls have cost together."""
    read, written = sum(call.tokens_in for call in calls), sum(call.tokens_out for call in calls)
    return Spent(len(calls), read, written, sum((call.usd for call in calls), 0.0))


class Breaker:
    """Stops sending for a while after many faults in a row; then one call may probe.

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
        """Send nothing for so long."""
        self._until = max(self._until, monotonic() + seconds)

    def wait(self, stop: Event) -> bool:
        """Wait until something may be sent; return False if `stop` was set."""
        return not stop.wait(max(0.0, self._until - monotonic()))
