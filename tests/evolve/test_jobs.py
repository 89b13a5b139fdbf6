"""Jobs run in this process: shared values within a memory budget, failures as data, right answers."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.core.kinds import Kind
from evoseg.evolve.evaluation.jobs import InProcess, Job, Measure, Outcome, Request, ValueCache
from evoseg.evolve.ports import Failed
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.metrics.mask_scores import confusion
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import NastyTask, discs, marking, ramp
from tests.pipeline.programs import programs

LARGE = 1 << 30


def ask(executor: InProcess, *programs: Pipeline, images: tuple[int, ...] = (0, 1)) -> Outcome:
    return executor.run([Job(tuple(Request(p) for p in programs), images, 5.0)])[0]


def as_mask(pipeline: Pipeline) -> Pipeline:
    if pipeline.output is Kind.MASK:
        return pipeline
    planes = [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).output is Kind.GRAY]
    return Pipeline([*pipeline.steps, step("level", planes[-1], level=100)])


@given(
    budget=st.integers(0, 5000),
    calls=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 7000)), max_size=40),
)
def test_the_cache_never_holds_more_than_its_budget(budget, calls):
    cache = ValueCache(budget)
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    for i, (put, key, size) in enumerate(calls):
        if put:
            value = np.zeros(size, np.uint8)
            alive[i] = value
            cache.put((bytes([key]), 0), value, value.nbytes)
            del value
        else:
            cache.get((bytes([key]), 0))
        assert sum(v.nbytes for v in alive.values()) <= budget


def test_the_cache_drops_what_was_not_used_for_longest():
    cache = ValueCache(300)
    for name in (b"a", b"b", b"c"):
        cache.put((name, 0), np.zeros(100, np.uint8), 100)
    cache.get((b"a", 0))
    cache.put((b"d", 0), np.zeros(100, np.uint8), 100)
    assert [cache.get((name, 0)) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_a_value_larger_than_the_budget_drives_nothing_else_out():
    cache = ValueCache(300)
    cache.put((b"a", 0), np.zeros(100, np.uint8), 100)
    cache.put((b"b", 0), np.zeros(301, np.uint8), 301)
    assert cache.get((b"a", 0)) is not None
    assert cache.get((b"b", 0)) is None


def test_a_value_put_twice_counts_once():
    cache = ValueCache(300)
    for _ in range(10):
        cache.put((b"a", 0), np.zeros(100, np.uint8), 100)
    cache.put((b"b", 0), np.zeros(200, np.uint8), 200)
    assert cache.get((b"a", 0)) is not None


def test_images_do_not_share_values():
    cache = ValueCache(300)
    cache.put((b"a", 0), np.zeros(100, np.uint8), 100)
    assert cache.get((b"a", 1)) is None


@pytest.mark.parametrize("cache_bytes", [0, 10_000, LARGE])
@settings(max_examples=40)
@given(pipelines=st.lists(programs(6).map(as_mask), min_size=1, max_size=4))
def test_answers_do_not_depend_on_the_cache(cache_bytes, pipelines):
    items = discs(2, shape=(24, 31))
    executor = InProcess(BinaryTask(), items, cache_bytes)
    for _ in range(2):
        outcome = ask(executor, *pipelines)
        for pipeline, result in zip(pipelines, outcome.results, strict=True):
            assert not isinstance(result, Failed), result
            assert result.tolist() == [confusion(pipeline(i["image"]), i["mask"]).tolist() for i in items]


@pytest.mark.parametrize("cache_bytes", [0, LARGE])
def test_a_doubling_chain_runs_each_step_once(cache_bytes):
    # Without sharing, 2 to the 150th additions, whether or not the cache has room.
    steps = [step("channel", IMAGE), *(step("add", i, i) for i in range(150))]
    program = Pipeline([*steps, step("level", 150, level=200)])
    (result,) = ask(InProcess(BinaryTask(), discs(2), cache_bytes), program).results
    assert not isinstance(result, Failed)


def test_shared_steps_are_computed_once_per_image(monkeypatch):
    runs = []
    original = registry.Operator.run
    monkeypatch.setattr(registry.Operator, "run", lambda op, a, v: (runs.append(op.name), original(op, a, v))[1])
    smooth = [step("channel", IMAGE), step("gaussian", 0, sigma=3.0)]
    some = [Pipeline([*smooth, step("level", 1, level=n)]) for n in (90, 120, 150)]
    executor = InProcess(BinaryTask(), discs(2), LARGE)
    ask(executor, *some)
    ask(executor, *some)
    assert runs.count("gaussian") == 2
    assert runs.count("level") == 12


def test_a_survey_sees_the_planes_before_the_last_step():
    items = discs(2)
    program = Pipeline([step("channel", IMAGE, index=1), step("threshold", 0)])
    job = Job((Request(program, measure=Measure.HISTOGRAM),), (1,), 5.0)
    (survey,) = InProcess(BinaryTask(), items, LARGE).run([job])[0].results
    plane, mask = items[1]["image"][:, :, 1], items[1]["mask"]
    expected = [np.bincount(plane[part], minlength=256).tolist() for part in (mask, ~mask)]
    assert survey[0].tolist() == expected


def test_images_come_back_in_the_order_asked_for():
    items = discs(3)
    executor = InProcess(BinaryTask(), items, LARGE)
    program = marking(100)
    forward, backward = (ask(executor, program, images=order).results[0] for order in ((0, 1, 2), (2, 1, 0)))
    assert forward[::-1].tolist() == backward.tolist()
    assert len({tuple(row) for row in forward.tolist()}) == 3


def test_a_candidate_that_raises_is_data_and_harms_nobody():
    executor = InProcess(NastyTask(), ramp(), LARGE)
    good, bad, also_good = ask(executor, marking(100), marking(5), marking(50), images=(0,)).results
    assert isinstance(bad, Failed)
    assert bad.pipeline == marking(5)
    assert bad.reason == "ZeroDivisionError: one of those days"
    assert "judge" in bad.traceback
    assert good[0, :2].tolist() == [100, 0]
    assert also_good[0, :2].tolist() == [50, 0]
