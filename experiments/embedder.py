#!/usr/bin/env python3
"""Train the slim network by which evoseg compares images.

    python experiments/embedder.py train --out slim.safetensors --log rows.jsonl [--no-datasets] [--datasets FOLDER]
        [--steps 2200] [--seed 0]
    python experiments/embedder.py curve rows.jsonl [rows.jsonl ...] --out curve.png

A *problem* is a source of images under a look of its own (scale, colours, polarity, contrast, another source mixed
in). Each batch holds many problems, each seen twice: through two disjoint samples of its source, each on another day
(light, colour cast, contrast, blur, noise, rotation, some zoom). The supervised contrastive loss of Khosla et al.
(NeurIPS 2020, arXiv:2004.11362, equation 2) draws the two together and all others apart.

Sources: drawn scenes, scikit-image's bundled images, and the train images of those datasets whose `license` allows
it (`licensed`); --no-datasets leaves these out.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors.torch import save as in_bytes
from torch.nn import functional

from evoseg.core.streams import stream
from evoseg.datasets.card import DatasetCard, read_card
from evoseg.datasets.io.files import read_image
from evoseg.datasets.io.formats import SUFFIXES
from evoseg.datasets.layouts.base import stem_of
from evoseg.networks.embedding import SLIM_VIEWS, to_bytes, to_rgb, window
from evoseg.networks.resnet import SLIM, ResNet
from evoseg.synthetic import SCENES

Image = NDArray[np.uint8]
"""uint8 array of shape (M, N, 3), as the network is shown it."""

DATASETS = Path(__file__).resolve().parents[2] / "shared" / "datasets"
DRAWN = 24
"""Images drawn of each scene."""
DRAWN_SHAPE = (224, 272)
PHOTOS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png",
    "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
"""scikit-image's bundled images that are no toys (logos, chessboards) and no faces."""
PROBLEMS = 48
TILE = SLIM_VIEWS.tile
TEMPERATURE = 0.1
RATE = 2e-3
DECAY = 1e-4
ROWS_EVERY = 20


@dataclass(frozen=True)
class Source:
    """Images of one kind, in two disjoint samples."""

    name: str
    group: str
    halves: tuple[list[Image], list[Image]]


def licensed(card: DatasetCard) -> bool:
    """Say whether a dataset's licence lets us train on it: CC0, CC BY, MIT or Apache.

    The text must begin with the licence: "repository MIT; data: research only" is not ours to use, nor are NC and SA.
    """
    return re.match(r"CC0\b|CC BY \d|MIT\b|Apache\b", card.license) is not None


def drawn(seed: int) -> Iterator[Source]:
    """Draw images of every scene."""
    for name, draw in SCENES.items():
        rngs = [stream(seed, "embedder", "drawn", name, i) for i in range(DRAWN)]
        images = [shown(draw(rng, DRAWN_SHAPE, noise=rng.uniform(0.5, 1.5), empty=0.0).image) for rng in rngs]
        yield Source(name, "drawn", (images[::2], images[1::2]))


