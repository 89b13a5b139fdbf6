"""Sandboxes for tests; those that need one are skipped only where the kernel has no Landlock at all."""

import ctypes
import sys
from collections.abc import Iterator

import pytest

from evoseg.sandbox.admission import Admission
from evoseg.sandbox.supervisor import Sandbox


def skip_without_landlock() -> None:
    if sys.platform != "linux" or ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        pytest.skip("this kernel has no Landlock")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    skip_without_landlock()
    with Sandbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def admission() -> Iterator[Admission]:
    skip_without_landlock()
    with Admission() as opened:
        yield opened
