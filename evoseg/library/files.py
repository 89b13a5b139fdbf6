"""Solved tasks as YAML, one file each: to be read by people, and bounded when read, since strangers write them, too."""

import base64
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evoseg.base import untrusted
from evoseg.base.errors import EvosegError, PipelineError, legible, unknown
from evoseg.base.kinds import Kind
from evoseg.base.writing import whole_file
from evoseg.library.features import Vector
from evoseg.library.hashes import BITS
from evoseg.library.task import METRICS, ROLES, STATISTICS, TASKS, Card, SolvedTask, StoredPipeline
from evoseg.pipeline import Pipeline, RevisionWarning, print_text, read_text
from evoseg.pipeline.macros import macros_in
from evoseg.pipeline.reader import named_revisions

FORM = 1
MAX_BYTES = 256 * 1024
MAX_TEXT = 2000
MAX_IMAGES = 10_000
MAX_PIPELINES = 8
MAX_MACROS = 20
MAX_DIM = 4096
_KEYS = ("evoseg", "name", "card", "metric", "images", "statistics", "vectors", "pipelines", "seen", "origin", "macros")
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class TaskError(EvosegError, ValueError):
    """A solved task's file that cannot be read."""


def print_task(task: SolvedTask) -> str:
    """Return a task as YAML; `read_task` gives an equal one."""
    document = document_of(task)
    return str(yaml.dump(document, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=120))


def document_of(task: SolvedTask) -> dict[str, Any]:
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
    return document | ({"macros": list(task.macros.values())} if task.macros else {})


class _BlockDumper(_Dumper):  # type: ignore[misc]
    """Prints texts of several lines as such."""


def _block(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _block)


def _text_of(stored: StoredPipeline) -> str:
    """Return a pipeline's text, headed by the revisions that it was scored with."""
    _, _, body = print_text(stored.pipeline, settled=False).partition("\n")
    return f"# evoseg 1: {' '.join(f'{name}@{revision}' for name, revision in stored.revisions.items())}\n{body}"


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
        with whole_file(path) as file:
            file.write(print_task(task).encode())
    except OSError as error:
        raise TaskError(f"{path}: cannot be written ({error.strerror}).") from error


def read_file(path: Path, inside: Path | None = None) -> SolvedTask:
    """Read a task's file; `inside` is the folder that it must not lead out of.

    Raises
    ------
    TaskError
        Naming the file and what is wrong.
    """
    try:
        return read_task(untrusted.read_file(path, MAX_BYTES, inside=inside, error=TaskError).decode("utf-8"))
    except TaskError as error:
        raise TaskError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: is not UTF-8 text, so it is no solved task.") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror}).") from error


def read_task(text: str) -> SolvedTask:
    """Return the task that a YAML text describes: data only, nothing in it is ever executed.

    Raises
    ------
    TaskError
        Saying which entry is wrong.
    """
    if len(text) > MAX_BYTES:
        raise TaskError(f"larger than {MAX_BYTES // 1024} KiB; a solved task is not.")
    try:
        document = untrusted.read_yaml(text)
    except untrusted.YamlError as error:
        raise TaskError(str(error)) from error
    return task_of(document)


def task_of(document: Any) -> SolvedTask:
    """Return the task that a document describes.

    Raises
    ------
    TaskError
        Saying which entry is wrong.
    """
    entries = _mapping(document, "the file")
    if entries.get("evoseg") != FORM:
        raise TaskError(f"is of form {legible(str(entries.get('evoseg')))}; this evoseg reads form {FORM}.")
    _refuse_unknown(entries, _KEYS, "entry")
    return _task(entries)


