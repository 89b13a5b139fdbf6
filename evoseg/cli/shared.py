"""Options that several commands share, and those of a search, made from `SearchOptions`."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evoseg.core.deprecation import warn_deprecated
from evoseg.runs.options import MODEL_NAMING

if TYPE_CHECKING:
    from evoseg.datasets.reading import ReadOptions
    from evoseg.runs.options import FlatOption, SearchOptions

AXES = typer.Option(
    metavar="AXES",
    help="Axes of stacks, such as CYX, where the files do not state them, or state them wrongly.",
    show_default=False,
)
PAGE = typer.Option(
    metavar="N|all",
    help="Page to read from stacks, counted from 0 (T=0,Z=3 if there are two such axes); all reads each page as an "
    "image.",
    show_default=False,
)
CHANNEL = typer.Option(
    metavar="NAME|N",
    help="Channel to read, by name or counted from 0; separate several by commas (default: all).",
    show_default=False,
)
SERIES = typer.Option(
    metavar="NAME|N",
    help="Image to read from files that hold several (a dataset in HDF5, a scale of OME-Zarr), by name or counted "
    "from 0.",
    show_default=False,
)
TRANSFORM = typer.Option(
    metavar="KIND",
    help="Transform between the images of a pair: shift, rigid (shift and rotation) or affine (default: as in the "
    "table in pairs/ or in the run, else shift).",
    show_default=False,
)
BAD_PIXELS = typer.Option(
    metavar="FILE",
    help="Mask whose pixels above 0 are unknown in all images, such as the gaps of a detector (default: bad_pixels.* "
    "beside the images).",
    show_default=False,
)
CLASSES = typer.Option(
    metavar="NAMES",
    help="Classes of annotated outlines that count as objects, by name, separated by commas; evoseg check lists them "
    "(default: all).",
    show_default=False,
)
BASE_URL = typer.Option(
    metavar="URL", help="URL of the model's endpoint (default: that of the provider).", show_default=False
)
USD = typer.Option(help="Maximum cost of the model in US dollars, if its price is known.")
ROLES = typer.Option(
    metavar="DIR",
    help="Folder of prompts (roles) that replace or extend evoseg's own (default: none).",
    show_default=False,
)
ALLOW_CODE = typer.Option(
    "--allow-code",
    help="Allow the pipeline's Python operators to run, in a sandbox, even if they do not come from a search of yours. "
    "Read them first: they stay allowed.",
)
LIBRARY = typer.Option(
    "--library",
    metavar="URL",
    help="Library of solved tasks: a file or a postgresql:// URL (default: $EVOSEG_HOME/library.db).",
    show_default=False,
)
PIPELINE_HELP = (
    "Pipeline file (.evo or .json), or folder or id of a run, for its recommended pipeline. RUN#readable and "
    "RUN#accurate name one of its two pipelines, and RUN#3 number 3 of its Pareto front."
)
JSON = typer.Option("--json", help="Print one JSON document.")
_OLD = {"for": "--target", "start": "--warm-start", "executor": "--workers", "operators": "--target"}
"""Options of version 0.1, with what stands in their stead."""
_SEVERAL = ("start", "operator")
"""Options that may be given several times."""
_METAVARS = {
    "operator": "FILE.py",
    "workers": "N|URL",
    "start": "FILE.evo|RUN",
    "library": "FILE.db|URL|none",
    "agent": "MODEL",
    "base_url": "URL",
    "roles": "DIR",
    "goal": "WORDS",
    "out": "DIR",
}


def agent_option(purpose: str, default: str = " (default: none)") -> Any:
    """Return the option that names a language model for a purpose."""
    return typer.Option(metavar="MODEL", help=f"{purpose}, {MODEL_NAMING}{default}.", show_default=False)


def chosen(
    axes: str,
    page: str,
    channel: str,
    series: str,
    classes: str = "",
    transform: str = "",
    bad_pixels: Path | None = None,
) -> "ReadOptions":
    """Return what the options say.

    Raises
    ------
    SettingsError
        If they cannot mean anything.
    """
    from evoseg.datasets.reading import ReadOptions, absolute_path

    return ReadOptions(
        axes,
        page,
        channel,
        series=series,
        classes=classes,
        transform=transform,
        bad_pixels=absolute_path(bad_pixels),
    )


def parse_workers(workers: str | None, executor: str | None) -> int | str | None:
    """Return workers as Python takes them; `executor` is the value of the option of version 0.1.

    Raises
    ------
    SettingsError
        If both are given.
    """
    if executor is not None:
        warn_deprecated("--executor", "--workers")
        if executor != "local":
            from evoseg.core.errors import SettingsError
            from evoseg.runs.options import workers_beside

            if workers is not None:
                raise SettingsError(workers_beside(executor, workers))
            return executor
    return int(workers) if workers is not None and workers.removeprefix("-").isdecimal() else workers


def add_search_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each of a search; it gets them together, as `options`."""
    from evoseg.runs.options import list_options

    parts = {leaf.flat: leaf for leaf in list_options() if leaf.flat != "progress"}
    own = [p for p in signature(command).parameters.values() if p.name != "options"]

    @wraps(command)
    def call(**values: Any) -> None:
        flat = {name: values.pop(name) for name in parts}
        flat |= {name: not flat[name] for name, leaf in parts.items() if leaf.default is True}
        old = {name: value for name in _OLD if (value := values.pop(f"old_{name}")) is not None}
        command(**values, options=_options(flat, old))

    made = [*own[:1], *map(_parameter, parts.values()), *own[1:], *map(_old, _OLD)]
    call.__signature__ = signature(command).replace(parameters=made)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in made}
    return call


def _options(flat: dict[str, Any], old: dict[str, Any]) -> "SearchOptions":
    """Return the options of a search as the command line gives them, those of version 0.1 included."""
    from evoseg.runs.options import from_flat

    for name, value in old.items():
        if name in ("for", "operators"):
            warn_deprecated(f"--{name}", _OLD[name])
            flat["target"] = None if value in ("default", "all", "python") else value
        elif name == "start":
            warn_deprecated("--start", "--warm-start")
            flat["start"] = [*(flat["start"] or ()), *value]
    flat["workers"] = parse_workers(flat["workers"], old.get("executor"))
    for name in _SEVERAL:
        flat[name] = tuple(flat[name] or ())
    return from_flat(flat)


def _parameter(leaf: "FlatOption") -> Parameter:
    """Return an option as Typer takes it."""
    from evoseg.runs.options import write_help

    kinds, flag = set(leaf.types), leaf.extra["flag"] or f"--{leaf.flat.replace('_', '-')}"
    default: Any = leaf.default
    kind: Any = next((simple for simple in (bool, float, str, int) if simple in kinds), Path)
    if leaf.flat in _SEVERAL:
        kind, default = list[str], None
    if leaf.flat == "workers":
        kind = str
    if kind is bool and default is None:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif kind is bool:
        default = False  # --no-remember turns off what is on by default
    help, metavar = write_help(leaf.info, cli=True), _METAVARS.get(leaf.flat)
    told = typer.Option(flag, help=help, metavar=metavar, show_default=False)
    annotation = kind if default is not None else kind | None
    return Parameter(leaf.flat, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, told])


def _old(name: str) -> Parameter:
    """Return an option of version 0.1, which no help shows."""
    kind: Any = list[str] if name == "start" else str
    annotation = Annotated[kind | None, typer.Option(f"--{name}", hidden=True)]
    return Parameter(f"old_{name}", Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
