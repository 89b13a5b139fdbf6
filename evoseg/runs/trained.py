"""The networks of a run: trained once, kept in its folder, and noted in its journal."""

import json
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import write_atomically
from evoseg.core.errors import EvosegError, PipelineError
from evoseg.core.folds import count_folds
from evoseg.core.kinds import Kind
from evoseg.datasets.memmap import Pack
from evoseg.evolve.evaluation.processes import readable
from evoseg.evolve.journal import EndOfJournal, JournalError, RecordedClock
from evoseg.evolve.networks import Networks, TrainingRequest, plane_program
from evoseg.networks import PackedExamples, Trained, TrainingProcess, TrainingSettings
from evoseg.networks.values import Head, NetworkError
from evoseg.operators.network import add_network, network_bytes
from evoseg.pipeline import Pipeline
from evoseg.runs.network_folders import load_network, network_file
from evoseg.runs.options import NONE
from evoseg.runs.run_folder import NETWORKS, FilesError
from evoseg.runs.settings import RunSettings

BORDER = "networks"
"""Where in a journal it is told what came of the training."""
MOST_STRETCH = 1.2
"""How many times the intended time a training may take, on a machine that is busy with other things."""
LOOK_S = 0.2
"""How often it is looked whether the search was stopped, s."""
HEADS: dict[Kind, Head] = {Kind.MASK: "mask", Kind.LABELS: "objects", Kind.POINTS: "points"}
TRUTHS = {Kind.MASK: "mask", Kind.LABELS: "labels", Kind.POINTS: "points"}
"""Names of the arrays that networks learn."""


class RunTrainer:
    """Trains the networks of a run, or fetches those that it has trained before it was interrupted.

    Parameters
    ----------
    folder : Path
        Of the run.
    settings : RunSettings
    clock : RecordedClock
        Notes in the journal what came of it; once it is stopped, the training ends.
    """

    def __init__(self, folder: Path, settings: RunSettings, clock: RecordedClock) -> None:
        self._folder = folder / NETWORKS
        self._settings = settings
        self._clock = clock

    def __call__(self, request: TrainingRequest, on_progress: Callable[[float], None]) -> Networks | str:
        """See `Trainer`.

        Raises
        ------
        KeyboardInterrupt
            If the search is stopped meanwhile.
        JournalError
            If the networks that the journal names are gone.
        """
        told = self._clock.external_event(BORDER, lambda: self._train(request, on_progress))
        if not told:
            raise EndOfJournal  # a replay of a run that ended before
        try:
            note = dict(json.loads(told))
            return str(note["none"]) if "none" in note else self._load(note)
        except (ValueError, TypeError, KeyError) as error:
            raise JournalError("what the journal says of networks cannot be read. Search again.") from error

    def _train(self, request: TrainingRequest, on_progress: Callable[[float], None]) -> str:
        """Train, keep what comes of it, and return what the journal says of it."""
        if find_spec("torch") is None:
            return json.dumps({"none": "PyTorch, which trains them, is not installed (pip install torch)"})
        # Each network has a thread, and a thread trains them all one after the other. The time of one more, which has
        # nothing to do, would be given to the others.
        n_networks = count_folds(request.units, TrainingSettings.n_networks)
        threads = min(max(1, self._settings.workers), n_networks)
        settings = TrainingSettings(
            head=HEADS[request.output],
            seconds=None if request.seconds is None else threads * request.seconds,
            steps=request.steps,
            seed=self._settings.seed,
            encoder="small" if self._settings.encoder == NONE else "pretrained",
            threads=threads,
            stretch=MOST_STRETCH,
        )
        examples = PackedExamples(request.pack, TRUTHS[request.output], request.units, request.copied)
        if self._folder.is_symlink():
            raise FilesError(f"{self._folder}: leads elsewhere, so no networks are written there. Remove the link.")
        try:
            trained = self._wait_for(TrainingProcess(examples, settings, self._folder), on_progress)
            digest = add_network(trained.file)
        except (NetworkError, PipelineError) as error:
            return json.dumps({"none": str(error)})
        try:
            with write_atomically(network_file(self._folder, digest)) as file:
                file.write(trained.file)
        except OSError as error:
            raise FilesError(f"{self._folder}: networks cannot be written there ({error.strerror}).") from error
        planes = Pack(self._folder / f"{digest}.pack").digests
        return json.dumps({"network": digest, "n_folds": n_networks, "planes": planes, "notes": trained.notes})

    def _wait_for(self, training: TrainingProcess, on_progress: Callable[[float], None]) -> Trained:
        try:
            while not self._clock.stopped:
                if not readable([training.fileno()], LOOK_S):
                    continue
                news = training.read()
                if isinstance(news, Trained):
                    return news
                on_progress(news.share)
            raise KeyboardInterrupt
        finally:
            training.close()

    def _load(self, note: dict[str, object]) -> Networks:
        digest = str(note["network"])
        if not re.fullmatch("[0-9a-f]{32}", digest):  # it becomes part of a path, and anybody may write a journal
            raise JournalError("the journal names a network by something that is not a digest. Search again.")
        try:
            load_network(network_file(self._folder, digest))
            pack = Pack(self._folder / f"{digest}.pack")
            pack.verify()
        except (OSError, EvosegError) as error:
            raise JournalError(f"the networks of this run cannot be read ({error}). Search again.") from error
        if list(pack.digests) != note["planes"]:
            raise JournalError(f"{self._folder}: holds other networks than those of this run. Search again.")
        planes = [{name: np.asarray(plane) for name, plane in item.items()} for item in pack.items]
        notes = note["notes"] if isinstance(note["notes"], dict) else {}
        return Networks(network_bytes(digest), digest, planes, int(str(note["n_folds"])), notes)


def out_of_bag_planes(
    folder: Path, pipeline: Pipeline | None, stems: Sequence[str]
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Return what networks that were trained without an image give for it, for the search images of a run.

    Parameters
    ----------
    folder : Path
        Of the run.
    pipeline : Pipeline or None
        Names the networks; without one, there is nothing.
    stems : sequence of str
        Of the search images.

    Returns
    -------
    dict of str to dict of str to uint8 array of shape (M, N)
        By stem, then by the digest of the program that gives the plane.

    Raises
    ------
    DatasetError
        If the file of the planes is gone or damaged.
    """
    found: dict[str, dict[str, NDArray[np.uint8]]] = {stem: {} for stem in stems}
    for digest in () if pipeline is None else pipeline.networks:
        for stem, named in zip(stems, Pack(folder / NETWORKS / f"{digest}.pack").items, strict=False):
            found[stem] |= {plane_program(digest, output).digest: plane for output, plane in named.items()}
    return found
