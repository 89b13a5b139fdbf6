"""How far a search is, as whoever watches it is told."""

from collections.abc import Callable
from dataclasses import dataclass

from evoseg.app.agents import AgentStatus


@dataclass(frozen=True)
class Status:
    """How far a search is.

    Attributes
    ----------
    doing : str
        "resuming" (what an earlier process has found is told again), "searching", "choosing" (after the first Ctrl-C)
        or "proving".
    seconds : float, s
        Since the call.
    evaluations : int
    best : float
        Best mean score on the search images; minus infinity before the first.
    length : int
        Steps of the pipeline that leads.
    seconds_left, evaluations_left : float and int, or None
        Of the budget; None where that has no limit.
    task, metric : str
        What is searched for (a class by its name), and what `best` is; objects and points begin with "foreground".
    agent : AgentStatus or None
        What a language model has done so far; None without one.
    """

    doing: str
    seconds: float
    evaluations: int
    best: float
    length: int
    seconds_left: float | None
    evaluations_left: int | None
    task: str
    metric: str
    agent: AgentStatus | None = None


Watch = Callable[[Status], None]
