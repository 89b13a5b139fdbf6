"""The proposer: rounds with a language model beside the evolution, joined at borders between generations.

`ready` never waits. At a border it takes in the round that has come back, if one has, and sends the next one out. What
came in is told by the run's journal, so a run is replayed without a model, and a resumed one goes on from there.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.random import Generator

from evoseg.evolve.facts import Facts
from evoseg.evolve.ports import Failed, Scored, SearchView, Verdict
from evoseg.evolve.tuning import POOL
from evoseg.llm.prompts import presentable, shown_parent, shown_text
from evoseg.llm.roles import Cast
from evoseg.llm.rounds import Arrival, Brief, Rounds
from evoseg.llm.schedule import draw_parents
from evoseg.pipeline import Pipeline, read_text

MOST_TRIED = 12
WORST_IMAGES = 3

Arrivals = Callable[[int, Callable[[], str]], str]
"""Tells what has come at a border: from a journal while that lasts, else by asking; as `RecordedClock.arrival`."""


@dataclass
class Tally:
    """What became of the model's ideas.

    Attributes
    ----------
    rounds, programs, refused, duplicates, scored, leading : int
        Rounds that came back; programs that were accepted by the reader, and refused; those that were known already;
        those scored in full; those that were among the leaders when they had been.
    faults : counter
        Rounds that brought nothing, by fault.
    over : str
        Why no further rounds were played; "" as long as there may be some.
    """

    rounds: int = 0
    programs: int = 0
    refused: int = 0
    duplicates: int = 0
    scored: int = 0
    leading: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    over: str = ""


class Desk:
    """A thread that plays rounds, one at a time.

    Parameters
    ----------
    rounds : Rounds
    stop : callable
        Makes the round that is under way end at once.
    leave : callable
        Called by the thread at its end.
    """

    def __init__(self, rounds: Rounds, stop: Callable[[], None], leave: Callable[[], None]) -> None:
        self._rounds = rounds
        self._stop = stop
        self._leave = leave
        self._in: queue.SimpleQueue[Brief | None] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self.busy = False
        # A daemon: at the very worst, it ends with the process.
        self._thread = threading.Thread(target=self._work, name="agent", daemon=True)
        self._thread.start()

    def give(self, brief: Brief) -> None:
        """Have a round played."""
        self.busy = True
        self._in.put(brief)

    def taken(self) -> Arrival | None:
        """Return the round that has been played since, None if there is none."""
        try:
            arrival = self._out.get_nowait()
        except queue.Empty:
            return None
        self.busy = False
        return arrival

    def close(self, patience_s: float = 2.0) -> None:
        """End the thread; what it was doing is lost, and counted as it was reserved."""
        self._stop()
        self._in.put(None)
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (brief := self._in.get()) is not None:
            self._out.put(self._rounds.play(brief))
        self._leave()


class Agent:
    """Proposes what a language model has thought of.

    Parameters
    ----------
    cast : Cast
    arrivals : callable
        See `Arrivals`.
    live : callable () -> bool
        Whether the model may be asked now; never while a journal is told again.
    desk : Desk or None
        None to tell a journal only.
    given : mapping of str to str
        Macros that programs may call from the beginning.
    """

    name = "agent"

    def __init__(
        self,
        cast: Cast,
        arrivals: Arrivals,
        live: Callable[[], bool] = lambda: False,
        desk: Desk | None = None,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._cast = cast
        self._arrivals = arrivals
        self._live = live
        self._desk = desk
        self._border = 0
        self._waiting: list[Pipeline] = []
        self._heard: list[Verdict] = []
        self._tried: dict[str, dict[str, Any]] = {}
        self._refused: tuple[dict[str, str], ...] = ()
        self._description: dict[str, Any] | None = None
        self._critique: dict[str, Any] | None = None
        self._fruitless = 0
        self._given = dict(given)
        self.macros: dict[str, str] = {}
        self.tally = Tally()

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return programs that have come back by now."""
        self._border += 1
        self._weigh(view)
        came = self._arrivals(self._border, self._finished)
        if came:
            self._take_in(Arrival.from_text(came), view)
        if self._desk is not None and not self._desk.busy and not self.tally.over and self._live():
            self._desk.give(self._brief(view, rng))
        now, self._waiting = self._waiting[:n], self._waiting[n:]
        return now

    def learn(self, verdicts: Sequence[Verdict]) -> None:
        """Remember what became of the programs, to tell the model."""
        self._heard += verdicts
        for verdict in verdicts:
            if isinstance(verdict, Scored):
                became: dict[str, Any] = {"score": round(verdict.score, 4)}
                self.tally.scored += 1
            elif isinstance(verdict, Failed):
                became = {"failed": verdict.reason[:200]}
            else:
                became = {"turned_away_on_a_few_images_with": round(verdict.score, 4)}
            self._tried[verdict.pipeline.form] |= became

    def close(self) -> None:
        """Ask no more."""
        if self._desk is not None:
            self._desk.close()

    def _finished(self) -> str:
        arrival = self._desk.taken() if self._desk is not None else None
        return "" if arrival is None else arrival.as_text()

    def _weigh(self, view: SearchView) -> None:
        """Count the programs that stand among the leaders; without one for many rounds, the model is asked no more."""
        if not self._heard:
            return
        leaders = {s.pipeline.form for s in view.best[:POOL]}
        leading = sum(verdict.pipeline.form in leaders for verdict in self._heard)
        self.tally.leading += leading
        self._fruitless = 0 if leading else self._fruitless + 1
        self._heard = []
        self._give_up()

    def _take_in(self, arrival: Arrival, view: SearchView) -> None:
        tally = self.tally
        tally.rounds += 1
        tally.programs += len(arrival.programs)
        tally.refused += len(arrival.refused)
        if arrival.over:
            tally.over = arrival.fault or "calls"
        if arrival.fault:
            tally.faults[arrival.fault] += 1
        self._description = arrival.description or self._description
        self._critique = arrival.critique or self._critique
        self._refused = arrival.refused or self._refused
        self.macros |= arrival.macros
        known = {s.pipeline.form for s in [*view.population, *view.best]} | set(self._tried)
        fresh = 0
        for entry in arrival.programs:
            pipeline = read_text(entry["program"], settled=False)
            if pipeline.form in known:
                tally.duplicates += 1
                continue
            known.add(pipeline.form)
            self._waiting.append(pipeline)
            # Told to the model even before it is scored: the next round begins at this very border.
            self._tried[pipeline.form] = {"name": entry["name"], "program": shown_text(pipeline)}
            fresh += 1
        if not fresh:
            self._fruitless += 1
            self._give_up()

    def _give_up(self) -> None:
        if self._fruitless >= self._cast.schedule.patience and not self.tally.over:
            self.tally.over = "patience"

    def _brief(self, view: SearchView, rng: Generator) -> Brief:
        """Take down what the next round is to be told."""
        schedule, number = self._cast.schedule, self.tally.rounds + 1
        callable_now = self._given | self.macros
        ranked = [s for s in view.best if presentable(s.pipeline)]
        parents = draw_parents(ranked, schedule.parents, schedule, rng)
        gives_programs = {name: role.output == "programs" for name, role in self._cast.roles.items()}
        told = {
            "description": self._description,
            "critique": self._critique,
            "parents": [shown_parent(parent) for parent in parents],
            "best": shown_parent(ranked[0]) if ranked else None,
            "tried": list(self._tried.values())[-MOST_TRIED:],
            "refused": list(self._refused),
            "macros": list(callable_now.values()),
        }
        roles = schedule.chain(number, gives_programs) if ranked else schedule.chain(1, gives_programs)
        return Brief(number, roles, view.facts, told, worst_images(ranked, view.facts), callable_now)


def worst_images(ranked: Sequence[Scored], facts: Facts) -> dict[int, Pipeline | None]:
    """Return the images on which the best program does worst, with it; before there is one, the first images."""
    if not ranked:
        return dict.fromkeys(range(min(WORST_IMAGES, len(facts.pixels))))
    order = ranked[0].scores.argsort(kind="stable")[:WORST_IMAGES]
    return {int(i): ranked[0].pipeline for i in order}
