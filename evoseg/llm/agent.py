"""The proposer: rounds with a language model run in a thread, and their programs join between two generations.

`ready` never waits. Between generations it adds the programs of a round that has ended, if one has, and starts the next
round. The run's journal holds the results of rounds, so a run is replayed without a model, and a resumed run continues.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.random import Generator

from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.ports import Evaluation, Failed, Scored, SearchView
from evoseg.evolve.proposers.tuning import POOL
from evoseg.llm.prompts import describe_parent, is_presentable, program_text
from evoseg.llm.roles import RoleSet, draw_parents
from evoseg.llm.rounds import RoundRequest, RoundResult, RoundRunner
from evoseg.pipeline import Pipeline, read_text

MOST_TRIED = 12
WORST_IMAGES = 3

ReceiveResult = Callable[[int, Callable[[], str]], str]
"""Returns the round that ended before a generation: from the journal while that lasts, else by asking the thread."""


@dataclass
class Tally:
    """What became of the model's programs.

    Attributes
    ----------
    rounds, programs, refused, duplicates, scored, leading : int
        Finished rounds; programs that the reader accepted, and refused; programs that were known already; programs
        that were scored in full; programs that were among the best after that.
    faults : counter
        Rounds without a result, by fault.
    over : str
        Why there are no further rounds; "" as long as there may be.
    """

    rounds: int = 0
    programs: int = 0
    refused: int = 0
    duplicates: int = 0
    scored: int = 0
    leading: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    over: str = ""


class AgentThread:
    """A thread that runs rounds, one at a time.

    Parameters
    ----------
    runner : RoundRunner
    stop : callable
        Ends the round that is running at once.
    on_end : callable
        Called by the thread at its end.
    """

    def __init__(self, runner: RoundRunner, stop: Callable[[], None], on_end: Callable[[], None]) -> None:
        self._runner = runner
        self._stop = stop
        self._on_end = on_end
        self._requests: queue.SimpleQueue[RoundRequest | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[RoundResult] = queue.SimpleQueue()
        self.busy = False
        # A daemon: at the very worst, it ends with the process.
        self._thread = threading.Thread(target=self._work, name="agent", daemon=True)
        self._thread.start()

    def submit(self, request: RoundRequest) -> None:
        """Start a round."""
        self.busy = True
        self._requests.put(request)

    def poll(self) -> RoundResult | None:
        """Return the result of a round that has ended since, None if there is none."""
        try:
            result = self._results.get_nowait()
        except queue.Empty:
            return None
        self.busy = False
        return result

    def close(self, patience_s: float = 2.0) -> None:
        """End the thread; a call that is under way is lost, and counts as it was reserved."""
        self._stop()
        self._requests.put(None)
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            self._results.put(self._runner.run(request))
        self._on_end()


class Agent:
    """Proposes the programs of a language model.

    Parameters
    ----------
    role_set : RoleSet
    receive : callable
        See `ReceiveResult`.
    may_ask : callable () -> bool
        Whether the model may be asked now; never while a journal is replayed.
    thread : AgentThread or None
        None only replays a journal.
    given_macros : mapping of str to str
        Macros that programs may call from the beginning.
    """

    name = "agent"

    def __init__(
        self,
        role_set: RoleSet,
        receive: ReceiveResult,
        may_ask: Callable[[], bool] = lambda: False,
        thread: AgentThread | None = None,
        given_macros: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._role_set = role_set
        self._receive = receive
        self._may_ask = may_ask
        self._thread = thread
        self._border = 0
        self._waiting: list[Pipeline] = []
        self._origins: dict[str, tuple[list[Pipeline], int | None]] = {}
        self._verdicts: list[Evaluation] = []
        self._tried: dict[str, dict[str, Any]] = {}
        self._refused: tuple[dict[str, str], ...] = ()
        self._description: dict[str, Any] | None = None
        self._critique: dict[str, Any] | None = None
        self._rounds_without_gain = 0
        self._given_macros = dict(given_macros)
        self.macros: dict[str, str] = {}
        self.tally = Tally()

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return the programs of rounds that have ended."""
        self._border += 1
        self._count_leading(view)
        text = self._receive(self._border, self._poll)
        if text:
            self._add(RoundResult.from_text(text), view)
        if self._thread is not None and not self._thread.busy and not self.tally.over and self._may_ask():
            self._thread.submit(self._request(view, rng))
        ready, self._waiting = self._waiting[:n], self._waiting[n:]
        for pipeline in ready:
            view.descend(pipeline, *self._origins.pop(pipeline.form))
        return ready

    def learn(self, verdicts: Sequence[Evaluation]) -> None:
        """Note the outcomes of programs, for the next round."""
        self._verdicts += verdicts
        for verdict in verdicts:
            if isinstance(verdict, Scored):
                outcome: dict[str, Any] = {"score": round(verdict.score, 4)}
                self.tally.scored += 1
            elif isinstance(verdict, Failed):
                outcome = {"failed": verdict.reason[:200]}
            else:
                outcome = {"turned_away_on_a_few_images_with": round(verdict.score, 4)}
            self._tried[verdict.pipeline.form] |= outcome

    def close(self) -> None:
        """Stop asking the model."""
        if self._thread is not None:
            self._thread.close()

    def _poll(self) -> str:
        result = self._thread.poll() if self._thread is not None else None
        return "" if result is None else result.as_text()

    def _count_leading(self, view: SearchView) -> None:
        """Count programs among the best; after many rounds without one, the model is not asked any more."""
        if not self._verdicts:
            return
        leaders = {s.pipeline.form for s in view.best[:POOL]}
        leading = sum(verdict.pipeline.form in leaders for verdict in self._verdicts)
        self.tally.leading += leading
        self._rounds_without_gain = 0 if leading else self._rounds_without_gain + 1
        self._verdicts = []
        self._give_up()

    def _add(self, result: RoundResult, view: SearchView) -> None:
        tally = self.tally
        tally.rounds += 1
        tally.programs += len(result.programs)
        tally.refused += len(result.refused)
        if result.over:
            tally.over = result.fault or "calls"
        if result.fault:
            tally.faults[result.fault] += 1
        self._description = result.description or self._description
        self._critique = result.critique or self._critique
        self._refused = result.refused or self._refused
        self.macros |= result.macros
        known = {s.pipeline.form for s in [*view.population, *view.best]} | set(self._tried)
        n_new = 0
        for entry in result.programs:
            pipeline = read_text(entry["program"], settled=False)
            if pipeline.form in known:
                tally.duplicates += 1
                continue
            known.add(pipeline.form)
            self._waiting.append(pipeline)
            parents = [read_text(text) for text in entry.get("parents", ())]
            self._origins[pipeline.form] = parents, entry.get("call")
            # The model is told of it even before it is scored, since the next round starts now.
            self._tried[pipeline.form] = {"name": entry["name"], "program": program_text(pipeline)}
            n_new += 1
        if not n_new:
            self._rounds_without_gain += 1
            self._give_up()

    def _give_up(self) -> None:
        if self._rounds_without_gain >= self._role_set.schedule.patience and not self.tally.over:
            self.tally.over = "patience"

    def _request(self, view: SearchView, rng: Generator) -> RoundRequest:
        """Return what the next round is told."""
        schedule, number = self._role_set.schedule, self.tally.rounds + 1
        callable_now = self._given_macros | self.macros
        ranked = [s for s in view.best if is_presentable(s.pipeline)]
        parents = draw_parents(ranked, schedule.parents, schedule, rng)
        gives_programs = {name: role.output == "programs" for name, role in self._role_set.roles.items()}
        context = {
            "description": self._description,
            "critique": self._critique,
            "parents": [describe_parent(parent) for parent in parents],
            "best": describe_parent(ranked[0]) if ranked else None,
            "tried": list(self._tried.values())[-MOST_TRIED:],
            "refused": list(self._refused),
            "macros": list(callable_now.values()),
        }
        roles = schedule.chain(number, gives_programs) if ranked else schedule.chain(1, gives_programs)
        return RoundRequest(number, roles, view.stats, context, worst_images(ranked, view.stats), callable_now)


def worst_images(ranked: Sequence[Scored], facts: ImageStats) -> dict[int, Pipeline | None]:
    """Return the images on which the best program scores lowest, with the program; without one, the first images."""
    if not ranked:
        return dict.fromkeys(range(min(WORST_IMAGES, len(facts.pixels))))
    order = ranked[0].scores.argsort(kind="stable")[:WORST_IMAGES]
    return {int(i): ranked[0].pipeline for i in order}
