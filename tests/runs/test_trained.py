"""The networks of a run: what a training is asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from evoseg.core.folds import each_alone
from evoseg.core.kinds import Kind
from evoseg.datasets.memmap import write_pack
from evoseg.evolve.budget import Budget
from evoseg.evolve.journal import RecordedClock
from evoseg.evolve.networks import TrainingRequest
from evoseg.networks.values import NetworkError
from evoseg.runs import trained
from evoseg.runs.trained import RunTrainer


@pytest.mark.parametrize(("workers", "n_images", "threads"), [(0, 5, 1), (2, 5, 2), (8, 5, 3), (8, 2, 2)])
def test_a_training_has_the_time_of_as_many_threads_as_there_are_networks(
    workers, n_images, threads, tmp_path, monkeypatch
):
    asked = []

    def refuse(examples, settings, folder):
        asked.append((settings.threads, settings.seconds))
        raise NetworkError("none today")

    monkeypatch.setattr(trained, "TrainingProcess", refuse)
    pack = write_pack(tmp_path / "images.pack", [("0", {"image": np.zeros((4, 4, 1), np.uint8)})])
    settings = SimpleNamespace(workers=workers, seed=0, encoder="pretrained")
    trainer = RunTrainer(tmp_path, settings, RecordedClock(Budget(seconds=60)))
    request = TrainingRequest(Kind.MASK, pack, each_alone(n_images), (), seconds=10.0, steps=None)
    assert trainer(request, lambda share: None) == "none today"
    assert asked == [(threads, 10.0 * threads)]


def test_two_units_make_two_networks_however_many_images_there_are(tmp_path, monkeypatch):
    asked = []

    def refuse(examples, settings, folder):
        asked.append((settings.threads, examples.units.tolist()))
        raise NetworkError("none today")

    monkeypatch.setattr(trained, "TrainingProcess", refuse)
    pack = write_pack(tmp_path / "images.pack", [("0", {"image": np.zeros((4, 4, 1), np.uint8)})])
    trainer = RunTrainer(
        tmp_path, SimpleNamespace(workers=8, seed=0, encoder="pretrained"), RecordedClock(Budget(seconds=60))
    )
    units = np.array([0, 0, 1, 1, 1])
    trainer(TrainingRequest(Kind.MASK, pack, units, (), seconds=10.0, steps=None), lambda share: None)
    assert asked == [(2, [0, 0, 1, 1, 1])]
