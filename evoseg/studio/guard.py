"""Who may talk to the studio: this machine's browser that was given the address with its token, and nothing else.

A page of another site can send requests to this machine, and with DNS rebinding even under a name of its own. So each
request must name this machine as its host, carry a cookie that only the opened address gives, and, if it changes
something, come from a page of the studio itself.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Any, final
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST = 4 * 2**20
"""Bytes that a request may send: a stroke of 20,000 points has 1 MB."""
LONGEST_ADDRESS = 4096

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
_UNLESS_SET = HEADERS | {"cache-control": "no-cache"}
"""Of what the application answers: without the last, a browser may mix scripts of two versions of evoseg."""
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-popups"
)
"""Of a report, which is a page of its own: it may show itself, and run nothing."""


@final
class Guard:
    """Lets requests through to an application, or answers them itself.

    Parameters
    ----------
    app : ASGI application
    port : int
        That the studio listens on.

    Attributes
    ----------
    token : str
        What the opened address ends in; new at each start.
    """

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self._key = secrets.token_bytes(32)
        self._cookie = f"evoseg-studio-{port}"
        self.token = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # there are none
            return
        headers = _single(scope)
        reason = self._refusal(scope, headers)
        if reason is not None:
            await _answer(send, *reason)
        elif scope["path"] == "/enter":
            await self._enter(scope, send)
        elif not self._is_known(headers.get("cookie", "")):
            await _answer(send, 401, "Open the studio by the address that `evoseg studio` has printed.")
        else:
            await self._app(scope, _bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return status and reason if a request is refused whoever sends it."""
        host = headers.get("host", "")
        if host not in self._hosts:
            return 421, "This server answers under 127.0.0.1 and localhost only."
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > LONGEST_ADDRESS:
            return 414, "The address is too long."
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "Requests from other sites are refused."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "Only GET and POST are answered."
        if scope["method"] == "POST":
            if headers.get("origin", "") != f"http://{host}":
                return 403, "Changes are made from the studio's own pages only."
            length = headers.get("content-length", "")
            if not length.isdecimal() or int(length) > LARGEST:
                return 413, f"A request may send up to {LARGEST >> 20} MB."
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return 415, "Only JSON is read."
        return None

    async def _enter(self, scope: Scope, send: Send) -> None:
        """Exchange the token for the cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            words = "This address is from an earlier start. Use the one that `evoseg studio` printed last."
            await _answer(send, 403, words)
            return
        name = secrets.token_urlsafe(16)
        cookie = f"{self._cookie}={name}.{self._signature(name)}; HttpOnly; SameSite=Strict; Path=/"
        await _answer(send, 303, "", [(b"location", b"/"), (b"set-cookie", cookie.encode())])

    def _is_known(self, header: str) -> bool:
        try:
            morsel = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return False
        name, _, signature = (morsel.value if morsel else "").partition(".")
        return bool(name) and hmac.compare_digest(signature.encode(), self._signature(name).encode())

    def _signature(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), sha256).hexdigest()


def _single(scope: Scope) -> dict[str, str]:
    """Return headers by name; one that is sent twice becomes a value that matches nothing."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _bounded(receive: Receive) -> Receive:
    """Pass a request's body on, but no more of it than may be sent, whatever its header says."""
    left = LARGEST

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return bounded


def _with_headers(send: Send) -> Send:
    """Add the headers of safety to what the application answers, unless it has set its own."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            extra = [(k.encode(), v.encode()) for k, v in _UNLESS_SET.items() if k.encode() not in present]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    lines = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"), *(headers or [])]
    lines += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": text.encode()})
