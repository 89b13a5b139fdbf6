"""What layers hold becomes a dataset, and what a pipeline returns becomes a layer. napari is not needed."""

import numpy as np
import pytest

import evoseg
from evoseg.napari.layers import LabelsAre, answers_of, dataset_of, save_for_studio, search_steps, split_planes
from evoseg.pipeline import read_text

CENTRES = """# evoseg 1: channel@1 threshold@1 centroids@1
def pipeline(image):
    return centroids(threshold(channel(image, index=0), level=100, polarity="bright"), area=5)
"""


def squares(n=4, size=32):
    """Return a stack with a bright square in each plane, and the squares as masks."""
    image, masks = np.full((n, size, size), 20, np.uint8), np.zeros((n, size, size), np.int32)
    for i in range(n):
        masks[i, 4 + i : 14 + i, 6:18] = 1
    image[masks > 0] = 220
    return image, masks


def test_every_axis_before_the_last_counts_planes():
    assert [plane.shape for plane in split_planes(np.zeros((2, 3, 5, 7)), rgb=False)] == [(5, 7)] * 6
    assert [plane.shape for plane in split_planes(np.zeros((2, 5, 7, 4)), rgb=True)] == [(5, 7, 3)] * 2
    assert [plane.shape for plane in split_planes(np.zeros((5, 7)), rgb=False)] == [(5, 7)]


def test_strokes_are_known_where_they_are_and_planes_without_any_are_unlabelled():
    image, masks = squares()
    strokes = np.zeros_like(masks)
    strokes[1, 8, 8:12], strokes[1, 28, 3:9] = 2, 1
    dataset = dataset_of(image, strokes, LabelsAre.STROKES)
    assert dataset.labelled == ("001",) and len(dataset.stems) == 4
    sample = dataset.load("001")
    assert sample.known.sum() == 10 and sample.mask[sample.known].sum() == 4
    assert sample.mask[8, 8] and not sample.mask[28, 3]


def test_masks_and_objects_are_taken_whole():
    image, masks = squares()
    masks[0, 25:30, 25:30] = 2
    assert dataset_of(image, masks, LabelsAre.MASK).load("000").mask.sum() == 145
    assert len(np.unique(dataset_of(image, masks, LabelsAre.OBJECTS).load("000").labels)) == 3


def test_layers_that_do_not_fit_are_refused():
    image, masks = squares()
    with pytest.raises(evoseg.EvosegError, match="4 x 32 x 32 pixels and the labels 3 x 32 x 32"):
        dataset_of(image, masks[:3], LabelsAre.MASK)
    with pytest.raises(evoseg.EvosegError, match="nothing is labelled"):
        dataset_of(image, 0 * masks, LabelsAre.STROKES)


def test_a_search_is_watched_and_its_pipeline_answers_for_the_stack(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path))
    image, masks = squares(6)
    steps, seen = search_steps(dataset_of(image, masks, LabelsAre.MASK), LabelsAre.MASK, 2), []
    while True:
        try:
            seen.append(next(steps).doing)
        except StopIteration as end:
            result = end.value
            break
    assert seen
    answers = answers_of(result.pipeline, image)
    assert answers.dtype == np.int32 and (answers == masks).mean() > 0.98


def test_points_carry_the_numbers_of_their_planes():
    image, _ = squares(2)
    answers = answers_of(read_text(CENTRES), image)
    assert answers.tolist() == [[0, 8.5, 11.5], [1, 9.5, 11.5]]


@pytest.mark.parametrize(("labels_are", "part"), [(LabelsAre.STROKES, "scribbles"), (LabelsAre.MASK, "masks")])
def test_layers_are_saved_as_a_folder_that_commands_read(tmp_path, labels_are, part):
    image, masks = squares()
    marks = masks + 1 if labels_are is LabelsAre.STROKES else masks
    save_for_studio(tmp_path / "new", image, marks, labels_are)
    read = evoseg.Dataset(tmp_path / "new")
    assert (tmp_path / "new" / part / "0003.tif").is_file()
    assert (read.load("0003").image[..., 0] == image[3]).all() and (read.load("0003").mask == (masks[3] > 0)).all()
    with pytest.raises(evoseg.EvosegError, match="exists"):
        save_for_studio(tmp_path / "new", image, marks, labels_are)
