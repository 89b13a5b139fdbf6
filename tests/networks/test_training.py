"""A training learns, gives the same for the same seed, and never tells an image what its own truth is."""

from dataclasses import replace

import numpy as np
import pytest

from evoseg.core.folds import each_alone
from evoseg.datasets.memmap import Pack
from evoseg.networks import training
from evoseg.networks.course import Course
from evoseg.networks.optimising import Stopwatch
from evoseg.networks.process import TrainingProcess
from evoseg.networks.training import train
from evoseg.networks.values import Example, NetworkError, Progress, Trained, TrainingSettings
from evoseg.networks.weights import is_pretrained_available
from evoseg.operators.network import add_network, describe_network, digest_of, network
from tests.networks.drawn import discs, iou, masks_of, packed

SHORT = TrainingSettings(steps=6)
needs_weights = pytest.mark.skipif(not is_pretrained_available(), reason="the encoder's weights are not installed")


def run(trained: Trained, image: np.ndarray, channels: int = 1) -> np.ndarray:
    """Run the ensemble."""
    weights = add_network(trained.file)
    outputs = describe_network(weights).outputs
    return np.stack([network(image, weights=weights, output=output) for output in outputs])


@needs_weights
@pytest.mark.e2e
def test_it_learns_what_filters_of_brightness_cannot_tell():
    examples, new = masks_of(discs(5)), masks_of(discs(3, seed=9))
    trained = train(examples, TrainingSettings(steps=150))
    for example, planes in zip(examples, trained.planes, strict=True):
        assert iou(planes["foreground"] > 127, example.truth) > 0.7
    for example in new:
        assert iou(run(trained, example.image)[0] > 127, example.truth) > 0.8
    assert np.mean(trained.notes["out_of_bag"]) > 0.75


@pytest.mark.e2e
def test_a_small_encoder_learns_objects_from_scratch():
    examples = discs(4)
    trained = train(examples, TrainingSettings(head="objects", steps=150, encoder="small", threads=2))
    foreground, distance = run(trained, examples[0].image)
    assert iou(foreground > 127, examples[0].truth > 0) > 0.7
    assert distance[examples[0].truth == 0].mean() < 30 < 120 < distance.max()


@pytest.mark.parametrize("encoder", ["pretrained", "small"])
def test_an_image_never_learns_from_its_own_truth(encoder):
    examples = masks_of(discs(4))
    settings = replace(SHORT, encoder=encoder)
    before = train(examples, settings)
    changed = [replace(examples[0], truth=np.roll(examples[0].truth, 31, axis=1)), *examples[1:]]
    after = train(changed, settings, views=[(0, examples[0].image[:, ::-1].copy())])
    # Network 0 trains without examples 0 and 3, and the others with one of the two.
    assert (before.planes[0]["foreground"] == after.planes[0]["foreground"]).all()
    assert (before.planes[1]["foreground"] != after.planes[1]["foreground"]).any()
    assert after.view_planes[0]["foreground"].shape == examples[0].truth.shape


def test_an_image_never_learns_from_another_of_its_unit():
    examples, units = masks_of(discs(4)), np.array([0, 0, 1, 2])
    changed = [examples[0], replace(examples[1], truth=np.roll(examples[1].truth, 31, axis=1)), *examples[2:]]
    before, after = (train(some, SHORT, units=units) for some in (examples, changed))
    assert (before.planes[0]["foreground"] == after.planes[0]["foreground"]).all()
    assert (before.planes[2]["foreground"] != after.planes[2]["foreground"]).any()


def test_steps_and_seed_decide_the_result_whatever_the_number_of_threads():
    examples = masks_of(discs(4))
    one, two = train(examples, SHORT), train(examples, replace(SHORT, threads=3))
    assert one.file == two.file
    assert all((a["foreground"] == b["foreground"]).all() for a, b in zip(one.planes, two.planes, strict=True))
    assert train(examples, replace(SHORT, seed=1)).file != one.file


@needs_weights
def test_a_long_training_hands_out_a_network_of_all_images_and_judges_by_the_others(monkeypatch):
    examples = masks_of(discs(4))
    mean = train(examples, replace(SHORT, steps=8))
    monkeypatch.setattr(training, "_LEAST_TUNED_STEPS", 8)
    long = replace(SHORT, steps=8)
    one, two = train(examples, long), train(examples, replace(long, threads=3))
    assert one.file == two.file
    assert (one.notes["steps"], one.notes["tuning_steps"], mean.notes["tuning_steps"]) == (4, 5, 0)
    assert len(one.file) < len(mean.file)  # one decoder instead of three
    changed = [replace(examples[0], truth=np.roll(examples[0].truth, 31, axis=1)), *examples[1:]]
    other = train(changed, long)
    assert (one.planes[0]["foreground"] == other.planes[0]["foreground"]).all()
    assert one.file != other.file


