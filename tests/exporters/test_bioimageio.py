"""Packages of bioimage.io: models of networks, and applications of filters."""

import io
import json
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from numpy.random import default_rng

from evoseg.exporters.bioimageio import HeldOutScore, export_bioimageio, float_plane
from evoseg.exporters.excerpts import ExportError
from evoseg.networks.image_network import image_network
from evoseg.networks.torchscript import torchscript_network
from evoseg.operators.network import add_network, network
from evoseg.pipeline import print_text, read_text
from evoseg.runs.exports import write_export
from evoseg.runs.pipeline_files import read_pipeline
from evoseg.runs.run_folder import RESULT
from evoseg.runs.stored import read_held_out
from tests.exporters.test_python import asking_pipeline
from tests.operators.networks import deep_network

SCORE = HeldOutScore("IoU", 0.812, (0.7, 0.9), 4, "nuclei")
FILTERS = "def pipeline(image):\n    return remove_small(threshold(channel(image)), area=30)\n"
VALIDATOR = Path(__file__).resolve().parents[2] / ".venv-bioimageio/bin/bioimageio"


def unpacked(data: bytes) -> tuple[dict, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        files = {name: package.read(name) for name in package.namelist()}
    return yaml.safe_load(files["rdf.yaml"]), files


def run_onnx(data: bytes, image) -> np.ndarray:
    if int(cv2.__version__.partition(".")[0]) < 5:
        pytest.skip("OpenCV 4 cannot read such graphs, which ONNX Runtime runs")
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    net.setInput(np.ascontiguousarray(image, np.float32))
    return net.forward()


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is")
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_the_graph_does_all_that_evoseg_does_around_a_network(reduction):
    weights = add_network(deep_network(3, 2, reduction, 2, brightness=[[100, 30], [90, 20]]))
    image = default_rng(0).integers(0, 4000, (128, 192, 2), dtype=np.uint16)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    image[..., 1] = 77  # a channel without contrast
    for output in ("foreground", "distance"):
        found = run_onnx(image_network(weights, output), np.moveaxis(image, -1, 0)[None])
        np.testing.assert_allclose(found[0, 0], float_plane(image, weights, output), atol=1e-4)
        traced = torch.jit.load(io.BytesIO(torchscript_network(weights, output)))
        given = torch.from_numpy(np.moveaxis(image, -1, 0)[None].astype(np.float32))
        np.testing.assert_allclose(traced(given).detach().numpy(), found, atol=1e-4)
        plane = network(image, weights=weights, output=output)
        assert plane.std() > 5
        np.testing.assert_allclose(found[0, 0] * 255, plane, atol=0.51)


def test_a_model_says_what_it_takes_and_gives_and_how_it_scored():
    document, files = unpacked(export_bioimageio(asking_pipeline(), held_out=SCORE))
    assert document["type"] == "model"
    listed = [document["documentation"], *document["attachments"], *document["weights"].values()]
    listed += [document[end][0]["test_tensor"] for end in ("inputs", "outputs")]
    assert {one["source"] for one in listed} == files.keys() - {"rdf.yaml"}
    assert all(one["sha256"] == sha256(files[one["source"]]).hexdigest() for one in listed)
    assert document["config"]["evoseg"]["held_out"]["score"] == 0.812
    assert "Mean IoU on 4 test images of nuclei: 0.812 (95 % interval 0.700 to 0.900)." in files["README.md"].decode()
    given, expected = (np.load(io.BytesIO(files[f"test_{end}.npy"])) for end in ("input", "output"))
    assert given.shape[1] == len(document["inputs"][0]["axes"][1]["channel_names"])
    sides = document["inputs"][0]["axes"][2:]
    assert not any(n % axis["size"]["step"] for n, axis in zip(given.shape[2:], sides, strict=True))
    np.testing.assert_allclose(run_onnx(files["weights.onnx"], given), expected, atol=1e-4)
    assert expected.std() > 0.01


def test_its_pipeline_is_read_with_the_network_beside_it(tmp_path):
    write_export(asking_pipeline(), "bioimageio", tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as package:
        package.extractall(tmp_path / "out")
    assert read_pipeline(tmp_path / "out/pipeline.evo") == asking_pipeline()


def test_filters_are_an_application():
    document, files = unpacked(export_bioimageio(read_text(FILTERS)))
    assert (document["type"], document["source"]) == ("application", "pipeline.py")
    assert "The pipeline was not scored on held-out images." in files["README.md"].decode()
    assert files.keys() == {"rdf.yaml", "README.md", "pipeline.evo", "pipeline.py"}


def test_several_networks_are_refused():
    weights = [add_network(deep_network(seed)) for seed in (1, 2)]
    text = (
        f'def pipeline(image):\n    a = network(image, weights="{weights[0]}")\n'
        f'    b = network(image, weights="{weights[1]}")\n    return threshold(maximum(a, b))\n'
    )
    with pytest.raises(ExportError, match="has several networks.*--to bundle"):
        export_bioimageio(read_text(text))


def test_the_score_is_that_of_the_run_that_the_pipeline_is_named_by(tmp_path):
    filters = read_text(FILTERS)
    assert read_held_out(str(tmp_path), filters) is None
    result = {
        "metric": "iou",
        "digest": filters.digest,
        "scores": {"test": 0.812},
        "interval_test": [0.7, 0.9],
        "test_per_image": dict.fromkeys("abcd", 0.812),
        "dataset": "nuclei",
        "answers": {
            "accurate": {"pipeline": print_text(asking_pipeline()), "scores": {"test": 0.9}, "interval_test": None}
        },
    }
    asking = {"pipeline": print_text(asking_pipeline()), "scores": {"test": 0.9}, "interval_test": None}
    (tmp_path / RESULT).write_text(json.dumps(result | {"answers": {"accurate": asking}}))
    assert read_held_out(str(tmp_path), filters) == SCORE
    assert read_held_out(f"{tmp_path}#accurate", asking_pipeline()) == HeldOutScore("IoU", 0.9, None, 4, "nuclei")
    assert read_held_out(str(tmp_path), read_text(FILTERS.replace("30", "31"))) is None
    (tmp_path / RESULT).write_text(json.dumps(result | {"scores": {"test": None}}))
    assert read_held_out(str(tmp_path), filters) is None


@pytest.mark.e2e
@pytest.mark.parametrize("pipeline", [asking_pipeline(), read_text(FILTERS)], ids=["model", "application"])
def test_bioimageio_core_takes_the_package(pipeline, tmp_path):
    if not VALIDATOR.is_file():
        pytest.skip("needs bioimageio.core in an environment of its own; make test-all installs it")
    (tmp_path / "package.zip").write_bytes(export_bioimageio(pipeline, held_out=SCORE))
    done = subprocess.run(
        [VALIDATOR, "test", tmp_path / "package.zip"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
