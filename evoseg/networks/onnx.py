"""Networks as ONNX files, written without the onnx package: a graph that is built node by node, and its protobuf.

References
----------
ONNX, operator set 10, https://github.com/onnx/onnx/blob/v1.8.0/onnx/onnx.proto: the numbers of all fields below.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 10
"""An early one, so that OpenCV 4.6, which Debian and Ubuntu have for C++, knows all its operators."""
IMAGE, PLANES = "image", "planes"
"""What networks call their input and their output."""
_SIDE = 64
_IR_VERSION = 7
_FLOAT = 1
"""The type of tensors."""
_FIXED32, _BYTES, _VARINT = 5, 2, 0
"""How protobuf writes a field."""
_AN_F, _AN_I, _AN_S, _AN_INTS = 1, 2, 3, 7
"""Types of attributes."""


class Graph:
    """A network from one image to planes, built from its input on.

    Values are known by their names, which the methods return. Equal calls in equal order give equal bytes, so that a
    digest of the file identifies the network.

    Parameters
    ----------
    channels : int
        Of the input, float32 of shape (1, channels, H, W), for any H and W that are multiples of 16.
    input, output : str
        Their names.
    prefix : str
        What the names of all other values begin with.
    """

    def __init__(self, channels: int, input: str = IMAGE, output: str = PLANES, prefix: str = "") -> None:
        self.input, self.output = input, output
        self._channels = channels
        self._prefix = prefix
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, values: NDArray[Any]) -> str:
        """Add a tensor of float32 and return its name."""
        name = f"{self._prefix}w{len(self._constants)}"
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        shape = b"".join(_int(1, n) for n in values.shape)
        self._constants.append(shape + _int(2, _FLOAT) + _text(8, name) + _bytes(9, raw))
        return name

    def add(self, op: str, inputs: Sequence[str], **attributes: float | str | Sequence[int]) -> str:
        """Add a node with one output and return that output's name."""
        name = f"{self._prefix}v{len(self._nodes)}"
        self._nodes.append(self._node(op, inputs, name, attributes))
        return name

    def convolve(
        self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32], *, stride: int = 1, groups: int = 1
    ) -> str:
        """Add a convolution that is padded alike on all sides: by (k - 1) // 2, or (k - 2) // 2 for an even k."""
        side = weight.shape[2]
        return self.add(
            "Conv",
            [x, self.constant(weight), self.constant(bias)],
            kernel_shape=[side, side],
            pads=[(side - 1) // 2] * 4,
            strides=[stride, stride],
            group=groups,
        )

    def double(self, x: str) -> str:
        """Enlarge a plane to twice its height and width, by repeating each value."""
        if not hasattr(self, "_scales"):
            self._scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add(
            "Resize",
            [x, self._scales],
            mode="nearest",
        )

    def rename(self, x: str, name: str) -> None:
        """Give a value another name."""
        self._nodes.append(self._node("Identity", [x], name, {}))

    def include(self, nodes: Sequence[bytes], constants: Sequence[bytes]) -> None:
        """Add the nodes and constants of another graph, as its file has them; their names must differ from these."""
        self._nodes += nodes
        self._constants += constants

    def finish(self, planes: str, n_planes: int, metadata: Mapping[str, Any], *, any_size: bool = False) -> bytes:
        """Return the file of the network that ends in `planes`, of shape (1, n_planes, H, W).

        With `any_size`, the file says that height and width may be any, which OpenCV before 5 does not read.
        """
        self.rename(planes, self.output)
        sides = (_text(2, "height"), _text(2, "width")) if any_size else (_int(1, _SIDE), _int(1, _SIDE))
        return self._model([_value_info(self.output, n_planes, sides)], sides, metadata)

    def finish_maps(self, maps: Sequence[tuple[str, int, int]]) -> bytes:
        """Return the file of a network that ends in several values, each given by its name, channels and stride."""
        ends = [_value_info(name, channels, (_int(1, _SIDE // stride),) * 2) for name, channels, stride in maps]
        return self._model(ends, (_int(1, _SIDE),) * 2, {})

    def _model(self, ends: Sequence[bytes], sides: tuple[bytes, bytes], metadata: Mapping[str, Any]) -> bytes:
        graph = (
            b"".join(_bytes(1, node) for node in self._nodes)
            + _text(2, "evoseg")
            + b"".join(_bytes(5, tensor) for tensor in self._constants)
            + _bytes(11, _value_info(self.input, self._channels, sides))
            + b"".join(_bytes(12, end) for end in ends)
        )
        note = _text(1, "evoseg") + _text(2, json.dumps(metadata, sort_keys=True))
        opset = _text(1, "") + _int(2, OPSET)
        return _int(1, _IR_VERSION) + _text(2, "evoseg") + _bytes(7, graph) + _bytes(8, opset) + _bytes(14, note)

    @staticmethod
    def _node(op: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any]) -> bytes:
        return (
            b"".join(_text(1, name) for name in inputs)
            + _text(2, output)
            + _text(3, output)
            + _text(4, op)
            + b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
        )


def _attribute(name: str, value: float | str | Sequence[int]) -> bytes:
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _int(20, _AN_S)
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | _FIXED32) + struct.pack("<f", value) + _int(20, _AN_F)
    if isinstance(value, int):
        return _text(1, name) + _int(3, value) + _int(20, _AN_I)
    return _text(1, name) + b"".join(_int(8, n) for n in value) + _int(20, _AN_INTS)


def _value_info(name: str, channels: int, sides: tuple[bytes, bytes]) -> bytes:
    """Describe float32 of shape (1, channels, H, W)."""
    # OpenCV before 5 needs numbers for height and width here; it takes any size all the same.
    shape = b"".join(_bytes(1, one) for one in (_int(1, 1), _int(1, channels), *sides))
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, _FLOAT) + _bytes(2, shape)))


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Write a number of 0 or more, seven bits a byte, the lowest first."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
