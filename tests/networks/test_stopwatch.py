"""Time as a training counts it."""

import time

from evoseg.networks.optimising import Stopwatch


def test_an_idle_wait_counts_only_as_far_as_the_stretch_says(monkeypatch):
    wall, cpu = 100.0, 10.0
    monkeypatch.setattr(time, "monotonic", lambda: wall)
    monkeypatch.setattr(time, "process_time", lambda: cpu)
    patient, strict, both = Stopwatch(float("inf"), 1), Stopwatch(2.0, 1), Stopwatch(2.0, 2)
    wall, cpu = 108.0, 11.0
    assert patient.seconds == 1.0  # CPU time alone
    assert strict.seconds == 4.0  # 8 s of wall time may stand for 4 s of work, not for less
    assert both.seconds == 8.0  # the same of each of two threads
    cpu = 19.0
    assert strict.seconds == 9.0
    # While one of three threads computes for 4 s, the others could have done as much.
    assert Stopwatch(float("inf"), 3).of_one_thread(4.0) == 4.0 and Stopwatch(1.5, 3).of_one_thread(4.0) == 8.0
