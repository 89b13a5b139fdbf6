"""An endpoint whose answers a person writes."""

import json
import threading
import time
from pathlib import Path

from evoseg.llm.client import Message
from tests.llm.helpers import ROLE_SET, asking, parser, pipeline

ANSWER = json.dumps({"programs": [{"name": "mine", "idea": "", "program": "otsu(channel(image))"}]})


def answer_when_asked(folder: Path, text: str) -> None:
    for _ in range(200):
        if (folder / "prompt.txt").exists():
            (folder / "answer.json").write_text(text, "utf-8")
            return
        time.sleep(0.05)


def test_a_request_becomes_a_folder_and_an_answer_is_a_file_in_it(tmp_path, capsys):
    (tmp_path / "0006").mkdir()  # of an earlier server
    with asking(["by hand"], folder=tmp_path) as (client, _, _):
        hand = threading.Thread(target=answer_when_asked, args=(tmp_path / "0007", ANSWER))
        hand.start()
        read = parser()
        said = [Message("system", "Propose."), Message("user", "data", ("data:image/jpeg;base64,AAEC",))]
        client.ask(1, ROLE_SET.roles["propose"], said, read.review)
        hand.join()
    assert [one.pipeline for one in read.accepted] == [pipeline("return otsu(channel(image))")]
    prompt = (tmp_path / "0007" / "prompt.txt").read_text("utf-8")
    assert prompt == "===== system\nPropose.\n===== user\ndata\n[picture_1.jpg]"
    assert (tmp_path / "0007" / "picture_1.jpg").read_bytes() == bytes([0, 1, 2])
    assert "programs" in (tmp_path / "0007" / "schema.json").read_text("utf-8")
    assert "sk-canary" not in prompt and "0007" in capsys.readouterr().err
