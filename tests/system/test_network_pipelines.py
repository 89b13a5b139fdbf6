"""Pipelines that ask networks, from the command line and from Python."""

import json

import numpy as np
import pytest

import evoseg
from evoseg.core.errors import EvosegError
from evoseg.datasets.io.files import read_image
from evoseg.datasets.maskrules import read_mask
from evoseg.operators.network import add_network, network_bytes
from evoseg.pipeline import read_text
from tests.operators.networks import conv_network


@pytest.fixture(scope="module")
def pipeline():
    """Return a pipeline whose network calls bright pixels foreground."""
    weights = add_network(conv_network([[1 / 256]]))
    return read_text(f'def pipeline(image):\n    return threshold(network(image, weights="{weights}"), level=110)\n')


def test_a_saved_pipeline_is_shown_applied_and_exported_with_its_network(command, pipeline, dataset, tmp_path):
    file, name = tmp_path / "find.evo", f"{pipeline.networks[0]}.onnx"
    pipeline.save(file)
    assert f"{name}: A network of 2 weights" in command("show", file).out
    assert json.loads(command("show", file, "--json").out)["networks"][0]["outputs"] == ["foreground"]
    image = dataset / "images" / "nuclei_000.png"
    assert command("apply", file, image, "--out", tmp_path / "answers").code == 0
    mask = read_mask(tmp_path / "answers" / "masks" / "nuclei_000.png")
    assert np.array_equal(mask, pipeline(read_image(image))) and 0 < mask.mean() < 1
    for to, ending in (("cpp", "cpp"), ("json", "json")):
        folder = tmp_path / to
        assert command("export", file, "--to", to, "--out", folder / f"find.{ending}").code == 0
        assert (folder / name).read_bytes() == network_bytes(pipeline.networks[0])
    assert evoseg.read_pipeline(tmp_path / "json" / "find.json") == pipeline
    assert "RUN#readable" in command("export", file, "--to", "imagej").err


def test_a_bundle_is_written_by_its_ending_and_needs_a_file(command, pipeline, tmp_path):
    file = tmp_path / "find.evo"
    pipeline.save(file)
    assert evoseg.export(file, tmp_path / "find.zip") == tmp_path / "find.zip"
    done = command("export", file, "--to", "bundle")
    assert done.code == 2 and "--to bundle writes a .zip file" in done.err


def test_a_pipeline_without_its_network_is_one_error(command, tmp_path):
    (tmp_path / "find.evo").write_text(f'def pipeline(image):\n    return network(image, weights="{"0" * 32}")\n')
    done = command("show", tmp_path / "find.evo")
    assert (done.code, done.out) == (1, "") and f"{'0' * 32}.onnx, which is in none of these folders" in done.err
    with pytest.raises(EvosegError, match="in none of these folders"):
        evoseg.apply(tmp_path / "find.evo", tmp_path, tmp_path / "answers")
