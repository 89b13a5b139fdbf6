"""The search: proposers propose, the evaluator judges, selection decides, generation after generation."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.random import Generator

from evoseg.base.errors import EvosegError
from evoseg.base.streams import stream
from evoseg.evolve.budget import Clock
from evoseg.evolve.evaluator import AnyEvaluator
from evoseg.evolve.facts import Facts
from evoseg.evolve.fitting import EVERYTHING, Effort
from evoseg.evolve.ports import Failed, Floats, Proposer, Scored, SearchView, Task, TurnedAway, Verdict
from evoseg.evolve.selection import Front, distinct_answers, leading, priced, select, survivors
from evoseg.evolve.skeletons import Skeleton, skeleton, structures
from evoseg.pipeline import Pipeline

logger = logging.getLogger(__name__)

GENERATION = 48
"""Candidates a generation asks for. A constant: a history must not depend on how fast the machine is."""
POPULATION = 96
STAGNATION = 250
"""Full evaluations without a better candidate after which the population starts anew."""
FOREGROUND = "foreground"
LEADERS = 3
"""Candidates of an epoch that are remembered for epochs that build on earlier ones."""
NOTHING = np.zeros(0)
PATIENCE = 100
"""Generations without anything new to evaluate after which a search ends."""
COMPARE = 0.75
"""Quantile of the population's scores from which two levels of a candidate are compared on all images."""
FLOOR = 0.6
"""Share of the population's median score, on a few images, below which a candidate is turned away."""
BEST = 24
"""Candidates that the tuner chooses from and that finalists come from."""


@dataclass(frozen=True)
class Share:
    """A proposer and how many of a generation's places are offered to it, in the order they are offered."""

    proposer: Proposer
    places: int


@dataclass(frozen=True, slots=True)
class Descent:
    """A candidate that was scored, with the forms of those that it was made from."""

    proposer: str
    score: float
    parents: tuple[str, ...] = ()


@dataclass
class Progress:
    """What a search has done so far; also what it returns.

    Attributes
    ----------
    evaluations, failed, turned_away, too_costly, generation : int
        Full evaluations; failures; candidates dismissed on a few images, and for their cost; generations begun.
    variants : dict
        Robust and left-out scores of all variants of a structure, by its skeleton.
    origins : dict
        Who first brought the structure of a sub-program into the search; kept only where there are guests.
    history : list of (evaluations, seconds, best score)
        One entry whenever the best improved; never decreases.
    population, best : list of Scored
    leaders : list of Scored
        The best few of each epoch that has ended.
    epoch : int
        Restarts so far.
    best_classic : Scored or None
        The baseline that an expert would have reached.
    lineage : dict of str to Descent
        All scored candidates, by form.
    opening : float or None
        The best score of the first generation in which any candidate was scored.
    stage : str
        `FOREGROUND` while it searches for masks to begin with, else empty.
    """

    evaluations: int = 0
    failed: int = 0
    turned_away: int = 0
    too_costly: int = 0
    generation: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)
    population: list[Scored] = field(default_factory=list)
    best: list[Scored] = field(default_factory=list)
    leaders: list[Scored] = field(default_factory=list)
    epoch: int = 0
    front: Front = field(default_factory=Front)
    best_classic: Scored | None = None
    lineage: dict[str, Descent] = field(default_factory=dict)
    opening: float | None = None
    variants: dict[Skeleton, list[tuple[Floats, Floats]]] = field(default_factory=dict)
    origins: dict[Skeleton, str] = field(default_factory=dict)
    stage: str = ""
    stopped_by: str = ""

    def spent(self) -> "Progress":
        """Return a beginning for the next stage, which counts on from here."""
        counted = ("evaluations", "failed", "turned_away", "too_costly", "generation")
        return Progress(**{name: getattr(self, name) for name in counted})

    def ancestors(self, pipeline: Pipeline) -> list[Descent]:
        """Return a scored pipeline and the candidates that it was made from, directly or by way of others."""
        found: dict[str, Descent] = {}
        waiting = [pipeline.form]
        while waiting:
            form = waiting.pop()
            if form not in found and form in self.lineage:
                found[form] = self.lineage[form]
                waiting += found[form].parents
        return list(found.values())

    def credit(self, pipeline: Pipeline) -> dict[str, float]:
        """Return what each proposer has gained for a pipeline, in units of the score.

        Every ancestor counts, and the pipeline itself, with what it scores above the best candidate that it was made
        from, and above the best of the first generation: what the search begins with is nobody's merit.
        """
        gains: dict[str, float] = {}
        for one in self.ancestors(pipeline):
            bars = [self.lineage[form].score for form in one.parents if form in self.lineage]
            gain = one.score - max([*bars, self.opening if self.opening is not None else one.score])
            if gain > 0:
                gains[one.proposer] = gains.get(one.proposer, 0.0) + gain
        return gains

    @property
    def best_score(self) -> float:
        """The best mean score so far."""
        return self.history[-1][2] if self.history else float("-inf")


