"""What the model is told, word by word. After a change that is meant: REWRITE=1 pytest tests/llm/test_prompts.py."""

import json
import os
from pathlib import Path

import pytest

from evoseg.llm.prompts import (
    DATA,
    MOST_CHARACTERS,
    data_card,
    describe_parent,
    messages,
    operators_text,
    program_text,
    quote_text,
)
from evoseg.operators import registry
from evoseg.pipeline import read_text
from tests.llm.helpers import ROLE_SET, SAMPLES, facts, pipeline, scored

GOLDEN = Path(__file__).parent / "golden"
FEW = [registry.get(name) for name in ("plane", "gaussian", "threshold", "remove_small", "kernel", "mask_or")]
ONE = pipeline('a = plane(image, channel="R")', "b = gaussian(a, sigma=2)", "return threshold(b)")
TOLD = {
    "card": data_card({"title": "discs"}, SAMPLES, facts(), 3, {"name": "binary", "metric": "iou", "returns": "mask"}),
    "description": {"summary": "Discs.", "foreground": "bright discs", "cues": [], "difficulties": []},
    "parents": [describe_parent(scored(ONE, 0.5, 0.7, 0.6))],
    "best": describe_parent(scored(ONE, 0.5, 0.7, 0.6)),
    "tried": [{"name": "p", "program": program_text(ONE), "score": 0.6}],
    "refused": [{"name": "q", "reason": "line 2: unknown operator 'magic'"}],
    "critique": {"findings": ["misses small discs"], "advice": []},
    "macros": ["def f(a):\n    return gaussian(a)"],
    "similar": [program_text(ONE)],
    "wanted": "nuclei",
    "choices": [{"task": "binary", "metrics": ["iou", "dice"]}],
}


def told(name: str) -> str:
    system, user = messages(ROLE_SET.roles[name], ROLE_SET, FEW, TOLD, ["data:image/png;base64,AA=="])
    parts = [system.text, user.text, f"pictures: {len(user.pictures)}"]
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("name", sorted(ROLE_SET.roles))
def test_a_role_is_told_what_it_was_when_somebody_last_looked(name):
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("REWRITE"):
        file.write_text(told(name), "utf-8")
    assert told(name) == file.read_text("utf-8")


def test_the_data_are_one_document_of_what_the_role_lists():
    _, user = messages(ROLE_SET.roles["evolve"], ROLE_SET, FEW, TOLD, ())
    assert user.text.startswith(DATA)
    document = json.loads(user.text.removeprefix(DATA))
    assert set(document) == set(ROLE_SET.roles["evolve"].inputs) - {"pictures"}
    _, user = messages(ROLE_SET.roles["evolve"], ROLE_SET, FEW, {"card": {}, "tried": []}, ())
    assert json.loads(user.text.removeprefix(DATA)) == {}


def test_all_operators_fit_into_a_prompt_and_each_is_named():
    text = operators_text(registry.operators())
    assert all(f"  {op.name}(" in text for op in registry.operators())
    assert len(text) < 20_000


def test_what_is_shown_of_a_program_is_a_program():
    assert read_text(program_text(ONE)) == ONE


def test_of_many_images_the_worst_scores_are_shown():
    parent = describe_parent(scored(ONE, *(i / 40 for i in range(40))))
    assert list(parent["score_per_image"]) == [f"img_{i:03d}" for i in range(1, 17)]


def test_a_card_says_where_objects_stand_out():
    card = TOLD["card"]
    assert card["said_of_it"] == {"title": "discs"} and card["images"] == 3
    assert 6 < card["objects"]["thickness_px"] < 14
    # Drawn with 60 more in red, 40 more in green and 30 less in blue.
    sign = {p["plane"]: p["objects_minus_rest"] for p in card["planes"]}
    assert sign['plane(image, channel="R")'] > 1 and sign['plane(image, channel="B")'] < -0.5
    assert "disc_0" not in json.dumps(card)


def test_third_party_texts_are_cut_and_lose_control_characters():
    assert quote_text("a\x1b[31mb\x00c\nd") == "a [31mb c\nd"
    assert len(quote_text("x" * 9999)) == MOST_CHARACTERS + 1
