#!/usr/bin/env python3
"""Registration of drawn pairs and spots in drawn diffraction frames: a search against what is done by hand.

    python experiments/beamlines.py registration --out rows.jsonl [--noise 1,2,4,8] [--seconds 90] [--seed 0]
    python experiments/beamlines.py modalities --out rows.jsonl [--noise 1,2,4,8] [--evaluations 60] [--seed 0]
    python experiments/beamlines.py diffraction --out rows.jsonl [--seconds 120] [--seed 0]
    python experiments/beamlines.py --table rows.jsonl

All draw images to search with (24) and others to be tested on, which nothing is chosen by: 100 pairs for each noise
level, 40 of two modalities, 30 frames of an upright detector and 30 of a tilted one. Element maps, which are shifted,
are compared with phase correlation and with plain cross-correlation of the raw images, each on the channel, or the
sum of all, that is best on the images to search with. Pairs of two modalities are rotated and shifted, or moved by an
affine map. They are compared with OpenCV's findTransformECC on the raw images and on the magnitude of their
gradients, with the smoothing and the number of pyramid levels that are best on the images to search with; where it
fails, nothing is moved. Spots are compared with a white top-hat and a percentile, whose plane (counts or their
logarithm), smoothing, radius, percentile, least area and way to a place are those that are best, by grid search, on
the images to search with. Every row is written as soon as it is known; rows that are there are left out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from study import add_row, rows_in  # beside this file

from evoseg.core.transforms import AFFINE, RIGID
from evoseg.datasets.checking import open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.evolve.tasks.object_tasks import PointTask
from evoseg.metrics.alignment import grid_error
from evoseg.metrics.shift_scores import error_px, shift_between
from evoseg.synthetic import draw_detector_frames, draw_frames, draw_pairs

TRAIN = 24
PAIRS, MODALITY_PAIRS, FRAMES = 100, 40, 30
"""Test images."""
MAP, FRAME = (96, 112), (200, 220)
"""Sizes, px."""
DRAWN = 20261121
RADIUS_PX = 3.0
RADII = (2, 3, 4, 5, 7, 10)
SIGMAS = (0.0, 0.7, 1.0, 1.5)
PERCENTILES = (95.0, 97.0, 98.0, 98.5, 99.0, 99.25, 99.5, 99.7, 99.8, 99.9)
AREAS = (1, 2, 3, 4, 6)
ECC_SIGMAS, ECC_LEVELS = (1.0, 2.0, 4.0), (1, 3)
MOTIONS = {RIGID: cv2.MOTION_EUCLIDEAN, AFFINE: cv2.MOTION_AFFINE}


def with_splits(root: Path) -> Dataset:
    """Say which images test, and open the dataset."""
    card = root / "dataset.yaml"
    folder = root / "images" if (root / "images").is_dir() else root / "pairs" / "fixed"
    stems = sorted(path.stem for path in folder.iterdir())
    card.write_text(card.read_text() + yaml.safe_dump({"splits": {"train": stems[:TRAIN], "test": stems[TRAIN:]}}))
    return open_dataset(root)


def phase_shift(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Return the shift that scikit-image's phase correlation finds, to a hundredth of a pixel."""
    from skimage.registration import phase_cross_correlation

    return np.asarray(phase_cross_correlation(moving, fixed, upsample_factor=100, normalization="phase")[0])


def by_hand(data: Dataset, method: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Return the errors of a method on the raw channel, or their sum, that suits the training pairs best."""
    stems = sorted(data.stems)
    errors: dict[str, list[float]] = {}
    for stem in stems:
        sample = data.load(stem)
        assert sample.moving is not None and sample.shift is not None
        fixed, moving = sample.image.astype(np.float64), sample.moving.astype(np.float64)
        planes = {str(k): (fixed[:, :, k], moving[:, :, k]) for k in range(fixed.shape[2])}
        planes["sum"] = (fixed.sum(axis=2), moving.sum(axis=2))
        for name, pair in planes.items():
            errors.setdefault(name, []).append(float(np.hypot(*(method(*pair) - sample.shift))))
    best = min(errors, key=lambda name: float(np.mean([1 / (1 + e) for e in errors[name][:TRAIN]])) * -1)
    return figures(errors[best][TRAIN:]) | {"setting": best}


def figures(errors: Sequence[float]) -> dict[str, Any]:
    """Return what is said of errors in px."""
    closeness = float(np.mean([1 / (1 + error) for error in errors]))
    found = {"median_px": float(np.median(errors)), "p90_px": float(np.percentile(errors, 90))}
    return found | {"max_px": max(errors), "test": closeness}


def ecc_transform(fixed: np.ndarray, moving: np.ndarray, kind: str, levels: int) -> np.ndarray:
    """Return the transform that OpenCV's findTransformECC finds from rest, over some levels of a pyramid."""
    matrix = np.eye(2, 3, dtype=np.float32)
    for level in reversed(range(levels)):
        small = [
            cv2.resize(p, None, fx=0.5**level, fy=0.5**level, interpolation=cv2.INTER_AREA) for p in (fixed, moving)
        ]
        matrix[:, 2] *= 2 if level < levels - 1 else 1
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-5)
        try:
            matrix = cv2.findTransformECC(small[0], small[1], matrix, MOTIONS[kind], stop, None, 1)[1]
        except cv2.error:
            return np.eye(2, 3)
    return matrix[::-1, [1, 0, 2]].astype(np.float64)


