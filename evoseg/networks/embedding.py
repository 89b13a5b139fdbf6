"""What an image looks like, as one vector: averaged features of a network that was trained on other images."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import EvosegError, MissingPackageError, legible
from evoseg.core.kinds import Raw

if TYPE_CHECKING:
    from torch import nn

    from evoseg.networks.resnet import Plan

WINDOW = (0.5, 99.5)
"""Percentiles that become 0 and 255."""
_SAMPLED = 1 << 18
"""About how many pixels the percentiles are taken from."""
_STRIDE = 32
"""Of the networks: sides of the view of the whole image are multiples of it."""


@dataclass(frozen=True)
class Views:
    """How images are shown to a network.

    Attributes
    ----------
    tile : int, px
        Side of the tiles, which are cut at native scale: the size of objects is part of what a problem looks like.
    grid : int
        Tiles along each side of an image, evenly spaced; they overlap where the image is small.
    whole : int, px
        Shorter side of a view of the whole image, whose features count as much as those of all tiles: another
        laboratory's images have another resolution. 0 for none.
    mean, deviation : tuple of 3 float
        By which R, G, B from 0 to 1 are normalised.
    """

    tile: int
    grid: int
    whole: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __str__(self) -> str:
        """Return what vectors depend on: part of the embedder's id."""
        whole = f", whole at {self.whole} px" if self.whole else ""
        return f"{self.grid} x {self.grid} tiles of {self.tile} px{whole}, window {WINDOW}, revision 1"

    def of(self, image: Raw) -> list[NDArray[np.uint8]]:
        """Return the tiles of an image and, if wanted, the whole, as arrays of shape (n, M, N, 3)."""
        low, high = window(image)
        shown = to_bytes(to_rgb(image), low, high)
        return [cut(shown, self.tile, self.grid), *([shrink(shown, self.whole)] if self.whole else [])]

    def normalise(self, view: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return a view of shape (n, M, N, 3) as a network takes it: float32 of shape (n, 3, M, N)."""
        values = (np.float32(1 / 255) * view - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


SLIM_VIEWS = Views(96, 4, 0)
PICTURE_VIEWS = Views(224, 2, 224)
"""For networks that were trained on photographs."""


Net = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Returns features of shape (n, dim) of views of shape (n, 3, M, N)."""


@final
class Embedder:
    """A network that turns images into vectors of unit length; near vectors, like images.

    Attributes
    ----------
    name : str
        Of the network.
    id : str
        From the weights and the views. Only vectors of equal ids may be compared.
    dim : int
        Length of a vector.
    views : Views
    """

    def __init__(self, name: str, identity: str, dim: int, net: Net, views: Views) -> None:
        self.name, self.id, self.dim = name, identity, dim
        self.views = views
        self._net = net

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
        features = [self._net(self.views.normalise(view)) for view in self.views.of(image)]
        return unit(np.sum([unit(found.mean(axis=0)) for found in features], axis=0))


def efficientnet() -> Embedder:
    """Return EfficientNet-Lite0 without its classifier, trained on ImageNet.

    Raises
    ------
    MissingPackageError
        If the package of the weights is not installed.
    """
    from evoseg.networks.lite0 import FEATURES, write_features
    from evoseg.networks.weights import SHA256, pretrained_state

    views = replace(PICTURE_VIEWS, mean=(127 / 255,) * 3, deviation=(128 / 255,) * 3)
    digest = sha256(f"{views}{SHA256}".encode()).hexdigest()[:16]
    net = _in_opencv(write_features(pretrained_state()))
    return Embedder("EfficientNet-Lite0", f"efficientnet-{FEATURES}-{digest}", FEATURES, net, views)


def resnet(weights: str | Path | None = None) -> Embedder:
    """Return a residual network without its classifier.

    Parameters
    ----------
    weights : path, optional
        A .safetensors or .pth file of a ResNet under torchvision's parameter names (ResNet-18, -34, -50, ... or the
        slim one of experiments/embedder.py); the weights that come with evoseg if left out.

    Raises
    ------
    MissingPackageError
        If torch or safetensors is not installed.
    WeightsError
        If the file is missing, damaged or not of a ResNet.
    """
    torch_or_error()
    from evoseg.networks.resnet import SLIM, ResNet

    plan, state = read_weights(bundled_weights() if weights is None else Path(weights))
    module = ResNet(plan).eval()
    module.load_state_dict(state)
    name, views = ("slim ResNet", SLIM_VIEWS) if plan == SLIM else (f"ResNet-{plan.depth}", PICTURE_VIEWS)
    return Embedder(name, f"resnet-{plan.dim}-{_digest(state, views)}", plan.dim, _in_torch(module), views)


def unit(vector: NDArray[Any]) -> NDArray[np.float32]:
    """Return the vector at unit length; one without direction becomes the diagonal."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not length:
        return np.full(vector.shape, vector.size**-0.5, np.float32)
    return np.asarray(vector / length, np.float32)


def cut(shown: NDArray[np.uint8], side: int, grid: int) -> NDArray[np.uint8]:
    """Return tiles of an image, uint8 array of shape (n, side, side, 3), n at most grid * grid.

    An image smaller than a tile is continued by its mirror image.
    """
    lacking = [max(0, side - n) for n in shown.shape[:2]]
    if any(lacking):
        shown = np.pad(shown, [(0, lacking[0]), (0, lacking[1]), (0, 0)], mode="symmetric")
    rows, cols = ([int(i) for i in np.unique(np.linspace(0, n - side, grid).round())] for n in shown.shape[:2])
    return np.stack([shown[r : r + side, c : c + side] for r in rows for c in cols])


def shrink(shown: NDArray[np.uint8], short: int) -> NDArray[np.uint8]:
    """Return the whole of an image, uint8 array of shape (1, M, N, 3), at most twice as long as wide."""
    rows, cols = shown.shape[:2]
    factor = short / min(rows, cols)
    sides = [_STRIDE * max(1, round(min(n * factor, 2 * short) / _STRIDE)) for n in (cols, rows)]
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(shown, sides, interpolation=method), np.uint8)[None]


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


def to_rgb(image: Raw) -> NDArray[Any]:
    """Return the channels that are shown as R, G and B: the first three, the last again where there are fewer."""
    return image[:, :, [min(i, image.shape[2] - 1) for i in range(3)]]


def _digest(state: dict[str, Any], views: Views) -> str:
    """Return a digest of a network's parameters and of the way images are shown to it."""
    digest = sha256(str(views).encode())
    for name, values in sorted(state.items()):
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def _in_opencv(file: bytes) -> Net:
    """Return a network in OpenCV, which needs no torch, and two thirds of its time."""
    net, lock = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8)), Lock()

    def run(views: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:  # OpenCV's networks must not be shared
            net.setInput(views)
            return np.asarray(net.forward(), np.float32).reshape(len(views), -1)

    return run


def _in_torch(module: "nn.Module") -> Net:
    """Return a network in torch."""
    import torch

    def run(views: NDArray[np.float32]) -> NDArray[np.float32]:
        with _one_thread(), torch.inference_mode():
            return np.asarray(module(torch.from_numpy(views)).numpy())

    return run


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


LARGEST = 1 << 29
"""Bytes of a weight file that is opened; ResNet-152's is 230 MB."""


class WeightsError(EvosegError, ValueError):
    """A file that does not hold the weights it should."""


def torch_or_error() -> None:
    """Raise a MissingPackageError if a package that weights need is not installed."""
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"{package} is not installed, and images cannot be compared without it: pip install {package}"
            )


