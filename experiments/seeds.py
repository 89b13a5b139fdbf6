#!/usr/bin/env python3
"""Solve every binary dataset of a folder and keep the tasks in the seed library.

    python experiments/seeds.py ../shared/datasets --evaluations 300 [--out pipelines_db] [--only a,b] [--continue]
    python experiments/seeds.py ../shared/datasets --describe      measure what is there anew, and search nothing

A dataset's test images take no part: neither in the search, nor in what is measured and kept. A dataset of instances
counts as the foreground of its instances; one without masks is left out.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from evoseg import __version__
from evoseg.data.dataset import Dataset
from evoseg.data.splits import Splits, split
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.solve import SearchSettings, Solution, solve
from evoseg.library.describing import describe
from evoseg.library.embedding import embedder
from evoseg.library.files import read_file, write_task
from evoseg.library.remembering import solved_task
from evoseg.library.task import SolvedTask

METRIC = "iou"


def solved(folder: Path, evaluations: int, seed: int) -> SolvedTask | None:
    """Solve one dataset without its test images."""
    dataset = Dataset(folder)
    splits = replace(split(dataset), test=())
    budget = Budget(evaluations=evaluations)
    settings = SearchSettings(budget, seed=seed, workers=0)
    with tempfile.TemporaryDirectory() as packs:
        found = solve(dataset, splits, BinaryTask(METRIC), settings, Path(packs), Clock(budget))
    return kept(dataset, splits, found, f"evoseg {__version__}, seed library: {evaluations} evaluations, seed {seed}")


def kept(dataset: Dataset, splits: Splits, found: Solution, origin: str) -> SolvedTask | None:
    """Return what the seed library keeps of a search."""
    description = describe(dataset, splits.search, embedder())
    return solved_task(dataset, found, description, METRIC, dataset.root.resolve().name, origin)


def described(folder: Path, task: SolvedTask) -> SolvedTask:
    """Return a task with its images and masks measured anew, as after a change of descriptors."""
    dataset = Dataset(folder)
    found = describe(dataset, split(dataset).search, embedder())
    return replace(task, statistics=found.statistics, vectors=found.vectors)


def main() -> int:
    """Solve what is asked for and not there yet."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("root", type=Path, help="the folder that holds the datasets")
    ask.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "pipelines_db")
    ask.add_argument("--evaluations", type=int, default=300)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--only", default="")
    ask.add_argument("--continue", dest="go_on", action="store_true")
    ask.add_argument("--describe", action="store_true")
    asked = ask.parse_args()
    only = asked.only.split(",") if asked.only else []
    for folder in sorted(p for p in asked.root.iterdir() if (p / "masks").is_dir()):
        path = asked.out / f"{folder.name}.yaml"
        if (only and folder.name not in only) or (asked.go_on and path.exists()):
            continue
        if asked.describe:
            if path.exists():
                write_task(described(folder, read_file(path)), path)
            continue
        began = time.monotonic()
        task = solved(folder, asked.evaluations, asked.seed)
        if task is None:
            print(f"{folder.name}: nothing good enough was found", file=sys.stderr)
            continue
        write_task(task, path)
        words = ", ".join(f"{p.role} {p.score:.3f} ({len(p.pipeline)} steps)" for p in task.pipelines)
        print(f"{folder.name}: {words}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
