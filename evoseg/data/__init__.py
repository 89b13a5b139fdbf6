"""Datasets in: image files, folders, splits, checks, drawn scenes, and the packed form that workers share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoseg.data.card import DatasetCard
    from evoseg.data.checking import Report, check, open_dataset
    from evoseg.data.dataset import Dataset, Sample
    from evoseg.data.files import read_image, write_image, write_mask
    from evoseg.data.maskrules import read_mask
    from evoseg.data.pack import Pack, write_pack
    from evoseg.data.scenes import SCENES, Scene, draw_dataset
    from evoseg.data.splits import Splits, split

_HOMES = {
    "card": ("DatasetCard",),
    "checking": ("Report", "check", "open_dataset"),
    "dataset": ("Dataset", "Sample"),
    "files": ("read_image", "write_image", "write_mask"),
    "maskrules": ("read_mask",),
    "pack": ("Pack", "write_pack"),
    "scenes": ("SCENES", "Scene", "draw_dataset"),
    "splits": ("Splits", "split"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "SCENES",
    "Dataset",
    "DatasetCard",
    "Pack",
    "Report",
    "Sample",
    "Scene",
    "Splits",
    "check",
    "draw_dataset",
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
