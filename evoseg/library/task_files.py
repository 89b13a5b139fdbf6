"""Solved tasks as YAML files, which third parties may write, too, and transfer results as CSV."""

import base64
import csv
import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evoseg.core import untrusted
from evoseg.core.disk import write_atomically
from evoseg.core.errors import EvosegError, PipelineError, legible, unknown
from evoseg.core.kinds import Kind
from evoseg.library.description import BITS
from evoseg.library.descriptors import Vector
from evoseg.library.task import METRICS, ROLES, STATISTICS, TASKS, Card, SolvedTask, StoredPipeline
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, RevisionWarning, print_text, read_text
from evoseg.pipeline.textform import find_macros, named_revisions
from evoseg.runs.code_files import ConsentError, load_source
from evoseg.sandbox.code import MAX_BYTES as CODE_BYTES
from evoseg.sandbox.operators import admitted_code

FORM = 1
MAX_BYTES = 256 * 1024
MAX_TEXT = 2000
MAX_IMAGES = 10_000
MAX_PIPELINES = 8
MAX_MACROS = 20
MAX_CODES = 20
MAX_DIM = 4096
_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class TaskError(EvosegError, ValueError):
    """A solved task's file that cannot be read."""


def print_task(task: SolvedTask, *, brief: bool = False) -> str:
    """Return a task as YAML; `read_task` gives an equal one, unless it is brief and lacks what only programs read."""
    document = task_document(task)
    document = {key: value for key, value in document.items() if not (brief and key in ("vectors", "seen"))}
    return str(yaml.dump(document, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=120))


def task_document(task: SolvedTask) -> dict[str, Any]:
    """Return a task as values that YAML and JSON know; `task_of` gives an equal one."""
    document: dict[str, Any] = {
        "evoseg": FORM,
        "name": task.name,
        "card": {key: value for key, value in vars(task.card).items() if value},
        "metric": task.metric,
        "images": {"count": task.n_images, "channels": task.channels},
        "statistics": {name: dict(values) for name, values in task.statistics.items()},
        "vectors": {name: _packed(vector) for name, vector in task.vectors.items()},
        "pipelines": [
            {"role": p.role, "score": p.score, "cost_ms_per_mpx": round(p.pipeline.cost, 1), "text": _text_of(p)}
            for p in task.pipelines
        ],
        "seen": list(task.hashes),
        "origin": task.origin,
    }
    digests = dict.fromkeys(digest for stored in task.pipelines for digest in stored.pipeline.codes)
    code = [admitted_code(digest).source for digest in digests]
    more = {"macros": list(task.macros.values()), "code": code}
    return document | {key: value for key, value in more.items() if value}


class _BlockDumper(_Dumper):  # type: ignore[misc]
    """Prints texts of several lines as blocks."""


def _block(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _block)


def _text_of(stored: StoredPipeline) -> str:
    """Return a pipeline's text, headed by the revisions that it was scored with."""
    _, _, body = print_text(stored.pipeline, settled=False).partition("\n")
    named = dict.fromkeys(f"{registry.get(name).called}@{n}" for name, n in stored.revisions.items())
    return f"# evoseg 1: {' '.join(named)}\n{body}"


def _packed(vector: Vector) -> str:
    """Return a vector in half precision, which moves a similarity by less than 0.001."""
    return base64.b64encode(np.asarray(vector, "<f2").tobytes()).decode()


def write_task(task: SolvedTask, path: Path) -> None:
    """Write a task's file, whole or not at all.

    Raises
    ------
    TaskError
        If it cannot be written.
    """
    try:
        with write_atomically(path) as file:
            file.write(print_task(task).encode())
    except OSError as error:
        raise TaskError(f"{path}: cannot be written ({error.strerror}).") from error


def read_file(path: Path, inside: Path | None = None, *, allow_code: bool = False) -> SolvedTask:
    """Read a task's file; `inside` is the folder that it must not lead out of.

    Raises
    ------
    ConsentError
        If it has a Python operator that has not been allowed.
    TaskError
        Naming the file and what is wrong.
    """
    try:
        text = untrusted.read_file(path, MAX_BYTES, inside=inside, error=TaskError).decode("utf-8")
        return read_task(text, allow_code=allow_code)
    except ConsentError as error:
        raise ConsentError(f"{path}: {error}") from None
    except TaskError as error:
        raise TaskError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: is not UTF-8 text, so it is not a solved task.") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror}).") from error


