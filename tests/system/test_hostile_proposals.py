"""A language model a third of whose operators are hostile: the search ends as if these had been refused unseen.

The checks of the source have nothing against them, so that it is the sandbox that stops each.
"""

import json
from pathlib import Path

import pytest

import evoseg
from evoseg.api import replay
from evoseg.runs.code_files import ConsentError
from evoseg.sandbox.code import lint
from tests.llm_server import ACTS, Server
from tests.runs.test_code_files import forget_all
from tests.sandbox.conftest import skip_without_landlock
from tests.sandbox.test_hostile import canaries
from tests.system.test_python_operators import data, folder_of, history

HEAD = "import numpy as np\n\n\ndef operator(plane) -> Gray:\n"
HOSTILE = (
    "    libc = np.ctypeslib.ctypes.CDLL(None)\n    libc.open(b'/tmp/evoseg-canary', 65, 384)\n    return plane[1:]\n",
    "    libc = np.ctypeslib.ctypes.CDLL(None)\n    libc.kill(-1, 9)\n    libc.fork()\n    return None\n",
    "    while True:\n        pass\n",
    "    return np.ones((10**5, 10**5))\n",
    "    return np.full(plane.shape, np.nan)\n",
    "    return np.full(plane.shape, None, object)\n",
    "    np.ctypeslib.ctypes.string_at(0)\n    return plane\n",
)
HONEST = (
    "    rows = np.abs(np.diff(plane.astype(float), axis=0, append=0))\n    return np.minimum(rows * {n}, 255) / 255\n",
    "    return np.abs(plane - plane.mean()) / 255 / {n}\n",
)
REFUSED = "    return open('x')\n"
"""What the check of the source refuses, so that it never runs."""


def proposing(third: tuple[str, ...]):
    """Return an act: in round n, two honest operators, one of `third`, and programs that use the honest ones."""
    rounds = 0

    def act(handler, request) -> None:
        nonlocal rounds
        if "Answer with: `summary`" in str(request["messages"][0]["content"]):
            return ACTS["expert"](handler, request)
        if "Not all of that can be used" in json.dumps(request["messages"][-1]):
            calls = [f"threshold(honest_{rounds}_{i}(channel(image)))" for i in range(2)]
            listed = [{"name": f"p{i}", "idea": "", "program": call} for i, call in enumerate(calls)]
            return handler.say(request, json.dumps({"programs": listed}))
        rounds += 1
        sources = {f"honest_{rounds}_{i}": HEAD + body.format(n=rounds) for i, body in enumerate(HONEST)}
        sources[f"third_{rounds}"] = HEAD + third[(rounds - 1) % len(third)]
        operators = [{"name": name, "source": source} for name, source in sources.items()]
        return handler.say(request, json.dumps({"operators": operators}))

    return act


def search(out: Path, monkeypatch, third: tuple[str, ...]) -> evoseg.SearchResult:
    monkeypatch.setitem(ACTS, "operators", proposing(third))
    with Server(["operators"]) as server:
        return evoseg.search(
            data(),
            task="binary",
            evaluations=150,
            workers=0,
            goal=evoseg.Goal(networks=False),
            agent=evoseg.Agent("openai:scripted", base_url=server.url, calls=2 * len(HOSTILE) + 1),
            library="none",
            out=out,
            report=False,
        )


@pytest.mark.e2e
def test_hostile_proposals_of_a_model_change_nothing(tmp_path, monkeypatch):
    skip_without_landlock()
    assert not any(lint(HEAD + body) for body in HOSTILE) and lint(HEAD + REFUSED)
    attacked = search(tmp_path / "attacked", monkeypatch, HOSTILE)
    spared = search(tmp_path / "spared", monkeypatch, (REFUSED,))
    assert history(folder_of(attacked)) == history(folder_of(spared)) and attacked.pipeline == spared.pipeline
    told = [found.to_json()["llm"] for found in (attacked, spared)]
    assert told[0]["refused"] == told[1]["refused"] >= 3
    honest = {path.read_text() for path in (folder_of(attacked) / "code").iterdir()}
    assert honest and not any(body in source for source in honest for body in HOSTILE)
    assert replay(folder_of(attacked), data()).difference is None
    assert canaries() == []
    # To somebody else, what a model wrote is code of another person.
    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path / "another home"))
    forget_all()
    with pytest.raises(ConsentError, match="not from a search of yours"):
        replay(folder_of(attacked), data())
    assert replay(folder_of(attacked), data(), allow_code=True).difference is None
