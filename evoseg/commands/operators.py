"""`evoseg operators`: the filters that pipelines are made of."""

from typing import Annotated

import typer

operators = typer.Typer(help="List and explain the filters.", no_args_is_help=True, rich_markup_mode=None)


@operators.command("list", epilog="Example: evoseg operators list")
def list_operators(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List all operators by family.

    With the kinds they take and give, modelled cost, and what they do.
    """
    import json

    import evoseg.operators  # noqa: F401  (registers them)
    from evoseg.app.describing import operator_json, operators_text
    from evoseg.operators import registry

    found = registry.operators(optional=True)
    print(
        json.dumps({"operators": [operator_json(op) for op in found]}, indent=1) if as_json else operators_text(found)
    )


@operators.command("show", epilog="Example: evoseg operators show threshold")
def show_operator(
    name: Annotated[str, typer.Argument(help="Name of the operator.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Explain one operator.

    Its documentation, and the values that its parameters may take.
    """
    import json

    import evoseg.operators  # noqa: F401  (registers them)
    from evoseg.app.describing import operator_json, operator_text
    from evoseg.operators import registry

    op = registry.get(name)
    print(json.dumps(operator_json(op), indent=1) if as_json else operator_text(op))
