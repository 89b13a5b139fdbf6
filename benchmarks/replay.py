"""Replay pipelines of a real search over all search images, at full scale, with and without the cache.

    python benchmarks/replay.py [DATASET]            time the committed programs; on a drawn dataset if none is given
    python benchmarks/replay.py DATASET --record 500 search this dataset first, and commit what it evaluated

The programs lie in `programs.txt`, in canonical form and in the order in which a search evaluated them, so that
neighbours share as much as they do in a search. One process, one thread, with the environment of a worker.
"""

import argparse
import os
import resource
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.evaluation.processes import KEEP_MEMORY, ONE_THREAD
from evoseg.evolve.ports import Failed, Item, Scored
from evoseg.evolve.solve import solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline, RevisionWarning, print_text, read_text
from evoseg.synthetic import draw_dataset

PROGRAMS = Path(__file__).with_name("programs.txt")
GENERATION_SIZE = 48
SHOWN = 15
MIB = 1 << 20


@dataclass
class Timing:
    """What one pass took."""

    seconds: float
    peak_bytes: int
    failed: int


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, help="a dataset's folder (default: drawn cracks)")
    parser.add_argument("--programs", type=Path, default=PROGRAMS)
    parser.add_argument("--most", type=int, default=500, help="programs to replay")
    parser.add_argument("--cache-mib", type=int, default=1024)
    parser.add_argument("--record", type=int, metavar="N", help="write the last N programs of a new search first")
    parser.add_argument("--evaluations", type=int, default=1500, help="of the search that is recorded")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="evoseg-replay-") as scratch:
        folder = asked.dataset or draw_dataset("cracks", Path(scratch) / "cracks", 16, (320, 480), seed=1)
        dataset = Dataset(folder)
        if asked.record:
            recorded = record(dataset, asked.evaluations, Path(scratch))[-asked.record :]
            asked.programs.write_text("\n".join(print_text(p) for p in recorded))
        replay(dataset, read_programs(asked.programs)[: asked.most], asked.cache_mib * MIB)


def replay(dataset: Dataset, programs: Sequence[Pipeline], cache_bytes: int) -> None:
    """Time the programs and print what was measured."""
    items = [_arrays(dataset, stem) for stem in split(dataset).search]
    megapixels = sum(_pixels(item) for item in items) / 1e6
    steps = sum(len(p) for p in programs) / len(programs)
    print(f"{dataset.title}: {len(items)} search images, {megapixels:.2f} Mpx")
    model = sum(p.cost for p in programs) / len(programs)
    print(f"{len(programs)} programs of {steps:.1f} steps, {model:.1f} ms/Mpx by the model\n")
    spent: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    # Without the cache first: a process's peak never falls.
    with stopwatch(spent):
        without = timed(programs, items, 0)
    with_cache = timed(programs, items, cache_bytes)
    print(f"{'':14}{'programs/s':>12}{'seconds':>10}{'peak MiB':>10}{'failed':>8}")
    for name, t in (("with cache", with_cache), ("without cache", without)):
        rate = len(programs) / t.seconds
        print(f"{name:14}{rate:12.1f}{t.seconds:10.2f}{t.peak_bytes / MIB:10.0f}{t.failed:8}")
    print(f"the cache makes it {without.seconds / with_cache.seconds:.2f} times as fast\n")
    print_shares(spent, without.seconds, megapixels / len(items))


def timed(programs: Sequence[Pipeline], items: Sequence[Item], cache_bytes: int) -> Timing:
    """Judge the programs, a generation at a time."""
    executor = InProcess(BinaryTask(), items, cache_bytes)
    evaluator = JobEvaluator(BinaryTask(), executor, {i: _pixels(item) for i, item in enumerate(items)})
    start = perf_counter()
    found = [
        f for i in range(0, len(programs), GENERATION_SIZE) for f in evaluator.judge(programs[i : i + GENERATION_SIZE])
    ]
    seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Timing(seconds, peak, sum(isinstance(f, Failed) for f in found))


@contextmanager
def stopwatch(spent: dict[str, list[float]]) -> Iterator[None]:
    """Add up calls and seconds of every operator."""
    run = Operator.run

    def timed_run(self: Operator, arrays: tuple[Any, ...], values: Any) -> Any:
        start = perf_counter()
        try:
            return run(self, arrays, values)
        finally:
            spent[self.name][0] += 1
            spent[self.name][1] += perf_counter() - start

    Operator.run = timed_run  # type: ignore[method-assign]
    try:
        yield
    finally:
        Operator.run = run  # type: ignore[method-assign]


def print_shares(spent: dict[str, list[float]], seconds: float, megapixels_each: float) -> None:
    """Print the operators that took most of the time without the cache."""
    print(f"{'operator':20}{'calls':>8}{'share':>8}{'ms/Mpx':>9}")
    ranked = sorted(spent.items(), key=lambda entry: -entry[1][1])
    for name, (calls, took) in ranked[:SHOWN]:
        print(f"{name:20}{calls:8.0f}{took / seconds:8.1%}{took * 1e3 / calls / megapixels_each:9.2f}")
    rest = sum(took for _, (_, took) in ranked[SHOWN:])
    print(f"{f'{len(ranked[SHOWN:])} others':20}{'':8}{rest / seconds:8.1%}")
    print(f"{'not in operators':20}{'':8}{1 - sum(took for _, took in spent.values()) / seconds:8.1%}")


def record(dataset: Dataset, evaluations: int, folder: Path) -> list[Pipeline]:
    """Search, and return every program that was scored, fitted, in the order of scoring."""
    scored: list[Pipeline] = []
    evaluate = JobEvaluator.evaluate

    def noting(self: JobEvaluator, *arguments: Any) -> Any:
        evaluations = evaluate(self, *arguments)
        scored.extend(v.pipeline for v in evaluations if isinstance(v, Scored))
        return evaluations

    JobEvaluator.evaluate = noting  # type: ignore[method-assign]
    try:
        budget = Budget(evaluations=evaluations)
        solve(dataset, split(dataset), BinaryTask(), SearchSettings(budget), folder, Clock(budget))
    finally:
        JobEvaluator.evaluate = evaluate  # type: ignore[method-assign]
    return scored


def read_programs(path: Path) -> list[Pipeline]:
    """Return the programs of a file, which are separated by empty lines."""
    with warnings.catch_warnings():
        # Programs are here to be timed; that an operator's pixels have changed since does not matter.
        warnings.simplefilter("ignore", RevisionWarning)
        return [read_text(text) for text in path.read_text().split("\n\n") if text.strip()]


def _arrays(dataset: Dataset, stem: str) -> Item:
    sample = dataset.load(stem)
    assert sample.mask is not None
    return {"image": sample.image, "mask": sample.mask} | ({} if sample.known is None else {"known": sample.known})


def _pixels(item: Item) -> int:
    return int(item["image"].shape[0] * item["image"].shape[1])


if __name__ == "__main__":
    environment = ONE_THREAD | KEEP_MEMORY
    if any(os.environ.get(name) != value for name, value in environment.items()):
        # Read by the C library as a process starts, as a worker does.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment)
    main()
