#!/usr/bin/env python3
"""How long a large library takes to open, to search and to add to: python benchmarks/library.py [--tasks 100000]."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng

from evoseg.library.describing import Description
from evoseg.library.features import Descriptor
from evoseg.library.files import document_of
from evoseg.library.retrieval import retrieve
from evoseg.library.seeds import seed_tasks
from evoseg.library.shelf import Library
from evoseg.library.task import STATISTICS, SolvedTask
from evoseg.store.library import LibraryStore, TaskRow

REPEATS = 20
BATCH = 5000


def invented(n: int) -> list[TaskRow]:
    """Return tasks with drawn statistics and the pipelines of a seed task each."""
    rng = default_rng(0)
    seeds = seed_tasks()
    rows = []
    for i in range(n):
        seed = seeds[i % len(seeds)]
        numbers = {name: drawn(descriptor, rng) for name, descriptor in STATISTICS.items()}
        document = document_of(seed) | {"name": f"task_{i}", "statistics": numbers, "seen": []}
        vectors = {d.id: d.vector(numbers[name]) for name, d in STATISTICS.items()}
        packed = {name: np.asarray(vector, "<f4").tobytes() for name, vector in vectors.items()}
        rows.append(TaskRow(f"{i:024x}", f"task_{i}", json.dumps(document), "invented", packed))
    return rows


def drawn(descriptor: Descriptor, rng: np.random.Generator) -> dict[str, float]:
    """Draw the features of a descriptor."""
    values = {f: f.centre + f.scale * float(rng.normal()) for f in descriptor.features}
    return {f.name: float(f"{2**v if f.log else v:.4g}") for f, v in values.items()}


def median_ms(function: Callable[[], Any]) -> float:
    """Return the median time of a call, in ms."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        times.append((time.perf_counter() - began) * 1000)
    return float(np.median(times))


def main() -> None:
    """Make a library, and print how long things take with it."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--tasks", type=int, default=100_000)
    n = ask.parse_args().tasks
    rng = default_rng(1)

    def asked() -> Description:
        return Description({name: drawn(d, rng) for name, d in STATISTICS.items()}, {}, 3)

    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "library.db", Path(folder) / "index"
        store = LibraryStore(path)
        rows = invented(n)
        for start in range(0, n, BATCH):
            store.add(rows[start : start + BATCH])
        store.close()
        for words in ("without index files", "with index files"):
            began = time.perf_counter()
            library = Library(path, cache)
            library.ready(asked())
            print(f"open {n} tasks, {words}: {time.perf_counter() - began:.2f} s")
        print(f"find 5 similar tasks: {median_ms(lambda: retrieve(library, asked(), 5)):.1f} ms")
        before = {file: file.stat().st_mtime_ns for file in cache.rglob("*.index")}
        began = time.perf_counter()
        library.add([new(seed_tasks()[0])])
        library.ready(asked())
        print(f"add a task and open again: {time.perf_counter() - began:.2f} s")
        written = [file for file, changed in before.items() if file.stat().st_mtime_ns != changed]
        print(f"index files written for it: {len(written)} of {len(before)}")
        library.close()


def new(task: SolvedTask) -> SolvedTask:
    """Return a task that no library has seen."""
    return replace(task, name="new", hashes=("0" * 64,))


if __name__ == "__main__":
    main()
