#!/usr/bin/env python3
"""Whether unfamiliar images are recognised, and whether trust tells good answers from bad ones.

    python experiments/trust.py DATASETS --what familiar --out familiar.jsonl [--continue] [--only A,B]
    python experiments/trust.py DATASETS --what trust --out trust.jsonl [--continue] [--seconds 45] [--seed 0]
    python experiments/trust.py --table familiar.jsonl
    python experiments/trust.py --table trust.jsonl

One row per dataset is written as soon as it is known; --continue leaves out those that are there.

familiar: the figures of a dataset's search images, of its test images, and of the test and training images of all
others, brought to its type of pixels, range of values and channels. The table calibrates the usual deviations and
the limit of each distance on training images of three quarters of the datasets, so that 95 % of those of other datasets
are beyond it, and reports on the test images of the other quarter. It also prints `USUAL` and the limit over all
datasets.

trust: a search on each dataset, and for its readable and its accurate pipeline the trust and the score of each test
image. The table shows Spearman's rank correlation of the two over all images, and its mean within datasets.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from study import Row, add_row, asked_for, options, rows_in  # beside this file

import evoseg
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.figures import UNFAMILIAR, USUAL
from evoseg.datasets.imageformat import ImageFormat
from evoseg.datasets.splits import split
from evoseg.inference.apply import Outputs, apply_inputs
from evoseg.inference.inputs import Input
from evoseg.inference.score import judge_images
from evoseg.pipeline.running import ArrayRows
from evoseg.runs.pipeline_files import read_alternatives, read_pipeline

Table = NDArray[np.float64]
Distance = Callable[[Table, Table, Table], Table]
"""From figures of search images, of other images, and usual deviations, to the distances of the others."""

FOLDS = 4
WANTED = 0.95
"""Share of the images of other datasets that are to be called unfamiliar."""


def main() -> None:
    """Run as a script."""
    ask = options(__doc__, 0, ())
    ask.add_argument("--what", choices=["familiar", "trust"], default="familiar")
    ask.add_argument("--seconds", type=float, default=45)
    ask.add_argument("--seed", type=int, default=0)
    asked = asked_for(ask, table)
    cv2.setNumThreads(1)
    done = {row["dataset"] for row in rows_in(asked.out)}
    for folder in sorted(path for path in asked.root.iterdir() if path.is_dir()):
        if folder.name in done or (asked.only and folder.name not in asked.only.split(",")):
            continue
        row = familiar_row(folder) if asked.what == "familiar" else trust_row(folder, asked)
        add_row(asked.out, row)
        print(folder.name, flush=True)
    print(table(rows_in(asked.out)))


def table(rows: Iterable[Row]) -> str:
    """Return the table of either study."""
    rows = list(rows)
    return familiar_table(rows) if rows and "figures" in rows[0] else trust_table(rows)


def familiar_row(folder: Path) -> Row:
    """Measure a dataset's images, and those of all others as if they were its own."""
    data = Dataset(folder)
    known = data.image_format(split(data).search)
    figures = {}
    for other in sorted(path for path in folder.parent.iterdir() if path.is_dir()):
        for name, images in images_of(other).items():
            measured = [known.measure(planted(image, known)) for image in images]
            figures[f"{other.name} {name}"] = [[float(f"{v:.5g}") for v in row] for row in measured]
    return {"dataset": folder.name, "family": data.card.family, "figures": figures}


@cache
def images_of(folder: Path) -> dict[str, list[NDArray[Any]]]:
    """Return the search images and the test images of a dataset."""
    data = Dataset(folder)
    splits = split(data)
    named = {"search": splits.search, "test": splits.test}
    return {name: [data.load(stem).image for stem in stems] for name, stems in named.items()}


