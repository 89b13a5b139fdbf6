#!/usr/bin/env python3
"""Kill searches that train networks or run Python code, and see whether they end as if nothing had happened.

    python experiments/kills.py --out rows.jsonl [--continue] [--kills 50] [--evaluations 200] [--code]

A search on a drawn dataset is killed (kill -9) at a random moment, resumed, killed again, and so on until it ends; then
its result is compared with that of a search that nobody killed, and it is replayed. A row is written for each search.

With --code, the search has a Python operator and no networks, and is killed only while the operator is running in its
sandbox; the row counts processes that are still there 10 s after a kill, too.
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


SLOW = '''import numpy as np
from scipy import ndimage


def operator(plane: Gray, *, size: Annotated[int, Range(2, 12, unit="px")] = 5) -> Gray:
    """Local range of grey levels, so slowly that it is mostly running when somebody looks."""
    sum(i * i for i in range(300_000))
    x = plane.astype(np.float32)
    return (ndimage.maximum_filter(x, size) - ndimage.minimum_filter(x, size)) / 255
'''
MOST_KILLS = 10
"""Of one search, so that each ends: one that is always killed before it has written anything would not."""


def search(data: Path, out: Path, evaluations: int, operator: Path | None) -> list[str]:
    """Return the command of a search."""
    goal = f"evoseg.Goal(networks=False, operator={str(operator)!r})" if operator else "None"
    program = (
        f"import evoseg; evoseg.search({str(data)!r}, task='binary', evaluations={evaluations}, workers=1, "
        f"library='none', goal={goal}, out=evoseg.Output({str(out)!r}, overwrite=True), report=False)"
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


def children(process: int) -> list[int]:
    """Return the processes that a process has started, and those that these have started."""
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text("ascii").split()]
    except OSError:
        return []
    return [*found, *(further for child in found for further in children(child))]


def runs_code(process: int) -> bool:
    """Return whether an operator is running: whether a sandbox has started a process."""
    for child in children(process):
        try:
            if b"evoseg.sandbox.zygote" in Path(f"/proc/{child}/cmdline").read_bytes() and children(child):
                return True
        except OSError:
            pass
    return False


def is_alive(process: int) -> bool:
    """Return whether a process has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_to_kill(process: subprocess.Popen[bytes], seconds: float, *, in_code: bool) -> bool:
    """Wait some seconds, from when code runs and until it runs again if that is asked for; return whether to kill."""
    for wait_s in (0.0, seconds) if in_code else (seconds,):
        try:
            process.wait(wait_s)
            return False
        except subprocess.TimeoutExpired:
            pass
        while in_code and process.poll() is None and not runs_code(process.pid):
            time.sleep(0.0005)
    return process.poll() is None


def killed(
    data: Path, folder: Path, evaluations: int, operator: Path | None, longest_s: float, rng: random.Random
) -> tuple[int, int, Path]:
    """Search, killed at random moments; return how often, how many processes were left behind, and the run's place."""
    out, kills, left = folder / "run", 0, 0
    command = search(data, out, evaluations, operator)
    while True:
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        if kills == MOST_KILLS:
            process.wait()
        if not wait_to_kill(process, rng.uniform(0.0, longest_s), in_code=operator is not None):
            return kills, left, out
        started = children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        end = time.monotonic() + 10
        while any(map(is_alive, started)) and time.monotonic() < end:
            time.sleep(0.05)
        left += sum(map(is_alive, started))
        command = resume(out) if (out / "run.db").is_file() else search(data, out, evaluations, operator)


def main() -> int:
    """Kill as often as asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--continue", dest="go_on", action="store_true")
    ask.add_argument("--kills", type=int, default=50)
    ask.add_argument("--evaluations", type=int, default=200)
    ask.add_argument("--code", action="store_true")
    asked = ask.parse_args()
    if asked.out.exists() and not asked.go_on:
        ask.error(f"{asked.out} exists; add --continue to go on with it, or name another file")
    done = rows_in(asked.out)
    rng = random.Random(len(done))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        operator = folder / "slow.py" if asked.code else None
        if operator:
            operator.write_text(SLOW, "utf-8")
        data = draw_dataset("nuclei", folder / "nuclei", 12, (60, 84), seed=3)
        began = time.monotonic()
        command = search(data, folder / "whole", asked.evaluations, operator)
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        whole_s, whole = time.monotonic() - began, result(folder / "whole")
        n_kills = sum(row["kills"] for row in done)
        while n_kills < asked.kills:
            longest_s = whole_s * (0.03 if operator else 1.2)  # planes are computed once, so code runs for a short part
            kills, left, out = killed(data, folder, asked.evaluations, operator, longest_s, rng)
            n_kills += kills
            row = {
                "kills": kills,
                "left": left,
                "same": result(out) == whole,
                "replayed": evoseg.replay(out).difference is None,
                "code": asked.code,
                "evoseg": evoseg.__version__,
            }
            add_row(asked.out, row)
            print(
                f"{n_kills} kills; after {kills} the result is {'the same' if row['same'] else 'ANOTHER'}, a replay "
                f"{'agrees' if row['replayed'] else 'DIFFERS'}, and {left} processes were left",
                flush=True,
            )
    rows = rows_in(asked.out)
    print(f"{sum(r['kills'] for r in rows)} kills in {len(rows)} searches; {sum(r['same'] for r in rows)} end the same")
    return 0 if all(row["same"] and row.get("replayed", True) and not row.get("left") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
