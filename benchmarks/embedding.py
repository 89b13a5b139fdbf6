"""Embed ten drawn images with each embedder: CPU seconds, and how many of them go into cutting views.

python benchmarks/embedding.py
"""

from time import perf_counter, process_time

from evoseg.core.streams import stream
from evoseg.library.embedders import embedders
from evoseg.synthetic import SCENES

SHAPES = ((512, 512), (2048, 2048))
IMAGES = 10


def main() -> None:
    """Run as a script."""
    began = perf_counter()
    found = embedders()
    print(f"torch loaded and the weights of {len(found)} embedders read in {perf_counter() - began:.2f} s")
    for shape in SHAPES:
        images = [SCENES["tissue"](stream(0, "embedding", i), shape).image for i in range(IMAGES)]
        for embedder in found:
            began = process_time()
            for image in images:
                embedder.views.of(image)
            cutting = process_time() - began
            began = process_time()
            for image in images:
                embedder.embed(image)
            whole = process_time() - began
            size = f"{shape[0]} x {shape[1]}"
            print(f"{embedder.name}: {IMAGES} images of {size}: {whole:.2f} CPU s, cutting {cutting / whole:.0%} of it")


if __name__ == "__main__":
    main()
