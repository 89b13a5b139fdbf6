"""The comparison of arms: pairs only what belongs together, and gives each arm its roles."""

import argparse
import json


def row(arm: str, seed: int, test: float, **more: object) -> dict[str, object]:
    counts = dict.fromkeys(("calls", "experiments", "operators", "credit", "champion_ancestry"), 0)
    scores = {"search": test + 0.1, "held_out": None, "test": test}
    return {"dataset": "a", "arm": arm, "seed": seed, "evaluations": 400, **counts, **scores, **more}


def test_differences_are_of_pairs_with_the_same_seed(script):
    rows = [row("none", 0, 0.5), row("none", 1, 0.7), row("loop", 0, 0.6), row("loop", 2, 0.9)]
    lines = script("agent").table(rows).splitlines()
    assert "| a | none | 2 | 0.700 |  | 0.600 | 0.0 | 0.0 | 0.0 | 0.000 | 0.000 |" in lines
    assert lines[-1] == "| loop - none | 1 | +0.100 (+0.100 to +0.100) |  | +0.100 (+0.100 to +0.100) |"


def test_each_arm_has_the_same_calls_and_its_own_roles(script, tmp_path):
    agent_of = script("agent").agent_of
    asked = argparse.Namespace(agent="openai:x", calls=7, usd=1.0, by_hand=None, model_seconds=None)
    assert agent_of("none", asked, None, tmp_path) is None
    independent = agent_of("independent", asked, None, tmp_path)
    assert json.loads((tmp_path / "schedule.yaml").read_text())["experiments"] == 0
    assert "leader" not in (tmp_path / "propose.md").read_text()
    assert independent.calls == 7 and independent.wait is True
