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
from tests.studio.test_server import wait_for

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


def kill(strokes: Strokes) -> None:
    """Keep strokes from being saved later, as a kill does; the file would be that of another studio then."""
    if strokes._saved_by is not None:
        strokes._saved_by.cancel()


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
            kill(strokes)
            strokes = opened(root)
        elif action == "undo for good":
            undone = strokes.undo(for_good=True) is not None
            assert not (undone and strokes.history()["redo"])
        else:
            getattr(strokes, action)()
    kill(strokes)
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


def cut(file):
    file.write_bytes(file.read_bytes()[:40])


def write_other(file):
    """Write a stroke as another program would, and return the file's bytes."""
    file.parent.mkdir(exist_ok=True)
    other = np.zeros(SHAPE, np.uint8)
    other[3, 2:5] = 2
    write_image(file, other, overwrite=True)
    return file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda file: write_image(file, np.ones((4, 4), np.uint8), overwrite=True),
        lambda file: write_image(file, np.full(SHAPE, 200, np.uint8), overwrite=True),
    ],
)
def test_strokes_survive_a_file_that_cannot_be_read_and_come_back_when_it_is_moved_away(tmp_path, damage):
    strokes = opened(tmp_path)
    strokes.add(brush("a", 1, (1, 1)))
    strokes.save()
    strokes.add(brush("b", 2, (3, 5)))
    strokes.save()
    file, log = tmp_path / "scribbles" / "a.png", tmp_path / ".evoseg" / "a.jsonl"
    before = log.read_bytes()
    damage(file)
    for _ in range(3):
        with pytest.raises(StrokesError, match=r"a\.png: .* Move it away to get back what was painted in the studio"):
            opened(tmp_path)
    # That the file was in the way is noted once, not each time that the live answer asks for the strokes.
    assert log.read_bytes().startswith(before) and log.read_bytes().count(b"\n") == before.count(b"\n") + 1
    file.rename(tmp_path / "damaged.png")
    again = opened(tmp_path)
    np.testing.assert_array_equal(again.labels, strokes.labels)
    assert again.history()["undo"]
    again.save()
    np.testing.assert_array_equal(read_image(file)[:, :, 0], strokes.labels)
    file.unlink()
    assert not opened(tmp_path).labels.any()  # removed by hand


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_file_of_another_program_is_never_replaced(tmp_path, name):
    strokes = opened(tmp_path)
    strokes.add(brush("a", 1, (1, 1)))
    before = write_other(tmp_path / "scribbles" / name)
    with pytest.raises(StrokesError, match=rf"scribbles/{name}: written by another program .* Move it away"):
        strokes.save()
    assert [path.name for path in (tmp_path / "scribbles").iterdir()] == [name]
    assert (tmp_path / "scribbles" / name).read_bytes() == before


def test_a_file_that_another_program_has_changed_meanwhile_is_neither_replaced_nor_removed(tmp_path):
    strokes, file = opened(tmp_path), tmp_path / "scribbles" / "a.png"
    strokes.add(brush("a", 1, (1, 1)))
    strokes.save()
    other = write_other(file)
    strokes.add(brush("b", 2, (1, 5)))
    with pytest.raises(StrokesError, match="another program"):
        strokes.save()
    strokes.undo()
    strokes.undo()
    with pytest.raises(StrokesError, match="another program"):
        strokes.save()  # nothing is drawn now, and an own file would be removed
    assert file.read_bytes() == other
    # Opened anew, as the error advises, the file counts, and what is painted on it is saved.
    again = opened(tmp_path)
    np.testing.assert_array_equal(again.labels, read_image(file)[:, :, 0])
    again.add(brush("c", 1, (1, 1)))
    again.save()
    np.testing.assert_array_equal(read_image(file)[:, :, 0], again.labels)


@pytest.mark.parametrize("is_reopened", [False, True])
def test_strokes_are_saved_once_the_file_of_another_program_is_moved_away(tmp_path, is_reopened):
    strokes, file = opened(tmp_path), tmp_path / "scribbles" / "a.png"
    strokes.add(brush("a", 1, (1, 1)))
    strokes.save()
    write_other(file)
    strokes.add(brush("b", 2, (3, 5)))
    with pytest.raises(StrokesError, match="Move it away"):
        strokes.save()
    file.rename(tmp_path / "other.png")
    again = opened(tmp_path) if is_reopened else strokes
    again.save()
    assert strokes.labels.max() == 2
    np.testing.assert_array_equal(read_image(file)[:, :, 0], strokes.labels)


def test_two_studios_do_not_replace_each_others_files(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path)
    first.add(brush("a", 1, (1, 1)))
    first.save()
    before = (tmp_path / "scribbles" / "a.png").read_bytes()
    second.add(brush("b", 2, (3, 5)))
    with pytest.raises(StrokesError, match="another studio"):
        second.save()
    assert (tmp_path / "scribbles" / "a.png").read_bytes() == before
    again = opened(tmp_path)  # they share the history
    np.testing.assert_array_equal(again.labels, np.maximum(first.labels, second.labels))
    again.save()
    first.add(brush("c", 1, (4, 7)))
    with pytest.raises(StrokesError, match="another studio"):
        first.save()


def test_a_file_in_the_way_is_reported_in_the_background_and_other_images_are_saved(folder, project, caplog):
    first, second = (project.strokes(image) for image in list(project.images.values())[:2])
    other = np.full(first.labels.shape, 2, np.uint8)
    (folder / "scribbles").mkdir()
    write_image(folder / "scribbles" / "d0.png", other)
    first.add(brush("a", 1, (25, 30)))
    second.add(brush("b", 2, (25, 30)))
    wait_for(lambda: "scribbles/d0.png: written by another program" in caplog.text)
    wait_for((folder / "scribbles" / "d1.png").is_file)
    second.add(brush("c", 1, (60, 80)))
    with pytest.raises(StrokesError, match=r"d0\.png"):
        project.save()
    np.testing.assert_array_equal(read_image(folder / "scribbles" / "d1.png")[:, :, 0], second.labels)
    np.testing.assert_array_equal(read_image(folder / "scribbles" / "d0.png")[:, :, 0], other)


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
