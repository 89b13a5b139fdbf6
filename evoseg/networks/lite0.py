"""EfficientNet-Lite0: its stages, its weights as convolutions, and parts of it in an ONNX file.

References
----------
M. Tan, Q. Le, EfficientNet, ICML 2019, arXiv:1905.11946; the Lite variant, without squeeze and
excitation and with ReLU6, is Google's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoseg.networks.onnx import Graph
from evoseg.networks.weights import State

_BATCH_NORM_EPS = np.float32(1e-3)


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes
    ----------
    side : int
        Of the depthwise convolution.
    stride : int
        Of the first block.
    width, expansion, n_blocks : int
    is_tap : bool
        Whether the decoder sees this stage's features.
    """

    side: int
    stride: int
    width: int
    expansion: int
    n_blocks: int
    is_tap: bool = True


STEM = 32
LITE0 = (
    Stage(3, 1, 16, 1, 1),
    Stage(3, 2, 24, 6, 2),
    Stage(5, 2, 40, 6, 2),
    Stage(3, 2, 80, 6, 3, is_tap=False),
    Stage(5, 1, 112, 6, 3),
)
"""EfficientNet-Lite0 up to stride 16. What follows is about whole photographs, and costs as much again."""
TAPS = tuple(stage.width for stage in LITE0 if stage.is_tap)
"""Widths of the features that are used."""
STRIDES = tuple(2 ** (i + 1) for i in range(len(TAPS)))
"""Strides of these: 2, 4, 8 and 16."""
LITE0_END = (Stage(5, 2, 192, 6, 4, is_tap=False), Stage(3, 1, 320, 6, 1, is_tap=False))
"""What follows, up to the head."""
FEATURES = 1280
"""Width of the head."""
IMAGENET_GAIN = np.float32(0.45)
"""Standardised values times this are about what ImageNet's networks were trained on: few values beyond +-1."""


def folded(state: State, conv: str, norm: str, stride: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight and bias of a convolution together with its batch normalisation, for symmetric padding.

    TensorFlow's 'same' padding puts one row and column more at the far side than at the near one where the stride is 2.
    A zero row and column before the others moves the kernel there, so that one number describes the padding for torch
    and for OpenCV.
    """
    gain, offset, mean, variance = (
        state[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + _BATCH_NORM_EPS)
    weight = state[f"{conv}.weight"] * scale[:, None, None, None]
    return np.pad(weight, ((0, 0), (0, 0), (stride - 1, 0), (stride - 1, 0))), offset - mean * scale


def adapt_channels(weight: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return an RGB kernel for images of other channels, in standardised values.

    One channel is shown as grey, the second of two as green and blue; the fourth and later ones begin unseen.

    Parameters
    ----------
    weight : float32 array of shape (n, 3, h, w)
    channels : int
        Of the images, at least 1.

    Returns
    -------
    float32 array of shape (n, channels, h, w)
    """
    red, green, blue = np.split(weight, 3, axis=1)
    if channels == 1:
        parts = [red + green + blue]
    elif channels == 2:
        parts = [red, green + blue]
    else:
        parts = [red, green, blue] + [np.zeros_like(red)] * (channels - 3)
    return IMAGENET_GAIN * np.concatenate(parts, axis=1)


def write_encoder(graph: Graph, x: str, state: State, channels: int) -> list[str]:
    """Add the stages up to stride 16 to a graph, and return the names of their features at each of `STRIDES`.

    Parameters
    ----------
    graph : Graph
    x : str
        Name of the standardised image in it.
    state : State
        The weights.
    channels : int
        Of the image.
    """
    kernel, bias = folded(state, "_conv_stem", "_bn0", 2)
    x = _layer(graph, x, (adapt_channels(kernel, channels), bias), stride=2)
    ends = _stages(graph, x, state, LITE0)
    return [end for end, stage in zip(ends, LITE0, strict=True) if stage.is_tap]


def write_features(state: State) -> bytes:
    """Return the ONNX file of the network without its classifier: what a whole picture shows, in `FEATURES` numbers.

    It takes (values - 127) / 128 of RGB images, float32 of shape (n, 3, M, N), and returns a sixth of the features,
    averaged over each image: float32 of shape (n, FEATURES, 1, 1).

    Parameters
    ----------
    state : mapping of str to float32 array
        Weights of the usual PyTorch port.
    """
    graph = Graph(3)
    x = _layer(graph, graph.input, folded(state, "_conv_stem", "_bn0", 2), stride=2)
    x = _stages(graph, x, state, (*LITE0, *LITE0_END))[-1]
    x = _layer(graph, x, folded(state, "_conv_head", "_bn1"))
    return graph.finish(graph.add("GlobalAveragePool", [x]), FEATURES, {})


def _stages(graph: Graph, x: str, state: State, stages: Sequence[Stage]) -> list[str]:
    """Add stages and return what each of them ends in."""
    ends, i = [], 0
    for stage in stages:
        for n in range(stage.n_blocks):
            x = _block(graph, x, state, f"_blocks.{i}", stage, is_first=n == 0)
            i += 1
        ends.append(x)
    return ends


def _block(graph: Graph, x: str, state: State, name: str, stage: Stage, *, is_first: bool) -> str:
    """Add a depthwise convolution between two of 1 x 1 that widen and narrow, with a shortcut but in the first."""
    stride = stage.stride if is_first else 1
    y = _layer(graph, x, folded(state, f"{name}._expand_conv", f"{name}._bn0")) if stage.expansion > 1 else x
    depthwise = folded(state, f"{name}._depthwise_conv", f"{name}._bn1", stride)
    y = _layer(graph, y, depthwise, stride=stride, groups=len(depthwise[0]), gain=6)
    weight, bias = folded(state, f"{name}._project_conv", f"{name}._bn2")
    y = graph.convolve(y, 6 * weight, bias)
    return y if is_first else graph.add("Add", [x, y])


def _layer(
    graph: Graph, x: str, layer: Sequence[NDArray[np.float32]], *, stride: int = 1, groups: int = 1, gain: int = 1
) -> str:
    """Add a convolution of `gain` times `x`, and a sixth of ReLU6 (`write_sixth_of_relu6`)."""
    weight, bias = layer
    return write_sixth_of_relu6(graph, graph.convolve(x, gain * weight, bias, stride=stride, groups=groups))


def write_sixth_of_relu6(graph: Graph, x: str) -> str:
    """Add ReLU6 divided by 6, for a convolution that multiplies by 6.

    OpenCV computes HardSigmoid together with the convolution before it, but not Clip, which takes a sixth more time.
    """
    return graph.add("HardSigmoid", [x], alpha=1 / 6, beta=0.0)