def test_points_and_unknown_pixels_are_learnt_from():
    points = [np.argwhere(example.truth > 0)[::50].astype(np.float64) for example in discs(3)]
    known = np.arange(144) >= np.full((112, 1), 40)
    examples = [Example(example.image, p, known) for example, p in zip(discs(3), points, strict=True)]
    trained = train(examples, replace(SHORT, head="points", n_networks=2))
    assert [list(planes) for planes in trained.planes] == [["points"]] * 3


def test_resolutions_are_not_compared_if_that_takes_the_time_to_look_at_the_images(monkeypatch):
    examples = masks_of(discs(4, (600, 640), radius=20))
    settings = TrainingSettings(seconds=1.5, encoder="small")
    trained = train(examples, settings)
    assert trained.notes["reduction"] == 2 and "resolution_scores" not in trained.notes

    class Slow(Course):
        def predicting_seconds(self, images):
            return super().predicting_seconds(images) * (1000 if self.reduction == 1 and self.n_steps else 1)

    # Where it turns out in the trial that there is no time for full resolution, the other one is left.
    monkeypatch.setattr(training, "Course", Slow)
    monkeypatch.setattr(training, "_SURE_GAIN", 2.0)
    trained = train(masks_of(discs(2, (230, 320), radius=20)), settings)
    assert trained.notes["reduction"] == 2 and set(trained.notes["resolution_scores"]) == {"1", "2"}


def test_images_that_there_is_no_time_to_look_at_are_an_error_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(Course, "train", lambda *_: pytest.fail("trained"))
    examples = masks_of(discs(2, (600, 640), radius=20))
    with pytest.raises(NetworkError, match="too many, or too large, for 1 s"):
        train(examples, TrainingSettings(seconds=1, encoder="small"), views=[(0, examples[0].image)] * 60)


def test_a_machine_that_is_too_busy_to_begin_is_not_blamed_on_the_images(monkeypatch):
    monkeypatch.setattr(Course, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(Stopwatch, "seconds", 30.0)
    with pytest.raises(NetworkError, match="of 30 s for training, 30 s were over before it began"):
        train(masks_of(discs(2)), TrainingSettings(seconds=30, encoder="small"))


def test_two_images_make_two_networks_and_one_makes_an_error():
    assert train(masks_of(discs(2)), SHORT).notes["networks"] == 2
    with pytest.raises(NetworkError, match="at least 2"):
        train(masks_of(discs(1)), SHORT)
    with pytest.raises(NetworkError, match="only one of them"):
        TrainingSettings(seconds=3, steps=3)


@pytest.mark.e2e
def test_a_process_of_its_own_gives_the_same(tmp_path):
    examples, progress = masks_of(discs(3)), []
    given = replace(packed(tmp_path, [*examples, examples[1]]), units=each_alone(3), views=(1,))
    process = TrainingProcess(given, SHORT, tmp_path)
    while not isinstance(apart := process.read(), Trained):
        progress.append(apart)
    here = train(examples, SHORT)
    assert apart.file == here.file
    planes = Pack(tmp_path / f"{digest_of(here.file)}.pack").items
    for found, wanted in zip(planes, [*here.planes, here.planes[1]], strict=True):
        np.testing.assert_array_equal(found["foreground"], wanted["foreground"])
    assert progress and all(isinstance(news, Progress) for news in progress)


@pytest.mark.e2e
def test_a_killed_process_and_too_little_memory_are_errors(tmp_path):
    examples = packed(tmp_path, masks_of(discs(3)))
    process = TrainingProcess(examples, TrainingSettings(seconds=60), tmp_path)
    process._process.kill()
    with pytest.raises(NetworkError, match="SIGKILL"):
        read_all(process)
    process.close()
    process = TrainingProcess(examples, SHORT, tmp_path, memory_bytes=300 << 20)
    with pytest.raises(NetworkError, match="failed|died"):
        read_all(process)
    process.close()


@pytest.mark.e2e
@needs_weights
def test_many_images_fit_into_the_memory_of_a_training(tmp_path):
    examples = masks_of(discs(2, (512, 512), channels=3)) * 12
    process = TrainingProcess(packed(tmp_path, examples), replace(SHORT, steps=1), tmp_path, memory_bytes=1100 << 20)
    assert len(read_all(process).notes["out_of_bag"]) == len(examples)


def read_all(process: TrainingProcess) -> Trained:
    while not isinstance(news := process.read(), Trained):
        pass
    return news
