"""Networks that are trained together at one working resolution.

An encoder that stays as it is computes features of augmented windows once; several decoders are trained on these, each
without a share of the images. Without a pretrained encoder, each network is trained whole, on new crops.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from evoseg.core.folds import Units, count_folds, fold_of
from evoseg.core.kinds import Raw
from evoseg.core.streams import stream
from evoseg.networks.architecture import (
    Decoder,
    Encoder,
    Member,
    PretrainedEncoder,
    SmallEncoder,
    Standard,
    write_ensemble,
)
from evoseg.networks.augmenting import Cutter
from evoseg.networks.cache import CachedWindow, draw_cached, draw_fresh, encode, to_tensor, window_size
from evoseg.networks.lite0 import STRIDES
from evoseg.networks.optimising import Pace, Stopwatch, fit
from evoseg.networks.predicting import predict
from evoseg.networks.scenes import make_scenes
from evoseg.networks.values import OUTPUTS, Example, Planes, TrainingSettings
from evoseg.networks.weights import is_pretrained_available, pretrained_state

T = TypeVar("T")

FORMAT_VERSION = 1
"""Of the metadata in a network's file."""
_BATCH = 4
_RATE, _SMALL_RATE = 1e-2, 4e-3
"""Largest rates of a decoder alone, and of a small encoder and its decoder."""
_TUNED_RATES = 3e-4, 1e-3
"""Largest rates of the pretrained encoder and of a trained decoder, when both are trained on."""
_MAX_WINDOWS = 16
"""Windows of an image in the cache."""
_CACHE_SHARE = 0.35
"""Of the time."""
_CACHE_BYTES = 500_000_000
_STEPS_PER_WINDOW = 12
"""Steps of a network for each window of an image, where the budget counts steps."""
_USUAL_S_PX = 4e-7
"""CPU seconds of an encoder for a pixel, until it has been measured."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What networks are trained for.

    Attributes
    ----------
    examples : sequence of Example
    settings : TrainingSettings
    standard : Standard
        Of the examples' images.
    units : intp array of shape (n_examples,)
        Which unit each example is of.
    """

    examples: Sequence[Example]
    settings: TrainingSettings
    standard: Standard
    units: Units

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the planes."""
        return OUTPUTS[self.settings.head]

    @property
    def n_networks(self) -> int:
        """How many networks are trained."""
        return count_folds(self.units, self.settings.n_networks)

    def left_out_of(self, i: int) -> int:
        """Return the network that trains without example i."""
        return int(self._folds[i])

    @cached_property
    def _folds(self) -> NDArray[np.intp]:
        return fold_of(self.units, self.n_networks)

    def stopwatch(self) -> Stopwatch:
        """Return a stopwatch that starts now and counts all threads."""
        return Stopwatch(self.settings.stretch, self.settings.threads)

    def each(self, do: Callable[[int], T], n: int) -> list[T]:
        """Do something for each number below n, several at a time if threads are allowed."""
        if self.settings.threads == 1:
            return [do(i) for i in range(n)]
        with ThreadPoolExecutor(self.settings.threads) as pool:
            return list(pool.map(do, range(n)))


class Course:
    """Networks that are trained together at one working resolution.

    Parameters
    ----------
    problem : Problem
    reduction : int
        1, 2 or 4: how many pixels of a row the networks see as one.
    on_step : callable
        Called after each step of each network.

    Attributes
    ----------
    members : list of Member
        The networks that leave images out.
    written : list of Member
        Those whose mean the file gives: the same, or the one whose encoder was trained, too.
    n_steps : int
        Steps of the network that has made the most.
    n_tuning_steps : int
        Steps of the network whose encoder was trained, too.
    """

    def __init__(self, problem: Problem, reduction: int, on_step: Callable[[], None]) -> None:
        self.reduction = reduction
        self.n_steps = self.n_tuning_steps = 0
        self._problem = problem
        self._on_step = on_step
        self._seed = problem.settings.seed
        channels = len(problem.standard.mean)
        rng = stream(self._seed, "network", "scenes", reduction)
        scenes = make_scenes(problem.examples, problem.settings.head, problem.standard, reduction, rng)
        self._cutters = [Cutter(scene) for scene in scenes]
        self._sizes = [window_size(cutter.shape) for cutter in self._cutters]
        self._windows: list[list[CachedWindow]] = [[] for _ in self._cutters]
        self._seconds_per_px = _USUAL_S_PX
        self._frozen = _pretrained(channels) if problem.settings.encoder == "pretrained" else None
        self.members = [self._new_member(j, channels) for j in range(problem.n_networks)]
        self.written = list(self.members)

    @property
    def is_pretrained(self) -> bool:
        """Whether the encoder comes with weights."""
        return self._frozen is not None

    @property
    def encoder(self) -> str:
        """Name of the encoder."""
        return "EfficientNet-Lite0" if self.is_pretrained else "small"

    @property
    def n_windows(self) -> int:
        """Windows in the cache, of all images together."""
        return sum(len(found) for found in self._windows)

    def train(self, seconds: float | None, steps: int | None) -> None:
        """Train all networks, on from where they are.

        Parameters
        ----------
        seconds : float or None
            CPU seconds for everything.
        steps : int or None
            Steps of each network, instead.
        """
        watch = self._problem.stopwatch()
        if self._frozen is not None:
            self._fill_cache(self._frozen, None if seconds is None else _CACHE_SHARE * seconds, steps)
        if seconds is not None:
            seconds = max(0.0, seconds - watch.seconds) / len(self.members)
        self.n_steps += max(self._problem.each(lambda j: self._fit(j, seconds, steps), len(self.members)))

    def _fit(self, j: int, seconds: float | None, steps: int | None) -> int:
        """Train network j and return its steps."""
        encoder, decoder = self.members[j].encoder, self.members[j].decoder
        seen = [i for i in range(len(self._cutters)) if self._problem.left_out_of(i) != j]
        rng = stream(self._seed, "network", j, "batches", self.n_steps)
        pace = Pace(self._on_step, seconds=seconds, steps=steps, stretch=self._problem.settings.stretch)
        if isinstance(encoder, SmallEncoder):
            cutters = [self._cutters[i] for i in seen]
            fit(
                {encoder: _SMALL_RATE, decoder: _SMALL_RATE},
                lambda: draw_fresh(cutters, _BATCH, rng),
                lambda batch: decoder(batch.image, encoder(batch.image)),
                pace,
            )
        else:
            windows = [self._windows[i] for i in seen]
            fit(
                {decoder: _RATE},
                lambda: draw_cached(windows, _BATCH, rng),
                lambda batch: decoder(batch.image, batch.taps),
                pace,
            )
        return pace.n_steps

    def tune(self, seconds: float | None, steps: int | None) -> None:
        """Train a network on all images, its encoder as well; it takes the others' place in the file.

        Parameters
        ----------
        seconds : float or None
            CPU seconds.
        steps : int or None
            Steps, instead.
        """
        assert self._frozen is not None
        encoder, decoder = deepcopy(self._frozen), deepcopy(self.members[0].decoder)
        encoder.unfreeze()
        settings = self._problem.settings
        rng = stream(self._seed, "network", "tuned", "batches")
        # In several threads, sums have no fixed order, and a budget in steps promises equal results.
        threads = settings.threads if steps is None else 1
        pace = Pace(
            self._on_step,
            seconds=None if seconds is None else seconds / threads,
            steps=steps,
            stretch=settings.stretch,
        )
        with _threads(threads):
            fit(
                {encoder: _TUNED_RATES[0], decoder: _TUNED_RATES[1]},
                lambda: draw_fresh(self._cutters, _BATCH, rng),
                lambda batch: decoder(batch.image, encoder(batch.image)),
                pace,
            )
        self.n_tuning_steps = pace.n_steps
        self.written = [Member(encoder.requires_grad_(False), decoder)]

    def _fill_cache(self, encoder: PretrainedEncoder, seconds: float | None, steps: int | None) -> None:
        """Add windows of every image in turn, until time or memory is used up."""
        watch = self._problem.stopwatch()
        if not self._windows[0]:
            sized = list(zip(self._cutters, self._sizes, strict=True))
            # Cut twice rather than kept: many windows at a time take much memory.
            encoder.standardise_taps(to_tensor(cutter.plain(size).image) for cutter, size in sized)
            self._add([encode(encoder, cutter.plain(size)) for cutter, size in sized])
        wanted = _MAX_WINDOWS if steps is None else min(_MAX_WINDOWS, 1 + steps // _STEPS_PER_WINDOW)
        n_px = self._n_px
        n_bytes = sum(found[0].n_bytes for found in self._windows)
        while (rounds := len(self._windows[0])) < wanted and n_bytes * (rounds + 1) <= _CACHE_BYTES:
            used = watch.seconds
            if seconds is not None and used + self._seconds_per_px * n_px > seconds:
                return
            self._add(self._problem.each(lambda i: self._new_window(encoder, i), len(self._cutters)))
            self._seconds_per_px = (watch.seconds - used) / n_px

    def _new_window(self, encoder: PretrainedEncoder, i: int) -> CachedWindow:
        rng = stream(self._seed, "network", "window", i, len(self._windows[i]))
        return encode(encoder, self._cutters[i].cut(self._sizes[i], rng))

    def _add(self, windows: Sequence[CachedWindow]) -> None:
        for found, window in zip(self._windows, windows, strict=True):
            found.append(window)

    def _new_member(self, j: int, channels: int) -> Member:
        with _seeded(self._seed, "network", j):
            encoder: Encoder = self._frozen or SmallEncoder(channels)
            return Member(encoder, Decoder(channels, encoder.widths, len(self._problem.outputs)))

    @property
    def starting_seconds(self) -> float:
        """About the CPU seconds before the first step: a window of each image is encoded twice."""
        return 2 * self._seconds_per_px * self._n_px if self.is_pretrained else 0.0

    @property
    def _n_px(self) -> int:
        """Pixels of a window of each image."""
        return sum(rows * cols for rows, cols in self._sizes)

    def predicting_seconds(self, images: Sequence[Raw]) -> float:
        """Return about the CPU seconds that `planes_out_of_bag` takes for some images."""
        # A window has fewer rims than tiles, but its augmentation takes time, too.
        return 1.4 * self._seconds_per_px * sum(image[:, :, 0].size for image in images) / self.reduction**2

    def planes_out_of_bag(self, i: int, image: Raw) -> Planes:
        """Return the planes of an image that belongs to example i, by the network that did not see it."""
        member = self.members[self._problem.left_out_of(i)]
        planes = predict([member], self._problem.standard, self.reduction, image)
        return dict(zip(self._problem.outputs, planes, strict=True))

    def write(self) -> bytes:
        """Return the file, as ONNX."""
        metadata = {
            "version": FORMAT_VERSION,
            "channels": len(self._problem.standard.mean),
            "brightness": self._problem.standard.brightness,
            "reduction": self.reduction,
            "outputs": self._problem.outputs,
            "reach": max(member.reach() for member in self.written),
            "stride": STRIDES[-1],
        }
        return write_ensemble(self.written, self._problem.standard, metadata, len(self._problem.outputs))


def _pretrained(channels: int) -> PretrainedEncoder | None:
    """Return the pretrained encoder for images of some channels, None if its weights are not installed."""
    if not is_pretrained_available():
        return None
    encoder = PretrainedEncoder(channels)
    encoder.load_lite0(pretrained_state())
    # In this order, its depthwise convolutions take half the time.
    encoder.to(memory_format=torch.channels_last).requires_grad_(False).eval()
    return encoder


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let torch compute in several threads for a while."""
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(1)


@contextmanager
def _seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Let torch draw from a stream of its own for a while."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(seed, *path).integers(2**63)))
        yield
