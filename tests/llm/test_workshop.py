"""What a model sees: how well a plane tells objects from the rest, by hand-counted histograms, and all images."""

from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from evoseg.drawing import TRUTH
from evoseg.llm.workshop import MOST_ON_SHEET, SHEET_PX, Workshop, best_iou, roc_area
from tests.llm.helpers import SAMPLES, material


def test_separation_of_two_histograms():
    # Levels 0 to 3: four pixels of objects, six of the rest.
    objects, rest = np.array([0, 1, 1, 2]), np.array([3, 2, 1, 0])
    # Pairs in which the object is brighter, equals counting half: 1 * (3 + 1) + 1 * (5 + 0.5) + 2 * 6 = 21.5 of 24.
    assert roc_area(objects, rest) == pytest.approx(21.5 / 24)
    # From level 3: 2 of 4. From 2: 3 of 4 + 1. From 1: 4 of 4 + 3. From 0: 4 of 10.
    assert best_iou(objects, rest) == pytest.approx(3 / 5)
    assert best_iou(objects[::-1], rest[::-1]) == pytest.approx(2 / 5)


@pytest.mark.parametrize("n", [1, 3, 10, 200])
def test_all_images_are_on_one_sheet_each_beside_itself_with_the_truth_outlined(n):
    opened = []

    def load(i):
        opened.append(i)
        return SAMPLES[i % 3]

    url = Workshop(replace(material(), n_images=n, load=load), sees=True).overview()
    sheet = np.asarray(Image.open(BytesIO(b64decode(url.partition(",")[2])))).astype(int)
    assert max(sheet.shape[:2]) <= SHEET_PX
    assert len(set(opened)) == min(n, MOST_ON_SHEET)
    blue = np.abs(sheet - TRUTH).sum(axis=2) < 60
    assert blue.any()
    if n == 1:
        assert not blue[:, : sheet.shape[1] // 2].any(), "the image itself comes first"
