"""From a dataset to a proven pipeline: pack, search, choose, and only then open the test images."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evoseg.base.ahead import ahead
from evoseg.base.errors import EvosegError
from evoseg.base.streams import stream
from evoseg.data.dataset import Dataset
from evoseg.data.jitter import jittered
from evoseg.data.pack import Pack, write_pack
from evoseg.data.splits import Splits
from evoseg.evolve.budget import USUAL_S, Budget, Clock
from evoseg.evolve.classics import constants
from evoseg.evolve.evaluator import HANG_LIMIT_S, AnyEvaluator, Evaluator, evenly_spaced
from evoseg.evolve.facts import Facts, survey_images
from evoseg.evolve.finalists import FOLDS, MOST, Finalist, champion, crossed, leave_one_out, nominate
from evoseg.evolve.foreground import SHARE, foreground_of, lifted
from evoseg.evolve.jobs import Executor, InProcess
from evoseg.evolve.method import USUAL, Given, Method, usual_proposers
from evoseg.evolve.ports import Failed, Floats, Item, Proposer, Scored, Task, inputs_of
from evoseg.evolve.search import BEST, FOREGROUND, GENERATION, Descent, Progress, Search, Share
from evoseg.evolve.selection import leading
from evoseg.evolve.workers import Processes, WorkerSettings
from evoseg.pipeline import Pipeline

logger = logging.getLogger(__name__)

SOON_S = 5.0
"""CPU time that a job may take at least where the budget is one of seconds: a hang must not use it up."""
RESERVE_S = 0.5
"""Time kept back from the search for choosing and proving the champion, at least."""
TYPICAL_NS = 15.0
"""Modelled cost of a finalist, per pixel."""
GRACE_S = 3.0
"""What choosing, proving and drawing may take beyond the time that the user gave."""
CROSSING = 0.05
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
    optional_operators : bool
        Whether operators that need scikit-image join.
    without : frozenset of str
        Operators that are not to be used.
    max_cost : float, ns per pixel (which is ms per megapixel)
        The champion's highest modelled cost.
    start : tuple of Pipeline
        Programs to begin with.
    cache_bytes : int
        Memory for values of sub-programs, over all workers.
    equal_as_one : bool
        Whether channels that are equal in all search images count as one; False goes on with runs of early versions.
    ipp : bool
        Whether operators use Intel IPP; True goes on with runs of early versions.
    """

    budget: Budget
    seed: int = 0
    workers: int = 1
    optional_operators: bool = False
    without: frozenset[str] = frozenset()
    max_cost: float = float("inf")
    start: tuple[Pipeline, ...] = ()
    cache_bytes: int = 1 << 30
    equal_as_one: bool = True
    ipp: bool = False


Hire = Callable[[Task, Pack], Executor]
"""Makes what runs the jobs of a task on the items of a pack."""

Witness = Callable[[str, AnyEvaluator, Executor], AnyEvaluator]
"""Called with each evaluator's name, itself and its executor; returns what is asked in its stead."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a search found, and how good that is.

    Attributes
    ----------
    champion : Finalist
    finalists : tuple of Finalist
    expected : float64 array
        The champion's scores that the promise rests on: its selection scores; where there is no selection split, those
        on the search images with all its numbers, curves included, found on the others.
    progress : Progress
    tested : tuple of str
        Stems of the test images that the champion could be scored on.
    test : mapping of Pipeline to statistics of shape (n_tested, s)
        For the champion, and the baselines that could be scored on the same images; empty without any.
    not_scored : mapping of str to str
        Why other images, of the selection and of the test split, could not be scored, by stem.
    reproducible : bool
        False if a limit, a lack of memory or the death of its process has failed a candidate.
    credit : mapping of str to float
        What each proposer has gained for the champion (`Progress.credit`).
    ancestors : sequence of Descent
        The champion and the candidates that it was made from.
    """

    champion: Finalist
    finalists: tuple[Finalist, ...]
    expected: Floats
    progress: Progress
    splits: Splits
    tested: tuple[str, ...] = ()
    test: Mapping[Pipeline, Floats] = field(default_factory=dict)
    not_scored: Mapping[str, str] = field(default_factory=dict)
    reproducible: bool = True
    credit: Mapping[str, float] = field(default_factory=dict)
    ancestors: Sequence[Descent] = ()


