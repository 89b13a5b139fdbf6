"""Asking an endpoint that misbehaves in every way we know."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from evoseg.core.errors import MissingPackageError, SettingsError
from evoseg.llm.calls import MemoryCallLog
from evoseg.llm.client import Client, Message, endpoint
from evoseg.llm.limits import UsageLimits, UsageTracker
from evoseg.llm.prompts import messages
from evoseg.llm.proposals import ProposalParser
from evoseg.llm.structured import SCHEMAS, Programs, StructuredClient, StructuredReply
from tests.llm.helpers import OPERATORS, QUICK, ROLE_SET, asking, pipeline
from tests.llm.helpers import parser as new_parser
from tests.llm.test_prompts import ONE, TOLD

OTHER = pipeline("return otsu(channel(image))")
ROLE = ROLE_SET.roles["propose"]


def ask(client: StructuredClient, number: int = 1, role: str = "propose") -> tuple[StructuredReply, ProposalParser]:
    parser = new_parser(references={"leader": ONE, "other1": OTHER})
    said = messages(ROLE_SET.roles[role], ROLE_SET, OPERATORS, TOLD, ())
    return client.ask(number, ROLE_SET.roles[role], said, parser.review), parser


def test_the_expert_gives_programs_that_are_read_at_the_first_go():
    with asking(["expert"]) as (client, tracker, server):
        asked, parser = ask(client)
    assert isinstance(asked.answers[0], Programs) and len(parser.accepted) == 4 and not parser.refused
    assert server.requests[0]["response_format"]["type"] == "json_schema"
    assert server.requests[0]["max_tokens"] == ROLE.max_tokens and server.keys == ["Bearer sk-canary-7"]
    assert 0 < tracker.usage.usd < 0.1 and tracker.usage.tokens_out > 0


@pytest.mark.parametrize("role", sorted(ROLE_SET.roles))
def test_each_role_gets_an_answer_of_its_shape(role):
    with asking(["expert"]) as (client, _, _):
        asked, _ = ask(client, role=role)
    assert isinstance(asked.answers[0], SCHEMAS[ROLE_SET.roles[role].output])


@pytest.mark.parametrize(("act", "tries"), [("only tools", 2), ("only text", 3)])
def test_an_endpoint_that_knows_no_strict_answers_is_asked_in_a_plainer_form_from_then_on(act, tries):
    with asking([act]) as (client, tracker, server):
        assert len(ask(client)[1].accepted) == 4
        assert len(server.requests) == tries
        assert len(ask(client, 2)[1].accepted) == 4
        assert len(server.requests) == tries + 1
    assert [call.fault for call in tracker.calls.values()].count("refused") == tries - 1


FAULTS = {
    "401": ("auth", 1, True),
    "404": ("not found", 1, True),
    "429 quota": ("quota", 1, True),
    "429": ("rate", 3, False),
    "429 hour": ("rate", 1, False),
    "500": ("server", 3, False),
    "cut body": ("cut off", 3, False),
    "hang": ("timeout", 1, False),
    "drip": ("timeout", 1, False),
    "50 MB": ("too large", 1, False),
    "packed": ("packed", 1, False),
    "html": ("not a completion", 1, False),
    "broken json": ("not a completion", 1, False),
    "no choices": ("not a completion", 1, False),
    "other json": ("not a completion", 1, False),
    "refusal": ("refusal", 1, False),
    "length": ("length", 2, False),
    "empty": ("empty", 3, False),
    "wrong schema": ("schema", 2, False),
    "prose": ("schema", 3, False),
}


@pytest.mark.parametrize("act", FAULTS)
def test_each_fault_is_named_counted_and_tried_again_only_if_that_may_help(act):
    fault, tries, over = FAULTS[act]
    with asking([act]) as (client, tracker, server):
        asked, parser = ask(client)
        assert len(server.requests) == tries == len(asked.calls)
    assert (asked.fault, asked.over, asked.answers) == (fault, over, ())
    assert {call.fault for call in tracker.calls.values()} == {fault}
    assert not parser.accepted


@pytest.mark.parametrize("act", ["429", "500", "cut body"])
def test_a_fault_that_passes_costs_a_try(act):
    with asking([act, "expert"]) as (client, _, _):
        asked, parser = ask(client)
    assert len(asked.calls) == 2 and len(parser.accepted) == 4


@pytest.mark.parametrize("act", ["invalid program", "unknown operator", "injection", "key"])
def test_programs_that_cannot_be_read_are_repaired_once_with_the_readers_words(act):
    with asking([act, "expert"]) as (client, _, server):
        asked, parser = ask(client)
    assert len(asked.calls) == 2 and len(parser.accepted) == 4 and parser.refused
    last = server.requests[-1]["messages"]
    assert [m["role"] for m in last[-2:]] == ["assistant", "user"]
    assert parser.refused[0].reason in last[-1]["content"]


def test_a_document_that_does_not_fit_the_form_is_asked_for_once_more_with_the_reason():
    with asking(["wrong schema", "expert"]) as (client, _, server):
        asked, parser = ask(client)
    assert len(asked.calls) == 2 and len(parser.accepted) == 4
    first, second = (request["response_format"] for request in server.requests)
    assert first == second, "not in a plainer form"
    said, told = server.requests[-1]["messages"][-2:]
    assert said["content"] == '{"pipelines": ["threshold"]}'
    assert "operators and experiments are all empty. Answer again" in told["content"]


def test_an_answer_that_is_cut_off_is_asked_for_once_more_with_more_room():
    with asking(["length", "expert"]) as (client, tracker, server):
        asked, parser = ask(client)
    assert len(parser.accepted) == 4 and len(asked.calls) == 2
    assert [request["max_tokens"] for request in server.requests] == [ROLE.max_tokens, 3 * ROLE.max_tokens]
    assert tracker.usage.calls == 2


def test_what_an_endpoint_did_not_get_is_given_back():
    with asking(["expert"]) as (client, tracker, server):
        server.stop()
        ask(client)
    assert tracker.usage.calls == 3 and tracker.usage.tokens_in == tracker.usage.tokens_out == 0


def test_a_call_that_timed_out_counts_for_what_such_calls_cost():
    hasty = QUICK.model_copy(update={"deadline_s": 0.8})
    with asking(["hang", "expert", "hang"], schedule=hasty) as (client, tracker, _):
        ask(client, 1)
        ask(client, 2)
        ask(client, 3)
    first, answered, last = tracker.calls.values()
    assert (first.fault, last.fault) == ("timeout", "timeout")
    # Nothing was known of the endpoint at first: a token for each byte.
    assert first.tokens_in > 2 * answered.tokens_in
    assert answered.tokens_in <= last.tokens_in < 1.2 * answered.tokens_in
    assert first.tokens_out == last.tokens_out == ROLE.max_tokens


def test_after_one_repair_the_rest_is_left():
    with asking(["unknown operator"]) as (client, tracker, server):
        asked, parser = ask(client)
        assert len(server.requests) == 2
    assert not parser.accepted and len(parser.refused) == 2 and not asked.over
    assert {call.fault for call in tracker.calls.values()} == {"program"}


def test_nothing_is_sent_beyond_a_cap():
    with asking(["expert"], UsageLimits(2)) as (client, _, server):
        assert [ask(client, n)[0].fault for n in (1, 2, 3)] == ["", "", "calls"]
        assert ask(client, 4)[0].over
        assert len(server.requests) == 2
    with asking(["expert"], UsageLimits(9, usd=0.01)) as (client, _, server):
        assert ask(client)[0].fault == "usd" and not server.requests
    with asking(["expert"], UsageLimits(9, tokens=500), model="unpriced") as (client, _, server):
        assert ask(client)[0].fault == "tokens" and not server.requests


@pytest.mark.parametrize("act", ["lies about tokens", "no usage"])
def test_an_endpoint_that_says_nonsense_about_tokens_is_counted_at_the_most_it_can_be(act):
    with asking([act]) as (client, tracker, _):
        ask(client)
    (call,) = tracker.calls.values()
    assert call.tokens_out == ROLE.max_tokens and 10_000 < call.tokens_in < 30_000


def test_many_faults_in_a_row_make_a_pause_and_then_one_call_probes():
    with asking(["500", "500", "500", "500", "expert"]) as (client, _, server):
        assert ask(client, 1)[0].fault == "server" and len(server.requests) == 3
        assert ask(client, 2)[0].fault == "server" and len(server.requests) == 4
        assert len(ask(client, 3)[1].accepted) == 4


def test_a_dead_endpoint_is_a_fault_like_any_other():
    with asking(["expert"]) as (client, tracker, server):
        server.stop()
        assert ask(client)[0].fault == "connection"
    assert tracker.usage.calls == 3


def test_an_answer_that_was_paid_for_is_not_asked_for_again():
    log = MemoryCallLog()
    with asking(["wrong schema", "expert"], log=log) as (client, _, server):
        first, parser = ask(client)
    with asking(["500"], log=log) as (client, tracker, server):
        again, same = ask(client)
        assert not server.requests and again == first
        assert ask(client, 2)[0].fault == "server"
    assert [idea.pipeline for idea in same.accepted] == [idea.pipeline for idea in parser.accepted]
    assert [call.fault for call in tracker.calls.values()][:2] == ["schema", ""]


def test_the_key_is_in_nothing_that_stays(caplog):
    caplog.set_level(logging.DEBUG)
    with asking(["key", "401", "html"]) as (client, tracker, _):
        ask(client)
        kept = json.dumps([vars(call) for call in tracker.calls.values()])
        assert "[key]" in kept, "the endpoint did repeat it"
        seen = kept + repr(client._client._endpoint) + "".join(r.getMessage() for r in caplog.records)
    assert "sk-canary-7" not in seen


@pytest.mark.parametrize(
    ("agent", "url", "key", "words"),
    [
        ("gpt-4", None, "k", "a model is named like openai:MODEL"),
        ("openai:x", None, "", "set OPENAI_API_KEY in the environment"),
        ("openai:x", "ftp://a/b", "k", "must begin with https://"),
        ("openai:x", "https://me:sk-1@host/v1", "", "set keys in environment variables"),
        ("openai:x", "https://host/v1?key=sk-1", "", "set keys in environment variables"),
        ("openai:x", "http://example.org/v1", "k", "unencrypted"),
        ("openai:x", "http://127.0.0.1.example.org/v1", "k", "unencrypted"),
        ("openai:x", "http://localhost.example.org/v1", "k", "unencrypted"),
        ("openai:x", "http://192.168.0.1/v1", "k", "unencrypted"),
        ("openai:x", "http://0.0.0.0/v1", "k", "unencrypted"),
        ("openai:x", "http://[fe80::1]/v1", "k", "unencrypted"),
        ("openai:x", "http://[::1", "k", "not an address"),
    ],
)
def test_an_endpoint_that_will_not_do_is_refused_before_anything_is_sent(agent, url, key, words):
    with pytest.raises(SettingsError, match=words) as error:
        endpoint(agent, url, key)
    assert "sk-1" not in str(error.value)


def test_an_endpoint_on_this_machine_needs_no_key():
    assert endpoint("openai:x", "http://127.0.0.1:1/v1", "").key == ""
    for host in ("localhost", "127.0.0.1", "127.8.9.1", "[::1]"):
        assert endpoint("openai:x", f"http://{host}:1/v1", "secret").key == "secret"
    assert "secret" not in repr(endpoint("openai:x", "https://host/v1", "secret"))


class Proxy(ThreadingHTTPServer):
    """A proxy on loopback that hands nothing on and keeps what it gets."""

    def __init__(self) -> None:
        proxy = self
        self.got: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                proxy.got.append(f"{self.requestline}\n{self.headers}")
                self.send_error(502)

            do_CONNECT = do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def proxy(monkeypatch) -> Iterator[Proxy]:
    """A proxy that every variable names."""
    server = Proxy()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in ("http_proxy", "https_proxy", "all_proxy", "openai_proxy"):
        monkeypatch.setenv(name, server.url)
        monkeypatch.setenv(name.upper(), server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_request_to_this_machine_passes_by_every_proxy(proxy):
    with asking(["expert"]) as (client, _, server):
        assert len(ask(client)[1].accepted) == 4
    assert server.keys == ["Bearer sk-canary-7"] and proxy.got == []


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_is_used_for_other_machines_and_never_sees_a_key(proxy, scheme):
    key = "sk-canary-7" if scheme == "https" else ""
    client = Client(endpoint("openai:x", f"{scheme}://example.invalid/v1", key))
    client.send([Message("user", "hello")], "text", {}, 100, None, 30.0)
    client.release()
    assert proxy.got and all("example.invalid" in request for request in proxy.got)
    assert not any("canary" in request for request in proxy.got)


def test_a_model_of_another_provider_is_asked_through_its_package(monkeypatch):
    """Stands in for a provider whose package has no structured output: it is asked for text in the end."""
    fakes = import_module("langchain_core.language_models.fake_chat_models")
    package = ModuleType("langchain_xai")
    answer = json.dumps({"programs": [{"name": "a", "idea": "b", "program": "def pipeline(image):\n    return 1"}]})

    class ChatXAI(fakes.FakeListChatModel):
        def __init__(self, **options: object) -> None:
            super().__init__(responses=[answer])
            assert options["max_retries"] == 0 and options["max_tokens"] and options["model"] == "large"

    package.ChatXAI = ChatXAI
    package.__spec__ = ModuleSpec("langchain_xai", None)  # older LangChains look for it
    monkeypatch.setitem(sys.modules, "langchain_xai", package)
    client = Client(endpoint("xai:large", None, ""))
    tracker = UsageTracker(UsageLimits(9), MemoryCallLog(), None)
    reply = StructuredClient(client, tracker, QUICK, threading.Event()).ask(
        1, ROLE, [Message("user", "hello")], lambda answer: []
    )
    client.release()
    assert isinstance(reply.answers[0], Programs)
    assert [(call.form, call.fault) for call in tracker.calls.values()] == [
        ("json_schema", "refused"),
        ("tool", "refused"),
        ("text", ""),
    ]


def test_a_provider_that_cannot_be_used_is_one_clear_error():
    with pytest.raises(MissingPackageError, match="langchain-anthropic"):
        Client(endpoint("anthropic:x", None, "k"))
    with pytest.raises(SettingsError, match="nobody"):
        Client(endpoint("nobody:x", None, "k"))
