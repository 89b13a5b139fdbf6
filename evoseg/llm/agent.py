"""A language model as an adviser of the search: rounds of proposals and experiments, in a thread or waited for.

The model is asked in a thread. Whatever touches the search is done between two generations, by the search's own thread:
operators are admitted, experiments made, proposals scored and tuned. A search that waits pauses its clock until a round
has ended; one that does not looks in before each generation. What the search has done for the model is in the run's
journal, so a run is replayed without a model, and a resumed run continues.
"""

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.random import Generator

from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.evolve.advising import AdviserView
from evoseg.evolve.journal import JournalError, RecordedClock
from evoseg.evolve.loop import GENERATION_SIZE
from evoseg.evolve.ports import Evaluation, Failed, Floats, Scored
from evoseg.evolve.proposers.classics import ENDINGS, chain
from evoseg.evolve.proposers.code_programs import affordable, first_answers, first_values
from evoseg.evolve.proposers.curve_sums import FeatureBank, find_sums, finish
from evoseg.evolve.proposers.tuning import POOL, tune_now
from evoseg.llm.briefing import (
    CROSS_FITTED_OF_ROUND,
    Leader,
    OwnOperator,
    Report,
    Tried,
    choose_leader,
    describe_trial,
    make_request,
)
from evoseg.llm.roles import RoleSet
from evoseg.llm.rounds import (
    Delivery,
    Errand,
    RoundEndedError,
    RoundRequest,
    RoundResult,
    RoundRunner,
    picture_name,
)
from evoseg.llm.workshop import Workshop
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, print_text, read_text
from evoseg.sandbox.operators import AdmittedCode

TUNED, MOST_TUNED = 3, GENERATION_SIZE // 2
"""Proposals of a round that are tuned at once, and the evaluations that this may take."""
FIRST_PLANES = 4
"""Programs of an operator, with default parameters, that are scored when it is admitted."""
LEAST_GAIN = 0.001
"""Held-out gain that keeps the model in the conversation."""
POLL_S = 0.1
QUIET_POLLS = 10
"""Polls after which it is worth a word that the search waits."""

Admit = Callable[[str], AdmittedCode]
"""Tries out the source of an operator and keeps it with the run; raises EvosegError."""
Restore = Callable[[AdmittedCode], None]
"""Makes an operator known that was admitted before; raises EvosegError if it may not run here."""


@dataclass
class Tally:
    """What became of the model's proposals.

    Attributes
    ----------
    rounds, calls, programs, refused, duplicates, scored, leading : int
        Finished rounds, and the calls that these took; programs and plane lists that the reader accepted, and proposals
        that it refused; programs that were known already; programs that were scored in full; programs that were among
        the best after that.
    operators, experiments : int
        Operators that were admitted; programs that were tried before an answer was final.
    faults : counter
        Rounds without a result, by fault.
    over : str
        Why there are no further rounds; "" as long as there may be.
    """

    rounds: int = 0
    calls: int = 0
    programs: int = 0
    refused: int = 0
    duplicates: int = 0
    scored: int = 0
    leading: int = 0
    operators: int = 0
    experiments: int = 0
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
        self._news: queue.SimpleQueue[RoundResult | Errand] = queue.SimpleQueue()
        self._deliveries: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self.busy = False
        # A daemon: at the very worst, it ends with the process.
        self._thread = threading.Thread(target=self._work, name="agent", daemon=True)
        self._thread.start()

    def submit(self, request: RoundRequest) -> None:
        """Start a round."""
        self.busy = True
        self._requests.put(request)

    def next(self, timeout_s: float) -> RoundResult | Errand | None:
        """Return what the round has next: its result, or an errand for the search; None if nothing comes in time."""
        try:
            news = self._news.get(timeout=timeout_s) if timeout_s > 0 else self._news.get_nowait()
        except queue.Empty:
            return None
        self.busy = isinstance(news, Errand)
        return news

    @property
    def alive(self) -> bool:
        """Whether it can still bring something."""
        return self._thread.is_alive()

    def deliver(self, delivery: Delivery) -> None:
        """Give the round what came of its errand."""
        self._deliveries.put(delivery)

    def close(self, patience_s: float = 2.0) -> None:
        """End the thread; a call that is under way is lost, and counts as it was reserved."""
        self._stop()
        self._deliveries.put(None)
        self._requests.put(None)
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            self._news.put(self._runner.run(request, self._run_errand))
        self._on_end()

    def _run_errand(self, errand: Errand) -> Delivery:
        self._news.put(errand)
        delivery = self._deliveries.get()
        if delivery is None:
            self._deliveries.put(None)
            raise RoundEndedError
        return delivery


