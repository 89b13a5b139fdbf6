"""`evoseg check`, `describe`, `critique` and `similar`: what is in a dataset, and what is known about ones like it."""

from pathlib import Path
from typing import Annotated

import typer

from evoseg.cli.shared import (
    ALLOW_CODE,
    AXES,
    BASE_URL,
    CHANNEL,
    CLASSES,
    JSON,
    LIBRARY,
    PAGE,
    ROLES,
    SERIES,
    TRANSFORM,
    USD,
    agent_option,
    chosen,
)
from evoseg.core.disk import expand
from evoseg.runs.options import LLM_USD

_DATASET = typer.Argument(metavar="DATASET", help="Folder with images/ and masks/.")


def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images and masks.")],
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    classes: Annotated[str, CLASSES] = "",
    transform: Annotated[str, TRANSFORM] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Check whether a dataset can be used, and list all errors at once.

    Prints the layout, statistics, splits, errors and warnings. The exit code is 1 if there is an error.
    """
    import json

    from evoseg.datasets.checking import check as check_folder

    found = check_folder(expand(dataset), chosen(axes, page, channel, series, classes, transform))
    print(json.dumps(found.as_json(), indent=1) if as_json else found)
    raise typer.Exit(0 if found.ok else 1)


def describe(
    dataset: Annotated[Path, _DATASET],
    agent: Annotated[str, agent_option("Language model that also describes the images in words")] = "none",
    base_url: Annotated[str | None, BASE_URL] = None,
    llm_usd: Annotated[float, USD] = LLM_USD,
    roles: Annotated[Path | None, ROLES] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    classes: Annotated[str, CLASSES] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Describe a dataset: the sizes of its objects, and how they stand out in each plane.

    This is the data card that a language model gets. With --agent, the model's own description is added.
    """
    import json

    from evoseg.llm.consulting import card_text
    from evoseg.llm.consulting import describe as described
    from evoseg.runs.opening import open_data

    model = None if agent == "none" else agent
    data = open_data(dataset, chosen(axes, page, channel, series, classes))
    document = described(data, model, base_url=base_url, llm_usd=llm_usd, roles=roles)
    print(json.dumps(document, indent=1) if as_json else card_text(document))


def critique(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="Pipeline file, or folder or id of a run, for its readable pipeline; RUN#3 is number 3 of its "
            "Pareto front.",
        ),
    ],
    dataset: Annotated[Path, _DATASET],
    agent: Annotated[str, agent_option("Language model that describes the errors", "")],
    base_url: Annotated[str | None, BASE_URL] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric by which the worst images are chosen (default: iou, ap50 or f1, depending on the pipeline).",
            show_default=False,
        ),
    ] = None,
    llm_usd: Annotated[float, USD] = LLM_USD,
    roles: Annotated[Path | None, ROLES] = None,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Ask a language model what a pipeline gets wrong.

    The model is shown search images only, never test images.
    """
    import json

    from evoseg.llm.consulting import critique as criticised
    from evoseg.llm.consulting import critique_text
    from evoseg.runs.opening import open_data
    from evoseg.runs.pipeline_files import read_filters, reading_of

    program = read_filters(pipeline, allow_code=allow_code)
    data = open_data(dataset, reading_of(pipeline))
    document = criticised(program, data, agent, metric, base_url=base_url, llm_usd=llm_usd, roles=roles)
    print(json.dumps(document, indent=1) if as_json else critique_text(document))


def similar(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images/ and, if possible, masks/.")],
    k: Annotated[int, typer.Option("-k", help="Number of tasks to list.")] = 5,
    library: Annotated[str, LIBRARY] = "default",
    task: Annotated[
        str,
        typer.Option(
            metavar="TASK", help="Kind of task: binary, instances, points, or auto to infer it from the dataset."
        ),
    ] = "auto",
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    classes: Annotated[str, CLASSES] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Picture to write, with images of the dataset above those of the similar tasks (default: none).",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Find the solved tasks that are most like a dataset, and show what they have in common.

    Images are compared by the features of a network that was trained on photographs. If there are masks, the objects
    are also compared by size, shape and contrast. If no solved task is like the dataset, the output says so first. The
    picture shows images of your own tasks and of the bundled ones whose licence allows it; for the others, it shows
    synthetic images.
    """
    import json
    import sys

    from evoseg.library.similar_tasks import similar as find_similar
    from evoseg.runs.run_folder import refuse_existing

    refuse_existing([out] if out else [], overwrite=overwrite)
    reading = chosen(axes, page, channel, series, classes)
    found = find_similar(dataset, k, task=task, library=library, reading=reading)
    print(json.dumps(found.as_json(), indent=1) if as_json else found)
    if out:
        found.save(out)
    elif not as_json:
        print("--out FILE.png writes a picture of your images above those of these tasks.", file=sys.stderr)
