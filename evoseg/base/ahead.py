"""Work done in a few threads, a little ahead of whoever needs it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, os.cpu_count() or 1)
"""By default. Decoders let threads run side by side; each holds an image, so more of them cost memory."""


def ahead(function: Callable[[T], R], things: Iterable[T], threads: int = THREADS) -> Iterator[R]:
    """Yield `function(thing)` for each thing, in order, with at most one result per thread waiting to be asked for.

    An exception comes in the place of its result.
    """
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[R]] = deque()
        for thing in things:
            begun.append(pool.submit(function, thing))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
