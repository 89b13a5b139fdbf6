"""1,000 connections at a time to a running studio: each is answered, and only its own browser gets anything."""

import asyncio
import json
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.studio.conftest import StudioProcess

N = 1000
SECRET = "outside the folder"


@pytest.fixture
def studio(folder, tmp_path):
    (tmp_path / "secret.txt").write_text(SECRET)
    studio = StudioProcess(folder, tmp_path / "home")
    yield studio
    if studio.process.poll() is None:
        studio.end()


def enter(studio: StudioProcess) -> tuple[str, list[str]]:
    """Return the cookie of a browser that was let in, and the ids of the images."""
    cookies = HTTPCookieProcessor()
    opener = build_opener(cookies)
    opener.open(studio.address).close()
    with opener.open(f"http://127.0.0.1:{studio.port}/api/project") as answer:
        images = json.load(answer)["images"]
    (cookie,) = cookies.cookiejar
    return f"{cookie.name}={cookie.value}", [image["id"] for image in images]


def requests(port: int, cookie: str, keys: list[str]) -> list[tuple[int, bytes]]:
    """Return statuses to expect, and requests, in turn from the studio's own browser and from others."""
    host, own = f"Host: 127.0.0.1:{port}", f"Cookie: {cookie}"
    edit = {"tool": "brush", "label": 1, "radius": 2, "points": [[4, 5]]}

    def get(path: str, *headers: str) -> bytes:
        return "\r\n".join([f"GET {path} HTTP/1.1", *headers, "Connection: close", "", ""]).encode()

    def post(name: str, key: str, *headers: str) -> bytes:
        body = json.dumps(edit | {"id": name})
        lines = [f"POST /api/images/{key}/edits HTTP/1.1", *headers, "Content-Type: application/json"]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", body]).encode()

    def made(i: int) -> list[tuple[int, bytes]]:
        key = keys[i % len(keys)]
        return [
            (200, get(f"/api/images/{key}/tiles/0/0/0.png", host, own)),
            (200, get("/api/project", host, own)),
            (200, get("/static/main.js", host, own)),
            (200, post(f"own-{i}", key, host, own, f"Origin: http://127.0.0.1:{port}")),
            (421, get("/api/project", f"Host: evil.example:{port}", own)),
            (401, get(f"/api/images/{key}/tiles/0/0/0.png", host)),
            (403, post(f"foreign-{i}", key, host, own, "Origin: http://evil.example")),
            (403, get("/api/project", host, own, "Sec-Fetch-Site: cross-site")),
            (404, get("/static/../../../../secret.txt", host, own)),
            (404, get("/static/%2e%2e/%2e%2e/server.py", host, own)),
        ]

    return [request for i in range(N // 10) for request in made(i)]


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.e2e
def test_a_thousand_requests_at_a_time_are_answered(studio, folder):
    cookie, keys = enter(studio)
    asked = requests(studio.port, cookie, keys)

    async def ask_all() -> list[bytes]:
        return await asyncio.wait_for(asyncio.gather(*(ask(studio.port, request) for _, request in asked)), 300)

    answers = asyncio.run(ask_all())
    assert [int(answer.split()[1]) for answer in answers] == [status for status, _ in asked]
    for (status, _), answer in zip(asked, answers, strict=True):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"access-control" not in head.lower() and SECRET.encode() not in answer
        assert status == 200 or (len(body) < 100 and not any(key.encode() in body for key in keys))
    # Each allowed stroke was taken once, no other, and the studio goes on.
    history = "".join(path.read_text() for path in (folder / ".evoseg" / "strokes").iterdir())
    assert all(history.count(f'"own-{i}"') == 1 for i in range(N // 10)) and "foreign" not in history
    assert studio.process.poll() is None and enter(studio)[1] == keys
