"""When a search ends: after a time, after a number of evaluations, at a target score, or when it is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from time import monotonic

from evoseg.core.errors import SettingsError

USUAL_S = 60.0
"""Default time budget of a search, s."""


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
        """Raise if the budget is invalid.

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

    def part(self, seconds: float, evaluations: float, *, target: bool) -> "Budget":
        """Return a share of the time and one of the evaluations, at least one, with or without the target score."""
        return Budget(
            None if self.seconds is None else seconds * self.seconds,
            None if self.evaluations is None else max(1, round(evaluations * self.evaluations)),
            self.target_score if target else None,
        )


class Clock:
    """Measures what a search has spent of its budget, and says why it ends.

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
        """Reserve another part of the time for what follows the search."""
        self._reserve_s = seconds

    @contextmanager
    def part(self, seconds: float, evaluations: float | None = None, *, target: bool = False) -> Iterator[None]:
        """Context manager within which only a share of the budget may be spent.

        Parameters
        ----------
        seconds, evaluations : float
            Shares, from the start of the whole; by default the same of both.
        target : bool
            Whether the target score ends this part, too.
        """
        share = seconds if evaluations is None else evaluations
        whole, self._budget = self._budget, self._budget.part(seconds, share, target=target)
        try:
            yield
        finally:
            self._budget = whole

    @property
    def seconds(self) -> float:
        """Time since the start without pauses, s."""
        return monotonic() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context manager whose duration does not count."""
        began = monotonic()
        try:
            yield
        finally:
            self._start += monotonic() - began

    def stop(self) -> None:
        """Ask the search to end at once; safe to call from a signal handler."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the search was asked to stop."""
        return self._stop.is_set()

    @property
    def seconds_left(self) -> float:
        """Time until the search must end, s; infinite without a budget of time."""
        limit = self._budget.seconds
        return float("inf") if limit is None else max(0.0, limit - self._reserve_s - self.seconds)

    def late(self) -> bool:
        """Return whether time is up or the search was asked to stop."""
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
