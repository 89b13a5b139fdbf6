#!/usr/bin/env python3
"""Strokes on a few per cent of the pixels against full masks: what a search learns from either.

    python experiments/scribbles.py DATASETS --out rows.jsonl [--only leather_defects,wbc_nuclei]
        [--evaluations 300] [--share 0.05] [--seed 0]
    python experiments/scribbles.py --table rows.jsonl

The search and selection images of a dataset get strokes drawn from their full masks; the test images keep those, so
that both arms are tested on the same pixels. Arm "full": all masks. Arm "strokes": a share of the foreground's pixels
and the same share of the background's. Arm "even": as many pixels in all, half of them foreground, as far as half of
the foreground has that many: people scribble on what they look for. Strokes are curved lines of a few pixels' width
that keep inside their class; the image's name and the seed alone decide them. One row per dataset and arm is written
as soon as it is known; rows that are there are left out. Nothing is chosen by test scores.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from study import add_row, rows_in  # beside this file

from evoseg.core.streams import stream
from evoseg.datasets.checking import open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import write_image, write_mask
from evoseg.datasets.splits import split

SETS = ("glas_glands", "wbc_nuclei", "woven_fabric", "ni_superalloy", "crackforest", "carotid_ultrasound")
"""Large and small foreground, blobs, lines and layers; chosen by their masks, before any search."""
ARMS = ("full", "strokes", "even")
WIDTH_PX = 3
STEP_PX = 6.0
LONGEST = 25
"""Steps of a stroke."""
TURN = 0.35
"""Standard deviation of a stroke's turns, radians per step."""


def stroke(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one stroke inside a region, as a bool array of its shape."""
    canvas = np.zeros(region.shape, np.uint8)
    places = np.flatnonzero(region)
    row, col = np.divmod(places[rng.integers(len(places))], region.shape[1])
    here = np.array([col, row], float)
    canvas[row, col] = 1
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(LONGEST):
        angle += rng.normal(0, TURN)
        there = here + STEP_PX * np.array([np.cos(angle), np.sin(angle)])
        x, y = np.round(there).astype(int)
        if not (0 <= y < region.shape[0] and 0 <= x < region.shape[1] and region[y, x]):
            break
        cv2.line(canvas, tuple(np.round(here).astype(int).tolist()), (int(x), int(y)), 1, WIDTH_PX)
        here = there
    return (canvas > 0) & region


def strokes(region: np.ndarray, n_pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Return strokes of `n_pixels` in all, as a bool array; the last one is cut short."""
    drawn = np.zeros(region.shape, bool)
    while (left := n_pixels - int(drawn.sum())) > 0:
        fresh = np.argwhere(stroke(region, rng) & ~drawn)
        drawn[tuple(fresh[:left].T)] = True
    return drawn


def scribbles(mask: np.ndarray, arm: str, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return scribbles on a share of the pixels: 0 unknown, 1 background, 2 foreground."""
    n_foreground, n_background = int(mask.sum()), int((~mask).sum())
    if arm == "strokes":
        inside, outside = share * n_foreground, share * n_background
    else:
        inside = min(share * mask.size / 2, n_foreground / 2)
        outside = min(share * mask.size - inside, n_background / 2)
    drawn = np.zeros(mask.shape, np.uint8)
    for value, region, n in ((2, mask, inside), (1, ~mask, outside)):
        if region.any():
            drawn[strokes(region, max(1, round(n)), rng)] = value
    return drawn


def scribbled(data: Dataset, root: Path, arm: str, share: float, seed: int) -> float:
    """Write the dataset of an arm, and return the share of the training images' pixels that are known."""
    assert data.root is not None
    parts = split(data)
    for name in ("images", "masks", "scribbles"):
        (root / name).mkdir(parents=True)
    card = {"task": "binary", "splits": {"train": parts.search, "selection": parts.selection, "test": parts.test}}
    card["splits"] = {name: list(stems) for name, stems in card["splits"].items()}
    (root / "dataset.yaml").write_text(yaml.safe_dump(card))
    known, pixels = 0, 0
    for stem in data.labelled:
        image = Path(data.source.where("image", stem))
        shutil.copyfile(image, root / "images" / image.name)
        mask = data.load(stem).mask
        assert mask is not None
        if arm == "full" or stem in parts.test:
            write_mask(root / "masks" / f"{stem}.png", mask)
            continue
        drawn = scribbles(mask, arm, share, stream(seed, "scribbles", data.root.name, stem))
        write_image(root / "scribbles" / f"{stem}.png", drawn)
        known, pixels = known + int((drawn > 0).sum()), pixels + mask.size
    if not any((root / "scribbles").iterdir()):
        (root / "scribbles").rmdir()
    return known / pixels if pixels else 1.0


def searched(data: Dataset, arm: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a search finds in an arm."""
    import evoseg

    with tempfile.TemporaryDirectory() as folder:
        os.environ["EVOSEG_HOME"] = str(Path(folder) / "home")
        root = Path(folder) / "data"
        known = scribbled(data, root, arm, arguments.share, arguments.seed)
        found = evoseg.search(
            root, evaluations=arguments.evaluations, seed=arguments.seed, workers=0, library="none", metric="iou"
        )
    kept = ("scores", "interval_test", "baselines_test", "evaluations", "role", "pipeline")
    return {"known": known, "test": found.scores["test"]} | {key: found.to_json()[key] for key in kept}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the test scores, means over seeds, as a table in Markdown, with the share of the full masks' mean."""
    rows: dict[tuple[str, str], list[float]] = {}
    for row in lines:
        rows.setdefault((row["dataset"], row["arm"]), []).append(row["test"])
    scores = {key: float(np.mean(values)) for key, values in rows.items()}
    names = [name for name in dict.fromkeys(row["dataset"] for row in lines) if (name, "full") in scores]
    arms = [arm for arm in ARMS if any((name, arm) in scores for name in names)]
    out = [f"| dataset | {' | '.join(arms)} |", "| --- |" + " --- |" * len(arms)]
    out += [f"| {n} | {' | '.join(f'{scores[n, a]:.3f}' if (n, a) in scores else '' for a in arms)} |" for n in names]
    means = {arm: [scores[n, arm] for n in names if (n, arm) in scores] for arm in arms}
    out.append(f"| mean | {' | '.join(f'{np.mean(means[arm]):.3f}' for arm in arms)} |")
    shares = {
        arm: f"{100 * np.mean(means[arm]) / np.mean([scores[n, 'full'] for n in names if (n, arm) in scores]):.1f} %"
        for arm in arms
    }
    out.append(f"| share of full masks | {' | '.join(shares[arm] for arm in arms)} |")
    return "\n".join(out)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("scribbles.jsonl"))
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    lines = rows_in(arguments.table or arguments.out)
    if arguments.table:
        print(table(lines))
        return
    if arguments.root is None:
        parser.error("name the folder of the datasets")
    done = {(row["dataset"], row["arm"], row["seed"], row["budget"]) for row in lines}
    for arm in arguments.arms.split(","):
        for name in arguments.only.split(","):
            if (name, arm, arguments.seed, arguments.evaluations) in done:
                continue
            started = time.monotonic()
            row = {"dataset": name, "arm": arm, "seed": arguments.seed, "budget": arguments.evaluations}
            row |= searched(open_dataset(arguments.root / name), arm, arguments)
            row["wall_s"] = round(time.monotonic() - started, 1)
            add_row(arguments.out, row)
            print(f"{name:20s} {arm:8s} test {row['test']:.3f}  {row['wall_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