def planted(image: NDArray[Any], known: ImageFormat) -> NDArray[Any]:
    """Return an image of another dataset in the type, range of values and channels of this one, to be a fair test."""
    if image.dtype != known.dtype:
        low, high = np.percentile(image, (1, 99))
        scaled = (image - low) / max(float(high - low), 1e-9)
        image = (known.low + scaled * (known.high[1] - known.low)).astype(np.float32)
    n = len(known.channels)
    return np.repeat(image, n, axis=2) if image.shape[2] == 1 else image[:, :, :n]


def by_deviations(search: Table, others: Table, usual: Table) -> Table:
    """Return the distance that evoseg uses (`SeenFigures.distance`), with other usual deviations."""
    n = len(search)
    variance = (3 * usual**2 + n * search.var(axis=0)) / (3 + n - 1)
    return np.asarray(np.sqrt(((others - search.mean(axis=0)) ** 2 / (variance * (1 + 1 / n))).mean(axis=1)))


def by_covariance(search: Table, others: Table, usual: Table) -> Table:
    """Return Mahalanobis' distance, the covariance shrunk to the usual variances."""
    n, rest = len(search), search - search.mean(axis=0)
    covariance = (4 * np.diag(usual**2) + rest.T @ rest) / (4 + n - 1)
    away = others - search.mean(axis=0)
    squares = np.einsum("ij,ij->i", away, np.linalg.solve(covariance, away.T).T)
    return np.asarray(np.sqrt(squares / (len(usual) * (1 + 1 / n))))


def by_neighbour(search: Table, others: Table, usual: Table) -> Table:
    """Return the distance from the nearest search image, in units of that between them."""
    near = np.linalg.norm((others[:, None] - search[None]) / usual, axis=2).min(axis=1)
    between = np.linalg.norm((search[:, None] - search[None]) / usual, axis=2)
    np.fill_diagonal(between, np.inf)
    n, k = len(search), len(usual)
    return np.asarray(near / np.sqrt((3 * k + n * (between.min(axis=1) ** 2).mean()) / (3 + n)))


DISTANCES: dict[str, Distance] = {
    "deviations": by_deviations,
    "Mahalanobis": by_covariance,
    "nearest neighbour": by_neighbour,
}


def familiar_table(rows: list[Row]) -> str:
    """Return what each distance reaches on the test images of datasets that it was not calibrated on."""
    rows = sorted(rows, key=lambda row: str(row["dataset"]))
    lines = ["| distance | limits | own images called unfamiliar | planted images | of other families |"]
    lines.append("| --- | --- | --- | --- | --- |")
    shifted = []
    for name, distance in DISTANCES.items():
        limits, own, strange, other_family = [], [], [], []
        for fold in range(FOLDS):
            held = rows[fold::FOLDS]
            usual = usual_of([row for row in rows if row not in held])
            limits.append(limit_of([row for row in rows if row not in held], distance, usual))
            for row in held:
                search = figures_of(row, row["dataset"], "search")
                own.append(np.mean(distance(search, figures_of(row, row["dataset"], "test"), usual) > limits[-1]))
                for other in rows:
                    if other is not row:
                        found = distance(search, figures_of(row, other["dataset"], "test"), usual) > limits[-1]
                        strange.append(found.mean())
                        other_family += [found.mean()] * (other["family"] != row["family"])
        names = [row["dataset"] for fold in range(FOLDS) for row in rows[fold::FOLDS]]
        shifted.append(
            f"{name}: " + ", ".join(f"{of} {100 * share:.0f} %" for of, share in zip(names, own, strict=True) if share)
        )
        said = " ".join(f"{limit:.2f}" for limit in limits)
        shares = [f"{100 * np.mean(of):.1f} %" for of in (own, strange, other_family)]
        lines.append(f"| {name} | {said} | {' | '.join(shares)} |")
    lines += ["", "own images called unfamiliar, by dataset:", *shifted]
    usual = usual_of(rows)
    lines += ["", f"over all: limit {limit_of(rows, by_deviations, usual):.2f}", "USUAL = {"]
    lines += [f'    "{name}": {value:.2g},' for name, value in zip(USUAL, usual, strict=True)]
    return "\n".join([*lines, "}"])


