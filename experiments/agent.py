#!/usr/bin/env python3
"""What a language model is worth at equally many evaluations and calls, in four arms.

    python experiments/agent.py DATASETS --out rows.jsonl [--continue] [--only crackforest,neu_patches]
        [--arms none,expert] [--seeds 2] [--seed 1] [--evaluations 600] [--calls 6]
    python experiments/agent.py DATASETS --out rows.jsonl --agent openai:MODEL [--base-url URL] [--usd 5]
        [--model-seconds 600]
    python experiments/agent.py DATASETS --out rows.jsonl --by-hand FOLDER
    python experiments/agent.py --table rows.jsonl

- none: a search without a model.
- expert: the rule-based expert of the scripted endpoint (tests/llm_server.py) in the model's place, in the full loop,
  which shows what the machinery does with sensible ideas.
- independent: the model is asked as often, but always from the description of the task alone: it is told nothing of
  the search, and makes no experiments (experiments/independent).
- loop: rounds that wait, feedback and experiments.

All arms have equal evaluations, and those with a model equal calls (--calls), which are spread over the evaluations in
the same way: the next round waits until the share of the evaluations that are done is at least that of the calls. The
description, results of experiments and corrections are calls, too. So with 6 calls and 600 evaluations, independent
describes and proposes at the beginning, and proposes after 200, 300, 400 and 500; a loop that describes, experiments
and proposes at the beginning goes on after 300. Both begin with the same description, of the card and all labelled
images; the first proposals, too, are made with a picture of these, and only the loop's with pictures of errors.

The last two need --agent, or --by-hand: then each request becomes a folder in FOLDER with prompt.txt and pictures, and
somebody answers by writing answer.json into it (ten hours are allowed). Searches are of filters only and without a
library. One row per dataset, arm and seed is written as soon as it is known; --continue leaves out those that are
there. The held-out score is that of the program that scored best on the search images: on the selection images, or
where there are none, with curves and levels fitted to the other search images. Test scores are reported, never used to
choose.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the scripted endpoint, which is no part of evoseg

from study import add_row, arms_of, asked_for, options, trials_in  # beside this file

import evoseg
from tests.llm_server import Server

NONE, EXPERT, INDEPENDENT, LOOP = "none", "expert", "independent", "loop"
ARMS = (NONE, EXPERT, INDEPENDENT, LOOP)
DATASETS = ("vnc_mitochondria", "skin_lesions", "crackforest", "glas_glands", "leather_defects", "neu_inclusion")
PAIRS = ((LOOP, NONE), (LOOP, INDEPENDENT), (INDEPENDENT, NONE), (EXPERT, NONE))
"""Arms that are compared."""
PER_CALL = 90
"""Fewest evaluations per call: a round's programs, their tuning, and the generation after it."""
RESAMPLES = 4000
BY_HAND_S = 36_000.0


def agent_of(arm: str, asked: argparse.Namespace, url: str | None, roles: Path) -> evoseg.Agent | None:
    """Return the model of an arm; its roles are written into a folder."""
    if arm == NONE:
        return None
    # No arm may stop early: all are to use the same calls.
    # As many rounds as calls, so that only the limit on calls spreads them.
    plan = {"patience": 1000, "rounds": asked.calls, "experiments": 0 if arm == INDEPENDENT else 6}
    (roles / "schedule.yaml").write_text(json.dumps(plan))
    if arm == INDEPENDENT:
        text = (Path(__file__).parent / "independent" / "propose.md").read_text("utf-8")
        (roles / "propose.md").write_text(text, "utf-8")
    model = "openai:scripted-seeing" if arm == EXPERT else asked.agent
    return evoseg.Agent(
        model,
        base_url=url,
        calls=asked.calls,
        usd=None if asked.by_hand or arm == EXPERT else asked.usd,
        wait=True,
        deadline=asked.model_seconds,
        roles=roles,
    )


