"""`evoseg doctor`: what is installed, what works, what is missing, and how much disk evoseg uses."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from evoseg.cli.shared import JSON
from evoseg.core.errors import EvosegError

OK, MISSING, BROKEN = "ok", "missing", "broken"

_OPTIONAL = {
    "skimage": ("scikit-image", "measurements of objects, trained networks and the studio"),
    "torch": ("torch", "training networks, and image descriptors"),
    "faiss": ("faiss-cpu", "the search among solved tasks"),
    "langchain": ("langchain", "proposals by a language model"),
    "imagecodecs": ("imagecodecs", "compressed TIFF, and reading PNG in half the time"),
    "distributed": ("distributed", "searches on a cluster"),
    "fastapi": ("fastapi", "the studio"),
}
"""Packages by what is imported: what is installed, and what it is needed for."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    state : str
        "ok", "missing" (something optional is not there) or "broken" (evoseg needs it).
    words : str
        A version, a place, or what is wrong and what to do.
    """

    name: str
    state: str
    words: str


def doctor(as_json: Annotated[bool, JSON] = False) -> None:
    """Check the installation: what is installed, what works, and how much disk is used.

    Takes a few seconds, since the filters, a worker process and the sandbox are tried. The exit code is 1 if something
    that evoseg needs is broken.
    """
    import json

    found = checkup()
    if as_json:
        print(json.dumps({"findings": [vars(finding) for finding in found]}, indent=1))
    else:
        width = max(len(finding.name) for finding in found)
        print("\n".join(f"{f.state:8s} {f.name:{width}s}  {f.words}" for f in found))
    raise typer.Exit(1 if any(finding.state == BROKEN for finding in found) else 0)


def checkup() -> list[Finding]:
    """Look at everything; nothing heavy is imported and nothing is left behind."""
    return [
        *_needed(),
        *_optional(),
        _works("filters", _filters),
        _works("workers", _worker),
        _works("runs", _runs),
        _sandbox(),
        _compiler(),
        _browser(),
    ]


def _needed() -> Iterator[Finding]:
    from evoseg.runs.record import list_versions
    from evoseg.runs.settings import cores

    for name, version in list_versions().items():
        yield Finding(name, OK, version)
    yield Finding("cores", OK, f"{cores()}")


def _optional() -> Iterator[Finding]:
    from importlib import metadata
    from importlib.util import find_spec

    from evoseg.datasets.io.formats import FILE_FORMATS

    readers = {one.package: (one.package, f"{one.name} images") for one in FILE_FORMATS if one.package}
    for module, (package, purpose) in (_OPTIONAL | readers).items():
        if find_spec(module) is None:
            yield Finding(package, MISSING, f"not installed; needed for {purpose}")
            continue
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            version = "of an unknown version"
        yield Finding(package, OK, version)


def _works(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, OK, look())
    except (EvosegError, OSError) as error:
        return Finding(name, BROKEN, str(error))


def _filters() -> str:
    """Run every default operator on a drawn image."""
    import numpy as np

    from evoseg.core.kinds import Kind
    from evoseg.exporters.standalone import drawn_image
    from evoseg.operators import registry

    image = drawn_image("uint8")
    gray = image[:, :, 0].copy()
    labels = (gray > 128).astype(np.int32)
    values = {Kind.RAW: image, Kind.GRAY: gray, Kind.MASK: labels > 0, Kind.LABELS: labels}
    for op in registry.operators():
        op.run(tuple(values[kind] for kind in op.inputs), tuple(p.default for p in op.parameters))
    return f"{len(registry.operators())} run on a synthetic image"


def _worker() -> str:
    """Score one program in a worker process."""
    import tempfile

    from evoseg.api import search
    from evoseg.synthetic import draw_dataset

    with tempfile.TemporaryDirectory(prefix="evoseg-doctor-") as folder:
        drawn = draw_dataset("nuclei", Path(folder) / "drawn", 12, (40, 50), seed=1)
        search(drawn, evaluations=1, workers=1, library="none", report=False, out=Path(folder))
    return "a small search ran in a worker process"


def _runs() -> str:
    """Say where runs are kept, how large they are, and what room is left."""
    from evoseg.runs.run_folder import home, runs_folder

    folder = runs_folder()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    used = sum(path.stat().st_size for path in files)
    n_runs = sum(path.is_dir() for path in folder.iterdir()) if folder.is_dir() else 0
    there = next(path for path in (home(), *home().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    return f"{n_runs} in {folder}, {used / 2**20:.0f} MB; {free / 2**30:.1f} GB are free"


def _sandbox() -> Finding:
    from evoseg.sandbox.supervisor import Sandbox, SandboxError

    try:
        with Sandbox() as sandbox:
            return Finding("sandbox", OK, f"Python operators can run ({sandbox.start()})")
    except SandboxError as error:
        return Finding("sandbox", MISSING, str(error))


def _compiler() -> Finding:
    compiler = shutil.which("g++") or shutil.which("clang++")
    headers = any(Path(p).is_dir() for p in ("/usr/include/opencv4", "/usr/local/include/opencv4"))
    if compiler and headers:
        return Finding("C++", OK, f"{compiler}, with OpenCV")
    return Finding("C++", MISSING, "no compiler with OpenCV was found; exported C++ files cannot be tested here")


def _browser() -> Finding:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found:
        return Finding("browser", OK, found)
    return Finding("browser", MISSING, "Chromium not found: browser tests are skipped")
