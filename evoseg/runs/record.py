"""What a run records of its settings and circumstances, and whether they still hold when it is resumed."""

import logging
import platform
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from evoseg import __version__
from evoseg.core.errors import DatasetError, EvosegError
from evoseg.core.notes import name_some
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.reading import ReadOptions
from evoseg.datasets.splits import Splits
from evoseg.datasets.splits import split as split_of
from evoseg.evolve.proposers.warm_start import WarmStartCandidate
from evoseg.evolve.tasks.task_kinds import resolve_task
from evoseg.operators import registry
from evoseg.pipeline import print_text, read_text
from evoseg.runs.code_files import restore_codes
from evoseg.runs.opening import Data, dataset_name
from evoseg.runs.run_file import RunRecord, now
from evoseg.runs.settings import RunSettings
from evoseg.sandbox.operators import AdmittedCode

logger = logging.getLogger(__name__)

EARLY = ("equal_as_one", "ipp", "retired")
"""Settings of former versions of which one, `early`, is left."""


class ChangedError(EvosegError, ValueError):
    """A run that cannot be taken up again, because what it depends on has changed."""


def make_record(run: str, asked: RunSettings, dataset: Dataset, splits: Splits) -> RunRecord:
    """Return what is to be known of a run that begins now."""
    return RunRecord(
        id=run,
        dataset=dataset_name(dataset),
        dataset_path=str(dataset.root.resolve()) if dataset.root else None,
        dataset_digest=dataset.survey.digest,
        parts=_parts(dataset),
        splits=_stems(splits),
        settings=vars(asked)
        | {
            "start": [print_text(pipeline, settled=False) for pipeline in asked.start],
            "offers": [vars(offer) | {"program": print_text(offer.program, settled=False)} for offer in asked.offers],
            "reading": asdict(asked.reading),
            "code": [{"source": admitted.source, "cost": admitted.cost} for admitted in asked.code],
        },
        revisions=_revisions(),
        versions=list_versions(),
        started=now(),
    )


def read_settings(record: RunRecord, task: str | Path | None = None, *, allow_code: bool = False) -> RunSettings:
    """Return the settings that a run was started with.

    Parameters
    ----------
    task : path, optional
        The file of the run's own task, as the user names it: a record alone never makes a program run.
    allow_code : bool
        Whether its Python operators may run, should they neither be from a search of this user nor be allowed before.

    Raises
    ------
    ChangedError
        If this version of evoseg does not know them, or the file of the task is another than then.
    ConsentError
        If the run has a Python operator that has not been allowed.
    SettingsError
        If the run has a task of the user's own that is not named.
    """
    known = {field.name for field in fields(RunSettings)}
    needed = {field.name for field in fields(RunSettings) if field.default is field.default_factory is MISSING}
    recorded = {name: value for name, value in record.settings.items() if name not in EARLY}
    recorded.setdefault("early", record.settings.get("ipp", True))
    if not needed <= recorded.keys() <= known:
        other = ", ".join(sorted((needed - recorded.keys()) | (recorded.keys() - known)))
        raise ChangedError(f"{record.id}: {_made_with(record)}, and its settings differ ({other}). Use that version.")
    code = _read_codes(record)
    restore_codes(code, record.id, allow_code=allow_code)
    as_written = partial(read_text, settled=False)
    start = tuple(as_written(text) for text in recorded["start"])
    offers = tuple(
        WarmStartCandidate(**{**offer, "program": as_written(offer["program"])}) for offer in recorded["offers"]
    )
    reading = ReadOptions.recorded(recorded.get("reading", {}))
    settings = RunSettings(**{**recorded, "start": start, "offers": offers, "reading": reading, "code": code})
    if task is not None:
        settings = replace(settings, task=resolve_task(task))
    if settings.kind.digest != settings.task_digest:
        raise ChangedError(f"{record.id}: its task was {recorded['task']}, and {task} is a different program.")
    return settings


