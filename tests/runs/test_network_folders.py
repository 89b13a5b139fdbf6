"""Networks lie beside the pipelines that name them, in runs, and in evoseg's own folder."""

import subprocess
import sys

import numpy as np
import pytest

from evoseg.core.errors import PipelineError
from evoseg.operators.network import add_network, digest_of
from evoseg.pipeline import read_text
from evoseg.runs.network_folders import load_networks, networks_folder, save_networks
from evoseg.runs.pipeline_files import read_pipeline, write_pipeline
from evoseg.runs.run_folder import NETWORKS, FilesError, RunFolder
from tests.operators.networks import conv_network

NETWORK = conv_network([[0.0, 1 / 256, 0.0]])
DIGEST = digest_of(NETWORK)
TEXT = f'def pipeline(image):\n    return threshold(network(image, weights="{DIGEST}"))\n'
UNKNOWN = "0123456789abcdef" * 2

# Reads a pipeline in a process of its own, since this one knows the network already, and prints what it gives.
READER = """
import sys, numpy as np
from evoseg.core.errors import EvosegError
from evoseg.runs.pipeline_files import read_pipeline
try:
    print(read_pipeline(sys.argv[1])(np.full((2, 3, 3), 200, np.uint8)).all())
except EvosegError as error:
    print(type(error).__name__, error)
"""


def read_elsewhere(path, home):
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)],
        capture_output=True,
        text=True,
        env={"EVOSEG_HOME": str(home), "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def pipeline():
    add_network(NETWORK)
    return read_text(TEXT)


@pytest.mark.parametrize("name", ["find.evo", "find.json"])
def test_a_pipeline_is_written_with_its_networks_beside_it_and_read_with_them(name, pipeline, tmp_path):
    write_pipeline(pipeline, tmp_path / name)
    assert (tmp_path / f"{DIGEST}.onnx").read_bytes() == NETWORK
    assert read_pipeline(tmp_path / name) == pipeline
    assert read_elsewhere(tmp_path / name, tmp_path / "home") == "True"


def test_a_network_is_found_in_evosegs_own_folder(pipeline, tmp_path):
    home = tmp_path / "home"
    (tmp_path / "find.evo").write_text(TEXT)
    save_networks(pipeline, home / "networks")
    assert read_elsewhere(tmp_path / "find.evo", home) == "True"
    assert read_elsewhere(TEXT, home) == "True"


def test_a_missing_network_is_one_error_that_names_the_file_and_the_places(tmp_path):
    (tmp_path / "find.evo").write_text(TEXT.replace(DIGEST, UNKNOWN))
    with pytest.raises(FilesError) as error:
        read_pipeline(tmp_path / "find.evo")
    assert (
        f"{UNKNOWN}.onnx, which is in none of these folders: {tmp_path}, {tmp_path / NETWORKS}, {networks_folder()}"
        in str(error.value)
    )


@pytest.mark.parametrize("content", [b"", b"abc", NETWORK[:-1], bytes(1000)])
def test_a_damaged_network_is_one_error(content, tmp_path):
    (tmp_path / "find.evo").write_text(TEXT.replace(DIGEST, UNKNOWN))
    (tmp_path / f"{UNKNOWN}.onnx").write_bytes(content)
    with pytest.raises(PipelineError, match=f"{UNKNOWN}.onnx: damaged"):
        read_pipeline(tmp_path / "find.evo")


def test_a_foreign_file_under_its_own_digest_is_one_error(tmp_path):
    foreign = b"\x08\x07 something else"
    pipeline = read_text(TEXT.replace(DIGEST, digest_of(foreign)))
    (tmp_path / f"{digest_of(foreign)}.onnx").write_bytes(foreign)
    with pytest.raises(PipelineError, match="onnx: not a network that evoseg wrote"):
        load_networks(pipeline, tmp_path)


def test_other_content_is_never_overwritten(pipeline, tmp_path):
    file = tmp_path / f"{DIGEST}.onnx"
    file.write_bytes(b"mine")
    with pytest.raises(FilesError, match="holds something else"):
        write_pipeline(pipeline, tmp_path / "find.evo")
    assert file.read_bytes() == b"mine" and not (tmp_path / "find.evo").exists()


def test_the_same_content_is_left_as_it_is(pipeline, tmp_path):
    (first,) = save_networks(pipeline, tmp_path)
    before = first.stat()
    assert save_networks(pipeline, tmp_path) == [first]
    assert first.stat().st_mtime_ns == before.st_mtime_ns


def test_a_run_keeps_its_networks_in_a_folder_of_their_own_and_takes_them_along_when_it_is_deleted(pipeline, tmp_path):
    (tmp_path / "pipeline.evo").write_text(TEXT)
    save_networks(pipeline, tmp_path / NETWORKS)
    assert read_elsewhere(tmp_path / "pipeline.evo", tmp_path / "home") == "True"
    RunFolder("run", tmp_path, new=False).remove()
    assert not tmp_path.exists()


def test_the_example_needs_no_file(tmp_path):
    pipeline = read_text("def pipeline(image):\n    return network(image)\n")
    write_pipeline(pipeline, tmp_path / "example.evo")
    assert [path.name for path in tmp_path.iterdir()] == ["example.evo"]
    assert read_pipeline(tmp_path / "example.evo")(np.full((2, 3, 1), 64, np.uint8)).max() == 64
