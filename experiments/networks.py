#!/usr/bin/env python3
"""What networks alone reach: trains one ensemble per dataset and compares out-of-bag with test scores.

    python experiments/networks.py DATASETS --out rows.jsonl [--continue] [--only crackforest,neu_patches]
        [--seconds 30] [--seeds 1] [--arms rule,frozen,full,usual,small,one] [--within-training]
    python experiments/networks.py --table rows.jsonl

One row per dataset, arm and seed is written as soon as it is known; --continue leaves out those that are there.
Scores are mean IoU at a threshold of 0.5. Test scores are reported, never used to choose anything; with
--within-training, every third of the other images is the test, so that the test images stay unseen.

The arm "rule" is what a search trains; "frozen" never trains the encoder, however much time there is. "full" and
"usual" are always at full resolution, or always at the one that the thickness of objects suggests, without the trials
of both; "small" has an encoder from scratch; "one" is a single decoder that trains on all images for all of the time,
so that nothing is out of bag.

Each row also has the thresholds that are best on the training images, by planes out of bag and by planes of networks
that have seen them ("in bag"), with the test scores at these thresholds.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray
from study import Row, add_row, arms_of, asked_for, options, rows_in  # beside this file

from evoseg.core.folds import Units
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.splits import independent_units, split
from evoseg.networks import training
from evoseg.networks.course import Course, Problem
from evoseg.networks.scenes import usual_reduction
from evoseg.networks.training import score_planes, train
from evoseg.networks.values import Example, Trained, TrainingSettings
from evoseg.operators.network import add_network, network

HARD = (
    "vnc_mitochondria",
    "colon_polyps",
    "leather_defects",
    "epfl_roads",
    "crackforest",
    "glas_glands",
    "skin_lesions",
    "carotid_ultrasound",
    "aluminium_defects",
    "magnetic_tile_crack",
    "neu_inclusion",
    "drive_vessels",
)
"""Sets on which filters are far behind networks."""


ARMS = ("rule", "frozen", "full", "usual", "small", "one")
THRESHOLDS = range(8, 248, 8)


def main() -> None:
    """Run as a script."""
    ask = options(__doc__, 0, HARD)
    ask.add_argument("--seconds", type=float, default=30, help="CPU seconds of a training")
    ask.add_argument("--arms", default="rule")
    ask.add_argument("--within-training", action="store_true")
    ask.set_defaults(seeds=1)
    asked = asked_for(ask, table)
    arms = arms_of(ask, asked.arms, ARMS)
    cv2.setNumThreads(1)
    done = {key_of(row) for row in rows_in(asked.out)}
    for seed, name, arm in product(range(asked.seeds), asked.only.split(","), arms):
        if (name, arm, seed, asked.seconds) not in done:
            row = train_on(asked.root / name, arm, seed, asked.seconds, asked.within_training)
            add_row(asked.out, row)
            print(line_of(row), flush=True)
    print(table(rows_in(asked.out)))


def key_of(row: Row) -> tuple[Any, ...]:
    """Return what distinguishes a row."""
    return row["dataset"], row["arm"], row["seed"], row["budget"]


def train_on(folder: Path, arm: str, seed: int, seconds: float, within_training: bool) -> Row:
    """Train on one dataset and look at its test images."""
    data = Dataset(folder)
    splits = split(data)
    known, test = sorted([*splits.search, *splits.selection]), list(splits.test)
    if within_training:
        known, test = [stem for i, stem in enumerate(known) if i % 3], known[::3]
    settings = TrainingSettings(seconds=seconds, seed=seed, encoder="small" if arm == "small" else "pretrained")
    examples = [example_of(data.load(stem)) for stem in known]
    trained = train_as(arm, examples, settings, independent_units(data, known))
    weights = add_network(trained.file)
    begin = time.process_time()
    samples = [example_of(data.load(stem)) for stem in test]
    planes = [network(sample.image, weights=weights) for sample in samples]
    used = time.process_time() - begin
    own = [network(example.image, weights=weights) for example in examples]
    thresholds = {
        "in_bag": best_threshold(examples, own),
        "out_of_bag": best_threshold(examples, [found["foreground"] for found in trained.planes]),
    }
    scores = scores_at(samples, planes)
    return {
        "dataset": folder.name,
        "arm": arm,
        "seed": seed,
        "budget": seconds,
        "n_images": len(known),
        "out_of_bag": mean(trained.notes["out_of_bag"]),
        "test": mean(scores),
        "test_per_image": scores,
        "thresholds": thresholds,
        "test_at": {name: mean(scores_at(samples, planes, level)) for name, level in thresholds.items()},
        "seconds": trained.seconds,
        "ms_per_mpx": 1e9 * used / sum(plane.size for plane in planes),
        "n_bytes": len(trained.file),
        "notes": trained.notes,
    }


def train_as(arm: str, examples: Sequence[Example], settings: TrainingSettings, units: Units) -> Trained:
    """Train as an arm wants it."""
    with ExitStack() as patches:
        if arm in ("full", "usual"):
            choose = 1 if arm == "full" else usual_reduction(examples, settings.head)
            patches.enter_context(patch.object(training, "usual_reduction", lambda *_: choose))
            patches.enter_context(patch.object(training, "_TRIAL_SHARE", 0.0))
            patches.enter_context(patch.object(training, "_SURE_GAIN", -2.0))
        if arm == "frozen":
            patches.enter_context(patch.object(training, "_LEAST_TUNED_S", float("inf")))
        if arm == "one":
            patches.enter_context(patch.object(Problem, "n_networks", 1))
            patches.enter_context(patch.object(Course, "_fit", fit_on_all))
        return train(examples, settings, units=units)


def fit_on_all(course: Course, j: int, seconds: float | None, steps: int | None) -> int:
    """Train a network on every image, those that it would leave out as well."""
    with patch.object(Problem, "left_out_of", lambda *_: -1):
        return fit_one(course, j, seconds, steps)


fit_one = Course._fit


def best_threshold(examples: Sequence[Example], planes: Sequence[NDArray[np.uint8]]) -> int:
    """Return the level above which pixels are foreground, by the mean IoU of the examples."""
    return max(THRESHOLDS, key=lambda level: mean(scores_at(examples, planes, level)))


def scores_at(examples: Sequence[Example], planes: Sequence[NDArray[np.uint8]], level: int = 127) -> list[float]:
    """Return the IoU of each example if what is above a level is foreground."""
    masks = [np.where(plane > level, np.uint8(255), np.uint8(0)) for plane in planes]
    return [score_planes(e, "mask", {"foreground": m}) for e, m in zip(examples, masks, strict=True)]


def example_of(sample: Sample) -> Example:
    """Return what a network is trained on."""
    assert sample.mask is not None
    return Example(sample.image, sample.mask, sample.known)


def line_of(row: Row) -> str:
    """Return a row as one line of a table."""
    notes = row["notes"]
    trial = {f"1/{r}": round(float(mean(scores)), 3) for r, scores in notes.get("resolution_scores", {}).items()}
    return (
        f"{row['dataset']:24s} {row['arm']:6s} {row['seed']:4d} {row['out_of_bag']:6.3f} {row['test']:6.3f} "
        f"{row['seconds']:5.0f} {row['ms_per_mpx']:7.0f} {notes['steps']:6d} {notes['windows']:8d} "
        f"1/{notes['reduction']} {trial or ''}"
    )


def table(rows: Iterable[Row]) -> str:
    """Return the rows, and the means of each variant."""
    rows = sorted(rows, key=key_of)
    names = f"{'dataset':24s} {'arm':6s}"
    lines = [f"{names} seed    oob   test   CPU ms/Mpx  steps  windows resolution and its trials"]
    lines += [line_of(row) for row in rows]
    for arm, budget in sorted({(row["arm"], row["budget"]) for row in rows}):
        own = [row for row in rows if (row["arm"], row["budget"]) == (arm, budget)]
        at = {name: round(mean(row["test_at"][name] for row in own), 3) for name in own[0]["test_at"]}
        lines.append(
            f"mean {arm}, {budget:g} s, of {len(own)}: out of bag {mean(row['out_of_bag'] for row in own):.3f}, test "
            f"{mean(row['test'] for row in own):.3f}; at thresholds fitted {at}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
