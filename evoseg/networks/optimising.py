"""How weights are found: the loss, the optimiser, and how long a phase lasts."""

import time
from collections.abc import Callable, Mapping
from math import cos, pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoseg.networks.cache import Batch

_WARM_UP = 0.06
"""Share of a phase in which the rate rises."""
_DECAY = 2e-2
_BETAS = (0.9, 0.999)
_EPS = 1e-8
_AVERAGING = 0.985
"""What an average of weights keeps per step, once there have been enough."""


class Stopwatch:
    """CPU seconds since now; on a machine that is busy with other things, at least wall time divided by the stretch.

    Parameters
    ----------
    stretch : float
        How many times its CPU time something may take in wall time.
    threads : int
        How many compute at the same time; 0 measures this thread alone.
    """

    def __init__(self, stretch: float, threads: int = 0) -> None:
        self._cpu = time.process_time if threads else time.thread_time
        self._rate = max(1, threads) / stretch
        self._start, self._wall_start = self._cpu(), time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return max(self._cpu() - self._start, (time.monotonic() - self._wall_start) * self._rate)

    def of_one_thread(self, seconds: float) -> float:
        """Return how much it counts if one thread computes for some seconds while the others have nothing to do."""
        return seconds * max(1.0, self._rate)


class Pace:
    """How far a phase is, by the seconds of this thread or by steps.

    Parameters
    ----------
    on_step : callable
        Called after each step.
    seconds, steps : float or None
        One of them. A phase of 0 is over at once.
    stretch : float
        As of `Stopwatch`.
    """

    def __init__(
        self,
        on_step: Callable[[], None],
        *,
        seconds: float | None = None,
        steps: int | None = None,
        stretch: float = float("inf"),
    ) -> None:
        self._on_step = on_step
        self._seconds, self._steps = seconds, steps
        self._watch = Stopwatch(stretch)
        self.n_steps = 0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        if self._seconds is not None:
            return min(1.0, self._watch.seconds / self._seconds) if self._seconds > 0 else 1.0
        return min(1.0, self.n_steps / self._steps) if self._steps else 1.0

    def count_step(self) -> None:
        """Note that a step is done."""
        self.n_steps += 1
        self._on_step()


def fit(
    rates: Mapping[nn.Module, float],
    draw: Callable[[], Batch],
    give: Callable[[Batch], Tensor],
    pace: Pace,
) -> None:
    """Train modules for as long as the pace says; their weights end as a moving average.

    Parameters
    ----------
    rates : mapping of module to float
        The largest rate of each. Parameters that need no gradient stay as they are.
    draw : callable
        Returns the next batch.
    give : callable
        Returns what the network makes of a batch: planes before the sigmoid.
    pace : Pace
    """
    optimiser = AdamW(rates)
    for module in rates:
        module.train()
    while (share := pace.share) < 1:
        batch = draw()
        optimiser.step(loss_of(give(batch), batch.truth, batch.known), share)
        pace.count_step()
    optimiser.take_average()
    for module in rates:
        module.eval()


class AdamW:
    """Adam with decoupled weight decay, and a moving average of the weights.

    All weights lie in one vector, so a step is a few operations whatever the number of layers. (torch's own optimiser
    imports its compiler at the first step, which takes longer than a hundred of our steps.)

    Parameters
    ----------
    rates : mapping of module to float
        The largest rate of each. Weights decay; biases and figures of normalisations do not.

    References
    ----------
    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019. arXiv:1711.05101
    """

    def __init__(self, rates: Mapping[nn.Module, float]) -> None:
        trained = [(p, rate) for module, rate in rates.items() for p in module.parameters() if p.requires_grad]
        self._rates = torch.cat([torch.full((p.numel(),), rate) for p, rate in trained])
        self._decay = torch.cat([torch.full((p.numel(),), rate * _DECAY * (p.ndim > 1)) for p, rate in trained])
        self._weights, self._gradient = torch.empty_like(self._rates), torch.zeros_like(self._rates)
        start = 0
        for p, _ in trained:
            # In the order in which it lay in memory, on which the speed of a convolution depends.
            own = self._weights.as_strided(p.shape, p.stride(), start)
            own.copy_(p.detach())
            p.data, p.grad = own, self._gradient.as_strided(p.shape, p.stride(), start)
            start += p.numel()
        self._first, self._second = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        self._average = self._weights.clone()
        self._n = 0

    def step(self, loss: Tensor, share: float) -> None:
        """Descend along the gradient of a loss; `share` of the phase is over."""
        self._gradient.zero_()
        loss.backward()
        self._n += 1
        with torch.no_grad():
            self._first.lerp_(self._gradient, 1 - _BETAS[0])
            self._second.mul_(_BETAS[1]).addcmul_(self._gradient, self._gradient, value=1 - _BETAS[1])
            spread = (self._second / (1 - _BETAS[1] ** self._n)).sqrt_().add_(_EPS)
            part = warmed_cosine(share)
            self._weights.addcmul_(self._decay, self._weights, value=-part)
            step = (self._first / spread).mul_(self._rates)
            self._weights.add_(step, alpha=-part / (1 - _BETAS[0] ** self._n))
            # The first steps' average would else be of the random start.
            self._average.lerp_(self._weights, 1 - min(_AVERAGING, self._n / (self._n + 10)))

    def take_average(self) -> None:
        """Set the weights to their moving average."""
        self._weights.copy_(self._average)


def warmed_cosine(share: float) -> float:
    """Return the rate at a share of a phase, relative to the largest: a linear rise, then half a cosine wave to 0."""
    if share < _WARM_UP:
        return max(share, 0.01) / _WARM_UP
    return 0.5 * (1 + cos(pi * (share - _WARM_UP) / (1 - _WARM_UP)))


def loss_of(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Return cross-entropy plus dice loss, over known pixels.

    Parameters
    ----------
    logits, truth : float32 of shape (n, K, H, W)
        Truth from 0 to 1. Both parts are smallest where the sigmoid equals it, also between 0 and 1.
    known : float32 of shape (n, 1, H, W), 0 or 1
    """
    pixels = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * known
    entropy = pixels.sum() / (known.sum() * truth.shape[1]).clamp(min=1)
    p, t = torch.sigmoid(logits) * known, truth * known
    axes = (0, 2, 3)
    dice = (2 * (p * t).sum(axes) + 1) / ((p * p).sum(axes) + (t * t).sum(axes) + 1)
    return entropy + 1 - dice.mean()
