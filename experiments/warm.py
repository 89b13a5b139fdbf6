#!/usr/bin/env python3
"""Study (b): what a warm start saves. Equal budgets, leave-one-family-out, the library's evaluations counted.

    python experiments/warm.py ../shared/datasets --out rows.jsonl [--continue] [--only a,b] [--seeds 5]
        [--arms cold,random,popular,resnet,ours5,ours] [--evaluations 400] [--weights study.safetensors]
    python experiments/warm.py --table rows.jsonl

With `--weights`, learned vectors are made anew with these weights for targets and sources (kept in a file beside
`--out`); else those of the seed library serve, whose weights have seen some of the datasets.

One row per dataset, arm and seed. `curve` is the best search score after so many full evaluations, `leader` the test
score of the program that leads after so many, and `test` that of the champion that a search of each budget in `AT`
ends with. Test scores choose nothing.
"""

import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from study import add_row, arms_of, asked_for, options, rows_in, trials_in  # beside this file
from study_vectors import described_by

from evoseg.base.kinds import Kind
from evoseg.base.streams import stream
from evoseg.data.dataset import Dataset
from evoseg.data.splits import Splits, split
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.method import USUAL
from evoseg.evolve.search import Progress
from evoseg.evolve.solve import SearchSettings, Solution, solve
from evoseg.library.advice import Adviser, Candidate, problem_of, related
from evoseg.library.retrieval import candidates_for, ranked
from evoseg.library.seeds import seed_ledger, seed_tasks
from evoseg.library.task import SolvedTask
from evoseg.library.warm import WHOLE, Offer, WarmStart, with_warm_start
from evoseg.pipeline import Pipeline

DATASETS = (
    "carotid_ultrasound",
    "colon_polyps",
    "crackforest",
    "epfl_roads",
    "glas_glands",
    "idrid_exudates",
    "leather_defects",
    "magnetic_tile_crack",
    "tile_defects",
    "woven_fabric",
)
K = 5
AT = (100, 400)
"""Budgets in full evaluations, retrieved programs counted."""
HURT = 0.02
DRAWS = 2000

Arm = Callable[[SolvedTask, list[Candidate], Adviser, int], list[Candidate]]


def cold(target: SolvedTask, pool: list[Candidate], adviser: Adviser, seed: int) -> list[Candidate]:
    """Offer nothing."""
    return []


def at_random(target: SolvedTask, pool: list[Candidate], adviser: Adviser, seed: int) -> list[Candidate]:
    """Offer any K tasks' best pipelines."""
    best = [c for c in pool if c.stored.role == "best" and c.scale == 1.0]
    return [best[i] for i in stream(seed, "warm", target.name).permutation(len(best))[:K]]


def popular(target: SolvedTask, pool: list[Candidate], adviser: Adviser, seed: int) -> list[Candidate]:
    """Offer the K pipelines that did best elsewhere."""
    best = [c for c in pool if c.stored.role == "best" and c.scale == 1.0]
    return sorted(best, key=lambda c: -adviser.popularity(c.key))[:K]


def learned(target: SolvedTask, pool: list[Candidate], adviser: Adviser, seed: int) -> list[Candidate]:
    """Offer the tasks' best pipelines that are nearest by learned descriptors, if the seeds have any."""
    names = sorted(target.vectors)
    best = [c for c in pool if c.stored.role == "best" and c.scale == 1.0 and names and names[0] in c.task.vectors]
    return sorted(best, key=lambda c: -float(target.vectors[names[0]] @ c.task.vectors[names[0]]))[:K]


def ours(target: SolvedTask, pool: list[Candidate], adviser: Adviser, seed: int) -> list[Candidate]:
    """Offer what a search is offered."""
    return [c for c, _ in ranked(adviser, problem_of(target), pool, WHOLE)]


def ours5(target: SolvedTask, pool: list[Candidate], adviser: Adviser, seed: int) -> list[Candidate]:
    """Offer only the K most promising of what a search is offered."""
    return [c for c, _ in ranked(adviser, problem_of(target), pool, K)]


