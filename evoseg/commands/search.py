"""`evoseg search`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evoseg.commands.options import AXES, CHANNEL, PAGE

if TYPE_CHECKING:
    from evoseg.app.found import Found, FoundClasses


def search(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder with images/, and masks/ or points/; or with pairs/.")
    ],
    task: Annotated[
        str,
        typer.Option(
            help="binary, instances, points, registration or classes (a pipeline each); auto: what the metric scores, "
            "or else what the folder holds; or a Python file with a task of your own, which is run."
        ),
    ] = "auto",
    metric: Annotated[
        str | None,
        typer.Option(
            help="What to maximise. binary: iou (the default), dice, mcc, f_beta, boundary_f, buffered_iou; "
            "instances: ap50, ap, pq; points: f1, f2; registration: closeness.",
            show_default=False,
        ),
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(
            help="Within how many px a point matches a true one; what dataset.yaml says, or 6.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Wall time; 60 if neither this nor --evaluations is given.", show_default=False)
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(help="Candidates to score; the same on every machine.", show_default=False)
    ] = None,
    target_score: Annotated[
        float | None, typer.Option(help="End when the search images reach this score.", show_default=False)
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Exit code 3 if the score stays below: on test, else selection.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search; the splits do not depend on it.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes, 0 for none beside this one; one per core.", show_default=False)
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="URL", help="What evaluates: dask://HOST:PORT, a Dask cluster's scheduler; or local.")
    ] = "local",
    operators: Annotated[
        str, typer.Option(help="default; all: those that need scikit-image too; cpp, imagej: as --for.")
    ] = "default",
    target: Annotated[
        str | None,
        typer.Option(
            "--for", help="cpp, imagej: use only operators that exported files carry; python: any.", show_default=False
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.evo", help="A pipeline to begin with; may be repeated.", show_default=False),
    ] = None,
    max_ms_per_mpx: Annotated[
        float | None, typer.Option(help="Highest cost of the pipeline, ms per megapixel.", show_default=False)
    ] = None,
    library: Annotated[
        str,
        typer.Option(
            metavar="URL|none",
            help="Solved tasks to begin with, beside evoseg's own: a file, a postgresql:// URL, or none for a cold "
            "start; $EVOSEG_HOME/library.db.",
            show_default=False,
        ),
    ] = "default",
    no_remember: Annotated[bool, typer.Option("--no-remember", help="Do not add this task to the library.")] = False,
    agent: Annotated[
        str, typer.Option(metavar="MODEL", help="Language model that proposes too, as openai:MODEL; none.")
    ] = "none",
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Its endpoint, if not OpenAI's.", show_default=False)
    ] = None,
    llm_calls: Annotated[int, typer.Option(help="Most calls of the model.")] = 20,
    llm_tokens: Annotated[
        int | None,
        typer.Option(help="Most tokens, read and written; 500000 if the price is unknown.", show_default=False),
    ] = None,
    llm_usd: Annotated[float, typer.Option(help="Most money, where the price is known.")] = 2.0,
    roles: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Roles that replace or join evoseg's own.", show_default=False)
    ] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; $EVOSEG_HOME/runs/ID.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Search for a pipeline and prove it.

    It is proven on images that the search never saw. Ctrl-C ends the search with the best so far; pressed again, it
    ends everything. After either, or a kill, `evoseg runs resume` goes on.
    """
    from evoseg.app.api import SeveralClassesError
    from evoseg.app.api import search as run_search
    from evoseg.app.class_search import search_classes
    from evoseg.app.exporting import LANGUAGES
    from evoseg.app.settings import check_score
    from evoseg.base.errors import SettingsError, unknown
    from evoseg.commands.progress import shown

    check_score("min_score", min_score)
    if target is not None and target not in ("python", *LANGUAGES):
        raise SettingsError(unknown("form to search for", target, ("python", *LANGUAGES)))
    if target in LANGUAGES and operators == "all":
        raise SettingsError(
            f"--operators all adds operators that {LANGUAGES[target].what} do not carry. Leave it out with --for "
            f"{target}."
        )
    if agent != "none":
        from evoseg.app.agents import estimate

        print(estimate(agent, base_url, llm_calls, llm_tokens, llm_usd, roles), file=sys.stderr)
    settings: dict[str, Any] = {
        "metric": metric,
        "task": task,
        "seconds": seconds,
        "evaluations": evaluations,
        "target_score": target_score,
        "seed": seed,
        "workers": workers,
        "executor": executor,
        "operators": target if target in LANGUAGES else operators,
        "start": start or (),
        "max_ms_per_mpx": max_ms_per_mpx,
        "library": library,
        "remember": not no_remember,
        "agent": agent,
        "base_url": base_url,
        "llm_calls": llm_calls,
        "llm_tokens": llm_tokens,
        "llm_usd": llm_usd,
        "roles": roles,
        "radius": radius,
        "axes": axes,
        "page": page,
        "channel": channel,
        "out": out,
        "overwrite": overwrite,
    }
    found: Found | FoundClasses
    with shown() as watch:
        try:
            found = run_search(dataset, progress=watch, **settings)
        except SeveralClassesError as error:
            found = search_classes(error.dataset, progress=watch, **settings)
    report(found, as_json=as_json)
    raise typer.Exit(exit_code(found, min_score))


def report(found: "Found | FoundClasses", *, as_json: bool) -> None:
    """Print a search's result on stdout."""
    import json

    from evoseg.app.found import Found
    from evoseg.app.summary import classes_summary, summary

    words = summary(found) if isinstance(found, Found) else classes_summary(found)
    print(json.dumps(found.result, indent=1, allow_nan=False) if as_json else words)


def exit_code(found: "Found | FoundClasses", min_score: float | None) -> int:
    """Return 130 after an interrupt, 3 below the wanted score, else 0, and say why on stderr."""
    if found.result.get("stopped_by") == "interrupt":
        from evoseg.app.runs import run_folder

        folder = Path(found.result["files"]["pipeline"]).parent
        name = run_folder(folder).name
        print(f"interrupted; everything is saved in {folder}; go on with: evoseg runs resume {name}", file=sys.stderr)
        return 130
    split = "selection" if found.scores["test"] is None else "test"
    score = found.scores[split]
    if min_score is not None and score is not None and score < min_score:
        print(f"the {split} score {score:.4f} is below --min-score {min_score:g}", file=sys.stderr)
        return 3
    return 0
