#!/usr/bin/env python3
"""What each ingredient of the search is worth: full search against the same search without it.

    python experiments/ablation.py DATASETS --out rows.jsonl [--continue] [--only crackforest,neu_patches]
        [--arms full,random] [--seeds 5] [--evaluations 1000] [--processes 2] [--within-training]
    python experiments/ablation.py --table rows.jsonl

One row per dataset, arm and seed is written as soon as it is known; --continue leaves out those that are there. Every
arm has the same number of full evaluations. Test scores are reported, never used to choose anything; with
--within-training, every third of the other images is the test, so that the test images stay unseen.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from study import add_row, arms_of, asked_for, options, trials_in  # beside this file

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits, split
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.finalists import predict_score
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.loop import GENERATION_SIZE, Share
from evoseg.evolve.ports import Evaluation, Proposer, Scored, SearchView
from evoseg.evolve.proposers.random_programs import Vocabulary, make_vocabulary
from evoseg.evolve.proposers.tuning import Tuner
from evoseg.evolve.proposers.variation import RandomPrograms
from evoseg.evolve.selection import penalised_score
from evoseg.evolve.solve import solve
from evoseg.evolve.strategy import Strategy, usual_proposers
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.value import step

TOURNAMENT = 7
ALWAYS = sys.maxsize


def without(name: str) -> Callable[[Vocabulary, ImageStats, Kind], list[Share]]:
    """Return the usual proposers but one."""

    def proposers(vocabulary: Vocabulary, stats: ImageStats, output: Kind) -> list[Share]:
        return [share for share in usual_proposers(vocabulary, stats, output) if share.proposer.name != name]

    return proposers


def random_only(vocabulary: Vocabulary, stats: ImageStats, output: Kind) -> list[Share]:
    """Propose random programs for ever."""
    return [Share(RandomPrograms(vocabulary, output, opening=ALWAYS), GENERATION_SIZE)]


def random_and_tuner(vocabulary: Vocabulary, stats: ImageStats, output: Kind) -> list[Share]:
    """Propose random programs, and better numbers for the best of them."""
    return [Share(Tuner(vocabulary), GENERATION_SIZE), *random_only(vocabulary, stats, output)]


def by_tournament(population: Sequence[Scored], n: int, rng: Generator) -> list[Scored]:
    """Draw parents by tournaments on the mean score."""
    rounds = rng.integers(len(population), size=(n, TOURNAMENT))
    return [max((population[i] for i in contenders), key=penalised_score) for contenders in rounds]


def no_fits(stats: ImageStats, output: Kind = Kind.MASK, *, without: Container[str] | None = None) -> Vocabulary:
    """Return the vocabulary without operators whose numbers the evaluator fits."""
    vocabulary = make_vocabulary(stats, output, without=without)
    return replace(vocabulary, operators=tuple(op for op in vocabulary.operators if not op.fitted))


def with_retired(stats: ImageStats, output: Kind = Kind.MASK, *, without: Container[str] | None = None) -> Vocabulary:
    """Return the vocabulary with the retired operators."""
    return make_vocabulary(stats, output, without=without or ())


class Unfitted:
    """Lets another proposer's thresholds stand at random levels."""

    def __init__(self, inner: Proposer) -> None:
        self._inner = inner
        self.name = inner.name

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return the other's programs with fixed levels."""
        return [self._fixed(pipeline, rng) for pipeline in self._inner.ready(view, n, rng)]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Let the other learn."""
        self._inner.learn(evaluations)

    def _fixed(self, pipeline: Pipeline, rng: Generator) -> Pipeline:
        steps = []
        for s in pipeline.steps:
            fixed = step("level", *s.inputs, level=int(rng.integers(256)), polarity=("bright", "dark")[rng.integers(2)])
            steps.append(fixed if s.operator == "threshold" else s)
        return Pipeline(steps)


def unfitted(vocabulary: Vocabulary, stats: ImageStats, output: Kind) -> list[Share]:
    """Return the usual proposers, whose thresholds nobody fits."""
    return [replace(share, proposer=Unfitted(share.proposer)) for share in usual_proposers(vocabulary, stats, output)]


def changed(**parts: Any) -> Strategy:
    """Return the usual strategy with other parts."""
    static = {name: staticmethod(part) if callable(part) else part for name, part in parts.items()}
    return type("Changed", (Strategy,), static)()


ARMS: dict[str, Strategy] = {
    "full": Strategy(),
    "random": changed(proposers=random_only),
    "random+tuner": changed(proposers=random_and_tuner),
    "no fitted threshold": changed(make_vocabulary=no_fits, proposers=unfitted),
    "no types": Strategy(),
    "no lexicase": changed(select=by_tournament),
    "no tuner": changed(proposers=without("tune")),
    "no jitter": changed(n_copies=0),
    "no leave-one-out": changed(leave_out=False),
    "no sums of curves": changed(proposers=without("fuse")),
    "with retired operators": changed(make_vocabulary=with_retired),
}
"""A pipeline cannot be built of unlike kinds, so "no types" is the full search with as many evaluations as an untyped
one would have left over for valid programs (`valid_share`)."""


def valid_share(trials: int = 4000) -> float:
    """Return how often a program stays valid when a step becomes any operator, on any values before it."""
    rng = stream(0, "ablation", "types")
    stats = ImageStats(3, True, ((0.0,) * 101,) * 3, (10.0,) * 3, (1,))
    vocabulary = make_vocabulary(stats)
    valid = 0
    for _ in range(trials):
        steps = list(vocabulary.grow(rng, Kind.MASK, int(rng.integers(2, 7))).steps)
        i = int(rng.integers(len(steps)))
        op = vocabulary.operators[int(rng.integers(len(vocabulary.operators)))]
        inputs = tuple(int(rng.integers(IMAGE, i)) if i else IMAGE for _ in op.inputs)
        steps[i] = Step(op.name, inputs, vocabulary.draw_step(rng, op, inputs).params)
        try:
            valid += Pipeline(steps).output is Kind.MASK
        except PipelineError:
            pass
    return valid / trials


@dataclass(frozen=True)
class Trial:
    """One search of the study."""

    root: Path
    dataset: str
    arm: str
    seed: int
    evaluations: int
    within_training: bool = False


def run(trial: Trial) -> dict[str, Any]:
    """Search, and return the row of the table."""
    began = time.process_time()
    evaluations = trial.evaluations
    if trial.arm == "no types":
        evaluations = max(1, round(evaluations * valid_share()))
    budget = Budget(evaluations=evaluations)
    settings = SearchSettings(budget, seed=trial.seed, workers=0)
    dataset, task = Dataset(trial.root / trial.dataset), BinaryTask("iou")
    splits = split(dataset)
    if trial.within_training:
        stems = sorted((*splits.search, *splits.selection))
        splits = Splits(tuple(s for i, s in enumerate(stems) if i % 3 != 2), (), tuple(stems[2::3]))
    with tempfile.TemporaryDirectory() as folder:
        found = solve(dataset, splits, task, settings, Path(folder), Clock(budget), strategy=ARMS[trial.arm])
    best = found.champion
    test = task.score(found.test[best.scored.pipeline])
    expected = predict_score(found.expected, len(test), searched=not splits.selection)
    return {
        "dataset": trial.dataset,
        "arm": trial.arm,
        "seed": trial.seed,
        "evaluations": trial.evaluations,
        "search": best.scored.score,
        "expected": expected.score,
        "test": float(test.mean()),
        "length": len(best.scored.pipeline),
        "cost": best.scored.pipeline.cost,
        "seconds": round(time.process_time() - began, 1),
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return, per arm, medians over seeds averaged over datasets, and the spread between seeds."""
    rows = list(rows)
    arms = [arm for arm in ARMS if any(r["arm"] == arm for r in rows)]
    lines = [
        "| arm | runs | search | expected | test | spread of test | length | ns per pixel | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in arms:
        cells = {d: [r for r in rows if r["arm"] == arm and r["dataset"] == d] for d in {r["dataset"] for r in rows}}
        cells = {d: found for d, found in cells.items() if found}

        def middle(key: str, cells: dict[str, list[dict[str, Any]]] = cells) -> float:
            return statistics.mean(statistics.median(r[key] for r in found) for found in cells.values())

        spread = statistics.mean(np.ptp([r["test"] for r in found]) for found in cells.values())
        lines.append(
            f"| {arm} | {sum(map(len, cells.values()))} | {middle('search'):.3f} | {middle('expected'):.3f} | "
            f"{middle('test'):.3f} | {spread:.3f} | {middle('length'):.0f} | {middle('cost'):.0f} | "
            f"{middle('seconds'):.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run what is asked for and not there yet."""
    ask = options(__doc__, 1000)
    ask.add_argument("--arms", default=",".join(ARMS))
    ask.add_argument("--processes", type=int, default=2)
    ask.add_argument("--within-training", action="store_true")
    asked = asked_for(ask, table)
    arms, done = arms_of(ask, asked.arms, ARMS), trials_in(asked.out)
    # Seeds outermost: a study that is cut short has every arm.
    trials = [
        Trial(asked.root, dataset, arm, seed, asked.evaluations, asked.within_training)
        for seed in range(asked.seeds)
        for dataset in asked.only.split(",")
        for arm in arms
        if (dataset, arm, seed, asked.evaluations) not in done
    ]
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(asked.processes)) if asked.processes > 1 else None
        for n, row in enumerate((pool.map if pool else map)(run, trials), 1):
            add_row(asked.out, row)
            print(f"{n}/{len(trials)} {row['dataset']} {row['arm']} {row['seed']}: {row['test']:.3f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
