"""A pipeline: a straight-line typed program of registered operators, always well typed and in canonical order."""

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.deprecation import public
from evoseg.core.errors import ImageWarning, PipelineError, legible
from evoseg.core.kinds import Kind
from evoseg.datasets.imageformat import Difference, ImageFormat, channel_differences, pixel_differences
from evoseg.datasets.io.files import native
from evoseg.operators import registry
from evoseg.operators.network import describe_network
from evoseg.operators.parameters import ContentDigest, Numbers, Range, Value
from evoseg.pipeline.running import RAW, as_raw, run_steps

IMAGE = -1
"""The input that stands for the image itself."""

NETWORK = "network"
"""The operator whose steps are networks that a search has trained."""

MAX_STEPS = 200

MAX_NUMBERS = 2500
"""Maximum number of numbers in all tuples of a pipeline, so that its text can be read back."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of an operator.

    Attributes
    ----------
    operator : str
    inputs : tuple of int
        Indices of earlier steps, or `IMAGE`.
    params : tuple of Value
        In the order of the operator's signature.
    """

    operator: str
    inputs: tuple[int, ...]
    params: tuple[Value, ...]


def step(operator: str, /, *inputs: int, **params: Value) -> Step:
    """Make a step by parameter names; those left out take their defaults.

    Raises
    ------
    PipelineError
        If the operator or a parameter is unknown, a value is out of its range, or two values contradict each other.
    """
    made = step_as_written(operator, *inputs, **params)
    if complaint := registry.get(made.operator).contradiction(made.params):
        raise PipelineError(complaint)
    return made


def step_as_written(operator: str, /, *inputs: int, **params: Value) -> Step:
    """Make a step as `step` does, whose values may contradict each other."""
    if operator == registry.PYTHON:
        digest = params.pop("code", None)
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{32}", digest):
            raise PipelineError('python needs the digest of its source, as code="..." with 32 hexadecimal digits.')
        operator = registry.code_name(digest)
    operator = registry.get(operator).name  # the present one, if it is an alias
    known = {p.name: p for p in registry.get(operator).parameters}
    for name in params:
        if name not in known:
            called = registry.get(operator).called
            raise PipelineError(f"{called} has no parameter '{legible(name)}'; it has {', '.join(known) or 'none'}.")
    values = tuple(params.get(p.name, p.default) for p in known.values())
    return Step(operator, inputs, _canonical(operator, values))


