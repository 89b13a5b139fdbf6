"""The widgets in a viewer without a screen."""

import os
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("napari")

from evoseg.napari.layers import LabelsAre
from tests.napari.test_layers import squares

pytestmark = pytest.mark.napari


@pytest.fixture
def viewer(tmp_path, monkeypatch):
    """Return what a viewer holds; windows need OpenGL, which a machine without a screen may not have."""
    from napari.components import ViewerModel
    from napari.qt import get_qapp

    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path))
    get_qapp()
    return ViewerModel()


def wait(viewer, layers):
    """Wait until the viewer has so many layers."""
    from qtpy.QtWidgets import QApplication

    end = monotonic() + 120
    while len(viewer.layers) < layers and monotonic() < end:
        QApplication.processEvents()
        sleep(0.02)
    return viewer.layers[-1]


def test_the_manifest_names_widgets_that_can_be_built(viewer):
    from magicgui.widgets import Container
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(__file__).parents[2] / "evoseg" / "napari.yaml")
    named = [command.python_name for command in manifest.contributions.commands]
    assert len(named) == len(manifest.contributions.widgets) == 3
    for module, name in (python_name.split(":") for python_name in named):
        assert isinstance(getattr(import_module(module), name)(), Container)


def test_a_pipeline_is_trained_and_run_on_another_layer(viewer):
    from evoseg.napari import widgets

    image, masks = squares(6)
    data, labels = viewer.add_image(image, name="plates"), viewer.add_labels(masks)
    widgets.train_on_layers(viewer, data, labels, LabelsAre.MASK, 5)
    answers = wait(viewer, 3)
    assert (answers.data == masks).mean() > 0.98 and answers.metadata["evoseg"].startswith("# evoseg")
    run = answers.name.removeprefix("plates by ")
    assert run in widgets.apply().pipeline.choices
    widgets.apply_to_layer(viewer, viewer.add_image(image[::-1], name="others"), run)
    others = wait(viewer, 5)
    assert others.name.startswith("others by ") and np.array_equal(others.data, answers.data[::-1])


def test_faults_are_shown_and_nothing_is_added(viewer):
    from evoseg.napari import widgets
    from napari.utils.notifications import notification_manager

    image, masks = squares()
    data, labels = viewer.add_image(image), viewer.add_labels(0 * masks)
    before = len(notification_manager.records)
    widgets.train_on_layers(viewer, data, labels)
    assert "nothing is labelled" in notification_manager.records[before].message
    assert len(viewer.layers) == 2
