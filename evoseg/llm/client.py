"""One endpoint that speaks chat completions: a request goes out, within a deadline and a size the body comes back.

LangChain sends. What is read, judged and written down is the body as it came, since that is also all that a resumed
run has. Clients of the model providers limit only the silence between two reads, retry by themselves and take bodies
of any size; so the deadline, the retries and the size are kept here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import ip_address
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from evoseg.base.errors import MissingPackageError, SettingsError, unknown
from evoseg.llm.answers import Answer, strict_schema

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 20
"""Of a reply's body."""
FORMS = ("json_schema", "tool", "text")
"""How a structured answer is asked for, the strictest first."""
TOOL = "answer"
INTERRUPTED = "interrupted"
"""The fault of a call that nobody wanted an answer to any more."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is.

    Attributes
    ----------
    model : str
    base_url : str or None
        None for OpenAI's own.
    key : str
        Never printed, written or handed on.
    """

    model: str
    base_url: str | None = None
    key: str = field(default="", repr=False)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, so that nothing sent to it passes through a network."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def endpoint(agent: str, base_url: str | None, key: str) -> Endpoint:
    """Return the endpoint that a user named.

    Parameters
    ----------
    agent : str
        "openai:MODEL", for OpenAI and whatever speaks its chat completions.

    Raises
    ------
    SettingsError
        If a name, the address or the key will not do.
    """
    provider, _, model = agent.partition(":")
    if provider != "openai" or not model:
        hint = unknown("provider", provider, ["openai"]) if model else "a model is named like openai:MODEL."
        raise SettingsError(f"agent is '{agent}'; {hint}")
    if base_url is not None:
        try:
            parts = urlsplit(base_url)
        except ValueError as error:
            raise SettingsError(f"base_url is '{base_url}', which is no address ({error}).") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"base_url is '{base_url}'; it must begin with https:// or http://.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise SettingsError("base_url holds more than an address; keys belong into the environment.")
        if parts.scheme == "http" and not is_loopback(parts.hostname) and key:
            raise SettingsError(
                f"base_url is '{base_url}': the key in the environment would travel in the clear. Use https, or unset "
                "the key."
            )
    elif not key:
        raise SettingsError("there is no key: set OPENAI_API_KEY in the environment, or name an endpoint by base_url.")
    return Endpoint(model, base_url, key)


@dataclass
class Exchange:
    """What came back.

    Attributes
    ----------
    status : int
        0 if nothing came.
    body : str
        Without the key, should the endpoint repeat it.
    retry_after_s : float or None, s
    fault : str
        "" for a body with status 200.
    seconds : float, s
    """

    status: int = 0
    body: str = ""
    retry_after_s: float | None = None
    fault: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Message:
    """What one side says; pictures are PNG or JPEG data URLs."""

    role: str
    text: str
    pictures: tuple[str, ...] = ()


