"""Describe pipelines and operators: as text, as JSON values, and as HTML for notebooks."""

from html import escape
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from evoseg.operators import registry
from evoseg.operators.network import describe_network
from evoseg.operators.parameters import ContentDigest, Numbers, OneOf, Parameter, Range
from evoseg.operators.registry import WHOLE, Operator
from evoseg.pipeline import Pipeline
from evoseg.pipeline.running import reaches
from evoseg.pipeline.textform import print_text
from evoseg.sandbox.operators import admitted_code

if TYPE_CHECKING:
    from evoseg.pipeline.value import Pipeline


def operator_json(op: Operator) -> dict[str, Any]:
    """Return all that is known of an operator as values that JSON knows; cost and reach at the defaults."""
    defaults = tuple(p.default for p in op.parameters)
    return {
        "name": op.name,
        "family": op.family,
        "summary": op.summary,
        "inputs": [str(kind) for kind in op.inputs],
        "output": str(op.output),
        "parameters": [_parameter_json(p) for p in op.parameters],
        "revision": op.revision,
        "commutative": op.commutative,
        "needs": [],
        "retired": op.retired,
        "cost_ms_per_mpx": op.cost(defaults),
        "reach_px": _reach_json(op.reach(defaults)),
        "measured": op.two_pass is not None,
    }


def operators_text(operators: list[Operator]) -> str:
    """Return a list by family: signature, cost at the defaults, summary."""
    lines: list[str] = []
    for family in sorted({op.family for op in operators}):
        lines += ["", family] if lines else [family]
        for op in (op for op in operators if op.family == family):
            cost = op.cost(tuple(p.default for p in op.parameters))
            retired = " (retired: no longer proposed)" if op.retired else ""
            lines.append(f"  {signature(op):44s} {cost:7.1f}  {op.summary}{retired}")
    return "\n".join(
        [
            *lines,
            "",
            f"{len(operators)} operators; the figure is the estimated run time in ms per megapixel, at default values.",
        ]
    )


def signature(op: Operator) -> str:
    """Return an operator's name with the kinds it takes and gives."""
    return f"{op.name}({', '.join(op.inputs)}) -> {op.output}"


def operator_text(op: Operator) -> str:
    """Return an operator's documentation with the ranges of its parameters."""
    defaults = tuple(p.default for p in op.parameters)
    facts = f"family {op.family}, revision {op.revision}, {op.cost(defaults):.1f} ms per megapixel, "
    facts += f"reach {reach_words(op.reach(defaults))}"
    if op.two_pass is not None:
        facts += ", large images are worked on in strips, in two passes"
    lines = [signature(op), facts, "", cleandoc(op.function.__doc__ or "")]
    if op.parameters:
        lines += ["", "Ranges", "------"]
        lines += [f"{p.name} = {p.default!r}: {domain_words(p)}" for p in op.parameters]
    return "\n".join(lines)


def domain_words(parameter: Parameter) -> str:
    """Say which values a parameter may take."""
    domain = parameter.domain
    if isinstance(domain, OneOf):
        words = f"one of {', '.join(domain.values)}"
    elif isinstance(domain, Numbers):
        square = ", an odd side squared" if domain.square else ""
        count = f"{domain.least}" if domain.least == domain.most else f"{domain.least} to {domain.most}"
        words = f"{count} numbers from {domain.low:g} to {domain.high:g}{square}"
    elif isinstance(domain, ContentDigest):
        words = "the digest of a file that lies beside the pipeline"
    else:
        unit = "" if domain.unit == "one" else f" {domain.unit}"
        odd = "odd " if domain.odd else ""
        whole = "integers" if parameter.integer else "numbers"
        words = f"{odd}{whole} from {domain.low:g} to {domain.high:g}{unit}"
    return words + (", fitted by a search" if parameter.fitted else "")


