"""Tries a Python operator out before anything may use it: it must be total, pure and fast enough."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.operators.parameters import Range, Value
from evoseg.sandbox.code import Code, CodeError
from evoseg.sandbox.supervisor import Sandbox

Array = NDArray[Any]

SHARE = 0.5
"""Share of the CPU time that is allowed later, so that no admitted operator fails on a slower day."""
_PERTURBED_RATIO = 3.0
"""Python is this much slower with the plain allocator of a perturbed sandbox."""
_SHAPES = ((64, 64), (1, 1), (1, 9), (37, 53), (128, 96))
_SEED = 20


class Admission:
    """Two sandboxes of unlike hashes, addresses and memory, in which operators are tried."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()
        self._other = Sandbox(perturbed=True)

    def admit(self, code: Code, examples: Sequence[Sequence[Array]] = ()) -> list[Array]:
        """Return an operator's results on the examples, if it may be used.

        It runs on the examples and on drawn images: textures, black and white ones, from 1 x 1 pixel on, of all pixel
        types that its inputs can have; with its default parameters, and with all at their lowest and highest values.
        The results must be the same in another process, with the images in the opposite order.

        Parameters
        ----------
        code : Code
        examples : sequence of sequences of arrays
            Inputs as of `Sandbox.run_all`, such as images of a search. On these, a gray result must not be cut off.

        Raises
        ------
        CodeError
            If it may not be used.
        SandboxError
            If nothing can run on this system.
        """
        results = self._sandbox.run_all(code, examples, limit_ratio=SHARE, strict=True)
        self._compare(code, examples, results)
        drawn = draw_inputs(code)
        self._compare(code, drawn, self._sandbox.run_all(code, drawn, limit_ratio=SHARE))
        for at in ("low", "high"):
            if code.parameters:
                self._sandbox.run_all(code, drawn, _extremes(code, at), limit_ratio=SHARE)
        return results

    def close(self) -> None:
        """End both sandboxes."""
        self._sandbox.close()
        self._other.close()

    def __enter__(self) -> "Admission":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _compare(self, code: Code, images: Sequence[Sequence[Array]], results: Sequence[Array]) -> None:
        again = self._other.run_all(code, images[::-1], limit_ratio=_PERTURBED_RATIO)[::-1]
        if _equal(results, again):
            return
        in_order = self._other.run_all(code, images, limit_ratio=_PERTURBED_RATIO)
        if _equal(results, in_order):
            why = "its result depends on the images before. Keep nothing from one image to the next"
        else:
            why = (
                "its results differ from call to call. Leave out clocks and addresses, fill arrays of numpy.empty, and "
                "sort sets before their order matters"
            )
        raise CodeError("impure", f"the Python operator {code.digest[:8]}: {why}.")


def _equal(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _extremes(code: Code, at: str) -> dict[str, Value]:
    """Return the lowest or highest values that all parameters admit."""
    values: dict[str, Value] = {}
    for parameter in code.parameters:
        assert isinstance(parameter.domain, Range)
        values[parameter.name] = parameter.nearest(getattr(parameter.domain, at))
    return values


def draw_inputs(code: Code) -> list[tuple[Array, ...]]:
    """Return drawn inputs for an operator: textures of several sizes and pixel types, black ones and white ones."""
    rng = stream(_SEED, "admission")
    drawn = []
    for shape in _SHAPES:
        # Blobs and noise, 0 to 1; all inputs are of one scene.
        rows, cols = np.ogrid[: shape[0], : shape[1]]
        scene = (np.sin(rows / 5) * np.cos(cols / 7) + 1) / 3 + rng.random(shape) / 3
        drawn.append(scene)
    drawn += [np.zeros((16, 21)), np.ones((16, 21))]
    types = ("uint8", "uint16", "float32") if Kind.RAW in code.inputs else ("uint8",)
    n_channels = (1, 3) if Kind.RAW in code.inputs else (1,)
    return [
        tuple(_as_input(scene, kind, dtype, channels) for kind in code.inputs)
        for dtype in types
        for channels in n_channels
        for scene in drawn
    ]


def _as_input(scene: Array, kind: Kind, dtype: str, n_channels: int) -> Array:
    if kind is Kind.MASK:
        return scene > 0.5
    if kind is Kind.LABELS:
        return (scene * 5).astype(np.int32)
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    if kind is Kind.GRAY:
        return (scene * 255).astype(np.uint8)
    return np.repeat((scene * top).astype(dtype)[:, :, None], n_channels, axis=2)
