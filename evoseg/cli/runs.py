"""`evoseg runs`: list, show, resume, replay and delete searches."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evoseg.cli.shared import ALLOW_CODE, JSON, parse_workers
from evoseg.core.disk import expand

if TYPE_CHECKING:
    from evoseg.report.results import MulticlassResult, SearchResult
    from evoseg.runs.run_file import RunState
    from evoseg.runs.status import Status
    from evoseg.runs.stored import FrontProgram, StoredRun

runs = typer.Typer(help="List, show, resume, replay and delete searches.", no_args_is_help=True, rich_markup_mode=None)

_RUN = typer.Argument(metavar="RUN", help="Id or folder of a run.")
_WORKERS = typer.Option(
    metavar="N|URL",
    help="Number of worker processes, 0 to run everything in this process; or dask://HOST:PORT (default: as before).",
    show_default=False,
)
_EXECUTOR = typer.Option(metavar="URL", hidden=True)
_TASK = typer.Option(
    metavar="FILE.py",
    help="Python file of the run's task, if it has one of your own; its code is run.",
    show_default=False,
)
_DATASET = typer.Option(help="Folder of the dataset (default: where it was for the search).", show_default=False)

_OVERWRITE = typer.Option("--overwrite", help="Replace the file if it exists.")


@runs.command("list", epilog="Example: evoseg runs list")
def list_runs(as_json: Annotated[bool, JSON] = False) -> None:
    """List all runs, the oldest first.

    These are the runs in $EVOSEG_HOME/runs, and those that were written to another folder with --out and still exist. A
    run is running, interrupted (by Ctrl-C, a kill or an error; it can be resumed) or done.
    """
    import json

    from evoseg.runs import stored

    found, faults = stored.list_runs()
    for fault in faults.values():
        print(f"warning: {fault}", file=sys.stderr)
    if as_json:
        damaged = [{"run": run, "fault": fault} for run, fault in faults.items()]
        print(json.dumps({"runs": [run.as_json() for run in found], "damaged": damaged}, indent=1))
    else:
        print(_table(found))


def _table(found: "list[StoredRun]") -> str:
    if not found:
        return "no runs yet"
    width = max(len(run.folder.name) for run in found)
    lines = [f"{'run':{width}s}  state        evaluations   best on search   seconds"]
    for run in found:
        best = "-" if run.state.best is None else f"{run.state.best:.3f}"
        lines.append(
            f"{run.folder.name:{width}s}  {run.state.state:11s}  {run.state.evaluations:11d}   {best:>14s}   "
            f"{run.state.seconds:7.1f}"
        )
    return "\n".join(lines)


@runs.command("show", epilog="Example: evoseg runs show found/ --front")
def show_run(
    run: Annotated[str, _RUN],
    front: Annotated[
        bool, typer.Option("--front", help="List the pipelines on the Pareto front of score, length and cost.")
    ] = False,
    conversation: Annotated[
        bool, typer.Option("--conversation", help="Print the messages to the language model and its answers.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --conversation: write it to FILE, with pictures.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show a run: its state, its settings and its result.

    Commands that take a pipeline also take RUN#readable and RUN#accurate, the two pipelines that a search returns,
    and RUN#3, which is number 3 of the run's Pareto front. RUN alone is the recommended one of the two.
    """
    import json

    from evoseg.core.errors import SettingsError
    from evoseg.llm.calls import conversation_json
    from evoseg.report.conversation import conversation_text, read_conversation, write_conversation
    from evoseg.report.results import SearchResult
    from evoseg.runs import stored
    from evoseg.runs.code_files import load_codes

    if html is not None and (as_json or not conversation):
        raise SettingsError(
            "--html writes the conversation with a language model. Add --conversation, and leave out --json."
        )
    if front and conversation and not as_json:
        raise SettingsError("--front and --conversation are printed one at a time. Leave one out, or add --json.")
    found = stored.open_run(run)
    load_codes("", found.folder.path, allow_code=allow_code)
    if html is not None:
        print(write_conversation(run, expand(html), overwrite=overwrite))
        return
    if conversation and not as_json:
        print(conversation_text(read_conversation(run)))
        return
    programs = stored.read_front(found.folder.path) if front else None
    document = stored.read_result(found.folder.path)
    result = None if document is None else SearchResult.from_json(document, found.folder)
    if as_json:
        shown = found.as_json() | {"settings": dict(found.record.settings), "versions": dict(found.record.versions)}
        shown |= {"conversation": conversation_json(found.folder.path)} if conversation else {}
        shown |= {"result": document} | ({} if programs is None else {"front": [vars(one) for one in programs]})
        print(json.dumps(shown, indent=1))
    else:
        print(_run_text(found, result) if programs is None else _front_text(found, programs))