def run(data: Path, arm: str, seed: int, asked: argparse.Namespace, url: str | None) -> dict[str, Any]:
    """Search, and return the row of the table."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as roles:
        found = evoseg.search(
            data,
            evaluations=asked.evaluations,
            seed=seed,
            workers=0,
            out=folder,
            agent=agent_of(arm, asked, url, Path(roles)),
            goal=evoseg.Goal(networks=False),
            library="none",
            report=False,
        )
    result = found.to_json()
    llm = result["llm"]
    counts = ("rounds", "programs", "experiments", "operators", "refused", "scored", "leading")
    return {
        "dataset": data.name,
        "arm": arm,
        "seed": seed,
        "evaluations": asked.evaluations,
        "model": llm.get("model", ""),
        "search": result["history"][-1][2],
        "held_out": found.leaders[-1].held_out if found.leaders else None,
        "expected": result["scores"]["selection"],
        "test": result["scores"]["test"],
        "calls": llm["calls"],
        "cost_usd": llm["cost_usd"],
        **{key: llm.get(key, 0) for key in counts},
        **{key: llm.get(key, 0.0) for key in ("credit", "champion_ancestry")},
        "faults": llm.get("faults", {}),
        "pipeline": result["pipeline"],
        "seconds": round(time.process_time() - began, 1),
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return means per dataset and arm over the seeds, and the differences between arms in pairs with intervals."""
    by = {(r["dataset"], r["arm"], r["seed"]): r for r in rows}
    lines = [
        "| dataset | arm | seeds | search | held out | test | calls | experiments | operators | credit | ancestry |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset in dict.fromkeys(name for name, _, _ in by):
        for arm in ARMS:
            some = [row for (name, which, _), row in by.items() if (name, which) == (dataset, arm)]
            if some:
                lines.append(_line(dataset, arm, some))
    lines += ["", "| difference | pairs | search | held out | test |", "| --- | --- | --- | --- | --- |"]
    for one, other in PAIRS:
        places = [(name, seed) for name, arm, seed in by if arm == one and (name, other, seed) in by]
        if places:
            pairs = [(by[name, one, seed], by[name, other, seed]) for name, seed in places]
            cells = [difference(pairs, key) for key in ("search", "held_out", "test")]
            lines.append(f"| {one} - {other} | {len(pairs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _line(dataset: str, arm: str, rows: Sequence[dict[str, Any]]) -> str:
    def mean(key: str, digits: int = 3) -> str:
        known = [row[key] for row in rows if row[key] is not None]
        return f"{statistics.mean(known):.{digits}f}" if known else ""

    cells = [mean(key) for key in ("search", "held_out", "test")]
    cells += [mean(key, 1) for key in ("calls", "experiments", "operators")]
    cells += [mean(key) for key in ("credit", "champion_ancestry")]
    return f"| {dataset} | {arm} | {len(rows)} | {' | '.join(cells)} |"


def difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], key: str) -> str:
    """Return the mean difference of pairs with a 95 % bootstrap interval."""
    known = [a[key] - b[key] for a, b in pairs if a[key] is not None and b[key] is not None]
    if not known:
        return ""
    drawn = np.random.default_rng(0).choice(known, (RESAMPLES, len(known))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{statistics.mean(known):+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> int:
    """Run what is asked for and not there yet."""
    ask = options(__doc__, 600, DATASETS)
    ask.set_defaults(seeds=2)
    ask.add_argument("--arms", default="", help=f"some of {', '.join(ARMS)}; those that need no model by default")
    ask.add_argument("--agent", default="")
    ask.add_argument("--base-url")
    ask.add_argument("--by-hand", type=Path)
    ask.add_argument("--calls", type=int, default=6)
    ask.add_argument("--seed", type=int, help="in place of --seeds: this one only")
    ask.add_argument("--usd", type=float, default=5.0)
    ask.add_argument("--model-seconds", type=float, default=None)
    asked = asked_for(ask, table)
    arms = arms_of(ask, asked.arms or ",".join(ARMS if asked.agent or asked.by_hand else (NONE, EXPERT)), ARMS)
    if {INDEPENDENT, LOOP} & {*arms} and not (asked.agent or asked.by_hand):
        ask.error("independent and loop need --agent or --by-hand")
    if asked.evaluations < PER_CALL * asked.calls:
        ask.error(
            f"a round takes about 80 evaluations: {asked.calls} calls need at least {PER_CALL * asked.calls} "
            "evaluations, or some of them would never be made"
        )
    done = trials_in(asked.out)
    with ExitStack() as stack:
        os.environ.setdefault("EVOSEG_HOME", stack.enter_context(tempfile.TemporaryDirectory()))
        urls: dict[str, str | None] = dict.fromkeys(ARMS, asked.base_url)
        if EXPERT in arms:
            urls[EXPERT] = stack.enter_context(Server()).url
        if asked.by_hand:
            asked.agent, asked.model_seconds = "openai:scripted-seeing", asked.model_seconds or BY_HAND_S
            server = stack.enter_context(Server(["by hand"], folder=asked.by_hand))
            urls |= {INDEPENDENT: server.url, LOOP: server.url}
        # Seeds outermost: a study that is cut short has every dataset.
        for seed in range(asked.seeds) if asked.seed is None else [asked.seed]:
            for name in asked.only.split(","):
                for arm in arms:
                    if (name, arm, seed, asked.evaluations) in done:
                        continue
                    row = run(asked.root / name, arm, seed, asked, urls[arm])
                    add_row(asked.out, row)
                    print(f"{name} {seed} {arm}: {row['search']:.3f}, test {row['test']:.3f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
