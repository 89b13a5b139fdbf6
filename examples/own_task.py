"""A task of your own: count nuclei. Only their number affects the score.

To use it as a task on your own images and masks:

    evoseg search plates/ --task examples/own_task.py

To try it on synthetic images, which takes about 20 s:

    python examples/own_task.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from evoseg import Kind, PlainTask, Sample


class Task(PlainTask):
    """Score the number of nuclei, wherever they are."""

    output = Kind.LABELS  # what a pipeline returns; the highest label is the number of objects

    def arrays(self, sample: Sample) -> dict[str, np.ndarray]:
        """Return the arrays of an image: the input of pipelines (here its square root) and the number of nuclei."""
        assert sample.labels is not None
        steady = np.sqrt(sample.image.astype(np.float32))  # makes photon noise independent of brightness
        return {"image": steady, "count": np.array([sample.labels.max()])}

    def target(self, item) -> float:
        """Return what `judge` needs; computed once per image."""
        return float(item["count"][0])

    def judge(self, output: np.ndarray, target: float) -> np.ndarray:
        """Return the statistics of the result on one image."""
        return np.array([output.max(), target], np.float64)

    def score(self, statistics: np.ndarray) -> np.ndarray:
        """Turn statistics of shape (..., 2) into scores: 1 for the correct number, 0 for twice as many or none."""
        found, true = statistics[..., 0], statistics[..., 1]
        return np.maximum(0.0, 1 - np.abs(found - true) / np.maximum(true, 1))


if __name__ == "__main__":
    import evoseg

    with TemporaryDirectory() as scratch:
        folder = evoseg.draw_dataset("nuclei", Path(scratch) / "nuclei", n=12, shape=(120, 150), seed=1)
        result = evoseg.search(folder, task=__file__, seconds=15, workers=1, library="none", out=Path(scratch) / "run")
    print(result.pipeline)
    print(f"score on {len(result.test_per_image)} test images: {result.scores['test']:.3f}")
    print("for comparison:", result.baselines_test)
