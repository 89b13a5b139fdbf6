#!/usr/bin/env python3
"""How long a large library takes to open and to search: python benchmarks/library.py [--tasks 100000]."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng

from evoseg.library.collection import Library, bundled_tasks
from evoseg.library.description import Description
from evoseg.library.descriptors import Descriptor, Vector
from evoseg.library.store import LibraryStore, TaskRow
from evoseg.library.task import STATISTICS, all_vectors
from evoseg.library.task_files import task_document

REPEATS = 20
AT_ONCE = 5000
FOUND = 5


def invented(n: int) -> Iterator[TaskRow]:
    """Yield tasks with drawn statistics and vectors, each with the pipelines of a bundled task."""
    rng, bundled = default_rng(0), bundled_tasks()
    documents = [task_document(task) | {"vectors": {}, "seen": []} for task in bundled]
    for i in range(n):
        found = described(rng)
        document = documents[i % len(bundled)] | {"name": f"task_{i}", "statistics": found.statistics}
        vectors = all_vectors(found.statistics, found.vectors).items()
        packed = {name: np.asarray(vector, "<f4").tobytes() for name, vector in vectors}
        yield TaskRow(f"{i:024x}", f"task_{i}", json.dumps(document), "invented", packed)


def described(rng: Generator) -> Description:
    """Draw a task's statistics, and vectors near those of a bundled one."""
    numbers = {name: drawn(descriptor, rng) for name, descriptor in STATISTICS.items()}
    like = bundled_tasks()[rng.integers(len(bundled_tasks()))].vectors
    return Description(numbers, {name: moved(vector, rng) for name, vector in like.items()}, 3)


def moved(vector: Vector, rng: Generator) -> Vector:
    """Return a unit vector near another."""
    found = vector + rng.standard_normal(len(vector), np.float32) / np.float32(2 * len(vector) ** 0.5)
    return np.asarray(found / np.linalg.norm(found), np.float32)


def drawn(descriptor: Descriptor, rng: Generator) -> dict[str, float]:
    """Draw the features of a descriptor."""
    values = {f: f.centre + f.scale * float(rng.normal()) for f in descriptor.features}
    return {f.name: float(f"{2**v if f.log else v:.4g}") for f, v in values.items()}


def main() -> None:
    """Make a library, and print how long things take with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    n, rng = parser.parse_args().tasks, default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.db"
        store = LibraryStore(path)
        tasks = invented(n)
        while rows := list(islice(tasks, AT_ONCE)):
            store.add(rows)
        store.close()
        times = []
        queries = [described(rng) for _ in range(REPEATS + 1)]
        began = time.process_time()
        with Library(path) as library:
            for query in queries:
                found = library.most_alike(query.described)
                library.tasks(i for i, _ in found[:FOUND])
                times.append(time.process_time() - began)
                began = time.process_time()
        print(f"open {n} tasks, and find {FOUND} similar ones: {times[0]:.2f} s of CPU time")
        print(f"find {FOUND} similar ones again: {1000 * float(np.median(times[1:])):.1f} ms")


if __name__ == "__main__":
    main()
