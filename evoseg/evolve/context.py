"""What the stages of a search share: its images, settings, clock and executors; and each stage."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evoseg.core.disk import prefetch
from evoseg.core.errors import EvosegError
from evoseg.core.folds import each_alone
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.jitter import jitter
from evoseg.datasets.memmap import Pack, write_pack
from evoseg.datasets.splits import Splits, independent_units
from evoseg.evolve.advising import Adviser
from evoseg.evolve.budget import USUAL_S, Budget, Clock
from evoseg.evolve.comparing import Comparison, compare_finished
from evoseg.evolve.evaluation.evaluator import HANG_LIMIT_S, Evaluator, JobEvaluator, evenly_spaced
from evoseg.evolve.evaluation.jobs import Executor, InProcess, given_planes
from evoseg.evolve.evaluation.processes import Processes, WorkerSettings
from evoseg.evolve.finalists import (
    FEWEST,
    FOLDS,
    MOST,
    Finalist,
    Variants,
    cross_fit,
    leave_out,
    nominate,
    nominate_networks,
)
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.loop import FOREGROUND, GENERATION_SIZE, Candidate, Candidates, Progress, Search, Share
from evoseg.evolve.networks import (
    HALF,
    Networks,
    Trainer,
    TrainingRequest,
    cleaned_programs,
    plain_programs,
    typical_length,
)
from evoseg.evolve.ports import Floats, Item, KnownPlanes, Scored, Task, inputs_of
from evoseg.evolve.proposers.classics import Classics, constants, intakes
from evoseg.evolve.proposers.curve_sums import LEADERS, CurveSums, cut_to_last_plane
from evoseg.evolve.proposers.random_programs import Vocabulary
from evoseg.evolve.proposers.tuning import Tuner
from evoseg.evolve.proposers.variation import Variation
from evoseg.evolve.proposers.warm_start import FINALISTS, WarmStart, telling_images
from evoseg.evolve.selection import leading
from evoseg.evolve.strategy import SUMMED_BESIDE, TUNED, StartPrograms, Strategy, usual_proposers
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.object_tasks import FOREGROUND_SHARE, InstanceTask, PointTask, foreground_of
from evoseg.operators.network_file import MAX_CHANNELS
from evoseg.pipeline import Pipeline
from evoseg.pipeline.value import NETWORK

SOON_S = 5.0
"""Least CPU limit of a job, s, if the budget is in seconds: a hang must not use up the budget."""
RESERVE_S = 0.5
"""Time kept back from the search for choosing and testing the best pipeline, at least."""
TYPICAL_NS = 15.0
"""Modelled cost of a finalist, per pixel."""
GRACE_S = 3.0
"""What choosing, testing and drawing may take beyond the time that the user gave."""
FIRST = 4
"""Classic recipes that are scored even if time is up."""


@dataclass(frozen=True)
class Shares:
    """How a budget is divided where networks are trained; each a share of the time, and one of the evaluations.

    Attributes
    ----------
    foreground : float
        Of the opening: for masks, where objects or points are wanted.
    opening : (float, float)
        Until networks are trained.
    filters : (float, float)
        Until filters are searched with what networks have labelled; the rest is for both together. That is little, as
        hardly anything replaces a plain network (decision 29).
    """

    foreground: float
    opening: tuple[float, float]
    filters: tuple[float, float] = (0.95, 0.7)


PLAIN = "plain"
"""Role, until finalists are made, of pipelines that take a network at its word."""
TRAINING_SHARE = 0.45
"""Of the time, for training networks."""
ONE_STAGE, TWO_STAGES = Shares(0.0, (0.12, 0.25)), Shares(0.65, (0.2, 0.35))
LEAST_TRAINING_S = 3.0
"""Time below which no training is begun: importing PyTorch alone takes two seconds."""
TAUGHT_SHARE = 0.05
"""Of the time budget, or of the usual one, for labelling images without a mask, by the cost model."""
UNSURE = 64, 191
"""Levels of a network's plane between which its label of a pixel does not count."""
NOT_ASKED, OTHER_TASK = "networks were not asked for", "networks find masks, objects and points only"
"""Why a search trains no network, where that goes without saying."""
ENDED_BEFORE = {"interrupt": "the search was interrupted", "target-score": "filters reached the target score"}
"""Why it trains none after all, by how the search for filters ended."""
LEAST_S, LEAST_EVALUATIONS, LEAST_IMAGES = 10.0, 200, 2
"""Budget, and search images, below which no network is trained."""
STEPS_PER_EVALUATION, MOST_STEPS = 1.0, 600
"""Training steps of a network, by a budget of evaluations."""
LEAST_NETWORK_NS = 40.0
"""Cost of the cheapest network, ns per pixel."""
TEST_SHARE = 0.1
"""Share of the time budget that may be kept back for running networks on test images."""
MOST_LEADERS = 8
"""Leaders of the search that are scored on other images, at most."""
CROSS_FIT_SHARE = 0.05
"""Share of the time budget, or of the usual one, in which the champion's curves may be fitted anew."""


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes
    ----------
    budget : Budget
    seed : int
    workers : int
        Processes; 0 runs everything in this one.
    without : frozenset of str or None
        Operators that are not proposed; None stands for the retired ones.
    max_cost : float, ns per pixel (which is ms per megapixel)
        The champion's highest modelled cost.
    start : tuple of Pipeline
        Programs to begin with.
    cache_bytes : int
        Memory for values of sub-programs, over all workers.
    early : bool
        Whether to go on with a run of an early version: operators use Intel IPP, channels that are equal in all search
        images count as several, masks of jittered copies are up to half a pixel off, and images of one group are left
        out one by one.
    """

    budget: Budget
    seed: int = 0
    workers: int = 1
    without: frozenset[str] | None = None
    max_cost: float = float("inf")
    start: tuple[Pipeline, ...] = ()
    cache_bytes: int = 1 << 30
    early: bool = False


ExecutorFactory = Callable[[Task, Pack], Executor]
"""Makes the executor that runs the jobs of a task on the items of a pack."""

EvaluatorWrapper = Callable[[str, Evaluator], Evaluator]
"""Called with the name of each evaluator and the evaluator; returns the one to use in its place."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A pipeline that a search returns.

    Attributes
    ----------
    finalist : Finalist
    expected : float64 array
        The scores that the promise rests on: its selection scores; where there is no selection split, those on the
        search images with all its numbers, curves included, found on the others.
    searched : bool
        Whether many candidates were compared by these images, so that the best suits them better than others. With
        networks, few are, and none but the plainest without a sure gain.
    """

    finalist: Finalist
    expected: Floats
    searched: bool = False

    @property
    def pipeline(self) -> Pipeline:
        """The program, with all numbers found."""
        return self.finalist.scored.pipeline


@dataclass(frozen=True, eq=False)
class Leader:
    """A candidate that was the best so far.

    Attributes
    ----------
    scored : Scored
    evaluations : int
        Full evaluations up to it.
    held_out : float or None
        Its mean score on images that the search did not go by; None if it could not be scored.
    """

    scored: Scored
    evaluations: int
    held_out: float | None


class SearchContext:
    """What all searches and comparisons of one run share: images, settings, clock and executors.

    The pack holds the search images, then jittered copies of some of them, then the selection images.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Splits,
        task: Task,
        settings: SearchSettings,
        folder: Path,
        clock: Clock,
        on_progress: Callable[[Progress], None],
        on_decided: Callable[[Sequence[Candidate]], None],
        wrap_evaluator: EvaluatorWrapper,
        strategy: Strategy,
        make_executor: ExecutorFactory,
    ) -> None:
        self._dataset = dataset
        self._splits = splits
        self._task = task
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._on_progress = on_progress
        self._on_decided = on_decided
        self._wrap_evaluator = wrap_evaluator
        self._strategy = strategy
        self.make_executor = make_executor
        self._n_search = len(splits.search)
        self._units = each_alone(self._n_search) if settings.early else independent_units(dataset, splits.search)
        self._copied = evenly_spaced(self._n_search, strategy.n_copies)
        started = clock.seconds
        self.pack = write_pack(folder / "search.pack", self._items())
        images = [image for item in self.pack.items[: self._n_search] for image in inputs_of(task, item)]
        self._stats = measure_images(images, equal_as_one=not settings.early)
        self._sizes = {i: _pixels(task, item) for i, item in enumerate(self.pack.items)}
        self._cross_fit_s = CROSS_FIT_SHARE * (settings.budget.seconds or USUAL_S)
        n = len(self._sizes)
        self._reserve_s = self._time_to_test(sum(self._sizes.values()) / n, (clock.seconds - started) / n)
        clock.keep_back(self._reserve_s)
        self._vocabulary: Vocabulary | None = None

    def _items(self) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        """Yield the search images, jittered copies of some, and the selection images."""
        yield from self._read(self._splits.search)
        for stem in (self._splits.search[i] for i in self._copied):
            arrays = self._task.arrays(self._dataset.load(stem))
            yield f"{stem}, jittered", jitter(arrays, stream(0, "jitter", stem), exact=not self._settings.early)
        yield from self._read(self._splits.selection)

    def _read(self, stems: Sequence[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        return zip(stems, prefetch(lambda stem: self._task.arrays(self._dataset.load(stem)), stems), strict=True)

    def _time_to_test(self, pixels: float, packing_s: float) -> float:
        """Return the time to keep back, s, from the size of an image and the time that packing one took."""
        judged = (MOST + MOST_LEADERS) * len(self._splits.selection) + 4 * len(self._splits.test)
        expected_s = judged * pixels * TYPICAL_NS * 1e-9 + 2 * packing_s * len(self._splits.test)
        if not self._splits.selection:
            fits = FOLDS + FEWEST * MOST_LEADERS
            expected_s += min(2 * self._cross_fit_s, fits * self._n_search * pixels * TYPICAL_NS * 1e-9)
        return max(RESERVE_S, expected_s - GRACE_S)

    @property
    def _first_selection(self) -> int:
        return self._n_search + len(self._copied)

    @property
    def _places(self) -> tuple[range, range, range]:
        """The places of the search images, of their copies, and of images that networks have labelled."""
        return (
            range(self._n_search),
            range(self._n_search, self._first_selection),
            range(len(self.pack.items), len(self._sizes)),
        )

    def _evaluator(self, name: str, task: Task, executor: Executor, places: Iterable[int]) -> Evaluator:
        """Return an evaluator on some of the images."""
        least_limit_s = HANG_LIMIT_S if self._settings.budget.seconds is None else SOON_S
        sizes = {i: self._sizes[i] for i in places}
        return self._wrap_evaluator(name, JobEvaluator(task, executor, sizes, least_limit_s))

    def why_no_networks(self, trainer: Trainer | None) -> str:
        """Say why no network is to be trained, "" if some are."""
        budget, without = self._settings.budget, self._settings.without or ()
        if trainer is None or NETWORK in without:
            return NOT_ASKED
        if not isinstance(self._task, BinaryTask | InstanceTask | PointTask):
            return OTHER_TASK
        if self._n_search < LEAST_IMAGES:
            return "there is only one search image, so none is left to judge a network by"
        if self._stats.channels > MAX_CHANNELS:
            return f"the images have {self._stats.channels} channels, and networks take at most {MAX_CHANNELS}"
        if self._settings.max_cost < LEAST_NETWORK_NS:
            return f"one takes more than {self._settings.max_cost:g} ms per megapixel"
        if budget.seconds is not None and budget.seconds < LEAST_S:
            return f"that takes a search of at least {LEAST_S:g} seconds"
        if budget.seconds is None and (budget.evaluations or 0) < LEAST_EVALUATIONS:
            return f"that takes a search of at least {LEAST_EVALUATIONS} evaluations"
        return ""

    def train(
        self, trainer: Trainer | None, progress: Progress, on_training: Callable[[Progress, float], None]
    ) -> Networks | str:
        """Train networks on the search images; return them, or why there are none."""
        if progress.stopped_by in ENDED_BEFORE:
            return f"{ENDED_BEFORE[progress.stopped_by]} before"
        assert trainer is not None
        budget = self._settings.budget
        if self._clock.seconds_left < LEAST_TRAINING_S:
            return "the first filters have used up the time"
        request = TrainingRequest(
            self._task.output,
            self.pack,
            self._units,
            self._copied,
            seconds=min(TRAINING_SHARE * budget.seconds, self._clock.seconds_left) if budget.seconds else None,
            steps=None if budget.seconds else min(MOST_STEPS, round(STEPS_PER_EVALUATION * (budget.evaluations or 0))),
        )
        try:
            networks = trainer(request, lambda share: on_training(progress, share))
        except KeyboardInterrupt:
            self._clock.stop()
            return "the training was interrupted"
        if isinstance(networks, Networks):
            cheapest = min(p.cost for p in self._plain_programs(networks))
            if cheapest > self._settings.max_cost:
                return f"it takes {cheapest:.0f} ms per megapixel, and at most {self._settings.max_cost:g} are allowed"
            # Running them on the test images takes time, but not at the expense of all that comes before.
            cost_s = 1e-9 * sum(p.cost for p in networks.programs[:1]) * sum(self._sizes.values()) / len(self._sizes)
            kept = TEST_SHARE * (budget.seconds or 0.0)
            self._clock.keep_back(self._reserve_s + min(kept, cost_s * len(self._splits.test)))
        return networks

    def _plain_programs(self, networks: Networks) -> list[Pipeline]:
        items = self.pack.items[: self._n_search]
        return plain_programs(networks, self._task.output, typical_length(items, self._task.output))

    def pack_with(self, networks: Networks) -> Pack:
        """Return the images with the planes of networks, further ones that these have labelled, and the networks."""
        taught = self._labelled_by(networks)
        self._sizes |= {len(self.pack.items) + k: _pixels(self._task, item) for k, (_, item) in enumerate(taught)}
        return write_pack(self._folder / "networks.pack", self._items_with(networks, taught))

    def _items_with(self, networks: Networks, taught: Sequence[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        """Yield what `pack_with` packs; nothing that asks a network is scored on what they have labelled."""
        for i, (name, item) in enumerate(zip(self.pack.names, self.pack.items, strict=True)):
            known = networks.given(i) if i < self._first_selection else networks.planes_of(item["image"])
            yield name, {**item, **known}
        yield from taught
        yield networks.file_item()

    def _labelled_by(self, networks: Networks) -> list[tuple[str, Item]]:
        """Return images without a mask as networks label them; the pixels that they are not sure of are not known."""
        if not isinstance(self._task, BinaryTask):
            return []
        labelled = {*self._dataset.labelled}
        stems = [stem for stem in self._dataset.stems if stem not in labelled]
        program = networks.program("foreground")
        # By the model, not by the clock: a resumed search must label the same images.
        left_s = TAUGHT_SHARE * (self._settings.budget.seconds or USUAL_S)
        found: list[tuple[str, Item]] = []
        for stem in (stems[i] for i in evenly_spaced(len(stems), self._strategy.n_taught)):
            left_s -= 1e-9 * program.cost * prod(self._dataset.survey.facts[stem].shape[:2])
            if left_s < 0 or self._clock.stopped:
                break
            sample = self._dataset.load(stem)
            plane = program(sample.image)
            sure = (plane < UNSURE[0]) | (plane > UNSURE[1])
            known = sure if sample.known is None else sure & sample.known
            if known.any():
                item = {"image": sample.image, "mask": plane > HALF, "known": known}
                found.append((f"{stem}, labelled by networks", item))
        return found

    def search_with(self, networks: Networks, executor: Executor, progress: Progress) -> Progress:
        """Go on with a search, with the planes of networks as well."""
        output = self._task.output
        programs = [*self._plain_programs(networks), *cleaned_programs(networks, output)]
        leaders = [s.pipeline for s in leading(progress.best, LEADERS)]
        planes = [plane for leader in leaders if (plane := cut_to_last_plane(leader)) is not None]
        vocabulary = self._vocabulary  # with what advisers have added
        assert vocabulary is not None
        shares = [
            Share(StartPrograms(programs, NETWORK), GENERATION_SIZE),
            Share(Tuner(vocabulary), TUNED),
            Share(CurveSums(vocabulary, output, lambda: [*networks.programs, *planes]), SUMMED_BESIDE),
            Share(Variation(vocabulary), GENERATION_SIZE),
        ]
        progress.forget_taught()  # a network agrees with itself on images that it has labelled
        return self.run(self._search(self._task, executor, shares, progress, prefix="network "))

    def move(self, search: Search, executor: Executor) -> None:
        """Let a search of filters go on where images that networks have labelled are among the items."""
        images, copies, taught = self._places
        search.move(
            self._evaluator("search", self._task, executor, images),
            self._evaluator("taught copies" if taught else "copies", self._task, executor, [*copies, *taught]),
            self._evaluator("probes", self._task, executor, [*images, *copies]),
            self._cross_fitting(self._task, executor),
            len(taught),
        )

    @property
    def shares(self) -> Shares:
        """How the budget is divided if networks are trained."""
        return ONE_STAGE if foreground_of(self._task) is None else TWO_STAGES

    def find_masks(self, share: float = FOREGROUND_SHARE) -> Progress | None:
        """Search for the foreground in a share of the budget.

        Returns
        -------
        Progress, or None if foreground is the task itself, or the budget is too small
        """
        simpler, budget = foreground_of(self._task), self._clock.evaluations_left(0)
        if simpler is None or (budget is not None and share * budget < 1):
            return None
        with self._clock.part(share), closing(self.make_executor(simpler, self.pack)) as executor:
            search = self.begin(simpler, executor, (), Progress(stage=FOREGROUND), prefix=f"{FOREGROUND} ")
            return self.run(search)

    def begin(
        self,
        task: Task,
        executor: Executor,
        start: Sequence[Share],
        progress: Progress,
        *,
        prefix: str = "",
        advisers: Sequence[Adviser] = (),
    ) -> Search:
        """Return a search of filters, for which the pipelines that a library offers have raced."""
        if progress.stage != FOREGROUND and self._strategy.warm is not None:
            self._race(self._strategy.warm, task, executor, progress)
        strategy, stats = self._strategy, self._stats
        vocabulary = strategy.make_vocabulary(stats, task.output, without=self._settings.without)
        propose = strategy.proposers if progress.stage != FOREGROUND else usual_proposers
        shares = [*start, *propose(vocabulary, stats, task.output)]
        self._vocabulary = vocabulary
        return self._search(task, executor, shares, progress, prefix=prefix, advisers=advisers)

    def _race(self, warm: WarmStart, task: Task, executor: Executor, progress: Progress) -> None:
        """Let a library's pipelines race against classic recipes, in a bounded time."""
        images, copies, _ = self._places
        pixels = {i: self._sizes[i] for i in (images if len(images) > 1 else [*images, *copies])}
        units = self._units if len(images) > 1 else each_alone(len(pixels))
        budget = self._settings.budget
        left = self._clock.evaluations_left(progress.evaluations)

        def evaluator_on(name: str, places: Iterable[int]) -> Evaluator:
            return self._evaluator(f"race, {name}", task, executor, places)

        def late() -> bool:
            return self._clock.late() or (budget.seconds is not None and self._clock.seconds > begun + warm.limit_s)

        with threadpool_limits(1):  # as in the search
            telling = telling_images(evaluator_on("all", pixels), list(pixels), intakes(self._stats)[0])
            begun = self._clock.seconds  # only now are workers sure to have started
            most = FINALISTS if left is None else min(FINALISTS, left // 10)
            n_full, n_pruned = warm.race(evaluator_on, pixels, units, telling, self._classics(task), late, most)
        progress.evaluations += n_full
        progress.n_pruned += n_pruned

    def _search(
        self,
        task: Task,
        executor: Executor,
        shares: Sequence[Share],
        progress: Progress,
        *,
        prefix: str,
        advisers: Sequence[Adviser] = (),
    ) -> Search:
        strategy, stats = self._strategy, self._stats
        images, copies, _ = self._places
        return Search(
            task,
            evaluator=self._evaluator(f"{prefix}search", task, executor, images),
            copies=self._evaluator(f"{prefix}copies", task, executor, copies),
            copied=self._copied,
            # Curves that are fitted to copies, too, depend less on how bright a single image happens to be.
            sampler=self._evaluator(f"{prefix}probes", task, executor, [*images, *copies]),
            shares=shares,
            stats=stats,
            clock=self._clock,
            seed=self._settings.seed,
            select=strategy.select,
            max_cost=self._settings.max_cost,
            on_progress=self._on_progress,
            on_decided=self._on_decided,
            advisers=advisers,
            vocabulary=self._vocabulary,
            cross_fit=self._cross_fitting(task, executor),
            progress=progress,
        )

    def _cross_fitting(self, task: Task, executor: Executor) -> Callable[[Scored, Variants], Floats]:
        """Return how a candidate is scored on each search image with curves and levels fitted to the others."""
        sizes = {i: self._sizes[i] for i in range(self._n_search)}
        evaluator, pixels, seconds = JobEvaluator(task, executor, sizes), sum(sizes.values()), self._cross_fit_s

        def cross_fit_one(scored: Scored, variants: Variants) -> Floats:
            left_out = leave_out(scored, variants, self._units)
            return cross_fit(scored, left_out, evaluator, pixels, seconds, FEWEST, self._units)

        return cross_fit_one

    def run(self, search: Search) -> Progress:
        """Search until the budget is spent; Ctrl-C ends it with the best so far."""
        try:
            # The small sums of the parent are quicker on one thread, and their last digits the same on any machine.
            with threadpool_limits(1):
                return search.run()
        except KeyboardInterrupt:
            if self._clock.stopped:
                raise  # the second one: nothing is chosen any more
            self._clock.stop()
            search.progress.stopped_by = "interrupt"
            return search.progress

    def find_finalists(
        self,
        filters: Candidates,
        progress: Progress,
        networks: Networks | str,
        executor: Executor,
        untried: Sequence[Pipeline],
    ) -> tuple[list[Finalist], Comparison]:
        """Compare the best candidates with the baselines, those with a network last.

        Parameters
        ----------
        filters : Candidates
            Of the search that knew filters only.
        progress : Progress
            Of the search that went on with networks, or of the same.
        untried : sequence of Pipeline
            Stand in for the best candidates if the search was stopped before it scored any; if time was up before
            that, a few classic recipes do as well.
        """
        task, seen = self._task, self._seen(executor)
        if not filters.best and (self._clock.stopped or progress.stopped_by == "seconds"):
            first = [replace(v, proposer="start") for v in seen.evaluate(untried) if isinstance(v, Scored)]
            if not first and not self._clock.stopped:
                recipes = [p for p in self._first_recipes() if p.cost <= self._settings.max_cost]
                first = [replace(v, proposer=Classics.name) for v in seen.evaluate(recipes) if isinstance(v, Scored)]
            opened = Progress() if progress.best else progress  # there may be networks already
            opened.take_first(first, self._clock.seconds)
            filters = opened.candidates()
        if not filters.best:
            raise EvosegError(_why_nothing(progress, self._settings))
        fixed = [v for v in seen.evaluate(constants(self._stats, task.output)) if isinstance(v, Scored)]
        nominated = nominate(filters.best, fixed, filters.best_classic)
        folds = 0
        if isinstance(networks, Networks):
            folds = networks.n_folds
            programs = [p for p in self._plain_programs(networks) if p.cost <= self._settings.max_cost]
            plain = [v for v in seen.evaluate(programs) if isinstance(v, Scored)]
            nominated += [(s, PLAIN) for s in plain] + [(s, NETWORK) for s in nominate_networks(progress.best, plain)]
        compared = Comparison()
        if self._splits.selection:
            sizes = {i: self._sizes[i] for i in range(self._first_selection, len(self.pack.items))}
            programs = [s.pipeline for s, _ in nominated]
            chosen = [s.pipeline for s, role in nominated if role != "constant"] or programs
            evaluator = self._wrap_evaluator("selection", JobEvaluator(self._task, executor, sizes))
            compared = compare_finished(programs, chosen, evaluator, len(sizes), "selection")
            if compared.images:
                found = [(s, role, compared.statistics.get(s.pipeline)) for s, role in nominated]
                return [_finalist(s, task.score(each), role) for s, role, each in found if each is not None], compared
        if not self._strategy.leave_out:
            return [_finalist(s, s.scores, role) for s, role in nominated], compared
        # Numbers of baselines and plain networks are nobody's choice: there is nothing to leave out but a level.
        variants = {"evolved": filters.variants, NETWORK: progress.variants}
        left_out = ((s, leave_out(s, variants.get(role, {}), self._units, folds), role) for s, role in nominated)
        return [_finalist(s, scores, role) for s, scores, role in left_out], compared

    def _first_recipes(self) -> list[Pipeline]:
        """Return the classic recipes that a search begins with, as many as there is always time for."""
        return self._classics(self._task).first(FIRST)

    def _classics(self, task: Task) -> Classics:
        """Return the classic recipes for a task, none of which has been taken."""
        vocabulary = self._strategy.make_vocabulary(self._stats, task.output, without=self._settings.without)
        return Classics(self._stats, task.output, {op.name for op in vocabulary.operators})

    def answer(self, best: Finalist, compared: Comparison, executor: Executor, networks: Networks | str) -> Answer:
        """Return a finalist with its scores on images that none of its numbers was fitted to, as time allows."""
        if compared.images or not self._strategy.leave_out:
            return Answer(best, best.selection, searched=not compared.images)
        pixels = sum(self._sizes[i] for i in range(self._n_search))
        folds = networks.n_folds if isinstance(networks, Networks) else FOLDS
        with threadpool_limits(1):  # as in the search
            scores = cross_fit(
                best.scored, best.selection, self._seen(executor), pixels, self._cross_fit_s, folds, self._units
            )
        return Answer(best, scores, searched=not best.scored.pipeline.has_network)

    def judge_leaders(self, progress: Progress, executor: Executor) -> list[Leader]:
        """Score candidates that led the search on images that it did not go by; nothing depends on these scores.

        At most `MOST_LEADERS` are scored, among them the first and the last. Where there is a selection split, its
        images are such; else each search image is scored with curves and levels fitted without its group. A journal
        says nothing of this.
        """
        n, chosen = len(progress.records), len(self._splits.selection)
        places = np.unique(np.linspace(0, n - 1, min(n, MOST_LEADERS)).round().astype(int))
        leaders = [progress.records[i] for i in places]
        numbers = [progress.history[i][0] for i in places]
        images = range(self._first_selection, self._first_selection + chosen) if chosen else range(self._n_search)
        sizes = {i: self._sizes[i] for i in images}
        evaluator = JobEvaluator(self._task, executor, sizes)
        held_out: list[float | None] = [None] * len(leaders)
        if not chosen:
            seconds, pixels = self._cross_fit_s / max(len(leaders), 1), sum(sizes.values())
            with threadpool_limits(1):
                for k, one in enumerate(leaders):
                    if not self._clock.stopped:
                        fitted = cross_fit(one, one.left_out, evaluator, pixels, seconds, FEWEST, self._units)
                        held_out[k] = float(fitted.mean())
        else:
            found = evaluator.judge([one.pipeline for one in leaders], lambda: self._clock.stopped)
            for k, statistics in enumerate(found):
                if isinstance(statistics, np.ndarray):
                    held_out[k] = float(self._task.score(statistics).mean())
        return [Leader(one, n, score) for one, n, score in zip(leaders, numbers, held_out, strict=True)]

    def _seen(self, executor: Executor) -> Evaluator:
        return self._evaluator("finalists", self._task, executor, range(self._n_search))

    def test(self, programs: list[Pipeline], networks: Networks | str) -> tuple[Comparison, KnownPlanes]:
        """Score finished programs, the best one first, on images that nothing has looked at before.

        Returns
        -------
        Comparison
        KnownPlanes
            Of the networks, for whoever shows the answers.
        """
        if not self._splits.test:
            return Comparison(), {}
        pack = write_pack(self._folder / "test.pack", self._test_items(networks))
        images = dict(zip(self._splits.test, pack.items, strict=False))
        sizes = {i: _pixels(self._task, item) for i, item in enumerate(images.values())}
        with closing(self.make_executor(self._task, pack)) as executor:
            evaluator = self._wrap_evaluator("test", JobEvaluator(self._task, executor, sizes))
            compared = compare_finished(programs, programs[:1], evaluator, len(sizes), "test")
        return compared, {stem: given_planes(item) for stem, item in images.items()}

    def _test_items(self, networks: Networks | str) -> Iterator[tuple[str, Item]]:
        """Yield the test images, with the planes of networks if there are some."""
        for stem, item in self._read(self._splits.test):
            yield stem, {**item, **(networks.planes_of(item["image"]) if isinstance(networks, Networks) else {})}
        if isinstance(networks, Networks):
            yield networks.file_item()


def _finalist(scored: Scored, selection: Floats, role: str) -> Finalist:
    return Finalist(scored, selection, NETWORK if role == PLAIN else role, plain=role == PLAIN)


def _why_nothing(progress: Progress, settings: SearchSettings) -> str:
    if progress.too_costly and not progress.evaluations:
        return (
            f"no candidate costs less than {settings.max_cost:g} ms per megapixel; a plain threshold costs about 1. "
            "Allow more."
        )
    return "the search ended before any candidate was scored. Give it more time, or more evaluations."


def _pixels(task: Task, item: Item) -> int:
    return sum(image.shape[0] * image.shape[1] for image in inputs_of(task, item))


def local_executors(settings: SearchSettings) -> ExecutorFactory:
    """Return a factory of processes on this machine; 0 workers run everything in this process."""

    def make_executor(task: Task, pack: Pack) -> Executor:
        if settings.workers == 0:
            return InProcess(task, pack.items, settings.cache_bytes)
        workers = WorkerSettings(settings.workers, settings.cache_bytes, ipp=settings.early)
        return Processes(task, pack.path, workers)

    return make_executor
