"""`evoseg describe` and `evoseg critique`: a dataset and a pipeline in a language model's words."""

from pathlib import Path
from typing import Annotated

import typer

from evoseg.commands.options import AXES, CHANNEL, PAGE, chosen

_DATASET = typer.Argument(metavar="DATASET", help="Folder with images/ and masks/.")
_BASE_URL = typer.Option(metavar="URL", help="Its endpoint, if not OpenAI's.", show_default=False)
_USD = typer.Option(help="Most money, where the price is known.")
_ROLES = typer.Option(metavar="DIR", help="Roles that replace or join evoseg's own.", show_default=False)
_JSON = typer.Option("--json", help="Print one JSON document.")


def describe(
    dataset: Annotated[Path, _DATASET],
    agent: Annotated[
        str, typer.Option(metavar="MODEL", help="Language model that says it in words, as openai:MODEL; none.")
    ] = "none",
    base_url: Annotated[str | None, _BASE_URL] = None,
    llm_usd: Annotated[float, _USD] = 2.0,
    roles: Annotated[Path | None, _ROLES] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Say what is known of a dataset: its data card.

    Sizes of objects, and how they stand out in which plane. With --agent, also what a language model makes of it.
    """
    import json

    from evoseg.app.consulting import Consultant, card_text
    from evoseg.app.consulting import describe as described
    from evoseg.app.datasets import opened

    asked = None if agent == "none" else Consultant(agent, base_url, llm_usd, roles)
    document = described(opened(dataset, chosen(axes, page, channel)), asked)
    print(json.dumps(document, indent=1) if as_json else card_text(document))


def critique(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="Pipeline file, or folder or id of a run; RUN#3 for its front.")
    ],
    dataset: Annotated[Path, _DATASET],
    agent: Annotated[str, typer.Option(metavar="MODEL", help="Language model, as openai:MODEL.")],
    base_url: Annotated[str | None, _BASE_URL] = None,
    metric: Annotated[
        str | None, typer.Option(help="By which images are the worst; iou, ap50 or f1.", show_default=False)
    ] = None,
    llm_usd: Annotated[float, _USD] = 2.0,
    roles: Annotated[Path | None, _ROLES] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Let a language model say what a pipeline gets wrong.

    It is told of the search images only.
    """
    import json

    from evoseg.app.consulting import Consultant, critique_text
    from evoseg.app.consulting import critique as criticised
    from evoseg.app.datasets import opened
    from evoseg.app.pipelines import read_pipeline, reading_of

    program, data = read_pipeline(pipeline), opened(dataset, reading_of(pipeline))
    document = criticised(program, data, Consultant(agent, base_url, llm_usd, roles), metric)
    print(json.dumps(document, indent=1) if as_json else critique_text(document))
