"""A chat model of any provider that LangChain knows: messages go out, and within a deadline an answer comes back.

LangChain builds the model, asks for structured output and returns the raw message, which is written down in one form
for all providers, that of a chat completion: it is all that a resumed run has. What LangChain has no option for is kept
here: a deadline for the whole call, a limit on the size of an answer, and no retries of its own (decision 28).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import ip_address
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from evoseg.core.errors import MissingPackageError, SettingsError

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 20
"""Of the body of an answer."""
METHODS = ("json_schema", "tool", "text")
"""How a structured answer is asked for, the strictest first."""
INTERRUPTED = "interrupted"
"""The fault of a call whose answer is no longer wanted."""
OPENAI = "openai"
_LENGTH = ("length", "max_tokens", "max_output_tokens", "model_length")
_REFUSED = ("content_filter", "refusal", "safety", "prohibited_content")
"""Reasons for which providers end an answer early, or give none."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is.

    Attributes
    ----------
    model : str
    base_url : str or None
        None for the provider's own.
    key : str
        Never printed, written or handed on.
    provider : str
        As LangChain calls it.
    """

    model: str
    base_url: str | None = None
    key: str = field(default="", repr=False)
    provider: str = OPENAI


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, so that nothing sent to it passes through a network."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_name(agent: str) -> tuple[str, str]:
    """Return provider and model of a name such as openai:gpt-5-mini.

    Raises
    ------
    SettingsError
        If it is not such a name.
    """
    provider, _, model = agent.partition(":")
    if not provider or not model:
        raise SettingsError(f"agent is '{agent}'; a model is named like openai:MODEL, PROVIDER:MODEL in general.")
    return provider, model


def key_variable(provider: str) -> str:
    """Return the environment variable in which a provider's key is looked for."""
    return "GOOGLE_API_KEY" if provider == "google_genai" else f"{provider.upper()}_API_KEY"


def endpoint(agent: str, base_url: str | None, key: str) -> Endpoint:
    """Return the endpoint that a user named.

    Parameters
    ----------
    agent : str
        PROVIDER:MODEL. "openai" is also the provider of whatever else speaks chat completions, with a `base_url`.
    key : str
        From the environment.

    Raises
    ------
    SettingsError
        If the name, the address or the key cannot be used.
    """
    provider, model = split_name(agent)
    if base_url is not None:
        try:
            parts = urlsplit(base_url)
        except ValueError as error:
            raise SettingsError(f"base_url is '{base_url}', which is not an address ({error}).") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"base_url is '{base_url}'; it must begin with https:// or http://.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise SettingsError("base_url contains more than an address; set keys in environment variables.")
        if parts.scheme == "http" and not is_loopback(parts.hostname) and key:
            raise SettingsError(
                f"base_url is '{base_url}': the key would be sent unencrypted. Use https, or unset the key."
            )
    elif provider == OPENAI and not key:
        raise SettingsError("there is no key: set OPENAI_API_KEY in the environment, or name an endpoint by base_url.")
    return Endpoint(model, base_url, key, provider)


@dataclass
class Exchange:
    """What came back.

    Attributes
    ----------
    status : int
        Of HTTP, as far as it is known; 0 if nothing came.
    body : str
        The answer as a chat completion, or what the endpoint says of an error; without the key, should it repeat it.
    retry_after_s : float or None, s
    fault : str
        "" for an answer.
    seconds : float, s
    unsent : bool
        Whether the endpoint certainly never got the request.
    """

    status: int = 0
    body: str = ""
    retry_after_s: float | None = None
    fault: str = ""
    seconds: float = 0.0
    unsent: bool = False


@dataclass(frozen=True)
class Message:
    """What one side says; pictures are PNG or JPEG data URLs."""

    role: str
    text: str
    pictures: tuple[str, ...] = ()


