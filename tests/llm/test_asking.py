"""Asking an endpoint that misbehaves in every way we know."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from evoseg.base.errors import SettingsError
from evoseg.base.kinds import Kind
from evoseg.llm.answers import SCHEMAS, Programs
from evoseg.llm.asking import Asked, Asker
from evoseg.llm.client import Client, Message, endpoint
from evoseg.llm.leash import Caps
from evoseg.llm.programs import Workshop
from evoseg.llm.prompts import messages
from evoseg.operators import registry
from evoseg.store.calls import LooseLedger
from tests.llm.helpers import CAST, QUICK, asking
from tests.llm.test_prompts import TOLD

ROLE = CAST.roles["generate"]
OPERATORS = registry.operators()


def ask(asker: Asker, number: int = 1, role: str = "generate") -> tuple[Asked, Workshop]:
    shop = Workshop(Kind.MASK, {op.name for op in OPERATORS}, 3)
    said = messages(CAST.roles[role], CAST, OPERATORS, TOLD, ())
    return asker.ask(number, CAST.roles[role], said, shop.review), shop


def test_the_expert_gives_programs_that_are_read_at_the_first_go():
    with asking(["expert"]) as (asker, purse, server):
        asked, shop = ask(asker)
    assert isinstance(asked.answers[0], Programs) and len(shop.ideas) == 4 and not shop.refused
    assert server.requests[0]["response_format"]["type"] == "json_schema"
    assert server.requests[0]["max_tokens"] == ROLE.max_tokens and server.keys == ["Bearer sk-canary-7"]
    assert 0 < purse.spent.usd < 0.05 and purse.spent.tokens_out > 0


@pytest.mark.parametrize("role", sorted(CAST.roles))
def test_each_role_gets_an_answer_of_its_shape(role):
    with asking(["expert"]) as (asker, _, _):
        asked, _ = ask(asker, role=role)
    assert isinstance(asked.answers[0], SCHEMAS[CAST.roles[role].output])


@pytest.mark.parametrize(("act", "tries"), [("only tools", 2), ("only text", 3)])
def test_an_endpoint_that_knows_no_strict_answers_is_asked_in_a_plainer_form_from_then_on(act, tries):
    with asking([act]) as (asker, purse, server):
        assert len(ask(asker)[1].ideas) == 4
        assert len(server.requests) == tries
        assert len(ask(asker, 2)[1].ideas) == 4
        assert len(server.requests) == tries + 1
    assert [call.fault for call in purse.calls.values()].count("refused") == tries - 1


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
    "html": ("not json", 1, False),
    "broken json": ("not json", 1, False),
    "no choices": ("not a completion", 1, False),
    "other json": ("not a completion", 1, False),
    "refusal": ("refusal", 1, False),
    "length": ("length", 1, False),
    "empty": ("empty", 3, False),
    "wrong schema": ("schema", 3, False),
    "prose": ("schema", 3, False),
}


@pytest.mark.parametrize("act", FAULTS)
def test_each_fault_is_named_counted_and_tried_again_only_if_that_may_help(act):
    fault, tries, over = FAULTS[act]
    with asking([act]) as (asker, purse, server):
        asked, shop = ask(asker)
        assert len(server.requests) == tries == len(asked.calls)
    assert (asked.fault, asked.over, asked.answers) == (fault, over, ())
    assert {call.fault for call in purse.calls.values()} == {fault}
    assert not shop.ideas


@pytest.mark.parametrize("act", ["429", "500", "cut body"])
def test_a_fault_that_passes_costs_a_try(act):
    with asking([act, "expert"]) as (asker, _, _):
        asked, shop = ask(asker)
    assert len(asked.calls) == 2 and len(shop.ideas) == 4


@pytest.mark.parametrize("act", ["invalid program", "unknown operator", "injection", "key"])
def test_programs_that_cannot_be_read_are_repaired_once_with_the_readers_words(act):
    with asking([act, "expert"]) as (asker, _, server):
        asked, shop = ask(asker)
    assert len(asked.calls) == 2 and len(shop.ideas) == 4 and shop.refused
    last = server.requests[-1]["messages"]
    assert [m["role"] for m in last[-2:]] == ["assistant", "user"]
    assert shop.refused[0].reason in last[-1]["content"]


def test_after_one_repair_the_rest_is_left():
    with asking(["unknown operator"]) as (asker, purse, server):
        asked, shop = ask(asker)
        assert len(server.requests) == 2
    assert not shop.ideas and len(shop.refused) == 2 and not asked.over
    assert {call.fault for call in purse.calls.values()} == {"program"}


def test_nothing_is_sent_beyond_a_cap():
    with asking(["expert"], Caps(2)) as (asker, _, server):
        assert [ask(asker, n)[0].fault for n in (1, 2, 3)] == ["", "", "calls"]
        assert ask(asker, 4)[0].over
        assert len(server.requests) == 2
    with asking(["expert"], Caps(9, usd=0.01)) as (asker, _, server):
        assert ask(asker)[0].fault == "usd" and not server.requests
    with asking(["expert"], Caps(9, tokens=500), model="unpriced") as (asker, _, server):
        assert ask(asker)[0].fault == "tokens" and not server.requests


@pytest.mark.parametrize("act", ["lies about tokens", "no usage"])
def test_an_endpoint_that_says_nonsense_about_tokens_is_counted_at_the_most_it_can_be(act):
    with asking([act]) as (asker, purse, _):
        ask(asker)
    (call,) = purse.calls.values()
    assert call.tokens_out == ROLE.max_tokens and 10_000 < call.tokens_in < 60_000


def test_many_faults_in_a_row_make_a_pause_and_then_one_call_probes():
    with asking(["500", "500", "500", "500", "expert"]) as (asker, _, server):
        assert ask(asker, 1)[0].fault == "server" and len(server.requests) == 3
        began = time.monotonic()
        assert ask(asker, 2)[0].fault == "server" and len(server.requests) == 4
        assert time.monotonic() - began >= QUICK.pause_s * 0.9
        assert len(ask(asker, 3)[1].ideas) == 4


def test_a_dead_endpoint_is_a_fault_like_any_other():
    with asking(["expert"]) as (asker, purse, server):
        server.stop()
        assert ask(asker)[0].fault == "connection"
    assert purse.spent.calls == 3


def test_an_answer_that_was_paid_for_is_not_asked_for_again():
    ledger = LooseLedger()
    with asking(["wrong schema", "expert"], ledger=ledger) as (asker, _, server):
        first, shop = ask(asker)
    with asking(["500"], ledger=ledger) as (asker, purse, server):
        again, same = ask(asker)
        assert not server.requests and again == first
        assert ask(asker, 2)[0].fault == "server"
    assert [idea.pipeline for idea in same.ideas] == [idea.pipeline for idea in shop.ideas]
    assert [call.fault for call in purse.calls.values()][:2] == ["schema", ""]


def test_the_key_is_in_nothing_that_stays(caplog):
    caplog.set_level(logging.DEBUG)
    with asking(["key", "401", "html"]) as (asker, purse, _):
        ask(asker)
        kept = json.dumps([vars(call) for call in purse.calls.values()])
        assert "[key]" in kept, "the endpoint did repeat it"
        seen = kept + repr(asker._client._endpoint) + "".join(r.getMessage() for r in caplog.records)
    assert "sk-canary-7" not in seen


@pytest.mark.parametrize(
    ("agent", "url", "key", "words"),
    [
        ("gpt-4", None, "k", "a model is named like openai:MODEL"),
        ("anthropic:x", None, "k", "unknown provider 'anthropic'"),
        ("openai:x", None, "", "set OPENAI_API_KEY in the environment"),
        ("openai:x", "ftp://a/b", "k", "must begin with https://"),
        ("openai:x", "https://me:sk-1@host/v1", "", "keys belong into the environment"),
        ("openai:x", "https://host/v1?key=sk-1", "", "keys belong into the environment"),
        ("openai:x", "http://example.org/v1", "k", "in the clear"),
        ("openai:x", "http://127.0.0.1.example.org/v1", "k", "in the clear"),
        ("openai:x", "http://localhost.example.org/v1", "k", "in the clear"),
        ("openai:x", "http://192.168.0.1/v1", "k", "in the clear"),
        ("openai:x", "http://0.0.0.0/v1", "k", "in the clear"),
        ("openai:x", "http://[fe80::1]/v1", "k", "in the clear"),
        ("openai:x", "http://[::1", "k", "no address"),
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
    with asking(["expert"]) as (asker, _, server):
        assert len(ask(asker)[1].ideas) == 4
    assert server.keys == ["Bearer sk-canary-7"] and proxy.got == []


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_is_used_for_other_machines_and_never_sees_a_key(proxy, scheme):
    key = "sk-canary-7" if scheme == "https" else ""
    client = Client(endpoint("openai:x", f"{scheme}://example.invalid/v1", key))
    client.send([Message("user", "hello")], "text", Programs, 100, None, 30.0)
    client.release()
    assert proxy.got and all("example.invalid" in request for request in proxy.got)
    assert not any("canary" in request for request in proxy.got)
