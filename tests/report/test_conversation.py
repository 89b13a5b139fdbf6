"""A conversation as people read it: each text once, with what became of each program."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evoseg.evolve.loop import Candidate
from evoseg.evolve.ports import Failed, Pruned, Scored
from evoseg.llm.calls import ANSWERED, MOST_PICTURE_BYTES, Call, compress_picture, open_calls, read_pictures
from evoseg.pipeline import read_text
from evoseg.report.conversation import conversation_text, read_conversation, write_conversation
from evoseg.runs.run_file import create_run, open_journal
from tests.runs.test_run_file import RUN

LONG = "\n".join(f"Rule {i}." for i in range(20))
PROGRAMS = [
    f"def pipeline(image):\n    a = channel(image, index=0)\n    return threshold(gaussian(a, sigma={s}))"
    for s in (1.0, 2.0, 3.0, 4.0)
]


def user(**document: object) -> dict[str, object]:
    return {"role": "user", "text": f"Data follow.\n\n{json.dumps(document, indent=1)}"}


def reply(*programs: str) -> str:
    text = json.dumps({"programs": [{"name": f"p{i}", "idea": "why", "program": p} for i, p in enumerate(programs)]})
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def candidate(evaluation, request: int) -> Candidate:
    return Candidate(evaluation, "agent", (), request, 1, 7, "", 1.0)


@pytest.fixture
def folder(tmp_path) -> Path:
    create_run(tmp_path, RUN)
    pipelines = [read_text(program) for program in PROGRAMS]
    scored = Scored(pipelines[0], np.zeros((2, 4)), np.full(2, 0.5), np.full(2, 0.5))
    with open_journal(tmp_path, write=True) as journal:
        journal.add_candidates(
            [candidate(e, 1) for e in (scored, Pruned(pipelines[1], 0.25), Failed(pipelines[2], "too slow"))]
        )
    best = {"program": PROGRAMS[0], "score": 0.5}
    system = {"role": "system", "text": LONG}
    calls = [
        Call(1, 1, "propose", "text", [system, user(card={"images": 3})], "now", ANSWERED, reply(*PROGRAMS)),
        Call(2, 2, "propose", "text", [system, user(card={"images": 3}, best=best)], "now", "failed", "", "rate"),
    ]
    with open_calls(tmp_path) as log:
        for call in calls:
            log.write(call)
    return tmp_path


def test_each_text_is_shown_once(folder):
    first, second = read_conversation(str(folder)).turns
    assert [(part.title, part.text) for part in first.told] == [("instructions", LONG), ("card", "images: 3")]
    assert second.told[0].text == "[20 lines as before]" and second.unchanged == ["card"]
    assert second.told[1].title == "best" and "score: 0.5" in second.told[1].text
    assert "failed (rate)" in second.figures


def test_programs_are_shown_with_what_became_of_them(folder):
    proposals = read_conversation(str(folder)).turns[0].proposals
    assert [one.program for one in proposals] == PROGRAMS
    assert [one.outcome for one in proposals] == [
        "candidate 7: score 0.500",
        "pruned: score 0.250 on a few images",
        "failed: too slow",
        "not evaluated: it was refused, known already, or came too late",
    ]


def test_each_kind_of_proposal_is_shown(folder):
    answer = {
        "findings": "soft edges",
        "plane_lists": [{"name": "cues", "idea": "i", "planes": ["channel(image)", "gaussian(channel(image))"]}],
        "edits": [{"name": "wider", "of": "p1", "replace": "gaussian_1", "by": "median(channel_1)"}],
        "operators": [{"name": "spread", "source": "def operator(plane):\n    return plane"}],
        "programs": [{"name": "both", "program": "mask_or(p1(image), p2(image))"}],
        "experiments": [],
    }
    body = json.dumps({"choices": [{"message": {"content": json.dumps(answer)}, "finish_reason": "stop"}]})
    with open_calls(folder) as log:
        log.write(Call(3, 3, "propose", "text", [], "now", ANSWERED, body))
    turn = read_conversation(str(folder)).turns[-1]
    assert turn.answer == "findings: soft edges"
    assert [(one.name, one.program.splitlines()[0], one.outcome) for one in turn.proposals] == [
        ("cues", "channel(image)", ""),
        ("wider", "in p1: gaussian_1", ""),
        ("spread", "def operator(plane):", ""),
        ("both", "mask_or(p1(image), p2(image))", ""),
    ]


def test_the_text_has_no_control_characters_and_no_endless_lines(folder):
    with open_calls(folder) as log:
        log.write(Call(3, 3, "critique", "text", [{"role": "system", "text": f"\x1b[31m{'x' * 9999}"}], "now"))
    text = conversation_text(read_conversation(str(folder)))
    assert "\x1b" not in text and max(map(len, text.splitlines())) < 300


@pytest.mark.parametrize("body", ["", "no json", "[1]", '{"programs": 3}', '{"programs": [3]}', "[" * 9999])
def test_any_answer_can_be_shown(folder, body):
    with open_calls(folder) as log:
        log.write(Call(3, 3, "propose", "text", [{"role": "user", "text": body}], "now", ANSWERED, body))
    assert "=== call 3, round 3: propose" in conversation_text(read_conversation(str(folder)))


def test_a_run_without_calls_says_so(tmp_path):
    create_run(tmp_path, RUN)
    assert conversation_text(read_conversation(str(tmp_path))) == "This run asked no language model."


def picture(seed: int, side: int = 64) -> str:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def test_the_page_has_the_pictures_that_were_stored_and_escapes_the_rest(folder, tmp_path):
    with open_calls(folder) as log:
        digest = log.keep_picture(compress_picture(picture(1)))
        assert log.keep_picture(compress_picture(picture(1))) == digest
        message = {"role": "user", "text": "<script>\n[picture, 3 kB]", "pictures": [digest, ""]}
        for number in (3, 4):
            log.write(Call(number, 3, "propose", "text", [message], "now"))
    (stored,) = read_pictures(folder).values()
    assert Image.open(io.BytesIO(stored)).format == "JPEG"
    html = write_conversation(str(folder), tmp_path / "talk.html").read_text()
    assert html.count("<img") == 1 and "pictures as before: 1" in html
    assert html.count("a picture that was not stored") == 2
    assert "<script" not in html and "[picture" not in html


def test_stored_pictures_are_small_and_limited(folder):
    large = compress_picture(picture(2, side=2000))
    assert max(Image.open(io.BytesIO(large)).size) == 1600
    with open_calls(folder) as log:
        digests = [log.keep_picture(bytes([i]) * (MOST_PICTURE_BYTES // 3)) for i in range(4)]
    assert [bool(digest) for digest in digests] == [True, True, True, False]


def test_what_is_no_picture_is_not_stored():
    assert compress_picture("data:image/png;base64,AAAA") == b"" and compress_picture("!") == b""
