"""A trained network as one ONNX file that takes an image in native values and gives one plane of the image's size."""

import numpy as np

from evoseg.networks.onnx import IMAGE, PLANES, Graph
from evoseg.operators.network import describe_network, network_bytes
from evoseg.operators.network_file import graph_parts

INPUT, OUTPUT = "raw", "probability"
_FLATTEST = 1e-6
"""Deviations below this share of the mean count as none, as in `evoseg.operators.network.match_brightness`."""


def image_network(weights: str, output: str) -> bytes:
    """Return an ONNX file of one network, with all that `evoseg.operators.network` does around it as nodes of its own.

    It takes float32 of shape (1, C, H, W), finite, with H and W multiples of 16 times the network's reduction, and
    gives float32 of shape (1, 1, H, W), from 0 to 1.

    Parameters
    ----------
    weights : str
        Digest of the network.
    output : str
        Which of its planes.
    """
    facts = describe_network(weights)
    graph = Graph(facts.channels, INPUT, OUTPUT, prefix="around_")
    x = _match_brightness(graph, graph.input, facts.brightness)
    if facts.reduction > 1:
        side = [facts.reduction] * 2
        x = graph.add("AveragePool", [x], kernel_shape=side, strides=side)
    graph.rename(x, IMAGE)
    graph.include(*graph_parts(network_bytes(weights)))
    choice = np.zeros((1, len(facts.outputs), 1, 1), np.float32)
    choice[0, facts.outputs.index(output)] = 1
    plane = graph.convolve(PLANES, choice, np.zeros(1, np.float32))
    if facts.reduction > 1:
        plane = _enlarge(graph, plane, facts.reduction)
    plane = graph.add("Clip", [plane], min=0.0, max=1.0)
    notes = {"network": weights, "output": output}
    return graph.finish(plane, 1, notes, any_size=True)


def _match_brightness(graph: Graph, x: str, brightness: tuple[tuple[float, float], ...]) -> str:
    """Give each channel the mean and the deviation that the network is used to."""
    if not brightness:
        return x

    def constant(*values: float) -> str:
        return graph.constant(np.array(values, np.float32).reshape(1, -1, 1, 1))

    mean = graph.add("ReduceMean", [x], axes=[2, 3], keepdims=1)
    centred = graph.add("Sub", [x, mean])
    variance = graph.add("ReduceMean", [graph.add("Mul", [centred, centred])], axes=[2, 3], keepdims=1)
    deviation = graph.add("Sqrt", [variance])
    size = graph.add("Max", [graph.add("Abs", [mean]), constant(1e-12)])
    flattest = graph.add("Mul", [size, constant(_FLATTEST)])
    has_contrast = graph.add("Greater", [deviation, flattest])
    spread = constant(*(spread for _, spread in brightness))
    # Without contrast, the gain is 1; the divisor is one that never is 0.
    divisor = graph.add("Where", [has_contrast, deviation, spread])
    gain = graph.add("Div", [spread, divisor])
    return graph.add("Add", [graph.add("Mul", [centred, gain]), constant(*(wanted for wanted, _ in brightness))])


def _enlarge(graph: Graph, x: str, factor: int) -> str:
    """Enlarge a plane by linear interpolation between the middles of pixels, as OpenCV does, border pixels repeated."""
    share = 1 - np.abs((np.arange(2 * factor) + 0.5) / factor - 1)
    kernel = np.outer(share, share).astype(np.float32)[None, None]
    padded = graph.add("Pad", [x], mode="edge", pads=[0, 0, 1, 1, 0, 0, 1, 1])
    return graph.add(
        "ConvTranspose",
        [padded, graph.constant(kernel)],
        kernel_shape=[2 * factor] * 2,
        pads=[factor + factor // 2] * 4,
        strides=[factor] * 2,
    )
