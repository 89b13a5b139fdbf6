"""A user's own task: run from its file, here and in workers, and only if it is what it was."""

import pickle

import numpy as np
import pytest

from evoseg.core.errors import SettingsError
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.memmap import write_pack
from evoseg.evolve.evaluation.jobs import InProcess, Job, Request
from evoseg.evolve.evaluation.processes import Processes, WorkerSettings
from evoseg.evolve.tasks.object_tasks import InstanceTask, foreground_of
from evoseg.evolve.tasks.task_kinds import TaskKind, digest_of, load_task, try_out
from evoseg.pipeline import read_text

AREA = """
import numpy as np
from dataclasses import dataclass
from evoseg import Kind, PlainTask

@dataclass(frozen=True)
class Task(PlainTask):
    '''Right is who marks as much as the mask does.'''
    output: Kind = Kind.MASK

    def arrays(self, sample):
        return {"image": sample.image, "share": np.array([sample.mask.mean()])}

    def judge(self, output, target):
        return np.array([abs(output.mean() - target["share"][0])])

    def score(self, statistics):
        return 1 - statistics[..., 0]
"""
HALF = "def pipeline(image):\n    channel_1 = channel(image, index=0)\n    return level(channel_1, level=127)\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "area.py"
    path.write_text(AREA)
    return path


@pytest.fixture
def data():
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (20, 1))
    return Dataset.from_arrays([ramp, ramp[::-1].copy()], [ramp > 127, ramp > 63])


def load(path):
    return load_task(path, digest_of(path))


def judged(executor):
    try:
        return executor.run([Job((Request(read_text(HALF)),), (0, 1), 60.0)])[0].results[0]
    finally:
        executor.close()


def test_it_judges_here_and_in_a_worker(file, data, tmp_path):
    task = load(file)
    pack = write_pack(tmp_path / "own.pack", [(stem, task.arrays(data.load(stem))) for stem in data.stems])
    here = judged(InProcess(task, pack.items, 1 << 20))
    np.testing.assert_allclose(task.score(here), [1.0, 0.75], atol=0.02)
    np.testing.assert_array_equal(judged(Processes(task, pack.path, WorkerSettings())), here)


def test_statistics_of_unlike_shapes_fail_the_candidate_and_not_its_worker(file, data, tmp_path):
    file.write_text(
        AREA.replace('np.array([abs(output.mean() - target["share"][0])])', 'np.zeros(round(4 * target["share"][0]))')
    )
    task = load(file)
    pack = write_pack(tmp_path / "p", [(stem, task.arrays(data.load(stem))) for stem in data.stems])
    for executor in (InProcess(task, pack.items, 0), Processes(task, pack.path, WorkerSettings())):
        assert "different shapes: (2,) and (3,)" in judged(executor).reason
        assert not getattr(executor, "n_given_up", 0)


def test_it_travels_as_its_file_and_not_if_that_has_changed(file):
    task = load(file)
    sent = pickle.dumps(task)
    assert pickle.loads(sent) is task
    load_task.cache_clear()
    file.write_text(AREA + "# changed\n")
    with pytest.raises(SettingsError, match="has changed since the search began"):
        pickle.loads(sent)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "holds no class named Task"),
        ("x = 1\n\nraise KeyError('no')\n", "line 3: KeyError"),
        ("class Task:\n  x =\n", "line 2: SyntaxError"),
        ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError"),
        ("class Task:\n    pass\n", "Task has no method arrays"),
        (AREA.replace("Kind = Kind.MASK", "str = 'mask'"), "Task.output must say what a pipeline returns"),
        (AREA.replace("def judge", "def judges"), "TypeError: Can't instantiate abstract class"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path, text, words):
    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("return 1 - statistics[..., 0]", "line 18 with an empty answer to 000: ZeroDivisionError"),
        ('return np.array([abs(output.mean() - target["share"][0])])', "line 15 with an empty answer to 000: Zero"),
    ],
)
def test_a_score_that_fails_is_said_before_the_search(tmp_path, data, method, words):
    path = tmp_path / "wrong.py"
    path.write_text(AREA.replace(method, "return 1 / 0"))
    with pytest.raises(SettingsError, match=words):
        try_out(load(path), data.load("000"), path)


def test_a_score_that_is_no_number_is_said_before_the_search(tmp_path, data):
    path = tmp_path / "wrong.py"
    path.write_text(AREA.replace("return 1 - statistics[..., 0]", "return np.nan * statistics[..., 0]"))
    with pytest.raises(
        SettingsError, match=r"score\(\) gives nan for an empty answer to 000; a score must be a finite"
    ):
        try_out(load(path), data.load("000"), path)


def test_what_is_derived_from_evosegs_own_tasks_stays_as_it_is(tmp_path):
    path = tmp_path / "near.py"
    path.write_text(
        "from evoseg.evolve.tasks.object_tasks import PointTask\n\nclass Task(PointTask):\n    radius = 2.0\n"
    )
    task = load(path)
    assert foreground_of(task) is None
    assert TaskKind("near", task.output, lambda metric: task, ("score",), None, "1").task("score", 9.0) is task


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="none.py: cannot be read"):
        digest_of(tmp_path / "none.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"image": sample.pixels}', r"line 12 with 000: AttributeError"),
        ('{"image": sample.image.astype(float), "share": 1}', "image\\(\\) gives float64 of shape"),
    ],
)
def test_it_is_tried_on_one_sample_before_a_search(file, data, line, words):
    file.write_text(AREA.replace('{"image": sample.image, "share": np.array([sample.mask.mean()])}', line))
    with pytest.raises(SettingsError, match=words):
        try_out(load(file), data.load("000"), file)


OLD_AREA = (
    AREA.replace("def arrays(", "def item(")
    + """
    def truth(self, item):
        return super().truth(item)
"""
)


def test_the_methods_names_of_version_0_1_work_for_one_release_with_a_warning(data, tmp_path):
    path = tmp_path / "old.py"
    path.write_text(OLD_AREA)
    with pytest.warns(FutureWarning, match="is now called") as warned:
        task = load(path)
    assert [str(w.message).split(" is")[0] for w in warned] == ["Task.item", "Task.truth"]
    try_out(task, data.load(data.stems[0]), path)
    pack = write_pack(tmp_path / "own.pack", [(stem, task.arrays(data.load(stem))) for stem in data.stems])
    assert judged(Processes(task, pack.path, WorkerSettings())).shape == (2, 1)


def test_the_modules_of_version_0_1_can_be_derived_from(tmp_path):
    path = tmp_path / "derived.py"
    path.write_text("from evoseg.evolve.instances import InstanceTask\n\nclass Task(InstanceTask):\n    pass\n")
    assert isinstance(load(path), InstanceTask)