def _run_text(found: "StoredRun", result: "SearchResult | None") -> str:
    from evoseg.metrics import METRIC_LABELS
    from evoseg.report.text import SPLIT_WORDS, list_programs, list_scores_of_both

    record, state, name = found.record, found.state, found.folder.name
    word = METRIC_LABELS.get(str(record.settings.get("metric")), "score")
    budget = [f"{record.settings[key]:g} {key}" for key in ("seconds", "evaluations") if record.settings.get(key)]
    lines = [
        f"{name}: {state.state}",
        f"  dataset      {record.dataset_path or record.dataset}",
        f"  started      {record.started}" + (f", finished {record.finished}" if record.finished else ""),
        f"  budget       {' or '.join(budget)}, seed {record.settings.get('seed')}",
        (
            f"  {'in all' if state.state == 'done' else 'so far'}       {state.evaluations} evaluations, "
            f"{_duration(result, state)}"
        ),
    ]
    if state.best is not None:
        lines.append(f"  best {word} on the search images  {state.best:.3f}")
    if result is not None:
        lines += [f"  not scored   {stem}: {why}" for stem, why in result.not_scored.items()]
        told = [(SPLIT_WORDS[split], score) for split, score in result.scores.items() if score is not None]
        both = list_scores_of_both(result)
        lines += both or [f"  {score:.3f}        {words}" for words, score in told]
        if result.verdict:
            lines.append(f"  verdict      {result.verdict}, compared with the baselines on the test images")
        if looks := found.looks:
            times = "once, by the search" if looks == 1 else f"{looks} times, including the search"
            lines.append(f"  test images  used {times}")
        lines += [f"\n{text}" for text in list_programs(result)]
    lines += _llm_lines(found, result)
    lines.append("")
    if state.state == "interrupted":
        lines.append(f"`evoseg runs resume {found.folder.word}` continues it.")
    elif found.pending and state.state == "done":
        lines.append(f"Its solved task is not in the library yet; `evoseg runs resume {found.folder.word}` adds it.")
    lines.append(f"`evoseg runs show {found.folder.word} --front` lists its Pareto front of score, length and cost.")
    return "\n".join(lines)


def _duration(result: "SearchResult | None", state: "RunState") -> str:
    """Return how long a search took, and with everything around it if that is known."""
    if result is None or not result.seconds_in_all:
        return f"{state.seconds:.1f} s"
    return f"search {result.seconds:.1f} s, in all {result.seconds_in_all:.1f} s"


def _llm_lines(found: "StoredRun", result: "SearchResult | None") -> list[str]:
    """Say what a language model cost and gained, if there was one."""
    if not found.record.settings.get("agent"):
        return []
    from evoseg.llm.calls import read_calls
    from evoseg.llm.limits import total_usage

    usage = total_usage(read_calls(found.folder.path))
    lines = ["", f"  agent        {found.record.settings['agent']}: {usage}"]
    if result is not None and result.llm.model:
        llm = result.llm
        faults = ", ".join(f"{n} x {fault}" for fault, n in llm.faults.items()) or "none"
        own = f"{100 * llm.champion_ancestry:.0f} % of the pipeline's steps"
        lines += [
            f"               {llm.programs} programs, {llm.duplicates} duplicates, {llm.scored} scored",
            f"               {llm.leading} among the best; failed calls: {faults}",
            f"               {100 * llm.credit:.0f} % of the improvement, {own}",
        ]
    lines.append(f"`evoseg runs show {found.folder.word} --conversation` prints the messages.")
    return lines


def _front_text(found: "StoredRun", programs: "list[FrontProgram]") -> str:
    from textwrap import indent

    if not programs:
        return f"{found.folder.name}: nothing has been evaluated yet"
    lines = []
    for program in programs:
        steps = "step" if program.length == 1 else "steps"
        network = ", with a network" if program.has_network else ""
        figures = f"{program.length} {steps}, {program.cost_ms_per_mpx:.1f} ms/Mpx{network}"
        lines.append(f"#{program.number}  {program.search:.3f} on the search images, {figures}")
        lines += [indent(program.pipeline.rstrip(), "    "), ""]
    lines.append(f"Use one as in: evoseg apply {found.folder.word}#{programs[-1].number} new_images/ --out segmented/")
    return "\n".join(lines)


