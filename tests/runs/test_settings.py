import json
from dataclasses import replace

import numpy as np
from numpy.random import default_rng

import evoseg
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.tasks.task_kinds import find_kind
from evoseg.operators import registry
from evoseg.runs.options import SearchOptions
from evoseg.runs.record import make_record, read_settings
from evoseg.runs.settings import RunSettings, resolve_settings

RETIRED = {op.name for op in registry.operators(retired=True) if op.retired}


def proposed(settings: RunSettings) -> set[str]:
    """Return the operators of a search's vocabulary."""
    stats = measure_images([default_rng(0).integers(0, 256, (31, 37, 3), dtype="uint8")])
    vocabulary = make_vocabulary(stats, Kind.MASK, without=settings.search_settings().without)
    return {op.name for op in vocabulary.operators}


def test_a_new_search_proposes_no_retired_operator():
    assert RETIRED
    assert not proposed(resolve_settings(SearchOptions())) & RETIRED


def test_a_run_that_was_recorded_before_operators_were_retired_proposes_them_as_it_did():
    settings = resolve_settings(SearchOptions())
    recorded = {name: value for name, value in vars(settings).items() if name != "early"}
    assert proposed(RunSettings(**recorded)) & RETIRED
    assert not proposed(RunSettings(**recorded, early=False)) & RETIRED


def test_a_record_says_whether_its_run_is_of_an_early_version():
    """By `ipp`, or not at all, where it is from before `early` was a setting."""
    data = Dataset.from_arrays([np.eye(20, 24, dtype=np.uint8)], [np.eye(20, 24, dtype=bool)])
    asked = resolve_settings(SearchOptions()).with_task(find_kind("binary"), "iou", None)
    record = make_record("run", asked, data, split(data))
    without = {name: value for name, value in record.settings.items() if name != "early"}
    for settings, early in (
        (record.settings, False),
        (without, True),
        (without | {"equal_as_one": True, "ipp": False, "retired": False}, False),
    ):
        recorded = json.loads(json.dumps(settings))
        assert read_settings(replace(record, settings=recorded)).early is early


def test_a_search_may_start_from_a_pipeline_with_a_retired_operator(tmp_path):
    evoseg.draw_dataset("cracks", tmp_path / "cracks", n=6, shape=(60, 84), seed=3)
    text = """# evoseg 1: channel@1 gabor@1 threshold@1 skeleton@1
def pipeline(image):
    channel_1 = channel(image, index=0)
    gabor_1 = gabor(channel_1)
    threshold_1 = threshold(gabor_1, level=28, polarity="bright")
    return skeleton(threshold_1)
"""
    result = evoseg.search(
        tmp_path / "cracks",
        evaluations=40,
        start=text,
        workers=0,
        library="none",
        report=False,
        out=tmp_path / "run",
    )
    assert result.evaluations == 40
