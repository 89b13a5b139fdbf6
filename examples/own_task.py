"""A task of one's own: count nuclei, and let nothing but the number decide.

As a task, for images and masks of yours:

    evoseg search plates/ --task examples/own_task.py

As it is, it draws its own images and takes about 20 s:

    python examples/own_task.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from evoseg import Kind, PlainTask, Sample


class Task(PlainTask):
    """Right is who counts right, wherever the nuclei are."""

    output = Kind.LABELS  # what a pipeline returns; its highest number is how many objects it found

    def item(self, sample: Sample) -> dict[str, np.ndarray]:
        """Return what the search is to hold of an image: own inputs, here square roots, and the number of nuclei."""
        assert sample.labels is not None
        steady = np.sqrt(sample.image.astype(np.float32))  # noise of photons is then the same in bright and dark parts
        return {"image": steady, "count": np.array([sample.labels.max()])}

    def truth(self, item) -> float:
        """Return what `judge` needs; made once per image."""
        return float(item["count"][0])

    def judge(self, output: np.ndarray, truth: float) -> np.ndarray:
        """Return statistics of one answer."""
        return np.array([output.max(), truth], np.float64)

    def score(self, statistics: np.ndarray) -> np.ndarray:
        """Turn statistics of shape (..., 2) into scores: 1 for the right number, 0 from twice as many on."""
        found, true = statistics[..., 0], statistics[..., 1]
        return np.maximum(0.0, 1 - np.abs(found - true) / np.maximum(true, 1))


if __name__ == "__main__":
    import evoseg
    from evoseg.data.scenes import draw_dataset

    with TemporaryDirectory() as scratch:
        folder = draw_dataset("nuclei", Path(scratch) / "nuclei", n=12, shape=(120, 150), seed=1)
        found = evoseg.search(folder, task=__file__, seconds=15, workers=1, library="none", out=Path(scratch) / "run")
    print(found.result["pipeline"])
    print(f"score on {len(found.test_per_image)} test images: {found.scores['test']:.3f}")
    print("for comparison:", found.baselines_test)
