"""The data folders that belong to evoseg: found in the installed package first, then beside a checkout."""

from pathlib import Path
from typing import Literal

from evoseg.base.errors import EvosegError

Folder = Literal["agents", "pipelines_db"]
"""Name of a data folder: the roles of a language model, or the seed library."""

_PACKAGE = Path(__file__).resolve().parent.parent


class ResourceError(EvosegError, FileNotFoundError):
    """A data folder that should have come with evoseg and did not."""


def data_folder(name: Folder, package: Path = _PACKAGE) -> Path:
    """Return the folder `name`, wherever this installation keeps it.

    Parameters
    ----------
    name : "agents" or "pipelines_db"
    package : Path, optional
        Folder of the package ``evoseg``; by default the one that is running.

    Raises
    ------
    ResourceError
        If neither the package nor a checkout around it holds the folder.
    """
    inside = package / "_data" / name
    if inside.is_dir():
        return inside
    beside = package.parent / name
    # Without this check, an installed package called `agents` would be mistaken for ours.
    if (package.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise ResourceError(
        f"the data folder '{name}' is missing: neither {inside} nor {beside} (in a checkout) exists. "
        "Install evoseg again, or run it from a complete checkout."
    )
