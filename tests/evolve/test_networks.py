"""Networks in the search: out-of-bag planes for its own images, the file for all others, and two answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.finalists import Finalist, is_significantly_better, leave_out, network_champion
from evoseg.evolve.loop import Progress, Search
from evoseg.evolve.networks import (
    Networks,
    TrainingRequest,
    cleaned_programs,
    plain_programs,
    point_spacing,
    typical_length,
)
from evoseg.evolve.ports import Scored
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.object_tasks import InstanceTask, PointTask
from evoseg.operators.network import EXAMPLE_NETWORK, computed_planes, network_bytes
from evoseg.pipeline import Pipeline, read_text
from evoseg.pipeline.running import run_steps
from evoseg.pipeline.structure import structure_of
from tests.evolve.helpers import discs

NAMES = [f"{i:03}" for i in range(9)]
SPLITS = Splits(tuple(NAMES[:5]), (), tuple(NAMES[5:]))
SELECTED = Splits(tuple(NAMES[:4]), tuple(NAMES[4:7]), tuple(NAMES[7:]))
ITEMS = discs(9, shape=(40, 51))


def hidden(n_unlabelled: int = 0, known: Sequence[np.ndarray | None] | None = None) -> Dataset:
    """Return discs that no filter can see: the images are noise; the last ones have no mask."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 51, 1), dtype=np.uint8) for _ in range(len(NAMES) + n_unlabelled)]
    masks = [*(item["mask"] for item in ITEMS), *([None] * n_unlabelled)]
    return Dataset.from_arrays(images, masks, known, names=[*NAMES, *(f"x{i}" for i in range(n_unlabelled))])


