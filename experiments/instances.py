#!/usr/bin/env python3
"""Objects and points: a search against what an expert would tune by hand, on the same images.

    python experiments/instances.py DATASETS --out rows.jsonl [--only dsb2018_fluo,stem_pt_atoms]
        [--seconds 60] [--seed 0] [--workers 1]
    python experiments/instances.py --table rows.jsonl

Objects: Otsu's threshold and a distance watershed (scikit-image), with plane, polarity, smoothing and least distance by
grid search on the images that evoseg may search and select on. Points: tops of a Laplacian of Gaussians, with plane,
polarity, sigma and threshold by grid search on the same. One row per dataset, arm and seed is written as soon as it is
known; rows that are there are left out. Test scores are reported, never used to choose anything.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from study import add_row, rows_in  # beside this file

from evoseg.datasets.checking import open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.ports import Task
from evoseg.evolve.tasks.object_tasks import InstanceTask, PointTask

SETS: dict[str, str] = {
    "dsb2018_fluo": "instances",
    "dsb2018_histology": "instances",
    "usiigaci_phase": "instances",
    "mbm_bone_marrow": "points",
    "stem_pt_atoms": "points",
}
TASKS: dict[str, Task] = {"instances": InstanceTask(), "points": PointTask()}
POLARITY = (1, -1)
SMOOTHING_PX = (0.0, 1.0, 2.0, 4.0)
DISTANCE_PX = (2, 3, 5, 7, 10, 14, 20, 30)
SIGMA_PX = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
THRESHOLDS = 40
"""Thresholds tried for each sigma: quantiles of the tops' heights on the training images."""


