"""Python operators as operators of the registry."""

import pytest

from evoseg.sandbox.operators import admit_source
from evoseg.sandbox.supervisor import Sandbox
from tests.sandbox.conftest import skip_without_landlock

SOURCE = """
def operator(plane: Gray, mask: Mask) -> Gray:
    "Set a plane to 0 outside a mask."
    return plane * mask
"""


@pytest.mark.parametrize(
    ("shape", "measured"), [((96, 300), (256, 300)), ((3000, 500), (1024, 500)), (None, (512, 512))]
)
def test_the_cost_is_measured_on_images_of_the_size_that_the_operator_is_for(shape, measured, monkeypatch):
    skip_without_landlock()
    seen = []

    def cpu_seconds(sandbox, code, inputs):
        seen.append({array.shape for array in inputs})
        return 0.006

    monkeypatch.setattr(Sandbox, "cpu_seconds", cpu_seconds)
    admitted = admit_source(SOURCE) if shape is None else admit_source(SOURCE, shape)
    assert all(shapes == {measured} for shapes in seen) and seen
    assert admitted.cost == pytest.approx(0.006e9 / (measured[0] * measured[1]), rel=0.01)
