#!/usr/bin/env python3
"""What the studio's live answer learns from a few strokes, with and without the encoder, beside a random forest.

    python experiments/strokes.py DATASETS --out rows.jsonl [--only wbc_nuclei,glas_glands] [--pairs 2]
    python experiments/strokes.py DATASETS --out rows.jsonl --method forest
    python experiments/strokes.py DATASETS --out rows.jsonl --within-training
    python experiments/strokes.py --table rows.jsonl

A simulated person paints on two search images of a dataset: first the centre line of the largest object and of the
background in each, then, one stroke after the other, the centre line of the largest region that the method has wrong in
either image, in its true label; so each method has its own errors corrected. A stroke is at most 60 px long and 3 px
wide. Rows give the mean IoU on full masks after 4, 8, 12 and 20 strokes: on the test images of evoseg's own splits or,
to choose between designs, on the other search images (--within-training). The forest is as ilastik's: 100 trees on
intensities, edges and textures at five scales.
"""

import argparse
import tempfile
import time
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from skimage.feature import multiscale_basic_features
from skimage.morphology import skeletonize
from sklearn.ensemble import RandomForestClassifier
from study import add_row, rows_in  # beside this file

from evoseg.datasets.checking import open_dataset
from evoseg.datasets.io.files import write_image
from evoseg.datasets.splits import split
from evoseg.studio.live import Live
from evoseg.studio.project import Project, StudioImage
from evoseg.studio.strokes import Edit

SETS = ("wbc_nuclei", "neu_patches", "dsb2018_fluo", "glas_glands", "crackforest", "leather_defects")
SHOWN = (4, 8, 12, 20)
LONGEST_PX = 60
N_TEST = 12
"""Test images, at most."""


def centre_line(region: np.ndarray) -> list[tuple[float, float]]:
    """Return a walk along the centre line of the largest part of a region, from its thickest place."""
    n, parts, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    if n == 1:
        return []
    part = parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    line = skeletonize(part) if part.sum() > 9 else part
    if not line.any():
        line = depth == depth.max()
    here = np.unravel_index(int(np.where(line, depth, 0).argmax()), part.shape)
    left, walk = line.copy(), [here]
    for _ in range(LONGEST_PX):
        left[here] = False
        top, first = max(0, here[0] - 1), max(0, here[1] - 1)
        near = np.argwhere(left[top : here[0] + 2, first : here[1] + 2])
        if not len(near):
            break
        here = (int(top + near[0][0]), int(first + near[0][1]))
        walk.append(here)
    return [(float(row) + 0.5, float(col) + 0.5) for row, col in walk]


class Method(Protocol):
    """What learns from strokes."""

    def fit(self) -> None:
        """Learn from all strokes that are there."""

    def mark(self, image: StudioImage) -> np.ndarray:
        """Return the foreground of an image."""


class LiveAnswer:
    """The studio's, once the pretrained encoder has seen the painted images."""

    def __init__(self, project: Project) -> None:
        self.project, self.live = project, Live(project)

    def fit(self) -> None:
        """Fit a model."""
        while self.live.encode_next():
            pass
        self.model = self.live.fit()

    def mark(self, image: StudioImage) -> np.ndarray:
        """Return the foreground."""
        found = self.live.region(self.model, image, (0, 0, *self.project.rows(image).shape), 2**31)
        assert found is not None
        return found.labels == 2


class Filters(LiveAnswer):
    """The studio's before that."""

    def fit(self) -> None:
        """Fit a model."""
        self.model = self.live.fit()