def planes(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an expert would look at: grey, and of colours R, G, B, saturation and hematoxylin."""
    from skimage.color import rgb2gray, rgb2hed, rgb2hsv

    if image.shape[2] != 3:
        return {"gray": image[:, :, 0].astype(np.float64)}
    colours = {name: image[:, :, k].astype(np.float64) for k, name in enumerate("RGB")}
    stains = {"S": rgb2hsv(image)[:, :, 1], "hematoxylin": rgb2hed(image)[:, :, 0]}
    return {"gray": rgb2gray(image), **colours, **stains}


def watershed_answers(image: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the settings and labels of Otsu and a distance watershed, over the whole grid."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu
    from skimage.measure import label
    from skimage.segmentation import watershed

    for (name, plane), sign, sigma in product(planes(image).items(), POLARITY, SMOOTHING_PX):
        smoothed = sign * (gaussian_filter(plane, sigma) if sigma else plane)
        mask = smoothed > threshold_otsu(smoothed) if np.ptp(smoothed) else np.zeros(plane.shape, bool)
        distance = distance_transform_edt(mask)
        pieces = label(mask)
        for least in DISTANCE_PX:
            markers = np.zeros(mask.shape, np.int32)
            tops = peak_local_max(distance, min_distance=least, labels=pieces, exclude_border=False)
            markers[tuple(tops.T)] = np.arange(1, len(tops) + 1)
            yield (name, sign, sigma, least), watershed(-distance, markers, mask=mask).astype(np.int32)


def spots(image: np.ndarray) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Yield the settings, places and heights of the tops of a Laplacian of Gaussians."""
    from scipy.ndimage import gaussian_laplace
    from skimage.feature import peak_local_max

    for (name, plane), sign, sigma in product(planes(image).items(), POLARITY, SIGMA_PX):
        response = -sign * sigma**2 * gaussian_laplace(plane, sigma)
        tops = peak_local_max(response, min_distance=max(1, round(sigma)), threshold_abs=1e-9, exclude_border=False)
        yield (name, sign, sigma), tops.astype(np.float64), response[tuple(tops.T)]


def tuned_watershed(data: Dataset, train: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """Return the watershed that is best on the training images, and its test scores."""
    on_train: dict[Any, list[float]] = {}
    for stem in train:
        for setting, labels in watershed_answers(data.load(stem).image):
            on_train.setdefault(setting, []).append(scored("instances", data, stem, labels))
    best = max(on_train, key=lambda setting: float(np.mean(on_train[setting])))
    answers = (dict(watershed_answers(data.load(stem).image))[best] for stem in test)
    on_test = [scored("instances", data, stem, labels) for stem, labels in zip(test, answers, strict=True)]
    return {"train": float(np.mean(on_train[best])), "test": float(np.mean(on_test)), "setting": best}


def tuned_spots(data: Dataset, train: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """Return the Laplacian of Gaussians that is best on the training images, and its test scores."""
    tops: dict[Any, list[tuple[np.ndarray, np.ndarray]]] = {}
    for stem in train:
        for setting, places, heights in spots(data.load(stem).image):
            tops.setdefault(setting, []).append((places, heights))
    best: tuple[float, Any, float] = (-1.0, None, 0.0)
    for setting, found in tops.items():
        every = np.concatenate([heights for _, heights in found])
        for level in np.quantile(every, np.linspace(0, 0.995, THRESHOLDS)) if len(every) else ():
            score = float(
                np.mean([scored("points", data, s, p[h > level]) for s, (p, h) in zip(train, found, strict=True)])
            )
            best = max(best, (score, setting, float(level)), key=lambda entry: entry[0])
    train_score, setting, level = best
    on_test = []
    for stem in test:
        places, heights = next((p, h) for s, p, h in spots(data.load(stem).image) if s == setting)
        on_test.append(scored("points", data, stem, places[heights > level]))
    return {"train": train_score, "test": float(np.mean(on_test)), "setting": (*setting, level)}


def scored(task: str, data: Dataset, stem: str, answer: np.ndarray) -> float:
    """Return the score that a search would maximise."""
    the_task = TASKS[task]
    return float(the_task.score(the_task.judge(answer, the_task.target(the_task.arrays(data.load(stem))))))


def searched(root: Path, seconds: float, seed: int, workers: int) -> dict[str, Any]:
    """Return what a search finds."""
    import evoseg

    with tempfile.TemporaryDirectory() as home:
        os.environ["EVOSEG_HOME"] = home
        found = evoseg.search(root, seconds=seconds, seed=seed, workers=workers)
    result = found.to_json()
    kept = ("scores", "interval_test", "baselines_test", "evaluations", "length", "pipeline")
    return {"train": found.scores["search"], "test": found.scores["test"]} | {key: result[key] for key in kept}


def rows(root: Path, name: str, arguments: argparse.Namespace, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one dataset that are not there yet."""
    arms = {"tuned": "tuned", f"evoseg {arguments.seconds:g} s, seed {arguments.seed}": "evoseg"}
    data = open_dataset(root / name)
    splits = split(data)
    for arm, kind in arms.items():
        if (name, arm) in done:
            continue
        started = time.monotonic()
        if kind == "evoseg":
            found = searched(root / name, arguments.seconds, arguments.seed, arguments.workers)
        else:
            tuned = tuned_watershed if SETS[name] == "instances" else tuned_spots
            found = tuned(data, [*splits.search, *splits.selection], splits.test)
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        yield {"dataset": name, "task": SETS[name], "arm": arm, "wall_s": round(time.monotonic() - started, 1)} | {
            "load_per_core": round(load, 1),
            **found,
        }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    head = "| dataset | score | arm | train | test | interval | wall s | load per core |\n|" + " --- |" * 8
    words = {"instances": "AP50", "points": "F1 within 6 px"}
    body = [
        f"| {r['dataset']} | {words[r['task']]} | {r['arm']} | {r['train']:.3f} | {r['test']:.3f} | "
        + ("-".join(f"{v:.2f}" for v in r["interval_test"]) if r.get("interval_test") else "")
        + f" | {r['wall_s']:.0f} | {r['load_per_core']} |"
        for r in lines
    ]
    return "\n".join([head, *body])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("instances.jsonl"))
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    lines = rows_in(arguments.table or arguments.out)
    if arguments.table:
        print(table(lines))
        return
    if arguments.root is None:
        parser.error("name the folder of the datasets")
    done = {(row["dataset"], row["arm"]) for row in lines}
    for name in arguments.only.split(","):
        for row in rows(arguments.root, name, arguments, done):
            add_row(arguments.out, row)
            print(f"{row['dataset']:20s} {row['arm']:24s} train {row['train']:.3f}  test {row['test']:.3f}", flush=True)


if __name__ == "__main__":
    main()
