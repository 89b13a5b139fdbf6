"""The file of a network, read without trust: what it holds is checked before OpenCV sees it.

A network's file is an ONNX model (https://onnx.ai, a protocol buffer) that evoseg wrote itself. This reader knows what
evoseg writes and refuses all else: fields, layers, attributes and tensors that are unknown, out of bounds, or do not
fit together. On the way it finds what the network costs and how far it looks.
"""

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf, isfinite, prod
from typing import Any, Literal

from evoseg.core.errors import PipelineError, legible

OUTPUTS = ("foreground", "distance", "points")
"""What planes of a network may mean."""
REDUCTIONS = (1, 2, 4)
STRIDE = 16
"""Heights and widths that networks take are multiples of it: they halve the image four times and double it again."""
MAX_BYTES = 1 << 26
MAX_CHANNELS = 64
MAX_LAYERS = 4000
MAX_MACS = 1_000_000
"""Multiply-adds per pixel of the network's input: about 100 s per megapixel."""
_MAX_FIELDS = 200_000
_MAX_PLANES = 256
"""Most channels of a value between two layers, counted per pixel of the network's input."""
_WRITTEN = (64,)
"""Height and width that a file gives for an image; OpenCV before 5 needs numbers there, but takes any size."""
_PROBE = (64, 96)
"""Height and width of the input on which the layers' sizes are checked."""