@dataclass(frozen=True, slots=True, init=False)
class Pipeline:
    """A program from one image to one value; its last step is the result.

    Building one checks kinds and values, merges equal steps, drops unused ones, sorts the arguments of commutative
    operators and orders the steps, so two texts that mean the same give equal values.

    Attributes
    ----------
    steps : tuple of Step
    digests, forms : tuple of bytes
        One identity per sub-program, with and without its fitted numbers; both include operator revisions.
    made_for : ImageFormat or None
        What the images were like that it was made for, if that is known; no part of what makes two programs equal.
    """

    steps: tuple[Step, ...]
    digests: tuple[bytes, ...] = field(repr=False, compare=False)
    forms: tuple[bytes, ...] = field(repr=False, compare=False)
    made_for: ImageFormat | None = field(repr=False, compare=False)

    def __init__(self, steps: Iterable[Step]) -> None:
        """Build the canonical pipeline whose result is the last of `steps`.

        Raises
        ------
        PipelineError
            If there is no step or there are too many, an input is not an earlier step, a kind does not fit, or a
            value is out of its range.
        """
        checked, digests, forms = _check_steps(list(steps))
        self._keep(checked, digests, forms)

    def _keep(self, steps: Sequence[Step], digests: Sequence[bytes], forms: Sequence[bytes]) -> None:
        """Take over what the last of some checked steps needs, in canonical order."""
        kept, renumbered = _canonical_order(steps, digests)
        object.__setattr__(self, "steps", renumbered)
        object.__setattr__(self, "digests", tuple(digests[i] for i in kept))
        object.__setattr__(self, "forms", tuple(forms[i] for i in kept))
        object.__setattr__(self, "made_for", None)

    def for_images(self, made_for: ImageFormat | None) -> "Pipeline":
        """Return the same program, which knows what images it was made for, or with None does not compare any."""
        same = object.__new__(Pipeline)
        for name in ("steps", "digests", "forms"):
            object.__setattr__(same, name, getattr(self, name))
        object.__setattr__(same, "made_for", made_for)
        return same

    @property
    def digest(self) -> str:
        """Identity of results: operators, revisions and all numbers."""
        return self.digests[-1].hex()

    @property
    def form(self) -> str:
        """Identity for repeats: the digest with fitted numbers blanked."""
        return self.forms[-1].hex()

    @property
    def cost(self) -> float:
        """Modelled cost in ns per pixel, which is also ms per megapixel.

        Raises
        ------
        PipelineError
            If a step names a network that is not there.
        """
        # All planes of a network come at once.
        networks = {s.params[0]: s for s in self.steps if s.operator == NETWORK}
        return self.filter_cost + sum(_cost(registry.get(s.operator), s.params) for s in networks.values())

    @property
    def filter_cost(self) -> float:
        """The same without networks, whose planes a search has at hand."""
        return sum(_cost(registry.get(s.operator), s.params) for s in self.steps if s.operator != NETWORK)

    @property
    def has_network(self) -> bool:
        """Whether a step is a trained network; all others are readable."""
        return any(s.operator == NETWORK for s in self.steps)

    @property
    def networks(self) -> tuple[str, ...]:
        """The digests of the networks that steps name, each once."""
        named = (
            str(value)
            for s in self.steps
            for parameter, value in zip(registry.get(s.operator).parameters, s.params, strict=True)
            if isinstance(parameter.domain, ContentDigest)
        )
        return tuple(dict.fromkeys(named))

    @property
    def codes(self) -> tuple[str, ...]:
        """The digests of the Python operators that are no part of evoseg, each once."""
        return tuple(dict.fromkeys(op.code for s in self.steps if (op := registry.get(s.operator)).code))

    @property
    def output(self) -> Kind:
        """The kind of the result."""
        return registry.get(self.steps[-1].operator).output

    @property
    def channels(self) -> int:
        """How many channels an image must have for every channel that a step names by its number to be there.

        Operators take the last one for any beyond it: whoever runs a pipeline on strange images has to look first.
        """
        return 1 + max((place for places in self._looks(named=True) for place in places), default=0)

    def reads(self, n: int) -> tuple[int, ...]:
        """Return which of the n channels of an image the program looks at."""
        return tuple(sorted({min(place, n - 1) for places in self._looks() for place in places}))

    @property
    def compares_colours(self) -> bool:
        """Whether it compares channels with one another, so that it finds nothing in a grey image."""
        looks = [(0,) if places == _BRIGHTNESS else places for places in self._looks()]
        return any(len(places) > 1 for places in looks) or len({*looks}) > 1

    def _looks(self, *, named: bool = False) -> list[tuple[int, ...]]:
        """Return the channels that each step on the image looks at, or only those that are named by their number."""
        found: list[tuple[int, ...]] = []
        for s in self.steps:
            if registry.get(s.operator).code:
                # What it looks at cannot be told from outside.
                found += [_ALL] if IMAGE in s.inputs and not named else []
                continue
            for parameter, value in zip(registry.get(s.operator).parameters, s.params, strict=True):
                if isinstance(parameter.domain, Range) and parameter.domain.unit == "channel":
                    assert isinstance(value, int)
                    found.append((value,))
                elif isinstance(parameter.domain, ContentDigest):
                    n = describe_network(str(value)).channels
                    # Backwards, since it compares them; a grey image among colour ones has three equal channels.
                    if not named or n not in (1, 3):
                        found.append(tuple(reversed(range(n))))
                elif named or IMAGE not in s.inputs:
                    continue
                elif isinstance(parameter.domain, Numbers) and isinstance(value, tuple):
                    found.append(tuple(i for i, weight in enumerate(value) if weight) or (0,))
                elif parameter.name == "channel":
                    found.append(_CHANNELS.get(str(value), _COLOURS))
        return found

    def lacks(self, n: int, names: Sequence[str] = (), *, alike: bool = False) -> list[Difference]:
        """Compare the number of an image's channels, and their names if they are known, with what it was made for.

        Parameters
        ----------
        n : int
        names : sequence of str
        alike : bool
            Whether all channels are the same.
        """
        if self.made_for is not None:
            known = self.made_for.as_json()
            reads = self.reads(len(self.made_for.channels))
            return channel_differences(known, n, names, reads, self.compares_colours, alike)
        if n >= self.channels:
            return []
        here = "1 channel" if n == 1 else f"{n} channels"
        advice = "Take images with the channels (planes/) that it was made for"
        return [("channels", True, here, f"the pipeline reads channel {self.channels - 1}, counted from 0. {advice}")]

    def differences(self, image: NDArray[Any], names: Sequence[str] = ()) -> list[Difference]:
        """Compare an image, shape (M, N, C), with what the program was made for, as far as that is known.

        Parameters
        ----------
        names : sequence of str
            Of its channels, if they are known.
        """
        n = image.shape[2]
        alike = n > 1 and all(np.array_equal(image[..., 0], image[..., i]) for i in range(1, n))
        found = self.lacks(n, names, alike=alike)
        return found if self.made_for is None else [*found, *pixel_differences(self.made_for.as_json(), image)]

    @property
    def contradiction(self) -> str:
        """Say which values of a step contradict each other; nothing if none do."""
        complaints = (registry.get(s.operator).contradiction(s.params) for s in self.steps)
        return next((complaint for complaint in complaints if complaint), "")

    def settled(self) -> "Pipeline":
        """Return a pipeline of the same pixels in which no values contradict each other.

        A search may propose any values; the pipelines that it returns are settled.
        """
        if not self.contradiction:
            return self
        steps = (Step(s.operator, s.inputs, registry.get(s.operator).settle(s.params)) for s in self.steps)
        return Pipeline(steps).for_images(self.made_for)

    def until(self, index: int) -> "Pipeline":
        """Return the sub-program whose result is step `index`."""
        part = object.__new__(Pipeline)
        end = range(len(self.steps))[index] + 1
        part._keep(self.steps[:end], self.digests[:end], self.forms[:end])
        return part

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        """Return the program as text, which `evoseg.read_pipeline` reads."""
        from evoseg.pipeline.textform import print_text

        return print_text(self).rstrip("\n")

    def __repr__(self) -> str:
        steps = "1 step" if len(self) == 1 else f"{len(self)} steps"
        called = ", ".join(registry.get(s.operator).called for s in self.steps)
        return f"<Pipeline of {steps} that returns {self.output}: {called}>"

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the program to a file, as `evoseg.write_pipeline` does."""
        public("write_pipeline")(self, path, overwrite=overwrite)

    def export(self, path: str | Path | None = None, to: str | None = None, *, overwrite: bool = False) -> Path | str:
        """Write the program as code that runs without evoseg, or return the code, as `evoseg.export` does."""
        exported: Path | str = public("export")(self, path, to, overwrite=overwrite)
        return exported

    def _repr_html_(self) -> str:
        """Show the text, and what each step does, in a notebook."""
        from evoseg.pipeline.explaining import pipeline_html

        return pipeline_html(self)

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run the program.

        Parameters
        ----------
        image : array of shape (M, N) or (M, N, C)
            uint8, uint16 or float32; others are converted as files are: True becomes 255, and doubles and other
            integers become float32 where that is exact.

        Returns
        -------
        array of the kind `output`, e.g. bool (M, N)

        Raises
        ------
        PipelineError
            If the image is no array, has another shape or holds no numbers, or lacks a channel that the program was
            made for.
        DatasetError
            If its values do not fit into 32-bit floats.

        Warns
        -----
        ImageWarning
            If the program knows what images it was made for, and this one is unlike them.
        """
        if isinstance(image, str | Path):
            raise PipelineError(f"{image}: a pipeline takes an array. evoseg.read_image(path) reads one from a file.")
        image = np.asarray(image)
        raw = as_raw(native("the image", image) if image.dtype.kind in "biuf" and image.dtype not in RAW else image)
        if self.made_for is not None:
            for _, fatal, here, expected in self.differences(raw):
                if fatal:
                    raise PipelineError(f"the image: {here}, but {expected}.")
                warnings.warn(f"the image: {here}, but {expected}.", ImageWarning, stacklevel=2)
        return run_steps(self.steps, raw)


