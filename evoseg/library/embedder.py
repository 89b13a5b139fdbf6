"""What an image looks like, as one vector: the averaged features of a residual network on tiles of the image."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Raw
from evoseg.library.checkpoint import read_weights, shipped, torch_or_error

TILE = 96
"""Side of a tile, px. Tiles are cut at native scale: the size of objects is part of what a problem looks like."""

GRID = 4
"""Tiles along each side of an image, evenly spaced; they overlap where the image is small."""

WINDOW = (0.5, 99.5)
"""Percentiles that become 0 and 255."""

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's R, G, B from 0 to 1, by which torchvision's weights expect their input to be normalised."""

_SAMPLED = 1 << 18
"""About how many pixels the percentiles are taken from."""

_RECIPE = f"{GRID} x {GRID} tiles of {TILE} px, window {WINDOW}, revision 1"
"""Part of the id: vectors of another recipe are not to be compared, whatever the weights."""


class Embedder:
    """A residual network that turns images into vectors of unit length; near vectors, like images.

    Parameters
    ----------
    weights : path, optional
        A .safetensors or .pth file of a ResNet under torchvision's parameter names (ResNet-18, -34, -50, ... or the
        slim one of experiments/embedder.py); the weights that come with evoseg if left out.

    Attributes
    ----------
    id : str
        From the weights and the way tiles are cut. Only vectors of equal ids may be compared.
    dim : int
        Length of a vector.

    Raises
    ------
    MissingPackageError
        If torch or safetensors is not installed.
    WeightsError
        If the file is missing, damaged or not of a ResNet.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        torch_or_error()
        from evoseg.library.resnet import ResNet

        plan, state = read_weights(shipped() if weights is None else Path(weights))
        self._net = ResNet(plan)
        self._net.load_state_dict(state)
        self._net.eval()
        self.dim = plan.dim
        self.id = f"resnet-{plan.dim}-{_digest(state)}"

    def embed(self, image: Raw) -> NDArray[np.float32]:
        """Return what an image looks like.

        Parameters
        ----------
        image : uint8, uint16 or float32 array of shape (M, N, C)
            The first three channels count; one channel is shown as grey, of two the second is shown twice.

        Returns
        -------
        float32 array of shape (dim,), of unit length; the same on every call
        """
        import torch

        tiles = torch.from_numpy(prepared(np.float32(1 / 255) * cut(image)))
        with _one_thread(), torch.inference_mode():
            features = self._net(tiles).numpy()
        return unit(features.mean(axis=0))


def unit(vector: NDArray[Any]) -> NDArray[np.float32]:
    """Return the vector at unit length; one without direction becomes the diagonal."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not length:
        return np.full(vector.shape, vector.size**-0.5, np.float32)
    return np.asarray(vector / length, np.float32)


def cut(image: Raw) -> NDArray[np.uint8]:
    """Return the tiles that stand for an image, uint8 array of shape (n, TILE, TILE, 3), n at most GRID * GRID.

    An image smaller than a tile is continued by its mirror image.
    """
    low, high = window(image)
    image = three(image)
    lacking = [max(0, TILE - n) for n in image.shape[:2]]
    if any(lacking):
        image = np.pad(image, [(0, lacking[0]), (0, lacking[1]), (0, 0)], mode="symmetric")
    rows, cols = ([int(i) for i in np.unique(np.linspace(0, n - TILE, GRID).round())] for n in image.shape[:2])
    return np.stack([to_bytes(image[r : r + TILE, c : c + TILE], low, high) for r in rows for c in cols])


def window(image: Raw) -> tuple[float, float]:
    """Return the values that become 0 and 255: percentiles of the channels shown, together, so that hues are kept.

    Extremes instead where the percentiles are equal, as in a black image with a few small objects.
    """
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / _SAMPLED)))
    shown = image[::step, ::step, :3]
    low, high = (float(value) for value in np.percentile(shown, WINDOW))
    return (low, high) if low < high else (float(image[:, :, :3].min()), float(image[:, :, :3].max()))


def to_bytes(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return values from `low` to `high` as 0 to 255; zeros if there is nothing between the two."""
    # float64, or the difference of two float32 could overflow.
    scaled = (values.astype(np.float64) - low) / max(high - low, sys.float_info.min) * 255
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def three(image: Raw) -> NDArray[Any]:
    """Return the channels that are shown as R, G and B: the first three, the last again where there are fewer."""
    return image[:, :, [min(i, image.shape[2] - 1) for i in range(3)]]


def prepared(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return tiles of shape (n, M, N, 3), 0 to 1, as a network takes them: normalised, of shape (n, 3, M, N)."""
    return np.ascontiguousarray(((tiles - _MEAN) / _DEVIATION).transpose(0, 3, 1, 2))


def _digest(state: dict[str, Any]) -> str:
    """Return a digest of a network's parameters and of the way images are shown to it."""
    digest = sha256(_RECIPE.encode())
    for name, values in sorted(state.items()):
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in one thread for a while: sums in a fixed order, and no fight for cores with the workers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
