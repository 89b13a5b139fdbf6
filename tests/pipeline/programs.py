"""Random well-typed programs over the whole registry, as hypothesis strategies."""

from hypothesis import strategies as st

from evoseg.core.kinds import Kind
from evoseg.operators import registry
from evoseg.operators.parameters import ContentDigest, Numbers, OneOf, Parameter, Range, Value
from evoseg.pipeline import IMAGE, Pipeline, Step

ALL = registry.operators(retired=True)


def values(parameter: Parameter) -> st.SearchStrategy[Value]:
    """Return a strategy over a parameter's whole domain, ends and default included."""
    domain = parameter.domain
    if isinstance(domain, OneOf):
        return st.sampled_from(domain.values)
    if isinstance(domain, Numbers):
        sizes = [n for n in range(domain.least, domain.most + 1) if not domain.square or n in (1, 9, 25, 49, 81, 121)]
        numbers = st.floats(domain.low, domain.high)
        return st.sampled_from(sizes).flatmap(lambda n: st.lists(numbers, min_size=n, max_size=n).map(tuple))
    if isinstance(domain, ContentDigest):
        return st.just(parameter.default)
    return st.one_of(st.just(parameter.default), _numbers(parameter, domain))


def _numbers(parameter: Parameter, domain: Range) -> st.SearchStrategy[Value]:
    if not parameter.integer:
        # No value of 1e-200 native units: what operators do with such is their own tests' matter.
        return st.floats(domain.low, domain.high).map(lambda x: max(round(x, 4), domain.low))
    whole = st.integers(int(domain.low), int(domain.high))
    return whole.filter(lambda n: n % 2 == 1) if domain.odd else whole


@st.composite
def step_lists(draw: st.DrawFn, most: int = 8) -> list[Step]:
    """Draw steps in an order that runs, with equal and unused ones among them."""
    steps: list[Step] = []
    kinds = {IMAGE: Kind.RAW}
    for _ in range(draw(st.integers(1, most))):
        present = set(kinds.values())
        op = draw(st.sampled_from([op for op in ALL if set(op.inputs) <= present]))
        inputs = tuple(draw(st.sampled_from([i for i, kind in kinds.items() if kind is k])) for k in op.inputs)
        kinds[len(steps)] = op.output
        steps.append(Step(op.name, inputs, tuple(draw(values(p)) for p in op.parameters)))
    return steps


def proposals(most: int = 8) -> st.SearchStrategy[Pipeline]:
    """Return a strategy of pipelines of any output kind, as a search may propose them: parameters may contradict."""
    return step_lists(most).map(Pipeline)


def programs(most: int = 8) -> st.SearchStrategy[Pipeline]:
    """Return a strategy of pipelines of any output kind."""
    return proposals(most).map(Pipeline.settled)


@st.composite
def retellings(draw: st.DrawFn, pipeline: Pipeline) -> str:
    """Draw another text that means the same: other names and order, steps written twice, defaults left out."""
    names = {IMAGE: [draw(st.sampled_from(["image", "x", "photo"]))]}
    lines = [f"def pipeline({names[IMAGE][0]}):"]
    waiting = {i: draw(st.integers(1, 2)) for i in range(len(pipeline))}
    while waiting:
        ready = [i for i in waiting if all(j in names for j in pipeline.steps[i].inputs)]
        i = draw(st.sampled_from(ready))
        waiting[i] -= 1
        if waiting[i] == 0:
            del waiting[i]
        name = f"v{len(lines)}"
        lines.append(f"    {name} = {draw(calls(pipeline.steps[i], names))}")
        names.setdefault(i, []).append(name)
    lines.append(f"    return {draw(st.sampled_from(names[len(pipeline) - 1]))}")
    return "\n".join(lines)


@st.composite
def calls(draw: st.DrawFn, step: Step, names: dict[int, list[str]]) -> str:
    """Draw one way to write a step's call."""
    op = registry.get(step.operator)
    arguments = [draw(st.sampled_from(names[j])) for j in step.inputs]
    if op.commutative:
        arguments = draw(st.permutations(arguments))
    params = [
        f"{name}={value!r}"
        for name, value, p in zip((p.name for p in op.parameters), step.params, op.parameters, strict=True)
        if value != p.default or draw(st.booleans())
    ]
    return f"{op.name}({', '.join([*arguments, *draw(st.permutations(params))])})"
