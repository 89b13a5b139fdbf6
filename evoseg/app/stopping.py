"""Ctrl-C: the first ends the search with the best so far, the second ends everything."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from evoseg.evolve.budget import Clock


@contextmanager
def stoppable(clock: Clock, heard: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Let signals that would interrupt this process end a search in good order.

    Only signals that Python handles are taken over: SIGINT wherever Ctrl-C works, SIGTERM where the command line has
    made it an interrupt. Another thread than the main one can take over none.

    Parameters
    ----------
    clock : Clock
        Told to stop by the first signal; the second raises KeyboardInterrupt.
    heard : callable
        Called at the first signal.

    Yields
    ------
    threading.Event
        Set once a signal has come.
    """
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    mine = [s for s, handler in before.items() if callable(handler)]
    if threading.current_thread() is not threading.main_thread():
        mine = []
    stopped = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        clock.stop()
        try:
            heard()
        except RuntimeError:
            pass  # the signal came while something was being printed, and printing cannot be entered twice

    for number in mine:
        signal.signal(number, handle)
    try:
        yield stopped
    finally:
        for number in mine:
            signal.signal(number, before[number])
