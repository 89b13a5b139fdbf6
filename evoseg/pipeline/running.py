"""Run a program's steps on one image."""

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import PipelineError
from evoseg.operators import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evoseg.pipeline.value import Step


def as_raw(image: NDArray[Any]) -> NDArray[Any]:
    """Return `image` as a `Raw` value of shape (M, N, C).

    Raises
    ------
    PipelineError
        If it is not a uint8, uint16 or float32 array of shape (M, N) or (M, N, C) with at least one pixel.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise PipelineError(f"the image has shape {image.shape}; it must be (M, N) or (M, N, C).")
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise PipelineError(f"the image is {image.dtype}; it must be uint8, uint16 or float32. Convert it first.")
    return np.ascontiguousarray(image if image.ndim == 3 else image[:, :, None])


def run_steps(steps: "Sequence[Step]", raw: NDArray[Any]) -> NDArray[Any]:
    """Return the value of the last step."""
    return deque(step_values(steps, raw), maxlen=1)[0]


def step_values(steps: "Sequence[Step]", raw: NDArray[Any]) -> "Iterator[NDArray[Any]]":
    """Yield the value of each step in turn; one is held only until its last use."""
    last_use = {j: i for i, s in enumerate(steps) for j in s.inputs}
    values: dict[int, NDArray[Any]] = {-1: raw}
    for i, s in enumerate(steps):
        arrays = tuple(values[j] for j in s.inputs)
        values[i] = registry.get(s.operator).run(arrays, s.params)
        for j in set(s.inputs):
            if last_use[j] == i:
                del values[j]
        yield values[i]
