"""Say in words how a pipeline differs from one that it was made from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline.value import Pipeline, Step

MOST_TUNED = 3
"""Steps whose parameters are named one by one."""
MOST_NAMED = 6
"""Operators that are named in a list."""


def describe_change(parent: Pipeline, child: Pipeline) -> str:
    """Say what changed from one pipeline to another: operators added, removed or replaced, and parameters moved.

    Steps that compute the same are left out of the comparison, wherever they stand; the others are compared in their
    order. Fitted numbers, such as levels, are only named if nothing else differs.
    """
    old = [s for s, digest in zip(parent.steps, parent.digests, strict=True) if digest not in child.digests]
    new = [s for s, digest in zip(child.steps, child.digests, strict=True) if digest not in parent.digests]
    added: list[str] = []
    removed: list[str] = []
    replaced: list[str] = []
    pairs: list[tuple[Step, Step]] = []
    before, after = ([s.operator for s in steps] for steps in (old, new))
    for how, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if how == "equal":
            pairs += zip(old[a:b], new[c:d], strict=True)
        elif (b - a, d - c) == (1, 1):
            replaced.append(f"replaced {old[a].operator} by {new[c].operator}")
        else:
            removed += [s.operator for s in old[a:b]]
            added += [s.operator for s in new[c:d]]
    moved = [words for one, other in pairs if (words := _moved(one, other, fitted=False))]
    more = [f"{len(moved) - MOST_TUNED} more steps tuned"] if len(moved) > MOST_TUNED else []
    parts = [*replaced, *_listed("added", added), *_listed("removed", removed), *moved[:MOST_TUNED], *more]
    if not parts:
        parts = [words for one, other in pairs if (words := _moved(one, other, fitted=True))][:MOST_TUNED]
    return "; ".join(parts) or "the same steps, joined in another way"


def describe_steps(pipeline: Pipeline) -> str:
    """Say what a pipeline consists of."""
    steps = "1 step" if len(pipeline) == 1 else f"{len(pipeline)} steps"
    return f"{steps}: {name_operators(s.operator for s in pipeline.steps)}"


def name_operators(operators: Iterable[str]) -> str:
    """Return a short list of operators; one that occurs several times is counted."""
    counts = Counter(operators)
    named = [name if n == 1 else f"{n} {name}" for name, n in counts.items()]
    more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    return ", ".join([*named[:MOST_NAMED], *more])


def _listed(verb: str, operators: Sequence[str]) -> list[str]:
    return [f"{verb} {name_operators(operators)}"] if operators else []


def _moved(old: Step, new: Step, *, fitted: bool) -> str:
    """Say which parameters of a step differ; nothing if none do."""
    parameters = registry.get(old.operator).parameters
    differ = [
        f"{p.name} {_value(a)} to {_value(b)}" if _value(a) != _value(b) else f"{p.name} changed"
        for p, a, b in zip(parameters, old.params, new.params, strict=True)
        if a != b and p.fitted == fitted
    ]
    return f"{old.operator}: {', '.join(differ)}" if differ else ""


def _value(value: Value) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} numbers"
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
