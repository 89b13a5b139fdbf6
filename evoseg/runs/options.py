"""The options of a search: the one home of their names, types, defaults and help.

`evoseg.search`, `evoseg.search_classes`, `evoseg.Segmenter`, the options of `evoseg search` and the record of a run all
derive from `SearchOptions`. Options that belong together form a group, such as `Agent`; on the command line and in the
record each of them stands by itself, under its flat name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, cleandoc
from pathlib import Path
from textwrap import fill
from types import NoneType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast, dataclass_transform, get_args

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from evoseg.core.deprecation import warn_deprecated
from evoseg.core.errors import SettingsError, unknown

if TYPE_CHECKING:
    from evoseg.pipeline import Pipeline
    from evoseg.runs.opening import Data
    from evoseg.runs.status import ProgressCallback

    Files: TypeAlias = str | Path | Sequence[str | Path]
    Start: TypeAlias = Pipeline | str | Path | Sequence[Pipeline | str | Path]
else:
    # The command line imports this module before it knows which command runs, so it imports nothing heavy.
    Pipeline = Data = ProgressCallback = Start = Files = Any

ENCODERS = ("imagenet", "none")
"""What a network begins with: features of photographs, or nothing."""
DEFAULT, NONE = "default", "none"
"""The user's own library, and none at all; anything else is a file or a URL."""
LOCAL = "local"
"""The executor that is this machine."""
LLM_USD = 2.0
"""Default for the maximum cost of a language model in US dollars."""
MODEL_NAMING = (
    "as PROVIDER:MODEL, such as openai:gpt-4.1-mini; the key is read from the provider's environment variable, such as "
    "OPENAI_API_KEY"
)
"""How a language model is named: the end of the help of every option that takes one."""
BINARY_METRICS = (
    "iou",
    "dice",
    "mcc",
    "f_beta",
    "boundary_f",
    "buffered_iou",
)
"""The names in `MASK_METRICS`, which would slow down the start of every command if it were imported here."""

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