@runs.command("tree", epilog="Example: evoseg runs tree found/ --html tree.html")
def show_tree(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Id or folder of a run; RUN#readable and RUN#accurate name one pipeline."),
    ],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with a chart and pictures to FILE.", show_default=False),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Show every ancestor, and in the page the parents of every candidate."),
    ] = False,
    dataset: Annotated[Path | None, _DATASET] = None,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Show how a run's pipeline came about: its ancestors, who proposed them, what changed, and what that gained.

    Only turning points are shown: ancestors that score at least 0.005 higher than all their parents, and those without
    parents. The page shows all candidates, and what the turning points mark in an image.
    """
    from evoseg.report.tree import read_ancestry, tree_text, write_tree
    from evoseg.runs.code_files import load_codes
    from evoseg.runs.run_folder import find_run_folder

    load_codes("", find_run_folder(run.partition("#")[0]).path, allow_code=allow_code)
    ancestry = read_ancestry(run, everything=everything)
    if html is None:
        print(tree_text(ancestry))
    else:
        print(write_tree(ancestry, run, expand(html), dataset, links=everything, overwrite=overwrite))


@runs.command("export", epilog="Example: evoseg runs export found/ --csv candidates.csv")
def export_run(
    run: Annotated[str, _RUN],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="CSV file to write (default: stdout).", show_default=False),
    ] = None,
    as_json: Annotated[bool, JSON] = False,
    overwrite: Annotated[bool, _OVERWRITE] = False,
) -> None:
    """Export all candidates of a run as a table: one row each, with parents, proposer, scores and cost.

    `--json` prints the same as JSON, with the text of each program. docs/runs.md explains the columns.
    """
    import json

    from evoseg.report.tables import candidates_csv, list_candidates
    from evoseg.runs.run_folder import write_whole

    entries = list_candidates(run)
    if csv is not None:
        write_whole(expand(csv), candidates_csv(entries), overwrite=overwrite)
    if as_json:
        print(json.dumps({"candidates": entries}, indent=1))
    elif csv is None:
        sys.stdout.write(candidates_csv(entries))
    else:
        print(csv)


@runs.command("resume", epilog="Example: evoseg runs resume found/")
def resume_run(
    run: Annotated[str, _RUN],
    workers: Annotated[str | None, _WORKERS] = None,
    executor: Annotated[str | None, _EXECUTOR] = None,
    dataset: Annotated[Path | None, _DATASET] = None,
    task: Annotated[Path | None, _TASK] = None,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Continue a run that was interrupted or killed.

    With a budget of evaluations, the result is the same as without the interruption, to the last bit. With a budget in
    seconds, the remaining time is used. If the search is done but its solved task is not in the library, it is added.
    """
    from evoseg.api import resume
    from evoseg.class_search import resume_classes
    from evoseg.cli.progress import show_progress
    from evoseg.cli.search import exit_code, report
    from evoseg.core.errors import SettingsError
    from evoseg.inference.multiclass import find_classes_file

    found: SearchResult | MulticlassResult
    classes, processes = find_classes_file(run), parse_workers(workers, executor)
    with show_progress() as watch:
        if classes is None:
            found = resume(run, dataset, workers=processes, task=task, allow_code=allow_code, progress=watch)
        elif task is not None:
            raise SettingsError(
                f"{run}: is a search for several classes, which has no task of your own. Leave out --task."
            )
        else:
            folder = classes.parent
            found = resume_classes(folder, dataset, workers=processes, allow_code=allow_code, progress=watch)
    report(found, as_json=as_json)
    raise typer.Exit(exit_code(found, None))


@runs.command("replay", epilog="Example: evoseg runs replay found/")
def replay_run(
    run: Annotated[str, _RUN],
    workers: Annotated[str | None, _WORKERS] = None,
    executor: Annotated[str | None, _EXECUTOR] = None,
    dataset: Annotated[Path | None, _DATASET] = None,
    task: Annotated[Path | None, _TASK] = None,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Evaluate all candidates of a run again, and compare the results bit by bit.

    This shows whether a result can be reproduced on this machine. It takes as long as the run did, and changes
    nothing. Exit code 1 if anything differs.
    """
    import json
    from time import monotonic

    from evoseg.api import replay
    from evoseg.cli.progress import QUIET_S

    told = monotonic()

    def tell(progress: "Status") -> None:
        nonlocal told
        if monotonic() - told >= QUIET_S:
            told = monotonic()
            print(f"{progress.evaluations} evaluations compared, all as recorded", file=sys.stderr, flush=True)

    processes = parse_workers(workers, executor)
    found = replay(run, dataset, workers=processes, task=task, allow_code=allow_code, progress=tell)
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    elif found.difference is None:
        print(f"{found.run}: {found.answers} results in {found.entries} entries, all as recorded")
    else:
        difference = found.difference
        print(
            f"{found.run}: differs in entry {difference.entry} ({difference.about}), program "
            f"{difference.program.digest}\n  recorded  {difference.recorded}\n  now       {difference.now}"
        )
    raise typer.Exit(0 if found.difference is None else 1)


@runs.command("delete", epilog="Example: evoseg runs delete 20261120-101500-plates-1f3a")
def delete_run(run: Annotated[str, _RUN]) -> None:
    """Delete a run without asking. A run that is still running is not deleted."""
    from evoseg.runs.stored import delete

    print(f"deleted {delete(run).path}")
