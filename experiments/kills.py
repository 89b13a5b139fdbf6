#!/usr/bin/env python3
"""Kill searches that train networks, again and again, and see whether they end as if nothing had happened.

    python experiments/kills.py --out rows.jsonl [--continue] [--kills 50] [--evaluations 200]

A search on a drawn dataset is killed (kill -9) at a random moment, resumed, killed again, and so on until it ends; then
its result is compared with that of a search that nobody killed. A row is written for each search.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from study import add_row, rows_in  # beside this file

import evoseg
from evoseg.synthetic import draw_dataset

TIMED = {
    "run",
    "seconds",
    "seconds_in_all",
    "evaluations_per_second",
    "decided_per_second",
    "history",
    "files",
    "settings",
}


def search(data: Path, out: Path, evaluations: int) -> list[str]:
    """Return the command of a search."""
    program = (
        f"import evoseg; evoseg.search({str(data)!r}, task='binary', evaluations={evaluations}, workers=1, "
        f"library='none', out=evoseg.Output({str(out)!r}, overwrite=True), report=False)"
    )
    return [sys.executable, "-c", program]


def resume(out: Path) -> list[str]:
    """Return the command that goes on with a search."""
    return [sys.executable, "-c", f"import evoseg; evoseg.resume({str(out)!r}, report=False)"]


def result(out: Path) -> dict[str, Any]:
    """Return what a run found, without all that tells of time and place."""
    document = json.loads((out / "result.json").read_text("utf-8"))
    kept = {key: value for key, value in document.items() if key not in TIMED}
    return kept | {"history": [(n, score) for n, _, score in document["history"]]}


def killed(data: Path, folder: Path, evaluations: int, longest_s: float, rng: random.Random) -> tuple[int, Path]:
    """Search, killed at random moments, and return how often, and where the run is."""
    out, kills = folder / "run", 0
    command = search(data, out, evaluations)
    while True:
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.5, longest_s))
            return kills, out
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        command = resume(out) if (out / "run.db").is_file() else search(data, out, evaluations)


def main() -> int:
    """Kill as often as asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--continue", dest="go_on", action="store_true")
    ask.add_argument("--kills", type=int, default=50)
    ask.add_argument("--evaluations", type=int, default=200)
    asked = ask.parse_args()
    if asked.out.exists() and not asked.go_on:
        ask.error(f"{asked.out} exists; add --continue to go on with it, or name another file")
    done = rows_in(asked.out)
    rng = random.Random(len(done))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = draw_dataset("nuclei", folder / "nuclei", 12, (60, 84), seed=3)
        began = time.monotonic()
        subprocess.run(search(data, folder / "whole", asked.evaluations), check=True, stderr=subprocess.DEVNULL)
        whole_s, whole = time.monotonic() - began, result(folder / "whole")
        n_kills = sum(row["kills"] for row in done)
        while n_kills < asked.kills:
            kills, out = killed(data, folder, asked.evaluations, 1.2 * whole_s, rng)
            n_kills += kills
            row = {"kills": kills, "same": result(out) == whole, "evoseg": evoseg.__version__}
            add_row(asked.out, row)
            print(
                f"{n_kills} kills; after {kills} the result is {'the same' if row['same'] else 'ANOTHER'}", flush=True
            )
    rows = rows_in(asked.out)
    print(f"{sum(r['kills'] for r in rows)} kills in {len(rows)} searches; {sum(r['same'] for r in rows)} end the same")
    return 0 if all(row["same"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
