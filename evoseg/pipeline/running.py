"""Run a program's steps on one image."""

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import PipelineError
from evoseg.operators import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
    return (value for _, value in evaluated(steps, range(len(steps)), {-1: raw}))


def run_step(place: int, step: "Step", arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Return a step's value."""
    result: NDArray[Any] = registry.get(step.operator).run(arrays, step.params)
    return result


def evaluated(
    steps: "Sequence[Step]",
    places: "Iterable[int]",
    values: dict[int, NDArray[Any]],
    run: "Callable[[int, Step, tuple[NDArray[Any], ...]], NDArray[Any]]" = run_step,
) -> "Iterator[tuple[int, NDArray[Any]]]":
    """Yield place and value of some of the steps in turn.

    Parameters
    ----------
    places : iterable of int
        Of the steps to run, ascending; what they need beyond them is in `values`.
    values : dict of int to array
        Taken over: a value leaves it after its last use.
    run : callable (place, step, arrays) -> array
        How a step's value is found.
    """
    places = list(places)
    last_use = {j: i for i in places for j in steps[i].inputs}
    for i in places:
        s = steps[i]
        values[i] = run(i, s, tuple(values[j] for j in s.inputs))
        for j in set(s.inputs):
            if last_use[j] == i:
                del values[j]
        yield i, values[i]


def reaches(steps: "Sequence[Step]") -> list[int]:
    """Return how many pixels away a pixel of the image can influence each step's value, or `WHOLE`."""
    found: list[int] = []
    for s in steps:
        before = [0 if j == -1 else found[j] for j in s.inputs]
        own = registry.get(s.operator).reach(s.params)
        found.append(registry.WHOLE if registry.WHOLE in (own, *before) else own + max(before))
    return found
