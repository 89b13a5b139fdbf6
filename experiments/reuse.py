#!/usr/bin/env python3
"""Study: stored pipelines on images without masks. Which answers to show, and how good they are.

    python experiments/reuse.py DATASETS --out rows.jsonl [--continue] [--only a,b] [--images 3]
    python experiments/reuse.py --table --out rows.jsonl      the tables of docs/library.md
    python experiments/reuse.py --new FOLDER... --out new.jsonl [--continue]
    python experiments/reuse.py --new --table --out new.jsonl

With --new, the targets are other datasets, of kinds that the bundled tasks know, and no pipeline is left out.

One row per target and answer: every pipeline of other families, at every scale, with its threshold set in each way.
Answers are found without masks on training images, and masks are used to score them afterwards; no test image is
opened. One more row per target has the scores of automatic thresholds.
"""

import argparse
import json
import sys
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.splits import split
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.library.collection import Popularity, bundled_tasks, bundled_transfers
from evoseg.library.description import describe, description_of
from evoseg.library.descriptors import gray_of, value_range
from evoseg.library.embedders import embedders
from evoseg.library.likeness import ALIKE, likeness, measure_norms
from evoseg.library.reuse import RANKED_PX, SHARPNESS, SHOWN_PX, facility_location, middle_of, pairwise_iou, try_all
from evoseg.library.task import SolvedTask, are_related
from evoseg.library.unlabelled import Stability
from evoseg.metrics.mask_scores import confusion, iou
from evoseg.operators import registry

Floats = NDArray[np.float64]
Row = dict[str, Any]

AUTOMATIC = {
    **{
        f"{name}, {polarity}": (name, (polarity, 0)) for name in ("otsu", "triangle") for polarity in ("bright", "dark")
    },
    **{f"class {index + 1} of {k}": ("kmeans_class", (k, index)) for k in (2, 3) for index in range(k)},
    **{f"sauvola, {polarity}": ("sauvola", (25, 0.2, polarity)) for polarity in ("bright", "dark")},
}
"""Automatic thresholds of the smoothed mean of the channels: operators with their parameters."""
SHOWN = (1, 3, 6)


def rows_of(folder: Path, alike: Mapping[SolvedTask, float], n_images: int) -> Iterator[Row]:
    """Yield the rows of one target.

    Parameters
    ----------
    alike : mapping of SolvedTask to float
        Likeness of the tasks whose pipelines are tried.
    """
    samples = [middle_of(sample, RANKED_PX) for sample in some_samples(folder, n_images)]
    images = [sample.image for sample in samples]
    yield {"target": folder.name, "automatic": automatic_scores(samples)}
    stability = Stability(images)
    for guess, masks in try_all(images, list(alike), Kind.MASK):
        scaled = guess.candidate.scaled
        yield {
            "target": folder.name,
            "source": scaled.task.name,
            "form": scaled.stored.pipeline.form,
            "scale": scaled.scale,
            "level": guess.candidate.level,
            "iou": round(score(masks, samples), 4),
            "outline": round(guess.outline, 4),
            "stability": round(stability.of(guess.candidate.program), 4),
            "share": guess.share,
            "likeness": round(alike[scaled.task], 4),
            "sampled": packed(guess.sampled),
        }


def some_samples(folder: Path, n_images: int) -> list[Sample]:
    """Return some training images of a dataset with their masks, evenly spaced."""
    dataset = Dataset(folder)
    stems = split(dataset).search
    return [dataset.load(stems[i]) for i in evenly_spaced(len(stems), n_images)]


def without_family(target: SolvedTask, tasks: Sequence[SolvedTask]) -> dict[SolvedTask, float]:
    """Return the tasks that have nothing to do with a bundled one, with their likeness."""
    norms = measure_norms(tasks)
    seen = {k: v for k, v in description_of(target).described.items() if not k.startswith("masks")}
    others = [task for task in tasks if not are_related(task, target)]
    return {task: likeness(seen, task.described, norms).value for task in others}


def as_for_a_user(folder: Path, tasks: Sequence[SolvedTask], n_images: int) -> dict[SolvedTask, float]:
    """Return tasks with their likeness by images alone."""
    norms = measure_norms(tasks)
    images = Dataset.from_arrays([middle_of(one, SHOWN_PX).image for one in some_samples(folder, n_images)])
    seen = describe(images, images.stems, embedders()).described
    return {task: likeness(seen, task.described, norms).value for task in tasks}


