"""How often a verdict is wrong where a pipeline and a baseline are equally good, by the interval that decides it.

    python experiments/verdicts.py [--trials 20000]

Differences of scores between -1 and 1 are drawn from distributions whose mean is 0: any "better" or "worse" is an
error, and a two-sided 95 % interval may make 2.5 % of each. Printed are the percentages of both, for Student's t with
the least deviation that `evoseg.report.verdicts` uses, without it, and for the percentile bootstrap.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from evoseg.evolve.finalists import STUDENT
from evoseg.report.verdicts import compare

Floats = NDArray[np.float64]
COUNTS = (3, 4, 5, 8, 12, 20)
RESAMPLES, BOOTSTRAPPED = 1000, 3000


def differences(n: int, trials: int, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Yield names and differences of shape (trials, n)."""
    chance, noise = rng.random((trials, n)), rng.normal(size=(trials, n))
    yield "normal, 0.10", 0.1 * noise
    yield "normal, 0.02", 0.02 * noise
    yield "fails on 15 %", np.where(chance < 0.15, -0.85 / 3, 0.05) + 0.01 * noise
    yield "fails on 5 %", np.where(chance < 0.05, -0.38, 0.02) + 0.01 * noise
    yield "tied on 60 %", np.where(chance < 0.2, -0.2, np.where(chance > 0.8, 0.2, 0.0))
    yield "all or nothing", np.where(chance < 0.15, -1.0, np.where(chance > 0.85, 1.0, 0.0))
    yield "piled up at 1", rng.beta(2, 0.5, (trials, n)) - 0.8


def by_bootstrap(drawn: Floats, rng: np.random.Generator) -> Floats:
    """Return the percentile bootstrap's interval of each row, shape (rows, 2)."""
    n = drawn.shape[1]
    places = rng.integers(0, n, (RESAMPLES, n))
    return np.array([np.percentile(row[places].mean(axis=1), (2.5, 97.5)) for row in drawn])


def by_student(drawn: Floats) -> Floats:
    """Return Student's t interval of each row, shape (rows, 2)."""
    n = drawn.shape[1]
    reach = (STUDENT[n - 2] if n < len(STUDENT) + 2 else 2.0) * drawn.std(axis=1, ddof=1) / n**0.5
    return np.stack([drawn.mean(axis=1) - reach, drawn.mean(axis=1) + reach], axis=1)


def by_verdict(drawn: Floats) -> Floats:
    """Return the interval that evoseg uses of each row, shape (rows, 2)."""
    nothing = dict.fromkeys(map(str, range(drawn.shape[1])), 0.0)
    found = (compare(dict(zip(nothing, row, strict=True)), nothing) for row in drawn.tolist())
    return np.array([(c.low, c.high) for c in found if c is not None])


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20_000)
    trials = parser.parse_args().trials
    rng = np.random.default_rng(20261128)
    print("| differences | images | with least deviation | Student's t alone | percentile bootstrap |")
    print("| --- | --- | --- | --- | --- |")
    ways: tuple[Callable[[Floats], Floats], ...] = (
        by_verdict,
        by_student,
        lambda drawn: by_bootstrap(drawn[:BOOTSTRAPPED], rng),
    )
    for n in COUNTS:
        for name, drawn in differences(n, trials, rng):
            cells = []
            for way in ways:
                low, high = way(drawn).T
                cells.append(f"{100 * (low > 0).mean():.1f} / {100 * (high < 0).mean():.1f}")
            print(f"| {name} | {n} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
