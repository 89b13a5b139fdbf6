"""Python operators in the registry: their steps are like any others, and run in a sandbox that this process starts."""

import atexit
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import legible
from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.operators import registry
from evoseg.operators.parameters import on_grid
from evoseg.operators.registry import PYTHON, WHOLE, Operator, complete_docstring
from evoseg.sandbox.admission import Admission
from evoseg.sandbox.code import Code, read_code
from evoseg.sandbox.supervisor import Sandbox

USUAL_SHAPE = (512, 512)
"""Height and width, px, of the image that a cost is measured on if the operator's own images are not known."""
LEAST_SIDE, MOST_SIDE = 256, 1024
"""Smallest and largest height and width, px, of the image that a cost is measured on.

On smaller ones, it would be the start of the operator's process that is measured.
"""
_RUNS = 3

_sandbox = Sandbox()
"""Where all Python operators of this process run; it starts with the first of them."""
atexit.register(_sandbox.close)
_known: dict[str, "AdmittedCode"] = {}


@dataclass(frozen=True)
class AdmittedCode:
    """A Python operator that has been tried out.

    Attributes
    ----------
    source : str
    cost : float, ns per pixel
        Measured once, when it was admitted, so that a search can be repeated on another day.
    """

    source: str
    cost: float

    @cached_property
    def code(self) -> Code:
        """What the source declares."""
        return read_code(self.source)

    @property
    def name(self) -> str:
        """What the registry calls it."""
        return registry.code_name(self.code.digest)


def admit_source(source: str, shape: tuple[int, int] = USUAL_SHAPE) -> AdmittedCode:
    """Try a Python operator out, measure its cost, and make it known.

    Parameters
    ----------
    shape : tuple of int
        Height and width, px, of the images that it is for. Its cost per pixel may depend on that: it may work on a copy
        of one size, for instance.

    Raises
    ------
    CodeError
        If its source breaks a rule, or it may not be used.
    SandboxError
        If nothing can run on this system.
    """
    code = read_code(source)
    with Admission() as admission:
        admission.admit(code)
    admitted = AdmittedCode(code.source, _measure_cost(code, shape))
    add_code(admitted)
    return admitted


def add_code(admitted: AdmittedCode) -> str:
    """Make an admitted operator known to the registry, and return its digest.

    Raises
    ------
    CodeError
        If this version of evoseg does not accept its source.
    """
    code = admitted.code
    if _known.get(code.digest) != admitted:
        _known[code.digest] = admitted
        registry.add_code_operator(_make_operator(code, admitted.cost))
    return code.digest


def admitted_code(digest: str) -> AdmittedCode:
    """Return an operator that is known.

    Raises
    ------
    PipelineError
        If it is not.
    """
    registry.get(registry.code_name(digest))
    return _known[digest]


def _make_operator(code: Code, cost: float) -> Operator:
    summary = legible(code.summary) or "Run an operator written in Python."
    return Operator(
        name=registry.code_name(code.digest),
        family=PYTHON,
        summary=summary,
        function=_function(code, summary),
        inputs=code.inputs,
        output=code.output,
        parameters=code.parameters,
        revision=1,
        commutative=False,
        serves=(),
        two_pass=None,
        in_order=None,
        aliases=(),
        retired=False,
        _cost=lambda _: cost,
        _reach=lambda _: WHOLE,
        code=code.digest,
    )


def _function(code: Code, summary: str) -> Callable[..., NDArray[Any]]:
    def run(*inputs: NDArray[Any], **parameters: Any) -> NDArray[Any]:
        return _sandbox.run(code, inputs, parameters)

    inputs = dict(zip(code.input_names, code.inputs, strict=True))
    run.__doc__ = complete_docstring(summary, inputs, code.parameters, {}, code.output)
    return run


def _measure_cost(code: Code, shape: tuple[int, int]) -> float:
    """Return the CPU time per pixel in ns, the best of some, the start of the operator's process included."""
    rows, cols = (min(max(side, LEAST_SIDE), MOST_SIDE) for side in shape)
    scene = stream(0, "code", "cost").integers(0, 256, (rows, cols)).astype(np.uint8)
    as_kind = {Kind.RAW: scene[:, :, None].repeat(3, axis=2), Kind.GRAY: scene, Kind.MASK: scene > 127}
    inputs = [as_kind.get(kind, scene.astype(np.int32)) for kind in code.inputs]
    return on_grid(min(_sandbox.cpu_seconds(code, inputs) for _ in range(_RUNS)) / scene.size * 1e9)
