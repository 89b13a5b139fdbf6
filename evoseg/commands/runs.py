"""`evoseg runs`: searches that were kept, and going on with them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evoseg.app.found import Found, FoundClasses
    from evoseg.app.kept import Kept
    from evoseg.evolve.search import Progress

runs = typer.Typer(
    help="List, show, go on with, check and delete searches.", no_args_is_help=True, rich_markup_mode=None
)

_RUN = typer.Argument(metavar="RUN", help="Id or folder of a run.")
_JSON = typer.Option("--json", help="Print one JSON document.")
_WORKERS = typer.Option(help="Processes, 0 for none beside this one; as many as before.", show_default=False)
_EXECUTOR = typer.Option(
    metavar="URL",
    help="What evaluates: dask://HOST:PORT, a Dask cluster's scheduler; or local; as before.",
    show_default=False,
)
_TASK = typer.Option(metavar="FILE.py", help="The run's task, if it is one of your own.", show_default=False)
_DATASET = typer.Option(help="Where the dataset is now, if it has moved.", show_default=False)


@runs.command("list", epilog="Example: evoseg runs list")
def list_runs(as_json: Annotated[bool, _JSON] = False) -> None:
    """List all runs in $EVOSEG_HOME/runs, the oldest first.

    A run is running, interrupted (by Ctrl-C, a kill or an error; it can be resumed) or done.
    """
    import json

    from evoseg.app.kept import kept_runs

    found, faults = kept_runs()
    for fault in faults.values():
        print(f"warning: {fault}", file=sys.stderr)
    if as_json:
        damaged = [{"run": run, "fault": fault} for run, fault in faults.items()]
        print(json.dumps({"runs": [run.as_json() for run in found], "damaged": damaged}, indent=1))
    else:
        print(_table(found))


def _table(found: "list[Kept]") -> str:
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
        bool, typer.Option("--front", help="List the programs that none beats in score, length and cost at once.")
    ] = False,
    conversation: Annotated[
        bool, typer.Option("--conversation", help="Print what the run and its language model have said.")
    ] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Say how far a run is, what it was asked for and what it has found.

    RUN#3 stands for the program number 3 of its front wherever a pipeline is taken.
    """
    import json

    from evoseg.app import kept
    from evoseg.app.conversation import conversation_json, conversation_text

    found = kept.kept(run)
    if conversation and not as_json:
        print(conversation_text(found.folder.path))
        return
    programs = kept.front(found.folder.path) if front else None
    result = kept.result_of(found.folder.path)
    if as_json:
        document = found.as_json() | {"settings": dict(found.record.settings), "versions": dict(found.record.versions)}
        document |= {"conversation": conversation_json(found.folder.path)} if conversation else {}
        document |= {"result": result} | ({} if programs is None else {"front": programs})
        print(json.dumps(document, indent=1))
    else:
        print(_run_text(found, result) if programs is None else _front_text(found, programs))


def _run_text(found: "Kept", result: dict[str, Any] | None) -> str:
    from textwrap import indent

    from evoseg.app.words import METRIC_WORDS

    record, state, name = found.record, found.state, found.folder.name
    word = METRIC_WORDS.get(str(record.settings.get("metric")), "score")
    budget = [f"{record.settings[key]:g} {key}" for key in ("seconds", "evaluations") if record.settings.get(key)]
    lines = [
        f"{name}: {state.state}",
        f"  dataset      {record.dataset_path or record.dataset}",
        f"  started      {record.started}" + (f", finished {record.finished}" if record.finished else ""),
        f"  asked for    {' or '.join(budget)}, seed {record.settings.get('seed')}",
        f"  done so far  {state.evaluations} evaluations in {state.seconds:.1f} s",
    ]
    if state.best is not None:
        lines.append(f"  best {word} on the search images  {state.best:.3f}")
    if result is not None:
        scores = ", ".join(f"{split} {score:.3f}" for split, score in result["scores"].items() if score is not None)
        lines += [f"  not scored   {stem}: {why}" for stem, why in result.get("not_scored", {}).items()]
        lines.append(f"  champion     {scores}")
        if result.get("verdict"):
            lines.append(f"  verdict      {result['verdict']}, compared with the baselines on the test images")
        if looks := found.looks:
            lines.append(f"  looks        {looks} at the test images, the search's own included")
        lines += ["", indent(result["pipeline"].rstrip(), "    ")]
    lines += _llm_lines(found, result)
    lines.append("")
    if state.state == "interrupted":
        lines.append(f"`evoseg runs resume {name}` goes on with it.")
    elif found.pending and state.state == "done":
        lines.append(f"Its solved task is not in the library yet; `evoseg runs resume {name}` adds it.")
    lines.append(f"`evoseg runs show {name} --front` lists its programs from good to short and cheap.")
    return "\n".join(lines)


