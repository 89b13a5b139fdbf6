#!/usr/bin/env python3
"""What a language model is worth at equally many evaluations: searches with one and without.

    python experiments/agent.py ../shared/datasets --out rows.jsonl [--continue] [--only crackforest,neu_patches]
        [--seeds 5] [--evaluations 300] [--calls 12]
    python experiments/agent.py ../shared/datasets --out rows.jsonl --agent openai:MODEL [--base-url URL] [--usd 5]
    python experiments/agent.py --table rows.jsonl

Without --agent, the model is the rule-based expert of the scripted endpoint (tests/llm_server.py): it shows what the
machinery does with sensible ideas, not what any real model is worth. One row per dataset, arm and seed is written as
soon as it is known; --continue leaves out those that are there. Test scores are reported, never used to choose.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the scripted endpoint, which is no part of evoseg

from study import add_row, asked_for, options, trials_in  # beside this file

import evoseg
from tests.llm_server import Server

WITHOUT, WITH = "without", "with"


def run(data: Path, arm: str, seed: int, asked: argparse.Namespace, url: str | None) -> dict[str, Any]:
    """Search, and return the row of the table."""
    began = time.process_time()
    agent = evoseg.Agent(asked.agent, base_url=url, calls=asked.calls, usd=asked.usd) if arm == WITH else None
    with tempfile.TemporaryDirectory() as folder:
        found = evoseg.search(data, evaluations=asked.evaluations, seed=seed, workers=0, out=folder, agent=agent)
    result = found.to_json()
    llm = result["llm"]
    return {
        "dataset": data.name,
        "arm": arm,
        "seed": seed,
        "evaluations": asked.evaluations,
        "model": asked.agent if arm == WITH else "",
        "search": result["history"][-1][2],
        "champion": result["scores"]["search"],
        "test": result["scores"]["test"],
        "calls": llm["calls"],
        **{key: llm.get(key, 0) for key in ("programs", "scored", "leading", "credit", "champion_ancestry")},
        "champion_proposed": llm.get("champion_proposed", False),
        "seconds": round(time.process_time() - began, 1),
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return, per dataset, medians over the seeds that both arms have."""
    by = {(r["dataset"], r["arm"], r["seed"]): r for r in rows}
    lines = [
        "| dataset | seeds | best on search, without | with | test, without | with | ancestry | credit | calls |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    cells: list[list[float]] = []
    for dataset in dict.fromkeys(name for name, _, _ in by):
        seeds = [s for name, arm, s in by if name == dataset and arm == WITH and (name, WITHOUT, s) in by]
        if not seeds:
            continue
        plain, helped = ([by[dataset, arm, s] for s in seeds] for arm in (WITHOUT, WITH))
        pairs = [(plain, "search"), (helped, "search"), (plain, "test"), (helped, "test")]
        pairs += [(helped, key) for key in ("champion_ancestry", "credit", "calls")]
        cells.append([statistics.median(r[key] for r in found) for found, key in pairs])
        lines.append(_line(dataset, str(len(seeds)), cells[-1]))
    if cells:
        lines.append(_line("mean", "", [statistics.mean(column) for column in zip(*cells, strict=True)]))
    return "\n".join(lines)


def _line(name: str, seeds: str, cells: list[float]) -> str:
    *scores, calls = cells
    return f"| {name} | {seeds} | {' | '.join(f'{cell:.3f}' for cell in scores)} | {calls:.0f} |"


def main() -> int:
    """Run what is asked for and not there yet."""
    ask = options(__doc__, 300)
    ask.add_argument("--agent", default="")
    ask.add_argument("--base-url")
    ask.add_argument("--calls", type=int, default=12)
    ask.add_argument("--usd", type=float, default=5.0)
    asked = asked_for(ask, table)
    done = trials_in(asked.out)
    with ExitStack() as stack:
        os.environ.setdefault("EVOSEG_HOME", stack.enter_context(tempfile.TemporaryDirectory()))
        url = asked.base_url
        if not asked.agent:
            asked.agent, url = "openai:scripted", stack.enter_context(Server()).url
        # Seeds outermost: a study that is cut short has every dataset.
        for seed in range(asked.seeds):
            for name in asked.only.split(","):
                for arm in (WITHOUT, WITH):
                    if (name, arm, seed, asked.evaluations) in done:
                        continue
                    row = run(asked.root / name, arm, seed, asked, url)
                    add_row(asked.out, row)
                    print(f"{name} {seed} {arm}: {row['search']:.3f}, test {row['test']:.3f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
