"""Find the shifts of pairs of images with a pipeline, and write them as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evoseg.core.disk import prefetch
from evoseg.core.errors import DatasetError, PipelineError
from evoseg.core.kinds import Kind
from evoseg.core.notes import Note
from evoseg.datasets.dataset import Dataset, assemble
from evoseg.datasets.documents import shifts_text
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.sources import channels_of, mismatches
from evoseg.metrics.shift_scores import shift_between
from evoseg.pipeline import Pipeline
from evoseg.runs.pipeline_files import Comparison
from evoseg.runs.run_folder import FilesError, write_whole

TABLE = "shifts.csv"


@dataclass(frozen=True)
class PairShift:
    """What became of one pair: its shift (dy, dx) in px, or why there is none."""

    stem: str
    shift: tuple[float, float] = (0.0, 0.0)
    fault: str = ""


def register_pairs(
    pipeline: Pipeline, folders: Sequence[str | Path], workers: int = 1, reading: ReadOptions = DEFAULT_OPTIONS
) -> Iterator[PairShift]:
    """Return the shift of each pair in folders with pairs/fixed/ and pairs/moving/; no table of shifts is needed.

    A pair that cannot be read, or lacks a channel, is reported and the others go on. `reading` says which page and
    channels of the files to take.

    Raises
    ------
    FilesError
        If a folder holds no pairs, or two pairs have one name.
    PipelineError
        If the pipeline gives no plane.
    """
    if pipeline.output is not Kind.GRAY:
        raise PipelineError(f"the pipeline returns a {pipeline.output} value; planes are needed to register images.")
    pairs: dict[str, Dataset] = {}
    for folder in folders:
        data = Dataset(Path(folder).expanduser(), reading)
        if not data.stems or not data.source.has("moving", data.stems[0]):
            raise FilesError(f"{folder}: holds no pairs. Put them in {folder}/pairs/fixed/ and pairs/moving/.")
        if twins := pairs.keys() & {*data.stems}:
            raise FilesError(f"{folder}: {min(twins)} is in an earlier folder, too. Register the folders one by one.")
        pairs |= dict.fromkeys(data.stems, data)
    return _compared(pipeline, pairs, workers)


def _compared(pipeline: Pipeline, pairs: dict[str, Dataset], workers: int) -> Iterator[PairShift]:
    """Yield the shift of each pair, and warn at the end of images that are unlike those of the search."""
    comparison = Comparison(pipeline)
    yield from prefetch(partial(_shifted, pipeline.for_images(None), pairs, comparison), sorted(pairs), workers)
    comparison.tell()


def write_shifts(found: Sequence[PairShift], out: str | Path, *, overwrite: bool = False) -> Path:
    """Write OUT/shifts.csv with the pairs that have a shift, as pairs/shifts.csv holds them, and return its path.

    Raises
    ------
    FilesError
        If it exists and `overwrite` is False, or cannot be written.
    """
    path = Path(out).expanduser() / TABLE
    write_whole(path, shifts_text({one.stem: one.shift for one in found if not one.fault}), overwrite=overwrite)
    return path


def _shifted(pipeline: Pipeline, pairs: dict[str, Dataset], comparison: Comparison, stem: str) -> PairShift:
    source = pairs[stem].source
    try:
        # Pair by pair: one damaged file must not keep the others from being read.
        parts = {part: source.read(part, stem) for part in ("image", "moving")}
        if faults := mismatches(source, stem, parts):
            raise DatasetError(faults[0])
        sample = assemble(stem, parts, channels_of(source, (stem,)))
        comparison.look(stem, sample.image)
    except (DatasetError, PipelineError) as error:
        return PairShift(stem, fault=Note.of(error, ""))
    assert sample.moving is not None
    dy, dx = shift_between(pipeline(sample.image), pipeline(sample.moving))
    return PairShift(stem, (float(dy), float(dx)))
