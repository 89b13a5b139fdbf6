#!/usr/bin/env python3
"""Which operators the bundled tasks, the classic recipes, and the Pareto fronts of many runs use.

    python experiments/census.py RUNS [RUNS ...]

RUNS is a folder of run folders, such as `$EVOSEG_HOME/runs`. An operator that nothing uses is a candidate for
`@operator(retired=True)`: old pipelines with it can still be read, run and exported, but no search proposes it.
"""

import sys
from collections import Counter
from pathlib import Path

from evoseg.evolve.proposers import classics
from evoseg.library.collection import bundled_tasks
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, read_text
from evoseg.runs.run_file import read_run
from evoseg.runs.stored import read_front


def count(pipelines: list[Pipeline]) -> Counter[str]:
    """Return in how many pipelines each operator occurs."""
    return Counter(name for p in pipelines for name in {step.operator for step in p.steps})


def main(folders: list[str]) -> None:
    """Print the table."""
    bundled = [stored.pipeline for task in bundled_tasks() for stored in task.pipelines]
    chains = (*classics.RECIPES, *classics.OBJECTS, *classics.PLACES)
    recipes = Counter(name for chain in chains for name in {call[0] for call in chain})
    runs = [path.parent for folder in folders for path in sorted(Path(folder).glob("*/run.db"))]
    best = [read_text((run / "pipeline.evo").read_text("utf-8")) for run in runs if (run / "pipeline.evo").is_file()]
    fronts: dict[str, list[Pipeline]] = {}
    for run in runs:
        fronts.setdefault(read_run(run).settings["task"], []).extend(
            read_text(program.pipeline) for program in read_front(run)
        )
    columns = {
        "bundled": count(bundled),
        "recipes": recipes,
        "best": count(best),
        **{f"front, {task}": count(pipelines) for task, pipelines in sorted(fronts.items())},
    }
    sizes = {"bundled": len(bundled), "recipes": len(chains), "best": len(best)}
    sizes |= {f"front, {task}": len(pipelines) for task, pipelines in fronts.items()}
    print(f"{len(runs)} runs")
    print("| operator |", " | ".join(f"{name} ({sizes[name]})" for name in columns), "|")
    print("| --- |", " | ".join("---:" for _ in columns), "|")
    names = sorted(op.name for op in registry.operators(retired=True))
    for name in sorted(names, key=lambda name: (sum(column[name] for column in columns.values()), name)):
        print(f"| {name} |", " | ".join(str(column[name]) for column in columns.values()), "|")
    unused = [name for name in names if not any(column[name] for column in columns.values())]
    print(f"\nused by none, {len(unused)} of {len(names)}: {' '.join(unused)}")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