def _llm_lines(found: "Kept", result: dict[str, Any] | None) -> list[str]:
    """Say what a language model has cost and brought, if there was one."""
    if not found.record.settings.get("agent"):
        return []
    from evoseg.llm.leash import spent_on
    from evoseg.store.calls import calls_of

    spent = spent_on(calls_of(found.folder.path))
    words = f"{spent.calls} calls, {spent.tokens_in} tokens read and {spent.tokens_out} written, ${spent.usd:.4f}"
    lines = ["", f"  agent        {found.record.settings['agent']}: {words}"]
    if result is not None and "rounds" in result["llm"]:
        llm = result["llm"]
        faults = ", ".join(f"{n} x {fault}" for fault, n in llm["faults"].items()) or "none"
        own = f"{100 * llm['champion_ancestry']:.0f} % of the champion's steps"
        lines += [
            f"               {llm['programs']} programs, {llm['duplicates']} known already, {llm['scored']} scored",
            f"               {llm['leading']} among the leaders; faults: {faults}",
            f"               worth {100 * llm['credit']:.0f} % of the gains, {own}",
        ]
    lines.append(f"`evoseg runs show {found.folder.name} --conversation` prints what was said.")
    return lines


def _front_text(found: "Kept", programs: list[dict[str, Any]]) -> str:
    from textwrap import indent

    if not programs:
        return f"{found.folder.name}: nothing has been scored yet"
    lines = []
    for program in programs:
        steps = "step" if program["length"] == 1 else "steps"
        figures = f"{program['length']} {steps}, {program['cost_ms_per_mpx']:.1f} ms/Mpx"
        lines.append(f"#{program['number']}  {program['search']:.3f} on the search images, {figures}")
        lines += [indent(program["pipeline"].rstrip(), "    "), ""]
    lines.append(
        f"Use one as in: evoseg apply {found.folder.name}#{programs[-1]['number']} new_images/ --out segmented/"
    )
    return "\n".join(lines)


@runs.command("resume", epilog="Example: evoseg runs resume found/")
def resume_run(
    run: Annotated[str, _RUN],
    workers: Annotated[int | None, _WORKERS] = None,
    executor: Annotated[str | None, _EXECUTOR] = None,
    dataset: Annotated[Path | None, _DATASET] = None,
    task: Annotated[Path | None, _TASK] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Go on with a run that was interrupted or killed.

    With a budget of evaluations it ends as if nothing had happened, to the last bit; of one in seconds, what was left
    is searched. If the search is done and its solved task has not reached the library yet, it is added now.
    """
    from evoseg.app.api import resume
    from evoseg.app.class_search import resume_classes
    from evoseg.app.classes import classes_file
    from evoseg.base.errors import SettingsError
    from evoseg.commands.progress import shown
    from evoseg.commands.search import exit_code, report

    found: Found | FoundClasses
    classes = classes_file(run)
    with shown() as watch:
        if classes is None:
            found = resume(run, dataset, workers=workers, executor=executor, task=task, progress=watch)
        elif task is not None:
            raise SettingsError(f"{run}: is a search for classes, which is no task of your own. Leave out --task.")
        else:
            found = resume_classes(classes.parent, dataset, workers=workers, executor=executor, progress=watch)
    report(found, as_json=as_json)
    raise typer.Exit(exit_code(found, None))


@runs.command("replay", epilog="Example: evoseg runs replay found/")
def replay_run(
    run: Annotated[str, _RUN],
    workers: Annotated[int | None, _WORKERS] = None,
    executor: Annotated[str | None, _EXECUTOR] = None,
    dataset: Annotated[Path | None, _DATASET] = None,
    task: Annotated[Path | None, _TASK] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Evaluate all candidates of a run once more and compare every bit.

    Takes as long as the run did, and changes nothing. Exit code 1 if anything differs.
    """
    import json
    from time import monotonic

    from evoseg.app.replaying import replay
    from evoseg.commands.progress import QUIET_S

    told = monotonic()

    def tell(progress: "Progress") -> None:
        nonlocal told
        if monotonic() - told >= QUIET_S:
            told = monotonic()
            print(f"{progress.evaluations} evaluations compared, all as recorded", file=sys.stderr, flush=True)

    found = replay(run, dataset, workers=workers, executor=executor, task=task, progress=tell)
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    elif found.difference is None:
        print(f"{found.run}: {found.answers} answers in {found.entries} entries, all as recorded")
    else:
        difference = found.difference
        print(
            f"{found.run}: differs in entry {difference.entry} ({difference.about}), program "
            f"{difference.program.digest}\n  recorded  {difference.recorded}\n  now       {difference.now}"
        )
    raise typer.Exit(0 if found.difference is None else 1)


@runs.command("delete", epilog="Example: evoseg runs delete 20261120-101500-plates-1f3a")
def delete_run(run: Annotated[str, _RUN]) -> None:
    """Delete a run without asking; one that is running is refused."""
    from evoseg.app.kept import delete

    print(f"deleted {delete(run).path}")
