"""Drawn examples that small networks learn within seconds."""

from pathlib import Path

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from evoseg.core.folds import each_alone
from evoseg.datasets.memmap import write_pack
from evoseg.networks.values import Example, PackedExamples


def discs(
    n: int, shape: tuple[int, int] = (112, 144), radius: int = 7, channels: int = 1, seed: int = 0
) -> list[Example]:
    """Return images with bright discs and dark ones; only the bright are foreground, and each has its number."""
    examples = []
    for i in range(n):
        rng = default_rng((seed, i))
        image = 100 + 6 * rng.standard_normal((*shape, channels))
        labels = np.zeros(shape, np.int32)
        rows, cols = np.ogrid[: shape[0], : shape[1]]
        for number in range(1, 11):
            row, col = rng.integers(shape[0]), rng.integers(shape[1])
            inside = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
            bright = number % 2 == 1
            image[inside] = (150 if bright else 60) + 6 * rng.standard_normal((np.count_nonzero(inside), channels))
            labels[inside] = number if bright else 0
        examples.append(Example(np.clip(image, 0, 255).astype(np.uint8), labels))
    return examples


def masks_of(examples: list[Example]) -> list[Example]:
    """Return the examples with foreground instead of objects."""
    return [Example(example.image, example.truth > 0, example.known) for example in examples]


def packed(folder: Path, examples: list[Example]) -> PackedExamples:
    """Return the examples in a file, as a training in a process of its own takes them."""
    items = (
        (str(i), {"image": e.image, "truth": e.truth} | ({} if e.known is None else {"known": e.known}))
        for i, e in enumerate(examples)
    )
    return PackedExamples(write_pack(folder / "examples.pack", items), "truth", each_alone(len(examples)))


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return intersection over union."""
    return float(np.count_nonzero(found & truth) / np.count_nonzero(found | truth))