def figures_of(row: Row, dataset: str, name: str) -> Table:
    """Return the figures of one split of a dataset, as seen by the dataset of a row."""
    return np.array(row["figures"][f"{dataset} {name}"])


def usual_of(rows: Iterable[Row]) -> Table:
    """Return the usual deviation of each figure between training images of one dataset."""
    variances = [figures_of(row, row["dataset"], "search").var(axis=0, ddof=1) for row in rows]
    return np.asarray(np.sqrt(np.mean(variances, axis=0)))


def limit_of(rows: Iterable[Row], distance: Distance, usual: Table) -> float:
    """Return the distance that `WANTED` of the training images of other datasets exceed."""
    rows = list(rows)
    strange = [
        distance(figures_of(row, row["dataset"], "search"), figures_of(row, other["dataset"], "search"), usual)
        for row in rows
        for other in rows
        if other is not row
    ]
    return float(np.quantile(np.concatenate(strange), 1 - WANTED))


def trust_row(folder: Path, asked: argparse.Namespace) -> Row:
    """Search on one dataset, and compare trust with scores on its test images."""
    data = Dataset(folder)
    answers = {}
    with TemporaryDirectory() as scratch:
        found = evoseg.search(
            data, seconds=asked.seconds, seed=asked.seed, workers=1, library="none", report=False, out=f"{scratch}/run"
        )
        for name in found.answers:
            file = Path(scratch, "run", f"{name}.evo" if len(found.answers) > 1 else "pipeline.evo")
            pipeline = read_pipeline(file)
            inputs = [
                Input(stem, Path(stem), partial(rows_of, data, stem), lambda: data.channels)
                for stem in found.splits.test
            ]
            others = read_alternatives(file, pipeline)
            applied = list(
                apply_inputs(pipeline, inputs, Outputs(Path(scratch, name)), others={pipeline.digest: others})
            )
            judged = judge_images(pipeline, data, found.splits.test, radius=found.radius_px)
            answers[name] = {
                "n_others": len(others.pipelines),
                "trust": [one.trust for one in applied],
                "distance": [one.distance for one in applied],
                "score": [one.scores[found.metric] for one in judged],
            }
    return {"dataset": folder.name, "metric": found.metric, "recommended": found.recommended, "answers": answers}


def rows_of(data: Dataset, stem: str) -> ArrayRows:
    """Return an image as `apply_inputs` reads it."""
    return ArrayRows(data.load(stem).image)


def trust_table(rows: list[Row]) -> str:
    """Return rank correlations of trust and score, over all images and within datasets."""
    lines = [
        "| pipeline | datasets | images | over all images | mean within datasets | lowest third of trust, mean score"
    ]
    lines[0] += " | highest third | unfamiliar |"
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in ("readable", "accurate", "recommended"):
        answers = [row["answers"].get(row["recommended"] if name == "recommended" else name) for row in rows]
        known = [of for of in answers if of is not None and None not in of["trust"]]
        if not known:
            continue
        trust, score = (np.concatenate([of[key] for of in known]) for key in ("trust", "score"))
        within = [rank_correlation(np.array(of["trust"]), np.array(of["score"])) for of in known]
        order = trust.argsort()
        third = len(order) // 3
        strange = np.mean([np.mean(np.array(of["distance"]) > UNFAMILIAR) for of in known])
        lines.append(
            f"| {name} | {len(known)} | {len(trust)} | {rank_correlation(trust, score):.2f} | "
            f"{np.nanmean(within):.2f} | {score[order[:third]].mean():.2f} | {score[order[-third:]].mean():.2f} | "
            f"{100 * strange:.1f} % |"
        )
    return "\n".join(lines)


def rank_correlation(a: Table, b: Table) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank. NaN if one does not vary."""
    ranks = [(np.searchsorted(np.sort(v), v) + np.searchsorted(np.sort(v), v, "right")) / 2 for v in (a, b)]
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
