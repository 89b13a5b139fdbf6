"""A bundle holds a pipeline and all that it needs, and tests itself."""

import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from evoseg.core.errors import SettingsError
from evoseg.exporters.bundle import export_bundle
from evoseg.exporters.standalone import drawn_image
from evoseg.exporters.targets import exported
from evoseg.operators.network import network_bytes
from evoseg.pipeline import read_text
from evoseg.runs.exports import write_export
from evoseg.runs.pipeline_files import read_pipeline
from evoseg.runs.run_folder import FilesError
from tests.exporters.test_python import asking_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder into which a bundle was unpacked."""
    root = tmp_path_factory.mktemp("bundle")
    write_export(asking_pipeline(), "bundle", root / "find.zip")
    with zipfile.ZipFile(root / "find.zip") as bundle:
        bundle.extractall(root)
    return root


def test_it_holds_the_pipeline_its_network_and_a_card(folder):
    weights = asking_pipeline().networks[0]
    assert read_pipeline(folder / "pipeline.evo") == asking_pipeline()
    assert (folder / f"{weights}.onnx").read_bytes() == network_bytes(weights)
    card = (folder / "card.md").read_text()
    assert (
        f"## Network {weights}" in card
        and "it sees them at 1/2 of the resolution. Its planes: foreground, distance." in card
    )
    assert all(f"| {s.operator} |" in card for s in asking_pipeline().steps)


def test_its_program_passes_the_self_test_without_evoseg(folder):
    command = [sys.executable, "-I", "pipeline.py", "--self-test"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "self-test passed (uint8, uint16)\n"), done.stderr


def test_its_test_images_are_what_the_pipeline_gives(folder):
    pipeline = asking_pipeline()
    for depth in ("uint8", "uint16"):
        image = cv2.imread(str(folder / f"test/{depth}.png"), cv2.IMREAD_UNCHANGED)
        image = image[:, :, ::-1] if image.ndim == 3 else image[:, :, None]
        assert np.array_equal(image, drawn_image(depth))
        mask = cv2.imread(str(folder / f"test/{depth}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, pipeline(image).astype(np.uint8) * 255)
        for i in (i for i, s in enumerate(pipeline.steps) if s.operator == "network"):
            weights, output = pipeline.steps[i].params
            plane = cv2.imread(str(folder / f"test/{depth}_{weights}_{output}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(plane, pipeline.until(i)(image))


def test_equal_pipelines_give_equal_bundles():
    assert export_bundle(asking_pipeline()) == export_bundle(asking_pipeline())


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("threshold(channel(image))", "mask.png"),
        ("channel(image)", "gray.png"),
        ("components(threshold(channel(image)))", "labels.tif"),
        ("centroids(threshold(channel(image)))", "points.csv"),
    ],
)
def test_pipelines_of_filters_of_every_kind_are_bundled(program, name, tmp_path):
    write_export(read_text(f"def pipeline(image):\n    return {program}\n"), "bundle", tmp_path / "find.zip")
    names = zipfile.ZipFile(tmp_path / "find.zip").namelist()
    assert sorted(names) == sorted(
        ["card.md", "pipeline.evo", "pipeline.py"]
        + [f"test/{depth}{end}" for depth in ("uint8", "uint16") for end in (".png", f"_{name}")]
    )


def test_a_bundle_is_a_file_and_overwrites_nothing(tmp_path):
    with pytest.raises(SettingsError, match="--to bundle writes a .zip file"):
        exported(asking_pipeline(), "bundle")
    (tmp_path / "find.zip").write_bytes(b"mine")
    with pytest.raises(FilesError, match="exists already"):
        write_export(asking_pipeline(), "bundle", tmp_path / "find.zip")
    assert (tmp_path / "find.zip").read_bytes() == b"mine"
