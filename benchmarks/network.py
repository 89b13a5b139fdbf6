"""Pipelines beside a small U-Net: megapixels per second on one core of this machine.

    python benchmarks/network.py [--side 2048]

The pipelines are the best of each seed task for foreground, run on a tiled drawn image with as many channels as they
read. The U-Net is the least that is commonly trained on a few images: four levels of two 3 x 3 convolutions, 16 to 128
channels, in float32 by torch; untrained weights take as long as trained ones.
"""

import argparse
import statistics
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from evoseg.core.kinds import Kind
from evoseg.exporters.standalone import drawn_image
from evoseg.library.collection import bundled_tasks

WIDTHS = (16, 32, 64, 128)
REPEATS = 3


def unet(channels: int) -> Any:
    """Return a U-Net as a function of a float32 tensor of shape (1, channels, M, N), M and N divisible by 8."""
    import torch
    from torch import nn

    def twice(inputs: int, width: int) -> nn.Sequential:
        first, second = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))

    down = [twice(i, w) for i, w in pairwise((channels, *WIDTHS))]
    up = [nn.ConvTranspose2d(w, v, 2, stride=2) for v, w in pairwise(WIDTHS)]
    after = [twice(2 * w, w) for w in WIDTHS[:-1]]
    last = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(x: Any) -> Any:
        kept = []
        for level in down[:-1]:
            kept.append(level(x))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = down[-1](x)
        for level in reversed(range(len(up))):
            x = after[level](torch.cat([up[level](x), kept[level]], 1))
        return last(x) > 0

    return forward


def quickest_s(run: Callable[[], object]) -> float:
    """Return the least time of a few runs, s."""
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def tiled(channels: int, side: int) -> np.ndarray:
    """Return an 8-bit image of shape (side, side, channels)."""
    image = drawn_image("uint8")[:, :, :channels]
    times = [-(-side // n) for n in image.shape[:2]]
    return np.ascontiguousarray(np.tile(image, (*times, 1))[:side, :side])


def main() -> None:
    """Time both and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--side", type=int, default=2048)
    side = ask.parse_args().side
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    megapixels, rates = side * side / 1e6, []
    for task in bundled_tasks():
        best = next(stored.pipeline for stored in task.pipelines if stored.role == "best")
        if task.output is Kind.MASK and best.channels <= 3:
            image = tiled(3, side)
            rates.append(megapixels / quickest_s(lambda best=best, image=image: best(image)))
    network, x = unet(3), torch.zeros(1, 3, side, side)
    with torch.inference_mode():
        of_network = megapixels / quickest_s(lambda: network(x))
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    print(f"{len(rates)} pipelines: {middle:.1f} Mpx/s (median; {low:.1f} to {high:.1f})")
    print(f"U-Net: {of_network:.2f} Mpx/s; the median pipeline is {middle / of_network:.1f} times as fast")


if __name__ == "__main__":
    main()
