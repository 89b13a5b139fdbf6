"""Sixteen bits: spots of a few tens of counts on a ramp of tens of thousands are found."""

from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.datasets.io.files import read_image
from evoseg.datasets.maskrules import read_mask
from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.e2e

EVALUATIONS = 250


def found_on(data: evoseg.Dataset, folder: Path) -> float:
    found = evoseg.search(data, evaluations=EVALUATIONS, workers=1, out=folder)
    assert found.scores["test"] is not None
    return found.scores["test"]


def test_faint_spots_are_found_in_16_bit_and_lost_by_a_conversion_of_each_image_to_8_bit(tmp_path):
    folder = draw_dataset("spots", tmp_path / "spots", n=10, shape=(240, 260), seed=4)
    stems = sorted(path.stem for path in (folder / "images").iterdir())
    images = {stem: read_image(next((folder / "images").glob(f"{stem}.*"))) for stem in stems}
    masks = {stem: read_mask(next((folder / "masks").glob(f"{stem}.*"))) for stem in stems}
    assert all(image.dtype == np.uint16 for image in images.values())

    converted = {}
    for stem, image in images.items():
        low, high = int(image.min()), int(image.max())
        converted[stem] = np.round((image.astype(float) - low) * 255 / (high - low)).astype(np.uint8)

    native = found_on(evoseg.Dataset(folder), tmp_path / "native")
    lost = found_on(evoseg.Dataset.from_arrays(converted, masks), tmp_path / "converted")
    assert native >= 0.7
    # Not zero: noise dithers what rounding takes away, and a filter averages some of it back.
    assert lost < native - 0.25