def gradient(plane: np.ndarray) -> np.ndarray:
    """Return the magnitude of the gradient."""
    return cv2.magnitude(cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1))


def tuned_ecc(data: Dataset, kind: str, of: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Return the test errors of findTransformECC, with the smoothing and levels that suit the training pairs best."""
    stems = sorted(data.stems)

    def errors(stems: Sequence[str], sigma: float, levels: int) -> list[float]:
        found = []
        for sample in map(data.load, stems):
            planes = [
                of(cv2.GaussianBlur(i[:, :, 0].astype(np.float32), (0, 0), sigma))
                for i in (sample.image, sample.moving)
            ]
            truth = getattr(sample, kind)
            found.append(grid_error(ecc_transform(*planes, kind, levels), truth, sample.image.shape))
        return found

    settings = list(product(ECC_SIGMAS, ECC_LEVELS))
    best = max(settings, key=lambda setting: figures(errors(stems[:TRAIN], *setting))["test"])
    return figures(errors(stems[TRAIN:], *best)) | {"setting": best}


def modalities(root: Path, arguments: argparse.Namespace, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of both kinds of transforms and all noise levels."""
    for kind, noise in product(MOTIONS, (float(level) for level in arguments.noise.split(","))):
        task, place = f"{kind}, noise {noise:g}", root / f"{kind}{noise:g}"
        data = with_splits(draw_pairs(place, TRAIN + MODALITY_PAIRS, MAP, DRAWN, noise, kind))
        for arm, of in (("ECC, raw", np.asarray), ("ECC, gradient", gradient)):
            if (task, arm) not in done:
                yield {"task": task, "arm": arm, **tuned_ecc(data, kind, of)}
        arm = f"evoseg {budget(arguments)}, seed {arguments.seed}"
        if (task, arm) not in done:
            found = searched(place, arguments)
            errors = [error_px(score) for score in found.test_per_image.values()]
            yield {"task": task, "arm": arm, **kept(found), **figures(errors)}


def budget(arguments: argparse.Namespace) -> str:
    """Return the length of a search, in words."""
    return f"{arguments.evaluations} evaluations" if arguments.evaluations else f"{arguments.seconds:g} s"


def searched(root: Path, arguments: argparse.Namespace) -> Any:
    """Return what a search finds."""
    import evoseg

    with tempfile.TemporaryDirectory() as home:
        os.environ["EVOSEG_HOME"] = home
        limits = {"evaluations": arguments.evaluations} if arguments.evaluations else {"seconds": arguments.seconds}
        return evoseg.search(root, **limits, seed=arguments.seed, workers=arguments.workers, library="none")


def kept(found: Any) -> dict[str, Any]:
    """Return what a row keeps of a search."""
    names = ("scores", "interval_test", "baselines_test", "evaluations", "pipeline", "test_per_image")
    return {name: found.to_json()[name] for name in names}


def registration(root: Path, arguments: argparse.Namespace, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all noise levels."""
    for noise in (float(level) for level in arguments.noise.split(",")):
        task = f"registration, noise {noise:g}"
        data = with_splits(draw_pairs(root / f"noise{noise:g}", TRAIN + PAIRS, MAP, DRAWN, noise))
        for arm, method in (("phase correlation", phase_shift), ("cross-correlation", shift_between)):
            if (task, arm) not in done:
                yield {"task": task, "arm": arm, **by_hand(data, method)}
        arm = f"evoseg {budget(arguments)}, seed {arguments.seed}"
        if (task, arm) not in done:
            found = searched(root / f"noise{noise:g}", arguments)
            errors = [error_px(score) for score in found.test_per_image.values()]
            yield {"task": task, "arm": arm, **kept(found), **figures(errors)}


def tophat_answers(image: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield settings and places of white top-hats and percentiles, over the whole grid."""
    counts = image[:, :, 0].astype(np.float32)
    for (name, plane), sigma in product({"counts": counts, "log": np.log1p(counts)}.items(), SIGMAS):
        smoothed = cv2.GaussianBlur(plane, (0, 0), sigma) if sigma else plane
        for radius in RADII:
            element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
            flat = cv2.morphologyEx(smoothed, cv2.MORPH_TOPHAT, element)
            tops = flat == cv2.dilate(flat, np.ones((5, 5), np.uint8))
            for percentile in PERCENTILES:
                above = flat > np.percentile(flat, percentile)
                _, _, stats, middles = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
                for area in AREAS:
                    large = stats[1:, cv2.CC_STAT_AREA] >= area
                    yield (name, sigma, radius, percentile, area), middles[1:][large][:, ::-1]
                yield (name, sigma, radius, percentile, "tops"), np.argwhere(tops & above).astype(np.float64)


def tuned_tophat(data: Dataset) -> dict[str, Any]:
    """Return the top-hat that is best on the training frames, and its test scores."""
    stems, task = sorted(data.stems), PointTask("f1", RADIUS_PX)
    scores: dict[Any, list[float]] = {}
    for stem in stems[:TRAIN]:
        sample = data.load(stem)
        truth = task.target(task.arrays(sample))
        for setting, places in tophat_answers(sample.image):
            scores.setdefault(setting, []).append(float(task.score(task.judge(places, truth))))
    best = max(scores, key=lambda setting: float(np.mean(scores[setting])))
    on_test = []
    for stem in stems[TRAIN:]:
        sample = data.load(stem)
        places = next(places for setting, places in tophat_answers(sample.image) if setting == best)
        on_test.append(float(task.score(task.judge(places, task.target(task.arrays(sample))))))
    return {"train": float(np.mean(scores[best])), "test": float(np.mean(on_test)), "setting": best}


def diffraction(root: Path, arguments: argparse.Namespace, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the frames: of an upright detector, and of a tilted one with maps of it."""
    for task, draw in (("diffraction", draw_frames), ("tilted detector", draw_detector_frames)):
        data = with_splits(draw(root / task, TRAIN + FRAMES, FRAME, DRAWN))
        if (task, "white top-hat") not in done:
            yield {"task": task, "arm": "white top-hat", **tuned_tophat(data)}
        arm = f"evoseg {budget(arguments)}, seed {arguments.seed}"
        if (task, arm) not in done:
            found = searched(root / task, arguments)
            yield {"task": task, "arm": arm, **kept(found), "test": found.scores["test"]}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    head = "| task | arm | test score | median error | 90th percentile | wall s | load per core |\n|" + " --- |" * 7
    body = [
        f"| {r['task']} | {r['arm']} | {r['test']:.3f} | "
        + (f"{r['median_px']:.2f} px | {r['p90_px']:.2f} px" if "median_px" in r else " | ")
        + f" | {r['wall_s']:.0f} | {r['load_per_core']} |"
        for r in lines
    ]
    return "\n".join([head, *body])


STUDIES = {"registration": registration, "modalities": modalities, "diffraction": diffraction}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", choices=tuple(STUDIES))
    parser.add_argument("--out", type=Path, default=Path("beamlines.jsonl"))
    parser.add_argument("--noise", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--evaluations", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    lines = rows_in(arguments.table or arguments.out)
    if arguments.table:
        print(table(lines))
        return
    if arguments.study is None:
        parser.error("name a study: registration, modalities or diffraction")
    done = {(row["task"], row["arm"]) for row in lines}
    with tempfile.TemporaryDirectory(prefix="evoseg-beamlines-") as scratch:
        begun = time.monotonic()
        for row in STUDIES[arguments.study](Path(scratch), arguments, done):
            load = round(os.getloadavg()[0] / (os.cpu_count() or 1), 1)
            row = {**row, "wall_s": round(time.monotonic() - begun, 1), "load_per_core": load}
            add_row(arguments.out, row)
            print(f"{row['task']:24s} {row['arm']:24s} test {row['test']:.3f}", flush=True)
            begun = time.monotonic()


if __name__ == "__main__":
    main()