class Client:
    """Sends requests to a chat model through LangChain, one at a time, from one thread.

    Parameters
    ----------
    endpoint : Endpoint

    Raises
    ------
    MissingPackageError
        If LangChain, or its package for the provider, is not installed.
    SettingsError
        If LangChain does not know the provider, or the provider's package refuses what it is given.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._exchange = Exchange()
        self._http: Any = None
        try:
            self._init_chat_model = import_module("langchain.chat_models").init_chat_model
            self._untraced = import_module("langsmith").tracing_context
            if endpoint.provider == OPENAI:
                self._http = self._bounded_http_client()
            self._model(100, None)  # what cannot work is said before a search begins
        except ImportError as error:
            package = f"langchain-{endpoint.provider.replace('_', '-')}"
            raise MissingPackageError(
                f"a language model needs the packages langchain and {package} ({error}). Install them, or search "
                "without a model."
            ) from error
        except ValueError as error:
            said = str(error).partition("\n")[0]
            if said.startswith("Unsupported"):
                said = f"LangChain knows no provider '{endpoint.provider}', only openai, anthropic and others."
            raise SettingsError(f"agent is '{endpoint.provider}:{endpoint.model}'; {said}") from error
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._closed = False

    def send(
        self,
        messages: Sequence[Message],
        method: str,
        schema: dict[str, Any],
        max_tokens: int,
        temperature: float | None,
        deadline_s: float,
    ) -> Exchange:
        """Send a request and wait for its answer until the deadline, which covers everything.

        Parameters
        ----------
        method : str
            One of `METHODS`.
        schema : dict
            A JSON schema; not used where text is asked for.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._exchange, began = Exchange(), monotonic()
        exchange = self._exchange
        fault = self._loop.run_until_complete(
            self._send(messages, method, schema, self._model(max_tokens, temperature), deadline_s)
        )
        if self._endpoint.key:
            exchange.body = exchange.body.replace(self._endpoint.key, "[key]")
        exchange.fault = exchange.fault or fault
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
            if self._http is not None:
                loop.run_until_complete(self._http.aclose())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _model(self, max_tokens: int, temperature: float | None) -> Any:
        """Return LangChain's model, with the options that all providers share."""
        options: dict[str, Any] = {"max_retries": 0, "max_tokens": max_tokens}
        if temperature is not None:
            options["temperature"] = temperature
        if self._endpoint.base_url:
            options["base_url"] = self._endpoint.base_url
        if self._endpoint.provider == OPENAI:
            options |= {
                "base_url": self._endpoint.base_url or "https://api.openai.com/v1",
                # An endpoint without a key is given one that says so; without any, the model would refuse to be made.
                "api_key": self._endpoint.key or "none",
                "http_async_client": self._http,
                "openai_proxy": None,  # of the variable OPENAI_PROXY, which the HTTP client would refuse
                "use_responses_api": False,
            }
            if self._endpoint.base_url:
                # LangChain sends max_completion_tokens, which only OpenAI itself is sure to know.
                options["extra_body"] = {"max_tokens": options.pop("max_tokens")}
        return self._init_chat_model(self._endpoint.model, model_provider=self._endpoint.provider, **options)

    async def _send(
        self, messages: Sequence[Message], method: str, schema: dict[str, Any], model: Any, deadline_s: float
    ) -> str:
        """Have the answer put into the exchange; return the fault, "" if there is none."""
        self._task = asyncio.current_task()
        if self._closed:
            self._exchange.unsent = True
            return INTERRUPTED
        try:
            if method != "text":
                strict = {"strict": True} if self._endpoint.provider == OPENAI else {}
                model = model.with_structured_output(
                    {"title": "answer", "description": "Give the answer.", **schema},
                    method="function_calling" if method == "tool" else method,
                    include_raw=True,
                    **strict,
                )
            with self._untraced(enabled=False):
                # Cancelled at the deadline: limits of providers' clients are per read, and a byte a second meets them.
                answer = await asyncio.wait_for(model.ainvoke([_as_dict(m) for m in messages]), deadline_s)
            self._exchange.status = self._exchange.status or 200
            self._exchange.body = json.dumps(_completion(answer if method == "text" else answer["raw"]))
        except TimeoutError:
            return "timeout"
        except asyncio.CancelledError:
            return INTERRUPTED
        except Exception as error:
            return self._fault_of(error)
        finally:
            self._task = None
        return ""

    def _fault_of(self, error: Exception) -> str:
        """Return the fault that an exception stands for; note what the endpoint says with it."""
        name, exchange = type(error).__name__, self._exchange
        # Where strict answers are asked for, OpenAI's package raises these instead of returning the answer.
        if name == "LengthFinishReasonError":
            exchange.body = error.completion.model_dump_json()  # type: ignore[attr-defined]
            return "length"
        if name == "ContentFilterFinishReasonError":
            return "refusal"
        response = getattr(error, "response", None)
        status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
        if isinstance(status, int):
            exchange.status = status
            exchange.body = str(getattr(response, "text", "") or error)[:MOST_BYTES]
            exchange.retry_after_s = _seconds(getattr(response, "headers", {}).get("retry-after"))
            return _status_fault(status, exchange.body)
        if exchange.status:
            return "not a completion"  # something came that LangChain cannot read
        if "Connection" in name or "Connect" in name or "Timeout" in name:
            exchange.unsent = _never_connected(error)
            return "connection"
        # LangChain refuses to send, as it does where an old variable of its tracing is set; or a method is unknown.
        logger.warning("the client of the agent cannot send: %s", name)
        return "refused" if isinstance(error, NotImplementedError | TypeError) else "client"

    def _bounded_http_client(self) -> Any:
        """Return an HTTP client for OpenAI's package that reads no more of an answer than is allowed."""
        host = urlsplit(self._endpoint.base_url or "").hostname
        return import_module("openai").DefaultAsyncHttpxClient(
            # Variables such as HTTP_PROXY would send what is meant for this machine, the key with it, to another.
            trust_env=host is None or not is_loopback(host),
            event_hooks={"response": [self._bound]},
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def _bound(self, response: Any) -> None:
        """Have the bytes of a response counted while they are read."""
        exchange = self._exchange
        exchange.status = int(response.status_code)
        base: Any = import_module(type(response).__module__.partition(".")[0]).AsyncByteStream
        inner = response.stream

        class Counted(base):  # type: ignore[misc]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                n_bytes = 0
                try:
                    async for chunk in inner:
                        n_bytes += len(chunk)
                        if n_bytes > MOST_BYTES:
                            exchange.fault = "too large"
                            raise ValueError("the body is too large")
                        yield chunk
                except Exception:
                    exchange.fault = exchange.fault or "cut off"
                    raise

            async def aclose(self) -> None:
                await inner.aclose()

        if response.headers.get("content-encoding", "identity") != "identity":
            # A few kilobytes can unpack to gigabytes, and nobody asked for them.
            exchange.fault = "packed"
            raise ValueError("the body is packed")
        response.stream = Counted()


def _never_connected(error: BaseException) -> bool:
    """Return whether an error stems from a connection that was never made, so that nothing was sent."""
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 9:
        causes.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return bool({"ConnectError", "ConnectTimeout"} & set(causes))


def _as_dict(message: Message) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.pictures]
    return {"role": message.role, "content": [{"type": "text", "text": message.text}, *pictures]}


