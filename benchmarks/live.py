"""The studio's live answer: CPU time on one core from a stroke to the answer for the whole image.

    python benchmarks/live.py [--sides 512,1024,2048] [--answers 21]

Drawn tissue in colour, on which strokes are painted one after the other at random places, in their true label. There is
a row for filters alone, and one for the time after the pretrained encoder has seen the image, which happens once.
"""

import argparse
import tempfile
from pathlib import Path
from time import process_time

import cv2
import numpy as np
from numpy.random import default_rng

from evoseg.datasets.io.files import write_image
from evoseg.networks.weights import is_pretrained_available
from evoseg.studio.live import Live
from evoseg.studio.project import Project
from evoseg.studio.strokes import Edit
from evoseg.synthetic import SCENES

LENGTH_PX = 40
SEED = 20261130


def measure(side: int, n_answers: int) -> None:
    """Print a row without and one with the encoder."""
    rng = default_rng(SEED)
    scene = SCENES["tissue"](rng, (side, side))
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder, "tissue.png"), scene.image)
        project = Project(Path(folder))
        (image,) = project.images.values()
        live, n_strokes = Live(project), 0

        def paint(label: int) -> None:
            nonlocal n_strokes
            places = np.argwhere((scene.mask > 0) == (label == 2))
            row, col = places[rng.integers(len(places))].tolist()
            line = [
                (row, x) for x in range(col, min(side, col + LENGTH_PX)) if (scene.mask[row, x] > 0) == (label == 2)
            ]
            points = tuple((y + 0.5, x + 0.5) for y, x in line)
            n_strokes += 1
            project.strokes(image).add(Edit(id=str(n_strokes), tool="brush", label=label, radius=2, points=points))

        def answer() -> float:
            start = process_time()
            live.region(live.fit(), image, (0, 0, side, side), side**2)
            return process_time() - start

        for label in (1, 2, 1, 2):
            paint(label)
        for what in ("filters", "encoder") if is_pretrained_available() else ("filters",):
            start = process_time()
            while what == "encoder" and live.encode_next():
                pass
            encoding_s = process_time() - start
            seconds = []
            for i in range(n_answers):
                paint(1 + i % 2)
                seconds.append(answer())
            print(
                f"{side} x {side}, {what}: encoding {encoding_s:.2f} s, first answer {seconds[0]:.2f} s, "
                f"median {np.median(seconds):.2f} s, 95 % {np.quantile(seconds, 0.95):.2f} s",
                flush=True,
            )
        project.save()


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="512,1024,2048")
    parser.add_argument("--answers", type=int, default=21)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    for side in map(int, options.sides.split(",")):
        measure(side, options.answers)


if __name__ == "__main__":
    main()
