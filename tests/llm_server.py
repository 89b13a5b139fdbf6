"""A scripted endpoint that speaks chat completions on loopback, for tests and for people.

    python -m tests.llm_server --port 8377
    evoseg search DATASET --agent openai:scripted --base-url http://127.0.0.1:8377/v1

It answers from a script: a list of acts, one per request, of which the last goes on for ever. `expert` reads the data
card and writes sensible programs by rules; the other acts misbehave (`--list` names them). `--script a,b,c` gives the
acts, `--latency S` the time that each answer takes. With `--folder DIR` a person is the model: each request becomes a
folder DIR/0001, 0002, ... with prompt.txt, schema.json and its pictures, and is answered by a file answer.json in it.
"""

import argparse
import json
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.llm_expert import data_of, expert

PATIENCE_S = 60.0
"""Longest that a hanging or dripping answer lasts."""


class Server:
    """A server in a thread of this process.

    Parameters
    ----------
    acts : sequence of str
        What happens at each request; the last one goes on.
    port : int
        0 for any.
    latency_s : float, s
    folder : Path, optional
        Where a person finds requests and leaves answers; for the act "by hand".
    """

    def __init__(
        self, acts: Sequence[str] = ("expert",), port: int = 0, latency_s: float = 0.0, folder: Path | None = None
    ) -> None:
        self.folder = folder
        self.acts = list(acts)
        for act in self.acts:
            if act not in ACTS:
                raise ValueError(f"there is no act {act}; known are {', '.join(sorted(ACTS))}")
        self.latency_s = latency_s
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port; idempotent."""
        if not self.closing.is_set():
            self.closing.set()
            self._http.shutdown()
            self._http.server_close()

    def write_request(self, request: dict[str, Any]) -> Path:
        """Write a request into a folder of its own, for a person to read, and return the folder."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            last = max((int(path.name) for path in self.folder.iterdir() if path.name.isdigit()), default=0)
            place = self.folder / f"{last + 1:04d}"
            place.mkdir()
        said, n_pictures = [], 0
        for message in request["messages"]:
            said.append(f"===== {message['role']}")
            parts = message["content"]
            for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
                if part["type"] == "text":
                    said.append(part["text"])
                    continue
                n_pictures += 1
                head, _, data = part["image_url"]["url"].partition(",")
                name = f"picture_{n_pictures}.{'jpg' if 'jpeg' in head else 'png'}"
                (place / name).write_bytes(b64decode(data))
                said.append(f"[{name}]")
        schema = request.get("response_format") or request.get("tools") or "any text with JSON in it"
        (place / "schema.json").write_text(json.dumps(schema, indent=1), "utf-8")
        (place / "prompt.txt").write_text("\n".join(said), "utf-8")
        print(f"request {place}: write {place / ANSWER}", file=sys.stderr, flush=True)
        return place

    def act(self, request: dict[str, Any], key: str) -> str:
        """Note a request and return the name of what happens now."""
        with self._lock:
            self.requests.append(request)
            self.keys.append(key)
            return self.acts[min(len(self.requests), len(self.acts)) - 1]


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = self.owner.act(request, self.headers.get("authorization", ""))
        self.owner.closing.wait(self.owner.latency_s)
        try:
            ACTS[name](self, request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has had enough

    def log_message(self, *_: object) -> None:
        """Say nothing: stderr belongs to whoever tests."""

    def reply(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status: int, code: str, **headers: str) -> None:
        """Send an error as OpenAI does."""
        error = {"message": f"{code}, says the script", "type": code, "code": code}
        self.reply(json.dumps({"error": error}).encode(), status, **headers)

    def say(self, request: dict[str, Any], text: str, **changes: Any) -> None:
        """Send a completion in the form that was asked for."""
        self.reply(json.dumps(completion(request, text) | changes).encode())


def completion(request: dict[str, Any], text: str, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """Return a chat completion; a text that was asked for as a tool call becomes one."""
    said: dict[str, Any] = {"role": "assistant", "content": text}
    if request.get("tools"):
        function = {"name": request["tools"][0]["function"]["name"], "arguments": text}
        said |= {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    elif not request.get("response_format") and text.startswith("{"):
        said["content"] = f"Here it is:\n```json\n{text}\n```\n"
    n_bytes = len(json.dumps(request["messages"]))
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": said | message, "finish_reason": finish, "logprobs": None}],
        "usage": {
            "prompt_tokens": n_bytes // 4,
            "completion_tokens": len(text) // 4,
            "total_tokens": n_bytes // 4 + len(text) // 4,
        },
    }


def programs(*texts: str) -> str:
    """Return an answer with programs."""
    return json.dumps({"programs": [{"name": f"p{i}", "idea": "", "program": t} for i, t in enumerate(texts)]})


def _expert(handler: _Handler, request: dict[str, Any]) -> None:
    handler.say(request, expert(request))


def _only_text(handler: _Handler, request: dict[str, Any]) -> None:
    if request.get("response_format") or request.get("tools"):
        handler.error(400, "response_format and tools are not supported")
    else:
        _expert(handler, request)


def _only_tools(handler: _Handler, request: dict[str, Any]) -> None:
    if request.get("response_format"):
        handler.error(400, "response_format is not supported")
    else:
        _expert(handler, request)


def _hang(handler: _Handler, request: dict[str, Any]) -> None:
    handler.owner.closing.wait(PATIENCE_S)
    handler.close_connection = True


def _drip(handler: _Handler, request: dict[str, Any]) -> None:
    body = json.dumps(completion(request, expert(request))).encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    until = time.monotonic() + PATIENCE_S
    for i in range(len(body)):
        handler.wfile.write(body[i : i + 1])
        handler.wfile.flush()
        if handler.owner.closing.wait(0.05) or time.monotonic() > until:
            break
    handler.close_connection = True


def _cut(handler: _Handler, request: dict[str, Any]) -> None:
    body = json.dumps(completion(request, expert(request))).encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def _huge(handler: _Handler, request: dict[str, Any]) -> None:
    size = 50 * 2**20
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(size))
    handler.end_headers()
    for _ in range(size // 2**16):
        handler.wfile.write(b" " * 2**16)


def _packed(handler: _Handler, request: dict[str, Any]) -> None:
    import gzip

    body = gzip.compress(json.dumps(completion(request, expert(request))).encode())
    handler.reply(body, content_encoding="gzip")


def _echo_key(handler: _Handler, request: dict[str, Any]) -> None:
    key = handler.headers.get("authorization", "").removeprefix("Bearer ")
    text = programs(f"def pipeline(image):\n    return {key}(image)")
    handler.say(request, text, model=key)


def _echo(handler: _Handler, request: dict[str, Any]) -> None:
    told = json.dumps(request["messages"][-1]["content"])[:15_000]
    handler.say(request, programs(told, "def pipeline(image):\n    import os\n    return os.system(image)"))


def _says(text: str | Callable[[dict[str, Any]], str], **changes: Any) -> Callable[..., None]:
    def act(handler: _Handler, request: dict[str, Any]) -> None:
        handler.say(request, text if isinstance(text, str) else text(request), **changes)

    return act


def _ends(finish: str, **message: Any) -> Callable[..., None]:
    def act(handler: _Handler, request: dict[str, Any]) -> None:
        text = expert(request)
        text = text[: len(text) // 2] if finish == "length" else text
        handler.reply(json.dumps(completion(request, text, finish, **message)).encode())

    return act


def _fails(status: int, code: str, **headers: str) -> Callable[..., None]:
    return lambda handler, request: handler.error(status, code, **headers)


OPERATOR = '''
import numpy as np
from scipy import ndimage


def operator(plane: Gray, *, size: Annotated[int, Range(3, 41, unit="px", odd=True)] = 9) -> Gray:
    """Local range of grey levels, against the whole scale."""
    x = plane.astype(np.float32)
    return (ndimage.maximum_filter(x, size) - ndimage.minimum_filter(x, size)) / 255
'''
"""An operator that a model might write."""


def _explore(handler: _Handler, request: dict[str, Any]) -> None:
    """Write an operator and make experiments with it in the first round; then propose in every way there is."""
    if "Answer with: `summary`" in str(request["messages"][0]["content"]):
        return _expert(handler, request)
    gray = "channel(image)"
    if "What came of the experiments" in json.dumps(request["messages"]):
        return handler.say(
            request,
            json.dumps(
                {
                    "findings": "soft objects are missed",
                    "plane_lists": [
                        {"name": "cues", "idea": "", "planes": [gray, f"spread({gray})", f"gaussian({gray})"]}
                    ],
                    "edits": [
                        {
                            "name": "edit",
                            "idea": "",
                            "of": "leader",
                            "replace": "return",
                            "by": "open_mask(leader(image))",
                        }
                    ],
                    "programs": [{"name": "own", "idea": "", "program": f"threshold(spread({gray}, size=5))"}],
                }
            ),
        )
    told = data_of(request)
    answer: dict[str, Any] = {
        "experiments": [
            {"kind": "try", "program": f"threshold(spread({gray}))"},
            {"kind": "try", "planes": [gray, f"spread({gray})"]},
            {"kind": "stats", "program": f"spread({gray}, size=7)"},
            {"kind": "show", "image": "img_001", "program": "leader(image)", "window": [2, 3, 20, 30]},
        ]
    }
    if not told.get("operators"):
        answer["operators"] = [{"name": "spread", "source": OPERATOR}]
    return handler.say(request, json.dumps(answer))


def _try_first(handler: _Handler, request: dict[str, Any]) -> None:
    """Try a program before proposing it."""
    content = request["messages"][-1]["content"]
    if "Answer with: `summary`" in str(request["messages"][0]["content"]):
        return _expert(handler, request)
    if str(content).startswith("What came"):
        return handler.say(request, programs("fill_holes(threshold(gaussian(channel(image))))"))
    tried = {"kind": "try", "program": "threshold(gaussian(channel(image), sigma=3))"}
    return handler.say(request, json.dumps({"experiments": [tried]}))


ANSWER = "answer.json"


def _by_hand(handler: _Handler, request: dict[str, Any]) -> None:
    """Put a request into a folder and wait until somebody has put an answer beside it."""
    place = handler.owner.write_request(request)
    before = -1
    while not handler.owner.closing.wait(0.3):
        answer = place / ANSWER
        size = answer.stat().st_size if answer.exists() else -1
        if size > 0 and size == before:  # it is not being written any more
            return handler.say(request, answer.read_text("utf-8"))
        before = size
    handler.close_connection = True
    return None


MACRO = "def spots(a):\n    return white_tophat(a, radius=4)"

ACTS: dict[str, Callable[..., None]] = {
    "expert": _expert,
    "by hand": _by_hand,
    "explorer": _explore,
    "trier": _try_first,
    "macro": _says(programs(f"{MACRO}\n\ndef pipeline(image):\n    return threshold(spots(channel(image)))")),
    "only text": _only_text,
    "only tools": _only_tools,
    "401": _fails(401, "invalid_api_key"),
    "404": _fails(404, "model_not_found"),
    "429": _fails(429, "rate_limit_exceeded", retry_after="0"),
    "429 hour": _fails(429, "rate_limit_exceeded", retry_after="3600"),
    "429 quota": _fails(429, "insufficient_quota"),
    "500": _fails(500, "server_error"),
    "hang": _hang,
    "drip": _drip,
    "cut body": _cut,
    "html": lambda handler, request: handler.reply(b"<html><body>Welcome!</body></html>", kind="text/html"),
    "broken json": lambda handler, request: handler.reply(b'{"choices": [{"message": {"content": "'),
    "no choices": _says("{}", choices=[]),
    "other json": lambda handler, request: handler.reply(b'{"weather": "fine"}'),
    "wrong schema": _says('{"pipelines": ["threshold"]}'),
    "prose": _says("I would try a threshold."),
    "refusal": _ends("stop", refusal="I cannot help with that.", content=None),
    "length": _ends("length"),
    "empty": _ends("stop", content=None, tool_calls=None),
    "50 MB": _huge,
    "packed": _packed,
    "lies about tokens": lambda handler, request: handler.say(
        request,
        expert(request),
        usage={"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 2 * 10**12},
    ),
    "no usage": lambda handler, request: handler.say(request, expert(request), usage=None),
    "invalid program": _says(programs("def pipeline(image):\n    return threshold(image)")),
    "unknown operator": _says(programs("def pipeline(image):\n    return magic(plane(image))")),
    "injection": _echo,
    "key": _echo_key,
}
"""What can happen at a request."""


def main() -> int:
    """Serve until somebody presses Ctrl-C."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--port", type=int, default=8377)
    ask.add_argument("--script", default="expert")
    ask.add_argument("--latency", type=float, default=0.0)
    ask.add_argument("--folder", type=Path)
    ask.add_argument("--list", action="store_true")
    asked = ask.parse_args()
    if asked.list:
        print("\n".join(ACTS))
        return 0
    script = "by hand" if asked.folder else asked.script
    with Server([act.strip() for act in script.split(",")], asked.port, asked.latency, asked.folder) as server:
        print(f"{server.url} answers: {', '.join(server.acts)}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            print(f"{len(server.requests)} requests", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
