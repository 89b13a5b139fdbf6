"""RUN#readable and RUN#accurate, wherever a pipeline is named."""

import json
from pathlib import Path

import pytest

import evoseg
from evoseg.core.errors import EvosegError, SettingsError
from evoseg.operators.network import EXAMPLE_NETWORK
from evoseg.pipeline import print_text
from evoseg.runs.pipeline_files import read_filters
from evoseg.runs.run_folder import FilesError
from evoseg.runs.stored import read_radius

READABLE = "def pipeline(image):\n    return level(channel(image), level=100)\n"
ACCURATE = (
    "def pipeline(image):\n"
    f'    network_1 = network(image, weights="{EXAMPLE_NETWORK}", output="foreground")\n'
    "    return level(network_1, level=127)\n"
)


@pytest.fixture
def run(tmp_path) -> Path:
    """Return a folder as of a run that recommends its accurate pipeline."""
    for name, text in {"pipeline": ACCURATE, "accurate": ACCURATE, "readable": READABLE}.items():
        (tmp_path / f"{name}.evo").write_text(text)
    return tmp_path


def test_each_answer_has_a_name_and_the_run_is_the_recommended_one(run):
    readable, accurate = evoseg.read_pipeline(READABLE), evoseg.read_pipeline(ACCURATE)
    assert evoseg.read_pipeline(f"{run}#readable") == readable
    assert evoseg.read_pipeline(f"{run}#accurate") == evoseg.read_pipeline(run) == accurate


def test_a_run_without_networks_has_a_readable_pipeline_and_says_why_it_has_no_other(tmp_path):
    (tmp_path / "pipeline.evo").write_text(READABLE)
    assert evoseg.read_pipeline(f"{tmp_path}#readable") == evoseg.read_pipeline(READABLE)
    with pytest.raises(FilesError, match="no accurate pipeline: no network was trained"):
        evoseg.read_pipeline(f"{tmp_path}#accurate")
    (tmp_path / "result.json").write_text(json.dumps({"networks": {"none": "there is one image"}}))
    with pytest.raises(FilesError, match="no accurate pipeline: there is one image"):
        evoseg.read_pipeline(f"{tmp_path}#accurate")


def test_another_name_is_no_run(run):
    with pytest.raises(FilesError, match="no file, folder or run"):
        evoseg.read_pipeline(f"{run}#best")


def test_searches_start_from_filters(run, tmp_path):
    assert read_filters(run) == evoseg.read_pipeline(READABLE) == read_filters(str(run / "readable.evo"))
    with pytest.raises(SettingsError, match="RUN#readable"):
        evoseg.search(tmp_path, start=run / "accurate.evo", evaluations=1)
    with pytest.raises(EvosegError, match="no file, folder or run"):
        read_filters("nothing of the kind")


def test_a_text_is_of_no_run_even_where_one_lies(tmp_path, monkeypatch):
    (tmp_path / "result.json").write_text(json.dumps({"radius_px": 3.0}))
    monkeypatch.chdir(tmp_path)
    assert read_radius(".") == 3.0
    assert read_radius(print_text(evoseg.read_pipeline(READABLE))) is None