class Oracle:
    """A trainer whose out-of-bag planes are the truth, more or less; its file is the example network."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.asked: list[TrainingRequest] = []

    def __call__(self, request: TrainingRequest, on_progress: Callable[[float], None]) -> Networks | str:
        self.asked.append(request)
        on_progress(1.0)
        rng = np.random.default_rng(1)
        planes = []
        for item in request.pack.items[: len(request.units) + len(request.copied)]:
            truth = item["mask"] if "mask" in item else item["labels"] > 0
            values = np.where(truth, 200.0, 40.0) + self.noise * rng.normal(size=truth.shape)
            foreground = np.clip(values, 0, 255).astype(np.uint8)
            planes.append({"foreground": cv2.GaussianBlur(foreground, (0, 0), 0.5)})
        return Networks(network_bytes(EXAMPLE_NETWORK), EXAMPLE_NETWORK, planes, 3, {"encoder": "none"})


def solved(
    folder: Path, trainer: Oracle, splits: Splits = SPLITS, data: Dataset | None = None, **settings: object
) -> Solution:
    chosen = SearchSettings(**{"budget": Budget(evaluations=200), "workers": 0} | settings)
    return solve(data or hidden(), splits, BinaryTask(), chosen, folder, Clock(chosen.budget), trainer=trainer)


@pytest.mark.parametrize("splits", [SPLITS, SELECTED], ids=["leave out", "selection"])
def test_the_search_sees_out_of_bag_planes_and_new_images_see_the_file(tmp_path, splits, monkeypatch):
    seen = []

    def counted(image, *arguments):
        seen.append(image)
        return computed_planes(image, *arguments)

    monkeypatch.setattr("evoseg.operators.network.computed_planes", counted)
    trainer, data = Oracle(), hidden()
    found = solved(tmp_path, trainer, splits)
    (request,) = trainer.asked
    assert (request.output, request.seconds) == (Kind.MASK, None)
    assert request.units.tolist() == list(range(len(splits.search)))
    assert request.copied == list(range(len(splits.search)))
    assert found.accurate.pipeline.has_network and not found.readable.pipeline.has_network
    assert found.progress.best_score > 0.9 > found.readable.finalist.scored.score
    # The example network shows the noise itself, so that is what new images give.
    on_test = float(BinaryTask().score(found.test[found.accurate.pipeline]).mean())
    assert on_test < 0.6
    if splits.selection:
        assert found.accurate.expected.mean() < 0.6, "the selection images are new to the networks, too"
    else:
        assert found.accurate.finalist.scored.score > 0.9
        assert found.recommended == "accurate" and found.best is found.accurate
        assert {*found.credit} == {one.proposer for one in found.ancestors} == {"network"}
    assert {found.readable.pipeline, found.accurate.pipeline} <= set(found.test)
    # The file runs once on each new image, however many programs look at its planes.
    new = [data.load(stem).image for stem in (*splits.selection, *splits.test)]
    assert all(np.array_equal(a, b) for a, b in zip(seen, new, strict=True))
    (foreground,) = objects_networks().programs[:1]
    for stem, image in zip(splits.test, new[len(splits.selection) :], strict=True):
        np.testing.assert_array_equal(found.planes[stem][foreground.digest], foreground(image))
    # Selection images are new to all; by the search images, hundreds of filters were compared, but few networks.
    assert (found.readable.searched, found.accurate.searched) == (not splits.selection, False)


def test_equal_images_are_left_out_together(tmp_path):
    images = [hidden().load(NAMES[max(i, 1)]).image for i in range(len(NAMES))]
    equal = Dataset.from_arrays(images, [item["mask"] for item in ITEMS], names=NAMES)
    trainer = Oracle()
    solved(tmp_path, trainer, data=equal, budget=Budget(evaluations=200))
    (request,) = trainer.asked
    assert request.units.tolist() == [0, 0, *range(1, len(SPLITS.search) - 1)]


def test_a_network_that_sees_nothing_is_not_recommended(tmp_path):
    seen = Dataset.from_arrays([i["image"] for i in ITEMS], [i["mask"] for i in ITEMS], names=NAMES)
    found = solved(tmp_path, Oracle(noise=5000.0), data=seen)
    assert found.recommended == "readable" and found.champion is found.readable.finalist


@pytest.mark.e2e
def test_the_history_is_the_same_for_any_number_of_workers(tmp_path):
    told = []
    for workers in (0, 2):
        (folder := tmp_path / str(workers)).mkdir()
        found = solved(folder, Oracle(60.0), workers=workers)
        told.append(([(n, s) for n, _, s in found.progress.history], found.accurate.pipeline.digest))
    assert told[0] == told[1]


@pytest.mark.e2e
def test_images_without_a_mask_are_labelled_by_networks_and_teach_the_filters(tmp_path):
    settings = SearchSettings(Budget(evaluations=300), workers=0)
    taught: list[Scored] = []

    def watch(progress: Progress) -> None:
        taught.extend(s for s in progress.best if s.taught is not None and not np.isnan(s.taught).any())
        assert not any(s.taught is not None for s in progress.best if s.pipeline.has_network)

    clock = Clock(settings.budget)
    half = np.arange(51) < np.full((40, 1), 25)
    data = hidden(3, [*(None for _ in NAMES), None, half, None])
    solve(data, SPLITS, BinaryTask(), settings, tmp_path, clock, trainer=Oracle(), on_progress=watch)
    # The example network is sure where its plane is far from one half.
    best, network = taught[-1], objects_networks().program("foreground")
    task = BinaryTask()
    for k, stem in enumerate(("x0", "x1", "x2")):
        image = data.load(stem).image
        plane = network(image)
        sure = (plane < 64) | (plane > 191)
        item = {"image": image, "mask": plane > 127, "known": sure & half if stem == "x1" else sure}
        statistics = task.judge(best.pipeline(item["image"]), task.target(item))
        assert float(task.score(statistics)) == pytest.approx(best.taught[k])


def test_all_candidates_that_are_compared_are_judged_on_the_same_images(tmp_path, monkeypatch):
    move, n_cases = Search.move, []

    def watched(search: Search, *arguments: object) -> None:
        move(search, *arguments)
        state = search.progress
        # The best of an epoch that began before will be crossed with what comes after.
        n_cases.extend(len(s.cases) for s in (*search._epoch_best, *state.population, *state.leaders, *state.best))

    monkeypatch.setattr(Search, "move", watched)
    solved(tmp_path, Oracle(), data=hidden(2), budget=Budget(evaluations=220))
    assert set(n_cases) == {len(SPLITS.search) + 2}


def test_untried_candidates_are_compared_as_if_taught_images_were_like_the_others():
    here = scored([0.4, 0.6])
    assert replace(here, taught=np.array([np.nan, np.nan]), handicap=0.1).cases == pytest.approx([0.3, 0.5, 0.4, 0.4])
    tried = replace(here, jittered=np.array([np.nan, 0.2]), taught=np.array([0.9, 0.1]))
    assert tried.cases == pytest.approx([0.4, 0.4, 0.9, 0.1])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"budget": Budget(evaluations=199)}, "200 evaluations"),
        ({"budget": Budget(seconds=5)}, "10 seconds"),
        ({"budget": Budget(evaluations=200), "max_cost": 5.0}, "more than 5 ms"),
        ({"budget": Budget(evaluations=200), "without": frozenset({"network"})}, "not asked"),
    ],
)
def test_why_no_network_is_trained_is_said(tmp_path, settings, why):
    trainer = Oracle()
    found = solved(tmp_path, trainer, **settings)
    assert not trainer.asked and found.accurate is None and why in found.networks
    assert found.recommended == "readable"


def test_plain_networks_are_judged_by_their_own_scores(tmp_path):
    found = solved(tmp_path, Oracle(60.0))
    plain = [f for f in found.finalists if f.plain]
    assert plain and all(np.array_equal(f.selection, f.scored.left_out) for f in plain)


def test_a_network_that_costs_too_much_is_not_handed_out(tmp_path, monkeypatch):
    monkeypatch.setattr("evoseg.evolve.context.LEAST_NETWORK_NS", 0.0)
    cost = objects_networks().program("foreground").cost
    trainer = Oracle()
    found = solved(tmp_path, trainer, max_cost=0.9 * cost)
    assert trainer.asked and found.accurate is None
    assert "per megapixel" in found.networks and not any(f.role == "network" for f in found.finalists)


def test_a_target_that_filters_reach_needs_no_network(tmp_path):
    trainer = Oracle()
    found = solved(tmp_path, trainer, budget=Budget(evaluations=300, target_score=0.1))
    assert not trainer.asked and found.progress.stopped_by == "target-score"


def objects_networks() -> Networks:
    labels = cv2.connectedComponents(ITEMS[0]["mask"].astype(np.uint8))[1]
    plane = np.where(labels > 0, 200, 40).astype(np.uint8)
    return Networks(network_bytes(EXAMPLE_NETWORK), EXAMPLE_NETWORK, [{"foreground": plane, "distance": plane}], 3)


@pytest.mark.parametrize(
    ("task", "outputs"), [(BinaryTask(), ("foreground",)), (InstanceTask(), ()), (PointTask(), ("points",))]
)
def test_classic_programs_around_a_network_return_what_is_asked_for(task, outputs):
    some = objects_networks()
    if outputs:
        some = Networks(some.file, some.digest, [dict.fromkeys(outputs, some.planes[0]["foreground"])], 3)
    programs = [*plain_programs(some, task.output, 21.0), *cleaned_programs(some, task.output)]
    assert programs and len(set(programs)) == len(programs)
    for program in programs:
        assert program.output is task.output and program.has_network
        assert program == read_text(str(program)), "it can be written and read"


def test_how_large_objects_are_is_the_median_of_all_of_them():
    labels = np.zeros((60, 60), np.int32)
    labels[2:6, 2:6], labels[10:20, 10:20], labels[30:54, 30:54] = 1, 2, 7
    items = [{"labels": labels}, {"labels": np.zeros((4, 4), np.int32)}]
    assert typical_length(items, Kind.LABELS) == 10  # of areas 16, 100 and 576
    assert typical_length(items[1:], Kind.LABELS) > 0, "without objects, too"


def test_how_far_points_are_apart_is_the_median_distance_of_neighbours():
    dense = np.argwhere(np.ones((100, 400)))[::4].astype(float)
    sparse = np.argwhere(np.ones((40, 57))) * 7.0 + (120, 0)
    # As in a file that lists them row by row: a dense quarter first, then as many in all the rest.
    assert point_spacing([np.concatenate([dense[:1500], sparse])]) == 7
    assert point_spacing([dense[:1], dense[:0]]) == np.inf
    assert typical_length([{"points": dense[:1]}], Kind.POINTS) > 0


def test_specks_beside_a_large_object_are_none():
    plane = np.zeros((80, 80), np.uint8)
    cv2.circle(plane, (40, 40), 20, 220, -1)
    plane[4:7, 4:7] = 220
    some = Networks(b"", EXAMPLE_NETWORK, [{"foreground": plane}], 3)
    for program in plain_programs(some, Kind.LABELS, 35.0):  # px; the disc's area is 35 squared
        assert run_steps(program.steps, plane[:, :, None], {0: plane}).max() == 1


def scored(scores: list[float], text: str = "channel(image)") -> Scored:
    pipeline = read_text(f"def pipeline(image):\n    return level({text}, level=100)\n")
    return Scored(pipeline, np.zeros((len(scores), 1)), np.array(scores), np.array(scores))


def test_only_a_sure_gain_replaces_the_plain_network():
    plain, unsure, sure = [0.5, 0.6, 0.7, 0.8], [0.9, 0.5, 0.7, 0.9], [0.6, 0.71, 0.79, 0.9]
    assert not is_significantly_better(np.array(unsure), np.array(plain))  # mean +0.1, but its interval is -0.2 to 0.4
    assert is_significantly_better(np.array(sure), np.array(plain))  # +0.1; 3.18 * hypot(0.008, 0.05) / 2 = 0.081
    finalists = [Finalist(scored(s), np.array(s), "network", plain=s is plain) for s in (plain, unsure, sure)]
    assert network_champion(finalists[:2]) is finalists[0]
    assert network_champion(finalists) is finalists[2]
    assert network_champion(finalists[1:]) is None, "there is nothing to compare with"
    assert not is_significantly_better(np.array([1.0]), np.array([0.0])), "one image proves nothing"


def test_images_of_a_fold_are_left_out_together():
    # Two variants: the first is best on images 0 and 3, by which it must not be chosen for them.
    first, second = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.2, 0.3, 0.3, 0.2])
    here = scored(second.tolist())
    variants = {structure_of(here.pipeline): [(first, first)]}
    assert leave_out(here, variants, folds=3).tolist() == [0.2, 0.0, 0.0, 0.2]
    assert leave_out(here, variants, np.array([0, 1, 2, 0])).tolist() == [0.2, 0.0, 0.0, 0.2]


def test_a_networks_cost_is_no_penalty_but_counts_as_cost():
    network: Pipeline = objects_networks().program("foreground")
    assert network.filter_cost == 0 < network.cost
