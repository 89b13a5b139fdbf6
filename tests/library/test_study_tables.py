"""Tables of a study, from scores and likeness made by hand."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from numpy.random import default_rng
from scipy.stats import rankdata, spearmanr

from evoseg.datasets.dataset import Dataset
from evoseg.library.description import description_of
from evoseg.library.study import Row, StudiedDataset, Study
from evoseg.library.study_tables import KS, StudyTables, associate, print_matrix, print_pairs
from evoseg.library.task import SolvedTask
from tests.library.helpers import task

IMAGES = Dataset.from_arrays([np.zeros((4, 5), np.uint8)], [np.ones((4, 5), bool)])


def study_of(scores, likeness=None, strangers: int = 0, as_they_are: float = 0.1) -> Study:
    """Return a study of as many datasets as there are columns; rows beyond them are of tasks without a dataset."""
    n = len(scores[0])
    tasks = [task(f"t{i}", i, texts=(0,)) for i in range(len(scores))]
    names = [f"d{j}" for j in range(n)]
    datasets = [
        StudiedDataset(name, IMAGES, ("000",), ("000",), description_of(own), own.id, frozenset({own.id}))
        for name, own in zip(names, tasks, strict=False)
    ]
    rows = [
        row_of(tasks[i], names[j], score, as_they_are)
        for i, line in enumerate(scores)
        for j, score in enumerate(line)
        if score is not None
    ]
    return Study(tuple(datasets), tuple(tasks), tuple(rows), {"made up": np.array(likeness)} if likeness else {}, False)


def row_of(source: SolvedTask, target: str, score: float, as_it_is: float = 0.1, **changes: object) -> Row:
    form = source.best.pipeline.form
    row = Row(target, source.id, source.name, "best", form, 1.0, score, as_it_is, 0, 0, score, score, score)
    return replace(row, **changes)


SCORES = [
    [0.8, 0.7, 0.1, 0.2],
    [0.6, 0.9, 0.2, 0.1],
    [0.1, 0.1, 0.8, 0.6],
    [0.2, 0.1, 0.7, 0.8],
]


def test_of_a_sources_pipelines_the_one_counts_that_is_best_where_it_was_refitted():
    study = study_of(SCORES)
    source = study.sources[0]
    by_luck = row_of(source, "d1", 0.95, fitted=0.3, scale=0.5)
    chosen = row_of(source, "d1", 0.4, 0.3, fitted=0.99, scale=2.0)
    tables = StudyTables(replace(study, rows=(*study.rows, by_luck, chosen)))
    assert tables.matrix("iou", refitted=True)[0, 1] == 0.4
    assert tables.matrix("iou", refitted=False)[0, 1] == 0.1  # rescaled ones are not as they were


def test_what_cannot_be_run_is_unknown_and_not_zero():
    scores = [[0.5, None], [0.4, 0.6]]
    matrix = StudyTables(study_of(scores)).matrix("iou", refitted=True)
    assert np.isnan(matrix[0, 1]) and matrix[1, 0] == 0.4
    assert print_matrix(StudyTables(study_of(scores))) == "source,d0,d1\nd0,0.5000,\nd1,0.4000,0.6000\n"


def test_correlations_leave_the_diagonal_out():
    rng = default_rng(3)
    alike, transfer = rng.random((2, 6, 6))
    np.fill_diagonal(transfer, 99.0)
    found = associate(alike, transfer)
    off = ~np.eye(6, dtype=bool)
    assert found.r2 == pytest.approx(np.corrcoef(alike[off], transfer[off])[0, 1] ** 2)
    assert found.rank == pytest.approx(spearmanr(alike[off], transfer[off]).statistic)
    columns = [spearmanr(alike[off[:, j], j], transfer[off[:, j], j]).statistic for j in range(6)]
    assert found.within == pytest.approx(np.mean(columns))


def test_missing_scores_take_no_part():
    rng = default_rng(4)
    alike, transfer = rng.random((2, 6, 6))
    transfer[0, 1] = np.nan
    off = np.isfinite(transfer) & ~np.eye(6, dtype=bool)
    assert associate(alike, transfer).rank == pytest.approx(spearmanr(alike[off], transfer[off]).statistic)


def test_p_values_come_from_all_ways_to_permute_datasets():
    # With five datasets all 120 orders can be listed; drawn ones must agree.
    rng = default_rng(5)
    alike, transfer = rng.random((2, 5, 5))
    alike = alike + alike.T
    off = ~np.eye(5, dtype=bool)
    ranks = rankdata(transfer[off])
    every = [spearmanr(alike[np.ix_(order, order)][off], ranks).statistic for order in permutations(range(5))]
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-12)
    assert associate(alike, transfer).rank_p == pytest.approx(exact, abs=0.04)


def test_permuting_pairs_would_see_more_than_there_is():
    # One easy target and one odd dataset: 2 (n - 1) pairs agree, but there is only one coincidence.
    n = 8
    transfer, alike = np.full((n, n), 0.2), np.full((n, n), 0.2)
    transfer[:, 0] = transfer[0] = alike[0] = alike[:, 0] = 0.9
    found = associate(alike, transfer)
    assert found.rank == pytest.approx(1.0)
    assert found.rank_p == pytest.approx(1 / n, abs=0.03)


def test_likeness_that_orders_sources_as_they_transfer_is_found_out():
    scores = default_rng(6).random((8, 8)).tolist()
    good = StudyTables(study_of(scores, scores)).associations("iou", refitted=True)["made up"]
    assert good.r2 == pytest.approx(1.0) and good.within == pytest.approx(1.0) and good.within_p < 0.01
    assert StudyTables(study_of(scores, scores)).associations("iou", refitted=False)["made up"].r2 == 0.0


def test_a_relation_that_hangs_on_one_dataset_is_seen_when_that_is_left_out():
    # The last dataset is unlike all others, and its pipelines are the worst everywhere; the rest is noise.
    rng = default_rng(8)
    alike, transfer = rng.random((2, 6, 6))
    alike[-1], transfer[-1] = -1.0, -1.0
    found = associate(alike, transfer)
    columns = list(range(5))
    rest = [[i for i in columns if i != j] for j in columns]
    without = np.mean([spearmanr(alike[r, j], transfer[r, j]).statistic for r, j in zip(rest, columns, strict=True)])
    assert found.left_out[0] <= without + 1e-9 and found.within > without + 0.2
    assert found.left_out[0] < found.within < found.left_out[1] + 1e-9


def test_sources_of_no_dataset_of_the_study_count_among_all():
    rng = default_rng(9)
    scores, likeness = rng.random((2, 9, 5))
    found = StudyTables(study_of(scores.tolist(), likeness.tolist())).associations("iou", refitted=True)["made up"]
    strangers = [[i for i in range(9) if i != j] for j in range(5)]
    columns = [spearmanr(likeness[s, j], scores[s, j]).statistic for j, s in enumerate(strangers)]
    assert found.among_all == pytest.approx(np.mean(columns))
    likeness[7, 2] = np.nan  # unknown of one stored task
    tables = StudyTables(study_of(scores.tolist(), likeness.tolist()))
    assert np.isnan(tables.associations("iou", refitted=True)["made up"].among_all)


def test_little_is_said_of_few_datasets():
    tables = StudyTables(study_of([[0.8, 0.1], [0.2, 0.7]], [[1, 0], [0, 1]]))
    assert not tables.associations("iou", refitted=True)
    assert tables.asymmetry() is None and tables.clusters() is None
    assert [choice.name for choice in tables.choices()] == ["chance", "popular elsewhere", "made up"]


def test_choosing_by_likeness_is_told_from_chance_and_from_a_list_of_popular_sources():
    # Six sources; source 4, of no dataset here, is second best everywhere, and the best is found by likeness alone.
    scores = [[0.1] * 4 for _ in range(6)]
    likeness = [[0.0] * 4 for _ in range(6)]
    for j in range(4):
        best = (j + 1) % 4
        scores[best][j], likeness[best][j], scores[4][j], scores[j][j] = 0.8, 1.0, 0.6, 0.9
    found = {choice.name: choice for choice in StudyTables(study_of(scores, likeness)).choices()}
    assert found["made up"].hits == (1.0, 1.0, 1.0) and found["made up"].shares[0] == 1.0
    assert found["popular elsewhere"].hits[0] == 0.0 and found["popular elsewhere"].shares[0] == pytest.approx(0.75)
    # Own pipelines are never chosen, so one of five is the best.
    assert found["chance"].hits == pytest.approx([k / 5 for k in KS], abs=0.05)


def test_a_relative_is_never_chosen():
    study = study_of(SCORES, SCORES)
    related = replace(study.datasets[0], related=frozenset({study.sources[0].id, study.sources[1].id}))
    tables = StudyTables(replace(study, datasets=(related, *study.datasets[1:])))
    assert tables.pools()[0].tolist() == [2, 3] and tables.pools()[1].tolist() == [0, 2, 3]


def test_what_a_dataset_shows_does_not_make_a_source_popular_for_it():
    popularity = StudyTables(study_of(SCORES)).popularity(np.array(SCORES))
    changed = [[0.99 if (i, j) == (1, 0) else value for j, value in enumerate(line)] for i, line in enumerate(SCORES)]
    again = StudyTables(study_of(changed)).popularity(np.array(changed))
    assert again[:, 0].tolist() == popularity[:, 0].tolist() and again[1, 2] > popularity[1, 2]


def test_mutual_transfer_has_no_direction():
    mutual = np.array(SCORES) + np.array(SCORES).T
    found = StudyTables(study_of((mutual / 2).tolist())).asymmetry()
    assert found.share == pytest.approx(0.0) and found.correlation == pytest.approx(1.0)


def test_datasets_that_are_easy_for_all_pipelines_count_as_direction_only_until_their_mean_is_subtracted():
    # Each column is one number: the pairs differ by their targets alone, so all is direction.
    easy = StudyTables(study_of([[0.1, 0.3, 0.5, 0.9]] * 4)).asymmetry()
    assert easy.share > 0.5 and easy.share_within == pytest.approx(0.0)


def test_transfer_in_one_direction_only_is_all_asymmetry():
    scores = np.full((4, 4), 0.5)
    scores[np.triu_indices(4, 1)], scores[np.tril_indices(4, -1)] = 0.9, 0.1
    found = StudyTables(study_of(scores.tolist())).asymmetry()
    assert found.share == pytest.approx(1.0) and found.correlation == pytest.approx(-1.0)
    assert found.widest[0][2:] == (0.9, 0.1)


def test_datasets_that_lend_each_other_pipelines_are_one_cluster():
    found = StudyTables(study_of(SCORES)).clusters()
    assert {frozenset(group) for group in found.groups} == {frozenset({"d0", "d1"}), frozenset({"d2", "d3"})}
    assert {frozenset(found.order[:2]), frozenset(found.order[2:])} == {frozenset({0, 1}), frozenset({2, 3})}
    # 1 - (0.7 / 0.9 + 0.6 / 0.8) / 2
    assert found.joins[:, 2].max() > found.joins[1, 2] >= found.joins[0, 2]
    assert any(height == pytest.approx(1 - (0.7 / 0.9 + 0.6 / 0.8) / 2) for height in found.joins[:, 2])


def test_as_json_what_is_not_known_is_null():
    document = StudyTables(study_of(SCORES, SCORES)).to_json()
    # With four datasets, nothing can be said of three.
    assert document["likeness"]["refitted_iou"]["made up"]["left_out"] is None
    assert json.dumps(document, allow_nan=False)
    assert sorted(map(sorted, document["clusters"])) == [["d0", "d1"], ["d2", "d3"]]
    few = StudyTables(study_of([[0.8, None], [0.2, 0.7]])).to_json()
    assert few["likeness"] is few["clusters"] is few["asymmetry"] is None and json.dumps(few, allow_nan=False)


def test_pairs_are_listed_with_likeness_and_scores():
    lines = print_pairs(StudyTables(study_of(SCORES, SCORES))).splitlines()
    assert lines[0] == "source,target,related,made up,iou,refitted iou,f1,refitted f1,mcc,refitted mcc"
    assert lines[2] == "d0,d1,0,0.7000,0.1000,0.7000,0.0000,0.7000,0.0000,0.7000" and len(lines) == 17
