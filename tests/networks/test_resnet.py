"""The network is torchvision's, by its names and by its answers."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from scipy.signal import correlate2d

from evoseg.networks.resnet import Plan, ResNet, plan_of
from tests.networks.networks import RESNET18, RESNET50, TINY, filled


def torchvisions(blocks: tuple[int, ...], bottleneck: bool) -> dict[str, tuple[int, ...]]:
    """Return names and shapes as in torchvision's state dict, by the rules of its documentation, without `fc`."""

    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {**{f"{name}.{part}": (width,) for part in parts}, f"{name}.num_batches_tracked": ()}

    found = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    given = 64
    for stage, n in enumerate(blocks, 1):
        width = 64 * 2 ** (stage - 1)
        for i in range(n):
            at = f"layer{stage}.{i}"
            sizes = [(width, 1), (width, 3), (4 * width, 1)] if bottleneck else [(width, 3), (width, 3)]
            inner = given
            for j, (wanted, side) in enumerate(sizes, 1):
                found |= {f"{at}.conv{j}.weight": (wanted, inner, side, side), **norm(f"{at}.bn{j}", wanted)}
                inner = wanted
            if i == 0 and (stage > 1 or bottleneck):
                found |= {f"{at}.downsample.0.weight": (inner, given, 1, 1), **norm(f"{at}.downsample.1", inner)}
            given = inner
    return found


@pytest.mark.parametrize(
    ("plan", "entries", "parameters"),
    # torchvision's documentation: 11,689,512 and 25,557,032 parameters, 1000 classes included.
    [(RESNET18, 120, 11_689_512 - 513 * 1000), (RESNET50, 318, 25_557_032 - 2049 * 1000)],
    ids=["resnet18", "resnet50"],
)
def test_names_and_shapes_are_torchvisions(plan, entries, parameters):
    with torch.device("meta"):
        net = ResNet(plan)
    shapes = {name: tuple(values.shape) for name, values in net.state_dict().items()}
    assert shapes == torchvisions(plan.blocks, plan.bottleneck)
    assert len(shapes) == entries
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert plan_of(shapes) == plan


def by_hand(plan: Plan, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Compute a network's features with NumPy and SciPy alone, as He et al. and torchvision's documentation say."""

    def conv(name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
        kernels = state[f"{name}.weight"]
        pad = kernels.shape[2] // 2
        x = np.pad(x, [(0, 0), (pad, pad), (pad, pad)])
        sums = [sum(correlate2d(p, k, "valid") for p, k in zip(x, kernel, strict=True)) for kernel in kernels]
        return np.stack(sums)[:, ::stride, ::stride]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        gain, bias, mean, var = (state[f"{name}.{k}"][:, None, None] for k in ("weight", "bias", "running_mean",
                                                                               "running_var"))  # fmt: skip
        return (x - mean) / np.sqrt(var + 1e-5) * gain + bias

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    x = relu(norm("bn1", conv("conv1", x, 2)))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    rows, cols = x.shape[1:]
    x = np.max([padded[:, i : i + rows, j : j + cols] for i in range(3) for j in range(3)], axis=0)[:, ::2, ::2]
    for stage, n in enumerate(plan.blocks, 1):
        for i in range(n):
            at, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            steps = (1, stride, 1) if plan.bottleneck else (stride, 1)
            y = x
            for j, step in enumerate(steps, 1):
                y = norm(f"{at}.bn{j}", conv(f"{at}.conv{j}", y, step))
                y = relu(y) if j < len(steps) else y
            if f"{at}.downsample.0.weight" in state:
                x = norm(f"{at}.downsample.1", conv(f"{at}.downsample.0", x, stride))
            x = relu(x + y)
    return x.mean(axis=(1, 2))


@pytest.mark.parametrize("plan", [TINY, Plan((2, 2, 3, 3), (1, 1, 2, 1), bottleneck=True)], ids=["basic", "bottleneck"])
def test_the_networks_answer_is_that_of_the_paper(plan):
    net = ResNet(plan)
    net.load_state_dict(filled(plan))
    x = default_rng(1).normal(size=(2, 3, 45, 62))
    with torch.inference_mode():
        found = net.double().eval()(torch.tensor(x)).numpy()
    state = {name: values.double().numpy() for name, values in net.state_dict().items()}
    assert found.shape == (2, plan.dim)
    assert np.allclose(found, [by_hand(plan, state, image) for image in x], rtol=1e-9)
    assert np.ptp(found) > 0.01
