"""The live answer: right where it was not told, honest about it, and the pipeline that is applied."""

import cv2
import numpy as np
import pytest

from evoseg.datasets.io.files import write_image, write_mask
from evoseg.networks.lite0 import STRIDES, TAPS
from evoseg.networks.weights import is_pretrained_available
from evoseg.operators.registry import WHOLE
from evoseg.pipeline.running import reaches
from evoseg.runs.pipeline_files import read_pipeline, write_pipeline
from evoseg.studio.events import Events
from evoseg.studio.live import FEATURE_BYTES, Live, NothingToFit, blocks_of
from evoseg.studio.live_loop import LiveLoop
from evoseg.studio.project import Project
from evoseg.studio.stroke_fit import HEAD
from tests.studio.conftest import SHAPE, STROKES, brush, draw, paint
from tests.studio.test_server import wait_for


def image_of(project: Project, stem: str):
    return next(image for image in project.images.values() if image.stem == stem)


def iou(a, b) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.fixture
def live(project) -> Live:
    paint(project)
    return Live(project)


def test_an_answer_to_four_strokes_is_right_on_other_images(live, project):
    model = live.fit()
    assert (model.n_strokes, model.n_images) == (4, 1)
    for seed in range(3):
        found = live.region(model, image_of(project, f"d{seed}"), (0, 0, *SHAPE), SHAPE[0] * SHAPE[1])
        assert iou(found.labels == 2, draw(seed)[1]) > 0.85
        # Doubt is at the borders of discs, not within them.
        assert found.doubt[60, 85 + 3 * seed] < 60


def test_the_answer_is_that_of_its_pipeline(live, project):
    model = live.fit()
    (fit,) = model.classes
    assert WHOLE not in reaches(fit.pipeline.steps)
    image = draw(1)[0]
    found = live.region(model, image_of(project, "d1"), (0, 0, *SHAPE), 10**6)
    np.testing.assert_array_equal(fit.pipeline(image), found.labels == 2)


def test_blocks_give_the_same_answer_as_the_whole(live, project, monkeypatch):
    model, image = live.fit(), image_of(project, "d2")
    whole = live.region(model, image, (0, 0, *SHAPE), 10**6)
    monkeypatch.setattr("evoseg.studio.live.BLOCK", 64)
    assert blocks_of((90, 190)) == [(0, 0, 90, 64), (0, 64, 90, 128), (0, 128, 90, 190)]
    assert len(blocks_of(SHAPE)) == 2
    again = Live(project).region(model, image, (0, 0, *SHAPE), 10**6)
    np.testing.assert_array_equal(again.labels, whole.labels)
    np.testing.assert_array_equal(again.doubt, whole.doubt)


def test_too_far_out_there_is_no_answer(live, project):
    assert live.region(live.fit(), image_of(project, "d0"), (0, 0, *SHAPE), 100) is None


def test_held_out_scores_are_high_where_there_is_something_to_learn(live, project):
    (strokes,) = live.held_out()
    assert (strokes.what, strokes.n) == ("strokes", 4) and strokes.share > 0.95
    paint(project, "d2")
    found = {score.what: score for score in live.held_out()}
    assert found["images"].n == 2 and found["images"].share > 0.95


@pytest.mark.parametrize("encodes", [False, True])
def test_held_out_scores_are_chance_where_there_is_nothing_to_learn(tmp_path, encodes):
    # Strokes on noise: a fit knows its own pixels by heart, and nothing of others.
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(20261129)
    shares = []
    for k in range(3):
        write_image(tmp_path / "images" / f"n{k}.png", rng.integers(0, 255, SHAPE).astype(np.uint8))
    project = Project(tmp_path)
    for k in range(3):
        lines = [brush(f"{k}-{i}", 1 + i % 2, (8 + 11 * i, 10), (8 + 11 * i, 100)) for i in range(8)]
        paint(project, f"n{k}", tuple(lines))
    live = Live(project)
    while encodes and live.encode_next():
        pass
    shares = [score.share for score in live.held_out()]
    # The encoder sees far: strokes side by side resemble each other, whatever their labels, which is worse than chance.
    assert len(shares) == 2 and all((0.15 if encodes else 0.35) < share < 0.65 for share in shares)


def test_without_strokes_there_is_nothing_to_encode(project):
    assert not Live(project).encode_next()


def test_without_two_kinds_of_strokes_it_says_what_is_missing(project):
    live = Live(project)
    with pytest.raises(NothingToFit, match="on an object and one on background"):
        live.fit()
    assert live.held_out() == []
    paint(project, strokes=STROKES[:2])
    with pytest.raises(NothingToFit, match="on background, too"):
        live.fit()
    other = Live(project)
    paint(project, "d1", STROKES[2:])
    assert other.fit().n_images == 2


def test_classes_are_told_apart(tmp_path):
    (tmp_path / "images").mkdir()
    image = np.full(SHAPE, 60, np.uint8)
    image[:, 40:80], image[:, 80:] = 130, 200
    image = (image + np.random.default_rng(1).normal(0, 6, SHAPE)).astype(np.uint8)
    write_image(tmp_path / "images" / "a.png", image)
    project = Project(tmp_path)
    paint(project, "a", tuple(brush(f"s{k}", k + 1, (20, 10 + 42 * k), (70, 22 + 42 * k)) for k in range(3)))
    live = Live(project)
    model = live.fit()
    found = live.region(model, next(iter(project.images.values())), (0, 0, *SHAPE), 10**6).labels
    assert [fit.label for fit in model.classes] == [2, 3]
    for label, columns in ((1, slice(6, 34)), (2, slice(46, 74)), (3, slice(86, 118))):
        assert (found[:, columns] == label).mean() > 0.97