def bundled_weights() -> Path:
    """Return the file of the weights that come with evoseg."""
    return Path(__file__).with_name("data") / "slim.safetensors"


def read_weights(path: Path) -> "tuple[Plan, dict[str, Any]]":
    """Read the weights of a residual network.

    Parameters
    ----------
    path : Path
        .safetensors, or .pth as `torch.save` writes a state dict; no code in it is run. Parameters have torchvision's
        names; those of the classifier, `fc`, are left out.

    Returns
    -------
    plan : Plan
        Read from the shapes.
    state : dict of str to float32 tensor
        For `ResNet(plan).load_state_dict`.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, of another network, or holds values that are not finite.
    """
    import torch

    from evoseg.networks.resnet import ResNet, plan_of

    found = _tensors(path)
    state = {
        name: values.detach().to(torch.float32).contiguous()
        for name, values in found.items()
        # How many batches a network has seen does not change its answer, and older files do not say.
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    try:
        plan = plan_of({name: tuple(values.shape) for name, values in state.items()})
    except (KeyError, IndexError) as error:
        raise WeightsError(f"{path}: not the weights of a ResNet under torchvision's names; {_HINT}") from error
    with torch.device("meta"):
        wanted = {name: tuple(values.shape) for name, values in ResNet(plan).state_dict().items()}
    wanted = {name: shape for name, shape in wanted.items() if shape}
    if fault := _difference(state, wanted):
        raise WeightsError(f"{path}: {fault}; {_HINT}")
    if name := next((name for name, values in state.items() if not torch.isfinite(values).all()), None):
        raise WeightsError(f"{path}: {name} holds values that are not finite. Take an undamaged copy of the file.")
    return plan, state


_HINT = "take the file of a torchvision ResNet, such as resnet18-f37072fd.pth, or one of experiments/embedder.py."


def _tensors(path: Path) -> dict[str, Any]:
    """Read the file, whatever tensors it may hold."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Name the .safetensors or .pth file of the weights.")
    if path.suffix not in (".safetensors", ".pth"):
        raise WeightsError(f"{path}: weights are read from .safetensors and .pth files only.")
    if path.stat().st_size > LARGEST:
        raise WeightsError(f"{path}: larger than {LARGEST >> 20} MiB, so not the weights of a ResNet; {_HINT}")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged file makes these readers raise almost anything, from EOFError to AttributeError.
        raise WeightsError(f"{path}: cannot be read as weights. Take an undamaged copy of the file.") from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{path}: does not hold one tensor per parameter; {_HINT}")
    return {str(name): values for name, values in found.items()}


def _difference(state: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """Say how the parameters differ from those wanted, or nothing if they do not."""
    if missing := sorted(wanted.keys() - state.keys()):
        return f"the parameter {missing[0]} is missing" + _and_others(missing)
    if foreign := sorted(state.keys() - wanted.keys()):
        return f"the parameter {legible(foreign[0])} is not one of this ResNet" + _and_others(foreign)
    unlike = sorted(name for name, shape in wanted.items() if tuple(state[name].shape) != shape)
    if unlike:
        return f"{unlike[0]} is {tuple(state[unlike[0]].shape)}, not {wanted[unlike[0]]}" + _and_others(unlike)
    return ""


def _and_others(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""
