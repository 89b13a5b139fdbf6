"""UsageLimits hold whatever endpoints say and whenever the process dies."""

from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.llm.calls import RESERVED, Call, MemoryCallLog
from evoseg.llm.limits import UNPRICED_TOKENS, CircuitBreaker, UsageLimits, UsageTracker
from evoseg.llm.roles import ModelFacts

FACTS = ModelFacts(usd_in=2.0, usd_out=8.0, picture_tokens=1000)
NEW = Call(0, 1, "generate", "text", (), "")

steps = st.lists(
    st.tuples(
        st.integers(0, 5000),
        st.integers(0, 3),
        st.integers(100, 3000),
        # What the endpoint says, or None for a call that is never settled: a kill.
        st.none() | st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
        st.booleans(),
    ),
    max_size=30,
)


@given(steps, st.integers(0, 12), st.none() | st.integers(0, 40_000), st.none() | st.floats(0, 0.2), st.booleans())
def test_no_cap_is_ever_exceeded(steps, calls, tokens, usd, known):
    limits, log = UsageLimits(calls, tokens, usd), MemoryCallLog()
    facts = FACTS if known else None
    tracker = UsageTracker(limits, log, facts)
    for n_bytes, pictures, max_tokens, said, killed in steps:
        call = tracker.reserve(NEW, n_bytes, pictures, max_tokens)
        if killed:
            tracker = UsageTracker(limits, log, facts)  # what a new process finds
        elif isinstance(call, Call) and said is not None:
            tracker.settle(call, "", "", said, 0.1)
        usage = tracker.usage
        assert usage.calls <= calls
        assert tokens is None or usage.tokens_in + usage.tokens_out <= tokens
        assert usd is None or not known or usage.usd <= usd
        assert known or usage.tokens_in + usage.tokens_out <= UNPRICED_TOKENS


def test_a_cap_that_forbids_is_named():
    assert UsageTracker(UsageLimits(0), MemoryCallLog(), FACTS).reserve(NEW, 10, 0, 100) == "calls"
    assert UsageTracker(UsageLimits(9, tokens=100), MemoryCallLog(), FACTS).reserve(NEW, 10, 0, 100) == "tokens"
    assert UsageTracker(UsageLimits(9, usd=0.0001), MemoryCallLog(), FACTS).reserve(NEW, 10, 0, 100) == "usd"
    assert UsageTracker(UsageLimits(9), MemoryCallLog(), None).reserve(NEW, UNPRICED_TOKENS, 0, 100) == "tokens"


def test_a_call_is_written_down_before_it_is_sent_and_settled_by_what_was_used():
    log = MemoryCallLog()
    tracker = UsageTracker(UsageLimits(9), log, FACTS)
    call = tracker.reserve(NEW, 500, 2, 100)
    assert isinstance(call, Call)
    (written,) = log.calls()
    assert (written.state, written.tokens_in, written.tokens_out) == (RESERVED, 2500, 100)
    assert written.usd == pytest.approx((2500 * 2 + 100 * 8) / 1e6)
    tracker.settle(call, "reply", "", (300, 20), 1.0)
    assert tracker.usage.usd == pytest.approx((300 * 2 + 20 * 8) / 1e6)
    tracker.settle(call, "reply", "", None, 1.0)
    assert tracker.usage.tokens_in == 2500


def test_the_breaker_opens_after_faults_in_a_row_and_lets_a_probe_pass_later():
    breaker, stop = CircuitBreaker(3, 0.05), Event()
    for fault in ("server", "server", "", "server", "server"):
        breaker.note(fault)
        assert breaker.closed
    breaker.note("server")
    assert not breaker.closed
    assert breaker.wait(stop) and breaker.closed
    breaker.note("server")
    assert not breaker.closed
    stop.set()
    assert not breaker.wait(stop)
