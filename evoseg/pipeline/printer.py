"""Print a pipeline as canonical text."""

from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline.value import IMAGE, Pipeline

FORM_VERSION = 1


CHECKED = "parameters checked"
"""Ends the first line of texts of which nothing but a change by hand can make parameters contradict each other."""


def print_text(pipeline: Pipeline, *, settled: bool = True) -> str:
    """Return the canonical text: every parameter in signature order, steps named by operator and number.

    If the pipeline knows what images it was made for, a comment on the second line says so.

    Parameters
    ----------
    settled : bool
        Whether values that contradict each other are put in order, as in all that people and models read. False gives
        the text as early versions wrote it, from which journals and libraries get the very same pipeline back.
    """
    pipeline = pipeline.settled() if settled else pipeline
    names = names_of(pipeline)
    made_for = [] if pipeline.made_for is None else [pipeline.made_for.mark().rstrip()]
    lines = [_header(pipeline, checked=settled), *made_for, "def pipeline(image):"]
    for i, s in enumerate(pipeline.steps):
        named = registry.get(s.operator).named(s.params)
        arguments = [names[j] for j in s.inputs] + [f"{k}={_literal(v)}" for k, v in named.items()]
        call = f"{s.operator}({', '.join(arguments)})"
        if i == len(pipeline.steps) - 1:
            lines.append(f"    return {call}")
            continue
        lines.append(f"    {names[i]} = {call}")
    return "\n".join(lines) + "\n"


def names_of(pipeline: Pipeline) -> dict[int, str]:
    """Return what steps are called by their places, `IMAGE` included: by operator and number."""
    counts: dict[str, int] = {}
    names = {IMAGE: "image"}
    for i, s in enumerate(pipeline.steps):
        counts[s.operator] = counts.get(s.operator, 0) + 1
        names[i] = f"{s.operator}_{counts[s.operator]}"
    return names


def _header(pipeline: Pipeline, *, checked: bool) -> str:
    used = [registry.get(name) for name in dict.fromkeys(s.operator for s in pipeline.steps)]
    mark = f" ({CHECKED})" if checked and any(op.in_order for op in used) else ""
    return f"# evoseg {FORM_VERSION}: " + " ".join(f"{op.name}@{op.revision}" for op in used) + mark


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(repr(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    return f'"{value}"' if isinstance(value, str) else repr(value)
