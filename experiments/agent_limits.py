#!/usr/bin/env python3
"""What a language model within its limits costs a search: kills, and speed beside a dead or dripping endpoint.

    python experiments/agent_limits.py kills --trials 100
    python experiments/agent_limits.py speed --pairs 10 --seconds 20 [--data DATASETS/neu_patches]

`kills`: each trial is one run with caps, killed by SIGKILL at random instants and resumed until it is done; what the
endpoint received is compared with the caps, and every file is searched for the key. Exit code 1 if a cap was exceeded
or the key found. `speed`: searches without a model, with a dead endpoint and with a dripping one, interleaved; prints
the ratios of evaluations per second, their medians and a bootstrap interval of each.
"""

import argparse
import os
import random
import statistics
import sys
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the scripted endpoint, which is no part of evoseg

import evoseg  # noqa: E402
from evoseg.cli.main import run as run_command  # noqa: E402
from evoseg.core.streams import stream  # noqa: E402
from evoseg.llm.calls import read_calls  # noqa: E402
from evoseg.synthetic import draw_dataset  # noqa: E402
from tests.llm_server import Server  # noqa: E402

KEY = "sk-canary-27182818284"
ACTS = ("explorer", "trier", "key", "429", "wrong schema", "unknown operator", "no usage", "hang", "cut body", "length")
SEARCH = ("--evaluations", 100, "--workers", 0, "--no-networks", "--library", "none", "--no-report")
HURRY = "deadline_s: 2.0\npause_s: 1.0\nrounds: 20\npatience: 20\n"
"""A schedule that asks as often as it can, and does not wait long for an endpoint that fails."""
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    ["evoseg.cli.main", "evoseg.session", "evoseg.llm.agent_session", "langchain_openai", "cmaes"]
)
RESAMPLES = 2000


def kills(trials: int, seed: int) -> int:
    """Kill and resume; return how many trials went wrong."""
    rng, wrong, killed = random.Random(seed), 0, 0
    with TemporaryDirectory(prefix="agent-") as place:
        data = draw_dataset("nuclei", Path(place) / "nuclei", 12, (60, 84), seed=3)
        roles = Path(place) / "roles"
        roles.mkdir()
        (roles / "schedule.yaml").write_text(HURRY)
        for _ in range(2):  # the first one has to import
            began = time.monotonic()
            _start(Path(place), "search", data, *SEARCH).join()
        takes_s = time.monotonic() - began
        print(f"undisturbed, a search takes {takes_s:.1f} s", flush=True)
        for trial in range(trials):
            home = Path(place) / f"home{trial}"
            home.mkdir()
            n, spent, fine = _trial(data, roles, home, rng, takes_s)
            killed += n
            wrong += not fine
            print(f"trial {trial + 1}: {n} kills, {spent}: {'fine' if fine else 'WRONG'}", flush=True)
    print(f"{trials} trials, {killed} kills: {wrong} exceeded a cap or left the key behind")
    return wrong


def _trial(data: Path, roles: Path, home: Path, rng: random.Random, takes_s: float) -> tuple[int, str, bool]:
    """Return how often a run was killed, what it has spent, and whether all was well."""
    # The least is too little for a round; of the next ones, a reservation that a kill leaves behind takes much.
    calls, usd, n = rng.randint(1, 12), rng.choice([0.03, 0.1, 0.3, 2.0]), 0
    acts = [rng.choice(ACTS) for _ in range(8)] + ["explorer"]
    with Server(acts) as server:
        model = ("--agent", "openai:scripted", "--base-url", server.url, "--roles", roles)
        command: tuple[object, ...] = ("search", data, *SEARCH, *model, "--llm-calls", calls, "--llm-usd", usd)
        while True:
            process = _start(home, *command)
            # Longer each time, or a machine that has become busier would never let it end.
            process.join(rng.uniform(0.0, 1.3 * takes_s * 1.25**n))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            n += 1
            if runs := list(home.glob("runs/*/run.db")):
                command = ("runs", "resume", runs[0].parent.name)
        received = len(server.requests)
    (run,) = (database.parent for database in home.glob("runs/*/run.db"))  # a kill may leave an empty folder, too
    rows = read_calls(run)
    # What the scripted endpoint says it has counted, however the run reckons.
    paid = sum(row.usd for row in rows)
    within = received <= len(rows) <= calls and paid <= usd
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    clean = not any(KEY.encode() in data for data in files)
    spent = f"{len(rows)} of {calls} calls, ${paid:.3f} of ${usd:.2f}"
    return n, spent, within and clean and (run / "result.json").is_file()


def _start(home: Path, *arguments: object) -> ForkServerProcess:
    """Start a command in a process that has imported evoseg already, or most kills would only meet imports."""
    process = FORKS.Process(target=_run, args=(home, [str(argument) for argument in arguments]))
    process.start()
    return process


def _run(home: Path, arguments: list[str]) -> None:
    os.environ |= {"EVOSEG_HOME": str(home), "OPENAI_API_KEY": KEY}
    with (home / "said.txt").open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.exit(run_command(arguments))


def speed(pairs: int, seconds: float, data: Path | None) -> None:
    """Print evaluations per second beside endpoints that do not answer, as ratios to those without a model."""
    ratios: dict[str, list[float]] = {"dead": [], "drip": []}
    with TemporaryDirectory(prefix="agent-") as place, Server(["drip"]) as dripping, Server() as dead:
        dead.stop()
        where = data or draw_dataset("nuclei", Path(place) / "nuclei", 12, (240, 320), seed=3)
        os.environ["EVOSEG_HOME"] = place
        urls = {"dead": dead.url, "drip": dripping.url}
        for pair in range(pairs):
            order = ["without", *urls] if pair % 2 else [*urls, "without"]
            rates = {arm: _rate(where, pair, seconds, urls.get(arm)) for arm in order}
            for arm, found in ratios.items():
                found.append(rates[arm] / rates["without"])
            print(f"pair {pair + 1}: " + ", ".join(f"{arm} {rate:.1f}/s" for arm, rate in rates.items()), flush=True)
    for arm, found in ratios.items():
        draws = stream(0, "speed", arm).choice(found, (RESAMPLES, len(found)))
        medians = sorted(statistics.median(draw) for draw in draws)
        low, high = medians[RESAMPLES // 40], medians[-RESAMPLES // 40]
        print(f"{arm}: median ratio {statistics.median(found):.3f}, 95 % interval {low:.3f} to {high:.3f}")


def _rate(data: Path, seed: int, seconds: float, url: str | None) -> float:
    began = time.monotonic()
    agent = evoseg.Agent("openai:scripted", base_url=url) if url else None
    found = evoseg.search(data, seconds=seconds, seed=seed, agent=agent)
    assert time.monotonic() - began < seconds + 30
    return float(found.evaluations_per_second)


def main() -> int:
    """Run one of the two."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("what", choices=["kills", "speed"])
    ask.add_argument("--trials", type=int, default=100)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--pairs", type=int, default=10)
    ask.add_argument("--seconds", type=float, default=20.0)
    ask.add_argument("--data", type=Path)
    asked = ask.parse_args()
    if asked.what == "kills":
        return 1 if kills(asked.trials, asked.seed) else 0
    speed(asked.pairs, asked.seconds, asked.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
