"""`evoseg search` and `evoseg demo`, which searches on a synthetic dataset."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evoseg.cli.shared import AXES, CHANNEL, CLASSES, JSON, PAGE, SERIES, TRANSFORM, chosen, parse_workers
from evoseg.core.disk import expand

if TYPE_CHECKING:
    from evoseg.llm.framing import Framing
    from evoseg.report.results import MulticlassResult, SearchResult
    from evoseg.runs.options import SearchOptions

SCENE, N_IMAGES, SHAPE, SEED = "cracks", 16, (240, 320), 20
DATASET, RESULT = "cracks", "result"
_MARK = ".evoseg-demo"


def search(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder with images/ and masks/, points/, or pairs/.")
    ],
    *,
    options: "SearchOptions",
    min_score: Annotated[
        float | None,
        typer.Option(
            help="Exit with code 3 if the score on the test images is below this value; without test images, the "
            "score on the selection images counts (default: none).",
            show_default=False,
        ),
    ] = None,
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    series: Annotated[str, SERIES] = "",
    classes: Annotated[str, CLASSES] = "",
    transform: Annotated[str, TRANSFORM] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Accept the task that the language model proposes for --goal, without asking.")
    ] = False,
    studio: Annotated[
        bool,
        typer.Option(
            "--studio", help="Show the search in the studio, a page in the browser that stays open until Ctrl-C."
        ),
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Search for a pipeline, and test it on held-out images.

    Ctrl-C ends the search with the best pipeline so far; a second Ctrl-C aborts it. `evoseg runs resume` continues a
    search, even after it was aborted or killed.
    """
    from contextlib import nullcontext
    from dataclasses import replace

    from evoseg.api import SeveralClassesError, frame, search_framed
    from evoseg.class_search import search_classes_framed
    from evoseg.cli.progress import show_progress
    from evoseg.cli.studio import studio_beside
    from evoseg.runs.opening import open_data
    from evoseg.runs.settings import check_score

    check_score("min_score", min_score)
    flat = options.flat
    if flat["goal"] is not None and not yes:
        refuse_without_terminal()
    if flat["agent"] not in (None, "none"):
        from evoseg.llm.agent_session import estimate_cost

        limits = (flat["llm_calls"], flat["llm_tokens"], flat["llm_usd"])
        print(estimate_cost(flat["agent"], flat["base_url"], *limits, flat["roles"]), file=sys.stderr)
    found: SearchResult | MulticlassResult
    reading = chosen(axes, page, channel, series, classes, transform)
    if flat["goal"] is not None:
        print("reading the images, and asking the language model for a task", file=sys.stderr, flush=True)
    data, framing = frame(open_data(dataset, reading) if reading else dataset, options)
    if framing is not None:
        confirm(framing, yes=yes)
    with studio_beside(dataset) if studio else nullcontext():
        with show_progress() as watch:
            options = replace(options, progress=watch)
            try:
                found = search_framed(data, framing, options)
            except SeveralClassesError as error:
                found = search_classes_framed(error.dataset, framing, options)
        report(found, as_json=as_json)
    raise typer.Exit(exit_code(found, min_score))


def refuse_without_terminal() -> None:
    """Refuse a goal in words, before a model is asked, where nobody can be asked whether its proposal is right.

    Raises
    ------
    SettingsError
    """
    if not sys.stdin.isatty():
        from evoseg.core.errors import SettingsError

        raise SettingsError(
            "--goal lets a language model propose a task, which you are asked to confirm, and there is no terminal to "
            "ask on. Accept the proposal with --yes, or leave out --goal and name --task and --metric."
        )


def confirm(framing: "Framing", *, yes: bool) -> None:
    """Show a proposal, and ask whether to search for that.

    Raises
    ------
    SettingsError
        If the answer is anything but yes.
    """
    from evoseg.core.errors import SettingsError

    if not framing.reason:
        return  # nothing was left to propose
    print(framing, file=sys.stderr)
    if yes:
        return
    print("Search for this? [y/n] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SettingsError("the search was not started. Rephrase --goal, or name --task, --metric or --radius.")


def report(found: "SearchResult | MulticlassResult", *, as_json: bool) -> None:
    """Print a search's result on stdout."""
    import json

    print(json.dumps(found.to_json(), indent=1, allow_nan=False) if as_json else found)


def exit_code(found: "SearchResult | MulticlassResult", min_score: float | None) -> int:
    """Return 130 after an interrupt, 3 below the wanted score, else 0, and say why on stderr."""
    from evoseg.report.results import SearchResult

    if isinstance(found, SearchResult) and found.stopped_by == "interrupt":
        from evoseg.runs.run_folder import find_run_folder

        folder = found.files["pipeline"].parent
        run = find_run_folder(folder).word
        print(f"interrupted; everything is saved in {folder}; to continue: evoseg runs resume {run}", file=sys.stderr)
        return 130
    split = "selection" if found.scores["test"] is None else "test"
    score = found.scores[split]
    if min_score is not None and score is not None and score < min_score:
        print(f"the {split} score {score:.4f} is below --min-score {min_score:g}", file=sys.stderr)
        return 3
    return 0


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the synthetic dataset and the results.")] = Path("demo"),
    seconds: Annotated[
        float, typer.Option(help="Length of the search in seconds (default: 20).", show_default=False)
    ] = 20.0,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N", help="Number of worker processes (default: one per CPU core).", show_default=False),
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Generate a dataset, search for a pipeline on it, and save pictures."""
    from evoseg.api import search as run_search
    from evoseg.cli.progress import show_progress
    from evoseg.runs.options import SearchOptions
    from evoseg.runs.settings import resolve_settings

    # With no library: the next demo is not to begin with this one's result.
    asked: dict[str, Any] = {"seconds": seconds, "workers": parse_workers(workers, None), "library": "none"}
    resolve_settings(SearchOptions(**asked))  # refused before the earlier demo is replaced, not after
    folder = expand(out).absolute()
    replaced = prepare(folder)
    dataset = folder / DATASET
    print(
        f"{'replaced the demo in' if replaced else 'drew a dataset in'} {dataset}; searching for {seconds:g} s",
        file=sys.stderr,
    )
    with show_progress() as watch:
        found = run_search(dataset, **asked, out=folder / RESULT, progress=watch)
    report(found, as_json=as_json)
    if not as_json:
        print(f"\nOpen {found.files['report']} in a browser: it shows every step, every score, and where it fails.")
    raise typer.Exit(exit_code(found, None))


def prepare(folder: Path) -> bool:
    """Generate the dataset in a folder; return whether an earlier demo was replaced there.

    Raises
    ------
    FilesError
        If the folder holds files that no demo has made.
    """
    from evoseg.runs.run_folder import FilesError, make_folder, write_whole
    from evoseg.synthetic import draw_dataset

    mark = folder / _MARK
    replaced = mark.exists()
    if not replaced and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FilesError(
            f"{folder}: already exists and was not made by `evoseg demo`, so it is not replaced. Choose another place "
            "with --out."
        )
    make_folder(folder)
    if not replaced:
        write_whole(mark, "evoseg demo replaces the folders cracks and result beside this file.\n")
    for name in (DATASET, RESULT):
        shutil.rmtree(folder / name, ignore_errors=True)
    draw_dataset(SCENE, folder / DATASET, N_IMAGES, SHAPE, SEED)
    return replaced