class Forest:
    """A random forest like ilastik's."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.features = cache(self._features)

    def _features(self, image: StudioImage) -> np.ndarray:
        pixels = self.project.crop(image, (0, 0, *self.project.rows(image).shape))
        found = multiscale_basic_features(pixels, sigma_min=0.7, sigma_max=11, num_sigma=5, channel_axis=-1)
        return found.reshape(-1, found.shape[-1])

    def fit(self) -> None:
        """Fit the trees."""
        images = [image for image in self.project.images.values() if self.project.state(image) == "strokes"]
        drawn = [self.project.strokes(image).labels.ravel() for image in images]
        values = [self.features(image)[labels > 0] for image, labels in zip(images, drawn, strict=True)]
        self.trees = RandomForestClassifier(100, class_weight="balanced", random_state=0, n_jobs=1)
        self.trees.fit(np.concatenate(values), np.concatenate([labels[labels > 0] for labels in drawn]))

    def mark(self, image: StudioImage) -> np.ndarray:
        """Return the foreground."""
        return self.trees.predict(self.features(image)).reshape(self.project.rows(image).shape) == 2


METHODS = {"live": LiveAnswer, "filters": Filters, "forest": Forest}


class Person:
    """Paints on two images whose truth it knows."""

    def __init__(self, project: Project, truth: dict[str, np.ndarray]) -> None:
        self.project, self.truth = project, truth
        self.images = [image for image in project.images.values() if image.stem in truth]
        self.n = 0

    def paint(self, image: StudioImage, region: np.ndarray, label: int) -> None:
        """Paint along the middle of a region."""
        if walk := centre_line(region):
            self.n += 1
            edit = Edit(id=str(self.n), tool="brush", label=label, radius=1.5, points=tuple(walk))
            self.project.strokes(image).add(edit)

    def begin(self) -> None:
        """Paint an object and the background of each image."""
        for image in self.images:
            mask = self.truth[image.stem]
            self.paint(image, mask, 2)
            self.paint(image, ~mask, 1)

    def correct(self, method: Method) -> None:
        """Paint along the middle of the largest error."""
        errors = []
        for image in self.images:
            mask, found = self.truth[image.stem], method.mark(image)
            drawn = self.project.strokes(image).labels > 0
            for label, wrong in ((2, mask & ~found & ~drawn), (1, found & ~mask & ~drawn)):
                _, _, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))
                errors.append((int(stats[1:, cv2.CC_STAT_AREA].max(initial=0)), image, wrong, label))
        _, image, wrong, label = max(errors, key=lambda error: error[0])
        self.paint(image, wrong, label)


def iou(found: np.ndarray, mask: np.ndarray) -> float:
    """Return the IoU of two masks, 1 if both are empty."""
    union = (found | mask).sum()
    return float((found & mask).sum() / union) if union else 1.0


def run(path: Path, pair: int, name: str, *, within_training: bool) -> list[dict[str, Any]]:
    """Return a row for each number of strokes on a pair of search images."""
    dataset = open_dataset(path)
    splits = split(dataset)
    painted = splits.search[2 * pair : 2 * pair + 2]
    tested = [stem for stem in (splits.search if within_training else splits.test) if stem not in painted][:N_TEST]
    samples = {stem: dataset.load(stem) for stem in (*painted, *tested)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "images").mkdir()
        for stem, sample in samples.items():
            write_image(root / "images" / f"{stem}.tif", sample.image)
        project = Project(root)
        method: Method = METHODS[name](project)
        person = Person(project, {stem: samples[stem].mask for stem in painted})
        by_stem = {image.stem: image for image in project.images.values()}
        person.begin()
        while True:
            start = time.process_time()
            method.fit()
            seconds = time.process_time() - start
            if person.n in SHOWN:
                found = [iou(method.mark(by_stem[stem]), samples[stem].mask) for stem in tested]
                row = {"dataset": path.name, "method": name, "pair": pair, "strokes": person.n, "seconds": seconds}
                rows.append(row | {"iou": float(np.mean(found))})
            before = person.n
            if before < SHOWN[-1]:
                person.correct(method)
            if person.n == before:
                project.save()  # the folder goes away
                return rows


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("strokes.jsonl"))
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument(
        "--pairs", type=int, default=1, help="pairs of search images that are painted, one after the other"
    )
    parser.add_argument("--within-training", action="store_true")
    parser.add_argument("--method", choices=list(METHODS), default="live")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(rows_in(options.table)))
        return
    done = {(row["dataset"], row["method"], row["pair"]) for row in rows_in(options.out)}
    for name, pair in product(options.only.split(","), range(options.pairs)):
        if (name, options.method, pair) not in done:
            rows = run(options.datasets / name, pair, options.method, within_training=options.within_training)
            for row in rows:
                add_row(options.out, row)
                print(row, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the mean IoU by dataset, method and number of strokes."""
    lines = ["| dataset | method | " + " | ".join(f"{n} strokes" for n in SHOWN) + " |"]
    lines.append("| --- " * (len(SHOWN) + 2) + "|")
    names, methods = (list(dict.fromkeys(row[key] for row in rows)) for key in ("dataset", "method"))
    for name, method in product([*names, "mean"], methods):
        some = [row for row in rows if name in (row["dataset"], "mean") and row["method"] == method]
        found = [[row["iou"] for row in some if row["strokes"] == n] for n in SHOWN]
        cells = [f"{np.mean(values):.2f}" if values else "" for values in found]
        lines.append(f"| {name} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
