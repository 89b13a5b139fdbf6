"""Which task a folder sets, and the truths of objects and points."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from evoseg.core.errors import DatasetError
from evoseg.datasets.checking import check, open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.documents import read_points
from evoseg.datasets.io.files import write_image, write_labels
from evoseg.datasets.jitter import jitter
from evoseg.datasets.survey import objects_of, tally

SHAPE = (40, 57)


def folder(root: Path, masks: list[np.ndarray], card: str = "") -> Path:
    for i, mask in enumerate(masks):
        rng = np.random.default_rng(i)
        for part, array in (("images", rng.integers(0, 255, mask.shape).astype(np.uint8)), ("masks", mask)):
            (root / part).mkdir(parents=True, exist_ok=True)
            write_image(root / part / f"s{i}.tif", array)
    (root / "dataset.yaml").write_text(card)
    return root


def squares(*numbers: int, gap: int = 2) -> np.ndarray:
    """Return squares of 8 px side by side, with a number each."""
    mask = np.zeros(SHAPE, np.uint8)
    for i, number in enumerate(numbers):
        mask[10:18, 2 + i * (8 + gap) : 10 + i * (8 + gap)] = number
    return mask


def clumps() -> np.ndarray:
    """Return three single discs and two that touch."""
    mask = np.zeros((80, 120), np.uint8)
    for col, row in ((15, 15), (50, 15), (100, 15), (30, 55), (48, 55)):
        cv2.circle(mask, (col, row), 10, 255, -1)
    return mask


@pytest.mark.parametrize(
    ("mask", "task"),
    [
        (squares(255, 255, 255), "binary"),
        (squares(1, 2, 3), "instances"),
        (squares(7, 1, 200, gap=0), "instances"),
        (squares(1, 2, 1, 2, 1), "classes"),
        (squares(128, 255, 128, 255, 255), "classes"),
        (squares(1), "binary"),
    ],
    ids=["one value", "numbered", "touching", "classes", "classes of any values", "single"],
)
def test_the_task_is_read_off_the_masks(tmp_path, mask, task):
    report = check(folder(tmp_path, [mask] * 3))
    assert report.ok and report.card["task"] == task
    assert f"task: {task}, because" in str(report)


@pytest.mark.parametrize("levels", [256, 5])
def test_soft_edges_are_no_objects_and_no_classes(tmp_path, levels):
    soft = cv2.GaussianBlur(squares(255, 255, 255), (0, 0), 1.5)
    soft = (soft // (256 // levels)).astype(np.uint8)
    assert check(folder(tmp_path, [soft] * 3)).card["task"] == "binary"


def test_classes_are_named_with_their_values_and_why(tmp_path):
    report = check(folder(tmp_path, [squares(1, 2, 1, 2, 1), squares(2, 2, 5, 5), squares(1)]))
    assert report.card["task"] == "classes"
    assert "the masks' values, 1, 2 and 5, come in several pieces each" in report.card["task_because"]
    assert not any("counts as foreground" in warning for warning in report.warnings)


def test_one_object_per_class_is_taken_for_instances_unless_the_card_names_classes(tmp_path):
    assert check(folder(tmp_path / "a", [squares(1, 2)] * 3)).card["task"] == "instances"
    named = check(folder(tmp_path / "b", [squares(1, 2)] * 3, "classes: {1: bolt, 2: nut}"))
    assert named.card["task"] == "classes" and named.card["task_because"] == "dataset.yaml names classes"


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("classes: {0: none}", "line 1: classes names the value 0; values of classes are 1 to 255"),
        ("classes: {a: b}", "classes names the value a"),
        ("classes: {1: a/b}", "the class 1 is called 'a/b'"),
        ("classes: {1: a, 2: a}", "the class 2 is called 'a'; names differ"),
        ("page: -1", "page is '-1'"),
        ("axes: YZ", "axes is 'YZ'"),
    ],
)
def test_what_is_wrong_with_classes_and_pages_of_a_card_is_said(tmp_path, card, said):
    report = check(folder(tmp_path, [squares(1, 2)] * 3, card))
    assert any(said in fault for fault in report.problems)


def test_the_card_has_the_last_word(tmp_path):
    report = check(folder(tmp_path, [squares(1, 2, 3)] * 3, "task: binary"))
    assert report.card["task"] == "binary" and report.card["task_because"] == "dataset.yaml says so"


def test_touching_objects_of_a_binary_task_are_warned_of(tmp_path):
    apart = check(folder(tmp_path / "a", [squares(1, 2, 3)] * 3, "task: binary"))
    assert not any("touch" in warning for warning in apart.warnings)
    numbered = check(folder(tmp_path / "b", [squares(1, 2, 3, gap=0)] * 3, "task: binary"))
    assert any("--task instances" in w and "9 of 9 objects touch" in w for w in numbered.warnings)
    plain = check(folder(tmp_path / "c", [clumps()] * 3))
    assert any("about 6 of 12 objects touch" in w and "number the objects" in w for w in plain.warnings)
    assert not any("touch" in w for w in check(folder(tmp_path / "d", [clumps()] * 3, "task: instances")).warnings)


def test_lines_that_cross_are_no_touching_objects():
    net = np.zeros((200, 200), np.uint8)
    for i in range(4):
        cv2.line(net, (0, 20 + 45 * i), (199, 50 + 40 * i), 1, 5 + 2 * i)
    assert tally(net).n_touching == 0


def test_objects_are_numbered_from_1_in_order_of_their_values():
    labels = objects_of(squares(30, 4, 200))
    assert labels.dtype == np.int32
    assert [labels[12, col] for col in (3, 13, 23)] == [2, 1, 3]
    assert objects_of(squares(5, 5, 5)).max() == 3  # one value: what hangs together
    assert objects_of(np.zeros(SHAPE)).max() == 0


def test_labels_are_written_with_any_number_and_read_back(tmp_path):
    labels = np.zeros(SHAPE, np.int32)
    labels[3:9, 4:7], labels[20, 5] = 70_000, 1
    write_labels(tmp_path / "a.tif", labels)
    write_image(tmp_path / "image.tif", np.zeros(SHAPE, np.uint8))
    sample = Dataset.from_arrays([np.zeros(SHAPE, np.uint8)], [labels]).load("000")
    assert sample.labels is not None and np.array_equal(sample.labels, (labels == 70_000) * 2 + (labels == 1))
    with pytest.raises(DatasetError, match="int32"):
        write_labels(tmp_path / "b.tif", labels.astype(np.uint8))
    with pytest.raises(DatasetError, match="exists already"):
        write_labels(tmp_path / "a.tif", labels)


@pytest.mark.parametrize(
    "text",
    [
        "y,x\n1.5,2\n3,4\n",
        "\ufeffx, y \n2,1.5\n4,3\n",
        "index,axis-0,axis-1\n0,1.5,2\n1,3,4\n\n",
        "axis-0,axis-1,axis-ratio\n1.5,2,0.7\n3,4,0.9\n",
        "Row,Col\r\n1.5,2\r\n3,4",
    ],
)
def test_points_are_read_by_the_names_of_their_columns(text):
    assert read_points(Path("p.csv"), text.encode()).tolist() == [[1.5, 2], [3, 4]]


def test_a_file_without_lines_says_that_there_is_nothing():
    assert read_points(Path("p.csv"), b"y,x\n").shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line must name the columns"),
        ("12,30\n5,6\n", "first line must name the columns"),
        ("y,x\n1,2\n3,\n", "line 3 does not hold two numbers"),
        ("y,x\n1,nan\n", "line 2 does not hold two numbers"),
        ("y,x\n5\n", "line 2 does not hold two numbers"),
        ("index,axis-0,axis-1,axis-2\n0,4,1.5,2\n", "axis-2 says that the points lie in a stack"),
    ],
)
def test_what_is_wrong_with_points_is_said_with_the_line(text, said):
    with pytest.raises(DatasetError, match=said):
        read_points(Path("p.csv"), text.encode())


def with_points(root: Path, texts: list[str]) -> Path:
    folder(root, [squares(1)] * len(texts))
    for mask in (root / "masks").iterdir():
        mask.unlink()
    (root / "masks").rmdir()
    (root / "points").mkdir()
    for i, text in enumerate(texts):
        (root / "points" / f"s{i}.csv").write_text(text)
    return root


def test_a_folder_with_points_sets_that_task(tmp_path):
    data = open_dataset(with_points(tmp_path, ["y,x\n10,50\n", "y,x\n", "y,x\n1,2\n3,4\n"]))
    report = check(tmp_path)
    assert report.card["task"] == "points" and data.labelled == ("s0", "s1", "s2")
    assert report.card["points_per_image"] == {"median": 1}
    found = data.load("s0").points
    assert found is not None and found.tolist() == [[10, 50]] and data.load("s0").mask is None


def test_points_beyond_the_image_hint_at_swapped_columns(tmp_path):
    report = check(with_points(tmp_path, ["y,x\n50,10\n", "y,x\n1,1\n"]))
    assert not report.ok and "1 of 1 points lie outside s0.tif, which has 40 rows and 57 columns" in report.problems[0]


def test_faults_of_points_are_all_listed(tmp_path):
    with_points(tmp_path, ["a,b\n1,2\n", "y,x\n1,1\n"])
    (tmp_path / "points" / "lone.csv").write_text("y,x\n")
    (tmp_path / "points" / "s0.txt").write_text("y,x\n")
    report = check(tmp_path)
    assert any("lone.csv: a file of points without an image" in fault for fault in report.problems)
    assert any("s0.csv: the first line must name" in fault for fault in report.problems)
    assert any("s0.txt: not read" in warning for warning in report.warnings)


def test_jittered_copies_move_labels_and_points_with_the_image():
    image = np.zeros((*SHAPE, 1), np.uint8)
    labels = squares(1, 2, 3, gap=0).astype(np.int32)
    image[..., 0] = 60 * labels
    copy = jitter(
        {"image": image, "labels": labels, "points": np.array([[13.5, 5.5]]), "extra": np.arange(3)},
        np.random.default_rng(4),
    )
    rows, cols = copy["image"].shape[:2]
    assert copy["labels"].shape == (rows, cols) != SHAPE and set(np.unique(copy["labels"])) == {0, 1, 2, 3}
    row, col = copy["points"][0]
    inside = np.argwhere(copy["labels"] == 1)
    assert inside.mean(axis=0) == pytest.approx([row, col], abs=0.6)
    assert copy["extra"].tolist() == [0, 1, 2]
