"""Which embedders describe images, and a ResNet of the user's own among them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split_to_search
from evoseg.library.collection import Library, bundled_tasks, save_image_folder
from evoseg.library.description import hash_images
from evoseg.library.embedders import (
    describe_own_tasks,
    embedders,
    forget_own_weights,
    likeness_to_noise,
    needed_embedders,
    own_weights,
    set_own_weights,
)
from evoseg.library.likeness import EMBEDDING
from evoseg.networks.embedding import WeightsError
from evoseg.synthetic import draw_dataset
from tests.library.helpers import task
from tests.networks.networks import TINY, filled


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path / "home"))
    torch.save(filled(TINY), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def test_own_weights_come_first_until_they_are_forgotten(weights):
    before = [embedder.id for embedder in embedders()]
    own = set_own_weights(weights)
    weights.unlink()
    assert [embedder.id for embedder in embedders()] == [own.id, *before]
    forget_own_weights()
    assert [embedder.id for embedder in embedders()] == before and own_weights() is None


def test_a_file_that_is_no_resnet_changes_nothing(weights, tmp_path):
    own = set_own_weights(weights)
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"bad\.pth"):
        set_own_weights(tmp_path / "bad.pth")
    assert embedders()[0].id == own.id


def test_bundled_tasks_are_described_by_own_weights_as_far_as_there_are_pictures(weights, tmp_path):
    own = set_own_weights(weights)
    with Library(tmp_path / "library.db") as library:
        described = [t.name for t in library.bundled.values() if next(iter(t.vectors)) == own.id]
        assert "dsb2018_fluo" in described and "crackforest" not in described
        assert {own.id, *(name for t in bundled_tasks() for name in t.vectors)} <= set(library.norms)


def test_own_tasks_are_described_where_their_images_are_still_there(weights, tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "drawn", 4, (64, 80), seed=3)
    dataset = Dataset(folder)
    seen = hash_images(dataset, split_to_search(dataset).search)
    here = task("here", 1, channels=len(dataset.channels), hashes=tuple(h for h in seen.values() if h))
    other, gone = task("other", 2, channels=len(dataset.channels)), task("gone", 3)
    with Library(tmp_path / "library.db") as library:
        library.add([here, other, gone])
        for known in (here, other):
            save_image_folder(known.id, folder)
        own = set_own_weights(weights)
        assert describe_own_tasks(library, own) == (1, 2)
        assert describe_own_tasks(library, own) == (0, 2)
        assert list(library.find("here").vectors) == [own.id] and not library.find("other").vectors
    with Library(tmp_path / "library.db") as library:
        found = dict(library.most_alike({own.id: library.find("here").vectors[own.id]}))
        assert found[here.id].parts[EMBEDDING] == pytest.approx(1, abs=1e-3)
        assert library.find("here").statistics == here.statistics


def test_noise_is_like_other_noise_more_than_like_any_task(tmp_path):
    rng = np.random.default_rng(7)
    white = rng.normal(1000, 80, (300, 400, 1)).astype(np.uint16)
    first = embedders()[0]
    here = {first.id: first.embed(white)}
    with Library(tmp_path / "library.db") as library:
        assert likeness_to_noise(first, here, library.norms) > library.most_alike(here)[0][1].value


def test_further_embedders_are_needed_only_for_tasks_that_lack_the_first(tmp_path):
    first, second = embedders()
    with Library(tmp_path / "library.db") as library:
        assert needed_embedders(library) == (first,)
        library.add([replace(task("both", 1), vectors={e.id: np.ones(e.dim, np.float32) for e in (first, second)})])
        assert needed_embedders(library) == (first,)
        library.add([replace(task("old", 2), vectors={second.id: np.ones(second.dim, np.float32)})])
        assert needed_embedders(library) == (first, second)