def option(
    default: Any, help: str, says: str = "", *, flat: str = "", flag: str = "", cli: str = "", python: str = ""
) -> Any:
    """Declare an option.

    Parameters
    ----------
    default : object
    help : str
        What the option does, and its unit.
    says : str
        What the default means, if its value does not say that.
    flat : str
        Name on the command line and in the record, if that differs from the field's.
    flag : str
        Spelling on the command line, if it is not the flat name after two dashes.
    cli : str
        Help on the command line instead, where that turns the option round.
    python : str
        A further sentence for Python.
    """
    says = says or ("" if default is None else str(default))
    extra: dict[str, Any] = {"says": says, "flat": flat, "flag": flag, "cli": cli, "python": python}
    return Field(default, description=help, json_schema_extra=extra)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def _options(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Make frozen, checked values of a class; what does not fit raises one SettingsError that names the option."""

    def make(cls: type[T]) -> type[T]:
        config: Any = {"strict": True, "arbitrary_types_allowed": True, "extra": "forbid"}
        made: Any = pydantic_dataclass(frozen=True, kw_only=kw_only, config=config)(cls)
        checked = made.__init__

        @wraps(checked)
        def __init__(self: Any, *values: Any, **named: Any) -> None:
            try:
                checked(self, *map(_plain, values), **{name: _plain(value) for name, value in named.items()})
            except ValidationError as error:
                raise _settings_error(error, made, values) from None

        made.__init__ = __init__
        made.__doc__ = document_options(cls.__doc__ or "", _fields(made))
        return made  # type: ignore[no-any-return]

    return make


def _plain(value: Any) -> Any:
    """Return Python's own number for a NumPy one."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "shape", None) == () else value


def _settings_error(error: ValidationError, made: Any, values: Sequence[Any]) -> Exception:
    """Word the first thing that does not fit."""
    first = error.errors()[0]
    name = first["loc"][0]
    names = list(made.__pydantic_fields__)
    if first["type"] == "missing":
        return TypeError(f"{made.__name__}() needs {name}.")
    if first["type"].startswith("unexpected"):
        return TypeError(f"{made.__name__}() takes no {name!r}; it takes {', '.join(names)}.")
    name = names[name] if isinstance(name, int) else name
    kinds = members(made.__pydantic_fields__[name].annotation)
    value = values[names.index(name)] if names.index(name) < len(values) else first["input"]
    *most, last = [_WORDS.get(kind, f"an evoseg.{getattr(kind, '__name__', kind)}") for kind in kinds]
    wanted = f"{', '.join(most)} or {last}" if most else last
    return SettingsError(f"{name} is {_shown(value)}; it must be {wanted}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:60] + '…'} ({type(value).__name__})"


_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "text",
    Path: "a path",
    bool: "True or False",
    NoneType: "None",
}


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a union allows."""
    return get_args(annotation) or (annotation,)


@dataclass(frozen=True)
class FlatOption:
    """One option with its place in `SearchOptions`.

    Attributes
    ----------
    flat : str
        Its name on the command line and in the record.
    field : str
        Of `SearchOptions`.
    inner : str
        Field of the group that the field holds; "" if the option is the field itself.
    group : class or None
    default : object
    info : FieldInfo
    """

    flat: str
    field: str
    inner: str
    group: Any
    default: Any
    info: Any

    @property
    def extra(self) -> dict[str, Any]:
        """What `option` has noted."""
        return dict(self.info.json_schema_extra)

    @property
    def types(self) -> tuple[Any, ...]:
        """What values may be, groups left out."""
        return tuple(kind for kind in members(self.info.annotation) if kind not in GROUPS.values())

    @property
    def spelled(self) -> str:
        """How it is written in Python."""
        return f"{self.field}=evoseg.{self.group.__name__}({self.inner}=...)" if self.inner else f"{self.field}=..."


def _fields(made: Any) -> dict[str, Any]:
    fields: dict[str, Any] = made.__pydantic_fields__
    return fields


def write_help(info: Any, *, cli: bool = False) -> str:
    """Return an option's help: what it does, its unit, its default."""
    extra = info.json_schema_extra
    if cli and extra["cli"]:
        return f"{extra['cli']}."
    default = f" (default: {extra['says']})" if extra["says"] else ""
    more = f" {extra['python']}" if extra["python"] and not cli else ""
    return f"{info.description}{default}.{more}"


def document_options(text: str, fields: Mapping[str, Any], *, before: str = "") -> str:
    """Return a docstring whose section "Parameters" lists some options."""
    entries = [before] if before else []
    for name, info in fields.items():
        kinds = [getattr(kind, "__name__", "") for kind in members(info.annotation) if kind is not NoneType]
        noted = [" or ".join(kind for kind in kinds if kind not in ("", "Any")), "optional" * (not info.is_required())]
        words = fill(write_help(info), 112, initial_indent="    ", subsequent_indent="    ")
        entries.append(f"{name} : {', '.join(filter(None, noted))}\n{words}")
    head, *parts = cleandoc(text).split("\n\n")
    place = next((i for i, part in enumerate(parts) if part.partition("\n")[2].startswith("---")), len(parts))
    listed = "Parameters\n----------\n" + "\n".join(entries)
    return "\n\n".join([head, *parts[:place], listed, *parts[place:]]) + "\n"


@_options()
class Points:
    """The task "points", with the distance at which points match."""

    radius: float | None = option(
        None, "Largest distance in px at which a point matches a true one", "from dataset.yaml, else 6"
    )


@_options()
class Goal:
    """What the search aims for, and which pipelines it may consider."""

    target_score: float | None = option(
        None, "Score on the search images at which the search ends early, at most 1", "none"
    )
    max_ms_per_mpx: float | None = option(
        None,
        "Largest estimated run time of a pipeline on one core, in ms per megapixel; networks take between 40 and 1000",
        "no limit",
    )
    target: str | None = option(
        None,
        "Language to which the pipeline must be exportable: python, cpp or imagej; the search only uses operators that "
        "exist there",
        "python, where all operators exist",
    )
    networks: bool = option(
        True,
        "Whether to train small neural networks on the search images and to search for a second, more accurate "
        "pipeline that contains one",
        flag="--no-networks",
        cli="Train no neural networks; the whole budget goes to the readable pipeline, which consists of filters only",
    )
    encoder: str = option(
        "imagenet",
        "Initial weights of networks: imagenet, pretrained on a million photographs (docs/networks.md "
        "states their licence), or none, to train from scratch",
    )
    operator: Files = option(
        (),
        "Python file of an operator of your own, which the search may use (it runs in a sandbox); may be given several "
        "times",
        "none",
        python="A list of several will do, too.",
    )
    allow_code: bool = option(
        False,
        "Whether the Python operators of warm-start pipelines may run, in a sandbox, even if they are neither from a "
        "search of yours nor allowed before; they stay allowed",
        cli="Allow the Python operators of warm-start pipelines to run, in a sandbox, even if they do not come from a "
        "search of yours. Read them first: they stay allowed",
    )


@_options()
class Library:
    """The library of solved tasks that a search begins with and adds to."""

    place: str | Path = option(
        DEFAULT,
        "Library of solved tasks to start from, in addition to the bundled ones: a SQLite file, a postgresql:// URL, "
        "or none for a cold start",
        "$EVOSEG_HOME/library.db",
        flat="library",
    )
    remember: bool = option(
        True,
        "Whether to add this task to the library once it is solved",
        flag="--no-remember",
        cli="Do not add this task to the library",
    )


@_options()
class Agent:
    """A language model that proposes pipelines beside the search, and what it may cost."""

    model: str = Field(
        description=f"Language model that also proposes pipelines, {MODEL_NAMING}",
        json_schema_extra={"says": "none", "flat": "agent", "flag": "", "cli": "", "python": ""},
    )
    base_url: str | None = option(None, "URL of the model's endpoint", "that of the provider")
    calls: int = option(20, "Maximum number of requests to the model", flat="llm_calls")
    tokens: int | None = option(
        None,
        "Maximum number of input and output tokens of the model",
        "no limit, or 500000 if its price is unknown",
        flat="llm_tokens",
    )
    usd: float | None = option(
        LLM_USD, "Maximum cost of the model in US dollars, if its price is known", flat="llm_usd"
    )
    wait: bool | None = option(
        None,
        "Whether the search waits for the model's answers, so that each request reports the scores of the last "
        "proposals; waiting does not use up the budget",
        "only if the budget is evaluations without a time limit",
        flat="llm_wait",
    )
    deadline: float | None = option(
        None, "Maximum duration of one request to the model in seconds", "120", flat="llm_deadline"
    )
    roles: str | Path | None = option(
        None, "Folder of prompts (roles) that replace evoseg's own, or are added to them; see agents/README.md", "none"
    )
    goal: str | None = option(
        None,
        "What to find, in your own words. The model proposes the task, the metric and the radius that you do not give, "
        "and reads these words with every later request",
        "none",
        python="`evoseg.propose_task` shows the proposal without a search.",
    )


@_options()
class Output:
    """Where a run's files lie."""

    folder: str | Path | None = option(
        None, "Folder for the files of the run", "a new one under $EVOSEG_HOME/runs", flat="out"
    )
    overwrite: bool = option(
        False,
        "Whether the folder may hold an earlier run, which is then replaced",
        cli="Replace an earlier run in --out",
    )


GROUPS: dict[str, Any] = {"task": Points, "goal": Goal, "library": Library, "agent": Agent, "out": Output}
"""Groups by the field of `SearchOptions` that may hold one. A plain value there stands for the first of the group."""


@_options(kw_only=True)
class SearchOptions:
    """What a search is asked for."""

    task: str | Path | Points = option(
        "auto",
        "What to find: binary (foreground), instances (objects), points, registration (the shift, rotation or affine "
        "transform between the images of a pair), classes (a pipeline for each), or a Python file that defines your "
        "own task, whose code is run",
        "auto, which is the task of the metric if one is given, else inferred from the dataset",
        python="`evoseg.Points` also sets the radius.",
    )
    metric: str | None = option(
        None,
        f"Metric to maximise. binary: {', '.join(BINARY_METRICS[:-1])} or {BINARY_METRICS[-1]}; "
        "instances: ap50, ap or pq; "
        "points: f1 or f2; registration: closeness",
        "the first of the task",
    )
    seconds: float | None = option(
        None, "Length of the search in seconds of wall time", "60, or no limit if evaluations are given"
    )
    evaluations: int | None = option(
        None,
        "Number of candidates to evaluate. With this budget, unlike with seconds, the result is the same on every "
        "machine",
        "no limit",
    )
    seed: int | None = option(
        0,
        "Random seed of the search; it does not change the split into search and test images",
        python="None draws a new seed, which the run records.",
    )
    workers: int | str | None = option(
        None,
        "Number of worker processes, 0 to run everything in this process; or dask://HOST:PORT, the scheduler of a Dask "
        "cluster, which has its own workers",
        "one per CPU core",
    )
    start: Start = option(
        (),
        "Pipeline to start from: a file, or the folder or id of a run; may be given several times",
        "none",
        flag="--warm-start",
        python="A `Pipeline` or its text will do, too, and a list of several.",
    )
    goal: Goal | None = option(
        None,
        "What the search aims for and which pipelines it may consider, as an `evoseg.Goal`",
        "the best score, by any pipeline",
    )
    library: str | Path | Library = option(
        DEFAULT,
        'Library of solved tasks to start from: a SQLite file, a postgresql:// URL, or "none" for a cold start',
        "$EVOSEG_HOME/library.db",
        python="`evoseg.Library` also says whether to add this task.",
    )
    agent: str | Agent | None = option(
        None,
        f"Language model that also proposes pipelines, {MODEL_NAMING}",
        "none",
        python="`evoseg.Agent` also limits what it may cost.",
    )
    out: str | Path | Output | None = option(
        None,
        "Folder for the files of the run",
        "a new one under $EVOSEG_HOME/runs",
        python="`evoseg.Output` also allows replacing an earlier run.",
    )
    report: bool = option(
        True,
        "Whether to draw the report and the pictures",
        flag="--no-report",
        cli="Do not write the report and the pictures",
    )
    progress: ProgressCallback | None = option(
        None, "Function that is called with a `Status` after each generation", "none"
    )

    @property
    def flat(self) -> dict[str, Any]:
        """Every option under its flat name."""
        values: dict[str, Any] = {}
        for leaf in list_options():
            value = getattr(self, leaf.field)
            if isinstance(value, Points):
                values["task"] = "points"
            if leaf.group is None:
                values.setdefault(leaf.flat, value)
            elif isinstance(value, leaf.group):
                values[leaf.flat] = getattr(value, leaf.inner)
            else:
                plain = leaf.inner == _first(leaf.group) and leaf.field != "task"
                values[leaf.flat] = value if plain else leaf.default
        return values


def _first(group: Any) -> str:
    return next(iter(_fields(group)))


def list_options() -> list[FlatOption]:
    """Return every option, groups taken apart."""
    found = []
    for name, info in _fields(SearchOptions).items():
        group = GROUPS.get(name)
        if group is None or name == "task":
            found.append(FlatOption(name, name, "", None, info.default, info))
        for inner, part in _fields(group).items() if group else ():
            default = None if part.is_required() else part.default
            found.append(FlatOption(part.json_schema_extra["flat"] or inner, name, inner, group, default, part))
    return found


def from_flat(values: Mapping[str, Any]) -> SearchOptions:
    """Return the options that are given under their flat names; those left out take their defaults.

    Raises
    ------
    SettingsError
        If a value does not fit.
    """
    chosen: dict[str, Any] = {}
    grouped: dict[str, dict[str, Any]] = {}
    for leaf in list_options():
        if leaf.flat not in values or values[leaf.flat] == leaf.default:
            continue
        if leaf.inner:
            grouped.setdefault(leaf.field, {})[leaf.inner] = values[leaf.flat]
        else:
            chosen[leaf.field] = values[leaf.flat]
    for name, inner in grouped.items():
        if name == "agent" and not isinstance(inner.get("model"), str):
            if "goal" not in inner:
                continue  # limits of no model
            inner["model"] = NONE
        if name == "task" and chosen.get("task") not in (None, "auto", "points"):
            raise SettingsError(
                f"radius is {inner['radius']:g} px, but the task is {chosen['task']}; only points match within one."
            )
        chosen[name] = GROUPS[name](**inner)
    return SearchOptions(**chosen)


_OLD = {
    "operators": "goal=evoseg.Goal(target=...)",
    "executor": "workers=...",
    "axes": "evoseg.Dataset(path, axes=...)",
    "page": "evoseg.Dataset(path, page=...)",
    "channel": "evoseg.Dataset(path, channel=...)",
}
"""Keywords of version 0.1 that are gone, beside those that are in a group now, and what stands in their stead."""


def accept_options(
    options: Callable[P, SearchOptions],
) -> Callable[[Callable[[Data, SearchOptions], R]], Callable[Concatenate[Data, P], R]]:
    """Let a function of data and options take each option as a keyword, and document them all."""

    def decorate(function: Callable[[Data, SearchOptions], R]) -> Callable[Concatenate[Data, P], R]:
        @wraps(function)
        def call(data: Data, *more: Any, **named: Any) -> R:
            name = function.__name__
            if more:
                raise TypeError(
                    f"{name}() takes one dataset and keywords. Give images and masks as one pair, as in "
                    f"{name}((images, masks)), and options by name."
                )
            current = update_keywords(named, name)
            check_keywords(name, current, (*_fields(SearchOptions), "axes", "page", "channel"))
            reading = {word: str(current.pop(word, "")) for word in ("axes", "page", "channel")}
            return function(_open_with(data, reading), SearchOptions(**current))

        fields = _fields(SearchOptions)
        data = Parameter("data", Parameter.POSITIONAL_OR_KEYWORD)
        call.__signature__ = Signature([data, *keyword_parameters()])  # type: ignore[attr-defined]
        call.__doc__ = document_options(
            function.__doc__ or "",
            fields,
            before="data : path, Dataset, or (images, masks)\n"
            "    A folder with images/ and masks/; or arrays, in order or by name.",
        )
        return cast(Callable[Concatenate[Data, P], R], call)

    return decorate


def option_fields() -> dict[str, Any]:
    """Return the fields of the options by name."""
    return dict(_fields(SearchOptions))


def keyword_parameters() -> list[Parameter]:
    """Return each field of the options as a keyword parameter with its default."""
    return [Parameter(name, Parameter.KEYWORD_ONLY, default=info.default) for name, info in option_fields().items()]


def check_keywords(function: str, named: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse keywords that a function does not have.

    Raises
    ------
    TypeError
        As Python would, with the nearest matches.
    """
    for name in named:
        if name not in known:
            raise TypeError(
                f"{function}() got an {unknown('keyword argument', name, known)}".replace("an unknown", "an unexpected")
            )


def update_keywords(named: Mapping[str, Any], function: str, renamed: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return keywords with those of version 0.1 put into today's form; one warning names them all.

    Parameters
    ----------
    named : mapping of str to object
    function : str
        That was called.
    renamed : mapping of str to str
        Further old names, with today's.
    """
    parts = {leaf.flat: leaf for leaf in list_options() if leaf.inner and leaf.flat not in GROUPS}
    old = [name for name in named if name in parts or name in _OLD or name in renamed]
    current = {name: value for name, value in named.items() if name not in old}
    if not old:
        return current
    news = [parts[name].spelled if name in parts else _OLD.get(name) or f"{renamed[name]}=..." for name in old]
    warn_deprecated(f"{function}({', '.join(f'{name}=' for name in old)})", ", ".join(dict.fromkeys(news)))
    for name in old:
        value = named[name]
        if name in renamed:
            current[renamed[name]] = value
        elif name in parts:
            _put(current, parts[name], value)
        elif name == "operators":
            _check_operators(value)
            if value not in ("default", "all"):
                _put(current, next(leaf for leaf in parts.values() if leaf.inner == "target"), value)
        elif name == "executor":
            if value != LOCAL:
                if current.get("workers") is not None:
                    raise SettingsError(workers_beside(value, current["workers"]))
                current["workers"] = value
        else:
            current[name] = value
    return current


def _put(current: dict[str, Any], leaf: FlatOption, value: Any) -> None:
    """Put a value into its group among some keywords."""
    before = current.get(leaf.field)
    if leaf.field == "task":
        if value is None:
            return
        if before not in (None, "auto", "points"):
            shown = before if isinstance(before, str | Path) else "points"
            raise SettingsError(f"radius is {value} px, but the task is {shown}; only points match within one.")
        current["task"] = Points(value)
    elif isinstance(before, leaf.group):
        current[leaf.field] = replace(before, **{leaf.inner: value})
    elif before is not None:
        current[leaf.field] = leaf.group(before, **{leaf.inner: value})
    elif leaf.field != "agent":  # limits of no model
        current[leaf.field] = leaf.group(**{leaf.inner: value})


def _check_operators(choice: Any) -> None:
    if choice not in ("default", "all", "cpp", "imagej"):
        raise SettingsError(unknown("operators", str(choice), ("default", "cpp", "imagej")))


def workers_beside(executor: str, workers: object) -> str:
    """Say that a cluster has workers of its own."""
    return (
        f"workers ({workers}) counts processes on this machine; {executor} has its own, one per thread of its Dask "
        "workers. Leave one out."
    )


def _open_with(data: Data, reading: Mapping[str, Any]) -> Data:
    """Return a dataset whose files are read as version 0.1 was told by keywords."""
    if not any(reading.values()):
        return data
    from evoseg.datasets.reading import ReadOptions
    from evoseg.runs.opening import open_data

    return open_data(data, ReadOptions(**reading))
