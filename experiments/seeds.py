#!/usr/bin/env python3
"""Solve every dataset of a folder and keep the tasks in the seed library.

    python experiments/seeds.py DATASETS --evaluations 300 [--out pipelines_db] [--only a,b] [--continue]
    python experiments/seeds.py DATASETS --describe      measure what is there anew, and search nothing
    python experiments/seeds.py DATASETS --pictures      cut the pictures of all datasets, and search nothing
    python experiments/seeds.py DATASETS --ledger build/study
        try all pipelines of the library on all datasets, as `evoseg library study` does, in that folder, which may hold
        a part of it already; and write pipelines_db/ledger.csv

A dataset's test images take no part: neither in the search, nor in what is measured and kept. Whatever has masks is
solved as a task of foreground, in DATASET.yaml; one that asks for objects or for points also as that, in
DATASET_instances.yaml or DATASET_points.yaml. Where the licence lets us hand out parts of the images, pictures/DATASET
gets three crops of training images, 256 px at their own scale.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evoseg import __version__
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.datasets.survey import infer_task as asked_by
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.solve import solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.object_tasks import InstanceTask, PointTask
from evoseg.library.collection import bundled_folder, bundled_tasks
from evoseg.library.description import describe
from evoseg.library.embedders import embedders
from evoseg.library.exchange import make_solved_task
from evoseg.library.pictures import FOLDER, make_pictures, save_pictures
from evoseg.library.study import run_study, transfer_results
from evoseg.library.task import SolvedTask
from evoseg.library.task_files import TRANSFER_FILE, read_file, write_task, write_transfers

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
    description = describe(dataset, splits.search, embedders())
    origin = f"evoseg {__version__}, seed library: {evaluations} evaluations, seed {seed}"
    return make_solved_task(dataset, found, description, TASKS[task].metric, name_of(folder, task), origin)


def described(folder: Path, task: SolvedTask) -> SolvedTask:
    """Return a task with its images and masks measured anew, as after a change of descriptors."""
    dataset = Dataset(folder)
    found = describe(dataset, split(dataset).search, embedders())
    return replace(task, statistics=found.statistics, vectors=found.vectors)


_FREE = re.compile(r"(CC0|CC[ -]BY|MIT|Apache)(-?[ ]?\d(\.\d)?)?( licen[cs]e)?( \((?P<remark>[^)]*)\))?", re.IGNORECASE)
_LIMITS = re.compile(r"\b(NC|ND|SA|non-?commercial|only|research|terms|not)\b", re.IGNORECASE)


def may_distribute(license: str) -> bool:
    """Return whether a licence, as a card words it, lets everyone distribute parts of the images.

    It must be CC0, CC BY, MIT or Apache and nothing else; a remark in brackets must not limit it.
    """
    found = _FREE.fullmatch(license.strip())
    return found is not None and not _LIMITS.search(found["remark"] or "")


def store_pictures(folder: Path, out: Path) -> None:
    """Write the pictures of a dataset's training images, if its licence allows that."""
    dataset = Dataset(folder)
    if not may_distribute(dataset.card.license):
        return
    output = TASKS[asked_by(dataset.survey, dataset.card).task].output
    pictures = make_pictures(dataset, split(dataset).search, output, native=True)
    save_pictures(pictures, out / FOLDER / folder.resolve().name)


def write_ledger(folders: Sequence[Path], study: Path) -> None:
    """Measure how the library's pipelines transfer between its own datasets, and write the ledger."""
    known = {task.name for task in bundled_tasks() if task.output is Kind.MASK}
    found = run_study([folder for folder in folders if folder.name in known], study, n_images=10, library="none")
    write_transfers(transfer_results(found), bundled_folder() / TRANSFER_FILE)


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
    ask.add_argument("--pictures", action="store_true")
    ask.add_argument("--ledger", type=Path)
    asked = ask.parse_args()
    only = asked.only.split(",") if asked.only else []
    folders = [path for path in sorted(asked.root.iterdir()) if not only or path.name in only]
    if asked.ledger:
        write_ledger(folders, asked.ledger)
        return 0
    for folder in folders if asked.pictures or not asked.describe else ():
        if tasks_of(folder):
            store_pictures(folder, asked.out)
    if asked.pictures:
        return 0
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
