"""Strokes: which pixels they cover, their history, and what a kill leaves of them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.files import read_image, write_image
from evoseg.studio.history import HistoryError
from evoseg.studio.strokes import Edit, Strokes, StrokesError, groups_of, paint
from tests.studio.conftest import brush

SHAPE = (5, 8)


def painted(*edits: Edit, shape=SHAPE) -> list[str]:
    labels = np.zeros(shape, np.uint8)
    for edit in edits:
        paint(labels, edit)
    return ["".join(map(str, row)) for row in labels]


def test_a_dot_covers_the_pixels_whose_centres_are_within_the_radius():
    # From the centre (2.5, 3.5): neighbours are 1 away, diagonal ones 1.41, those after the next 2.
    assert painted(brush("a", 2, (2.5, 3.5), radius=1.0)) == [
        "00000000",
        "00020000",
        "00222000",
        "00020000",
        "00000000",
    ]
    assert painted(brush("a", 2, (2.5, 3.5), radius=1.42))[1:4] == ["00222000", "00222000", "00222000"]


def test_the_thinnest_dot_is_the_pixel_that_it_lies_in():
    assert painted(brush("a", 1, (2.05, 3.95), radius=0.1)) == ["00000000"] * 2 + ["00010000"] + ["00000000"] * 2


def test_a_trace_is_as_wide_as_its_brush_and_round_at_the_ends():
    found = painted(brush("a", 2, (2.5, 1.5), (2.5, 5.5), radius=1.0))
    assert found == ["00000000", "02222200", "22222220", "02222200", "00000000"]


def test_a_trace_may_leave_the_image():
    assert painted(brush("a", 2, (-3, 7.5), (2.5, 7.5), radius=0.6))[:4] == ["00000002"] * 3 + ["00000000"]
    assert painted(brush("a", 2, (-9, -9), radius=2.0)) == ["00000000"] * 5


def test_a_polygon_covers_the_centres_inside():
    edit = Edit(id="p", tool="polygon", label=3, points=((1, 2), (1, 6), (4, 6), (4, 2)))
    assert painted(edit) == ["00000000", "00333300", "00333300", "00333300", "00000000"]


def test_filling_stops_at_other_labels_and_does_not_pass_between_corners():
    ring = [brush("a", 1, (1.5, 2.5), (1.5, 4.5), (3.5, 4.5), (3.5, 2.5), (1.5, 2.5), radius=0.5)]
    found = painted(*ring, Edit(id="f", tool="fill", label=2, points=((2.5, 3.5),)))
    assert found == ["00000000", "00111000", "00121000", "00111000", "00000000"]
    outside = painted(*ring, Edit(id="f", tool="fill", label=2, points=((0, 0),)))
    assert outside[2] == "22101222"
    diagonal = np.array([[1, 0], [0, 1]], np.uint8)
    paint(diagonal, Edit(id="f", tool="fill", label=2, points=((0.5, 1.5),)))
    assert diagonal.tolist() == [[1, 2], [0, 1]]


def test_a_change_is_kept_as_the_smallest_box_around_it():
    labels = np.zeros(SHAPE, np.uint8)
    paint(labels, brush("a", 2, (2.5, 3.5), radius=1.0))
    # The fill could reach anywhere; the brush passes over what has its label already.
    assert paint(labels, Edit(id="f", tool="fill", label=1, points=((2.5, 3.5),))).box == (1, 2, 4, 5)
    assert paint(labels, brush("b", 1, (2.5, 3.5), (2.5, 5.5), radius=0.5)).box == (2, 5, 3, 6)


def test_a_brush_may_leave_other_labels_alone_but_the_eraser_takes_all():
    under = brush("a", 1, (2.5, 0.5), (2.5, 7.5), radius=0.5)
    over = brush("b", 2, (0.5, 3.5), (4.5, 3.5), radius=0.5, protect=True)
    assert painted(under, over)[1:4] == ["00020000", "11111111", "00020000"]
    assert painted(under, over, brush("c", 0, (2.5, 3.5), radius=1.0, protect=True))[1:4] == [
        "00000000",
        "11000111",
        "00000000",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"label": 34},
        {"label": -1},
        {"radius": 0},
        {"radius": float("nan")},
        {"points": []},
        {"points": [[1, float("inf")]]},
        {"points": [[1, 2, 3]]},
        {"points": [[1, 2]] * 20_001},
        {"id": "../a"},
        {"id": ""},
        {"tool": "spray"},
        {"more": 1},
    ],
)
def test_what_is_no_stroke_is_refused(change):
    good = {"id": "a", "tool": "brush", "label": 1, "radius": 1, "points": [[1, 2]]}
    Edit.model_validate(good)
    with pytest.raises(ValidationError):
        Edit.model_validate(good | change)


def opened(tmp_path) -> Strokes:
    return Strokes(tmp_path / "scribbles" / "a.png", tmp_path / ".evoseg" / "a.jsonl", SHAPE)


def test_changes_are_undone_and_redone_one_by_one(tmp_path):
    strokes = opened(tmp_path)
    states = [strokes.labels.copy()]
    for i, edit in enumerate([brush("a", 1, (1, 1)), brush("b", 2, (2, 4)), brush("c", 0, (1, 1))]):
        assert strokes.add(edit) is not None and strokes.version == i + 1
        states.append(strokes.labels.copy())
    for state in states[2::-1]:
        assert strokes.undo() is not None
        np.testing.assert_array_equal(strokes.labels, state)
    assert strokes.undo() is None and strokes.history() == {"version": strokes.version, "undo": False, "redo": True}
    for state in states[1:]:
        assert strokes.redo() is not None
        np.testing.assert_array_equal(strokes.labels, state)
    assert strokes.redo() is None
    strokes.undo()
    strokes.add(brush("d", 3, (4, 6)))
    assert strokes.redo() is None  # what was undone is of another history now


@settings(deadline=None, max_examples=15)
@given(
    actions=st.lists(
        st.one_of(
            st.sampled_from(["undo", "undo for good", "redo", "save", "reopen"]),
            st.tuples(st.integers(0, 3), st.floats(0, 5), st.floats(0, 8)),
        ),
        max_size=14,
    )
)
def test_opened_anew_at_any_time_it_is_as_before(tmp_path_factory, actions):
    root = tmp_path_factory.mktemp("strokes")
    strokes = opened(root)
    for i, action in enumerate(actions):
        if isinstance(action, tuple):
            strokes.add(brush(f"e{i}", action[0], (action[1], action[2]), radius=1.3))
        elif action == "reopen":
            strokes = opened(root)
        elif action == "undo for good":
            undone = strokes.undo(for_good=True) is not None
            assert not (undone and strokes.history()["redo"])
        else:
            getattr(strokes, action)()
    again = opened(root)
    np.testing.assert_array_equal(again.labels, strokes.labels)
    assert again.history() | {"version": 0} == strokes.history() | {"version": 0}
    again.save()
    file = root / "scribbles" / "a.png"
    assert file.exists() == strokes.labels.any()
    if file.exists():
        np.testing.assert_array_equal(read_image(file)[:, :, 0], strokes.labels)


def test_a_stroke_that_is_sent_twice_is_painted_once(tmp_path):
    strokes = opened(tmp_path)
    assert strokes.add(brush("a", 1, (1, 1))) is not None
    strokes.undo()
    assert strokes.add(brush("a", 1, (1, 1))) is None and not strokes.labels.any()
    assert opened(tmp_path).add(brush("a", 1, (1, 1))) is None


def test_a_line_that_a_kill_has_cut_short_does_not_count(tmp_path):
    strokes = opened(tmp_path)
    strokes.add(brush("a", 1, (1, 1)))
    strokes.add(brush("b", 2, (3, 5)))
    log = tmp_path / ".evoseg" / "a.jsonl"
    before = log.read_bytes()
    log.write_bytes(before[:-20])
    again = opened(tmp_path)
    assert again.labels.max() == 1
    again.add(brush("c", 2, (3, 5)))
    assert opened(tmp_path).labels.max() == 2


def test_a_kill_before_and_after_the_file_is_written_loses_nothing(tmp_path):
    strokes = opened(tmp_path)
    strokes.add(brush("a", 1, (1, 1)))
    strokes.save()
    strokes.add(brush("b", 2, (3, 5)))
    log, file = tmp_path / ".evoseg" / "a.jsonl", tmp_path / "scribbles" / "a.png"
    written = log.read_bytes()
    strokes.save()
    noted = log.read_bytes().removesuffix(b"\n").rpartition(b"\n")[0] + b"\n"
    for killed in (noted, written + noted.removeprefix(written)):
        log.write_bytes(killed)
        np.testing.assert_array_equal(opened(tmp_path).labels, strokes.labels)
    file.unlink()
    log.write_bytes(b"".join(line for line in noted.splitlines(keepends=True) if b"saved" not in line))
    np.testing.assert_array_equal(opened(tmp_path).labels, strokes.labels)


def test_a_process_that_ends_after_a_stroke_has_saved_it(tmp_path):
    file, log, edit = tmp_path / "scribbles" / "a.png", tmp_path / "a.jsonl", brush("a", 2, (1, 1))
    program = f"""
