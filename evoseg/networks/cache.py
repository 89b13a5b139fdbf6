"""Features of augmented windows, computed once by a frozen encoder and kept in half precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from evoseg.networks.architecture import Encoder
from evoseg.networks.augmenting import Cutter, Window
from evoseg.networks.lite0 import STRIDES

ALIGNMENT = STRIDES[-1]
CROP = 128
"""Side of what a decoder is trained on at a time, px."""
_MAX_WINDOW = 512
_NEAR_OBJECTS = 0.6
"""Share of crops that hold foreground, where there is some."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step learns from.

    Attributes
    ----------
    image : float32 of shape (n, C, CROP, CROP)
    truth : float32 of shape (n, K, CROP, CROP)
    known : float32 of shape (n, 1, CROP, CROP)
    taps : sequence of 4 float32 of shape (n, width, CROP / stride, CROP / stride)
        Features of the image; empty if no encoder has computed them.
    """

    image: Tensor
    truth: Tensor
    known: Tensor
    taps: Sequence[Tensor] = ()


def window_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the windows of a scene: all of it, unless that is very small or very large."""
    rows, cols = (min(_MAX_WINDOW, max(CROP, n)) // ALIGNMENT * ALIGNMENT for n in shape)
    return rows, cols


def to_tensor(planes: NDArray[np.float32]) -> Tensor:
    """Return planes of shape (C, h, w) as a batch of one, its channels together in memory: the fastest order here."""
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(1, 2, 0)))[None].permute(0, 3, 1, 2)


class CachedWindow:
    """A window with its features, of which aligned crops are drawn.

    Parameters
    ----------
    window : Window
    taps : list of Tensor
        Of the whole window, so crops know what lies around them.
    """

    def __init__(self, window: Window, taps: Sequence[Tensor]) -> None:
        self._arrays = [to_tensor(part).half() for part in (window.image, window.truth, window.known)]
        self._arrays += [tap.half() for tap in taps]
        self._cells = tuple(n // ALIGNMENT for n in window.known.shape[1:])
        rows, cols = self._cells
        foreground = (window.truth[0] * window.known[0]).reshape(rows, ALIGNMENT, cols, ALIGNMENT).max(axis=(1, 3))
        self._objects = np.argwhere(foreground > 0.3)

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return sum(array.nbytes for array in self._arrays)

    def crop(self, rng: Generator) -> list[Tensor]:
        """Return image, truth, known pixels and the four taps of a random crop, each float16 of shape (1, n, h, w)."""
        side = CROP // ALIGNMENT
        most = [n - side for n in self._cells]
        if len(self._objects) and rng.random() < _NEAR_OBJECTS:
            cell = self._objects[rng.integers(len(self._objects))] - rng.integers(side, size=2)
            row, col = (int(np.clip(i, 0, top)) for i, top in zip(cell, most, strict=True))
        else:
            row, col = (int(rng.integers(top + 1)) for top in most)
        crops = []
        for array, stride in zip(self._arrays, (1, 1, 1, *STRIDES), strict=True):
            k, n = ALIGNMENT // stride, CROP // stride
            crops.append(array[:, :, row * k : row * k + n, col * k : col * k + n])
        return crops


def draw_cached(windows: Sequence[Sequence[CachedWindow]], n: int, rng: Generator) -> Batch:
    """Return n crops of the windows of random scenes.

    Parameters
    ----------
    windows : sequence of sequences of CachedWindow
        Those of each scene that may be drawn.
    """
    crops = []
    for _ in range(n):
        scene = windows[int(rng.integers(len(windows)))]
        crops.append(scene[int(rng.integers(len(scene)))].crop(rng))
    image, truth, known, *taps = (torch.cat(parts).float() for parts in zip(*crops, strict=True))
    return Batch(image, truth, known, taps)


def draw_fresh(cutters: Sequence[Cutter], n: int, rng: Generator) -> Batch:
    """Return n new augmented crops of random scenes, without features."""
    windows = [cutters[int(rng.integers(len(cutters)))].cut((CROP, CROP), rng) for _ in range(n)]
    image, truth, known = (
        torch.cat([to_tensor(part) for part in parts])
        for parts in zip(*((window.image, window.truth, window.known) for window in windows), strict=True)
    )
    return Batch(image, truth, known)


def encode(encoder: Encoder, window: Window) -> CachedWindow:
    """Return a window with its features."""
    with torch.inference_mode():
        return CachedWindow(window, encoder(to_tensor(window.image)))
