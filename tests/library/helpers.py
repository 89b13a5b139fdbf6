"""Small solved tasks, made rather than searched for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import default_rng

from evoseg.library.descriptors import IMAGES, MASKS
from evoseg.library.exchange import current_revisions
from evoseg.library.task import Card, SolvedTask, StoredPipeline
from evoseg.pipeline import Pipeline, read_text

TEXTS = (
    "def pipeline(image):\n a = channel(image, index=0)\n b = gaussian(a, sigma=2.0)\n return threshold(b, level=90)",
    "def pipeline(image):\n a = channel(image, index=0)\n b = black_tophat(a, radius=7)\n return threshold(b, level=9)",
    "def pipeline(image):\n a = plane(image, channel='G')\n return threshold(a, level=77)",
)


def programs() -> list[Pipeline]:
    return [read_text(text) for text in TEXTS]


def statistics(rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Draw plausible features."""
    drawn = {}
    for name, descriptor in (("images", IMAGES), ("masks", MASKS)):
        values = [(f, f.centre + f.scale * rng.normal()) for f in descriptor.features]
        drawn[name] = {f.name: float(f"{2**v if f.log else v:.4g}") for f, v in values}
    return drawn


def task(
    name: str = "plates",
    seed: int = 1,
    score: float = 0.8,
    texts: Sequence[int] = (0, 1),
    family: str = "",
    channels: int = 3,
    **others: Any,
) -> SolvedTask:
    """Make a task whose numbers depend on a seed."""
    rng = default_rng(seed)
    roles = ("best", "short", "cheap")
    chosen = [programs()[i] for i in texts]
    stored = [StoredPipeline(r, p, score, current_revisions(p)) for r, p in zip(roles, chosen, strict=False)]
    made = {
        "card": Card(title=f"About {name}", family=family or name, license="CC0"),
        "metric": "iou",
        "n_images": 2,
        "channels": channels,
        "statistics": statistics(rng),
        "vectors": {},
        "pipelines": tuple(stored),
        "hashes": tuple(rng.bytes(32).hex() for _ in range(2)),
        "origin": "a test",
    }
    return SolvedTask(name=name, **(made | others))
