"""Tracing stays off, even where the environment turns it on for everything else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from langchain_core.tracers.langchain import wait_for_all_tracers
from tests.llm.helpers import asking
from tests.llm.test_structured import ask
from os import environ

seen = []

class Traces(BaseHTTPRequestHandler):
    def do_POST(self):
        seen.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_PATCH = do_POST
    log_message = lambda *_: None

server = ThreadingHTTPServer(("127.0.0.1", 0), Traces)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name in ("LANGSMITH", "LANGCHAIN"):
    environ[f"{name}_ENDPOINT"] = f"http://127.0.0.1:{server.server_address[1]}"
with asking(["expert"]) as (asker, purse, _):
    ask(asker)
wait_for_all_tracers()
print(*(call.fault or "answered" for call in purse.calls.values()), len(seen))
"""


@pytest.mark.e2e
def test_no_trace_is_sent():
    on = dict.fromkeys(("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"), "true")
    env = {**os.environ, **on, "PYTHONPATH": str(ROOT), "LANGSMITH_API_KEY": "x", "LANGCHAIN_API_KEY": "x"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["answered", "0"], done.stderr
