"""A search of which some images cannot be scored ends with a result that says so, and can be resumed."""

import json
from pathlib import Path

import pytest

from evoseg.datasets.splits import split
from evoseg.report.results import SearchResult
from evoseg.runs.opening import open_data
from tests.system.test_api import untimed

pytestmark = pytest.mark.e2e

TASK = '''
from pathlib import Path

import numpy as np

from evoseg import Kind, PlainTask

BUSY = Path({busy!r})


class Task(PlainTask):
    """Overlap of masks, with an image that now and then takes more memory than there is."""

    output = Kind.MASK

    def arrays(self, sample):
        return {{"image": sample.image, "mask": sample.mask, "large": np.array([int(sample.stem in {large!r})])}}

    def target(self, item):
        return item["mask"], bool(item["large"][0])

    def judge(self, output, truth):
        mask, large = truth
        if large and BUSY.exists():
            raise MemoryError("the others have it all")
        return np.array([(output & mask).sum(), (output | mask).sum()], float)

    def score(self, statistics):
        return statistics[..., 0] / np.maximum(statistics[..., 1], 1)
'''


@pytest.mark.parametrize("n_large", [1, 99])
def test_a_search_ends_with_a_report_that_names_images_that_could_not_be_scored(
    command, dataset, tmp_path, home, n_large
):
    stems = split(open_data(dataset)).test
    busy, task = tmp_path / "busy", tmp_path / "task.py"
    task.write_text(TASK.format(busy=str(busy), large=stems[:n_large]))
    arguments = (
        "search",
        dataset,
        "--task",
        task,
        "--evaluations",
        "12",
        "--workers",
        "0",
        "--library",
        "none",
        "--json",
    )
    undisturbed = command(*arguments, "--out", tmp_path / "whole")
    assert undisturbed.code == 0, undisturbed.err
    whole = json.loads(undisturbed.out)
    assert (whole["not_scored"], whole["final"]) == ({}, True)

    busy.touch()
    done = command(*arguments)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert list(result["not_scored"]) == list(stems[:n_large])
    assert result["final"] is False
    assert list(result["test_per_image"]) == list(stems[n_large:])
    assert all(result["test_per_image"][stem] == whole["test_per_image"][stem] for stem in stems[n_large:])
    assert (result["scores"]["test"] is None) == (n_large == 99)
    assert stems[0] in Path(result["files"]["report"]).read_text("utf-8")
    told = str(SearchResult.load(result["run"]))
    assert f"{stems[0]} (MemoryError: the others have it all)" in told
    assert f"evoseg runs resume {result['run']}" in told
    assert f"{stems[0]}: MemoryError" in command("runs", "show", result["run"]).out
    listed = {run["run"]: run["state"] for run in json.loads(command("runs", "list", "--json").out)["runs"]}
    assert listed[result["run"]] == "interrupted"

    busy.unlink()
    resumed = command("runs", "resume", result["run"], "--task", task, "--json")
    assert resumed.code == 0, resumed.err
    assert untimed(json.loads(resumed.out)) == untimed(whole)
    assert command("runs", "resume", result["run"], "--task", task).code == 1, "there is nothing left to do"
