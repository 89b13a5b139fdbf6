"""What happens in the studio, as a stream of events to every open page."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, final

_ALIVE_S = 15.0
"""Silence after which a stream of events says that it is still there."""
_QUEUE = 256


@final
class Events:
    """Sends what happens to every open page."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Remember the loop that pages are answered in."""
        self._loop = asyncio.get_running_loop()

    def publish(self, kind: str, **values: Any) -> None:
        """Send an event; from any thread."""
        text = f"event: {kind}\ndata: {json.dumps(values)}\n\n"
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, text)

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self._put(None)

    def _put(self, text: str | None) -> None:
        for queue in self._queues:
            # A page that does not read gets everything anew when it connects again.
            with suppress(asyncio.QueueFull):
                queue.put_nowait(text)

    async def stream(self) -> AsyncIterator[str]:
        """Yield events as lines of a stream until the page goes away."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE)
        self._queues.add(queue)
        try:
            yield "event: hello\ndata: {}\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), _ALIVE_S)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._queues.discard(queue)
