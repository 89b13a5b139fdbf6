"""Find with a pipeline what moves pairs of images, and write that as a table, with the images aligned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from evoseg.core.disk import expand, prefetch
from evoseg.core.errors import DatasetError, PipelineError
from evoseg.core.kinds import Kind
from evoseg.core.notes import Note
from evoseg.core.transforms import SHIFT, Floats, resample
from evoseg.datasets.dataset import Dataset, Sample, assemble
from evoseg.datasets.io.files import write_image
from evoseg.datasets.pair_tables import SHIFTS_FILE, TRANSFORMS_FILE, pair_table_text
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.sources import channels_of, mismatches
from evoseg.drawing import draw_checkers, save_png
from evoseg.metrics.alignment import transform_between
from evoseg.pipeline import Pipeline
from evoseg.runs.pipeline_files import Comparison
from evoseg.runs.run_folder import FilesError, make_folder, refuse_existing, write_whole

ALIGNED, OVERLAYS = "aligned", "overlays"


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """What became of one pair.

    Attributes
    ----------
    stem : str
    kind : str
        Of the transform, one of `evoseg.core.transforms.TRANSFORMS`.
    transform : float64 array of shape (2, 3)
    fault : str
        Why there is none; "" if there is one.
    """

    stem: str
    kind: str = SHIFT
    transform: Floats = field(default_factory=lambda: np.eye(2, 3))
    fault: str = ""


def register_pairs(
    pipeline: Pipeline,
    folders: Sequence[str | Path],
    out: str | Path,
    workers: int = 1,
    reading: ReadOptions = DEFAULT_OPTIONS,
    *,
    overwrite: bool = False,
) -> Iterator[RegisteredPair]:
    """Yield what moves each pair in folders with pairs/fixed/ and pairs/moving/; no table of truths is needed.

    The moving image on the pixels of the fixed one is written to OUT/aligned/NAME.tif, and a checkerboard of both to
    OUT/overlays/NAME.png. A pair that cannot be read, or lacks a channel, is reported and the others go on. `reading`
    says which page and channels of the files to take, and what moves them.

    Raises
    ------
    FilesError
        If a folder holds no pairs, two pairs have one name, or a file exists and `overwrite` is False.
    PipelineError
        If the pipeline gives no plane.
    """
    if pipeline.output is not Kind.GRAY:
        raise PipelineError(f"the pipeline returns a {pipeline.output} value; planes are needed to register images.")
    pairs: dict[str, Dataset] = {}
    for folder in folders:
        data = Dataset(expand(folder), reading)
        if not data.stems or not data.source.has("moving", data.stems[0]):
            raise FilesError(f"{folder}: holds no pairs. Put them in {folder}/pairs/fixed/ and pairs/moving/.")
        if twins := pairs.keys() & {*data.stems}:
            raise FilesError(f"{folder}: {min(twins)} is in an earlier folder, too. Register the folders one by one.")
        pairs |= dict.fromkeys(data.stems, data)
    place = expand(out)
    tables = [place / table_name(data.source.transform) for data in pairs.values()]
    refuse_existing([*tables, *(path for stem in pairs for path in _files(place, stem))], overwrite=overwrite)
    for name in (ALIGNED, OVERLAYS):
        make_folder(place / name)
    return _registered(pipeline, pairs, place, workers)


def table_name(kind: str) -> str:
    """Return the name of the table of transforms of a kind."""
    return Path(SHIFTS_FILE if kind == SHIFT else TRANSFORMS_FILE).name


def write_transforms(found: Sequence[RegisteredPair], out: str | Path, *, overwrite: bool = False) -> Path:
    """Write the pairs that have a transform, in the form of the table in pairs/, and return its path.

    That is OUT/shifts.csv if all are shifts, else OUT/transforms.csv.

    Raises
    ------
    FilesError
        If it exists and `overwrite` is False, or cannot be written.
    """
    kind = next((one.kind for one in found if one.kind != SHIFT), SHIFT)
    path = expand(out) / table_name(kind)
    known = {one.stem: one.transform for one in found if not one.fault}
    if kind == SHIFT:
        known = {stem: transform[:, 2] for stem, transform in known.items()}
    write_whole(path, pair_table_text(known, kind), overwrite=overwrite)
    return path


def _files(out: Path, stem: str) -> tuple[Path, Path]:
    return out / ALIGNED / f"{stem}.tif", out / OVERLAYS / f"{stem}.png"


def _registered(pipeline: Pipeline, pairs: dict[str, Dataset], out: Path, workers: int) -> Iterator[RegisteredPair]:
    """Yield what moves each pair, and warn at the end of images that are unlike those of the search."""
    comparison = Comparison(pipeline)
    register = partial(_register, pipeline.for_images(None), pairs, comparison, out)
    yield from prefetch(register, sorted(pairs), workers)
    comparison.tell()


def _register(
    pipeline: Pipeline, pairs: dict[str, Dataset], comparison: Comparison, out: Path, stem: str
) -> RegisteredPair:
    kind = pairs[stem].source.transform
    try:
        sample = _load_pair(pairs[stem], stem)
        assert sample.moving is not None
        comparison.look(stem, sample.image)
        transform = transform_between(pipeline(sample.image), pipeline(sample.moving), kind)
    except (DatasetError, PipelineError) as error:
        return RegisteredPair(stem, kind, fault=Note.of(error, ""))
    aligned, overlay = _files(out, stem)
    write_image(aligned, resample(sample.moving, transform), overwrite=True)
    save_png(draw_checkers(sample.image, sample.moving, transform), overlay)
    return RegisteredPair(stem, kind, transform)


def _load_pair(data: Dataset, stem: str) -> Sample:
    """Read the images of a pair, and not its truth: one damaged file must not keep others from being read."""
    parts = {part: data.source.read(part, stem) for part in ("image", "moving")}
    if faults := mismatches(parts):
        raise DatasetError(faults[0])
    return assemble(stem, parts, channels_of(data.source, (stem,)))
