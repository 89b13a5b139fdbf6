"""The page: its policy, its pictures, what is escaped."""

import io
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from evoseg.drawing import ANSWER, TRUTH, SheetRow
from evoseg.operators.network import EXAMPLE_NETWORK
from evoseg.report import figures
from evoseg.report.figures import (
    answer_picture,
    difference_picture,
    image_picture,
    legible_gain,
    truth_picture,
    value_picture,
)
from evoseg.report.page import Chart, GalleryLine, Page, ProgramPart, ScoreLine, StepLine, html, save_page
from evoseg.report.text import describe_rank
from evoseg.runs.stored import FrontProgram

FILTERS = "def pipeline(image):\n    return level(channel(image), level=100)\n"
NASTY = 'a"><script>alert(1)</script>&'


@pytest.fixture
def row() -> SheetRow:
    truth, answer = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    truth[5:30, 5:30], answer[10:35, 10:40] = True, True
    return SheetRow(NASTY, np.full((40, 60, 3), 90, np.uint8), answer, truth, 0.4)


@pytest.fixture
def page(row) -> Page:
    history = [(1, 0.1, 0.2), (40, 1.0, 0.6)]
    steps = [StepLine("x", "Do.", "1 ms", [value_picture(row.answer, NASTY)])]
    return Page(
        title=NASTY,
        metric="IoU",
        scale="1 is perfect",
        by_pixel=True,
        pairs=False,
        in_short=["It works.", NASTY],
        answers=["accurate", NASTY],
        compared=[(NASTY, ["0.5", NASTY])],
        programs=[
            ProgramPart(NASTY, f"def pipeline(image): # {NASTY}", [NASTY], steps, {NASTY: NASTY}),
            ProgramPart("The other one", "def pipeline(image):", (), (), {}),
        ],
        scores=[ScoreLine("test images", 0.5, 3, "note"), ScoreLine("nothing", 0.0)],
        stem=NASTY,
        images=[image_picture(row.image, NASTY)],
        gallery=[GalleryLine(NASTY, "the worst", 0.1, (truth_picture(row),), (answer_picture(row),), NASTY)],
        charts=[Chart(NASTY, figures.progress_chart(history, NASTY), NASTY)],
        per_image=[(NASTY, 0.1)],
        facts=[(NASTY, NASTY)],
    )


class Reader(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_nothing_can_run_and_the_only_style_is_the_one_that_the_policy_names(page):
    text = html(page)
    found = Reader(text)
    policy = next(m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert f"style-src 'sha256-{b64encode(sha256(style[1].encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert found.all("script") == []
    assert not any("style" in attributes or "onload" in attributes for _, attributes in found.tags)
    assert "<script>" not in text
    outside = [a for _, attributes in found.tags for a in (attributes.get("src"), attributes.get("href")) if a]
    assert all(a.startswith(("data:", "#")) for a in outside)


def test_every_picture_decodes_and_says_what_it_shows(page):
    images = Reader(html(page)).all("img")
    assert len(images) == 5
    for image in images:
        assert image["alt"]
        assert pixels(image["src"] or "").shape[:2] == (int(image["height"] or 0), int(image["width"] or 0))


def test_links_lead_somewhere_and_headings_come_in_order(page):
    found = Reader(html(page))
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {a["href"][1:] for a in found.all("a") if a["href"]} <= ids
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(svg["aria-label"] for svg in found.all("svg"))


def test_the_difference_has_a_colour_for_each_case():
    truth, answer = np.zeros((200, 300), bool), np.zeros((200, 300), bool)
    truth[:100], answer[:, :150] = True, True
    known = np.ones_like(truth)
    known[150:, 200:] = False
    picture = difference_picture(SheetRow("a", truth, answer, truth), known)
    shown = pixels(picture.uri)
    h, w = shown.shape[:2]
    assert tuple(shown[h // 4, w // 4]) == (255, 255, 255)
    assert tuple(shown[h // 4, 3 * w // 4]) == TRUTH
    assert tuple(shown[h * 5 // 8, w // 4]) == ANSWER
    assert len({tuple(shown[r, c]) for r, c in ((h * 5 // 8, w * 5 // 8), (h - 2, w - 2))}) == 2
    assert "50 % of the ground truth missed" in picture.words
    everywhere = difference_picture(SheetRow("a", truth, np.ones_like(truth), truth), truth)
    assert "0 % of the ground truth missed, 0 % of the prediction false positive" in everywhere.words


def test_the_place_of_an_image_is_true_for_few_images():
    five = {"a": 0.2, "b": 0.4, "c": 0.5, "d": 0.6, "e": 0.95}
    assert [describe_rank(stem, five) for stem in "abe"] == [
        "the lowest of 5 scores", "near the median", "the highest of 5 scores",
    ]  # fmt: skip
    assert describe_rank("b", {f"{i}": i / 9 for i in range(1, 9)} | {"a": 0.0, "b": 0.12}) == "third lowest of 10"


def test_a_faint_plane_is_brightened_and_a_bright_one_is_not():
    faint = np.zeros((50, 50), np.uint8)
    faint[10:40, 10:40] = 25
    assert legible_gain(faint) == 10.2
    assert legible_gain(np.full((9, 9), 200, np.uint8)) == 1.0
    assert legible_gain(np.zeros((9, 9), np.uint8)) > 1
    assert pixels(value_picture(faint, "", 10.2).uri).max() > 250


def test_charts_hold_what_they_are_given():
    front = [FrontProgram(1, 0.8, 9, 12.0, "d", FILTERS), FrontProgram(2, 0.5, 3, 1.0, "e", FILTERS)]
    assert figures.front_chart(front, [(12.0, 0.8)], "IoU").count('class="dot"') == 2
    assert figures.front_chart(front, [], "IoU").count('class="ring"') == 0
    assert figures.scores_chart({"a": 0.1, "b<": 0.9}, (0.2, 0.8), "MCC").count("<title>") == 2
    assert figures.scores_chart({"a": -0.4}, None, "MCC").count('class="interval"') == 0
    assert "random 60 %" in figures.shares_chart({"random": 0.6, "vary": 0.4})
    assert figures.learning_chart([(1, 0.2), (4, 0.4)], "IoU", "masks").count('class="dot"') == 2
    assert "0.600 after 40" in figures.progress_chart([(1, 0.1, 0.2), (40, 1.0, 0.6)], "IoU")
    assert "1 evaluations" in figures.progress_chart([(1, 0.0, 0.0)], "IoU")


def test_programs_with_a_network_are_marked_and_their_costs_leave_room_for_the_others():
    network = f'def pipeline(image):\n    return network(image, weights="{EXAMPLE_NETWORK}", output="foreground")\n'
    front = [FrontProgram(1, 0.8, 1, 1000.0, "d", network), FrontProgram(2, 0.5, 3, 10.0, "e", FILTERS)]
    svg = figures.front_chart(front, [(1000.0, 0.8), (10.0, 0.5)], "IoU")
    assert (svg.count('class="dot"'), svg.count('class="network"'), svg.count('class="ring"')) == (1, 1, 2)
    assert "1000.0 ms per megapixel, with a network" in svg
    # Costs of 10 and 1000 on a logarithmic scale that begins and ends with them.
    assert [float(x) for x in re.findall(r'class="ring" cx="([\d.]+)"', svg)] == [620.0, 48.0]


def test_a_page_is_written_whole_whatever_the_names_are(page, tmp_path):
    save_page(page, tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text("utf-8") == html(page)
