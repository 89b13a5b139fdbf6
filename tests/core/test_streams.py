"""Randomness is keyed by what is drawn for."""

import subprocess
import sys

import numpy as np
import pytest

from evoseg.core.streams import stream

PATHS = [
    (0,),
    (1,),
    (-1,),
    (0, 1),
    (0, "1"),
    (0, 1, 1),
    (0, "generation", 1, 2),
    (0, "generation", 2, 1),
    (0, "generation", 12),
    (0, "a/b"),
    (0, "a", "b"),
    (0, "a/str:b"),
    (0, "a', 'b"),
    (0, ""),
    (10,),
    (2**70, "x"),
]


def test_equal_keys_give_equal_draws():
    first, second = stream(7, "generation", 3), stream(7, "generation", 3)
    assert np.array_equal(first.random(50), second.random(50))


def test_every_other_key_gives_other_draws():
    drawn = [tuple(stream(*path).integers(2**63, size=4)) for path in PATHS]
    assert len(set(drawn)) == len(PATHS)


def test_a_stream_does_not_depend_on_the_process():
    code = "from evoseg.core.streams import stream; print(stream(7, 'generation', 3).integers(2**63))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".").stdout
    assert int(printed) == stream(7, "generation", 3).integers(2**63)


def test_a_stream_leaves_the_global_generators_alone():
    import random

    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    stream(3, "x").random(10)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_a_stream_looks_uniform():
    draws = stream(1, "uniform").random(20_000)
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.std() == pytest.approx(12**-0.5, abs=0.02)
