"""Settings that all tests share."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Derandomised: a failure must be the change's, not the day's. No deadline: the machine may be shared.
# `pytest --hypothesis-profile thorough` looks at ten times as many examples, new ones in every run.
quick = settings(deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("evoseg", quick)
settings.register_profile("thorough", quick, derandomize=False, max_examples=250)
settings.load_profile("evoseg")

# A shell starts background jobs deaf to Ctrl-C, and children inherit that; the tests of interrupts must be heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_home_of_a_person(tmp_path_factory) -> Iterator[None]:
    """Keep runs and solved tasks of fixtures that outlive a test out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVOSEG_HOME", str(tmp_path_factory.mktemp("home")))
        yield