def _read_codes(record: RunRecord) -> tuple[AdmittedCode, ...]:
    """Return the Python operators of a run, which is a file that anybody may have written."""
    try:
        code = tuple(AdmittedCode(str(one["source"]), float(one["cost"])) for one in record.settings.get("code", ()))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ChangedError(f"{record.id}: damaged (Python operators cannot be read). Start a new search.") from error
    if not all(0 <= admitted.cost < float("inf") for admitted in code):
        raise ChangedError(f"{record.id}: damaged (the cost of a Python operator is not a number). Start a new search.")
    return code


def refuse_other_operators(record: RunRecord) -> None:
    """Make sure that operators do the same as when a run was made; warn of libraries that have changed.

    Raises
    ------
    ChangedError
        Naming what differs.
    """
    then, present = record.revisions, _revisions()
    # Steps that searches do not draw by themselves change nothing in a run that has none of them.
    present = {name: n for name, n in present.items() if name in then or not registry.get(name).ready_made}
    differ = [
        _operator(name, then, present) for name in sorted({*then, *present}) if then.get(name) != present.get(name)
    ]
    if differ:
        raise ChangedError(
            f"{record.id}: {_made_with(record)}, and operators differ: {name_some(differ)}. Use that version of "
            "evoseg, or start a new search."
        )
    libraries = list_versions()
    for name, version in record.versions.items():
        if name != "evoseg" and libraries.get(name) != version:
            logger.warning(
                "the version of %s was %s and is now %s: the last digits may differ", name, version, libraries.get(name)
            )


def find_splits(record: RunRecord, dataset: Dataset) -> Splits:
    """Return the splits of a run, once it is sure that a dataset is the one that it has begun with.

    Raises
    ------
    DatasetError
        Naming what differs.
    """
    then, present = record.parts, _parts(dataset)
    words = [
        *(f"{part} is missing" for part in then if part not in present),
        *(f"{part} is new" for part in present if part not in then),
        *(f"{part} has changed" for part in then if part in present and then[part] != present[part]),
    ]
    if not words:
        recorded = {name: list(stems) for name, stems in record.splits.items()}
        # Early versions drew test images among those with scribbles, too.
        for apart in (True, False):
            splits = split_of(dataset, strokes_apart=apart)
            if _stems(splits) == recorded:
                return splits
        words = ["its split into search and test images has changed (see its dataset.yaml)"]
    raise DatasetError(
        f"{dataset.root or dataset.title}: not the dataset that {record.id} was started with: {name_some(words)}. "
        "Restore it, or start a new search."
    )


def find_data(record: RunRecord, data: Data | None) -> Data:
    """Return the dataset to open for a run.

    Raises
    ------
    DatasetError
        If none is given, and the run's own is gone or was never a folder.
    """
    if data is not None:
        return data
    if record.dataset_path is None:
        raise DatasetError(
            f"{record.id}: its images were arrays; pass them again, with evoseg.resume(run, (images, masks))."
        )
    if not Path(record.dataset_path).is_dir():
        raise DatasetError(
            f"{record.dataset_path}: the dataset of {record.id} was not found. Say where it is with --dataset."
        )
    return record.dataset_path


def list_versions() -> dict[str, str]:
    """Return the versions of what decides a result."""
    import cv2

    return {
        "evoseg": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
    }


def _made_with(record: RunRecord) -> str:
    return f"made with evoseg {record.versions.get('evoseg', 'of an unknown version')}"


def _operator(name: str, then: Mapping[str, int], present: Mapping[str, int]) -> str:
    if name not in present:
        return f"{name} is gone"
    return f"{name} is new" if name not in then else f"{name}@{then[name]} is {name}@{present[name]} now"


def _parts(dataset: Dataset) -> dict[str, str]:
    return {
        f"{stem}'s {part}": digest
        for stem, facts in sorted(dataset.survey.facts.items())
        for part, digest in sorted(facts.digests.items())
    }


def _stems(splits: Splits) -> dict[str, list[str]]:
    return {name: list(stems) for name, stems in vars(splits).items()}


def _revisions() -> dict[str, int]:
    return {op.name: op.revision for op in registry.operators(retired=True)}
