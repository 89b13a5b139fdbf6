"""How far a search is, for whoever watches it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class AgentStatus:
    """What a language model has done so far.

    Attributes
    ----------
    calls : int
    usd : float
        Spent, or reserved for a call that is under way.
    credit : float
        Its programs' share of what all ancestors of the best candidate gained.
    """

    calls: int
    usd: float
    credit: float


@dataclass(frozen=True)
class Status:
    """How far a search is, as its progress callback is told.

    Attributes
    ----------
    doing : str
        "resuming" (results of an earlier process are read again), "searching", "waiting" (for a language model, while
        `seconds` stands still), "training" (networks, on the search images), "choosing" (after the first Ctrl-C) or
        "proving" (the best pipeline is scored on the test images).
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
    share : float
        While networks are trained: the share of the training that is done.
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
    share: float = 0.0


ProgressCallback = Callable[[Status], None]
