"""The training of the shipped network repeats, uses only what its licence allows, and is measured fairly."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.datasets.card import DatasetCard, read_card
from evoseg.networks.embedding import resnet
from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def scripts(script):
    return script("embedder"), script("embedder_ranks")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Return a folder with one dataset of ours and one that may not be trained on."""
    root = tmp_path_factory.mktemp("datasets")
    for name, licence in (("cracks", "CC0 1.0"), ("pores", "CC BY-NC-SA 4.0")):
        folder = draw_dataset(name, root / name, 6, (120, 140), seed=1)
        card = (folder / "dataset.yaml").read_text().replace("CC0 1.0", licence)
        (folder / "dataset.yaml").write_text(
            card + f"splits:\n  train: [{name}_000, {name}_001, {name}_002]\n  test: [{name}_003]\n"
        )
    return root


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("CC0 1.0", True),
        ("CC0 (as stated by the repository)", True),
        ("CC BY 4.0", True),
        ("CC BY 4.0 (as the repository states for the data)", True),
        ("MIT (repository)", True),
        ("Apache-2.0 (repository)", True),
        ("CC BY-NC-SA 4.0 (MVTec AD)", False),
        ("CC BY-SA 4.0", False),
        ("CC BY-ND 4.0", False),
        ("CC BY NC 4.0", False),
        ("repository MIT; data: free for research, challenge terms", False),
        ("GPL-3.0 (HRSID repository)", False),
        ("not stated", False),
        ("", False),
    ],
)
def test_only_licences_that_allow_it_are_trained_on(scripts, text, ours):
    assert scripts[0].licensed(DatasetCard(license=text)) is ours


def test_only_train_images_of_licensed_datasets_are_read(scripts, root, capsys):
    (source,) = scripts[0].datasets(root)
    assert source.name == "cracks"
    assert [len(half) for half in source.halves] == [2, 1]
    stems = read_card(root / "cracks" / "dataset.yaml").splits["train"]
    images = [scripts[0].shown(scripts[0].read_image(root / "cracks" / "images" / f"{stem}.png")) for stem in stems]
    assert np.array_equal(source.halves[1][0], images[1])
    assert "cracks: 3 train images; CC0 1.0" in capsys.readouterr().err


def test_halves_of_a_source_share_no_image(scripts):
    for source in scripts[0].photos():
        one, other = ([half.tobytes() for half in side] for side in source.halves)
        assert len(one) == len(other) == 2
        assert not set(one) & set(other)


def test_views_are_tiles_between_0_and_1_whatever_the_look(scripts, root):
    embedder = scripts[0]
    sources = [*embedder.datasets(root)]
    rng = default_rng(0)
    for source, look in embedder.problems(rng, sources, 60):
        for half in (0, 1):
            tile = embedder.view(rng, source, look, half)
            assert tile.shape == (scripts[0].TILE, scripts[0].TILE, 3) and 0 <= tile.min() <= tile.max() <= 1


def test_a_training_repeats_to_the_last_bit(scripts, root, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts[0], "DRAWN", 2)
    for run in ("one", "two"):
        out, log = tmp_path / f"{run}.safetensors", tmp_path / f"{run}.jsonl"
        asked = ["train", "--out", str(out), "--log", str(log), "--datasets", str(root), "--steps", "3"]
        monkeypatch.setattr(sys, "argv", ["embedder.py", *asked])
        assert scripts[0].main() == 0
    one, two = ((tmp_path / f"{run}.safetensors").read_bytes() for run in ("one", "two"))
    assert one == two
    assert resnet(tmp_path / "one.safetensors").dim == scripts[0].SLIM.dim
    assert {"cracks", "nuclei", "brick.png"} <= scripts[1].trained_on(tmp_path / "one.safetensors")
    row = json.loads((tmp_path / "one.jsonl").read_text())
    assert row["step"] == 3
    assert 0 <= row["found"] <= 1
    scripts[0].draw_curve([tmp_path / "one.jsonl"], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_ranks_count_nearest_siblings_and_places(scripts):
    def seen(name: str, family: str, at: tuple[float, float]) -> object:
        return scripts[1].Seen(name, family, np.tile(at, (4, 1)), np.tile(at[::-1], (4, 1)))

    far = [seen("a", "f", (0.0, 0.0)), seen("b", "f", (0.1, 0.0)), seen("c", "g", (0.0, 5.0))]
    asking = ["b", "c"]
    assert scripts[1].ranks(far, asking, 2, again=False, cosine=False) == [1, 1, 1]
    # Retaken, b lies at (0, 0.1) and c at (5, 0). Both ways, b finds a, its sibling, before itself; c finds b and a.
    found = scripts[1].ranks(far, asking, 2, again=True, cosine=False)
    assert found == pytest.approx([0, 0.5, (1 / 2 + 1 / 3) / 2])
