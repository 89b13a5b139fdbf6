"""The file of a network is checked before OpenCV sees it, and says what the network costs and how far it looks."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evoseg.core.errors import PipelineError
from evoseg.networks.onnx import Graph
from evoseg.operators.network_file import MAX_BYTES, read_network
from tests.operators.networks import conv_network, deep_network, metadata

DEEP = deep_network(channels=2, n_planes=2)


def test_it_says_what_a_network_of_one_layer_costs_and_how_far_it_looks():
    facts = read_network(conv_network(np.ones((2, 3, 5, 5)), reduction=4, outputs=("foreground", "points")))
    assert (facts.channels, facts.reduction, facts.outputs) == (3, 4, ("foreground", "points"))
    assert facts.reach == 2
    # The convolution, and a copy of each plane.
    assert facts.macs == 2 * 3 * 5 * 5 + 2
    assert facts.n_weights == 2 * 3 * 5 * 5 + 2


def test_nothing_beyond_its_reach_changes_a_plane_and_something_near_it_does():
    facts = read_network(DEEP)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(DEEP, np.uint8))
    image = np.random.default_rng(1).uniform(0, 255, (1, 2, 16, 1024)).astype(np.float32)

    def planes(values):
        net.setInput(values)
        return net.forward().copy()

    before, moved = planes(image), set()
    for col in range(500, 516):
        changed = image.copy()
        changed[:, :, :, col] = 255 - changed[:, :, :, col]
        moved |= {int(c) - col for c in np.nonzero(np.any(planes(changed) != before, axis=(0, 1, 2)))[0]}
    assert facts.reach / 2 < max(moved) <= facts.reach
    assert facts.reach / 2 < -min(moved) <= facts.reach


def graph_of(add, channels=1, n_planes=1, **notes):
    """Return a file whose planes are what `add(graph)` returns."""
    graph = Graph(channels)
    return graph.finish(add(graph), n_planes, metadata(channels) | notes)


def conv(graph, weight=(1, 1, 3, 3), bias=1, **attributes):
    constants = [graph.constant(np.zeros(shape, np.float32)) for shape in (weight, bias)]
    given = {"kernel_shape": weight[2:], "pads": [1] * 4, "strides": [1, 1], "group": 1}
    return graph.add("Conv", [graph.input, *constants], **(given | attributes))


def resize(graph, scales, mode="nearest"):
    return graph.add("Resize", [graph.input, graph.constant(np.array(scales, np.float32))], mode=mode)


HOSTILE = {
    "an unknown layer": (lambda g: g.add("Loop", [g.input]), "layer of the kind 'Loop'"),
    "an input from nowhere": (lambda g: g.add("Add", [g.input, "w7"]), "input comes from nowhere"),
    "a later value": (lambda g: g.add("Add", [g.input, "v0"]), "input comes from nowhere"),
    "a kernel for other channels": (lambda g: conv(g, (1, 2, 3, 3)), "kernel does not fit"),
    "a kernel of another size": (lambda g: conv(g, kernel_shape=[5, 5]), "kernel does not fit"),
    "a bias of another size": (lambda g: conv(g, bias=2), "bias does not fit"),
    "a huge kernel": (lambda g: conv(g, kernel_shape=[10**6] * 2), "'kernel_shape' is out of bounds"),
    "a negative padding": (lambda g: conv(g, pads=[2**63] * 4), "'pads' is out of bounds"),
    "uneven padding": (lambda g: conv(g, pads=[0, 1, 0, 1]), "does not fit on its input"),
    "stride 0": (lambda g: conv(g, strides=[0, 0]), "'strides' is out of bounds"),
    "groups that do not divide": (lambda g: conv(g, group=3), "kernel does not fit"),
    "unknown attributes": (lambda g: conv(g, auto_pad="SAME_UPPER"), "attribute 'auto_pad'"),
    "too wide": (lambda g: conv(g, (5000, 1, 3, 3), 5000), "more memory or time"),
    "too large an enlargement": (lambda g: resize(g, [1, 1, 1000, 1000]), "repeat each value twice"),
    "another interpolation": (lambda g: resize(g, [1, 1, 2, 2], "cubic"), "repeat each value twice"),
    "another size": (lambda g: resize(g, [1, 1, 2, 2]), "1 planes of the size"),
    "joined pixels": (lambda g: g.add("Concat", [g.input, g.input], axis=2), "other things than channels"),
    "no slope": (lambda g: g.add("HardSigmoid", [g.input], beta=0.0), "HardSigmoid without its slope"),
    "a constant of another shape": (
        lambda g: g.add("Mul", [g.input, g.constant(np.zeros((64, 96), np.float32))]),
        "do not fit together",
    ),
}


@pytest.mark.parametrize(("add", "complaint"), HOSTILE.values(), ids=HOSTILE)
def test_layers_that_evoseg_does_not_write_are_refused(add, complaint):
    with pytest.raises(PipelineError, match=complaint):
        read_network(graph_of(add))


def test_weights_that_are_no_floats_are_refused():
    file = graph_of(lambda graph: conv(graph, (1, 2, 1, 1), pads=[0] * 4))
    # Its sizes and its type: two numbers of 4 bytes, for which the file has too few channels, are one of 8 bytes.
    floats, integers = (b"\x08\x01\x08%c\x08\x01\x08\x01\x10%c" % pair for pair in ((2, 1), (1, 7)))
    assert file.count(floats) == 1
    with pytest.raises(PipelineError, match="size or type is not what"):
        read_network(file.replace(floats, integers))


@pytest.mark.parametrize(
    ("notes", "complaint"),
    [
        ({"version": 2}, "for which images"),
        ({"channels": 0}, "other channels"),
        ({"channels": True}, "other channels"),
        ({"channels": 2}, "kernel does not fit"),
        ({"reduction": 3}, "other reduction"),
        ({"outputs": []}, "other outputs"),
        ({"outputs": "foreground"}, "other outputs"),
        ({"outputs": ["distance", "foreground"]}, "other outputs"),
        ({"outputs": ["foreground", "foreground"]}, "other outputs"),
        ({"outputs": ["foreground", "distance"]}, "another shape"),
    ],
)
def test_notes_that_do_not_fit_are_refused(notes, complaint):
    with pytest.raises(PipelineError, match=complaint):
        read_network(graph_of(conv, **notes))


def test_what_else_a_file_says_of_the_training_is_kept():
    facts = read_network(graph_of(conv, steps=400, encoder="small"))
    assert facts.notes == {"steps": 400, "encoder": "small"}


def test_a_file_that_is_too_large_is_refused():
    with pytest.raises(PipelineError, match="bytes; at most"):
        read_network(bytes(MAX_BYTES + 1))


def test_values_that_would_not_fit_into_memory_are_never_made():
    # 2^62 fields of length 0, as a length that the file does not have.
    for data in (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x3a" * 100, b"\x08\x01" * 300_000):
        with pytest.raises(PipelineError, match="not a network"):
            read_network(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
@example(None).via("nothing is damaged")
def test_a_damaged_file_is_refused_or_runs(data):
    whole = damaged = conv_network(np.ones((1, 1, 3, 3)))
    for _ in range(data.draw(st.integers(1, 3)) if data is not None else 0):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged = damaged[:at] + data.draw(st.binary(max_size=3)) + damaged[at + data.draw(st.integers(0, 3)) :]
    try:
        facts = read_network(damaged)
    except PipelineError:
        assert damaged != whole
        return
    net = cv2.dnn.readNetFromONNX(np.frombuffer(damaged, np.uint8))
    net.setInput(np.zeros((1, facts.channels, 32, 48), np.float32))
    assert net.forward().shape == (1, len(facts.outputs), 32, 48)


def test_reading_is_quick_for_a_network_of_many_layers():
    def chain(graph):
        x = graph.input
        for _ in range(5000):
            x = graph.add("Relu", [x])
        return x

    with pytest.raises(PipelineError, match="5001 layers"):
        read_network(graph_of(chain))


def test_notes_are_json():
    assert json.loads(json.dumps(read_network(DEEP).notes)) == {}
