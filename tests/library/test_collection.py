"""The library as one: seeds and own tasks, merging, sharing."""

import pytest

from evoseg.core.errors import SettingsError
from evoseg.library.collection import Library, bundled_tasks, read_task_files
from evoseg.library.task_files import TaskError, TransferResult, print_task, write_task
from tests.library.helpers import task


def test_own_tasks_stand_beside_the_seeds(tmp_path):
    with Library(tmp_path / "library.db") as library:
        assert library.add([task()]) == [task().id]
        assert library.size() == len(bundled_tasks()) + 1
        assert library.list_tasks()[-1][1] == "plates" and library.list_tasks()[0][2] == "seed"
        assert print_task(library.find("plates")) == print_task(task())
        assert library.find(task().id[:6]).name == "plates"
    with Library(tmp_path / "library.db") as again:
        assert again.own()[0].id == task().id


def test_a_seed_is_neither_added_nor_removed(tmp_path):
    with Library(tmp_path / "library.db") as library:
        assert library.add([bundled_tasks()[0]]) == []
        with pytest.raises(SettingsError, match="comes with evoseg"):
            library.remove(bundled_tasks()[0])


def test_the_nearest_of_the_own_tasks_are_found_after_each_change(tmp_path):
    with Library(tmp_path / "library.db") as library:
        library.add([task(f"t{seed}", seed) for seed in range(30)])
        here = task("t7", 7)
        assert library.most_alike(here.described)[0][0] == here.id
        library.remove(here)
        assert here.id not in dict(library.most_alike(here.described))
        library.add([here])
        assert library.most_alike(here.described)[0][0] == here.id


def test_merging_is_repeatable_and_keeps_where_tasks_came_from(tmp_path):
    mine, theirs = task("mine", 1), task("theirs", 2)
    with Library(tmp_path / "a.db") as a, Library(tmp_path / "b.db") as b:
        a.add([mine])
        b.add([mine, theirs], origin="the other lab")
        b.add_transfer_results([TransferResult(theirs.id, mine.id, theirs.best.pipeline.form, 1.0, None, 0.5)])
        assert a.merge(b) == (1, 1)
        after = a.list_tasks(), a.transfer_results()
        assert a.merge(b) == (0, 0) and (a.list_tasks(), a.transfer_results()) == after
        assert {name: origin for _, name, origin, _ in a.list_tasks()}["theirs"] == "the other lab"
        assert b.counts() == (2, 1)


def test_a_name_that_is_not_there_or_stands_for_several_is_said(tmp_path):
    with Library(tmp_path / "library.db") as library:
        library.add([task("wells", 1), task("wells", 2)])
        with pytest.raises(SettingsError, match=r"2 tasks are called wells; .*[0-9a-f] \(a test, added 20"):
            library.find("wells")
        with pytest.raises(SettingsError, match="did you mean crackforest"):
            library.find("crackforrest")


def test_shared_files_are_read_from_folders_and_named_when_wrong(tmp_path):
    write_task(task("a", 1), tmp_path / "a.yaml")
    write_task(task("b", 2), tmp_path / "b.yaml")
    assert [t.name for t in read_task_files([tmp_path])] == ["a", "b"]
    (tmp_path / "c.yaml").write_text("evoseg: 7")
    with pytest.raises(TaskError, match=r"c\.yaml"):
        read_task_files([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="no .yaml file"):
        read_task_files([tmp_path / "empty"])