def pipeline_json(pipeline: Pipeline) -> dict[str, Any]:
    """Return a pipeline with what its steps do and cost as values that JSON knows."""
    return {
        "pipeline": print_text(pipeline),
        "digest": pipeline.digest,
        "form": pipeline.form,
        "output": str(pipeline.output),
        "length": len(pipeline),
        "cost_ms_per_mpx": pipeline.cost,
        "reach_px": _reach_json(reaches(pipeline.steps)[-1]),
        "steps": [
            {
                "operator": op.called,
                "revision": op.revision,
                "inputs": list(s.inputs),
                "params": op.keywords(s.params),
                "summary": op.summary,
                "cost_ms_per_mpx": op.cost(s.params),
                "reach_px": _reach_json(op.reach(s.params)),
            }
            for s, op in ((s, registry.get(s.operator)) for s in pipeline.steps)
        ],
        "networks": [network_json(weights) for weights in pipeline.networks],
        "code": {digest: admitted_code(digest).source for digest in pipeline.codes},
    }


def network_json(weights: str) -> dict[str, Any]:
    """Return what is known of a network as values that JSON knows."""
    facts = describe_network(weights)
    return {
        "digest": weights,
        "channels": facts.channels,
        "reduction": facts.reduction,
        "outputs": list(facts.outputs),
        "n_weights": facts.n_weights,
        "multiply_adds_per_pixel": facts.macs / facts.reduction**2,
        "notes": dict(facts.notes),
    }


def network_words(weights: str) -> str:
    """Say in a sentence what a network is."""
    facts = describe_network(weights)
    channels = "1 channel" if facts.channels == 1 else f"{facts.channels} channels"
    scale = "full resolution" if facts.reduction == 1 else f"1/{facts.reduction} of the resolution"
    return (
        f"A network of {facts.n_weights:,} weights, trained on images of {channels}; it sees them at {scale}. "
        f"Its planes: {', '.join(facts.outputs)}."
    )


def pipeline_text(pipeline: Pipeline) -> str:
    """Return the canonical text, what each step does and costs, the total, and what its networks are."""
    steps = [(s, registry.get(s.operator)) for s in pipeline.steps]
    width = max(len(op.called) for _, op in steps)
    lines = [print_text(pipeline), f"{'':{width + 5}s} ms/Mpx   field"]
    for number, (s, op) in enumerate(steps, 1):
        figures = f"{op.cost(s.params):7.1f} {reach_words(op.reach(s.params)):>7s}"
        lines.append(f"{number:3d}  {op.called:{width}s} {figures}  {op.summary}")
    total = f"{pipeline.cost:7.1f} {reach_words(reaches(pipeline.steps)[-1]):>7s}"
    lines += [f"     {'in all':{width}s} {total}", ""]
    lines += [f"{weights}.onnx: {network_words(weights)}" for weights in pipeline.networks]
    for digest in pipeline.codes:
        lines += [f"{digest}.py:", admitted_code(digest).source]
    lines += [f"digest {pipeline.digest}"]
    return "\n".join(lines)


def _parameter_json(parameter: Parameter) -> dict[str, Any]:
    domain = parameter.domain
    found: dict[str, Any] = {"name": parameter.name, "default": parameter.default, "fitted": parameter.fitted}
    if isinstance(domain, Range):
        found |= {"type": "integer" if parameter.integer else "number"}
        found |= {"low": domain.low, "high": domain.high, "unit": domain.unit, "log": domain.log, "odd": domain.odd}
    elif isinstance(domain, OneOf):
        found |= {"type": "word", "values": list(domain.values)}
    elif isinstance(domain, ContentDigest):
        found |= {"type": "digest"}
    else:
        found |= {"type": "numbers", "low": domain.low, "high": domain.high, "square": domain.square}
        found |= {"least": domain.least, "most": domain.most}
    return found


def _reach_json(reach: int) -> int | None:
    """Return null for an operator that looks at the whole image."""
    return None if reach == WHOLE else reach


def reach_words(reach: int) -> str:
    """Say how far an operator looks."""
    return "whole" if reach == WHOLE else f"{reach} px"


def pipeline_html(pipeline: "Pipeline") -> str:
    """Return the text, and a table of what each step does and costs."""
    rows = []
    for s in pipeline.steps:
        op = registry.get(s.operator)
        rows.append(f"<tr><td>{op.called}</td><td>{escape(op.summary)}</td><td>{op.cost(s.params):.1f}</td></tr>")
    head = "<tr><th>step</th><th>what it does</th><th>ms/Mpx</th></tr>"
    return f"<div><pre>{escape(print_text(pipeline))}</pre><table>{head}{''.join(rows)}</table></div>"
