"""A trained network gives the same planes in torch, in OpenCV and in an exported file, within one grey level."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from evoseg.core.folds import each_alone
from evoseg.exporters.python import export_python
from evoseg.networks.course import Course, Problem
from evoseg.networks.predicting import predict
from evoseg.networks.scenes import measure_standard
from evoseg.networks.values import OUTPUTS, Example, Head, TrainingSettings
from evoseg.networks.weights import is_pretrained_available
from evoseg.operators.network import add_network, describe_network
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.networks.drawn import discs, masks_of

HEADS: tuple[Head, ...] = ("mask", "objects", "points")
# Each head and each encoder meets each reduction, with one channel or with three.
CASES = [
    (head, encoder, channels, (1, 2, 4)[(i + i // 4) % 3])
    for i, (head, encoder, channels) in enumerate(product(HEADS, ("pretrained", "small"), (1, 3)))
]


def examples_for(head: Head, channels: int, n: int = 3) -> list[Example]:
    """Return images, not square, with what the head is to learn."""
    drawn = discs(n, shape=(121, 150), channels=channels)
    if head == "points":
        return [Example(e.image, np.argwhere(e.truth > 0)[::50].astype(np.float64)) for e in drawn]
    return masks_of(drawn) if head == "mask" else drawn


@pytest.mark.e2e
@pytest.mark.parametrize(("head", "encoder", "channels", "reduction"), CASES)
def test_torch_opencv_and_exported_python_give_the_same_planes(
    head: Head, encoder: str, channels: int, reduction: int, tmp_path: Path
) -> None:
    if encoder == "pretrained" and not is_pretrained_available():
        pytest.skip("the encoder's weights are not installed")
    examples = examples_for(head, channels)
    settings = TrainingSettings(head=head, steps=4, encoder=encoder, n_networks=2)
    problem = Problem(examples, settings, measure_standard(examples, channels), each_alone(len(examples)))
    course = Course(problem, reduction, lambda: None)
    course.train(None, settings.steps)
    if encoder == "pretrained" and channels == 3:
        course.tune(None, 2)
        assert course.n_tuning_steps == 2 and len(course.written) == 1
    weights = add_network(course.write())
    assert describe_network(weights).reduction == reduction
    # Darker than what was trained on, and of another size.
    image = (0.8 * discs(1, shape=(90, 133), channels=channels, seed=5)[0].image).astype(np.uint8)
    in_torch = predict(course.written, problem.standard, reduction, image)
    assert in_torch.shape == (len(OUTPUTS[head]), 90, 133) and np.ptp(in_torch) > 20
    for output, plane in zip(OUTPUTS[head], in_torch.astype(int), strict=True):
        pipeline = Pipeline([step("network", IMAGE, weights=weights, output=output)])
        exported: dict[str, object] = {"__name__": "exported", "__file__": str(tmp_path / "exported.py")}
        (tmp_path / "exported.py").write_text(export_python(pipeline), "utf-8")
        exec(compile((tmp_path / "exported.py").read_text("utf-8"), "exported.py", "exec"), exported)
        for found in (pipeline(image), exported["pipeline"](image)):
            assert found.dtype == np.uint8
            assert np.abs(found - plane).max() <= 1
