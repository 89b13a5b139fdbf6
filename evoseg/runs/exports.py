"""Write pipelines in other forms, with the networks and the Python code that the files need beside them."""

from collections.abc import Sequence
from pathlib import Path

from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.exporters.bioimageio import HeldOutScore
from evoseg.exporters.targets import ARCHIVES, NETWORKS_BESIDE, exported, packed
from evoseg.pipeline import Pipeline
from evoseg.runs.code_files import save_codes
from evoseg.runs.network_folders import save_networks
from evoseg.runs.run_folder import make_folder, refuse_existing, write_whole


def write_export(
    pipeline: Pipeline,
    to: str,
    target: Path,
    reading: ReadOptions = DEFAULT_OPTIONS,
    images: Sequence[Path] = (),
    held_out: HeldOutScore | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a pipeline to a file, as `evoseg.exporters.targets.exported` or `packed` gives it.

    Raises
    ------
    ExportError, SettingsError
        As these.
    FilesError
        If the file exists and `overwrite` is False, a network's file holds something else, or one cannot be written.
    """
    refuse_existing([target], overwrite=overwrite)
    archive = to in ARCHIVES
    content = packed(pipeline, to, reading, images, held_out) if archive else exported(pipeline, to, reading, images)
    make_folder(target.absolute().parent)
    if to in NETWORKS_BESIDE:
        save_networks(pipeline, target.absolute().parent)
        save_codes(pipeline, target.absolute().parent)
    write_whole(target, content, overwrite=overwrite)
