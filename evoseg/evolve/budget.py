"""When a search ends: by time, by evaluations, by reaching a score, or by being asked to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from time import monotonic

from evoseg.base.errors import SettingsError

USUAL_S = 60.0
"""A search's time, s, where nothing is said of its budget."""


@dataclass(frozen=True)
class Budget:
    """What a search may spend; None is no limit.

    Attributes
    ----------
    seconds : float, s
        Of wall time, from the moment `Clock` starts.
    evaluations : int
        Full evaluations. Only this one gives the same history on every machine.
    target_score : float
        The search ends when its best reaches this.
    """

    seconds: float | None = None
    evaluations: int | None = None
    target_score: float | None = None

    def __post_init__(self) -> None:
        """Refuse a budget that is none.

        Raises
        ------
        SettingsError
            If no limit in time or evaluations is given, or one is not positive.
        """
        if self.seconds is None and self.evaluations is None:
            raise SettingsError("a search needs a budget: give seconds, evaluations or both.")
        for name in ("seconds", "evaluations"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SettingsError(f"{name} is {value}; it must be positive.")

    def part(self, share: float) -> "Budget":
        """Return a share of it, which no score ends."""
        evaluations = None if self.evaluations is None else round(share * self.evaluations)
        return Budget(None if self.seconds is None else share * self.seconds, evaluations)


class Clock:
    """Says whether a budget is spent, and why.

    Parameters
    ----------
    budget : Budget
    reserve_s : float, s
        Of the time, kept for what comes after the search.
    """

    def __init__(self, budget: Budget, reserve_s: float = 0.0) -> None:
        self._budget = budget
        self._reserve_s = reserve_s
        self._start = monotonic()
        self._stop = Event()

    def keep_back(self, seconds: float) -> None:
        """Keep another part of the time for what comes after the search."""
        self._reserve_s = seconds

    @contextmanager
    def part(self, share: float) -> Iterator[None]:
        """Go by a share of the budget meanwhile."""
        whole, self._budget = self._budget, self._budget.part(share)
        try:
            yield
        finally:
            self._budget = whole

    @property
    def seconds(self) -> float:
        """Time since the start, s."""
        return monotonic() - self._start

    def stop(self) -> None:
        """Ask the search to end at once; safe to call from a signal handler."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stop.is_set()

    def late(self) -> bool:
        """Return whether time is up or somebody asked for the end."""
        limit = self._budget.seconds
        return self._stop.is_set() or (limit is not None and self.seconds >= limit - self._reserve_s)

    def evaluations_left(self, evaluations: int) -> int | None:
        """Return how many full evaluations may follow, None for any number."""
        limit = self._budget.evaluations
        return None if limit is None else max(0, limit - evaluations)

    def reason(self, evaluations: int, best: float) -> str | None:
        """Return why the search ends now, or None to go on."""
        if self._stop.is_set():
            return "interrupt"
        if self._budget.target_score is not None and best >= self._budget.target_score:
            return "target-score"
        if self._budget.evaluations is not None and evaluations >= self._budget.evaluations:
            return "evaluations"
        return "seconds" if self.late() else None