def automatic_scores(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the mean IoU of each automatic threshold."""
    floats = [gray_of(np.asarray(sample.image, np.float32)) for sample in samples]
    low, high = value_range([plane[:, :, None] for plane in floats])
    smooth = [cv2.GaussianBlur((plane - low) / (high - low), (0, 0), 1.0) for plane in floats]
    planes = [np.clip(np.rint(255 * plane), 0, 255).astype(np.uint8) for plane in smooth]
    return {
        words: round(score([registry.get(name).run((plane,), params) for plane in planes], samples), 4)
        for words, (name, params) in AUTOMATIC.items()
    }


def score(masks: Sequence[NDArray[Any]], samples: Sequence[Sample]) -> float:
    """Return the mean IoU of masks with the truth."""
    pairs = zip(masks, samples, strict=True)
    return float(np.mean([iou(confusion(mask, np.asarray(sample.mask), sample.known)) for mask, sample in pairs]))


def packed(bits: NDArray[np.bool_]) -> str:
    return f"{len(bits)}:{b64encode(zlib.compress(np.packbits(bits).tobytes(), 9)).decode()}"


def unpacked(text: str) -> NDArray[np.bool_]:
    length, _, data = text.partition(":")
    return np.unpackbits(np.frombuffer(zlib.decompress(b64decode(data)), np.uint8))[: int(length)] > 0


class Target:
    """All that is known of one target's answers, as arrays in one order."""

    def __init__(self, name: str, rows: Sequence[Row], tasks: dict[str, SolvedTask]) -> None:
        self.name, self.task = name, tasks.get(name)
        (first, *answers) = rows
        self.automatic: dict[str, float] = first["automatic"]
        self.iou = np.array([row["iou"] for row in answers])
        self.scale = np.array([row["scale"] for row in answers])
        self.level = np.array([row["level"] for row in answers])
        self.overlaps = pairwise_iou([unpacked(row["sampled"]) for row in answers])
        related = {task.id for task in tasks.values() if self.task is not None and are_related(task, self.task)}
        results = [r for r in bundled_transfers() if not {r.source, r.target} & related]
        popularity = Popularity(results, {task.id: task for task in tasks.values()})
        self.signs: dict[str, Floats] = {
            "agreement": (self.overlaps.sum(axis=1) - 1) / max(len(answers) - 1, 1),
            "outline": np.array([row["outline"] for row in answers]),
            "stability": np.array([row["stability"] for row in answers]),
            "transfer": np.array([popularity.of((row["form"], row["scale"] != 1)) for row in answers]),
            "likeness": np.array([row["likeness"] for row in answers]),
            "share": np.array([row["share"] for row in answers]),
        }

        self.near = self.signs["likeness"] >= ALIKE

    def covered(self, weights: Floats, given: Sequence[int] = ()) -> list[int]:
        """Return answers as `evoseg reuse` chooses them, by some weights."""
        return facility_location(self.overlaps, weights, max(SHOWN), given)

    def covered_after(self, values: Floats, n: int = 1) -> list[int]:
        """Return answers whose first n are those of like tasks with the highest values; without such, as chosen."""
        order = np.argsort(np.where(self.near, -values, np.inf), kind="stable")
        return self.covered(outline_weights(self, SHARPNESS), order[: min(n, self.near.sum())].tolist())

    def highest(self, sign: str) -> list[int]:
        """Return the answers with the highest values of a sign."""
        highest: list[int] = np.argsort(-self.signs[sign], kind="stable")[: max(SHOWN)].tolist()
        return highest


def best_of(target: Target, chosen: Sequence[int]) -> list[float]:
    """Return the IoU of the first, and of the best of the first few."""
    return [float(target.iou[chosen[:n]].max()) for n in SHOWN]


POWERS = (0.0, 0.75, 1.5, 2.25, 3.0)


def outline_weights(target: Target, power: float) -> Floats:
    return np.asarray((target.signs["outline"] + 1e-6) ** power)


def with_power_of_others(targets: Sequence[Target]) -> list[list[float]]:
    """Return what is reached if the power of the outline is chosen on the other families' targets."""
    families = [target.task.card.family if target.task else "" for target in targets]
    reached = {p: [best_of(t, t.covered(outline_weights(t, p))) for t in targets] for p in POWERS}
    found = []
    for i, family in enumerate(families):
        others = [j for j, other in enumerate(families) if other != family]
        best = max(POWERS, key=lambda p: float(np.mean([reached[p][j] for j in others])))
        found.append(reached[best][i])
    return found


Chooser = Callable[[Target], Sequence[int]]
HEADER = ("| shown | first | best of 3 | best of 6 | share of the oracle |", "| --- | --- | --- | --- | --- |")


def row_of(words: str, targets: Sequence[Target], values: Sequence[Sequence[float]]) -> str:
    """Return a row of a table: what is reached on average."""
    means, oracle = np.mean(values, axis=0), np.mean([target.iou.max() for target in targets])
    shares = ", ".join(f"{100 * m / oracle:.0f} %" for m in means)
    return f"| {words} | {' | '.join(f'{mean:.3f}' for mean in means)} | {shares} |"


def agreement_within(target: Target) -> Floats:
    """Return how well answers agree with those of like tasks."""
    return np.asarray(target.overlaps @ (outline_weights(target, SHARPNESS) * target.near))


def agreement_with_all(target: Target) -> Floats:
    return np.asarray(target.overlaps @ outline_weights(target, SHARPNESS))


def as_last(target: Target) -> list[int]:
    """Return answers of which the last is of a like task, if no other is."""
    chosen = target.covered(outline_weights(target, SHARPNESS))
    if target.near.any() and not target.near[chosen].any():
        chosen[-1] = int(np.where(target.near, agreement_with_all(target), -1).argmax())
    return chosen


def is_as_stored(target: Target) -> Floats:
    """Return higher values for what runs as it was stored, the best pipeline of the most alike task first."""
    stored = (target.scale == 1) & (target.level == "stored")
    return np.asarray(stored * (1 + target.signs["likeness"]) - np.arange(len(stored)) * 1e-9)


PLACES: dict[str, Chooser] = {
    "no place for like tasks": lambda t: t.covered(outline_weights(t, SHARPNESS)),
    "the last place, agreement with all": as_last,
    "the first place, agreement with all": lambda t: t.covered_after(agreement_with_all(t)),
    "the first place, the best pipeline as it was stored": lambda t: t.covered_after(is_as_stored(t)),
    "the first place, the steepest outline": lambda t: t.covered_after(t.signs["outline"]),
    "**the first place, agreement with other answers of like tasks** (`evoseg reuse`)": lambda t: t.covered_after(
        agreement_within(t)
    ),
    "the first two places, the same": lambda t: t.covered_after(agreement_within(t), 2),
    "like tasks count three times": lambda t: t.covered(outline_weights(t, SHARPNESS) * np.where(t.near, 3, 1)),
}
"""Ways to give answers of like tasks a place."""


def new_tables(targets: Sequence[Target]) -> str:
    """Return the tables of docs/library.md about other datasets."""
    reached = {words: np.array([best_of(t, choose(t)) for t in targets]) for words, choose in PLACES.items()}
    lines = [*HEADER, *(row_of(words, targets, values.tolist()) for words, values in reached.items())]
    totals = {words: values.sum(axis=1) for words, values in reached.items()}
    chosen = []
    for i in range(len(targets)):
        best = max(totals, key=lambda words, i=i: float(np.delete(totals[words], i).sum()))  # type: ignore[misc]
        chosen.append(reached[best][i].tolist())
    lines.append(row_of("chosen on the other folders", targets, chosen))
    lines += ["", "| folder | " + " | ".join(PLACES) + " | oracle |"]
    for i, target in enumerate(targets):
        words = " | ".join(", ".join(f"{v:.2f}" for v in values[i]) for values in reached.values())
        lines.append(f"| {target.name} | {words} | {target.iou.max():.2f} |")
    automatic = np.mean([max(t.automatic.values()) for t in targets])
    alike = sum(bool(t.near.any()) for t in targets)
    lines.append(f"{len(targets)} folders, {alike} with a like task; best automatic threshold {automatic:.3f}")
    return "\n".join(lines)


def tables(targets: Sequence[Target]) -> str:
    """Return the tables of docs/library.md."""
    oracle = np.array([target.iou.max() for target in targets])
    lines = list(HEADER)

    def add(words: str, values: Sequence[Sequence[float]]) -> None:
        lines.append(row_of(words, targets, values))

    rng = np.random.default_rng(0)
    draws = [[best_of(t, rng.permutation(len(t.iou))[: max(SHOWN)].tolist()) for _ in range(200)] for t in targets]
    add("random", [np.mean(of_one, axis=0).tolist() for of_one in draws])
    for sign in ("stability", "transfer", "likeness", "agreement", "outline"):
        add(f"highest {sign}", [best_of(t, t.highest(sign)) for t in targets])
    add("agreement with those not covered yet", [best_of(t, t.covered(np.ones(len(t.iou)))) for t in targets])
    ours: dict[str, Callable[[Target], Floats]] = {
        "**the same, weighted by outlines**": lambda t: outline_weights(t, SHARPNESS),
        "that, also weighted by stability": lambda t: outline_weights(t, SHARPNESS) * t.signs["stability"],
        "that, also weighted by transfer": lambda t: outline_weights(t, SHARPNESS) * np.exp(t.signs["transfer"]),
        "that, also weighted by likeness": lambda t: outline_weights(t, SHARPNESS) * (0.1 + t.signs["likeness"]),
    }
    for words, weights in ours.items():
        add(words, [best_of(t, t.covered(weights(t))) for t in targets])
    add(
        "that, and the first place for a like task (`evoseg reuse`)",
        [best_of(t, t.covered_after(agreement_within(t))) for t in targets],
    )
    add("weighted by outlines, the power chosen on other families", with_power_of_others(targets))
    lines += ["", f"oracle {oracle.mean():.3f}, {len(targets)} targets, {sum(len(t.iou) for t in targets)} answers"]
    for name in targets[0].automatic:
        lines.append(f"{name}: {np.mean([t.automatic[name] for t in targets]):.3f}")
    lines.append(
        f"best automatic threshold of each target: {np.mean([max(t.automatic.values()) for t in targets]):.3f}"
    )
    lines += ["", "| sign | Spearman with the IoU, mean within a target |", "| --- | --- |"]
    for sign in targets[0].signs:
        found = [spearmanr(t.signs[sign], t.iou)[0] for t in targets if np.ptp(t.signs[sign]) > 0]
        lines.append(f"| {sign} | {np.mean(found):+.2f} |")
    lines += ["", "| target | first | best of 3 | best of 6 | oracle | best automatic threshold |"]
    for target in targets:
        values = best_of(target, target.covered(outline_weights(target, SHARPNESS)))
        words = " | ".join(f"{v:.3f}" for v in (*values, target.iou.max(), max(target.automatic.values())))
        lines.append(f"| {target.name} | {words} |")
    return "\n".join(lines)


def main() -> int:
    """Measure what is asked for and not there yet, or print the tables."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folders", type=Path, nargs="*", help="the folder that holds the datasets; with --new, each")
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--new", action="store_true")
    ask.add_argument("--table", action="store_true")
    ask.add_argument("--continue", dest="go_on", action="store_true")
    ask.add_argument("--images", type=int, default=3)
    ask.add_argument("--only", default="")
    asked = ask.parse_args()
    tasks = {task.name: task for task in bundled_tasks() if task.output is Kind.MASK}
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    by_target: dict[str, list[Row]] = {}
    for row in rows:
        by_target.setdefault(row["target"], []).append(row)
    if asked.table:
        targets = [Target(name, of_one, tasks) for name, of_one in sorted(by_target.items())]
        print(new_tables(targets) if asked.new else tables(targets))
        return 0
    if not asked.folders:
        ask.error("give the folder of the datasets, or --table")
    if rows and not asked.go_on:
        ask.error(f"{asked.out} exists; add --continue to go on with it, or name another file")
    cv2.setNumThreads(1)
    for folder in asked.folders if asked.new else [asked.folders[0] / name for name in tasks]:
        name = folder.name
        if name in by_target or (asked.only and name not in asked.only.split(",")):
            continue
        began = time.monotonic()
        sources = list(tasks.values())
        alike = as_for_a_user(folder, sources, asked.images) if asked.new else without_family(tasks[name], sources)
        found = list(rows_of(folder, alike, asked.images))
        with asked.out.open("a") as out:  # a target at a time, so that a study that was cut short has whole ones only
            out.write("".join(json.dumps(row) + "\n" for row in found))
        print(f"{name}: {len(found) - 1} answers in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
