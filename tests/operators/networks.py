"""Networks of a few layers, whose planes are known by hand."""

from typing import Any

import numpy as np

from evoseg.networks.onnx import Graph


def metadata(channels: int = 1, reduction: int = 1, outputs: tuple[str, ...] = ("foreground",)) -> dict[str, Any]:
    return {"version": 1, "channels": channels, "reduction": reduction, "outputs": list(outputs)}


def finished(
    graph: Graph, planes: str, channels: int, reduction: int, outputs: tuple[str, ...], **notes: object
) -> bytes:
    return graph.finish(planes, len(outputs), metadata(channels, reduction, outputs) | notes)


def conv_network(kernel: Any, reduction: int = 1, outputs: tuple[str, ...] = ("foreground",)) -> bytes:
    """Return a network of one convolution.

    Parameters
    ----------
    kernel : (K, C) or (K, C, k, k) numbers
        By output and channel.
    """
    weight = np.array(kernel, np.float32)
    weight = weight[:, :, None, None] if weight.ndim == 2 else weight
    graph = Graph(weight.shape[1])
    planes = graph.convolve(graph.input, weight, np.zeros(len(weight), np.float32))
    return finished(graph, planes, weight.shape[1], reduction, outputs)


def deep_network(
    seed: int = 0, channels: int = 1, reduction: int = 1, n_planes: int = 1, brightness: object = ()
) -> bytes:
    """Return an untrained network of the kinds of layers that evoseg trains: down to stride 16 and up again."""
    rng = np.random.default_rng(seed)
    graph = Graph(channels)

    def conv(x: str, given: int, width: int, side: int, stride: int = 1, groups: int = 1) -> str:
        weight = rng.normal(0, (2 * groups / (given * side**2)) ** 0.5, (width, given // groups, side, side))
        return graph.convolve(
            x, weight.astype(np.float32), rng.normal(0, 0.1, width).astype(np.float32), stride=stride, groups=groups
        )

    constant = graph.constant
    centred = graph.add("Sub", [graph.input, constant(np.full((1, channels, 1, 1), 100, np.float32))])
    x = graph.add("Mul", [centred, constant(np.full((1, channels, 1, 1), 0.02, np.float32))])
    skips, given = [], channels
    for width in (4, 6, 8, 8):
        x = graph.add("Relu", [conv(x, given, width, 4, stride=2)])
        y = graph.add("HardSigmoid", [conv(x, width, width, 5, groups=width)], alpha=1 / 6, beta=0.0)
        x = graph.add("Add", [x, y])
        skips.append((x, width))
        given = width
    for skip, width in reversed(skips[:-1]):
        x = graph.add("Relu", [conv(graph.add("Concat", [graph.double(x), skip], axis=1), given + width, width, 3)])
        given = width
    head = [
        constant(rng.normal(0, 0.5, (given, n_planes, 2, 2)).astype(np.float32)),
        constant(np.zeros(n_planes, np.float32)),
    ]
    planes = graph.add("Sigmoid", [graph.add("ConvTranspose", [x, *head], kernel_shape=[2, 2], strides=[2, 2])])
    outputs = ("foreground", "distance", "points")[:n_planes]
    return finished(graph, planes, channels, reduction, outputs, brightness=brightness)
