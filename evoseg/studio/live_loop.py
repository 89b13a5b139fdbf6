"""Keeps the live answer up to date while strokes are painted."""

import logging
from threading import Event, Thread
from typing import Any, final

from evoseg.core.errors import EvosegError
from evoseg.pipeline import print_text
from evoseg.studio.events import Events
from evoseg.studio.live import HeldOut, Live, Model, NothingToFit

logger = logging.getLogger(__name__)


@final
class LiveLoop:
    """Keeps the live answer up to date in a thread: fits after each stroke, and scores if no stroke comes meanwhile.

    Between the two, the pretrained encoder sees what it has not seen of the painted images, and if there was something,
    there is another fit.

    Attributes
    ----------
    model : Model or None
    scores : list of HeldOut
        Of `model`; empty until they are there.
    reason : str
        Why there is no model.
    """

    def __init__(self, live: Live, events: Events) -> None:
        self.model: Model | None = None
        self.scores: list[HeldOut] = []
        self.reason = ""
        self._live, self._events = live, events
        self._due, self._ended = Event(), False
        self._thread = Thread(target=self._run, name="live answer", daemon=True)

    def start(self) -> None:
        """Begin with what is there."""
        self._due.set()
        self._thread.start()

    def touch(self) -> None:
        """Fit again, since strokes have changed."""
        self._due.set()

    def stop(self) -> None:
        """End, after what cannot be broken off: a thread inside OpenCV must not outlive the interpreter."""
        self._ended = True
        self._live.stopped.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._ended:
                return
            self._due.clear()
            try:
                self._update()
            except EvosegError as error:
                self.model, self.scores, self.reason = None, [], str(error)
                self._events.publish("live", **self.as_json())
            except Exception as error:
                # The thread has to live on: what failed for these strokes may work for the next.
                logger.exception("the live answer failed")
                self.model, self.scores, self.reason = None, [], f"{type(error).__name__}: {error}"
                self._events.publish("live", **self.as_json())

    def _update(self) -> None:
        try:
            model = self._live.fit()
        except NothingToFit as error:
            self.model, self.scores, self.reason = None, [], str(error)
            self._events.publish("live", **self.as_json())
            return
        self.model, self.scores, self.reason = model, [], ""
        self._events.publish("live", **self.as_json())
        try:
            self._encode_and_score()
        except EvosegError as error:
            # Labels have changed meanwhile, or the studio is closing.
            logger.info("no scores of the live answer: %s", error)
        except Exception:
            # The answer is there without it, and the next stroke tries again.
            logger.exception("the live answer stays without the encoder or its scores")

    def _encode_and_score(self) -> None:
        has_encoded = False
        while not self._due.is_set() and self._live.encode_next():
            has_encoded = True
        if has_encoded:
            self._due.set()
        if not self._due.is_set():
            self.scores = self._live.held_out()
            self._events.publish("live", **self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the state as values that JSON knows."""
        model = self.model
        if model is None:
            return {"number": 0, "reason": self.reason}
        return {
            "number": model.number,
            "reason": "",
            "strokes": model.n_strokes,
            "images": model.n_images,
            "seconds": model.seconds,
            "scores": [vars(score) for score in self.scores],
            "programs": {str(fit.label): print_text(fit.pipeline) for fit in model.classes},
        }
