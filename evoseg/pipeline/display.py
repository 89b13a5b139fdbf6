"""A pipeline as a piece of HTML, for notebooks."""

from html import escape
from typing import TYPE_CHECKING

from evoseg.operators import registry
from evoseg.pipeline.printer import print_text

if TYPE_CHECKING:
    from evoseg.pipeline.value import Pipeline


def pipeline_html(pipeline: "Pipeline") -> str:
    """Return the text, and a table of what each step does and costs."""
    rows = []
    for s in pipeline.steps:
        op = registry.get(s.operator)
        rows.append(f"<tr><td>{op.name}</td><td>{escape(op.summary)}</td><td>{op.cost(s.params):.1f}</td></tr>")
    head = "<tr><th>step</th><th>what it does</th><th>ms/Mpx</th></tr>"
    return f"<div><pre>{escape(print_text(pipeline))}</pre><table>{head}{''.join(rows)}</table></div>"
