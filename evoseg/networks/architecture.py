"""Encoders, decoders and their mean: what a network is, how it computes in torch, and how it is written to a file.

An encoder turns an image into four maps of features, at strides 2, 4, 8 and 16; a decoder turns these, and the image
once more at full resolution, into planes of the image's size.

References
----------
M. Tan, Q. Le, EfficientNet, ICML 2019, arXiv:1905.11946; the Lite variant, without squeeze and
excitation and with ReLU6, is Google's.
O. Ronneberger, P. Fischer, T. Brox, U-Net, MICCAI 2015, arXiv:1505.04597.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from evoseg.core.kinds import Raw
from evoseg.networks.lite0 import LITE0, STEM, STRIDES, TAPS, Stage, adapt_channels, folded, write_sixth_of_relu6
from evoseg.networks.onnx import Graph
from evoseg.networks.weights import State
from evoseg.operators.network import match_brightness, measure_brightness

_MEASURED = 4
"""Channels of features that are standardised at a time: those of many images are copied in double precision."""


class Conv(nn.Conv2d):  # type: ignore[misc]
    """A convolution padded alike on all sides, with a bias, that can be written to a file."""

    def __init__(self, given: int, width: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(given, width, side, stride, (side - 1) // 2, groups=groups)

    def write(self, graph: Graph, x: str, gain: float = 1.0) -> str:
        """Add this convolution to a graph, of `gain` times `x`."""
        weight, bias = _array(gain * self.weight), _array(self.bias)
        return graph.convolve(x, weight, bias, stride=self.stride[0], groups=self.groups)

    @property
    def reach(self) -> int:
        """Cells of the input, to each side of its own, on which a cell of the output depends."""
        return int(self.padding[0])


class NormConv(nn.Module):  # type: ignore[misc]
    """A convolution, batch normalisation and ReLU; in a file, the first two are one."""

    def __init__(self, given: int, width: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, width, side, stride, (side - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features after ReLU."""
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def write(self, graph: Graph, x: str) -> str:
        """Add this layer to a graph, as it is in evaluation."""
        norm = self.norm
        weight, bias = fold_batch_norm(
            self.conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
        )
        y = graph.convolve(x, _array(weight), _array(bias), stride=self.conv.stride[0])
        return graph.add("Relu", [y])

    @property
    def reach(self) -> int:
        """As `Conv.reach`."""
        return int(self.conv.padding[0])


