"""kill -9 at any instant: what was written is safe, and the search ends as if nothing had happened.

experiments/kill.py does this hundreds of times.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evoseg.app.kept import kept
from tests.app.test_api import untimed

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants_a_search_ends_as_if_undisturbed(dataset, found, tmp_path, home, seed):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "EVOSEG_HOME": str(home), "TMPDIR": str(tmp_path)}

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "evoseg.commands.main", *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    rng = random.Random(seed)
    process = start("search", dataset, "--evaluations", 60, "--workers", seed, "--no-remember")
    while process.poll() is None and not list(home.glob("runs/*/run.db")):
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 1))
    process.kill()
    process.communicate()
    (run,) = home.glob("runs/*")
    assert kept(run).state.state in ("interrupted", "done")
    if kept(run).state.state == "interrupted":
        process = start("runs", "resume", run.name, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out)["run"] == run.name
    assert untimed(json.loads((run / "result.json").read_text("utf-8"))) == untimed(found.result)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("evoseg-")] == []
