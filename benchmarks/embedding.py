"""Embed ten drawn images: the seconds, and how many of them go into cutting tiles.

python benchmarks/embedding.py [WEIGHTS]
"""

import sys
from time import perf_counter, process_time

from evoseg.base.streams import stream
from evoseg.data.scenes import SCENES
from evoseg.library.embedder import Embedder, cut

SHAPES = ((512, 512), (2048, 2048))
IMAGES = 10


def main() -> None:
    """Run as a script."""
    began = perf_counter()
    embedder = Embedder(*sys.argv[1:2])
    print(f"{embedder.id}: torch loaded and weights read in {perf_counter() - began:.2f} s")
    for shape in SHAPES:
        images = [SCENES["tissue"](stream(0, "embedding", i), shape).image for i in range(IMAGES)]
        began = process_time()
        for image in images:
            cut(image)
        cutting = process_time() - began
        began = process_time()
        for image in images:
            embedder.embed(image)
        whole = process_time() - began
        size = f"{shape[0]} x {shape[1]}"
        print(f"{IMAGES} images of {size}: {whole:.2f} CPU s, cutting tiles {cutting / whole:.0%} of it")


if __name__ == "__main__":
    main()
