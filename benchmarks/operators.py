"""Speed of every operator beside its cost model: ms at 512^2 and 2048^2 on one thread, and the ratios.

    python benchmarks/operators.py [--large] [--ipp] [--only NAME ...] [--worst]

`clock/model` is the time at 512^2 over the modelled one; `large/small` is time per pixel at 2048^2 over that at
512^2. Each row is one choice of parameters: the default, then both ends of every range and every word on their own.
Rows whose modelled cost equals the default's are timed only if `--all` is given. Times are CPU times, the least of
several runs.
"""

import argparse
import ctypes
import sys
import time

import cv2
import numpy as np

import evoseg.operators  # noqa: F401  (registers them)
from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.operators.parameters import ContentDigest, Numbers, OneOf, Parameter, Range, Value
from evoseg.operators.registry import Operator, operators


def drawn(side: int, seed: int) -> np.ndarray:
    """Return a scene of blobs, a lighting ramp, lines and noise."""
    rng = stream(seed, "benchmark")
    blobs = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 6)
    ramp = np.linspace(80, 150, side, dtype=np.float32)
    scene = ramp + 40 * np.sign(blobs) * (np.abs(blobs) > 0.04) + 5 * rng.standard_normal((side, side))
    plane = np.clip(scene, 0, 255).astype(np.uint8)
    for _ in range(side // 16):
        start, end = rng.integers(0, side, 2), rng.integers(0, side, 2)
        cv2.line(plane, start.tolist(), end.tolist(), 20, 2)
    return plane


def inputs(op: Operator, side: int) -> tuple[np.ndarray, ...]:
    """Return one value of each kind that the operator takes; masks hold a few hundred objects and some specks."""
    made = []
    for slot, kind in enumerate(op.inputs):
        plane = drawn(side, slot)
        if kind == Kind.RAW:
            made.append(np.dstack([plane, drawn(side, 7), drawn(side, 8)]))
        elif kind == Kind.MASK:
            made.append(cv2.medianBlur(plane, 3) > 140)
        else:
            made.append(plane)
    return tuple(made)


def ends(parameter: Parameter) -> list[Value]:
    """Return the extreme values of one parameter."""
    domain = parameter.domain
    if isinstance(domain, OneOf):
        return list(domain.values)
    if isinstance(domain, Numbers):
        middle = (domain.low + domain.high) / 2 + 0.3
        return [(middle,) * domain.least, (middle,) * domain.most]
    if isinstance(domain, ContentDigest):
        return [parameter.default]
    assert isinstance(domain, Range)
    return [parameter.check(int(v) if parameter.integer else v) for v in (domain.low, domain.high)]


def choices(op: Operator, everything: bool) -> list[tuple[Value, ...]]:
    """Return the default values and those that differ in one parameter and in modelled cost."""
    default = tuple(p.default for p in op.parameters)
    found = [default]
    costs = {round(op.cost(default), 3)}
    for at, parameter in enumerate(op.parameters):
        for value in ends(parameter):
            values = (*default[:at], value, *default[at + 1 :])
            if values not in found and (everything or round(op.cost(values), 3) not in costs):
                found.append(values)
                costs.add(round(op.cost(values), 3))
    return found


def clock(op: Operator, arrays: tuple[np.ndarray, ...], values: tuple[Value, ...], limit_s: float) -> float:
    """Return the least CPU time of one run in seconds: other programs hardly change it."""
    op.run(arrays, values)
    least, spent, runs = float("inf"), 0.0, 0
    while runs < 3 or (spent < limit_s and runs < 50):
        start = time.thread_time()
        op.run(arrays, values)
        took = time.thread_time() - start
        least, spent, runs = min(least, took), spent + took, runs + 1
    return least


def without_ipp(op: Operator, arrays: tuple[np.ndarray, ...], values: tuple[Value, ...]) -> float:
    """Return the time without Intel IPP, as evoseg runs operators, over the time with it, each the least of several."""
    least = {True: float("inf"), False: float("inf")}
    for _ in range(4):
        for ipp in (True, False):
            cv2.ipp.setUseIPP(ipp)
            start = time.perf_counter()
            op.function(*arrays, **op.named(values))
            least[ipp] = min(least[ipp], time.perf_counter() - start)
    return least[False] / least[True]


def keep_memory() -> None:
    """Ask glibc to keep freed memory: otherwise each float plane is paid for in page faults, up to 4 times its sums."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also at 2048^2")
    parser.add_argument("--all", action="store_true", help="also parameters that the model says cost nothing")
    parser.add_argument("--ipp", action="store_true", help="also the time without Intel IPP over that with it")
    parser.add_argument("--only", nargs="*", help="names of operators")
    parser.add_argument("--worst", action="store_true", help="only rows off by more than 1.5, or above 10 ms")
    parser.add_argument("--plain-memory", action="store_true", help="leave glibc's memory settings as they are")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if not options.plain_memory:
        keep_memory()
    print(
        f"{'operator':18} {'parameters':44} {'ms 512':>8} {'model':>8} {'clock/model':>11}"
        + " large/small" * options.large
        + " ipp off/on" * options.ipp
    )
    for op in operators(retired=True):
        if options.only and op.name not in options.only:
            continue
        small = inputs(op, 512)
        large = inputs(op, 2048) if options.large else ()
        for values in choices(op, options.all):
            took = clock(op, small, values, 0.03)
            model = op.cost(values) * 512 * 512 * 1e-9
            off = took / model
            growth = clock(op, large, values, 0.05) / took / 16 if options.large else 1.0
            if options.worst and 1 / 1.5 < off < 1.5 and took < 0.01 and growth < 1.5:
                continue
            shown = " ".join(f"{k}={v if not isinstance(v, tuple) else len(v)}" for k, v in op.named(values).items())
            line = f"{op.name:18} {shown[:44]:44} {took * 1e3:8.3f} {model * 1e3:8.3f} {off:11.2f}"
            line += f" {growth:11.2f}" if options.large else ""
            print(line + (f" {without_ipp(op, small, values):10.2f}" if options.ipp else ""), flush=True)


if __name__ == "__main__":
    main()