class Client:
    """Sends requests through LangChain's client, one at a time, from one thread.

    Parameters
    ----------
    endpoint : Endpoint

    Raises
    ------
    MissingPackageError
        If LangChain or its part for OpenAI is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._exchange = Exchange()
        try:
            openai = import_module("openai")
            init_chat_model = import_module("langchain.chat_models").init_chat_model
            self._untraced = import_module("langsmith").tracing_context
            host = urlsplit(endpoint.base_url or "").hostname
            self._http = openai.DefaultAsyncHttpxClient(
                # Variables such as HTTP_PROXY would send what is meant for this machine, the key with it, to another.
                trust_env=host is None or not is_loopback(host),
                event_hooks={"response": [self._listen]},
                follow_redirects=False,
                headers={"Accept-Encoding": "identity"},
            )
            self._model = init_chat_model(
                f"openai:{endpoint.model}",
                base_url=endpoint.base_url or "https://api.openai.com/v1",
                # An endpoint without a key is given one that says so; without any, the client would refuse to start.
                api_key=endpoint.key or "none",
                http_async_client=self._http,
                max_retries=0,
                openai_proxy=None,  # of the variable OPENAI_PROXY, which the client above would refuse
                use_responses_api=False,
            )
        except ImportError as error:
            raise MissingPackageError(
                f"a language model needs the packages langchain and langchain-openai ({error}). Install them, or go "
                "without a model."
            ) from error
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._closed = False

    def send(
        self,
        messages: Sequence[Message],
        form: str,
        schema: type[Answer],
        max_tokens: int,
        temperature: float | None,
        deadline_s: float,
    ) -> Exchange:
        """Send a request and wait for its answer until the deadline, which covers everything."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._exchange, began = Exchange(), monotonic()
        options = self._options(form, schema, max_tokens, temperature)
        fault = self._loop.run_until_complete(self._sent(messages, options, deadline_s))
        exchange = self._exchange
        if self._endpoint.key:
            exchange.body = exchange.body.replace(self._endpoint.key, "[key]")
        exchange.fault = exchange.fault or fault or ("" if exchange.status == 200 else _status_fault(exchange))
        exchange.seconds = monotonic() - began
        return exchange

    def close(self) -> None:
        """End what is under way; may be called from any thread."""
        self._closed = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    def release(self) -> None:
        """Close connections and the event loop; for the thread that has sent."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            for ending in (self._http.aclose(), loop.shutdown_asyncgens(), loop.shutdown_default_executor()):
                loop.run_until_complete(ending)
            loop.close()

    async def _sent(self, messages: Sequence[Message], options: dict[str, Any], deadline_s: float) -> str:
        self._task = asyncio.current_task()
        if self._closed:
            return INTERRUPTED
        try:
            with self._untraced(enabled=False):
                # Cancelled at the deadline: limits of the client are per read, and one byte a second never meets them.
                await asyncio.wait_for(
                    self._model.bind(**options).ainvoke([_as_dict(message) for message in messages]), deadline_s
                )
        except TimeoutError:
            return "timeout"
        except asyncio.CancelledError:
            return INTERRUPTED
        except Exception as error:
            if self._exchange.status:
                return ""  # whatever the client makes of a strange body, the body decides
            name = type(error).__name__
            # OpenAI's APIConnectionError, and what LangChain makes of it.
            if "Connection" in name or "Timeout" in name:
                return "connection"
            # LangChain refuses to send, as it does where an old variable of its tracing is set.
            logger.warning("the client of the agent cannot send: %s", name)
            return "client"
        finally:
            self._task = None
        return ""

    def _options(self, form: str, schema: type[Answer], max_tokens: int, temperature: float | None) -> dict[str, Any]:
        body: dict[str, Any] = {}
        strict = {"name": TOOL, "schema": strict_schema(schema), "strict": True}
        if form == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": strict}
        elif form == "tool":
            function = {"name": TOOL, "parameters": strict["schema"], "description": "Give the answer."}
            body["tools"] = [{"type": "function", "function": function}]
            body["tool_choice"] = {"type": "function", "function": {"name": TOOL}}
        # OpenAI's own endpoint wants the one name, everybody else knows the other.
        body["max_tokens" if self._endpoint.base_url else "max_completion_tokens"] = max_tokens
        if temperature is not None:
            body["temperature"] = temperature
        # By the body itself: other ways have LangChain parse the answer, and raise where it should be read.
        return {"extra_body": body}

    async def _listen(self, response: Any) -> None:
        """Note a response's head, and have its body counted and kept while it is read."""
        exchange = self._exchange
        exchange.status = int(response.status_code)
        exchange.retry_after_s = _seconds(response.headers.get("retry-after"))
        base: Any = import_module(type(response).__module__.partition(".")[0]).AsyncByteStream
        inner = response.stream

        class Counted(base):  # type: ignore[misc]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                data = bytearray()
                try:
                    async for chunk in inner:
                        data += chunk
                        if len(data) > MOST_BYTES:
                            exchange.fault = "too large"
                            raise ValueError("the body is too large")
                        yield chunk
                except Exception:
                    exchange.fault = exchange.fault or "cut off"
                    raise
                finally:
                    exchange.body = bytes(data[:MOST_BYTES]).decode("utf-8", "replace") if not exchange.fault else ""

            async def aclose(self) -> None:
                await inner.aclose()

        if response.headers.get("content-encoding", "identity") != "identity":
            # A few kilobytes can unpack to gigabytes, and nobody asked for them.
            exchange.fault = "packed"
            raise ValueError("the body is packed")
        response.stream = Counted()


def _as_dict(message: Message) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.pictures]
    return {"role": message.role, "content": [{"type": "text", "text": message.text}, *pictures]}


def _status_fault(exchange: Exchange) -> str:
    if exchange.status == 429:
        return "quota" if "insufficient_quota" in exchange.body else "rate"
    if exchange.status in (401, 403):
        return "auth"
    if exchange.status == 404:
        return "not found"
    return "server" if exchange.status >= 500 else "refused" if exchange.status >= 400 else "not a completion"


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None  # a date, which some endpoints send instead
