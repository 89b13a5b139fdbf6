"""The search loop: in each generation, proposers propose, the evaluator scores, and selection decides."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.random import Generator

from evoseg.core.errors import EvosegError
from evoseg.core.streams import stream
from evoseg.evolve.advising import Adviser, AdviserView
from evoseg.evolve.budget import Clock
from evoseg.evolve.evaluation.evaluator import EVERYTHING, Effort, Evaluator
from evoseg.evolve.finalists import Variants, leave_out
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.ports import Evaluation, Failed, Floats, Proposer, Pruned, Scored, SearchView, Task
from evoseg.evolve.proposers.random_programs import Vocabulary
from evoseg.evolve.selection import Front, distinct_answers, leading, penalised_score, select, survivors
from evoseg.pipeline import Pipeline
from evoseg.pipeline.structure import Structure, structure_of, substructures

GENERATION_SIZE = 48
"""Candidates per generation. Constant, since a history must not depend on how fast the machine is."""
POPULATION = 96
MOST_COPIES = 6
"""Search images of which a jittered copy is made, at most."""
MOST_TAUGHT = 8
"""Images without a mask that networks label for the search of filters, at most."""
STAGNATION = 250
"""Full evaluations without a better candidate after which the population is restarted."""
FOREGROUND = "foreground"
LEADERS = 3
"""Candidates of an epoch that are remembered for epochs that build on earlier ones."""
NOTHING = np.zeros(0)
PATIENCE = 100
"""Generations without anything new to evaluate after which a search ends."""
COMPARE = 0.75
"""Quantile of the population's scores from which two levels of a candidate are compared on all images."""
FLOOR = 0.6
"""Share of the population's median score, on a few images, below which a candidate is pruned."""
BEST = 24
"""Candidates from which the tuner and the finalists are chosen."""


@dataclass(frozen=True)
class Share:
    """A proposer, and how many candidates of a generation it may propose at most."""

    proposer: Proposer
    quota: int


