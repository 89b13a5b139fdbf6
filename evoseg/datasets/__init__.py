"""Read datasets: image files, folder layouts, splits, checks, and the packed form that workers share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoseg.datasets.card import DatasetCard
    from evoseg.datasets.checking import Report, check, open_dataset
    from evoseg.datasets.dataset import Dataset, Sample
    from evoseg.datasets.io.files import read_image, write_image, write_mask
    from evoseg.datasets.maskrules import read_mask
    from evoseg.datasets.memmap import Pack, write_pack
    from evoseg.datasets.splits import Splits, split

_HOMES = {
    "card": ("DatasetCard",),
    "checking": ("Report", "check", "open_dataset"),
    "dataset": ("Dataset", "Sample"),
    "io.files": ("read_image", "write_image", "write_mask"),
    "maskrules": ("read_mask",),
    "memmap": ("Pack", "write_pack"),
    "splits": ("Splits", "split"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Dataset",
    "DatasetCard",
    "Pack",
    "Report",
    "Sample",
    "Splits",
    "check",
    "open_dataset",
    "read_image",
    "read_mask",
    "split",
    "write_image",
    "write_mask",
    "write_pack",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when it is first asked for; importing the package stays cheap."""
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