def photos() -> Iterator[Source]:
    """Return scikit-image's bundled images; quarters of one image that meet at a corner are a sample of it."""
    for name in PHOTOS:
        image = shown(read_image(Path(skimage.__file__).parent / "data" / name))
        row, col = (n // 2 for n in image.shape[:2])
        one, other = [image[:row, :col], image[row:, col:]], [image[:row, col:], image[row:, :col]]
        yield Source(name, "scikit-image", (one, other))


def datasets(root: Path) -> Iterator[Source]:
    """Return the train images of the datasets whose licence allows it."""
    for folder in sorted(path for path in root.iterdir() if (path / "dataset.yaml").is_file()):
        card = read_card(folder / "dataset.yaml")
        if licensed(card):
            files = [file for file in image_files(folder) if stem_of(file.name) in card.splits["train"]]
            images = [shown(read_image(file)) for file in files]
            print(f"{folder.name}: {len(images)} train images; {card.license}", file=sys.stderr)
            yield Source(folder.name, "datasets", (images[::2], images[1::2]))


def image_files(folder: Path) -> list[Path]:
    """Return the images of a dataset, masks or not."""
    return sorted(file for file in (folder / "images").iterdir() if file.suffix.lower().lstrip(".") in SUFFIXES)


def shown(image: NDArray[Any]) -> Image:
    """Return an image as the network is shown it."""
    return to_bytes(to_rgb(image), *window(image))


@dataclass(frozen=True)
class Look:
    """What makes a problem of a source; the same for both samples.

    Attributes
    ----------
    scale : float
    colours : float32 array of shape (3, 3)
        Times a pixel's R, G, B.
    inverted : bool
    gamma : float
    partner : Source or None
        Whose images are mixed in, and `mixing` says how.
    """

    scale: float = 1.0
    colours: NDArray[np.float32] | None = None
    inverted: bool = False
    gamma: float = 1.0
    partner: Source | None = None
    mixing: str = ""


def draw_look(rng: Generator, sources: Sequence[Source]) -> Look:
    """Draw a look."""
    kind = rng.random()
    colours = None
    if kind < 0.25:
        colours = np.full((3, 3), 1 / 3)
    elif kind < 0.6:
        colours = rng.dirichlet((0.6, 0.6, 0.6), size=3)
    return Look(
        float(np.exp(rng.uniform(np.log(0.55), np.log(1.9)))),
        None if colours is None else colours.astype(np.float32),
        bool(rng.random() < 0.3),
        float(np.exp(rng.normal(0, 0.4))),
        sources[rng.integers(len(sources))] if rng.random() < 0.35 else None,
        ("mean", "lighter", "darker")[rng.integers(3)],
    )


def problems(rng: Generator, sources: Sequence[Source], n: int) -> list[tuple[Source, Look]]:
    """Draw n problems, groups of sources alike often; a source has its own look at most once."""
    groups = sorted({source.group for source in sources})
    drawn: list[tuple[Source, Look]] = []
    plain: set[str] = set()
    for _ in range(n):
        group = groups[rng.integers(len(groups))]
        members = [source for source in sources if source.group == group]
        source = members[rng.integers(len(members))]
        if source.name not in plain and rng.random() < 0.5:
            plain.add(source.name)
            drawn.append((source, Look()))
        else:
            drawn.append((source, draw_look(rng, sources)))
    return drawn


def view(rng: Generator, source: Source, look: Look, half: int) -> NDArray[np.float32]:
    """Return a tile of a problem's sample on some day, float32 of shape (TILE, TILE, 3), 0 to 1."""
    zoom = look.scale * float(np.exp(rng.uniform(-0.22, 0.22)))
    x = tile(rng, source.halves[half], zoom)
    if look.partner is not None:
        y = tile(rng, look.partner.halves[half], zoom)
        x = {"mean": (x + y) / 2, "lighter": np.maximum(x, y), "darker": np.minimum(x, y)}[look.mixing]
    if look.colours is not None:
        # Rounding may lead beyond 1, and a power of a negative number is NaN.
        x = np.minimum(x @ look.colours.T, 1)
    if look.inverted:
        x = 1 - x
    return on_some_day(rng, x**look.gamma)


def tile(rng: Generator, images: Sequence[Image], scale: float) -> NDArray[np.float32]:
    """Cut a square at any place and angle, flipped or not, and bring it to the scale."""
    image = images[rng.integers(len(images))]
    # So wide that a square turned by any angle lies in it.
    wide = int(np.ceil(TILE * 1.42))
    side = int(np.ceil(wide / scale))
    lacking = [max(0, side - n) for n in image.shape[:2]]
    if any(lacking):
        image = np.pad(image, [(0, lacking[0]), (0, lacking[1]), (0, 0)], mode="symmetric")
    row, col = (int(rng.integers(n - side + 1)) for n in image.shape[:2])
    square = cv2.resize(image[row : row + side, col : col + side], (wide, wide), interpolation=cv2.INTER_AREA)
    turn = cv2.getRotationMatrix2D((wide / 2, wide / 2), rng.uniform(0, 360), 1)
    turn[:, 2] -= (wide - TILE) / 2
    turned = cv2.warpAffine(square, turn, (TILE, TILE), flags=cv2.INTER_LINEAR)
    return (turned[:, ::-1] if rng.random() < 0.5 else turned).astype(np.float32) / 255


def on_some_day(rng: Generator, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image, 0 to 1, under other light, contrast, colour cast, blur and noise."""
    x = np.clip(x, 1e-3, 1) ** np.float32(np.exp(rng.normal(0, 0.25)))
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.08, 3)).astype(np.float32)
    x = (x - 0.5) * gain + np.float32(0.5 + rng.normal(0, 0.08))
    if rng.random() < 0.3:
        low, high = rng.uniform(0.6, 1.1, 2)
        x = x * np.linspace(low, high, x.shape[0], dtype=np.float32)[:, None, None]
    if rng.random() < 0.4:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.1))
    noise = rng.standard_normal((*x.shape[:2], 1 if rng.random() < 0.5 else 3), dtype=np.float32)
    return np.clip(x + np.float32(rng.uniform(0, 0.06)) * noise, 0, 1)


def batch(rng: Generator, sources: Sequence[Source]) -> "torch.Tensor":
    """Return the tiles of PROBLEMS problems, first seen once, then all seen again."""
    asked = problems(rng, sources, PROBLEMS)
    tiles = [view(rng, source, look, half) for half in (0, 1) for source, look in asked]
    return torch.from_numpy(SLIM_VIEWS.normalise(np.stack(tiles))).contiguous(memory_format=torch.channels_last)


def contrast(features: "torch.Tensor") -> "tuple[torch.Tensor, float]":
    """Return the loss, and how often a tile's nearest is its twin."""
    n = len(features)
    z = functional.normalize(features)
    likeness = (z @ z.T / TEMPERATURE).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    twins = torch.arange(n).roll(n // 2)
    return functional.cross_entropy(likeness, twins), float((likeness.argmax(1) == twins).float().mean())


def train(sources: Sequence[Source], steps: int, seed: int, log: Path) -> ResNet:
    """Return the trained network."""
    # With two threads on a busy machine, threads wait for each other ten times longer than they compute.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = ResNet(SLIM).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    recent: list[tuple[float, float]] = []
    began = time.monotonic()
    with log.open("w") as file:
        for step in range(1, steps + 1):
            loss, found = contrast(net(batch(stream(seed, "embedder", "step", step), sources)))
            if not torch.isfinite(loss):
                raise FloatingPointError(f"step {step}: the loss is not finite")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            recent.append((loss.item(), found))
            if step % ROWS_EVERY == 0 or step == steps:
                losses, hits = np.mean(recent, axis=0).round(4).tolist()
                seconds = round(time.monotonic() - began)
                print(json.dumps({"step": step, "loss": losses, "found": hits, "s": seconds}), file=file, flush=True)
                recent.clear()
    return net.eval()


def save(net: ResNet, out: Path, **about: Any) -> None:
    """Write the weights, and what is to be said about them."""
    state = {k: v.contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    # In one entry: safetensors writes several in any order, and equal trainings should give equal files.
    out.write_bytes(in_bytes(state, metadata={"training": json.dumps(about)}))


def draw_curve(logs: Sequence[Path], out: Path) -> None:
    """Draw how often a tile's nearest is its twin, over the steps of each training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for log in logs:
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        axes.plot([row["step"] for row in rows], [row["found"] for row in rows], label=log.stem)
    axes.set(xlabel="step", ylabel=f"nearest of {2 * PROBLEMS - 1} is the twin", ylim=(0, 1))
    axes.legend(frameon=False)
    figure.savefig(out, dpi=110)


def main() -> int:
    """Do what is asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = ask.add_subparsers(dest="task", required=True)
    training = tasks.add_parser("train")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--log", type=Path, required=True)
    training.add_argument("--datasets", type=Path, default=DATASETS)
    training.add_argument("--no-datasets", action="store_true")
    training.add_argument("--steps", type=int, default=2200)
    training.add_argument("--seed", type=int, default=0)
    drawing = tasks.add_parser("curve")
    drawing.add_argument("logs", type=Path, nargs="+")
    drawing.add_argument("--out", type=Path, required=True)
    asked = ask.parse_args()
    if asked.task == "curve":
        draw_curve(asked.logs, asked.out)
    if asked.task == "train":
        sources = [*drawn(asked.seed), *photos(), *(() if asked.no_datasets else datasets(asked.datasets))]
        names = [source.name for source in sources]
        print("sources:", *names, file=sys.stderr)
        net = train(sources, asked.steps, asked.seed, asked.log)
        save(net, asked.out, sources=names, steps=asked.steps, seed=asked.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
