"""The JSON twin of a pipeline text, for machines."""

import json
from typing import Any

from evoseg.base.errors import PipelineError
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline.printer import FORM_VERSION
from evoseg.pipeline.reader import MAX_BYTES
from evoseg.pipeline.value import Pipeline, step


def write_json(pipeline: Pipeline) -> str:
    """Return the pipeline as one JSON document."""
    steps = [
        {
            "operator": s.operator,
            "revision": registry.get(s.operator).revision,
            "inputs": list(s.inputs),
            "params": registry.get(s.operator).named(s.params),
        }
        for s in pipeline.steps
    ]
    return json.dumps({"evoseg": FORM_VERSION, "steps": steps})


def read_json(text: str) -> Pipeline:
    """Return the pipeline that the JSON `text` describes.

    Raises
    ------
    PipelineError
        The one error for whatever is wrong, duplicate keys and NaN included.
    """
    if len(text) > MAX_BYTES:
        raise PipelineError(f"the text has {len(text)} characters; at most {MAX_BYTES} are read.")
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"not a pipeline in JSON: {error}"[:300]) from None
    if not isinstance(document, dict) or document.get("evoseg") != FORM_VERSION:
        raise PipelineError(f'a pipeline in JSON starts with {{"evoseg": {FORM_VERSION}, "steps": [...]}}.')
    steps = document.get("steps")
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise PipelineError("'steps' must be a list of objects.")
    return Pipeline(_step(entry, i) for i, entry in enumerate(steps))


def _step(entry: dict[str, Any], index: int) -> Any:
    name, inputs, params = entry.get("operator"), entry.get("inputs"), entry.get("params", {})
    whole = isinstance(inputs, list) and all(type(j) is int for j in inputs)
    if not isinstance(name, str) or not whole or not isinstance(params, dict):
        raise PipelineError(f"step {index}: 'operator', 'inputs' and 'params' must be a string, integers and an object.")
    values = {key: _value(value, index) for key, value in params.items()}
    return step(name, *entry["inputs"], **values)


def _value(value: Any, index: int) -> Value:
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