OPSET = 10
_IR_VERSION = 7
Kind = Literal["int", "float", "bytes", "ints"]
Value = int | float | bytes | tuple[int, ...]


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a network.

    Attributes
    ----------
    channels : int
        Of the images that it was trained on.
    reduction : int
        1, 2 or 4: pixels of a row of the image that are one pixel to the network.
    outputs : tuple of str
        What its planes mean, in order: "foreground", "distance", "points".
    reach : int
        How many pixels of its input away a pixel can influence its output.
    macs : int
        Multiply-adds per pixel of its input.
    n_weights : int
    brightness : tuple of (float, float)
        Mean and standard deviation that each channel of an image is to be given; empty if none.
    notes : mapping of str to Any
        Whatever else the file says about the training, as JSON values.
    """

    channels: int
    reduction: int
    outputs: tuple[str, ...]
    reach: int
    macs: int
    n_weights: int
    brightness: tuple[tuple[float, float], ...]
    notes: Mapping[str, Any]


class _Broken(Exception):
    """Why a file is no network; the message goes on after "it"."""


def read_network(data: bytes) -> NetworkFacts:
    """Check a network's file and say what it holds.

    Raises
    ------
    PipelineError
        The one error for whatever is wrong.
    """
    try:
        return _read_model(data)
    except _Broken as error:
        raise PipelineError(
            f"not a network that evoseg wrote, or a damaged one: it {error}. Take the file that came with the pipeline."
        ) from None


def _read_model(data: bytes) -> NetworkFacts:
    if len(data) > MAX_BYTES:
        raise _Broken(f"has {len(data)} bytes; at most {MAX_BYTES} are read")
    model = _Message(data, _MODEL)
    notes = _read_notes(model)
    channels = _whole(notes.pop("channels", None), "channels", range(1, MAX_CHANNELS + 1))
    reduction = _whole(notes.pop("reduction", None), "reduction", REDUCTIONS)
    outputs = notes.pop("outputs", None)
    if not isinstance(outputs, list) or not outputs or [o for o in OUTPUTS if o in outputs] != outputs:
        raise _Broken(f"names other outputs than {', '.join(OUTPUTS)}, in this order")
    brightness = _brightness(notes.pop("brightness", []), channels)
    opset = _Message(model.one("opset_import"), _OPSET)
    if (model.numbers("ir_version"), opset.text("domain"), opset.numbers("version")) != ((_IR_VERSION,), "", (OPSET,)):
        raise _Broken(f"is written in another form than ONNX's {_IR_VERSION}, or for other operators than its {OPSET}")
    graph = _Graph(_Message(model.one("graph"), _GRAPH), channels, len(outputs))
    reach, macs = graph.walk(channels, len(outputs))
    known = {"version", "reach", "macs", "stride"}
    rest = {key: value for key, value in notes.items() if key not in known}
    return NetworkFacts(channels, reduction, tuple(outputs), reach, macs, graph.n_weights, brightness, rest)


def _read_notes(model: "_Message") -> dict[str, Any]:
    """Return what the model says about itself."""
    for part in model.every("metadata_props"):
        entry = _Message(part, _ENTRY)
        if entry.text("key") == "evoseg":
            try:
                notes = json.loads(entry.text("value"))
            except (ValueError, RecursionError):
                break
            if isinstance(notes, dict) and notes.get("version") == 1:
                return notes
            break
    raise _Broken("does not say for which images it was trained (metadata 'evoseg', version 1)")


def _brightness(value: object, channels: int) -> tuple[tuple[float, float], ...]:
    """Return mean and deviation of each channel, or none."""
    try:
        found = tuple((float(mean), float(deviation)) for mean, deviation in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        raise _Broken("does not say how bright images are to be, channel by channel") from None
    sound = all(isfinite(mean) and 0 < deviation < inf for mean, deviation in found)
    if len(found) not in (0, channels) or not sound:
        raise _Broken("does not say how bright images are to be, channel by channel")
    return found


def _whole(value: object, name: str, allowed: Sequence[int]) -> int:
    if type(value) is not int or value not in allowed:
        raise _Broken(f"has other {name} than {allowed[0]} to {allowed[-1]}")
    return value


# Fields of ONNX's messages that evoseg writes, by number (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_MODEL: dict[int, tuple[str, Kind]] = {
    1: ("ir_version", "int"),
    2: ("producer_name", "bytes"),
    3: ("producer_version", "bytes"),
    7: ("graph", "bytes"),
    8: ("opset_import", "bytes"),
    14: ("metadata_props", "bytes"),
}
_ENTRY: dict[int, tuple[str, Kind]] = {1: ("key", "bytes"), 2: ("value", "bytes")}
_GRAPH: dict[int, tuple[str, Kind]] = {
    1: ("node", "bytes"),
    2: ("name", "bytes"),
    5: ("initializer", "bytes"),
    11: ("input", "bytes"),
    12: ("output", "bytes"),
}
_NODE: dict[int, tuple[str, Kind]] = {
    1: ("input", "bytes"),
    2: ("output", "bytes"),
    3: ("name", "bytes"),
    4: ("op_type", "bytes"),
    5: ("attribute", "bytes"),
}
_ATTRIBUTE: dict[int, tuple[str, Kind]] = {
    1: ("name", "bytes"),
    2: ("f", "float"),
    3: ("i", "int"),
    4: ("s", "bytes"),
    8: ("ints", "ints"),
    20: ("type", "int"),
}
_TENSOR: dict[int, tuple[str, Kind]] = {
    1: ("dims", "ints"),
    2: ("data_type", "int"),
    8: ("name", "bytes"),
    9: ("raw_data", "bytes"),
}
_OPSET: dict[int, tuple[str, Kind]] = {1: ("domain", "bytes"), 2: ("version", "int")}
_END: dict[int, tuple[str, Kind]] = {1: ("name", "bytes"), 2: ("type", "bytes")}
_TYPE: dict[int, tuple[str, Kind]] = {1: ("tensor_type", "bytes")}
_TENSOR_TYPE: dict[int, tuple[str, Kind]] = {1: ("elem_type", "int"), 2: ("shape", "bytes")}
_SHAPE: dict[int, tuple[str, Kind]] = {1: ("dim", "bytes")}
_DIM: dict[int, tuple[str, Kind]] = {1: ("dim_value", "int")}
_ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "ints": 7}
_WIRE = {"int": 0, "ints": 0, "bytes": 2, "float": 5}
_FLOAT, _FLOAT_BYTES = 1, 4
"""ONNX's number of float32, the only type of tensors, and its bytes."""


class _Message:
    """One message of a protocol buffer: the values of each field, in the order of the file."""

    def __init__(self, data: bytes, fields: Mapping[int, tuple[str, Kind]]) -> None:
        self._values: dict[str, list[Any]] = {}
        for number, wire, value in _split(data):
            if number not in fields:
                raise _Broken(f"has field {number} where none is expected")
            name, kind = fields[number]
            self._values.setdefault(name, []).extend(_values(kind, wire, value))

    def every(self, name: str) -> list[bytes]:
        return self._values.get(name, [])

    def one(self, name: str) -> bytes:
        found = self.every(name)
        if len(found) != 1:
            raise _Broken(f"holds {len(found)} of '{name}' where one is expected")
        return found[0]

    def text(self, name: str) -> str:
        return _text(self.one(name))

    def numbers(self, name: str) -> tuple[int, ...]:
        return tuple(self._values.get(name, ()))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _Broken("holds a name that is no text") from None


