"""Kill Dask workers while a search runs on them, and compare its result with that of an undisturbed local search.

    python experiments/dask_kills.py --kills 100

Every kill is a SIGKILL to a worker process of a real cluster on this machine, at a random instant; another worker is
started in its place. Prints one line per search, one with the counts, and the rates of two Dask workers and of two
local processes, undisturbed. Exit code 1 if any result differs.
"""

import argparse
import os
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

import evoseg
from evoseg.synthetic import draw_dataset
from experiments.kill import untimed
from tests.cluster.local import LocalCluster, local_cluster


@dataclass
class Counts:
    """What has happened so far."""

    kills: int = 0
    runs: int = 0
    equal: int = 0
    left: int = 0


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--every", type=float, default=2.0, help="mean time between two kills, s")
    parser.add_argument("--side", type=int, default=160, help="of the drawn images, px")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="after which nothing is killed any more")
    parser.add_argument("--no-rates", action="store_true", help="only kill")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="dask-kills-") as name:
        folder = Path(name)
        os.environ["EVOSEG_HOME"] = str(folder / "home")
        data = draw_dataset("nuclei", folder / "nuclei", 12, (asked.side, asked.side + 24), seed=3)
        if not asked.no_rates:
            rates(data, folder, asked.evaluations)
        counts = kills(data, folder, asked)
    print(
        f"{counts.kills} kills, {counts.runs} searches: {counts.equal} of {counts.runs} results equal to the local "
        f"one in every bit, {counts.left} processes left behind"
    )
    return 0 if counts.equal == counts.runs and not counts.left else 1


def search(data: Path, evaluations: int, **where: Any) -> evoseg.SearchResult:
    """Search, without a library."""
    return evoseg.search(data, evaluations=evaluations, library="none", **where)


def rates(data: Path, folder: Path, evaluations: int) -> None:
    """Print the rates of two workers of either kind; two searches each, so that the second finds all in place."""
    (place := folder / "rates").mkdir()
    with local_cluster(place, 2) as cluster:
        for where in ({"workers": 2}, {"workers": cluster.address.replace("tcp:", "dask:")}):
            for _ in range(2):
                result = search(data, evaluations, **where).to_json()
                print(f"{where}: {result['evaluations_per_second']:.1f} evaluations/s", flush=True)


def kills(data: Path, folder: Path, asked: argparse.Namespace) -> Counts:
    """Search on one cluster until enough of its workers have been killed."""
    counts, rng = Counts(), random.Random(asked.seed)
    expected: dict[int, Any] = {}
    children: list[psutil.Process] = []
    (place := folder / "kills").mkdir()
    with local_cluster(place, asked.workers) as cluster:
        until = time.monotonic() + 60 * asked.minutes
        while counts.kills < asked.kills and time.monotonic() < until:
            seed, before = counts.runs % 3, counts.kills
            if seed not in expected:
                expected[seed] = untimed(search(data, asked.evaluations, workers=1, seed=seed).to_json())
            cluster.fill(asked.workers)
            over = threading.Event()
            killer = threading.Thread(target=killing, args=(cluster, asked, rng, counts, children, over, until))
            killer.start()
            try:
                address = cluster.address.replace("tcp:", "dask:")
                found = search(data, asked.evaluations, workers=address, seed=seed)
            finally:
                over.set()
                killer.join()
            equal = untimed(found.to_json()) == expected[seed]
            counts.runs += 1
            counts.equal += equal
            took = f"{found.to_json()['seconds']:.0f} s"
            words = "equal" if equal else "DIFFERENT"
            print(f"search {counts.runs}: {counts.kills - before} kills in {took}, {words}", flush=True)
    time.sleep(1)
    counts.left = sum(child.is_running() and child.status() != "zombie" for child in children)
    return counts


def killing(
    cluster: LocalCluster,
    asked: argparse.Namespace,
    rng: random.Random,
    counts: Counts,
    children: list[psutil.Process],
    over: threading.Event,
    until: float,
) -> None:
    """Kill a worker that is in use now and then, note its children, and start another."""
    while not over.wait(rng.expovariate(1 / asked.every)) and counts.kills < asked.kills and time.monotonic() < until:
        at_work = {w: own for w in cluster.living() if (own := w.children(recursive=True))}
        if not at_work:
            continue
        worker = rng.choice(list(at_work))
        children += at_work[worker]
        worker.kill()
        worker.wait()
        counts.kills += 1
        cluster.start()


if __name__ == "__main__":
    sys.exit(main())
