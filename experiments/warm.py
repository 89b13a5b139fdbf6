#!/usr/bin/env python3
"""Study (b): what a warm start gains, or costs. Equal budgets; tasks of the target's family are left out.

    python experiments/warm.py DATASETS --out rows.jsonl [--continue] [--only a,b] [--seeds 3]
        [--arms cold,warm,popular,unraced] [--seconds 20,60] [--workers 2] [--evaluations 300] [--held-out]
    python experiments/warm.py --table rows.jsonl

The arms: `cold` has no library, `warm` is what a search does, `popular` lets the most popular pipelines race in place
of popular and similar ones in turn, and `unraced` begins with all of them, as searches did before decision 32.

One row per dataset, arm, seed and budget. `test` is the mean score of the champion on the test images; `leader` has
seconds, evaluations and the test score of whichever pipeline led after each generation. Test scores choose nothing.
With `--held-out`, every third of the images that are not test images takes the place of these, for choosing between
designs. With `--workers 0`, seconds are of this process's CPU time, so that other processes do not matter.
`--evaluations` replaces the budgets in seconds by one in full evaluations.
"""

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from study import Row, add_row, arms_of, asked_for, options, rows_in  # beside this file

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits, split
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.loop import Progress, Share
from evoseg.evolve.proposers.random_programs import Vocabulary
from evoseg.evolve.proposers.warm_start import OFFERED, WarmStart, WarmStartCandidate
from evoseg.evolve.solve import solve
from evoseg.evolve.strategy import SUMMED_BESIDE, Strategy, usual_proposers
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.library.collection import Popularity, bundled_tasks, bundled_transfers
from evoseg.library.description import description_of
from evoseg.library.likeness import measure_norms
from evoseg.library.retrieval import ScaledPipeline, choose, scaled_pipelines
from evoseg.library.task import SolvedTask, are_related
from evoseg.pipeline import Pipeline

TASKS = tuple(task for task in bundled_tasks() if task.output is Kind.MASK)
NORMS = measure_norms(bundled_tasks())
RESAMPLES = 2000
HURT = 0.02
"""Loss of test score from which a dataset counts as hurt."""