def _completion(raw: Any) -> dict[str, Any]:
    """Return LangChain's message as a chat completion, the form in which answers are kept."""
    about, usage = raw.response_metadata, raw.usage_metadata or {}
    names = [name for name in ("finish_reason", "stop_reason", "done_reason") if name in about]
    reason = about[names[0]] if names else "stop"
    if reason is not None:
        reason = str(reason).lower()
        reason = "length" if reason in _LENGTH else "content_filter" if reason in _REFUSED else "stop"
    message: dict[str, Any] = {"content": str(raw.text)}
    if raw.tool_calls:
        message["tool_calls"] = [{"function": {"arguments": json.dumps(raw.tool_calls[0]["args"])}}]
    elif raw.invalid_tool_calls:
        message["tool_calls"] = [{"function": {"arguments": raw.invalid_tool_calls[0]["args"]}}]
    if refusal := raw.additional_kwargs.get("refusal"):
        message["refusal"] = refusal
    return {
        "choices": [{"message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")},
    }


def _status_fault(status: int, body: str) -> str:
    if status == 429:
        return "quota" if "insufficient_quota" in body else "rate"
    if status in (401, 403):
        return "auth"
    if status == 404:
        return "not found"
    return "server" if status >= 500 else "refused" if status >= 400 else "not a completion"


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None  # a date, which some endpoints send instead