class Search:
    """One search; deterministic for a seed and an evaluation budget, whatever executes the jobs.

    Parameters
    ----------
    task : Task
    evaluator : Evaluator
    copies : Evaluator
        Judges on jittered copies of some of the images.
    copied : sequence of int
        Which images these are.
    probed : Evaluator
        Samples planes for proposers, on images and copies.
    shares : sequence of Share
    facts : Facts
    clock : Clock
    seed : int
    select : callable (population, n, rng) -> list of Scored
        Draws parents.
    max_cost : float, ns per pixel
        Candidates that cost more by the model are not evaluated.
    watch : callable
        Called with the progress after each generation.
    guests : sequence of Proposer
        Asked before all others, and drawing from streams of their own: one with nothing to say changes nothing.
    progress : Progress, optional
        What was done before.
    """

    def __init__(
        self,
        task: Task,
        evaluator: AnyEvaluator,
        copies: AnyEvaluator,
        copied: Sequence[int],
        probed: AnyEvaluator,
        shares: Sequence[Share],
        facts: Facts,
        clock: Clock,
        seed: int,
        select: Callable[[Sequence[Scored], int, Generator], list[Scored]] = select,
        max_cost: float = float("inf"),
        watch: Callable[[Progress], None] = lambda progress: None,
        guests: Sequence[Proposer] = (),
        progress: Progress | None = None,
    ) -> None:
        self._task = task
        self._evaluator = evaluator
        self._copies = copies
        self._copied = list(copied)
        self._probed = probed
        self._shares = shares
        self._guests = guests
        self._facts = facts
        self._clock = clock
        self._seed = seed
        self._draw = select
        self._max_cost = max_cost
        self._watch = watch
        self._known: dict[str, Verdict] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._idle = 0
        self._epoch_best: list[Scored] = []
        self._improved_at = 0
        self._losses: list[float] = []
        self.progress = Progress() if progress is None else progress

    def run(self) -> Progress:
        """Search until the budget is spent; Ctrl-C ends it with the best so far."""
        state = self.progress
        while True:
            state.stopped_by = self._clock.reason(state.evaluations, state.best_score) or ""
            if state.stopped_by:
                return state
            before = state.evaluations + state.turned_away
            self._generation()
            self._idle = 0 if state.evaluations + state.turned_away > before else self._idle + 1
            if self._idle == PATIENCE:
                state.stopped_by = "exhausted"
                return state
            self._watch(state)

    def _generation(self) -> None:
        state = self.progress
        state.generation += 1
        proposals = self._propose()
        fresh = self._fresh(proposals)
        candidates = [pipeline for _, pipeline in fresh.values()]
        verdicts = self._evaluator.evaluate(candidates, self._clock.late, self._effort())
        scored: list[Scored] = []
        for (form, (name, _)), verdict in zip(fresh.items(), verdicts, strict=True):
            if verdict is None:
                continue
            if isinstance(verdict, TurnedAway):
                state.turned_away += 1
            elif isinstance(verdict, Failed):
                state.evaluations += 1
                state.failed += 1
            else:
                state.evaluations += 1
                verdict = replace(verdict, proposer=name)
                scored.append(verdict)
            self._known[form] = verdict
        if not self.progress.best and not scored and state.failed:
            failure = next(v for v in verdicts if isinstance(v, Failed))
            error = EvosegError(f"every candidate fails, so something else is broken: {failure.reason}")
            error.add_note(failure.traceback)
            raise error
        scored = self._jitter(scored)
        self._known |= {s.pipeline.form: replace(s, statistics=NOTHING) for s in scored}
        self._take_in(scored)
        for proposer, pipelines in proposals:
            heard = [self._known[p.form] for p in pipelines if p.form in self._known]
            if len(heard) == len(pipelines):  # a generation cut short teaches nobody
                proposer.learn(heard)

    def _fresh(self, proposals: list[tuple[Proposer, list[Pipeline]]]) -> dict[str, tuple[str, Pipeline]]:
        """Return proposals that are neither repeats nor too costly, by form, with their proposers' names."""
        fresh: dict[str, tuple[str, Pipeline]] = {}
        for proposer, pipelines in proposals:
            for pipeline in pipelines:
                if pipeline.form in self._known or pipeline.form in fresh:
                    continue
                if pipeline.cost > self._max_cost:
                    self._known[pipeline.form] = Failed(pipeline, f"costs more than {self._max_cost:g} ms/Mpx")
                    self.progress.too_costly += 1
                    continue
                fresh[pipeline.form] = (proposer.name, pipeline)
        return dict(islice(fresh.items(), self._clock.evaluations_left(self.progress.evaluations)))

    def _propose(self) -> list[tuple[Proposer, list[Pipeline]]]:
        state = self.progress
        view = SearchView(state.population, state.best, self._select, self._facts, self._probe, self._descend)
        proposals = []
        free = GENERATION
        invited: list[tuple[int | str, Share]] = [(guest.name, Share(guest, GENERATION)) for guest in self._guests]
        for key, share in [*invited, *enumerate(self._shares)]:
            rng = stream(self._seed, "generation", state.generation, key)
            pipelines = share.proposer.ready(view, min(share.places, free), rng)
            free -= len(pipelines)
            proposals.append((share.proposer, pipelines))
        return proposals

    def _descend(self, child: Pipeline, parents: Sequence[Pipeline]) -> None:
        if child.form not in self._known:
            others = (parent.form for parent in parents if parent.form != child.form)
            self._parents.setdefault(child.form, tuple(dict.fromkeys(others)))

    def _follow_epoch(self, scored: list[Scored]) -> None:
        """Start anew where a population has converged; every third epoch crosses the leaders of the earlier ones."""
        state = self.progress
        before = priced(self._epoch_best[0]) if self._epoch_best else float("-inf")
        self._epoch_best = leading([*self._epoch_best, *scored], LEADERS)
        if self._epoch_best and priced(self._epoch_best[0]) > before:
            self._improved_at = state.evaluations
        if state.evaluations - self._improved_at >= STAGNATION:
            state.leaders += self._epoch_best
            state.epoch += 1
            state.population = leading(state.leaders, POPULATION) if state.epoch % 3 == 2 else []
            self._epoch_best, self._improved_at = [], state.evaluations

    def _jitter(self, scored: list[Scored]) -> list[Scored]:
        """Try those that come among the best on jittered copies of the images; the others get a handicap."""
        if not self._copied:
            return scored
        best = self.progress.best
        bar = priced(best[BEST // 2]) if len(best) == BEST else float("-inf")
        scored = [replace(s, handicap=self._jitter_costs) for s in scored]
        promoted = [s for s in scored if priced(s) >= bar]
        statistics = self._copies.judge([s.pipeline for s in promoted], self._clock.late)
        tried = {
            s.pipeline: replace(s, jittered=self._spread(self._task.score(found), len(s.scores)))
            for s, found in zip(promoted, statistics, strict=True)
            if found is not None and not isinstance(found, Failed)
        }
        self._losses += [float((s.left_out - s.robust).mean()) for s in tried.values()]
        return [tried.get(s.pipeline, s) for s in scored]

    @property
    def _jitter_costs(self) -> float:
        """What jitter has cost on average; without this, those that were not tried would seem the better ones."""
        return max(0.0, float(np.mean(self._losses))) if self._losses else 0.0

    def _spread(self, scores: Floats, n_images: int) -> Floats:
        """Put the scores of the copies in the places of their images."""
        spread = np.full(n_images, np.nan)
        spread[self._copied] = scores
        return spread

    def _effort(self) -> Effort:
        """Spend work on candidates according to how they stand beside the population."""
        population, left = self.progress.population, self._clock.evaluations_left(self.progress.evaluations)
        # Candidates that are turned away use none of the evaluations: with few places left, and those offered to a
        # proposer that has nothing good, a search would go on for ever.
        if len(population) < POPULATION or (left is not None and left < GENERATION):
            return EVERYTHING
        on_few = float(np.median([s.scores[self._evaluator.few].mean() for s in population]))
        on_all = float(np.quantile([s.score for s in population], COMPARE))
        return Effort(floor=FLOOR * on_few, climb=on_few, compare=on_all)

    def _probe(self, programs: Sequence[Pipeline]) -> list[Floats | Failed | None]:
        return self._probed.probe(programs, self._clock.late)

    def _select(self, n: int, rng: Generator) -> list[Scored]:
        return self._draw(self.progress.population, n, rng) if self.progress.population else []

    def _take_in(self, scored: list[Scored]) -> None:
        """Close a generation: note improvements, choose who lives on."""
        state = self.progress
        leader = max(scored, key=lambda s: s.score, default=None)
        if leader is not None and leader.score > state.best_score:
            state.opening = leader.score if state.opening is None else state.opening
            state.history.append((state.evaluations, round(self._clock.seconds, 2), leader.score))
        for s in scored:
            form = s.pipeline.form
            state.lineage[form] = Descent(s.proposer, s.score, self._parents.get(form, ()))
        self._parents.clear()
        state.population = survivors([*state.population, *scored], POPULATION)
        state.best = sorted(distinct_answers([*state.best, *scored]), key=priced, reverse=True)[:BEST]
        state.front.update(scored)
        self._follow_epoch(scored)
        classics = [s for s in [state.best_classic, *scored] if s is not None and s.proposer == "classic"]
        state.best_classic = max(classics, key=priced, default=None)
        # Only what may still become a finalist: a long search must not fill the memory.
        alive = {skeleton(s.pipeline) for s in [*state.best, *scored]}
        state.variants = {key: kept for key, kept in state.variants.items() if key in alive}
        for s in scored:
            state.variants.setdefault(skeleton(s.pipeline), []).append((s.robust, s.left_out))
            for structure in structures(s.pipeline) if self._guests else ():
                state.origins.setdefault(structure, s.proposer)
