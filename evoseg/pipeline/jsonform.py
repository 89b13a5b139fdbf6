"""The JSON form of a pipeline, for machines."""

import json
from collections.abc import Sequence
from typing import Any

from evoseg.core.errors import PipelineError, unknown
from evoseg.datasets.imageformat import ImageFormat
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline.textform import FORM_VERSION, check_size, warn_of_order, warn_of_revisions
from evoseg.pipeline.value import Pipeline, Step, step_as_written

STEP_KEYS = ("operator", "revision", "inputs", "params")


def write_json(pipeline: Pipeline) -> str:
    """Return the pipeline as one JSON document; values that contradict each other are put in order."""
    pipeline = pipeline.settled()
    steps = [
        {
            "operator": op.called,
            "revision": op.revision,
            "inputs": list(s.inputs),
            "params": op.keywords(s.params),
        }
        for s in pipeline.steps
        for op in (registry.get(s.operator),)
    ]
    checked = {"checked": True} if any(registry.get(s.operator).in_order for s in pipeline.steps) else {}
    made_for = {} if pipeline.made_for is None else {"made_for": pipeline.made_for.as_json()}
    return json.dumps({"evoseg": FORM_VERSION, **checked, "steps": steps, **made_for})


def read_json(text: str) -> Pipeline:
    """Return the pipeline that the JSON `text` describes; how images are read ("reads") is no part of it.

    Raises
    ------
    PipelineError
        The one error for whatever is wrong, duplicate and unknown keys and NaN included.

    Warns
    -----
    RevisionWarning
        If a step names another revision of its operator than the present one.
    OrderWarning
        If an early version wrote values that contradict each other, which are put in order.
    """
    check_size(text)
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"not a pipeline in JSON: {error}"[:300]) from None
    form = document.get("evoseg") if isinstance(document, dict) else None
    if type(form) is not int or form != FORM_VERSION:
        raise PipelineError(f'a pipeline in JSON starts with {{"evoseg": {FORM_VERSION}, "steps": [...]}}.')
    _check_keys(document, ("evoseg", "checked", "steps", "reads", "made_for"), "the document")
    steps = document.get("steps")
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise PipelineError("'steps' must be a list of objects.")
    read = [_step(entry, i) for i, entry in enumerate(steps)]
    result = Pipeline(read)
    complaints = [registry.get(s.operator).contradiction(s.params) for s in read]
    if i := next((i for i, complaint in enumerate(complaints, 1) if complaint), 0):
        # Documents that people write seldom name the revision of every step.
        if "checked" in document or not all("revision" in entry for entry in steps):
            raise PipelineError(f"step {i - 1}: {complaints[i - 1]}")
        warn_of_order(complaints[i - 1])
        result = result.settled()
    warn_of_revisions([(s["operator"], s["revision"]) for s in steps if "revision" in s])
    return result.for_images(ImageFormat.read(document["made_for"])) if "made_for" in document else result


def _step(entry: dict[str, Any], index: int) -> Step:
    _check_keys(entry, STEP_KEYS, f"step {index}")
    name, inputs, params = entry.get("operator"), entry.get("inputs"), entry.get("params", {})
    whole = isinstance(inputs, list) and all(type(j) is int for j in inputs)
    if not isinstance(name, str) or not whole or not isinstance(params, dict):
        raise PipelineError(f"step {index}: 'operator' must be a string, 'inputs' integers and 'params' an object.")
    if type(entry.get("revision", 1)) is not int:
        raise PipelineError(f"step {index}: 'revision' must be an integer.")
    values = {key: _value(value, index) for key, value in params.items()}
    try:
        return step_as_written(name, *entry["inputs"], **values)
    except PipelineError as error:
        raise PipelineError(f"step {index}: {error}") from None


def _check_keys(entry: dict[str, Any], keys: Sequence[str], where: str) -> None:
    """Refuse keys that mean nothing: a misspelt 'params' would silently give defaults."""
    for key in entry:
        if key not in keys:
            raise PipelineError(f"{where}: {unknown('key', key, keys)}")


def _value(value: Any, index: int) -> Value:
    numbers = value if isinstance(value, list) else [value]
    if any(type(v) is int and abs(v) > 2**53 for v in numbers):
        raise PipelineError(f"step {index}: a number is too large.")
    if isinstance(value, list) and all(type(v) in (int, float) for v in value):
        return tuple(value)
    if type(value) in (int, float, str):
        return value  # type: ignore[no-any-return]
    raise PipelineError(f"step {index}: a value must be a number, a string or a list of numbers.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number")
