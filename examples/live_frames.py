"""Segment one frame after another as a camera would deliver them, and measure the speed.

The script draws its own frames, takes about 15 s, and writes nothing except the run:

    python examples/live_frames.py
"""

from collections.abc import Iterator
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

import evoseg

SHAPE = (480, 640)


def camera(n: int) -> Iterator[NDArray[np.uint8]]:
    """Yield n frames, uint8 (M, N) or (M, N, 3) with colours in the order R, G, B; use your camera here."""
    rng = np.random.default_rng(5)
    scene = evoseg.synthetic.SCENES["cracks"](rng, SHAPE).image
    for number in range(n):
        yield np.roll(scene, 7 * number, axis=1)


rng = np.random.default_rng(2)
scenes = [evoseg.synthetic.SCENES["cracks"](rng, (240, 320)) for _ in range(10)]
# Only pipelines with a modelled cost of at most 20 ms per megapixel on one core are allowed.
model = evoseg.Segmenter(evaluations=300, goal=evoseg.Goal(max_ms_per_mpx=20.0))
model.fit([s.image for s in scenes], [s.mask for s in scenes])
pipeline = model.pipeline_
print(f"{len(pipeline)} steps, {pipeline.cost:.1f} ms per megapixel by the model")

start, n, share = perf_counter(), 0, 0.0
for frame in camera(60):
    mask = pipeline(frame)
    n, share = n + 1, share + float(mask.mean())
seconds = perf_counter() - start
megapixels = n * SHAPE[0] * SHAPE[1] / 1e6
print(f"{n / seconds:.0f} frames of {SHAPE[1]} x {SHAPE[0]} per second ({megapixels / seconds:.0f} Mpx/s), ", end="")
print(f"{100 * share / n:.1f} % foreground")
