#!/usr/bin/env python3
"""Study (a): every binary pipeline of the seed library on every other dataset, as it is and refitted.

    python experiments/transfer.py ../shared/datasets --out rows.jsonl [--continue] [--images 5] [--only a,b]
    python experiments/transfer.py --ledger rows.jsonl        write pipelines_db/ledger.csv
    python experiments/transfer.py --table                    the tables of docs/library.md, from that ledger
    python experiments/transfer.py ../shared/datasets --table --weights study.safetensors --out rows.jsonl
        the same with learned vectors by other weights (kept in a file beside rows.jsonl)

One row per target, source, pipeline and scale. All scores are on search images: no test image is opened. What is
refitted is what a warm start refits, curves and thresholds, by the search's own evaluator, so a row is what one
evaluation of a search gives.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study_vectors import described_by  # beside this file
from transfer_ideas import as_a_set, in_turn, near_shares  # beside this file
from transfer_tables import tables  # beside this file

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Dataset
from evoseg.data.pack import write_pack
from evoseg.data.splits import split
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.evaluator import Evaluator, evenly_spaced
from evoseg.evolve.jobs import InProcess
from evoseg.evolve.planes import Planes
from evoseg.evolve.ports import Scored
from evoseg.library.ledger import LEDGER, Reuse, write_ledger
from evoseg.library.offers import candidates
from evoseg.library.seeds import seed_folder, seed_ledger, seed_tasks
from evoseg.library.task import SolvedTask
from evoseg.pipeline import Pipeline

CACHE = 1 << 29


def rows_of(
    folder: Path, target: SolvedTask, sources: Sequence[SolvedTask], n_images: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one target, those of a source together: a study that was cut short has whole pairs only."""
    dataset, task = Dataset(folder), BinaryTask(target.metric)
    stems = split(dataset).search
    stems = tuple(stems[i] for i in evenly_spaced(len(stems), n_images))
    samples = [dataset.load(stem) for stem in stems]
    items = [
        {"image": s.image, "mask": np.asarray(s.mask)} | ({} if s.known is None else {"known": s.known})
        for s in samples
    ]
    with tempfile.TemporaryDirectory() as packs:
        pack = write_pack(Path(packs) / "target.pack", zip(stems, items, strict=True))
        sizes = {i: item["image"].shape[0] * item["image"].shape[1] for i, item in enumerate(pack.items)}
        evaluator = Evaluator(task, InProcess(task, pack.items, CACHE), sizes)
        planes = Planes(evaluator.probe)
        for source in sources:
            yield [
                {
                    "target": target.name,
                    "source": source.name,
                    "role": candidate.stored.role,
                    "scale": candidate.scale,
                    "form": candidate.stored.pipeline.form,
                    "n_images": len(stems),
                    **measured(evaluator, planes, task, candidate.program),
                }
                for candidate in candidates(source, target.thickness)
            ]


def measured(evaluator: Evaluator, planes: Planes, task: BinaryTask, program: Pipeline) -> dict[str, float]:
    """Return the mean score of a program as it is, and refitted: on all images, and each left out in turn."""
    (as_it_is,) = evaluator.judge([program])
    (refitted,) = evaluator.evaluate(planes.refitted([program]))
    found = {"retrieved": 0.0, "refitted": 0.0, "left_out": 0.0}
    if isinstance(as_it_is, np.ndarray):
        found["retrieved"] = float(task.score(as_it_is).mean())
    if isinstance(refitted, Scored):
        found |= {"refitted": refitted.score, "left_out": float(refitted.left_out.mean())}
    return {name: round(value, 4) for name, value in found.items()}


def ledger_of(rows: Sequence[dict[str, Any]], tasks: Sequence[SolvedTask]) -> list[Reuse]:
    """Return the rows between different tasks as a ledger."""
    ids = {task.name: task.id for task in tasks}
    return [
        Reuse(ids[r["source"]], ids[r["target"]], r["form"], r["scale"], r["retrieved"], r["refitted"])
        for r in rows
        if r["source"] in ids and r["target"] in ids
    ]


def rows_in(ledger: Iterable[Reuse], tasks: Iterable[SolvedTask]) -> list[dict[str, Any]]:
    """Return a ledger as rows of the study."""
    of = {task.id: task for task in tasks}
    role = {(task.id, p.pipeline.form): p.role for task in of.values() for p in task.pipelines}
    return [
        {
            "target": of[r.target].name,
            "source": of[r.source].name,
            "role": role[r.source, r.form],
            "scale": r.scale,
            "form": r.form,
            "retrieved": r.retrieved,
            "refitted": r.refitted,
        }
        for r in ledger
        if r.target in of and (r.source, r.form) in role
    ]


def main() -> int:
    """Measure what is asked for and not there yet, or write what was measured."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("root", type=Path, nargs="?", help="the folder that holds the datasets")
    ask.add_argument("--out", type=Path)
    ask.add_argument("--ledger", type=Path)
    ask.add_argument("--table", action="store_true")
    ask.add_argument("--weights", type=Path)
    ask.add_argument("--continue", dest="go_on", action="store_true")
    ask.add_argument("--images", type=int, default=5)
    ask.add_argument("--only", default="")
    asked = ask.parse_args()
    tasks = tuple(task for task in seed_tasks() if task.output is Kind.MASK)
    if asked.ledger:
        rows = [json.loads(line) for line in asked.ledger.read_text().splitlines()]
        write_ledger(ledger_of(rows, tasks), seed_folder() / LEDGER)
        return 0
    if (asked.root is None or asked.out is None) and (asked.weights or not asked.table):
        ask.error("give the folder of the datasets and --out FILE, or --ledger FILE, or --table")
    if asked.weights:
        tasks = described_by(tasks, asked.weights, asked.root, asked.out)
    if asked.table:
        ideas = {"as a set": as_a_set, "shares near by": near_shares, "in turn": in_turn}
        print(tables(rows_in(seed_ledger(), tasks), tasks, ideas))
        return 0
    if asked.out.exists() and not asked.go_on:
        ask.error(f"{asked.out} exists; add --continue to go on with it, or name another file")
    there = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    done = {(r["target"], r["source"]) for r in there}
    with asked.out.open("a") as out:
        for target in tasks:
            if asked.only and target.name not in asked.only.split(","):
                continue
            sources = [source for source in tasks if (target.name, source.name) not in done]
            began, n = time.monotonic(), 0
            for found in rows_of(asked.root / target.name, target, sources, asked.images) if sources else ():
                out.write("".join(json.dumps(row) + "\n" for row in found))
                out.flush()
                n += len(found)
            print(f"{target.name}: {n} rows in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
