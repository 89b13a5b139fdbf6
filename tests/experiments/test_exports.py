"""The study of exported files: what Python files give, and the table."""

from pathlib import Path

import numpy as np
import pytest

from evoseg.exporters import standalone
from evoseg.pipeline import read_text

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture
def exports(script):
    return script("exports")


def test_there_are_20_searches_over_six_datasets(exports):
    assert len(set(exports.SEARCHES)) == 20
    assert len({name for name, _, _ in exports.SEARCHES}) == 6


def test_an_exported_python_file_is_run(exports, tmp_path):
    pipeline = read_text("def pipeline(image):\n    return threshold(flatten(channel(image)))\n")
    images = [standalone.drawn_image(depth) for depth in standalone.DEPTHS]
    for mask, image in zip(exports.from_python(pipeline, images, tmp_path), images, strict=True):
        assert np.array_equal(mask, pipeline(image))


def test_the_table_names_what_is_refused_and_counts_what_is_the_same(exports):
    one = {"dataset": "cells", "seed": 0, "for": "python", "steps": 4, "images": 3, "python": 3, "cpp": 2}
    rows = [one | {"refused": ["clahe", "canny"]}, one | {"imagej": [1.0, 0.99, 1.0]}]
    text = exports.table(rows)
    assert "| cells | 0 | python | 4 | 3 | 3 | 2 | refused: clahe, canny |" in text
    assert "2 pipelines, 6 masks: Python 6 and C++ 4 the same" in text
    assert "ImageJ 3 carried, 2 the same, lowest IoU 0.9900." in text
