"""A training in a process of its own: ``python -m evoseg.networks.worker``.

It reads one request from stdin and answers on stdout: frames of `Progress`, then a `Trained` or the text of an error.
The frames are pickles between a parent and its own child; nothing from elsewhere is ever unpickled.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from evoseg.core.errors import EvosegError
from evoseg.datasets.memmap import write_pack
from evoseg.evolve.evaluation.worker import die_with_parent, limit_memory, read_frame, write_frame
from evoseg.networks.values import Planes, Trained
from evoseg.operators.network import digest_of

_LEAST_S = 1.0
"""CPU seconds that a training is given, however long its process took to start."""


def main() -> None:
    """Answer one request."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Whatever prints must not end up between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    examples, settings, folder, memory_bytes = read_frame(sys.stdin.buffer)
    limit_memory(memory_bytes)
    try:
        from evoseg.networks.training import train

        # Importing torch takes longer than some trainings; who gives seconds gives them for everything.
        spent_s = time.process_time()
        if settings.seconds is not None:
            settings = replace(settings, seconds=max(_LEAST_S, settings.seconds - spent_s))

        def keep(file: bytes, planes: Iterable[Planes]) -> Sequence[Planes]:
            folder.mkdir(exist_ok=True)
            named = ((str(i), of_image) for i, of_image in enumerate(planes))
            return write_pack(folder / f"{digest_of(file)}.pack", named).items

        found, views = examples.read()
        trained = train(found, settings, views, examples.units, lambda progress: write_frame(answers, progress), keep)
        result: Trained | str = replace(trained, planes=(), view_planes=(), seconds=trained.seconds + spent_s)
    except EvosegError as error:
        result = str(error)
    except Exception as error:  # of torch, whose errors for memory are of no kind of their own, or of its installation
        result = f"the training failed ({type(error).__name__}: {str(error)[:200]})"
    write_frame(answers, result)


if __name__ == "__main__":
    main()