def read_task(text: str, *, allow_code: bool = False) -> SolvedTask:
    """Return the task that a YAML text describes: data, of which only Python operators ever run, and if allowed.

    Raises
    ------
    TaskError
        Saying which entry is wrong.
    """
    if len(text) > MAX_BYTES:
        raise TaskError(f"larger than {MAX_BYTES // 1024} KiB, which no solved task is.")
    try:
        document = untrusted.read_yaml(text)
    except untrusted.YamlError as error:
        raise TaskError(str(error)) from error
    return parse_task(document, allow_code=allow_code)


class _Entries(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Images(_Entries):
    count: Annotated[int, Field(ge=1, le=MAX_IMAGES)]
    channels: Annotated[int, Field(ge=1, le=1000)]


class _Pipeline(_Entries):
    role: _Text
    score: Annotated[float, Field(ge=-1, le=1)]
    cost_ms_per_mpx: _Number | None = None
    text: str


class _Task(_Entries):
    """A task's file as it stands, before its pipelines are read."""

    evoseg: int
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
    card: dict[str, _Text]
    metric: _Text
    images: _Images
    statistics: dict[str, dict[str, _Number]] = {}
    vectors: dict[_Text, Annotated[str, Field(max_length=4 * MAX_DIM)]] = {}
    pipelines: Annotated[list[_Pipeline], Field(min_length=1, max_length=MAX_PIPELINES)]
    seen: Annotated[
        list[Annotated[str, Field(pattern=f"^[0-9a-f]{{{BITS // 4}}}$")]], Field(max_length=MAX_IMAGES)
    ] = []
    origin: _Text = ""
    macros: Annotated[list[_Text], Field(max_length=MAX_MACROS)] = []
    code: Annotated[list[Annotated[str, Field(max_length=CODE_BYTES)]], Field(max_length=MAX_CODES)] = []


def parse_task(document: Any, *, allow_code: bool = False) -> SolvedTask:
    """Return the task that a document describes.

    Parameters
    ----------
    document : object
    allow_code : bool
        Whether its Python operators may run, should they neither be from a search of this user nor be allowed before.

    Raises
    ------
    ConsentError
        If it has a Python operator that has not been allowed.
    TaskError
        Saying which entry is wrong.
    """
    if not isinstance(document, dict):
        raise TaskError("the file must be `key: value` lines.")
    if document.get("evoseg") != FORM:
        version = legible(str(document.get("evoseg")))
        raise TaskError(f"its format is version {version}; this evoseg reads version {FORM}.")
    try:
        entries = _Task.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(legible(str(part)) for part in first["loc"])
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            raise TaskError(unknown("entry", str(first["loc"][0]), _Task.model_fields)) from None
        raise TaskError(f"{where}: {first['msg']}.") from None
    card, known = entries.card, [field.name for field in fields(Card)]
    if strange := [key for key in card if key not in known]:
        raise TaskError(unknown("entry of card", strange[0], known))
    task = card.get("task", Card.task)
    if task not in TASKS:
        raise TaskError(unknown("task", task, TASKS))
    output = TASKS[task]
    if entries.metric not in METRICS[output]:
        raise TaskError(unknown("metric", entries.metric, METRICS[output]))
    for source in entries.code:
        load_source(source, allow_code=allow_code)
    return SolvedTask(
        name=entries.name,
        card=Card(**card),
        metric=entries.metric,
        n_images=entries.images.count,
        channels=entries.images.channels,
        statistics=_statistics(entries.statistics),
        vectors={name: _vector(text, f"vectors: {legible(name)}") for name, text in entries.vectors.items()},
        pipelines=tuple(_pipeline(entry, i, output) for i, entry in enumerate(entries.pipelines, 1)),
        hashes=tuple(entries.seen),
        origin=entries.origin,
        macros=_macros(entries.macros),
    )


def _macros(texts: list[str]) -> dict[str, str]:
    """Read definitions; their bodies are checked when a program calls them."""
    found: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        try:
            found |= find_macros(text)
        except PipelineError as error:
            raise TaskError(f"macro {number}: {error}") from error
    return found


def _statistics(entries: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the numbers of descriptors; of one that this version does not know, none."""
    found = {}
    for name, numbers in entries.items():
        if name in STATISTICS:
            known = {feature.name for feature in STATISTICS[name].features}
            found[name] = {key: value for key, value in numbers.items() if key in known}
    return found


def _pipeline(entry: _Pipeline, number: int, output: Kind) -> StoredPipeline:
    where = f"pipeline {number}"
    if entry.role not in ROLES:
        raise TaskError(f"{where}: {unknown('role', entry.role, ROLES)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RevisionWarning)  # `revisions` keeps what there is to know
            pipeline = read_text(entry.text, settled=False)
    except PipelineError as error:
        raise TaskError(f"{where}: {error}") from error
    if pipeline.output is not output:
        raise TaskError(f"{where}: gives a {pipeline.output} value; this task needs a {output} value.")
    return StoredPipeline(entry.role, pipeline, entry.score, _revisions(entry.text, pipeline))


def _revisions(text: str, pipeline: Pipeline) -> dict[str, int]:
    """Return the revisions that a text names; those it does not name count as 0, older than any."""
    named = dict(named_revisions(text))
    operators = (registry.get(s.operator) for s in pipeline.steps)
    return {op.name: op.revision if op.code else named.get(op.name, 0) for op in operators}


def _vector(text: str, where: str) -> Vector:
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), "<f2")
    except ValueError as error:
        raise TaskError(f"{where} is not base64 of 16-bit floats.") from error
    length = float(np.linalg.norm(numbers.astype(np.float32)))
    if not 1 <= len(numbers) <= MAX_DIM or not 0.98 < length < 1.02:
        raise TaskError(f"{where} is not a vector of unit length with at most {MAX_DIM} numbers.")
    return numbers.astype(np.float32)


TRANSFER_FILE = "ledger.csv"
"""Name of the file in the folder of the bundled tasks."""
COLUMNS = ("source", "target", "form", "scale", "retrieved", "refitted", "kept")
MAX_TRANSFER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class TransferResult:
    """What a stored pipeline scored on another task.

    Attributes
    ----------
    source, target : str
        Ids of the tasks.
    form : str
        Of the pipeline as it is stored.
    scale : float
        By which its lengths were multiplied.
    retrieved : float or None
        Score as it was, with no number changed; None if that was not measured.
    refitted : float
        Score with its fitted numbers found on the target: on all its search images or, in a study, on one half of its
        training images, when the other half is scored.
    kept : bool or None
        Whether it, or a descendant of it, became the target's answer; None if nothing was searched.
    """

    source: str
    target: str
    form: str
    scale: float
    retrieved: float | None
    refitted: float
    kept: bool | None = None

    @property
    def id(self) -> str:
        """Identity: what was tried where."""
        words = f"{self.source}|{self.target}|{self.form}|{self.scale:.4g}"
        return blake2b(words.encode(), digest_size=12).hexdigest()


def print_transfers(rows: Iterable[TransferResult]) -> str:
    """Return rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        retrieved = "" if r.retrieved is None else f"{r.retrieved:.4f}"
        kept = "" if r.kept is None else int(r.kept)
        writer.writerow([r.source, r.target, r.form, f"{r.scale:.4g}", retrieved, f"{r.refitted:.4f}", kept])
    return out.getvalue()


def write_transfers(rows: Iterable[TransferResult], path: Path) -> None:
    """Write rows to a file, whole or not at all."""
    with write_atomically(path) as file:
        file.write(print_transfers(rows).encode())


def read_transfers(path: Path) -> list[TransferResult]:
    """Read a file of transfer results; a missing one is empty.

    Raises
    ------
    TaskError
        Naming file and line.
    """
    if not path.exists():
        return []
    try:
        if path.stat().st_size > MAX_TRANSFER_BYTES:
            raise TaskError(
                f"{path}: larger than {MAX_TRANSFER_BYTES // 2**20} MiB, which no file of transfer results is."
            )
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{path}: cannot be read ({error}).") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise TaskError(f"{path}: line 1 must be {','.join(COLUMNS)}.")
    return [_row(path, number, line) for number, line in enumerate(lines[1:], 2)]


def _row(path: Path, number: int, line: list[str]) -> TransferResult:
    try:
        source, target, form, scale, retrieved, refitted, kept = line
        numbers = [float(text) for text in (scale, refitted, retrieved or "0")]
        if not all(isfinite(n) for n in numbers) or kept not in ("", "0", "1"):
            raise ValueError
    except ValueError:
        raise TaskError(f"{path}: line {number} is not a transfer result: {legible(','.join(line))}") from None
    known = numbers[2] if retrieved else None
    return TransferResult(source, target, form, numbers[0], known, numbers[1], bool(int(kept)) if kept else None)