def _split(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, wire type and value of each field."""
    place, n = 0, 0
    while place < len(data):
        n += 1
        if n > _MAX_FIELDS:
            raise _Broken(f"has more than {_MAX_FIELDS} fields")
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, wire, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        elif wire == 5:
            size = 4
        else:
            raise _Broken(f"has a field of wire type {wire}")
        if place + size > len(data):
            raise _Broken("ends too early")
        yield number, wire, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a whole number and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise _Broken("ends too early")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            # Negative numbers come as 64 bits in two's complement.
            return value - (1 << 64 if value >> 63 else 0), place
    raise _Broken("holds a number of more than 64 bits")


def _values(kind: Kind, wire: int, value: int | bytes) -> list[Any]:
    """Return what a field says."""
    if wire != _WIRE[kind]:
        raise _Broken(f"has a field of wire type {wire} where {_WIRE[kind]} is expected")
    return [*struct.unpack("<f", value)] if kind == "float" and isinstance(value, bytes) else [value]


@dataclass(frozen=True)
class _Tensor:
    """A constant: its shape, and its numbers if they are few."""

    shape: tuple[int, ...]
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class _Flow:
    """A value between two layers, as it is for an input of the probe's size.

    Attributes
    ----------
    channels, rows, cols : int
    pitch : Fraction
        Pixels of the input from one to the next.
    before, after : Fraction
        Pixels of the input, left and right (above and below) of those that it stands for, that can influence it.
    """

    channels: int
    rows: int
    cols: int
    pitch: Fraction = Fraction(1)
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)

    @property
    def size(self) -> tuple[int, int]:
        return self.rows, self.cols


@dataclass(frozen=True)
class Layer:
    """One node of the graph with its attributes."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Value]

    def ints(self, name: str, n: int, default: int, low: int, high: int) -> tuple[int, ...]:
        """Return n whole numbers within bounds."""
        value = self.attributes.get(name, (default,) * n)
        if (
            not isinstance(value, tuple)
            or len(value) != n
            or not all(type(v) is int and low <= v <= high for v in value)
        ):
            raise _Broken(f"has a layer {self.kind} whose '{name}' is out of bounds")
        return tuple(int(v) for v in value)


def graph_parts(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the nodes and the constants of a network's file that has been checked, each as the file has it."""
    graph = _Message(_Message(data, _MODEL).one("graph"), _GRAPH)
    return graph.every("node"), graph.every("initializer")


def graph_layers(data: bytes) -> tuple[list[Layer], dict[str, tuple[tuple[int, ...], bytes]]]:
    """Return the layers of a network's file that has been checked, and shape and float32 bytes of each constant."""
    nodes, constants = graph_parts(data)
    tensors = [_Message(part, _TENSOR) for part in constants]
    return [_read_layer(part) for part in nodes], {
        t.text("name"): (t.numbers("dims"), t.one("raw_data")) for t in tensors
    }


class _Graph:
    """The layers of a network, in the order in which they run, and its constants."""

    def __init__(self, message: _Message, channels: int, n_outputs: int) -> None:
        tensors = [_read_tensor(part) for part in message.every("initializer")]
        self.constants = dict(tensors)
        if len(self.constants) < len(tensors):
            raise _Broken("gives a constant twice")
        self.layers = [_read_layer(part) for part in message.every("node")]
        if len(self.layers) > MAX_LAYERS:
            raise _Broken(f"has {len(self.layers)} layers; at most {MAX_LAYERS} are read")
        self._ends = (_end(message.one("input"), channels), _end(message.one("output"), n_outputs))
        self.n_weights = sum(prod(tensor.shape) for tensor in self.constants.values())

    def walk(self, channels: int, n_outputs: int) -> tuple[int, int]:
        """Return how far the network looks and its multiply-adds per pixel, after checking what fits to what."""
        first, last = self._ends
        if first in self.constants:
            raise _Broken(f"gives the value '{legible(first)}' twice")
        values = {first: _Flow(channels, *_PROBE)}
        macs = 0
        for layer in self.layers:
            if layer.output in values or layer.output in self.constants:
                raise _Broken(f"gives the value '{legible(layer.output)}' twice")
            flows = [values[name] for name in layer.inputs if name in values]
            if layer.kind not in _LAYERS:
                raise _Broken(f"has a layer of the kind '{legible(layer.kind)}', which evoseg does not use")
            if not flows or any(name not in values and name not in self.constants for name in layer.inputs):
                raise _Broken(f"has a layer {layer.kind} whose input comes from nowhere")
            constants = [self.constants.get(name) for name in layer.inputs if name not in values]
            if layer.inputs[0] not in values:
                raise _Broken(f"has a layer {layer.kind} whose first input is a constant")
            flow, work = _LAYERS[layer.kind](layer, flows, constants)
            macs += work
            if flow.channels * flow.rows * flow.cols > _MAX_PLANES * prod(_PROBE) or macs > MAX_MACS * prod(_PROBE):
                raise _Broken("would need more memory or time than any network of evoseg")
            values[layer.output] = flow
        result = values.get(last)
        if result is None or (result.channels, *result.size) != (n_outputs, *_PROBE):
            raise _Broken(f"does not give {n_outputs} planes of the size of its input")
        return ceil(max(result.before, result.after)), ceil(macs / prod(_PROBE))


def _end(part: bytes, channels: int) -> str:
    """Return what the input or the output is called, after checking its type and channels."""
    message = _Message(part, _END)
    tensor = _Message(_Message(message.one("type"), _TYPE).one("tensor_type"), _TENSOR_TYPE)
    sizes = [_Message(dim, _DIM).numbers("dim_value") for dim in _Message(tensor.one("shape"), _SHAPE).every("dim")]
    if tensor.numbers("elem_type") != (1,) or sizes[:2] != [(1,), (channels,)] or sizes[2:] != [_WRITTEN] * 2:
        raise _Broken("has an input or output of another shape than its channels")
    return message.text("name")


def _read_tensor(part: bytes) -> tuple[str, _Tensor]:
    message = _Message(part, _TENSOR)
    shape = message.numbers("dims")
    data = message.one("raw_data")
    fits = len(shape) <= 4 and all(1 <= n <= MAX_BYTES for n in shape) and _FLOAT_BYTES * prod(shape) == len(data)
    if message.numbers("data_type") != (_FLOAT,) or not fits:
        raise _Broken("has a tensor whose size or type is not what its data say")
    numbers = struct.unpack(f"<{prod(shape)}f", data) if prod(shape) <= 16 else ()
    return message.text("name"), _Tensor(shape, numbers)


def _read_layer(part: bytes) -> Layer:
    message = _Message(part, _NODE)
    attributes: dict[str, Value] = {}
    for inner in message.every("attribute"):
        attribute = _Message(inner, _ATTRIBUTE)
        given = {kind: value for kind in _ATTRIBUTE_TYPES if (value := attribute.numbers(kind))}
        name = attribute.text("name")
        types = tuple(_ATTRIBUTE_TYPES[kind] for kind in given)
        if len(given) != 1 or attribute.numbers("type") != types or name in attributes:
            raise _Broken(f"has an attribute '{legible(name)}' that cannot be read")
        ((kind, value),) = given.items()
        attributes[name] = value if kind == "ints" else value[0]
    inputs = tuple(_text(name) for name in message.every("input"))
    layer = Layer(message.text("op_type"), inputs, message.text("output"), attributes)
    for name in attributes:
        if name not in _ATTRIBUTES.get(layer.kind, ()):
            raise _Broken(f"has a layer {legible(layer.kind)} with the attribute '{legible(name)}'")
    return layer


_ATTRIBUTES = {
    "Conv": ("kernel_shape", "strides", "pads", "group"),
    "ConvTranspose": ("kernel_shape", "strides"),
    "Concat": ("axis",),
    "Resize": ("mode",),
    "HardSigmoid": ("alpha", "beta"),
}
Constants = Sequence[_Tensor | None]


def _window(layer: Layer) -> tuple[int, int]:
    """Return side length and stride of a layer that looks through a square window."""
    sides = layer.ints("kernel_shape", 2, 0, 1, 64)
    strides = layer.ints("strides", 2, 1, 1, STRIDE)
    if len({*sides}) > 1 or len({*strides}) > 1:
        raise _Broken(f"has a layer {layer.kind} whose window is no square")
    return sides[0], strides[0]


def _kernel(layer: Layer, flows: Sequence[_Flow], constants: Constants) -> tuple[int, int]:
    """Return the first two sides of a kernel, after checking the others."""
    kernel = constants[0] if constants else None
    side, _ = _window(layer)
    if len(flows) != 1 or len(constants) != 2 or kernel is None or kernel.shape[2:] != (side, side):
        raise _Broken(f"has a layer {layer.kind} whose kernel does not fit")
    return kernel.shape[0], kernel.shape[1]


def _check_bias(layer: Layer, bias: _Tensor | None, n_out: int) -> None:
    if bias is None or bias.shape != (n_out,):
        raise _Broken(f"has a layer {layer.kind} whose bias does not fit")


def _convolve(layer: Layer, flows: Sequence[_Flow], constants: Constants) -> tuple[_Flow, int]:
    group = layer.attributes.get("group", 1)
    n_out, n_in = _kernel(layer, flows, constants)
    _check_bias(layer, constants[1], n_out)
    (flow,), (side, stride), pads = flows, _window(layer), {*layer.ints("pads", 4, 0, 0, 32)}
    pad = max(pads)
    if type(group) is not int or group < 1 or n_in * group != flow.channels or n_out % group:
        raise _Broken("has a layer Conv whose kernel does not fit")
    sizes = [(n + 2 * pad - side) // stride + 1 for n in flow.size]
    if len(pads) > 1 or pad >= side or min(sizes) < 1:
        raise _Broken("has a layer Conv that does not fit on its input")
    before = flow.before + pad * flow.pitch
    after = flow.after + max(0, side - pad - stride) * flow.pitch
    made = _Flow(n_out, sizes[0], sizes[1], flow.pitch * stride, before, after)
    return made, n_out * n_in * side**2 * prod(made.size)


def _transpose(layer: Layer, flows: Sequence[_Flow], constants: Constants) -> tuple[_Flow, int]:
    n_in, n_out = _kernel(layer, flows, constants)
    _check_bias(layer, constants[1], n_out)
    (flow,), (side, stride) = flows, _window(layer)
    if n_in != flow.channels or side != stride:
        raise _Broken("has a layer ConvTranspose whose kernel does not fit")
    return _enlarged(flow, n_out, stride), n_in * n_out * side**2 * prod(flow.size)


def _resize(layer: Layer, flows: Sequence[_Flow], constants: Constants) -> tuple[_Flow, int]:
    scales = [tensor.numbers for tensor in constants if tensor is not None]
    if (
        len(flows) != 1
        or dict(layer.attributes) != {"mode": b"nearest"}
        or scales != [(1, 1, 2, 2)]
        or len(layer.inputs) != 2
    ):
        raise _Broken("has a layer Resize that does not repeat each value twice")
    made = _enlarged(flows[0], flows[0].channels, 2)
    return made, 0


def _enlarged(flow: _Flow, channels: int, factor: int) -> _Flow:
    """Return a value each of whose parts stands for a part of a larger one."""
    pitch = flow.pitch / factor
    more = (factor - 1) * pitch
    return _Flow(channels, flow.rows * factor, flow.cols * factor, pitch, flow.before + more, flow.after + more)


def _concat(layer: Layer, flows: Sequence[_Flow], constants: Constants) -> tuple[_Flow, int]:
    if layer.attributes.get("axis") != 1 or len(flows) != len(layer.inputs):
        raise _Broken("has a layer Concat that joins other things than channels")
    return _joined(layer, flows, sum(flow.channels for flow in flows)), 0


def _elementwise(layer: Layer, flows: Sequence[_Flow], constants: Constants) -> tuple[_Flow, int]:
    channels = flows[0].channels
    if len({flow.channels for flow in flows}) > 1 or len(layer.inputs) != _ELEMENTWISE[layer.kind]:
        raise _Broken(f"has a layer {layer.kind} whose inputs do not fit together")
    for tensor in constants:
        if tensor is None or tensor.shape not in ((1, 1, 1, 1), (1, channels, 1, 1)):
            raise _Broken(f"has a layer {layer.kind} whose inputs do not fit together")
    if layer.kind == "HardSigmoid" and not all(
        isinstance(layer.attributes.get(name), float) for name in ("alpha", "beta")
    ):
        raise _Broken("has a layer HardSigmoid without its slope and offset")
    made = _joined(layer, flows, channels)
    return made, channels * prod(made.size)


def _joined(layer: Layer, flows: Sequence[_Flow], channels: int) -> _Flow:
    """Return a value made of some that lie on each other pixel by pixel."""
    if len({(flow.size, flow.pitch) for flow in flows}) != 1:
        raise _Broken(f"has a layer {layer.kind} whose inputs differ in size")
    before, after = max(flow.before for flow in flows), max(flow.after for flow in flows)
    return _Flow(channels, flows[0].rows, flows[0].cols, flows[0].pitch, before, after)


_ELEMENTWISE = {"Identity": 1, "Relu": 1, "Sigmoid": 1, "HardSigmoid": 1, "Add": 2, "Sub": 2, "Mul": 2}
"""Layers that work number by number, and how many inputs they take."""
_LAYERS: dict[str, Callable[[Layer, Sequence[_Flow], Constants], tuple[_Flow, int]]] = {
    "Conv": _convolve,
    "ConvTranspose": _transpose,
    "Resize": _resize,
    "Concat": _concat,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
}
