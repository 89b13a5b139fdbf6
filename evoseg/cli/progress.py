"""How far a command is, on stderr: a live line on a terminal, plain lines now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from evoseg.core.notes import quantity
from evoseg.metrics import METRIC_LABELS
from evoseg.runs.status import ProgressCallback, Status

if TYPE_CHECKING:
    from rich.text import Text

QUIET_S = 5.0
"""Longest silence between two plain lines, as far as there is news."""
LEAST_S = 1.0
"""Shortest time between two plain lines."""
READING = "reading the images"


@contextmanager
def show_progress() -> Iterator[ProgressCallback]:
    """Yield what a search should call with its status."""
    if not sys.stderr.isatty():
        lines = PlainLines()
        timer = Timer(QUIET_S, lines.still_reading)
        timer.daemon = True
        timer.start()
        try:
            yield lines
        finally:
            timer.cancel()
        return
    from rich.console import Console
    from rich.live import Live

    line = _LiveLine()
    with Live(console=Console(stderr=True), get_renderable=line.text, refresh_per_second=4, transient=True):
        yield line


class Tell(Protocol):
    """What is called with words about progress."""

    def __call__(self, words: str, *, at_once: bool = False) -> None:
        """Show the words, or keep quiet if the last ones are recent and these need not be shown at once."""


@contextmanager
def show_words() -> Iterator[Tell]:
    """Yield what should be called with words about the progress of anything else."""
    if not sys.stderr.isatty():
        yield _Words()
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:

        def tell(words: str, *, at_once: bool = False) -> None:
            live.update(Text(words, no_wrap=True, overflow="ellipsis"))

        yield tell


class _Words:
    """Prints a line when enough time has passed since the last one, or since the beginning."""

    def __init__(self) -> None:
        self._last_s = monotonic()

    def __call__(self, words: str, *, at_once: bool = False) -> None:
        """Print the words, or keep quiet."""
        if at_once or monotonic() - self._last_s >= QUIET_S:
            self._last_s = monotonic()
            print(words, file=sys.stderr, flush=True)


class BatchProgress:
    """Tells how many images are done, and about how long the others will take.

    Parameters
    ----------
    tell : callable
        As of `show_words`.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._total = self._done = self._worked = 0
        self._start_s = monotonic()

    def set_total(self, total: int) -> None:
        """Set how many there are, and begin to count the time."""
        self._total, self._start_s = total, monotonic()

    def add(self, *, skipped: bool) -> None:
        """Count one that is done; those that were skipped say nothing of the time that others take."""
        self._done += 1
        self._worked += 1
        if skipped:
            self._worked, self._start_s = 0, monotonic()
        self._say("", 0.0)

    def show_share(self, name: str, share: float) -> None:
        """Show how far a large one is."""
        self._say(f", {name} {100 * share:.0f} %", share)

    def _say(self, words: str, share: float) -> None:
        left = ""
        if worked := self._worked + share:
            seconds = (monotonic() - self._start_s) / worked * (self._total - self._done - share)
            left = f", about {format_duration(seconds)} left"
        self._tell(f"{self._done} of {self._total} images{words}{left}")


def format_duration(seconds: float) -> str:
    """Return a time in the unit that suits it: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class PlainLines:
    """Prints a line when the best has improved or much time has passed."""

    def __init__(self) -> None:
        self._last_s = float("-inf")
        self._best = float("-inf")
        self._doing = ("", "")

    def still_reading(self) -> None:
        """Say so, if nothing else has been said yet."""
        if not any(self._doing):
            print(READING, file=sys.stderr, flush=True)

    def __call__(self, status: Status) -> None:
        """Print the status, or keep quiet."""
        silence_s = status.seconds - self._last_s
        waits = status.doing == "waiting"
        doing = ("searching" if waits else status.doing, status.task)
        if doing == self._doing and status.doing == "resuming":
            return
        news = doing != self._doing or ((waits or status.best > self._best) and silence_s >= LEAST_S)
        if not news and silence_s < QUIET_S:
            return
        self._last_s, self._best, self._doing = status.seconds, status.best, doing
        print(format_status(status), file=sys.stderr, flush=True)


class _LiveLine:
    """Keeps the latest status and counts the time that has passed since."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._at = 0.0

    def __call__(self, status: Status) -> None:
        """Take the status in."""
        self._status, self._at = status, monotonic()

    def text(self) -> "Text":
        """Return the line as it is now."""
        from rich.text import Text

        if self._status is None:
            return Text(READING, style="dim")
        passed = monotonic() - self._at if self._status.doing in ("searching", "waiting", "training") else 0.0
        return Text(format_status(self._status, passed), no_wrap=True, overflow="ellipsis")


def format_status(status: Status, passed_s: float = 0.0) -> str:
    """Return a status as one line, `passed_s` after it was taken."""
    if status.doing == "choosing":
        return "stopping: choosing and testing the best pipeline so far; press Ctrl-C again to abort"
    if status.doing == "resuming":
        return "resuming the run"
    if status.doing == "proving":
        return f"{status.seconds:5.0f} s  best pipeline chosen; testing it"
    waits = status.doing == "waiting"
    waited_s, passed_s = (passed_s, 0.0) if waits else (0.0, passed_s)
    words = [f"{status.seconds + passed_s:5.0f} s"]
    if status.evaluations:
        rate = status.evaluations / max(status.seconds, 1e-9)
        steps = "step" if status.length == 1 else "steps"
        best = f"{METRIC_LABELS[status.metric]} {status.best:.3f} with {status.length} {steps}"
        words += [f"{status.task}: {best if status.length else 'nothing scored yet'}"]
        words += [f"{status.evaluations} candidates, {rate:.0f}/s" if status.doing == "searching" else ""]
    if status.doing == "training":
        words += [f"training networks, {100 * status.share:.0f} %"]
    if waits:
        words += [f"waiting for the model{f' ({format_duration(waited_s)})' if waited_s else ''}"]
    if status.seconds_left is not None:
        words.append(f"{max(0.0, status.seconds_left - passed_s):.0f} s left")
    if status.evaluations_left is not None:
        words.append(f"{status.evaluations_left} to go")
    if status.agent is not None:
        calls = quantity(status.agent.calls, "call")
        words.append(f"agent: {calls}, ${status.agent.usd:.3f}, {100 * status.agent.credit:.0f} % of the improvement")
    return "  ".join(filter(None, words))
