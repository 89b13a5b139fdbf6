"""One number for how much alike two tasks are."""

import numpy as np
import pytest

from evoseg.library.collection import Library, bundled_tasks
from evoseg.library.likeness import ALIKE, EMBEDDING, LEVEL, SLOPE, Norm, likeness, norm_of
from evoseg.library.task import STATISTICS

X, Y = np.eye(2, dtype=np.float32)
PLAIN = Norm(np.zeros(2, np.float32), 0.0, 0.1)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with Library(tmp_path_factory.mktemp("library") / "library.db") as library:
        yield library


@pytest.mark.parametrize("known", [("images", "masks"), ("images",)])
def test_each_bundled_task_is_most_like_itself(library, known):
    unknown = {descriptor.id for name, descriptor in STATISTICS.items() if name not in known}
    for task in bundled_tasks():
        here = {name: vector for name, vector in task.described.items() if name not in unknown}
        (first, found), *_ = library.most_alike(here)
        assert library.bundled[first].hashes == task.hashes and found.value > 0.9 > ALIKE
        assert EMBEDDING in found.parts and "images" not in found.parts


def test_the_first_embedder_that_both_have_is_the_one_that_counts():
    norms = {"new": PLAIN, "good": PLAIN, "plain": PLAIN}
    here = {"new": X, "good": X, "plain": X}
    assert likeness(here, {"plain": X, "good": Y}, norms).parts == {EMBEDDING: 0.0}
    assert likeness(here, {"plain": X}, norms).parts == {EMBEDDING: 1.0}


def test_what_cannot_be_compared_is_not_alike():
    assert likeness({}, {"a": X}, {"a": PLAIN}).value == 0.0
    assert likeness({"a": X}, {"a": np.ones(3, np.float32)}, {"a": PLAIN}).parts == {}
    assert likeness({"a": X}, {"a": X}, {}).parts == {}


def test_the_likeness_is_worked_out_by_hand():
    images, masks = (STATISTICS[name].id for name in ("images", "masks"))
    norms = {
        "net": Norm(np.zeros(2, np.float32), 0.0, 0.2),
        images: PLAIN,
        masks: Norm(np.zeros(2, np.float32), 0.5, 0.25),
    }
    near = np.array([0.6, 0.8], np.float32)
    for here, above in (
        ({"net": near}, 0.6 / 0.2),
        ({"net": near, images: X}, 0.6 / 0.2),
        ({"net": near, images: X, masks: X}, 0.6 / 0.2 + 0.3 * 0.5 / 0.25),
        ({images: near, masks: X}, 0.6 / 0.1 + 0.3 * 0.5 / 0.25),
    ):
        found = likeness(here, dict.fromkeys(norms, X), norms)
        assert found.value == pytest.approx(1 / (1 + np.exp(SLOPE * (LEVEL - above))))
    assert likeness({masks: X}, {masks: X}, norms).value == 0.0


def test_what_is_usual_is_measured_between_families():
    vectors = [X, X, Y, -X - Y]
    norm = norm_of(vectors, ["a", "a", "b", "c"])
    directions = norm.centred(np.stack(vectors))
    pairs = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    found = [float(directions[i] @ directions[j]) for i, j in pairs]
    assert norm.usual == pytest.approx(np.mean(found)) and norm.deviation == pytest.approx(np.std(found))
    with pytest.raises(ValueError, match="two families"):
        norm_of([X, Y], ["a", "a"])


def test_what_all_have_in_common_is_not_compared():
    common = np.array([10, 0, 0], np.float32)
    one, other = np.array([10, 1, 0], np.float32), np.array([10, 0, 1], np.float32)
    assert Norm(common, 0.0, 1.0).similarity(one, other) == pytest.approx(0.0)
    assert not Norm(common, 0.0, 1.0).centred(common).any()
