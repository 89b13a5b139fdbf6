#!/usr/bin/env python3
"""Solve every dataset of a folder and keep the tasks in the seed library.

    python experiments/seeds.py ../shared/datasets --evaluations 300 [--out pipelines_db] [--only a,b] [--continue]
    python experiments/seeds.py ../shared/datasets --describe      measure what is there anew, and search nothing

A dataset's test images take no part: neither in the search, nor in what is measured and kept. Whatever has masks is
solved as a task of foreground, in DATASET.yaml; one that asks for objects or for points also as that, in
DATASET_instances.yaml or DATASET_points.yaml.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evoseg import __version__
from evoseg.data.asked import asked as asked_by
from evoseg.data.dataset import Dataset
from evoseg.data.splits import split
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.instances import InstanceTask
from evoseg.evolve.points import PointTask
from evoseg.evolve.solve import SearchSettings, solve
from evoseg.library.describing import describe
from evoseg.library.embedding import embedder
from evoseg.library.files import read_file, write_task
from evoseg.library.remembering import solved_task
from evoseg.library.task import SolvedTask

BINARY = "binary"
TASKS: Mapping[str, BinaryTask | InstanceTask | PointTask] = {
    BINARY: BinaryTask("iou"),
    "instances": InstanceTask("ap50"),
    "points": PointTask("f1"),
}


def tasks_of(folder: Path) -> list[str]:
    """Return what a dataset is solved as; nothing if the folder holds no truths."""
    if not any((folder / truths).is_dir() for truths in ("masks", "points")):
        return []
    dataset = Dataset(folder)
    asked = asked_by(dataset.survey, dataset.card).task
    return [task for task in TASKS if task == asked or (task == BINARY and (folder / "masks").is_dir())]


def name_of(folder: Path, task: str) -> str:
    """Return the name under which a dataset's task is kept."""
    name = folder.resolve().name
    return name if task == BINARY else f"{name}_{task}"


def solved(folder: Path, evaluations: int, seed: int, task: str = BINARY) -> SolvedTask | None:
    """Solve one dataset without its test images."""
    dataset = Dataset(folder)
    splits = replace(split(dataset), test=())
    budget = Budget(evaluations=evaluations)
    settings = SearchSettings(budget, seed=seed, workers=0)
    with tempfile.TemporaryDirectory() as packs:
        found = solve(dataset, splits, TASKS[task], settings, Path(packs), Clock(budget))
    description = describe(dataset, splits.search, embedder())
    origin = f"evoseg {__version__}, seed library: {evaluations} evaluations, seed {seed}"
    return solved_task(dataset, found, description, TASKS[task].metric, name_of(folder, task), origin)


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
    folders = [path for path in sorted(asked.root.iterdir()) if not only or path.name in only]
    for folder, of in ((path, of) for path in folders for of in tasks_of(path)):
        name = name_of(folder, of)
        path = asked.out / f"{name}.yaml"
        if asked.go_on and path.exists():
            continue
        if asked.describe:
            if path.exists():
                write_task(described(folder, read_file(path)), path)
            continue
        began = time.monotonic()
        task = solved(folder, asked.evaluations, asked.seed, of)
        if task is None:
            print(f"{name}: nothing was found that looks at the image", file=sys.stderr)
            continue
        write_task(task, path)
        words = ", ".join(f"{p.role} {p.score:.3f} ({len(p.pipeline)} steps)" for p in task.pipelines)
        print(f"{name}: {words}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
