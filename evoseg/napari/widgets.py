"""The plug-in's three widgets. napari imports this module; nothing else does."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from magicgui import magic_factory
from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from numpy.typing import NDArray

from evoseg.cli.progress import format_status
from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.napari.layers import LabelsAre, answers_of, dataset_of, save_for_studio, search_steps
from evoseg.pipeline import Pipeline
from evoseg.report.results import SearchResult
from evoseg.runs.pipeline_files import read_pipeline
from evoseg.runs.status import Status
from evoseg.runs.stored import list_runs
from evoseg.studio.searching import Command

MOST_RUNS = 30
"""Runs that the Apply widget offers, latest first."""


def train_on_layers(
    viewer: Viewer, image: Image, labels: Labels, labels_are: LabelsAre = LabelsAre.STROKES, seconds: int = 30
) -> Any:
    """Search for a pipeline that marks what the labels mark, and show what it makes of the whole image."""
    try:
        dataset = dataset_of(image.data, labels.data, labels_are, rgb=image.rgb, title=image.name)
    except EvosegError as error:
        show_error(str(error))
        return None

    def show_progress(status: Status) -> None:
        viewer.status = f"evoseg: {format_status(status).strip()}"

    def show_result(result: SearchResult) -> None:
        viewer.status = ""
        show_info(str(result).splitlines()[0])
        _add_answers(viewer, image, result.pipeline, result.run)

    return create_worker(
        search_steps,
        dataset,
        labels_are,
        seconds,
        _connect={"yielded": show_progress, "returned": show_result, "errored": _show_fault},
    )


def apply_to_layer(viewer: Viewer, image: Image, pipeline: str) -> Any:
    """Run the pipeline of a search on an image, plane by plane, and add the result as a layer."""
    try:
        chosen = read_pipeline(pipeline)
    except EvosegError as error:
        show_error(str(error))
        return None
    return _add_answers(viewer, image, chosen, pipeline)


def open_in_studio(image: Image, labels: Labels, folder: Path, labels_are: LabelsAre = LabelsAre.STROKES) -> None:
    """Save an image and its labels in a folder, and open it in evoseg's studio."""
    try:
        save_for_studio(folder, image.data, labels.data, labels_are, rgb=image.rgb)
    except EvosegError as error:
        show_error(str(error))
        return
    subprocess.Popen(Command(("studio", str(folder))).process_line)


def _add_answers(viewer: Viewer, image: Image, pipeline: Pipeline, run: str) -> Any:
    """Run a pipeline in the background, and add what it gives as a layer beside its image."""

    def add(answers: NDArray[Any]) -> None:
        made = {"name": f"{image.name} by {run}", "metadata": {"evoseg": str(pipeline)}, "scale": image.scale}
        if pipeline.output is Kind.POINTS:
            viewer.add_points(answers, **made)
        else:
            viewer.add_labels(answers, **made)

    data = np.asarray(image.data)
    return create_worker(answers_of, pipeline, data, rgb=image.rgb, _connect={"returned": add, "errored": _show_fault})


def _show_fault(fault: Exception) -> None:
    if isinstance(fault, EvosegError):
        show_error(str(fault))


def _runs(_: Any) -> list[str]:
    """Return the latest finished runs."""
    finished = [run.folder.name for run in list_runs()[0] if run.record.finished]
    return finished[: -MOST_RUNS - 1 : -1]


train = magic_factory(
    train_on_layers,
    call_button="Train",
    labels_are={"label": "labels are"},
    seconds={"label": "seconds", "min": 5, "max": 3600},
)
apply = magic_factory(apply_to_layer, call_button="Apply", pipeline={"choices": _runs})
studio = magic_factory(open_in_studio, call_button="Save and open", folder={"mode": "d", "label": "new folder"})