def _task(entries: Mapping[str, Any]) -> SolvedTask:
    card = _mapping(entries.get("card"), "card")
    _refuse_unknown(card, [field.name for field in fields(Card)], "entry of card")
    images = _mapping(entries.get("images"), "images")
    task = _string(card.get("task", Card.task), "card: task")
    if task not in TASKS:
        raise TaskError(unknown("task", task, TASKS))
    metric = _string(entries.get("metric"), "metric")
    if metric not in METRICS[TASKS[task]]:
        raise TaskError(unknown("metric", metric, METRICS[TASKS[task]]))
    name = _string(entries.get("name"), "name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name):
        raise TaskError(f"the name '{legible(name)}' is none: up to 80 letters, digits, dots, dashes and underscores.")
    pipelines = _list(entries.get("pipelines"), "pipelines", MAX_PIPELINES)
    if not pipelines:
        raise TaskError("holds no pipeline, so nothing can be learned from it.")
    hashes = [_string(digits, "seen") for digits in _list(entries.get("seen", []), "seen", MAX_IMAGES)]
    if wrong := [digits for digits in hashes if not re.fullmatch(f"[0-9a-f]{{{BITS // 4}}}", digits)]:
        raise TaskError(f"seen: '{legible(wrong[0])}' is not {BITS // 4} hexadecimal digits. Quote it, if it is.")
    return SolvedTask(
        name=name,
        card=Card(**{key: _string(value, f"card: {key}") for key, value in card.items()}),
        metric=metric,
        n_images=_count(images.get("count"), "images: count", MAX_IMAGES),
        channels=_count(images.get("channels"), "images: channels", 1000),
        statistics=_statistics(_mapping(entries.get("statistics", {}), "statistics")),
        vectors={
            _string(key, "vectors"): _vector(value, f"vectors: {legible(str(key))}")
            for key, value in _mapping(entries.get("vectors", {}), "vectors").items()
        },
        pipelines=tuple(
            _pipeline(_mapping(entry, f"pipeline {i}"), i, TASKS[task]) for i, entry in enumerate(pipelines, 1)
        ),
        hashes=tuple(hashes),
        origin=_string(entries.get("origin", ""), "origin"),
        macros=_macros(_list(entries.get("macros", []), "macros", MAX_MACROS)),
    )


def _macros(texts: list[Any]) -> dict[str, str]:
    """Read definitions; their bodies are checked when a program calls them."""
    found: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        try:
            found |= macros_in(_string(text, f"macro {number}"))
        except PipelineError as error:
            raise TaskError(f"macro {number}: {error}") from error
    return found


def _statistics(entries: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Read the numbers of descriptors; of one that this version does not know, none."""
    found = {}
    for name, values in entries.items():
        if name in STATISTICS:
            known = {feature.name for feature in STATISTICS[name].features}
            numbers = _mapping(values, f"statistics: {name}")
            found[name] = {k: _number(v, f"{name}: {k}") for k, v in numbers.items() if k in known}
    return found


def _pipeline(entry: Mapping[str, Any], number: int, output: Kind) -> StoredPipeline:
    where = f"pipeline {number}"
    _refuse_unknown(entry, ("role", "score", "cost_ms_per_mpx", "text"), f"entry of {where}")
    role = _string(entry.get("role"), f"{where}: role")
    if role not in ROLES:
        raise TaskError(f"{where}: {unknown('role', role, ROLES)}")
    score = _number(entry.get("score"), f"{where}: score")
    if not -1 <= score <= 1:
        raise TaskError(f"{where}: the score is {score:g}; scores lie within -1 and 1.")
    text = entry.get("text")
    if not isinstance(text, str):
        raise TaskError(f"{where}: text is missing.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RevisionWarning)  # `revisions` keeps what there is to know
            pipeline = read_text(text, settled=False)
    except PipelineError as error:
        raise TaskError(f"{where}: {error}") from error
    if pipeline.output is not output:
        raise TaskError(f"{where}: gives a {pipeline.output} value; this task needs a {output} value.")
    return StoredPipeline(role, pipeline, score, _revisions(text, pipeline))


def _revisions(text: str, pipeline: Pipeline) -> dict[str, int]:
    """Return the revisions that a text names; those it does not name count as 0, older than any."""
    named = dict(named_revisions(text))
    return {s.operator: named.get(s.operator, 0) for s in pipeline.steps}


def _vector(value: Any, where: str) -> Vector:
    try:
        numbers = np.frombuffer(base64.b64decode(_string(value, where, 4 * MAX_DIM), validate=True), "<f2")
    except ValueError as error:
        raise TaskError(f"{where} is not base64 of 16-bit floats.") from error
    length = float(np.linalg.norm(numbers.astype(np.float32)))
    if not 1 <= len(numbers) <= MAX_DIM or not 0.98 < length < 1.02:
        raise TaskError(f"{where} is not a vector of unit length with at most {MAX_DIM} numbers.")
    return numbers.astype(np.float32)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TaskError(f"{where} must be `key: value` lines.")
    return value


def _list(value: Any, where: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise TaskError(f"{where} must be a list of at most {most} entries.")
    return value


def _string(value: Any, where: str, most: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise TaskError(f"{where} must be a text of at most {most} characters.")
    return value


def _number(value: Any, where: str) -> float:
    # Compared, not converted: a whole number may be larger than any float. NaN is not within, either.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e12:
        raise TaskError(f"{where} must be a number.")
    return float(value)


def _count(value: Any, where: str, most: int) -> int:
    number = _number(value, where)
    if number != int(number) or not 1 <= number <= most:
        raise TaskError(f"{where} must be a whole number from 1 to {most}.")
    return int(number)


def _refuse_unknown(entries: Mapping[str, Any], known: Any, what: str) -> None:
    for key in entries:
        if key not in known:
            raise TaskError(unknown(what, key, known))
