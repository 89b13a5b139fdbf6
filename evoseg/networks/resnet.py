"""A residual network with torchvision's parameter names, of any width and depth.

Imports torch, so import this module only when a network is needed.

References
----------
K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016. arXiv:1512.03385
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STAGES = 4
EXPANSION = 4
"""Times a bottleneck block's last convolution is wider than its others."""


@dataclass(frozen=True)
class Plan:
    """What distinguishes one residual network from another.

    Attributes
    ----------
    widths, blocks : tuple of 4 int
        Channels and number of blocks of each stage; the stem is as wide as the first stage.
    bottleneck : bool
        Blocks of three convolutions, as in ResNet-50, instead of two.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    bottleneck: bool = False

    @property
    def dim(self) -> int:
        """Number of features."""
        return self.widths[-1] * (EXPANSION if self.bottleneck else 1)

    @property
    def depth(self) -> int:
        """Number of layers, as in the names of networks."""
        return 2 + sum(self.blocks) * (3 if self.bottleneck else 2)


SLIM = Plan((24, 48, 96, 160), (1, 1, 1, 1))
"""The network whose weights come with evoseg."""


def plan_of(shapes: Mapping[str, tuple[int, ...]]) -> Plan:
    """Read the plan from the shapes of a network's parameters.

    Raises
    ------
    KeyError
        If a stage has no first block.
    """
    blocks = []
    for stage in range(1, STAGES + 1):
        n = 0
        while f"layer{stage}.{n}.conv1.weight" in shapes:
            n += 1
        blocks.append(n)
    widths = tuple(shapes[f"layer{stage}.0.conv1.weight"][0] for stage in range(1, STAGES + 1))
    return Plan(widths, tuple(blocks), "layer1.0.conv3.weight" in shapes)


class ResNet(nn.Module):  # type: ignore[misc]
    """The network of a plan, without torchvision's classifier `fc`: the features before it are what we compare."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, plan.widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(plan.widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        given = plan.widths[0]
        block, expansion = (Bottleneck, EXPANSION) if plan.bottleneck else (BasicBlock, 1)
        for stage, (width, n) in enumerate(zip(plan.widths, plan.blocks, strict=True), 1):
            parts = []
            for i in range(n):
                parts.append(block(given, width, stride=2 if stage > 1 and i == 0 else 1))
                given = width * expansion
            self.add_module(f"layer{stage}", nn.Sequential(*parts))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of each image, float32 of shape (n, dim), from float32 of shape (n, 3, M, N)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, STAGES + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.mean(dim=(2, 3))


class BasicBlock(nn.Module):  # type: ignore[misc]
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(given, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's answer."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):  # type: ignore[misc]
    """A 3 x 3 convolution between two of 1 x 1, beside a shortcut; the 3 x 3 strides, as in torchvision."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * EXPANSION)
        self.downsample = _shortcut(given, width * EXPANSION, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's answer."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def _shortcut(given: int, wanted: int, stride: int) -> nn.Module | None:
    """Return what makes the block's input fit its output, or None where it does already."""
    if stride == 1 and given == wanted:
        return None
    return nn.Sequential(nn.Conv2d(given, wanted, 1, stride=stride, bias=False), nn.BatchNorm2d(wanted))
