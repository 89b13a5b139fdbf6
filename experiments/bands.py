#!/usr/bin/env python3
"""Whether large images in bands give the pixels of the whole: every operator that claims it, on one image.

    python experiments/bands.py [--side 4000] [--draws 2] [--only otsu,median]

An operator claims it if its reach is finite or if it declares how it is measured and mapped. Each runs as the last step
of a program, once on whole arrays and once band by band, at its default numbers and at random ones. Prints a row per
operator and exits with 1 if a pixel differs.
"""

import argparse
import sys

import cv2
import numpy as np
from numpy.random import Generator

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.proposers.random_programs import Vocabulary
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.operators.strips import two_pass_height
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.running import ArrayRows, run_in_bands
from evoseg.pipeline.value import step

BAND = 1 << 20
"""Pixels of a band and of a strip: 16 of each in an image of 4000 x 4000."""


def picture(side: int, rng: Generator) -> np.ndarray:
    """Draw objects of many sizes, some as long as the image, on a ramp with noise; three channels."""
    plane = np.linspace(30, 90, side, dtype=np.float32)[:, None] + np.zeros(side, np.float32)
    for size in (3, 9, 40, 200):
        noise = cv2.resize(rng.random((side // size + 1,) * 2, np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        plane += 70 * (noise > 0.72)
    for start in range(0, side, side // 20):
        cv2.line(plane, (start, 0), (side - start // 2, side - 1), 200, 3)
    planes = [plane + 8 * rng.standard_normal(plane.shape, np.float32) for _ in range(3)]
    return np.clip(np.dstack(planes), 0, 255).astype(np.uint8)


def program(op: registry.Operator, values: tuple[Value, ...]) -> Pipeline:
    """Return a pipeline that ends with an operator, whose inputs differ and look no further than a few pixels."""
    steps = []
    places = []
    for slot, kind in enumerate(op.inputs):
        if kind is Kind.RAW:
            places.append(IMAGE)
            continue
        steps.append(step("channel", IMAGE, index=slot))
        steps.append(step("gaussian", len(steps) - 1, sigma=1.0 + slot))
        if kind is Kind.MASK:
            steps.append(step("threshold", len(steps) - 1, level=120 + 20 * slot))
        places.append(len(steps) - 1)
    names = dict(zip((p.name for p in op.parameters), values, strict=True))
    return Pipeline([*steps, step(op.name, *places, **names)])


def differing(op: registry.Operator, values: tuple[Value, ...], image: np.ndarray) -> int:
    """Return how many pixels differ between bands, strips and the whole."""
    pipeline = program(op, values)
    # The operators' functions themselves: large images would come in strips otherwise.
    found: list[np.ndarray] = []
    for s in pipeline.steps:
        entry = registry.get(s.operator)
        arrays = tuple(image if j == IMAGE else found[j] for j in s.inputs)
        found.append(entry.function(*arrays, **entry.named(s.params)))
    whole = found[-1]
    different = int(np.count_nonzero(run_in_bands(pipeline, ArrayRows(image), band=BAND, held=0) != whole))
    if op.two_pass is not None:
        strips = op.two_pass.run(arrays, entry.named(s.params), two_pass_height(image.shape[1], BAND))
        different += int(np.count_nonzero(strips != whole))
    return different


def main() -> int:
    """Try what is asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--side", type=int, default=4000)
    ask.add_argument("--draws", type=int, default=2)
    ask.add_argument("--only", default="")
    asked = ask.parse_args()
    cv2.setNumThreads(1)
    image = picture(asked.side, stream(0, "bands"))
    chosen = [op for op in registry.operators() if not asked.only or op.name in asked.only.split(",")]
    n_wrong = n_claims = 0
    words = Vocabulary(tuple(chosen), measure_images([image]))
    for op in chosen:
        rng = stream(0, "bands", op.name)
        draws: list[tuple[Value, ...]] = [tuple(p.default for p in op.parameters)]
        draws += [words.draw_step(rng, op, ()).params for _ in range(asked.draws - 1)]
        if op.reach(draws[0]) == registry.WHOLE and op.two_pass is None:
            continue
        different = sum(differing(op, values, image) for values in draws)
        n_claims += 1
        n_wrong += different > 0
        how = "measured" if op.two_pass is not None else "finite reach"
        print(f"{op.name:20s} {how:13s} {'identical' if not different else f'{different} PIXELS DIFFER'}", flush=True)
    print(f"{n_claims} operators at {asked.side} x {asked.side}, {asked.draws} times each: {n_wrong} differ")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