_BRIGHTNESS = (0, 1, 2)
_COLOURS = (2, 1, 0)
_ALL = tuple(reversed(range(64)))
_CHANNELS = {"R": (0,), "G": (1,), "B": (2,), "gray": _BRIGHTNESS, "V": _BRIGHTNESS, "L": _BRIGHTNESS}
"""Planes that are one channel, or brightness, which a grey image has as well; all others compare the first three."""


def _canonical(operator: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return checked values on the grid; values that cannot be cached safely bypass the cache."""
    plain = all(type(v) in (int, float, str) or (type(v) is tuple and bool not in map(type, v)) for v in values)
    return _check_values(operator, values) if plain else _check_values.__wrapped__(operator, values)


@lru_cache(maxsize=1 << 16)
def _check_values(operator: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    parameters = registry.get(operator).parameters
    if len(values) != len(parameters):
        called = registry.get(operator).called
        raise PipelineError(f"{called} takes {len(parameters)} parameters, not {len(values)}.")
    try:
        return tuple(p.check(v) for p, v in zip(parameters, values, strict=True))
    except PipelineError as error:
        raise PipelineError(f"{registry.get(operator).called}: {error}") from None


@lru_cache(maxsize=1 << 16)
def _cost(operator: registry.Operator, values: tuple[Value, ...]) -> float:
    return operator.cost(values)


def _check_steps(steps: list[Step]) -> tuple[list[Step], list[bytes], list[bytes]]:
    """Return checked steps, the arguments of commutative operators sorted, with a digest and a form each."""
    if not steps:
        raise PipelineError("a pipeline needs at least one step.")
    checked = [checked_step(steps, i) for i in range(len(steps))]
    digests: list[bytes] = []
    forms: list[bytes] = []
    for i, s in enumerate(checked):
        if registry.get(s.operator).commutative:
            order = sorted(s.inputs, key=lambda j: (b"", b"") if j == IMAGE else (forms[j], digests[j]))
            checked[i] = s = Step(s.operator, tuple(order), s.params)
        digests.append(_identity(s, digests, blank=False))
        forms.append(_identity(s, forms, blank=True))
    return checked, digests, forms


def _canonical_order(checked: Sequence[Step], digests: Sequence[bytes]) -> tuple[list[int], tuple[Step, ...]]:
    """Return which steps the last one needs, each once, in post-order, and these steps renumbered."""
    kept: list[int] = []
    place: dict[bytes, int] = {}
    # Depth first with an explicit stack: a chain of 200 steps must not meet the recursion limit.
    stack = [len(checked) - 1]
    while stack:
        i = stack[-1]
        waiting = [j for j in reversed(checked[i].inputs) if j != IMAGE and digests[j] not in place]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if digests[i] not in place:
            place[digests[i]] = len(kept)
            kept.append(i)
    if len(kept) > MAX_STEPS:
        raise PipelineError(f"the pipeline has {len(kept)} steps; at most {MAX_STEPS} are allowed.")
    numbers = sum(len(v) for i in kept for v in checked[i].params if isinstance(v, tuple))
    if numbers > MAX_NUMBERS:
        raise PipelineError(f"the pipeline's tuples hold {numbers} numbers; at most {MAX_NUMBERS} are allowed.")
    ordered = tuple(
        Step(checked[i].operator, tuple(_renumber(j, digests, place) for j in checked[i].inputs), checked[i].params)
        for i in kept
    )
    return kept, ordered


def _renumber(index: int, digests: Sequence[bytes], place: dict[bytes, int]) -> int:
    return IMAGE if index == IMAGE else place[digests[index]]


def checked_step(steps: Sequence[Step], index: int) -> Step:
    """Return step `index` with canonical values, after checking its inputs' number, order and kinds.

    Raises
    ------
    PipelineError
        If one of them is wrong; earlier steps are taken as they are.
    """
    s = steps[index]
    op = registry.get(s.operator)
    if len(s.inputs) != len(op.inputs):
        counted = "1 input" if len(op.inputs) == 1 else f"{len(op.inputs)} inputs"
        raise PipelineError(f"{op.called} takes {counted}, not {len(s.inputs)}.")
    for j, wanted in zip(s.inputs, op.inputs, strict=True):
        if not IMAGE <= j < index:
            raise PipelineError(f"{op.called}, step {index}: input {j} is not an earlier step.")
        given = Kind.RAW if j == IMAGE else registry.get(steps[j].operator).output
        if given is not wanted:
            source = "the image" if j == IMAGE else registry.get(steps[j].operator).called
            raise PipelineError(f"{op.called} takes a {wanted} value, but {source} gives a {given} value.")
    return Step(op.name, s.inputs, _canonical(op.name, s.params))


def _identity(s: Step, inputs: Sequence[bytes], *, blank: bool) -> bytes:
    sources = b"".join(b"image" if j == IMAGE else inputs[j] for j in s.inputs)
    return blake2b(_spell(s.operator, s.params, blank) + b"|" + sources, digest_size=16).digest()


@lru_cache(maxsize=1 << 16)
def _spell(operator: str, values: tuple[Value, ...], blank: bool) -> bytes:
    op = registry.get(operator)
    shown = [None if blank and p.fitted else v for p, v in zip(op.parameters, values, strict=True)]
    return f"{op.name}@{op.revision}{shown!r}".encode()
