"""An image that was seen is recognised again; another is not."""

import cv2
import numpy as np
from numpy.random import default_rng

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.survey import thumbnail
from evoseg.library.description import BITS, find_seen, image_hash, some_of
from evoseg.synthetic import SCENES


def picture(seed: int) -> np.ndarray:
    scene = SCENES["nuclei"](default_rng(seed), (160, 220), empty=0.0)
    return scene.image if scene.image.ndim == 3 else scene.image[:, :, None]


def hashed(image: np.ndarray) -> str | None:
    return image_hash(thumbnail(image if image.ndim == 3 else image[:, :, None]))


def test_another_encoding_size_or_lighting_is_the_same_image():
    image = picture(1)
    seen = [hashed(image)]
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    smaller = cv2.resize(image, (110, 80), interpolation=cv2.INTER_AREA)
    darker = (image * 0.6 + 20).astype(np.uint8)
    for other in (decoded, smaller, darker):
        assert find_seen({"x": hashed(other)}, seen) == "x"


def test_other_images_of_the_same_kind_are_not():
    seen = [hashed(picture(seed)) for seed in range(10)]
    assert find_seen({str(i): hashed(picture(100 + i)) for i in range(20)}, seen) is None
    assert all(digits is not None and len(digits) == BITS // 4 for digits in seen)


def test_an_image_without_structure_could_be_any():
    assert hashed(np.full((40, 50, 1), 9, np.uint8)) is None
    assert find_seen({"flat": None}, [hashed(picture(1))]) is None
    assert find_seen({"x": hashed(picture(1))}, []) is None


def test_fewer_images_are_measured_if_they_are_large():
    def measured(side: int) -> int:
        images = [picture(seed) for seed in range(15)]
        dataset = Dataset.from_arrays([cv2.resize(image, (side, side)).reshape(side, side, -1) for image in images])
        return len(some_of(dataset, dataset.stems))

    assert [measured(side) for side in (64, 700, 1024, 1500)] == [12, 8, 4, 4]
