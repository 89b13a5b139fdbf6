"""The library as one: seeds and own tasks, merging, sharing."""

import pytest

from evoseg.base.errors import SettingsError
from evoseg.library.files import TaskError, print_task, write_task
from evoseg.library.ledger import Reuse
from evoseg.library.seeds import seed_tasks
from evoseg.library.shelf import Library, read_shared
from tests.library.helpers import task


def test_own_tasks_stand_beside_the_seeds(tmp_path):
    with Library(tmp_path / "library.db") as library:
        assert library.add([task()]) == [task().id]
        assert library.size() == len(seed_tasks()) + 1
        assert library.listed()[-1][1] == "plates" and library.listed()[0][2] == "seed"
        assert print_task(library.find("plates")) == print_task(task())
        assert library.find(task().id[:6]).name == "plates"
    with Library(tmp_path / "library.db") as again:
        assert again.own()[0].id == task().id


def test_a_seed_is_neither_added_nor_removed(tmp_path):
    with Library(tmp_path / "library.db") as library:
        assert library.add([seed_tasks()[0]]) == []
        with pytest.raises(SettingsError, match="comes with evoseg"):
            library.remove(seed_tasks()[0])


def test_the_nearest_of_the_own_tasks_are_found_after_each_change(tmp_path):
    with Library(tmp_path / "library.db", tmp_path / "cache") as library:
        library.add([task(f"t{seed}", seed) for seed in range(30)])
        here = task("t7", 7)
        assert library.nearest(here.described, 1) == [here.id]
        library.remove(here)
        assert here.id not in library.nearest(here.described, 5)
        library.add([here])
        assert library.nearest(here.described, 1) == [here.id]


def test_merging_is_repeatable_and_keeps_where_tasks_came_from(tmp_path):
    mine, theirs = task("mine", 1), task("theirs", 2)
    with Library(tmp_path / "a.db") as a, Library(tmp_path / "b.db") as b:
        a.add([mine])
        b.add([mine, theirs], origin="the other lab")
        b.record([Reuse(theirs.id, mine.id, theirs.best.pipeline.form, 1.0, None, 0.5)])
        assert a.merge(b) == (1, 1)
        after = a.listed(), a.ledger()
        assert a.merge(b) == (0, 0) and (a.listed(), a.ledger()) == after
        assert {name: origin for _, name, origin, _ in a.listed()}["theirs"] == "the other lab"
        assert b.counts() == (2, 1)


def test_a_name_that_is_not_there_or_stands_for_several_is_said(tmp_path):
    with Library(tmp_path / "library.db") as library:
        library.add([task("wells", 1), task("wells", 2)])
        with pytest.raises(SettingsError, match="2 tasks are called wells"):
            library.find("wells")
        with pytest.raises(SettingsError, match="did you mean crackforest"):
            library.find("crackforrest")


def test_shared_files_are_read_from_folders_and_named_when_wrong(tmp_path):
    write_task(task("a", 1), tmp_path / "a.yaml")
    write_task(task("b", 2), tmp_path / "b.yaml")
    assert [t.name for t in read_shared([tmp_path])] == ["a", "b"]
    (tmp_path / "c.yaml").write_text("evoseg: 7")
    with pytest.raises(TaskError, match=r"c\.yaml"):
        read_shared([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="no .yaml file"):
        read_shared([tmp_path / "empty"])


def test_rebuilding_counts_the_vectors(tmp_path):
    with Library(tmp_path / "library.db", tmp_path / "cache") as library:
        library.add([task("a", 1), task("b", 2)])
        assert set(library.rebuild().values()) == {2}