def test_masks_tell_as_strokes_do_but_never_those_of_test_images(folder):
    (folder / "masks").mkdir()
    for seed in (0, 1):
        write_mask(folder / "masks" / f"d{seed}.png", draw(seed)[1])
    (folder / "dataset.yaml").write_text("splits: {train: [d0], test: [d1]}")
    project = Project(folder)
    states = {image.stem: project.state(image) for image in project.images.values()}
    assert states == {"d0": "mask", "d1": "test", "d2": "unlabelled"}
    assert project.labels(image_of(project, "d1")) is None
    live = Live(project)
    model = live.fit()
    assert model.n_images == 1
    found = live.region(model, image_of(project, "d2"), (0, 0, *SHAPE), 10**6)
    assert iou(found.labels == 2, draw(2)[1]) > 0.9
    assert "has a mask" in project.why_not_paint(image_of(project, "d0"))


def test_the_next_place_is_doubtful_and_has_no_stroke(live, project):
    model, image = live.fit(), image_of(project, "d0")
    found = live.region(model, image, (0, 0, *SHAPE), 10**6)
    seen, boxes = [], []
    while (box := live.next_region(model, image, seen)) is not None:
        top, left, bottom, right = box
        assert found.doubt[top:bottom, left:right].max() > 128
        boxes.append(box)
        seen.append((top + (bottom - top) // 2, left + (right - left) // 2))
    assert len(set(boxes)) == len(boxes)


def test_the_next_image_is_the_one_most_in_doubt(folder):
    # Objects as bright as halfway between the strokes' labels are in doubt.
    write_image(folder / "images" / "d1.png", draw(1)[0], overwrite=True)
    write_image(folder / "images" / "faint.png", draw(1, bright=112)[0])
    project = Project(folder)
    paint(project)
    live = Live(project)
    found, doubt = live.next_image(live.fit(), image_of(project, "d0"))
    assert found.stem == "faint" and 0 < doubt < 1


def test_sixteen_bit_images_are_answered(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(2):
        write_image(tmp_path / "images" / f"d{seed}.tif", draw(seed)[0].astype(np.uint16) * 40 + 3000)
    project = Project(tmp_path)
    paint(project)
    live = Live(project)
    found = live.region(live.fit(), image_of(project, "d1"), (0, 0, *SHAPE), 10**6)
    assert iou(found.labels == 2, draw(1)[1]) > 0.85


@pytest.fixture
def encoded(live) -> Live:
    if not is_pretrained_available():
        pytest.skip("the encoder's weights are not installed")
    assert live.fit().classes[0].head is None  # filters come first
    assert live.encode_next() and not live.encode_next()
    return live


def test_a_fit_after_the_encoder_has_a_network_among_its_planes(encoded, project):
    model = encoded.fit()
    (fit,) = model.classes
    assert HEAD in fit.leaves and fit.head is not None
    found = encoded.region(model, image_of(project, "d1"), (0, 0, *SHAPE), 10**6)
    assert iou(found.labels == 2, draw(1)[1]) > 0.85
    (strokes,) = encoded.held_out()
    assert strokes.share > 0.95
    assert encoded.next_image(model, image_of(project, "d0")) is not None
    # A stroke changes which pixels are sampled, but not what the encoder has seen.
    paint(project, strokes=(brush("more", 1, (5, 5), (5, 60)),))
    assert not encoded.encode_next() and encoded.fit().classes[0].head is not None
    paint(project, "d2")
    assert encoded.fit().classes[0].head is None and encoded.encode_next()


def test_the_answer_with_a_network_is_that_of_the_pipeline_that_is_saved(encoded, project, tmp_path):
    model = encoded.fit()
    image = draw(2)[0]
    found = encoded.region(model, image_of(project, "d2"), (0, 0, *SHAPE), 10**6).labels == 2
    (program,) = encoded.programs(model).values()
    write_pipeline(program, tmp_path / "live.evo")
    assert "network(image" in (tmp_path / "live.evo").read_text()
    # A plane may differ by one level, and so pixels at the very limit.
    assert (read_pipeline(tmp_path / "live.evo")(image) != found).mean() < 0.002


def test_blocks_with_a_network_give_the_same_answer_as_the_whole(encoded, project, monkeypatch):
    model, image = encoded.fit(), image_of(project, "d2")
    whole = encoded.region(model, image, (0, 0, *SHAPE), 10**6).labels
    monkeypatch.setattr("evoseg.studio.live.BLOCK", 64)
    again = Live(project)
    again.fit()
    assert (again.region(model, image, (0, 0, *SHAPE), 10**6).labels != whole).mean() < 0.002


def test_features_of_16_megapixels_are_kept():
    # 4 bytes for each value, at strides 2, 4, 8 and 16, in each block with a rim of 32 px.
    per_pixel = sum(4 * width / stride**2 for width, stride in zip(TAPS, STRIDES, strict=True))
    blocks = blocks_of((4096, 4096))
    pixels = sum((bottom - top + 64) * (right - left + 64) for top, left, bottom, right in blocks)
    assert len(blocks) == 16 and pixels * per_pixel < FEATURE_BYTES


def test_an_encoder_that_fails_leaves_the_answer_of_filters(live, monkeypatch, caplog):
    def fail(*_):
        raise cv2.error("out of memory")

    monkeypatch.setattr("evoseg.studio.live.Live.encode_next", fail)
    loop = LiveLoop(live, Events())
    loop.start()
    wait_for(lambda: "stays without the encoder" in caplog.text)
    assert loop.model is not None and not loop.reason
    loop.stop()
