"""Registration: one program on both images of a pair, judged by the shift that comes out."""

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.memmap import write_pack
from evoseg.evolve.evaluation.jobs import InProcess, Job, Measure, Request
from evoseg.evolve.evaluation.processes import Processes, WorkerSettings
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.evolve.tasks.plain_task import PlainTask, RegistrationTask
from evoseg.operators.registry import operators
from evoseg.pipeline import read_text
from evoseg.synthetic import element_maps

TASK = RegistrationTask()
SMOOTH = """def pipeline(image):
    window_1 = window(image, index=2, low=0.0, high=60.0, scale="linear")
    return gaussian(window_1, sigma=1.5)
"""
CUT = """def pipeline(image):
    window_1 = window(image, index=2, low=0.0, high=60.0, scale="linear")
    threshold_1 = threshold(window_1, level=99, polarity="bright")
    return distance(threshold_1)
"""


@pytest.fixture(scope="module")
def items():
    pairs = [element_maps(default_rng(seed), (50, 66)) for seed in range(3)]
    data = Dataset.from_arrays(
        [p.fixed for p in pairs], moving=[p.moving for p in pairs], shifts=[p.shift for p in pairs]
    )
    return [TASK.arrays(data.load(stem)) for stem in data.stems]


def job(text, measure=Measure.JUDGE):
    return Job((Request(read_text(text), measure),), (0, 1, 2), 60.0)


def test_both_images_are_filtered_and_the_error_is_in_pixels(items):
    (errors,) = InProcess(TASK, items, 1 << 24).run([job(SMOOTH)])[0].results
    assert errors.shape == (3, 1)
    assert errors.max() < 0.5
    assert TASK.score(errors).tolist() == (1 / (1 + errors[:, 0])).tolist()


def test_images_of_a_pair_are_not_mixed_up_in_the_cache(items):
    executor = InProcess(TASK, items, 1 << 24)
    first = executor.run([job(SMOOTH)])[0].results[0]
    # The window is at hand by now, of each image of each pair.
    np.testing.assert_array_equal(executor.run([job(SMOOTH)])[0].results[0], first)
    nothing = InProcess(TASK, items, 0).run([job(SMOOTH)])[0].results[0]
    np.testing.assert_array_equal(nothing, first)


def test_workers_give_the_same(items, tmp_path):
    pack = write_pack(tmp_path / "pairs.pack", [(f"{i}", item) for i, item in enumerate(items)])
    processes = Processes(TASK, pack.path, WorkerSettings())
    try:
        there = processes.run([job(SMOOTH)])[0].results[0]
    finally:
        processes.close()
    np.testing.assert_array_equal(there, InProcess(TASK, items, 1 << 24).run([job(SMOOTH)])[0].results[0])


def test_a_survey_is_of_both_images(items):
    program = read_text(CUT)
    until = Job((Request(program.until(1), Measure.HISTOGRAM),), (0, 1, 2), 60.0)
    (histograms,) = InProcess(TASK, items, 1 << 24).run([until])[0].results
    assert histograms.sum(axis=1).tolist() == [2 * 50 * 66] * 3


@pytest.mark.parametrize("seed", range(3))
def test_levels_are_guessed_as_otsu_does(seed):
    rng = default_rng(seed)
    plane = np.concatenate([rng.normal(70, 12, 900), rng.normal(160, 20, 300)]).clip(0, 255).astype(np.uint8)[None]
    survey = PlainTask.histogram(TASK, (plane,), None)
    shares, counts = PlainTask.score_thresholds(TASK, survey[None])
    assert counts is None
    assert shares.shape == (2, 256, 1)
    assert 0 <= shares.min() <= shares.max() <= 1
    assert int(shares[0, :, 0].argmax()) == int(cv2.threshold(plane, 0, 255, cv2.THRESH_OTSU)[0])


def test_a_flat_plane_has_no_best_level():
    survey = PlainTask.histogram(TASK, (np.full((4, 5), 9, np.uint8),), None)
    assert not PlainTask.score_thresholds(TASK, survey[None])[0].any()


def test_programs_that_register_are_made_of_planes_and_masks():
    assert {op.output for op in select_usable(operators(), Kind.GRAY)} == {Kind.GRAY, Kind.MASK}