class Agent:
    """Advises a search by a language model.

    Parameters
    ----------
    role_set : RoleSet
    clock : RecordedClock
        Of the run; it knows what a journal says, and is paused while the search waits.
    restore : callable
        See `Restore`.
    workshop : Workshop or None
        Looks at images for the model; None only replays a journal.
    thread : AgentThread or None
        As `workshop`.
    admit : callable
        See `Admit`.
    wait : bool
        Whether the search waits for the end of a round.
    most_calls : int
        Limit on calls, over all rounds.
    on_wait : callable (bool) -> None
        Called when the search has begun to wait for the model, and with False when it goes on.
    given_macros : mapping of str to str
        Macros that programs may call from the beginning.
    """

    name = "agent"

    def __init__(
        self,
        role_set: RoleSet,
        clock: RecordedClock,
        restore: Restore,
        *,
        workshop: Workshop | None = None,
        thread: AgentThread | None = None,
        admit: Admit | None = None,
        wait: bool = False,
        most_calls: int = 0,
        on_wait: Callable[[bool], None] = lambda waiting: None,
        given_macros: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._role_set = role_set
        self._clock = clock
        self._restore = restore
        self._workshop = workshop
        self._thread = thread
        self._admit = admit
        self._wait = wait
        self._most_calls = most_calls
        self._on_wait = on_wait
        self._border = 0
        self._done: dict[str, Callable[[Errand, AdviserView], Delivery]] = {}
        self._waiting: Errand | None = None
        self._report = Report(given_macros=dict(given_macros))
        self._leader: Leader | None = None
        self._best_held_out = -np.inf
        self._rounds_without_gain = 0
        self.tally = Tally()

    @property
    def macros(self) -> dict[str, str]:
        """What the model has named, as definitions by name."""
        return self._report.macros

    def advise(self, view: AdviserView, rng: Generator) -> None:
        """Do what the journal says, or what the model wants now."""
        self._border += 1
        self._count_leading(view)
        while text := self._clock.external_event(self._border, partial(self._next_event, view)):
            event = json.loads(text)
            kind = event.get("event")
            if kind == "operators":
                self._take_operators(event, view)
            elif kind == "experiments":
                self._make_experiments(event, view)
            elif kind == "round":
                self._finish_round(RoundResult.from_json(event), view, rng)
                return
            else:
                raise JournalError(
                    "the run was made by an early version of evoseg, whose language model took part in another way. "
                    "It can be shown, but neither resumed nor replayed; start a new search."
                )

    def close(self) -> None:
        """Stop asking the model."""
        if self._thread is not None:
            self._thread.close()

    def _next_event(self, view: AdviserView) -> str:
        """Return what is to be done next, "" for nothing; start a round if it is time for one."""
        thread = self._thread
        if thread is None or self._workshop is None:
            return ""
        if not thread.busy:
            if not self._is_due(view):
                return ""
            thread.submit(self._make_request(view, self._workshop))
        while (news := self._hear(thread)) is not None:
            if isinstance(news, RoundResult):
                return news.as_text()
            done = self._done.get(_key(news.round, _wanted(news)))
            if done is not None:  # asked before, perhaps before the run was resumed
                thread.deliver(done(news, view))
            elif news.operators:
                self._waiting = news
                return self._admit_all(news)
            elif any(trial.kind == "try" for trial in news.trials):
                self._waiting = news
                return json.dumps({"event": "experiments", "round": news.round, "tries": _wanted(news)})
            else:
                thread.deliver(self._deliver_trials(news, [None] * len(news.trials), view))
        return ""

    def _hear(self, thread: AgentThread) -> RoundResult | Errand | None:
        if not self._wait:
            return thread.next(0)
        news, polls = None, 0
        with self._clock.paused():
            while news is None and thread.alive and not self._clock.stopped:
                news = thread.next(POLL_S)
                polls += 1
                if polls == QUIET_POLLS:
                    self._on_wait(True)
        if polls >= QUIET_POLLS:
            self._on_wait(False)
        return news

    def _is_due(self, view: AdviserView) -> bool:
        """Return whether it is time for a round: rounds, and calls, are spread over a budget of evaluations.

        What counts is in the journal, so a resumed search asks at the same times.
        """
        if self.tally.over or not view.best or view.evaluations_left == 0:
            return False
        if view.evaluations_left is None or not self._wait:
            return True
        done = self.tally.rounds / self._role_set.schedule.rounds, self.tally.calls / max(1, self._most_calls)
        return view.evaluations >= max(done) * (view.evaluations + view.evaluations_left)

    def _make_request(self, view: AdviserView, workshop: Workshop) -> RoundRequest:
        report, number = self._report, self.tally.rounds + 1
        self._leader = choose_leader(number, view, report)
        request = make_request(self._role_set.schedule, number, view, workshop, report, self._leader)
        report.images = {one.image for one in request.pictures.get("pictures", ()) if one.image is not None}
        return request

    def _count_leading(self, view: AdviserView) -> None:
        """Count programs of the last round that are among the best now."""
        leaders = {s.pipeline.form for s in view.best[:POOL]}
        for tried in self._report.last_round:
            if not tried.counted and tried.scored is not None:
                self.tally.leading += tried.scored.pipeline.form in leaders
                tried.counted = True

    def _deliver(self, view: AdviserView, key: str, done: Callable[[Errand, AdviserView], Delivery]) -> None:
        """Remember what came of an errand, and give it to the round if that waits for it."""
        self._done[key] = done
        waiting, self._waiting = self._waiting, None
        if waiting is not None and self._thread is not None:
            self._thread.deliver(done(waiting, view))

    def _admit_all(self, errand: Errand) -> str:
        """Try operators out, and return what the journal is to hold of them."""
        found: list[dict[str, Any]] = []
        for operator in errand.operators:
            try:
                if self._admit is None:
                    raise EvosegError("operators written in Python are not available in this search.")
                admitted = self._admit(operator.source)
                found.append({"name": operator.name, "source": operator.source, "cost": admitted.cost})
            except EvosegError as error:
                found.append({"name": operator.name, "source": operator.source, "refused": str(error)})
        return json.dumps({"event": "operators", "round": errand.round, "operators": found})

    def _take_operators(self, event: Mapping[str, Any], view: AdviserView) -> None:
        """Let the search use operators, and score the first programs of each."""
        results: list[dict[str, Any]] = []
        for entry in event["operators"]:
            if "refused" in entry:
                results.append({"operator": entry["name"], "refused": entry["refused"]})
                continue
            admitted = AdmittedCode(entry["source"], entry["cost"])
            self._restore(admitted)
            operator = registry.get(admitted.name)
            self.tally.operators += 1
            best = None
            if view.vocabulary is not None:
                view.vocabulary.add(operator)
                output = self._output(view)
                values = first_values([operator], view.stats, output)
                planes = [value for value in values if value.output is Kind.GRAY]
                view.vocabulary.planes += affordable(planes, view.stats)
                step = 3 if operator.parameters else 1
                best = _best(view.evaluate(first_answers(values[::step][:FIRST_PLANES], output)))
            self._report.operators.append(OwnOperator(entry["name"], event["round"], admitted, best))
            result: dict[str, Any] = {"operator": entry["name"], "digest": admitted.code.digest}
            results.append(result | ({} if best is None else {"best_score_alone": round(best.score, 3)}))
        wanted = [[entry["name"], entry["source"]] for entry in event["operators"]]
        self._deliver(view, _key(event["round"], wanted), lambda errand, view: Delivery(results))

    def _make_experiments(self, event: Mapping[str, Any], view: AdviserView) -> None:
        """Score the programs that the model wants to try."""
        outcomes: list[Tried | None] = []
        for texts in event["tries"]:
            if texts is None:
                outcomes.append(None)
                continue
            programs = [read_text(text, settled=False) for text in texts["programs"]]
            tried = self._new_tried(event["round"], "experiment", "")
            tried.programs = self._sums_of(programs, view, tried) if texts["planes"] else self._refit(programs, view)
            self._descend(tried, (), None, view)
            self._score([tried], view)
            self.tally.experiments += 1
            outcomes.append(tried)
        key = _key(event["round"], event["tries"])
        self._deliver(view, key, lambda errand, view: self._deliver_trials(errand, outcomes, view))

    def _deliver_trials(self, errand: Errand, outcomes: Sequence[Tried | None], view: AdviserView) -> Delivery:
        assert self._workshop is not None and self._leader is not None
        results: list[dict[str, Any]] = []
        pictures: list[str] = []
        for trial, outcome in zip(errand.trials, outcomes, strict=True):
            try:
                name = picture_name(errand.round, errand.n_pictures + len(pictures))
                result, picture = describe_trial(trial, outcome, view, self._workshop, self._leader, name)
            except (EvosegError, ValueError) as error:
                result, picture = {"failed": str(error)}, None
            results.append({"experiment": trial.kind, **result})
            pictures += [] if picture is None else [picture]
        tried = {one.called: one.scored.pipeline for one in outcomes if one is not None and one.scored is not None}
        return Delivery(results, pictures, tried)

    def _finish_round(self, result: RoundResult, view: AdviserView, rng: Generator) -> None:
        """Score, fit and tune what a round has brought."""
        tally, report = self.tally, self._report
        tally.rounds += 1
        tally.calls += len(result.calls)
        tally.programs += len(result.programs) + len(result.plane_lists)
        tally.refused += len(result.refused)
        if result.over:
            tally.over = result.fault or "calls"
        if result.fault:
            tally.faults[result.fault] += 1
        report.description = result.description or report.description
        report.findings = result.findings
        report.refused = result.refused
        report.macros |= result.macros
        brought: list[Tried] = []
        for entry in result.programs:
            tried = self._new_tried(result.round, entry["name"], entry["idea"])
            program = read_text(entry["program"], settled=False)
            tried.programs = self._refit([program], view)
            self._descend(tried, [read_text(text, settled=False) for text in entry["parents"]], entry["call"], view)
            brought.append(tried)
        for entry in result.plane_lists:
            tried = self._new_tried(result.round, entry["name"], entry["idea"])
            planes = [read_text(text, settled=False) for text in entry["planes"]]
            tried.programs = self._sums_of(planes, view, tried)
            self._descend(tried, (), entry["call"], view)
            brought.append(tried)
        known = {s.pipeline.form for s in [*view.population, *view.best]}
        tally.duplicates += sum(bool(one.programs) and all(p.form in known for p in one.programs) for one in brought)
        self._score(brought, view)
        self._tune([one for one in brought if one.scored is not None], view, rng)
        self._note_held_out(result.round, brought, view)

    def _new_tried(self, number: int, name: str, idea: str) -> Tried:
        tried = Tried(len(self._report.tried) + 1, number, name, idea)
        self._report.tried.append(tried)
        return tried

    def _output(self, view: AdviserView) -> Kind:
        return view.best[0].pipeline.output

    def _refit(self, programs: Sequence[Pipeline], view: AdviserView) -> list[Pipeline]:
        """Return programs with the curves of their sums fitted: nobody writes them by hand."""
        if not any(find_sums(program) for program in programs):
            return list(programs)
        return FeatureBank(view.sample_pixels).refit(programs)

    def _sums_of(self, planes: Sequence[Pipeline], view: AdviserView, tried: Tried) -> list[Pipeline]:
        """Return programs made of the sum of planes, with the usual ending and with the leader's; offer the planes."""
        bank = FeatureBank(view.sample_pixels)
        bank.add(planes)
        total = bank.sum_of(planes)
        if total is None:
            tried.failure = "its planes cannot be added up: one of them fails on these images."
            return []
        if view.vocabulary is not None:
            view.vocabulary.planes += planes
        ending = ENDINGS[self._output(view)]
        like_leader = finish(total, view.best[0].pipeline, ending)
        return list(dict.fromkeys([chain(total, ending), *([] if like_leader is None else [like_leader])]))

    def _descend(self, tried: Tried, parents: Sequence[Pipeline], call: int | None, view: AdviserView) -> None:
        for program in tried.programs:
            view.descend(program, parents, call)

    def _score(self, brought: Sequence[Tried], view: AdviserView) -> None:
        programs = list(dict.fromkeys(p for one in brought for p in one.programs))
        found = dict(zip(programs, view.evaluate(programs), strict=True)) if programs else {}
        for one in brought:
            outcomes = [found[p] for p in one.programs]
            one.scored = _best(outcomes)
            self.tally.scored += one.scored is not None
            if one.scored is not None:
                one.first_score = one.scored.score
                one.same_as = next(
                    (t for t in self._report.tried if t is not one and _same(t.scored, one.scored)), None
                )
            elif not one.failure:
                failed = next((o for o in outcomes if isinstance(o, Failed)), None)
                one.failure = failed.reason[:300] if failed else "not evaluated: the budget is used up"

    def _tune(self, brought: Sequence[Tried], view: AdviserView, rng: Generator) -> None:
        """Look for better numbers of the best proposals at once, so that ideas are not judged by first guesses."""
        if view.vocabulary is None:
            return
        ranked = sorted(brought, key=lambda one: -one.first_score)[:TUNED]
        pipelines = [one.scored.pipeline for one in ranked if one.scored is not None]

        def evaluate(programs: Sequence[Pipeline]) -> Sequence[Evaluation | None]:
            for program in programs:
                view.descend(program, pipelines[:1] if len(pipelines) == 1 else _like(program, pipelines))
            return view.evaluate(programs)

        for one, variants in zip(ranked, tune_now(pipelines, view.vocabulary, rng, evaluate, MOST_TUNED), strict=True):
            one.scored = _best([one.scored, *variants])

    def _note_held_out(self, number: int, brought: Sequence[Tried], view: AdviserView) -> None:
        """Take note of held-out scores, which the journal holds; after rounds without a gain, ask no more."""
        for one in self._report.tried:
            one.is_last = one.round == number

        def measure() -> str:
            best = sorted((t for t in brought if t.scored is not None), key=lambda t: -_score_of(t))
            best = best[:CROSS_FITTED_OF_ROUND]
            held_out = {str(one.number): _numbers(view.cross_fit(_given(one.scored))) for one in best}
            leader = _numbers(view.cross_fit(view.best[0]))
            return json.dumps({"event": "held out", "leader": leader, "programs": held_out})

        self._rounds_without_gain += 1
        some = any(one.scored is not None for one in brought)
        if some and (text := self._clock.external_event(self._border, measure)):
            event = json.loads(text)
            by_number = {str(one.number): one for one in brought}
            for key, scores in event["programs"].items():
                by_number[key].held_out = np.array(scores)
            best = max(float(np.mean(scores)) for scores in event["programs"].values())
            bar = max(self._best_held_out, float(np.mean(event["leader"])))
            if best > bar + LEAST_GAIN:
                self._rounds_without_gain = 0
            self._best_held_out = max(bar, best)
        if self._rounds_without_gain >= self._role_set.schedule.patience and not self.tally.over:
            self.tally.over = "patience"


def _wanted(errand: Errand) -> list[Any]:
    """Return what an errand is about, as values of JSON: names and sources, or the programs that are tried."""
    if errand.operators:
        return [[operator.name, operator.source] for operator in errand.operators]
    return [
        {"programs": [print_text(p) for p in trial.programs], "planes": len(trial.programs) > 1}
        if trial.kind == "try"
        else None
        for trial in errand.trials
    ]


def _key(number: int, wanted: Sequence[Any]) -> str:
    return json.dumps([number, wanted], sort_keys=True)


def _best(outcomes: Sequence[Evaluation | None]) -> Scored | None:
    return max((o for o in outcomes if isinstance(o, Scored)), key=lambda s: s.score, default=None)


def _same(one: Scored | None, other: Scored) -> bool:
    return one is not None and bool(np.array_equal(one.scores, other.scores))


def _like(program: Pipeline, pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """Return the pipeline of which a program is a variant."""
    operators = [s.operator for s in program.steps]
    return [p for p in pipelines if [s.operator for s in p.steps] == operators][:1]


def _given(scored: Scored | None) -> Scored:
    assert scored is not None
    return scored


def _score_of(tried: Tried) -> float:
    return _given(tried.scored).score


def _numbers(scores: Floats) -> list[float]:
    return [round(float(score), 6) for score in scores]
