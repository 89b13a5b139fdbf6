"""From a dataset to a tested pipeline: pack the images, search, choose, and only then open the test images."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.memmap import Pack
from evoseg.datasets.splits import Splits
from evoseg.evolve.advising import Adviser
from evoseg.evolve.budget import Clock
from evoseg.evolve.comparing import Comparison
from evoseg.evolve.context import (
    Answer,
    EvaluatorWrapper,
    ExecutorFactory,
    Leader,
    SearchContext,
    SearchSettings,
    local_executors,
)
from evoseg.evolve.evaluation.jobs import Executor
from evoseg.evolve.finalists import Finalist, champion, network_champion, prefers_network
from evoseg.evolve.loop import GENERATION_SIZE, Candidate, Descent, Progress, Share
from evoseg.evolve.networks import Networks, Trainer
from evoseg.evolve.ports import Floats, KnownPlanes, Scored, Task
from evoseg.evolve.strategy import StartPrograms, Strategy
from evoseg.evolve.tasks.object_tasks import make_objects
from evoseg.pipeline import Pipeline
from evoseg.pipeline.value import NETWORK


@dataclass(frozen=True, eq=False)
class Solution:
    """What a search found, and how good that is.

    Attributes
    ----------
    readable : Answer
        The best pipeline of filters alone.
    accurate : Answer or None
        The best one with a network in it; None if no network was trained.
    finalists : tuple of Finalist
    networks : Networks or str
        The networks, or why there are none.
    progress : Progress
    tested : tuple of str
        Stems of the test images that the champion could be scored on.
    test : mapping of Pipeline to statistics of shape (n_tested, s)
        For the answers, and the baselines that could be scored on the same images; empty without any.
    planes : KnownPlanes
        What the networks gave for test images, as long as the folder of packed images exists.
    not_scored : mapping of str to str
        Why other images, of the selection and of the test split, could not be scored, by stem.
    reproducible : bool
        False if a limit, a lack of memory or the death of its process has failed a candidate.
    leaders : tuple of Leader
        Candidates that led the search one after the other, with their scores on other images.
    credit : mapping of str to float
        What each proposer has gained for the champion (`Progress.credit`).
    ancestors : sequence of Descent
        The champion and the candidates that it was made from.
    """

    readable: Answer
    accurate: Answer | None
    finalists: tuple[Finalist, ...]
    networks: Networks | str
    progress: Progress
    splits: Splits
    tested: tuple[str, ...] = ()
    test: Mapping[Pipeline, Floats] = field(default_factory=dict)
    planes: KnownPlanes = field(default_factory=dict)
    not_scored: Mapping[str, str] = field(default_factory=dict)
    reproducible: bool = True
    leaders: tuple[Leader, ...] = ()
    credit: Mapping[str, float] = field(default_factory=dict)
    ancestors: Sequence[Descent] = ()

    @property
    def recommended(self) -> str:
        """Which answer is recommended: "readable" or "accurate"."""
        return _recommended(self.readable, self.accurate)

    @property
    def best(self) -> Answer:
        """The recommended answer."""
        return self.accurate if self.accurate is not None and self.recommended == ACCURATE else self.readable

    @property
    def champion(self) -> Finalist:
        """The recommended pipeline."""
        return self.best.finalist

    @property
    def expected(self) -> Floats:
        """The scores that the promise for the recommended pipeline rests on."""
        return self.best.expected

    @property
    def answers(self) -> dict[str, Answer]:
        """All answers by name."""
        return {READABLE: self.readable} | ({} if self.accurate is None else {ACCURATE: self.accurate})


READABLE, ACCURATE = "readable", "accurate"
"""Names of the two answers."""


def _recommended(readable: Answer, accurate: Answer | None) -> str:
    if accurate is None or not prefers_network(readable.expected, accurate.expected):
        return READABLE
    return ACCURATE


def solve(
    dataset: Dataset,
    splits: Splits,
    task: Task,
    settings: SearchSettings,
    folder: Path,
    clock: Clock,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_decided: Callable[[Sequence[Candidate]], None] = lambda candidates: None,
    on_training: Callable[[Progress, float], None] = lambda progress, share: None,
    on_chosen: Callable[[Mapping[str, Pipeline], str], None] = lambda answers, recommended: None,
    wrap_evaluator: EvaluatorWrapper = lambda name, evaluator: evaluator,
    strategy: Strategy | None = None,
    advisers: Sequence[Adviser] = (),
    trainer: Trainer | None = None,
    make_executor: ExecutorFactory | None = None,
) -> Solution:
    """Search on the search images, choose on the selection images, and score on the test images.

    Parameters
    ----------
    folder : Path
        Where packed images lie while they are needed.
    clock : Clock
        Started by the caller, so that its own preparations count.
    on_progress : callable
        Called with the progress after each generation.
    on_decided : callable
        Called with the candidates of each generation that were decided upon.
    on_training : callable
        Called with the progress, and the share of the training of networks that is done.
    on_chosen : callable
        Called with the answers by name, and which is recommended, before any test image is opened.
    wrap_evaluator : callable
        May put something between the search and its evaluators, such as a journal.
    strategy : Strategy, optional
        What the search is made of.
    advisers : sequence of Adviser
        Asked before each generation, such as a language model.
    trainer : Trainer, optional
        Trains networks; without it, there are filters only.
    make_executor : callable, optional
        By default, processes on this machine, as many as the settings say.
    """
    context = SearchContext(
        dataset,
        splits,
        task,
        settings,
        folder,
        clock,
        on_progress,
        on_decided,
        wrap_evaluator,
        strategy or Strategy(),
        make_executor or local_executors(settings),
    )
    why_none = context.why_no_networks(trainer)
    with ExitStack() as executors:

        def open_executor(pack: Pack) -> Executor:
            return executors.enter_context(closing(context.make_executor(task, pack)))

        # Networks teach the filters, so they come first; but before them, something to show.
        with nullcontext() if why_none else clock.part(*context.shares.opening, target=True):
            masks = context.find_masks() if why_none else context.find_masks(context.shares.foreground)
            objects = {} if masks is None else make_objects(masks.best, task.output)
            before = Progress() if masks is None else masks.next_stage()
            executor = open_executor(context.pack)
            search = context.begin(task, executor, _start_shares(settings, objects), before, advisers=advisers)
            progress = context.run(search)
        reproducible = not getattr(executor, "n_given_up", 0)
        networks = why_none or context.train(trainer, progress, on_training)
        if isinstance(networks, Networks):
            executor.close()
            executor = open_executor(context.pack_with(networks))
            context.move(search, executor)
        if not why_none and not clock.stopped:
            with clock.part(*context.shares.filters, target=True) if isinstance(networks, Networks) else nullcontext():
                progress = context.run(search)
        filters = progress.candidates()
        if isinstance(networks, Networks) and not clock.stopped:
            progress = context.search_with(networks, executor, progress)
        finalists, compared = context.find_finalists(filters, progress, networks, executor, [*settings.start, *objects])
        readable, accurate = _choose(context, finalists, compared, executor, networks)
        if isinstance(networks, Networks) and accurate is None:
            networks = "no pipeline with one could be scored"
        reproducible &= not getattr(executor, "n_given_up", 0)
        leaders = context.judge_leaders(progress, executor)
    if clock.stopped:
        progress.stopped_by = "interrupt"  # while choosing
    found = Solution(
        readable,
        accurate,
        tuple(finalists),
        networks,
        progress,
        splits,
        reproducible=reproducible,
        leaders=tuple(leaders),
    )
    on_chosen({name: answer.pipeline.settled() for name, answer in found.answers.items()}, found.recommended)
    return _tested(context, found, compared)


def _start_shares(settings: SearchSettings, objects: Mapping[Pipeline, Pipeline]) -> list[Share]:
    """Return what a search begins with: the user's programs, and objects, each with the mask that it was made of."""
    start = [Share(StartPrograms(settings.start), GENERATION_SIZE)]
    if objects:  # half of a generation: the other half is for what others bring, such as a library
        start.append(Share(StartPrograms(objects, made_from=objects), GENERATION_SIZE // 2))
    return start


def _choose(
    context: SearchContext,
    finalists: Sequence[Finalist],
    compared: Comparison,
    executor: Executor,
    networks: Networks | str,
) -> tuple[Answer, Answer | None]:
    """Return the readable and the accurate answer."""
    filters = champion([f for f in finalists if f.role != NETWORK])
    readable = context.answer(filters, compared, executor, networks)
    best = network_champion([f for f in finalists if f.role == NETWORK])
    return readable, None if best is None else context.answer(best, compared, executor, networks)


def _tested(context: SearchContext, found: Solution, compared: Comparison) -> Solution:
    """Return what was found with its scores on test images, in programs in which no values contradict each other.

    Parameters
    ----------
    compared : Comparison
        On the selection images.
    """
    programs = [answer.pipeline for answer in (found.best, *found.answers.values())]
    programs += [f.scored.pipeline for f in found.finalists if f.role in ("classic", "constant")]
    test, planes = context.test(list(dict.fromkeys(programs)), found.networks)
    not_scored = {found.splits.selection[i]: why for i, why in compared.reasons.items()}
    not_scored |= {found.splits.test[i]: why for i, why in test.reasons.items()}
    return replace(
        found,
        readable=_settle(found.readable),
        accurate=None if found.accurate is None else _settle(found.accurate),
        finalists=tuple(replace(f, scored=_settle_scored(f.scored)) for f in found.finalists),
        tested=tuple(found.splits.test[i] for i in test.images),
        test={program.settled(): of_images for program, of_images in test.statistics.items()},
        planes=planes,
        not_scored=not_scored,
        credit=found.progress.credit(found.best.pipeline),
        ancestors=found.progress.ancestors(found.best.pipeline),
    )


def _settle(answer: Answer) -> Answer:
    """Return an answer with the same pixels, in whose pipeline no values contradict each other."""
    return replace(answer, finalist=replace(answer.finalist, scored=_settle_scored(answer.finalist.scored)))


def _settle_scored(scored: Scored) -> Scored:
    return replace(scored, pipeline=scored.pipeline.settled())
