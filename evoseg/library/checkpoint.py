"""Weights of a residual network: reading and checking a file, the file that comes with evoseg, ImageNet's."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from evoseg.base.errors import EvosegError, MissingPackageError, SettingsError, legible, unknown
from evoseg.base.writing import whole_file

if TYPE_CHECKING:
    from evoseg.library.resnet import Plan

LARGEST = 1 << 29
"""Bytes of a weight file that is opened; ResNet-152's is 230 MB."""


class WeightsError(EvosegError, ValueError):
    """A file that does not hold the weights it should."""


@dataclass(frozen=True)
class Remote:
    """A file on the internet, and how to know it."""

    url: str
    sha256: str
    size: int


IMAGENET = {
    "resnet18": Remote(
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        46_830_571,
    ),
    "resnet50": Remote(
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        102_530_333,
    ),
}
"""torchvision's IMAGENET1K_V1 weights."""


def torch_or_error() -> None:
    """Raise a MissingPackageError if a package that weights need is not installed."""
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"{package} is not installed, and images cannot be compared without it: pip install {package}"
            )


def shipped() -> Path:
    """Return the file of the weights that come with evoseg."""
    return Path(__file__).with_name("weights") / "slim.safetensors"


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

    from evoseg.library.resnet import ResNet, plan_of

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


def imagenet(name: str, folder: Path, *, download: bool = False, known: Mapping[str, Remote] = IMAGENET) -> Path:
    """Return the file of torchvision's ImageNet weights, for `Embedder`.

    Parameters
    ----------
    name : "resnet18" or "resnet50"
    folder : Path
        Where the file is kept, under torchvision's name; made if something is downloaded into it.
    download : bool
        Whether the user allows the file to be fetched from pytorch.org (45 or 98 MiB) if it is not there.
    known : mapping, optional
        The files on offer.

    Raises
    ------
    SettingsError
        For an unknown name.
    WeightsError
        If the file is not there and may not or cannot be fetched, or is not the one that torchvision published.
    """
    if name not in known:
        raise SettingsError(unknown("ImageNet network", name, known))
    remote = known[name]
    path = folder / remote.url.rpartition("/")[2]
    if path.is_file():
        _check(path.read_bytes(), remote, str(path))
        return path
    if not download:
        raise WeightsError(f"{path}: no such file. Fetch it from {remote.url} or allow evoseg to download it.")
    try:
        with urlopen(remote.url, timeout=60) as answer:
            # One byte more than there should be shows a wrong file without reading an endless one.
            content = answer.read(remote.size + 1)
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{remote.url}: the download failed ({error}). Fetch it by hand into {folder}.") from error
    _check(content, remote, remote.url)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(content)
    return path


def _check(content: bytes, remote: Remote, where: str) -> None:
    if sha256(content).hexdigest() != remote.sha256:
        raise WeightsError(f"{where}: not the file that torchvision published: its SHA-256 is not {remote.sha256}.")