class CpuClock(Clock):
    """A clock that shows the CPU time of this process."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._begun = process_time()

    @property
    def seconds(self) -> float:
        """CPU time since the start, s."""
        return process_time() - self._begun


class Unraced(WarmStart):
    """Begins with all offered pipelines that there is time for, whatever they score."""

    def race(self, evaluator_on: Any, pixels: Mapping[int, int], *others: Any) -> tuple[int, int]:
        """Let all of them win."""
        self._budget_s *= 2
        self.winners = self._affordable(self._offered, 2 * sum(pixels.values()))
        return 0, 0


class UnracedStrategy(Strategy):
    """Beside whole pipelines, a generation has fewer classic recipes."""

    def proposers(self, vocabulary: Vocabulary, stats: ImageStats, output: Kind) -> list[Share]:
        """Return twelve recipes, then the pipelines."""
        assert self.warm is not None
        (classics, *usual) = usual_proposers(vocabulary, stats, output, summed=SUMMED_BESIDE, known=self.warm.planes)
        return [Share(classics.proposer, 12), Share(self.warm, OFFERED), *usual]


Offer = Callable[[SolvedTask, list[ScaledPipeline], Popularity], list[ScaledPipeline]]


def none(target: SolvedTask, pool: list[ScaledPipeline], popularity: Popularity) -> list[ScaledPipeline]:
    """Offer nothing."""
    return []


def popular(target: SolvedTask, pool: list[ScaledPipeline], popularity: Popularity) -> list[ScaledPipeline]:
    """Offer the pipelines that did best elsewhere, one per task."""
    ranked = sorted(pool, key=lambda c: -popularity.of(c.use))
    return list({c.task.id: c for c in reversed(ranked)}.values())[::-1]


def ours(target: SolvedTask, pool: list[ScaledPipeline], popularity: Popularity) -> list[ScaledPipeline]:
    """Offer what a search is offered."""
    return choose(popularity, NORMS, description_of(target), pool, OFFERED)


@dataclass(frozen=True)
class Arm:
    """What is offered to a search, and what it does with that."""

    offer: Offer
    warm: type[WarmStart] = WarmStart
    strategy: type[Strategy] = Strategy


ARMS = {
    "cold": Arm(none), "warm": Arm(ours), "popular": Arm(popular), "unraced": Arm(ours, Unraced, UnracedStrategy)
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One row of the study."""

    dataset: str
    arm: str
    seed: int
    budget: Budget

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What tells it from others."""
        return self.dataset, self.arm, self.seed, self.label

    @property
    def label(self) -> str:
        """The budget in words."""
        seconds, evaluations = self.budget.seconds, self.budget.evaluations
        return f"{evaluations} evaluations" if seconds is None else f"{seconds:g} s"


def offers_of(arm: Arm, target: SolvedTask) -> list[WarmStartCandidate]:
    """Return what tasks of other families offer."""
    others = {t.id: t for t in TASKS if not are_related(t, target)}
    rows = [r for r in bundled_transfers() if r.source in others and r.target in others]
    pool = scaled_pipelines(description_of(target), others.values())
    chosen = arm.offer(target, pool, Popularity(rows, others))
    return [
        WarmStartCandidate(c.task.id, c.task.name, c.stored.role, c.stored.pipeline.form, c.scale, c.program)
        for c in chosen
    ]


def splits_of(dataset: Dataset, *, held_out: bool) -> Splits:
    """Return the splits; `held_out` puts every third of the other images in place of the test images."""
    splits = split(dataset)
    if not held_out:
        return splits
    test = sorted((*splits.search, *splits.selection))[1::3]
    search, selection = (tuple(s for s in stems if s not in test) for stems in (splits.search, splits.selection))
    return Splits(search, selection, tuple(test))


def run(trial: Trial, root: Path, workers: int, *, held_out: bool) -> Row:
    """Search, and return the row."""
    arm, target = ARMS[trial.arm], next(t for t in TASKS if t.name == trial.dataset)
    dataset, task = Dataset(root / trial.dataset), BinaryTask("iou")
    splits = splits_of(dataset, held_out=held_out)
    warm = arm.warm(offers_of(arm, target), trial.budget.seconds)
    leaders: list[tuple[float, int, Pipeline]] = []
    clock = Clock(trial.budget) if workers else CpuClock(trial.budget)

    def watch(progress: Progress) -> None:
        if progress.best and (not leaders or leaders[-1][2] != progress.best[0].pipeline):
            leaders.append((round(clock.seconds, 2), progress.evaluations, progress.best[0].pipeline))

    settings = SearchSettings(trial.budget, seed=trial.seed, workers=workers)
    with tempfile.TemporaryDirectory() as folder:
        found = solve(
            dataset, splits, task, settings, Path(folder), clock, on_progress=watch, strategy=arm.strategy(warm)
        )
    tests = _tested(dataset, splits, task, {leader for _, _, leader in leaders})
    champion = found.readable.pipeline
    return {
        "dataset": trial.dataset,
        "arm": trial.arm,
        "seed": trial.seed,
        "budget": trial.label,
        "evaluations": found.progress.evaluations,
        "offered": len(warm.scores),
        "winners": len(warm.winners),
        "search": round(found.readable.finalist.scored.score, 4),
        "test": round(float(task.score(found.test[champion]).mean()), 4),
        "leader": [[seconds, evaluations, tests[leader]] for seconds, evaluations, leader in leaders],
    }


def _tested(dataset: Dataset, splits: Splits, task: BinaryTask, programs: Iterable[Pipeline]) -> dict[Pipeline, float]:
    totals = dict.fromkeys(programs, 0.0)
    for sample in map(dataset.load, splits.test):
        truth = task.target(task.arrays(sample))
        for program in totals:
            totals[program] += float(task.score(task.judge(program(sample.image), truth))) / len(splits.test)
    return {program: round(total, 4) for program, total in totals.items()}


def table(rows: Iterable[Row]) -> str:
    """Return, per budget and arm, test scores less those of the cold searches, and when cold's score was reached.

    Scores are means over the seeds, compared dataset by dataset; in brackets, 95 % bootstrap intervals over datasets.
    """
    by_trial: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_trial[row["budget"], row["arm"]][row["dataset"]].append(row)
    heads = ["budget", "arm", "datasets", "runs", "search", "test", "minus cold", "hurt", "share to cold's score"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for (budget, arm), of_arm in by_trial.items():
        cold = by_trial.get((budget, "cold"), {})
        shared = sorted(set(of_arm) & set(cold))
        less = np.array([_mean(of_arm[d], "test") - _mean(cold[d], "test") for d in shared])
        cells = [budget, arm, str(len(of_arm)), str(sum(map(len, of_arm.values())))]
        cells += [f"{statistics.mean(_mean(of, name) for of in of_arm.values()):.3f}" for name in ("search", "test")]
        if arm == "cold" or not shared:
            cells += ["", ""]
        else:
            low, high = _interval(less)
            cells += [f"{less.mean():+.3f} ({low:+.3f} to {high:+.3f})", f"{(less < -HURT).sum()} of {len(less)}"]
        cells.append(f"{statistics.median(_share(of_arm[d], cold[d]) for d in shared):.2f}" if shared else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(statistics.mean(row[name] for row in rows))


def _interval(values: np.ndarray) -> tuple[float, float]:
    draws = stream(0, "warm", "bootstrap").integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _share(rows: Sequence[Row], cold: Sequence[Row]) -> float:
    """Return after which share of the cold searches' effort the leader had the mean score of their last leaders.

    Effort is time, or evaluations where these are the budget; the median over the seeds. A search that never gets
    there counts as infinitely long.
    """
    at = 0 if cold[0]["budget"].endswith(" s") else 1
    goal = statistics.mean(row["leader"][-1][2] for row in cold)
    whole = float(str(cold[0]["budget"]).split()[0])
    reached = [min((point[at] for point in row["leader"] if point[2] >= goal), default=float("inf")) for row in rows]
    return float(statistics.median(reached) / whole)


def main() -> int:
    """Run what is asked for and not there yet."""
    ask = options(__doc__, 0, [task.name for task in TASKS])
    ask.add_argument("--arms", default=",".join(ARMS))
    ask.add_argument("--seconds", default="20,60")
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--held-out", action="store_true")
    asked = asked_for(ask, table)
    budgets = [Budget(seconds=float(seconds)) for seconds in asked.seconds.split(",")]
    if asked.evaluations:
        budgets = [Budget(evaluations=asked.evaluations)]
    arms = arms_of(ask, asked.arms, ARMS)
    done = {(r["dataset"], r["arm"], r["seed"], r["budget"]) for r in rows_in(asked.out)}
    # Seeds outermost: a study that is cut short has every arm.
    trials = [
        trial
        for seed in range(asked.seeds)
        for dataset in asked.only.split(",")
        for budget in budgets
        for arm in arms
        if (trial := Trial(dataset, arm, seed, budget)).key not in done
    ]
    for n, trial in enumerate(trials, 1):
        row = run(trial, asked.root, asked.workers, held_out=asked.held_out)
        add_row(asked.out, row)
        print(f"{n}/{len(trials)} {' '.join(map(str, trial.key))}: {row['test']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