@dataclass(frozen=True, slots=True)
class Descent:
    """A candidate that was scored, with the forms of those that it was made from."""

    proposer: str
    score: float
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A candidate that the search has decided upon, and how it came about.

    Attributes
    ----------
    evaluation : Scored, Pruned or Failed
        With the candidate itself.
    proposer : str
    parents : tuple of str
        Forms of the candidates that it was made from.
    request : int or None
        Number of the request that it answers, if its proposer asks others.
    generation, evaluations : int
        The generation, and full evaluations up to this candidate.
    stage : str
        As of `Progress`.
    seconds : float, s
        The search's clock when its generation was evaluated.
    """

    evaluation: Evaluation
    proposer: str
    parents: tuple[str, ...]
    request: int | None
    generation: int
    evaluations: int
    stage: str
    seconds: float


@dataclass
class Progress:
    """What a search has done so far; also what it returns.

    Attributes
    ----------
    evaluations, failed, n_pruned, too_costly, generation : int
        Full evaluations; failures; candidates dismissed on a few images, and for their cost; generations begun.
    variants : dict
        Robust and left-out scores of all variants of a structure, by its skeleton.
    origins : dict
        Who first brought the structure of a sub-program into the search; kept only where there are advisers.
    history : list of (evaluations, seconds, best score)
        One entry whenever the best improved; never decreases.
    records : list of Scored
        The candidates that improved it.
    population, best : list of Scored
    leaders : list of Scored
        The best few of each epoch that has ended.
    epoch : int
        Restarts so far.
    best_classic : Scored or None
        The best classic recipe.
    lineage : dict of str to Descent
        All scored candidates, by form.
    opening : float or None
        The best score of the first generation in which any candidate was scored.
    stage : str
        `FOREGROUND` while it searches for masks to begin with, else empty.
    """

    evaluations: int = 0
    failed: int = 0
    n_pruned: int = 0
    too_costly: int = 0
    generation: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)
    records: list[Scored] = field(default_factory=list)
    population: list[Scored] = field(default_factory=list)
    best: list[Scored] = field(default_factory=list)
    leaders: list[Scored] = field(default_factory=list)
    epoch: int = 0
    front: Front = field(default_factory=Front)
    best_classic: Scored | None = None
    lineage: dict[str, Descent] = field(default_factory=dict)
    opening: float | None = None
    variants: dict[Structure, list[tuple[Floats, Floats]]] = field(default_factory=dict)
    origins: dict[Structure, str] = field(default_factory=dict)
    stage: str = ""
    stopped_by: str = ""

    def next_stage(self) -> "Progress":
        """Return the progress with which the next stage starts: the counts so far, and nothing else."""
        counted = ("evaluations", "failed", "n_pruned", "too_costly", "generation")
        return Progress(**{name: getattr(self, name) for name in counted})

    def forget_taught(self, n_taught: int = 0) -> None:
        """Forget scores on images that networks have labelled; further ones will be known of so many."""
        for name in ("population", "best", "leaders"):
            setattr(self, name, _forget_taught(getattr(self, name), n_taught))
        if self.best_classic is not None:
            (self.best_classic,) = _forget_taught([self.best_classic], n_taught)

    def candidates(self) -> "Candidates":
        """Return what the finalists are chosen from, which a search that goes on does not change."""
        variants = {structure: list(tried) for structure, tried in self.variants.items()}
        return Candidates(list(self.best), self.best_classic, variants)

    def take_first(self, scored: Sequence[Scored], seconds: float) -> None:
        """Take in candidates that were scored after a search which ended before it scored any."""
        if not scored:
            return
        self.best = leading(scored, BEST)
        self.evaluations += len(scored)
        self.opening = self.best[0].score
        self.history.append((self.evaluations, round(seconds, 2), self.opening))
        self.records.append(max(scored, key=lambda s: s.score))
        self.lineage |= {s.pipeline.form: Descent(s.proposer, s.score) for s in scored}
        self.front.update(scored)
        self.best_classic = next((s for s in self.best if s.proposer == "classic"), None)

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
        from, and above the best of the first generation, which is credited to no proposer.
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


def _forget_taught(scored: Iterable[Scored], n_taught: int) -> list[Scored]:
    return [replace(s, taught=_unknown(n_taught)) for s in scored]


def _unknown(n_taught: int) -> Floats | None:
    return np.full(n_taught, np.nan) if n_taught else None


@dataclass(frozen=True)
class Candidates:
    """What the finalists of a search are chosen from; see `Progress`."""

    best: list[Scored]
    best_classic: Scored | None
    variants: dict[Structure, list[tuple[Floats, Floats]]]


class Search:
    """One search; deterministic for a seed and an evaluation budget, whatever executes the jobs.

    Parameters
    ----------
    task : Task
    evaluator : JobEvaluator
    copies : JobEvaluator
        Judges on jittered copies of some of the images.
    copied : sequence of int
        Which images these are.
    sampler : Evaluator
        Samples planes for proposers, on images and copies.
    shares : sequence of Share
    stats : ImageStats
    clock : Clock
    seed : int
    select : callable (population, n, rng) -> list of Scored
        Draws parents.
    max_cost : float, ns per pixel
        Candidates that cost more by the model are not evaluated.
    on_progress : callable
        Called with the progress after each generation.
    on_decided : callable
        Called with the candidates of each generation.
    advisers : sequence of Adviser
        Asked before each generation, and drawing from streams of their own: one with nothing to say changes nothing.
    vocabulary : Vocabulary, optional
        Of the proposers, for advisers to add to.
    cross_fit : callable (Scored, Variants) -> array
        Scores images with all numbers found on the others, tuned ones among the variants of its structure.
    progress : Progress, optional
        What was done before.
    """

    def __init__(
        self,
        task: Task,
        *,
        evaluator: Evaluator,
        copies: Evaluator,
        copied: Sequence[int],
        sampler: Evaluator,
        shares: Sequence[Share],
        stats: ImageStats,
        clock: Clock,
        seed: int,
        select: Callable[[Sequence[Scored], int, Generator], list[Scored]] = select,
        max_cost: float = float("inf"),
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_decided: Callable[[Sequence[Candidate]], None] = lambda candidates: None,
        advisers: Sequence[Adviser] = (),
        vocabulary: Vocabulary | None = None,
        cross_fit: Callable[[Scored, Variants], Floats] = leave_out,
        progress: Progress | None = None,
    ) -> None:
        self._task = task
        self._evaluator = evaluator
        self._copies = copies
        self._copied = list(copied)
        self._sampler = sampler
        self._shares = shares
        self._advisers = advisers
        self._vocabulary = vocabulary
        self._cross_fit = cross_fit
        self._stats = stats
        self._clock = clock
        self._seed = seed
        self._draw = select
        self._max_cost = max_cost
        self._on_progress = on_progress
        self._on_decided = on_decided
        self._known: dict[str, Evaluation] = {}
        self._descents: dict[str, tuple[tuple[str, ...], int | None]] = {}
        self._idle = 0
        # What a budget of a part of the search did not reach is finished first in the next part.
        self._cut_short: list[tuple[Proposer, list[Pipeline]]] = []
        self._epoch_best: list[Scored] = []
        self._improved_at = 0
        self._losses: list[float] = []
        self._n_taught = 0
        self.progress = Progress() if progress is None else progress

    def move(
        self,
        evaluator: Evaluator,
        copies: Evaluator,
        sampler: Evaluator,
        cross_fit: Callable[[Scored, Variants], Floats],
        n_taught: int,
    ) -> None:
        """Go on with other evaluators of the same images; networks have labelled the last ones of the copies."""
        self._evaluator, self._copies, self._sampler, self._cross_fit = evaluator, copies, sampler, cross_fit
        self._n_taught = n_taught
        self.progress.forget_taught(n_taught)
        self._epoch_best = _forget_taught(self._epoch_best, n_taught)

    def run(self) -> Progress:
        """Search until the budget is spent; Ctrl-C ends it with the best so far."""
        state, self._idle = self.progress, 0
        while True:
            state.stopped_by = self._clock.reason(state.evaluations, state.best_score) or ""
            if state.stopped_by:
                return state
            before = state.evaluations + state.n_pruned
            self._generation()
            self._idle = 0 if state.evaluations + state.n_pruned > before else self._idle + 1
            if self._idle >= PATIENCE:
                state.stopped_by = "exhausted"
                return state
            self._on_progress(state)

    def _generation(self) -> None:
        state = self.progress
        state.generation += 1
        for adviser in self._advisers:
            rng = stream(self._seed, "generation", state.generation, adviser.name)
            adviser.advise(self._adviser_view(adviser.name), rng)
        proposals = self._cut_short or self._propose()
        self._score([(proposer.name, pipelines) for proposer, pipelines in proposals], self._effort())
        self._cut_short = []
        for proposer, pipelines in proposals:
            heard = [self._known[p.form] for p in pipelines if p.form in self._known]
            if len(heard) == len(pipelines):  # proposers do not learn from a generation that was cut short
                proposer.learn(heard)
            else:
                self._cut_short.append((proposer, pipelines))

    def _adviser_view(self, name: str) -> AdviserView:
        state, clock = self.progress, self._clock

        def evaluate(programs: Sequence[Pipeline]) -> list[Evaluation | None]:
            self._score([(name, programs)], EVERYTHING)
            return [self._known.get(program.form) for program in programs]

        return AdviserView(
            **vars(self._view()),
            evaluate=evaluate,
            cross_fit=lambda scored: self._cross_fit(scored, state.variants),
            vocabulary=self._vocabulary,
            evaluations=state.evaluations,
            evaluations_left=clock.evaluations_left(state.evaluations),
            seconds_left=clock.seconds_left,
        )

    def _score(self, proposals: Sequence[tuple[str, Sequence[Pipeline]]], effort: Effort) -> None:
        """Evaluate what is new among the proposals, given with their proposers' names, and take it in."""
        state = self.progress
        fresh = self._fresh(proposals)
        candidates = [pipeline for _, pipeline in fresh.values()]
        evaluations = self._evaluator.evaluate(candidates, self._clock.late, effort)
        scored: list[Scored] = []
        decided: dict[str, int] = {}
        for (form, (name, _)), evaluation in zip(fresh.items(), evaluations, strict=True):
            if evaluation is None:
                continue
            if isinstance(evaluation, Pruned):
                state.n_pruned += 1
            elif isinstance(evaluation, Failed):
                state.evaluations += 1
                state.failed += 1
            else:
                state.evaluations += 1
                evaluation = replace(evaluation, proposer=name)
                scored.append(evaluation)
            self._known[form] = evaluation
            decided[form] = state.evaluations
        failures = [v for v in evaluations if isinstance(v, Failed)]
        # Of those that time ran out on, nothing is known.
        if not self.progress.best and failures and len(failures) == len(evaluations):
            error = EvosegError(f"every candidate fails, so something else is broken: {failures[0].reason}")
            error.add_note(failures[0].traceback)
            raise error
        scored = self._jitter(scored)
        self._known |= {s.pipeline.form: replace(s, statistics=NOTHING) for s in scored}
        self._on_decided([self._candidate(form, fresh[form][0], number) for form, number in decided.items()])
        self._take_in(scored)

    def _candidate(self, form: str, proposer: str, evaluations: int) -> Candidate:
        state = self.progress
        parents, request = self._descents.get(form, ((), None))
        return Candidate(
            self._known[form],
            proposer,
            parents,
            request,
            state.generation,
            evaluations,
            state.stage,
            self._clock.seconds,
        )

    def _fresh(self, proposals: Sequence[tuple[str, Sequence[Pipeline]]]) -> dict[str, tuple[str, Pipeline]]:
        """Return proposals that are neither repeats nor too costly, by form, with their proposers' names."""
        fresh: dict[str, tuple[str, Pipeline]] = {}
        for name, pipelines in proposals:
            for pipeline in pipelines:
                if pipeline.form in self._known or pipeline.form in fresh:
                    continue
                if pipeline.cost > self._max_cost:
                    self._known[pipeline.form] = Failed(pipeline, f"costs more than {self._max_cost:g} ms/Mpx")
                    self.progress.too_costly += 1
                    continue
                fresh[pipeline.form] = (name, pipeline)
        return dict(islice(fresh.items(), self._clock.evaluations_left(self.progress.evaluations)))

    def _propose(self) -> list[tuple[Proposer, list[Pipeline]]]:
        view, proposals, free = self._view(), [], GENERATION_SIZE
        for key, share in enumerate(self._shares):
            rng = stream(self._seed, "generation", self.progress.generation, key)
            pipelines = share.proposer.ready(view, min(share.quota, free), rng)
            free -= len(pipelines)
            proposals.append((share.proposer, pipelines))
        return proposals

    def _view(self) -> SearchView:
        state = self.progress
        return SearchView(state.population, state.best, self._select, self._stats, self._probe, self._descend)

    def _descend(self, child: Pipeline, parents: Sequence[Pipeline], request: int | None = None) -> None:
        if child.form not in self._known:
            others = (parent.form for parent in parents if parent.form != child.form)
            self._descents.setdefault(child.form, (tuple(dict.fromkeys(others)), request))

    def _follow_epoch(self, scored: list[Scored]) -> None:
        """Restart a population that has converged; every third epoch crosses the leaders of the earlier ones."""
        state = self.progress
        before = penalised_score(self._epoch_best[0]) if self._epoch_best else float("-inf")
        self._epoch_best = leading([*self._epoch_best, *scored], LEADERS)
        if self._epoch_best and penalised_score(self._epoch_best[0]) > before:
            self._improved_at = state.evaluations
        if state.evaluations - self._improved_at >= STAGNATION:
            state.leaders += self._epoch_best
            state.epoch += 1
            state.population = leading(state.leaders, POPULATION) if state.epoch % 3 == 2 else []
            self._epoch_best, self._improved_at = [], state.evaluations

    def _jitter(self, scored: list[Scored]) -> list[Scored]:
        """Score those that come among the best on copies and on images labelled by networks; handicap the others."""
        if not self._copied and not self._n_taught:
            return scored
        best = self.progress.best
        bar = penalised_score(best[BEST // 2]) if len(best) == BEST else float("-inf")
        unknown = _unknown(self._n_taught)
        scored = [replace(s, handicap=self._jitter_costs, taught=unknown) for s in scored]
        promoted = [s for s in scored if penalised_score(s) >= bar]
        statistics = self._copies.judge([s.pipeline for s in promoted], self._clock.late)
        tried = {
            s.pipeline: self._tried(s, self._task.score(found))
            for s, found in zip(promoted, statistics, strict=True)
            if found is not None and not isinstance(found, Failed)
        }
        self._losses += [float(s.left_out.mean() - s.cases.mean()) for s in tried.values()]
        return [tried.get(s.pipeline, s) for s in scored]

    @property
    def _jitter_costs(self) -> float:
        """What jitter has cost on average; without this, those that were not tried would seem the better ones."""
        return max(0.0, float(np.mean(self._losses))) if self._losses else 0.0

    def _tried(self, scored: Scored, scores: Floats) -> Scored:
        """Return a candidate with its scores on copies, in the places of their images, and on further images."""
        spread = np.full(len(scored.scores), np.nan)
        spread[self._copied] = scores[: len(self._copied)]
        return replace(scored, jittered=spread, taught=scores[len(self._copied) :] if self._n_taught else None)

    def _effort(self) -> Effort:
        """Spend work on candidates according to how they stand beside the population."""
        population, left = self.progress.population, self._clock.evaluations_left(self.progress.evaluations)
        # Pruned candidates use none of the evaluations: with few places left, and those offered to a
        # proposer that has nothing good, a search would go on for ever.
        if len(population) < POPULATION or (left is not None and left < GENERATION_SIZE):
            return EVERYTHING
        on_few = float(np.median([s.scores[self._evaluator.few].mean() for s in population]))
        on_all = float(np.quantile([s.score for s in population], COMPARE))
        # Scores of a user's own task may lie below 0, where a share of them would be more.
        return Effort(floor=min(FLOOR * on_few, on_few / FLOOR), climb=on_few, compare=on_all)

    def _probe(self, programs: Sequence[Pipeline]) -> list[Floats | Failed | None]:
        return self._sampler.sample_pixels(programs, self._clock.late)

    def _select(self, n: int, rng: Generator) -> list[Scored]:
        return self._draw(self.progress.population, n, rng) if self.progress.population else []

    def _take_in(self, scored: list[Scored]) -> None:
        """Finish a generation: record improvements and select the survivors."""
        state = self.progress
        leader = max(scored, key=lambda s: s.score, default=None)
        if leader is not None and leader.score > state.best_score:
            state.opening = leader.score if state.opening is None else state.opening
            state.history.append((state.evaluations, round(self._clock.seconds, 2), leader.score))
            state.records.append(leader)
        for s in scored:
            form = s.pipeline.form
            parents, _ = self._descents.get(form, ((), None))
            state.lineage[form] = Descent(s.proposer, s.score, parents)
        self._descents.clear()
        state.population = survivors([*state.population, *scored], POPULATION)
        state.best = sorted(distinct_answers([*state.best, *scored]), key=penalised_score, reverse=True)[:BEST]
        state.front.update(scored)
        self._follow_epoch(scored)
        classics = [s for s in [state.best_classic, *scored] if s is not None and s.proposer == "classic"]
        state.best_classic = max(classics, key=penalised_score, default=None)
        # Only what may still become a finalist: a long search must not fill the memory.
        alive = {structure_of(s.pipeline) for s in [*state.best, *scored]}
        state.variants = {key: kept for key, kept in state.variants.items() if key in alive}
        for s in scored:
            state.variants.setdefault(structure_of(s.pipeline), []).append((s.robust, s.left_out))
            for structure in substructures(s.pipeline) if self._advisers else ():
                state.origins.setdefault(structure, s.proposer)
