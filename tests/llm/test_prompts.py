"""What the model is told, word by word. After a change that is meant: REWRITE=1 pytest tests/llm/test_prompts.py."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evoseg.datasets.dataset import Sample
from evoseg.evolve.image_stats import measure_images
from evoseg.llm.prompts import (
    DATA,
    MOST_CHARACTERS,
    data_card,
    messages,
    operators_text,
    per_image,
    program_text,
    quote_text,
)
from evoseg.operators import registry
from evoseg.pipeline import read_text
from tests.llm.helpers import ROLE_SET, SAMPLES, facts, pipeline

GOLDEN = Path(__file__).parent / "golden"
FEW = [registry.get(name) for name in ("plane", "gaussian", "threshold", "remove_small", "kernel", "reconstruct_mask")]
ONE = pipeline('a = plane(image, channel="R")', "b = gaussian(a, sigma=2)", "return threshold(b)")
TOLD = {
    "card": data_card({"title": "discs"}, SAMPLES, facts(), 3, {"name": "binary", "metric": "iou", "returns": "mask"}),
    "description": {"summary": "Discs.", "foreground": "bright discs", "cues": [], "difficulties": []},
    "similar": [program_text(ONE)],
    "operators": ["spread(gray plane, size=3..41) -> gray: Local range of grey levels."],
    "macros": ["def f(a):\n    return gaussian(a)"],
    "budget": {"calls_left": 12, "evaluations_left": 300, "rounds_left": 7},
    "leader": {"program": program_text(ONE), "score": 0.6, "held_out": 0.55, "held_out_per_image": {"img_001": 0.55}},
    "others": [{"name": "other1", "program": program_text(ONE), "score": 0.5, "better_than_the_leader_on": {}}],
    "last_round": {"outcomes": ["p1 discs: 0.580 (-0.020), held out 0.570 (+0.020)"]},
    "tried": ["p2 rings: failed: it ran out of memory"],
    "refused": ["q: line 2: unknown operator 'magic'"],
    "wanted": "nuclei",
    "choices": [{"task": "binary", "metrics": ["iou", "dice"]}],
    "shown": ["r1_1: img_001: image, leader's outlines, its errors"],
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
    _, user = messages(ROLE_SET.roles["propose"], ROLE_SET, FEW, TOLD, ())
    assert user.text.startswith(DATA)
    document = json.loads(user.text.removeprefix(DATA))
    assert set(document) == set(ROLE_SET.roles["propose"].inputs) - {"overview", "pictures"}
    _, user = messages(ROLE_SET.roles["propose"], ROLE_SET, FEW, {"card": {}, "tried": []}, ())
    assert json.loads(user.text.removeprefix(DATA)) == {}


def test_all_operators_fit_into_a_prompt_and_each_is_called_with_its_inputs():
    text = operators_text(registry.operators())
    names = re.findall(r"(?:\] |; )(\w+): ", text)
    long = {"add_curves", "add_curves4", "curve", "lookup", "kernel", "dilate_by", "erode_by", "mix"}
    assert sorted(names) == sorted({op.name for op in registry.operators()} - long)
    assert len(text) < 8000
    assert "(mask seed, mask limit) -> mask\n[] reconstruct_mask: Keep objects of limit that seed touches" in text
    assert "[sigma=0.5..50] gaussian: Smooth with Gaussian" in text
    assert "[radius=1..40] black_tophat: Keep only dark structures narrower than disk; close: Fill dark" in text


def test_what_is_shown_of_a_program_is_a_program():
    assert read_text(program_text(ONE)) == ONE


def test_of_many_images_the_worst_scores_are_shown():
    assert list(per_image(np.arange(40) / 40)) == [f"img_{i:03d}" for i in range(1, 17)]
    assert per_image(np.array([0.5, 0.25])) == {"img_001": 0.5, "img_002": 0.25}


def test_planes_that_are_the_same_are_listed_once():
    gray = [replace(s, image=s.image[:, :, :1].repeat(3, axis=2)) for s in SAMPLES]
    stats = measure_images([s.image for s in gray], equal_as_one=False)
    card = data_card({}, gray, stats, 3, TOLD["card"]["task"])
    figures = [tuple(abs(v) for k, v in p.items() if k != "plane") for p in card["planes"]]
    assert len(figures) == len(set(figures)) < 4


def test_a_card_says_where_objects_stand_out():
    card = TOLD["card"]
    assert card["said_of_it"] == {"title": "discs"} and card["images"] == 3
    assert 6 < card["objects"]["thickness_px"] < 14
    # Drawn with 60 more in red, 40 more in green and 30 less in blue.
    sign = {p["plane"]: p["objects_minus_rest"] for p in card["planes"]}
    assert sign['plane(image, channel="R")'] > 1 and sign['plane(image, channel="gray")'] > 0.5
    assert "disc_0" not in json.dumps(card)


def test_a_card_says_how_much_and_where_objects_are():
    few, many = np.zeros((100, 200), bool), np.zeros((100, 200), bool)
    few[10:20, 95:105] = True  # centre of row 14.5 and column 99.5
    many[80:90, 20:40] = many[80:90, 160:180] = True
    samples = [Sample(f"s{i}", np.zeros((100, 200, 1), np.uint8), mask, None) for i, mask in enumerate((few, many))]
    told = data_card({}, samples, measure_images([s.image for s in samples]), 2, {})["objects"]
    assert told["share_of_pixels_lowest_highest"] == [0.005, 0.02]
    lowest, middle, highest = told["centres_row_col_10_50_90_percent"]
    assert middle == [0.845, 0.497], "medians of rows 14.5, 84.5, 84.5 and columns 29.5, 99.5, 169.5, as shares"
    assert lowest[0] < 0.3 and highest[0] == 0.845 and lowest[1] < 0.25 and highest[1] > 0.75


def test_third_party_texts_are_cut_and_lose_control_characters():
    assert quote_text("a\x1b[31mb\x00c\nd") == "a [31mb c\nd"
    assert len(quote_text("x" * 9999)) == MOST_CHARACTERS + 1
