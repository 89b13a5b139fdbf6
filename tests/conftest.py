"""Settings that all tests share."""

import signal

from hypothesis import HealthCheck, settings

# Derandomised: a failure must be the change's, not the day's. No deadline: the machine may be shared.
settings.register_profile(
    "evoseg", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evoseg")

# A shell starts background jobs deaf to Ctrl-C, and children inherit that; the tests of interrupts must be heard.
signal.signal(signal.SIGINT, signal.default_int_handler)
