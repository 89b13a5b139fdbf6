"""`evoseg reuse`: what stored pipelines do on images without masks."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from evoseg.cli.shared import AXES, BASE_URL, CHANNEL, JSON, LIBRARY, PAGE, ROLES, SERIES, USD, agent_option, chosen
from evoseg.core.disk import expand
from evoseg.runs.options import LLM_USD


def reuse(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Images, a folder of images, or a dataset; no masks needed.")
    ],
    k: Annotated[int, typer.Option("-k", help="Number of answers to show.")] = 6,
    pick: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Only write the pipeline of answer N to OUT/pipeline.evo, for `evoseg apply OUT` and `evoseg export "
            "OUT` (default: none).",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(metavar="TASK", help="What to look for: binary, instances or points.")
    ] = "binary",
    what: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="What should be marked, in words; the language model of --agent is asked which answers mark "
            "it (default: none).",
            show_default=False,
        ),
    ] = "",
    library: Annotated[str, LIBRARY] = "default",
    agent: Annotated[
        str | None,
        agent_option("Language model that accepts pictures and is asked which answers mark what --what describes"),
    ] = None,
    base_url: Annotated[str | None, BASE_URL] = None,
    llm_usd: Annotated[float, USD] = LLM_USD,
    roles: Annotated[Path | None, ROLES] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for answers.png and answers.html, or for pipeline.evo with --pick, which needs --out "
            "(default: a new folder reuse-DATE in the current one).",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in OUT that exist.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Run stored pipelines on images without masks, and show the most plausible results side by side.

    The pipelines of all solved tasks are run at several scales on at most four of the images; the result of each is
    an answer. If a solved task has images like yours, one of its answers comes first. The others are chosen to be
    plausible and different from each other. If there are masks, the score of each answer is shown, but the order does
    not depend on it. The same command always numbers the answers in the same way, so you can repeat it with --pick N.
    """
    import json
    from datetime import datetime

    from evoseg.cli.progress import show_words
    from evoseg.core.errors import SettingsError
    from evoseg.report.reused import PAGE as PAGE_FILE
    from evoseg.report.reused import SHEET
    from evoseg.report.reused import reuse as find_answers
    from evoseg.runs.run_folder import PIPELINE, refuse_existing

    if pick is not None and out is None:
        raise SettingsError("--pick writes a pipeline; name its folder with --out DIR.")
    folder = out or Path(f"reuse-{datetime.now():%Y%m%d-%H%M%S}")
    names = (SHEET, PAGE_FILE) if pick is None else (PIPELINE,)
    refuse_existing([expand(folder) / name for name in names], overwrite=overwrite)
    with show_words() as tell:
        found = find_answers(
            images,
            k,
            task=task,
            library=library,
            what="" if pick is not None else what,  # the numbers do not depend on the model
            agent=None if pick is not None else agent,
            base_url=base_url,
            llm_usd=llm_usd,
            roles=roles,
            reading=chosen(axes, page, channel, series),
            on_progress=lambda doing, share: tell(_words(doing, share), at_once=not share),
        )
    files = {} if pick is None else {"pipeline": found.pick(pick, folder, overwrite=overwrite)}
    if pick is None and found.answers:
        files = found.save(folder, overwrite=overwrite)
    if as_json:
        paths = {name: str(path.absolute()) for name, path in files.items()}
        print(json.dumps(found.to_json() | {"files": paths}, indent=1))
        return
    if pick is None:
        print(found)
    if found.verdicts:
        print(f"({found.llm['calls']:.0f} calls, ${found.llm['cost_usd']:.4f})", file=sys.stderr)
    for name, path in files.items():
        print(f"{name:10s}{path}")
    if pick is not None:
        print(f"next:     evoseg apply {folder} IMAGES --out MASKS")
    elif files:
        print("next:     look at the sheet or the page, then repeat the command with --pick N --out DIR")


def _words(doing: str, share: float) -> str:
    return f"{doing}: {100 * share:.0f} %" if share else doing
