"""Make the result of a search that has just ended from what the search has found."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.imageformat import ImageFormat
from evoseg.evolve.context import Answer
from evoseg.evolve.finalists import Finalist, learning_curve, predict_score
from evoseg.evolve.networks import Networks
from evoseg.evolve.proposers.warm_start import WarmStart, contributed_to
from evoseg.evolve.solve import Solution
from evoseg.inference.score import bootstrap_interval
from evoseg.metrics.detections import Detections
from evoseg.pipeline import Pipeline, print_text
from evoseg.report.results import (
    BarredTask,
    FinalistScores,
    LeaderScores,
    ModelUse,
    NamedPipeline,
    ReusedProgram,
    SearchResult,
)
from evoseg.report.verdicts import BETTER, FULL, MIXED, STROKES, compare, word_for
from evoseg.runs.opening import dataset_name
from evoseg.runs.record import list_versions
from evoseg.runs.run_folder import RunFolder
from evoseg.runs.settings import RunSettings
from evoseg.runs.stored import number_front

_ROUND_S = 2


def result_of(
    solution: Solution,
    folder: RunFolder,
    dataset: Dataset,
    settings: RunSettings,
    *,
    all_metrics: Mapping[str, Mapping[str, float]],
    detections: Mapping[str, Detections],
    warm: WarmStart,
    seconds: float,
    seconds_in_all: float,
    llm: Mapping[str, Any] | None,
    final: bool,
) -> SearchResult:
    """Return the result of a search that has just ended.

    Parameters
    ----------
    all_metrics : mapping of str to mapping of str to float
        By stem of each test image, then by metric.
    detections : mapping of str to Detections
        By stem of each test image.
    warm : WarmStart
        What came of the library's programs.
    seconds, seconds_in_all : float, s
        Until the pipeline was chosen, and until now.
    llm : mapping or None
        What a language model has done and cost, as the fields of `ModelUse`.
    final : bool
        False if resuming the run may still change the result.
    """
    progress, splits, champion = solution.progress, solution.splits, solution.champion
    task = settings.make_task()
    test = {p: [float(s) for s in task.score(statistics)] for p, statistics in solution.test.items()}
    per_image = dict(zip(solution.tested, test.get(champion.scored.pipeline, []), strict=True))
    chosen_on = [stem for stem in splits.selection if stem not in solution.not_scored]
    judged_on = chosen_on or splits.search
    expected = predict_score(solution.expected, len(per_image) or len(splits.search), searched=solution.best.searched)
    baselines = _baselines(solution, test, len(dataset.channels))
    compared = {name: compare(per_image, scores) for name, scores in baselines.items()}
    verdict = word_for(list(compared.values()))
    # Pipelines of a user's own task may see other images than those of the dataset.
    made_for = None if settings.kind.own else dataset.image_format(splits.search)
    gained = sum(solution.credit.values())
    metrics = next(iter(all_metrics.values()), {})
    return SearchResult(
        run=folder.id,
        dataset=dataset_name(dataset),
        dataset_path=str(dataset.root.resolve()) if dataset.root else None,
        dataset_digest=dataset.survey.digest,
        task=settings.task,
        metric=settings.score,
        radius_px=settings.radius,
        seed=settings.seed,
        stopped_by=progress.stopped_by,
        reproducible=solution.reproducible,
        pipeline=champion.scored.pipeline.for_images(made_for),
        role=champion.role,
        verdict=verdict,
        good_enough=verdict == BETTER,
        splits=splits,
        scored_on=_labels_of(dataset, splits.test or splits.search),
        looks=1 if splits.test else 0,
        scores={
            "search": champion.scored.score,
            "selection": expected.score,
            "test": float(np.mean(list(per_image.values()))) if per_image else None,
        },
        interval_selection=(expected.low, expected.high),
        interval_test=bootstrap_interval(list(per_image.values())),
        baselines_test={name: float(np.mean(list(scores.values()))) for name, scores in baselines.items()},
        baselines_test_per_image=baselines,
        comparisons_test={name: c for name, c in compared.items() if c is not None},
        test_per_image=per_image,
        not_scored=dict(solution.not_scored),
        final=final,
        search_per_image=dict(zip(splits.search, champion.scored.scores.tolist(), strict=True)),
        all_metrics_test={m: float(np.mean([s[m] for s in all_metrics.values()])) for m in metrics},
        detections_test=detections,
        evaluations=progress.evaluations,
        failed=progress.failed,
        decided=progress.evaluations + progress.n_pruned,
        seconds=round(seconds, _ROUND_S),
        seconds_in_all=round(seconds_in_all, _ROUND_S),
        history=tuple(progress.history),
        leaders=tuple(
            LeaderScores(one.evaluations, one.scored.score, one.held_out, one.scored.pipeline.settled().digest)
            for one in solution.leaders
        ),
        proposers={name: gain / gained for name, gain in sorted(solution.credit.items())},
        ancestors=dict(sorted(Counter(one.proposer for one in solution.ancestors).items())),
        warm_start=tuple(_warm_start(settings, warm, solution.readable.pipeline)),
        llm=ModelUse(**llm or {}),
        front=tuple(number_front(progress.front)),
        finalists=tuple(map(_finalist, solution.finalists)),
        learning=tuple(_learning(solution, settings.seed)),
        recommended=solution.recommended,
        answers={
            name: _named(answer, solution, test, made_for, judged_on) for name, answer in solution.answers.items()
        },
        networks={"none": solution.networks} if isinstance(solution.networks, str) else solution.networks.notes,
        settings=settings.as_json(),
        versions=list_versions(),
        files=folder.files,
    )


def _baselines(
    solution: Solution, test: Mapping[Pipeline, list[float]], n_channels: int
) -> dict[str, dict[str, float]]:
    """Return test scores of the baselines, by name and stem."""
    found = {}
    for finalist in solution.finalists:
        pipeline = finalist.scored.pipeline
        if finalist.role in ("classic", "constant") and pipeline in test:
            found[_baseline_name(finalist, n_channels)] = dict(zip(solution.tested, test[pipeline], strict=True))
    return dict(sorted(found.items()))


def _baseline_name(finalist: Finalist, n_channels: int) -> str:
    if finalist.role == "classic":
        return "classic"
    # A constant says the same of any image.
    answer = finalist.scored.pipeline(np.zeros((1, 1, n_channels), np.uint8))
    return "all" if (len(answer) if finalist.scored.pipeline.output is Kind.POINTS else answer.any()) else "nothing"


def _labels_of(dataset: Dataset, stems: Iterable[str]) -> str:
    """Return what images are labelled with."""
    kinds = {STROKES if dataset.survey.facts[stem].partly else FULL for stem in stems}
    return kinds.pop() if len(kinds) == 1 else MIXED


def _warm_start(settings: RunSettings, warm: WarmStart, readable: Pipeline) -> Iterable[ReusedProgram | BarredTask]:
    """Yield what was offered, what it scored in the race, and which tasks were barred and why."""
    for offer in settings.offers:
        won = offer.program in warm.winners
        yield ReusedProgram(
            task=offer.name,
            id=offer.task,
            role=offer.role,
            scale=offer.scale,
            similarity=dict(offer.similarity),
            expected=offer.expected,
            score=warm.held_out.get(offer.program.form, warm.scores.get(offer.program.form)),
            kept=won and contributed_to(offer.program, readable),
            digest=offer.program.settled().digest,  # as its text is read
            won=won,
        )
    for task, stem in settings.barred.items():
        yield BarredTask(task, stem)


def _named(
    answer: Answer,
    solution: Solution,
    test: Mapping[Pipeline, list[float]],
    made_for: ImageFormat | None,
    judged_on: Sequence[str],
) -> NamedPipeline:
    on_test = test.get(answer.pipeline, [])
    expected = predict_score(answer.expected, len(on_test) or len(solution.splits.search), searched=answer.searched)
    networks = solution.networks if answer.pipeline.has_network else ""
    files = len(networks.file) if isinstance(networks, Networks) else 0
    return NamedPipeline(
        pipeline=answer.pipeline.for_images(made_for),
        role=answer.finalist.role,
        scores={
            "search": answer.finalist.scored.score,
            "selection": expected.score,
            "test": float(np.mean(on_test)) if on_test else None,
        },
        interval_selection=(expected.low, expected.high),
        interval_test=bootstrap_interval(on_test),
        cost_ms_per_mpx=answer.pipeline.cost,
        size_bytes=len(print_text(answer.pipeline).encode()) + files,
        test_per_image=dict(zip(solution.tested, on_test, strict=False)),  # none, if it could not be scored
        judged_per_image=dict(zip(judged_on, answer.expected.tolist(), strict=True)),
    )


def _learning(solution: Solution, seed: int) -> Iterable[tuple[int, float]]:
    """Yield masks to choose by and the score on the other search images, over the candidates of the search's end."""
    tried = [scores for variants in solution.progress.variants.values() for scores, _ in variants]
    for point in learning_curve(np.array(tried), stream(seed, "learning")):
        yield point.n_images, point.score


def _finalist(finalist: Finalist) -> FinalistScores:
    pipeline = finalist.scored.pipeline
    return FinalistScores(
        role=finalist.role,
        search=finalist.scored.score,
        selection=float(finalist.selection.mean()),
        length=len(pipeline),
        cost_ms_per_mpx=pipeline.cost,
        digest=pipeline.digest,
    )
