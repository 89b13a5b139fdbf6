"""Images and masks in named numbers: measured values are those that were drawn."""

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.library.descriptors import IMAGES, MASKS, image_statistics, mask_statistics, round_values
from evoseg.synthetic import SCENES


def bars(width: int, contrast: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw bright bars on a noisy ground; non-square on purpose."""
    rng = default_rng(seed)
    mask = np.zeros((150, 210), np.uint8)
    for row in range(20, 150 - width, 40):
        mask[row : row + width, 15:195] = 1
    image = 100 + contrast * mask.astype(float) + rng.normal(0, 6, mask.shape)
    return image.clip(0, 255).astype(np.uint8)[:, :, None], mask.astype(bool)


def measured(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    found = mask_statistics([image], [mask], [None])
    assert found is not None
    return found


@pytest.mark.parametrize("width", [5, 9, 17])
def test_thickness_is_the_width_of_a_bar(width):
    assert measured(*bars(width))["thickness"] == pytest.approx(width, rel=0.25)


def test_number_size_and_shape_are_as_drawn():
    found = measured(*bars(9))
    assert found["count"] == 4 and found["area"] == 9 * 180
    assert found["solidity"] > 0.95 and found["elongation"] > 10
    assert found["share"] == pytest.approx(4 * 9 * 180 / (150 * 210), rel=1e-3)


def test_contrast_has_a_sign_and_grows():
    strong, weak, dark = measured(*bars(9)), measured(*bars(9, 5)), measured(*bars(9, -40))
    assert strong["brightness"] > 0.95 > weak["brightness"] > 0.2
    assert dark["brightness"] < -0.95 and dark["separation"] > 0.95
    assert strong["ring"] > weak["ring"] > 0 > dark["ring"]


def test_unknown_pixels_do_not_count():
    image, mask = bars(9)
    known = np.ones_like(mask)
    known[:, 105:] = False
    half = mask_statistics([image], [mask], [known])
    assert half is not None and half["area"] == 9 * 90


def test_without_objects_there_is_nothing_to_measure():
    image, mask = bars(9)
    assert mask_statistics([image], [np.zeros_like(mask)], [None]) is None
    assert mask_statistics([image], [np.ones_like(mask)], [None]) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_flat_and_tiny_images_give_finite_numbers(dtype, channels):
    for shape in ((64, 80), (3, 2), (1, 1)):
        image = np.full((*shape, channels), 7, dtype)
        found = image_statistics([image])
        assert set(found) == {f.name for f in IMAGES.features} and np.isfinite(list(found.values())).all()
        vector = IMAGES.vector(found)
        assert vector is not None and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_native_units_do_not_matter():
    image, _ = bars(9)
    a, b = image_statistics([image]), image_statistics([image.astype(np.uint16) * 37 + 900])
    assert IMAGES.vector(a) @ IMAGES.vector(b) > 0.999


def test_two_samples_of_one_scene_are_nearer_than_two_scenes():
    def vectors(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        scenes = [SCENES[name](default_rng([seed, i]), (120, 160), empty=0.0) for i in range(4)]
        images = [s.image if s.image.ndim == 3 else s.image[:, :, None] for s in scenes]
        masks = mask_statistics(images, [s.mask for s in scenes], [None] * 4)
        assert masks is not None
        return IMAGES.vector(image_statistics(images)), MASKS.vector(masks)

    first, second, other = vectors("nuclei", 1), vectors("nuclei", 2), vectors("cracks", 3)
    for one, same, strange in zip(first, second, other, strict=True):
        assert one @ same > one @ strange + 0.1


def test_a_reason_names_what_two_tasks_share_and_others_do_not():
    thin, alike = measured(*bars(3)), measured(*bars(3, 30, seed=5))
    assert any("elongation" in words for words in MASKS.why(thin, alike, n=5))
    extreme = [dict(thin, holes=holes) for holes in (0.32, 1.0, 0.99)]
    assert not any("holes" in words for words in MASKS.why(extreme[0], extreme[1], n=17))
    assert any("holes" in words for words in MASKS.why(extreme[2], extreme[1], n=17))
    blob = np.zeros((150, 210), np.uint8)
    cv2.circle(blob, (100, 70), 40, 1, -1)
    image = (100 + 40 * blob[:, :, None]).astype(np.uint8)
    assert not any("elongation" in words for words in MASKS.why(thin, measured(image, blob.astype(bool)), n=5))


def test_a_missing_number_gives_no_vector():
    values = measured(*bars(9))
    assert MASKS.vector(values) is not None
    assert MASKS.vector({k: v for k, v in values.items() if k != "ring"}) is None
    assert round_values({"a": 1.23456}) == {"a": 1.235}