def solve(
    dataset: Dataset,
    splits: Splits,
    task: Task,
    settings: SearchSettings,
    folder: Path,
    clock: Clock,
    watch: Callable[[Progress], None] = lambda progress: None,
    found: Callable[[Pipeline], None] = lambda pipeline: None,
    witness: Witness = lambda name, evaluator, executor: evaluator,
    method: Method = USUAL,
    guests: Sequence[Proposer] = (),
    hire: Hire | None = None,
) -> Solution:
    """Search on the search images, choose on the selection images, prove on the test images.

    Parameters
    ----------
    folder : Path
        Where packed images lie while they are needed.
    clock : Clock
        Started by the caller, so that its own preparations count.
    watch : callable
        Called with the progress after each generation.
    found : callable
        Called with the champion before any test image is opened.
    witness : callable
        Puts something between the search and its evaluators, such as one that remembers.
    method : Method
        What the search is made of; for studies.
    guests : sequence of Proposer
        Others that may propose, such as a language model.
    hire : callable
        Makes what runs the jobs; by default processes on this machine, as many as the settings say.
    """
    hire = hire or locally(WorkerSettings(settings.workers, settings.cache_bytes, ipp=settings.ipp))
    n_search = len(splits.search)
    copied = evenly_spaced(n_search, method.copies)
    started = clock.seconds
    pack = _pack_with_copies(dataset, task, splits, copied, folder / "search.pack")
    images = [image for item in pack.items[:n_search] for image in inputs_of(task, item)]
    facts = survey_images(images, equal_as_one=settings.equal_as_one)
    sizes = {i: _pixels(task, item) for i, item in enumerate(pack.items)}
    crossing_s = CROSSING * (settings.budget.seconds or USUAL_S)
    mean_pixels, packing_s = sum(sizes.values()) / len(sizes), (clock.seconds - started) / len(sizes)
    clock.keep_back(_time_to_prove(splits, mean_pixels, packing_s, crossing_s))
    ground = _Ground(sizes, splits, copied, facts, settings, method, clock, watch, witness)
    masks = _masks(task, pack, ground, hire)
    given = [Share(Given(settings.start), GENERATION)]
    made = () if masks is None else lifted(masks.best, task.output)
    if made:  # half of a generation: the other half is for what others bring, such as a library
        given.append(Share(Given(made), GENERATION // 2))
    with closing(hire(task, pack)) as executor:
        before = Progress() if masks is None else masks.spent()
        progress = ground.search(task, executor, given, before, guests=guests)
        seen = ground.evaluator("finalists", task, executor, 0, n_search)
        finalists, compared = _finalists(progress, task, executor, ground, seen, [*settings.start, *made])
        best = champion(finalists)
        expected = _expected(best, ground, seen, crossing_s) if not compared.images else best.selection
        reproducible = not getattr(executor, "n_given_up", 0)
    if clock.stopped:
        progress.stopped_by = "interrupt"  # while choosing
    found(best.scored.pipeline.settled())
    proven = [best, *(f for f in finalists if f.role != "evolved" and f is not best)]
    test = _prove(dataset, splits.test, task, [f.scored.pipeline for f in proven], hire, folder, witness)
    not_scored = {splits.selection[i]: why for i, why in compared.reasons.items()}
    not_scored |= {splits.test[i]: why for i, why in test.reasons.items()}
    tested = tuple(splits.test[i] for i in test.images)
    credit = progress.credit(best.scored.pipeline)
    ancestors = progress.ancestors(best.scored.pipeline)
    statistics = {program.settled(): of_images for program, of_images in test.statistics.items()}
    return Solution(
        _settled(best),
        tuple(_settled(finalist) for finalist in finalists),
        expected,
        progress,
        splits,
        tested,
        statistics,
        not_scored,
        reproducible,
        credit,
        ancestors,
    )


def _settled(finalist: Finalist) -> Finalist:
    """Return a finalist as it is handed out: with the same pixels, and no values that contradict each other."""
    return replace(finalist, scored=replace(finalist.scored, pipeline=finalist.scored.pipeline.settled()))


def _masks(task: Task, pack: Pack, ground: "_Ground", hire: Hire) -> Progress | None:
    """Return what a search for the foreground has found; None if that is the task itself, or the budget too small."""
    simpler, budget = foreground_of(task), ground.clock.evaluations_left(0)
    if simpler is None or (budget is not None and SHARE * budget < 1):
        return None
    with ground.clock.part(SHARE), closing(hire(simpler, pack)) as executor:
        usual = replace(ground, method=replace(ground.method, proposers=usual_proposers))
        return usual.search(simpler, executor, (), Progress(stage=FOREGROUND), prefix=f"{FOREGROUND} ")


@dataclass(frozen=True, eq=False)
class _Ground:
    """What the searches of one run stand on."""

    sizes: Mapping[int, int]
    splits: Splits
    copied: Sequence[int]
    facts: Facts
    settings: SearchSettings
    method: Method
    clock: Clock
    watch: Callable[[Progress], None]
    witness: Witness

    @property
    def n_search(self) -> int:
        """The search images come first ..."""
        return len(self.splits.search)

    @property
    def first_selection(self) -> int:
        """... then the copies, then the selection images."""
        return self.n_search + len(self.copied)

    def evaluator(self, name: str, task: Task, executor: Executor, first: int, end: int) -> AnyEvaluator:
        """Return who judges on some of the search images and their copies."""
        least_limit_s = HANG_LIMIT_S if self.settings.budget.seconds is None else SOON_S
        sizes = {i: self.sizes[i] for i in range(first, end)}
        return self.witness(name, Evaluator(task, executor, sizes, least_limit_s), executor)

    def search(
        self,
        task: Task,
        executor: Executor,
        given: Sequence[Share],
        progress: Progress,
        prefix: str = "",
        guests: Sequence[Proposer] = (),
    ) -> Progress:
        """Search until the budget is spent; Ctrl-C ends it with the best so far."""
        settings, method, first_selection = self.settings, self.method, self.first_selection
        words = method.words(self.facts, task.output, optional=settings.optional_operators, without=settings.without)
        search = Search(
            task,
            self.evaluator(f"{prefix}search", task, executor, 0, self.n_search),
            self.evaluator(f"{prefix}copies", task, executor, self.n_search, first_selection),
            self.copied,
            # Curves that are fitted to copies, too, lean less on how bright a single image happens to be.
            self.evaluator(f"{prefix}probes", task, executor, 0, first_selection),
            [*given, *method.proposers(words, self.facts, task.output)],
            self.facts,
            self.clock,
            settings.seed,
            method.select,
            settings.max_cost,
            self.watch,
            guests,
            progress,
        )
        try:
            # The small sums of the parent are quicker on one thread, and their last digits the same on any machine.
            with threadpool_limits(1):
                return search.run()
        except KeyboardInterrupt:
            if self.clock.stopped:
                raise  # the second one: nothing is chosen any more
            self.clock.stop()
            search.progress.stopped_by = "interrupt"
            return search.progress


def _why_nothing(progress: Progress, settings: SearchSettings) -> str:
    if progress.too_costly and not progress.evaluations:
        return (
            f"no candidate costs less than {settings.max_cost:g} ms per megapixel; a plain threshold costs about 1. "
            "Allow more."
        )
    return "the search ended before any candidate was scored. Give it more time, or more evaluations."


def _time_to_prove(splits: Splits, pixels: float, packing_s: float, crossing_s: float) -> float:
    """Return the time to keep back, from the size of an image and the time that it took to pack one, in s."""
    judged = MOST * len(splits.selection) + 4 * len(splits.test)
    expected_s = judged * pixels * TYPICAL_NS * 1e-9 + 2 * packing_s * len(splits.test)
    if not splits.selection:
        expected_s += min(crossing_s, FOLDS * len(splits.search) * pixels * TYPICAL_NS * 1e-9)
    return max(RESERVE_S, expected_s - GRACE_S)


def _finalists(
    progress: Progress,
    task: Task,
    executor: Executor,
    ground: _Ground,
    seen: AnyEvaluator,
    untried: Sequence[Pipeline],
) -> tuple[list[Finalist], "_Judged"]:
    """Compare the best with the baselines; `untried` stand in where the search was stopped before it scored any."""
    if not progress.best and ground.clock.stopped:
        progress.best = leading([v for v in seen.evaluate(untried) if isinstance(v, Scored)], BEST)
    if not progress.best:
        raise EvosegError(_why_nothing(progress, ground.settings))
    fixed = [v for v in seen.evaluate(constants(ground.facts, task.output)) if isinstance(v, Scored)]
    nominated = nominate(progress.best, fixed, progress.best_classic)
    compared = _Judged()
    if ground.splits.selection:
        sizes = {i: ground.sizes[i] for i in range(ground.first_selection, len(ground.sizes))}
        programs = [s.pipeline for s, _ in nominated]
        chosen = [s.pipeline for s, role in nominated if role != "constant"] or programs
        compared = _judged("selection", task, executor, sizes, programs, chosen, ground.witness)
        if compared.images:
            found = [(s, role, compared.statistics.get(s.pipeline)) for s, role in nominated]
            return [Finalist(s, task.score(each), role) for s, role, each in found if each is not None], compared
    if not ground.method.leave_out:
        return [Finalist(s, s.scores, role) for s, role in nominated], compared
    # A baseline's numbers are nobody's choice: there is nothing to leave out but its level.
    variants = {"evolved": progress.variants}
    return [Finalist(s, leave_one_out(s, variants.get(role, {})), role) for s, role in nominated], compared


def _expected(best: Finalist, ground: _Ground, seen: AnyEvaluator, seconds: float) -> Floats:
    """Return the champion's scores on images that none of its numbers was found on, as far as there is time."""
    if not ground.method.leave_out:
        return best.selection
    pixels = sum(ground.sizes[i] for i in range(ground.n_search))
    with threadpool_limits(1):  # as in the search
        return crossed(best.scored, best.selection, seen, pixels, seconds)


def _prove(
    dataset: Dataset,
    stems: Sequence[str],
    task: Task,
    programs: list[Pipeline],
    hire: Hire,
    folder: Path,
    witness: Witness,
) -> "_Judged":
    """Score finished programs, the champion first, on images that nothing has looked at before."""
    if not stems:
        return _Judged()
    pack = write_pack(folder / "test.pack", _read(dataset, task, stems))
    sizes = {i: _pixels(task, item) for i, item in enumerate(pack.items)}
    with closing(hire(task, pack)) as executor:
        return _judged("test", task, executor, sizes, programs, programs[:1], witness)


@dataclass(frozen=True, eq=False)
class _Judged:
    """What finished programs did on images of a split.

    Attributes
    ----------
    images : tuple of int
        Places in the split of those that all these programs could be scored on.
    statistics : mapping of Pipeline to statistics of shape (n_images, s)
    reasons : mapping of int to str
        Why the other images could not be scored, by their places.
    """

    images: tuple[int, ...] = ()
    statistics: Mapping[Pipeline, Floats] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)


def _judged(
    name: str,
    task: Task,
    executor: Executor,
    sizes: Mapping[int, int],
    programs: Sequence[Pipeline],
    leaders: Sequence[Pipeline],
    witness: Witness,
) -> _Judged:
    """Judge finished programs; the images that count are those that one of the leaders could be scored on.

    That is the leader who fails on the fewest, the first of such. Other programs that fail on one of these images are
    left out, as the means of all must be over the same images.

    Parameters
    ----------
    sizes : mapping of int to int
        The images, as places in the executor's items, and their pixels.
    """
    found = witness(name, Evaluator(task, executor, sizes), executor).prove(programs)
    parts = {program: _image_by_image(each, len(sizes)) for program, each in zip(programs, found, strict=True)}
    failures = {p: {k: e.reason for k, e in enumerate(each) if isinstance(e, Failed)} for p, each in parts.items()}
    leader = min(leaders, key=lambda program: len(failures[program]))
    images = tuple(k for k in range(len(sizes)) if k not in failures[leader])
    statistics: dict[Pipeline, Floats] = {}
    for program, each in parts.items():
        rows = [row for k in images if isinstance(row := each[k], np.ndarray)]
        if images and len(rows) == len(images):
            statistics[program] = np.concatenate(rows)
        elif images:
            why = next(reason for k, reason in failures[program].items() if k in images)
            logger.warning("left out of the comparison on the %s images, %s: %s", name, program.digest, why)
    for k, reason in failures[leader].items():
        logger.warning("number %d of the %s images could not be scored: %s", k + 1, name, reason)
    return _Judged(images, statistics, failures[leader])


def _image_by_image(found: Floats | Failed, n_images: int) -> Sequence[Floats | Failed]:
    """Return what was found on each image."""
    if isinstance(found, Failed):
        return found.parts or [found] * n_images
    return [row[None] for row in found]


def _pack_with_copies(dataset: Dataset, task: Task, splits: Splits, copied: Sequence[int], path: Path) -> Pack:
    """Pack the search images, jittered copies of some, and the selection images."""

    def items() -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        yield from _read(dataset, task, splits.search)
        for stem in (splits.search[i] for i in copied):
            yield f"{stem}, jittered", jittered(task.item(dataset.load(stem)), stream(0, "jitter", stem))
        yield from _read(dataset, task, splits.selection)

    return write_pack(path, items())


def _read(dataset: Dataset, task: Task, stems: Sequence[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    return zip(stems, ahead(lambda stem: task.item(dataset.load(stem)), stems), strict=True)


def _pixels(task: Task, item: Item) -> int:
    return sum(image.shape[0] * image.shape[1] for image in inputs_of(task, item))


def locally(settings: WorkerSettings) -> Hire:
    """Return what hires processes of this machine; 0 workers run everything in this one."""

    def hire(task: Task, pack: Pack) -> Executor:
        if settings.n_workers == 0:
            return InProcess(task, pack.items, settings.cache_bytes)
        return Processes(task, pack.path, settings)

    return hire