from pathlib import Path
from evoseg.studio.strokes import Edit, Strokes
Strokes(Path({str(file)!r}), Path({str(log)!r}), {SHAPE}).add(Edit.model_validate({edit.model_dump()!r}))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert read_image(file).max() == 2


def test_what_another_program_has_written_counts(tmp_path):
    strokes = opened(tmp_path)
    strokes.add(brush("a", 1, (1, 1)))
    strokes.save()
    other = np.zeros(SHAPE, np.uint8)
    other[3, 2:5] = 2
    write_image(tmp_path / "scribbles" / "a.png", other, overwrite=True)
    again = opened(tmp_path)
    np.testing.assert_array_equal(again.labels, other)
    assert not again.history()["undo"]
    again.add(brush("b", 1, (1, 1)))
    again.undo()
    np.testing.assert_array_equal(opened(tmp_path).labels, other)
    again.save()
    (tmp_path / "scribbles" / "a.png").unlink()
    assert not opened(tmp_path).labels.any()  # removed by hand: the strokes are gone


def test_scribbles_of_another_size_or_kind_are_an_error(tmp_path):
    (tmp_path / "scribbles").mkdir()
    write_image(tmp_path / "scribbles" / "a.png", np.ones((4, 4), np.uint8))
    with pytest.raises(StrokesError, match=r"a\.png: 4 x 4 pixels, but its image has 5 x 8"):
        opened(tmp_path)
    write_image(tmp_path / "scribbles" / "a.png", np.full(SHAPE, 200, np.uint8), overwrite=True)
    with pytest.raises(DatasetError, match="scribbles hold 0 where nothing is drawn"):
        opened(tmp_path)


@pytest.mark.parametrize("line", ["[1]", "{", json.dumps({"edit": {"id": "a"}}), json.dumps({"base": "zz"})])
def test_a_history_that_is_none_is_an_error_that_says_what_to_do(tmp_path, line):
    (tmp_path / ".evoseg").mkdir()
    (tmp_path / ".evoseg" / "a.jsonl").write_text(line + "\n")
    with pytest.raises(HistoryError, match=r"a\.jsonl: not a history of what was drawn\. Remove it"):
        opened(tmp_path)


def test_strokes_are_what_hangs_together_and_has_one_label():
    labels = np.array([[1, 1, 2, 0], [0, 0, 0, 2], [1, 0, 0, 0]], np.uint8)
    assert groups_of(labels).tolist() == [[1, 1, 3, 0], [0, 0, 0, 3], [2, 0, 0, 0]]
