#!/usr/bin/env python3
"""How often the other half of a dataset is nearest among all datasets: what an embedder is worth.

    python experiments/embedder_ranks.py DATASETS --weights slim.safetensors study.safetensors [--draws 5]

Each dataset is parted into two halves at random, `--draws` times. A half is the mean of its images' vectors. Every half
asks which half of the other side is nearest; only datasets that no weights in the table were trained on ask, but all
are there to be mistaken for. "retaken": the other side's images are first given other light, contrast, colour cast,
blur, noise and up to a quarter more or less zoom. "sibling" also counts a dataset of the same `family`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from embedder import image_files, on_some_day, save, shown
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors import safe_open

from evoseg.core.streams import stream
from evoseg.datasets.card import read_card
from evoseg.datasets.io.files import read_image
from evoseg.networks.embedding import Embedder, efficientnet, resnet
from evoseg.networks.resnet import SLIM, ResNet

SEED = 0
STATISTIC_BINS = 16

Vectors = NDArray[np.float64]
"""float64 array of shape (n, dim), one row per image."""


@dataclass(frozen=True)
class Seen:
    """What one embedder makes of a dataset's images, as they are and retaken."""

    name: str
    family: str
    plain: Vectors
    retaken: Vectors


def statistics(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return mean and deviation of each channel, and a histogram of the logarithm of the gradient."""
    x = shown(image).astype(np.float32) / 255
    grey = x.mean(axis=2)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    histogram, _ = np.histogram(np.log(gradient + 1e-3), STATISTIC_BINS, (np.log(1e-3), np.log(4)))
    return np.concatenate([x.mean(axis=(0, 1)), x.std(axis=(0, 1)), histogram / gradient.size])


def retaken(image: NDArray[Any], rng: Generator) -> NDArray[np.uint8]:
    """Return another picture of what the image shows."""
    zoom = float(np.exp(rng.uniform(-0.22, 0.22)))
    x = cv2.resize(shown(image), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return np.asarray(on_some_day(rng, x.astype(np.float32) / 255) * 255, np.uint8)


def look_at(folder: Path, describe: Callable[[NDArray[Any]], NDArray[Any]]) -> Seen:
    """Describe all images of a dataset."""
    card = read_card(folder / "dataset.yaml")
    files = image_files(folder)
    images = [read_image(file) for file in files]
    again = [
        retaken(image, stream(SEED, "ranks", folder.name, file.name)) for file, image in zip(files, images, strict=True)
    ]
    plain, second = (np.array([describe(image) for image in group], np.float64) for group in (images, again))
    return Seen(folder.name, card.family, plain, second)


def standardised(all_seen: Sequence[Seen]) -> list[Seen]:
    """Return vectors of mean 0 and deviation 1 over all images as they are: what unlike statistics need."""
    every = np.concatenate([seen.plain for seen in all_seen])
    mean, deviation = every.mean(axis=0), every.std(axis=0) + 1e-9
    return [Seen(s.name, s.family, (s.plain - mean) / deviation, (s.retaken - mean) / deviation) for s in all_seen]


def ranks(all_seen: Sequence[Seen], asking: Sequence[str], draws: int, *, again: bool, cosine: bool) -> list[float]:
    """Return how often the other half is nearest, how often it or a sibling is, and the mean reciprocal rank."""
    rows = []
    for draw in range(draws):
        sides: tuple[list[Vectors], list[Vectors]] = ([], [])
        for seen in all_seen:
            order = stream(SEED, "ranks", draw, seen.name).permutation(len(seen.plain))
            other = seen.retaken if again else seen.plain
            sides[0].append(seen.plain[order[::2]].mean(axis=0))
            sides[1].append(other[order[1::2]].mean(axis=0))
        one, two = np.array(sides[0]), np.array(sides[1])
        if cosine:
            one, two = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (one, two))
        distance = np.linalg.norm(one[:, None] - two[None], axis=2)
        for table in (distance, distance.T):
            for i, seen in enumerate(all_seen):
                if seen.name in asking:
                    rank = 1 + int((table[i] < table[i, i]).sum())
                    nearest = all_seen[int(table[i].argmin())]
                    rows.append((rank == 1, nearest.family == seen.family, 1 / rank))
    return [float(value) for value in np.mean(rows, axis=0)]


def untrained() -> Embedder:
    """Return the slim network before any training."""
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "untrained.safetensors"
        save(ResNet(SLIM), path)
        return resnet(path)


def trained_on(weights: Path) -> set[str]:
    """Return the names of the sources that the weights say they were trained on; files not of ours say nothing."""
    if weights.suffix != ".safetensors":
        return set()
    with safe_open(weights, "np") as file:
        training = json.loads((file.metadata() or {}).get("training", "{}"))
    return set(training.get("sources", ()))


def main() -> int:
    """Print the table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("root", type=Path, help="the folder that holds the datasets")
    ask.add_argument("--weights", type=Path, nargs="*", default=[])
    ask.add_argument("--draws", type=int, default=5)
    asked = ask.parse_args()
    folders = sorted(path for path in asked.root.iterdir() if (path / "dataset.yaml").is_file())
    known = set().union(*(trained_on(path) for path in asked.weights))
    asking = [folder.name for folder in folders if folder.name not in known]
    arms: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "image statistics": statistics,
        "untrained net": untrained().embed,
        "EfficientNet-Lite0": efficientnet().embed,
        **{path.stem: resnet(path).embed for path in asked.weights},
    }
    print(f"{len(asking)} datasets ask among {len(folders)}, {asked.draws} draws of halves, both ways\n")
    print("| | nearest | or sibling | 1 / rank | retaken: nearest | or sibling | 1 / rank |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, describe in arms.items():
        seen = [look_at(folder, describe) for folder in folders]
        cosine = describe is not statistics
        seen = seen if cosine else standardised(seen)
        cells = [v for again in (False, True) for v in ranks(seen, asking, asked.draws, again=again, cosine=cosine)]
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