ARMS: dict[str, Arm] = {
    "cold": cold, "random": at_random, "popular": popular, "resnet": learned, "ours5": ours5, "ours": ours
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One row of the study."""

    root: Path
    dataset: str
    arm: str
    seed: int
    evaluations: int


def run(trial: Trial, tasks: Sequence[SolvedTask]) -> dict[str, Any]:
    """Search with the budgets up to the one asked for, and return the row."""
    target = next(t for t in tasks if t.name == trial.dataset)
    strangers = {t.id: t for t in tasks if not related(t, target)}
    rows = [r for r in seed_ledger() if r.source in strangers and r.target in strangers]
    pool = candidates_for(problem_of(target), strangers.values())
    chosen = ARMS[trial.arm](target, pool, Adviser(rows, strangers), trial.seed)
    offers = [Offer(c.task.id, c.task.name, c.stored.role, c.stored.pipeline.form, c.scale, c.program) for c in chosen]
    budgets = [at for at in AT if at < trial.evaluations] + [trial.evaluations]
    found = {at: searched(trial, offers, at) for at in budgets}
    last, _, leaders = found[trial.evaluations]
    return {
        "dataset": trial.dataset,
        "arm": trial.arm,
        "seed": trial.seed,
        "evaluations": trial.evaluations,
        "descriptors": sorted(target.vectors),
        "offered": [offer.name for offer in offers],
        "curve": [[at, round(score, 4)] for at, _, score in last.progress.history],
        "leader": leaders,
        "test": {str(at): round(test, 4) for at, (_, test, _) in found.items()},
    }


def searched(trial: Trial, offers: Sequence[Offer], evaluations: int) -> tuple[Solution, float, list[list[float]]]:
    """Return a search, its champion's mean test score, and [evaluations, leader's test score] by generation."""
    budget = Budget(evaluations=evaluations)
    dataset, task = Dataset(trial.root / trial.dataset), BinaryTask("iou")
    method = replace(USUAL, proposers=with_warm_start(WarmStart(offers)))
    settings = SearchSettings(budget, seed=trial.seed, workers=0)
    splits, leaders = split(dataset), dict[int, Pipeline]()

    def watch(progress: Progress) -> None:
        if progress.best:
            leaders[progress.evaluations] = progress.best[0].pipeline

    with tempfile.TemporaryDirectory() as folder:
        found = solve(dataset, splits, task, settings, Path(folder), Clock(budget), watch, method=method)
    tests = _tested(dataset, splits, task, set(leaders.values()) if evaluations == trial.evaluations else set())
    curve = [[at, tests[leader]] for at, leader in leaders.items() if leader in tests]
    return found, float(task.score(found.test[found.champion.scored.pipeline]).mean()), curve


def _tested(
    dataset: Dataset, splits: Splits, task: BinaryTask, programs: Collection[Pipeline]
) -> dict[Pipeline, float]:
    totals = dict.fromkeys(programs, 0.0)
    for sample in map(dataset.load, splits.test) if programs else ():
        truth = task.truth(task.item(sample))
        for program in programs:
            totals[program] += float(task.score(task.judge(program(sample.image), truth))) / len(splits.test)
    return {program: round(total, 4) for program, total in totals.items()}


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return, per arm, evaluations to what cold reaches, test scores by budget less cold's, and what is hurt."""
    rows = list(rows)
    budgets = sorted({int(at) for r in rows for at in r["test"]})
    datasets = sorted({r["dataset"] for r in rows})
    counts = Counter(r["arm"] for r in rows)
    heads = [f"test at {at} | less cold" for at in budgets]
    heads = ["offered", "runs", "to cold's search score", "leader to cold's test", *heads, "hurt"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * (5 + 2 * len(budgets)) + "|"]
    for arm in filter(counts.get, ARMS):
        needed = [_needed(rows, datasets, arm, curve) for curve in ("curve", "leader")]
        cells = [arm, str(counts[arm]), *(f"{n:.0f}" for n in needed)]
        for at in budgets:
            tests = np.array(_tests(rows, datasets, arm, str(at)))
            less = tests - _tests(rows, datasets, "cold", str(at))
            spread = f" +- {less.std(ddof=1) / len(less) ** 0.5:.3f}" if len(less) > 1 else ""
            cells += [f"{tests.mean():.3f}", f"{less.mean():+.3f}{spread}"]
        cells.append(f"{(less < -HURT).sum()} of {len(less)}")
        lines.append(f"| {' | '.join(cells)} |")
    by_chance = [_hurt_by_chance([r["test"][str(budgets[-1])] for r in _of(rows, d, "cold")]) for d in datasets]
    return "\n".join([*lines, f"cold against itself, seeds drawn anew: {statistics.mean(by_chance):.0%} hurt"])


def _hurt_by_chance(tests: Sequence[float]) -> float:
    """Return how often the median of seeds drawn with replacement is hurt, compared with another such median."""
    draws = stream(0, "warm", "chance").choice(tests, (2, DRAWS, len(tests)))
    one, other = np.median(draws, axis=2)
    return float((one < other - HURT).mean())


def _needed(rows: Sequence[dict[str, Any]], datasets: Sequence[str], arm: str, curve: str) -> float:
    """Return the evaluations after which a curve reached cold's median last value, the median over datasets."""
    goals = {d: _middle(r[curve][-1][1] for r in _of(rows, d, "cold")) for d in datasets}
    return _middle(_middle(_reached(r, curve, goals[d]) for r in _of(rows, d, arm)) for d in datasets)


def _reached(row: dict[str, Any], curve: str, goal: float) -> float:
    """Return after how many evaluations a score was reached; one more than there were if it never was."""
    return float(next((at for at, score in row[curve] if score >= goal), row["evaluations"] + 1))


def _tests(rows: Sequence[dict[str, Any]], datasets: Sequence[str], arm: str, at: str) -> list[float]:
    return [_middle(r["test"].get(at, 0.0) for r in _of(rows, d, arm)) for d in datasets]


def _of(rows: Sequence[dict[str, Any]], dataset: str, arm: str) -> list[dict[str, Any]]:
    return [r for r in rows if r["dataset"] == dataset and r["arm"] == arm]


def _middle(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0


def main() -> int:
    """Run what is asked for and not there yet."""
    ask = options(__doc__, AT[-1], DATASETS)
    ask.add_argument("--arms", default=",".join(ARMS))
    ask.add_argument("--weights", type=Path)
    asked = asked_for(ask, table)
    arms, done = arms_of(ask, asked.arms, ARMS), trials_in(asked.out)
    tasks = tuple(task for task in seed_tasks() if task.output is Kind.MASK)
    if asked.weights:
        tasks = described_by(tasks, asked.weights, asked.root, asked.out)
    there = rows_in(asked.out)
    if there and there[0].get("descriptors") != sorted(tasks[0].vectors):
        ask.error(f"{asked.out} was made with other learned vectors; give the same --weights, or name another file")
    # Seeds outermost: a study that is cut short has every arm.
    trials = [
        Trial(asked.root, dataset, arm, seed, asked.evaluations)
        for seed in range(asked.seeds)
        for dataset in asked.only.split(",")
        for arm in arms
        if (dataset, arm, seed, asked.evaluations) not in done
    ]
    for n, trial in enumerate(trials, 1):
        row = run(trial, tasks)
        add_row(asked.out, row)
        print(f"{n}/{len(trials)} {row['dataset']} {row['arm']} {row['seed']}: {row['test']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
