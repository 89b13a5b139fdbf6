"""Figures of a report are drawn from any history."""

from xml.etree import ElementTree

import pytest

from evoseg.report.figures import write_progress


@pytest.mark.parametrize("history", [[], [[1, 0.1, 0.2]], [[5, 0.1, 0.2], [60, 1.0, 0.4], [2210, 60.0, 0.61]]])
def test_the_curve_is_drawn_from_any_history(tmp_path, history):
    write_progress(history, tmp_path / "new" / "curve.svg", "IoU")
    svg = ElementTree.parse(tmp_path / "new" / "curve.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg" and svg.get("viewBox") == "0 0 640 280"
    assert len(list((tmp_path / "new").iterdir())) == 1