def fold_batch_norm(
    weight: Tensor, gain: Tensor, offset: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that equals one without bias and its batch normalisation."""
    scale = gain / torch.sqrt(variance + eps)
    return weight * scale[:, None, None, None], offset - mean * scale


class InvertedBottleneck(nn.Module):  # type: ignore[misc]
    """A depthwise convolution between two of 1 x 1 that widen and narrow, with a shortcut where shapes are equal."""

    def __init__(self, given: int, width: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = given * expansion
        self.expand = Conv(given, inner, 1) if expansion > 1 else None
        # An even side makes the padding of stride 2 symmetric; see `folded`.
        self.depthwise = Conv(inner, inner, side + (stride == 2), stride, groups=inner)
        self.project = Conv(inner, width, 1)
        self.shortcut = stride == 1 and given == width

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.shortcut else y

    def write(self, graph: Graph, x: str) -> str:
        """Add this block to a graph; without `expand`, of a sixth of its input (see `write_sixth_of_relu6`)."""
        y = x if self.expand is None else write_sixth_of_relu6(graph, self.expand.write(graph, x))
        y = write_sixth_of_relu6(graph, self.depthwise.write(graph, y, gain=6))
        y = self.project.write(graph, y, gain=6)
        return graph.add("Add", [x, y]) if self.shortcut else y

    def load(self, state: State, name: str) -> None:
        """Take the weights of a block of the usual PyTorch port."""
        if self.expand is not None:
            _load(self.expand, *_folded(state, f"{name}._expand_conv", f"{name}._bn0"))
        stride = self.depthwise.stride[0]
        _load(self.depthwise, *_folded(state, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        _load(self.project, *_folded(state, f"{name}._project_conv", f"{name}._bn2"))


def bottlenecks(stages: Sequence[Stage], given: int) -> list[InvertedBottleneck]:
    """Return the blocks of some stages, the first of which is given features of a width."""
    blocks = []
    for stage in stages:
        for i in range(stage.n_blocks):
            stride = stage.stride if i == 0 else 1
            blocks.append(InvertedBottleneck(given, stage.width, stage.side, stride, stage.expansion))
            given = stage.width
    return blocks


class PretrainedEncoder(nn.Module):  # type: ignore[misc]
    """The first stages of EfficientNet-Lite0, batch normalisation folded.

    Each tap is standardised by fixed figures (`standardise_taps`), since decoders learn faster on such.

    Parameters
    ----------
    channels : int
        Of the image.
    """

    widths = TAPS

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = Conv(channels, STEM, 4, stride=2)
        self.blocks = nn.ModuleList(bottlenecks(LITE0, STEM))
        ends = accumulate(stage.n_blocks for stage in LITE0)
        self._taps = [end - 1 for end, stage in zip(ends, LITE0, strict=True) if stage.is_tap]
        for i, width in enumerate(self.widths):
            self.register_buffer(f"scale_{i}", torch.ones(1, width, 1, 1))
            self.register_buffer(f"shift_{i}", torch.zeros(1, width, 1, 1))

    def figures(self, tap: int) -> tuple[Tensor, Tensor]:
        """Return the scale and the shift that standardise a tap."""
        return self.get_buffer(f"scale_{tap}"), self.get_buffer(f"shift_{tap}")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features at strides 2, 4, 8 and 16 of standardised images, float32 of shape (n, C, H, W)."""
        found = []
        for i, tap in enumerate(self.raw_taps(x)):
            scale, shift = self.figures(i)
            found.append(tap * scale + shift)
        return found

    def raw_taps(self, x: Tensor) -> list[Tensor]:
        """Return the features before they are standardised."""
        x = F.relu6(self.stem(x), inplace=True)
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._taps:
                found.append(x)
        return found

    def unfreeze(self) -> None:
        """Let everything from stride 4 on be trained: what lies before sees edges, which are the same everywhere."""
        self.requires_grad_(False)
        for block in self.blocks[self._taps[0] + 1 :]:
            block.requires_grad_(True)

    def standardise_taps(self, images: Iterable[Tensor]) -> None:
        """Set the fixed figures so that the features of some images have mean 0 and deviation 1 in each channel."""
        with torch.inference_mode():
            found = [self.raw_taps(image) for image in images]
            for i, width in enumerate(self.widths):
                for first in range(0, width, _MEASURED):
                    some = slice(first, first + _MEASURED)
                    parts = [taps[i][:, some].transpose(0, 1).flatten(1) for taps in found]
                    values = torch.cat(parts, dim=1).double()
                    scale, shift = (figure[:, some] for figure in self.figures(i))
                    scale.copy_((1 / torch.sqrt(values.var(1, correction=0) + 1e-4)).view_as(scale))
                    shift.copy_(-values.mean(1).view_as(shift) * scale)

    def write(self, graph: Graph, x: str) -> list[str]:
        """Add the encoder to a graph and return the names of the standardised taps."""
        x = write_sixth_of_relu6(graph, self.stem.write(graph, x))
        found: list[str] = []
        for i, block in enumerate(self.blocks):
            x = block.write(graph, x)
            if i in self._taps:
                scale, shift = (graph.constant(_array(values)) for values in self.figures(len(found)))
                found.append(graph.add("Add", [graph.add("Mul", [x, scale]), shift]))
        return found

    @property
    def reaches(self) -> list[int]:
        """For each tap: pixels to each side of its own cell that it depends on."""
        reach, stride = self.stem.reach, 2
        found = []
        for i, block in enumerate(self.blocks):
            reach += stride * block.depthwise.reach
            stride *= block.depthwise.stride[0]
            if i in self._taps:
                found.append(reach)
        return found

    def load_lite0(self, state: State) -> None:
        """Take the weights of the usual PyTorch port of EfficientNet-Lite0."""
        stem, bias = folded(state, "_conv_stem", "_bn0", 2)
        _load(self.stem, *map(torch.from_numpy, (adapt_channels(stem, self.stem.in_channels), bias)))
        for i, block in enumerate(self.blocks):
            block.load(state, f"_blocks.{i}")


def _load(conv: Conv, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)


def _folded(state: State, conv: str, norm: str, stride: int = 1) -> tuple[Tensor, Tensor]:
    weight, bias = folded(state, conv, norm, stride)
    return torch.from_numpy(weight), torch.from_numpy(bias)


class SmallEncoder(nn.Module):  # type: ignore[misc]
    """A tiny encoder that is trained from scratch, together with its decoder."""

    widths = (16, 32, 48, 64)

    def __init__(self, channels: int) -> None:
        super().__init__()
        given, stages = channels, list[nn.Module]()
        for width in self.widths:
            # The first sees 6 x 6 pixels: a space-to-depth transform and 3 x 3 in one.
            side = 4 if stages else 6
            stages.append(nn.ModuleList([NormConv(given, width, side, stride=2), NormConv(width, width, 3)]))
            given = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features at strides 2, 4, 8 and 16 of standardised images, float32 of shape (n, C, H, W)."""
        taps = []
        for stage in self.stages:
            for layer in stage:
                x = layer(x)
            taps.append(x)
        return taps

    def write(self, graph: Graph, x: str) -> list[str]:
        """Add the encoder to a graph and return the names of the taps."""
        taps = []
        for stage in self.stages:
            for layer in stage:
                x = layer.write(graph, x)
            taps.append(x)
        return taps

    @property
    def reaches(self) -> list[int]:
        """As `PretrainedEncoder.reaches`."""
        reach, found = 0, []
        for (strided, plain), stride in zip(self.stages, STRIDES, strict=True):
            reach += strided.reach * stride // 2 + plain.reach * stride
            found.append(reach)
        return found


Encoder = PretrainedEncoder | SmallEncoder


class Decoder(nn.Module):  # type: ignore[misc]
    """From features at four strides, and the image, to planes before the sigmoid.

    Parameters
    ----------
    channels : int
        Of the image.
    taps : sequence of 4 int
        Channels of the features at strides 2, 4, 8 and 16.
    n_planes : int
    widths : sequence of 4 int
        Channels at strides 16, 8, 4 and 2.
    stem : int
        Channels of what the decoder sees of the image itself, so that thin structures keep their place.
    """

    def __init__(
        self,
        channels: int,
        taps: Sequence[int],
        n_planes: int,
        widths: Sequence[int] = (48, 32, 24, 16),
        stem: int = 8,
    ) -> None:
        super().__init__()
        coarse, at_8, at_4, at_2 = widths
        self.top = NormConv(taps[3], coarse, 1)
        self.stem = NormConv(channels, stem, 6, stride=2)
        self.steps = nn.ModuleList(
            [
                NormConv(coarse + taps[2], at_8, 3),
                NormConv(at_8 + taps[1], at_4, 3),
                NormConv(at_4 + taps[0] + stem, at_2, 3),
            ]
        )
        # A 1 x 1 convolution and a pixel shuffle in one.
        self.head = nn.ConvTranspose2d(at_2, n_planes, 2, stride=2)

    def forward(self, x: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Return planes before the sigmoid, float32 of shape (n, K, H, W)."""
        y = self.top(taps[3])
        skips = ([taps[2]], [taps[1]], [taps[0], self.stem(x)])
        for step, skip in zip(self.steps, skips, strict=True):
            y = step(torch.cat([F.interpolate(y, scale_factor=2, mode="nearest"), *skip], dim=1))
        return self.head(y)

    def write(self, graph: Graph, x: str, taps: Sequence[str]) -> str:
        """Add the decoder up to its last features to a graph."""
        y = self.top.write(graph, taps[3])
        skips = ([taps[2]], [taps[1]], [taps[0], self.stem.write(graph, x)])
        for step, skip in zip(self.steps, skips, strict=True):
            y = step.write(graph, graph.add("Concat", [graph.double(y), *skip], axis=1))
        return y

    def reach(self, taps: Sequence[int]) -> int:
        """Return the pixels to each side that a pixel of a plane depends on, given the same of the taps."""
        at_2, at_4, at_8, reach = taps
        skips = (at_8, at_4, max(at_2, self.stem.reach))
        for step, skip, stride in zip(self.steps, skips, (8, 4, 2), strict=True):
            # A cell that is half of a larger one depends on its other half as well.
            reach = max(reach + stride, skip) + stride * step.reach
        return reach + 1


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    encoder: Encoder
    decoder: Decoder

    def reach(self) -> int:
        """Return the pixels to each side that a pixel of a plane depends on."""
        return self.decoder.reach(self.encoder.reaches)


@dataclass(frozen=True)
class Standard:
    """Means and deviations of the training images' channels.

    Each image is first given these itself, so the network sees it standardised by its own figures.

    Attributes
    ----------
    mean, deviation : float32 array of shape (C,)
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @property
    def brightness(self) -> list[tuple[float, float]]:
        """Mean and deviation of each channel, as the network's file says them."""
        return list(zip(self.mean.tolist(), self.deviation.tolist(), strict=True))

    def matched(self, image: Raw) -> NDArray[np.float32]:
        """Return the gains and offsets, shape (C, 2), that give an image these means and deviations."""
        return match_brightness(measure_brightness(image, len(self.mean)), self.brightness)

    def apply(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a standardised image of shape (C, M, N)."""
        return (image - self.mean[:, None, None]) / self.deviation[:, None, None]


def write_ensemble(members: Sequence[Member], standard: Standard, metadata: Mapping[str, Any], n_planes: int) -> bytes:
    """Return the ONNX file of the mean of several networks, taken before the sigmoid.

    An encoder that they share is written once.
    """
    graph = Graph(len(standard.mean))
    mean, scale = ((values.reshape(1, -1, 1, 1)) for values in (standard.mean, 1 / standard.deviation))
    centred = graph.add("Sub", [graph.input, graph.constant(mean)])
    x = graph.add("Mul", [centred, graph.constant(scale)])
    taps = {id(encoder): encoder.write(graph, x) for encoder in dict.fromkeys(member.encoder for member in members)}
    features = [member.decoder.write(graph, x, taps[id(member.encoder)]) for member in members]
    # One transposed convolution of all features takes as long as one of a single network's.
    heads = [member.decoder.head for member in members]
    weight = graph.constant(_array(torch.cat([head.weight for head in heads]) / len(heads)))
    bias = graph.constant(_array(torch.stack([head.bias for head in heads]).mean(0)))
    joined = graph.add("Concat", features, axis=1) if len(features) > 1 else features[0]
    planes = graph.add("ConvTranspose", [joined, weight, bias], kernel_shape=[2, 2], strides=[2, 2])
    return graph.finish(graph.add("Sigmoid", [planes]), n_planes, metadata)


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().contiguous().numpy(), np.float32)
