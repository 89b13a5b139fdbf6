"""Trains in a process of its own, so that neither a crash nor the memory of a training hits the one that asked."""

import signal
from pathlib import Path
from typing import BinaryIO, cast

from evoseg.evolve.evaluation.processes import start_child
from evoseg.evolve.evaluation.worker import read_frame, write_frame
from evoseg.networks.values import (
    NetworkError,
    PackedExamples,
    Progress,
    Trained,
    TrainingSettings,
    check_examples,
)

MEMORY_BYTES = 2 << 30
"""What a training may allocate."""


class TrainingProcess:
    """A training that runs beside its caller.

    Parameters
    ----------
    examples : PackedExamples
    settings : TrainingSettings
    folder : Path
        Where it writes the planes, DIGEST.pack by the digest of the network: first those of the examples, then those of
        the views.
    memory_bytes : int
        What it may allocate.

    Raises
    ------
    NetworkError
        As `train`, before anything is started.
    """

    def __init__(
        self,
        examples: PackedExamples,
        settings: TrainingSettings,
        folder: Path,
        *,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        check_examples(*examples.read())
        self._process = start_child("evoseg.networks.worker")
        try:
            with cast(BinaryIO, self._process.stdin) as questions:
                write_frame(questions, (examples, settings, folder, memory_bytes))
        except OSError:
            pass  # It has died; `wait` says so.

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """Return what can be waited on until there is news."""
        return cast(BinaryIO, self._process.stdout).fileno()

    def read(self) -> Progress | Trained:
        """Wait for the next news; after a `Trained`, whose planes are in its file only, there is none.

        Raises
        ------
        NetworkError
            If the training has failed or its process has died.
        """
        try:
            news = read_frame(cast(BinaryIO, self._process.stdout))
        except EOFError:
            code = self._process.wait()
            cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise NetworkError(f"the process that trained networks died ({cause})") from None
        if isinstance(news, str):
            self.close()
            raise NetworkError(news)
        if isinstance(news, Trained):
            self.close()
            return news
        return cast(Progress, news)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            cast(BinaryIO, pipe).close()
