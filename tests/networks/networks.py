"""A network small enough to follow by hand, random weights, an image."""

import numpy as np
import torch
from numpy.random import default_rng

from evoseg.networks.resnet import Plan, ResNet

TINY = Plan((2, 3, 4, 5), (1, 2, 1, 1))
RESNET18 = Plan((64, 128, 256, 512), (2, 2, 2, 2))
RESNET50 = Plan((64, 128, 256, 512), (3, 4, 6, 3), bottleneck=True)


def filled(plan: Plan, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights of a plan."""
    rng = default_rng(seed)
    state = ResNet(plan).state_dict()
    for name, values in state.items():
        if values.ndim:
            drawn = rng.normal(0, 0.3, values.shape)
            state[name] = torch.tensor(np.abs(drawn) + 0.2 if "running_var" in name else drawn, dtype=torch.float32)
    return dict(state)


def photo(shape=(150, 211, 3), seed=5) -> np.ndarray:
    """Draw smooth noise; non-square on purpose."""
    coarse = default_rng(seed).integers(0, 256, (shape[0] // 8 + 1, shape[1] // 8 + 1, shape[2]))
    return np.kron(coarse, np.ones((8, 8, 1)))[: shape[0], : shape[1]].astype(np.uint8)
