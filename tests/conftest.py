"""Settings that all tests share."""

from hypothesis import HealthCheck, settings

# Derandomised: a failure must be the change's, not the day's. No deadline: the machine may be shared.
settings.register_profile(
    "evoseg", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evoseg")
