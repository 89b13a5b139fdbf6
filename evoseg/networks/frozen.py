"""The pretrained encoder without any training: its features of images, and planes that are linear in them.

It runs in OpenCV, without torch. A linear head is fitted anew in milliseconds once the features are there, and with the
encoder it makes a network like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Raw
from evoseg.networks.lite0 import STRIDES, TAPS, write_encoder
from evoseg.networks.onnx import Graph
from evoseg.networks.weights import pretrained_state
from evoseg.operators.network import NETWORK_READY, match_brightness, prepare, restore
from evoseg.operators.network_file import read_network

N_FEATURES = sum(TAPS)
_SMOOTH = np.array([1, 2, 1], np.float32) / 4
"""After each value has been repeated, this makes the interpolation linear."""
_STEEP = 4.0
"""Factor before the sigmoid, which makes its slope 1 where a head gives one half."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear function of a pixel's features that is about 1 for foreground and 0 for background.

    Attributes
    ----------
    weights : float array of shape (N_FEATURES,)
    centre : float array of shape (N_FEATURES,)
        Mean features, which also stand for those beyond the border of an image where features are interpolated.
    bias : float
        Its value at these.
    channels : int
        Of the images that the encoder sees.
    """

    weights: NDArray[np.floating[Any]]
    centre: NDArray[np.floating[Any]]
    bias: float
    channels: int

    def levels(self, features: Floats) -> NDArray[np.uint8]:
        """Return the values of its plane, shape (n,), at pixels with given features, shape (n, N_FEATURES)."""
        total = np.asarray((features - self.centre) @ self.weights, np.float32) * np.float32(_STEEP)
        return restore(_sigmoid(total + self.offset)[None, None], 1, (1, len(features))).ravel()

    @property
    def of_taps(self) -> list[tuple[Floats, Floats]]:
        """For each tap, the coarsest first: weights of its features and a constant, whose sum goes into the sigmoid."""
        weights = np.split(np.asarray(_STEEP * self.weights, np.float32), np.cumsum(TAPS)[:-1])
        centres = np.split(np.asarray(self.centre, np.float32), np.cumsum(TAPS)[:-1])
        return [(w, np.array([-w @ c], np.float32)) for w, c in zip(reversed(weights), reversed(centres), strict=True)]

    @property
    def offset(self) -> np.float32:
        """The constant of all taps together in that sum."""
        return np.float32(_STEEP * (self.bias - 0.5))

    def network(self) -> bytes:
        """Return the ONNX file of the encoder with this head."""
        graph = Graph(self.channels)
        taps = write_encoder(graph, graph.input, pretrained_state(), self.channels)
        total = ""
        for tap, (weights, added) in zip(reversed(taps), self.of_taps, strict=True):
            y = graph.convolve(tap, weights.reshape(1, -1, 1, 1), added)
            total = _write_doubled(graph, graph.add("Add", [total, y]) if total else y)
        total = graph.add("Add", [total, graph.constant(self.offset.reshape(1, 1, 1, 1))])
        return graph.finish(graph.add("Sigmoid", [total]), 1, _notes(self.channels))


def _write_doubled(graph: Graph, x: str) -> str:
    kernel = np.asarray(np.outer(_SMOOTH, _SMOOTH), np.float32)[None, None]
    return graph.convolve(graph.double(x), kernel, np.zeros(1, np.float32))


def _doubled(plane: Floats) -> Floats:
    """Return a plane at twice its height and width; beyond its border lie zeros, as in the file."""
    size = (2 * plane.shape[1], 2 * plane.shape[0])
    large = cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.sepFilter2D(large, -1, _SMOOTH, _SMOOTH, borderType=cv2.BORDER_CONSTANT), np.float32)


def _notes(channels: int) -> Mapping[str, Any]:
    """Return the metadata of the file: above all, that each image is standardised by its own mean and deviation."""
    return {
        "version": 1,
        "channels": channels,
        "brightness": [(0.0, 1.0)] * channels,
        "reduction": 1,
        "outputs": ["foreground"],
        "encoder": "EfficientNet-Lite0",
        "head": "linear",
    }


@dataclass(frozen=True, eq=False)
class Features:
    """The encoder's features of a part of an image.

    Attributes
    ----------
    taps : sequence of float32 arrays of shape (width, rows, cols)
        At strides 2, 4, 8 and 16.
    shape : (M, N)
        Of the part.
    """

    taps: Sequence[Floats]
    shape: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory that they take, in bytes."""
        return sum(tap.nbytes for tap in self.taps)

    def part(self, top: int, left: int, bottom: int, right: int) -> "Features":
        """Return a copy of the features of a box in this part, in px; its first row and column are multiples of 16."""
        below, beyond = (-(-end // STRIDES[-1]) * STRIDES[-1] for end in (bottom, right))
        taps = [
            tap[:, top // s : below // s, left // s : beyond // s].copy()
            for tap, s in zip(self.taps, STRIDES, strict=True)
        ]
        return Features(taps, (bottom - top, right - left))

    def at(self, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Floats:
        """Return interpolated features of n pixels, shape (n, N_FEATURES); beyond the border, the outermost go on."""
        return np.concatenate(
            [_interpolated(tap, s, rows, cols) for tap, s in zip(self.taps, STRIDES, strict=True)], axis=1
        )

    def plane(self, head: LinearHead) -> Gray:
        """Return the plane of a head, shape (M, N), which differs from that of its network by one level at most."""
        total = np.zeros((1, 1), np.float32)
        for i, (tap, (weights, added)) in enumerate(zip(reversed(self.taps), head.of_taps, strict=True)):
            y = np.asarray(np.tensordot(weights, tap, axes=1) + added, np.float32)
            total = _doubled(total + y if i else y)
        plane: Gray = restore(_sigmoid(total + head.offset)[None], 1, self.shape)[0]
        return plane


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def _interpolated(tap: Floats, stride: int, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Floats:
    shares = _shares(stride)
    padded = np.pad(tap, ((0, 0), (1, 1), (1, 1)), mode="edge")
    found = np.zeros((len(rows), len(tap)), np.float32)
    for i, j in np.ndindex(3, 3):
        share = shares[rows % stride, i] * shares[cols % stride, j]
        found += share[:, None] * padded[:, rows // stride + i, cols // stride + j].T
    return found


@cache
def _shares(stride: int) -> Floats:
    """Return the weights of the cells before, at and after it for each pixel of a cell, shape (stride, 3)."""
    cells = np.eye(5, dtype=np.float32)
    while len(cells) < 5 * stride:
        cells = np.apply_along_axis(np.convolve, 0, np.repeat(cells, 2, axis=0), _SMOOTH, "same")
    return np.ascontiguousarray(cells[2 * stride : 3 * stride, 1:4])


@final
class FrozenEncoder:
    """Computes features of images; used by several threads.

    Parameters
    ----------
    channels : int
        That it reads. If an image has fewer, its last one is repeated; if it has more, the others are ignored.

    Attributes
    ----------
    margin : int, px
        What has to be encoded around a part of an image for its features to be those of the whole; a multiple of 64.
    """

    def __init__(self, channels: int) -> None:
        """Make it ready.

        Raises
        ------
        MissingPackageError
            If the package of the weights is not installed.
        """
        graph = Graph(channels)
        taps = write_encoder(graph, graph.input, pretrained_state(), channels)
        for tap, stride in zip(taps, STRIDES, strict=True):
            graph.rename(tap, f"features at {stride}")
        names = [(f"features at {stride}", width, stride) for width, stride in zip(TAPS, STRIDES, strict=True)]
        self._file = np.frombuffer(graph.finish_maps(names), np.uint8)
        self._net: Any = None
        self._lock = Lock()
        self.channels = channels
        reach = read_network(LinearHead(np.zeros(N_FEATURES), np.zeros(N_FEATURES), 0.0, channels).network()).reach
        self.margin = -(-reach // 64) * 64

    def encode(self, image: Raw, brightness: NDArray[np.float64]) -> Features:
        """Return the features of a part of an image.

        Parameters
        ----------
        image : uint8, uint16 or float32 array of shape (M, N, C)
            The part, whose first row and column are multiples of 16 in the whole.
        brightness : float64 array of shape (channels, 3)
            Of the whole, as `evoseg.operators.network.measure_brightness` returns it.
        """
        matched = match_brightness(brightness, [(0.0, 1.0)] * self.channels)
        with self._lock:  # OpenCV's networks must not be shared
            net = cv2.dnn.readNetFromONNX(self._file) if self._net is None else self._net
            net.setInput(prepare(image, self.channels, 1, matched)[None])
            found = net.forward(net.getUnconnectedOutLayersNames())
            # It keeps the memory that it has once taken.
            self._net = net if image.shape[0] * image.shape[1] <= NETWORK_READY else None
            taps = sorted((np.array(tap[0], np.float32) for tap in found), key=lambda tap: -tap.shape[1])
        return Features(taps, (image.shape[0], image.shape[1]))
